//! How work runs for real: worker groups, queues between threads, the store writer, the reader pool, clocks and figures.
//!
//! A *stage* is a thread (or a small pool) with a [`PortReceiver`] in front. Workers own machines and never block; the writer
//! takes everything that has queued up as one write with one sync; readers do what may touch the disk or take long.
//!
//! Absences: no decision about mail is taken here; nothing here knows a socket.
#![forbid(unsafe_code)]

mod clock;
mod port;
mod readers;
mod stats;
mod worker;
mod writer;

pub use clock::Clock;
pub use port::{Drained, PortReceiver, PortSender, port};
pub use readers::{ReadJob, ReadTask, Readers};
pub use stats::{Histogram, HistogramSnapshot, StageSnapshot, StageStats};
pub use worker::{
    Around, Gauges, HashOrder, Host, RunMatch, Turn, Worker, WorkerConfig, commits_to,
};
pub use writer::{CommitDone, CommitJob, WriteClock, Writer, WriterConfig};
