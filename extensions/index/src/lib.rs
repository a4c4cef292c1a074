//! The full-text index: which messages of a user may hold a text, and which surely do, without reading them.
//!
//! [`FullText`] is a directory of tantivy indexes, one per *bucket* of partitions. A message is a document named by (user,
//! EMAILID), which is never used again, and its body never changes: so a document is right for ever, and what the index
//! holds it may answer for. Whatever it does not hold is scanned by whoever asks. SEARCH is therefore equal to a scan of the
//! decoded text at any moment: behind the log, while the index is built anew, and without any index.
//!
//! How words prove what substrings are: [`words`]. Who sees which document: [`owned`], and nothing else.
//!
//! Absences: nothing here knows a socket, a protocol, the cluster, or how bodies are stored. Nothing here is needed to keep
//! mail: the directory may be deleted at any time, also by an error of ours.
#![forbid(unsafe_code)]

mod answer;
mod bucket;
mod follower;
mod full_text;
mod grams;
mod indexer;
mod limits;
mod needle;
mod owned;
mod places;
mod schema;
mod terms;
mod vocabulary;
mod words;

#[cfg(test)]
mod tests;

pub use bucket::BucketError;
pub use follower::{Follower, Shelf};
pub use full_text::{BucketStatus, FullText, Order, Status};
pub use indexer::{Indexer, Page, Round, Source, SourceError};
pub use limits::Limits;
