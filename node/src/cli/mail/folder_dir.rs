//! Names of folders as directories of a Maildir++: `.Lists.rust` is `Lists/rust`, in modified UTF-7 (RFC 3501 5.1.3).

use base64::Engine;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &IMAP_MUTF7,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The directory of a folder; the empty name for INBOX, which is the Maildir itself.
pub fn dir_of(folder: &str) -> String {
    if folder == "INBOX" {
        return String::new();
    }
    let levels = folder.split('/').map(encode);
    format!(".{}", levels.collect::<Vec<_>>().join("."))
}

/// The folder of a directory; `None` when the directory's name is none of a folder.
pub fn folder_of(dir: &str) -> Option<String> {
    let levels = dir.strip_prefix('.').filter(|rest| !rest.is_empty())?;
    let levels: Option<Vec<String>> = levels.split('.').map(decode).collect();
    Some(levels?.join("/"))
}

/// Modified UTF-7, with dots encoded too: a dot separates levels here.
fn encode(level: &str) -> String {
    let mut encoded = String::new();
    let mut shifted: Vec<u8> = Vec::new();
    let unshift = |encoded: &mut String, shifted: &mut Vec<u8>| {
        if !shifted.is_empty() {
            encoded.push('&');
            encoded.push_str(&BASE64.encode(&*shifted));
            encoded.push('-');
            shifted.clear();
        }
    };
    for c in level.chars() {
        if (' '..='~').contains(&c) && c != '.' {
            unshift(&mut encoded, &mut shifted);
            encoded.push(c);
            if c == '&' {
                encoded.push('-');
            }
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                shifted.extend_from_slice(&unit.to_be_bytes());
            }
        }
    }
    unshift(&mut encoded, &mut shifted);
    encoded
}

fn decode(level: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut rest = level;
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        let (shifted, behind) = after.split_once('-')?;
        rest = behind;
        if shifted.is_empty() {
            decoded.push('&');
            continue;
        }
        let bytes = BASE64.decode(shifted).ok()?;
        if bytes.len() % 2 != 0 {
            return None;
        }
        let units: Vec<u16> =
            bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        decoded.push_str(&String::from_utf16(&units).ok()?);
    }
    decoded.push_str(rest);
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_their_directories() {
        for (folder, dir) in [
            ("INBOX", ""),
            ("Lists/rust", ".Lists.rust"),
            ("Entwürfe", ".Entw&APw-rfe"),
            ("台北/a&b", ".&U,BTFw-.a&-b"),
            ("v1.2", ".v1&AC4-2"),
            ("x😀y", ".x&2D3eAA-y"),
        ] {
            assert_eq!(dir_of(folder), dir);
            if !dir.is_empty() {
                assert_eq!(folder_of(dir).as_deref(), Some(folder));
            }
        }
    }

    #[test]
    fn what_is_no_name_is_left_alone() {
        for dir in ["", ".", "cur", ".a&b", ".&!!-", ".&AA-"] {
            assert_eq!(folder_of(dir), None, "{dir}");
        }
    }
}
