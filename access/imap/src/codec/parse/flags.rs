//! Flags as clients name them.

use super::cursor::{Cursor, Parsed, SyntaxError};
use crate::codec::limits::FLAGS_MAX;
use crate::codec::{FlagError, FlagList};
use mailstore::face::{Keyword, SystemFlag};

/// Collects flags and remembers the first reason to refuse them.
#[derive(Debug, Default)]
struct Collector {
    flags: FlagList,
    refused: Option<FlagError>,
    count: usize,
}

impl Collector {
    fn flag(&mut self, cursor: &mut Cursor<'_>) -> Parsed<()> {
        self.count += 1;
        if cursor.skip(b'\\') {
            return self.system(&cursor.atom()?);
        }
        let name = cursor.atom()?;
        if self.count > FLAGS_MAX {
            self.refused = self.refused.or(Some(FlagError::TooManyKeywords));
            return Ok(());
        }
        match Keyword::new(&name) {
            Some(keyword) => self.flags.add_keyword(keyword),
            // An atom fails only by its length.
            None => self.refused = self.refused.or(Some(FlagError::KeywordTooLong)),
        }
        Ok(())
    }

    fn system(&mut self, name: &[u8]) -> Parsed<()> {
        let known = SystemFlag::ALL
            .into_iter()
            .find(|flag| flag.name().as_bytes()[1..].eq_ignore_ascii_case(name));
        match known {
            Some(flag) => self.flags.add_system(flag),
            // RFC 3501 2.3.2: \Recent can't be altered by a client; old clients copy it into
            // APPEND.
            None if name.eq_ignore_ascii_case(b"Recent") => {}
            None => return Err(SyntaxError("unknown system flag")),
        }
        Ok(())
    }

    fn finish(self) -> Result<FlagList, FlagError> {
        self.refused.map_or(Ok(self.flags), Err)
    }
}

/// `(flag flag ...)`, maybe empty.
pub(super) fn flag_list(cursor: &mut Cursor<'_>) -> Parsed<Result<FlagList, FlagError>> {
    let mut collector = Collector::default();
    cursor.list(0, |cursor| collector.flag(cursor))?;
    Ok(collector.finish())
}

/// A list, or flags side by side up to the end: RFC 9051 section 9 store-att-flags.
pub(super) fn store_flags(cursor: &mut Cursor<'_>) -> Parsed<Result<FlagList, FlagError>> {
    if cursor.peek() == Some(b'(') {
        return flag_list(cursor);
    }
    let mut collector = Collector::default();
    loop {
        collector.flag(cursor)?;
        if cursor.is_at_end() {
            return Ok(collector.finish());
        }
        cursor.space()?;
    }
}
