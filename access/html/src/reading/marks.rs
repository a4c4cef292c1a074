//! Adds to sanitised HTML what is ours: the real host of each link, handles on quotations, the addresses of the message's own
//! images.
//!
//! Reads what the sanitiser's serialiser wrote, so every tag is closed and every value is escaped and in double quotes. It copies
//! that, and adds constant tags and escaped values between; of the message it leaves out only characters.

use super::escape::{is_override, push_text, unescape};
use super::limits::LINK_TEXT_BYTES_MAX;
use super::link::Link;
use super::outline::{QUOTE_HANDLE, REAL_HOST};
use super::scanner::{Attribute, Scanner, Token};

/// A link opens a page of its own, which learns nothing of this one.
pub(crate) const LINK_ATTRIBUTES: &str = " target=\"_blank\" rel=\"noopener noreferrer nofollow\"";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    /// An element sets a colour.
    pub coloured: bool,
}

struct Marks<'a> {
    cid: &'a dyn Fn(&str) -> Option<String>,
    out: &'a mut String,
    coloured: bool,
    /// The link that is open, and its text so far.
    link: Option<(Link, String)>,
    /// Quotations that are open; the outermost has a handle if it is one of mail.
    quotes: usize,
    folded: bool,
    after_pre: bool,
}

pub(crate) fn mark(clean: &str, cid: &dyn Fn(&str) -> Option<String>, out: &mut String) -> Marked {
    let mut marks =
        Marks { cid, out, coloured: false, link: None, quotes: 0, folded: false, after_pre: false };
    // A CR that is left was written as a reference: whoever reads it next takes it for LF.
    let clean = clean.replace('\r', "\n");
    let mut scanner = Scanner::new(&clean, usize::MAX);
    loop {
        let start = scanner.position();
        let Some(token) = scanner.next() else { break };
        let written = &clean[start..scanner.position()];
        let after_pre = std::mem::take(&mut marks.after_pre);
        match token {
            Token::Text(text) if after_pre => {
                let eaten = |c| is_left_out(c) || matches!(c, '\n' | '\r');
                let kept = text.trim_start_matches(eaten);
                marks.after_pre = kept.is_empty();
                marks.on_text(kept);
            }
            Token::Text(text) => marks.on_text(text),
            Token::Start { name, attributes, .. } => marks.on_start(&name, &attributes, written),
            Token::End { name } => marks.on_end(&name, written),
        }
    }
    Marked { coloured: marks.coloured }
}

impl Marks<'_> {
    fn on_text(&mut self, text: &str) {
        self.out.extend(text.chars().filter(|c| !is_left_out(*c)));
        if let Some((_, seen)) = &mut self.link {
            let room = LINK_TEXT_BYTES_MAX.saturating_sub(seen.len());
            seen.push_str(&unescape(&text[..text.floor_char_boundary(room)]));
        }
    }

    fn on_start(&mut self, name: &str, attributes: &[Attribute<'_>], written: &str) {
        self.coloured |= attributes.iter().any(|(name, value)| match *name {
            "bgcolor" | "color" => true,
            "style" => value.contains("color") || value.contains("background"),
            _ => false,
        });
        match name {
            "a" => return self.on_link(attributes),
            "img" => return self.on_image(attributes),
            "pre" => self.after_pre = true,
            "blockquote" => self.on_quote(attributes),
            _ => {}
        }
        self.out.push_str(written);
    }

    fn on_link(&mut self, attributes: &[Attribute<'_>]) {
        let href =
            attributes.iter().find(|(name, _)| *name == "href").map(|(_, value)| unescape(value));
        let link = href.and_then(|href| Link::parse(&href));
        self.out.push_str("<a");
        for (name, value) in attributes {
            self.push_attribute(name, &unescape(value));
        }
        if let Some(link) = &link {
            self.push_attribute("title", &link.real_host());
        }
        self.out.push_str(LINK_ATTRIBUTES);
        self.out.push('>');
        self.link = link.map(|link| (link, String::new()));
    }

    fn on_image(&mut self, attributes: &[Attribute<'_>]) {
        self.out.push_str("<img");
        for (name, value) in attributes {
            let value = unescape(value);
            let content_id = match *name {
                "src" => {
                    value.get(..4).filter(|s| s.eq_ignore_ascii_case("cid:")).map(|_| &value[4..])
                }
                _ => None,
            };
            match content_id {
                None => self.push_attribute(name, &value),
                Some(id) => {
                    if let Some(address) = (self.cid)(&percent_decoded(id)) {
                        self.push_attribute(name, &address);
                    }
                }
            }
        }
        self.out.push_str(" referrerpolicy=\"no-referrer\">");
    }

    fn push_attribute(&mut self, name: &str, value: &str) {
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        push_text(self.out, value);
        self.out.push('"');
    }

    /// What clients write around the message that is answered.
    fn on_quote(&mut self, attributes: &[Attribute<'_>]) {
        self.quotes += 1;
        let of_mail = attributes.iter().any(|(name, value)| match *name {
            "type" => value.eq_ignore_ascii_case("cite"),
            "class" => value.split(' ').any(|class| class == "m-gmail_quote"),
            _ => false,
        });
        if self.quotes == 1 && of_mail {
            self.folded = true;
            self.out.push_str("<details class=\"quote\"><summary class=\"");
            self.out.push_str(QUOTE_HANDLE);
            self.out.push_str("\">Quoted text</summary>");
        }
    }

    fn on_end(&mut self, name: &str, written: &str) {
        if name == "a"
            && let Some((link, text)) = self.link.take()
            && link.is_denied_by(&text)
        {
            self.out.push_str("<span class=\"");
            self.out.push_str(REAL_HOST);
            self.out.push_str("\" dir=\"ltr\">");
            push_text(self.out, &link.real_host());
            self.out.push_str("</span>");
        }
        self.out.push_str(written);
        if name == "blockquote" {
            self.quotes = self.quotes.saturating_sub(1);
            if self.quotes == 0 && std::mem::take(&mut self.folded) {
                self.out.push_str("</details>");
            }
        }
    }
}

/// A mark of byte order at the start is eaten by whoever parses next.
fn is_left_out(c: char) -> bool {
    is_override(c) || c == '\u{feff}'
}

/// RFC 2392 2: the content id stands percent-encoded in the address.
fn percent_decoded(id: &str) -> String {
    let mut out = Vec::with_capacity(id.len());
    let mut rest = id.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                rest = &tail[2..];
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(clean: &str) -> String {
        let mut out = String::new();
        mark(clean, &|id| Some(format!("/part?{id}\"")), &mut out);
        out.replace(LINK_ATTRIBUTES, "")
    }

    #[test]
    fn links_say_where_they_lead() {
        assert_eq!(
            marked("<a href=\"https://e.example/?a=1&amp;b\">bank.example</a>"),
            "<a href=\"https://e.example/?a=1&amp;b\" title=\"e.example\">bank.example\
             <span class=\"real-host\" dir=\"ltr\">e.example</span></a>"
        );
        assert_eq!(
            marked("<a href=\"https://e.example/\"><b>ban</b>k.example</a>x"),
            "<a href=\"https://e.example/\" title=\"e.example\"><b>ban</b>k.example\
             <span class=\"real-host\" dir=\"ltr\">e.example</span></a>x"
        );
        assert_eq!(marked("<a id=\"x\">bank.example</a>"), "<a id=\"x\">bank.example</a>");
    }

    #[test]
    fn own_images_get_their_address() {
        let image = |attributes: &str| format!("<img{attributes} referrerpolicy=\"no-referrer\">");
        assert_eq!(
            marked("<img src=\"cid:a%40b%zz\" alt=\"x\">"),
            image(" src=\"/part?a@b%zz&quot;\" alt=\"x\"")
        );
        assert_eq!(
            marked("<img src=\"https://e/?a&amp;b\">"),
            image(" src=\"https://e/?a&amp;b\"")
        );
    }

    #[test]
    fn quotations_of_mail_are_folded_once() {
        assert_eq!(
            marked(
                "<blockquote type=\"cite\">a<blockquote type=\"cite\">b</blockquote></blockquote>c"
            ),
            "<details class=\"quote\"><summary class=\"quote-handle\">Quoted text</summary>\
             <blockquote type=\"cite\">a<blockquote type=\"cite\">b</blockquote></blockquote></details>c"
        );
        assert_eq!(marked("<blockquote>a</blockquote>"), "<blockquote>a</blockquote>");
    }

    #[test]
    fn overrides_and_lines_that_a_parser_would_eat_are_left_out() {
        assert_eq!(marked("<p>a\u{202e}b</p><pre>\n\nx\n</pre>"), "<p>ab</p><pre>x\n</pre>");
        assert_eq!(marked("<b title=\"a\rb\">c\r\nd</b>"), "<b title=\"a\nb\">c\n\nd</b>");
        assert_eq!(marked("<pre>\u{202e}\n\u{feff}\rx\u{202e}\n</pre>"), "<pre>x\n</pre>");
    }
}
