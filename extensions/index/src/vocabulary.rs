//! The words of a segment side by side in memory, so that a substring of a word is found by one pass of `memmem`: a few
//! gigabytes a second, where walking the dictionary takes milliseconds.

use crate::schema::OWN;
use crate::words::{Script, script_of};
use memchr::memmem::Finder;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tantivy::index::SegmentId;
use tantivy::termdict::TermDictionary;

/// The spaced words of one field of a segment: a zero byte before and behind each. Those of most messages stand first, so that
/// what is part of very many words is found in all messages soon.
#[derive(Debug)]
pub struct Vocabulary {
    text: Vec<u8>,
    /// Where each begins in `text`.
    starts: Vec<u32>,
}

/// Divides words; in none of them.
const DIVIDER: u8 = 0;

impl Vocabulary {
    /// # Errors
    /// When the dictionary can't be read, or has more than 4 GiB of words.
    pub fn of(dictionary: &TermDictionary) -> std::io::Result<Self> {
        let (mut text, mut words) = (Vec::new(), Vec::new());
        let mut terms = dictionary.stream()?;
        while terms.advance() {
            let term = terms.key();
            if is_spaced(term) {
                words.push((terms.value().doc_freq, text.len()..text.len() + term.len()));
                text.extend_from_slice(term);
            }
        }
        words.sort_by_key(|(doc_freq, _)| std::cmp::Reverse(*doc_freq));
        let wide = |_| std::io::Error::other("too many words in one segment");
        let bytes = text.len() + words.len() + 1;
        let mut vocabulary =
            Self { text: Vec::with_capacity(bytes), starts: Vec::with_capacity(words.len()) };
        vocabulary.text.push(DIVIDER);
        for (_, word) in words {
            vocabulary.starts.push(u32::try_from(vocabulary.text.len()).map_err(wide)?);
            vocabulary.text.extend_from_slice(&text[word]);
            vocabulary.text.push(DIVIDER);
        }
        Ok(vocabulary)
    }

    /// The words that have `run` in them, at an end of theirs unless it is open there.
    pub fn with(&self, run: &str, open: (bool, bool)) -> impl Iterator<Item = &[u8]> {
        let mut pattern = Vec::with_capacity(run.len() + 2);
        if !open.0 {
            pattern.push(DIVIDER);
        }
        pattern.extend_from_slice(run.as_bytes());
        if !open.1 {
            pattern.push(DIVIDER);
        }
        let finder = Finder::new(&pattern).into_owned();
        let mut from = 0;
        std::iter::from_fn(move || {
            let at = self.text.get(from..).and_then(|rest| finder.find(rest))?;
            let within = from + at + usize::from(!open.0);
            let next = self.starts.partition_point(|start| *start as usize <= within);
            let start_of = |word: usize| self.starts.get(word).map(|start| *start as usize);
            let end = start_of(next).unwrap_or(self.text.len()) - 1;
            let start = next.checked_sub(1).and_then(start_of)?;
            // On with the divider before the next word.
            from = end;
            self.text.get(start..end)
        })
    }

    fn bytes(&self) -> usize {
        self.text.capacity() + self.starts.capacity() * size_of::<u32>()
    }
}

fn is_spaced(term: &[u8]) -> bool {
    if term.first().is_none_or(|first| *first == OWN) {
        return false;
    }
    let first = std::str::from_utf8(term).ok().and_then(|term| term.chars().next());
    first.and_then(script_of) == Some(Script::Spaced)
}

/// Vocabularies that were used last.
#[derive(Debug)]
pub struct Vocabularies {
    kept: Mutex<Kept>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    all: BTreeMap<(SegmentId, u32), (u64, Arc<Vocabulary>)>,
    bytes: usize,
    uses: u64,
}

impl Vocabularies {
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { kept: Mutex::default(), bytes_max }
    }

    /// That of a field of a segment; made when it is not at hand.
    ///
    /// # Errors
    /// As [`Vocabulary::of`].
    pub fn get(
        &self,
        key: (SegmentId, u32),
        dictionary: &TermDictionary,
    ) -> std::io::Result<Arc<Vocabulary>> {
        if let Some(known) = self.lock().get(key) {
            return Ok(known);
        }
        let made = Arc::new(Vocabulary::of(dictionary)?);
        self.lock().keep(key, &made, self.bytes_max);
        Ok(made)
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn get(&mut self, key: (SegmentId, u32)) -> Option<Arc<Vocabulary>> {
        self.uses += 1;
        let (used, vocabulary) = self.all.get_mut(&key)?;
        *used = self.uses;
        Some(Arc::clone(vocabulary))
    }

    /// What was used longest ago goes. One that is larger than all room is not kept.
    fn keep(&mut self, key: (SegmentId, u32), vocabulary: &Arc<Vocabulary>, bytes_max: usize) {
        self.uses += 1;
        self.bytes += vocabulary.bytes();
        if let Some((_, old)) = self.all.insert(key, (self.uses, Arc::clone(vocabulary))) {
            self.bytes -= old.bytes();
        }
        while self.bytes > bytes_max {
            let Some(oldest) = self.all.iter().min_by_key(|(_, (used, _))| *used) else { return };
            let key = *oldest.0;
            if let Some((_, old)) = self.all.remove(&key) {
                self.bytes -= old.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(words: &[&str]) -> Vocabulary {
        let mut made = Vocabulary { text: vec![DIVIDER], starts: Vec::new() };
        for word in words {
            made.starts.push(made.text.len() as u32);
            made.text.extend_from_slice(word.as_bytes());
            made.text.push(DIVIDER);
        }
        made
    }

    #[test]
    fn words_by_what_is_in_them() {
        let known = vocabulary(&["a", "anna", "banana", "nab", "x"]);
        let with = |run: &str, open: (bool, bool)| -> Vec<&str> {
            let found = known.with(run, open);
            found.map(|word| std::str::from_utf8(word).expect("they are words")).collect()
        };
        assert_eq!(with("a", (true, true)), ["a", "anna", "banana", "nab"]);
        assert_eq!(with("an", (true, true)), ["anna", "banana"]);
        assert_eq!(with("na", (true, false)), ["anna", "banana"]);
        assert_eq!(with("na", (false, true)), ["nab"]);
        assert_eq!(with("a", (false, false)), ["a"]);
        assert_eq!(with("x", (true, false)), ["x"]);
        assert!(with("ax", (true, true)).is_empty() && with("nax", (true, true)).is_empty());
        assert_eq!(vocabulary(&[]).with("a", (true, true)).count(), 0);
    }

    #[test]
    fn what_was_used_longest_ago_goes() {
        let kept = Vocabularies::new(0);
        let key = (SegmentId::generate_random(), 1);
        kept.lock().keep(key, &Arc::new(vocabulary(&["a"])), 0);
        assert_eq!(kept.bytes(), 0);
        let (first, second) = (Arc::new(vocabulary(&["a"])), Arc::new(vocabulary(&["b"])));
        let room = first.bytes() + second.bytes() - 1;
        let other = (key.0, 2);
        kept.lock().keep(key, &first, room);
        kept.lock().keep(other, &second, room);
        assert!(kept.lock().get(key).is_none() && kept.lock().get(other).is_some());
        assert_eq!(kept.bytes(), second.bytes());
    }
}
