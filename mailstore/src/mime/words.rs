//! Decoding of header text for people: encoded words (RFC 2047, RFC 2231 5), and bytes of unknown
//! character sets.

use super::decoder::{decode_base64, decode_q};
use super::fold::fold_into;
use super::header::unfold;
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use mail_parser::decoders::charsets::map::charset_decoder;
use std::borrow::Cow;

/// The character set that decodes a text.
#[derive(Clone, Copy)]
pub(super) enum Decoding {
    Web(&'static Encoding),
    /// UTF-7 and other sets that browsers have given up.
    Old(fn(&[u8]) -> String),
    /// UTF-8 where it is, else windows-1252.
    Guess,
}

impl std::fmt::Debug for Decoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Web(encoding) => write!(f, "Web({})", encoding.name()),
            Self::Old(_) => write!(f, "Old"),
            Self::Guess => write!(f, "Guess"),
        }
    }
}

impl Decoding {
    /// By the name of the set; an unknown name leaves guessing.
    pub(super) fn of(name: &[u8]) -> Self {
        // `us-ascii` is windows-1252 to browsers; mail says it of UTF-8 as well.
        if name.eq_ignore_ascii_case(b"us-ascii") || name.eq_ignore_ascii_case(b"utf-8") {
            return Self::Guess;
        }
        match Encoding::for_label_no_replacement(name) {
            Some(encoding) => Self::Web(encoding),
            None => charset_decoder(name).map_or(Self::Guess, Self::Old),
        }
    }

    /// Whether 7-bit text is what it looks like.
    pub(super) fn is_ascii_compatible(self) -> bool {
        match self {
            Self::Web(encoding) => encoding.is_ascii_compatible(),
            Self::Old(_) => false,
            Self::Guess => true,
        }
    }

    /// Never fails: what can't be decoded becomes U+FFFD.
    pub(super) fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Web(encoding) => encoding.decode_without_bom_handling(bytes).0,
            Self::Old(decode) => Cow::Owned(decode(bytes)),
            Self::Guess => match std::str::from_utf8(bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(error) => guess(bytes, error),
            },
        }
    }
}

/// Bytes that aren't UTF-8 throughout: a text of UTF-8 cut at its end is still UTF-8, any other is
/// windows-1252.
fn guess(bytes: &[u8], error: std::str::Utf8Error) -> Cow<'_, str> {
    let was_utf8 = error.error_len().is_none() && !bytes[..error.valid_up_to()].is_ascii();
    let encoding = if was_utf8 { UTF_8 } else { WINDOWS_1252 };
    encoding.decode_without_bom_handling(bytes).0
}

/// The text of an unfolded header value, encoded words decoded.
pub(super) fn decode_words(value: &[u8]) -> Cow<'_, str> {
    let mut words = Words { value, at: 0 };
    let Some(first) = words.next_word() else {
        return Decoding::Guess.decode(value);
    };
    let mut out = String::with_capacity(value.len());
    out.push_str(&Decoding::Guess.decode(&value[..first.start]));
    let mut word = first;
    loop {
        let mut bytes = word.bytes();
        let mut end = word.end;
        // RFC 2047 6.2: white space between encoded words is not shown. Sets are joined before they
        // are decoded, for some mailers cut inside a character.
        let next = loop {
            match words.next_word() {
                Some(next) if value[end..next.start].iter().all(u8::is_ascii_whitespace) => {
                    end = next.end;
                    if next.charset.eq_ignore_ascii_case(word.charset) {
                        bytes.extend_from_slice(&next.bytes());
                    } else {
                        out.push_str(&Decoding::of(word.charset).decode(&bytes));
                        bytes = next.bytes();
                        word = next;
                    }
                }
                next => break next,
            }
        };
        out.push_str(&Decoding::of(word.charset).decode(&bytes));
        let Some(next) = next else {
            out.push_str(&Decoding::Guess.decode(&value[end..]));
            return Cow::Owned(out);
        };
        out.push_str(&Decoding::Guess.decode(&value[end..next.start]));
        word = next;
    }
}

/// Appends the decoded, folded text of a field value as it stands in the header.
pub(super) fn fold_value(value: &[u8], out: &mut Vec<u8>) {
    if !value.is_ascii() || memchr::memmem::find(value, b"=?").is_some() {
        fold_into(&decode_words(&unfold(value)), out);
        return;
    }
    let start = out.len();
    let mut rest = value.trim_ascii();
    // As `unfold` does, in place.
    while let Some(at) = memchr::memchr(b'\n', rest) {
        out.extend_from_slice(rest[..at].strip_suffix(b"\r").unwrap_or(&rest[..at]));
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out[start..].make_ascii_lowercase();
}

/// One encoded word: `=?charset*language?encoding?text?=`.
pub(super) struct Word<'a> {
    start: usize,
    pub end: usize,
    charset: &'a [u8],
    encoding: u8,
    pub text: &'a [u8],
}

impl Word<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self.encoding {
            b'B' | b'b' => decode_base64(self.text),
            _ => decode_q(self.text),
        }
    }
}

struct Words<'a> {
    value: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    fn next_word(&mut self) -> Option<Word<'a>> {
        while let Some(found) = memchr::memmem::find(&self.value[self.at..], b"=?") {
            let start = self.at + found;
            match word_at(self.value, start) {
                Some(word) => {
                    self.at = word.end;
                    return Some(word);
                }
                None => self.at = start + 2,
            }
        }
        self.at = self.value.len();
        None
    }
}

/// RFC 2047 2 limits a word to 75 bytes; longer ones are common.
const CHARSET_BYTES_MAX: usize = 64;
/// Bytes of the text of one word. Our choice; it bounds what is scanned again when a word proves to
/// be none.
const WORD_BYTES_MAX: usize = 1_024;

/// The encoded word that begins at `start`.
pub(super) fn word_at(value: &[u8], start: usize) -> Option<Word<'_>> {
    let behind = value.get(start..)?.strip_prefix(b"=?")?;
    let window = &behind[..behind.len().min(CHARSET_BYTES_MAX)];
    let charset_len = memchr::memchr(b'?', window)?;
    let charset = &behind[..charset_len];
    if charset.is_empty() || charset.iter().any(u8::is_ascii_whitespace) {
        return None;
    }
    // RFC 2231 5: a language may follow the set.
    let charset = charset.split(|&byte| byte == b'*').next().unwrap_or(charset);
    let &[encoding @ (b'B' | b'b' | b'Q' | b'q'), b'?', ref text @ ..] =
        behind.get(charset_len + 1..)?
    else {
        return None;
    };
    let window = &text[..text.len().min(WORD_BYTES_MAX)];
    // A question mark inside is broken, but seen in Q; a new word begins with `=?`.
    let len = memchr::memmem::find(window, b"?=")?;
    let text = &text[..len];
    let text_start = start + 2 + charset_len + 3;
    Some(Word { start, end: text_start + len + 2, charset, encoding, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_and_joined() {
        let cases: [(&[u8], &str); 15] = [
            (b"plain", "plain"),
            (b"=?utf-8?q?caf=C3=A9_au?= lait", "café au lait"),
            (b"a =?ISO-8859-1?Q?=E9?= b", "a é b"),
            (b"=?utf-8?b?w6k=?= \t=?utf-8?Q?x?=", "éx"),
            (b"=?utf-8?b?ww==?= =?utf-8?b?qQ==?=", "é"),
            (b"=?iso-8859-1?q?=E9?= =?utf-8?q?=C3=A9?=!", "éé!"),
            (b"=?utf-8*en?q?x?=", "x"),
            (b"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
            (b"=?utf-7?q?+AOk-?=", "é"),
            (b"=?nonsense?q?=C3=A9?=", "é"),
            (b"=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
            (b"=?utf-8?q?open", "=?utf-8?q?open"),
            (b"=?=?utf-8?q?x?=", "=?x"),
            (b"caf\xE9", "café"),
            ("(=?utf-8?q?x?=)".as_bytes(), "(x)"),
        ];
        for (value, expected) in cases {
            assert_eq!(decode_words(value), expected, "{}", String::from_utf8_lossy(value));
        }
    }
}
