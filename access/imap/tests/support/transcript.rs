//! Transcripts: lines `C: ` are sent, lines `S: ` must come back, all of them and nothing else.
//! Another session speaks in lines `1C: `, `1S: `. Lines `> ` are orders to the world. A line of
//! the server that ends in `...` is compared up to there.

use super::fake::Fake;
use super::world::World;
use mailstore::face::{FolderName, SessionInput, TaskRefusal, UidSet};

/// How the client's bytes are cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Single,
    /// Each burst in two.
    At(usize),
}

/// Runs a transcript: whole, byte by byte, and with each burst of the client cut in two at every
/// place.
pub fn check(name: &str, prepare: impl Fn(&mut World), transcript: &str) {
    let longest = bursts(transcript).into_iter().map(|burst| burst.len()).max().unwrap_or(0);
    for cut in [Cut::Whole, Cut::Single].into_iter().chain((1..longest.min(400)).map(Cut::At)) {
        let mut world = World::new();
        prepare(&mut world);
        run(name, &mut world, transcript, cut);
    }
}

fn bursts(transcript: &str) -> Vec<String> {
    let mut bursts = vec![String::new()];
    for line in transcript.lines().map(str::trim_start) {
        match line.split_once("C: ") {
            Some((head, text)) if head.len() <= 1 => {
                let burst = bursts.last_mut().expect("one at least");
                burst.push_str(text);
                burst.push_str("\r\n");
            }
            _ => bursts.push(String::new()),
        }
    }
    bursts
}

fn run(name: &str, world: &mut World, transcript: &str, cut: Cut) {
    let mut burst: Option<(usize, String)> = None;
    let mut expected: Option<(usize, Vec<String>)> = None;
    for (number, raw) in transcript.lines().enumerate() {
        let line = raw.trim_start();
        let (head, text) = line.split_once(' ').unwrap_or((line, ""));
        let session = |letter: &str| match head.trim_end_matches(':').strip_suffix(letter) {
            Some("") => Some(0),
            Some(digit) => digit.parse::<usize>().ok(),
            None => None,
        };
        let what = (name, number, cut);
        if let (Some(index), true) = (session("C"), head.ends_with(':')) {
            settle(world, expected.take(), what);
            match &mut burst {
                Some((same, bytes)) if *same == index => {
                    bytes.push_str(text);
                    bytes.push_str("\r\n");
                }
                _ => {
                    flush(world, burst.take(), cut);
                    burst = Some((index, format!("{text}\r\n")));
                }
            }
        } else if let (Some(index), true) = (session("S"), head.ends_with(':')) {
            flush(world, burst.take(), cut);
            match &mut expected {
                Some((same, lines)) if *same == index => lines.push(text.to_owned()),
                _ => {
                    settle(world, expected.take(), what);
                    expected = Some((index, vec![text.to_owned()]));
                }
            }
        } else if head == ">" {
            flush(world, burst.take(), cut);
            settle(world, expected.take(), what);
            order(world, text);
        } else {
            assert!(line.is_empty() || line.starts_with('#'), "{name}:{number}: {raw}");
        }
    }
    flush(world, burst.take(), cut);
    settle(world, expected.take(), (name, usize::MAX, cut));
    for (index, client) in world.clients.iter().enumerate() {
        let rest = String::from_utf8_lossy(&client.output);
        assert!(rest.is_empty(), "{name} {cut:?}: session {index} has more: {rest}");
    }
}

fn flush(world: &mut World, burst: Option<(usize, String)>, cut: Cut) {
    let Some((index, text)) = burst else { return };
    // `\xNN`, `\0` stand for bytes.
    let bytes = unescape(&text);
    match cut {
        Cut::Whole => world.send(index, &bytes),
        Cut::Single => bytes.iter().for_each(|byte| world.send(index, &[*byte])),
        Cut::At(at) => {
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            world.send(index, head);
            world.send(index, tail);
        }
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'\\' && tail.first() == Some(&b'x') && tail.len() > 2 {
            let hex = std::str::from_utf8(&tail[1..3]).expect("ascii");
            out.push(u8::from_str_radix(hex, 16).expect("hex"));
            rest = &tail[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

fn settle(
    world: &mut World,
    expected: Option<(usize, Vec<String>)>,
    (name, number, cut): (&str, usize, Cut),
) {
    let Some((index, expected)) = expected else { return };
    let got = world.take(index);
    let context = || {
        format!("{name}:{number} {cut:?}\n--- got\n{got}\n--- expected\n{}", expected.join("\n"))
    };
    let lines: Vec<&str> = got.strip_suffix("\r\n").unwrap_or(&got).split("\r\n").collect();
    let lines = if got.is_empty() { Vec::new() } else { lines };
    assert_eq!(lines.len(), expected.len(), "{}", context());
    for (line, expected) in lines.iter().zip(&expected) {
        match expected.strip_suffix("...") {
            Some(start) => assert!(line.starts_with(start), "{}", context()),
            None => assert_eq!(line, expected, "{}", context()),
        }
    }
}

/// Orders: `connect`, `deliver FOLDER TEXT`, `restart`, `refuse [WHY]`, `stop`, `pass SECONDS`, `closed`.
fn order(world: &mut World, text: &str) {
    let mut words = text.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("connect"), _, _) => {
            let index = world.connect();
            world.take(index);
            world.ask(index, "l LOGIN ann secret");
        }
        (Some("deliver"), Some(folder), body) => {
            let name = FolderName::new(folder).expect("a name");
            let body = body.unwrap_or("Subject: test\\r\\n\\r\\nbody\\r\\n");
            let body = body.replace("\\r\\n", "\r\n");
            deliver(world, &name, &body);
        }
        (Some("restart"), _, _) => {
            let notices = world.fake.restart();
            world.notify(notices);
            world.run();
        }
        (Some("refuse"), refusal, _) => {
            world.fake.refuse = match refusal {
                Some("unavailable") => Some(TaskRefusal::Unavailable),
                Some("overloaded") => Some(TaskRefusal::Overloaded),
                Some(other) => panic!("{other}"),
                None => None,
            };
        }
        (Some("stop"), _, _) => {
            world.input(0, SessionInput::ShuttingDown);
            world.run();
        }
        (Some("pass"), Some(seconds), _) => {
            world.pass(std::time::Duration::from_secs(seconds.parse().expect("seconds")));
        }
        (Some("closed"), _, _) => assert!(world.clients[0].closed, "the session is still open"),
        other => panic!("{other:?}"),
    }
}

/// Mail arrives.
pub fn deliver(world: &mut World, folder: &FolderName, body: &str) -> UidSet {
    let message = Fake::message(body);
    if let Some(real) = &mut world.real {
        real.deliver(message, folder.clone());
        world.run();
        return UidSet::new();
    }
    let (id, uids) = world.fake.append(folder, &[message]).expect("a folder");
    let notices = world.fake.notices(id);
    world.notify(notices);
    world.run();
    uids
}

/// A session that is logged in, its greeting and answer read.
pub fn logged_in(world: &mut World) {
    let index = world.connect();
    world.take(index);
    let answer = world.ask(index, "l LOGIN ann secret");
    assert!(answer.starts_with("l OK [CAPABILITY IMAP4rev1"), "{answer}");
}

/// The same, with messages in INBOX.
pub fn with_messages(world: &mut World) {
    let inbox = FolderName::inbox();
    for number in 1..=4 {
        let body = format!(
            "From: Bob <bob@example.org>\r\nTo: ann@example.org\r\n\
             Subject: number {number}\r\n\r\nText {number}.\r\n"
        );
        deliver(world, &inbox, &body);
    }
    logged_in(world);
}
