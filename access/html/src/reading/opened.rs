//! The last touch on a message that is opened: links to mail addresses lead to our own composer, and what was searched for is
//! marked.
//!
//! Reads what [`sanitise`](super::sanitise()) or [`text_html`](super::text_html) made. Tags are copied as they are, but for the
//! address of such a link; a mark begins and ends within one run of text, so what was balanced stays so.

use super::escape::{characters, push_text, unescape};
use super::outline::{QUOTE_HANDLE, REAL_HOST};
use super::scanner::{Attribute, Scanner, Token};
use super::{allowed, allowed::Kind};
use std::ops::Range;
use url::form_urlencoded;

/// Bytes of text that are searched; nothing behind them is marked. Our choice: a mark takes eight bytes for each.
const SEARCHED_BYTES_MAX: usize = 2 << 20;
/// Marks in one part. Our choice: more than anybody steps through.
const HITS_MAX: usize = 10_000;

/// Where a link to a mail address leads: the composer reads the rest.
pub const COMPOSER: &str = "/compose?mailto=";

/// What was searched for in a message.
#[derive(Clone, Copy, Debug)]
pub struct Searched<'a> {
    pub words: &'a [String],
    /// The `id` of the first mark.
    pub id: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub html: String,
    /// Places that are marked.
    pub hits: usize,
}

#[must_use]
pub fn opened(html: &str, searched: &Searched<'_>) -> Opened {
    let pieces = pieces(html);
    let hits = hits(html, &pieces, searched.words);
    let mut out = String::with_capacity(html.len() + hits.len() * 16);
    let mut left = hits.as_slice();
    let mut id = Some(searched.id);
    for piece in pieces {
        match piece {
            Piece::Text(range) => push_marked(&mut out, (html, range), &mut left, &mut id),
            Piece::Tag { range, .. } => out.push_str(&html[range]),
            Piece::MailLink(attributes) => push_mail_link(&mut out, &attributes),
        }
    }
    Opened { html: out, hits: hits.len() }
}

#[derive(Debug)]
enum Piece<'a> {
    /// What may be marked.
    Text(Range<usize>),
    /// A tag, or a text of ours. `apart`: words do not go on over it.
    Tag {
        range: Range<usize>,
        apart: Apart,
    },
    MailLink(Vec<Attribute<'a>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apart {
    /// A word may go on behind it.
    No,
    /// As behind a space.
    Space,
    Yes,
}

fn pieces(html: &str) -> Vec<Piece<'_>> {
    let mut scanner = Scanner::new(html, usize::MAX);
    let mut pieces = Vec::new();
    // The element of ours that is open: its text is none of the message.
    let mut ours: Option<String> = None;
    loop {
        let start = scanner.position();
        let Some(token) = scanner.next() else { return pieces };
        let range = start..scanner.position();
        let piece = match token {
            Token::Text(_) if ours.is_none() => Piece::Text(range),
            Token::Text(_) => Piece::Tag { range, apart: Apart::Yes },
            Token::Start { name, .. } if name == "style" => {
                scanner.raw_text(&name);
                Piece::Tag { range: start..scanner.position(), apart: Apart::Yes }
            }
            Token::Start { name, attributes, .. } if name == "a" && is_mail(&attributes) => {
                Piece::MailLink(attributes)
            }
            Token::Start { name, attributes, .. } => {
                let apart = apart(&name);
                let is_ours = |(name, value): &Attribute<'_>| {
                    *name == "class" && [REAL_HOST, QUOTE_HANDLE].contains(value)
                };
                if attributes.iter().any(is_ours) {
                    ours = Some(name);
                }
                Piece::Tag { range, apart }
            }
            Token::End { name } => {
                ours = ours.filter(|open| *open != name);
                Piece::Tag { range, apart: apart(&name) }
            }
        };
        pieces.push(piece);
    }
}

fn is_mail(attributes: &[Attribute<'_>]) -> bool {
    attributes.iter().any(|(name, value)| *name == "href" && value.starts_with("mailto:"))
}

fn apart(name: &str) -> Apart {
    match allowed::element(name) {
        Some((_, kind)) if kind.is_text_level() => Apart::No,
        Some(("wbr", Kind::Void)) => Apart::No,
        Some(("br", Kind::Void)) => Apart::Space,
        _ => Apart::Yes,
    }
}

/// The text of a part in lower case, and where each byte of it comes from.
#[derive(Debug, Default)]
struct Folded {
    text: String,
    from: Vec<(u32, u32)>,
}

impl Folded {
    fn push(&mut self, c: char, from: &Range<usize>) {
        if c.is_whitespace() {
            if self.text.ends_with(' ') {
                return;
            }
            self.text.push(' ');
        } else {
            self.text.extend(c.to_lowercase());
        }
        let place = (narrow(from.start), narrow(from.end));
        self.from.resize(self.text.len(), place);
    }
}

fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// As [`Folded`] has the text.
fn folded(word: &str) -> String {
    let words: Vec<&str> = word.split_whitespace().collect();
    words.join(" ").chars().flat_map(char::to_lowercase).collect()
}

/// Where the words stand in `html`, in order and apart from each other. A range may hold tags.
fn hits(html: &str, pieces: &[Piece<'_>], words: &[String]) -> Vec<Range<usize>> {
    let words: Vec<String> =
        words.iter().map(|word| folded(word)).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Vec::new();
    }
    let mut text = Folded::default();
    for piece in pieces {
        if text.text.len() > SEARCHED_BYTES_MAX {
            break;
        }
        match piece {
            Piece::Text(range) => {
                for (within, c) in characters(&html[range.clone()]) {
                    text.push(c, &(range.start + within.start..range.start + within.end));
                }
            }
            Piece::Tag { apart: Apart::No, .. } | Piece::MailLink(_) => {}
            Piece::Tag { apart: Apart::Space, range } => text.push(' ', range),
            Piece::Tag { apart: Apart::Yes, range } => text.push('\0', range),
        }
    }
    let mut found: Vec<Range<usize>> = Vec::new();
    for word in &words {
        for (at, word) in text.text.match_indices(word.as_str()).take(HITS_MAX) {
            let (first, last) = (text.from.get(at), text.from.get(at + word.len() - 1));
            if let (Some((start, _)), Some((_, end))) = (first, last) {
                found.push(*start as usize..*end as usize);
            }
        }
    }
    found.sort_by_key(|range| (range.start, range.end));
    let mut apart: Vec<Range<usize>> = Vec::new();
    for range in found {
        match apart.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart.truncate(HITS_MAX);
    apart
}

/// `left`: the hits that end behind what is written already.
fn push_marked(
    out: &mut String,
    (html, text): (&str, Range<usize>),
    left: &mut &[Range<usize>],
    id: &mut Option<&str>,
) {
    let mut at = text.start;
    while let Some((hit, rest)) = left.split_first() {
        let (start, end) = (hit.start.max(at), hit.end.min(text.end));
        if start < end {
            out.push_str(&html[at..start]);
            out.push_str("<mark");
            if let Some(id) = id.take() {
                out.push_str(" id=\"");
                push_text(out, id);
                out.push('"');
            }
            out.push('>');
            out.push_str(&html[start..end]);
            out.push_str("</mark>");
            at = end;
        }
        if hit.end > text.end {
            break;
        }
        *left = rest;
    }
    out.push_str(&html[at..text.end]);
}

fn push_mail_link(out: &mut String, attributes: &[Attribute<'_>]) {
    out.push_str("<a");
    for (name, value) in attributes {
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        match *name {
            "href" => {
                out.push_str(COMPOSER);
                out.extend(form_urlencoded::byte_serialize(unescape(value).as_bytes()));
            }
            // As it is written: escaped already.
            _ => out.push_str(value),
        }
        out.push('"');
    }
    out.push('>');
}

#[cfg(test)]
mod tests {
    use super::super::{Flowed, text_html};
    use super::*;

    fn marked(html: &str, words: &[&str]) -> (String, usize) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let opened = opened(html, &Searched { words: &words, id: "hit" });
        (opened.html.replace(" id=\"hit\"", " 1"), opened.hits)
    }

    #[test]
    fn hits_are_marked_whatever_their_case_and_markup() {
        let (html, hits) = marked("<p>Plan &amp; PLAN, <b>pl</b>an</p><p>pl</p>an", &["plan"]);
        assert_eq!(
            html,
            "<p><mark 1>Plan</mark> &amp; <mark>PLAN</mark>, <b><mark>pl</mark></b><mark>an</mark></p>\
             <p>pl</p>an"
        );
        assert_eq!(hits, 3);
        let (html, _) = marked("a &lt;b&gt; &amp;amp;", &["<b>", "amp"]);
        assert_eq!(html, "a <mark 1>&lt;b&gt;</mark> &amp;<mark>amp</mark>;");
        assert_eq!(
            marked("one<br>\n two", &["ONE  two"]).0,
            "<mark 1>one</mark><br><mark>\n two</mark>"
        );
        assert_eq!(marked("GRÜSSE İx", &["grüss", "x"]).0, "<mark 1>GRÜSS</mark>E İ<mark>x</mark>");
        assert_eq!(marked("abcab", &["ab", "bca", ""]), ("<mark 1>abcab</mark>".into(), 1));
        assert_eq!(marked("<p>x</p>", &[" "]), ("<p>x</p>".into(), 0));
    }

    #[test]
    fn only_the_text_of_the_message_is_marked() {
        let html = "<style>b { color: red }</style><b class=\"m-b\" title=\"b\">b</b>\
                    <span class=\"real-host\" dir=\"ltr\">b</span>b";
        let expected = html
            .replace(">b</b>", "><mark 1>b</mark></b>")
            .replace("</span>b", "</span><mark>b</mark>");
        assert_eq!(marked(html, &["b"]), (expected, 2));
    }

    #[test]
    fn mail_addresses_lead_to_the_composer() {
        let html = "<a href=\"mailto:a@b.example?subject=x&amp;cc=c@d.example\" title=\"&quot;\">a@b.example</a>";
        assert_eq!(
            marked(html, &["@b"]).0,
            "<a href=\"/compose?mailto=mailto%3Aa%40b.example%3Fsubject%3Dx%26cc%3Dc%40d.example\" \
             title=\"&quot;\">a<mark 1>@b</mark>.example</a>"
        );
        let html = text_html("to a@b.example", Flowed::No);
        assert!(marked(&html, &[]).0.contains("href=\"/compose?mailto=mailto%3Aa%40b.example\""));
        let web = "<a href=\"https://e.example/mailto:a@b\" title=\"e.example\">x</a>";
        assert_eq!(marked(web, &[]).0, web);
    }
}
