//! Body tests of a SEARCH as plain data: made by the master, run by the reader pool, off the worker.
//!
//! Absences: nothing here knows the index; a job names body records and needles, its result names which tests hold.

use super::format::{BodyRecord, Piece, keys};
use crate::face::{EmailId, TaskRefusal, Uid};
use crate::mime::{Layout, Limits, Matcher, PartTable, Scope, fold_needle, header_contains};
use bytes::Bytes;
use dds::{BlobId, RouteKey, SortKey};
use std::ops::Range;
use std::sync::Arc;

/// One comparison with the text of a message. Needles are UTF-8 as clients send them; the job folds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyTest {
    /// A field of the header contains the text; an empty text asks whether the field is there.
    Header { name: Bytes, text: Bytes },
    /// The decoded text without the header.
    Body(Bytes),
    /// The decoded text with the header.
    Text(Bytes),
}

/// Tests a job carries at most: one bit each in [`MatchHits`].
pub const TESTS_MAX: usize = 64;

/// Bodies to read and what to look for in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchJob {
    pub route: RouteKey,
    pub bodies: Vec<MatchBody>,
    /// At most [`TESTS_MAX`].
    pub tests: Arc<[BodyTest]>,
}

/// One message of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchBody {
    pub uid: Uid,
    pub email: EmailId,
}

/// Per message of the job, in order: bit `n` says that test `n` holds. Messages whose body is gone have no bit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchHits(pub Vec<(Uid, u64)>);

/// How a job reads; implemented over the store by the reader pool. Calls block.
pub trait BodyReader {
    /// The value of a key of the user's route.
    ///
    /// # Errors
    /// When it can't be read now, or is damaged.
    fn value(&mut self, route: &RouteKey, key: &SortKey) -> Result<Option<Bytes>, TaskRefusal>;

    /// A range of a blob, cut at its end.
    ///
    /// # Errors
    /// When it can't be read now, or is damaged.
    fn blob(&mut self, blob: BlobId, offset: u64, len: u64) -> Result<Option<Bytes>, TaskRefusal>;
}

/// Bytes of a blob read at once.
const BLOB_READ_BYTES: u64 = 256 * 1024;

/// A message whose body record is read.
struct Opened<'a> {
    email: EmailId,
    record: BodyRecord,
    route: &'a RouteKey,
    reader: &'a mut dyn BodyReader,
}

impl MatchJob {
    /// Reads the bodies and compares. Pure but for `reader`; takes as long as it takes.
    ///
    /// # Errors
    /// Those of `reader`, and `Damaged` for a record that can't be what was written.
    pub fn run(&self, reader: &mut dyn BodyReader) -> Result<MatchHits, TaskRefusal> {
        let limits = Limits::default();
        let needles: Vec<(Scope, Bytes)> = self.tests.iter().filter_map(BodyTest::needle).collect();
        let matcher = (!needles.is_empty()).then(|| Matcher::new(&needles, &limits));
        let mut hits = MatchHits::default();
        for body in &self.bodies {
            let Some(value) = reader.value(&self.route, &keys::body(body.email))? else {
                continue;
            };
            let record = BodyRecord::decode(&value)?;
            let parts = match &record.parts {
                Some(parts) => parts.clone(),
                None => {
                    let key = keys::apart(body.email, 1);
                    reader.value(&self.route, &key)?.unwrap_or_default()
                }
            };
            let mut opened = Opened { email: body.email, record, route: &self.route, reader };
            let found = match &matcher {
                Some(matcher) => opened.search(matcher, &parts)?,
                None => Vec::new(),
            };
            hits.0.push((body.uid, self.bits(&mut opened, &found, &limits)?));
        }
        Ok(hits)
    }

    /// Puts the results of needles and header tests in the order of the tests.
    fn bits(
        &self,
        opened: &mut Opened<'_>,
        found: &[bool],
        limits: &Limits,
    ) -> Result<u64, TaskRefusal> {
        let mut found = found.iter();
        let mut header: Option<Vec<u8>> = None;
        let mut bits = 0_u64;
        for (at, test) in self.tests.iter().take(TESTS_MAX).enumerate() {
            let holds = match test {
                BodyTest::Body(_) | BodyTest::Text(_) => found.next().copied().unwrap_or(false),
                BodyTest::Header { name, text } => {
                    let header = match &mut header {
                        Some(header) => header,
                        None => header.insert(opened.header(limits.header_bytes_max)?),
                    };
                    header_contains(header, name, &fold_needle(text))
                }
            };
            bits |= u64::from(holds) << at;
        }
        Ok(bits)
    }
}

impl BodyTest {
    fn needle(&self) -> Option<(Scope, Bytes)> {
        match self {
            Self::Header { .. } => None,
            Self::Body(text) => Some((Scope::Body, text.clone())),
            Self::Text(text) => Some((Scope::Text, text.clone())),
        }
    }
}

impl Opened<'_> {
    fn search(&mut self, matcher: &Matcher, parts: &[u8]) -> Result<Vec<bool>, TaskRefusal> {
        let parts = PartTable::decode(parts).map_err(|_| TaskRefusal::Damaged)?;
        let prefix_len = self.record.prefix.len() as u64;
        let layout = Layout { prefix_len, body_len: self.record.len() - prefix_len };
        let mut search = matcher.search();
        for piece in matcher.pieces(&parts, layout) {
            search.begin(&piece.kind);
            self.read(&piece.range, &mut |bytes| {
                search.feed(bytes);
                !search.is_done()
            })?;
            search.end();
            if search.is_done() {
                break;
            }
        }
        Ok(search.found().to_vec())
    }

    fn header(&mut self, bytes_max: usize) -> Result<Vec<u8>, TaskRefusal> {
        let len = (self.record.prefix.len() as u64).saturating_add(self.record.header_bytes);
        let mut header = Vec::new();
        self.read(&(0..len.min(bytes_max as u64)), &mut |bytes| {
            header.extend_from_slice(bytes);
            true
        })?;
        Ok(header)
    }

    /// Gives the bytes of a range to `take`, in order, until it has enough.
    fn read(
        &mut self,
        range: &Range<u64>,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), TaskRefusal> {
        let len = range.end.saturating_sub(range.start);
        for piece in self.record.range(range.start, len) {
            match piece {
                Piece::Bytes(bytes) => {
                    if !take(&bytes) {
                        return Ok(());
                    }
                }
                Piece::Kept { piece, offset, len } => {
                    let key = keys::body_piece(self.email, piece);
                    let value = self.reader.value(self.route, &key)?.unwrap_or_default();
                    let bytes = value.get(offset..offset + len).ok_or(TaskRefusal::Damaged)?;
                    if !take(bytes) {
                        return Ok(());
                    }
                }
                Piece::Blob { blob, offset, len } => {
                    let mut at = 0;
                    while at < len {
                        let now = (len - at).min(BLOB_READ_BYTES);
                        let bytes = self.reader.blob(blob, offset.saturating_add(at), now)?;
                        let bytes = bytes.unwrap_or_default();
                        if bytes.is_empty() || !take(&bytes) {
                            return Ok(());
                        }
                        at = at.saturating_add(bytes.len() as u64);
                    }
                }
            }
        }
        Ok(())
    }
}
