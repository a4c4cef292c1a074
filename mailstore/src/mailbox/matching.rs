//! Body tests of a SEARCH as plain data: made by the master, run by the reader pool, off the worker.
//!
//! What an index knows of a message is not looked for in its body. Whatever it does not know is: so an answer never depends on
//! how far the index is.
//!
//! A job searches a body only with all of it that it needs: what the store lacks is fetched by the master, as for a FETCH, and the
//! job begins that body again. So nothing is missed that is on another node.
//!
//! Absences: nothing here knows the index; a job names body records and needles, its result names which tests hold.

use super::format::{BodyRecord, Damaged, Piece, keys};
use crate::face::{EmailId, TaskRefusal, Uid};
use crate::mime::{
    self, FoldedText, Layout, Limits, Matcher, PartTable, Scope, TextSink, fold_needle,
    header_contains, text_pieces,
};
use bytes::Bytes;
use dds::{BlobId, RouteKey, SortKey};
use std::collections::BTreeMap;
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
    /// So many of them are read at most; those that an index decides do not count.
    pub reads_max: usize,
    /// At most [`TESTS_MAX`].
    pub tests: Arc<[BodyTest]>,
    /// Of the first body: what an earlier run lacked.
    pub fetched: Fetched,
}

/// What the store under a job lacks. It may be elsewhere, or not yet be applied here; or it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    Value(SortKey),
    Blob { blob: BlobId, offset: u64, len: u64 },
}

/// What was fetched for a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// `None`: nowhere.
    pub values: BTreeMap<SortKey, Option<Bytes>>,
    /// By blob, offset and length.
    pub parts: BTreeMap<(BlobId, u64, u64), Bytes>,
}

/// One message of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchBody {
    pub uid: Uid,
    pub email: EmailId,
}

/// What came of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchHits {
    /// In order: bit `n` says that test `n` holds. Messages whose body is gone have no bit.
    pub bits: Vec<(Uid, u64)>,
    /// So many bodies of the job are done with.
    pub settled: usize,
    /// What the next one needs that is not in this store. None: all are done with.
    pub wants: Vec<Want>,
}

/// How a job reads; implemented over the store by the reader pool. Calls block. What is not there may be elsewhere.
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

/// What an index knows of a body: bit `n` is for test `n`. Bits in neither are found by reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Tests that hold.
    pub yes: u64,
    /// Tests that do not.
    pub no: u64,
}

/// An index of bodies, asked before they are read.
pub trait BodyIndex {
    /// What it knows of `bodies` of a user, in their order; of those behind the end of the answer it knows nothing. It may know
    /// less than all, but what it says is what reading the body would say.
    fn known(&self, route: &RouteKey, tests: &[BodyTest], bodies: &[MatchBody]) -> Vec<Known>;
}

/// Knows nothing.
#[derive(Clone, Copy, Debug)]
pub struct NoIndex;

impl BodyIndex for NoIndex {
    fn known(&self, _: &RouteKey, _: &[BodyTest], _: &[MatchBody]) -> Vec<Known> {
        Vec::new()
    }
}

/// What came of [`read_text`].
#[derive(Debug)]
pub enum TextRead<S> {
    Text(S),
    /// There is no such message.
    Gone,
    /// Some of it is not in this store.
    Elsewhere,
}

/// Gives all decoded and folded text of a message to `sink`: what the tests of a job look at.
///
/// # Errors
/// As [`MatchJob::run`].
pub fn read_text<S: TextSink>(
    (route, email): (&RouteKey, EmailId),
    reader: &mut dyn BodyReader,
    sink: S,
) -> Result<TextRead<S>, TaskRefusal> {
    let limits = Limits::default();
    let fetched = Fetched::default();
    let mut lookup = Lookup { route, reader, fetched: &fetched };
    let mut text = FoldedText::new(sink, &limits);
    let mut read = || -> Result<(), Stop> {
        let Some((mut opened, parts)) = Opened::open(email, &mut lookup)? else { return Ok(()) };
        let parts = PartTable::decode(&parts).map_err(|_| TaskRefusal::Damaged)?;
        let pieces = text_pieces(&parts, opened.layout());
        opened.feed(pieces, &mut text)
    };
    match read() {
        Ok(()) => Ok(TextRead::Text(text.sink)),
        Err(Stop::Wants(wants)) if wants == [Want::Value(keys::body(email))] => Ok(TextRead::Gone),
        Err(Stop::Wants(_)) => Ok(TextRead::Elsewhere),
        Err(Stop::Refused(refusal)) => Err(refusal),
    }
}

/// Bytes of a blob read at once.
const BLOB_READ_BYTES: u64 = 256 * 1024;
/// Parts of a blob that are wanted at once. Our choice: a job begins its body again after each time.
const WANTS_MAX: usize = 16;

/// Why a body is not searched to its end.
enum Stop {
    Wants(Vec<Want>),
    Refused(TaskRefusal),
}

impl From<TaskRefusal> for Stop {
    fn from(refusal: TaskRefusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Damaged> for Stop {
    fn from(damaged: Damaged) -> Self {
        Self::Refused(damaged.into())
    }
}

/// Reads what was fetched, and the store.
struct Lookup<'a> {
    route: &'a RouteKey,
    reader: &'a mut dyn BodyReader,
    fetched: &'a Fetched,
}

impl Lookup<'_> {
    /// `None`: it is nowhere.
    fn value(&mut self, key: SortKey) -> Result<Option<Bytes>, Stop> {
        if let Some(fetched) = self.fetched.values.get(&key) {
            return Ok(fetched.clone());
        }
        match self.reader.value(self.route, &key)? {
            Some(value) => Ok(Some(value)),
            None => Err(Stop::Wants(vec![Want::Value(key)])),
        }
    }

    /// The next bytes of what has to be read of a blob, to `end`.
    fn blob(&mut self, blob: BlobId, (offset, end): (u64, u64)) -> Result<Bytes, Stop> {
        let next = |at: u64| end.saturating_sub(at).min(BLOB_READ_BYTES);
        if let Some(part) = self.fetched.parts.get(&(blob, offset, next(offset))) {
            let whole = part.len() as u64 == next(offset);
            return if whole { Ok(part.clone()) } else { Err(TaskRefusal::Damaged.into()) };
        }
        let found = self.reader.blob(blob, offset, next(offset))?.unwrap_or_default();
        if !found.is_empty() {
            return Ok(found);
        }
        let mut wants = Vec::new();
        let mut at = offset;
        while at < end && wants.len() < WANTS_MAX {
            wants.push(Want::Blob { blob, offset: at, len: next(at) });
            at = at.saturating_add(next(at));
        }
        Err(Stop::Wants(wants))
    }
}

/// A message whose body record is read.
struct Opened<'a, 'b> {
    email: EmailId,
    record: BodyRecord,
    lookup: &'a mut Lookup<'b>,
}

impl MatchJob {
    /// Asks the index, reads the bodies that it does not decide, and compares. Pure but for `reader` and `index`; takes as long
    /// as it takes.
    ///
    /// # Errors
    /// Those of `reader`, and `Damaged` for a record that can't be what was written.
    pub fn run(
        &self,
        reader: &mut dyn BodyReader,
        index: &dyn BodyIndex,
    ) -> Result<MatchHits, TaskRefusal> {
        let known = index.known(&self.route, &self.tests, &self.bodies);
        let all = u64::MAX >> (TESTS_MAX - self.tests.len().clamp(1, TESTS_MAX));
        let mut reads = 0;
        let limits = Limits::default();
        let needles: Vec<(Scope, Bytes)> = self.tests.iter().filter_map(BodyTest::needle).collect();
        let matcher = (!needles.is_empty()).then(|| Matcher::new(&needles, &limits));
        let mut hits = MatchHits::default();
        for (at, body) in self.bodies.iter().enumerate() {
            let Known { yes, no } = known.get(at).copied().unwrap_or_default();
            if (yes | no) & all == all {
                hits.bits.push((body.uid, yes));
                hits.settled += 1;
                continue;
            }
            if reads == self.reads_max.max(1) {
                break;
            }
            reads += 1;
            let none = Fetched::default();
            let fetched = if hits.settled == 0 { &self.fetched } else { &none };
            let mut lookup = Lookup { route: &self.route, reader: &mut *reader, fetched };
            match self.judge(body.email, &mut lookup, (matcher.as_ref(), &limits)) {
                Ok(bits) => hits.bits.extend(bits.map(|bits| (body.uid, bits))),
                Err(Stop::Wants(wants)) => {
                    hits.wants = wants;
                    return Ok(hits);
                }
                Err(Stop::Refused(refusal)) => return Err(refusal),
            }
            hits.settled += 1;
        }
        Ok(hits)
    }

    /// The tests that hold for one body; `None` when it is gone.
    fn judge(
        &self,
        email: EmailId,
        lookup: &mut Lookup<'_>,
        (matcher, limits): (Option<&Matcher>, &Limits),
    ) -> Result<Option<u64>, Stop> {
        let Some((mut opened, parts)) = Opened::open(email, lookup)? else { return Ok(None) };
        let found = match matcher {
            Some(matcher) => opened.search(matcher, &parts)?,
            None => Vec::new(),
        };
        Ok(Some(self.bits(&mut opened, &found, limits)?))
    }

    /// Puts the results of needles and header tests in the order of the tests.
    fn bits(
        &self,
        opened: &mut Opened<'_, '_>,
        found: &[bool],
        limits: &Limits,
    ) -> Result<u64, Stop> {
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

impl<'a, 'b> Opened<'a, 'b> {
    /// With its part table; `None` when it is gone.
    fn open(email: EmailId, lookup: &'a mut Lookup<'b>) -> Result<Option<(Self, Bytes)>, Stop> {
        let Some(value) = lookup.value(keys::body(email))? else { return Ok(None) };
        let record = BodyRecord::decode(&value)?;
        let parts = match &record.parts {
            Some(parts) => parts.clone(),
            None => lookup.value(keys::apart(email, 1))?.unwrap_or_default(),
        };
        Ok(Some((Self { email, record, lookup }, parts)))
    }

    fn layout(&self) -> Layout {
        let prefix_len = self.record.prefix.len() as u64;
        Layout { prefix_len, body_len: self.record.len() - prefix_len }
    }

    fn search(&mut self, matcher: &Matcher, parts: &[u8]) -> Result<Vec<bool>, Stop> {
        let parts = PartTable::decode(parts).map_err(|_| TaskRefusal::Damaged)?;
        let mut search = matcher.search();
        let pieces = matcher.pieces(&parts, self.layout());
        self.feed(pieces, &mut search)?;
        Ok(search.sink.found().to_vec())
    }

    /// Reads pieces until the sink has enough.
    fn feed<S: TextSink>(
        &mut self,
        pieces: Vec<mime::Piece>,
        text: &mut FoldedText<S>,
    ) -> Result<(), Stop> {
        for piece in pieces {
            text.begin(&piece.kind);
            self.read(&piece.range, &mut |bytes| {
                text.feed(bytes);
                !text.sink.is_done()
            })?;
            text.end();
            if text.sink.is_done() {
                break;
            }
        }
        Ok(())
    }

    fn header(&mut self, bytes_max: usize) -> Result<Vec<u8>, Stop> {
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
    ) -> Result<(), Stop> {
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
                    let value = self.lookup.value(key)?.unwrap_or_default();
                    let bytes = value.get(offset..offset + len).ok_or(TaskRefusal::Damaged)?;
                    if !take(bytes) {
                        return Ok(());
                    }
                }
                Piece::Blob { blob, offset, len } => {
                    let (mut at, end) = (offset, offset.saturating_add(len));
                    while at < end {
                        let bytes = self.lookup.blob(blob, (at, end))?;
                        if !take(&bytes) {
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
