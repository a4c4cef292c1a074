//! A message as the index takes it: the terms of its header and of its body, made of the same decoded text that SEARCH scans.

use crate::grams::Classes;
use crate::limits::Limits;
use crate::schema;
use crate::words::{Script, is_word, open_run, runs};
use mailstore::mime::{PieceKind, TextSink};

/// The terms of one field, divided by spaces.
#[derive(Debug, Default)]
pub struct FieldTerms {
    pub terms: String,
    classes: Classes,
    /// Not all of the text went in.
    partial: bool,
    text_bytes: usize,
}

/// Takes the text of one message.
#[derive(Debug)]
pub struct Terms {
    pub body: FieldTerms,
    pub head: FieldTerms,
    text_bytes_max: usize,
    run_bytes_max: usize,
}

impl Terms {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            body: FieldTerms::default(),
            head: FieldTerms::default(),
            text_bytes_max: limits.text_bytes_max,
            run_bytes_max: limits.run_bytes_max,
        }
    }

    /// A message whose text can't be read here: it is held, and nothing is known of it.
    #[must_use]
    pub fn unknown(limits: &Limits) -> Self {
        let mut terms = Self::new(limits);
        (terms.body.partial, terms.head.partial) = (true, true);
        terms.finish();
        terms
    }

    /// All text was taken: adds what stands for it as a whole.
    pub fn finish(&mut self) {
        self.body.finish();
        self.head.finish();
    }

    /// Bytes of text that were taken.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.body.text_bytes + self.head.text_bytes
    }

    fn field(&mut self, kind: &PieceKind) -> &mut FieldTerms {
        match kind {
            PieceKind::OuterHeader => &mut self.head,
            PieceKind::NestedHeader | PieceKind::Text { .. } => &mut self.body,
        }
    }
}

impl TextSink for Terms {
    fn take(&mut self, kind: &PieceKind, window: &mut Vec<u8>) {
        let run_max = self.run_bytes_max;
        let field = self.field(kind);
        let Ok(text) = std::str::from_utf8(window) else {
            field.partial = true;
            return window.clear();
        };
        let kept = open_run(text).unwrap_or(text.len());
        field.add(&text[..kept]);
        window.drain(..kept);
        if window.len() > run_max {
            field.partial = true;
            window.clear();
        }
        if self.text_bytes() > self.text_bytes_max {
            // The rest is not read, of either field.
            (self.body.partial, self.head.partial) = (true, true);
        }
    }

    fn end(&mut self, kind: &PieceKind, window: &mut Vec<u8>) {
        let field = self.field(kind);
        match std::str::from_utf8(window) {
            Ok(text) => field.add(text),
            Err(_) => field.partial = true,
        }
        window.clear();
    }

    fn is_done(&self) -> bool {
        self.text_bytes() > self.text_bytes_max
    }
}

impl FieldTerms {
    fn add(&mut self, text: &str) {
        self.text_bytes += text.len();
        for (script, range) in runs(text) {
            let run = &text[range];
            match script {
                Script::Dense => self.add_pairs(run),
                Script::Spaced if is_word(run) => self.push(run),
                Script::Spaced => self.classes.add(run),
            }
        }
    }

    fn push(&mut self, term: &str) {
        self.terms.push_str(term);
        self.terms.push(' ');
    }

    /// Neighbours, and the last one alone: so each character begins a term.
    fn add_pairs(&mut self, run: &str) {
        let mut chars = run.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map_or(0, |(_, next)| next.len_utf8());
            self.push(&run[at..at + c.len_utf8() + next]);
        }
    }

    fn finish(&mut self) {
        if self.partial {
            self.terms.push_str(schema::PARTIAL);
            self.terms.push(' ');
        }
        if self.classes.any() {
            self.terms.push_str(schema::HAS_CLASSES);
            self.terms.push(' ');
            let classes = std::mem::take(&mut self.classes);
            for class in classes.iter() {
                schema::push_class(class, &mut self.terms);
                self.terms.push(' ');
            }
        }
    }
}
