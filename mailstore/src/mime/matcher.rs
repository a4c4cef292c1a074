//! SEARCH BODY and TEXT (RFC 9051 6.4.4): needles in the decoded, folded text of a message.
//!
//! Transfer encodings and character sets are undone part by part, in windows of bounded size;
//! encoded words of headers are decoded; both sides go through [`fold_into`](super::fold_into).
//! HTML is searched as its source. Parts that are no text are not read. BODY looks at text parts
//! and at the headers of nested messages; TEXT also at the header of the message and of each part.
//! A combining mark that begins a window is not joined to the letter before it.

use super::decoder::Decoder;
use super::fold::fold_into;
use super::header::FieldIter;
use super::limits::Limits;
use super::part_table::{Charset, Encoding, Media, PartKind, PartTable};
use super::resolve::{Layout, Ranges};
use super::words::{Decoding, fold_value};
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
    header_bytes_max: usize,
}

/// A piece of a message that has to be read. The range counts from the first byte of the trace
/// prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub range: Range<u64>,
    pub kind: PieceKind,
}

/// What a piece is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// Header of the message, or MIME header of a part.
    OuterHeader,
    /// Header of a nested message.
    NestedHeader,
    Text {
        encoding: Encoding,
        charset: Charset,
    },
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
        Self {
            needles,
            overlap: longest.saturating_sub(1),
            header_bytes_max: limits.header_bytes_max,
        }
    }

    /// What must be read of a message to answer, in its order.
    #[must_use]
    pub fn pieces(&self, parts: &PartTable, layout: Layout) -> Vec<Piece> {
        let ranges = Ranges { layout };
        let mut pieces = Vec::new();
        let mut parent_kind = PartKind::Multipart;
        for part in parts.parts() {
            let header = match (part.depth, parent_kind) {
                (1.., PartKind::Message) => PieceKind::NestedHeader,
                (_, PartKind::Message | PartKind::Multipart | PartKind::Leaf) => {
                    PieceKind::OuterHeader
                }
            };
            pieces.push(Piece { range: ranges.header(part), kind: header });
            if part.kind == PartKind::Leaf && part.media != Media::Other {
                let kind =
                    PieceKind::Text { encoding: part.encoding, charset: part.charset.clone() };
                pieces.push(Piece { range: ranges.body(part), kind });
            }
            // The message inside a message stands right behind it.
            parent_kind = part.kind;
        }
        pieces.retain(|piece| {
            !piece.range.is_empty()
                && self.needles.iter().any(|(scope, _)| piece.kind.is_in(*scope))
        });
        pieces
    }

    /// Begins to search a message.
    #[must_use]
    pub fn search(&self) -> Search<'_> {
        // The empty text stands everywhere.
        let found: Vec<bool> =
            self.needles.iter().map(|(_, finder)| finder.needle().is_empty()).collect();
        Search {
            matcher: self,
            missing: found.iter().filter(|found| !**found).count(),
            found,
            current: Current::None,
            window: Vec::new(),
            decoded: Vec::new(),
        }
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
            if search.is_done() {
                break;
            }
        }
        search.found
    }
}

/// What a range has of bytes that begin at `offset`.
fn cut<'a>(bytes: &'a [u8], offset: u64, range: &Range<u64>) -> &'a [u8] {
    let at = |end: u64| {
        usize::try_from(end.saturating_sub(offset)).map_or(bytes.len(), |at| at.min(bytes.len()))
    };
    bytes.get(at(range.start)..at(range.end)).unwrap_or_default()
}

/// The search of one message: its pieces are fed one after the other, each in cuts of any size.
#[derive(Debug)]
pub struct Search<'a> {
    matcher: &'a Matcher,
    found: Vec<bool>,
    missing: usize,
    current: Current,
    /// Folded text: the end of what was searched, and what was not yet.
    window: Vec<u8>,
    decoded: Vec<u8>,
}

#[derive(Debug)]
enum Current {
    None,
    /// A header is judged whole, up to the limit.
    Header {
        kind: PieceKind,
        bytes: Vec<u8>,
    },
    Text(Box<Text>),
}

#[derive(Debug)]
struct Text {
    /// `None`: as it stands, or as far as it could be decoded.
    decoder: Option<Decoder>,
    broken: bool,
    charset: TextCharset,
}

#[derive(Debug)]
enum TextCharset {
    /// No character begun by the last cut is open.
    Fresh(Decoding),
    /// UTF-8 whose last character was cut.
    Cut(Vec<u8>),
    Running(encoding_rs::Decoder),
}

/// Bytes decoded and searched at once.
const WINDOW_BYTES: usize = 32 * 1024;

impl Search<'_> {
    /// Whether all needles were found: nothing more needs to be read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.missing == 0
    }

    /// Which needles were found, in their order.
    #[must_use]
    pub fn found(&self) -> &[bool] {
        &self.found
    }

    /// A piece begins.
    pub fn begin(&mut self, kind: &PieceKind) {
        self.window.clear();
        self.current = match kind {
            PieceKind::OuterHeader | PieceKind::NestedHeader => {
                Current::Header { kind: kind.clone(), bytes: Vec::new() }
            }
            PieceKind::Text { encoding, charset } => Current::Text(Box::new(Text {
                // What is in an unknown encoding is searched as it stands.
                decoder: match encoding {
                    Encoding::Base64 | Encoding::QuotedPrintable => Decoder::new(*encoding).ok(),
                    Encoding::SevenBit
                    | Encoding::EightBit
                    | Encoding::Binary
                    | Encoding::Unknown => None,
                },
                broken: false,
                charset: TextCharset::Fresh(match charset {
                    Charset::Unstated | Charset::UsAscii | Charset::Utf8 => Decoding::Guess,
                    Charset::Named(name) => Decoding::of(name),
                }),
            })),
        };
    }

    /// The next bytes of the piece.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut current = std::mem::replace(&mut self.current, Current::None);
        match &mut current {
            Current::None => {}
            Current::Header { kind: _, bytes: kept } => {
                let room = self.matcher.header_bytes_max.saturating_sub(kept.len());
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Current::Text(text) => {
                for chunk in bytes.chunks(WINDOW_BYTES) {
                    if self.is_done() || text.broken {
                        break;
                    }
                    self.feed_text(text, chunk);
                }
            }
        }
        self.current = current;
    }

    /// The piece has ended.
    pub fn end(&mut self) {
        match std::mem::replace(&mut self.current, Current::None) {
            Current::None => {}
            Current::Header { kind, bytes } => {
                fold_header(&bytes, &mut self.window);
                self.look(&kind);
            }
            Current::Text(mut text) => {
                let mut decoded = std::mem::take(&mut self.decoded);
                decoded.clear();
                if let Some(decoder) = text.decoder.take() {
                    decoder.finish(&mut decoded);
                }
                text.charset.fold_last(&decoded, &mut self.window);
                self.decoded = decoded;
                self.look(&TEXT);
            }
        }
    }

    fn feed_text(&mut self, text: &mut Text, chunk: &[u8]) {
        match &mut text.decoder {
            None => text.charset.fold(chunk, &mut self.window),
            Some(decoder) => {
                let mut decoded = std::mem::take(&mut self.decoded);
                decoded.clear();
                // What stands before the break was decoded.
                text.broken = decoder.push(chunk, &mut decoded).is_err();
                text.charset.fold(&decoded, &mut self.window);
                self.decoded = decoded;
            }
        }
        self.look(&TEXT);
    }

    /// Searches the window, and keeps of it what the next one may complete.
    fn look(&mut self, kind: &PieceKind) {
        for ((scope, finder), found) in self.matcher.needles.iter().zip(&mut self.found) {
            if !*found && kind.is_in(*scope) && finder.find(&self.window).is_some() {
                *found = true;
                self.missing -= 1;
            }
        }
        let searched = self.window.len().saturating_sub(self.matcher.overlap);
        self.window.drain(..searched);
    }
}

/// All that counts of a text piece for its scope.
const TEXT: PieceKind =
    PieceKind::Text { encoding: Encoding::SevenBit, charset: Charset::Unstated };

impl TextCharset {
    fn fold(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Fresh(decoding) => {
                if decoding.is_ascii_compatible() && bytes.is_ascii() {
                    let start = out.len();
                    out.extend_from_slice(bytes);
                    out[start..].make_ascii_lowercase();
                    return;
                }
                match *decoding {
                    Decoding::Guess => self.fold_guess(bytes, out),
                    Decoding::Old(decode) => fold_into(&decode(bytes), out),
                    Decoding::Web(encoding) => {
                        *self = Self::Running(encoding.new_decoder());
                        self.fold(bytes, out);
                    }
                }
            }
            Self::Cut(cut) => {
                cut.extend_from_slice(bytes);
                let joined = std::mem::take(cut);
                self.fold_guess(&joined, out);
            }
            Self::Running(decoder) => fold_running(decoder, bytes, Last::No, out),
        }
    }

    /// UTF-8 if it is, all but a character that may go on in the next bytes; else windows-1252.
    fn fold_guess(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        *self = Self::Fresh(Decoding::Guess);
        match std::str::from_utf8(bytes) {
            Ok(text) => fold_into(text, out),
            Err(error) if error.error_len().is_none() => {
                let (whole, cut) = bytes.split_at(error.valid_up_to());
                fold_into(&Decoding::Guess.decode(whole), out);
                *self = Self::Cut(cut.to_vec());
            }
            Err(_) => fold_into(&Decoding::Guess.decode(bytes), out),
        }
    }

    fn fold_last(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.fold(bytes, out);
        match self {
            Self::Fresh(_) => {}
            Self::Cut(cut) => fold_into(&Decoding::Guess.decode(cut), out),
            Self::Running(decoder) => fold_running(decoder, b"", Last::Yes, out),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

fn fold_running(decoder: &mut encoding_rs::Decoder, bytes: &[u8], last: Last, out: &mut Vec<u8>) {
    // A window is small, so the sum does not overflow; three bytes a byte is the most that any set
    // takes.
    let room = decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len() * 3 + 16);
    let mut text = String::with_capacity(room);
    let _whole = decoder.decode_to_string(bytes, &mut text, last == Last::Yes);
    fold_into(&text, out);
}

/// Fields with decoded values, a line each.
fn fold_header(header: &[u8], out: &mut Vec<u8>) {
    for field in FieldIter::new(header) {
        fold_into(&Decoding::Guess.decode(field.name), out);
        out.extend_from_slice(b": ");
        fold_value(field.value, out);
        out.push(b'\n');
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
        assert_eq!(search.found(), whole, "{needle} byte by byte");
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
