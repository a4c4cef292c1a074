//! What operators verify a store with finds nothing wrong with one that nobody damaged: `check`
//! cries no wolf, whatever was under way when the node ended.

use crate::failure::Failure;
use dds::{DpMap, MemoryStore, Store, Tier};
use mailstore::check::{Told, check as verify};

pub fn check(store: &MemoryStore, map: DpMap) -> Result<(), Failure> {
    let mut damage = None;
    verify(&|read| store.read(read, Tier::Disk), (map, &|_| true), &mut |told| match told {
        Told::Damage(found) => {
            damage.get_or_insert(found);
        }
        Told::Progress(_) => {}
    });
    match damage {
        Some(found) => {
            let what = format!("{}: {}", found.thing, found.reason);
            Err(Failure::new("check_is_clean", what))
        }
        None => Ok(()),
    }
}
