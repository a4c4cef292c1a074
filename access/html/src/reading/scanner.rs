//! Cuts HTML into tags and text (HTML standard 13.2.5), in one pass over the bytes.
//!
//! Character references stay as they are: whoever needs the value of one takes it from the sanitiser, which decodes them.
//! Comments, declarations and processing instructions are read over. A tag that does not end is not a tag: the rest of the
//! input goes with it, as in a browser. Nothing here looks back, so the work is the length of the input.

use memchr::{memchr, memmem};

/// An attribute as it is written: the name in any case, the value without its quotes.
pub(crate) type Attribute<'a> = (&'a str, &'a str);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// Never empty.
    Text(&'a str),
    /// The name is in lower case. `closed`: it ends in `/>`, which means something in other languages than HTML.
    Start { name: String, attributes: Vec<Attribute<'a>>, closed: bool },
    /// The name is in lower case.
    End { name: String },
}

#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    input: &'a str,
    at: usize,
    attributes_max: usize,
}

impl<'a> Scanner<'a> {
    /// `attributes_max`: those behind are read over.
    pub(crate) fn new(input: &'a str, attributes_max: usize) -> Self {
        Self { input, at: 0, attributes_max }
    }

    /// Where the next token begins, in bytes.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The text up to the end tag of `name`, which is read too: for elements whose content is no markup.
    pub(crate) fn raw_text(&mut self, name: &str) -> &'a str {
        let start = self.at;
        let bytes = self.input.as_bytes();
        while let Some(found) = memmem::find(&bytes[self.at..], b"</") {
            let end = self.at + found;
            self.at = end + 2;
            let Some(candidate) = bytes.get(self.at..self.at + name.len()) else { continue };
            let closes = bytes.get(self.at + name.len()).is_some_and(|b| ends_name(*b));
            if closes && candidate.eq_ignore_ascii_case(name.as_bytes()) {
                self.at += name.len();
                self.tag_rest();
                return &self.input[start..end];
            }
        }
        self.at = self.input.len();
        &self.input[start..]
    }

    /// The rest, as text: for `plaintext`.
    pub(crate) fn rest(&mut self) -> &'a str {
        let start = self.at;
        self.at = self.input.len();
        &self.input[start..]
    }

    pub(crate) fn next(&mut self) -> Option<Token<'a>> {
        while self.at < self.input.len() {
            let rest = &self.input.as_bytes()[self.at..];
            if rest[0] != b'<' {
                return Some(self.text(0));
            }
            match rest.get(1) {
                Some(b'!' | b'?') => self.skip_declaration(),
                Some(b'/') => match rest.get(2) {
                    Some(b) if b.is_ascii_alphabetic() => {
                        self.at += 2;
                        let name = self.name();
                        if self.tag_rest().is_some() {
                            return Some(Token::End { name });
                        }
                    }
                    Some(_) => self.skip_past(b'>'),
                    None => return Some(self.text(2)),
                },
                Some(b) if b.is_ascii_alphabetic() => {
                    self.at += 1;
                    let name = self.name();
                    if let Some((attributes, closed)) = self.tag_rest() {
                        return Some(Token::Start { name, attributes, closed });
                    }
                }
                _ => return Some(self.text(1)),
            }
        }
        None
    }

    /// Text up to the next `<`; the first `taken` bytes are text whatever they are.
    fn text(&mut self, taken: usize) -> Token<'a> {
        let start = self.at;
        let from = start + taken;
        let found = memchr(b'<', &self.input.as_bytes()[from..]);
        self.at = found.map_or(self.input.len(), |n| from + n);
        Token::Text(&self.input[start..self.at])
    }

    fn skip_past(&mut self, byte: u8) {
        let found = memchr(byte, &self.input.as_bytes()[self.at..]);
        self.at = found.map_or(self.input.len(), |n| self.at + n + 1);
    }

    /// A comment ends at `-->` or `--!>`, and at once in `<!-->` and `<!--->`; all else ends at `>`.
    fn skip_declaration(&mut self) {
        let bytes = self.input.as_bytes();
        if !bytes[self.at..].starts_with(b"<!--") {
            return self.skip_past(b'>');
        }
        let mut dashes = 2;
        self.at += 4;
        while let Some(&byte) = bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'-' => dashes += 1,
                b'>' if dashes >= 2 => return,
                b'!' if dashes >= 2 && bytes.get(self.at) == Some(&b'>') => {
                    self.at += 1;
                    return;
                }
                _ => dashes = 0,
            }
        }
    }

    fn name(&mut self) -> String {
        let start = self.at;
        while self.peek().is_some_and(|b| !ends_name(b)) {
            self.at += 1;
        }
        self.input[start..self.at].to_ascii_lowercase()
    }

    fn peek(&self) -> Option<u8> {
        self.input.as_bytes().get(self.at).copied()
    }

    /// Attributes and the closing `>`, and whether a `/` is before that; nothing when the input ends before it.
    fn tag_rest(&mut self) -> Option<(Vec<Attribute<'a>>, bool)> {
        let mut attributes = Vec::new();
        loop {
            let mut closed = false;
            while let Some(byte) = self.peek().filter(|b| is_space(*b) || *b == b'/') {
                closed = byte == b'/';
                self.at += 1;
            }
            if self.peek()? == b'>' {
                self.at += 1;
                return Some((attributes, closed));
            }
            let attribute = self.attribute()?;
            if attributes.len() < self.attributes_max {
                attributes.push(attribute);
            }
        }
    }

    /// Called at a byte that is neither space, `/` nor `>`: at least that one is read.
    fn attribute(&mut self) -> Option<Attribute<'a>> {
        let start = self.at;
        self.at += 1;
        while self.peek().is_some_and(|b| !ends_name(b) && b != b'=') {
            self.at += 1;
        }
        let name = &self.input[start..self.at];
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
        if self.peek()? != b'=' {
            return Some((name, ""));
        }
        self.at += 1;
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
        Some((name, self.value()?))
    }

    fn value(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        let quoted = matches!(first, b'"' | b'\'');
        if quoted {
            self.at += 1;
            let start = self.at;
            self.skip_past(first);
            let closed = self.at > start && self.input.as_bytes()[self.at - 1] == first;
            return closed.then(|| &self.input[start..self.at - 1]);
        }
        let start = self.at;
        while self.peek().is_some_and(|b| !is_space(b) && b != b'>') {
            self.at += 1;
        }
        Some(&self.input[start..self.at])
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

fn ends_name(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b'/' | b'>')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(input: &str) -> String {
        let mut scanner = Scanner::new(input, 3);
        let mut out = String::new();
        while let Some(token) = scanner.next() {
            out.push_str(&match token {
                Token::Text(text) => format!("[{text}]"),
                Token::Start { name, attributes, closed } => {
                    format!("<{name} {attributes:?}{}>", if closed { "/" } else { "" })
                }
                Token::End { name } => format!("</{name}>"),
            });
        }
        out
    }

    #[test]
    fn tags_and_text() {
        assert_eq!(
            shown("a<B x='1' y=2 Z>b</B >"),
            r#"[a]<b [("x", "1"), ("y", "2"), ("Z", "")]>[b]</b>"#
        );
        assert_eq!(shown("<p a b c d e>"), r#"<p [("a", ""), ("b", ""), ("c", "")]>"#);
        assert_eq!(shown("<br/><a href=x/>"), r#"<br []/><a [("href", "x/")]>"#);
        assert_eq!(shown("<a =b==c >"), r#"<a [("=b", "=c")]>"#);
        assert_eq!(shown("<a x=>t"), r#"<a [("x", "")]>[t]"#);
    }

    #[test]
    fn what_is_no_tag_is_text() {
        assert_eq!(shown("1 < 2 <3"), "[1 ][< 2 ][<3]");
        assert_eq!(shown("a<"), "[a][<]");
        assert_eq!(shown("a</"), "[a][</]");
        assert_eq!(shown("a</ b>c"), "[a][c]");
    }

    #[test]
    fn comments_are_read_over() {
        assert_eq!(shown("a<!-- <b> -->c"), "[a][c]");
        assert_eq!(shown("a<!-->c<!--->d<!----!>e"), "[a][c][d][e]");
        assert_eq!(shown("a<!-- > -- > --!>c"), "[a][c]");
        assert_eq!(
            shown("<![CDATA[<b>]]>c<?x y?>d<!doctype html>e"),
            "[]][>c][d][e]".replace("[]][>c]", "[]]>c]")
        );
        assert_eq!(shown("a<!-- b"), "[a]");
    }

    #[test]
    fn a_tag_without_an_end_takes_the_rest() {
        assert_eq!(shown("a<b c='d>e"), "[a]");
        assert_eq!(shown("a<b c"), "[a]");
    }

    #[test]
    fn raw_text_ends_at_its_own_tag_alone() {
        let mut scanner = Scanner::new("x</styles></STYLE a=1>y", 3);
        assert_eq!(scanner.raw_text("style"), "x</styles>");
        assert_eq!(scanner.next(), Some(Token::Text("y")));
        assert_eq!(Scanner::new("x</style", 3).raw_text("style"), "x</style");
    }
}
