//! The MIME scanner: cuts change nothing, the part table comes back, every section lies inside the
//! message, decoders, matcher and preview take whatever there is.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mailstore::face::{Columns, Section, SectionText};
use mailstore::mime::{
    Decoder, Layout, Limits, Matcher, PartTable, Resolved, Scanner, Scope, filter_header, preview,
};

fn scanned(message: &[u8], cut: usize) -> Columns {
    let mut scanner = Scanner::new(&Limits::default());
    for piece in message.chunks(cut) {
        scanner.push(piece);
    }
    scanner.finish()
}

fn read(message: &[u8], parts: &PartTable, section: &Section) {
    let layout = Layout { prefix_len: 0, body_len: message.len() as u64 };
    let bytes = |range: std::ops::Range<u64>| {
        let index = |at| usize::try_from(at).expect("inside");
        message.get(index(range.start)..index(range.end)).expect("inside the message")
    };
    match parts.resolve(layout, section) {
        Resolved::Bytes(range) => drop(bytes(range).to_vec()),
        Resolved::FilterHeader { range, names, keep } => {
            drop(filter_header(bytes(range), &names, keep));
        }
        Resolved::Decode { range, encoding } => {
            let mut decoder = Decoder::new(encoding).expect("known encodings alone");
            let mut out = Vec::new();
            if decoder.push(bytes(range), &mut out).is_ok() {
                decoder.finish(&mut out);
            }
            assert!(out.len() <= message.len() * 2 + 16);
        }
        Resolved::NoSuchPart | Resolved::UnknownEncoding => {}
    }
}

fuzz_target!(|data: &[u8]| {
    let [cut, message @ ..] = data else { return };
    let columns = scanned(message, message.len().max(1));
    assert_eq!(columns, scanned(message, 1 + usize::from(*cut)));
    let parts = PartTable::decode(&columns.parts).expect("what the scanner wrote");
    assert_eq!(parts.encode(), columns.parts);
    let names = vec![Bytes::from_static(b"subject")];
    for text in [
        SectionText::All,
        SectionText::Header,
        SectionText::HeaderFields { names: names.clone(), not: false },
        SectionText::HeaderFields { names, not: true },
        SectionText::Text,
        SectionText::Mime,
        SectionText::Binary,
    ] {
        for part in [vec![], vec![1], vec![2], vec![1, 1], vec![2, 1, 1]] {
            read(message, &parts, &Section { part, text: text.clone() });
        }
    }
    let needles =
        [(Scope::Text, Bytes::from_static(b"a")), (Scope::Body, Bytes::from_static(b"b"))];
    let _ = Matcher::new(&needles, &Limits::default()).matches(b"", message, &parts);
    let _ = preview(message, &parts);
});
