//! The fills machine: at what pace a node is filled, over all of its partitions.
//!
//! A copy asks for the next page once it holds the one before; it asks here first. Few partitions are filled at once, so that each
//! is done soon and its log is not kept long; what they ask for is granted in turn, as fast as the rate allows: pages are paid for
//! from a bucket, and the next is granted once it is not in debt.
//!
//! Invariants: over any time no more is granted than the rate gives, the burst and one page; what comes without having been
//! granted is paid for like the rest. No copy keeps its place from others when nothing is heard of it: it may have ended.
//!
//! Must not know: what a page holds, and where it comes from.

use crate::PartitionId;
use fsm::{Cx, Digest, Duration, Machine, Mono, TimerKey};
use std::collections::{BTreeMap, VecDeque};

/// How fast, and how many at once.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes a second of pages that come to the node. Our choice: half of what a network of one gigabit, and less than what a disk
    /// takes beside its other work.
    pub bytes_per_second: u64,
    /// What was not used may be caught up with, for so long.
    pub burst: Duration,
    /// Partitions that are filled at once. Our choice: enough to keep a disk busy that takes 20 ms for a page.
    pub partitions_max: usize,
    /// What a page is taken to have until it comes: [`crate::replica::Limits::page_bytes_max`].
    pub page_bytes_max: usize,
    /// A page that has not come for so long keeps no other partition waiting.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_per_second: 64 * 1024 * 1024,
            burst: Duration::from_millis(50),
            partitions_max: 8,
            page_bytes_max: 256 * 1024,
            patience: Duration::from_secs(3),
        }
    }
}

/// What a copy under construction tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It holds what came so far, and would ask for the next page.
    Wants,
    /// A page came, with so many bytes.
    Came { bytes: usize },
    /// It is complete, or nobody fills it any more.
    Ends,
}

/// Everything that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Told { partition: PartitionId, word: Word },
    TimerFired(TimerKey),
}

/// Everything that it may ask of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This copy may ask for its next page.
    Granted { partition: PartitionId },
}

const TICK: TimerKey = TimerKey(1);

/// See the head of the file.
#[derive(Debug)]
pub struct Fills {
    limits: Limits,
    /// Everything granted is paid for then.
    paid_at: Mono,
    /// Partitions that hold a place.
    filled: BTreeMap<PartitionId, Place>,
    /// Those of them that want a page, in order.
    wanting: VecDeque<PartitionId>,
    /// Those that wait for a place, in order.
    waiting: VecDeque<PartitionId>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// A page was granted, and is paid for.
    granted: bool,
    /// When that was, or when the partition was heard of last.
    since: Mono,
}

impl Fills {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            paid_at: Mono(0),
            filled: BTreeMap::new(),
            wanting: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }

    fn on_told(&mut self, now: Mono, partition: PartitionId, word: Word) {
        match word {
            Word::Wants => {
                // What was granted before will not come: it begins anew.
                self.take_back(now, partition);
                let has_place = self.filled.contains_key(&partition);
                let queue = if has_place { &mut self.wanting } else { &mut self.waiting };
                if !queue.contains(&partition) {
                    queue.push_back(partition);
                }
            }
            Word::Came { bytes } => {
                self.take_back(now, partition);
                self.pay(now, bytes);
            }
            Word::Ends => {
                self.take_back(now, partition);
                self.filled.remove(&partition);
                self.wanting.retain(|other| *other != partition);
                self.waiting.retain(|other| *other != partition);
            }
        }
    }

    /// How long the rate takes for so many bytes.
    fn price(&self, bytes: usize) -> u64 {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.limits.bytes_per_second.max(1));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    fn pay(&mut self, now: Mono, bytes: usize) {
        let burst = u64::try_from(self.limits.burst.as_nanos()).unwrap_or(u64::MAX);
        let from = self.paid_at.0.max(now.0.saturating_sub(burst));
        self.paid_at = Mono(from.saturating_add(self.price(bytes)));
    }

    /// What was paid for a page that was granted is given back.
    fn take_back(&mut self, now: Mono, partition: PartitionId) {
        let Some(place) = self.filled.get_mut(&partition) else { return };
        let before = std::mem::replace(place, Place { granted: false, since: now });
        if before.granted {
            let price = self.price(self.limits.page_bytes_max);
            self.paid_at = Mono(self.paid_at.0.saturating_sub(price));
        }
    }

    /// Grants what may be granted now; the timer is for the rest.
    fn grant(&mut self, cx: &mut Cx<'_, Effect>) {
        let now = cx.mono();
        self.give_places(now);
        while self.paid_at <= now
            && let Some(partition) = self.wanting.pop_front()
        {
            self.pay(now, self.limits.page_bytes_max);
            self.filled.insert(partition, Place { granted: true, since: now });
            cx.emit(Effect::Granted { partition });
        }
        if !self.wanting.is_empty() {
            cx.arm(TICK, self.paid_at.since(now));
        } else if !self.waiting.is_empty() {
            cx.arm(TICK, self.limits.patience);
        }
    }

    /// Places that are free, and those of partitions whose page does not come, go to who waits for one.
    fn give_places(&mut self, now: Mono) {
        while !self.waiting.is_empty() {
            if self.filled.len() >= self.limits.partitions_max.max(1) {
                let late = self.filled.iter().find(|(partition, place)| {
                    now.since(place.since) >= self.limits.patience
                        && !self.wanting.contains(partition)
                });
                let Some((&late, _)) = late else { return };
                self.take_back(now, late);
                self.filled.remove(&late);
            }
            let Some(next) = self.waiting.pop_front() else { return };
            self.filled.insert(next, Place { granted: false, since: now });
            self.wanting.push_back(next);
        }
    }
}

impl Machine for Fills {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, cx: &mut Cx<'_, Effect>, input: Input) {
        match input {
            Input::Told { partition, word } => self.on_told(cx.mono(), partition, word),
            Input::TimerFired(_) => {}
        }
        self.grant(cx);
    }

    fn digest(&self, digest: &mut Digest) {
        digest.word(self.paid_at.0);
        for (partition, place) in &self.filled {
            digest.word(u64::from(partition.0) << 1 | u64::from(place.granted));
        }
        for partition in self.wanting.iter().chain(&self.waiting) {
            digest.word(u64::from(partition.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fsm::{Budget, Host, Stepped};

    const PAGE: usize = 1000;

    struct Stand {
        fills: Fills,
        host: Host,
        millis: u64,
    }

    impl Stand {
        /// A page takes 10 ms; nothing that was not used is caught up with.
        fn new(partitions_max: usize) -> Self {
            let limits = Limits {
                bytes_per_second: 100 * PAGE as u64,
                burst: Duration::ZERO,
                partitions_max,
                page_bytes_max: PAGE,
                patience: Duration::from_secs(1),
            };
            Self { fills: Fills::new(limits), host: Host::new(1, 1), millis: 1 }
        }

        fn step(&mut self, input: Input) -> Vec<u16> {
            let mut stepped = Stepped::default();
            let now = (Mono(self.millis * 1_000_000), fsm::Wall(0));
            self.host.step(&mut self.fills, &mut stepped, now, Budget::new(1), input);
            stepped.effects.iter().map(|Effect::Granted { partition }| partition.0).collect()
        }

        fn told(&mut self, partition: u16, word: Word) -> Vec<u16> {
            self.step(Input::Told { partition: PartitionId(partition), word })
        }

        fn at(&mut self, millis: u64) -> Vec<u16> {
            self.millis = millis;
            self.step(Input::TimerFired(TICK))
        }
    }

    #[test]
    fn pages_are_granted_in_turn_as_the_rate_allows() {
        let mut stand = Stand::new(8);
        assert_eq!(stand.told(1, Word::Wants), [1]);
        assert_eq!(stand.told(2, Word::Wants), []);
        assert_eq!(stand.told(3, Word::Wants), []);
        // Twice is once.
        assert_eq!(stand.told(2, Word::Wants), []);
        assert_eq!(stand.at(10), []);
        assert_eq!(stand.at(11), [2]);
        assert_eq!(stand.at(21), [3]);
        assert_eq!(stand.at(31), []);
    }

    #[test]
    fn what_came_is_paid_for_and_no_more() {
        let mut stand = Stand::new(8);
        assert_eq!(stand.told(1, Word::Wants), [1]);
        assert_eq!(stand.told(2, Word::Wants), []);
        // A tenth of a page: so the next may come nine milliseconds earlier.
        assert_eq!(stand.told(1, Word::Came { bytes: PAGE / 10 }), []);
        assert_eq!(stand.at(2), [2]);
        // One that nobody had asked for.
        assert_eq!(stand.told(7, Word::Came { bytes: 2 * PAGE }), []);
        assert_eq!(stand.told(1, Word::Wants), []);
        assert_eq!(stand.at(31), []);
        assert_eq!(stand.at(32), [1]);
    }

    #[test]
    fn few_partitions_have_a_place_until_they_end() {
        let mut stand = Stand::new(1);
        assert_eq!(stand.told(1, Word::Wants), [1]);
        assert_eq!(stand.told(2, Word::Wants), []);
        assert_eq!(stand.at(500), []);
        assert_eq!(stand.told(1, Word::Came { bytes: PAGE }), []);
        assert_eq!(stand.told(1, Word::Wants), []);
        assert_eq!(stand.at(510), [1]);
        assert_eq!(stand.told(1, Word::Came { bytes: 0 }), []);
        assert_eq!(stand.told(1, Word::Ends), [2]);
    }

    #[test]
    fn a_place_of_which_nothing_is_heard_goes_to_the_next() {
        let mut stand = Stand::new(1);
        assert_eq!(stand.told(1, Word::Wants), [1]);
        assert_eq!(stand.told(2, Word::Wants), []);
        assert_eq!(stand.at(1000), []);
        assert_eq!(stand.at(1001), [2]);
        // It comes back, and has to wait.
        assert_eq!(stand.told(1, Word::Wants), []);
        assert_eq!(stand.at(1500), []);
        assert_eq!(stand.told(2, Word::Ends), [1]);
    }
}
