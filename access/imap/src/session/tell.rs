//! Untagged responses that tell a client what its folder became.
//!
//! Must not know: tasks, commands.

use super::numbers::NumberCursor;
use super::output::Output;
use super::shared::Extensions;
use super::view::{Expunges, Telling, View};
use crate::codec::encode::{self, FlagsRow, Recent};
use mailstore::face::{FlagRow, OpenMode, Uid, UidSet};

/// FLAGS and PERMANENTFLAGS (RFC 9051 7.3.5, 7.1).
pub fn put_flag_table(output: &mut Output, view: &View) {
    let all = |output: &mut Output| {
        output.put("\\Answered \\Flagged \\Deleted \\Seen \\Draft");
        for keyword in view.keywords.iter() {
            output.put(" ").put(keyword.as_str());
        }
    };
    output.put("* FLAGS (");
    all(output);
    output.put(")\r\n* OK [PERMANENTFLAGS (");
    match view.mode {
        OpenMode::ReadWrite => {
            all(output);
            output.put(" \\*)] Flags permitted\r\n");
        }
        OpenMode::ReadOnly => {
            output.put(")] Read-only mailbox\r\n");
        }
    }
}

/// EXPUNGE or VANISHED for removed messages.
pub fn put_expunges(output: &mut Output, enabled: Extensions, expunges: &Expunges) {
    if expunges.uids.is_empty() {
        return;
    }
    if enabled.qresync {
        // RFC 7162 3.2.10: VANISHED stands for EXPUNGE once QRESYNC is enabled.
        output.put("* VANISHED ");
        encode::put_uid_set(output.buffer(), &expunges.uids);
        output.line();
        return;
    }
    for &seq in &expunges.seqs {
        output.put("* ").number(seq).put(" EXPUNGE\r\n");
    }
}

/// EXISTS and RECENT.
pub fn put_sizes(output: &mut Output, view: &View) {
    output.put("* ").number(view.map.len()).put(" EXISTS\r\n* ");
    output.number(view.recent.len()).put(" RECENT\r\n");
}

/// What must be told before changed flags, in order.
pub fn put_telling(output: &mut Output, enabled: Extensions, view: &View, telling: &Telling) {
    if telling.keywords_grew {
        put_flag_table(output, view);
    }
    put_expunges(output, enabled, &telling.expunges);
    if telling.arrived {
        put_sizes(output, view);
    }
}

/// Which changed flags go without saying.
#[derive(Debug)]
pub enum Unsaid {
    /// All are told.
    Nothing,
    /// Silent STORE: these were set to what the client knows, up to this MODSEQ (RFC 9051 6.4.6).
    Stored { uids: UidSet, mod_seq: mailstore::face::ModSeq },
    /// These were told by the command itself, at these MODSEQs.
    Told(std::collections::BTreeMap<mailstore::face::ModSeq, UidSet>),
}

/// How a changed message is told.
enum Form {
    Flags,
    ModSeqOnly,
    Unsaid,
}

impl Unsaid {
    fn form(&self, row: &FlagRow, enabled: Extensions) -> Form {
        match self {
            Self::Nothing => Form::Flags,
            Self::Stored { uids, mod_seq } if row.mod_seq <= *mod_seq && uids.contains(row.uid) => {
                // RFC 7162 3.1.3: with CONDSTORE the new MODSEQ is told even by a silent STORE.
                if enabled.condstore { Form::ModSeqOnly } else { Form::Unsaid }
            }
            Self::Told(told)
                if told.get(&row.mod_seq).is_some_and(|uids| uids.contains(row.uid)) =>
            {
                Form::Unsaid
            }
            Self::Stored { .. } | Self::Told(_) => Form::Flags,
        }
    }
}

/// Appends FETCH responses for changed flags, until `room` bytes are full; returns how many rows
/// were dealt with.
pub fn put_changes(
    output: &mut Output,
    (view, enabled): (&View, Extensions),
    rows: &[FlagRow],
    (unsaid, with_uid): (&Unsaid, WithUid),
    room: u64,
) -> usize {
    let mut cursor = NumberCursor::default();
    for (at, row) in rows.iter().enumerate() {
        if output.pending_bytes() >= room {
            return at;
        }
        if view.vanished.contains(row.uid) {
            continue;
        }
        let Some(seq) = cursor.number(&view.map, row.uid) else { continue };
        let flags = match unsaid.form(row, enabled) {
            Form::Flags => true,
            Form::ModSeqOnly => false,
            Form::Unsaid => continue,
        };
        // RFC 7162 3.2.4: with QRESYNC the UID is always there.
        let uid = (with_uid == WithUid::Yes || enabled.qresync).then_some(row.uid);
        // RFC 7162 3.1: once CONDSTORE is in use every change carries its MODSEQ.
        let mod_seq = enabled.condstore.then_some(row.mod_seq);
        if flags {
            let recent = recent(view, row.uid);
            let row = FlagsRow { seq, uid, mod_seq, flags: row.flags, recent };
            encode::put_flags_row(output.buffer(), &row, &view.keywords);
        } else {
            output.put("* ").number(seq).put(" FETCH (");
            if let Some(uid) = uid {
                output.put("UID ").number(uid.0).put(" ");
            }
            output.put("MODSEQ (").number(row.mod_seq.0).put("))\r\n");
        }
    }
    rows.len()
}

/// Whether responses name UIDs: they do in commands that begin with UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithUid {
    Yes,
    No,
}

impl From<crate::codec::Numbering> for WithUid {
    fn from(numbering: crate::codec::Numbering) -> Self {
        match numbering {
            crate::codec::Numbering::Uid => Self::Yes,
            crate::codec::Numbering::Sequence => Self::No,
        }
    }
}

/// `* VANISHED (EARLIER) set` (RFC 7162 3.2.10); nothing for the empty set.
pub fn put_vanished_earlier(output: &mut Output, uids: &UidSet) {
    if !uids.is_empty() {
        output.put("* VANISHED (EARLIER) ");
        encode::put_uid_set(output.buffer(), uids);
        output.line();
    }
}

/// Whether a message is `\Recent` for this session.
pub fn recent(view: &View, uid: Uid) -> Recent {
    if view.recent.contains(uid) { Recent::Yes } else { Recent::No }
}
