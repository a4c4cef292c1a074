//! The last lines of the log, kept in memory for whoever asks over the admin API.
//!
//! What is grave is kept apart, so that a busy hour of connections does not push it out. Lines stay as data: they are put into
//! words when somebody asks. Invariant: neither part holds more than [`LINES_MAX`] lines, nor more than [`BYTES_MAX`] but for one line.

use super::line::{Line, Value};
use super::writer::Entry;
use crate::config::LogLevel;
use crate::control::{EventPlace, EventReport, EventsReport, EventsWanted};
use std::collections::{BTreeSet, VecDeque};

/// Lines of each part. Our choice: what a quiet night writes.
const LINES_MAX: usize = 4096;
/// Bytes of the texts of each part, about. Our choice: a message may have thousands of recipients.
const BYTES_MAX: usize = 4 << 20;
/// Lines that one call gives.
pub const ANSWER_MAX: usize = 1000;

/// Errors and warnings, and everything else.
#[derive(Default)]
pub struct Recent {
    grave: Part,
    usual: Part,
    /// Lines so far.
    count: u64,
    /// When the process began, in milliseconds since 1970.
    run: i64,
}

#[derive(Default)]
struct Part {
    lines: VecDeque<Kept>,
    bytes: usize,
}

struct Kept {
    number: u64,
    unix_ms: i64,
    entry: Entry,
    bytes: usize,
}

impl Part {
    fn push(&mut self, kept: Kept) {
        self.bytes += kept.bytes;
        self.lines.push_back(kept);
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX && self.lines.len() > 1 {
            let gone = self.lines.pop_front();
            self.bytes -= gone.map_or(0, |gone| gone.bytes);
        }
    }
}

impl Recent {
    pub fn of_run(run: i64) -> Self {
        Self { run, ..Self::default() }
    }

    /// Keeps lines that were written.
    pub fn keep(&mut self, lines: impl IntoIterator<Item = (i64, Entry)>) {
        for (unix_ms, entry) in lines {
            self.count += 1;
            let line = entry.line();
            let (grave, bytes) = (line.level <= LogLevel::Warn, bytes_of(&line));
            let kept = Kept { number: self.count, unix_ms, bytes, entry };
            if grave { self.grave.push(kept) } else { self.usual.push(kept) }
        }
    }

    /// What is wanted of it. `node`: the name of this one.
    pub fn find(&self, node: &str, wanted: &EventsWanted) -> EventsReport {
        let all = || self.grave.lines.iter().chain(&self.usual.lines);
        let place = |kept: &Kept| EventPlace {
            unix_ms: kept.unix_ms,
            node: node.to_owned(),
            run: self.run,
            number: kept.number,
        };
        let mut found: Vec<(EventPlace, &Kept)> = all()
            .filter(|kept| matches(kept, wanted))
            .map(|kept| (place(kept), kept))
            .filter(|(place, _)| is_within(place, wanted))
            .collect();
        found.sort_unstable_by(|a, b| b.0.order().cmp(&a.0.order()));
        let limit = wanted.limit.min(ANSWER_MAX);
        let more = found.len() > limit;
        match wanted.after {
            Some(_) => drop(found.drain(..found.len().saturating_sub(limit))),
            None => found.truncate(limit),
        }
        let events = found.into_iter().map(|(place, kept)| report(place, kept)).collect();
        let kinds: BTreeSet<String> = all().map(|kept| kept.entry.line().what.to_owned()).collect();
        let end =
            EventPlace { unix_ms: 0, node: node.to_owned(), run: self.run, number: self.count };
        EventsReport { events, kinds: kinds.into_iter().collect(), more, end }
    }
}

/// About what its texts take.
fn bytes_of(line: &Line<'_>) -> usize {
    let text = |value: &Value<'_>| match value {
        Value::Text(text) => text.len(),
        Value::Number(_) => 8,
    };
    line.fields.iter().map(|(_, value)| text(value) + 24).sum()
}

fn matches(kept: &Kept, wanted: &EventsWanted) -> bool {
    let line = kept.entry.line();
    wanted.level.is_none_or(|level| line.level <= level)
        && (wanted.kind.is_empty() || line.what == wanted.kind)
        && (wanted.text.is_empty() || line.text().to_lowercase().contains(&wanted.text))
}

fn is_within(place: &EventPlace, wanted: &EventsWanted) -> bool {
    let before = wanted.before.as_ref().is_none_or(|before| place.order() < before.order());
    let after = wanted
        .after
        .as_ref()
        .is_none_or(|after| place.run != after.run || place.number > after.number);
    before && after
}

fn report(place: EventPlace, kept: &Kept) -> EventReport {
    let line = kept.entry.line();
    let text = |value: Value<'_>| match value {
        Value::Text(text) => text.into_owned(),
        Value::Number(number) => number.to_string(),
    };
    EventReport {
        place,
        level: line.level,
        kind: line.what.to_owned(),
        fields: line.fields.into_iter().map(|(key, value)| (key, text(value))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(level: LogLevel, what: &'static str, text: &str) -> Entry {
        Entry::Note { level, what, fields: vec![("why", text.to_owned())] }
    }

    fn said(report: &EventsReport) -> Vec<String> {
        report.events.iter().map(|it| format!("{} {}", it.place.number, it.kind)).collect()
    }

    #[test]
    fn what_is_grave_outlives_a_flood() {
        let mut recent = Recent::of_run(7);
        recent.keep([(1, note(LogLevel::Warn, "grave", "a"))]);
        recent.keep((0..10_000).map(|at| (at + 2, note(LogLevel::Info, "usual", "b"))));
        assert_eq!(recent.usual.lines.len(), LINES_MAX);
        let all = recent.find("n", &EventsWanted { limit: ANSWER_MAX, ..EventsWanted::default() });
        assert!(all.more && all.events.len() == ANSWER_MAX);
        assert_eq!(all.kinds, ["grave", "usual"]);
        let level = Some(LogLevel::Warn);
        let grave = recent.find("n", &EventsWanted { level, limit: 10, ..EventsWanted::default() });
        assert_eq!(said(&grave), ["1 grave"]);
        assert_eq!(grave.events[0].place.run, 7);
    }

    #[test]
    fn large_lines_push_out_others() {
        let mut recent = Recent::default();
        let large = "x".repeat(BYTES_MAX);
        recent.keep([
            (1, note(LogLevel::Info, "small", "")),
            (2, note(LogLevel::Info, "large", &large)),
        ]);
        assert_eq!(recent.usual.lines.len(), 1);
        recent.keep([(3, note(LogLevel::Info, "small", ""))]);
        assert_eq!(recent.usual.lines.len(), 1);
        assert!(recent.usual.bytes < 100);
    }

    #[test]
    fn pages_go_back_and_followers_forward() {
        let mut recent = Recent::of_run(1);
        recent.keep((1..=5).map(|at| (at, note(LogLevel::Info, "a", &format!("Nr {at}")))));
        let limit = 2;
        let first = recent.find("n", &EventsWanted { limit, ..EventsWanted::default() });
        assert_eq!(said(&first), ["5 a", "4 a"]);
        let before = first.events.last().map(|it| it.place.clone());
        let next = recent.find("n", &EventsWanted { limit, before, ..EventsWanted::default() });
        assert_eq!(said(&next), ["3 a", "2 a"]);
        let after = next.events.last().map(|it| it.place.clone());
        let wanted = EventsWanted { limit, after, ..EventsWanted::default() };
        assert_eq!(said(&recent.find("n", &wanted)), ["4 a", "3 a"]);
        // Of another run all are new.
        let after = wanted.after.map(|after| EventPlace { run: 9, ..after });
        let wanted = EventsWanted { limit: 9, after, ..EventsWanted::default() };
        assert_eq!(recent.find("n", &wanted).events.len(), 5);
        let text = "why=\"nr 3\"".to_owned();
        let wanted = EventsWanted { limit, text, ..EventsWanted::default() };
        assert_eq!(said(&recent.find("n", &wanted)), ["3 a"]);
    }
}
