//! Up to where the event log of each mailbox was dealt with.
//!
//! It is the payload of every commit of a bucket: so whatever ends when, no place is ahead of what the bucket holds. One that is
//! missing or behind costs a look at the mailbox.

use crate::limits::PLACES_MAX;
use mailstore::face::{ModSeq, UserId};
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::Hasher;

/// Places by mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<UserId, ModSeq>);

impl Places {
    #[must_use]
    pub fn get(&self, user: UserId) -> Option<ModSeq> {
        self.0.get(&user).copied()
    }

    pub fn set(&mut self, user: UserId, place: ModSeq) {
        if self.0.len() < PLACES_MAX || self.0.contains_key(&user) {
            self.0.insert(user, place);
        }
    }

    /// Whether there was one.
    pub fn remove(&mut self, user: UserId) -> bool {
        self.0.remove(&user).is_some()
    }

    pub fn retain(&mut self, stays: &dyn Fn(UserId) -> bool) {
        self.0.retain(|user, _| stays(*user));
    }

    /// With a checksum: nobody else checks what a commit carries.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for (user, place) in &self.0 {
            // A string takes whatever is written.
            let _written = write!(text, "{:x}:{:x},", user.0, place.0);
        }
        format!("{:x};{text}", sum_of(&text))
    }

    /// `None`: it is not what was written.
    #[must_use]
    pub fn decode(payload: &str) -> Option<Self> {
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let (sum, text) = payload.split_once(';')?;
        if number(sum)? != sum_of(text) {
            return None;
        }
        let mut places = BTreeMap::new();
        for entry in text.split_terminator(',') {
            let (user, place) = entry.split_once(':')?;
            places.insert(UserId(number(user)?), ModSeq(number(place)?));
        }
        Some(Self(places))
    }
}

fn sum_of(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_what_was_written_or_none() {
        let mut places = Places::default();
        assert_eq!(Places::decode(&places.encode()), Some(places.clone()));
        places.set(UserId(7), ModSeq(300));
        places.set(UserId(u64::MAX), ModSeq(1));
        let text = places.encode();
        assert_eq!(Places::decode(&text), Some(places));
        for damaged in ["", "0;", "x;7:12c,", &text.replace("12c", "12d"), &text[..text.len() - 2]]
        {
            assert_eq!(Places::decode(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn there_is_a_limit() {
        let mut places = Places::default();
        (0..=PLACES_MAX as u64).for_each(|user| places.set(UserId(user), ModSeq(1)));
        assert_eq!(places.get(UserId(PLACES_MAX as u64)), None);
        places.set(UserId(0), ModSeq(2));
        assert_eq!(places.get(UserId(0)), Some(ModSeq(2)));
    }
}
