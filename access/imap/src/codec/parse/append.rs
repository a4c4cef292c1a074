//! APPEND up to a message literal, and between two of them.

use super::NameEncoding;
use super::command::tag_of;
use super::cursor::{Cursor, Parsed, SyntaxError};
use super::date::date_time;
use super::flags::flag_list;
use super::mailbox::mailbox;
use crate::codec::{AppendMessage, FlagList, LiteralKind, LiteralSync, Mailbox};
use bytes::Bytes;

/// What the lines before the first message say.
#[derive(Debug)]
pub(in crate::codec) enum AppendHead {
    /// The literal that the line ends with is the mailbox name: collect it and ask again.
    MailboxFollows,
    /// The literal is the first message.
    Message { mailbox: Mailbox, message: AppendMessage },
}

/// What the line behind a message says.
#[derive(Debug)]
pub(in crate::codec) enum AppendTail {
    End,
    /// MULTIAPPEND (RFC 3502): another message.
    Message(AppendMessage),
}

/// `tag APPEND mailbox [flags] [date] {n}` with its CRLF, the message not in it.
///
/// # Errors
/// It is no such thing.
pub(in crate::codec) fn append_head(head: &Bytes, names: NameEncoding) -> Parsed<AppendHead> {
    let mut cursor = Cursor::new(head, names);
    let tag = tag_of(head).ok_or(SyntaxError("wrong tag"))?;
    cursor.skip_bytes(tag.0.len());
    cursor.space()?;
    cursor.word()?;
    cursor.space()?;
    if cursor.peek() == Some(b'{') && cursor.is_last_line() {
        return Ok(AppendHead::MailboxFollows);
    }
    let mailbox = mailbox(&mut cursor)?;
    cursor.space()?;
    Ok(AppendHead::Message { mailbox, message: message(&mut cursor)? })
}

/// The line behind a message: `)` when that was UTF8, then the end or another message.
///
/// # Errors
/// It is neither.
pub(in crate::codec) fn append_tail(line: &Bytes, before: LiteralKind) -> Parsed<AppendTail> {
    // The encoding of names does not matter here.
    let mut cursor = Cursor::new(line, NameEncoding::Utf8);
    match before {
        // RFC 6855 4: UTF8 SP "(" literal8 ")".
        LiteralKind::Utf8 => cursor.expect(b')', ") expected behind a UTF8 message")?,
        LiteralKind::Text | LiteralKind::Binary => {}
    }
    if cursor.another()? {
        return message(&mut cursor).map(AppendTail::Message);
    }
    cursor.end()?;
    Ok(AppendTail::End)
}

/// `[flags SP] [date SP] {n}`, `~{n}` or `UTF8 (~{n}`, CRLF.
fn message(cursor: &mut Cursor<'_>) -> Parsed<AppendMessage> {
    let mut flags = Ok(FlagList::default());
    if cursor.peek() == Some(b'(') {
        flags = flag_list(cursor)?;
        cursor.space()?;
    }
    let mut internal_date = None;
    if cursor.peek() == Some(b'"') {
        internal_date = Some(date_time(cursor)?);
        cursor.space()?;
    }
    let literal = if cursor.skip(b'~') {
        LiteralKind::Binary
    } else if cursor.peek() == Some(b'{') {
        LiteralKind::Text
    } else {
        if cursor.word()?.as_bytes() != b"UTF8" {
            return Err(SyntaxError("message literal expected"));
        }
        cursor.space()?;
        cursor.expect(b'(', "( expected")?;
        cursor.expect(b'~', "literal8 expected")?;
        LiteralKind::Utf8
    };
    let (bytes, sync) = announcement(cursor)?;
    Ok(AppendMessage { flags, internal_date, bytes, literal, sync })
}

fn announcement(cursor: &mut Cursor<'_>) -> Parsed<(u64, LiteralSync)> {
    cursor.expect(b'{', "message literal expected")?;
    let bytes = cursor.number64()?;
    let sync = if cursor.skip(b'+') || cursor.skip(b'-') {
        LiteralSync::NonSynchronizing
    } else {
        LiteralSync::Synchronizing
    };
    cursor.expect(b'}', "wrong literal")?;
    cursor.end()?;
    Ok((bytes, sync))
}
