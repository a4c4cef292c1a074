//! The decoded, folded text of a message, piece by piece: what SEARCH looks at, and what an index is made of.
//!
//! Transfer encodings and character sets are undone part by part, in windows of bounded size; encoded words of headers are
//! decoded; both go through [`fold_into`](super::fold_into). A combining mark that begins a window is not joined to the letter
//! before it.

use super::decoder::Decoder;
use super::fold::fold_into;
use super::header::FieldIter;
use super::limits::Limits;
use super::part_table::{Charset, Encoding, Media, PartKind, PartTable};
use super::resolve::{Layout, Ranges};
use super::words::{Decoding, fold_value};
use std::ops::Range;

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

/// The pieces of a message that have text, in its order.
#[must_use]
pub fn text_pieces(parts: &PartTable, layout: Layout) -> Vec<Piece> {
    let ranges = Ranges { layout };
    let mut pieces = Vec::new();
    let mut parent_kind = PartKind::Multipart;
    for part in parts.parts() {
        let header = match (part.depth, parent_kind) {
            (1.., PartKind::Message) => PieceKind::NestedHeader,
            (_, PartKind::Message | PartKind::Multipart | PartKind::Leaf) => PieceKind::OuterHeader,
        };
        pieces.push(Piece { range: ranges.header(part), kind: header });
        if part.kind == PartKind::Leaf && part.media != Media::Other {
            let kind = PieceKind::Text { encoding: part.encoding, charset: part.charset.clone() };
            pieces.push(Piece { range: ranges.body(part), kind });
        }
        // The message inside a message stands right behind it.
        parent_kind = part.kind;
    }
    pieces.retain(|piece| !piece.range.is_empty());
    pieces
}

/// Who takes the text of a message.
pub trait TextSink {
    /// `window` has more text of a piece of this kind. What the sink leaves in it stands before what comes next.
    fn take(&mut self, kind: &PieceKind, window: &mut Vec<u8>);
    /// The piece has no more; the rest of it was taken.
    fn end(&mut self, kind: &PieceKind, window: &mut Vec<u8>);
    /// Nothing more needs to be read.
    fn is_done(&self) -> bool;
}

/// The text of one message: its pieces are fed one after the other, each in cuts of any size.
#[derive(Debug)]
pub struct FoldedText<S> {
    pub sink: S,
    header_bytes_max: usize,
    current: Current,
    /// Folded text that the sink has not done with.
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
pub(super) const WINDOW_BYTES: usize = 32 * 1024;

impl<S: TextSink> FoldedText<S> {
    #[must_use]
    pub fn new(sink: S, limits: &Limits) -> Self {
        Self {
            sink,
            header_bytes_max: limits.header_bytes_max,
            current: Current::None,
            window: Vec::new(),
            decoded: Vec::new(),
        }
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
                let room = self.header_bytes_max.saturating_sub(kept.len());
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            Current::Text(text) => {
                for chunk in bytes.chunks(WINDOW_BYTES) {
                    if self.sink.is_done() || text.broken {
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
                self.sink.take(&kind, &mut self.window);
                self.sink.end(&kind, &mut self.window);
            }
            Current::Text(mut text) => {
                let mut decoded = std::mem::take(&mut self.decoded);
                decoded.clear();
                if let Some(decoder) = text.decoder.take() {
                    decoder.finish(&mut decoded);
                }
                text.charset.fold_last(&decoded, &mut self.window);
                self.decoded = decoded;
                self.sink.take(&TEXT, &mut self.window);
                self.sink.end(&TEXT, &mut self.window);
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
        self.sink.take(&TEXT, &mut self.window);
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
