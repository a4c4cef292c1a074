//! A map that never holds more than its limit: the entry longest untouched goes first. Ordered, so
//! that runs are reproducible.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A bounded map with a memory for what was touched last.
#[derive(Clone, Debug)]
pub struct Bounded<K, V> {
    entries: BTreeMap<K, (u64, V)>,
    /// Touch number to key; one for every entry.
    by_age: BTreeMap<u64, K>,
    touches: u64,
    entries_max: usize,
}

impl<K: Ord + Clone, V> Bounded<K, V> {
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self { entries: BTreeMap::new(), by_age: BTreeMap::new(), touches: 0, entries_max }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Puts or replaces an entry, as the youngest. Over the limit the oldest goes.
    pub fn put(&mut self, key: K, value: V) {
        self.touches += 1;
        if let Some((age, _)) = self.entries.insert(key.clone(), (self.touches, value)) {
            self.by_age.remove(&age);
        }
        self.by_age.insert(self.touches, key);
        while self.entries.len() > self.entries_max {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            self.entries.remove(&oldest);
        }
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (age, value) = self.entries.remove(key)?;
        self.by_age.remove(&age);
        Some(value)
    }

    /// Removes every entry of a range of keys.
    pub fn remove_range(&mut self, range: RangeInclusive<K>) {
        let keys: Vec<K> = self.entries.range(range).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// Within a range of keys: how many there are, and the one longest untouched.
    pub fn oldest_of(&self, range: RangeInclusive<K>) -> (usize, Option<K>) {
        let mut count = 0;
        let mut oldest: Option<(u64, &K)> = None;
        for (key, (age, _)) in self.entries.range(range) {
            count += 1;
            if oldest.is_none_or(|(least, _)| *age < least) {
                oldest = Some((*age, key));
            }
        }
        (count, oldest.map(|(_, key)| key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_longest_untouched_goes() {
        let mut map = Bounded::new(2);
        map.put(1, 'a');
        map.put(2, 'b');
        map.put(1, 'c');
        map.put(3, 'd');
        assert_eq!((map.peek(&1), map.peek(&2), map.peek(&3)), (Some(&'c'), None, Some(&'d')));
        assert_eq!(map.oldest_of(0..=9), (2, Some(1)));
        map.remove_range(2..=9);
        assert_eq!((map.len(), map.by_age.len()), (1, 1));
    }
}
