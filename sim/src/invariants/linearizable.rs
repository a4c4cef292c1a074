//! Each key of the hash table behaves like one register: reads and writes can be put in one order
//! that agrees with real time.
//!
//! Every write puts a value of its own, so the test of Gibbons and Korach ("Testing shared
//! memories", SIAM J. Comput. 26, 1997) applies: the operations on one value form a zone from its
//! first end to its last beginning. A zone that runs forward is a span in which the key must hold
//! that value: no two of them overlap, and no other value lives wholly within one.

use crate::failure::Failure;
use std::collections::BTreeMap;

/// A value that was written, by number; 0 stands for nothing, from the beginning.
pub type Value = u64;

/// What clients saw of one value of one key, in virtual nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Zone {
    written_from: u64,
    first_end: u64,
    last_begin: u64,
    /// A value that nobody read may never have been there.
    witnessed: bool,
}

/// The history of one key.
#[derive(Clone, Debug)]
pub struct History {
    zones: BTreeMap<Value, Zone>,
}

impl Default for History {
    fn default() -> Self {
        let nothing = Zone { written_from: 0, first_end: 0, last_begin: 0, witnessed: true };
        Self { zones: BTreeMap::from([(0, nothing)]) }
    }
}

impl History {
    /// A write of `value` begins. Until it ends, nobody knows whether it happened.
    pub fn write_begins(&mut self, value: Value, now: u64) {
        let zone =
            Zone { written_from: now, first_end: u64::MAX, last_begin: now, witnessed: false };
        self.zones.insert(value, zone);
    }

    /// The write of `value` has happened by now.
    pub fn write_ends(&mut self, value: Value, now: u64) {
        if let Some(zone) = self.zones.get_mut(&value) {
            zone.first_end = zone.first_end.min(now);
            zone.witnessed = true;
        }
    }

    /// The write of `value` was refused: it never happened.
    pub fn write_refused(&mut self, value: Value) {
        self.zones.remove(&value);
    }

    /// A read that began at `from` and ended now found `value`.
    ///
    /// # Errors
    /// When nobody wrote it, or only later.
    pub fn read(&mut self, value: Value, from: u64, now: u64) -> Result<(), Failure> {
        let zone = self.zones.get_mut(&value).filter(|zone| zone.written_from <= now);
        let Some(zone) = zone else {
            return Err(Failure::new("linearizable", format!("value {value} was never written")));
        };
        zone.first_end = zone.first_end.min(now);
        zone.last_begin = zone.last_begin.max(from);
        zone.witnessed = true;
        Ok(())
    }

    /// Judges the whole history.
    ///
    /// # Errors
    /// Two values that can't be put in order.
    pub fn check(&self) -> Result<(), Failure> {
        let zones: Vec<_> = self.zones.iter().filter(|(_, zone)| zone.witnessed).collect();
        let (mut forward, backward): (Vec<_>, Vec<_>) =
            zones.into_iter().partition(|(_, zone)| zone.first_end < zone.last_begin);
        forward.sort_by_key(|(_, zone)| zone.first_end);
        for pair in forward.windows(2) {
            if pair[0].1.last_begin > pair[1].1.first_end {
                return Err(apart(pair[0], pair[1]));
            }
        }
        for inner in backward {
            let at = forward.partition_point(|(_, zone)| zone.first_end < inner.1.last_begin);
            let Some(outer) = at.checked_sub(1).map(|at| forward[at]) else { continue };
            if inner.1.first_end < outer.1.last_begin {
                return Err(apart(outer, inner));
            }
        }
        Ok(())
    }
}

fn apart(outer: (&Value, &Zone), inner: (&Value, &Zone)) -> Failure {
    let what = format!("value {} {:?} and value {} {:?}", outer.0, outer.1, inner.0, inner.1);
    Failure::new("linearizable", what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(values: &[(Value, u64, u64)]) -> History {
        let mut history = History::default();
        for &(value, from, to) in values {
            history.write_begins(value, from);
            history.write_ends(value, to);
        }
        history
    }

    #[test]
    fn a_value_may_not_come_back() {
        let mut history = written(&[(1, 10, 20), (2, 40, 50)]);
        history.read(1, 25, 30).expect("written");
        history.read(2, 55, 60).expect("written");
        assert_eq!(history.check(), Ok(()));
        history.read(1, 65, 70).expect("written");
        assert!(history.check().is_err());
    }

    #[test]
    fn a_stale_read_is_noticed_and_an_overlapping_one_is_not() {
        let mut history = written(&[(1, 10, 20)]);
        history.read(0, 15, 25).expect("nothing at first");
        assert_eq!(history.check(), Ok(()));
        let mut history = written(&[(1, 10, 20), (2, 30, 40)]);
        history.read(1, 45, 50).expect("written");
        assert!(history.check().is_err());
    }

    #[test]
    fn an_unknown_write_may_happen_late_or_never() {
        let mut history = written(&[(2, 30, 40)]);
        history.write_begins(1, 10);
        history.read(2, 50, 60).expect("written");
        assert_eq!(history.check(), Ok(()));
        history.read(1, 70, 80).expect("begun");
        assert_eq!(history.check(), Ok(()));
        assert!(history.read(9, 70, 80).is_err());
    }
}
