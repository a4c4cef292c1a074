//! What the index costs and what it gives: made-up mail of many users, indexed and searched without a server.
//!
//! `cargo run --release -p index --example corpus -- DIRECTORY USERS MESSAGES-PER-USER`. Words follow Zipf's law over a large
//! vocabulary; each message has a header with keys of its own, and some have links, numbers and a key in the text.

#![expect(clippy::disallowed_types, reason = "it measures")]

use bytes::Bytes;
use dds::{BlobId, RouteKey, SortKey};
use index::{FullText, Indexer, Limits, Page, Source, SourceError};
use mailstore::face::{EmailId, TaskRefusal, Uid, UserId};
use mailstore::mailbox::format::{BodyRecord, Extent, keys};
use mailstore::mailbox::{
    BodyReader, BodyTest, Fetched, MatchBody, MatchJob, NoIndex, route, user_of,
};
use mailstore::mime::{self, Scanner};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const VOCABULARY: usize = 60_000;
const SYLLABLES: [&str; 24] = [
    "ka", "ri", "ton", "mel", "os", "an", "ve", "du", "shi", "pra", "el", "ing", "er", "ab", "con",
    "ti", "lo", "mu", "sa", "ber", "gen", "ex", "wo", "ny",
];

/// xorshift64: good enough for words.
struct Random(u64);

impl Random {
    fn of(user: u64, email: u64) -> Self {
        Self((user << 32 | email).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    /// Small numbers often: the rank of a word.
    fn rank(&mut self) -> usize {
        let share = self.below(1 << 20) as f64 / f64::from(1 << 20);
        (((VOCABULARY as f64).powf(share)) as usize - 1).min(VOCABULARY - 1)
    }
}

fn word_of(rank: usize) -> String {
    let mut word = String::new();
    let mut left = rank;
    loop {
        word.push_str(SYLLABLES[left % SYLLABLES.len()]);
        left /= SYLLABLES.len();
        if left == 0 {
            return word;
        }
    }
}

/// Mail that is made when it is read.
struct Made {
    words: Vec<String>,
    messages: u64,
    text_bytes: u64,
    allowed: u64,
}

impl Made {
    fn message(&self, user: u64, email: u64) -> Vec<u8> {
        let mut random = Random::of(user, email);
        let sender = random.below(80);
        let mut out = format!(
            "Received: from relay{} by mx.example.org with ESMTPS id {:016x}; Mon, 2 Mar 2026 08:{:02}:00 +0000\r\n\
             From: {} <{}@example{}.org>\r\nTo: <user{user}@example.org>\r\nSubject:",
            random.below(9),
            random.below(u64::MAX),
            random.below(60),
            self.words[sender as usize * 7],
            self.words[sender as usize * 7 + 3],
            sender % 11,
        );
        for _ in 0..3 + random.below(6) {
            let _ = write!(out, " {}", self.words[random.rank()]);
        }
        let _ = write!(
            out,
            "\r\nMessage-ID: <{:016x}.{email}@example.org>\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n",
            random.below(u64::MAX)
        );
        let mut column = 0;
        for _ in 0..150 + random.below(400) {
            let word = &self.words[random.rank()];
            out.push_str(word);
            column += word.len() + 1;
            out.push_str(if column > 68 { "\r\n" } else { " " });
            column %= 69;
            match random.below(200) {
                0 => {
                    let _ = write!(out, "https://example.org/{:x} ", random.below(1 << 48));
                }
                1 => {
                    let _ = write!(out, "{} ", random.below(1_000_000));
                }
                _ => {}
            }
        }
        out.push_str("\r\n");
        out.into_bytes()
    }

    fn record(&mut self, user: u64, email: u64) -> Bytes {
        let message = self.message(user, email);
        self.text_bytes += message.len() as u64;
        let mut scanner = Scanner::new(&mime::Limits::default());
        scanner.push(&message);
        let columns = scanner.finish();
        let body = Extent::Inline(message.into());
        BodyRecord::encode(columns.header_bytes, b"", Some(&columns.parts), &body)
    }
}

impl BodyReader for Made {
    fn value(&mut self, of: &RouteKey, key: &SortKey) -> Result<Option<Bytes>, TaskRefusal> {
        let email = keys::parse_u64(key).map_err(|_| TaskRefusal::Damaged)?;
        let user = user_of(of).ok_or(TaskRefusal::Damaged)?;
        Ok((email < self.messages).then(|| self.record(user.0, email)))
    }

    fn blob(&mut self, _: BlobId, _: u64, _: u64) -> Result<Option<Bytes>, TaskRefusal> {
        Ok(None)
    }
}

impl Source for Made {
    fn bodies(&mut self, _: UserId, from: EmailId, max: usize) -> Result<Page, SourceError> {
        let end = self.messages.min(from.0 + max as u64);
        Ok(Page { emails: (from.0..end).map(EmailId).collect(), more: end < self.messages })
    }

    fn goes_on(&mut self) -> bool {
        self.allowed = self.allowed.saturating_sub(1);
        self.allowed > 0
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// Milliseconds of one search by the index, of the same by a scan, and how many were found.
fn search(made: &mut Made, text: &FullText, (user, query): (u64, &str)) -> (f64, f64, usize) {
    let tests = [BodyTest::Text(Bytes::copy_from_slice(query.as_bytes()))];
    let began = Instant::now();
    let bucket = bucket_of(text, user);
    let messages = made.messages;
    let known = text.known((bucket, UserId(user)), &tests, (0..messages).map(EmailId));
    let undecided: Vec<u64> = (0..)
        .zip(&known)
        .filter(|(_, known)| (known.yes | known.no) & 1 == 0)
        .map(|(at, _)| at)
        .collect();
    let mut took = began.elapsed();
    let body = |email: u64| MatchBody { uid: Uid(email as u32 + 1), email: EmailId(email) };
    let job = |emails: Vec<u64>| MatchJob {
        route: route(UserId(user)),
        bodies: emails.into_iter().map(body).collect(),
        reads_max: usize::MAX,
        tests: tests.to_vec().into(),
        fetched: Fetched::default(),
    };
    // Making a message takes longer than reading it: only the time of the scan for what is left is a rough figure.
    let mut scan = |emails: Vec<u64>| {
        let began = Instant::now();
        let hits = job(emails).run(made, &NoIndex).expect("all is made");
        (began.elapsed(), hits.bits.iter().filter(|(_, bits)| *bits == 1).count())
    };
    let (left, found) = scan(undecided);
    took += left;
    let found = found + known.iter().filter(|known| known.yes == 1).count();
    let (whole, truth) = scan((0..messages).collect());
    assert_eq!(found, truth, "{query}: the index finds what a scan finds");
    (took.as_secs_f64() * 1e3, whole.as_secs_f64() * 1e3, found)
}

/// Users of the example are spread evenly.
fn bucket_of(text: &FullText, user: u64) -> u16 {
    (user % u64::from(text.limits().buckets)) as u16
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, dir, users, messages] = arguments.as_slice() else {
        eprintln!("corpus DIRECTORY USERS MESSAGES-PER-USER");
        return;
    };
    let (users, messages): (u64, u64) =
        (users.parse().expect("a number"), messages.parse().expect("a number"));
    let words = (0..VOCABULARY).map(word_of).collect();
    let mut made = Made { words, messages, text_bytes: 0, allowed: 0 };
    let text = Arc::new(FullText::new(Path::new(dir), Limits::default()));
    fill(&mut made, &text, users);
    for rank in [3, 40, 400, 4_000, 40_000] {
        let word = made.words[rank].clone();
        query(&mut made, &text, (users, &word));
        query(&mut made, &text, (users, &word[..word.len().min(5)]));
    }
}

/// Indexes all mail of all users, and says what it cost.
fn fill(made: &mut Made, text: &Arc<FullText>, users: u64) {
    let mut indexer = Indexer::new(Arc::clone(text));
    let began = Instant::now();
    let mut added = 0;
    for bucket in 0..text.limits().buckets {
        let mut due: BTreeSet<UserId> =
            (0..users).filter(|user| bucket_of(text, *user) == bucket).map(UserId).collect();
        while !due.is_empty() {
            made.allowed = text.limits().step_messages as u64;
            let round = indexer.advance(made, bucket, &due).expect("it is written");
            added += round.added;
            due = round.left;
        }
    }
    indexer.rest().expect("it is written");
    let took = began.elapsed();
    let bytes = made.text_bytes;
    // What making the mail cost, by making some of it again.
    let (began, again) = (Instant::now(), added.min(20_000));
    for number in 0..again {
        made.record(number % users, number / users);
    }
    let making = began.elapsed().mul_f64(added as f64 / again as f64);
    let disk: u64 = text.status().buckets.iter().map(|bucket| bucket.disk_bytes).sum();
    println!(
        "indexed {added} messages, {:.0} MB, in {:.1} s, {:.1} s of it making them: {:.0} messages/s",
        bytes as f64 / 1e6,
        took.as_secs_f64(),
        making.as_secs_f64(),
        added as f64 / took.saturating_sub(making).as_secs_f64()
    );
    println!(
        "index {:.0} MB: {:.1} % of the text",
        disk as f64 / 1e6,
        disk as f64 / bytes as f64 * 1e2
    );
}

/// One text, sought for several users.
fn query(made: &mut Made, text: &FullText, (users, query): (u64, &str)) {
    let tests = [BodyTest::Text(Bytes::copy_from_slice(query.as_bytes()))];
    let mut times = Vec::new();
    for user in 0..users.min(20) {
        let began = Instant::now();
        let emails = (0..made.messages).map(EmailId);
        let _known = text.known((bucket_of(text, user), UserId(user)), &tests, emails);
        times.push(began.elapsed());
    }
    let (indexed, scanned, found) = search(made, text, (1, query));
    println!(
        "{query:>12}: {:.2} ms in the index (median of users); with what is left to scan {indexed:.2} ms, by scan alone \
         {scanned:.0} ms: {:.0} x; {found} found",
        median(times),
        scanned / indexed
    );
}
