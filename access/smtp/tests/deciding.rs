//! Deciding extensions: asked between the end of a message and its answer, and never waited for too long.

mod stand;

use fsm::Duration;
use mailstore::face::*;
use smtp::Limits;
use stand::Stand;

/// In DATA, for the recipients.
fn in_data(protocol: Protocol, recipients: &[&str]) -> Stand {
    let limits = Limits { deciding: Some(Duration::from_secs(6)), ..Limits::default() };
    let mut stand = Stand::with(stand::peer(protocol), limits);
    let hello = if protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
    stand.send(format!("{hello} client.example\r\nMAIL FROM:<carl@far.example>\r\n"));
    for recipient in recipients {
        stand.send(format!("RCPT TO:<{recipient}>\r\n"));
    }
    stand.send("DATA\r\n");
    stand.sends.clear();
    stand
}

fn says(user: u64, ruling: Ruling) -> Decision {
    Decision { user: UserId(user), ruling, filing: Filing::default() }
}

fn decide(stand: &mut Stand, decisions: Vec<Decision>) {
    let (token, _) = *stand.questions.last().expect("a question");
    stand.input(SessionInput::Decided { token, decisions });
}

/// What is done with the copy of each mailbox.
fn filings(stand: &Stand) -> Vec<(UserId, Filing)> {
    let of = |task: &Task| match task {
        Task::User { user, task: UserTask::Deliver(deliver) } => {
            vec![(*user, deliver.filing.clone())]
        }
        Task::Delivery(DeliveryTask::Accept(acceptance)) => {
            acceptance.recipients.iter().map(|it| (it.user, it.filing.clone())).collect()
        }
        Task::User { .. } | Task::Directory(_) | Task::Blob(_) => Vec::new(),
    };
    stand.tasks.iter().flat_map(of).collect()
}

fn junk() -> Filing {
    Filing { place: Some(Place::Junk), ..Filing::default() }
}

#[test]
fn a_message_waits_for_its_decision() {
    let mut stand = in_data(Protocol::Smtp, &["ann.alias@example.org"]);
    stand.send("A: b\r\n\r\ntext\r\n.\r\nNOOP\r\n");
    let question = stand.questions[0].1.clone();
    assert_eq!((&question.head[..], question.bytes), (&b"A: b\r\n\r\ntext\r\n"[..], 14));
    assert_eq!((&*question.reverse_path, &*question.helo), ("carl@far.example", "client.example"));
    let mailbox = &question.mailboxes[..];
    assert!(
        matches!(mailbox, [it] if &*it.recipient == "ann.alias@example.org" && &*it.address == "ann@example.org")
    );
    assert_eq!((stand.output().as_str(), filings(&stand).len()), ("", 0));
    let keywords = Keyword::new(b"probed").into_iter().collect();
    let filing = Filing { keywords, ..junk() };
    let decision = Decision { filing: filing.clone(), ..says(1, Ruling::Take) };
    decide(&mut stand, vec![decision]);
    assert_eq!(stand.output(), "250 2.0.0 Ok: queued as ID\r\n250 2.0.0 Ok\r\n");
    assert_eq!(filings(&stand), [(UserId(1), filing)]);
    assert!(stand.timers.len() == 1, "only the one of idleness is left");
}

#[test]
fn a_refused_message_is_answered_so_and_kept_nowhere() {
    for (ruling, reply) in [
        (Ruling::Refuse, "550 5.7.1 The message is rejected\r\n"),
        (Ruling::Defer, "451 4.7.1 Not now, please try again later\r\n"),
    ] {
        let mut stand = in_data(Protocol::Smtp, &["ann@example.org"]);
        stand.send(format!("A: b\r\n\r\n{}\r\n.\r\n", "x".repeat(600_000)));
        assert_eq!(stand.questions[0].1.head.len(), dds::CHUNK_BYTES);
        assert_eq!(stand.questions[0].1.bytes, 600_010);
        decide(&mut stand, vec![says(1, ruling)]);
        assert_eq!(stand.output(), reply);
        assert!(filings(&stand).is_empty());
        assert!(stand.dropped.len() == 1 && stand.chunks.is_empty());
    }
}

#[test]
fn who_says_nothing_in_time_is_not_waited_for() {
    let mut stand = in_data(Protocol::Smtp, &["ann@example.org"]);
    stand.send("A: b\r\n\r\ntext\r\n.\r\n");
    stand.pass(Duration::from_secs(5));
    assert_eq!(stand.output(), "");
    stand.pass(Duration::from_secs(1));
    assert_eq!(stand.output(), "250 2.0.0 Ok: queued as ID\r\n");
    decide(&mut stand, vec![says(1, Ruling::Refuse)]);
    assert_eq!(filings(&stand), [(UserId(1), Filing::default())]);
    assert_eq!(stand.output(), "250 2.0.0 Ok: queued as ID\r\n");
}

#[test]
fn of_several_mailboxes_only_all_refuse() {
    for (decisions, reply, expected) in [
        (
            vec![says(2, Ruling::Refuse)],
            "250 2.0.0 Ok: queued as ID\r\n",
            vec![(UserId(1), Filing::default()), (UserId(2), junk())],
        ),
        (
            vec![says(1, Ruling::Refuse), says(2, Ruling::Refuse)],
            "550 5.7.1 The message is rejected\r\n",
            Vec::new(),
        ),
    ] {
        let mut stand = in_data(Protocol::Smtp, &["ann@example.org", "bob@example.org"]);
        stand.send("A: b\r\n\r\ntext\r\n.\r\n");
        decide(&mut stand, decisions);
        assert_eq!(stand.output(), reply);
        assert_eq!(filings(&stand), expected);
    }
}

#[test]
fn lmtp_refuses_for_each_recipient() {
    let mut stand = in_data(Protocol::Lmtp, &["ann@example.org", "bob@example.org"]);
    stand.send("A: b\r\n\r\ntext\r\n.\r\n");
    decide(&mut stand, vec![says(1, Ruling::Refuse)]);
    assert_eq!(
        stand.output(),
        "550 5.7.1 The message is rejected\r\n250 2.0.0 Ok: queued as ID\r\n"
    );
    assert_eq!(filings(&stand), [(UserId(2), Filing::default())]);
    // One recipient that leads to two mailboxes is answered once.
    let mut stand = in_data(Protocol::Lmtp, &["team@example.org"]);
    stand.send("A: b\r\n\r\ntext\r\n.\r\n");
    decide(&mut stand, vec![says(1, Ruling::Refuse)]);
    assert_eq!(stand.output(), "250 2.0.0 Ok: queued as ID\r\n");
    assert_eq!(filings(&stand), [(UserId(1), junk()), (UserId(2), Filing::default())]);
}

#[test]
fn a_client_that_vanishes_meanwhile_leaves_nothing() {
    let mut stand = in_data(Protocol::Smtp, &["ann@example.org"]);
    stand.send(format!("A: b\r\n\r\n{}\r\n.\r\n", "x".repeat(600_000)));
    stand.input(SessionInput::PeerClosed);
    assert!(stand.closed && stand.dropped.len() == 1);
    decide(&mut stand, Vec::new());
    assert!(filings(&stand).is_empty());
}
