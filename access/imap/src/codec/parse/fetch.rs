//! FETCH and STORE.

use super::cursor::{Cursor, Parsed, SyntaxError};
use super::flags::store_flags;
use super::sequence::sequence_set;
use crate::codec::limits::FETCH_ITEMS_MAX;
use crate::codec::{CommandBody, FetchCommand, FetchItem, Numbering, Partial, StoreCommand};
use bytes::Bytes;
use mailstore::face::{FlagChange, ModSeq, Section, SectionText};

/// RFC 9051 section 9 fetch and RFC 7162 fetch-modifiers, behind the verb's space.
pub(super) fn fetch(cursor: &mut Cursor<'_>, numbering: Numbering) -> Parsed<CommandBody> {
    let set = sequence_set(cursor)?;
    cursor.space()?;
    let items = items(cursor)?;
    let mut command = FetchCommand { numbering, set, items, changed_since: None, vanished: false };
    if cursor.another()? {
        cursor.list(1, |cursor| {
            match cursor.word()?.as_bytes() {
                b"CHANGEDSINCE" => {
                    cursor.space()?;
                    command.changed_since = Some(ModSeq(cursor.number64()?));
                }
                b"VANISHED" => command.vanished = true,
                _ => return Err(SyntaxError("unknown fetch modifier")),
            }
            Ok(())
        })?;
    }
    // RFC 7162 3.2.6: BAD otherwise.
    if command.vanished && (command.changed_since.is_none() || numbering == Numbering::Sequence) {
        return Err(SyntaxError("VANISHED needs UID FETCH and CHANGEDSINCE"));
    }
    Ok(CommandBody::Fetch(command))
}

fn items(cursor: &mut Cursor<'_>) -> Parsed<Vec<FetchItem>> {
    const FAST: [FetchItem; 3] = [FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size];
    let mut items = Vec::new();
    if cursor.peek() == Some(b'(') {
        cursor.list(1, |cursor| {
            let item = item(cursor)?.ok_or(SyntaxError("a macro stands alone"))?;
            if items.len() == FETCH_ITEMS_MAX {
                return Err(SyntaxError("too many items"));
            }
            if !items.contains(&item) {
                items.push(item);
            }
            Ok(())
        })?;
        return Ok(items);
    }
    // RFC 9051 6.4.5: macros.
    let rest = cursor.rest();
    let is_macro =
        |name: &[u8]| rest.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name));
    let extra: &[FetchItem] = if is_macro(b"FULL") {
        &[FetchItem::Envelope, FetchItem::Body]
    } else if is_macro(b"ALL") {
        &[FetchItem::Envelope]
    } else {
        &[]
    };
    match item(cursor)? {
        Some(item) => items.push(item),
        None => items.extend(FAST.iter().chain(extra).cloned()),
    }
    Ok(items)
}

/// One item; `None` for a macro.
fn item(cursor: &mut Cursor<'_>) -> Parsed<Option<FetchItem>> {
    let word = cursor.word()?;
    let has_section = cursor.peek() == Some(b'[');
    Ok(Some(match (word.as_bytes(), has_section) {
        (b"ALL" | b"FAST" | b"FULL", false) => return Ok(None),
        (b"ENVELOPE", false) => FetchItem::Envelope,
        (b"FLAGS", false) => FetchItem::Flags,
        (b"INTERNALDATE", false) => FetchItem::InternalDate,
        (b"RFC822.SIZE", false) => FetchItem::Rfc822Size,
        (b"RFC822", false) => FetchItem::Rfc822,
        (b"RFC822.HEADER", false) => FetchItem::Rfc822Header,
        (b"RFC822.TEXT", false) => FetchItem::Rfc822Text,
        (b"BODYSTRUCTURE", false) => FetchItem::BodyStructure,
        (b"UID", false) => FetchItem::Uid,
        (b"MODSEQ", false) => FetchItem::ModSeq,
        (b"EMAILID", false) => FetchItem::EmailId,
        (b"THREADID", false) => FetchItem::ThreadId,
        (b"SAVEDATE", false) => FetchItem::SaveDate,
        (b"BODY", false) => FetchItem::Body,
        (b"BODY", true) => body_section(cursor, Peek::No)?,
        (b"BODY.PEEK", true) => body_section(cursor, Peek::Yes)?,
        (b"BINARY", true) => binary(cursor, Peek::No)?,
        (b"BINARY.PEEK", true) => binary(cursor, Peek::Yes)?,
        (b"BINARY.SIZE", true) => FetchItem::BinarySize { part: binary_part(cursor)? },
        _ => return Err(SyntaxError("unknown fetch item")),
    }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Peek {
    Yes,
    No,
}

fn body_section(cursor: &mut Cursor<'_>, peek: Peek) -> Parsed<FetchItem> {
    let section = section(cursor)?;
    let partial = partial(cursor)?;
    Ok(FetchItem::BodySection { section, peek: peek == Peek::Yes, partial })
}

fn binary(cursor: &mut Cursor<'_>, peek: Peek) -> Parsed<FetchItem> {
    let part = binary_part(cursor)?;
    let partial = partial(cursor)?;
    Ok(FetchItem::Binary { part, peek: peek == Peek::Yes, partial })
}

/// RFC 3516 section 7 section-binary.
fn binary_part(cursor: &mut Cursor<'_>) -> Parsed<Vec<u32>> {
    cursor.expect(b'[', "section expected")?;
    let mut part = Vec::new();
    if cursor.skip(b']') {
        return Ok(part);
    }
    loop {
        part.push(cursor.nz_number()?);
        if cursor.skip(b']') {
            return Ok(part);
        }
        cursor.expect(b'.', "wrong section")?;
    }
}

/// RFC 9051 section 9 section.
fn section(cursor: &mut Cursor<'_>) -> Parsed<Section> {
    cursor.expect(b'[', "section expected")?;
    let mut part = Vec::new();
    let mut is_text_due = true;
    while cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        part.push(cursor.nz_number()?);
        is_text_due = cursor.skip(b'.');
        if !is_text_due {
            break;
        }
    }
    if part.is_empty() && cursor.peek() == Some(b']') {
        is_text_due = false;
    }
    let text = if is_text_due { section_text(cursor, &part)? } else { SectionText::All };
    cursor.expect(b']', "wrong section")?;
    Ok(Section { part, text })
}

fn section_text(cursor: &mut Cursor<'_>, part: &[u32]) -> Parsed<SectionText> {
    Ok(match cursor.word()?.as_bytes() {
        b"HEADER" => SectionText::Header,
        b"HEADER.FIELDS" => SectionText::HeaderFields { names: header_names(cursor)?, not: false },
        b"HEADER.FIELDS.NOT" => {
            SectionText::HeaderFields { names: header_names(cursor)?, not: true }
        }
        b"TEXT" => SectionText::Text,
        // RFC 9051 6.4.5.1: MIME has a part number before it.
        b"MIME" if !part.is_empty() => SectionText::Mime,
        _ => return Err(SyntaxError("unknown section")),
    })
}

fn header_names(cursor: &mut Cursor<'_>) -> Parsed<Vec<Bytes>> {
    cursor.space()?;
    let mut names = Vec::new();
    cursor.list(1, |cursor| {
        names.push(cursor.astring()?);
        Ok(())
    })?;
    Ok(names)
}

/// RFC 9051 section 9 partial: `<first.length>`.
fn partial(cursor: &mut Cursor<'_>) -> Parsed<Option<Partial>> {
    if !cursor.skip(b'<') {
        return Ok(None);
    }
    let first = cursor.number64()?;
    cursor.expect(b'.', "wrong partial")?;
    let length = cursor.number64()?;
    cursor.expect(b'>', "wrong partial")?;
    if length == 0 {
        return Err(SyntaxError("an empty partial"));
    }
    Ok(Some(Partial { first, length }))
}

/// RFC 9051 section 9 store, RFC 7162 store-modifiers, behind the verb's space.
pub(super) fn store(cursor: &mut Cursor<'_>, numbering: Numbering) -> Parsed<CommandBody> {
    let set = sequence_set(cursor)?;
    cursor.space()?;
    let mut unchanged_since = None;
    if cursor.peek() == Some(b'(') {
        cursor.list(1, |cursor| {
            if cursor.word()?.as_bytes() != b"UNCHANGEDSINCE" {
                return Err(SyntaxError("unknown store modifier"));
            }
            cursor.space()?;
            unchanged_since = Some(ModSeq(cursor.number64()?));
            Ok(())
        })?;
        cursor.space()?;
    }
    let change = if cursor.skip(b'+') {
        FlagChange::Add
    } else if cursor.skip(b'-') {
        FlagChange::Remove
    } else {
        FlagChange::Replace
    };
    let silent = match cursor.word()?.as_bytes() {
        b"FLAGS" => false,
        b"FLAGS.SILENT" => true,
        _ => return Err(SyntaxError("FLAGS expected")),
    };
    cursor.space()?;
    let flags = store_flags(cursor)?;
    Ok(CommandBody::Store(StoreCommand { numbering, set, unchanged_since, change, silent, flags }))
}
