//! The event log: what changed in a mailbox, for extensions. It is the change log itself, kept until every subscriber has
//! acknowledged it, under a cap by age and by bytes.
//!
//! A subscriber sees every event at least once, or a [`EventPage::Reset`]: then it looks at the mailbox anew and acknowledges
//! the MODSEQ that came with it. Of one folder arrivals and changes of flags come first, in order, then what vanished.

use super::{FolderId, ModSeq, UidSet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who reads the event log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subscriber(Arc<str>);

/// Bytes of a subscriber's name. Our choice.
pub const SUBSCRIBER_BYTES_MAX: usize = 64;

impl Subscriber {
    /// Letters, digits, `-`, `_` and `.`; `None`: anything else.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = (1..=SUBSCRIBER_BYTES_MAX).contains(&name.len());
        (fits && name.bytes().all(good)).then(|| Self(name.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whose mailboxes a subscriber follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    Everybody,
    /// Accounts of these domains, and these accounts. In lower case.
    Only { domains: Vec<String>, accounts: Vec<String> },
}

impl Scope {
    /// Whether it holds the account of a canonical address.
    #[must_use]
    pub fn holds(&self, address: &str) -> bool {
        match self {
            Self::Everybody => true,
            Self::Only { domains, accounts } => {
                let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
                let is = |other: &String, this: &str| other.eq_ignore_ascii_case(this);
                domains.iter().any(|it| is(it, domain)) || accounts.iter().any(|it| is(it, address))
            }
        }
    }
}

/// A subscriber that the operator has configured: every new mailbox in its scope keeps its events from the first one on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub subscriber: Subscriber,
    pub scope: Scope,
}

/// What a subscriber asks of the event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventTask {
    /// From now on events are kept. Done: `Reset`, also when it had subscribed before.
    Subscribe,
    /// Done: `Done`.
    Unsubscribe,
    /// The first thing a reader asks: as `Subscribe` for who has not subscribed, else as `Read` from the beginning. `known`: the
    /// reader has dealt with everything up to there and no further, whatever was acknowledged; a gap between the two is a `Reset`.
    Begin { known: Option<ModSeq> },
    /// Events behind what was acknowledged, or the next page of them. Done: `Page` or `Reset`. From the first page on the reader
    /// is told once, by a wake-up, when there is more.
    Read { from: Option<EventPlace> },
    /// Everything up to there was dealt with. Done: `Done`.
    Acknowledge { up_to: ModSeq },
    /// Events that were acknowledged are read again; whoever reads is woken. Done: `Done`, or `Reset` when some are kept no more:
    /// then the next reading says so, too. What is acknowledged before that says nothing.
    Rewind { to: Rewind },
}

/// Where a subscriber is sent back to; never forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rewind {
    /// To the oldest event that is kept.
    Kept,
    /// To what is behind this.
    Behind(ModSeq),
    /// To a look at the whole mailbox.
    Anew,
    /// To what happened from then on, as far as it is kept; perhaps with some of before.
    Since { unix_seconds: i64 },
}

/// A change of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub folder: FolderId,
    pub mod_seq: ModSeq,
    pub change: EventChange,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventChange {
    Arrived(UidSet),
    Flagged(UidSet),
    Vanished(UidSet),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventPage {
    Page {
        events: Vec<Event>,
        next: EventNext,
    },
    /// Events are missing: look at the whole mailbox, then acknowledge `at`.
    Reset {
        at: ModSeq,
    },
}

/// What comes behind a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventNext {
    /// More, from there.
    More(EventPlace),
    /// Nothing: acknowledge this when all pages are dealt with.
    End { up_to: ModSeq },
}

/// A place between two pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPlace {
    /// Later events belong to the next reading.
    pub up_to: ModSeq,
    pub folder: FolderId,
    pub lane: EventLane,
    /// Everything up to there was read: MODSEQ and part.
    pub behind: (ModSeq, u16),
}

/// The two parts of a folder's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventLane {
    Changes,
    Vanished,
}
impl TryFrom<String> for Subscriber {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name).ok_or("no name of a subscriber")
    }
}

impl From<Subscriber> for String {
    fn from(subscriber: Subscriber) -> Self {
        subscriber.as_str().to_owned()
    }
}
