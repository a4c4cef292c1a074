//! Charsets of SEARCH.

use bytes::Bytes;
use encoding_rs::Encoding;

/// What NO `[BADCHARSET (...)]` lists; every other label of the WHATWG Encoding Standard is
/// understood too.
pub const SUPPORTED: [&str; 14] = [
    "US-ASCII",
    "UTF-8",
    "ISO-8859-1",
    "ISO-8859-2",
    "ISO-8859-15",
    "WINDOWS-1251",
    "WINDOWS-1252",
    "KOI8-R",
    "ISO-2022-JP",
    "SHIFT_JIS",
    "EUC-JP",
    "EUC-KR",
    "GB18030",
    "BIG5",
];

/// The charset that SEARCH strings are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// US-ASCII and UTF-8. RFC 9051 6.4.4: without CHARSET it is US-ASCII, and what clients send
    /// then is UTF-8.
    Utf8,
    Other(&'static Encoding),
}

impl Charset {
    /// A charset by its name, any case; `None` when unknown.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        // The standard reads these as windows-1252, which would garble UTF-8 of clients that claim
        // ASCII.
        if name.eq_ignore_ascii_case(b"US-ASCII") || name.eq_ignore_ascii_case(b"ASCII") {
            return Some(Self::Utf8);
        }
        let encoding = Encoding::for_label_no_replacement(name)?;
        Some(if encoding == encoding_rs::UTF_8 { Self::Utf8 } else { Self::Other(encoding) })
    }

    /// The string in UTF-8. What is malformed becomes U+FFFD: it matches no sane text.
    pub(super) fn decode(self, text: &Bytes) -> Bytes {
        match self {
            Self::Utf8 => match std::str::from_utf8(text) {
                Ok(_) => text.clone(),
                Err(_) => String::from_utf8_lossy(text).into_owned().into(),
            },
            Self::Other(encoding) => {
                encoding.decode_without_bom_handling(text).0.into_owned().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_charset_listed_is_supported() {
        for name in SUPPORTED {
            assert!(Charset::named(name.as_bytes()).is_some(), "{name}");
        }
        for name in ["X-UNKNOWN", "UTF-7", "", "replacement", "ISO-2022-KR"] {
            assert!(Charset::named(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn strings_become_utf8() {
        let decode = |charset: &str, text: &'static [u8]| {
            Charset::named(charset.as_bytes()).expect("known").decode(&Bytes::from_static(text))
        };
        assert_eq!(decode("iso-8859-1", b"caf\xe9"), "café");
        assert_eq!(decode("KOI8-R", b"\xf0\xd2\xc9\xd7\xc5\xd4"), "Привет");
        assert_eq!(decode("ISO-2022-JP", b"\x1b$B4A;z\x1b(B"), "漢字");
        assert_eq!(decode("US-ASCII", "漢字".as_bytes()), "漢字");
        assert_eq!(decode("UTF-8", b"a\xffb"), "a\u{fffd}b");
    }
}
