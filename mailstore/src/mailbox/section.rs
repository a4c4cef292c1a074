//! Sections: the body record says where the bytes lie, the part table says which of them; nothing else is read.

use super::change::Asker;
use super::core::Core;
use super::format::{BodyRecord, Meta, Piece, keys};
use super::load::got;
use super::machine::Effect;
use super::pipeline::refusal_of;
use super::reading::Reading;
use super::{BlobLife, Waiting, answer, fail};
use crate::face::{
    EmailId, FolderId, SECTION_PAGE_BYTES_MAX, Section, SectionRead, SectionText, TaskRefusal, Uid,
    UserDone, UserError, UserTask,
};
use crate::mime::{Decoder, Encoding, Keep, Layout, PartTable, Resolved, filter_header};
use bytes::{Bytes, BytesMut};
use dds::{BlobId, Request, Response};
use fsm::Cx;
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
    left: std::collections::VecDeque<Piece>,
}

/// What becomes of the bytes read.
#[derive(Debug)]
enum Make {
    /// A page of the section as it is; `total` bytes in all.
    Page { bytes: BytesMut, total: u64 },
    /// A header, complete, then filtered.
    Filter { bytes: BytesMut, names: Vec<Bytes>, keep: Keep },
    /// Everything through a decoder; only the page is kept.
    Decode(Box<Decoding>),
}

#[derive(Debug)]
struct Decoding {
    decoder: Decoder,
    page: DecodedPage,
    out: Vec<u8>,
}

/// The page of a decoded part.
#[derive(Debug, Default)]
struct DecodedPage {
    page: BytesMut,
    /// Decoded bytes so far.
    total: u64,
}

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
        match job.on_read(response) {
            Ok(Next::Done(read)) => answer(cx, asker, Ok(UserDone::Section(read))),
            Ok(Next::Gone) => fail(cx, asker, UserError::Expunged),
            Ok(Next::Parts(job)) => {
                let key = keys::apart(job.email, 1);
                self.get(cx, vec![key], Reading::Section(job));
            }
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
    Blob {
        job: Box<SectionJob>,
        blob: BlobId,
        offset: u64,
        len: u64,
    },
}

impl SectionJob {
    fn on_read(mut self: Box<Self>, response: Response) -> Result<Next, TaskRefusal> {
        match std::mem::replace(&mut self.step, Step::Record) {
            Step::Record => {
                let Some(value) = got(response)?.into_iter().next().flatten() else {
                    return Ok(Next::Gone);
                };
                let record = BodyRecord::decode(&value)?;
                self.with_record(record)
            }
            Step::Parts { mut record } => {
                record.parts =
                    Some(got(response)?.into_iter().next().flatten().unwrap_or_default());
                self.with_record(*record)
            }
            Step::Pieces(mut pieces) => {
                let bytes = match response {
                    Response::BlobRead(bytes) => bytes,
                    Response::Absent => return Ok(Next::Gone),
                    Response::Refused(refusal) => return Err(refusal_of(&refusal)),
                    Response::Claimed(_)
                    | Response::Wrote(_)
                    | Response::Got(_)
                    | Response::Scanned { .. }
                    | Response::Collected { .. } => return Err(TaskRefusal::Unavailable),
                };
                if !pieces.take(&bytes, (self.offset, self.len)) {
                    return Ok(Next::Done(SectionRead::UnknownEncoding));
                }
                self.go_on(pieces)
            }
        }
    }

    fn with_record(mut self: Box<Self>, record: BodyRecord) -> Result<Next, TaskRefusal> {
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
                (Make::Filter { bytes: BytesMut::new(), names, keep }, range)
            }
            Resolved::Decode { range, encoding } => match decoding(encoding) {
                Some(make) => (make, range),
                None => return Ok(Next::Done(SectionRead::UnknownEncoding)),
            },
        };
        let left = record.range(range.start, range.end.saturating_sub(range.start));
        // Nearly always: one slice, nothing copied.
        if let (Make::Page { total, .. }, [Piece::Bytes(bytes)]) = (&make, left.as_slice()) {
            let read = SectionRead::Page { bytes: bytes.clone(), total: *total };
            return Ok(Next::Done(read));
        }
        self.go_on(Pieces { make, left: left.into() })
    }

    /// The range of the page asked for within a section.
    fn page(&self, section: Range<u64>) -> (Make, Range<u64>) {
        let total = section.end.saturating_sub(section.start);
        let from = section.start.saturating_add(self.offset.min(total));
        let to = from.saturating_add(self.len).min(section.end);
        (Make::Page { bytes: BytesMut::new(), total }, from..to)
    }

    fn go_on(mut self: Box<Self>, mut pieces: Pieces) -> Result<Next, TaskRefusal> {
        loop {
            match pieces.left.pop_front() {
                None => return Ok(Next::Done(pieces.finish((self.offset, self.len)))),
                Some(Piece::Bytes(bytes)) => {
                    if !pieces.take(&bytes, (self.offset, self.len)) {
                        return Ok(Next::Done(SectionRead::UnknownEncoding));
                    }
                }
                Some(Piece::Blob { blob, offset, len }) => {
                    let now = len.min(BLOB_READ_BYTES);
                    if len > now {
                        pieces.left.push_front(Piece::Blob {
                            blob,
                            offset: offset.saturating_add(now),
                            len: len - now,
                        });
                    }
                    self.step = Step::Pieces(pieces);
                    return Ok(Next::Blob { job: self, blob, offset, len: now });
                }
            }
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

fn decoding(encoding: Encoding) -> Option<Make> {
    let decoder = Decoder::new(encoding).ok()?;
    Some(Make::Decode(Box::new(Decoding {
        decoder,
        page: DecodedPage::default(),
        out: Vec::new(),
    })))
}

impl Pieces {
    /// Takes the next bytes; false when they can't be decoded.
    fn take(&mut self, read: &[u8], (offset, len): (u64, u64)) -> bool {
        match &mut self.make {
            Make::Page { bytes, .. } | Make::Filter { bytes, .. } => {
                bytes.extend_from_slice(read);
                true
            }
            Make::Decode(decoding) => {
                let mut out = std::mem::take(&mut decoding.out);
                let decoded = decoding.decoder.push(read, &mut out).is_ok();
                decoding.page.keep(&out, (offset, len));
                out.clear();
                decoding.out = out;
                decoded
            }
        }
    }

    fn finish(self, (offset, len): (u64, u64)) -> SectionRead {
        match self.make {
            Make::Page { bytes, total } => SectionRead::Page { bytes: bytes.freeze(), total },
            Make::Filter { bytes, names, keep } => {
                let filtered = filter_header(&bytes, &names, keep);
                let total = filtered.len() as u64;
                let clamp = |at: u64| usize::try_from(at.min(total)).unwrap_or(filtered.len());
                let bytes = filtered.slice(clamp(offset)..clamp(offset.saturating_add(len)));
                SectionRead::Page { bytes, total }
            }
            Make::Decode(decoding) => {
                let Decoding { decoder, mut page, mut out } = *decoding;
                decoder.finish(&mut out);
                page.keep(&out, (offset, len));
                SectionRead::Page { bytes: page.page.freeze(), total: page.total }
            }
        }
    }
}

impl DecodedPage {
    fn keep(&mut self, decoded: &[u8], (offset, len): (u64, u64)) {
        let end = self.total.saturating_add(decoded.len() as u64);
        let from = offset.max(self.total);
        let to = offset.saturating_add(len).min(end);
        if from < to {
            let at =
                |position: u64| usize::try_from(position - self.total).unwrap_or(decoded.len());
            self.page.extend_from_slice(&decoded[at(from)..at(to)]);
        }
        self.total = end;
    }
}
