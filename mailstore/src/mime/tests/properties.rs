//! What holds for any bytes, and for generated mail against its model and against mail-parser.

use super::grammar::{Form, Read, read_body, read_envelope};
use super::scan;
use crate::face::{Columns, Section, SectionText};
use crate::mime::{
    Decoder, Encoding, Layout, Limits, Matcher, Part, PartKind, PartTable, Resolved, Scanner,
    Scope, filter_header, header_contains, preview,
};
use bytes::Bytes;
use mail_parser::{MessageParser, PartType};
use proptest::prelude::*;

/// What a message is made of when it is put together at random: many become structure.
const SHARDS: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"--",
    b"--b",
    b"--b\r\n",
    b"--b--\r\n",
    b"--bb\r\n",
    b"--c\r\n",
    b"--c--",
    b"-",
    b" ",
    b"\t",
    b"x",
    b"text\r\n",
    b"Content-Type: multipart/mixed; boundary=b\r\n",
    b"Content-Type: multipart/digest; boundary=\"bb\"\r\n",
    b"Content-Type: multipart/alternative;\r\n boundary=c\r\n\r\n",
    b"Content-Type: message/rfc822\r\n\r\n",
    b"Content-Type: text/html; charset=iso-2022-jp\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Disposition: attachment; filename*0=\"a\"; filename*1*=%20\r\n",
    b"Content-Language: a, b\r\n",
    b"Subject: =?utf-8?q?=C3",
    b"=A9?=",
    b"From: ",
    b"To: g: ",
    b"a@b",
    b"<",
    b">",
    b"\"",
    b"(",
    b")",
    b"\\",
    b", ",
    b";",
    b"\xC3\xA9\x00\xFF",
    b"Date: 1 Jan 2026 10:00 +0100\r\n",
];

fn message() -> impl Strategy<Value = Vec<u8>> {
    let shards = proptest::collection::vec(proptest::sample::select(&SHARDS[..]), 0..60);
    prop_oneof![
        4 => shards.prop_map(|shards| shards.concat()),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ]
}

fn small_limits() -> Limits {
    Limits {
        header_bytes_max: 200,
        header_fields_max: 5,
        depth_max: 3,
        parts_max: 5,
        boundary_bytes_max: 3,
        params_max: 2,
        param_bytes_max: 5,
        addresses_max: 3,
        envelope_bytes_max: 300,
        nested_envelope_bytes_max: 100,
        subject_bytes_max: 20,
        text_bytes_max: 10,
        body_bytes_max: 1_000,
        structure_bytes_max: 1_300,
        search_bytes_max: 30,
        references_bytes_max: 30,
    }
}

/// The part at `at` and all inside, as the reader of the grammar sees a body.
fn model(parts: &[Part], at: &mut usize) -> Read {
    let part = &parts[*at];
    *at += 1;
    let mut inside = Vec::new();
    while parts.get(*at).is_some_and(|next| next.depth > part.depth) {
        inside.push(model(parts, at));
    }
    match part.kind {
        PartKind::Leaf => Read::Leaf { size: part.body_len },
        PartKind::Message => Read::Message {
            size: part.body_len,
            inside: Box::new(inside.pop().expect("a message has a message inside")),
        },
        PartKind::Multipart => Read::Multipart(inside),
    }
}

/// Parts lie in their parents, in order, and do not overlap.
fn assert_nested(parts: &[Part]) {
    for (at, part) in parts.iter().enumerate() {
        let parent = parts[..at].iter().rev().find(|other| other.depth < part.depth);
        let sibling = parts[..at].iter().rev().find(|other| other.depth <= part.depth);
        if let Some(parent) = parent {
            assert_eq!(parent.depth + 1, part.depth);
            assert!(parent.body_offset() <= part.header_offset && part.end() <= parent.end());
            assert_ne!(parent.kind, PartKind::Leaf);
        }
        if let Some(sibling) = sibling.filter(|other| other.depth == part.depth) {
            assert!(sibling.end() <= part.header_offset);
        }
    }
}

fn assert_sound(message: &[u8], columns: &Columns, limits: &Limits) -> PartTable {
    let shown = message.escape_ascii();
    read_envelope(&columns.envelope).expect("an envelope");
    assert!(columns.envelope.len() <= limits.envelope_bytes_max);
    assert!(columns.body.len() <= limits.body_bytes_max, "{shown}");
    assert!(columns.structure.len() <= limits.structure_bytes_max, "{shown}");
    let table = PartTable::decode(&columns.parts).expect("just written");
    let root = &table.parts()[0];
    assert_eq!((root.header_offset, root.end()), (0, message.len() as u64), "{shown}");
    assert_eq!(root.header_len, columns.header_bytes);
    assert!(table.parts().len() <= limits.parts_max.saturating_add(1));
    assert_nested(table.parts());
    let expected = model(table.parts(), &mut 0);
    assert_eq!(read_body(&columns.body, Form::Body), Ok(model(table.parts(), &mut 0)));
    assert_eq!(read_body(&columns.structure, Form::BodyStructure), Ok(expected));
    assert_eq!(table.encode(), columns.parts);
    table
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_message(message in message(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        for limits in [Limits::default(), small_limits()] {
            let mut whole = Scanner::new(&limits);
            whole.push(&message);
            let whole = whole.finish();
            let table = assert_sound(&message, &whole, &limits);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(message.len() + 1)).collect();
            cuts.extend([0, message.len()]);
            cuts.sort_unstable();
            let mut pieces = Scanner::new(&limits);
            cuts.windows(2).for_each(|pair| pieces.push(&message[pair[0]..pair[1]]));
            prop_assert_eq!(pieces.finish(), whole);
            let needles = [(Scope::Body, Bytes::from("text")), (Scope::Text, Bytes::from("\u{e9}"))];
            let _found = Matcher::new(&needles, &limits).matches(b"X: y\r\n", &message, &table);
            prop_assert!(preview(&message, &table).chars().count() <= 200);
            let _found = header_contains(&message, b"subject", b"x");
            let _kept = filter_header(&message, &[], super::super::Keep::Others);
        }
    }

    #[test]
    fn any_bytes_are_a_part_table_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..60), numbers in proptest::collection::vec(0u32..4, 0..4)) {
        let bytes = [&[1u8][..], &bytes].concat();
        if let Ok(table) = PartTable::decode(&bytes) {
            let layout = Layout { prefix_len: 10, body_len: 100 };
            for text in [SectionText::All, SectionText::Text, SectionText::Mime, SectionText::Binary] {
                if let Resolved::Bytes(range) = table.resolve(layout, &Section { part: numbers.clone(), text }) {
                    prop_assert!(range.start <= range.end && range.end <= 110);
                }
            }
            prop_assert_eq!(PartTable::decode(&table.encode()), Ok(table));
        }
    }

    #[test]
    fn base64_and_quoted_printable_come_back(data in proptest::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        for encoding in [Encoding::Base64, Encoding::QuotedPrintable] {
            let text = encode(encoding, &data);
            let at = cut.index(text.len() + 1);
            let mut decoder = Decoder::new(encoding).expect("known");
            let mut out = Vec::new();
            decoder.push(&text[..at], &mut out).expect("whole");
            decoder.push(&text[at..], &mut out).expect("whole");
            decoder.finish(&mut out);
            prop_assert_eq!(&out, &data);
        }
    }

    #[test]
    fn generated_mail_is_read_as_it_was_meant(entity in entity()) {
        let mut message = Vec::new();
        let mut meant = Vec::new();
        entity.write(&mut message, 0, &mut meant);
        let table = assert_sound(&message, &scan(&message), &Limits::default());
        let read: Vec<Meant> = table.parts().iter().map(|part| Meant::of(part, &message)).collect();
        prop_assert_eq!(&read, &meant);
        // mail-parser loses its way in a message that is nothing but a message.
        prop_assume!(!entity.has_bare_message());
        let oracle = MessageParser::default().parse(&message).expect("a message");
        let mut leaves = Vec::new();
        collect_leaves(&oracle, &mut leaves);
        let ours: Vec<Vec<u8>> = meant.into_iter().filter_map(|part| part.data).collect();
        prop_assert_eq!(ours, leaves);
    }
}

/// The leaves as mail-parser decodes them.
fn collect_leaves(message: &mail_parser::Message<'_>, leaves: &mut Vec<Vec<u8>>) {
    collect_part(message, 0, leaves);
}

fn collect_part(message: &mail_parser::Message<'_>, id: u32, leaves: &mut Vec<Vec<u8>>) {
    match &message.parts[id as usize].body {
        PartType::Text(text) | PartType::Html(text) => leaves.push(text.as_bytes().to_vec()),
        PartType::Binary(data) | PartType::InlineBinary(data) => leaves.push(data.to_vec()),
        PartType::Message(inside) => collect_leaves(inside, leaves),
        PartType::Multipart(inside) => {
            inside.iter().for_each(|id| collect_part(message, *id, leaves))
        }
    }
}

/// Generated mail.
#[derive(Clone, Debug)]
enum Entity {
    Leaf { kind: &'static str, encoding: Encoding, data: Vec<u8> },
    Message(Box<Entity>),
    Multipart { sub: &'static str, inside: Vec<Entity>, preamble: &'static str },
}

/// One part as it was meant: kind, depth, data as decoded (leaves only).
#[derive(Debug, PartialEq, Eq)]
struct Meant {
    kind: PartKind,
    depth: u8,
    data: Option<Vec<u8>>,
}

impl Meant {
    fn of(part: &Part, message: &[u8]) -> Self {
        let data = (part.kind == PartKind::Leaf).then(|| {
            let mut decoder = Decoder::new(part.encoding).expect("known");
            let mut out = Vec::new();
            let raw = &message[part.body_offset() as usize..part.end() as usize];
            decoder.push(raw, &mut out).expect("whole");
            decoder.finish(&mut out);
            out
        });
        Self { kind: part.kind, depth: part.depth, data }
    }
}

fn entity() -> impl Strategy<Value = Entity> {
    let text = proptest::collection::vec(
        proptest::sample::select(&["a", "é", "--b", "\r\n", " ", "=", ".", "line of text\r\n"][..]),
        1..8,
    )
    .prop_map(|words| words.concat().trim().as_bytes().to_vec());
    let kinds = proptest::sample::select(
        &["text/plain; charset=utf-8", "text/html; charset=utf-8", "image/png"][..],
    );
    let encodings = proptest::sample::select(
        &[Encoding::EightBit, Encoding::Base64, Encoding::QuotedPrintable][..],
    );
    let leaf = (kinds, encodings, text).prop_map(|(kind, encoding, data)| Entity::Leaf {
        kind,
        encoding,
        data,
    });
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            1 => inner.clone().prop_map(|inside| Entity::Message(Box::new(inside))),
            3 => (
                proptest::sample::select(&["mixed", "alternative", "related"][..]),
                proptest::collection::vec(inner, 1..4),
                proptest::sample::select(&["", "preamble\r\n"][..]),
            ).prop_map(|(sub, inside, preamble)| Entity::Multipart { sub, inside, preamble }),
        ]
    })
}

impl Entity {
    fn has_bare_message(&self) -> bool {
        match self {
            Self::Leaf { .. } => false,
            Self::Message(inside) => {
                matches!(**inside, Self::Message(_)) || inside.has_bare_message()
            }
            Self::Multipart { inside, .. } => inside.iter().any(Self::has_bare_message),
        }
    }

    fn write(&self, out: &mut Vec<u8>, depth: u8, meant: &mut Vec<Meant>) {
        let mut note = |kind, data| meant.push(Meant { kind, depth, data });
        match self {
            Self::Leaf { kind, encoding, data } => {
                note(PartKind::Leaf, Some(data.clone()));
                let name = String::from_utf8_lossy(encoding.name());
                let header =
                    format!("Content-Type: {kind}\r\nContent-Transfer-Encoding: {name}\r\n\r\n");
                out.extend_from_slice(header.as_bytes());
                out.extend_from_slice(&encode(*encoding, data));
            }
            Self::Message(inside) => {
                note(PartKind::Message, None);
                out.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n");
                inside.write(out, depth + 1, meant);
            }
            Self::Multipart { sub, inside, preamble } => {
                note(PartKind::Multipart, None);
                // Unique where it is, and the beginning of no other.
                let boundary = format!("{}.{depth}.x", out.len());
                let header = format!(
                    "Content-Type: multipart/{sub};\r\n boundary=\"{boundary}\"\r\n\r\n{preamble}"
                );
                out.extend_from_slice(header.as_bytes());
                for part in inside {
                    out.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
                    part.write(out, depth + 1, meant);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(format!("--{boundary}--\r\nepilogue").as_bytes());
            }
        }
    }
}

fn encode(encoding: Encoding, data: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Base64 => encode_base64(data),
        Encoding::QuotedPrintable => {
            let mut out = Vec::new();
            for (at, byte) in data.iter().enumerate() {
                out.extend_from_slice(format!("={byte:02X}").as_bytes());
                if at % 20 == 19 {
                    out.extend_from_slice(b"=\r\n");
                }
            }
            out
        }
        Encoding::SevenBit | Encoding::EightBit | Encoding::Binary | Encoding::Unknown => {
            data.to_vec()
        }
    }
}

fn encode_base64(data: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    for (at, group) in data.chunks(3).enumerate() {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place > group.len() { b'=' } else { digit });
        }
        if at % 18 == 17 {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}
