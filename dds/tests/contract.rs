//! The contract of stores, on the store in memory.

use dds::contract::{self, Brick, Fullness};
use dds::memory_store::Faults;
use dds::{MemoryStore, Store};

struct Memory {
    store: MemoryStore,
    /// Unsynced groups that a power loss leaves.
    survivors: usize,
}

impl Brick for Memory {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn reopen(&mut self) {
        self.store.set_faults(Faults::default());
    }

    fn power_loss(&mut self) -> bool {
        self.store.power_loss(self.survivors);
        true
    }

    fn set_full(&mut self, fullness: Fullness) -> bool {
        match fullness {
            Fullness::Full => self.store.set_bytes_max(Some(self.store.bytes() + 100)),
            Fullness::Room => self.store.set_bytes_max(None),
        }
        true
    }

    fn chill(&mut self) -> bool {
        self.store.set_faults(Faults { cold: true, ..Faults::default() });
        true
    }
}

#[test]
fn the_store_in_memory_keeps_the_contract() {
    for survivors in [0, 1, 7, 100] {
        contract::all(|| Memory { store: MemoryStore::new(), survivors });
    }
}

#[test]
#[should_panic(expected = "synced with group 9")]
fn the_contract_notices_a_sync_that_lies() {
    let store = MemoryStore::new();
    store.set_faults(Faults { lying_sync: true, ..Faults::default() });
    contract::synced_commits_survive_a_power_loss(&mut Memory { store, survivors: 3 });
}
