//! The scanner: a message in pieces of any size goes by once, and what FETCH and SEARCH need of it
//! stays.
//!
//! States: within a header (at the start of a line, behind a CR, inside a line), within a body
//! (start or inside of a line), at a line that may be a delimiter, behind one that is, or in the
//! tail, where nothing more can be found.
//! Invariants: memory is bounded by [`Limits`], not by the message; each byte is looked at a
//! bounded number of times; any bytes are a message; the result depends on the bytes and not on how
//! they were cut.
//! Line ends are LF, with or without CR before it.

use super::content::{Content, DefaultType, Detail, Shape, is_attachment};
use super::envelope;
use super::header::{Fields, unfold};
use super::limits::Limits;
use super::open::{Boundary, Inside, Next, Open, find_delimiter};
use super::part_table::{Media, Part, PartKind, PartTable};
use super::search_columns::{RootColumns, root_columns};
use super::structure::{
    Budget, CHILD_ROOM, EMPTY_EXTENSION, EMPTY_TEXT, Form, Noted, Texts, write_opaque,
    write_structure,
};
use crate::face::Columns;
use bytes::Bytes;
use memchr::{memchr, memchr_iter, memmem};
use std::sync::LazyLock;

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// At the start of a line of a header.
    HeaderStart,
    /// Behind a CR that began a line of a header.
    HeaderCr,
    /// Inside a line of a header.
    HeaderLine,
    /// At the start of a line of a body.
    BodyStart,
    /// Inside a line of a body.
    BodyLine,
    /// Inside a line that began like a delimiter: its bytes are held.
    Held(Within),
    /// Behind a delimiter, up to the end of its line.
    DelimiterRest(Next),
    /// No boundary is open, and no header: nothing but lines is counted.
    Tail,
}

/// What a line that began like a delimiter stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Header,
    Body,
}

/// A line end, and how many bytes it has: those before a delimiter belong to the delimiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastEnd {
    None,
    Lf,
    CrLf,
}

impl LastEnd {
    fn len(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Lf => 1,
            Self::CrLf => 2,
        }
    }
}

/// Scans one message.
#[derive(Debug)]
pub struct Scanner {
    limits: Limits,
    /// Bytes that went by.
    at: u64,
    /// Line feeds that went by.
    lines: u64,
    last_end: LastEnd,
    last_byte: u8,
    phase: Phase,
    /// The header under way, up to the limit.
    header: Vec<u8>,
    header_offset: u64,
    /// What the entity under way is when its header does not say.
    default: DefaultType,
    /// The start of a line that may be a delimiter.
    held: Vec<u8>,
    open: Vec<Open>,
    active_boundaries: usize,
    /// No room for more parts: what follows is not described.
    exhausted: bool,
    budget: Budget,
    noted: Vec<Noted>,
    arena: Vec<u8>,
    root: Option<RootColumns>,
}

/// What a delimiter line stands before.
static DELIMITER_START: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(b"\n--"));

impl Scanner {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: *limits,
            at: 0,
            lines: 0,
            last_end: LastEnd::None,
            last_byte: 0,
            phase: Phase::HeaderStart,
            header: Vec::new(),
            header_offset: 0,
            default: DefaultType::TextPlain,
            held: Vec::new(),
            open: Vec::new(),
            active_boundaries: 0,
            exhausted: false,
            budget: Budget { body: limits.body_bytes_max, structure: limits.structure_bytes_max },
            noted: Vec::new(),
            arena: Vec::new(),
            root: None,
        }
    }

    /// The next bytes of the message.
    pub fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            let taken = match self.phase {
                Phase::HeaderStart => self.on_header_start(first),
                Phase::HeaderCr => self.on_header_cr(first),
                Phase::HeaderLine => self.on_header_line(rest),
                Phase::BodyStart => self.on_body_start(first),
                Phase::BodyLine => self.on_body_line(rest),
                Phase::Held(within) => self.on_held(rest, within),
                Phase::DelimiterRest(next) => self.on_delimiter_rest(rest, next),
                Phase::Tail => self.pass(rest),
            };
            rest = &rest[taken..];
        }
    }

    /// The message has ended.
    #[must_use]
    pub fn finish(mut self) -> Columns {
        match self.phase {
            Phase::Held(within) => self.judge_held(within),
            Phase::HeaderCr => self.keep_header(b"\r"),
            Phase::DelimiterRest(next) => self.after_delimiter(next),
            Phase::HeaderStart
            | Phase::HeaderLine
            | Phase::BodyStart
            | Phase::BodyLine
            | Phase::Tail => {}
        }
        // A close delimiter without a line end, or a delimiter with nothing behind it.
        if let Phase::DelimiterRest(next) = self.phase {
            self.after_delimiter(next);
        }
        self.end_headers();
        self.close_above(0, self.at, self.lines);
        self.columns()
    }

    /// Counts bytes that are not kept.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        self.at += bytes.len() as u64;
        self.lines += memchr_iter(b'\n', bytes).count() as u64;
        bytes.len()
    }

    fn keep_header(&mut self, bytes: &[u8]) {
        let room = self.limits.header_bytes_max.saturating_sub(self.header.len());
        self.header.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn on_header_start(&mut self, first: u8) -> usize {
        match first {
            b'\n' => {
                self.pass(b"\n");
                self.end_header();
                1
            }
            b'\r' => {
                self.pass(b"\r");
                self.phase = Phase::HeaderCr;
                1
            }
            b'-' if self.active_boundaries > 0 => {
                self.phase = Phase::Held(Within::Header);
                0
            }
            _ => {
                self.phase = Phase::HeaderLine;
                0
            }
        }
    }

    fn on_header_cr(&mut self, first: u8) -> usize {
        if first == b'\n' {
            self.pass(b"\n");
            self.end_header();
            1
        } else {
            self.keep_header(b"\r");
            self.last_byte = b'\r';
            self.phase = Phase::HeaderLine;
            0
        }
    }

    fn on_header_line(&mut self, rest: &[u8]) -> usize {
        let (line, ended) = match memchr(b'\n', rest) {
            Some(at) => (&rest[..=at], true),
            None => (rest, false),
        };
        self.keep_header(line);
        self.pass_line(line);
        if ended {
            self.phase = Phase::HeaderStart;
        }
        line.len()
    }

    /// Counts bytes whose last may be a line end.
    fn pass_line(&mut self, bytes: &[u8]) {
        self.pass(bytes);
        if let [.., before, b'\n'] = bytes {
            self.note_end(*before);
        } else if bytes == b"\n" {
            self.note_end(self.last_byte);
        }
        if let Some(&last) = bytes.last() {
            self.last_byte = last;
        }
    }

    fn note_end(&mut self, before: u8) {
        self.last_end = if before == b'\r' { LastEnd::CrLf } else { LastEnd::Lf };
    }

    fn on_body_start(&mut self, first: u8) -> usize {
        self.phase = match (first, self.active_boundaries) {
            (_, 0) => Phase::Tail,
            (b'-', _) => Phase::Held(Within::Body),
            _ => Phase::BodyLine,
        };
        0
    }

    fn on_body_line(&mut self, rest: &[u8]) -> usize {
        let taken = match DELIMITER_START.find(rest) {
            Some(at) => at + 1,
            // The piece may end inside what begins a delimiter.
            None if rest.ends_with(b"\n-") => rest.len() - 1,
            None => rest.len(),
        };
        self.pass_line(&rest[..taken]);
        if rest[taken - 1] == b'\n' {
            self.phase = Phase::BodyStart;
        }
        taken
    }

    /// Longest line held: a boundary, the hyphens around it, and some white space.
    fn held_bytes_max(&self) -> usize {
        self.limits.boundary_bytes_max + 64
    }

    fn on_held(&mut self, rest: &[u8], within: Within) -> usize {
        let room = self.held_bytes_max() - self.held.len();
        let window = &rest[..rest.len().min(room)];
        let taken = memchr(b'\n', window).map_or(window.len(), |at| at + 1);
        self.held.extend_from_slice(&window[..taken]);
        let full = self.held.len() == self.held_bytes_max();
        if full || self.held.last() == Some(&b'\n') {
            self.judge_held(within);
        }
        taken
    }

    /// A held line is complete, or long enough: is it a delimiter?
    fn judge_held(&mut self, within: Within) {
        let held = std::mem::take(&mut self.held);
        let found = find_delimiter(&self.open, &held);
        match (found, within) {
            (Some((level, next)), _) => {
                self.on_delimiter(level);
                self.pass_line(&held);
                if held.last() == Some(&b'\n') {
                    self.after_delimiter(next);
                } else {
                    self.phase = Phase::DelimiterRest(next);
                }
            }
            (None, Within::Header) => {
                self.keep_header(&held);
                self.pass_line(&held);
                let ended = held.last() == Some(&b'\n');
                self.phase = if ended { Phase::HeaderStart } else { Phase::HeaderLine };
            }
            (None, Within::Body) => {
                self.pass_line(&held);
                let ended = held.last() == Some(&b'\n');
                self.phase = if ended { Phase::BodyStart } else { Phase::BodyLine };
            }
        }
        self.held = held;
        self.held.clear();
    }

    /// A delimiter of the multipart at `level` begins here: all inside it ends before the line end
    /// in front.
    fn on_delimiter(&mut self, level: usize) {
        self.end_headers();
        let end = self.at.saturating_sub(self.last_end.len());
        let lines = self.lines.saturating_sub(u64::from(self.last_end != LastEnd::None));
        self.close_above(level + 1, end, lines);
    }

    fn on_delimiter_rest(&mut self, rest: &[u8], next: Next) -> usize {
        match memchr(b'\n', rest) {
            Some(at) => {
                self.pass_line(&rest[..=at]);
                self.after_delimiter(next);
                at + 1
            }
            None => {
                self.pass_line(rest);
                rest.len()
            }
        }
    }

    /// The delimiter line of the innermost open multipart has ended.
    fn after_delimiter(&mut self, next: Next) {
        self.phase = Phase::BodyStart;
        let full = self.noted.len() >= self.limits.parts_max || self.budget.left() < CHILD_ROOM;
        let Some(Open { inside: Inside::Multipart { boundary, children }, .. }) =
            self.open.last_mut()
        else {
            return;
        };
        match next {
            Next::Epilogue => {
                *boundary = Boundary::Closed;
                self.active_boundaries -= 1;
            }
            Next::Part if full || self.exhausted => self.exhaust(),
            Next::Part => {
                self.default = *children;
                self.begin_header();
            }
        }
    }

    /// There is no room for another part: no delimiter counts from here on.
    fn exhaust(&mut self) {
        self.exhausted = true;
        self.active_boundaries = 0;
        for open in &mut self.open {
            if let Inside::Multipart { boundary, .. } = &mut open.inside {
                *boundary = Boundary::Closed;
            }
        }
        self.phase = Phase::Tail;
    }

    fn begin_header(&mut self) {
        self.header.clear();
        self.header_offset = self.at;
        self.last_end = LastEnd::None;
        self.phase = Phase::HeaderStart;
    }

    /// Ends the header under way, if any, and those of the messages that begin here.
    fn end_headers(&mut self) {
        while matches!(self.phase, Phase::HeaderStart | Phase::HeaderCr | Phase::HeaderLine)
            || (self.phase == Phase::Held(Within::Header))
        {
            self.end_header();
        }
    }

    /// The header under way has ended, the empty line included: an entity is known.
    fn end_header(&mut self) {
        let header = std::mem::take(&mut self.header);
        let fields = Fields::of(&header, &self.limits);
        if self.root.is_none() {
            let mut columns = root_columns(&fields, &self.limits);
            columns.header_bytes = self.at;
            envelope::write_envelope(
                &mut columns.envelope,
                &fields,
                self.limits.envelope_bytes_max,
                &self.limits,
            );
            self.root = Some(columns);
        } else {
            self.note_nested_envelope(&fields);
        }
        self.begin_entity(&fields);
        drop(fields);
        self.header = header;
        self.header.clear();
    }

    /// The header is that of a message inside a message.
    fn note_nested_envelope(&mut self, fields: &Fields<'_>) {
        let Some(Open { index, inside: Inside::Message, .. }) = self.open.last() else {
            return;
        };
        let index = *index;
        // Where half is used up, it is better to list more parts than to say more of each.
        let ample = self.budget.left() > self.limits.body_bytes_max / 2;
        let room = if ample { self.limits.nested_envelope_bytes_max } else { 0 };
        let start = self.arena.len();
        envelope::write_envelope(&mut self.arena, fields, room, &self.limits);
        let len = self.arena.len() - start;
        // The room of an empty one was taken when the part was noted.
        self.budget.take_text(len.saturating_sub(envelope::EMPTY.len()));
        self.noted[index].texts.envelope = start..self.arena.len();
    }

    fn begin_entity(&mut self, fields: &Fields<'_>) {
        let kind = fields.content.kind.map(unfold);
        let encoding = fields.content.encoding.map(unfold);
        let mut content = Content::judge(kind.as_deref(), encoding, self.default, &self.limits);
        let depth = u8::try_from(self.open.len()).unwrap_or(u8::MAX);
        let nests = content.shape != Shape::Leaf;
        // A part inside must find room, too.
        let room_inside =
            depth < self.limits.depth_max && self.noted.len() + 1 < self.limits.parts_max;
        if nests && !room_inside {
            content.become_opaque();
        }
        let is_awaited =
            self.open.last().is_some_and(|parent| parent.index + 1 == self.noted.len());
        if is_awaited {
            self.budget.give_back(CHILD_ROOM);
        }
        let texts = self.note_texts(&mut content, fields);
        let part = Part {
            kind: content.shape.kind(),
            encoding: content.encoding,
            media: match (content.is_text(), content.is_html()) {
                (_, true) => Media::Html,
                (true, false) => Media::Text,
                (false, false) => Media::Other,
            },
            attachment: is_attachment(&fields.content),
            depth,
            header_offset: self.header_offset,
            header_len: self.at - self.header_offset,
            body_len: 0,
            charset: content.charset.clone(),
        };
        let index = self.noted.len();
        self.noted.push(Noted { part, lines: 0, texts });
        self.open_entity(index, content.shape);
    }

    fn open_entity(&mut self, index: usize, shape: Shape) {
        self.phase = Phase::BodyStart;
        self.last_end = LastEnd::None;
        let inside = match shape {
            Shape::Leaf => Inside::Leaf,
            Shape::Multipart { boundary, children } => {
                self.active_boundaries += 1;
                Inside::Multipart { boundary: Boundary::Active(boundary), children }
            }
            Shape::Message => {
                self.default = DefaultType::TextPlain;
                self.begin_header();
                Inside::Message
            }
        };
        self.open.push(Open { index, lines_before: self.lines, inside });
    }

    /// Writes the texts of an entity, with less detail when room is short; without any room, no
    /// more parts follow.
    fn note_texts(&mut self, content: &mut Content<'_>, fields: &Fields<'_>) -> Texts {
        let inside = match content.shape {
            Shape::Leaf => 0,
            Shape::Multipart { .. } => CHILD_ROOM,
            Shape::Message => CHILD_ROOM + envelope::EMPTY.len(),
        };
        for detail in [Detail::Full, Detail::Bare] {
            let start = self.arena.len();
            content.write_basic(&mut self.arena, &fields.content, (detail, &self.limits));
            let middle = self.arena.len();
            content.write_extension(&mut self.arena, &fields.content, (detail, &self.limits));
            let end = self.arena.len();
            if self.budget.take(middle - start + inside, end - middle) {
                return Texts { basic: start..middle, extension: middle..end, envelope: 0..0 };
            }
            self.arena.truncate(start);
        }
        content.become_opaque();
        self.exhausted = true;
        let start = self.arena.len();
        write_opaque(&mut self.arena, content.encoding);
        let middle = self.arena.len();
        self.arena.extend_from_slice(EMPTY_EXTENSION);
        // Its room was made sure of before the part began.
        self.budget.take(middle - start, EMPTY_EXTENSION.len());
        Texts { basic: start..middle, extension: middle..self.arena.len(), envelope: 0..0 }
    }

    /// Ends all entities from `level` of the stack on, at `end`.
    fn close_above(&mut self, level: usize, end: u64, lines: u64) {
        for open in self.open.drain(level.min(self.open.len())..) {
            let noted = &mut self.noted[open.index];
            noted.part.body_len = end.saturating_sub(noted.part.body_offset());
            noted.lines = lines.saturating_sub(open.lines_before);
            if let Inside::Multipart { boundary: Boundary::Active(_), .. } = open.inside {
                self.active_boundaries -= 1;
            }
            let depth = noted.part.depth + 1;
            let is_multipart = noted.part.kind == PartKind::Multipart;
            if is_multipart && open.index + 1 == self.noted.len() {
                self.noted.push(made_up_part(depth, end, &mut self.arena));
            }
        }
    }

    fn columns(self) -> Columns {
        let mut body = Vec::with_capacity(self.arena.len() + 256);
        write_structure(&mut body, &self.noted, &self.arena, Form::Body);
        let mut structure = Vec::with_capacity(self.arena.len() + 256);
        write_structure(&mut structure, &self.noted, &self.arena, Form::BodyStructure);
        let parts = PartTable::new(self.noted.into_iter().map(|noted| noted.part).collect());
        let root = self.root.expect("finish ends the header of the message");
        Columns {
            envelope: Bytes::from(root.envelope),
            body: Bytes::from(body),
            structure: Bytes::from(structure),
            parts: parts.encode(),
            search: root.search,
            header_bytes: root.header_bytes,
            message_id: root.message_id,
            references: root.references,
        }
    }
}

/// RFC 9051 9, body-type-mpart: at least one body. An empty one where the multipart ends.
fn made_up_part(depth: u8, at: u64, arena: &mut Vec<u8>) -> Noted {
    let start = arena.len();
    arena.extend_from_slice(EMPTY_TEXT);
    let middle = arena.len();
    arena.extend_from_slice(EMPTY_EXTENSION);
    let texts = Texts { basic: start..middle, extension: middle..arena.len(), envelope: 0..0 };
    let part = Part {
        kind: PartKind::Leaf,
        encoding: super::part_table::Encoding::SevenBit,
        media: Media::Text,
        attachment: false,
        depth,
        header_offset: at,
        header_len: 0,
        body_len: 0,
        charset: super::part_table::Charset::UsAscii,
    };
    Noted { part, lines: 0, texts }
}
