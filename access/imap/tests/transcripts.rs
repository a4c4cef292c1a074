//! Transcripts by RFC section, each also cut at every byte boundary.

mod support;

use support::transcript::{check, logged_in, with_messages};
use support::world::World;

fn fresh(world: &mut World) {
    world.connect();
    world.take(0);
}

#[test]
fn greeting_and_commands_of_every_state() {
    let mut world = World::new();
    let index = world.connect();
    assert_eq!(
        world.take(index),
        "* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE AUTH=PLAIN AUTH=LOGIN] mx.example.org Hikyaku ready\r\n"
    );
    check(
        "RFC 9051 6.1",
        fresh,
        r#"
        C: a CAPABILITY
        S: * CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE AUTH=PLAIN AUTH=LOGIN
        S: a OK CAPABILITY completed
        C: b NOOP
        S: b OK NOOP completed
        C: c ID ("name" "test")
        S: * ID ("name" "Hikyaku" "version" "0.1.0")
        S: c OK ID completed
        C: d SELECT INBOX
        S: d BAD log in first
        C: e FROBNICATE
        S: e BAD ...
        C: f LOGOUT
        S: * BYE logging out
        S: f OK LOGOUT completed
        > closed
        "#,
    );
}

#[test]
fn log_in() {
    check(
        "RFC 9051 6.2.3",
        fresh,
        r#"
        C: a LOGIN ann wrong
        S: a NO [AUTHENTICATIONFAILED] wrong name or password
        C: b LOGIN slow x
        S: b NO [UNAVAILABLE] too many attempts, try again later
        C: c LOGIN off x
        S: c NO [CONTACTADMIN] the account is disabled
        C: d LOGIN away x
        S: d NO [UNAVAILABLE] log-in is not possible now
        C: e LOGIN {3}
        S: + OK
        C: ann {6+}
        C: secret
        S: e OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE ...
        C: f LOGIN ann secret
        S: f BAD already logged in
        "#,
    );
    check(
        "RFC 9051 6.2.2",
        fresh,
        r#"
        C: a AUTHENTICATE PLAIN
        S: + ...
        C: AGFubgBzZWNyZXQ=
        S: a OK [CAPABILITY ...
        "#,
    );
    check(
        "RFC 4959",
        fresh,
        r#"
        C: a AUTHENTICATE CRAM-MD5
        S: a NO [CANNOT] no such mechanism
        C: b AUTHENTICATE LOGIN
        S: + VXNlcm5hbWU6
        C: *
        S: b BAD ...
        C: c AUTHENTICATE PLAIN AGFubgBzZWNyZXQ=
        S: c OK [CAPABILITY ...
        "#,
    );
}

#[test]
fn select_and_examine() {
    check(
        "RFC 9051 6.3.2",
        with_messages,
        r#"
        C: a SELECT inbox
        S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
        S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] Flags permitted
        S: * 4 EXISTS
        S: * 4 RECENT
        S: * OK [UNSEEN 1] first unseen message
        S: * OK [UIDVALIDITY 1001] UIDs valid
        S: * OK [UIDNEXT 5] predicted next UID
        S: * OK [HIGHESTMODSEQ 14] highest
        S: * OK [MAILBOXID (F0000000000000001)] id
        S: a OK [READ-WRITE] SELECT completed
        C: b EXAMINE Sent
        S: * OK [CLOSED] previous mailbox closed
        S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
        S: * OK [PERMANENTFLAGS ()] Read-only mailbox
        S: * 0 EXISTS
        S: * 0 RECENT
        S: * OK [UIDVALIDITY 1002] UIDs valid
        S: * OK [UIDNEXT 1] predicted next UID
        S: * OK [HIGHESTMODSEQ 10] highest
        S: * OK [MAILBOXID (F0000000000000002)] id
        S: b OK [READ-ONLY] EXAMINE completed
        C: c STORE 1 +FLAGS (\Seen)
        S: c NO [READ-ONLY] the mailbox is open for reading only
        C: d SELECT nowhere
        S: * OK [CLOSED] previous mailbox closed
        S: d NO [NONEXISTENT] no such folder
        C: e FETCH 1 FLAGS
        S: e BAD no mailbox is selected
        "#,
    );
}

#[test]
fn fetch() {
    check(
        "RFC 9051 6.4.5",
        with_messages,
        r#"
        C: a EXAMINE INBOX
        S: * FLAGS ...
        S: * OK [PERMANENTFLAGS ...
        S: * 4 EXISTS
        S: * 4 RECENT
        S: * OK [UNSEEN 1]...
        S: * OK [UIDVALIDITY ...
        S: * OK [UIDNEXT ...
        S: * OK [HIGHESTMODSEQ ...
        S: * OK [MAILBOXID ...
        S: a OK [READ-ONLY] EXAMINE completed
        C: b FETCH 2:3 (FLAGS UID RFC822.SIZE INTERNALDATE)
        S: * 2 FETCH (FLAGS (\Recent) UID 2 RFC822.SIZE 80 INTERNALDATE " 1-Nov-2026 09:08:07 +0100")
        S: * 3 FETCH (FLAGS (\Recent) UID 3 RFC822.SIZE 80 INTERNALDATE " 1-Nov-2026 09:08:07 +0100")
        S: b OK FETCH completed
        C: c FETCH * ENVELOPE
        S: * 4 FETCH (ENVELOPE (NIL "number 4" (("Bob" NIL "bob" "example.org")) (("Bob" NIL "bob" "example.org")) (("Bob" NIL "bob" "example.org")) ((NIL NIL "ann" "example.org")) NIL NIL NIL NIL))
        S: c OK FETCH completed
        C: d UID FETCH 4,77 (BODY.PEEK[HEADER.FIELDS (Subject)] BODY[TEXT]<2.3>)
        S: * 4 FETCH (UID 4 BODY[HEADER.FIELDS (Subject)] {21}
        S: Subject: number 4
        S: 
        S:  BODY[TEXT]<2> {3}
        S: xt )
        S: d OK FETCH completed
        C: e FETCH 5 FLAGS
        S: e BAD no message has such a number
        C: f FETCH 1 (BODY[9] BINARY.SIZE[1] BINARY[1])
        S: * 1 FETCH (BODY[9] NIL BINARY.SIZE[1] 9 BINARY[1] {9}
        S: Text 1.
        S: )
        S: f OK FETCH completed
        C: g FETCH 1 BODY[]<1000.5>
        S: * 1 FETCH (BODY[]<1000> {0}
        S: )
        S: g OK FETCH completed
        "#,
    );
}

#[test]
fn bodies_set_seen_in_the_same_response() {
    check(
        "RFC 9051 6.4.5",
        with_messages,
        r#"
        C: a SELECT INBOX
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: a OK [READ-WRITE] SELECT completed
        C: b FETCH 1 BODY[TEXT]
        S: * 1 FETCH (FLAGS (\Seen \Recent) BODY[TEXT] {9}
        S: Text 1.
        S: )
        S: b OK FETCH completed
        C: c FETCH 1 (BODY[TEXT])
        S: * 1 FETCH (BODY[TEXT] {9}
        S: Text 1.
        S: )
        S: c OK FETCH completed
        C: d FETCH 2 (UID RFC822.TEXT FLAGS MODSEQ)
        S: * 2 FETCH (UID 2 FLAGS (\Seen \Recent) MODSEQ (17) RFC822.TEXT {9}
        S: Text 2.
        S: )
        S: d OK FETCH completed
        "#,
    );
}

#[test]
fn store_expunge_and_another_session() {
    check(
        "RFC 9051 6.4.6, 6.4.3",
        with_messages,
        r#"
        C: a SELECT INBOX
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: a OK ...
        > connect
        1C: a SELECT INBOX
        1S: ...
        1S: ...
        1S: * 4 EXISTS
        1S: * 0 RECENT
        1S: ...
        1S: ...
        1S: ...
        1S: ...
        1S: ...
        1S: a OK ...
        C: b STORE 1:2 +FLAGS (\Deleted $Work)
        S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Work)
        S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $Work \*)] Flags permitted
        S: * 1 FETCH (FLAGS (\Deleted $Work \Recent))
        S: * 2 FETCH (FLAGS (\Deleted $Work \Recent))
        S: b OK STORE completed
        C: c STORE 1 +FLAGS (\Deleted)
        S: * 1 FETCH (FLAGS (\Deleted $Work \Recent))
        S: c OK STORE completed
        C: d UID STORE 3 +FLAGS.SILENT (\Flagged)
        S: d OK STORE completed
        C: e EXPUNGE
        S: * 2 EXPUNGE
        S: * 1 EXPUNGE
        S: e OK EXPUNGE completed
        # RFC 9051 7.5.1: numbers stay while FETCH, STORE, SEARCH are answered; the text can still be read.
        1C: b FETCH 1 (UID BODY.PEEK[TEXT])
        1S: * 1 FETCH (UID 1 BODY[TEXT] {9}
        1S: Text 1.
        1S: )
        1S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Work)
        1S: * OK [PERMANENTFLAGS ...
        1S: * 3 FETCH (FLAGS (\Flagged))
        1S: b OK FETCH completed
        1C: c SEARCH UID 3:4
        1S: * SEARCH 3 4
        1S: c OK SEARCH completed
        1C: d NOOP
        1S: * 2 EXPUNGE
        1S: * 1 EXPUNGE
        1S: d OK NOOP completed
        1C: e UID SEARCH ALL
        1S: * SEARCH 3 4
        1S: e OK SEARCH completed
        C: f CLOSE
        S: f OK CLOSE completed
        "#,
    );
}

#[test]
fn idle() {
    check(
        "RFC 2177",
        with_messages,
        r#"
        C: a SELECT INBOX
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: a OK ...
        C: b IDLE
        S: + idling
        > deliver INBOX
        S: * 5 EXISTS
        S: * 5 RECENT
        > connect
        1C: a SELECT INBOX
        1S: ...
        1S: ...
        1S: * 5 EXISTS
        1S: * 0 RECENT
        1S: ...
        1S: ...
        1S: ...
        1S: ...
        1S: ...
        1S: a OK ...
        1C: b UID MOVE 2 Trash
        1S: * OK [COPYUID 1003 2 1] moved
        1S: * 2 EXPUNGE
        1S: b OK MOVE completed
        S: * 2 EXPUNGE
        > restart
        1C: c STORE 1 +FLAGS (\Answered)
        1S: * 1 FETCH (FLAGS (\Answered))
        1S: c OK STORE completed
        S: * 1 FETCH (FLAGS (\Answered \Recent))
        C: done
        S: b OK IDLE completed
        > stop
        S: * BYE the server goes down
        > closed
        "#,
    );
}

#[test]
fn append() {
    check(
        "RFC 9051 6.3.12, RFC 4315",
        logged_in,
        r#"
        C: a APPEND Work (\Seen $Work) " 5-Feb-2026 21:00:00 -0800" {22}
        S: + OK
        C: Subject: x
        C: 
        C: a line
        C: 
        S: a OK [APPENDUID 1004 1] APPEND completed
        C: b APPEND nowhere {3+}
        C: abc
        S: b NO [TRYCREATE] no such folder
        C: c SELECT Work
        S: ...
        S: ...
        S: * 1 EXISTS
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: c OK ...
        C: d FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])
        S: * 1 FETCH (FLAGS (\Seen $Work \Recent) INTERNALDATE " 5-Feb-2026 21:00:00 -0800" BODY[] {22}
        S: Subject: x
        S: 
        S: a line
        S: )
        S: d OK FETCH completed
        C: e APPEND Work {3+}
        C: abc (\Draft) {4+}
        C: de\x0af
        S: * 3 EXISTS
        S: * 3 RECENT
        S: e OK [APPENDUID 1004 2:3] APPEND completed
        C: f FETCH 3 BODY.PEEK[]
        S: * 3 FETCH (BODY[] {5}
        S: de
        S: f)
        S: f OK FETCH completed
        C: g APPEND Work {3+}
        C: a\x00c
        S: g NO [CANNOT] a message must not hold NUL
        C: h APPEND Work {99999999}
        S: h NO [TOOBIG] a message has at most 52428800 bytes
        C: i APPEND Work {3+}
        C: abc {0+}
        C: 
        S: i NO an empty message ends APPEND
        C: j NOOP
        S: j OK NOOP completed
        "#,
    );
}

#[test]
fn list() {
    check(
        "RFC 9051 6.3.9",
        logged_in,
        r#"
        C: a LIST "" ""
        S: * LIST (\Noselect) "/" ""
        S: a OK LIST completed
        C: b LIST "" %
        S: * LIST (\HasNoChildren) "/" INBOX
        S: * LIST (\Sent \HasNoChildren) "/" Sent
        S: * LIST (\HasNoChildren) "/" Trash
        S: * LIST (\HasChildren) "/" Work
        S: b OK LIST completed
        C: c SUBSCRIBE Work/Old
        S: c OK SUBSCRIBE completed
        C: d LSUB "" %
        S: * LSUB (\Noselect) "/" Work
        S: d OK LSUB completed
        C: e LSUB "" *
        S: * LSUB () "/" Work/Old
        S: e OK LSUB completed
        C: f LIST (SUBSCRIBED RECURSIVEMATCH) "" % RETURN (CHILDREN)
        S: * LIST (\HasChildren) "/" Work ("CHILDINFO" ("SUBSCRIBED"))
        S: f OK LIST completed
        C: g LIST (SUBSCRIBED) "" *
        S: * LIST (\HasNoChildren \Subscribed) "/" Work/Old
        S: g OK LIST completed
        C: h LIST "" (INBOX Work/%) RETURN (STATUS (MESSAGES UIDNEXT))
        S: * LIST (\HasNoChildren) "/" INBOX
        S: * STATUS INBOX (MESSAGES 0 UIDNEXT 1)
        S: * LIST (\HasNoChildren) "/" Work/Old
        S: * STATUS Work/Old (MESSAGES 0 UIDNEXT 1)
        S: h OK LIST completed
        C: i LIST (SPECIAL-USE) "" *
        S: * LIST (\Sent \HasNoChildren) "/" Sent
        S: i OK LIST completed
        C: j CREATE Entw&APw-rfe (USE (\Drafts))
        S: j OK [MAILBOXID (...
        C: k LIST "" Ent*
        S: * LIST (\Drafts \HasNoChildren) "/" Entw&APw-rfe
        S: k OK LIST completed
        C: l ENABLE UTF8=ACCEPT
        S: * ENABLED UTF8=ACCEPT
        S: l OK ENABLE completed
        C: m STATUS "Entwürfe" (MESSAGES RECENT UNSEEN SIZE HIGHESTMODSEQ)
        S: * STATUS "Entwürfe" (MESSAGES 0 RECENT 0 UNSEEN 0 SIZE 0 HIGHESTMODSEQ 10)
        S: m OK STATUS completed
        C: n RENAME Trash Bin
        S: n OK RENAME completed
        C: o DELETE Trash
        S: o NO [NONEXISTENT] no such folder
        C: p CREATE a//b
        S: p NO [CANNOT] ...
        C: q NAMESPACE
        S: * NAMESPACE (("" "/")) NIL NIL
        S: q OK NAMESPACE completed
        "#,
    );
}

#[test]
fn timers_end_silent_sessions() {
    check(
        "RFC 9051 5.4",
        fresh,
        "> pass 59\nC: a NOOP\nS: a OK NOOP completed\n> pass 2\nS: * BYE log-in takes too long\n> closed",
    );
    check(
        "RFC 9051 5.4",
        logged_in,
        "> pass 1799\nC: a NOOP\nS: a OK NOOP completed\n> pass 1700\n> pass 300\n> pass 300\nS: * BYE nothing was heard for too long\n> closed",
    );
}
