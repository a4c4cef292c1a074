//! A complete command.

use super::NameEncoding;
use super::cursor::{Cursor, Parsed, SyntaxError, is_astring};
use super::fetch::{fetch, store};
use super::list::{list, lsub, status};
use super::mailbox::{mailbox, mailbox_to_create};
use super::quota::set_quota;
use super::search::search;
use super::sequence::{plain_set, sequence_set};
use crate::codec::limits::{ID_PAIRS_MAX, TAG_BYTES_MAX};
use crate::codec::{
    Command, CommandBody, Enabled, Mailbox, Numbering, QResync, SelectParams, Tag, UnknownUse,
};
use bytes::Bytes;
use mailstore::face::{ModSeq, SpecialUse, UidValidity};

/// The tag that a command begins with; `None` when it has none. RFC 9051 section 9 tag.
pub(in crate::codec) fn tag_of(command: &Bytes) -> Option<Tag> {
    let is_tag = |byte: u8| is_astring(byte) && byte != b'+';
    let tag = Cursor::new(command, NameEncoding::Utf8).run(is_tag);
    // A copy: the tag lives as long as the command runs (IDLE: for hours), the input must not.
    (!tag.is_empty() && tag.len() <= TAG_BYTES_MAX).then(|| Tag(Bytes::copy_from_slice(&tag)))
}

/// Whether the second word is APPEND.
pub(in crate::codec) fn verb_is_append(line: &[u8]) -> bool {
    let mut words = line.splitn(3, |&byte| byte == b' ');
    words.nth(1).is_some_and(|verb| verb.eq_ignore_ascii_case(b"APPEND"))
}

/// One command: lines and literals as sent, the last CRLF included.
///
/// # Errors
/// It is none.
pub(in crate::codec) fn command(text: &Bytes, names: NameEncoding) -> Parsed<Command> {
    let mut cursor = Cursor::new(text, names);
    let tag = tag_of(text).ok_or(SyntaxError("wrong tag"))?;
    cursor.skip_bytes(tag.0.len());
    cursor.space()?;
    let body = body(&mut cursor)?;
    cursor.end()?;
    Ok(Command { tag, body })
}

fn body(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let verb = cursor.word().map_err(|_| SyntaxError("unknown command"))?;
    if let Some(body) = plain(verb.as_bytes()) {
        return Ok(body);
    }
    match verb.as_bytes() {
        b"FETCH" | b"STORE" | b"SEARCH" | b"COPY" | b"MOVE" => {
            cursor.space()?;
            numbered(cursor, verb.as_bytes(), Numbering::Sequence)
        }
        b"UID" => {
            cursor.space()?;
            let verb = cursor.word()?;
            cursor.space()?;
            numbered(cursor, verb.as_bytes(), Numbering::Uid)
        }
        verb => named(cursor, verb),
    }
}

/// Commands without an argument.
fn plain(verb: &[u8]) -> Option<CommandBody> {
    Some(match verb {
        b"CAPABILITY" => CommandBody::Capability,
        b"NOOP" => CommandBody::Noop,
        b"LOGOUT" => CommandBody::Logout,
        b"STARTTLS" => CommandBody::StartTls,
        b"NAMESPACE" => CommandBody::Namespace,
        b"IDLE" => CommandBody::Idle,
        b"CHECK" => CommandBody::Check,
        b"CLOSE" => CommandBody::Close,
        b"UNSELECT" => CommandBody::Unselect,
        b"EXPUNGE" => CommandBody::Expunge,
        _ => return None,
    })
}

/// Commands that exist with and without UID; behind the verb's space.
fn numbered(cursor: &mut Cursor<'_>, verb: &[u8], numbering: Numbering) -> Parsed<CommandBody> {
    match verb {
        b"FETCH" => fetch(cursor, numbering),
        b"STORE" => store(cursor, numbering),
        b"SEARCH" => search(cursor, numbering),
        b"COPY" | b"MOVE" => {
            let set = sequence_set(cursor)?;
            cursor.space()?;
            let mailbox = mailbox(cursor)?;
            Ok(match verb {
                b"COPY" => CommandBody::Copy { numbering, set, mailbox },
                _ => CommandBody::Move { numbering, set, mailbox },
            })
        }
        b"EXPUNGE" if numbering == Numbering::Uid => {
            Ok(CommandBody::UidExpunge { uids: sequence_set(cursor)? })
        }
        _ => Err(SyntaxError("unknown command")),
    }
}

/// Commands about the session, or about mailboxes by name.
fn named(cursor: &mut Cursor<'_>, verb: &[u8]) -> Parsed<CommandBody> {
    // Unknown before incomplete: the answer should name the right fault.
    let known: [&[u8]; 18] = [
        b"ID",
        b"LOGIN",
        b"AUTHENTICATE",
        b"ENABLE",
        b"SELECT",
        b"EXAMINE",
        b"CREATE",
        b"DELETE",
        b"RENAME",
        b"SUBSCRIBE",
        b"UNSUBSCRIBE",
        b"LIST",
        b"LSUB",
        b"STATUS",
        b"APPEND",
        b"GETQUOTA",
        b"GETQUOTAROOT",
        b"SETQUOTA",
    ];
    if !known.contains(&verb) {
        return Err(SyntaxError("unknown command"));
    }
    cursor.space()?;
    Ok(match verb {
        b"ID" => id(cursor)?,
        b"LOGIN" => {
            let username = cursor.astring()?;
            cursor.space()?;
            CommandBody::Login { username, password: cursor.astring()? }
        }
        b"AUTHENTICATE" => authenticate(cursor)?,
        b"ENABLE" => enable(cursor)?,
        b"SELECT" => {
            let (mailbox, params) = select(cursor)?;
            CommandBody::Select { mailbox, params }
        }
        b"EXAMINE" => {
            let (mailbox, params) = select(cursor)?;
            CommandBody::Examine { mailbox, params }
        }
        b"CREATE" => create(cursor)?,
        b"DELETE" => CommandBody::Delete { mailbox: mailbox(cursor)? },
        b"RENAME" => {
            let from = mailbox(cursor)?;
            cursor.space()?;
            CommandBody::Rename { from, to: mailbox(cursor)? }
        }
        b"SUBSCRIBE" => CommandBody::Subscribe { mailbox: mailbox(cursor)? },
        b"UNSUBSCRIBE" => CommandBody::Unsubscribe { mailbox: mailbox(cursor)? },
        b"LIST" => list(cursor)?,
        b"LSUB" => lsub(cursor)?,
        b"STATUS" => status(cursor)?,
        b"GETQUOTA" => CommandBody::GetQuota { root: cursor.astring()? },
        b"GETQUOTAROOT" => CommandBody::GetQuotaRoot { mailbox: mailbox(cursor)? },
        b"SETQUOTA" => set_quota(cursor)?,
        // Complete and without a message: the framer streams every other APPEND.
        _ => return Err(SyntaxError("APPEND without a message literal")),
    })
}

/// RFC 2971 section 4 id-params-list.
fn id(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    if cursor.peek() != Some(b'(') {
        return match cursor.nstring()? {
            None => Ok(CommandBody::Id(None)),
            Some(_) => Err(SyntaxError("list or NIL expected")),
        };
    }
    let mut pairs = Vec::new();
    cursor.list(0, |cursor| {
        if pairs.len() == ID_PAIRS_MAX {
            return Err(SyntaxError("too many fields"));
        }
        let field = cursor.string()?;
        cursor.space()?;
        pairs.push((field, cursor.nstring()?));
        Ok(())
    })?;
    Ok(CommandBody::Id(Some(pairs)))
}

/// RFC 9051 section 9 authenticate, RFC 4959 initial response.
fn authenticate(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let mechanism = cursor.atom()?.to_ascii_uppercase().into();
    let mut initial = None;
    if cursor.another()? {
        let response = cursor.atom()?;
        // RFC 4959 3: a lone = is an empty response.
        initial = Some(if response == "=" { Bytes::new() } else { response });
    }
    Ok(CommandBody::Authenticate { mechanism, initial })
}

/// RFC 5161 3.1: names that are unknown or can't be enabled are ignored.
fn enable(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let mut enabled = Vec::new();
    loop {
        let name = cursor.atom()?.to_ascii_uppercase();
        let capability = match name.as_slice() {
            b"CONDSTORE" => Some(Enabled::CondStore),
            b"QRESYNC" => Some(Enabled::QResync),
            b"UTF8=ACCEPT" => Some(Enabled::Utf8Accept),
            b"IMAP4REV2" => Some(Enabled::Imap4Rev2),
            _ => None,
        };
        enabled.extend(capability.filter(|capability| !enabled.contains(capability)));
        if !cursor.another()? {
            return Ok(CommandBody::Enable(enabled));
        }
    }
}

/// SELECT and EXAMINE: RFC 4466 select-params.
fn select(cursor: &mut Cursor<'_>) -> Parsed<(Mailbox, SelectParams)> {
    let mailbox = mailbox(cursor)?;
    let mut params = SelectParams::default();
    if cursor.another()? {
        cursor.list(1, |cursor| {
            match cursor.word()?.as_bytes() {
                b"CONDSTORE" => params.condstore = true,
                b"QRESYNC" => {
                    cursor.space()?;
                    params.qresync = Some(qresync(cursor)?);
                }
                _ => return Err(SyntaxError("unknown select parameter")),
            }
            Ok(())
        })?;
    }
    Ok((mailbox, params))
}

/// RFC 7162 section 7 select-param: `(uidvalidity modseq [known-uids] [(known-sequence-set
/// known-uid-set)])`.
fn qresync(cursor: &mut Cursor<'_>) -> Parsed<QResync> {
    cursor.expect(b'(', "list expected")?;
    let uid_validity = UidValidity(cursor.nz_number()?);
    cursor.space()?;
    let mod_seq = match cursor.number64()? {
        0 => return Err(SyntaxError("0 is no MODSEQ")),
        mod_seq => ModSeq(mod_seq),
    };
    let mut known = QResync { uid_validity, mod_seq, known_uids: None, match_data: None };
    if cursor.peek() == Some(b' ') && cursor.peek_second() != Some(b'(') {
        cursor.space()?;
        known.known_uids = Some(plain_set(cursor)?);
    }
    if cursor.skip(b' ') {
        cursor.expect(b'(', "list expected")?;
        let numbers = plain_set(cursor)?;
        cursor.space()?;
        let uids = plain_set(cursor)?;
        cursor.expect(b')', ") expected")?;
        known.match_data = Some((numbers, uids));
    }
    cursor.expect(b')', ") expected")?;
    Ok(known)
}

/// CREATE: RFC 4466 create-params, RFC 6154 3.
fn create(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let mailbox = mailbox_to_create(cursor)?;
    let mut special_use = Ok(Vec::new());
    if cursor.another()? {
        cursor.list(1, |cursor| {
            if cursor.word()?.as_bytes() != b"USE" {
                return Err(SyntaxError("unknown create parameter"));
            }
            cursor.space()?;
            cursor.list(0, |cursor| {
                cursor.expect(b'\\', "special-use attribute expected")?;
                let name = cursor.atom()?;
                add_use(&mut special_use, &name);
                Ok(())
            })
        })?;
    }
    Ok(CommandBody::Create { mailbox, special_use })
}

fn add_use(uses: &mut Result<Vec<SpecialUse>, UnknownUse>, name: &[u8]) {
    let known = SpecialUse::ALL
        .into_iter()
        .find(|special| special.name().as_bytes()[1..].eq_ignore_ascii_case(name));
    match (uses.as_mut(), known) {
        (Ok(list), Some(special)) if !list.contains(&special) => list.push(special),
        (Ok(_), Some(_)) | (Err(_), _) => {}
        (Ok(_), None) => *uses = Err(UnknownUse),
    }
}
