//! A message as a multi-line response (RFC 1939 section 3): dots stuffed, ended by a line with a dot, even where the message
//! lacks its last line end. Incremental: keeps no bytes. For TOP it stops behind the header and so many lines.
//!
//! Invariant: what is written does not depend on how the message was cut into pages.

/// How much of the message is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// RETR.
    All,
    /// TOP: the header, and so many lines of the body.
    Lines(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    /// Behind a CR that began a line: the line is empty if LF follows.
    BlankCr,
    Line,
    /// Behind a CR within a line.
    LineCr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Header,
    /// So many more lines are wanted.
    Body {
        left: u64,
    },
    /// Nothing more is wanted.
    Done,
}

/// The state of writing one message.
#[derive(Clone, Debug)]
pub struct Stuffer {
    extent: Extent,
    at: At,
    place: Place,
}

impl Stuffer {
    #[must_use]
    pub fn new(extent: Extent) -> Self {
        Self { extent, at: At::LineStart, place: Place::Header }
    }

    /// Nothing more of the message is wanted.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// Writes the next bytes of the message to `out`.
    pub fn push(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let mut rest = text;
        while !rest.is_empty() && !self.is_done() {
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |feed| feed + 1);
            let (piece, behind) = rest.split_at(end);
            rest = behind;
            // RFC 1939 section 3: a line that begins with the termination octet gets one more. A bare LF ends a line for some
            // clients: better a dot too many than an end too early.
            if self.at == At::LineStart && piece.first() == Some(&b'.') {
                out.push(b'.');
            }
            out.extend_from_slice(piece);
            self.advance(piece);
        }
    }

    /// Ends the response.
    pub fn finish(&self, out: &mut Vec<u8>) {
        // protocols.md: a final CRLF also for text that lacks one.
        match self.at {
            At::LineStart => {}
            At::BlankCr | At::LineCr => out.push(b'\n'),
            At::Line => out.extend_from_slice(b"\r\n"),
        }
        out.extend_from_slice(b".\r\n");
    }

    /// Moves on behind `piece`, which has at most one LF, at its end.
    fn advance(&mut self, piece: &[u8]) {
        let starts_line = matches!(self.at, At::LineStart);
        let is_blank = match (self.at, piece) {
            (At::LineStart, b"\r\n" | b"\n") | (At::BlankCr, b"\n") => true,
            (At::LineStart | At::BlankCr | At::Line | At::LineCr, _) => false,
        };
        self.at = match piece.last() {
            Some(b'\n') => At::LineStart,
            Some(b'\r') if starts_line && piece.len() == 1 => At::BlankCr,
            Some(b'\r') => At::LineCr,
            Some(_) => At::Line,
            None => self.at,
        };
        if self.at == At::LineStart {
            self.end_line(is_blank);
        }
    }

    fn end_line(&mut self, is_blank: bool) {
        let Extent::Lines(lines) = self.extent else { return };
        self.place = match self.place {
            Place::Header if is_blank && lines == 0 => Place::Done,
            Place::Header if is_blank => Place::Body { left: lines },
            Place::Body { left } if left <= 1 => Place::Done,
            Place::Body { left } => Place::Body { left: left - 1 },
            Place::Header => Place::Header,
            Place::Done => Place::Done,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(extent: Extent, pieces: &[&[u8]]) -> String {
        let mut stuffer = Stuffer::new(extent);
        let mut out = Vec::new();
        for piece in pieces {
            stuffer.push(piece, &mut out);
        }
        stuffer.finish(&mut out);
        out.escape_ascii().to_string()
    }

    #[test]
    fn dots_and_ends() {
        let all = |text: &[u8]| response(Extent::All, &[text]);
        assert_eq!(all(b""), r".\r\n");
        assert_eq!(all(b".\r\n..\r\na.\r\n"), r"..\r\n...\r\na.\r\n.\r\n");
        assert_eq!(all(b"a"), r"a\r\n.\r\n");
        assert_eq!(all(b"a\r"), r"a\r\n.\r\n");
        assert_eq!(all(b"a\n.\n"), r"a\n..\n.\r\n");
    }

    #[test]
    fn top() {
        let message: &[u8] = b"A: b\r\n\r\n1\r\n.2\r\n\r\n3";
        let top = |lines| response(Extent::Lines(lines), &[message]);
        assert_eq!(top(0), r"A: b\r\n\r\n.\r\n");
        assert_eq!(top(2), r"A: b\r\n\r\n1\r\n..2\r\n.\r\n");
        assert_eq!(top(99), r"A: b\r\n\r\n1\r\n..2\r\n\r\n3\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn however_cut_and_un_stuffed_again(
            text in prop::collection::vec(prop::sample::select(b"\r\n\r\n..ab".to_vec()), 0..40),
            cut in 0_usize..40,
            lines in 0_u64..5,
        ) {
            let cut = cut.min(text.len());
            for extent in [Extent::All, Extent::Lines(lines)] {
                let whole = response(extent, &[&text]);
                prop_assert_eq!(&response(extent, &[&text[..cut], &text[cut..]]), &whole);
                let bytes: Vec<&[u8]> = text.chunks(1).collect();
                prop_assert_eq!(&response(extent, &bytes), &whole);
            }
            let mut out = Vec::new();
            let mut stuffer = Stuffer::new(Extent::All);
            stuffer.push(&text, &mut out);
            stuffer.finish(&mut out);
            let mut read: Vec<u8> = Vec::new();
            let mut lines = out.split_inclusive(|&byte| byte == b'\n').peekable();
            while let Some(line) = lines.next() {
                if line == b".\r\n" {
                    prop_assert_eq!(lines.peek(), None);
                    break;
                }
                read.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            }
            prop_assert!(read.starts_with(&text));
        }
    }
}
