//! Transcripts of clients through the framer, each also cut at every byte boundary.

use bytes::Bytes;
use imap::codec::{
    AppendEvent, AppendMessage, CommandBody, Event, Framer, LiteralKind, LiteralSync, MailboxError,
    NameEncoding,
};

/// Plays a session that accepts messages up to `message_bytes_max` and is in IDLE after `IDLE`.
struct Player {
    framer: Framer,
    told: Vec<String>,
    data: Vec<u8>,
    message_bytes_max: u64,
}

impl Player {
    fn new(command_bytes_max: usize) -> Self {
        let framer = Framer::new(command_bytes_max);
        Self { framer, told: Vec::new(), data: Vec::new(), message_bytes_max: 1000 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.framer.push(Bytes::copy_from_slice(bytes));
        while let Some(event) = self.framer.poll() {
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: Event) {
        let line = match event {
            Event::Append(AppendEvent::Data(data)) => {
                assert!(!data.is_empty());
                self.data.extend_from_slice(&data);
                return;
            }
            Event::Append(AppendEvent::LiteralEnd) => {
                format!("message {}", std::mem::take(&mut self.data).escape_ascii())
            }
            Event::Append(AppendEvent::Begin { tag, mailbox }) => {
                format!("append {} {mailbox:?}", tag.0.escape_ascii())
            }
            Event::Append(AppendEvent::Message(message)) => self.on_message(&message),
            Event::Append(AppendEvent::End) => "end".to_owned(),
            Event::Command(command) => {
                if command.body == CommandBody::Idle {
                    self.framer.expect_line();
                }
                format!("{} {:?}", command.tag.0.escape_ascii(), command.body)
            }
            Event::Continue => "+".to_owned(),
            Event::Line(line) => format!("line {}", line.escape_ascii()),
            Event::Bad { tag, reason } => {
                self.data.clear();
                format!("{} BAD {reason}", name(tag))
            }
            Event::TooLong { tag, draining } => format!("{} TOO LONG {draining}", name(tag)),
        };
        self.told.push(line);
    }

    fn on_message(&mut self, message: &AppendMessage) -> String {
        let AppendMessage { flags, internal_date, bytes, literal, sync } = message;
        let verdict = if *bytes > self.message_bytes_max {
            format!("refused, drops {}", self.framer.abandon_append())
        } else {
            self.framer.accept_literal();
            "accepted".to_owned()
        };
        let flags = flags.as_ref().expect("few flags");
        let date = internal_date.map(|date| date.civil());
        let keywords: Vec<_> = flags.keywords.iter().map(|keyword| keyword.as_str()).collect();
        format!("{literal:?} {sync:?} {bytes} {:?} {keywords:?} {date:?} {verdict}", flags.system.0)
    }
}

fn name(tag: Option<imap::codec::Tag>) -> String {
    tag.map_or("*".to_owned(), |tag| tag.0.escape_ascii().to_string())
}

/// What is told of `client`, in one piece, in single bytes and cut in two everywhere.
#[track_caller]
fn told(client: &[u8]) -> Vec<String> {
    told_within(1024, client)
}

#[track_caller]
fn told_within(command_bytes_max: usize, client: &[u8]) -> Vec<String> {
    let play = |pieces: &[&[u8]]| {
        let mut player = Player::new(command_bytes_max);
        for piece in pieces {
            player.push(piece);
        }
        (player.told, player.framer.unread_len())
    };
    let whole = play(&[client]);
    for at in 0..client.len() {
        assert_eq!(play(&[&client[..at], &client[at..]]), whole, "cut at {at}");
    }
    assert_eq!(play(&client.chunks(1).collect::<Vec<_>>()), whole, "in single bytes");
    whole.0
}

#[test]
fn plain_commands() {
    assert_eq!(
        told(b"a1 NOOP\r\nA2 capability\r\na3 LOGIN joe \"s\\\"x \\\\\"\r\na4 noop \r\n"),
        [
            "a1 Noop",
            "A2 Capability",
            r#"a3 Login { username: b"joe", password: b"s\"x \\" }"#,
            "a4 Noop"
        ]
    );
}

#[test]
fn literals_are_collected() {
    assert_eq!(
        told(b"a LOGIN {3}\r\njoe {5+}\r\na b\r\n\r\nb NOOP\r\n"),
        ["+", r#"a Login { username: b"joe", password: b"a b\r\n" }"#, "b Noop"]
    );
    assert_eq!(told(b"a LOGIN {0}\r\n {0+}\r\n\r\n").len(), 2);
    // RFC 9051 4.3: no NUL in a literal.
    assert_eq!(told(b"a LOGIN x {3+}\r\na\0b\r\nb NOOP\r\n"), ["a BAD NUL in a literal", "b Noop"]);
}

#[test]
fn errors_resynchronise_behind_the_command() {
    assert_eq!(
        told(b"a FOO\r\n* NOOP\r\n\r\nb NOOP x\r\nc FOO {5+}\r\na b\r\n {2+}\r\nxx\r\nd NOOP\r\n"),
        [
            "a BAD unknown command",
            "* BAD wrong tag",
            "* BAD wrong tag",
            "b BAD unexpected argument",
            "c BAD unknown command",
            "d Noop"
        ]
    );
}

#[test]
fn append_is_streamed() {
    assert_eq!(
        told(
            b"a APPEND INBOX (\\Seen $Fwd) \" 7-Feb-1994 21:52:25 -0800\" {6}\r\na\r\nb\r\n\r\nb NOOP\r\n"
        ),
        [
            "append a Ok(\"INBOX\")",
            "Text Synchronizing 6 1 [\"$Fwd\"] Some((1994, 2, 7, 21, 52, 25)) accepted",
            "message a\\r\\nb\\r\\n",
            "end",
            "b Noop"
        ]
    );
}

#[test]
fn multiappend_binary_and_utf8() {
    assert_eq!(
        told(b"a APPEND {5+}\r\ninbox ~{3+}\r\na\0b (\\Draft) UTF8 (~{2+}\r\nxy) {0+}\r\n\r\nb NOOP\r\n"),
        [
            "append a Ok(\"INBOX\")",
            "Binary NonSynchronizing 3 0 [] None accepted",
            "message a\\x00b",
            "Utf8 NonSynchronizing 2 16 [] None accepted",
            "message xy",
            "Text NonSynchronizing 0 0 [] None accepted",
            "message ",
            "end",
            "b Noop"
        ]
    );
}

#[test]
fn append_whose_mailbox_is_a_synchronizing_literal() {
    assert_eq!(
        told(b"a append {3}\r\nfoo {1}\r\nx\r\n"),
        [
            "+",
            "append a Ok(\"foo\")",
            "Text Synchronizing 1 0 [] None accepted",
            "message x",
            "end"
        ]
    );
}

#[test]
fn a_message_too_large_is_refused_without_reading_it() {
    // The client that waits goes on with its next command.
    assert_eq!(
        told(b"a APPEND x {1001}\r\nb NOOP\r\n"),
        ["append a Ok(\"x\")", "Text Synchronizing 1001 0 [] None refused, drops 0", "b Noop"]
    );
    let mut client = b"a APPEND x {1001+}\r\n".to_vec();
    client.extend(std::iter::repeat_n(b'\n', 1001));
    client.extend(b" (\\Seen) {3+}\r\nxyz\r\nb NOOP\r\n");
    assert_eq!(
        told(&client),
        [
            "append a Ok(\"x\")",
            "Text NonSynchronizing 1001 0 [] None refused, drops 1001",
            "b Noop"
        ]
    );
}

#[test]
fn a_wrong_append_is_bad_and_its_literals_are_passed_over() {
    assert_eq!(
        told(b"a APPEND x (\\Foo) {5+}\r\nb NO\n {3+}\r\nabc\r\nc APPEND x (\\Foo) {5}\r\nd NOOP\r\n"),
        ["a BAD unknown system flag", "c BAD unknown system flag", "d Noop"]
    );
    assert_eq!(
        told(b"a APPEND x {2+}\r\nhi y {4+}\r\nd N\n\r\nb APPEND x\r\nc APPEND x {1+}\r\nxyz\r\n"),
        [
            "append a Ok(\"x\")",
            "Text NonSynchronizing 2 0 [] None accepted",
            "message hi",
            "a BAD message literal expected",
            "b BAD APPEND without a message literal",
            "append c Ok(\"x\")",
            "Text NonSynchronizing 1 0 [] None accepted",
            "message x",
            "c BAD space expected",
        ]
    );
}

#[test]
fn lines_of_idle_and_authenticate() {
    assert_eq!(told(b"a IDLE\r\nDONE\r\nb NOOP\r\n"), ["a Idle", "line DONE", "b Noop"]);
    assert_eq!(told(b"a IDLE\r\n {5+}\n\r\n"), ["a Idle", "line  {5+}", "* BAD wrong tag"]);
}

#[test]
fn too_long() {
    let mut client = b"a NOOP ".to_vec();
    client.extend(std::iter::repeat_n(b'x', 100));
    client.extend(b"\r\nb NOOP\r\n");
    assert_eq!(told_within(32, &client), ["a TOO LONG 0", "b Noop"]);
    // A tag that is longer than all that may be collected is none.
    assert_eq!(
        told_within(32, format!("{} NOOP\r\n", "a".repeat(40)).as_bytes()),
        ["* TOO LONG 0"]
    );
    // The end of a dropped line still counts.
    let mut client = b"a NOOP ".to_vec();
    client.extend(std::iter::repeat_n(b'x', 100));
    client.extend(b" {4+}\r\nx\r\ny z\r\nb NOOP\r\n");
    assert_eq!(told_within(32, &client), ["a TOO LONG 0", "b Noop"]);
    // A line behind a message is limited too.
    let mut client = b"a APPEND x {2+}\r\nhi".to_vec();
    client.extend(std::iter::repeat_n(b' ', 100));
    client.extend(b"\r\nb NOOP\r\n");
    assert_eq!(told_within(32, &client)[3..], ["a TOO LONG 0", "b Noop"]);
    assert_eq!(
        told_within(32, b"a LOGIN x {4294967296}\r\nb NOOP\r\n"),
        ["a TOO LONG 0", "b Noop"]
    );
    assert_eq!(
        told_within(32, b"a LOGIN x {20+}\r\n01234567890123456789\r\nb NOOP\r\n"),
        ["a TOO LONG 20", "b Noop"]
    );
    assert_eq!(
        told_within(64, b"a LOGIN x {99999999999999999999999+}\r\nb NOOP\r\n"),
        ["a TOO LONG 18446744073709551615"]
    );
}

#[test]
fn dribbled_bytes_cost_no_more_than_a_constant_each() {
    let mut client = b"a UID FETCH 1".to_vec();
    for uid in 2..10_000 {
        client.extend(format!(",{uid}").bytes());
    }
    client.extend(b" FLAGS\r\n");
    client.extend(b"b SEARCH");
    for _ in 0..1000 {
        client.extend(b" TO {1+}\r\nx");
    }
    client.extend(b"\r\nc FOO");
    client.extend(std::iter::repeat_n(b'(', 100_000));
    client.extend(b"\r\n");
    for piece in [1, 7, 4096, usize::MAX] {
        let mut player = Player::new(64 * 1024);
        for piece in client.chunks(piece.min(client.len())) {
            player.push(piece);
        }
        assert_eq!(player.told.len(), 3);
        assert!(player.framer.work() <= 5 * client.len() as u64, "{}", player.framer.work());
        assert_eq!(player.framer.unread_len(), 0);
    }
}

#[test]
fn names_follow_the_encoding() {
    let parse = |names, client: &'static [u8]| {
        let mut framer = Framer::new(1024);
        framer.set_names(names);
        framer.push(Bytes::from_static(client));
        match framer.poll() {
            Some(Event::Command(command)) => match command.body {
                CommandBody::Delete { mailbox } => mailbox,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let entwurfe = parse(NameEncoding::Utf7, b"a DELETE Entw&APw-rfe\r\n").expect("valid");
    assert_eq!(entwurfe.as_str(), "Entwürfe");
    let raw = "a DELETE \"Entwürfe\"\r\n".as_bytes();
    assert_eq!(parse(NameEncoding::Utf8, raw), Ok(entwurfe));
    assert_eq!(parse(NameEncoding::Utf7, raw), Err(MailboxError::NotUtf7));
    assert_eq!(parse(NameEncoding::Utf7, b"a DELETE &APw\r\n"), Err(MailboxError::NotUtf7));
    assert_eq!(parse(NameEncoding::Utf8, b"a DELETE \"\xff\"\r\n"), Err(MailboxError::NotUtf8));
}

#[test]
fn data_is_handed_on_without_copying() {
    let mut framer = Framer::new(1024);
    let client = Bytes::from_static(b"a APPEND x {4+}\r\nabcd\r\n");
    framer.push(client.clone());
    assert!(matches!(framer.poll(), Some(Event::Append(AppendEvent::Begin { .. }))));
    let Some(Event::Append(AppendEvent::Message(message))) = framer.poll() else { panic!() };
    assert_eq!((message.literal, message.sync), (LiteralKind::Text, LiteralSync::NonSynchronizing));
    assert_eq!(framer.poll(), None, "the session decides");
    framer.accept_literal();
    let Some(Event::Append(AppendEvent::Data(data))) = framer.poll() else { panic!() };
    assert_eq!(data.as_ptr(), client[17..].as_ptr());
}
