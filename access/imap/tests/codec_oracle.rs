//! Random commands: what we read is what an independent parser reads; what is read can be written
//! and read again; the form of a string does not matter; garbage is an answer, never a panic.

mod grammar;

use bytes::{Bytes, BytesMut};
use grammar::{Form, append_head, extensions, known_to_oracle, render, wire};
use imap::codec::encode::{Recent, put_flags, put_internal_date, put_mailbox};
use imap::codec::{AppendEvent, CommandBody, Event, Framer, NameEncoding};
use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use mailstore::face::Flags;
use proptest::prelude::*;

fn with_tag(body: &[u8]) -> Vec<u8> {
    [b"A1 ", body, b"\r\n"].concat()
}

fn ours(body: &[u8]) -> CommandBody {
    let mut framer = Framer::new(65_536);
    framer.push(with_tag(body).into());
    let event = framer.poll();
    match event {
        Some(Event::Command(command)) => command.body,
        other => panic!("{}: {other:?}", body.escape_ascii()),
    }
}

/// The same command in the oracle's words.
fn oracles(body: &[u8]) -> String {
    let line = with_tag(body);
    match CommandCodec::default().decode(&line) {
        Ok((b"", command)) => format!("{:?}", command.body),
        other => panic!("{}: {other:?}", body.escape_ascii()),
    }
}

/// What the events of one APPEND say, as a command again.
fn append_wire(body: &[u8], cut: usize) -> Vec<u8> {
    let mut framer = Framer::new(65_536);
    let mut wire = BytesMut::new();
    for piece in with_tag(body).chunks(cut) {
        framer.push(Bytes::copy_from_slice(piece));
        while let Some(event) = framer.poll() {
            let Event::Append(event) = event else { panic!("{event:?}") };
            match event {
                AppendEvent::Begin { tag: _, mailbox } => {
                    wire.extend_from_slice(b"APPEND ");
                    let name = mailbox.expect("drawn valid");
                    put_mailbox(&mut wire, name.as_str(), NameEncoding::Utf7);
                }
                AppendEvent::Message(message) => {
                    framer.accept_literal();
                    let flags = message.flags.expect("few");
                    wire.extend_from_slice(b" (");
                    let known =
                        Flags { system: flags.system, keywords: (1 << flags.keywords.len()) - 1 };
                    put_flags(&mut wire, known, Recent::No, &flags.keywords);
                    wire.extend_from_slice(b") ");
                    put_internal_date(&mut wire, message.internal_date.expect("always drawn"));
                    wire.extend_from_slice(format!(" {{{}+}}\r\n", message.bytes).as_bytes());
                }
                AppendEvent::Data(data) => wire.extend_from_slice(&data),
                AppendEvent::LiteralEnd | AppendEvent::End => {}
            }
        }
    }
    assert_eq!(framer.unread_len(), 0);
    wire.to_vec()
}

/// Polls all there is, taking every message, and returns how many events there were.
fn drink(framer: &mut Framer) -> usize {
    let mut events = 0;
    while let Some(event) = framer.poll() {
        events += 1;
        match event {
            Event::Append(AppendEvent::Message(message)) if message.bytes % 3 == 0 => {
                framer.abandon_append();
            }
            Event::Append(AppendEvent::Message(_)) => framer.accept_literal(),
            Event::Command(command) if command.body == CommandBody::Idle => framer.expect_line(),
            Event::Command(_)
            | Event::Continue
            | Event::Append(_)
            | Event::Line(_)
            | Event::Bad { .. }
            | Event::TooLong { .. } => {}
        }
    }
    events
}

/// Bytes that lead deep into the grammar.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "a ",
        "APPEND x ",
        "FETCH ",
        "SEARCH ",
        "BODY[",
        "HEADER.FIELDS (",
        "\r\n",
        "{3}\r\n",
        "{3+}\r\n",
        "~{",
        "+}",
        "UTF8 (~{2+}\r\n",
        "\"",
        "\\",
        "(",
        ")",
        " ",
        "*",
        ":",
        ",",
        "1",
        "<0.",
        "$",
        "&",
        "UID ",
        "LIST ",
        "STORE ",
        "CHARSET ",
        "RETURN (",
        "IDLE\r\n",
        "QRESYNC (",
        "99999999999999999999",
        "\0",
        "\n",
        "\u{fc}",
    ]);
    let piece = prop_oneof![
        8 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1024,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_oracle_reads_the_same(pieces in known_to_oracle()) {
        let plainest = render(&pieces, Some(Form::Atom));
        let body = ours(&plainest);
        prop_assert_eq!(oracles(&plainest), oracles(&wire(&body)));
        prop_assert_eq!(ours(&wire(&body)), body.clone());
        for form in [None, Some(Form::Quoted), Some(Form::Literal)] {
            prop_assert_eq!(ours(&render(&pieces, form)), body.clone());
        }
    }

    #[test]
    fn the_oracle_reads_the_same_append(
        (head, message) in (append_head(), prop::collection::vec(1_u8.., 0..20)),
        cut in 1_usize..20,
    ) {
        let literal = format!(" {{{}+}}\r\n", message.len());
        let body = [&render(&head, Some(Form::Atom))[..], literal.as_bytes(), &message[..]].concat();
        prop_assert_eq!(oracles(&append_wire(&body, cut)), oracles(&body));
        let literal_name = [&render(&head, Some(Form::Literal))[..], literal.as_bytes(), &message[..]];
        prop_assert_eq!(append_wire(&literal_name.concat(), cut), append_wire(&body, cut));
    }

    #[test]
    fn extensions_come_back(pieces in extensions()) {
        let body = ours(&render(&pieces, None));
        prop_assert_eq!(ours(&wire(&body)), body);
    }

    #[test]
    fn garbage_never_panics(bytes in garbage(), cut in 1_usize..50, limit in 1_usize..200) {
        for names in [NameEncoding::Utf7, NameEncoding::Utf8] {
            let mut whole = Framer::new(limit);
            whole.set_names(names);
            whole.push(bytes.clone().into());
            drink(&mut whole);
            let mut pieces = Framer::new(limit);
            pieces.set_names(names);
            for piece in bytes.chunks(cut) {
                pieces.push(Bytes::copy_from_slice(piece));
                drink(&mut pieces);
            }
            prop_assert_eq!(whole.unread_len(), pieces.unread_len());
            prop_assert!(whole.work() <= 6 * bytes.len() as u64 + 16);
            prop_assert!(pieces.work() <= 6 * bytes.len() as u64 + 16);
        }
    }

    #[test]
    fn damaged_commands_never_panic(pieces in known_to_oracle(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut line = with_tag(&render(&pieces, None));
        let at = at.index(line.len());
        line[at] = byte;
        let mut framer = Framer::new(65_536);
        framer.push(line.into());
        drink(&mut framer);
    }
}
