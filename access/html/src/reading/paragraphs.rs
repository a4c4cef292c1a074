//! Lines of a text as they were meant (RFC 3676): soft line ends joined, quote marks counted and taken off.

use super::limits::QUOTE_DEPTH_MAX;
use super::text::Flowed;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Quote marks before it.
    pub depth: usize,
    pub text: String,
    /// A signature begins behind it (RFC 3676 4.3).
    pub is_separator: bool,
}

impl Line {
    pub(crate) fn is_blank(&self) -> bool {
        self.text.chars().all(char::is_whitespace)
    }
}

pub(crate) fn lines(text: &str, flowed: Flowed) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    // The line before ended softly.
    let mut soft = false;
    for written in text.lines() {
        let (depth, text) = match flowed {
            Flowed::No => unquoted_loosely(written),
            Flowed::Yes { .. } => unquoted(written),
        };
        let depth = depth.min(QUOTE_DEPTH_MAX);
        let is_separator = text == "-- ";
        // RFC 3676 4.3: the separator is never part of a paragraph.
        let ends_softly = !is_separator && flowed != Flowed::No && text.ends_with(' ');
        let text = match flowed {
            // RFC 3676 4.1: with DelSp the space that made the end soft is none of the text.
            Flowed::Yes { del_sp: true } if ends_softly => &text[..text.len() - 1],
            _ => text,
        };
        match lines.last_mut() {
            // RFC 3676 4.5: a soft end before another depth is a mistake, and hard.
            Some(last) if soft && !is_separator && last.depth == depth => last.text.push_str(text),
            _ => lines.push(Line { depth, text: text.to_owned(), is_separator }),
        }
        soft = ends_softly;
    }
    lines
}

/// RFC 3676 4.4, 4.5: marks without spaces between, then a space that was stuffed.
fn unquoted(line: &str) -> (usize, &str) {
    let rest = line.trim_start_matches('>');
    (line.len() - rest.len(), rest.strip_prefix(' ').unwrap_or(rest))
}

/// As people and clients write it: `> > text`, too.
fn unquoted_loosely(line: &str) -> (usize, &str) {
    let mut depth = 0;
    let mut rest = line;
    loop {
        let spaceless = if depth > 0 { rest.strip_prefix(' ').unwrap_or(rest) } else { rest };
        let Some(inner) = spaceless.strip_prefix('>') else { return (depth, spaceless) };
        depth += 1;
        rest = inner;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, flowed: Flowed) -> Vec<(usize, String)> {
        lines(text, flowed).into_iter().map(|l| (l.depth, l.text)).collect()
    }

    fn expect(text: &str, flowed: Flowed, lines: &[(usize, &str)]) {
        let lines: Vec<_> = lines.iter().map(|(d, t)| (*d, (*t).to_owned())).collect();
        assert_eq!(shown(text, flowed), lines);
    }

    const FLOWED: Flowed = Flowed::Yes { del_sp: false };

    #[test]
    fn soft_ends_are_joined() {
        expect("a \r\nb\r\nc", FLOWED, &[(0, "a b"), (0, "c")]);
        expect("日 \n本", Flowed::Yes { del_sp: true }, &[(0, "日本")]);
        expect("a \nb", Flowed::No, &[(0, "a "), (0, "b")]);
        expect("a \n\nb", FLOWED, &[(0, "a "), (0, "b")]);
    }

    #[test]
    fn quote_marks_are_counted() {
        expect(">> a \n>> b\n> c \nd", FLOWED, &[(2, "a b"), (1, "c "), (0, "d")]);
        expect("> > a\n>b\n >c", Flowed::No, &[(2, "a"), (1, "b"), (0, " >c")]);
        expect("> > a", FLOWED, &[(1, "> a")]);
        expect(&">".repeat(100), FLOWED, &[(QUOTE_DEPTH_MAX, "")]);
    }

    #[test]
    fn stuffed_spaces_are_taken_off() {
        expect(" From\n  b\n> > c", FLOWED, &[(0, "From"), (0, " b"), (1, "> c")]);
    }

    #[test]
    fn a_signature_is_never_joined() {
        let lines = lines("a \n-- \nb", FLOWED);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].is_separator);
        assert_eq!(lines[1].text, "-- ");
    }
}
