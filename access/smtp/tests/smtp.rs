//! RFC 5321 on port 25: transcripts.

mod stand;

use mailstore::face::*;
use stand::{Stand, Transcript};

fn play(text: &str) -> Stand {
    Transcript::parse(text).play(|| Stand::new(Protocol::Smtp))
}

#[test]
fn a_message_to_one_mailbox() {
    let stand = play(
        "S: 220 mx.example ESMTP Hikyaku
         C: EHLO client.example
         S: 250-mx.example
         S: 250-PIPELINING
         S: 250-SIZE 52428800
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250-CHUNKING
         S: 250-ENHANCEDSTATUSCODES
         S: 250-STARTTLS
         S: 250-LIMITS RCPTMAX=1000
         S: 250 HELP
         C: MAIL FROM:<carl@far.example> SIZE=100
         C: RCPT TO:<ann@example.org>
         C: DATA
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 354 End data with <CR><LF>.<CR><LF>
         C: Subject: dots
         C:
         C: ..one
         C: .
         S: 250 2.0.0 Ok: queued as ID
         C: QUIT
         S: 221 2.0.0 Bye",
    );
    assert!(stand.closed);
    let delivered = stand.delivered();
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].users, [UserId(1)]);
    assert_eq!(delivered[0].body, "Subject: dots\r\n\r\n.one\r\n");
    assert!(
        delivered[0]
            .prefix
            .starts_with("Return-Path: <carl@far.example>\r\nDelivered-To: ann@example.org\r\n")
    );
    assert!(delivered[0].prefix.contains("\tfor <ann@example.org>;"));
    // RFC 2920 3.2: the replies of one group leave together.
    assert_eq!(stand.sends.len(), 5);
}
