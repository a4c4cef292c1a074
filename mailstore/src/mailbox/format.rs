//! What a user's mail looks like in the store. All keys are sort keys of one route: `u` and the user id, 8 bytes big-endian.
//! Numbers in keys are big-endian, so that they sort; numbers in values are LEB128 unless said otherwise. Every value begins
//! with a version byte ([`VERSION`]); what a version means never changes.
//!
//! | key | value | written |
//! |---|---|---|
//! | `10` | root: next folder id, next UIDVALIDITY, lower bounds of MODSEQ and EMAILID | with folder changes |
//! | `11` folder | name, UIDVALIDITY, special use | with folder changes |
//! | `12` folder | header: counts, UIDNEXT, HIGHESTMODSEQ, ... | with every change of the folder |
//! | `13` folder | keyword table | when it grows |
//! | `14` name | subscription | SUBSCRIBE |
//! | `15` pending | pending set: target folder, whether its references are counted | first staged message |
//! | `16` folder | tombstone of a deleted folder whose mail is yet to be removed | DELETE |
//! | `17` modseq part | condemned: EMAILIDs whose last reference was expunged, yet to be removed | EXPUNGE |
//! | `18` page | reference counts other than one, of 256 EMAILIDs | COPY, EXPUNGE |
//! | `19` | columns: every block below this one is packed, and those that follow, each as the step from the one before | packing, staging |
//! | `1A` block | 64 bits: which messages of a packed block are gone | removal |
//! | `1B` | restorations the mailbox was raised for, floor of MODSEQ, blocks that stay empty | first use after a restoration |
//! | `1C` subscriber | cursor of the event log: MODSEQ acknowledged, whether events are missing | acknowledgement |
//! | `1D` folder | stretches of the log that were folded and are kept for cursors | folding |
//! | `1D` | floor of the event log: MODSEQ behind which everything is kept, when there are cursors | first cursor, folding |
//! | `1E` blob | released: a blob that nobody refers to any more, yet to be deleted | removal |
//! | `1F` | the user's own records: their number, and their bytes | with a record |
//! | `20` folder uid | segment: up to 512 rows, the first UID when it was made | folding |
//! | `21` folder modseq part | log: arrivals, flag changes, adopted pending sets | every change |
//! | `22` folder modseq part | log: vanished UIDs | EXPUNGE, MOVE |
//! | `23` pending index | staged rows | staging |
//! | `24` collection name | a record of the user's own: version, value | settings, contacts, log-ins of browsers, rules |
//! | `30` email | columns of one message: ENVELOPE, BODY, BODYSTRUCTURE, search columns | arrival, unless in a block |
//! | `31` email part | columns or part table that did not fit beside the others | arrival |
//! | `32` kind block | columns of one kind of 64 messages (`00` envelope, `01` structures, `02` search) | packing, staging |
//! | `40` hour delivery recipient | delivery memory | delivery |
//! | `41` email | the blob it refers to: what a sweep renews; `01` behind it when no other mailbox may | arrival |
//! | `80` email | body: header length, trace prefix, part table, extents, inline bytes | arrival |
//! | `81` email piece | a piece of a body that is too long for the record, and too short for a blob | arrival |
//!
//! **Replay needs no manifest.** A row carries the MODSEQ of its last change, so that replaying a log entry on a row that has
//! it already does nothing; UIDs are never used again, so that an arrival or an expunge does nothing the second time. Hence
//! segments may be rewritten one batch at a time; the last batch of a fold trims the log, and the header says how far. The
//! vanished records up to there are kept for QRESYNC under a cap; the header holds their floor.
//!
//! **Folders hold rows, not messages.** A row names an EMAILID; columns and bodies are kept per EMAILID and shared by copies.
//! References are counted only where they differ from one. A removal is made durable first (condemned), and done later, when
//! no session may read the message any more; after a restart at once.

mod body;
mod codec;
mod columns;
mod events;
mod folder;
pub mod keys;
mod log;
mod packed;
mod records;
mod restored;
mod rows;
mod user;

pub use body::{BodyRecord, Extent, PIECE_BYTES, PIECES_MAX, Piece, pieces_of};
pub use codec::{Damaged, Reader, Writer};
pub use columns::{
    BLOCK_MESSAGES, Block, BlockKind, ColumnRecord, Slot, decode_search, encode_search,
};
pub use events::{Stretch, decode_floor, encode_floor};
pub use folder::{FolderRecord, Header, KeywordTable};
pub use log::{LogEntry, decode_uids, encode_uids, split_uids};
pub use packed::Packed;
pub use records::{RecordUsage, StoredRecord};
pub use restored::RestoredRecord;
pub use rows::{Keywords, Meta, Rows, decode_rows, encode_rows};
pub use user::{
    Condemned, CondemnedEmail, LARGE_BYTES, PendingBodies, PendingSet, References, Remembered,
    Root, decode_blob_reference, encode_blob_reference,
};

/// First byte of every value written today.
pub const VERSION: u8 = 1;

/// Bytes a value is filled to at most; `dds::Limits::value_bytes_max` is 64 KiB.
pub const VALUE_BYTES_FILL: usize = 48 * 1024;

/// Bytes of a value that is still written as one; what is longer is split.
pub const VALUE_BYTES_MAX: usize = 62 * 1024;
