//! The pace of copies: the machine of each node, and whether pages come no faster than they should.

use super::node::Owner;
use super::{Cluster, ClusterMutation};
use dds::cluster::NodeId;
use dds::replica::{Body, Message};
use dds::{fills, seat};
use fsm::{Budget, Duration, Machine, Stepped, Wall};

/// Small, so that a copy takes several pages.
pub(super) const PAGE_BYTES: usize = 2 * 1024;
/// A value may be as large, and a page has at least one entry.
const PAGE_BYTES_MAX: i64 = 4 * 1024;
/// A disk of some hundred kilobytes takes a second or two.
const BYTES_PER_SECOND: u64 = 128 * 1024;
const PARTITIONS_MAX: usize = 3;
const BURST_NANOS: u64 = 20_000_000;
/// What a page may be late on its way, beside faults.
const WAY_NANOS: u64 = 10_000_000;

pub(super) fn limits() -> fills::Limits {
    fills::Limits {
        bytes_per_second: BYTES_PER_SECOND,
        burst: Duration::from_nanos(BURST_NANOS),
        partitions_max: PARTITIONS_MAX,
        page_bytes_max: PAGE_BYTES,
        patience: Duration::from_secs(1),
    }
}

/// What may still come to a node: counted apart from the machine, in what its peers send.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    at: u64,
    bytes: i64,
}

impl Allowance {
    fn refill(&mut self, now: u64) {
        let gained = |nanos: u64| {
            let bytes = u128::from(nanos) * u128::from(BYTES_PER_SECOND) / 1_000_000_000;
            i64::try_from(bytes).unwrap_or(i64::MAX)
        };
        // Pages that were granted and are on their way come together at worst.
        let most = gained(BURST_NANOS + WAY_NANOS)
            + i64::try_from(PARTITIONS_MAX + 1).unwrap_or(0) * PAGE_BYTES_MAX;
        self.bytes = self.bytes.saturating_add(gained(now - self.at)).min(most);
        self.at = now;
    }
}

impl Cluster {
    pub(super) fn step_fills(&mut self, id: NodeId, input: fills::Input) {
        let now = self.schedule.now();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let mono = node.mono(now);
        let Some(running) = &mut node.running else { return };
        self.steps += 1;
        let mut stepped = Stepped::default();
        let slot = &mut running.fills;
        let budget = Budget::new(2_000);
        slot.host.step(&mut slot.machine, &mut stepped, (mono, Wall(0)), budget, input);
        slot.machine.digest(&mut self.trace);
        if let fills::Input::Told { partition, word: fills::Word::Wants } = input {
            if self.options.mutation == Some(ClusterMutation::FillUnpaced) {
                stepped.effects.push(fills::Effect::Granted { partition });
            } else if stepped.effects.is_empty() {
                self.coverage.action("page waits for its turn");
            }
        }
        self.arm(id, Owner::Fills, &stepped.timers);
        for fills::Effect::Granted { partition } in stepped.effects {
            self.coverage.action("page is granted");
            self.step_seat(id, partition, seat::Input::PageGranted);
        }
    }

    /// A message leaves a primary: pages come no faster than the rate. A new round, and a question after a page, may each lead
    /// to one that was not granted.
    pub(super) fn note_pace(&mut self, to: NodeId, message: &Message) {
        if !self.options.scenario.paced {
            return;
        }
        let now = self.schedule.now();
        let allowance = self.allowances.entry(to).or_default();
        allowance.refill(now);
        match &message.body {
            Body::Join | Body::Fill { .. } => allowance.bytes += PAGE_BYTES_MAX / 2,
            Body::Page { page, .. } => {
                let bytes = page.entries.iter().map(|(_, key, value)| key.len() + value.len());
                allowance.bytes -= i64::try_from(bytes.sum::<usize>()).unwrap_or(i64::MAX);
                if allowance.bytes < 0 {
                    let over = -allowance.bytes;
                    self.fail("filled_at_pace", format!("{over} bytes too many for {to:?}"));
                }
            }
            _ => {}
        }
    }
}
