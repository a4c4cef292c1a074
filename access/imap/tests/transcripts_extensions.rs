//! Transcripts of searches and extensions by RFC section, each also cut at every byte boundary.

mod support;

use support::transcript::{check, with_messages};

/// Ten lines of SELECT that a test does not care about.
const SELECTED: &str = "
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
";

fn check_selected(name: &str, transcript: &str) {
    let head = format!("C: a SELECT INBOX{SELECTED}");
    check(name, with_messages, &format!("{head}{transcript}"));
}

#[test]
fn search() {
    check_selected(
        "RFC 9051 6.4.4, RFC 4731, RFC 5182",
        r#"
        C: b SEARCH SUBJECT "number 3"
        S: * SEARCH 3
        S: b OK SEARCH completed
        C: c SEARCH CHARSET X-NONE ALL
        S: c NO [BADCHARSET (US-ASCII UTF-8 ...
        C: d SEARCH OR 1 UID 4 NOT RECENT
        S: * SEARCH
        S: d OK SEARCH completed
        C: e UID SEARCH RETURN (MIN MAX COUNT ALL) RECENT
        S: * ESEARCH (TAG "e") UID COUNT 4 MIN 1 MAX 4 ALL 1:4
        S: e OK SEARCH completed
        C: f SEARCH RETURN (COUNT) FROM nobody
        S: * ESEARCH (TAG "f") COUNT 0
        S: f OK SEARCH completed
        C: g SEARCH RETURN (SAVE) 2:3
        S: g OK SEARCH completed
        C: h UID FETCH $ (UID)
        S: * 2 FETCH (UID 2)
        S: * 3 FETCH (UID 3)
        S: h OK FETCH completed
        C: i STORE 2 +FLAGS.SILENT (\Seen)
        S: i OK STORE completed
        C: j SEARCH MODSEQ 12
        S: * SEARCH 2 3 4 (MODSEQ 15)
        S: j OK SEARCH completed
        C: k SEARCH RETURN (MIN) MODSEQ 12
        S: * ESEARCH (TAG "k") MIN 2 MODSEQ 15
        S: k OK SEARCH completed
        C: l SEARCH RETURN (MAX) MODSEQ 12
        S: * ESEARCH (TAG "l") MAX 4 MODSEQ 14
        S: l OK SEARCH completed
        C: m SEARCH 9
        S: m BAD no message has such a number
        "#,
    );
}

#[test]
fn condstore() {
    check_selected(
        "RFC 7162 3.1",
        r#"
        C: b STORE 1 (UNCHANGEDSINCE 11) +FLAGS.SILENT (\Flagged)
        S: * 1 FETCH (MODSEQ (15))
        S: b OK STORE completed
        C: c STORE 1:2 (UNCHANGEDSINCE 12) +FLAGS (\Answered)
        S: * 2 FETCH (FLAGS (\Answered \Recent) MODSEQ (16))
        S: c OK [MODIFIED 1] conditional STORE left some messages alone
        C: d UID FETCH 1:* (FLAGS) (CHANGEDSINCE 14)
        S: * 1 FETCH (UID 1 FLAGS (\Flagged \Recent) MODSEQ (15))
        S: * 2 FETCH (UID 2 FLAGS (\Answered \Recent) MODSEQ (16))
        S: d OK FETCH completed
        C: e UID STORE 3 FLAGS.SILENT (\Draft)
        S: * 3 FETCH (UID 3 MODSEQ (17))
        S: e OK STORE completed
        > connect
        1C: a SELECT INBOX
        1S: ...
        1S: ...
        1S: ...
        1S: ...
        1S: ...
        1S: ...
        1S: ...
        1S: ...
        1S: ...
        1S: a OK ...
        1C: b STORE 4 +FLAGS.SILENT (\Seen)
        1S: b OK STORE completed
        # A silent STORE does not hide what another session did before.
        C: f UID STORE 3:4 +FLAGS.SILENT (\Deleted)
        S: * 3 FETCH (UID 3 MODSEQ (19))
        S: * 4 FETCH (UID 4 FLAGS (\Deleted \Seen \Recent) MODSEQ (20))
        S: f OK STORE completed
        "#,
    );
}

#[test]
fn qresync() {
    check(
        "RFC 7162 3.2",
        with_messages,
        r#"
        C: a SELECT INBOX (QRESYNC (1001 11))
        S: a BAD QRESYNC needs ENABLE QRESYNC
        C: b ENABLE QRESYNC X-UNKNOWN
        S: * ENABLED QRESYNC
        S: b OK ENABLE completed
        C: c SELECT INBOX
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: c OK ...
        C: d STORE 1,3 +FLAGS.SILENT (\Deleted)
        S: * 1 FETCH (UID 1 MODSEQ (15))
        S: * 3 FETCH (UID 3 MODSEQ (15))
        S: d OK STORE completed
        C: e UID EXPUNGE 3
        S: * VANISHED 3
        S: e OK [HIGHESTMODSEQ 16] EXPUNGE completed
        C: f UID FETCH 1:9 (FLAGS) (CHANGEDSINCE 14 VANISHED)
        S: * VANISHED (EARLIER) 3
        S: * 1 FETCH (UID 1 FLAGS (\Deleted \Recent) MODSEQ (15))
        S: f OK FETCH completed
        C: g SELECT INBOX (QRESYNC (1001 14 1:2))
        S: * OK [CLOSED] previous mailbox closed
        S: * FLAGS ...
        S: * OK [PERMANENTFLAGS ...
        S: * 3 EXISTS
        S: * 0 RECENT
        S: * OK [UNSEEN 1]...
        S: * OK [UIDVALIDITY 1001]...
        S: * OK [UIDNEXT 5]...
        S: * OK [HIGHESTMODSEQ 16]...
        S: * OK [MAILBOXID ...
        S: * 1 FETCH (UID 1 FLAGS (\Deleted) MODSEQ (15))
        S: g OK ...
        C: h SELECT INBOX (QRESYNC (1001 13))
        S: * OK [CLOSED] previous mailbox closed
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: ...
        S: * VANISHED (EARLIER) 3
        S: * 1 FETCH (UID 1 FLAGS (\Deleted) MODSEQ (15))
        S: * 3 FETCH (UID 4 FLAGS () MODSEQ (14))
        S: h OK ...
        C: i CLOSE
        S: i OK CLOSE completed
        C: j STATUS INBOX (MESSAGES HIGHESTMODSEQ)
        S: * STATUS INBOX (MESSAGES 2 HIGHESTMODSEQ 17)
        S: j OK STATUS completed
        "#,
    );
}

#[test]
fn copy_and_quota() {
    check_selected(
        "RFC 4315 3, RFC 9208",
        r#"
        C: b COPY 2,4 Work
        S: b OK [COPYUID 1004 2,4 1:2] COPY completed
        C: c UID COPY 77 Work
        S: c OK nothing to do
        C: d COPY 1 nowhere
        S: d NO [TRYCREATE] no such folder
        C: e COPY 1 INBOX
        S: * 5 EXISTS
        S: * 5 RECENT
        S: e OK [COPYUID 1001 1 5] COPY completed
        C: f GETQUOTAROOT INBOX
        S: * QUOTAROOT INBOX ""
        S: * QUOTA "" ()
        S: f OK GETQUOTAROOT completed
        C: g SETQUOTA "" (STORAGE 5)
        S: g NO [NOPERM] quotas are set by the operator
        C: h GETQUOTA other
        S: h NO [NONEXISTENT] no such quota root
        C: i UNSELECT
        S: i OK UNSELECT completed
        C: j EXPUNGE
        S: j BAD no mailbox is selected
        C: k DELETE Work
        S: k OK DELETE completed
        "#,
    );
}
