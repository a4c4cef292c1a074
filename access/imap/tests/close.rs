//! CLOSE always leaves (RFC 9051 6.4.1), and CHARSET ends with ENABLE UTF8=ACCEPT (RFC 6855 3).

mod support;

use support::transcript::{check, with_messages};

/// What SELECT answers.
const SELECTED: &str = "
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
";

fn check_selected(name: &str, transcript: &str) {
    check(name, with_messages, &format!("{SELECTED}{transcript}"));
}

#[test]
fn what_can_not_be_removed_does_not_keep_the_folder_selected() {
    check_selected(
        "RFC 9051 6.4.1, 7.1.2",
        r#"
        C: b STORE 1:2 +FLAGS.SILENT (\Deleted)
        S: b OK STORE completed
        > refuse unavailable
        C: c CLOSE
        S: * NO [UNAVAILABLE] the mailbox can't be reached now, try again
        S: c OK CLOSE completed, and deleted messages are still there
        > refuse
        C: d CLOSE
        S: d BAD no mailbox is selected
        C: e STATUS INBOX (MESSAGES)
        S: * STATUS INBOX (MESSAGES 4)
        S: e OK STATUS completed
        "#,
    );
}

#[test]
fn a_lost_master_does_not_keep_the_folder_selected() {
    check_selected(
        "CLOSE",
        r#"
        > restart
        > refuse unavailable
        C: b CLOSE
        S: * NO [UNAVAILABLE] the mailbox can't be reached now, try again
        S: b OK CLOSE completed, and deleted messages are still there
        > refuse
        C: c CHECK
        S: c BAD no mailbox is selected
        "#,
    );
    check_selected(
        "RFC 3691 2",
        r#"
        > restart
        > refuse unavailable
        C: b UNSELECT
        S: b OK UNSELECT completed
        C: c CHECK
        S: c BAD no mailbox is selected
        "#,
    );
}

#[test]
fn no_charset_after_utf8_accept() {
    check_selected(
        "RFC 6855 3",
        r#"
        C: b SEARCH CHARSET ISO-8859-1 SUBJECT NUMBER
        C: c ENABLE UTF8=ACCEPT
        C: d SEARCH CHARSET UTF-8 SUBJECT number
        C: e UID SEARCH RETURN (COUNT) CHARSET X-UNKNOWN ALL
        C: f SEARCH SUBJECT "number"
        S: * SEARCH 1 2 3 4
        S: b OK SEARCH completed
        S: * ENABLED UTF8=ACCEPT
        S: c OK ENABLE completed
        S: d BAD no CHARSET after UTF8=ACCEPT
        S: e BAD no CHARSET after UTF8=ACCEPT
        S: * SEARCH 1 2 3 4
        S: f OK SEARCH completed
        "#,
    );
}
