//! MIME: what is computed of a message once, at arrival, and how its parts are found and read
//! afterwards.
//!
//! [`Scanner`] takes the message in pieces and gives [`Columns`](crate::face::Columns): ENVELOPE,
//! BODY, BODYSTRUCTURE, search columns, and the [`PartTable`], by which a section is resolved to a
//! range of bytes without reading the rest.
//!
//! Absences: nothing here keeps a message, and no bytes of a message are refused.

mod address;
mod content;
mod date;
mod decoder;
mod envelope;
mod filter_header;
mod fold;
mod folded;
mod header;
mod imap_string;
mod limits;
mod matcher;
mod open;
mod params;
mod part_table;
mod preview;
mod resolve;
mod scanner;
mod search_columns;
mod structure;
mod words;

#[cfg(test)]
mod tests;

pub use decoder::{BrokenEncoding, Decoder};
pub use filter_header::{HeaderFilter, Keep, filter_header};
pub use fold::{fold_into, fold_needle};
pub use folded::{FoldedText, Piece, PieceKind, TextSink, text_pieces};
pub use limits::Limits;
pub use matcher::{Matcher, Needles, Scope, Search, header_contains};
pub use part_table::{Charset, Encoding, Media, Part, PartKind, PartTable, PartTableError};
pub use preview::preview;
pub use resolve::{Layout, Resolved};
pub use scanner::Scanner;
