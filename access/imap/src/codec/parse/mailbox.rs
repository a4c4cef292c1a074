//! Mailbox names and LIST patterns, decoded.

use super::NameEncoding;
use super::cursor::{Cursor, Parsed, is_list_char};
use crate::codec::limits::PATTERN_BYTES_MAX;
use crate::codec::{Mailbox, MailboxError, Pattern, utf7};
use bytes::Bytes;
use mailstore::face::{FolderName, NameError};
use unicode_normalization::UnicodeNormalization;

/// A mailbox argument.
pub(super) fn mailbox(cursor: &mut Cursor<'_>) -> Parsed<Mailbox> {
    let raw = cursor.astring()?;
    Ok(decode(&raw, cursor.names).and_then(|name| Ok(FolderName::new(&name)?)))
}

/// A mailbox argument that may end with the separator: RFC 9051 6.3.4 CREATE.
pub(super) fn mailbox_to_create(cursor: &mut Cursor<'_>) -> Parsed<Mailbox> {
    let raw = cursor.astring()?;
    Ok(decode(&raw, cursor.names).and_then(|name| {
        let name = name.strip_suffix('/').unwrap_or(&name);
        Ok(FolderName::new(name)?)
    }))
}

/// The first argument of LIST: a mailbox name that may be empty or end anywhere.
pub(super) fn reference(cursor: &mut Cursor<'_>) -> Parsed<Pattern> {
    let raw = cursor.astring()?;
    Ok(decode_pattern(&raw, cursor.names))
}

/// RFC 9051 section 9 list-mailbox.
pub(super) fn pattern(cursor: &mut Cursor<'_>) -> Parsed<Pattern> {
    let raw = if cursor.peek().is_some_and(is_list_char) {
        cursor.run(is_list_char)
    } else {
        cursor.string()?
    };
    Ok(decode_pattern(&raw, cursor.names))
}

fn decode_pattern(raw: &Bytes, names: NameEncoding) -> Pattern {
    if raw.len() > PATTERN_BYTES_MAX {
        return Err(MailboxError::Name(NameError::TooLong));
    }
    let text = decode(raw, names)?;
    // Names are kept in NFC, so patterns must be.
    Ok(if text.is_ascii() { text.into() } else { text.nfc().collect::<String>().into() })
}

fn decode(raw: &[u8], names: NameEncoding) -> Result<String, MailboxError> {
    match names {
        NameEncoding::Utf7 => utf7::decode(raw).ok_or(MailboxError::NotUtf7),
        NameEncoding::Utf8 => {
            std::str::from_utf8(raw).map(str::to_owned).map_err(|_| MailboxError::NotUtf8)
        }
    }
}
