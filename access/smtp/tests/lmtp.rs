//! RFC 2033: LMTP.

mod stand;

use mailstore::face::*;
use stand::{Stand, Transcript};

fn greeted() -> Stand {
    let mut stand = Stand::new(Protocol::Lmtp);
    stand.send("LHLO client.example\r\n");
    stand.sends.clear();
    stand
}

#[test]
fn every_recipient_is_answered() {
    let stand = Transcript::parse(
        "S: 220 mx.example LMTP Hikyaku
         C: EHLO client.example
         S: 500 5.5.1 Command not recognized
         C: LHLO client.example
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
         C: MAIL FROM:<carl@far.example>
         C: RCPT TO:<ann@example.org>
         C: RCPT TO:<nobody@example.org>
         C: RCPT TO:<bob@example.org>
         C: RCPT TO:<ann.alias@example.org>
         C: DATA
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 550 5.1.1 User unknown
         S: 250 2.1.5 Ok
         S: 250 2.1.5 Ok
         S: 354 End data with <CR><LF>.<CR><LF>
         C: A: b
         C: .
         S: 250 2.0.0 Ok: queued as ID
         S: 452 4.2.2 Mailbox is over quota
         S: 250 2.0.0 Ok: queued as ID",
    )
    .play(|| {
        let mut stand = Stand::new(Protocol::Lmtp);
        let done = UserDone::Delivered { folder: FolderName::inbox(), uid: Uid(1) };
        stand.outcomes.push_back(Completion::User(done));
        stand.outcomes.push_back(Completion::User(UserDone::Failed(UserError::OverQuota)));
        stand
    });
    let delivered = stand.delivered();
    assert_eq!(delivered.len(), 2);
    assert!(delivered[0].prefix.contains(" with LMTP id "));
}

#[test]
fn an_alias_of_several_is_promised_as_one() {
    let mut stand = greeted();
    stand.send(
        "MAIL FROM:<>\r\nRCPT TO:<team@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n",
    );
    stand.send(".\r\n");
    assert!(stand.output().ends_with("queued as ID\r\n250 2.0.0 Ok: queued as ID\r\n"));
    let delivered = stand.delivered();
    assert_eq!(delivered.len(), 1, "bob has the message by the alias");
    assert_eq!(delivered[0].users, [UserId(1), UserId(2)]);
}

#[test]
fn shares_have_ids_of_their_own() {
    let mut stand = greeted();
    stand
        .send("MAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n");
    stand.send(".\r\n");
    let ids: Vec<DeliveryId> = stand
        .tasks
        .iter()
        .filter_map(|task| match task {
            Task::User { user: _, task: UserTask::Deliver(deliver) } => Some(deliver.delivery),
            _ => None,
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0].queue_id(), ids[1].queue_id());
}

#[test]
fn without_recipients_data_is_503() {
    Transcript::parse(
        "C: MAIL FROM:<carl@far.example>
         C: RCPT TO:<nobody@example.org>
         C: DATA
         C: BDAT 3 LAST
         C: a\\r\\n\\
         S: 250 2.1.0 Ok
         S: 550 5.1.1 User unknown
         S: 503 5.5.1 RCPT first
         S: 503 5.5.1 RCPT first",
    )
    .play(greeted);
}

#[test]
fn bare_line_ends_are_repaired_and_nul_is_refused() {
    let stand = Transcript::parse(
        "C: MAIL FROM:<carl@far.example>
         C: RCPT TO:<ann@example.org>
         C: RCPT TO:<bob@example.org>
         C: DATA
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 250 2.1.5 Ok
         S: 354 End data with <CR><LF>.<CR><LF>
         C: A: b\\nC: d\\r\\r\\n\\
         C: text\\n.\\n
         C: .
         S: 250 2.0.0 Ok: queued as ID
         S: 250 2.0.0 Ok: queued as ID
         C: MAIL FROM:<carl@far.example>
         C: RCPT TO:<ann@example.org>
         C: RCPT TO:<bob@example.org>
         C: BDAT 7 LAST
         C: A: b\\n\\n\\0\\
         S: 250 2.1.0 Ok
         S: 250 2.1.5 Ok
         S: 250 2.1.5 Ok
         S: 554 5.6.0 <NUL> in the message
         S: 554 5.6.0 <NUL> in the message",
    )
    .play(greeted);
    let expected = "A: b\r\nC: d\r\n\r\ntext\r\n.\r\n\r\n";
    assert_eq!(stand.delivered()[0].body, expected);
    assert_eq!(stand.delivered().len(), 2);
    assert!(!stand.closed);
}

#[test]
fn strangers_are_turned_away() {
    let peer = Peer { trusted: false, ..stand::peer(Protocol::Lmtp) };
    let stand = Stand::with(peer, smtp::Limits::default());
    assert!(stand.closed);
    assert_eq!(stand.output(), "554 5.7.1 LMTP is not open to this address\r\n");
}
