//! Sections of the messages of one page, read ahead and sent in order.
//!
//! Invariants: a response is begun only when its first section is there, so that a message that
//! turned out to be gone leaves no half line; bytes read and not yet sent are bounded; once a
//! literal is announced, exactly as many bytes follow or the connection ends.

use super::super::numbers::NumberCursor;
use super::super::output::Mark;
use super::super::shared::{Login, Turn};
use super::plan::{Plan, SectionKind, SeenNow, Separator};
use bytes::Bytes;
use fsm::Token;
use mailstore::face::{
    Completion, Row, SectionRead, TaskRefusal, Uid, UidSet, UserDone, UserError, UserTask,
};
use std::collections::VecDeque;

/// The rows of a page whose sections are on their way.
#[derive(Debug)]
pub struct Bodies {
    rows: Vec<Row>,
    /// Messages that this fetch made `\Seen`.
    seen: UidSet,
    /// The next read to ask for: (row, section).
    ahead: (usize, usize),
    reads: VecDeque<Read>,
    response: Response,
    cursor: NumberCursor,
}

/// One section asked for.
#[derive(Debug)]
struct Read {
    row: usize,
    item: usize,
    /// Offset in the section of what was asked for.
    offset: u64,
    bytes_expected: u64,
    state: ReadState,
}

#[derive(Debug)]
enum ReadState {
    Asked(Token),
    Done(Result<SectionRead, Trouble>),
}

/// The response being written.
#[derive(Debug)]
enum Response {
    /// Between two messages.
    None,
    /// `* n FETCH (...` is written, `)` is not. `start`: where it began, unless too much of it was
    /// sent to take it back.
    Open { start: Option<Mark>, separator: Separator },
    /// Within a literal: so many bytes are owed.
    Literal { owed: u64 },
}

/// Why a section can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The message went away.
    Gone,
    /// RFC 3516 4.3.
    UnknownEncoding,
    Refused(TaskRefusal),
    /// An answer of the wrong kind.
    Bug,
}

/// What a step led to.
#[derive(Debug)]
pub enum BodiesStep {
    /// For a read, or for `Drained`.
    Wait(Bodies),
    /// The page is sent.
    Done,
    /// A literal can't be finished: nothing sensible can be sent any more.
    Broken,
}

/// What the plan's sections are fetched with.
pub struct Fetching<'f> {
    pub plan: &'f Plan,
    /// The first trouble of the command: its answer.
    pub trouble: &'f mut Option<Trouble>,
}

impl Bodies {
    pub fn new(rows: Vec<Row>, seen: UidSet) -> Self {
        Self {
            rows,
            seen,
            ahead: (0, 0),
            reads: VecDeque::new(),
            response: Response::None,
            cursor: NumberCursor::default(),
        }
    }

    /// Whether a response is begun and not ended, so that no other one may be sent now.
    pub fn is_open(&self) -> bool {
        match self.response {
            Response::Literal { .. } | Response::Open { .. } => true,
            Response::None => false,
        }
    }

    /// Whether a literal is announced and not all of it sent.
    pub fn owes_bytes(&self) -> bool {
        match self.response {
            Response::Literal { owed } => owed > 0,
            Response::None | Response::Open { .. } => false,
        }
    }

    pub fn on_completed(
        mut self,
        turn: &mut Turn<'_, '_>,
        (token, completion): (Token, Completion),
        fetching: &mut Fetching<'_>,
    ) -> BodiesStep {
        for read in &mut self.reads {
            match &read.state {
                ReadState::Asked(asked) if *asked == token => {
                    read.state = ReadState::Done(judge(completion));
                    break;
                }
                ReadState::Asked(_) | ReadState::Done(_) => {}
            }
        }
        self.go_on(turn, fetching)
    }

    /// Asks for what may be asked, sends what may be sent.
    pub fn go_on(mut self, turn: &mut Turn<'_, '_>, fetching: &mut Fetching<'_>) -> BodiesStep {
        loop {
            self.read_ahead(turn, fetching.plan);
            if turn.shared.output_is_full() {
                return BodiesStep::Wait(self);
            }
            let Some(read) = self.reads.pop_front() else { return BodiesStep::Done };
            match read.state {
                ReadState::Asked(_) => {
                    self.reads.push_front(read);
                    return BodiesStep::Wait(self);
                }
                ReadState::Done(result) => {
                    let place = Place { row: read.row, item: read.item, offset: read.offset };
                    if !self.on_section(turn, place, result, fetching) {
                        return BodiesStep::Broken;
                    }
                }
            }
        }
    }

    fn read_ahead(&mut self, turn: &mut Turn<'_, '_>, plan: &Plan) {
        let (reads_max, bytes_max, page) = {
            let limits = &turn.shared.limits;
            (limits.reads_ahead_max, limits.read_ahead_bytes_max, limits.section_page_bytes_max)
        };
        while self.reads.len() < reads_max {
            let (row_at, item_at) = self.ahead;
            let (Some(row), Some(item)) = (self.rows.get(row_at), plan.sections.get(item_at))
            else {
                return;
            };
            let (first, length) = item.kind.window();
            let expected = row.bytes.min(length).min(page);
            let under_way: u64 = self.reads.iter().map(|read| read.bytes_expected).sum();
            if !self.reads.is_empty() && under_way + expected > bytes_max {
                return;
            }
            let place = Place { row: row_at, item: item_at, offset: first };
            let read = ask(turn, (row.uid, plan), place, length.min(page), expected);
            self.reads.push_back(read);
            self.ahead = if item_at + 1 < plan.sections.len() {
                (row_at, item_at + 1)
            } else {
                (row_at + 1, 0)
            };
        }
    }

    /// False when the connection can't go on.
    fn on_section(
        &mut self,
        turn: &mut Turn<'_, '_>,
        place: Place,
        result: Result<SectionRead, Trouble>,
        fetching: &mut Fetching<'_>,
    ) -> bool {
        let Some(item) = fetching.plan.sections.get(place.item) else { return true };
        let read = match result {
            Ok(SectionRead::UnknownEncoding) => Err(Trouble::UnknownEncoding),
            Ok(SectionRead::Page { bytes, total }) => Ok(Some((bytes, total))),
            Ok(SectionRead::NoSuchPart) => Ok(None),
            Err(trouble) => Err(trouble),
        };
        if self.owes_bytes() {
            return match read {
                Ok(Some((bytes, _))) => self.send_more(turn, place, bytes, fetching.plan),
                Ok(None) | Err(_) => false,
            };
        }
        let read = match read {
            Ok(read) => read,
            Err(trouble) => {
                fetching.trouble.get_or_insert(trouble);
                return match trouble {
                    // RFC 3516 4.3: the item is left out, the command ends with NO.
                    Trouble::UnknownEncoding => {
                        self.open(turn, place.row, fetching.plan);
                        self.close_if_last(turn, place, fetching.plan);
                        true
                    }
                    Trouble::Gone | Trouble::Refused(_) | Trouble::Bug => {
                        self.drop_row(turn, place.row)
                    }
                };
            }
        };
        if !self.open(turn, place.row, fetching.plan) {
            return true;
        }
        let output = &mut turn.shared.output;
        if let Response::Open { start: _, separator } = &mut self.response {
            separator.put(output.buffer());
        }
        output.put(&item.label).put(" ");
        match (read, item.kind) {
            (None, SectionKind::Text(_) | SectionKind::Binary(_)) => {
                output.put("NIL");
            }
            (None, SectionKind::Size) => {
                output.put("0");
            }
            (Some((_, total)), SectionKind::Size) => {
                output.number(total);
            }
            (Some((bytes, total)), SectionKind::Text(_) | SectionKind::Binary(_)) => {
                let (first, length) = item.kind.window();
                let promised = length.min(total.saturating_sub(first));
                let binary = match item.kind {
                    SectionKind::Binary(_) => promised > bytes.len() as u64 || bytes.contains(&0),
                    SectionKind::Text(_) | SectionKind::Size => false,
                };
                // RFC 3516 4.2: a literal8 where NUL may occur.
                output.put(if binary { "~{" } else { "{" }).number(promised).put("}\r\n");
                return self.send_first(turn, place, (bytes, promised), fetching.plan);
            }
        }
        self.close_if_last(turn, place, fetching.plan);
        true
    }

    fn send_first(
        &mut self,
        turn: &mut Turn<'_, '_>,
        place: Place,
        (bytes, promised): (Bytes, u64),
        plan: &Plan,
    ) -> bool {
        if promised == 0 {
            self.close_if_last(turn, place, plan);
            return true;
        }
        if promised > bytes.len() as u64 {
            // From here on the response can't be taken back.
            self.response = Response::Literal { owed: promised };
            return self.send_more(turn, place, bytes, plan);
        }
        let whole = usize::try_from(promised).unwrap_or(bytes.len()).min(bytes.len());
        turn.shared.output.piece(bytes.slice(..whole));
        self.close_if_last(turn, place, plan);
        true
    }

    /// Sends a page of a literal, and asks for the next one.
    fn send_more(
        &mut self,
        turn: &mut Turn<'_, '_>,
        place: Place,
        bytes: Bytes,
        plan: &Plan,
    ) -> bool {
        let Response::Literal { owed } = self.response else { return false };
        // A page that gives nothing would never end.
        if bytes.is_empty() {
            return false;
        }
        let sent = (bytes.len() as u64).min(owed);
        let left = owed - sent;
        let end = usize::try_from(sent).unwrap_or(bytes.len()).min(bytes.len());
        turn.shared.output.piece(bytes.slice(..end));
        if left > 0 {
            let Some(row) = self.rows.get(place.row) else { return false };
            self.response = Response::Literal { owed: left };
            let place = Place { offset: place.offset + sent, ..place };
            let page = turn.shared.limits.section_page_bytes_max.min(left);
            let read = ask(turn, (row.uid, plan), place, page, page);
            self.reads.push_front(read);
            return true;
        }
        self.response = Response::Open { start: None, separator: Separator::Space };
        self.close_if_last(turn, place, plan);
        true
    }

    /// Begins the response of a row unless it is begun; false when the client does not know the
    /// message.
    fn open(&mut self, turn: &mut Turn<'_, '_>, row: usize, plan: &Plan) -> bool {
        match self.response {
            Response::Open { .. } | Response::Literal { .. } => return true,
            Response::None => {}
        }
        let shared = &mut *turn.shared;
        let Login::Selected { account: _, view } = &shared.login else { return false };
        let Some(row) = self.rows.get(row) else { return false };
        let seen =
            SeenNow { set: self.seen.contains(row.uid), condstore: shared.enabled.condstore };
        let mark = shared.output.mark();
        let place = (&**view, &mut self.cursor);
        match plan.put_row(&mut shared.output, place, row, seen) {
            Some(separator) => {
                self.response = Response::Open { start: Some(mark), separator };
                shared.counts.messages += 1;
                true
            }
            None => false,
        }
    }

    fn close_if_last(&mut self, turn: &mut Turn<'_, '_>, place: Place, plan: &Plan) {
        if place.item + 1 < plan.sections.len() {
            return;
        }
        match self.response {
            Response::Open { .. } | Response::Literal { .. } => {
                turn.shared.output.put(")\r\n");
                self.response = Response::None;
            }
            Response::None => {}
        }
        // The row is done: its columns need no memory any more.
        if let Some(row) = self.rows.get_mut(place.row) {
            row.envelope = Bytes::new();
            row.structure = Bytes::new();
        }
    }

    /// Forgets a row whose sections can't be read; false when some of its response has been sent.
    fn drop_row(&mut self, turn: &mut Turn<'_, '_>, row: usize) -> bool {
        self.reads.retain(|read| read.row != row);
        if self.ahead.0 == row {
            self.ahead = (row + 1, 0);
        }
        match std::mem::replace(&mut self.response, Response::None) {
            Response::None => true,
            Response::Open { start: Some(start), separator: _ } => turn.shared.output.rewind(start),
            Response::Open { start: None, separator: _ } | Response::Literal { .. } => false,
        }
    }
}

/// Where in a page a read belongs.
#[derive(Clone, Copy, Debug)]
struct Place {
    row: usize,
    item: usize,
    offset: u64,
}

fn ask(
    turn: &mut Turn<'_, '_>,
    (uid, plan): (Uid, &Plan),
    place: Place,
    len: u64,
    bytes_expected: u64,
) -> Read {
    let folder = turn.shared.view().map(|view| view.folder).unwrap_or_default();
    let section = plan.sections.get(place.item).map(|item| item.section.clone());
    let section = section.unwrap_or(mailstore::face::Section::WHOLE);
    let task = UserTask::ReadSection { folder, uid, section, offset: place.offset, len };
    let token = turn.submit_user(task);
    Read {
        row: place.row,
        item: place.item,
        offset: place.offset,
        bytes_expected,
        state: ReadState::Asked(token),
    }
}

fn judge(completion: Completion) -> Result<SectionRead, Trouble> {
    match completion {
        Completion::User(UserDone::Section(read)) => Ok(read),
        Completion::User(UserDone::Failed(UserError::Expunged | UserError::NoSuchFolder)) => {
            Err(Trouble::Gone)
        }
        Completion::Refused(refusal) => Err(Trouble::Refused(refusal)),
        Completion::User(_)
        | Completion::Directory(_)
        | Completion::Delivery(_)
        | Completion::Blob(_) => Err(Trouble::Bug),
    }
}
