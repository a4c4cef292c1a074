//! HEADER.FIELDS and HEADER.FIELDS.NOT (RFC 9051 6.4.5), over a header in pieces of any size.
//!
//! States: at the start of a line, behind a CR there, inside a name, inside the rest of a line, or
//! behind the empty line. Invariant: at most a name is held, so a header of any size needs no room.

use bytes::Bytes;
use memchr::memchr;

/// Which fields stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// HEADER.FIELDS
    Named,
    /// HEADER.FIELDS.NOT
    Others,
}

/// The fields of a header whose names (in any case) are in `names`, or with [`Keep::Others`] those
/// whose names are not, folds as they were, and the empty line.
#[must_use]
pub fn filter_header(header: &[u8], names: &[Bytes], keep: Keep) -> Bytes {
    let mut filter = HeaderFilter::new(names, keep);
    let mut out = Vec::with_capacity(256);
    filter.push(header, &mut out);
    filter.finish(&mut out);
    Bytes::from(out)
}

/// [`filter_header`] piece by piece.
#[derive(Clone, Debug)]
pub struct HeaderFilter {
    /// In lower case, sorted.
    names: Vec<Vec<u8>>,
    keep: Keep,
    phase: Phase,
    /// What was decided on the field under way; the lines that continue it share it.
    verdict: Verdict,
    /// The name under way, or a CR at the start of a line.
    held: Vec<u8>,
    last_kept: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    LineStart,
    LineCr,
    Name,
    Line,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stays,
    Goes,
}

/// Bytes of a name. RFC 5322 2.1.1: a line has 998; what is longer is no name anybody asks for.
const NAME_BYTES_MAX: usize = 998;

impl HeaderFilter {
    #[must_use]
    pub fn new(names: &[Bytes], keep: Keep) -> Self {
        let mut names: Vec<Vec<u8>> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.sort_unstable();
        Self {
            names,
            keep,
            phase: Phase::LineStart,
            verdict: Verdict::Goes,
            held: Vec::new(),
            last_kept: None,
        }
    }

    /// Appends what stays of the next piece.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            let taken = match (self.phase, first) {
                (Phase::Ended, _) => return,
                (Phase::LineStart, b'\n') | (Phase::LineCr, b'\n') => {
                    self.phase = Phase::Ended;
                    return;
                }
                (Phase::LineStart, b'\r') => {
                    self.held.push(b'\r');
                    self.phase = Phase::LineCr;
                    1
                }
                // RFC 5322 2.2.3: a line that begins with white space continues the field.
                (Phase::LineStart, b' ' | b'\t') => {
                    self.phase = Phase::Line;
                    0
                }
                (Phase::LineStart | Phase::LineCr, _) => {
                    self.phase = Phase::Name;
                    0
                }
                (Phase::Name, _) => self.on_name(rest, out),
                (Phase::Line, _) => self.on_line(rest, out),
            };
            rest = &rest[taken..];
        }
    }

    /// The header has ended, be it with the empty line or without.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if matches!(self.phase, Phase::LineCr | Phase::Name) {
            self.judge(&[], out);
        }
        if self.last_kept.is_some_and(|byte| byte != b'\n') {
            out.extend_from_slice(b"\r\n");
        }
        // RFC 9051 6.4.5: the delimiting blank line is included in a subset of the header, whatever
        // that is.
        out.extend_from_slice(b"\r\n");
    }

    fn on_name(&mut self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        let room = NAME_BYTES_MAX.saturating_sub(self.held.len());
        let window = &rest[..rest.len().min(room)];
        match window.iter().position(|byte| matches!(byte, b':' | b'\n')) {
            Some(at) if window[at] == b':' => {
                self.held.extend_from_slice(&window[..at]);
                let name = self.held.trim_ascii_end().to_ascii_lowercase();
                self.judge(&name, out);
                at
            }
            // A line without a colon, or a name without end.
            Some(at) => {
                self.held.extend_from_slice(&window[..at]);
                self.judge(&[], out);
                at
            }
            None => {
                self.held.extend_from_slice(window);
                if self.held.len() >= NAME_BYTES_MAX {
                    self.judge(&[], out);
                }
                window.len()
            }
        }
    }

    /// Decides on the field whose name this is; an empty name is none.
    fn judge(&mut self, name: &[u8], out: &mut Vec<u8>) {
        let named =
            !name.is_empty() && self.names.binary_search_by(|known| known[..].cmp(name)).is_ok();
        self.verdict = match (self.keep, named) {
            (Keep::Named, true) | (Keep::Others, false) => Verdict::Stays,
            (Keep::Named, false) | (Keep::Others, true) => Verdict::Goes,
        };
        let held = std::mem::take(&mut self.held);
        self.take(&held, out);
        self.held = held;
        self.held.clear();
        self.phase = Phase::Line;
    }

    fn on_line(&mut self, rest: &[u8], out: &mut Vec<u8>) -> usize {
        let taken = match memchr(b'\n', rest) {
            Some(at) => {
                self.phase = Phase::LineStart;
                at + 1
            }
            None => rest.len(),
        };
        self.take(&rest[..taken], out);
        taken
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.verdict {
            Verdict::Stays => {
                out.extend_from_slice(bytes);
                self.last_kept = bytes.last().copied().or(self.last_kept);
            }
            Verdict::Goes => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters with every cut: the result is the same.
    fn filtered(header: &[u8], names: &[&str], keep: Keep) -> Bytes {
        let names: Vec<Bytes> =
            names.iter().map(|name| Bytes::copy_from_slice(name.as_bytes())).collect();
        let whole = filter_header(header, &names, keep);
        for cut in 0..=header.len() {
            let mut filter = HeaderFilter::new(&names, keep);
            let mut out = Vec::new();
            filter.push(&header[..cut], &mut out);
            filter.push(&header[cut..], &mut out);
            filter.finish(&mut out);
            assert_eq!(out, whole, "cut at {cut}");
        }
        whole
    }

    #[test]
    fn fields_by_name_with_their_folds() {
        let header =
            b"To: a,\r\n b\r\nX: y\r\n\t:z\r\nno field\r\ntO : c\r\nCc: d\r\n\r\nTo: body\r\n";
        let names = ["TO", "bcc"];
        assert_eq!(filtered(header, &names, Keep::Named), "To: a,\r\n b\r\ntO : c\r\n\r\n");
        assert_eq!(
            filtered(header, &names, Keep::Others),
            "X: y\r\n\t:z\r\nno field\r\nCc: d\r\n\r\n"
        );
        assert_eq!(filtered(header, &[], Keep::Named), "\r\n");
        assert_eq!(filtered(header, &[""], Keep::Named), "\r\n");
    }

    #[test]
    fn headers_that_end_early() {
        assert_eq!(filtered(b"", &["to"], Keep::Others), "\r\n");
        assert_eq!(filtered(b"To: x", &["to"], Keep::Named), "To: x\r\n\r\n");
        assert_eq!(filtered(b"To", &["to"], Keep::Others), "To\r\n\r\n");
        assert_eq!(filtered(b"To: x\r\n\r", &["to"], Keep::Named), "To: x\r\n\r\n");
        assert_eq!(filtered(b"To: x\n\ny: z\n", &["y"], Keep::Others), "To: x\n\r\n");
        assert_eq!(filtered(b"\r\rTo: x\r\n", &["to"], Keep::Named), "\r\n");
    }

    #[test]
    fn names_without_end() {
        let header = [&[b'x'; 3_000][..], b": y\r\nTo: z\r\n\r\n"].concat();
        assert_eq!(filtered(&header, &["to"], Keep::Named), "To: z\r\n\r\n");
        assert_eq!(filtered(&header, &["to"], Keep::Others).len(), 3_000 + 7);
    }
}
