//! The plain text of a message as HTML: paragraphs that find their own direction, links, folded quotations, the signature apart.

use super::escape::push_text;
use super::limits::{Limits, QUOTE_LINES_OPEN_MAX};
use super::link::Link;
use super::marks::LINK_ATTRIBUTES;
use super::outline::{QUOTE_HANDLE, REAL_HOST};
use super::paragraphs::{Line, lines};

/// The `format` parameter of `text/plain` (RFC 3676).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flowed {
    No,
    /// `format=flowed`, and its `delsp`.
    Yes {
        del_sp: bool,
    },
}

/// Bytes of an address that is made a link.
const LINK_BYTES_MAX: usize = 2_048;
/// RFC 5321 4.5.3.1.
const LOCAL_PART_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 255;

/// `text` is decoded to UTF-8. The fragment is for the body of [`frame`](super::frame()); what is beyond
/// `Limits::input_bytes_max` is not shown, and the fragment says so.
pub fn text_html(text: &str, flowed: Flowed) -> String {
    let read = &text[..text.floor_char_boundary(Limits::default().input_bytes_max)];
    let lines = lines(read, flowed);
    let mut page = Page { out: String::with_capacity(read.len() * 2), depth: 0, paragraph: false };
    page.out.push_str("<div class=\"text\">");
    let mut signature = false;
    let mut blank = 0;
    for (at, line) in lines.iter().enumerate() {
        if line.is_separator && line.depth == 0 && !signature {
            page.go_to(0, &[]);
            page.out.push_str("<div class=\"signature\">");
            signature = true;
            continue;
        }
        page.go_to(line.depth, &lines[at..]);
        if line.is_blank() {
            page.end_paragraph();
            // One blank line is the margin of a paragraph; those behind it are room that was meant.
            if blank > 0 {
                page.out.push_str("<br>");
            }
            blank += 1;
            continue;
        }
        blank = 0;
        page.push_line(&line.text);
    }
    page.go_to(0, &[]);
    if signature {
        page.out.push_str("</div>");
    }
    if read.len() < text.len() {
        page.out
            .push_str("<p class=\"cut\">The rest of this text is not shown: it is too long.</p>");
    }
    page.out.push_str("</div>");
    page.out
}

#[derive(Debug)]
struct Page {
    out: String,
    depth: usize,
    /// A paragraph is open.
    paragraph: bool,
}

impl Page {
    /// Opens and closes quotations; `lines` are those to come.
    fn go_to(&mut self, depth: usize, lines: &[Line]) {
        if depth != self.depth || lines.is_empty() {
            self.end_paragraph();
        }
        while self.depth > depth {
            self.depth -= 1;
            self.out.push_str("</blockquote></details>");
        }
        while self.depth < depth {
            self.depth += 1;
            let quoted = lines.iter().take_while(|l| l.depth >= self.depth).count();
            let open = if quoted <= QUOTE_LINES_OPEN_MAX { " open" } else { "" };
            let noun = if quoted == 1 { "line" } else { "lines" };
            self.out.push_str(&format!(
                "<details class=\"quote\" data-depth=\"{}\"{open}><summary class=\"{QUOTE_HANDLE}\">\
                 Quoted text, {quoted} {noun}</summary><blockquote>",
                self.depth
            ));
        }
    }

    fn push_line(&mut self, line: &str) {
        // UAX 9 HL1: each paragraph goes the way of its first strong letter.
        self.out.push_str(if self.paragraph { "<br>" } else { "<p dir=\"auto\">" });
        self.paragraph = true;
        push_linked(&mut self.out, line);
    }

    fn end_paragraph(&mut self) {
        if std::mem::take(&mut self.paragraph) {
            self.out.push_str("</p>");
        }
    }
}

/// The line with `http:`, `https:`, `mailto:` and bare mail addresses made links. Each byte is looked at a bounded number of
/// times: what was tried as an address and is none is not tried again.
fn push_linked(out: &mut String, line: &str) {
    let mut written = 0;
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b':', b'@', &line.as_bytes()[at..]) {
        let mark = at + found;
        at = mark + 1;
        let tried = match line.as_bytes()[mark] {
            b':' => web_address(line, written, mark),
            _ => mail_address(line, written, mark),
        };
        let Some((start, end)) = tried else { continue };
        let address = &line[start..end];
        let link = match line.as_bytes()[mark] {
            b':' => Link::parse(address),
            _ => Link::parse(&format!("mailto:{address}")),
        };
        at = end;
        if let Some(link) = link {
            push_text(out, &line[written..start]);
            push_link(out, &link, address);
            written = end;
        }
    }
    push_text(out, &line[written..]);
}

fn push_link(out: &mut String, link: &Link, text: &str) {
    out.push_str("<a href=\"");
    push_text(out, link.as_str());
    out.push_str("\" title=\"");
    push_text(out, &link.real_host());
    out.push('"');
    out.push_str(LINK_ATTRIBUTES);
    out.push('>');
    push_text(out, text);
    if link.is_denied_by(text) {
        out.push_str(&format!("<span class=\"{REAL_HOST}\" dir=\"ltr\">"));
        push_text(out, &link.real_host());
        out.push_str("</span>");
    }
    out.push_str("</a>");
}

/// Around the colon of a scheme: from the scheme to what can't be part of an address, or only ends a sentence.
fn web_address(line: &str, from: usize, colon: usize) -> Option<(usize, usize)> {
    let scheme = ["https", "http", "mailto"].into_iter().find(|scheme| {
        colon
            .checked_sub(scheme.len())
            .and_then(|s| line.get(s..colon))
            .is_some_and(|s| s.eq_ignore_ascii_case(scheme))
    })?;
    let start = colon - scheme.len();
    let tail = &line[colon + 1..];
    let bound =
        line[from.min(start)..start].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
    if start < from || !bound || (scheme != "mailto" && !tail.starts_with("//")) {
        return None;
    }
    let tail = &tail[..tail.floor_char_boundary(LINK_BYTES_MAX)];
    let ends = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '<' | '>' | '"' | '「' | '」' | '。' | '、')
    };
    let address = without_punctuation(&tail[..tail.find(ends).unwrap_or(tail.len())]);
    Some((start, colon + 1 + address.len()))
}

/// What ends a sentence ends no address; a bracket does if it closes one that is opened in it.
fn without_punctuation(address: &str) -> &str {
    let mut rest = address;
    let mut surplus = [('(', ')'), ('[', ']'), ('{', '}')].map(|(open, close)| {
        (close, rest.matches(close).count().saturating_sub(rest.matches(open).count()))
    });
    while let Some(last) = rest.chars().next_back() {
        let bracket = surplus.iter_mut().find(|(close, n)| *close == last && *n > 0);
        let trimmed = match bracket {
            Some((_, surplus)) => {
                *surplus -= 1;
                true
            }
            None => matches!(
                last,
                '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' | '_' | '…' | '’' | '”' | '»'
            ),
        };
        if !trimmed {
            break;
        }
        rest = &rest[..rest.len() - last.len_utf8()];
    }
    rest
}

fn mail_address(line: &str, from: usize, at: usize) -> Option<(usize, usize)> {
    let is_local = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '=' | '\'');
    let before = &line[from..at];
    let before =
        &before[before.ceil_char_boundary(before.len().saturating_sub(LOCAL_PART_BYTES_MAX))..];
    let local =
        &before[before.rfind(|c| !is_local(c)).map_or(0, |n| before.ceil_char_boundary(n + 1))..];
    let local = local.trim_start_matches(['.', '\'', '=']);
    let after = &line[at + 1..];
    let after = &after[..after.floor_char_boundary(DOMAIN_BYTES_MAX)];
    let domain = &after[..after
        .find(|c: char| !c.is_alphanumeric() && !matches!(c, '.' | '-'))
        .unwrap_or(after.len())];
    let domain = domain.trim_end_matches(['.', '-']);
    let whole = !local.is_empty()
        && domain.contains('.')
        && !domain.contains("..")
        && !domain.starts_with(['.', '-']);
    whole.then(|| (at - local.len(), at + 1 + domain.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(line: &str) -> String {
        let mut out = String::new();
        push_linked(&mut out, line);
        out.replace(LINK_ATTRIBUTES, "")
    }

    fn web(host: &str, address: &str) -> String {
        let href = if address.ends_with(host) { format!("{address}/") } else { address.to_owned() };
        format!("<a href=\"{href}\" title=\"{host}\">{address}</a>")
    }

    #[test]
    fn addresses_are_links_and_their_sentence_is_not() {
        let link = web("a.example", "http://a.example");
        assert_eq!(linked("see http://a.example."), format!("see {link}."));
        assert_eq!(linked("(http://a.example), http://a.example!"), format!("({link}), {link}!"));
        let wiki = web("a.example", "https://a.example/x_(y)");
        assert_eq!(linked("(https://a.example/x_(y))"), format!("({wiki})"));
        assert_eq!(linked("<https://a.example/x_(y)>"), format!("&lt;{wiki}&gt;"));
        assert_eq!(
            linked("x:http//y http: xhttp://a.example"),
            "x:http//y http: xhttp://a.example"
        );
        assert_eq!(
            linked("javascript:alert(1) data:text/html,x ftp://a.example"),
            "javascript:alert(1) data:text/html,x ftp://a.example"
        );
    }

    #[test]
    fn mail_addresses() {
        let link =
            "<a href=\"mailto:a.b+c@d.example\" title=\"a.b+c@d.example\">a.b+c@d.example</a>";
        assert_eq!(linked("to a.b+c@d.example."), format!("to {link}."));
        assert_eq!(linked("<a.b+c@d.example>"), format!("&lt;{link}&gt;"));
        assert_eq!(
            linked("mailto:x@y.example"),
            "<a href=\"mailto:x@y.example\" title=\"x@y.example\">mailto:x@y.example</a>"
        );
        assert_eq!(
            linked("a@b @c.example a@ a@@b.example a@b..example"),
            "a@b @c.example a@ a@@b.example a@b..example"
        );
    }

    #[test]
    fn credentials_read_as_a_host_are_told() {
        assert_eq!(
            linked("https://bank.example@evil.example/"),
            "<a href=\"https://evil.example/\" title=\"evil.example\">https://bank.example@evil.example/\
             <span class=\"real-host\" dir=\"ltr\">evil.example</span></a>"
        );
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(linked("<script>\"&'\u{202e}"), "&lt;script&gt;&quot;&amp;&#39;");
        assert!(!linked("http://a.example/\"onclick=x").contains("\"onclick"));
        assert!(!linked("http://a.example/'<b>").contains("<b>"));
    }

    #[test]
    fn paragraphs_quotations_and_signature() {
        assert_eq!(
            text_html("a\nb\n\nc\n> d\n>> e\n\n-- \nf", Flowed::No),
            "<div class=\"text\"><p dir=\"auto\">a<br>b</p><p dir=\"auto\">c</p>\
             <details class=\"quote\" data-depth=\"1\" open><summary class=\"quote-handle\">Quoted text, 2 lines</summary><blockquote>\
             <p dir=\"auto\">d</p>\
             <details class=\"quote\" data-depth=\"2\" open><summary class=\"quote-handle\">Quoted text, 1 line</summary><blockquote>\
             <p dir=\"auto\">e</p></blockquote></details></blockquote></details>\
             <div class=\"signature\"><p dir=\"auto\">f</p></div></div>"
        );
    }

    #[test]
    fn long_quotations_are_folded() {
        let html = text_html("> a\n> b\n> c\n> d\n", Flowed::No);
        assert!(html.contains("data-depth=\"1\"><summary"), "{html}");
    }

    #[test]
    fn a_text_that_is_cut_says_so() {
        let html = text_html(&"ä".repeat(2 << 20), Flowed::No);
        assert!(html.ends_with("it is too long.</p></div>"));
    }
}
