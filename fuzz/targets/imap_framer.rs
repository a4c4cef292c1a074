//! The IMAP framer and parser: whatever comes, and however it is cut, the events are the same, the
//! work is in proportion to the bytes, and nothing panics.
#![no_main]

use bytes::Bytes;
use imap::codec::{AppendEvent, CommandBody, Event, Framer, NameEncoding};
use libfuzzer_sys::fuzz_target;

/// The events without the cuts within messages.
fn events(framer: &mut Framer, told: &mut Vec<Event>) {
    while let Some(event) = framer.poll() {
        match &event {
            Event::Append(AppendEvent::Data(_)) => continue,
            Event::Append(AppendEvent::Message(message)) if message.bytes % 5 == 0 => {
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
        told.push(event);
    }
}

fuzz_target!(|data: &[u8]| {
    let [options, client @ ..] = data else { return };
    let names = if options & 1 == 0 { NameEncoding::Utf7 } else { NameEncoding::Utf8 };
    let limit = 64 << (options >> 1 & 7);
    let cut = 1 + usize::from(options >> 4);
    let new = || {
        let mut framer = Framer::new(limit);
        framer.set_names(names);
        framer
    };
    let (mut whole, mut told_whole) = (new(), Vec::new());
    whole.push(Bytes::copy_from_slice(client));
    events(&mut whole, &mut told_whole);
    let (mut pieces, mut told_pieces) = (new(), Vec::new());
    for piece in client.chunks(cut) {
        pieces.push(Bytes::copy_from_slice(piece));
        events(&mut pieces, &mut told_pieces);
    }
    assert_eq!(told_whole, told_pieces);
    assert_eq!(whole.unread_len(), pieces.unread_len());
    assert!(pieces.work() <= 6 * client.len() as u64 + 16);
});
