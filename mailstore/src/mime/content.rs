//! What the header of an entity says of its body: type, encoding, disposition; judged, and written
//! for BODYSTRUCTURE.

use super::header::{ContentFields, unfold};
use super::imap_string::{cut, write_nstring, write_string};
use super::limits::Limits;
use super::params::{Param, Parameterized, parse, write_params};
use super::part_table::{Charset, Encoding, PartKind};
use std::borrow::Cow;

/// What a part is taken for when it does not say (RFC 2046 5.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DefaultType {
    TextPlain,
    /// Inside multipart/digest.
    Message,
}

/// How an entity is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Leaf,
    Multipart { boundary: Vec<u8>, children: DefaultType },
    Message,
}

impl Shape {
    pub(super) fn kind(&self) -> PartKind {
        match self {
            Self::Leaf => PartKind::Leaf,
            Self::Multipart { .. } => PartKind::Multipart,
            Self::Message => PartKind::Message,
        }
    }
}

/// How much of what is said of an entity is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    Full,
    /// Type and encoding only: there is no room for the rest.
    Bare,
}

/// The judgement on one entity.
#[derive(Debug)]
pub(super) struct Content<'a> {
    pub shape: Shape,
    main: Cow<'a, [u8]>,
    sub: Cow<'a, [u8]>,
    params: Vec<Param<'a>>,
    encoding_name: Cow<'a, [u8]>,
    pub encoding: Encoding,
    pub charset: Charset,
}

const TEXT: &[u8] = b"text";
const PLAIN: &[u8] = b"plain";

impl<'a> Content<'a> {
    /// Judges the fields. `kind` is the unfolded Content-Type.
    pub(super) fn judge(
        kind: Option<&'a [u8]>,
        encoding: Option<Cow<'a, [u8]>>,
        default: DefaultType,
        limits: &Limits,
    ) -> Self {
        let declared = kind.map(|kind| parse(kind, limits));
        let (main, sub, params) = main_and_sub(declared, default);
        let (encoding_name, encoding) = judge_encoding(encoding);
        let charset = params
            .iter()
            .find(|param| param.name.eq_ignore_ascii_case(b"charset"))
            .map_or(Charset::Unstated, |param| Charset::of(&param.value));
        let mut content =
            Self { shape: Shape::Leaf, main, sub, params, encoding_name, encoding, charset };
        content.decide_shape(limits);
        content
    }

    fn decide_shape(&mut self, limits: &Limits) {
        if self.is(b"multipart") {
            let boundary = self.params.iter().find(|p| p.name.eq_ignore_ascii_case(b"boundary"));
            let boundary = boundary.map(|param| param.value.trim_ascii_end().to_vec());
            match boundary.filter(|text| (1..=limits.boundary_bytes_max).contains(&text.len())) {
                Some(boundary) => {
                    // RFC 2046 5.1.5: parts of a digest are messages unless they say otherwise.
                    let digest = self.sub.eq_ignore_ascii_case(b"digest");
                    let children =
                        if digest { DefaultType::Message } else { DefaultType::TextPlain };
                    self.shape = Shape::Multipart { boundary, children };
                }
                // RFC 2046 5.1.1: without a boundary there are no parts, and it must not be called
                // a multipart.
                None => self.become_type(TEXT, PLAIN),
            }
        } else if self.is(b"message") && is_nested_message(&self.sub) {
            match self.encoding {
                Encoding::SevenBit | Encoding::EightBit | Encoding::Binary => {
                    self.shape = Shape::Message;
                }
                // RFC 2046 5.2.1: such a message must not be encoded. It can be saved, but not
                // looked into.
                Encoding::QuotedPrintable | Encoding::Base64 | Encoding::Unknown => {
                    self.become_opaque();
                }
            }
        }
    }

    fn is(&self, main: &[u8]) -> bool {
        self.main.eq_ignore_ascii_case(main)
    }

    fn become_type(&mut self, main: &'static [u8], sub: &'static [u8]) {
        self.main = Cow::Borrowed(main);
        self.sub = Cow::Borrowed(sub);
        self.shape = Shape::Leaf;
    }

    /// Nothing inside is described: application/octet-stream, with the parameters it had.
    pub(super) fn become_opaque(&mut self) {
        self.become_type(b"application", b"octet-stream");
    }

    pub(super) fn is_text(&self) -> bool {
        self.shape == Shape::Leaf && self.is(TEXT)
    }

    pub(super) fn is_html(&self) -> bool {
        self.is_text() && self.sub.eq_ignore_ascii_case(b"html")
    }

    /// `"type" "subtype" params id description encoding`, or for a multipart `"subtype"`.
    pub(super) fn write_basic(
        &self,
        out: &mut Vec<u8>,
        fields: &ContentFields<'_>,
        (detail, limits): (Detail, &Limits),
    ) {
        if self.shape.kind() == PartKind::Multipart {
            write_string(out, cut(&self.sub, TYPE_BYTES_MAX));
            return;
        }
        write_string(out, cut(&self.main, TYPE_BYTES_MAX));
        out.push(b' ');
        write_string(out, cut(&self.sub, TYPE_BYTES_MAX));
        out.push(b' ');
        match detail {
            Detail::Full => {
                write_params(out, &self.params);
                for text in [fields.id, fields.description] {
                    out.push(b' ');
                    write_field(out, text, limits);
                }
            }
            Detail::Bare => out.extend_from_slice(b"NIL NIL NIL"),
        }
        out.push(b' ');
        write_string(out, cut(&self.encoding_name, TYPE_BYTES_MAX));
    }

    /// The extension data of BODYSTRUCTURE, each with a space before it.
    pub(super) fn write_extension(
        &self,
        out: &mut Vec<u8>,
        fields: &ContentFields<'_>,
        (detail, limits): (Detail, &Limits),
    ) {
        out.push(b' ');
        match (self.shape.kind(), detail) {
            (PartKind::Multipart, Detail::Full) => write_params(out, &self.params),
            (PartKind::Leaf | PartKind::Message, Detail::Full) => {
                write_field(out, fields.md5, limits);
            }
            (_, Detail::Bare) => out.extend_from_slice(b"NIL"),
        }
        match detail {
            Detail::Full => {
                out.push(b' ');
                write_disposition(out, fields.disposition, limits);
                out.push(b' ');
                write_language(out, fields.language, limits);
                out.push(b' ');
                write_field(out, fields.location, limits);
            }
            Detail::Bare => out.extend_from_slice(b" NIL NIL NIL"),
        }
    }
}

/// Bytes of a type, a subtype or an encoding. RFC 6838 4.2: 127 in a registered name.
const TYPE_BYTES_MAX: usize = 127;

fn is_nested_message(sub: &[u8]) -> bool {
    // RFC 9051 9: media-message is MESSAGE/RFC822 or MESSAGE/GLOBAL.
    sub.eq_ignore_ascii_case(b"rfc822") || sub.eq_ignore_ascii_case(b"global")
}

type MainSubParams<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>, Vec<Param<'a>>);

fn main_and_sub(declared: Option<Parameterized<'_>>, default: DefaultType) -> MainSubParams<'_> {
    let Some(mut declared) = declared else {
        return match default {
            DefaultType::TextPlain => (TEXT.into(), PLAIN.into(), vec![us_ascii()]),
            DefaultType::Message => (b"message"[..].into(), b"rfc822"[..].into(), Vec::new()),
        };
    };
    let value = declared.value;
    let slash = memchr::memchr(b'/', value);
    let (main, sub) = match slash {
        Some(at) => (value[..at].trim_ascii_end(), value[at + 1..].trim_ascii_start()),
        None => (value, &b""[..]),
    };
    let sub_len = sub.iter().position(|byte| byte.is_ascii_whitespace()).unwrap_or(sub.len());
    let sub = &sub[..sub_len];
    match (is_token(main), is_token(sub)) {
        (true, true) => {}
        (true, false) if main.eq_ignore_ascii_case(b"multipart") => {
            return (b"multipart"[..].into(), b"mixed"[..].into(), declared.params);
        }
        // RFC 2045 5.2: what can't be read is plain text.
        (true | false, _) => {
            return (TEXT.into(), PLAIN.into(), plain_params(declared.params));
        }
    }
    if main.eq_ignore_ascii_case(TEXT) && sub.eq_ignore_ascii_case(PLAIN) {
        declared.params = plain_params(declared.params);
    }
    (main.into(), sub.into(), declared.params)
}

/// RFC 2045 5.2: plain text without a character set is US-ASCII.
fn plain_params(mut params: Vec<Param<'_>>) -> Vec<Param<'_>> {
    if !params.iter().any(|param| param.name.eq_ignore_ascii_case(b"charset")) {
        params.push(us_ascii());
    }
    params
}

fn us_ascii() -> Param<'static> {
    Param { name: Cow::Borrowed(b"charset"), value: Cow::Borrowed(b"us-ascii") }
}

fn is_token(text: &[u8]) -> bool {
    // RFC 2045 5.1: tspecials and controls are no part of a token.
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(byte))
}

fn judge_encoding(field: Option<Cow<'_, [u8]>>) -> (Cow<'_, [u8]>, Encoding) {
    const SEVEN_BIT: (Cow<'static, [u8]>, Encoding) = (Cow::Borrowed(b"7bit"), Encoding::SevenBit);
    let Some(field) = field else {
        return SEVEN_BIT;
    };
    let len = field.iter().position(|&byte| matches!(byte, b' ' | b'\t' | b'(' | b';'));
    let name = match field {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..len.unwrap_or(text.len())]),
        Cow::Owned(mut text) => {
            text.truncate(len.unwrap_or(text.len()));
            Cow::Owned(text)
        }
    };
    if name.is_empty() {
        return SEVEN_BIT;
    }
    let encoding = Encoding::of(&name);
    (name, encoding)
}

fn write_field(out: &mut Vec<u8>, value: Option<&[u8]>, limits: &Limits) {
    match value {
        Some(value) => write_nstring(out, Some(cut(&unfold(value), limits.text_bytes_max))),
        None => write_nstring(out, None),
    }
}

fn write_disposition(out: &mut Vec<u8>, value: Option<&[u8]>, limits: &Limits) {
    let value = value.map(unfold);
    let parsed = value.as_deref().map(|value| parse(value, limits));
    match parsed.filter(|parsed| !parsed.value.is_empty()) {
        Some(parsed) => {
            out.push(b'(');
            write_string(out, cut(parsed.value, TYPE_BYTES_MAX));
            out.push(b' ');
            write_params(out, &parsed.params);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
}

/// RFC 3282: tags divided by commas.
fn write_language(out: &mut Vec<u8>, value: Option<&[u8]>, limits: &Limits) {
    let value = value.map(unfold).unwrap_or_default();
    let value = cut(&value, limits.text_bytes_max);
    let tags = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let mut any = false;
    for tag in tags.filter(|tag| !tag.is_empty()) {
        out.push(if any { b' ' } else { b'(' });
        write_string(out, tag);
        any = true;
    }
    out.extend_from_slice(if any { b")" } else { b"NIL" });
}

/// Whether the part asks to be kept apart from the text (RFC 2183 2.2).
pub(super) fn is_attachment(fields: &ContentFields<'_>) -> bool {
    fields.disposition.is_some_and(|value| {
        value.trim_ascii().get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"attachment"))
    })
}
