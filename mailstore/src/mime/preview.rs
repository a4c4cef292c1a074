//! The beginning of a message for lists: about one line of its text, as a person would read it.

use super::decoder::Decoder;
use super::part_table::{Charset, Encoding, Media, Part, PartKind, PartTable};
use super::words::Decoding;
use mail_parser::decoders::html::html_to_text;

/// Characters of a preview. RFC 8970 3.2: at most 200.
const PREVIEW_CHARS_MAX: usize = 200;

/// Bytes of a part that are decoded for it. Our choice: the head of an HTML mail may hold kilobytes
/// of style.
const DECODED_BYTES_MAX: usize = 32 * 1024;

/// The first words of the text of a message; empty when it has none. `body` is the body as stored,
/// or enough of its beginning.
#[must_use]
pub fn preview(body: &[u8], parts: &PartTable) -> String {
    let shown = |media: Media| {
        parts.parts().iter().find(move |part| {
            part.kind == PartKind::Leaf
                && part.media == media
                && !part.attachment
                && part.body_len > 0
        })
    };
    match (shown(Media::Text), shown(Media::Html)) {
        (Some(part), _) => shorten(&text_of(body, part)),
        (None, Some(part)) => shorten(&html_to_text(&text_of(body, part))),
        (None, None) => String::new(),
    }
}

fn text_of(body: &[u8], part: &Part) -> String {
    let at = |offset: u64| usize::try_from(offset).map_or(body.len(), |at| at.min(body.len()));
    let raw = body.get(at(part.body_offset())..at(part.end())).unwrap_or_default();
    let raw = &raw[..raw.len().min(DECODED_BYTES_MAX)];
    let mut decoded = Vec::new();
    let encoding =
        if part.encoding == Encoding::Unknown { Encoding::Binary } else { part.encoding };
    if let Ok(mut decoder) = Decoder::new(encoding) {
        // What stands before a break is decoded.
        if decoder.push(raw, &mut decoded).is_ok() {
            decoder.finish(&mut decoded);
        }
    }
    let decoding = match &part.charset {
        Charset::Unstated | Charset::UsAscii | Charset::Utf8 => Decoding::Guess,
        Charset::Named(name) => Decoding::of(name),
    };
    decoding.decode(&decoded).into_owned()
}

/// White space runs become one space, controls go.
fn shorten(text: &str) -> String {
    let mut out = String::new();
    let mut chars = 0;
    for word in text.split_whitespace() {
        if chars >= PREVIEW_CHARS_MAX - 1 {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
            chars += 1;
        }
        for c in word.chars().filter(|c| !c.is_control()) {
            if chars == PREVIEW_CHARS_MAX {
                return out;
            }
            out.push(c);
            chars += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Scanner};
    use super::*;

    fn preview_of(message: &str) -> String {
        let mut scanner = Scanner::new(&Limits::default());
        scanner.push(message.as_bytes());
        let parts = PartTable::decode(&scanner.finish().parts).expect("just written");
        preview(message.as_bytes(), &parts)
    }

    #[test]
    fn the_text_a_person_reads() {
        assert_eq!(preview_of("Subject: x\n\nHello\n\n  you\0\n"), "Hello you");
        assert_eq!(
            preview_of(
                "Content-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n<p>caf=E9 &amp; <b>bar</b></p>"
            ),
            "caf\u{e9} & bar"
        );
        assert_eq!(
            preview_of(
                "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: attachment\n\nno\n--b\nContent-Type: text/html\n\n<i>yes</i>\n--b--"
            ),
            "yes"
        );
        assert_eq!(preview_of("Content-Type: image/png\n\nabc"), "");
        assert_eq!(preview_of(&format!("\n{}", "\u{e9}".repeat(500))).chars().count(), 200);
    }
}
