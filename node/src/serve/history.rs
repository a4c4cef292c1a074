//! What the stages of this node did in the last minutes: their figures are looked at every few seconds, and the last looks kept.

use super::control::NodeControl;
use crate::control::{HistoryReport, Latency, StagePoint, StageReport};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks, and how many are kept: ten minutes. Our choice: what happened just now is seen, and older things are for a
/// program that collects metrics.
const EVERY: Duration = Duration::from_secs(5);
const LOOKS_MAX: usize = 121;

/// The last looks, oldest first.
#[derive(Default)]
pub struct History(Mutex<VecDeque<Look>>);

/// The figures since the start, at one moment.
struct Look {
    at: Instant,
    unix_ms: i64,
    stages: Vec<StageReport>,
}

/// Looks for ever.
pub async fn keep(control: Arc<NodeControl>) {
    let mut ticks = tokio::time::interval(EVERY);
    // After a pause of the machine one look is enough.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let unix_ms = jiff::Timestamp::now().as_millisecond();
        control.history.push(Look { at: Instant::now(), unix_ms, stages: control.stage_reports() });
    }
}

impl History {
    fn push(&self, look: Look) {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.push_back(look);
        if looks.len() > LOOKS_MAX {
            looks.pop_front();
        }
    }

    /// What lay between each two looks.
    pub fn report(&self) -> HistoryReport {
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names = looks.back().map(|look| look.stages.iter().map(|stage| stage.name.clone()));
        let stages = names.into_iter().flatten().map(|name| {
            let pairs = looks.iter().zip(looks.iter().skip(1));
            let points = pairs.filter_map(|(before, after)| between(before, after, &name));
            (name.clone(), points.collect())
        });
        HistoryReport {
            every_ms: u64::try_from(EVERY.as_millis()).unwrap_or(u64::MAX),
            stages: stages.collect(),
        }
    }
}

fn between(before: &Look, after: &Look, name: &str) -> Option<StagePoint> {
    let of = |look: &'_ Look| -> Option<StageReport> {
        look.stages.iter().find(|stage| stage.name == name).cloned()
    };
    let (then, now) = (of(before)?, of(after)?);
    let mean = |then: Latency, now: Latency| {
        let sum = now.sum_us.saturating_sub(then.sum_us);
        sum.checked_div(now.count.saturating_sub(then.count)).unwrap_or(0)
    };
    let elapsed = after.at.saturating_duration_since(before.at).as_millis();
    Some(StagePoint {
        unix_ms: after.unix_ms,
        elapsed_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
        depth: now.depth,
        processed: now.processed.saturating_sub(then.processed),
        batches: now.batches.saturating_sub(then.batches),
        refusals: now.refusals.saturating_sub(then.refusals),
        wait_us: mean(then.wait, now.wait),
        service_us: mean(then.service, now.service),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Instant, seconds: u64, processed: u64) -> Look {
        let wait = Latency { count: processed, sum_us: processed * 10, ..Latency::default() };
        let stage = StageReport {
            name: "writer".to_owned(),
            depth: processed % 7,
            processed,
            wait,
            ..StageReport::default()
        };
        let at = at + Duration::from_secs(seconds);
        Look { at, unix_ms: i64::try_from(seconds * 1000).expect("small"), stages: vec![stage] }
    }

    #[test]
    fn points_say_what_was_new_and_old_looks_go() {
        let (history, began) = (History::default(), Instant::now());
        assert!(history.report().stages.is_empty());
        history.push(look(began, 0, 100));
        assert!(history.report().stages[0].1.is_empty());
        history.push(look(began, 5, 150));
        history.push(look(began, 11, 150));
        let report = history.report();
        let points = &report.stages[0].1;
        assert_eq!(points.len(), 2);
        assert_eq!((points[0].processed, points[0].wait_us, points[0].elapsed_ms), (50, 10, 5000));
        assert_eq!((points[1].processed, points[1].wait_us, points[1].elapsed_ms), (0, 0, 6000));
        for more in 0..300 {
            history.push(look(began, 20 + more, 200 + more));
        }
        assert_eq!(history.report().stages[0].1.len(), LOOKS_MAX - 1);
    }
}
