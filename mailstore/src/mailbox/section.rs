//! Sections: the body record says where the bytes lie, the part table says which of them; nothing else is read.

use super::change::Asker;
use super::core::Core;
use super::format::{BodyRecord, Meta, Piece, keys};
use super::load::got;
use super::machine::Effect;
use super::pipeline::refusal_of;
use super::reading::Reading;
use super::transform::{CheckpointKey, Checkpoints, Through, Transform};
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{
    EmailId, FolderId, SECTION_PAGE_BYTES_MAX, Section, SectionRead, SectionText, TaskRefusal, Uid,
    UserDone, UserError, UserTask,
};
use crate::mime::{Decoder, HeaderFilter, Keep, Layout, PartTable, Resolved};
use bytes::{Bytes, BytesMut};
use dds::{BlobId, Request, Response, SortKey, Version};
use fsm::Cx;
use std::collections::VecDeque;
use std::ops::Range;

/// A ReadSection.
#[derive(Debug)]
pub struct Wanted {
    pub folder: FolderId,
    pub uid: Uid,
    pub section: Section,
    pub offset: u64,
    pub len: u64,
}

/// A section on its way.
#[derive(Debug)]
pub struct SectionJob {
    pub asker: Asker,
    email: EmailId,
    section: Section,
    offset: u64,
    len: u64,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Record,
    /// The part table stands apart.
    Parts {
        record: Box<BodyRecord>,
    },
    Pieces(Pieces),
}

/// Bytes of a message that are being put together.
#[derive(Debug)]
struct Pieces {
    /// What is to be done with the next bytes.
    make: Make,
    /// Yet to be read, in order.
    left: VecDeque<Piece>,
}

/// What becomes of the bytes read.
#[derive(Debug)]
enum Make {
    /// A page of the section as it is; `total` bytes in all.
    Page { bytes: BytesMut, total: u64 },
    /// A page of what the section is made into.
    Transform(Box<Transform>),
}

/// Sections that wait for their turn, and where the next pages go on.
#[derive(Debug, Default)]
pub struct Sections {
    pub turn: VecDeque<Box<SectionJob>>,
    pub checkpoints: Checkpoints,
}

/// Bytes transformed between two looks at the budget, and those for one unit of it (100 ns).
const SLICE_BYTES: usize = 32 * 1024;
const BYTES_PER_UNIT: usize = 64;

/// Bytes of a blob read at once.
const BLOB_READ_BYTES: u64 = 256 * 1024;

impl Core {
    pub fn read_section(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, wanted: Wanted) {
        let Wanted { folder: id, uid, section, offset, len } = wanted;
        let Some(folder) = self.folders.get(&id) else {
            return fail(cx, asker, UserError::NoSuchFolder);
        };
        let Some(index) = folder.loaded() else {
            let task = UserTask::ReadSection { folder: id, uid, section, offset, len };
            self.when_loaded(cx, id, Waiting { asker, task, blob: BlobLife::AsFound });
            return;
        };
        let buried = || {
            let grave = index.graves.get(&uid)?;
            folder.may_read(asker.session, grave.expunged).then_some(&grave.meta)
        };
        let Some(meta) = index.get(uid).map(|(meta, _)| meta).or_else(buried) else {
            return fail(cx, asker, UserError::Expunged);
        };
        let Meta { email, .. } = *meta;
        let len = len.min(SECTION_PAGE_BYTES_MAX);
        let job = SectionJob { asker, email, section, offset, len, step: Step::Record };
        self.get(cx, vec![keys::body(email)], Reading::Section(Box::new(job)));
    }

    pub fn on_section(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        job: Box<SectionJob>,
        response: Response,
    ) {
        let asker = job.asker;
        let next = job.on_read(cx, &mut self.sections.checkpoints, response);
        self.on_next_section(cx, asker, next);
    }

    /// The next turn of those that yielded.
    pub fn resume_sections(&mut self, cx: &mut Cx<'_, Effect>) {
        for _ in 0..self.sections.turn.len() {
            if cx.budget().left() == 0 {
                return cx.yield_now();
            }
            if let Some(job) = self.sections.turn.pop_front() {
                let asker = job.asker;
                let next = job.go_on(cx, &mut self.sections.checkpoints);
                self.on_next_section(cx, asker, next);
            }
        }
    }

    fn on_next_section(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        next: Result<Next, TaskRefusal>,
    ) {
        match next {
            Ok(Next::Done(read)) => answer(cx, asker, Ok(UserDone::Section(read))),
            Ok(Next::Pause(job)) => {
                self.sections.turn.push_back(job);
                cx.yield_now();
            }
            Ok(Next::Gone) => fail(cx, asker, UserError::Expunged),
            Ok(Next::Parts(job)) => {
                let key = keys::apart(job.email, 1);
                self.get(cx, vec![key], Reading::Section(job));
            }
            Ok(Next::Kept { job, keys }) => self.get(cx, keys, Reading::Section(job)),
            Ok(Next::Blob { job, blob, offset, len }) => {
                let request = Request::ReadBlob { blob, offset, len };
                self.read(cx, request, Reading::Section(job));
            }
            Err(refusal) => answer(cx, asker, Err(refusal)),
        }
    }
}

/// What a job needs next.
enum Next {
    Done(SectionRead),
    /// The body is gone.
    Gone,
    Parts(Box<SectionJob>),
    /// The budget is spent.
    Pause(Box<SectionJob>),
    /// Records of a body in pieces.
    Kept {
        job: Box<SectionJob>,
        keys: Vec<SortKey>,
    },
    Blob {
        job: Box<SectionJob>,
        blob: BlobId,
        offset: u64,
        len: u64,
    },
}

impl SectionJob {
    fn on_read(
        mut self: Box<Self>,
        cx: &mut Cx<'_, Effect>,
        checkpoints: &mut Checkpoints,
        response: Response,
    ) -> Result<Next, TaskRefusal> {
        match &mut self.step {
            Step::Record => {
                let Some(value) = got(response)?.into_iter().next().flatten() else {
                    return Ok(Next::Gone);
                };
                let record = BodyRecord::decode(&value)?;
                self.with_record(cx, checkpoints, record)
            }
            Step::Parts { record } => {
                let parts = got(response)?.into_iter().next().flatten().unwrap_or_default();
                let mut record = (**record).clone();
                record.parts = Some(parts);
                self.with_record(cx, checkpoints, record)
            }
            Step::Pieces(pieces) => {
                match response {
                    Response::BlobRead(bytes) => pieces.left.push_front(Piece::Bytes(bytes)),
                    Response::Got(values) => {
                        if !pieces.fill(values)? {
                            return Ok(Next::Gone);
                        }
                    }
                    Response::Absent => return Ok(Next::Gone),
                    Response::Refused(refusal) => return Err(refusal_of(&refusal)),
                    Response::Claimed(_)
                    | Response::Wrote(_)
                    | Response::Scanned { .. }
                    | Response::Collected { .. } => return Err(TaskRefusal::Unavailable),
                }
                self.go_on(cx, checkpoints)
            }
        }
    }

    fn with_record(
        mut self: Box<Self>,
        cx: &mut Cx<'_, Effect>,
        checkpoints: &mut Checkpoints,
        record: BodyRecord,
    ) -> Result<Next, TaskRefusal> {
        let layout = Layout {
            prefix_len: record.prefix.len() as u64,
            body_len: record.len() - record.prefix.len() as u64,
        };
        let whole = self.section.part.is_empty();
        let resolved = if whole {
            resolve_message(&record, layout.total(), &self.section.text)
        } else {
            let Some(parts) = &record.parts else {
                self.step = Step::Parts { record: Box::new(record) };
                return Ok(Next::Parts(self));
            };
            let table = PartTable::decode(parts).map_err(|_| TaskRefusal::Damaged)?;
            table.resolve(layout, &self.section)
        };
        let (make, range) = match resolved {
            Resolved::NoSuchPart => return Ok(Next::Done(SectionRead::NoSuchPart)),
            Resolved::UnknownEncoding => return Ok(Next::Done(SectionRead::UnknownEncoding)),
            Resolved::Bytes(range) => self.page(range),
            Resolved::FilterHeader { range, names, keep } => {
                let filter = HeaderFilter::new(&names, keep);
                self.transform(Through::Filter(filter), range, checkpoints)
            }
            Resolved::Decode { range, encoding } => match Decoder::new(encoding) {
                Ok(decoder) => self.transform(Through::Decoder(decoder), range, checkpoints),
                Err(_) => return Ok(Next::Done(SectionRead::UnknownEncoding)),
            },
        };
        let left = record.range(range.start, range.end.saturating_sub(range.start));
        // Nearly always: one slice, nothing copied.
        if let (Make::Page { total, .. }, [Piece::Bytes(bytes)]) = (&make, left.as_slice()) {
            let read = SectionRead::Page { bytes: bytes.clone(), total: *total };
            return Ok(Next::Done(read));
        }
        let left = left.into();
        self.step = Step::Pieces(Pieces { make, left });
        self.go_on(cx, checkpoints)
    }

    /// What is left of the section to be transformed, from where the page before left off.
    fn transform(
        &self,
        through: Through,
        section: Range<u64>,
        checkpoints: &mut Checkpoints,
    ) -> (Make, Range<u64>) {
        let transform = Transform::new(through, (self.offset, self.len))
            .resumed(checkpoints.take(&self.checkpoint_key()));
        let from = section.start.saturating_add(transform.source_at()).min(section.end);
        (Make::Transform(Box::new(transform)), from..section.end)
    }

    fn checkpoint_key(&self) -> CheckpointKey {
        let (session, email) = (self.asker.session, self.email);
        CheckpointKey { session, email, section: self.section.clone() }
    }

    /// The range of the page asked for within a section.
    fn page(&self, section: Range<u64>) -> (Make, Range<u64>) {
        let total = section.end.saturating_sub(section.start);
        let from = section.start.saturating_add(self.offset.min(total));
        let to = from.saturating_add(self.len).min(section.end);
        (Make::Page { bytes: BytesMut::new(), total }, from..to)
    }

    fn go_on(
        mut self: Box<Self>,
        cx: &mut Cx<'_, Effect>,
        checkpoints: &mut Checkpoints,
    ) -> Result<Next, TaskRefusal> {
        let Step::Pieces(pieces) = &mut self.step else {
            return Err(TaskRefusal::Unavailable);
        };
        while !pieces.is_done() {
            match pieces.left.pop_front() {
                None => break,
                Some(Piece::Bytes(bytes)) => match pieces.take(bytes) {
                    Taken::AsItIs => {}
                    Taken::Transformed { units } => {
                        if !cx.budget().spend(units) {
                            return Ok(Next::Pause(self));
                        }
                    }
                    Taken::Broken => return Ok(Next::Done(SectionRead::UnknownEncoding)),
                },
                Some(kept @ Piece::Kept { .. }) => {
                    pieces.left.push_front(kept);
                    let keys = pieces.keys_kept(self.email);
                    return Ok(Next::Kept { job: self, keys });
                }
                Some(Piece::Blob { blob, offset, len }) => {
                    let now = len.min(BLOB_READ_BYTES);
                    if len > now {
                        let offset = offset.saturating_add(now);
                        pieces.left.push_front(Piece::Blob { blob, offset, len: len - now });
                    }
                    return Ok(Next::Blob { job: self, blob, offset, len: now });
                }
            }
        }
        Ok(Next::Done(self.finish(checkpoints)))
    }

    fn finish(mut self, checkpoints: &mut Checkpoints) -> SectionRead {
        match std::mem::replace(&mut self.step, Step::Record) {
            Step::Pieces(Pieces { make: Make::Page { bytes, total }, left: _ }) => {
                SectionRead::Page { bytes: bytes.freeze(), total }
            }
            Step::Pieces(Pieces { make: Make::Transform(transform), left: _ }) => {
                let (read, checkpoint) = transform.finish(self.checkpoint_key());
                checkpoints.put(checkpoint, self.offset.saturating_add(self.len));
                read
            }
            Step::Record | Step::Parts { .. } => SectionRead::NoSuchPart,
        }
    }
}

/// A section of the message itself: found without the part table.
fn resolve_message(record: &BodyRecord, total: u64, text: &SectionText) -> Resolved {
    let header_end = (record.prefix.len() as u64).saturating_add(record.header_bytes).min(total);
    match text {
        // RFC 3516 4.2: BINARY[] is the message itself.
        SectionText::All | SectionText::Binary => Resolved::Bytes(0..total),
        SectionText::Header => Resolved::Bytes(0..header_end),
        SectionText::HeaderFields { names, not } => {
            let keep = if *not { Keep::Others } else { Keep::Named };
            Resolved::FilterHeader { range: 0..header_end, names: names.clone(), keep }
        }
        SectionText::Text => Resolved::Bytes(header_end..total),
        // RFC 9051 6.4.5: MIME must be prefixed by part numbers.
        SectionText::Mime => Resolved::NoSuchPart,
    }
}

/// What became of a piece.
enum Taken {
    AsItIs,
    /// At the cost of so much budget.
    Transformed {
        units: u64,
    },
    Broken,
}

impl Pieces {
    /// Whether nothing more need be read.
    fn is_done(&self) -> bool {
        match &self.make {
            Make::Page { .. } => false,
            Make::Transform(transform) => transform.is_done(),
        }
    }

    /// The records that hold the next bytes.
    fn keys_kept(&self, email: EmailId) -> Vec<SortKey> {
        let kept = self.left.iter().map_while(|piece| match piece {
            Piece::Kept { piece, .. } => Some(keys::body_piece(email, *piece)),
            Piece::Bytes(_) | Piece::Blob { .. } => None,
        });
        kept.collect()
    }

    /// The records of [`Self::keys_kept`]; false when one is gone.
    fn fill(&mut self, values: Vec<Option<(Bytes, Version)>>) -> Result<bool, TaskRefusal> {
        for (slot, value) in self.left.iter_mut().zip(values) {
            let Piece::Kept { offset, len, .. } = *slot else { break };
            let Some((value, _)) = value else { return Ok(false) };
            if offset + len > value.len() {
                return Err(TaskRefusal::Damaged);
            }
            *slot = Piece::Bytes(value.slice(offset..offset + len));
        }
        Ok(true)
    }

    /// Takes the next bytes, or a slice of them.
    fn take(&mut self, mut read: Bytes) -> Taken {
        match &mut self.make {
            Make::Page { bytes, .. } => {
                if bytes.is_empty() {
                    *bytes = read.into();
                } else {
                    bytes.extend_from_slice(&read);
                }
                Taken::AsItIs
            }
            Make::Transform(transform) => {
                let slice = read.split_to(read.len().min(SLICE_BYTES));
                if !read.is_empty() {
                    self.left.push_front(Piece::Bytes(read));
                }
                if !transform.push(&slice) {
                    return Taken::Broken;
                }
                Taken::Transformed { units: (slice.len() / BYTES_PER_UNIT) as u64 }
            }
        }
    }
}
