//! What an extension is given.

use mailstore::face::{Event, EventChange, ModSeq, UserId};
use std::sync::Arc;

/// Names a batch among those of one feeder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// Something about one mailbox, to be taken when it was dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub id: BatchId,
    pub user: UserId,
    /// The canonical address of the account.
    pub account: Arc<str>,
    pub content: Content,
}

/// See [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In the order of their MODSEQs. Who has dealt with them knows everything up to `up_to`. Without events, only with
    /// [`crate::Memory::Own`]: nothing that is wanted happened up to there.
    Events { events: Vec<Event>, up_to: ModSeq },
    /// Events may be missing: what was known of the mailbox is void. Look at all of it; who has done that knows everything up
    /// to `at`. Events of what was seen then may follow.
    Reset { at: ModSeq },
}

impl Batch {
    /// What who has dealt with it knows.
    #[must_use]
    pub fn up_to(&self) -> ModSeq {
        match self.content {
            Content::Events { up_to, .. } => up_to,
            Content::Reset { at } => at,
        }
    }
}

/// The types of events that an extension wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    pub arrived: bool,
    pub flagged: bool,
    pub vanished: bool,
}

impl Kinds {
    pub const ALL: Self = Self { arrived: true, flagged: true, vanished: true };

    /// Whether an event is of one of these types.
    #[must_use]
    pub fn hold(self, change: &EventChange) -> bool {
        match change {
            EventChange::Arrived(_) => self.arrived,
            EventChange::Flagged(_) => self.flagged,
            EventChange::Vanished(_) => self.vanished,
        }
    }
}
