//! An independent reader of the raw store: slow, simple, and without a line of the code it judges.
//!
//! Written from the documented formats alone: the physical layout of the hash table, and the tables
//! of the formats of a user's mail and of the delivery queue. It reads everything, each time.

mod cursor;
mod image;
mod queue;
mod user;

pub use cursor::{Cursor, Unreadable};
pub use image::{Blob, Image, Route};
pub use queue::{Queued, queue};
pub use user::{DecodedFolder, DecodedRow, DecodedUser, decode_user};
