//! The delivery memory: which (delivery id, recipient) went where, for 7 days, so that a retry never doubles a message.
//!
//! States: `Absent` -> `Loading` -> `Known`. In memory stands one hash per delivery; where it went is read when it is asked.

use super::Waiting;
use super::change::{Asker, MemoryKey};
use crate::face::DeliveryId;
use siphasher::sip::SipHasher24;
use std::collections::BTreeMap;
use std::hash::Hasher;

/// What is remembered of deliveries.
#[derive(Debug, Default)]
pub struct DeliveryMemory {
    pub state: MemoryState,
    /// Deliveries whose batch is under way, and those who asked for the same meanwhile.
    under_way: BTreeMap<(DeliveryId, u64), Vec<Asker>>,
    /// The hour up to which the store was pruned.
    pub pruned_to: u32,
}

#[derive(Debug, Default)]
pub enum MemoryState {
    #[default]
    Absent,
    Loading {
        waiting: Vec<Waiting>,
        hours: BTreeMap<u64, u32>,
    },
    /// Hash of delivery and recipient to the hour in its key.
    Known(BTreeMap<u64, u32>),
}

/// What the memory says of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    New,
    UnderWay,
    /// Probably delivered: the record at this hour knows.
    Seen {
        hour: u32,
    },
    NotLoaded,
}

/// Hash of a recipient, fixed for ever: it is part of keys in the store.
#[must_use]
pub fn recipient_hash(recipient: &str) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(recipient.to_ascii_lowercase().as_bytes());
    hasher.finish()
}

fn fingerprint(delivery: DeliveryId, recipient: u64) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(0, 1);
    hasher.write_u128(delivery.0);
    hasher.write_u64(recipient);
    hasher.finish()
}

impl DeliveryMemory {
    #[must_use]
    pub fn recall(&self, delivery: DeliveryId, recipient: u64) -> Recall {
        if self.under_way.contains_key(&(delivery, recipient)) {
            return Recall::UnderWay;
        }
        match &self.state {
            MemoryState::Absent | MemoryState::Loading { .. } => Recall::NotLoaded,
            MemoryState::Known(hours) => match hours.get(&fingerprint(delivery, recipient)) {
                Some(&hour) => Recall::Seen { hour },
                None => Recall::New,
            },
        }
    }

    /// The same delivery was asked for again while its batch is under way.
    pub fn wait_for(&mut self, delivery: DeliveryId, recipient: u64, asker: Asker) {
        self.under_way.entry((delivery, recipient)).or_default().push(asker);
    }

    /// The batch of a delivery was sent.
    pub fn sent(&mut self, key: &MemoryKey) {
        self.under_way.entry((key.delivery, key.recipient)).or_default();
    }

    /// The batch of a delivery has settled: those who asked for the same.
    pub fn settled(&mut self, key: &MemoryKey) -> Vec<Asker> {
        self.under_way.remove(&(key.delivery, key.recipient)).unwrap_or_default()
    }

    /// A delivery is committed.
    pub fn remember(&mut self, key: &MemoryKey, entries_max: usize) {
        match &mut self.state {
            MemoryState::Known(hours) | MemoryState::Loading { hours, .. } => {
                hours.insert(fingerprint(key.delivery, key.recipient), key.hour);
                if hours.len() > entries_max {
                    forget_oldest_hour(hours);
                }
            }
            MemoryState::Absent => {}
        }
    }

    /// It was another delivery after all.
    pub fn forget(&mut self, key: &MemoryKey) {
        if let MemoryState::Known(hours) = &mut self.state {
            hours.remove(&fingerprint(key.delivery, key.recipient));
        }
    }

    /// Takes a key of the store while loading.
    pub fn load(&mut self, (hour, delivery, recipient): (u32, DeliveryId, u64)) {
        match &mut self.state {
            MemoryState::Loading { hours, .. } | MemoryState::Known(hours) => {
                hours.insert(fingerprint(delivery, recipient), hour);
            }
            MemoryState::Absent => {}
        }
    }

    /// All of the store's memory is read: who waited for it.
    pub fn loaded(&mut self) -> Vec<Waiting> {
        match std::mem::take(&mut self.state) {
            MemoryState::Loading { waiting, hours } => {
                self.state = MemoryState::Known(hours);
                waiting
            }
            state @ (MemoryState::Absent | MemoryState::Known(_)) => {
                self.state = state;
                Vec::new()
            }
        }
    }

    /// It could not be read: who waited for it.
    pub fn failed(&mut self) -> Vec<Waiting> {
        match std::mem::take(&mut self.state) {
            MemoryState::Loading { waiting, .. } => waiting,
            state @ (MemoryState::Absent | MemoryState::Known(_)) => {
                self.state = state;
                Vec::new()
            }
        }
    }

    /// Forgets everything before `hour`.
    pub fn prune(&mut self, hour: u32) {
        self.pruned_to = hour;
        match &mut self.state {
            MemoryState::Known(hours) | MemoryState::Loading { hours, .. } => {
                hours.retain(|_, at| *at >= hour);
            }
            MemoryState::Absent => {}
        }
    }

    /// Ends: whoever waits.
    pub fn abandon(&mut self) -> Vec<Asker> {
        let waiting = self.failed().into_iter().map(|waiting| waiting.asker);
        let under_way = std::mem::take(&mut self.under_way);
        waiting.chain(under_way.into_values().flatten()).collect()
    }

    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match &self.state {
            MemoryState::Known(hours) | MemoryState::Loading { hours, .. } => hours.len() * 20,
            MemoryState::Absent => 0,
        }
    }
}

/// Too many deliveries to remember in memory.
fn forget_oldest_hour(hours: &mut BTreeMap<u64, u32>) {
    if let Some(oldest) = hours.values().min().copied() {
        hours.retain(|_, at| *at > oldest);
    }
}
