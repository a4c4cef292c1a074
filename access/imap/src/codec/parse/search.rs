//! SEARCH.

use super::NameEncoding;
use super::cursor::{Cursor, Parsed, SyntaxError, Word};
use super::date::date;
use super::sequence::sequence_set;
use crate::codec::charset::Charset;
use crate::codec::limits::{SEARCH_DEPTH_MAX, SEARCH_KEYS_MAX};
use crate::codec::object_id::{parse_email_id, parse_thread_id};
use crate::codec::{
    CommandBody, Numbering, SearchCommand, SearchKey, SearchReturn, UnknownCharset,
};
use bytes::Bytes;
use mailstore::face::{Keyword, ModSeq, SystemFlag};

/// RFC 9051 section 9 search, RFC 4466 search-return-opts, behind the verb's space.
pub(super) fn search(cursor: &mut Cursor<'_>, numbering: Numbering) -> Parsed<CommandBody> {
    let mut first = first_word(cursor)?;
    let mut returns = None;
    if is(first.as_ref(), b"RETURN") {
        cursor.space()?;
        returns = Some(return_options(cursor)?);
        cursor.space()?;
        first = first_word(cursor)?;
    }
    let mut charset = Ok(Charset::Utf8);
    if is(first.as_ref(), b"CHARSET") {
        // RFC 6855 3: after ENABLE UTF8=ACCEPT a charset specification is BAD.
        if cursor.names == NameEncoding::Utf8 {
            return Err(SyntaxError("no CHARSET after UTF8=ACCEPT"));
        }
        cursor.space()?;
        charset = Charset::named(&cursor.astring()?).ok_or(UnknownCharset);
        cursor.space()?;
        first = first_word(cursor)?;
    }
    let mut keys = Keys { charset: charset.unwrap_or(Charset::Utf8), left: SEARCH_KEYS_MAX };
    let key = keys.program(cursor, first)?;
    Ok(CommandBody::Search(SearchCommand { numbering, returns, key: charset.map(|_| key) }))
}

fn is(word: Option<&Word>, name: &[u8]) -> bool {
    word.is_some_and(|word| word.as_bytes() == name)
}

/// The word that comes next, unless it is a set or a list.
fn first_word(cursor: &mut Cursor<'_>) -> Parsed<Option<Word>> {
    if cursor.peek().is_some_and(|byte| byte.is_ascii_alphabetic()) {
        return cursor.word().map(Some);
    }
    Ok(None)
}

fn return_options(cursor: &mut Cursor<'_>) -> Parsed<SearchReturn> {
    let mut options = SearchReturn::default();
    cursor.list(0, |cursor| {
        match cursor.word()?.as_bytes() {
            b"MIN" => options.min = true,
            b"MAX" => options.max = true,
            b"ALL" => options.all = true,
            b"COUNT" => options.count = true,
            b"SAVE" => options.save = true,
            _ => return Err(SyntaxError("unknown return option")),
        }
        Ok(())
    })?;
    // RFC 4731 3.1: () is (ALL). RFC 5182 2.1: SAVE alone returns nothing.
    if options == SearchReturn::default() {
        options.all = true;
    }
    Ok(options)
}

/// Reads keys, counting them.
#[derive(Debug)]
struct Keys {
    charset: Charset,
    left: usize,
}

impl Keys {
    /// Keys side by side to the end of the command; the first word is taken already.
    fn program(&mut self, cursor: &mut Cursor<'_>, first: Option<Word>) -> Parsed<SearchKey> {
        let mut keys = vec![self.key(cursor, first, SEARCH_DEPTH_MAX)?];
        while cursor.another()? {
            keys.push(self.next(cursor, SEARCH_DEPTH_MAX)?);
        }
        Ok(conjunction(keys))
    }

    fn next(&mut self, cursor: &mut Cursor<'_>, depth_left: usize) -> Parsed<SearchKey> {
        let word = first_word(cursor)?;
        self.key(cursor, word, depth_left)
    }

    /// A space, and the key behind it.
    fn operand(&mut self, cursor: &mut Cursor<'_>, depth_left: usize) -> Parsed<SearchKey> {
        cursor.space()?;
        self.next(cursor, depth_left)
    }

    fn key(
        &mut self,
        cursor: &mut Cursor<'_>,
        word: Option<Word>,
        depth_left: usize,
    ) -> Parsed<SearchKey> {
        let depth_left = depth_left.checked_sub(1).ok_or(SyntaxError("search keys too deep"))?;
        self.left = self.left.checked_sub(1).ok_or(SyntaxError("too many search keys"))?;
        let Some(word) = word else {
            if cursor.peek() != Some(b'(') {
                return sequence_set(cursor).map(SearchKey::Numbers);
            }
            let mut keys = Vec::new();
            cursor.list(1, |cursor| {
                keys.push(self.next(cursor, depth_left)?);
                Ok(())
            })?;
            return Ok(conjunction(keys));
        };
        match word.as_bytes() {
            b"NOT" => Ok(not(self.operand(cursor, depth_left)?)),
            b"OR" => {
                let left = self.operand(cursor, depth_left)?;
                let right = self.operand(cursor, depth_left)?;
                Ok(SearchKey::Or(Box::new(left), Box::new(right)))
            }
            word => match plain_key(word) {
                Some(key) => Ok(key),
                None => {
                    cursor.expect(b' ', "unknown search key, or one without its argument")?;
                    self.key_with_argument(cursor, word)
                }
            },
        }
    }

    fn key_with_argument(&self, cursor: &mut Cursor<'_>, word: &[u8]) -> Parsed<SearchKey> {
        Ok(match word {
            b"BCC" => SearchKey::Bcc(self.text(cursor)?),
            b"CC" => SearchKey::Cc(self.text(cursor)?),
            b"FROM" => SearchKey::From(self.text(cursor)?),
            b"TO" => SearchKey::To(self.text(cursor)?),
            b"SUBJECT" => SearchKey::Subject(self.text(cursor)?),
            b"BODY" => SearchKey::Body(self.text(cursor)?),
            b"TEXT" => SearchKey::Text(self.text(cursor)?),
            b"HEADER" => {
                let name = cursor.astring()?;
                cursor.space()?;
                SearchKey::Header { name, text: self.text(cursor)? }
            }
            b"KEYWORD" => keyword(cursor)?,
            b"UNKEYWORD" => not(keyword(cursor)?),
            b"BEFORE" => SearchKey::Before(date(cursor)?),
            b"ON" => SearchKey::On(date(cursor)?),
            b"SINCE" => SearchKey::Since(date(cursor)?),
            b"SENTBEFORE" => SearchKey::SentBefore(date(cursor)?),
            b"SENTON" => SearchKey::SentOn(date(cursor)?),
            b"SENTSINCE" => SearchKey::SentSince(date(cursor)?),
            b"SAVEDBEFORE" => SearchKey::SavedBefore(date(cursor)?),
            b"SAVEDON" => SearchKey::SavedOn(date(cursor)?),
            b"SAVEDSINCE" => SearchKey::SavedSince(date(cursor)?),
            b"LARGER" => SearchKey::Larger(cursor.number64()?),
            b"SMALLER" => SearchKey::Smaller(cursor.number64()?),
            // RFC 5032 section 4: nz-number.
            b"YOUNGER" => SearchKey::Younger(cursor.nz_number()?.into()),
            b"OLDER" => SearchKey::Older(cursor.nz_number()?.into()),
            b"UID" => SearchKey::Uids(sequence_set(cursor)?),
            b"MODSEQ" => mod_seq(cursor)?,
            b"EMAILID" => {
                parse_email_id(&cursor.astring()?).map_or(SearchKey::NoSuchId, SearchKey::EmailId)
            }
            b"THREADID" => {
                parse_thread_id(&cursor.astring()?).map_or(SearchKey::NoSuchId, SearchKey::ThreadId)
            }
            _ => return Err(SyntaxError("unknown search key")),
        })
    }

    fn text(&self, cursor: &mut Cursor<'_>) -> Parsed<Bytes> {
        Ok(self.charset.decode(&cursor.astring()?))
    }
}

/// Keys without an argument.
fn plain_key(word: &[u8]) -> Option<SearchKey> {
    use SystemFlag::{Answered, Deleted, Draft, Flagged, Seen};
    Some(match word {
        b"ALL" => SearchKey::All,
        b"ANSWERED" => SearchKey::Flag(Answered),
        b"DELETED" => SearchKey::Flag(Deleted),
        b"DRAFT" => SearchKey::Flag(Draft),
        b"FLAGGED" => SearchKey::Flag(Flagged),
        b"SEEN" => SearchKey::Flag(Seen),
        b"UNANSWERED" => not(SearchKey::Flag(Answered)),
        b"UNDELETED" => not(SearchKey::Flag(Deleted)),
        b"UNDRAFT" => not(SearchKey::Flag(Draft)),
        b"UNFLAGGED" => not(SearchKey::Flag(Flagged)),
        b"UNSEEN" => not(SearchKey::Flag(Seen)),
        // RFC 3501 6.4.4: NEW is (RECENT UNSEEN), OLD is NOT RECENT.
        b"RECENT" => SearchKey::Recent,
        b"OLD" => not(SearchKey::Recent),
        b"NEW" => SearchKey::And(vec![SearchKey::Recent, not(SearchKey::Flag(Seen))]),
        b"SAVEDATESUPPORTED" => SearchKey::SaveDateSupported,
        _ => return None,
    })
}

fn not(key: SearchKey) -> SearchKey {
    SearchKey::Not(Box::new(key))
}

/// One key as it is, several as `And`.
fn conjunction(mut keys: Vec<SearchKey>) -> SearchKey {
    match keys.len() {
        1 => keys.remove(0),
        _ => SearchKey::And(keys),
    }
}

fn keyword(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
    let name = cursor.atom()?;
    Ok(Keyword::new(&name).map_or(SearchKey::NoSuchKeyword, SearchKey::Keyword))
}

/// RFC 7162 section 7 search-modsequence: `[entry-name SP entry-type-req SP] mod-sequence-valzer`.
fn mod_seq(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
    if cursor.peek() == Some(b'"') {
        let entry = cursor.quoted()?;
        if !entry.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"/flags/")) {
            return Err(SyntaxError("unknown metadata entry"));
        }
        cursor.space()?;
        if !matches!(cursor.word()?.as_bytes(), b"PRIV" | b"SHARED" | b"ALL") {
            return Err(SyntaxError("unknown entry type"));
        }
        cursor.space()?;
    }
    Ok(SearchKey::ModSeq(ModSeq(cursor.number64()?)))
}
