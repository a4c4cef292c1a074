//! Random texts and queries in many scripts: with the index SEARCH says what it says without.

use super::world::{
    Store, body_test, bring_up, index_in, known, letter, scanned, searched, text_test,
};
use bytes::Bytes;
use mailstore::mailbox::BodyTest;
use proptest::prelude::*;

/// Pieces that texts are made of: words of many scripts, marks between them, keys, numbers, and what folds.
const PIECES: [&str; 60] = [
    "invoice",
    "Invoice",
    "voice",
    "in",
    "a",
    "can't",
    "Straße",
    "STRASSE",
    "Ünïcode",
    "U\u{308}n",
    "ﬁn",
    "œuvre",
    "naïve",
    "ΣΊΣΥΦΟΣ",
    "σίσυφος",
    "Привет",
    "мир",
    "שלום",
    "مرحبا",
    "العالم",
    "नमस्ते",
    "हिन्दी",
    "สวัสดี",
    "ครับ",
    "ខ្មែរ",
    "東京",
    "東京都",
    "京都",
    "の",
    "カタカナ",
    "ｶﾞ",
    "ひらがな",
    "日本",
    "서울에서",
    "만나요",
    "한국",
    "中文搜索",
    "搜",
    "abc123",
    "x1",
    "3.14",
    "2026",
    "123456789",
    "rfc2822",
    "QmFzZTY0RW5jb2RlZEtleQ",
    "deadbeefcafebabe0123",
    "donaudampfschifffahrtsgesellschaft",
    "user@example.org",
    "https://ex.org/a?b=c1d2",
    "foo_bar",
    "--",
    "...",
    "!",
    "'",
    "(",
    ")",
    "\u{301}",
    "🙂",
    "\u{200d}",
    "é",
];

const JOINTS: [&str; 8] = ["", " ", "", " ", ", ", "\r\n", "-", "\u{a0}"];

fn text_of() -> impl Strategy<Value = String> {
    let piece = (prop::sample::select(PIECES.to_vec()), prop::sample::select(JOINTS.to_vec()));
    prop::collection::vec(piece, 0..14)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(piece, joint)| [piece, joint]).collect())
}

/// How a text is put into a message.
fn message_of() -> impl Strategy<Value = Vec<u8>> {
    (0..6_u8, text_of(), text_of()).prop_map(|(form, one, other)| {
        let subject = one.replace("\r\n", " ");
        match form {
            0 | 1 => letter(&subject, &other),
            2 => format!(
                "Subject: {subject}\r\nX-Key: {subject}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
                 --b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>{one}</p>\r\n--b\r\n\
                 Content-Type: text/plain; name=\"{subject}\"; charset=utf-8\r\n\r\n{other}\r\n--b--\r\n"
            )
            .into_bytes(),
            3 => format!(
                "Subject: x\r\nContent-Type: message/rfc822\r\n\r\nSubject: {subject}\r\n\r\n{other}\r\n"
            )
            .into_bytes(),
            4 => format!(
                "Subject: q\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{}",
                quoted(&other)
            )
            .into_bytes(),
            // Not what it says.
            _ => {
                let mut raw = letter("broken", &one);
                raw.extend_from_slice(b"caf\xe9 \xff");
                raw.extend_from_slice(other.as_bytes());
                raw
            }
        }
    })
}

fn quoted(text: &str) -> String {
    text.bytes().enumerate().fold(String::new(), |mut out, (at, byte)| {
        out.push_str(&format!("={byte:02X}"));
        if at % 24 == 23 {
            out.push_str("=\r\n");
        }
        out
    })
}

/// A part of a text from anywhere to anywhere, or a piece.
fn query_of() -> impl Strategy<Value = String> {
    let part = (text_of(), 0..40_usize, 1..14_usize);
    prop_oneof![
        part.prop_map(|(text, from, len)| text.chars().skip(from).take(len).collect::<String>()),
        prop::sample::select(PIECES.to_vec()).prop_map(str::to_owned),
        "[a-z]{1,4}",
    ]
}

fn tests_of(queries: &[String]) -> Vec<BodyTest> {
    let name = |at: usize| Bytes::from_static([&b"subject"[..], b"X-Key", b"content-type"][at % 3]);
    let text = |query: &String| Bytes::copy_from_slice(query.as_bytes());
    let test = |(at, query): (usize, &String)| match at % 4 {
        0 | 1 => body_test(query),
        2 => text_test(query),
        _ => BodyTest::Header { name: name(at / 4), text: text(query) },
    };
    queries.iter().enumerate().map(test).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_index_says_what_a_scan_says(
        messages in prop::collection::vec((1..4_u64, message_of()), 1..24),
        queries in prop::collection::vec(query_of(), 1..60),
        indexed in 0..30_usize,
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let (text, mut indexer) = index_in(dir.path());
        let mut store = Store::default();
        for (email, (user, message)) in messages.iter().enumerate() {
            store.put(*user, email as u64, message);
            if email + 1 == indexed.min(messages.len()) {
                // What comes behind is not in the index.
                indexer.round(&mut store.clone(), 0, &store.users()).expect("it is written");
            }
        }
        let tests = tests_of(&queries);
        for user in 1..4 {
            let truth = scanned(&store, user, &tests);
            for (at, known) in known(&store, &text, user, &tests).iter().enumerate() {
                prop_assert_eq!(known.yes & !truth[at], 0, "surely, but not so: {:?}", tests);
                prop_assert_eq!(known.no & truth[at], 0, "surely not, but so: {:?}", tests);
            }
            prop_assert_eq!(searched(&store, &text, user, &tests), truth);
        }
    }
}

#[test]
fn one_word_is_decided_without_reading() {
    let dir = tempfile::tempdir().expect("a directory");
    let (text, mut indexer) = index_in(dir.path());
    let mut store = Store::default();
    for (email, words) in ["the invoice", "a voice", "東京都 tower", "nothing"].iter().enumerate()
    {
        store.put(1, email as u64, &letter("words", words));
    }
    bring_up(&mut indexer, &mut store).expect("it is written");
    for (query, truth) in [
        ("voice", [1, 1, 0, 0]),
        ("invoice", [1, 0, 0, 0]),
        ("tow", [0, 0, 1, 0]),
        ("京都", [0, 0, 1, 0]),
        ("都", [0, 0, 1, 0]),
        ("", [1, 1, 1, 1]),
        ("absent", [0, 0, 0, 0]),
    ] {
        let known = known(&store, &text, 1, &[body_test(query)]);
        let yes: Vec<u64> = known.iter().map(|known| known.yes & 1).collect();
        let no: Vec<u64> = known.iter().map(|known| known.no & 1).collect();
        assert_eq!(yes, truth, "{query}");
        assert_eq!(no, truth.map(|bit| 1 - bit), "{query}");
    }
}

#[test]
fn long_texts_are_scanned_behind_their_limit() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits =
        crate::Limits { text_bytes_max: 40_000, run_bytes_max: 1_000, ..super::world::limits() };
    let text = std::sync::Arc::new(crate::FullText::new(dir.path(), limits));
    let mut indexer = crate::Indexer::new(std::sync::Arc::clone(&text));
    let mut store = Store::default();
    store.put(1, 0, &letter("long", &format!("early {} late", "word ".repeat(30_000))));
    store.put(1, 1, &letter("run", &format!("early {}needle more", "x".repeat(50_000))));
    store.put(1, 2, &letter("short", "early and late"));
    bring_up(&mut indexer, &mut store).expect("it is written");
    for query in ["early", "late", "needle", "xxneedle", "more", "absent"] {
        let tests = [body_test(query), text_test(query)];
        assert_eq!(searched(&store, &text, 1, &tests), scanned(&store, 1, &tests), "{query}");
    }
    let sure = known(&store, &text, 1, &[body_test("early")]);
    assert!(sure.iter().all(|known| known.yes == 1), "what was read is known: {sure:?}");
}

/// More messages than a block of postings has, of users who lie side by side and in turns.
#[test]
fn postings_of_many_blocks_are_read_as_those_of_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits =
        crate::Limits { commit_messages: 10_000, page_bodies: 100, ..super::world::limits() };
    let text = std::sync::Arc::new(crate::FullText::new(dir.path(), limits));
    let mut indexer = crate::Indexer::new(std::sync::Arc::clone(&text));
    let mut store = Store::default();
    for round in 0..12_u64 {
        for (user, each) in [(1, 60), (2, 7), (3, if round == 0 { 400 } else { 0 })] {
            for number in round * each..(round + 1) * each {
                let has = |every: u64, word: &str| {
                    if number % every == 0 { format!("{word} ") } else { String::new() }
                };
                let words = format!("{}{}{}", has(2, "beta"), has(3, "betamax"), has(97, "rare"));
                store.put(user, number, &letter("alpha", &words));
            }
        }
        bring_up(&mut indexer, &mut store).expect("it is written");
    }
    for query in ["alpha", "beta", "eta", "max", "rare", "absent"] {
        for user in 1..4 {
            let tests = [text_test(query)];
            let found = searched(&store, &text, user, &tests);
            assert_eq!(found, scanned(&store, user, &tests), "{query} of {user}");
        }
    }
}
