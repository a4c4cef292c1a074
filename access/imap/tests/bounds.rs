//! What hostile and unlucky clients cost, and how sessions end.

mod support;

use mailstore::face::*;
use support::fake::Fake;
use support::real::Real;
use support::transcript::{deliver, logged_in, with_messages};
use support::world::{World, peer};

fn production() -> World {
    let mut world = World::new();
    world.real = Some(Box::new(Real::new()));
    world
}

/// Output a client may leave unread: one page over the limit.
const UNREAD_MAX: usize = 1024 * 1024;

#[test]
fn a_client_that_never_reads_its_fetch_costs_bounded_memory() {
    for mut world in [World::new(), production()] {
        let text = format!("Subject: x\r\n\r\n{}", "0123456789\r\n".repeat(30_000));
        for _ in 0..12 {
            deliver(&mut world, &FolderName::inbox(), &text[..40_000]);
        }
        logged_in(&mut world);
        world.ask(0, "a SELECT INBOX");
        world.stuck = true;
        let half = world.ask(0, "b UID FETCH 1:* (BODY.PEEK[])");
        assert!(half.len() < UNREAD_MAX, "{} bytes", half.len());
        assert!(!half.contains("b OK"), "not all fits");
        world.stuck = false;
        world.run();
        let rest = world.take(0);
        assert_eq!((half + &rest).matches("FETCH (UID").count(), 12);
        assert!(rest.ends_with("b OK FETCH completed\r\n"));
    }
}

#[test]
fn a_client_that_reads_no_answers_is_not_served() {
    let mut world = World::new();
    logged_in(&mut world);
    world.stuck = true;
    for _ in 0..40 {
        world.send(0, "a CAPABILITY\r\n".repeat(2_000).as_bytes());
        assert!(world.clients[0].output.len() < UNREAD_MAX);
    }
    assert!(!world.clients[0].reading, "input must rest");
    world.stuck = false;
    world.run();
    assert_eq!(world.take(0).matches("a OK CAPABILITY").count(), 80_000);
    assert!(world.clients[0].reading);
}

#[test]
fn an_idle_client_that_does_not_read_hears_no_more() {
    let mut world = World::new();
    with_messages(&mut world);
    world.ask(0, "a SELECT INBOX");
    world.send(0, b"b IDLE\r\n");
    world.stuck = true;
    for _ in 0..2_000 {
        let id = world.fake.folders[&FolderName::inbox()].id;
        let words =
            (0..100).map(|n| Keyword::new(format!("word{n}{n}{n}").as_bytes()).expect("atom"));
        let mut message = Fake::message("Subject: x\r\n\r\n");
        message.keywords = words.collect();
        world.fake.append(&FolderName::inbox(), &[message]);
        let notices = world.fake.notices(id);
        world.notify(notices);
        world.run();
    }
    assert!(world.clients[0].output.len() < UNREAD_MAX);
    world.stuck = false;
    world.run();
    assert!(world.take(0).contains("* 2004 EXISTS"));
}

#[test]
fn a_large_message_goes_through_in_chunks() {
    for mut world in [World::new(), production()] {
        logged_in(&mut world);
        let mut message = b"Subject: large\r\n\r\n".to_vec();
        for line in 0..60_000 {
            message.extend_from_slice(format!("line {line} of many\r\n").as_bytes());
        }
        world.send(0, format!("a APPEND INBOX {{{}+}}\r\n", message.len()).as_bytes());
        for piece in message.chunks(10_007) {
            world.send(0, piece);
        }
        world.send(0, b"\r\n");
        let answer = world.take(0);
        assert!(answer.starts_with("a OK [APPENDUID "), "{answer}");
        world.ask(0, "b SELECT INBOX");
        let got = world.ask(0, "c FETCH 1 (RFC822.SIZE BODY[])");
        let text = String::from_utf8(message).expect("ascii");
        let expected = format!("BODY[] {{{}}}\r\n{text})\r\n", text.len());
        assert!(got.contains(&expected), "{}", &got[..300]);
        let part = world.ask(0, "d FETCH 1 BODY.PEEK[TEXT]<300000.12>");
        let from = text.find("\r\n\r\n").expect("a header") + 4 + 300_000;
        let expected = format!("BODY[TEXT]<300000> {{12}}\r\n{})\r\n", &text[from..from + 12]);
        assert!(part.contains(&expected), "{part}");
    }
}

#[test]
fn flags_that_are_told_with_a_new_keyword_are_not_followed_by_older_ones() {
    let mut world = World::new();
    with_messages(&mut world);
    world.connect();
    world.ask(1, "a LOGIN ann secret");
    for client in [0, 1] {
        world.ask(client, "b SELECT INBOX (CONDSTORE)");
    }
    world.ask(1, "c STORE 1 +FLAGS (fresh)");
    world.hold_tasks = true;
    world.send(0, b"d FETCH 1 (FLAGS)\r\n");
    assert!(world.answer_one(), "the rows, with a keyword that is news");
    assert!(world.has_tasks(), "it asks what is new");
    world.send(1, b"e STORE 1 +FLAGS (\\Flagged)\r\n");
    world.overtake();
    world.hold_tasks = false;
    world.run();
    let said = world.take(0);
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("* 1 FETCH")).collect();
    let flagged = lines.iter().position(|line| line.contains("\\Flagged")).expect("told");
    assert!(lines[flagged..].iter().all(|line| line.contains("\\Flagged")), "{said}");
    assert!(said.ends_with("d OK FETCH completed\r\n"), "{said}");
}

#[test]
fn chunks_that_are_slow_to_write_pause_the_client() {
    let mut world = World::new();
    logged_in(&mut world);
    world.hold_tasks = true;
    world.send(0, b"a APPEND INBOX {5000000+}\r\n");
    let mut sent = 0;
    while world.clients[0].reading && sent < 5_000_000 {
        world.send(0, &[b'x'; 50_000]);
        sent += 50_000;
    }
    // Four chunks on their way, one being filled, and what waits in the framer.
    assert!(sent < 2_000_000, "{sent} bytes taken");
    while sent < 5_000_000 {
        while !world.clients[0].reading {
            assert!(world.answer_one());
        }
        world.send(0, &[b'x'; 50_000]);
        sent += 50_000;
    }
    world.send(0, b"\r\n");
    while world.answer_one() {}
    assert!(world.take(0).starts_with("a OK [APPENDUID"));
}

#[test]
fn a_refused_chunk_ends_the_append_and_the_session_goes_on() {
    let mut world = World::new();
    logged_in(&mut world);
    world.send(0, b"a APPEND INBOX {1000000+}\r\n");
    world.send(0, &[b'x'; 100_000]);
    world.fake.refuse = Some(TaskRefusal::NoSpace);
    world.send(0, &[b'x'; 300_000]);
    assert!(world.take(0).starts_with("a NO [UNAVAILABLE] no space left"));
    world.fake.refuse = None;
    world.send(0, &[b'x'; 600_000]);
    world.send(0, b"\r\n");
    assert_eq!(world.ask(0, "b NOOP"), "b OK NOOP completed\r\n");
}

#[test]
fn start_tls() {
    let mut world = World::new();
    let open = Peer { tls_available: true, plaintext_auth: false, ..peer(0) };
    world.connect_as(open.clone());
    let greeting = world.take(0);
    assert!(greeting.contains(" STARTTLS LOGINDISABLED]"), "{greeting}");
    assert!(world.ask(0, "a LOGIN ann secret").starts_with("a NO [PRIVACYREQUIRED]"));
    assert!(world.ask(0, "b STARTTLS").starts_with("b OK"));
    assert!(world.clients[0].tls_asked);
    let tls = TlsInfo { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" };
    world.input(0, SessionInput::TlsStarted(tls));
    world.run();
    assert!(world.ask(0, "c CAPABILITY").contains("ENABLE AUTH=PLAIN AUTH=LOGIN\r\n"));
    assert!(world.ask(0, "d STARTTLS").starts_with("d BAD"));
    assert!(world.ask(0, "e LOGIN ann secret").starts_with("e OK"));
    // Bytes behind the command in the same read would be taken for protected ones.
    world.connect_as(open);
    world.take(1);
    world.send(1, b"a STARTTLS\r\nb LOGIN eve evil\r\n");
    assert!(world.clients[1].closed && !world.clients[1].tls_asked);
    assert_eq!(world.take(1), "");
}

#[test]
fn sessions_end_with_bye() {
    let cases: [(SessionInput, &str); 2] = [
        (
            SessionInput::Notified(Notice::Kicked { reason: "the password was changed".into() }),
            "* BYE the password was changed\r\n",
        ),
        (
            SessionInput::Notified(Notice::FolderDeleted { folder: FolderId(1) }),
            "* BYE the selected mailbox was deleted\r\n",
        ),
    ];
    for (input, farewell) in cases {
        let mut world = World::new();
        with_messages(&mut world);
        world.ask(0, "a SELECT INBOX");
        world.input(0, input);
        world.run();
        assert_eq!(world.take(0), farewell);
        assert!(world.clients[0].closed);
        let last = world.clients[0].logged.last();
        assert!(matches!(last, Some(LogEvent::SessionEnded { .. })), "{last:?}");
    }
}

#[test]
fn a_client_that_vanishes_leaves_nothing_open() {
    for mut world in [World::new(), production()] {
        deliver(&mut world, &FolderName::inbox(), "Subject: x\r\n\r\n");
        logged_in(&mut world);
        // While the folder is being opened: it is closed as soon as it is open.
        world.hold_tasks = true;
        world.send(0, b"a SELECT INBOX\r\n");
        world.input(0, SessionInput::PeerClosed);
        world.run();
        assert!(!world.clients[0].closed);
        world.hold_tasks = false;
        world.run();
        assert!(world.clients[0].closed);
        assert_eq!(world.take(0), "");
    }
    let mut world = World::new();
    with_messages(&mut world);
    world.ask(0, "a SELECT INBOX");
    let id = world.fake.folders[&FolderName::inbox()].id;
    assert_eq!(world.fake.notices(id).len(), 1);
    world.input(0, SessionInput::PeerClosed);
    world.run();
    assert!(world.clients[0].closed);
    assert!(world.fake.notices(id).is_empty(), "nobody watches any more");
}

#[test]
fn errors_without_end_end_the_session() {
    let mut world = World::new();
    world.connect();
    world.send(0, "\x01\x02 garbage ((((\r\n".repeat(1_000).as_bytes());
    assert!(world.clients[0].closed);
    let output = world.take(0);
    assert!(output.len() < 4_096 && output.contains("* BYE too many errors"), "{output}");
    world.connect();
    for _ in 0..4 {
        assert!(world.ask(1, "a LOGIN ann no").contains("[AUTHENTICATIONFAILED]"));
    }
    assert!(world.ask(1, "a LOGIN ann no").ends_with("* BYE too many wrong passwords\r\n"));
    assert!(world.clients[1].closed);
}

#[test]
fn a_master_that_can_not_be_reached_is_a_temporary_failure() {
    let mut world = World::new();
    with_messages(&mut world);
    world.ask(0, "a SELECT INBOX");
    world.fake.refuse = Some(TaskRefusal::Unavailable);
    for command in
        ["FETCH 1 FLAGS", "STORE 1 +FLAGS (\\Seen)", "SEARCH ALL", "LIST \"\" *", "EXPUNGE"]
    {
        let answer = world.ask(0, &format!("b {command}"));
        assert!(answer.starts_with("b NO [UNAVAILABLE]"), "{command}: {answer}");
    }
    world.fake.refuse = None;
    assert!(world.ask(0, "c FETCH 1 FLAGS").ends_with("c OK FETCH completed\r\n"));
}

#[test]
fn a_message_expunged_elsewhere_stays_readable_until_told() {
    for mut world in [World::new(), production()] {
        for number in 1..=3 {
            let body = format!("Subject: {number}\r\n\r\nText {number}.\r\n");
            deliver(&mut world, &FolderName::inbox(), &body);
        }
        logged_in(&mut world);
        logged_in(&mut world);
        world.ask(0, "a SELECT INBOX");
        world.ask(1, "a SELECT INBOX");
        world.ask(1, "b STORE 2 +FLAGS.SILENT (\\Deleted)");
        assert_eq!(world.ask(1, "c EXPUNGE"), "* 2 EXPUNGE\r\nc OK EXPUNGE completed\r\n");
        let got = world.ask(0, "b FETCH 2:3 (UID BODY.PEEK[TEXT])");
        let expected = "* 2 FETCH (UID 2 BODY[TEXT] {9}\r\nText 2.\r\n)\r\n\
            * 3 FETCH (UID 3 BODY[TEXT] {9}\r\nText 3.\r\n)\r\n";
        assert!(got.starts_with(expected), "{got}");
        assert!(!got.contains("EXPUNGE"), "{got}");
        assert_eq!(world.ask(0, "c NOOP"), "* 2 EXPUNGE\r\nc OK NOOP completed\r\n");
        let got = world.ask(0, "d UID FETCH 2 (BODY.PEEK[TEXT])");
        assert_eq!(got, "d OK FETCH completed\r\n");
    }
}
