//! Commands drawn at random from the grammar, and commands written back to the wire.

use bytes::BytesMut;
use imap::codec::encode::{put_internal_date, put_section};
use imap::codec::{
    CommandBody, Enabled, FetchCommand, FetchItem, FlagList, ListCommand, Mailbox, Numbering,
    Partial, SearchCommand, SearchKey, SelectParams, SequenceSet, StatusItem, StoreCommand, utf7,
};
use mailstore::face::{FlagChange, InternalDate, Section, SectionText, SystemFlag};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// A piece of a command: fixed text, or a string that may be written in several ways.
#[derive(Clone, Debug)]
pub enum Piece {
    Raw(String),
    Text(Vec<u8>, Form),
    /// The same where an atom is not allowed.
    NoAtom(Vec<u8>, Form),
}

/// The way a string is written, when it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Atom,
    Quoted,
    Literal,
}

pub type Pieces = Vec<Piece>;

/// The command as drawn, or with every string in its plainest form.
pub fn render(pieces: &Pieces, forced: Option<Form>) -> Vec<u8> {
    let mut wire = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Raw(text) => wire.extend(text.bytes()),
            Piece::Text(text, form) => put_text(&mut wire, text, forced.unwrap_or(*form)),
            Piece::NoAtom(text, form) => match forced.unwrap_or(*form) {
                Form::Literal => put_text(&mut wire, text, Form::Literal),
                Form::Atom | Form::Quoted => put_text(&mut wire, text, Form::Quoted),
            },
        }
    }
    wire
}

fn put_text(wire: &mut Vec<u8>, text: &[u8], form: Form) {
    let is_atom = |byte: &u8| byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(byte);
    let can_be_atom = !text.is_empty() && text.iter().all(is_atom);
    let can_be_quoted = text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if form == Form::Atom && can_be_atom {
        wire.extend(text);
    } else if form != Form::Literal && can_be_quoted {
        wire.push(b'"');
        for &byte in text {
            if matches!(byte, b'"' | b'\\') {
                wire.push(b'\\');
            }
            wire.push(byte);
        }
        wire.push(b'"');
    } else {
        wire.extend(format!("{{{}+}}\r\n", text.len()).bytes());
        wire.extend(text);
    }
}

fn raw(text: impl Into<String>) -> Piece {
    Piece::Raw(text.into())
}

fn form() -> impl Strategy<Value = Form> {
    select(vec![Form::Atom, Form::Quoted, Form::Literal])
}

fn text() -> impl Strategy<Value = Piece> {
    let bytes = prop_oneof![
        "[a-zA-Z0-9.-]{1,8}".prop_map(String::into_bytes),
        "[ -~]{0,8}".prop_map(String::into_bytes),
        "[a-zü日\r\n]{0,5}".prop_map(String::into_bytes),
    ];
    (bytes, form()).prop_map(|(bytes, form)| Piece::Text(bytes, form))
}

fn mailbox() -> impl Strategy<Value = Piece> {
    let name = prop_oneof!["INBOX", "[a-zÄ&日 ]{1,6}", "[a-z]{1,4}/[a-zü~.]{1,4}"];
    (name, form()).prop_map(|(name, form)| {
        let mut wire = Vec::new();
        utf7::encode(&name, &mut wire);
        Piece::Text(wire, form)
    })
}

fn set() -> impl Strategy<Value = String> {
    let number = || {
        prop_oneof![(1_u32..).prop_map(|n| n.to_string()), (1_u32..9).prop_map(|n| n.to_string())]
    };
    let range = prop_oneof![
        number(),
        Just("*".to_owned()),
        number().prop_map(|from| format!("{from}:*")),
        (number(), number())
            .prop_filter("a range", |(a, b)| a != b)
            .prop_map(|(a, b)| format!("{a}:{b}")),
    ];
    vec(range, 1..4).prop_map(|ranges| ranges.join(","))
}

fn date() -> impl Strategy<Value = String> {
    let months =
        vec!["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    (1..29, select(months), 1900..2100).prop_map(|(d, m, y)| format!("{d}-{m}-{y}"))
}

fn flags() -> impl Strategy<Value = String> {
    let system = subsequence(SystemFlag::ALL.map(SystemFlag::name).to_vec(), 0..=5);
    let keywords = subsequence(vec!["$Forwarded", "Work", "x", "a.b", "NonJunk"], 0..=5);
    (system, keywords).prop_map(|(system, keywords)| [system, keywords].concat().join(" "))
}

/// Keys that the oracle knows.
fn search_key() -> BoxedStrategy<Pieces> {
    let plain = select(
        "ALL ANSWERED DELETED DRAFT FLAGGED SEEN UNANSWERED UNDELETED UNDRAFT UNFLAGGED UNSEEN NEW OLD RECENT"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    let with_text = select(vec!["BCC", "CC", "FROM", "TO", "SUBJECT", "BODY", "TEXT"]);
    let with_date = select(vec!["BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE"]);
    let with_number = select(vec!["LARGER", "SMALLER", "YOUNGER", "OLDER", "MODSEQ"]);
    let leaf = prop_oneof![
        plain.prop_map(|word| vec![raw(word)]),
        (with_text, text()).prop_map(|(word, text)| vec![raw(format!("{word} ")), text]),
        (with_date, date()).prop_map(|(word, date)| vec![raw(format!("{word} {date}"))]),
        (with_number, 1_u32..).prop_map(|(word, number)| vec![raw(format!("{word} {number}"))]),
        set().prop_map(|set| vec![raw(set)]),
        set().prop_map(|set| vec![raw(format!("UID {set}"))]),
        ("(UN)?KEYWORD [a-z$]{1,5}").prop_map(|key| vec![raw(key)]),
        (text(), text()).prop_map(|(name, text)| vec![raw("HEADER "), name, raw(" "), text]),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| [
                vec![raw("OR ")],
                left,
                vec![raw(" ")],
                right
            ]
            .concat()),
            // Of NOT, only what has no name of its own.
            (set(), date())
                .prop_map(|(set, date)| vec![raw(format!("NOT OR UID {set} ON {date}"))]),
            vec(inner, 2..4).prop_map(|keys| [
                vec![raw("(")],
                keys.join(&raw(" ")),
                vec![raw(")")]
            ]
            .concat()),
        ]
    })
    .boxed()
}

fn fetch_items() -> impl Strategy<Value = Pieces> {
    let plain = subsequence(
        "ENVELOPE FLAGS INTERNALDATE RFC822 RFC822.HEADER RFC822.SIZE RFC822.TEXT BODY BODYSTRUCTURE UID MODSEQ"
            .split(' ')
            .map(|word| vec![raw(word)])
            .collect::<Vec<_>>(),
        1..5,
    );
    let part = || {
        vec(1_u32..20, 0..3)
            .prop_map(|part| part.iter().map(u32::to_string).collect::<Vec<_>>().join("."))
    };
    let partial = || {
        prop_oneof![Just(String::new()), (0_u32.., 1_u32..).prop_map(|(a, b)| format!("<{a}.{b}>"))]
    };
    let word = select(vec!["", "HEADER", "TEXT", "MIME", "HEADER.FIELDS (", "HEADER.FIELDS.NOT ("]);
    let fields = vec(
        "[A-Za-z-]{1,6}".prop_map(|name| vec![Piece::Text(name.into_bytes(), Form::Atom)]),
        1..3,
    );
    let section = (part(), word, fields, partial(), select(vec!["BODY[", "BODY.PEEK["])).prop_map(
        |(part, word, fields, partial, name)| {
            let word = if part.is_empty() && word == "MIME" { "TEXT" } else { word };
            let dot = if part.is_empty() || word.is_empty() { "" } else { "." };
            let mut pieces = vec![raw(format!("{name}{part}{dot}{word}"))];
            if word.ends_with('(') {
                pieces.extend(fields.join(&raw(" ")));
                pieces.push(raw(")"));
            }
            pieces.push(raw(format!("]{partial}")));
            pieces
        },
    );
    let binary = (part(), partial(), select(vec!["BINARY[", "BINARY.PEEK[", "BINARY.SIZE["]))
        .prop_map(|(part, partial, name)| {
            let partial = if name == "BINARY.SIZE[" { String::new() } else { partial };
            vec![raw(format!("{name}{part}]{partial}"))]
        });
    (plain, section, binary).prop_map(|(mut items, section, binary)| {
        items.extend([section, binary]);
        [vec![raw("(")], items.join(&raw(" ")), vec![raw(")")]].concat()
    })
}

/// Commands that the oracle knows, without their tag and CRLF.
pub fn known_to_oracle() -> impl Strategy<Value = Pieces> {
    let plain = select(
        "CAPABILITY NOOP LOGOUT STARTTLS NAMESPACE IDLE CHECK CLOSE UNSELECT EXPUNGE"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    let with_mailbox = select(
        "SELECT EXAMINE CREATE DELETE SUBSCRIBE UNSUBSCRIBE GETQUOTAROOT"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    let select_params = select(vec![
        "",
        " (CONDSTORE)",
        " (QRESYNC (67890007 20050715194045000 41,43:211))",
        " (QRESYNC (67890007 90060115194045000 41:211 (1:2 41:42)))",
    ]);
    let status = subsequence(
        "MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ DELETED-STORAGE"
            .split(' ')
            .collect::<Vec<_>>(),
        1..9,
    );
    let uid = || select(vec!["", "UID "]);
    let store = select(vec!["FLAGS", "+FLAGS", "-FLAGS.SILENT", "FLAGS.SILENT"]);
    let unchanged = select(vec!["", "(UNCHANGEDSINCE 0) ", "(UNCHANGEDSINCE 12345678901) "]);
    prop_oneof![
        plain.prop_map(|word| vec![raw(word)]),
        (with_mailbox, mailbox()).prop_map(|(word, name)| vec![raw(format!("{word} ")), name]),
        (mailbox(), select_params).prop_map(|(name, params)| vec![
            raw("SELECT "),
            name,
            raw(params)
        ]),
        (mailbox(), mailbox()).prop_map(|(from, to)| vec![raw("RENAME "), from, raw(" "), to]),
        (text(), text()).prop_map(|(name, word)| vec![raw("LOGIN "), name, raw(" "), word]),
        (select(vec!["LIST", "LSUB"]), mailbox(), "[a-z/*%]{1,5}").prop_map(
            |(word, name, pattern)| vec![raw(format!("{word} ")), name, raw(format!(" {pattern}"))]
        ),
        (mailbox(), status).prop_map(|(name, items)| vec![
            raw("STATUS "),
            name,
            raw(format!(" ({})", items.join(" ")))
        ]),
        (uid(), select(vec!["COPY", "MOVE"]), set(), mailbox())
            .prop_map(|(uid, word, set, name)| vec![raw(format!("{uid}{word} {set} ")), name]),
        set().prop_map(|set| vec![raw(format!("UID EXPUNGE {set}"))]),
        (uid(), set(), unchanged, store, flags()).prop_map(
            |(uid, set, unchanged, store, flags)| vec![raw(format!(
                "{uid}STORE {set} {unchanged}{store} ({flags})"
            ))]
        ),
        (uid(), set(), fetch_items(), select(vec!["", " (CHANGEDSINCE 7)"])).prop_map(
            |(uid, set, items, modifiers)| [
                vec![raw(format!("{uid}FETCH {set} "))],
                items,
                vec![raw(modifiers)]
            ]
            .concat()
        ),
        (uid(), vec(search_key(), 1..4)).prop_map(|(uid, mut keys)| {
            // Parentheses around everything change nothing, and the oracle keeps them.
            if matches!(&keys[..], [only] if matches!(&only[0], Piece::Raw(text) if text == "(")) {
                keys.push(vec![raw("ALL")]);
            }
            [vec![raw(format!("{uid}SEARCH "))], keys.join(&raw(" "))].concat()
        }),
        (text(), text()).prop_map(|(a, b)| {
            let string = |piece| match piece {
                Piece::Text(text, form) => Piece::NoAtom(text, form),
                other => other,
            };
            vec![raw("ID ("), string(a), raw(" "), string(b), raw(" \"os\" NIL)")]
        }),
    ]
}

/// APPEND up to its literal, with flags and a date.
pub fn append_head() -> impl Strategy<Value = Pieces> {
    let zone = select(vec!["+0000", "-0730", "+1400"]);
    (mailbox(), flags(), date(), zone).prop_map(|(name, flags, date, zone)| {
        let date = format!("{:0>11}", date).replacen('0', " ", usize::from(date.len() < 11));
        let rest = format!(" ({flags}) \"{date} 23:59:01 {zone}\"");
        vec![raw("APPEND "), name, raw(rest)]
    })
}

/// Commands that only we know.
pub fn extensions() -> impl Strategy<Value = Pieces> {
    let selection = subsequence(vec!["SUBSCRIBED", "REMOTE", "SPECIAL-USE"], 0..=3);
    let returns = subsequence(
        vec!["SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "STATUS (MESSAGES MAILBOXID)"],
        0..=4,
    );
    let search = subsequence(vec!["MIN", "MAX", "ALL", "COUNT", "SAVE"], 0..=5);
    let key = select(vec![
        "SAVEDON 1-Jan-2026",
        "SAVEDATESUPPORTED",
        "EMAILID M00000000000000ff",
        "THREADID T00000000000000ff",
        "$",
        "THREADID none",
        "LARGER 9223372036854775807",
    ]);
    let uses = subsequence(vec!["\\Archive", "\\Drafts", "\\Junk"], 0..=3);
    prop_oneof![
        (selection, mailbox(), vec("[a-z*%/]{1,4}", 1..4), returns).prop_map(
            |(selection, name, patterns, returns)| {
                let (selection, patterns, returns) =
                    (selection.join(" "), patterns.join(" "), returns.join(" "));
                vec![
                    raw(format!("LIST ({selection}) ")),
                    name,
                    raw(format!(" ({patterns}) RETURN ({returns})")),
                ]
            }
        ),
        (search, key, search_key()).prop_map(|(returns, key, more)| {
            [vec![raw(format!("UID SEARCH RETURN ({}) {key} ", returns.join(" ")))], more].concat()
        }),
        (mailbox(), uses).prop_map(|(name, uses)| vec![
            raw("CREATE "),
            name,
            raw(format!(" (USE ({}))", uses.join(" ")))
        ]),
        Just(vec![raw("UID FETCH $ (EMAILID THREADID SAVEDATE) (CHANGEDSINCE 5 VANISHED)")]),
        subsequence(vec!["CONDSTORE", "QRESYNC", "UTF8=ACCEPT", "IMAP4REV2"], 1..=4)
            .prop_map(|names| vec![raw(format!("ENABLE {}", names.join(" ")))]),
        (text(), 0_u64..1 << 63).prop_map(|(root, limit)| vec![
            raw("SETQUOTA "),
            root,
            raw(format!(" (STORAGE {limit})"))
        ]),
        text().prop_map(|root| vec![raw("GETQUOTA "), root]),
        "[A-Z0-9-]{1,8}"
            .prop_map(|mechanism| vec![raw(format!("AUTHENTICATE {mechanism} dGVzdA=="))]),
    ]
}

/// A command written back.
pub fn wire(body: &CommandBody) -> Vec<u8> {
    let mut wire = Writer(Vec::new());
    wire.body(body);
    wire.0
}

struct Writer(Vec<u8>);

impl Writer {
    fn put(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.0.extend(text.as_ref().bytes());
        self
    }

    fn text(&mut self, text: &[u8]) -> &mut Self {
        put_text(&mut self.0, text, Form::Atom);
        self
    }

    fn mailbox(&mut self, mailbox: &Mailbox) -> &mut Self {
        let mut wire = Vec::new();
        utf7::encode(mailbox.as_ref().expect("drawn valid").as_str(), &mut wire);
        self.text(&wire)
    }

    fn numbered(&mut self, numbering: Numbering, word: &str, set: &SequenceSet) -> &mut Self {
        self.put(if numbering == Numbering::Uid { "UID " } else { "" }).put(format!("{word} {set}"))
    }

    fn flags(&mut self, flags: &FlagList) {
        let system = SystemFlag::ALL.into_iter().filter(|flag| flags.system.has(*flag));
        let mut names: Vec<&str> = system.map(SystemFlag::name).collect();
        names.extend(flags.keywords.iter().map(|keyword| keyword.as_str()));
        self.put(format!("({})", names.join(" ")));
    }

    fn body(&mut self, body: &CommandBody) {
        match body {
            CommandBody::Capability => self.put("CAPABILITY"),
            CommandBody::Noop => self.put("NOOP"),
            CommandBody::Logout => self.put("LOGOUT"),
            CommandBody::StartTls => self.put("STARTTLS"),
            CommandBody::Namespace => self.put("NAMESPACE"),
            CommandBody::Idle => self.put("IDLE"),
            CommandBody::Check => self.put("CHECK"),
            CommandBody::Close => self.put("CLOSE"),
            CommandBody::Unselect => self.put("UNSELECT"),
            CommandBody::Expunge => self.put("EXPUNGE"),
            CommandBody::Id(None) => self.put("ID NIL"),
            CommandBody::Id(Some(pairs)) => {
                for (index, (field, value)) in pairs.iter().enumerate() {
                    self.put(if index == 0 { "ID (" } else { " " });
                    put_text(&mut self.0, field, Form::Quoted);
                    self.put(" ");
                    match value {
                        Some(value) => put_text(&mut self.0, value, Form::Quoted),
                        None => self.0.extend(b"NIL"),
                    }
                }
                self.put(")")
            }
            CommandBody::Authenticate { mechanism, initial } => self
                .put("AUTHENTICATE ")
                .text(mechanism)
                .put(" ")
                .text(initial.as_ref().expect("drawn")),
            CommandBody::Login { username, password } => {
                self.put("LOGIN ").text(username).put(" ").text(password)
            }
            CommandBody::Enable(names) => {
                self.put("ENABLE");
                for name in names {
                    self.put(match name {
                        Enabled::CondStore => " CONDSTORE",
                        Enabled::QResync => " QRESYNC",
                        Enabled::Utf8Accept => " UTF8=ACCEPT",
                        Enabled::Imap4Rev2 => " IMAP4rev2",
                    });
                }
                self
            }
            CommandBody::Select { mailbox, params } => {
                self.put("SELECT ").mailbox(mailbox).params(params)
            }
            CommandBody::Examine { mailbox, params } => {
                self.put("EXAMINE ").mailbox(mailbox).params(params)
            }
            CommandBody::Create { mailbox, special_use } => {
                self.put("CREATE ").mailbox(mailbox);
                let uses = special_use.as_ref().expect("drawn valid");
                if !uses.is_empty() {
                    let names: Vec<_> = uses.iter().map(|special| special.name()).collect();
                    self.put(format!(" (USE ({}))", names.join(" ")));
                }
                self
            }
            CommandBody::Delete { mailbox } => self.put("DELETE ").mailbox(mailbox),
            CommandBody::Rename { from, to } => {
                self.put("RENAME ").mailbox(from).put(" ").mailbox(to)
            }
            CommandBody::Subscribe { mailbox } => self.put("SUBSCRIBE ").mailbox(mailbox),
            CommandBody::Unsubscribe { mailbox } => self.put("UNSUBSCRIBE ").mailbox(mailbox),
            CommandBody::List(list) => self.list(list),
            CommandBody::Lsub { reference, pattern } => self
                .put("LSUB ")
                .pattern(reference.as_ref().expect("valid"))
                .put(" ")
                .put(pattern.as_ref().expect("valid")),
            CommandBody::Status { mailbox, items } => {
                self.put("STATUS ").mailbox(mailbox).put(" ").status_items(items)
            }
            CommandBody::GetQuota { root } => self.put("GETQUOTA ").text(root),
            CommandBody::GetQuotaRoot { mailbox } => self.put("GETQUOTAROOT ").mailbox(mailbox),
            CommandBody::SetQuota { root, limits } => {
                let (name, limit) = &limits[0];
                self.put("SETQUOTA ").text(root).put(" (").text(name).put(format!(" {limit})"))
            }
            CommandBody::UidExpunge { uids } => self.numbered(Numbering::Uid, "EXPUNGE", uids),
            CommandBody::Search(search) => self.search(search),
            CommandBody::Fetch(fetch) => self.fetch(fetch),
            CommandBody::Store(store) => self.store(store),
            CommandBody::Copy { numbering, set, mailbox } => {
                self.numbered(*numbering, "COPY", set).put(" ").mailbox(mailbox)
            }
            CommandBody::Move { numbering, set, mailbox } => {
                self.numbered(*numbering, "MOVE", set).put(" ").mailbox(mailbox)
            }
        };
    }

    fn params(&mut self, params: &SelectParams) -> &mut Self {
        if params.condstore {
            self.put(" (CONDSTORE)");
        }
        if let Some(known) = &params.qresync {
            self.put(format!(" (QRESYNC ({} {}", known.uid_validity, known.mod_seq));
            if let Some(uids) = &known.known_uids {
                self.put(format!(" {uids}"));
            }
            if let Some((seqs, uids)) = &known.match_data {
                self.put(format!(" ({seqs} {uids})"));
            }
            self.put("))");
        }
        self
    }

    fn pattern(&mut self, pattern: &str) -> &mut Self {
        let mut wire = Vec::new();
        utf7::encode(pattern, &mut wire);
        self.text(&wire)
    }

    fn status_items(&mut self, items: &[StatusItem]) -> &mut Self {
        let names: Vec<_> = items.iter().map(|item| item.name()).collect();
        self.put(format!("({})", names.join(" ")))
    }

    fn list(&mut self, list: &ListCommand) -> &mut Self {
        let ListCommand { form, selection, reference, patterns, returns } = list;
        let patterns: Vec<_> =
            patterns.iter().map(|pattern| pattern.clone().expect("valid")).collect();
        if *form == imap::codec::ListForm::Basic {
            return self
                .put("LIST ")
                .pattern(reference.as_ref().expect("valid"))
                .put(" ")
                .put(&patterns[0]);
        }
        let chosen = |options: &[(bool, &'static str)]| {
            let names: Vec<_> =
                options.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            names.join(" ")
        };
        let selected = chosen(&[
            (selection.subscribed, "SUBSCRIBED"),
            (selection.remote, "REMOTE"),
            (selection.special_use, "SPECIAL-USE"),
            (selection.recursive_match, "RECURSIVEMATCH"),
        ]);
        self.put(format!("LIST ({selected}) ")).pattern(reference.as_ref().expect("valid"));
        self.put(format!(" ({}) RETURN (", patterns.join(" ")));
        let returned = chosen(&[
            (returns.subscribed, "SUBSCRIBED"),
            (returns.children, "CHILDREN"),
            (returns.special_use, "SPECIAL-USE"),
        ]);
        self.put(&returned);
        if let Some(items) = &returns.status {
            self.put(if returned.is_empty() { "STATUS " } else { " STATUS " }).status_items(items);
        }
        self.put(")")
    }

    fn store(&mut self, store: &StoreCommand) -> &mut Self {
        self.numbered(store.numbering, "STORE", &store.set).put(" ");
        if let Some(mod_seq) = store.unchanged_since {
            self.put(format!("(UNCHANGEDSINCE {mod_seq}) "));
        }
        self.put(match store.change {
            FlagChange::Add => "+",
            FlagChange::Remove => "-",
            FlagChange::Replace => "",
        });
        self.put(if store.silent { "FLAGS.SILENT " } else { "FLAGS " });
        self.flags(store.flags.as_ref().expect("few"));
        self
    }

    fn fetch(&mut self, fetch: &FetchCommand) -> &mut Self {
        self.numbered(fetch.numbering, "FETCH", &fetch.set);
        for (index, item) in fetch.items.iter().enumerate() {
            self.put(if index == 0 { " (" } else { " " }).fetch_item(item);
        }
        self.put(")");
        if let Some(mod_seq) = fetch.changed_since {
            self.put(format!(" (CHANGEDSINCE {mod_seq}"));
            self.put(if fetch.vanished { " VANISHED)" } else { ")" });
        }
        self
    }

    fn fetch_item(&mut self, item: &FetchItem) {
        let mut section = |part: &[u32], text: &SectionText, peek: bool| {
            let mut buffer = BytesMut::new();
            let section = mailstore::face::Section { part: part.to_vec(), text: text.clone() };
            put_section(&mut buffer, &section);
            let name = String::from_utf8(buffer.to_vec()).expect("ASCII");
            self.put(if peek { name.replacen('[', ".PEEK[", 1) } else { name });
        };
        match item {
            FetchItem::BodySection { section: Section { part, text }, peek, partial } => {
                section(part, text, *peek);
                self.partial(*partial);
            }
            FetchItem::Binary { part, peek, partial } => {
                section(part, &SectionText::Binary, *peek);
                self.partial(*partial);
            }
            FetchItem::BinarySize { part } => {
                let part: Vec<_> = part.iter().map(u32::to_string).collect();
                self.put(format!("BINARY.SIZE[{}]", part.join(".")));
            }
            FetchItem::Envelope => self.word("ENVELOPE"),
            FetchItem::Flags => self.word("FLAGS"),
            FetchItem::InternalDate => self.word("INTERNALDATE"),
            FetchItem::Rfc822Size => self.word("RFC822.SIZE"),
            FetchItem::Body => self.word("BODY"),
            FetchItem::BodyStructure => self.word("BODYSTRUCTURE"),
            FetchItem::Uid => self.word("UID"),
            FetchItem::Rfc822 => self.word("RFC822"),
            FetchItem::Rfc822Header => self.word("RFC822.HEADER"),
            FetchItem::Rfc822Text => self.word("RFC822.TEXT"),
            FetchItem::ModSeq => self.word("MODSEQ"),
            FetchItem::EmailId => self.word("EMAILID"),
            FetchItem::ThreadId => self.word("THREADID"),
            FetchItem::SaveDate => self.word("SAVEDATE"),
        }
    }

    fn word(&mut self, word: &str) {
        self.put(word);
    }

    fn partial(&mut self, partial: Option<Partial>) {
        if let Some(Partial { first, length }) = partial {
            self.put(format!("<{first}.{length}>"));
        }
    }

    fn search(&mut self, search: &SearchCommand) -> &mut Self {
        self.put(if search.numbering == Numbering::Uid { "UID SEARCH" } else { "SEARCH" });
        if let Some(returns) = search.returns {
            let names = [
                (returns.min, "MIN"),
                (returns.max, "MAX"),
                (returns.all, "ALL"),
                (returns.count, "COUNT"),
                (returns.save, "SAVE"),
            ];
            let names: Vec<_> = names.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            self.put(format!(" RETURN ({})", names.join(" ")));
        }
        match search.key.as_ref().expect("no charset") {
            SearchKey::And(keys) if !is_new(keys) => {
                keys.iter().for_each(|key| self.put(" ").search_key(key));
            }
            key => self.put(" ").search_key(key),
        }
        self
    }

    fn search_key(&mut self, key: &SearchKey) {
        let day = |days: &i32| {
            let date = InternalDate { unix_seconds: i64::from(*days) * 86_400, zone_minutes: 0 };
            let mut buffer = BytesMut::new();
            put_internal_date(&mut buffer, date);
            String::from_utf8_lossy(&buffer[1..12]).trim().to_owned()
        };
        match key {
            SearchKey::All => self.put("ALL"),
            SearchKey::And(keys) if is_new(keys) => self.put("NEW"),
            SearchKey::And(keys) => {
                for (index, key) in keys.iter().enumerate() {
                    self.put(if index == 0 { "(" } else { " " }).search_key(key);
                }
                self.put(")")
            }
            SearchKey::Or(left, right) => {
                self.put("OR ").search_key(left);
                self.put(" ").search_key(right);
                self
            }
            SearchKey::Not(key) => match &**key {
                SearchKey::Recent => self.put("OLD"),
                SearchKey::Flag(flag) => {
                    self.put(format!("UN{}", &flag.name()[1..].to_ascii_uppercase()))
                }
                SearchKey::Keyword(keyword) => self.put(format!("UNKEYWORD {keyword}")),
                other => {
                    self.put("NOT ").search_key(other);
                    self
                }
            },
            SearchKey::Numbers(set) => self.put(set.to_string()),
            SearchKey::Uids(set) => self.put(format!("UID {set}")),
            SearchKey::Flag(flag) => self.put(&flag.name()[1..]),
            SearchKey::Recent => self.put("RECENT"),
            SearchKey::NoSuchKeyword => self.put("KEYWORD ").put("k".repeat(99)),
            SearchKey::Keyword(keyword) => self.put(format!("KEYWORD {keyword}")),
            SearchKey::Bcc(text) => self.put("BCC ").text(text),
            SearchKey::Cc(text) => self.put("CC ").text(text),
            SearchKey::From(text) => self.put("FROM ").text(text),
            SearchKey::To(text) => self.put("TO ").text(text),
            SearchKey::Subject(text) => self.put("SUBJECT ").text(text),
            SearchKey::Body(text) => self.put("BODY ").text(text),
            SearchKey::Text(text) => self.put("TEXT ").text(text),
            SearchKey::Header { name, text } => self.put("HEADER ").text(name).put(" ").text(text),
            SearchKey::Before(days) => self.put(format!("BEFORE {}", day(days))),
            SearchKey::On(days) => self.put(format!("ON {}", day(days))),
            SearchKey::Since(days) => self.put(format!("SINCE {}", day(days))),
            SearchKey::SentBefore(days) => self.put(format!("SENTBEFORE {}", day(days))),
            SearchKey::SentOn(days) => self.put(format!("SENTON {}", day(days))),
            SearchKey::SentSince(days) => self.put(format!("SENTSINCE {}", day(days))),
            SearchKey::SavedBefore(days) => self.put(format!("SAVEDBEFORE {}", day(days))),
            SearchKey::SavedOn(days) => self.put(format!("SAVEDON {}", day(days))),
            SearchKey::SavedSince(days) => self.put(format!("SAVEDSINCE {}", day(days))),
            SearchKey::SaveDateSupported => self.put("SAVEDATESUPPORTED"),
            SearchKey::Larger(bytes) => self.put(format!("LARGER {bytes}")),
            SearchKey::Smaller(bytes) => self.put(format!("SMALLER {bytes}")),
            SearchKey::Younger(seconds) => self.put(format!("YOUNGER {seconds}")),
            SearchKey::Older(seconds) => self.put(format!("OLDER {seconds}")),
            SearchKey::ModSeq(mod_seq) => self.put(format!("MODSEQ {mod_seq}")),
            SearchKey::EmailId(id) => self.put(format!("EMAILID M{:016x}", id.0)),
            SearchKey::ThreadId(id) => self.put(format!("THREADID T{:016x}", id.0)),
            SearchKey::NoSuchId => self.put("EMAILID none"),
        };
    }
}

/// RECENT and UNSEEN side by side, as NEW gives them.
fn is_new(keys: &[SearchKey]) -> bool {
    matches!(keys, [SearchKey::Recent, SearchKey::Not(unseen)]
        if **unseen == SearchKey::Flag(SystemFlag::Seen))
}
