//! What one segment says of the tests of a search, for the messages of one user.

use crate::grams::{EDGE, GRAM_CHARS, each_class};
use crate::needle::{Needle, Run, Test};
use crate::owned::{Marks, Owned};
use crate::schema::{Fields, HAS_CLASSES, PARTIAL, push_class};
use crate::vocabulary::Vocabularies;
use crate::words::{Script, is_word};
use std::sync::Arc;
use tantivy::postings::{BlockSegmentPostings, TermInfo};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{InvertedIndexReader, SegmentReader};

/// The messages of a user in one segment.
#[derive(Debug)]
pub struct View<'a> {
    pub segment: &'a SegmentReader,
    pub fields: &'a Fields,
    pub owned: &'a Owned,
    pub vocabularies: &'a Vocabularies,
}

/// Words looked up before it is asked whether that was enough.
const WORDS_AT_ONCE: usize = 16;

/// Who has a text: surely, and perhaps. Nobody else has it.
#[derive(Clone, Debug)]
pub struct Holders {
    pub yes: Marks,
    pub maybe: Marks,
}

/// Where postings are read, one term after the other: the memory for a block is a kilobyte.
type Cursor = Option<BlockSegmentPostings>;

/// One field of a segment.
struct Terms<'a> {
    view: &'a View<'a>,
    field: Field,
    index: Arc<InvertedIndexReader>,
}

impl View<'_> {
    /// # Errors
    /// When the segment can't be read.
    pub fn holders(&self, test: &Test) -> tantivy::Result<Holders> {
        let (body, head) = (self.fields.body, self.fields.head);
        match test {
            Test::Always => Ok(Holders { yes: self.owned.all(), maybe: self.owned.none() }),
            Test::Body(needle) => self.terms(body)?.holders(needle),
            Test::Text(needle) => {
                let body = self.terms(body)?.holders(needle)?;
                if self.owned.are_all(&body.yes) {
                    return Ok(body);
                }
                let head = self.terms(head)?.holders(needle)?;
                Ok(Holders { yes: body.yes.or(&head.yes), maybe: body.maybe.or(&head.maybe) })
            }
            Test::Header(needle) => self.terms(head)?.holders(needle),
        }
    }

    fn terms(&self, field: Field) -> tantivy::Result<Terms<'_>> {
        Ok(Terms { view: self, field, index: self.segment.inverted_index(field)? })
    }
}

impl Terms<'_> {
    fn holders(&self, needle: &Needle) -> tantivy::Result<Holders> {
        let owned = self.view.owned;
        let partial = self.having(PARTIAL)?;
        if let ([run], true) = (needle.runs.as_slice(), needle.proves) {
            let (yes, others) = match run.script {
                Script::Spaced => (self.words(run)?, self.others(run)?),
                Script::Dense => (self.pairs(&run.text)?, owned.none()),
            };
            return Ok(Holders { yes, maybe: others.or(&partial) });
        }
        let mut maybe = owned.all();
        for run in &needle.runs {
            let having = match run.script {
                Script::Spaced => self.words(run)?.or(&self.others(run)?),
                Script::Dense => self.pairs(&run.text)?,
            };
            maybe = maybe.and(&having);
            if maybe.is_empty() {
                break;
            }
        }
        Ok(Holders { yes: owned.none(), maybe: maybe.or(&partial) })
    }

    /// Who has a term.
    fn having(&self, term: &str) -> tantivy::Result<Marks> {
        let mut marks = self.view.owned.none();
        if let Some(info) = self.index.terms().get(term)? {
            self.mark(&info, &mut None, &mut marks)?;
        }
        Ok(marks)
    }

    fn mark(&self, info: &TermInfo, cursor: &mut Cursor, marks: &mut Marks) -> tantivy::Result<()> {
        let postings = match cursor {
            Some(postings) => {
                self.index.reset_block_postings_from_terminfo(info, postings)?;
                postings
            }
            none => {
                let basic = IndexRecordOption::Basic;
                none.insert(self.index.read_block_postings_from_terminfo(info, basic)?)
            }
        };
        self.view.owned.mark(postings, marks);
        Ok(())
    }

    /// Who has a word with the run in it.
    fn words(&self, run: &Run) -> tantivy::Result<Marks> {
        if !is_word(&run.text) {
            // No word has a part that could not be one.
            return Ok(self.view.owned.none());
        }
        if run.open == (false, false) {
            return self.having(&run.text);
        }
        let key = (self.view.segment.segment_id(), self.field.field_id());
        let terms = self.index.terms();
        let vocabulary = self.view.vocabularies.get(key, terms)?;
        let (mut marks, mut cursor) = (self.view.owned.none(), None);
        for (at, word) in (1..).zip(vocabulary.with(&run.text, run.open)) {
            if let Some(info) = terms.get(word)? {
                self.mark(&info, &mut cursor, &mut marks)?;
            }
            // A part of very many words is in every message after a few of them.
            if at % WORDS_AT_ONCE == 0 && self.view.owned.are_all(&marks) {
                break;
            }
        }
        Ok(marks)
    }

    /// Who may have the run in one that is no word.
    fn others(&self, run: &Run) -> tantivy::Result<Marks> {
        if run.open == (false, false) && is_word(&run.text) {
            return Ok(self.view.owned.none());
        }
        let mut marks = self.having(HAS_CLASSES)?;
        let edge = |open: bool| (!open).then_some(EDGE);
        let text = edge(run.open.0).into_iter().chain(run.text.chars()).chain(edge(run.open.1));
        let mut classes = Vec::with_capacity(run.text.len() + 2 - GRAM_CHARS.min(2));
        each_class(text, |class| classes.push(class));
        for class in classes {
            if marks.is_empty() {
                break;
            }
            let mut term = String::new();
            push_class(class, &mut term);
            marks = marks.and(&self.having(&term)?);
        }
        Ok(marks)
    }

    /// Who has all pairs of neighbours of a run of a dense script; of one character, who has a term that begins with it.
    fn pairs(&self, run: &str) -> tantivy::Result<Marks> {
        let owned = self.view.owned;
        let ends = |at: usize| run[at..].char_indices().nth(2).map(|(end, _)| at + end);
        if run.chars().nth(1).is_none() {
            let (mut marks, mut cursor) = (owned.none(), None);
            let mut terms = self.index.terms().range().ge(run).into_stream()?;
            while terms.advance() && terms.key().starts_with(run.as_bytes()) {
                self.mark(terms.value(), &mut cursor, &mut marks)?;
            }
            return Ok(marks);
        }
        let mut marks = owned.all();
        for (at, _) in run.char_indices() {
            let rest = &run[at..];
            if rest.chars().nth(1).is_none() {
                break;
            }
            marks = marks.and(&self.having(&run[at..ends(at).unwrap_or(run.len())])?);
        }
        Ok(marks)
    }
}
