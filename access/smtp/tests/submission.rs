//! RFC 6409 and RFC 4954: submission.

mod stand;

use mailstore::face::*;
use stand::{Stand, Transcript};

fn play(text: &str) -> Stand {
    Transcript::parse(text).play(|| Stand::new(Protocol::Submission))
}

fn logged_in() -> Stand {
    let mut stand = Stand::new(Protocol::Submission);
    stand.send("EHLO client.example\r\nAUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n");
    assert!(stand.output().ends_with("235 2.7.0 Authentication successful\r\n"));
    stand.sends.clear();
    stand
}

#[test]
fn rfc_4954_plain_and_login() {
    let stand = play(
        "S: 220 mx.example ESMTP Hikyaku
         C: AUTH PLAIN
         S: 503 5.5.1 Say hello first
         C: EHLO client.example
         S: 250-mx.example
         S: 250-PIPELINING
         S: 250-SIZE 52428800
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250-CHUNKING
         S: 250-ENHANCEDSTATUSCODES
         S: 250-STARTTLS
         S: 250-AUTH PLAIN LOGIN
         S: 250-LIMITS RCPTMAX=1000
         S: 250 HELP
         C: MAIL FROM:<ann@example.org>
         S: 530 5.7.0 Authentication required
         C: AUTH CRAM-MD5
         S: 504 5.5.4 Unrecognized authentication mechanism
         C: AUTH PLAIN
         S: 334\x20
         C: *
         S: 501 5.7.0 Authentication cancelled
         C: AUTH PLAIN !
         S: 501 5.5.2 Cannot decode the response
         C: AUTH PLAIN AGFubkBleGFtcGxlLm9yZwB3cm9uZw==
         S: 535 5.7.8 Authentication credentials invalid
         C: AUTH LOGIN
         S: 334 VXNlcm5hbWU6
         C: YW5uQGV4YW1wbGUub3Jn
         S: 334 UGFzc3dvcmQ6
         C: c2VjcmV0
         S: 235 2.7.0 Authentication successful
         C: AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=
         S: 503 5.5.1 Already authenticated",
    );
    assert!(stand.log.iter().any(|event| matches!(event, LogEvent::AuthSucceeded { .. })));
    let failed = stand.log.iter().find_map(|event| match event {
        LogEvent::AuthFailed { user, reason, .. } => Some((user.as_str(), *reason)),
        _ => None,
    });
    assert_eq!(failed, Some(("ann@example.org", AuthRefusal::WrongCredentials)));
    assert!(!format!("{:?}", stand.log).contains("wrong"));
}

#[test]
fn three_wrong_passwords_close() {
    let mut stand = Stand::new(Protocol::Submission);
    stand.send("EHLO x\r\n");
    stand.sends.clear();
    stand.send("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwB3cm9uZw==\r\n".repeat(5));
    let wrong = "535 5.7.8 Authentication credentials invalid\r\n".repeat(3);
    assert_eq!(stand.output(), wrong + "421 4.7.0 Too many errors, closing the connection\r\n");
    assert!(stand.closed);
}

#[test]
fn a_throttled_log_in_is_a_temporary_failure() {
    let mut stand = Stand::new(Protocol::Submission);
    stand.send("EHLO x\r\n");
    stand.sends.clear();
    stand.send("AUTH PLAIN AHNsb3dAZXhhbXBsZS5vcmcAeA==\r\n");
    assert!(stand.output().starts_with("454 4.7.0 "));
}

#[test]
fn without_tls_off_loopback_no_password_is_taken() {
    let peer = Peer { plaintext_auth: false, ..stand::peer(Protocol::Submission) };
    let mut stand = Stand::with(peer, smtp::Limits::default());
    stand.send("EHLO x\r\n");
    assert!(!stand.output().contains("AUTH"));
    stand.send("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\n");
    assert!(
        stand
            .output()
            .ends_with("538 5.7.11 Encryption required for authentication: STARTTLS first\r\n")
    );
    assert!(stand.tasks.is_empty());
    stand.send("STARTTLS\r\n");
    stand.input(SessionInput::TlsStarted(stand::tls()));
    stand.send("EHLO x\r\n");
    assert!(stand.output().contains("250-AUTH PLAIN LOGIN\r\n"));
}

#[test]
fn the_sender_is_the_account() {
    let stand = Transcript::parse(
        "C: MAIL FROM:<bob@example.org>
         C: RCPT TO:<bob@example.org>
         C: MAIL FROM:<Ann.Alias@example.org>
         C: RCPT TO:<bob@example.org>
         C: RCPT TO:<x@elsewhere.example>
         C: DATA
         S: 553 5.7.1 Sender address is not one of the account's
         S: 503 5.5.1 MAIL first
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 550 5.7.1 This service delivers to its own domains only, outbound delivery is not available
         S: 354 End data with <CR><LF>.<CR><LF>
         C: From: Ann <ann.alias@example.org>
         C: Bcc: secret@example.org,
         C:  more@example.org
         C: Subject: hi
         C:
         C: text
         C: .
         S: 250 2.0.0 Ok: queued as ID
         C: MAIL FROM:<>
         C: RCPT TO:<bob@example.org>
         C: DATA
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 354 End data with <CR><LF>.<CR><LF>
         C: From: bob@example.org
         C:
         C: .
         S: 553 5.7.1 From is not one of the account's addresses
         C: NOOP
         S: 250 2.0.0 Ok",
    )
    .play(logged_in);
    let delivered = stand.delivered();
    assert_eq!(delivered.len(), 1);
    let body = &delivered[0].body;
    let head = "From: Ann <ann.alias@example.org>\r\nSubject: hi\r\nDate: Sat, 21 Nov 2026 ";
    assert!(body.starts_with(head), "{body}");
    assert!(body.ends_with("@example.org>\r\n\r\ntext\r\n"), "{body}");
    assert!(!body.contains("secret") && !body.contains("more@"));
    assert!(delivered[0].prefix.contains(" with ESMTPA id "));
    assert_eq!(delivered[0].columns.header_bytes as usize, body.find("\r\n\r\n").unwrap() + 4);
}

#[test]
fn a_text_without_a_header_gets_one() {
    let mut stand = logged_in();
    stand.send("MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n");
    stand.send("hello: world is no field name, is it\r\n.\r\n");
    stand.send("MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n");
    stand.send("hello world\r\n.\r\n");
    let bodies: Vec<String> = stand.delivered().into_iter().map(|d| d.body).collect();
    assert!(
        bodies[0]
            .starts_with("hello: world is no field name, is it\r\nFrom: <ann@example.org>\r\n")
    );
    assert!(bodies[1].starts_with("From: <ann@example.org>\r\nDate: "));
    assert!(bodies[1].ends_with("@example.org>\r\n\r\nhello world\r\n"));
}

#[test]
fn authors_are_judged_while_the_text_streams() {
    let mut stand = logged_in();
    stand.send("MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n");
    stand.hold = stand::Hold::Everything;
    stand.send("From: ann@example.org, ann.alias@example.org\r\n\r\ntext");
    assert_eq!(stand.held.len(), 1);
    stand.send("\r\n.\r\nNOOP\r\n");
    assert_eq!(stand.held.len(), 1, "nothing is handed over before the verdict");
    stand.release();
    assert_eq!(stand.held.len(), 1);
    stand.release();
    assert!(stand.output().ends_with("250 2.0.0 Ok\r\n"));
}

#[test]
fn the_login_timer_ends_a_session_that_does_not_log_in() {
    let mut stand = Stand::new(Protocol::Submission);
    for _ in 0..59 {
        stand.pass(fsm::Duration::from_secs(1));
        stand.send("NOOP\r\n");
    }
    assert!(!stand.closed);
    stand.pass(fsm::Duration::from_secs(2));
    assert!(
        stand.closed && stand.output().ends_with("421 4.4.2 Timeout, closing the connection\r\n")
    );
    let mut stand = logged_in();
    stand.pass(fsm::Duration::from_secs(200));
    assert!(!stand.closed);
}
