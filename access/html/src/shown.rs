//! Parts of a message as a page shows them: bytes become text, text becomes HTML, and what is no text is told apart.

use crate::reading::frame::{Paper, Theme, content_security_policy};
use crate::reading::{
    Flowed, Opened, Options, Remote, Searched, attachment, frame, opened, rich, sanitise, text_html,
};
use crate::structure::Part;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;
use std::collections::BTreeMap;

/// Bytes of an HTML part that are read; `reading::Limits` cuts what is shown. Our choice.
pub const HTML_BYTES_MAX: u64 = 4 << 20;
/// Bytes of one picture that a message shows within its text, and of all of them. Our choice: they travel with the page.
pub const PICTURE_BYTES_MAX: u64 = 4 << 20;
pub const PICTURES_BYTES_MAX: u64 = 12 << 20;

/// Characters of the first words of a message.
const PREVIEW_CHARS_MAX: usize = 160;

/// The text of a part. Without a character set it is UTF-8, or else Windows-1252, which reads every byte.
#[must_use]
pub fn decoded(bytes: &[u8], charset: &str) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let named = Some(charset).filter(|name| !name.is_empty() && !is_utf8(name));
            match named.and_then(|name| charset_decoder(name.as_bytes())) {
                Some(decode) => decode(bytes),
                None if is_utf8(charset) => String::from_utf8_lossy(bytes).into_owned(),
                None => charset_decoder(b"windows-1252").map_or_else(String::new, |it| it(bytes)),
            }
        }
    }
}

fn is_utf8(charset: &str) -> bool {
    charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
}

/// The text of a part of a character set that says more than its bytes do: ISO-2022-JP and UTF-7 are ASCII to the eye.
fn text_of(bytes: &[u8], part: &Part) -> String {
    let shifts =
        ["iso-2022-jp", "iso-2022-kr", "utf-7", "utf-16", "utf-16le", "utf-16be", "hz-gb-2312"];
    let lower = part.charset.to_ascii_lowercase();
    match charset_decoder(lower.as_bytes()).filter(|_| shifts.contains(&lower.as_str())) {
        Some(decode) => decode(bytes),
        None => decoded(bytes, &part.charset),
    }
}

/// The first words, for a list. `bytes` may end anywhere.
#[must_use]
pub fn preview(bytes: &[u8], part: &Part) -> String {
    let whole = bytes.len() - bytes.iter().rev().take(3).take_while(|byte| **byte >= 0x80).count();
    let text = text_of(if bytes.len() > 64 { &bytes[..whole] } else { bytes }, part);
    let text = if part.is_html() { html_to_text(&text) } else { text };
    let lines = text.lines().filter(|line| !line.starts_with('>'));
    let words = lines
        .flat_map(str::split_whitespace)
        .map(|word| word.chars().filter(|c| !c.is_control()).collect::<String>());
    let mut out = String::new();
    for word in words.filter(|word| !word.is_empty()) {
        if out.chars().count() + word.chars().count() >= PREVIEW_CHARS_MAX {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&word);
    }
    out
}

/// The text of a part for the form of an answer, lines ended by LF.
#[must_use]
pub fn plain(bytes: &[u8], part: &Part) -> String {
    let text = text_of(bytes, part).replace("\r\n", "\n");
    if part.is_html() { html_to_text(&text) } else { text }
}

/// An HTML part as it can be written on; `None`: it is no HTML, or more than can be.
#[must_use]
pub fn writable(bytes: &[u8], part: &Part) -> Option<String> {
    if part.is_html() { rich::clean(&text_of(bytes, part)) } else { None }
}

/// A plain text as HTML.
#[must_use]
pub fn as_html(bytes: &[u8], part: &Part, searched: &Searched<'_>) -> Opened {
    let flowed = if part.flowed { Flowed::Yes { del_sp: part.del_sp } } else { Flowed::No };
    let html = text_html(&text_of(bytes, part).replace("\r\n", "\n"), flowed);
    opened(&html, searched)
}

/// How a part leaves the server. `view`: it is to be looked at, not saved.
#[must_use]
pub fn served(part: &Part, bytes: &[u8], view: bool) -> (String, String) {
    let name = part.name();
    let first = &bytes[..bytes.len().min(attachment::FIRST_BYTES)];
    let declared = if part.charset.is_empty() {
        part.media.clone()
    } else {
        format!("{}; charset={}", part.media, part.charset)
    };
    let asked = attachment::Part { declared: &declared, name: Some(&name), first_bytes: first };
    let served = attachment::serve(&asked);
    let disposition = served.content_disposition;
    let disposition = match disposition.strip_prefix("inline") {
        Some(rest) if !view => format!("attachment{rest}"),
        _ => disposition,
    };
    (served.content_type, disposition)
}

/// Whether a part may well be one that can be looked at; its bytes decide.
#[must_use]
pub fn may_be_viewed(media: &str) -> bool {
    matches!(media, "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "text/plain")
}

/// A picture as an address that holds it; `None`: it is none that is shown. The frame of a message has an origin of its own, so
/// that no cookie goes with what it fetches: its pictures come with it.
#[must_use]
pub fn picture(part: &Part, bytes: &[u8]) -> Option<String> {
    let (content_type, _) = served(part, bytes, true);
    let is_picture = content_type.starts_with("image/");
    is_picture.then(|| format!("data:{content_type};base64,{}", STANDARD.encode(bytes)))
}

/// The document of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    pub document: String,
    /// Its Content-Security-Policy.
    pub policy: String,
    /// Pictures that were not fetched.
    pub remote_blocked: u32,
}

/// What is told of an HTML part beside its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Pictures from elsewhere that it asks for.
    pub remote: u32,
    /// Places where it says what was searched for.
    pub hits: usize,
}

#[must_use]
pub fn told(bytes: &[u8], part: &Part, searched: &Searched<'_>) -> Told {
    let how = Options {
        remote: Remote::Blocked,
        cid: &|_| None,
        limits: crate::reading::Limits::default(),
    };
    let clean = sanitise(&text_of(bytes, part), &how);
    let hits = if searched.words.is_empty() { 0 } else { opened(&clean.html, searched).hits };
    Told { remote: clean.remote_blocked, hits }
}

/// How an HTML part is shown in its frame.
#[derive(Clone, Copy, Debug)]
pub struct Framing<'a> {
    /// By content id.
    pub pictures: &'a BTreeMap<String, String>,
    pub remote: Remote,
    /// As settings name it.
    pub theme: &'a str,
    pub searched: Searched<'a>,
}

/// An HTML part as the document of a frame.
#[must_use]
pub fn framed((bytes, part): (&[u8], &Part), framing: &Framing<'_>) -> Framed {
    let Framing { pictures, remote, theme, searched } = *framing;
    let cid = |id: &str| pictures.get(id).cloned();
    let how = Options { remote, cid: &cid, limits: crate::reading::Limits::default() };
    let clean = sanitise(&text_of(bytes, part), &how);
    let theme = match theme {
        "light" => Theme::Light,
        "dark" => Theme::Dark,
        _ => Theme::System,
    };
    let html = opened(&clean.html, &searched).html;
    let document = frame(&html, Paper::for_colours(clean.coloured), theme);
    let policy = content_security_policy(remote).replace("img-src 'self'", "img-src data:");
    Framed { document, policy, remote_blocked: clean.remote_blocked }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(media: &str, charset: &str) -> Part {
        Part { path: vec![1], media: media.into(), charset: charset.into(), ..Part::default() }
    }

    #[test]
    fn texts_of_all_character_sets() {
        assert_eq!(decoded("Grüße".as_bytes(), ""), "Grüße");
        assert_eq!(decoded(b"Gr\xfc\xdfe", "iso-8859-1"), "Grüße");
        assert_eq!(decoded(b"Gr\xfc\xdfe", "no-such"), "Grüße");
        let japanese = part("text/plain", "ISO-2022-JP");
        assert_eq!(plain(b"\x1b$B$3$s\x1b(B\r\n", &japanese), "こん\n");
    }

    #[test]
    fn the_first_words() {
        let text = part("text/plain", "utf-8");
        assert_eq!(preview(b"> quoted\n\nHello\n  you\0", &text), "Hello you");
        let html = part("text/html", "utf-8");
        assert_eq!(preview(b"<p>caf&eacute; <b>bar</b></p>", &html), "caf\u{e9} bar");
        let cut = ["x".repeat(80).as_bytes(), &"é".as_bytes()[..1]].concat();
        assert_eq!(preview(&cut, &text), "x".repeat(80));
    }

    #[test]
    fn what_is_saved_and_what_is_looked_at() {
        let png = part("image/png", "");
        let bytes = b"\x89PNG\r\n\x1a\n rest";
        assert_eq!(served(&png, bytes, true).0, "image/png");
        assert!(served(&png, bytes, true).1.starts_with("inline"));
        assert!(served(&png, bytes, false).1.starts_with("attachment"));
        let liar = served(&png, b"<html><script>", true);
        assert_eq!(liar.0, "application/octet-stream");
        assert!(liar.1.starts_with("attachment"));
        assert!(picture(&png, bytes).is_some_and(|it| it.starts_with("data:image/png;base64,")));
        assert_eq!(picture(&part("image/svg+xml", ""), b"<svg/>"), None);
    }

    #[test]
    fn a_frame_shows_its_pictures_and_fetches_nothing() {
        let html = b"<img src=cid:p@x><img src=https://t.example/x.png><script>1</script>";
        let pictures =
            BTreeMap::from([("p@x".to_owned(), "data:image/png;base64,AA==".to_owned())]);
        let html = (&html[..], &part("text/html", "utf-8"));
        let words = ["x".to_owned()];
        let searched = Searched { words: &words, id: "hit" };
        let framing =
            Framing { pictures: &pictures, remote: Remote::Blocked, theme: "auto", searched };
        let shown = framed(html, &framing);
        assert!(shown.document.contains("data:image/png;base64,AA=="), "{}", shown.document);
        assert!(!shown.document.contains("t.example/x.png") && !shown.document.contains("<script"));
        assert_eq!(shown.remote_blocked, 1);
        assert_eq!(told(html.0, html.1, &searched), Told { remote: 1, hits: 0 });
        assert!(shown.policy.contains("img-src data:;"), "{}", shown.policy);
        let asked = framed(html, &Framing { remote: Remote::Allowed, ..framing });
        assert!(asked.policy.contains("img-src data: https: http:"), "{}", asked.policy);
    }
}
