//! Watches the header of a message go by: where it ends, how long its lines are, how often it was received.
//!
//! Incremental, and keeps no more than the beginning of a line. A line that is no field does not end the header here (readers
//! pass over it), but what follows is no longer held to the limits of a header: it may be text.

use super::Fault;
use crate::Limits;

/// What one piece of text led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The header goes on.
    Header,
    /// The header ended within the piece: its fields take `fields` bytes of the message, the empty line included if there is
    /// one. Reported once.
    Ended { fields: u64 },
    /// The piece belongs to the text.
    Text,
}

/// What the current line has shown itself to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Start,
    /// A CR at its beginning.
    Cr,
    Blank,
    /// So many bytes of a field name; whether they begin like "received".
    Name {
        bytes: usize,
        received: bool,
    },
    /// White space between name and colon, allowed by RFC 5322 4.5.
    NameSpace,
    /// Behind the colon, or a continuation.
    Value,
    /// No field.
    Junk,
}

/// The state of watching.
#[derive(Clone, Debug)]
pub struct HeaderWatch {
    line: Line,
    line_bytes: u64,
    /// Bytes of the message before the current line.
    before_line: u64,
    fields: Fields,
    received_fields: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fields {
    /// All lines so far were fields.
    Only,
    /// A line that is no field has been seen.
    AndJunk,
    /// The empty line was seen.
    Ended,
}

const RECEIVED: &[u8; 8] = b"received";
/// Octets of a field name: RFC 5322 2.1.1 leaves no room for more on a line.
const NAME_BYTES_MAX: usize = 998;

impl Default for HeaderWatch {
    fn default() -> Self {
        Self {
            line: Line::Start,
            line_bytes: 0,
            before_line: 0,
            fields: Fields::Only,
            received_fields: 0,
        }
    }
}

impl HeaderWatch {
    /// Takes the next piece of the message's text.
    ///
    /// # Errors
    /// `HeaderTooLong`, `Looping`.
    pub fn push(&mut self, text: &[u8], limits: &Limits) -> Result<Watched, Fault> {
        let mut result = match self.fields {
            Fields::Ended => return Ok(Watched::Text),
            Fields::AndJunk => Watched::Text,
            Fields::Only => Watched::Header,
        };
        let mut rest = text;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |feed| feed + 1);
            let (piece, behind) = rest.split_at(end);
            rest = behind;
            self.take_piece(piece);
            if self.line == Line::Junk && self.fields == Fields::Only {
                self.fields = Fields::AndJunk;
                result = Watched::Ended { fields: self.before_line };
            }
            self.check(limits)?;
            if self.line == Line::Blank {
                if self.fields == Fields::Only {
                    result = Watched::Ended { fields: self.before_line + self.line_bytes };
                }
                self.fields = Fields::Ended;
                return Ok(result);
            }
            if piece.ends_with(b"\n") {
                self.before_line += self.line_bytes;
                (self.line, self.line_bytes) = (Line::Start, 0);
            }
        }
        Ok(result)
    }

    /// Part of a line, at most up to its LF.
    fn take_piece(&mut self, piece: &[u8]) {
        for &byte in piece {
            // Only the beginning of a line is looked at byte by byte.
            if matches!(self.line, Line::Value | Line::Junk) {
                break;
            }
            self.line = self.judge(byte);
        }
        self.line_bytes += piece.len() as u64;
    }

    fn judge(&mut self, byte: u8) -> Line {
        match (self.line, byte) {
            (Line::Start, b'\r') => Line::Cr,
            (Line::Start | Line::Cr, b'\n') => Line::Blank,
            // RFC 5322 2.2.3: a line that begins with white space continues the one before.
            (Line::Start, b' ' | b'\t') if self.before_line > 0 => Line::Value,
            (Line::Start, b'!'..=b'9' | b';'..=b'~') => name(0, true, byte),
            (Line::Name { bytes, received }, b'!'..=b'9' | b';'..=b'~') => {
                name(bytes, received, byte)
            }
            (Line::Name { bytes, received }, b':') => {
                let is_received = received && bytes == RECEIVED.len();
                self.received_fields = self.received_fields.saturating_add(is_received.into());
                Line::Value
            }
            (Line::NameSpace, b':') | (Line::Value, _) => Line::Value,
            (Line::Name { .. } | Line::NameSpace, b' ' | b'\t') => Line::NameSpace,
            (Line::Blank, _) => Line::Blank,
            (Line::Start | Line::Cr | Line::Name { .. } | Line::NameSpace | Line::Junk, _) => {
                Line::Junk
            }
        }
    }

    fn check(&self, limits: &Limits) -> Result<(), Fault> {
        // RFC 5321 6.3: more than 100 Received fields mean a loop.
        if self.received_fields >= limits.received_fields_max {
            return Err(Fault::Looping);
        }
        let header_bytes = self.before_line.saturating_add(self.line_bytes);
        let too_long = self.line_bytes > limits.header_line_bytes_max as u64
            || header_bytes > limits.header_bytes_max as u64;
        if too_long && self.fields == Fields::Only {
            return Err(Fault::HeaderTooLong);
        }
        Ok(())
    }
}

/// One more byte of a name.
fn name(bytes: usize, received: bool, byte: u8) -> Line {
    if bytes >= NAME_BYTES_MAX {
        return Line::Junk;
    }
    let received =
        received && RECEIVED.get(bytes).is_none_or(|&known| known == byte.to_ascii_lowercase());
    Line::Name { bytes: bytes + 1, received }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the fields end, and whether pieces of any size agree on it.
    fn fields_of(text: &[u8]) -> Result<Option<u64>, Fault> {
        let limits = Limits::default();
        let of = |size: usize| {
            let mut watch = HeaderWatch::default();
            let mut ended = None;
            for piece in text.chunks(size) {
                if let Watched::Ended { fields } = watch.push(piece, &limits)? {
                    assert_eq!(ended.replace(fields), None, "reported once");
                }
            }
            Ok(ended)
        };
        let whole = of(text.len().max(1));
        for size in [1, 2, 3, 7] {
            assert_eq!(of(size), whole);
        }
        whole
    }

    #[test]
    fn the_header_ends_at_the_empty_line() {
        assert_eq!(fields_of(b"From: a\r\nTo: b,\r\n c\r\n\r\ntext\r\n\r\n"), Ok(Some(23)));
        assert_eq!(fields_of(b"\r\ntext\r\n"), Ok(Some(2)));
        assert_eq!(fields_of(b"Subject : x\r\n\r\n"), Ok(Some(15)));
        assert_eq!(fields_of(b"Subject: x\r\n"), Ok(None));
    }

    #[test]
    fn or_at_a_line_that_is_no_field() {
        assert_eq!(fields_of(b"hello\r\nA: b\r\n\r\n"), Ok(Some(0)));
        assert_eq!(fields_of(b"A: b\r\nno field: here\r\n\r\n"), Ok(Some(6)));
        assert_eq!(fields_of(b" folded\r\n"), Ok(Some(0)));
    }

    #[test]
    fn a_hundred_received_fields_are_a_loop() {
        let field = "Received: by x\r\n";
        assert_eq!(fields_of(format!("{}\r\n", field.repeat(99)).as_bytes()), Ok(Some(1586)));
        let looping = format!("{}\r\n", field.to_uppercase().repeat(100));
        assert_eq!(fields_of(looping.as_bytes()), Err(Fault::Looping));
        let text = format!("\r\n{}", field.repeat(200));
        assert_eq!(fields_of(text.as_bytes()), Ok(Some(2)));
    }

    #[test]
    fn header_lines_are_limited_and_text_is_not() {
        let long = "x".repeat(70_000);
        let header = format!("Subject: {long}\r\n\r\n");
        assert_eq!(fields_of(header.as_bytes()), Err(Fault::HeaderTooLong));
        assert_eq!(fields_of(format!("A: b\r\n\r\n{long}").as_bytes()), Ok(Some(8)));
        assert_eq!(fields_of(format!("{long} y\r\n{long}\r\n").as_bytes()), Ok(Some(0)));
    }
}
