//! Runs that are no words, by their trigrams: keys, numbers, addresses of links, base64.
//!
//! Three neighbouring characters, the ends of a run counted as characters, fall into one of some thousand classes. A message
//! has the classes of its runs, so it costs at most one bit for each, however long its base64 is. What stands in such a run
//! has all of its trigrams there: the classes tell which messages may hold it, never which do.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// Number of classes. Our choice: with a thousand trigrams in a message, five of a text meet by chance in one of 30,000.
pub const CLASSES: usize = 8_192;

/// Characters of a gram.
pub const GRAM_CHARS: usize = 3;

/// Stands before and behind a run.
pub const EDGE: char = '\u{2}';

/// Which classes a text has.
#[derive(Clone, Debug)]
pub struct Classes {
    bits: Box<[u64; CLASSES / 64]>,
    any: bool,
}

impl Default for Classes {
    fn default() -> Self {
        Self { bits: Box::new([0; CLASSES / 64]), any: false }
    }
}

impl Classes {
    /// Adds a run.
    pub fn add(&mut self, run: &str) {
        self.any = true;
        let edged = std::iter::once(EDGE).chain(run.chars()).chain(std::iter::once(EDGE));
        each_class(edged, |class| self.bits[class / 64] |= 1 << (class % 64));
    }

    /// Whether a run was added.
    #[must_use]
    pub fn any(&self) -> bool {
        self.any
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..).step_by(64).zip(self.bits.iter()).flat_map(|(first, bits)| {
            let left = std::iter::successors(Some(*bits), |left| Some(left & left.wrapping_sub(1)));
            let set = left.take_while(|left| *left > 0);
            set.map(move |left| first + left.trailing_zeros() as usize)
        })
    }
}

/// The classes of the grams of a text, in order.
pub fn each_class(text: impl Iterator<Item = char>, mut take: impl FnMut(usize)) {
    let mut gram = [0_u32; GRAM_CHARS];
    for (count, c) in (1..).zip(text) {
        gram.rotate_left(1);
        gram[GRAM_CHARS - 1] = u32::from(c);
        if count >= GRAM_CHARS {
            take(class_of(gram));
        }
    }
}

/// Part of the format.
fn class_of(gram: [u32; GRAM_CHARS]) -> usize {
    let mut hasher = SipHasher13::new();
    gram.iter().for_each(|c| hasher.write_u32(*c));
    (hasher.finish() % CLASSES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_part_of_the_format() {
        let mut classes = Vec::new();
        each_class("ab12".chars(), |class| classes.push(class));
        assert_eq!(classes, [class_of([97, 98, 49]), class_of([98, 49, 50])]);
        let mut few = Classes::default();
        assert!(!few.any());
        few.add("7");
        assert!(few.any());
        assert_eq!(few.iter().count(), 1);
    }
}
