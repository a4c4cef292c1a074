//! Each command of the grammar, as the RFCs show it, and what becomes of it.

use bytes::Bytes;
use imap::codec::{Event, Framer, NameEncoding};

/// What one command line means, in Rust's words, without the noise of newtypes.
#[track_caller]
fn meaning(names: NameEncoding, line: &str) -> String {
    let mut framer = Framer::new(65_536);
    framer.set_names(names);
    framer.push(Bytes::from(format!("t {line}\r\n")));
    let meaning = match framer.poll() {
        Some(Event::Command(command)) => format!("{:?}", command.body),
        Some(Event::Bad { tag: Some(_), reason }) => format!("BAD {reason}"),
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(framer.unread_len(), 0, "{line}");
    meaning
}

#[track_caller]
fn assert_meanings(table: &[(&str, &str)]) {
    for (line, expected) in table {
        assert_eq!(meaning(NameEncoding::Utf7, line), *expected, "{line}");
    }
}

#[test]
fn session() {
    assert_meanings(&[
        ("ID NIL", "Id(None)"),
        (
            r#"ID ("name" "sodr" "version" NIL)"#,
            r#"Id(Some([(b"name", Some(b"sodr")), (b"version", None)]))"#,
        ),
        ("ID ()", "Id(Some([]))"),
        ("ID foo", "BAD string or NIL expected"),
        ("ENABLE condstore UTF8=ACCEPT X-UNKNOWN CONDSTORE", "Enable([CondStore, Utf8Accept])"),
        ("AUTHENTICATE plain", r#"Authenticate { mechanism: b"PLAIN", initial: None }"#),
        (
            "AUTHENTICATE PLAIN dGVzdAB0ZXN0AHRlc3Q=",
            r#"Authenticate { mechanism: b"PLAIN", initial: Some(b"dGVzdAB0ZXN0AHRlc3Q=") }"#,
        ),
        (
            "AUTHENTICATE EXTERNAL =",
            r#"Authenticate { mechanism: b"EXTERNAL", initial: Some(b"") }"#,
        ),
        (r#"LOGIN joe%x "p""#, "BAD space expected"),
    ]);
}

#[test]
fn select() {
    assert_meanings(&[
        (
            "SELECT inbox",
            r#"Select { mailbox: Ok("INBOX"), params: SelectParams { condstore: false, qresync: None } }"#,
        ),
        (
            "SELECT blurdybloop (CONDSTORE)",
            r#"Select { mailbox: Ok("blurdybloop"), params: SelectParams { condstore: true, qresync: None } }"#,
        ),
        (
            "SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211,214:541))",
            r#"Select { mailbox: Ok("INBOX"), params: SelectParams { condstore: false, qresync: Some(QResync { uid_validity: UidValidity(67890007), mod_seq: ModSeq(20050715194045000), known_uids: Some(41,43:211,214:541), match_data: None }) } }"#,
        ),
        (
            "SELECT INBOX (QRESYNC (67890007 90060115194045000 41:211,214:541 (1:2 41:42)))",
            r#"Select { mailbox: Ok("INBOX"), params: SelectParams { condstore: false, qresync: Some(QResync { uid_validity: UidValidity(67890007), mod_seq: ModSeq(90060115194045000), known_uids: Some(41:211,214:541), match_data: Some((1:2, 41:42)) }) } }"#,
        ),
        (
            "EXAMINE x (QRESYNC (1 2 (1,2 3,4)))",
            r#"Examine { mailbox: Ok("x"), params: SelectParams { condstore: false, qresync: Some(QResync { uid_validity: UidValidity(1), mod_seq: ModSeq(2), known_uids: None, match_data: Some((1,2, 3,4)) }) } }"#,
        ),
        ("SELECT INBOX (QRESYNC (0 1))", "BAD number must not begin with 0"),
        ("SELECT INBOX (QRESYNC (1 1 1:*))", "BAD * not allowed here"),
        ("SELECT INBOX (FOO)", "BAD unknown select parameter"),
        (
            "SELECT a//b",
            "Select { mailbox: Err(Name(EmptyLevel)), params: SelectParams { condstore: false, qresync: None } }",
        ),
        ("SELECT", "BAD space expected"),
    ]);
}

#[test]
fn mailboxes() {
    assert_meanings(&[
        ("CREATE owatagusiam/", r#"Create { mailbox: Ok("owatagusiam"), special_use: Ok([]) }"#),
        (
            r"CREATE MySpecial (USE (\Drafts \sent))",
            r#"Create { mailbox: Ok("MySpecial"), special_use: Ok([Drafts, Sent]) }"#,
        ),
        (r"CREATE x (USE (\Foo))", r#"Create { mailbox: Ok("x"), special_use: Err(UnknownUse) }"#),
        (
            "RENAME blurdybloop sarasoop",
            r#"Rename { from: Ok("blurdybloop"), to: Ok("sarasoop") }"#,
        ),
        (
            "STATUS blurdybloop (UIDNEXT MESSAGES MESSAGES SIZE HIGHESTMODSEQ MAILBOXID APPENDLIMIT DELETED DELETED-STORAGE)",
            r#"Status { mailbox: Ok("blurdybloop"), items: [UidNext, Messages, Size, HighestModSeq, MailboxId, AppendLimit, Deleted, DeletedStorage] }"#,
        ),
        ("STATUS x ()", "BAD unknown word"),
        (r#"GETQUOTA """#, r#"GetQuota { root: b"" }"#),
        ("GETQUOTAROOT INBOX", r#"GetQuotaRoot { mailbox: Ok("INBOX") }"#),
        (
            r#"SETQUOTA "" (STORAGE 512 MESSAGE 100)"#,
            r#"SetQuota { root: b"", limits: [(b"STORAGE", 512), (b"MESSAGE", 100)] }"#,
        ),
    ]);
}

#[test]
fn list() {
    assert_meanings(&[
        (
            r#"LIST "" """#,
            r#"List(ListCommand { form: Basic, selection: ListSelection { subscribed: false, remote: false, recursive_match: false, special_use: false }, reference: Ok(""), patterns: [Ok("")], returns: ListReturn { subscribed: false, children: false, special_use: false, status: None } })"#,
        ),
        (
            "LIST #news.comp.mail.misc */%",
            r##"List(ListCommand { form: Basic, selection: ListSelection { subscribed: false, remote: false, recursive_match: false, special_use: false }, reference: Ok("#news.comp.mail.misc"), patterns: [Ok("*/%")], returns: ListReturn { subscribed: false, children: false, special_use: false, status: None } })"##,
        ),
        (
            r#"LIST (SUBSCRIBED RECURSIVEMATCH) "" ("INBOX" "Drafts" Sent/%) RETURN (CHILDREN STATUS (MESSAGES UNSEEN))"#,
            r#"List(ListCommand { form: Extended, selection: ListSelection { subscribed: true, remote: false, recursive_match: true, special_use: false }, reference: Ok(""), patterns: [Ok("INBOX"), Ok("Drafts"), Ok("Sent/%")], returns: ListReturn { subscribed: false, children: true, special_use: false, status: Some([Messages, Unseen]) } })"#,
        ),
        (
            r#"LIST () "" * RETURN ()"#,
            r#"List(ListCommand { form: Extended, selection: ListSelection { subscribed: false, remote: false, recursive_match: false, special_use: false }, reference: Ok(""), patterns: [Ok("*")], returns: ListReturn { subscribed: false, children: false, special_use: false, status: None } })"#,
        ),
        (r#"LIST (RECURSIVEMATCH REMOTE) "" *"#, "BAD RECURSIVEMATCH must not stand alone"),
        (
            r#"LIST "" % RETURN (SPECIAL-USE SUBSCRIBED)"#,
            r#"List(ListCommand { form: Extended, selection: ListSelection { subscribed: false, remote: false, recursive_match: false, special_use: false }, reference: Ok(""), patterns: [Ok("%")], returns: ListReturn { subscribed: true, children: false, special_use: true, status: None } })"#,
        ),
        (
            r#"LIST "" Entw&APw-*"#,
            r#"List(ListCommand { form: Basic, selection: ListSelection { subscribed: false, remote: false, recursive_match: false, special_use: false }, reference: Ok(""), patterns: [Ok("Entwü*")], returns: ListReturn { subscribed: false, children: false, special_use: false, status: None } })"#,
        ),
        (
            r#"LIST "" Entw&AP*"#,
            r#"List(ListCommand { form: Basic, selection: ListSelection { subscribed: false, remote: false, recursive_match: false, special_use: false }, reference: Ok(""), patterns: [Err(NotUtf7)], returns: ListReturn { subscribed: false, children: false, special_use: false, status: None } })"#,
        ),
        (
            r##"LSUB "#news." "comp.mail.*""##,
            r##"Lsub { reference: Ok("#news."), pattern: Ok("comp.mail.*") }"##,
        ),
    ]);
}

#[test]
fn store_and_copy() {
    assert_meanings(&[
        ("UID EXPUNGE 3000:3002", "UidExpunge { uids: 3000:3002 }"),
        ("EXPUNGE 3", "BAD unexpected argument"),
        (
            "COPY 2:4,* MEETING",
            r#"Copy { numbering: Sequence, set: 2:4,*, mailbox: Ok("MEETING") }"#,
        ),
        ("UID MOVE 42:69 foo", r#"Move { numbering: Uid, set: 42:69, mailbox: Ok("foo") }"#),
        (
            r"STORE 2:4 +FLAGS (\Deleted)",
            "Store(StoreCommand { numbering: Sequence, set: 2:4, unchanged_since: None, change: Add, silent: false, flags: Ok(FlagList { system: SystemFlags(8), keywords: [] }) })",
        ),
        (
            r"STORE 7,5,9 (UNCHANGEDSINCE 320162338) +FLAGS.SILENT (\Deleted $MDNSent)",
            r#"Store(StoreCommand { numbering: Sequence, set: 7,5,9, unchanged_since: Some(ModSeq(320162338)), change: Add, silent: true, flags: Ok(FlagList { system: SystemFlags(8), keywords: [Keyword("$MDNSent")] }) })"#,
        ),
        (
            r"UID STORE 4:4 -flags \Seen Work WORK \Recent",
            r#"Store(StoreCommand { numbering: Uid, set: 4, unchanged_since: None, change: Remove, silent: false, flags: Ok(FlagList { system: SystemFlags(1), keywords: [Keyword("Work")] }) })"#,
        ),
        (
            "STORE 1 FLAGS ()",
            "Store(StoreCommand { numbering: Sequence, set: 1, unchanged_since: None, change: Replace, silent: false, flags: Ok(FlagList { system: SystemFlags(0), keywords: [] }) })",
        ),
        (r"STORE 1 FLAGS (\*)", "BAD atom expected"),
    ]);
}

#[test]
fn unknown_and_incomplete() {
    assert_meanings(&[
        ("UID NOOP", "BAD space expected"),
        ("UID", "BAD space expected"),
        ("CLOSE x", "BAD unexpected argument"),
        ("X-UNKNOWN foo bar", "BAD unknown command"),
        ("APPEND INBOX", "BAD APPEND without a message literal"),
    ]);
}

#[test]
fn fetch() {
    assert_meanings(&[
        (
            "FETCH 1 FAST",
            "Fetch(FetchCommand { numbering: Sequence, set: 1, items: [Flags, InternalDate, Rfc822Size], changed_since: None, vanished: false })",
        ),
        (
            "FETCH 1 all",
            "Fetch(FetchCommand { numbering: Sequence, set: 1, items: [Flags, InternalDate, Rfc822Size, Envelope], changed_since: None, vanished: false })",
        ),
        (
            "FETCH 1 Full",
            "Fetch(FetchCommand { numbering: Sequence, set: 1, items: [Flags, InternalDate, Rfc822Size, Envelope, Body], changed_since: None, vanished: false })",
        ),
        ("FETCH 1 (FAST)", "BAD a macro stands alone"),
        (
            r#"FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE "From")] flags)"#,
            r#"Fetch(FetchCommand { numbering: Sequence, set: 2:4, items: [Flags, BodySection { section: Section { part: [], text: HeaderFields { names: [b"DATE", b"From"], not: false } }, peek: false, partial: None }], changed_since: None, vanished: false })"#,
        ),
        (
            "FETCH 1 BODY.PEEK[1.2.MIME]<0.2048>",
            "Fetch(FetchCommand { numbering: Sequence, set: 1, items: [BodySection { section: Section { part: [1, 2], text: Mime }, peek: true, partial: Some(Partial { first: 0, length: 2048 }) }], changed_since: None, vanished: false })",
        ),
        (
            "FETCH 1 (BODY[] BODY[3] BODY[4.1.HEADER.FIELDS.NOT (to)] BODY[TEXT] BODY)",
            r#"Fetch(FetchCommand { numbering: Sequence, set: 1, items: [BodySection { section: Section { part: [], text: All }, peek: false, partial: None }, BodySection { section: Section { part: [3], text: All }, peek: false, partial: None }, BodySection { section: Section { part: [4, 1], text: HeaderFields { names: [b"to"], not: true } }, peek: false, partial: None }, BodySection { section: Section { part: [], text: Text }, peek: false, partial: None }, Body], changed_since: None, vanished: false })"#,
        ),
        ("FETCH 1 BODY[MIME]", "BAD unknown section"),
        ("FETCH 1 BODY[1.]", "BAD unknown word"),
        ("FETCH 1 BODY[0]", "BAD number must not begin with 0"),
        ("FETCH 1 BODY[]<0.0>", "BAD an empty partial"),
        (
            "FETCH 1 (BINARY[1.2]<5.6> BINARY.PEEK[] BINARY.SIZE[4])",
            "Fetch(FetchCommand { numbering: Sequence, set: 1, items: [Binary { part: [1, 2], peek: false, partial: Some(Partial { first: 5, length: 6 }) }, Binary { part: [], peek: true, partial: None }, BinarySize { part: [4] }], changed_since: None, vanished: false })",
        ),
        (
            "FETCH 1 (RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE UID MODSEQ EMAILID THREADID SAVEDATE INTERNALDATE ENVELOPE BODYSTRUCTURE)",
            "Fetch(FetchCommand { numbering: Sequence, set: 1, items: [Rfc822, Rfc822Header, Rfc822Text, Rfc822Size, Uid, ModSeq, EmailId, ThreadId, SaveDate, InternalDate, Envelope, BodyStructure], changed_since: None, vanished: false })",
        ),
        ("FETCH 0 FLAGS", "BAD number must not begin with 0"),
        ("FETCH 01 FLAGS", "BAD number must not begin with 0"),
        ("FETCH 4294967296 FLAGS", "BAD number too large"),
        (
            "FETCH $ FLAGS",
            "Fetch(FetchCommand { numbering: Sequence, set: $, items: [Flags], changed_since: None, vanished: false })",
        ),
        (
            "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)",
            "Fetch(FetchCommand { numbering: Uid, set: 1:*, items: [Flags], changed_since: Some(ModSeq(12345)), vanished: true })",
        ),
        (
            "FETCH 1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)",
            "BAD VANISHED needs UID FETCH and CHANGEDSINCE",
        ),
        ("UID FETCH 1:* FLAGS (VANISHED)", "BAD VANISHED needs UID FETCH and CHANGEDSINCE"),
    ]);
}

#[test]
fn search() {
    assert_meanings(&[
        (
            r#"SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith""#,
            r#"Search(SearchCommand { numbering: Sequence, returns: None, key: Ok(And([Flag(Flagged), Since(8797), Not(From(b"Smith"))])) })"#,
        ),
        (
            r#"SEARCH TEXT "string not in mailbox""#,
            r#"Search(SearchCommand { numbering: Sequence, returns: None, key: Ok(Text(b"string not in mailbox")) })"#,
        ),
        (
            "UID SEARCH RETURN (MIN COUNT) CHARSET UTF-8 (OR UNSEEN 1:3,*) UID 5:*",
            "Search(SearchCommand { numbering: Uid, returns: Some(SearchReturn { min: true, max: false, all: false, count: true, save: false }), key: Ok(And([Or(Not(Flag(Seen)), Numbers(1:3,*)), Uids(5:*)])) })",
        ),
        (
            "SEARCH RETURN () ALL",
            "Search(SearchCommand { numbering: Sequence, returns: Some(SearchReturn { min: false, max: false, all: true, count: false, save: false }), key: Ok(All) })",
        ),
        (
            "SEARCH RETURN (SAVE) $",
            "Search(SearchCommand { numbering: Sequence, returns: Some(SearchReturn { min: false, max: false, all: false, count: false, save: true }), key: Ok(Numbers($)) })",
        ),
        (
            "SEARCH CHARSET X-FOO SUBJECT x",
            "Search(SearchCommand { numbering: Sequence, returns: None, key: Err(UnknownCharset) })",
        ),
        (
            r#"SEARCH MODSEQ "/flags/\\draft" all 620162338"#,
            "Search(SearchCommand { numbering: Sequence, returns: None, key: Ok(ModSeq(ModSeq(620162338))) })",
        ),
        (
            "SEARCH MODSEQ 720162338 LARGER 50000",
            "Search(SearchCommand { numbering: Sequence, returns: None, key: Ok(And([ModSeq(ModSeq(720162338)), Larger(50000)])) })",
        ),
        (
            "SEARCH NEW OLD RECENT KEYWORD $Junk UNKEYWORD a HEADER Message-ID <a@b>",
            r#"Search(SearchCommand { numbering: Sequence, returns: None, key: Ok(And([And([Recent, Not(Flag(Seen))]), Not(Recent), Recent, Keyword(Keyword("$Junk")), Not(Keyword(Keyword("a"))), Header { name: b"Message-ID", text: b"<a@b>" }])) })"#,
        ),
        (
            r#"SEARCH SENTON "29-Feb-2024" BEFORE 01-Jan-1970 ON 31-Dec-1969 SAVEDSINCE 1-jan-2026 SAVEDATESUPPORTED"#,
            "Search(SearchCommand { numbering: Sequence, returns: None, key: Ok(And([SentOn(19782), Before(0), On(-1), SavedSince(20454), SaveDateSupported])) })",
        ),
        ("SEARCH ON 30-Feb-2024", "BAD wrong date"),
        (
            "SEARCH YOUNGER 259200 OLDER 1 SMALLER 4294967296",
            "Search(SearchCommand { numbering: Sequence, returns: None, key: Ok(And([Younger(259200), Older(1), Smaller(4294967296)])) })",
        ),
        (
            "SEARCH EMAILID M000000000000002a THREADID xyz",
            "Search(SearchCommand { numbering: Sequence, returns: None, key: Ok(And([EmailId(EmailId(42)), NoSuchId])) })",
        ),
        ("SEARCH", "BAD space expected"),
        ("SEARCH ()", "BAD number expected"),
        ("SEARCH FOO", "BAD unknown search key, or one without its argument"),
        ("SEARCH NOT", "BAD space expected"),
    ]);
}

#[test]
fn utf8_names_and_strings() {
    let utf8 = |line: &str| meaning(NameEncoding::Utf8, line);
    assert_eq!(utf8(r#"DELETE "Q&A/Entwürfe""#), r#"Delete { mailbox: Ok("Q&A/Entwürfe") }"#);
    assert_eq!(utf8("SEARCH CHARSET UTF-8 ALL"), "BAD no CHARSET after UTF8=ACCEPT");
    assert_eq!(
        utf8(r#"LIST "" "Entwu\u{308}*""#.replace(r"\u{308}", "\u{308}").as_str()),
        meaning(NameEncoding::Utf8, r#"LIST "" "Entwü*""#),
        "patterns are in NFC"
    );
}

#[test]
fn limits() {
    let utf7 = |line: &str| meaning(NameEncoding::Utf7, line);
    let deep = |depth: usize| format!("SEARCH {}SEEN{}", "(".repeat(depth), ")".repeat(depth));
    assert!(utf7(&deep(127)).starts_with("Search"));
    assert_eq!(utf7(&deep(128)), "BAD search keys too deep");
    assert_eq!(utf7(&deep(30_000)), "BAD search keys too deep");
    assert_eq!(utf7(&format!("SEARCH {}SEEN", "NOT ".repeat(10_000))), "BAD search keys too deep");
    assert_eq!(utf7(&format!("SEARCH {}", "OR ".repeat(10_000))), "BAD search keys too deep");
    assert_eq!(utf7(&format!("SEARCH ALL{}", " ALL".repeat(1023)))[..6], *"Search");
    assert_eq!(utf7(&format!("SEARCH ALL{}", " ALL".repeat(1024))), "BAD too many search keys");
    let keyword = "k".repeat(65);
    assert!(utf7(&format!("STORE 1 FLAGS ({keyword})")).contains("Err(KeywordTooLong)"));
    assert!(utf7(&format!("SEARCH KEYWORD {keyword}")).contains("NoSuchKeyword"));
    let many = |count| (0..count).map(|n| format!(" k{n}")).collect::<String>();
    assert!(utf7(&format!("STORE 1 FLAGS (x{})", many(255))).contains("Ok("));
    assert!(utf7(&format!("STORE 1 FLAGS (x{})", many(256))).contains("Err(TooManyKeywords)"));
    let parts = |count| (1..=count).map(|n| format!(" BODY[{n}]")).collect::<String>();
    assert!(utf7(&format!("FETCH 1 (UID{})", parts(127))).starts_with("Fetch"));
    assert_eq!(utf7(&format!("FETCH 1 (UID{})", parts(128))), "BAD too many items");
    assert_eq!(utf7(&format!("LIST \"\" (a{})", " b".repeat(64))), "BAD too many patterns");
    assert!(utf7(&format!("LIST \"\" {}", "a".repeat(1025))).contains("Err(Name(TooLong))"));
    assert_eq!(utf7(&format!("ID ({})", ["\"a\" NIL"; 31].join(" "))), "BAD too many fields");
    assert!(utf7(&format!("SELECT {}", "a".repeat(256))).contains("Err(Name(TooLong))"));
}
