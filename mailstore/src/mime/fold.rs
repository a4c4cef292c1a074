//! Case folding for searches: one function for what is stored and for what is sought.
//!
//! Text is brought to NFKC (as RFC 5051 does with compatibility decomposition: full-width letters, ligatures and composed
//! accents compare equal), then each character is mapped to upper and from there to lower case, which also unites the two
//! small sigmas, the long s, and sharp s with "ss". ASCII maps as in i;ascii-casemap.

use std::borrow::Cow;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Appends the folded form of `text`.
pub fn fold_into(text: &str, out: &mut Vec<u8>) {
    if text.is_ascii() {
        let start = out.len();
        out.extend_from_slice(text.as_bytes());
        out[start..].make_ascii_lowercase();
        return;
    }
    match is_nfkc_quick(text.chars()) {
        IsNormalized::Yes => text.chars().for_each(|c| fold_char(c, out)),
        IsNormalized::No | IsNormalized::Maybe => text.nfkc().for_each(|c| fold_char(c, out)),
    }
}

fn fold_char(c: char, out: &mut Vec<u8>) {
    if c.is_ascii() {
        out.push(c.to_ascii_lowercase() as u8);
        return;
    }
    let mut utf8 = [0; 4];
    for c in c.to_uppercase().flat_map(char::to_lowercase) {
        out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
    }
}

/// The folded form of what a client seeks. Bytes that are no UTF-8 become U+FFFD, which is found where text was broken, too.
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
}
