//! Case folding for searches: one function for what is stored and for what is sought.
//!
//! Text is brought to NFKC (as RFC 5051 does with compatibility decomposition: full-width letters,
//! ligatures and composed accents compare equal), then each character is mapped to upper and from
//! there to lower case, which also unites the two small sigmas, the long s, and sharp s with "ss".
//! ASCII maps as in i;ascii-casemap.

use std::borrow::Cow;
use std::sync::LazyLock;
use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Appends the folded form of `text`.
pub fn fold_into(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while !rest.is_empty() {
        // Before a character that stands alone, text may be cut without changing what it folds to.
        // One that a mark may follow goes with the mark.
        rest = &rest[fold_alone(rest, out)..];
        if rest.is_empty() {
            return;
        }
        let len = mixed_len(rest);
        rest[..len].nfkc().for_each(|c| fold_char(c, out));
        rest = &rest[len..];
    }
}

/// Folds the characters that stand alone at the beginning, but for the last one if another kind
/// follows; returns their bytes.
fn fold_alone(text: &str, out: &mut Vec<u8>) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut last = (0, out.len());
    while let Some(&byte) = bytes.get(at) {
        if byte < 0x80 {
            let run = &bytes[at..];
            let len = run.iter().position(|byte| *byte >= 0x80).unwrap_or(run.len());
            let start = out.len();
            out.extend_from_slice(&run[..len]);
            out[start..].make_ascii_lowercase();
            last = (at + len - 1, out.len() - 1);
            at += len;
            continue;
        }
        let Some(c) = text[at..].chars().next() else {
            break;
        };
        let before = out.len();
        if !push_alone(c, out) {
            out.truncate(last.1);
            return last.0;
        }
        last = (at, before);
        at += c.len_utf8();
    }
    at
}

/// Bytes up to the next character that stands alone; the first is taken anyway.
fn mixed_len(text: &str) -> usize {
    let mut chars = text.char_indices();
    chars.next();
    let mut ignored = Vec::with_capacity(Alone::BYTES);
    let next = chars.find(|(_, c)| {
        ignored.clear();
        c.is_ascii() || push_alone(*c, &mut ignored)
    });
    next.map_or(text.len(), |(at, _)| at)
}

/// What a character that stands alone folds to.
#[derive(Clone, Copy, Default)]
struct Alone {
    len: u8,
    utf8: [u8; Self::BYTES],
}

impl Alone {
    const BYTES: usize = 7;
}

/// Characters looked up: the alphabets of Europe and the Near East, and punctuation.
const TABLE_CHARS: u32 = 0x2100;

static TABLE: LazyLock<Vec<Alone>> = LazyLock::new(|| {
    (0..TABLE_CHARS).map(|code| char::from_u32(code).map(alone).unwrap_or_default()).collect()
});

fn alone(c: char) -> Alone {
    let mut folded = Vec::new();
    if stands_alone(c) {
        std::iter::once(c).nfkc().for_each(|c| fold_char(c, &mut folded));
    }
    let mut alone = Alone::default();
    if folded.len() <= Alone::BYTES {
        alone.utf8[..folded.len()].copy_from_slice(&folded);
        alone.len = folded.len() as u8;
    }
    alone
}

/// Whether a character is normalized and joins nothing before it. The no-break space becomes a
/// space, which is as good.
fn stands_alone(c: char) -> bool {
    let stable =
        is_nfkc_quick(std::iter::once(c)) == IsNormalized::Yes && canonical_combining_class(c) == 0;
    stable || c == '\u{A0}'
}

/// Appends the folded form of a character that stands alone; does nothing and returns false for
/// another.
fn push_alone(c: char, out: &mut Vec<u8>) -> bool {
    match c {
        '\0'..'\u{2100}' => {
            let alone = &TABLE[c as usize];
            out.extend_from_slice(&alone.utf8[..usize::from(alone.len)]);
            alone.len > 0
        }
        // Kana, ideographs, syllables of Hangul: no case, and normalized.
        '\u{3041}'..='\u{3096}'
        | '\u{30A1}'..='\u{30FA}'
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7A3}' => {
            let mut utf8 = [0; 4];
            out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            true
        }
        _ => false,
    }
}

fn fold_char(c: char, out: &mut Vec<u8>) {
    let mut utf8 = [0; 4];
    for c in c.to_uppercase().flat_map(char::to_lowercase) {
        out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
    }
}

/// The folded form of what a client seeks. Bytes that are no UTF-8 become U+FFFD, which is found
/// where text was broken, too.
#[must_use]
pub fn fold_needle(text: &[u8]) -> Vec<u8> {
    let text: Cow<'_, str> = String::from_utf8_lossy(text);
    let mut out = Vec::with_capacity(text.len());
    fold_into(&text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_calls_the_same_folds_to_the_same() {
        for (one, other) in [
            ("Straße", "STRASSE"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("e\u{301}T\u{c9}", "ÉtÉ"),
            ("ＡＢＣ", "abc"),
            ("ﬁn", "FIN"),
            ("ПРИВЕТ", "привет"),
            ("ｶﾞ", "ガ"),
        ] {
            assert_eq!(fold_needle(one.as_bytes()), fold_needle(other.as_bytes()), "{one} {other}");
        }
        assert_ne!(fold_needle(b"a"), fold_needle("ä".as_bytes()));
        assert_eq!(fold_needle(b"Az\xFF"), "az\u{FFFD}".as_bytes());
    }

    /// The definition, without short cuts.
    fn fold_plainly(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        text.nfkc().for_each(|c| fold_char(c, &mut out));
        out
    }

    #[test]
    fn short_cuts_change_nothing() {
        for c in '\0'..=char::MAX {
            let mut folded = Vec::new();
            if push_alone(c, &mut folded) {
                assert!(stands_alone(c), "{c:?}");
                assert_eq!(folded, fold_plainly(&c.to_string()), "{c:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn short_cuts_change_no_text(text in "[aB\u{e9}\u{df}\u{301}\u{323}\u{3a3}\u{3c2}\u{a0}\u{2026}\u{1100}\u{1161}\u{11a8}\u{ac00}\u{304b}\u{3099}\u{ff76}\u{ff9e}\u{1f600}\u{130}]{0,12}") {
            let mut folded = Vec::new();
            fold_into(&text, &mut folded);
            proptest::prop_assert_eq!(folded, fold_plainly(&text), "{}", text);
        }
    }
}
