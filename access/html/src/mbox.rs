//! mbox, in and out, piece by piece: messages behind lines `From `, quoted as `mboxrd` has it (RFC 4155, and the quoting that can be taken
//! back). Nothing here holds more than one line, or one message.

/// Finds the messages of a file that comes in pieces.
#[derive(Debug, Default)]
pub struct Reader {
    /// The line that has not ended.
    line: Vec<u8>,
    /// The line is longer than any message: it is not kept.
    overlong: bool,
    message: Vec<u8>,
    /// What stood behind `From ` in the line before it.
    begun: String,
    state: State,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing that is a message yet.
    #[default]
    Before,
    Within {
        /// The last line was empty: `From ` begins the next message.
        blank: bool,
    },
    /// Longer than is taken: the rest of it is passed over.
    TooLong { blank: bool },
}

/// What a reader came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Message {
        /// What stands behind `From `: a sender and a date, as a rule.
        begun: String,
        /// With CRLF at the ends of lines.
        message: Vec<u8>,
    },
    /// Longer than is taken.
    TooLong,
}

impl Reader {
    /// `bytes_max`: of one message.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    pub fn push(&mut self, piece: &[u8], found: &mut Vec<Found>) {
        let mut rest = piece;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            self.hold(&rest[..at]);
            self.end_line(found);
            rest = &rest[at + 1..];
        }
        self.hold(rest);
    }

    fn hold(&mut self, bytes: &[u8]) {
        self.overlong |= self.line.len() + bytes.len() > self.bytes_max;
        if self.overlong {
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self, found: &mut Vec<Found>) {
        let line = std::mem::take(&mut self.line);
        if !std::mem::take(&mut self.overlong) {
            return self.on_line(line.strip_suffix(b"\r").unwrap_or(&line), found);
        }
        if self.state != State::Before {
            self.message = Vec::new();
            self.state = State::TooLong { blank: false };
        }
    }

    /// The file has ended.
    pub fn finish(mut self, found: &mut Vec<Found>) {
        if !self.line.is_empty() || self.overlong {
            self.end_line(found);
        }
        self.end(found);
    }

    fn on_line(&mut self, line: &[u8], found: &mut Vec<Found>) {
        let begins = line.strip_prefix(b"From ");
        match (self.state, begins) {
            (
                State::Before | State::Within { blank: true } | State::TooLong { blank: true },
                Some(behind),
            ) => {
                self.end(found);
                self.begun = String::from_utf8_lossy(behind).into_owned();
                self.state = State::Within { blank: false };
            }
            (State::Before, None) => {}
            (State::TooLong { .. }, _) => self.state = State::TooLong { blank: line.is_empty() },
            (State::Within { .. }, _) => {
                // mboxrd: one mark less.
                let bare = line.iter().position(|byte| *byte != b'>').unwrap_or(line.len());
                let quoted = bare > 0 && line[bare..].starts_with(b"From ");
                let line = if quoted { &line[1..] } else { line };
                if self.message.len() + line.len() + 2 > self.bytes_max {
                    self.message = Vec::new();
                    self.state = State::TooLong { blank: line.is_empty() };
                    return;
                }
                self.message.extend_from_slice(line);
                self.message.extend_from_slice(b"\r\n");
                self.state = State::Within { blank: line.is_empty() };
            }
        }
    }

    /// The empty line before the next `From ` is of the file, not of the message.
    fn end(&mut self, found: &mut Vec<Found>) {
        match std::mem::take(&mut self.state) {
            State::Before => {}
            State::TooLong { .. } => found.push(Found::TooLong),
            State::Within { blank } => {
                let mut message = std::mem::take(&mut self.message);
                if blank && message.len() > 2 {
                    message.truncate(message.len() - 2);
                }
                if !message.is_empty() {
                    let begun = std::mem::take(&mut self.begun);
                    found.push(Found::Message { begun, message });
                }
            }
        }
    }
}

/// Writes messages, each in pieces.
#[derive(Debug, Default)]
pub struct Writer {
    /// The beginning of a line, as long as it may become one that has to be quoted.
    head: Vec<u8>,
    state: Line,
    /// A CR that may belong to the end of a line.
    held_cr: bool,
    last: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Head,
    Rest,
}

impl Writer {
    /// The line before a message. `date` as asctime has it (RFC 4155: in UTC).
    pub fn begin(&mut self, sender: &str, date: &str, out: &mut Vec<u8>) {
        *self = Self::default();
        let sender: String = sender.chars().filter(char::is_ascii_graphic).collect();
        let sender = if sender.is_empty() { "MAILER-DAEMON" } else { &sender };
        out.extend_from_slice(format!("From {sender} {date}\n").as_bytes());
    }

    /// CRLF becomes LF, as these files have it.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for &byte in piece {
            match self.state {
                Line::Head => {
                    self.head.push(byte);
                    self.on_head(out);
                }
                Line::Rest => {
                    self.put(byte, out);
                    if byte == b'\n' {
                        self.state = Line::Head;
                    }
                }
            }
        }
    }

    fn on_head(&mut self, out: &mut Vec<u8>) {
        const MARK: &[u8] = b"From ";
        let marks = self.head.iter().take_while(|byte| **byte == b'>').count();
        let behind = &self.head[marks..];
        if MARK.starts_with(behind) && behind.len() < MARK.len() && marks < 1000 {
            return;
        }
        if behind == MARK {
            out.push(b'>');
        }
        self.state = if self.head.ends_with(b"\n") { Line::Head } else { Line::Rest };
        self.put_head(out);
    }

    fn put_head(&mut self, out: &mut Vec<u8>) {
        for byte in std::mem::take(&mut self.head) {
            self.put(byte, out);
        }
    }

    fn put(&mut self, byte: u8, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held_cr) && byte != b'\n' {
            out.push(b'\r');
        }
        self.last = byte;
        if byte == b'\r' {
            self.held_cr = true;
        } else {
            out.push(byte);
        }
    }

    /// The message has ended: an empty line follows.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.put_head(out);
        if self.last != b'\n' {
            out.push(b'\n');
        }
        out.push(b'\n');
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(file: &[u8], cut: usize, bytes_max: usize) -> Vec<Found> {
        let (mut reader, mut found) = (Reader::new(bytes_max), Vec::new());
        for piece in file.chunks(cut.max(1)) {
            reader.push(piece, &mut found);
        }
        reader.finish(&mut found);
        found
    }

    fn of(begun: &str, message: &[u8]) -> Found {
        Found::Message { begun: begun.into(), message: message.to_vec() }
    }

    fn written(messages: &[Vec<u8>], cut: usize) -> Vec<u8> {
        let (mut writer, mut out) = (Writer::default(), Vec::new());
        for message in messages {
            writer.begin("a@x", "Thu Jan  1 00:00:00 1970", &mut out);
            for piece in message.chunks(cut.max(1)) {
                writer.push(piece, &mut out);
            }
            writer.end(&mut out);
        }
        out
    }

    #[test]
    fn a_file_at_every_cut() {
        let file = b"rubbish\nFrom a@x Thu Jan  1 00:00:00 1970\nSubject: 1\n\nFrom here\n>From there\n>>From\n\nFrom b\r\nSubject: \
                     2\r\n\r\nlast";
        // `From here` stands behind an empty line: it could only begin a message.
        let split = [
            of("a@x Thu Jan  1 00:00:00 1970", b"Subject: 1\r\n"),
            of("here", b"From there\r\n>>From\r\n"),
            of("b", b"Subject: 2\r\n\r\nlast\r\n"),
        ];
        for cut in 1..file.len() {
            assert_eq!(read(file, cut, 1000), split, "{cut}");
        }
        assert_eq!(read(b"", 1, 10), []);
        assert_eq!(read(b"no mbox\n\nat all\n", 3, 100), []);
    }

    #[test]
    fn what_is_too_long_is_passed_over() {
        let file = b"From a\nA: 1\n\nlong long long long long long\n\nFrom b\nB: 2\n\nFrom c\n12345678901234567890123456789\n\nFrom \
                     d\nD: 4\n";
        let expected = [Found::TooLong, of("b", b"B: 2\r\n"), Found::TooLong, of("d", b"D: 4\r\n")];
        for cut in [1, 2, 7, 1000] {
            assert_eq!(read(file, cut, 20), expected, "{cut}");
        }
    }

    proptest! {
        /// Messages that end with a line's end come back byte for byte, whatever stands in them.
        #[test]
        fn what_is_written_is_read(
            messages in prop::collection::vec(
                prop::collection::vec(prop::sample::select(vec!["From ", ">From x", ">", "a", "", "Fro"]), 1..8), 1..4),
            cut in 1_usize..20,
        ) {
            let messages: Vec<Vec<u8>> = messages
                .iter()
                .map(|lines| format!("S: 1\r\n\r\n{}\r\n", lines.join("\r\n")).into_bytes())
                .collect();
            let found = read(&written(&messages, cut), cut, 10_000);
            let line = "a@x Thu Jan  1 00:00:00 1970";
            let expected: Vec<Found> = messages.iter().map(|it| of(line, it)).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_file_is_read(file in prop::collection::vec(any::<u8>(), 0..300), cut in 1_usize..50) {
            let _ = read(&[b"From x\n", &file[..]].concat(), cut, 50);
        }
    }
}
