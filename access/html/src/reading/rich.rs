//! Text with simple markup, as it is written here: what may be in it, and what it says without.
//!
//! What a form or a draft brings goes the way of mail that came in, with lists that are shorter: elements of text alone, no
//! style, no picture, and no attribute but the address of a link and what marks a quotation as one.

use super::escape::{characters, unescape};
use super::limits::Limits;
use super::link::Link;
use super::scanner::{Scanner, Token};
use super::{allowed, outline};
use std::borrow::Cow;

const ELEMENTS: [&str; 15] = [
    "a",
    "b",
    "blockquote",
    "br",
    "code",
    "div",
    "em",
    "i",
    "li",
    "ol",
    "p",
    "pre",
    "strong",
    "u",
    "ul",
];

/// Of `html`, what may be written; `None`: it is too long or too deep.
#[must_use]
pub fn clean(html: &str) -> Option<String> {
    // An element that is left out may have held others apart: the second round reads what is left as everybody will.
    let first = listed(html)?;
    listed(&first).map(|clean| settled(&clean))
}

fn listed(html: &str) -> Option<String> {
    let outlined = outline::outline(html, &Limits::default());
    let mut builder = ammonia::Builder::empty();
    builder
        .tags(ELEMENTS.into_iter().collect())
        .clean_content_tags(allowed::DROPPED_WHOLE.iter().copied().collect())
        .tag_attributes(
            [("a", ["href"].into()), ("blockquote", ["type"].into())].into_iter().collect(),
        )
        .url_schemes(["http", "https", "mailto"].into_iter().collect())
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(None)
        .attribute_filter(|element, _, value| match element {
            "a" => Some(Cow::Owned(Link::parse(value)?.as_str().to_owned())),
            _ => value.eq_ignore_ascii_case("cite").then_some(Cow::Borrowed("cite")),
        });
    (!outlined.truncated).then(|| builder.clean(&outlined.html).to_string())
}

/// Without what the next parser would eat (HTML standard 13.2.6.4.7: a line break behind `<pre>`), so that saving changes nothing.
fn settled(clean: &str) -> String {
    let mut pieces = clean.split("<pre>");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str("<pre>");
        out.push_str(piece.trim_start_matches('\n'));
    }
    out.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{feff}').to_owned()
}

/// The document that is sent. It names no body: that would come back as an element more.
#[must_use]
pub fn document(clean: &str) -> String {
    format!("<!doctype html>\n<html><head><meta charset=\"utf-8\"></head>\n{clean}\n</html>\n")
}

/// What [`clean`] text says without its markup, in lines that end with LF: the way text is written that was never more.
#[must_use]
pub fn text(clean: &str) -> String {
    let mut text = Text::default();
    let mut scanner = Scanner::new(clean, 8);
    while let Some(token) = scanner.next() {
        match token {
            Token::Text(piece) => text.on_text(piece),
            Token::Start { name, attributes, .. } => {
                let href = attributes.iter().find(|(name, _)| *name == "href");
                text.on_start(&name, href.map(|(_, value)| unescape(value)));
            }
            Token::End { name } => text.on_end(&name),
        }
    }
    text.end_line();
    text.out
}

#[derive(Debug, Default)]
struct Text {
    out: String,
    /// The line so far, without what stands before it.
    line: String,
    /// A space is due before the next word.
    space: bool,
    /// The line is ended by `<br>`, which counts when something follows in the same block.
    broken: bool,
    /// A blank line is due before the next one.
    gap: bool,
    quotes: usize,
    /// Of each list that is open, the number of its last item; `None`: it has no numbers.
    lists: Vec<Option<u32>>,
    /// Before the first line of an item.
    mark: Option<String>,
    preformatted: usize,
    /// The link that is open, and where its text begins in the line.
    link: Option<(String, usize)>,
}

impl Text {
    fn on_text(&mut self, piece: &str) {
        for (_, c) in characters(piece) {
            match c {
                '\n' if self.preformatted > 0 => self.break_line(),
                '\r' => {}
                c if c.is_ascii_whitespace() && self.preformatted == 0 => self.space = true,
                c => self.push(if c == '\u{a0}' { ' ' } else { c }),
            }
        }
    }

    fn push(&mut self, c: char) {
        if self.broken {
            self.write_line();
        }
        if std::mem::take(&mut self.space) && !self.line.is_empty() {
            self.line.push(' ');
        }
        self.line.push(c);
    }

    fn on_start(&mut self, name: &str, href: Option<String>) {
        match name {
            "br" => return self.break_line(),
            "a" => {
                let begun = if self.broken { 0 } else { self.line.len() };
                self.link = href.map(|href| (href, begun));
                return;
            }
            "blockquote" | "div" | "li" | "ol" | "p" | "pre" | "ul" => self.end_line(),
            _ => return,
        }
        match name {
            "blockquote" => self.quotes += 1,
            "ul" => self.lists.push(None),
            "ol" => self.lists.push(Some(0)),
            "li" => self.mark = Some(self.next_mark()),
            "p" => self.gap |= !self.out.is_empty() && self.mark.is_none(),
            "pre" => self.preformatted += 1,
            _ => {}
        }
    }

    fn on_end(&mut self, name: &str) {
        match name {
            "a" => return self.end_link(),
            "blockquote" | "div" | "li" | "ol" | "p" | "pre" | "ul" => self.end_line(),
            _ => return,
        }
        match name {
            "blockquote" => self.quotes = self.quotes.saturating_sub(1),
            "ul" | "ol" => drop(self.lists.pop()),
            "li" if self.mark.is_some() => self.write_line(),
            "p" => self.gap = true,
            "pre" => self.preformatted = self.preformatted.saturating_sub(1),
            _ => {}
        }
    }

    fn next_mark(&mut self) -> String {
        match self.lists.last_mut() {
            Some(Some(number)) => {
                *number = number.saturating_add(1);
                format!("{number}. ")
            }
            Some(None) | None => "- ".into(),
        }
    }

    /// Where a link leads stands behind its text, unless that says it.
    fn end_link(&mut self) {
        let Some((href, begun)) = self.link.take() else { return };
        let said = self.line.get(begun..).unwrap_or_default().trim();
        let bare = |href: &str| -> String {
            let bare =
                ["https://", "http://", "mailto:"].iter().find_map(|it| href.strip_prefix(it));
            bare.unwrap_or(href).trim_end_matches('/').to_owned()
        };
        if bare(said) != bare(&href) {
            self.space = true;
            format!("<{href}>").chars().for_each(|c| self.push(c));
        }
    }

    fn break_line(&mut self) {
        if self.broken {
            self.write_line();
        }
        self.broken = true;
    }

    /// A block begins or ends.
    fn end_line(&mut self) {
        if self.broken || !self.line.is_empty() {
            self.write_line();
        }
        self.space = false;
    }

    fn write_line(&mut self) {
        let quotes = ">".repeat(self.quotes);
        if std::mem::take(&mut self.gap) {
            self.out.push_str(&quotes);
            self.out.push('\n');
        }
        self.out.push_str(&quotes);
        let outer = self.lists.len().saturating_sub(1);
        let before = match self.mark.take() {
            Some(mark) => format!("{}{mark}", "  ".repeat(outer)),
            None => "  ".repeat(self.lists.len()),
        };
        if self.quotes > 0 && !(self.line.is_empty() && before.is_empty()) {
            self.out.push(' ');
        }
        self.out.push_str(&before);
        self.out.push_str(&self.line);
        self.out.push('\n');
        self.line.clear();
        (self.space, self.broken) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(html: &str) -> String {
        clean(html).expect("neither long nor deep")
    }

    #[test]
    fn text_keeps_its_markup_and_nothing_else() {
        let fine = "<div>a <b>b</b> <i>c</i> <u>d</u></div><ul><li>e</li></ul><blockquote type=\"cite\">f</blockquote>\
                    <p>g<br><a href=\"https://h.example/\">h</a></p><pre><code>i</code></pre>";
        assert_eq!(cleaned(fine), fine);
        assert_eq!(cleaned(&document(fine)), fine, "a draft comes back");
    }

    #[test]
    fn hostile_markup_comes_out_clean() {
        for (hostile, left) in [
            ("<script>alert(1)</script>x<style>p { color: red }</style>", "x"),
            ("<p onclick=alert(1) style='position:fixed' class=x id=y>x</p>", "<p>x</p>"),
            ("<a href='javascript:alert(1)' onclick=1>x</a>", "<a>x</a>"),
            ("<a href='JaVa\nscript:alert(1)'>x</a><a href=//e.example>y</a>", "<a>x</a><a>y</a>"),
            ("<img src=https://e.example/x.png onerror=alert(1)>x", "x"),
            ("<svg><script>1</script></svg><math><mi>x</mi></math>", "x"),
            ("<form action=https://e.example><input name=a><button>x</button></form>", "x"),
            ("<iframe src=https://e.example></iframe><object data=x></object><base href=x>", ""),
            (
                "<blockquote type=evil cite=https://e.example>x</blockquote>",
                "<blockquote>x</blockquote>",
            ),
            ("<meta http-equiv=refresh content='0;url=x'><link rel=stylesheet href=x>x", "x"),
            ("<b>x", "<b>x</b>"),
            ("</body></html><p>x", "<p>x</p>"),
        ] {
            assert_eq!(cleaned(hostile), left, "{hostile}");
            assert_eq!(cleaned(left), left);
        }
        assert_eq!(clean(&"<div>".repeat(1000)), None);
        assert_eq!(clean(&"x".repeat(3 << 20)), None);
    }

    #[test]
    fn what_it_says_without_markup() {
        for (html, said) in [
            ("a<div>b</div><div><br></div><div>c<br></div>d", "a\nb\n\nc\nd\n"),
            ("<p>a\n b</p><p>c<br>d</p>", "a b\n\nc\nd\n"),
            ("<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>d", "- a\n- b\n  - c\nd\n"),
            ("<ol><li><div>a</div><div>b</div></li><li></li></ol>", "1. a\n  b\n2. \n"),
            (
                "x<blockquote>a<blockquote>b</blockquote><div><br></div></blockquote>",
                "x\n> a\n>> b\n>\n",
            ),
            ("<blockquote><p>a</p><p>b</p></blockquote>", "> a\n>\n> b\n"),
            ("<pre>a\n  b\n\nc</pre>", "a\n  b\n\nc\n"),
            ("<a href=\"https://e.example/x\">see</a>.", "see <https://e.example/x>.\n"),
            ("<a href=\"https://e.example/\">e.example</a>", "e.example\n"),
            ("<a href=\"mailto:a@b.example\">a@b.example</a>", "a@b.example\n"),
            ("--&nbsp;<br>A&amp;B &lt;b&gt;", "-- \nA&B <b>\n"),
            ("", ""),
        ] {
            assert_eq!(text(html), said, "{html}");
        }
    }
}
