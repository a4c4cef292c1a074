//! The thread that writes the log, and the list it takes its lines from.

use super::line::{Line, Value, level_of, line_of};
use super::recent::Recent;
use crate::config::{Log, LogFormat, LogLevel};
use crate::control::{EventsReport, EventsWanted, StageReport};
use crate::metrics::COUNTERS;
use mailstore::face::LogEvent;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Lines that may wait. Our choice: about 4 MB at worst.
const WAITING_MAX: usize = 32 * 1024;
/// How long the writer gathers once it was woken: at most 100 wakes a second. Our choice.
const GATHER: Duration = Duration::from_millis(10);

/// The log of a node. Dropping it writes what waits.
pub struct LogWriter {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something waits, or somebody wants it written.
    filled: Condvar,
    /// All that waited is written.
    written: Condvar,
    /// What was written last.
    recent: Mutex<Recent>,
}

struct Queue {
    level: LogLevel,
    format: LogFormat,
    waiting: Vec<(i64, Entry)>,
    dropped: u64,
    stats: Stats,
    /// A new place to write to.
    reopened: Option<Sink>,
    busy: bool,
    hurry: bool,
    stopped: bool,
}

/// Since the start.
#[derive(Default)]
struct Stats {
    taken: u64,
    batches: u64,
    wakes: u64,
    dropped: u64,
}

pub enum Entry {
    Event(LogEvent),
    Note { level: LogLevel, what: &'static str, fields: Vec<(&'static str, String)> },
}

enum Sink {
    Stderr,
    File(File),
}

impl Sink {
    fn open(config: &Log) -> io::Result<Self> {
        let Some(path) = &config.file else { return Ok(Self::Stderr) };
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path);
        file.map(Self::File).map_err(|error| {
            io::Error::new(error.kind(), format!("the log {}: {error}", path.display()))
        })
    }

    /// A log that can't be written must not stop the mail: the lines are counted as dropped.
    fn write(&mut self, lines: &str) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().lock().write_all(lines.as_bytes()),
            Self::File(file) => file.write_all(lines.as_bytes()),
        }
    }
}

impl LogWriter {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// The file can't be opened, or there is no thread.
    pub fn start(config: &Log) -> io::Result<Self> {
        let sink = Sink::open(config)?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                level: config.level,
                format: config.format,
                waiting: Vec::new(),
                dropped: 0,
                stats: Stats::default(),
                reopened: None,
                busy: false,
                hurry: false,
                stopped: false,
            }),
            filled: Condvar::new(),
            written: Condvar::new(),
            recent: Mutex::new(Recent::of_run(unix_ms_now())),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".to_owned());
        let thread = thread.spawn(move || of_thread.run(sink))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Takes level, format and file anew; a file that was renamed meanwhile is made again.
    ///
    /// # Errors
    /// The file can't be opened: the log stays as it was.
    pub fn reload(&self, config: &Log) -> io::Result<()> {
        let sink = Sink::open(config)?;
        let mut queue = self.shared.lock();
        queue.level = config.level;
        queue.format = config.format;
        queue.reopened = Some(sink);
        Ok(())
    }

    /// Reports an event.
    pub fn event(&self, event: LogEvent) {
        self.push(level_of(&event), Entry::Event(event));
    }

    /// Reports something about the node itself.
    pub fn note(&self, level: LogLevel, what: &'static str, fields: Vec<(&'static str, String)>) {
        self.push(level, Entry::Note { level, what, fields });
    }

    /// Returns when everything reported so far is written.
    pub fn flush(&self) {
        let mut queue = self.shared.lock();
        queue.hurry = true;
        self.shared.filled.notify_one();
        while queue.busy || !queue.waiting.is_empty() {
            queue = self.shared.written.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Its line in `status`. Lines that were refused are lost.
    #[must_use]
    pub fn report(&self) -> StageReport {
        let queue = self.shared.lock();
        StageReport {
            name: "log".to_owned(),
            depth: queue.waiting.len() as u64,
            depth_max: WAITING_MAX as u64,
            processed: queue.stats.taken,
            batches: queue.stats.batches,
            wakes: queue.stats.wakes,
            hops: queue.stats.taken,
            refusals: queue.stats.dropped,
            ..StageReport::default()
        }
    }

    /// What is kept of it, as far as it is wanted.
    pub fn recent(&self, node: &str, wanted: &EventsWanted) -> EventsReport {
        self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner).find(node, wanted)
    }

    fn push(&self, level: LogLevel, entry: Entry) {
        let unix_ms = unix_ms_now();
        let mut queue = self.shared.lock();
        if level > queue.level {
            return;
        }
        if queue.waiting.len() >= WAITING_MAX {
            queue.dropped += 1;
            queue.stats.dropped += 1;
            COUNTERS.log_dropped.add(1);
            return;
        }
        let is_first = queue.waiting.is_empty();
        queue.waiting.push((unix_ms, entry));
        drop(queue);
        if is_first {
            self.shared.filled.notify_one();
        }
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogWriter")
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.stopped = true;
        queue.hurry = true;
        drop(queue);
        self.shared.filled.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two statements that could panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut sink: Sink) {
        let mut lines = String::new();
        while let Some((entries, format, dropped, reopened)) = self.gathered() {
            if let Some(reopened) = reopened {
                sink = reopened;
            }
            lines.clear();
            for (unix_ms, entry) in &entries {
                entry.line().write(*unix_ms, format, &mut lines);
            }
            if dropped > 0 {
                let unix_ms = entries.last().map_or(0, |(unix_ms, _)| *unix_ms);
                let fields = vec![("lines", Value::Number(dropped))];
                let level = LogLevel::Error;
                Line { level, what: "log overrun", fields }.write(unix_ms, format, &mut lines);
            }
            if sink.write(&lines).is_err() {
                COUNTERS.log_dropped.add(entries.len() as u64);
            }
            lines.shrink_to(1 << 20);
            self.recent.lock().unwrap_or_else(PoisonError::into_inner).keep(entries);
        }
    }

    /// Waits for lines, gathers a moment, takes them all. `None`: stopped, and everything is written.
    #[expect(clippy::type_complexity, reason = "taken apart by its one caller, just above")]
    fn gathered(&self) -> Option<(Vec<(i64, Entry)>, LogFormat, u64, Option<Sink>)> {
        let mut queue = self.lock();
        queue.busy = false;
        if queue.waiting.is_empty() {
            queue.hurry &= queue.stopped;
            self.written.notify_all();
        }
        while queue.waiting.is_empty() {
            if queue.stopped {
                return None;
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.stats.wakes += 1;
        }
        if !queue.hurry {
            // Woken early only by a flush: pushes to a list that is not empty wake nobody.
            (queue, _) =
                self.filled.wait_timeout(queue, GATHER).unwrap_or_else(PoisonError::into_inner);
        }
        queue.busy = true;
        let entries = std::mem::take(&mut queue.waiting);
        let dropped = std::mem::take(&mut queue.dropped);
        queue.stats.taken += entries.len() as u64;
        queue.stats.batches += 1;
        Some((entries, queue.format, dropped, queue.reopened.take()))
    }
}

/// Milliseconds since 1970.
fn unix_ms_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

impl Entry {
    pub fn line(&self) -> Line<'_> {
        match self {
            Self::Event(event) => line_of(event),
            Self::Note { level, what, fields } => {
                let fields =
                    fields.iter().map(|(key, text)| (*key, text.as_str().into())).collect();
                Line { level: *level, what, fields }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailstore::face::Protocol;

    fn connected(n: u8) -> LogEvent {
        LogEvent::Connected { protocol: Protocol::Smtp, ip: [192, 0, 2, n].into() }
    }

    #[test]
    fn lines_come_in_order_and_a_reload_reopens_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let config = Log { file: Some(path.clone()), ..Log::default() };
        let log = LogWriter::start(&config).expect("starts");
        log.event(connected(1));
        log.note(LogLevel::Debug, "not wanted", Vec::new());
        log.note(LogLevel::Warn, "wanted", vec![("why", "a b".to_owned())]);
        log.flush();
        std::fs::rename(&path, dir.path().join("log.1")).expect("renamed");
        let level = LogLevel::Debug;
        log.reload(&Log { level, format: LogFormat::Json, ..config }).expect("reopens");
        log.note(LogLevel::Debug, "wanted", Vec::new());
        drop(log);
        let first = std::fs::read_to_string(dir.path().join("log.1")).expect("written");
        let lines: Vec<&str> = first.lines().map(|line| &line[25..]).collect();
        assert_eq!(lines, ["info connect proto=smtp ip=192.0.2.1", "warn wanted why=\"a b\""]);
        let second = std::fs::read_to_string(&path).expect("written");
        assert!(second.contains("\"level\":\"debug\",\"event\":\"wanted\""), "{second}");
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let log = LogWriter::start(&Log { file: Some(path.clone()), ..Log::default() });
        let log = log.expect("starts");
        // Filled under the lock, as a writer that is stuck would leave it.
        log.shared.lock().waiting.extend((0..WAITING_MAX).map(|_| (0, Entry::Event(connected(1)))));
        log.event(connected(2));
        drop(log);
        let written = std::fs::read_to_string(&path).expect("written");
        assert_eq!(written.lines().count(), WAITING_MAX + 1);
        assert!(written.lines().last().expect("a line").contains("log overrun lines=1"));
    }
}
