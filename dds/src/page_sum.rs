//! What a page of a table holds, in short: what replicas compare instead of the page.
//!
//! A page begins behind a key and ends with the entry that makes it as large as was asked, so equal tables have equal pages. The
//! sum is SipHash-1-3 of 128 bits over the lengths and bytes of all keys and values: it tells accidents apart, not forgeries.

use bytes::Bytes;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// See the head of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageSum {
    pub sum: u128,
    pub entries: u64,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// The key of the last entry; empty without entries.
    pub last: Bytes,
    /// Entries follow behind it.
    pub more: bool,
}

impl PageSum {
    /// The sum of `entries`, behind which there are more.
    #[must_use]
    pub fn of(entries: &[(Bytes, Bytes)], more: bool) -> Self {
        let mut hasher = SipHasher13::new();
        let mut bytes = 0;
        for (key, value) in entries {
            for part in [key, value] {
                hasher.write(&(part.len() as u64).to_be_bytes());
                hasher.write(part);
                bytes += part.len() as u64;
            }
        }
        let last = entries.last().map(|(key, _)| key.clone()).unwrap_or_default();
        let sum = hasher.finish128().as_u128();
        Self { sum, entries: entries.len() as u64, bytes, last, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(entries: &[(&'static str, &'static str)]) -> PageSum {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let entries: Vec<_> = entries.iter().map(|(k, v)| (bytes(k), bytes(v))).collect();
        PageSum::of(&entries, true)
    }

    #[test]
    fn golden_sum() {
        let sum = page(&[("k", "v"), ("key", "value")]);
        assert_eq!((sum.entries, sum.bytes, &sum.last[..]), (2, 10, &b"key"[..]));
        assert_eq!(sum.sum, 0x2c0f_861b_6624_f532_2b30_d626_f8d7_c8a2);
    }

    #[test]
    fn bytes_do_not_move_between_keys_and_values_unnoticed() {
        let sums = [
            page(&[("ab", "c")]),
            page(&[("a", "bc")]),
            page(&[("a", "b"), ("c", "")]),
            page(&[("a", "b")]),
            page(&[]),
        ];
        for (at, sum) in sums.iter().enumerate() {
            assert!(sums[..at].iter().all(|other| other.sum != sum.sum), "{at}");
        }
    }
}
