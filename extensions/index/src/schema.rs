//! What a document is. Part of the format: another meaning of a term needs another [`FORMAT`].

use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions,
};

/// Number of the format. An index of another one is built anew.
pub const FORMAT: u32 = 1;

/// A field with this term does not hold all of the text.
pub const PARTIAL: &str = "\u{1}p";
/// A field with this term has runs that are no words.
pub const HAS_CLASSES: &str = "\u{1}c";
/// Words and pairs begin with a letter, a digit or a mark; terms that begin with this are ours.
pub const OWN: u8 = 1;

/// The first of as many characters as there are classes.
const CLASS_BASE: u32 = 0x4E00;

/// Appends the term of a class of trigrams.
pub fn push_class(class: usize, out: &mut String) {
    let code = u32::try_from(class).ok().and_then(|class| char::from_u32(CLASS_BASE + class));
    out.push('\u{1}');
    out.push(code.expect("classes are fewer than the ideographs behind the base"));
}

/// The fields of a document.
#[derive(Clone, Debug)]
pub struct Fields {
    pub schema: Schema,
    pub user: Field,
    pub email: Field,
    /// Text parts, and headers of messages within the message.
    pub body: Field,
    /// Header of the message, and headers of its parts.
    pub head: Field,
}

/// The name of the column of EMAILIDs.
pub const EMAIL: &str = "email";

impl Fields {
    #[must_use]
    pub fn new() -> Self {
        let mut builder = Schema::builder();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer("whitespace")
            .set_index_option(IndexRecordOption::Basic)
            .set_fieldnorms(false);
        let text = TextOptions::default().set_indexing_options(indexing);
        let user = builder.add_u64_field("user", INDEXED);
        let email = builder.add_u64_field(EMAIL, INDEXED | FAST);
        let body = builder.add_text_field("body", text.clone());
        let head = builder.add_text_field("head", text);
        Self { schema: builder.build(), user, email, body, head }
    }
}
