//! `mailto:` links (RFC 6068): the form that one asks for.
//!
//! Taken are recipients, subject and body. All else that a link names is left alone: what it must not do is to attach a file, to
//! choose the sender, or to write a header of its own.

use crate::compose::Draft;
use crate::envelope::decoded;

/// Bytes of a link that are read. Our choice: browsers cut them far below.
const LINK_BYTES_MAX: usize = 64 << 10;

#[must_use]
pub fn draft(link: &str) -> Draft {
    let link = &link[..link.floor_char_boundary(LINK_BYTES_MAX)];
    let scheme = link.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("mailto:"));
    let rest = &link[scheme.map_or(0, str::len)..];
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (to, fields) = rest.split_once('?').unwrap_or((rest, ""));
    let mut draft = Draft { to: recipients(to), ..Draft::default() };
    for field in fields.split('&') {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        match percent_decoded(name).to_ascii_lowercase().as_str() {
            // RFC 6068 2: the same as in front of the question mark.
            "to" => add(&mut draft.to, &recipients(value)),
            "cc" => add(&mut draft.cc, &recipients(value)),
            "bcc" => add(&mut draft.bcc, &recipients(value)),
            // RFC 6068 2, 5: encoded words may stand in it.
            "subject" => draft.subject = decoded(percent_decoded(value).as_bytes()),
            // RFC 6068 5: line breaks are %0D%0A.
            "body" => draft.text.push_str(&lines(&percent_decoded(value))),
            _ => {}
        }
    }
    draft
}

/// RFC 6068 2: commas part addresses; one within an address is encoded. Behind a line break stands no address.
fn recipients(value: &str) -> String {
    let mut all = String::new();
    for address in value.split(',') {
        let decoded = percent_decoded(address);
        let line = decoded.split(char::is_control).next().unwrap_or_default();
        add(&mut all, line.trim());
    }
    all
}

fn add(all: &mut String, more: &str) {
    if !all.is_empty() && !more.is_empty() {
        all.push_str(", ");
    }
    all.push_str(more);
}

fn lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect()
}

/// A plus is a plus (RFC 6068 5). What is no UTF-8 is shown as such.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let digit = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_the_rfc() {
        let to = |link: &str| draft(link).to;
        assert_eq!(to("mailto:chris@example.com"), "chris@example.com");
        assert_eq!(
            to("MAILTO:a@x.example,b@x.example?to=c@x.example"),
            "a@x.example, b@x.example, c@x.example"
        );
        assert_eq!(to("mailto:?to=joe@example.com&cc=bob@example.com"), "joe@example.com");
        assert_eq!(to("mailto:gorby%25kremvax@example.com"), "gorby%kremvax@example.com");
        assert_eq!(to("mailto:%22not%40me%22@example.org"), "\"not@me\"@example.org");
        assert_eq!(to("mailto:a+b@x.example"), "a+b@x.example");
        assert_eq!(to("a@x.example"), "a@x.example", "without its scheme");
        let link =
            "mailto:list@example.com?Subject=caf%C3%A9%20now&body=one%0D%0Atwo&bcc=x@y.example";
        let draft = draft(link);
        assert_eq!((draft.subject.as_str(), draft.text.as_str()), ("café now", "one\ntwo"));
        assert_eq!(draft.bcc, "x@y.example");
        let encoded =
            super::draft("mailto:user@example.org?subject=%3D%3Futf-8%3FQ%3Fcaf%3DC3%3DA9%3F%3D");
        assert_eq!(encoded.subject, "café");
    }

    #[test]
    fn what_a_link_may_not_say_is_left_out() {
        let link = "mailto:a@x.example%0D%0ABcc:evil@x.example?from=boss@x.example&attach=/etc/passwd\
                    &in-reply-to=%3C1@x%3E&subject=a%0D%0AX-Evil:1&subject=b&body=%00x&cc=%ff%2&&=";
        let draft = draft(link);
        assert_eq!(draft.to, "a@x.example");
        assert_eq!((draft.subject.as_str(), draft.text.as_str()), ("b", "x"));
        assert_eq!((draft.from.as_str(), draft.in_reply_to.as_str()), ("", ""));
        assert_eq!(draft.cc, "\u{fffd}%2");
        assert!(draft.attachments.is_empty() && draft.bcc.is_empty());
    }
}
