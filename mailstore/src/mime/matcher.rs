//! SEARCH BODY and TEXT (RFC 9051 6.4.4): needles in the decoded, folded text of a message.
//!
//! Both sides go through [`fold_into`](super::fold_into). HTML is searched as its source. Parts
//! that are no text are not read. BODY looks at text parts and at the headers of nested messages;
//! TEXT also at the header of the message and of each part.

use super::folded::{FoldedText, Piece, PieceKind, TextSink, text_pieces};
use super::header::FieldIter;
use super::limits::Limits;
use super::part_table::PartTable;
use super::resolve::Layout;
use super::words::fold_value;
use bytes::Bytes;
use memchr::memmem::{self, Finder};
use std::ops::Range;

/// Where a needle is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// SEARCH BODY.
    Body,
    /// SEARCH TEXT.
    Text,
}

/// A compiled list of needles, for many messages.
#[derive(Debug)]
pub struct Matcher {
    needles: Vec<(Scope, Finder<'static>)>,
    /// Bytes of a window that the next one begins with.
    overlap: usize,
    limits: Limits,
}

impl PieceKind {
    fn is_in(&self, scope: Scope) -> bool {
        match (self, scope) {
            (_, Scope::Text) | (Self::NestedHeader | Self::Text { .. }, Scope::Body) => true,
            (Self::OuterHeader, Scope::Body) => false,
        }
    }
}

impl Matcher {
    /// `needles` as clients send them, in UTF-8; they are folded here.
    #[must_use]
    pub fn new(needles: &[(Scope, Bytes)], limits: &Limits) -> Self {
        let folded = needles.iter().map(|(scope, text)| (*scope, super::fold_needle(text)));
        let needles: Vec<_> =
            folded.map(|(scope, text)| (scope, Finder::new(&text).into_owned())).collect();
        let longest = needles.iter().map(|(_, finder)| finder.needle().len()).max().unwrap_or(0);
        Self { needles, overlap: longest.saturating_sub(1), limits: *limits }
    }

    /// What must be read of a message to answer, in its order.
    #[must_use]
    pub fn pieces(&self, parts: &PartTable, layout: Layout) -> Vec<Piece> {
        let mut pieces = text_pieces(parts, layout);
        pieces.retain(|piece| self.needles.iter().any(|(scope, _)| piece.kind.is_in(*scope)));
        pieces
    }

    /// Begins to search a message.
    #[must_use]
    pub fn search(&self) -> Search<'_> {
        // The empty text stands everywhere.
        let found: Vec<bool> =
            self.needles.iter().map(|(_, finder)| finder.needle().is_empty()).collect();
        let missing = found.iter().filter(|found| !**found).count();
        FoldedText::new(Needles { matcher: self, missing, found }, &self.limits)
    }

    /// Searches a message that is at hand: which needles, in their order, are in it?
    #[must_use]
    pub fn matches(&self, prefix: &[u8], body: &[u8], parts: &PartTable) -> Vec<bool> {
        let layout = Layout { prefix_len: prefix.len() as u64, body_len: body.len() as u64 };
        let mut search = self.search();
        for piece in self.pieces(parts, layout) {
            search.begin(&piece.kind);
            search.feed(cut(prefix, 0, &piece.range));
            search.feed(cut(body, layout.prefix_len, &piece.range));
            search.end();
            if search.sink.is_done() {
                break;
            }
        }
        search.sink.found
    }
}

/// What a range has of bytes that begin at `offset`.
fn cut<'a>(bytes: &'a [u8], offset: u64, range: &Range<u64>) -> &'a [u8] {
    let at = |end: u64| {
        usize::try_from(end.saturating_sub(offset)).map_or(bytes.len(), |at| at.min(bytes.len()))
    };
    bytes.get(at(range.start)..at(range.end)).unwrap_or_default()
}

/// The search of one message.
pub type Search<'a> = FoldedText<Needles<'a>>;

/// The needles of one search, and which were found.
#[derive(Debug)]
pub struct Needles<'a> {
    matcher: &'a Matcher,
    found: Vec<bool>,
    missing: usize,
}

impl Needles<'_> {
    /// Which needles were found, in their order.
    #[must_use]
    pub fn found(&self) -> &[bool] {
        &self.found
    }
}

impl TextSink for Needles<'_> {
    /// Keeps of the window what the next one may complete.
    fn take(&mut self, kind: &PieceKind, window: &mut Vec<u8>) {
        for ((scope, finder), found) in self.matcher.needles.iter().zip(&mut self.found) {
            if !*found && kind.is_in(*scope) && finder.find(window).is_some() {
                *found = true;
                self.missing -= 1;
            }
        }
        let searched = window.len().saturating_sub(self.matcher.overlap);
        window.drain(..searched);
    }

    fn end(&mut self, _: &PieceKind, _: &mut Vec<u8>) {}

    /// All needles were found.
    fn is_done(&self) -> bool {
        self.missing == 0
    }
}

/// SEARCH HEADER: whether a field of this name contains the needle (of
/// [`fold_needle`](super::fold_needle)) when decoded and folded. RFC 9051 6.4.4: an empty needle
/// asks whether there is such a field.
#[must_use]
pub fn header_contains(header: &[u8], name: &[u8], needle: &[u8]) -> bool {
    let finder = memmem::Finder::new(needle);
    let mut folded = Vec::new();
    FieldIter::new(header).filter(|field| field.name.eq_ignore_ascii_case(name)).any(|field| {
        folded.clear();
        fold_value(field.value, &mut folded);
        finder.find(&folded).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::super::Scanner;
    use super::super::folded::WINDOW_BYTES;
    use super::*;

    const PREFIX: &[u8] = b"Received: by mx\r\n";

    fn table(message: &[u8]) -> PartTable {
        let mut scanner = Scanner::new(&Limits::default());
        scanner.push(message);
        PartTable::decode(&scanner.finish().parts).expect("just written")
    }

    /// Searches whole and byte by byte.
    fn found(message: &[u8], scope: Scope, needle: &str) -> bool {
        let parts = table(message);
        let needles = [(scope, Bytes::copy_from_slice(needle.as_bytes()))];
        let matcher = Matcher::new(&needles, &Limits::default());
        let whole = matcher.matches(PREFIX, message, &parts);
        let raw = [PREFIX, message].concat();
        let layout = Layout { prefix_len: PREFIX.len() as u64, body_len: message.len() as u64 };
        let mut search = matcher.search();
        for piece in matcher.pieces(&parts, layout) {
            search.begin(&piece.kind);
            cut(&raw, 0, &piece.range).chunks(1).for_each(|byte| search.feed(byte));
            search.end();
        }
        assert_eq!(search.sink.found(), whole, "{needle} byte by byte");
        whole[0]
    }

    const MESSAGE: &[u8] = b"Subject: =?utf-8?q?R=C3=A9sum=C3=A9?= of\r\n all\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\
        Content-Type: text/plain; charset=iso-8859-1\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\nTHE CAF=C9 is op=\r\nen\r\n--b\r\n\
        Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        PGI+R3LDvMOfZTwvYj4=\r\n--b\r\nContent-Type: image/png; name=pic.png\r\n\r\nIHDR\r\n--b\r\n\
        Content-Type: message/rfc822\r\n\r\nSubject: =?utf-8?b?xIVi?=\r\n\r\n8-bit \xC3\xA9 and \xE9\r\n--b\r\n\
        Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1B$BF|K\\\x1B(B\r\n--b--\r\n";

    #[test]
    fn text_is_found_decoded() {
        for (needle, in_body, in_text) in [
            ("caf\u{e9} IS OPEN", true, true),
            ("GR\u{dc}SSE", true, true),
            ("<b>", true, true),
            ("\u{104}b", true, true),
            ("8-BIT", true, true),
            ("\u{65e5}\u{672c}", true, true),
            ("", true, true),
            ("r\u{e9}sum\u{e9} of all", false, true),
            ("by mx", false, true),
            ("PIC.png", false, true),
            ("ihdr", false, false),
            ("preamble", false, false),
            ("=C9", false, false),
            ("nowhere", false, false),
        ] {
            assert_eq!(found(MESSAGE, Scope::Body, needle), in_body, "body {needle}");
            assert_eq!(found(MESSAGE, Scope::Text, needle), in_text, "text {needle}");
        }
    }

    #[test]
    fn windows_do_not_hide_what_they_cut() {
        let mut message = b"Content-Type: text/plain; charset=shift_jis\r\n\r\n".to_vec();
        let start = message.len();
        message.resize(start + WINDOW_BYTES - 3, b'x');
        message.extend_from_slice(b"Need\x93\xFA\x96\x7Ble");
        assert!(
            found(&message, Scope::Body, "needle")
                || found(&message, Scope::Body, "need\u{65e5}\u{672c}le")
        );
        assert!(!found(&message, Scope::Body, "needle"));
        message.truncate(start + WINDOW_BYTES - 3);
        message.extend_from_slice(b"NEEDLE");
        assert!(found(&message, Scope::Body, "needle"));
    }

    #[test]
    fn several_needles_at_once() {
        let needles = [
            (Scope::Body, Bytes::from("caf\u{e9}")),
            (Scope::Body, Bytes::from("all")),
            (Scope::Text, Bytes::from("all")),
        ];
        let matcher = Matcher::new(&needles, &Limits::default());
        assert_eq!(matcher.matches(PREFIX, MESSAGE, &table(MESSAGE)), [true, false, true]);
    }

    #[test]
    fn fields_of_a_name() {
        let header = b"Subject: =?utf-8?q?=C3=89t=C3=A9?=\r\nX: a\r\nx: B\r\nEmpty:\r\n\r\n";
        let has = |name: &str, text: &str| {
            header_contains(header, name.as_bytes(), &super::super::fold_needle(text.as_bytes()))
        };
        assert!(has("subject", "\u{e9}T\u{c9}") && has("X", "b") && has("empty", ""));
        assert!(!has("X", "c") && !has("empty", "x") && !has("absent", ""));
    }
}
