//! RFC 5321 and its extensions on port 25: transcripts, each whole and cut at every byte.

mod stand;

use mailstore::face::*;
use stand::{Stand, Transcript};

fn play(text: &str) -> Stand {
    Transcript::parse(text).play(|| Stand::new(Protocol::Smtp))
}

/// Plays behind banner and EHLO.
fn greeted() -> Stand {
    let mut stand = Stand::new(Protocol::Smtp);
    stand.send("EHLO client.example\r\n");
    stand.sends.clear();
    stand
}

fn play_greeted(text: &str) -> Stand {
    Transcript::parse(text).play(greeted)
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
         C: Message-ID: <1@far.example>
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
    assert_eq!(delivered[0].body, "Subject: dots\r\nMessage-ID: <1@far.example>\r\n\r\n.one\r\n");
    let trace = "Return-Path: <carl@far.example>\r\nDelivered-To: ann@example.org\r\n\
                 Received: from client.example ([192.0.2.7])\r\n\tby mx.example (Hikyaku) with ESMTP id ";
    assert!(delivered[0].prefix.starts_with(trace), "{}", delivered[0].prefix);
    assert!(delivered[0].prefix.contains("\r\n\tfor <ann@example.org>;\r\n\t"));
    assert_eq!(&delivered[0].columns.message_id[..], b"1@far.example");
    // RFC 2920 3.2: the replies of one group leave together.
    assert_eq!(stand.sends.len(), 5);
    let received = stand.log.iter().find_map(|event| match event {
        LogEvent::Received(received) => Some(received),
        _ => None,
    });
    let received = received.expect("logged");
    assert_eq!(received.recipients, ["ann@example.org"]);
    assert_eq!(received.message_id, "1@far.example");
    assert!(delivered[0].prefix.contains(received.queue_id.queue_id().as_str()));
}

#[test]
fn the_queue_id_is_that_of_the_delivery() {
    let mut stand = greeted();
    stand.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n");
    stand.send(".\r\n");
    let reply = stand.sends.last().expect("answered").clone();
    let Some(Task::User { user: _, task: UserTask::Deliver(deliver) }) = stand.tasks.last() else {
        panic!("handed over")
    };
    let expected = format!("250 2.0.0 Ok: queued as {}\r\n", deliver.delivery.queue_id());
    assert_eq!(&reply[..], expected.as_bytes());
    assert_eq!(deliver.promise, Promise::Open);
    assert!(deliver.body.is_empty());
    assert!(deliver.prefix.starts_with(b"Return-Path: <>\r\n"));
}

#[test]
fn rfc_5321_4_1_1_1_helo() {
    let stand = play(
        "S: 220 mx.example ESMTP Hikyaku
         C: MAIL FROM:<carl@far.example>
         S: 503 5.5.1 Say hello first
         C: HELO
         S: 501 5.5.4 Syntax error in parameters
         C: LHLO client.example
         S: 500 5.5.1 Command not recognized
         C: HELO client.example
         S: 250 mx.example
         C: MAIL FROM:<carl@far.example>
         C: RCPT TO:<ann@example.org>
         C: DATA
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 354 End data with <CR><LF>.<CR><LF>
         C: .
         S: 250 2.0.0 Ok: queued as ID",
    );
    assert!(stand.delivered()[0].prefix.contains(") with SMTP id "));
}

#[test]
fn rfc_5321_4_1_1_commands_out_of_order() {
    play_greeted(
        "C: RCPT TO:<ann@example.org>
         S: 503 5.5.1 MAIL first
         C: DATA
         S: 503 5.5.1 MAIL first
         C: MAIL FROM:<carl@far.example>
         C: MAIL FROM:<carl@far.example>
         C: DATA
         C: Subject: this is a command
         S: 250 2.1.0 Ok
         S: 503 5.5.1 Nested MAIL command
         S: 554 5.5.1 No valid recipients
         S: 500 5.5.1 Command not recognized
         C: RSET
         C: RCPT TO:<ann@example.org>
         S: 250 2.0.0 Ok
         S: 503 5.5.1 MAIL first
         C: MAIL FROM:<carl@far.example>
         C: EHLO again.example
         S: 250 2.1.0 Ok
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
         C: RCPT TO:<ann@example.org>
         S: 503 5.5.1 MAIL first",
    );
}

#[test]
fn recipients_are_judged_at_rcpt() {
    let stand = play_greeted(
        "C: MAIL FROM:<>
         C: RCPT TO:<nobody@example.org>
         C: RCPT TO:<x@elsewhere.example>
         C: RCPT TO:<off@example.org>
         C: RCPT TO:<Postmaster>
         C: RCPT TO:<garbage>
         C: RCPT TO:<>
         C: RCPT TO:ann@example.org
         C: RCPT TO:<ann@example.org> NOTIFY=NEVER
         C: RCPT TO:<\\\"ann\\\"@example.org>
         C: RCPT TO:<@relay.example:ann@example.org>
         S: 250 2.1.0 Ok
         S: 550 5.1.1 User unknown
         S: 550 5.7.1 Not a mailbox of this service, and it does not relay
         S: 550 5.2.1 Mailbox disabled
         S: 250 2.1.5 Ok
         S: 501 5.1.3 Bad recipient address syntax
         S: 501 5.1.3 Bad recipient address syntax
         S: 501 5.1.3 Bad recipient address syntax
         S: 555 5.5.4 Unsupported parameter
         S: 250 2.1.5 Ok
         S: 250 2.1.5 Ok
         C: DATA
         S: 354 End data with <CR><LF>.<CR><LF>
         C: A: b
         C: .
         S: 250 2.0.0 Ok: queued as ID"
            .replace("\\\"", "\"")
            .as_str(),
    );
    // Three recipients, one mailbox: one copy, and no `for`.
    let delivered = stand.delivered();
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].recipients, ["Postmaster"]);
    assert!(!delivered[0].prefix.contains("\tfor "));
    let refused = |event: &&LogEvent| matches!(event, LogEvent::Refused { .. });
    assert_eq!(stand.log.iter().filter(refused).count(), 4);
}

#[test]
fn several_mailboxes_go_by_the_delivery_queue() {
    let stand = play_greeted(
        "C: MAIL FROM:<carl@far.example>
         C: RCPT TO:<ann.alias@example.org>
         C: RCPT TO:<team@example.org>
         C: DATA
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 250 2.1.5 Ok
         S: 354 End data with <CR><LF>.<CR><LF>
         C: A: b
         C: .
         S: 250 2.0.0 Ok: queued as ID",
    );
    let delivered = stand.delivered();
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].users, [UserId(1), UserId(2)]);
    assert_eq!(delivered[0].recipients, ["ann.alias@example.org", "team@example.org"]);
    assert!(!delivered[0].prefix.contains("\tfor "));
    assert!(delivered[0].prefix.contains("Delivered-To: bob@example.org\r\n"));
}

#[test]
fn rfc_1870_size() {
    play_greeted(
        "C: MAIL FROM:<a@b.example> SIZE=52428801
         C: MAIL FROM:<a@b.example> SIZE=99999999999999999999
         C: MAIL FROM:<a@b.example> SIZE=52428800
         S: 552 5.3.4 Message size exceeds the limit
         S: 552 5.3.4 Message size exceeds the limit
         S: 250 2.1.0 Ok",
    );
}

#[test]
fn rfc_6531_smtputf8() {
    let stand = play_greeted(
        "C: MAIL FROM:<карл@far.example>
         C: MAIL FROM:<carl@far.example>
         C: RCPT TO:<грета@example.org>
         C: RSET
         C: MAIL FROM:<карл@far.example> SMTPUTF8
         C: RCPT TO:<грета@example.org>
         C: DATA
         S: 553 5.6.7 Address needs SMTPUTF8
         S: 250 2.1.0 Ok
         S: 553 5.6.7 Address needs SMTPUTF8
         S: 250 2.0.0 Ok
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 354 End data with <CR><LF>.<CR><LF>
         C: .
         S: 250 2.0.0 Ok: queued as ID",
    );
    assert!(stand.delivered()[0].prefix.contains("with UTF8SMTP id"));
}

#[test]
fn senders_are_checked_for_their_form() {
    play_greeted(
        "C: MAIL FROM:<carl>
         C: MAIL FROM:<carl@>
         C: MAIL FROM:carl@far.example
         C: MAIL FROM:<carl@far.example> FOO
         C: MAIL TO:<carl@far.example>
         C: MAIL FROM:<carl@[192.0.2.1]>
         S: 501 5.1.7 Bad sender address syntax
         S: 501 5.1.7 Bad sender address syntax
         S: 501 5.1.7 Bad sender address syntax
         S: 555 5.5.4 Unsupported parameter
         S: 501 5.5.4 Syntax error in parameters
         S: 250 2.1.0 Ok",
    );
}

#[test]
fn nothing_is_disclosed_or_offered_that_is_not_there() {
    play_greeted(
        "C: VRFY ann
         C: VRFY
         C: EXPN team
         C: HELP
         C: NOOP x y
         C: AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=
         C: TURN
         S: 252 2.5.2 Cannot VRFY, but will take mail for existing users
         S: 501 5.5.4 Syntax error in parameters
         S: 502 5.5.1 Command not implemented
         S: 214-2.0.0 EHLO HELO LHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT
         S: 214 2.0.0 See RFC 5321, RFC 2033 and RFC 6409
         S: 250 2.0.0 Ok
         S: 502 5.5.1 Command not implemented
         S: 502 5.5.1 Command not implemented",
    );
}

#[test]
fn rfc_5321_2_3_8_lines_end_with_crlf() {
    play_greeted(
        "C: NOOP\\n\\
         C: RSET
         S: 500 5.5.2 Lines end with <CR><LF>, not with one of them
         S: 250 2.0.0 Ok",
    );
}

#[test]
fn smuggling_is_read_to_the_true_end_and_refused() {
    for fake in [
        "\\n.\\n",
        "\\n.\\r\\n",
        "\\r\\n.\\n",
        "\\r.\\r",
        "\\r\\n.\\r",
        "x\\0y",
        "a\\rb",
        "\\r\\n\\0.\\r\\n",
    ] {
        let stand = play_greeted(&format!(
            "C: MAIL FROM:<carl@far.example>
             C: RCPT TO:<ann@example.org>
             C: DATA
             S: 250 2.1.0 Ok
             S: 250 2.1.5 Ok
             S: 354 End data with <CR><LF>.<CR><LF>
             C: A: b{fake}\\
             C: MAIL FROM:<evil@far.example>
             C: RCPT TO:<bob@example.org>
             C: DATA
             C: smuggled
             C: .
             C: NOOP
             S: 550 5.6.0 Bare <CR>, <LF> or <NUL> in the message, closing the connection"
        ));
        assert!(stand.closed, "{fake}");
        assert!(stand.delivered().is_empty(), "{fake}");
    }
}

#[test]
fn rfc_3030_chunking() {
    let stand = play_greeted(
        "C: MAIL FROM:<carl@far.example>
         C: RCPT TO:<ann@example.org>
         C: BDAT 10
         C: A: b\\r\\n\\r\\n.\\r\\\\
         C: BDAT 6 LAST
         C: \\n.\\r\\nx\\r\\\\
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 250 2.0.0 Chunk accepted
         S: 550 5.6.0 Bare <CR>, <LF> or <NUL> in the message, closing the connection"
            .replace("\\\\\n", "\\\n")
            .as_str(),
    );
    assert!(stand.closed);
    let stand = play_greeted(
        "C: MAIL FROM:<carl@far.example>
         C: RCPT TO:<ann@example.org>
         C: BDAT 10
         C: A: b\\r\\n\\r\\n.\\r\\
         C: BDAT 4 LAST
         C: \\n..\\n\\
         C: NOOP
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 250 2.0.0 Chunk accepted
         S: 550 5.6.0 Bare <CR>, <LF> or <NUL> in the message, closing the connection",
    );
    assert!(stand.closed);
    let stand = play_greeted(
        "C: MAIL FROM:<carl@far.example>
         C: RCPT TO:<ann@example.org>
         C: BDAT 10
         C: A: b\\r\\n\\r\\n.\\r\\
         C: NOOP
         C: MAIL FROM:<carl@far.example>
         C: DATA
         C: BDAT 0
         C: BDAT 6
         C: \\n...\\r\\n\\
         C: BDAT 0 LAST
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 250 2.0.0 Chunk accepted
         S: 250 2.0.0 Ok
         S: 503 5.5.1 Not while BDAT is under way
         S: 503 5.5.1 Not while BDAT is under way
         S: 250 2.0.0 Chunk accepted
         S: 250 2.0.0 Chunk accepted
         S: 250 2.0.0 Ok: queued as ID",
    );
    assert_eq!(stand.delivered()[0].body, "A: b\r\n\r\n.\r\n...\r\n");
}

#[test]
fn rfc_3030_chunks_without_a_transaction_are_skipped() {
    play_greeted(
        "C: BDAT 6 LAST
         C: QUIT
         C: BDAT 0
         C: MAIL FROM:<carl@far.example>
         C: BDAT 6
         C: QUIT
         C: RSET
         S: 503 5.5.1 MAIL first
         S: 503 5.5.1 MAIL first
         S: 250 2.1.0 Ok
         S: 554 5.5.1 No valid recipients
         S: 250 2.0.0 Ok",
    );
}

#[test]
fn rfc_3207_starttls_forgets_the_session() {
    let mut stand = greeted();
    stand.send("MAIL FROM:<a@b.example>\r\nSTARTTLS\r\n");
    assert_eq!(stand.output(), "250 2.1.0 Ok\r\n220 2.0.0 Ready to start TLS\r\n");
    assert!(stand.tls_wanted && !stand.closed);
    stand.input(SessionInput::TlsStarted(stand::tls()));
    stand.sends.clear();
    stand.send("MAIL FROM:<a@b.example>\r\nEHLO x\r\nSTARTTLS\r\n");
    let output = stand.output();
    assert!(output.starts_with("503 5.5.1 Say hello first\r\n250-mx.example\r\n"));
    assert!(!output.contains("250-STARTTLS"));
    assert!(output.ends_with("503 5.5.1 TLS is active already\r\n"));
    stand.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n");
    stand.send(".\r\n");
    let prefix = &stand.delivered()[0].prefix;
    assert!(prefix.contains("\t(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n"));
    assert!(prefix.contains(" with ESMTPS id "));
}

#[test]
fn cve_2011_0411_bytes_behind_starttls_close() {
    let mut stand = greeted();
    stand.send("STARTTLS\r\nRSET\r\n");
    assert!(stand.closed && !stand.tls_wanted);
    assert_eq!(stand.output(), "");
    let mut stand = greeted();
    stand.send("STARTTLS\r\n");
    stand.send("RSET\r\n");
    assert!(stand.closed);
}

#[test]
fn failures_after_data() {
    let failures = [
        (
            Completion::User(UserDone::Failed(UserError::OverQuota)),
            "452 4.2.2 Mailbox is over quota",
        ),
        (Completion::User(UserDone::Failed(UserError::Disabled)), "550 5.2.1 Mailbox disabled"),
        (
            Completion::Refused(TaskRefusal::Overloaded),
            "451 4.3.2 Too busy at the moment, please try again later",
        ),
        (
            Completion::Refused(TaskRefusal::Unavailable),
            "451 4.3.0 The mailbox cannot be reached at the moment, please try again later",
        ),
        (
            Completion::Refused(TaskRefusal::NoSpace),
            "452 4.3.1 Insufficient system storage, please try again later",
        ),
    ];
    for (failure, reply) in failures {
        let mut stand = greeted();
        stand.outcomes.push_back(failure);
        stand.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n");
        stand.send("A: b\r\n.\r\n");
        assert!(stand.output().ends_with(&format!("{reply}\r\n")));
        assert!(!stand.log.iter().any(|event| matches!(event, LogEvent::Received(_))));
    }
}

#[test]
fn looping_mail_and_long_header_lines_are_refused_at_the_end() {
    let mut stand = greeted();
    stand.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n");
    stand.send("Received: by x\r\n".repeat(100) + "\r\n.\r\nNOOP\r\n");
    assert!(stand.output().contains("354 "));
    assert!(
        stand
            .output()
            .ends_with("554 5.4.6 Too many hops, the message is looping\r\n250 2.0.0 Ok\r\n")
    );
    let mut stand = greeted();
    stand.send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n");
    stand.send(format!("A: {}\r\n\r\n{}\r\n.\r\n", "x".repeat(70_000), "y".repeat(200_000)));
    assert!(stand.output().ends_with("554 5.6.0 Header or header line too long\r\n"));
    assert!(stand.delivered().is_empty());
}
