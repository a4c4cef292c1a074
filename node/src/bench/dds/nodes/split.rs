//! Where the time of a request goes: the stamps of its client and of the node that did it, put together.
//!
//! - edge: from the client to the worker of the node that leads the partition: a queue between threads, and for two of three
//!   requests in a cluster of three the way to the other node.
//! - queue: from there until the write begins that holds it: the machines, and the write before it. A get has no more than this.
//! - fsync: that write, with its sync.
//! - replicate: from there until it is decided: what the other members take beyond the primary's own disk. They work at the same
//!   time, so it is less than a round trip and a sync of theirs.
//! - reply: from there to the client.

use super::order::{Asked, Done, Report};
use crate::bench::latencies::{Latencies, Summary};
use anyhow::ensure;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the means of the stages may be off from what the clients measured by another clock.
const OFF_MAX: f64 = 0.02;

/// Of the gets or puts that were followed.
#[derive(Clone, Debug, Serialize)]
pub struct Split {
    pub followed: u64,
    /// Of these nobody knows the stages: the partition had to read before it could write.
    pub unsplit: u64,
    pub edge: Summary,
    pub queue: Summary,
    pub replicate: Summary,
    pub fsync: Summary,
    pub reply: Summary,
    /// As their clients have measured it.
    pub total: Summary,
    /// The means of the stages together, against that of the total.
    pub sum_over_total: f64,
}

#[derive(Default)]
struct Stages {
    followed: u64,
    unsplit: u64,
    edge: Latencies,
    queue: Latencies,
    replicate: Latencies,
    fsync: Latencies,
    reply: Latencies,
    total: Latencies,
}

/// The stages of gets and of puts.
///
/// # Errors
/// When stamps contradict each other, or do not add up to what the clients have measured.
pub fn split(reports: &[Report]) -> anyhow::Result<(Option<Split>, Option<Split>)> {
    let done = reports.iter().flat_map(|report| &report.done);
    let done: BTreeMap<(u16, u64), &Done> =
        done.map(|done| ((done.node, done.origin), done)).collect();
    let (mut gets, mut puts) = (Stages::default(), Stages::default());
    for asked in reports.iter().flat_map(|report| &report.asked) {
        let stages = if asked.is_put { &mut puts } else { &mut gets };
        stages.add(asked, done.get(&(asked.node, asked.origin)).copied())?;
    }
    Ok((gets.finish()?, puts.finish()?))
}

impl Stages {
    fn add(&mut self, asked: &Asked, done: Option<&Done>) -> anyhow::Result<()> {
        self.followed += 1;
        let Some(done) = done.filter(|done| done.written.is_some() == asked.is_put) else {
            self.unsplit += 1;
            return Ok(());
        };
        // A get ends where a put begins to be written.
        let (began, ended) = done.written.unwrap_or((done.answered, done.answered));
        // The turn that took it may have begun before it was asked.
        let taken = done.taken.max(asked.asked);
        let stamps = [asked.asked, taken, began, ended, done.answered, asked.answered];
        ensure!(stamps.is_sorted(), "a request was followed and its stamps go back: {stamps:?}");
        let [edge, queue, fsync, replicate, reply] =
            std::array::from_fn(|at| Duration::from_nanos(stamps[at + 1] - stamps[at]));
        self.edge.add(edge);
        self.queue.add(queue);
        self.fsync.add(fsync);
        self.replicate.add(replicate);
        self.reply.add(reply);
        self.total.add(Duration::from_nanos(asked.took));
        Ok(())
    }

    fn finish(&self) -> anyhow::Result<Option<Split>> {
        if self.followed == 0 {
            return Ok(None);
        }
        let split = Split {
            followed: self.followed,
            unsplit: self.unsplit,
            edge: self.edge.summary(),
            queue: self.queue.summary(),
            replicate: self.replicate.summary(),
            fsync: self.fsync.summary(),
            reply: self.reply.summary(),
            total: self.total.summary(),
            sum_over_total: self.sum_over_total(),
        };
        let off = (split.sum_over_total - 1.0).abs();
        ensure!(off <= OFF_MAX, "the stages do not add up to the total: {split:?}");
        let lost = split.unsplit as f64 / split.followed as f64;
        ensure!(lost <= 0.5, "of {} requests followed {} were lost", split.followed, split.unsplit);
        Ok(Some(split))
    }

    fn sum_over_total(&self) -> f64 {
        let stages = [&self.edge, &self.queue, &self.replicate, &self.fsync, &self.reply];
        let sum: f64 = stages.iter().map(|stage| stage.summary().mean_us).sum();
        sum / self.total.summary().mean_us.max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(took: u64, written: Option<(u64, u64)>) -> Report {
        let (node, origin, is_put) = (2, 7, true);
        let asked = Asked { node, origin, is_put, asked: 100_000, answered: 900_000, took };
        let done = Done { node, origin, taken: 200_000, written, answered: 800_000 };
        Report { asked: vec![asked], done: vec![done], ..Report::default() }
    }

    #[test]
    fn stages_follow_each_other_and_add_up() {
        let written = Some((300_000, 650_000));
        let (gets, puts) = split(&[report(801_000, written)]).expect("in order");
        assert!(gets.is_none());
        let puts = puts.expect("one");
        let stages = [puts.edge, puts.queue, puts.fsync, puts.replicate, puts.reply];
        assert_eq!(stages.map(|stage| stage.max_us), [100.0, 100.0, 350.0, 150.0, 100.0]);
        assert!((puts.sum_over_total - 0.9988).abs() < 1e-3);
    }

    #[test]
    fn what_does_not_add_up_or_goes_back_is_an_error() {
        assert!(split(&[report(900_000, Some((300_000, 650_000)))]).is_err());
        assert!(split(&[report(800_000, Some((150_000, 650_000)))]).is_err());
        assert!(split(&[report(800_000, None)]).is_err(), "all of them were lost");
    }
}
