//! Finds commands, literals and their ends in the bytes that arrive.
//!
//! States: `Line` -> `Literal` -> `Line` ... for commands that are collected whole; `Begun` ->
//! `Verdict` -> `Message` -> `Tail` -> (`Verdict` | `Line`) for APPEND, whose messages are handed
//! through; `Drain` -> `DropLine` -> `Line` for what is refused.
//! Invariants: what is collected never exceeds the limit; each byte is looked at a bounded number
//! of times, however the bytes are cut; when nothing is pending no memory is held. After an error
//! the next command begins behind the CRLF that ends the wrong one, its literals passed over.
//! Must not know: what a command does, which state the session is in.

use super::event::{AppendEvent, AppendMessage, Event, LiteralKind, LiteralSync};
use super::input::Input;
use super::limits::TAG_BYTES_MAX;
use super::parse::{
    self, AppendHead, AppendTail, NameEncoding, append_head, append_tail, tag_of, verb_is_append,
};
use super::{Mailbox, Tag};
use bytes::{Bytes, BytesMut};

/// Bytes at the end of a dropped line that are kept to see whether it announces a literal: `~{`, 20
/// digits, `+}`, CRLF.
const LINE_END_BYTES: usize = 28;

/// The reader of one connection: bytes in by [`Framer::push`], events out by [`Framer::poll`].
#[derive(Debug)]
pub struct Framer {
    input: Input,
    /// The command so far, when it did not come in one piece.
    pending: BytesMut,
    state: State,
    names: NameEncoding,
    command_bytes_max: usize,
    work: u64,
}

#[derive(Debug)]
enum State {
    /// Within a line; in `pending` it begins at `start`.
    Line { start: usize, purpose: Purpose },
    /// Within a literal that is collected.
    Literal { left: usize, purpose: Purpose },
    /// APPEND was told; its first message was not yet.
    Begun { tag: Tag, message: AppendMessage },
    /// A message was told; waits for the session.
    Verdict { tag: Tag, bytes: u64, literal: LiteralKind, sync: LiteralSync },
    /// Within a message.
    Message { tag: Tag, left: u64, literal: LiteralKind },
    /// On the line behind a message.
    Tail { tag: Tag, literal: LiteralKind },
    /// Drops so many bytes of a literal, then the line behind it.
    Drain { left: u64 },
    /// Drops a line; of what was dropped, the end.
    DropLine { end: LineEnd },
}

/// What a line is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Command,
    /// APPEND whose mailbox name is a literal.
    AppendMailbox,
    /// A line for the session, not a command.
    Raw,
}

/// The last bytes of a line.
#[derive(Clone, Copy, Debug, Default)]
struct LineEnd {
    bytes: [u8; LINE_END_BYTES],
    len: usize,
}

impl LineEnd {
    fn push(&mut self, more: &[u8]) {
        let more = more.get(more.len().saturating_sub(LINE_END_BYTES)..).unwrap_or_default();
        let kept = self.len.min(LINE_END_BYTES - more.len());
        self.bytes.copy_within(self.len - kept..self.len, 0);
        self.bytes[kept..kept + more.len()].copy_from_slice(more);
        self.len = kept + more.len();
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What one turn of the machine led to.
#[derive(Debug)]
enum Turn {
    Event(Event),
    Again,
    /// Nothing before more bytes come, or the session decides.
    Wait,
}

impl Framer {
    /// A framer that expects a command of at most `command_bytes_max` bytes.
    #[must_use]
    pub fn new(command_bytes_max: usize) -> Self {
        Self {
            input: Input::default(),
            pending: BytesMut::new(),
            state: LINE,
            names: NameEncoding::Utf7,
            command_bytes_max,
            work: 0,
        }
    }

    /// From the next command on. See [`super::limits`].
    pub const fn set_command_bytes_max(&mut self, command_bytes_max: usize) {
        self.command_bytes_max = command_bytes_max;
    }

    /// From the next command on. UTF8=ACCEPT changes it.
    pub const fn set_names(&mut self, names: NameEncoding) {
        self.names = names;
    }

    /// Bytes of the client, in order.
    pub fn push(&mut self, bytes: Bytes) {
        self.input.push(bytes);
    }

    /// Bytes that arrived and have not led to an event. Behind STARTTLS there must be none.
    #[must_use]
    pub fn unread_len(&self) -> usize {
        self.input.len() + self.pending.len()
    }

    /// Bytes looked at, copied or parsed so far: grows in proportion to the bytes pushed, however
    /// they are cut.
    #[must_use]
    pub const fn work(&self) -> u64 {
        self.work
    }

    /// The next line is no command: [`Event::Line`] (AUTHENTICATE, IDLE). Holds for one line; to be
    /// called between commands.
    pub fn expect_line(&mut self) {
        if let State::Line { start: 0, purpose } = &mut self.state {
            *purpose = Purpose::Raw;
        }
    }

    /// After [`AppendEvent::Message`]: the message is wanted. When the client waits, the session
    /// has sent `+ `.
    pub fn accept_literal(&mut self) {
        self.state = match std::mem::replace(&mut self.state, LINE) {
            State::Verdict { tag, bytes, literal, sync: _ } => {
                State::Message { tag, left: bytes, literal }
            }
            other => other,
        };
    }

    /// Ends the APPEND under way; nothing more is told of it. The session answers it by NO. What
    /// the client is still going to send of it is dropped: so many bytes of the message at hand (0
    /// when the client waits and will send none).
    pub fn abandon_append(&mut self) -> u64 {
        let state = std::mem::replace(&mut self.state, LINE);
        let left = match state {
            State::Begun { tag: _, message: AppendMessage { bytes, sync, .. } }
            | State::Verdict { tag: _, bytes, literal: _, sync } => match sync {
                // RFC 9051 4.3: told NO, the client does not send the literal.
                LiteralSync::Synchronizing => return 0,
                LiteralSync::NonSynchronizing => bytes,
            },
            State::Message { tag: _, left, literal: _ } => left,
            State::Tail { tag: _, literal: _ } => {
                self.drop_pending_line(0);
                return 0;
            }
            other @ (State::Line { .. }
            | State::Literal { .. }
            | State::Drain { .. }
            | State::DropLine { .. }) => {
                self.state = other;
                return 0;
            }
        };
        self.state = State::Drain { left };
        left
    }

    /// The next event; `None` when more bytes, or the session's word on an APPEND, are needed
    /// first.
    pub fn poll(&mut self) -> Option<Event> {
        loop {
            let turn = match std::mem::replace(&mut self.state, LINE) {
                State::Line { start, purpose } => self.read_line(start, purpose),
                State::Literal { left, purpose } => self.collect_literal(left, purpose),
                State::Begun { tag, message } => self.tell_message(tag, message),
                state @ State::Verdict { .. } => {
                    self.state = state;
                    Turn::Wait
                }
                State::Message { tag, left, literal } => self.pass_message(tag, left, literal),
                State::Tail { tag, literal } => self.read_tail(tag, literal),
                State::Drain { left } => self.drain(left),
                State::DropLine { end } => self.drop_line(end),
            };
            match turn {
                Turn::Event(event) => return Some(event),
                Turn::Again => {}
                Turn::Wait => return None,
            }
        }
    }

    fn read_line(&mut self, start: usize, purpose: Purpose) -> Turn {
        let Some(line) = self.gather_line() else {
            if self.pending.len() > self.command_bytes_max {
                return self.line_too_long(start);
            }
            self.state = State::Line { start, purpose };
            return Turn::Wait;
        };
        if self.pending.len() + line.len() > self.command_bytes_max {
            self.pending.extend_from_slice(&line);
            return self.line_too_long(start);
        }
        // The line at hand is `line`, or the end of `pending` and `line`.
        if purpose == Purpose::Raw {
            let line = self.complete(line);
            return Turn::Event(Event::Line(without_crlf(line)));
        }
        let announced = if self.pending.len() == start {
            literal_at_end(&line)
        } else {
            self.pending.extend_from_slice(&line);
            self.work += line.len() as u64;
            let announced = literal_at_end(self.pending.get(start..).unwrap_or_default());
            // The line is whole in `pending`.
            return self.on_line(Bytes::new(), start, announced, purpose);
        };
        self.on_line(line, start, announced, purpose)
    }

    /// A whole line is there: `line`, or, when that is empty, what stands in `pending` from
    /// `start`.
    fn on_line(
        &mut self,
        line: Bytes,
        start: usize,
        announced: Option<Announced>,
        purpose: Purpose,
    ) -> Turn {
        let first_line = if start == 0 && line.is_empty() { &self.pending[..] } else { &line[..] };
        let is_append = match purpose {
            Purpose::Command => start == 0 && verb_is_append(first_line),
            Purpose::AppendMailbox => true,
            Purpose::Raw => false,
        };
        match announced {
            None => self.on_command(line),
            Some(announced) if is_append => self.on_append(line, start, announced),
            Some(announced) => {
                self.pending.extend_from_slice(&line);
                self.collect(announced, Purpose::Command)
            }
        }
    }

    fn on_command(&mut self, line: Bytes) -> Turn {
        let text = self.complete(line);
        self.work += text.len() as u64;
        Turn::Event(match parse::command(&text, self.names) {
            Ok(command) => Event::Command(command),
            Err(error) => Event::Bad { tag: tag_of(&text), reason: error.0 },
        })
    }

    fn on_append(&mut self, line: Bytes, start: usize, announced: Announced) -> Turn {
        let head = self.complete(line);
        self.work += head.len() as u64;
        let tag = tag_of(&head);
        match (append_head(&head, self.names), tag) {
            (Ok(AppendHead::Message { mailbox, message }), Some(tag)) => {
                self.begin_append(tag, mailbox, message)
            }
            // Only the first line can end with the mailbox name.
            (Ok(AppendHead::MailboxFollows), Some(_)) if start == 0 => {
                self.pending = BytesMut::from(head);
                self.collect(announced, Purpose::AppendMailbox)
            }
            (Ok(_), tag) => self.bad(tag, "wrong APPEND", Some(announced)),
            (Err(error), tag) => self.bad(tag, error.0, Some(announced)),
        }
    }

    fn begin_append(&mut self, tag: Tag, mailbox: Mailbox, message: AppendMessage) -> Turn {
        self.state = State::Begun { tag: tag.clone(), message };
        Turn::Event(Event::Append(AppendEvent::Begin { tag, mailbox }))
    }

    fn tell_message(&mut self, tag: Tag, message: AppendMessage) -> Turn {
        let AppendMessage { bytes, literal, sync, .. } = message;
        self.state = State::Verdict { tag, bytes, literal, sync };
        Turn::Event(Event::Append(AppendEvent::Message(message)))
    }

    fn pass_message(&mut self, tag: Tag, left: u64, literal: LiteralKind) -> Turn {
        if left == 0 {
            self.state = State::Tail { tag, literal };
            return Turn::Event(Event::Append(AppendEvent::LiteralEnd));
        }
        let data = self.input.take(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - data.len() as u64;
        self.state = State::Message { tag, left, literal };
        if data.is_empty() {
            return Turn::Wait;
        }
        self.work += 1;
        Turn::Event(Event::Append(AppendEvent::Data(data)))
    }

    fn read_tail(&mut self, tag: Tag, literal: LiteralKind) -> Turn {
        let Some(line) = self.gather_line() else {
            if self.pending.len() > self.command_bytes_max {
                return self.tail_too_long(tag);
            }
            self.state = State::Tail { tag, literal };
            return Turn::Wait;
        };
        if self.pending.len() + line.len() > self.command_bytes_max {
            self.pending.extend_from_slice(&line);
            return self.tail_too_long(tag);
        }
        let line = self.complete(line);
        self.work += line.len() as u64;
        let announced = literal_at_end(&line);
        match append_tail(&line, literal) {
            Ok(AppendTail::End) => Turn::Event(Event::Append(AppendEvent::End)),
            Ok(AppendTail::Message(message)) => self.tell_message(tag, message),
            Err(error) => self.bad(Some(tag), error.0, announced),
        }
    }

    fn tail_too_long(&mut self, tag: Tag) -> Turn {
        self.drop_pending_line(0);
        Turn::Event(Event::TooLong { tag: Some(tag), draining: 0 })
    }

    /// A wrong command whose last line announced a literal, or did not.
    fn bad(&mut self, tag: Option<Tag>, reason: &'static str, last: Option<Announced>) -> Turn {
        self.pending = BytesMut::new();
        self.state = match last {
            Some(Announced { bytes, sync: LiteralSync::NonSynchronizing }) => {
                State::Drain { left: bytes }
            }
            Some(Announced { bytes: _, sync: LiteralSync::Synchronizing }) | None => LINE,
        };
        Turn::Event(Event::Bad { tag, reason })
    }

    /// The command in `pending` goes on with a literal that is collected, if it may.
    fn collect(&mut self, announced: Announced, purpose: Purpose) -> Turn {
        let room = self.command_bytes_max.saturating_sub(self.pending.len());
        match usize::try_from(announced.bytes) {
            Ok(left) if left <= room => {
                self.state = State::Literal { left, purpose };
                match announced.sync {
                    LiteralSync::Synchronizing => Turn::Event(Event::Continue),
                    LiteralSync::NonSynchronizing => Turn::Again,
                }
            }
            Ok(_) | Err(_) => {
                let text = std::mem::take(&mut self.pending).freeze();
                let tag = tag_of(&text);
                let draining = match announced.sync {
                    LiteralSync::Synchronizing => 0,
                    LiteralSync::NonSynchronizing => {
                        self.state = State::Drain { left: announced.bytes };
                        announced.bytes
                    }
                };
                Turn::Event(Event::TooLong { tag, draining })
            }
        }
    }

    fn collect_literal(&mut self, left: usize, purpose: Purpose) -> Turn {
        let data = self.input.take(left);
        self.work += data.len() as u64 + 1;
        self.pending.extend_from_slice(&data);
        let left = left - data.len();
        if left == 0 {
            self.state = State::Line { start: self.pending.len(), purpose };
            return Turn::Again;
        }
        self.state = State::Literal { left, purpose };
        if data.is_empty() { Turn::Wait } else { Turn::Again }
    }

    /// The line in `pending` from `start` on, whole or not, is over the limit.
    fn line_too_long(&mut self, start: usize) -> Turn {
        // Of the bytes within the limit, so that a cut changes nothing; a tag that fills them is none.
        let head_len = self.pending.len().min(self.command_bytes_max).min(2 * TAG_BYTES_MAX);
        let head = Bytes::copy_from_slice(self.pending.get(..head_len).unwrap_or_default());
        let tag = tag_of(&head).filter(|tag| tag.0.len() < head_len);
        self.drop_pending_line(start);
        Turn::Event(Event::TooLong { tag, draining: 0 })
    }

    fn drop_pending_line(&mut self, start: usize) {
        let pending = std::mem::take(&mut self.pending);
        let line = pending.get(start..).unwrap_or_default();
        let mut end = LineEnd::default();
        end.push(line);
        self.state = if line.ends_with(b"\n") {
            after_dropped_line(end.as_bytes())
        } else {
            State::DropLine { end }
        };
    }

    fn drain(&mut self, left: u64) -> Turn {
        if left == 0 {
            self.state = State::DropLine { end: LineEnd::default() };
            return Turn::Again;
        }
        let here = self.input.front().len() as u64;
        let dropped = left.min(here);
        self.work += 1;
        self.input.skip(usize::try_from(dropped).unwrap_or(usize::MAX));
        self.state = State::Drain { left: left - dropped };
        if dropped == 0 { Turn::Wait } else { Turn::Again }
    }

    fn drop_line(&mut self, mut end: LineEnd) -> Turn {
        let front = self.input.front();
        let line_end = memchr::memchr(b'\n', front);
        let len = line_end.map_or(front.len(), |at| at + 1);
        end.push(&front[..len]);
        self.work += len as u64 + 1;
        self.input.skip(len);
        if line_end.is_some() {
            self.state = after_dropped_line(end.as_bytes());
            return Turn::Again;
        }
        self.state = State::DropLine { end };
        if len == 0 { Turn::Wait } else { Turn::Again }
    }

    /// The rest of the line, LF included, when it is there; else moves all there is to `pending`,
    /// as far as it may grow.
    fn gather_line(&mut self) -> Option<Bytes> {
        loop {
            let front = self.input.front();
            if front.is_empty() || self.pending.len() > self.command_bytes_max {
                return None;
            }
            if let Some(at) = memchr::memchr(b'\n', front) {
                self.work += at as u64 + 1;
                return Some(self.input.take(at + 1));
            }
            let piece = self.input.take(front.len());
            self.work += piece.len() as u64 * 2;
            self.pending.extend_from_slice(&piece);
        }
    }

    /// What was collected and `line` as one; nothing stays behind.
    fn complete(&mut self, line: Bytes) -> Bytes {
        if self.pending.is_empty() {
            return line;
        }
        let mut text = std::mem::take(&mut self.pending);
        text.extend_from_slice(&line);
        text.freeze()
    }
}

/// Between commands.
const LINE: State = State::Line { start: 0, purpose: Purpose::Command };

/// A literal that a line ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Announced {
    /// Saturates.
    bytes: u64,
    sync: LiteralSync,
}

/// RFC 9051 section 9 literal, RFC 7888: `{n}`, `{n+}` or `{n-}` right before the line's end.
fn literal_at_end(line: &[u8]) -> Option<Announced> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}")?;
    let (line, sync) = match line.split_last()? {
        (b'+' | b'-', line) => (line, LiteralSync::NonSynchronizing),
        _ => (line, LiteralSync::Synchronizing),
    };
    let digits = line.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, number) = line.split_at(line.len() - digits);
    if digits == 0 || before.last() != Some(&b'{') {
        return None;
    }
    let bytes = number.iter().fold(0_u64, |value, digit| {
        value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Some(Announced { bytes, sync })
}

/// A wrong command goes on behind a literal that the client sends unasked, and is over behind any
/// other line.
fn after_dropped_line(end: &[u8]) -> State {
    match literal_at_end(end) {
        Some(Announced { bytes, sync: LiteralSync::NonSynchronizing }) => {
            State::Drain { left: bytes }
        }
        Some(Announced { bytes: _, sync: LiteralSync::Synchronizing }) | None => LINE,
    }
}

fn without_crlf(line: Bytes) -> Bytes {
    let text = line.strip_suffix(b"\n").unwrap_or(&line);
    let len = text.strip_suffix(b"\r").unwrap_or(text).len();
    line.slice(..len)
}
