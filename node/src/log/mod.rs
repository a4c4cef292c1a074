//! The log: one line per event, written by a thread of its own.
//!
//! Whoever reports an event only appends to a list in memory: no line is formatted, no file touched and, under load, no thread
//! woken on a hot path: the writer gathers for a moment after it was woken. The list is bounded; what finds no room is
//! counted, and the writer says so in the log itself. Invariant: a line is whole, or not there.

mod line;
mod recent;
mod writer;

pub use line::{level_name, text_of, time_text};
pub use recent::ANSWER_MAX;
pub use writer::LogWriter;

use crate::config::LogLevel;
use crate::control::{EventsReport, EventsWanted};
use mailstore::face::LogEvent;
use std::sync::{Arc, OnceLock};

static WRITER: OnceLock<Arc<LogWriter>> = OnceLock::new();

/// Makes `writer` the log of the process; the first one stays.
pub fn install(writer: Arc<LogWriter>) {
    // A second one would only come from a second start in one process, which does not exist.
    let _ = WRITER.set(writer);
}

/// The log's line in `status`, once there is a log.
#[must_use]
pub fn report() -> Option<crate::control::StageReport> {
    WRITER.get().map(|writer| writer.report())
}

/// What is kept of the log, as far as it is wanted. `node`: the name of this one.
#[must_use]
pub fn recent(node: &str, wanted: &EventsWanted) -> EventsReport {
    WRITER.get().map(|writer| writer.recent(node, wanted)).unwrap_or_default()
}

/// Counts an event and reports it to the log of the process, if there is one.
pub fn write_event(event: LogEvent) {
    crate::metrics::COUNTERS.count(&event);
    if let Some(writer) = WRITER.get() {
        writer.event(event);
    }
}

/// Reports something about the node itself.
pub fn note(level: LogLevel, what: &'static str, fields: Vec<(&'static str, String)>) {
    if let Some(writer) = WRITER.get() {
        writer.note(level, what, fields);
    }
}
