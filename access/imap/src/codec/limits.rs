//! What one command may cost. The session picks the sizes by its state; the counts are fixed.

/// Bytes of one command, its lines and small literals together, before log-in. `protocols.md`: 8
/// KiB in all.
pub const COMMAND_BYTES_BEFORE_LOGIN: usize = 8 * 1024;

/// Bytes of one command, its lines and small literals together, after log-in (message literals of
/// APPEND not counted). Our choice: clients send sets of thousands of UIDs in one line; RFC 7162 4
/// asks for 8 KiB at least, Dovecot takes 64 KiB.
pub const COMMAND_BYTES_AFTER_LOGIN: usize = 64 * 1024;

/// Bytes of a tag. Our choice; RFC 9051 sets none, clients use under 16.
pub const TAG_BYTES_MAX: usize = 255;

/// Search keys inside each other (parentheses, NOT, OR). Our choice: bounds the stack; clients that
/// chain OR come to dozens.
pub const SEARCH_DEPTH_MAX: usize = 128;

/// Search keys of one command. Our choice: each may cost a pass over the folder.
pub const SEARCH_KEYS_MAX: usize = 1024;

/// Items of one FETCH. Our choice: each is compared with those before it.
pub const FETCH_ITEMS_MAX: usize = 128;

/// Flags named in one command, repetitions included. `protocols.md` allows 128 keywords a mailbox.
pub const FLAGS_MAX: usize = 256;

/// Patterns of one LIST. Our choice: each is matched with every folder.
pub const LIST_PATTERNS_MAX: usize = 64;

/// Bytes of a LIST pattern or reference. Our choice: a name has at most 255, the rest is wildcards.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Field-value pairs of ID. RFC 2971 3.3.
pub const ID_PAIRS_MAX: usize = 30;
