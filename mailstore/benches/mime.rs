//! The MIME scanner and the search in decoded text against mail-parser on the same mail, alternating
//! in one run. `cargo bench -p mailstore --bench mime`.
#![expect(clippy::disallowed_types, reason = "a benchmark measures time")]

use bytes::Bytes;
use mail_parser::MessageParser;
use mailstore::mime::{Limits, Matcher, PartTable, Scanner, Scope};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Runs of each side; the best counts.
const RUNS: u32 = 7;

/// Bytes that each run goes through at least.
const RUN_BYTES: usize = 32 << 20;

/// How pieces arrive from a socket.
const PIECE_BYTES: usize = 16 * 1024;

const SENTENCE: &str = "The quick brown fox jumps over the lazy dog, and so on to the end.\r\n";

fn main() {
    println!("{:<34} {:>12} {:>8} {:>12} {:>6}", "", "ours", "MB/s", "mail-parser", "ratio");
    for (name, message) in [
        ("plain, 4.7 KB", plain()),
        ("base64 attachment, 4 MB", attachment()),
        ("text, 4 MB", text()),
    ] {
        let parse = || {
            black_box(MessageParser::default().parse(black_box(&message[..])));
        };
        let scan = || {
            black_box(scan(black_box(&message)));
        };
        compare(&format!("scan {name}"), message.len(), scan, parse);
        let table = PartTable::decode(&scan_parts(&message)).expect("just written");
        let needles = [(Scope::Text, Bytes::from("needle in a haystack"))];
        let matcher = Matcher::new(&needles, &Limits::default());
        let search = || {
            black_box(matcher.matches(b"", black_box(&message), &table));
        };
        compare(&format!("search {name}"), message.len(), search, parse);
    }
}

fn compare(name: &str, bytes: usize, mut ours: impl FnMut(), mut theirs: impl FnMut()) {
    let count = u32::try_from(RUN_BYTES / bytes).expect("a small number").max(1);
    let (mut best_ours, mut best_theirs) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        best_ours = best_ours.min(time(count, &mut ours));
        best_theirs = best_theirs.min(time(count, &mut theirs));
    }
    let speed = bytes as f64 / best_ours.as_secs_f64() / 1e6;
    let ratio = best_theirs.as_secs_f64() / best_ours.as_secs_f64();
    println!("{name:<34} {best_ours:>12.2?} {speed:>8.0} {best_theirs:>12.2?} {ratio:>5.1}x");
}

fn time(count: u32, work: &mut impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..count).for_each(|_| work());
    start.elapsed() / count
}

fn scan(message: &[u8]) -> mailstore::face::Columns {
    let mut scanner = Scanner::new(&Limits::default());
    message.chunks(PIECE_BYTES).for_each(|piece| scanner.push(piece));
    scanner.finish()
}

fn scan_parts(message: &[u8]) -> Bytes {
    scan(message).parts
}

fn header() -> String {
    let mut header: String = (0..8)
        .map(|hop| {
            format!(
                "Received: from mx{hop}.example.com (mx{hop}.example.com [192.0.2.{hop}])\r\n\
                 \tby mail.example.org with ESMTPS id 4ABCDEF{hop}\r\n\
                 \tfor <ann@example.org>; Sat, 21 Nov 2026 09:55:06 +0000 (UTC)\r\n"
            )
        })
        .collect();
    header.push_str(
        "From: Ann Example <ann@example.com>\r\nTo: Bob <bob@example.org>, carl@example.org\r\n\
         Subject: A message like many\r\nDate: Sat, 21 Nov 2026 09:55:06 +0000\r\n\
         Message-ID: <3@example.com>\r\nReferences: <1@example.com> <2@example.com>\r\n\
         In-Reply-To: <2@example.com>\r\nMIME-Version: 1.0\r\n",
    );
    header
}

fn plain() -> Vec<u8> {
    let mut message = header() + "Content-Type: text/plain; charset=utf-8\r\n\r\n";
    while message.len() < 4_700 {
        message.push_str(SENTENCE);
    }
    message.into_bytes()
}

fn text() -> Vec<u8> {
    let mut message = header() + "Content-Type: text/plain; charset=utf-8\r\n\r\n";
    message.push_str(&SENTENCE.repeat(4_000_000 / SENTENCE.len()));
    message.into_bytes()
}

fn attachment() -> Vec<u8> {
    let line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n";
    let mut message = header()
        + "Content-Type: multipart/mixed; boundary=\"----=_Part_1\"\r\n\r\n------=_Part_1\r\n\r\n\
           See the attachment.\r\n------=_Part_1\r\nContent-Type: image/png\r\n\
           Content-Transfer-Encoding: base64\r\n\r\n";
    message.push_str(&line.repeat(4_000_000 / line.len()));
    message.push_str("------=_Part_1--\r\n");
    message.into_bytes()
}
