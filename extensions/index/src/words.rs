//! How folded text is cut, so that substrings can be proved.
//!
//! Words are those of UAX 29, cut also where it joins two over a mark ("can't", "3.14", "a_b") and between scripts that are
//! written with spaces and those that are not. So whether two neighbours belong together depends on these two characters
//! alone, and a text without a cut in it stands in another exactly when it stands in one of its runs. That is the whole proof:
//! - [`Script::Spaced`]: letters, digits and marks of scripts with spaces. Runs are words.
//! - [`Script::Dense`]: ideographs, kana, Thai and others without spaces. Runs go in as pairs of neighbours.
//! - Everything else is no part of a run.
//!
//! A run of spaced characters that is no word of a language, but a number, a key or a piece of base64, would fill the
//! dictionary with what nobody looks for: see [`is_word`] and `grams`.

use std::ops::Range;

/// What a character is to its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    Spaced,
    Dense,
}

/// Letters of the longest word. Our choice: few languages have longer ones, and those are found as other runs are.
pub const WORD_CHARS_MAX: usize = 24;
/// Digits of a number that counts as a word: years, prices, postcodes.
pub const NUMBER_CHARS_MAX: usize = 5;

/// `None`: no part of a run.
#[must_use]
pub fn script_of(c: char) -> Option<Script> {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric().then_some(Script::Spaced);
    }
    if !c.is_alphanumeric() && !unicode_normalization::char::is_combining_mark(c) {
        return None;
    }
    Some(if is_dense(c) { Script::Dense } else { Script::Spaced })
}

/// Blocks of scripts that are written without spaces between words.
fn is_dense(c: char) -> bool {
    matches!(u32::from(c),
        // Thai, Lao, Tibetan, Myanmar, Khmer.
        0x0E00..=0x0FFF | 0x1000..=0x109F | 0x1780..=0x17FF
        // Tai Le, New Tai Lue, Tai Tham, Balinese, Javanese, extensions of Myanmar, Tai Viet.
        | 0x1950..=0x19FF | 0x1A20..=0x1AAF | 0x1B00..=0x1B7F
        | 0xA980..=0xA9FF | 0xAA60..=0xAADF
        // Radicals, kana, Bopomofo, ideographs.
        | 0x2E80..=0x2FDF | 0x3005..=0x3007 | 0x3021..=0x312F | 0x31A0..=0x31FF
        | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xA000..=0xA4CF | 0xF900..=0xFAFF
        | 0x1B000..=0x1B16F | 0x20000..=0x3FFFF)
}

/// The runs of a text, in order.
pub fn runs(text: &str) -> impl Iterator<Item = (Script, Range<usize>)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let c = text[at..].chars().next()?;
            match script_of(c) {
                None => at += c.len_utf8(),
                Some(script) => {
                    let start = at;
                    at = run_end(text, start, script);
                    return Some((script, start..at));
                }
            }
        }
    })
}

fn run_end(text: &str, start: usize, script: Script) -> usize {
    let bytes = text.as_bytes();
    let mut at = start;
    loop {
        // Most text is ASCII.
        if script == Script::Spaced {
            let ascii = bytes[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric());
            at += ascii.count();
        }
        match text[at..].chars().next() {
            Some(c) if script_of(c) == Some(script) => at += c.len_utf8(),
            Some(_) | None => return at,
        }
    }
}

/// Where a run begins that goes to the very end: more text may make it longer.
#[must_use]
pub fn open_run(text: &str) -> Option<usize> {
    let mut start = None;
    let mut script = None;
    for (at, c) in text.char_indices().rev() {
        let own = script_of(c);
        if own.is_none() || script.is_some() && own != script {
            break;
        }
        script = own;
        start = Some(at);
    }
    start
}

/// Whether a run of spaced characters is in the dictionary: letters alone, or digits alone, and not too many.
#[must_use]
pub fn is_word(run: &str) -> bool {
    let mut chars = 0;
    let mut digits = 0;
    for c in run.chars() {
        chars += 1;
        digits += usize::from(c.is_numeric());
        if chars > WORD_CHARS_MAX {
            return false;
        }
    }
    digits == 0 || digits == chars && chars <= NUMBER_CHARS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str) -> Vec<&str> {
        runs(text).map(|(_, range)| &text[range]).collect()
    }

    #[test]
    fn words_and_runs() {
        assert_eq!(cut("can't pay 3.14 (a_b)"), ["can", "t", "pay", "3", "14", "a", "b"]);
        assert_eq!(cut("the 東京tower、タワー"), ["the", "東京", "tower", "タワー"]);
        assert_eq!(cut("e\u{301}t\u{301}e \u{301}"), ["e\u{301}t\u{301}e", "\u{301}"]);
        assert_eq!(cut("สวัสดีครับ hello"), ["สวัสดีครับ", "hello"]);
        assert_eq!(cut("서울에서 만나요"), ["서울에서", "만나요"]);
        assert_eq!((open_run("a bc"), open_run("a "), open_run("x東")), (Some(2), None, Some(1)));
    }

    #[test]
    fn what_is_a_word() {
        assert!(is_word("invoice") && is_word("2026") && is_word("größe"));
        assert!(!is_word("invoice2026") && !is_word("123456") && !is_word(&"a".repeat(25)));
    }

    proptest! {
        /// The proof: a text of one run stands in another exactly when it stands in one of the runs of that.
        #[test]
        fn a_run_stands_within_a_run(text in "[a-c1東京ก. '\u{301}]{0,24}", from in 0..24_usize, len in 1..6_usize) {
            let needle: String = text.chars().skip(from).take(len).collect();
            let mut whole = runs(&needle);
            if whole.next().is_some_and(|(_, range)| range == (0..needle.len())) {
                prop_assert!(cut(&text).iter().any(|run| run.contains(&needle)));
            }
        }

        #[test]
        fn runs_do_not_depend_on_where_text_is_cut(text in "[a-c1東京ก. '\u{301}]{0,24}", at in 0..24_usize) {
            let at = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
            let (first, second) = text.split_at(at);
            let open = open_run(first).unwrap_or(first.len());
            let mut joined = cut(&first[..open]);
            let rest = format!("{}{second}", &first[open..]);
            joined.extend(cut(&rest));
            prop_assert_eq!(joined, cut(&text));
        }
    }
}
