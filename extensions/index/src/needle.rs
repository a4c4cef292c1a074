//! What is looked for, cut as the text is.

use crate::words::{Script, runs};
use bytes::Bytes;
use mailstore::mailbox::BodyTest;
use mailstore::mime::fold_needle;

/// A test of a search, as the index answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// RFC 9051 6.4.4: the empty text stands everywhere.
    Always,
    Body(Needle),
    Text(Needle),
    /// A field of the header: the text stands somewhere in the header, and a name of a field does.
    Header(Needle),
}

/// A text, cut into runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    /// All of them stand in what has the text. None: it is marks alone, and may stand anywhere.
    pub runs: Vec<Run>,
    /// The text is one run, so that a dictionary knows who has it.
    pub proves: bool,
}

/// A run of a needle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub text: String,
    pub script: Script,
    /// Whether the run of the text may go on before and behind this one.
    pub open: (bool, bool),
}

/// Characters of an open run that is worth looking for beside others.
const WORTHWHILE_CHARS: usize = 3;

impl Test {
    #[must_use]
    pub fn of(test: &BodyTest) -> Self {
        match test {
            BodyTest::Body(text) if text.is_empty() => Self::Always,
            BodyTest::Text(text) if text.is_empty() => Self::Always,
            BodyTest::Body(text) => Self::Body(Needle::of(text)),
            BodyTest::Text(text) => Self::Text(Needle::of(text)),
            BodyTest::Header { name, text } => Self::Header(Needle::of_field(name, text)),
        }
    }
}

impl Needle {
    fn of(text: &Bytes) -> Self {
        let folded = fold_needle(text);
        let text = String::from_utf8_lossy(&folded);
        let whole = |range: &std::ops::Range<usize>| *range == (0..text.len());
        let mut proves = false;
        let mut found: Vec<Run> = Vec::new();
        for (script, range) in runs(&text) {
            let open = (range.start == 0, range.end == text.len());
            let run = Run { text: text[range.clone()].to_owned(), script, open };
            proves = whole(&range) && run.is_a_term();
            found.push(run);
        }
        // Leaving one out finds more, never less.
        if found.iter().any(Run::is_worthwhile) {
            found.retain(Run::is_worthwhile);
        }
        Self { runs: found, proves }
    }

    fn of_field(name: &Bytes, text: &Bytes) -> Self {
        let mut needle = Self::of(text);
        needle.proves = false;
        // Other names are compared otherwise than folded text is.
        if name.is_ascii() {
            let mut of_name = Self::of(name);
            // In the header it stands between the end of a line and a colon.
            of_name.runs.iter_mut().for_each(|run| run.open = (false, false));
            needle.runs.append(&mut of_name.runs);
        }
        needle
    }
}

impl Run {
    /// Whether the terms of the index say exactly where it is.
    fn is_a_term(&self) -> bool {
        match self.script {
            Script::Spaced => true,
            Script::Dense => self.text.chars().nth(2).is_none(),
        }
    }

    fn is_worthwhile(&self) -> bool {
        match self.script {
            Script::Dense => true,
            Script::Spaced => {
                self.open == (false, false) || self.text.chars().nth(WORTHWHILE_CHARS - 1).is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needle(text: &'static str) -> Needle {
        Needle::of(&Bytes::from_static(text.as_bytes()))
    }

    fn shown(needle: &Needle) -> Vec<(&str, (bool, bool))> {
        needle.runs.iter().map(|run| (run.text.as_str(), run.open)).collect()
    }

    #[test]
    fn what_proves_and_what_does_not() {
        assert!(needle("INVOICE").proves && needle("a").proves && needle("東京").proves);
        for open in ["in voice", "invoice.", "東京都", "a東", "..", " a"] {
            assert!(!needle(open).proves, "{open}");
        }
    }

    #[test]
    fn the_ends_of_a_needle_are_open() {
        let both = (true, true);
        assert_eq!(shown(&needle("word")), [("word", both)]);
        let three = [("report", (true, false)), ("is", (false, false)), ("done", (false, true))];
        assert_eq!(shown(&needle("Report is done")), three);
        assert_eq!(shown(&needle("report is")), [("report", (true, false))]);
        assert_eq!(shown(&needle("a-b")), [("a", (true, false)), ("b", (false, true))]);
        assert_eq!(shown(&needle("(word)")), [("word", (false, false))]);
        assert!(needle("--").runs.is_empty());
    }
}
