//! Command lines out of a stream. RFC 1939 section 3 ends them with CRLF; a bare LF is taken too, as other servers do.
//!
//! Bounded: a line that is longer than allowed is dropped as it comes, and reported once, at its end.

/// Finds lines; keeps nothing but how the current one goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineReader {
    #[default]
    Collecting,
    /// The current line is too long already; its bytes so far are gone.
    Dropping,
}

/// What stands at the beginning of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextLine<'a> {
    /// A line without its end, and the bytes it took.
    Line { line: &'a [u8], used: usize },
    /// A line over the limit, now at its end.
    TooLong { used: usize },
    /// No line end yet. The first `used` bytes are of no more use.
    More { used: usize },
}

impl LineReader {
    /// The next line of `input`, with at most `bytes_max` octets, its end included.
    pub fn next<'a>(&mut self, input: &'a [u8], bytes_max: usize) -> NextLine<'a> {
        let Some(feed) = memchr::memchr(b'\n', input) else {
            if *self == Self::Dropping || input.len() >= bytes_max {
                *self = Self::Dropping;
                return NextLine::More { used: input.len() };
            }
            return NextLine::More { used: 0 };
        };
        let used = feed + 1;
        if *self == Self::Dropping || used > bytes_max {
            *self = Self::Collecting;
            return NextLine::TooLong { used };
        }
        let line = &input[..feed];
        NextLine::Line { line: line.strip_suffix(b"\r").unwrap_or(line), used }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_overlong_lines() {
        let mut reader = LineReader::default();
        assert_eq!(reader.next(b"NOOP\r\nQ", 64), NextLine::Line { line: b"NOOP", used: 6 });
        assert_eq!(reader.next(b"NOOP\nQ", 64), NextLine::Line { line: b"NOOP", used: 5 });
        assert_eq!(reader.next(b"NOOP\r", 64), NextLine::More { used: 0 });
        assert_eq!(reader.next(b"0123456789", 8), NextLine::More { used: 10 });
        assert_eq!(reader.next(b"\r\nNOOP\r\n", 8), NextLine::TooLong { used: 2 });
        assert_eq!(reader.next(b"NOOP\r\n", 8), NextLine::Line { line: b"NOOP", used: 6 });
    }
}
