//! What happened lately on a node: lines of its log, and what its stages did.

use crate::config::LogLevel;
use operator_console::model::StagePoint;

/// Where an event stands: events are ordered by time, then by node and number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPlace {
    /// Milliseconds since 1970.
    pub unix_ms: i64,
    pub node: String,
    /// The run of the node: its start, in milliseconds since 1970.
    pub run: i64,
    /// Rises within a run.
    pub number: u64,
}

impl EventPlace {
    /// For sorting.
    #[must_use]
    pub fn order(&self) -> (i64, &str, u64) {
        (self.unix_ms, &self.node, self.number)
    }
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventsWanted {
    /// At least as grave.
    pub level: Option<LogLevel>,
    /// Empty: all.
    pub kind: String,
    /// In lower case, contained in the line.
    pub text: String,
    pub limit: usize,
    pub before: Option<EventPlace>,
    /// Then the oldest ones come.
    pub after: Option<EventPlace>,
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct EventReport {
    pub place: EventPlace,
    pub level: LogLevel,
    pub kind: String,
    pub fields: Vec<(&'static str, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct EventsReport {
    /// Newest first.
    pub events: Vec<EventReport>,
    /// Of all events that are kept.
    pub kinds: Vec<String>,
    /// There are more that match.
    pub more: bool,
    /// The last event that is kept, matching or not.
    pub end: EventPlace,
}

/// What stages did.
#[derive(Clone, Debug, Default)]
pub struct HistoryReport {
    pub every_ms: u64,
    /// By stage, oldest point first.
    pub stages: Vec<(String, Vec<StagePoint>)>,
}
