//! One acceptance in the queue.
//!
//! States: `Accepting` (its record is not durable, its asker waits) -> `Held` (in memory, being
//! delivered) -> `Stored` (only in the store: all who are left must wait) -> `Loading` -> `Held`.
//! After a start: `Stored`.
//! Invariants: `left` holds everybody who may not have the message; nobody is in two places of the
//! fan-out at once.

use super::Asker;
use super::format::{BodyRef, Head};
use crate::face::{Acceptance, Body};
use bytes::Bytes;
use fsm::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where the message is.
#[derive(Debug)]
pub enum Stage {
    Accepting {
        asker: Option<Asker>,
        acceptance: Arc<Acceptance>,
    },
    Held(Arc<Acceptance>),
    Stored,
    /// Values that came so far, in the order of [`Pending::keys_wanted`].
    Loading {
        values: Vec<Bytes>,
    },
}

/// One acceptance that is not delivered to everybody.
#[derive(Debug)]
pub struct Pending {
    pub stage: Stage,
    /// Pieces besides the first.
    pub pieces: u32,
    pub body: BodyRef,
    /// Recipients without the message, by their place, and how often they were tried.
    pub left: BTreeMap<u32, u32>,
    /// Of `left`: those who are ready, asked, or wait for the message to be loaded.
    pub active: BTreeSet<u32>,
    pub recipients: u32,
    /// How many were done when it was last written down.
    pub done_noted: u32,
    /// Octets that it holds in memory.
    pub bytes: usize,
}

impl Pending {
    #[must_use]
    pub fn accepting(asker: Asker, acceptance: Arc<Acceptance>, pieces: u32) -> Self {
        let recipients = u32::try_from(acceptance.recipients.len()).unwrap_or(u32::MAX);
        Self {
            body: body_ref(&acceptance.body),
            pieces,
            left: (0..recipients).map(|place| (place, 0)).collect(),
            active: BTreeSet::new(),
            recipients,
            done_noted: 0,
            bytes: bytes_of(&acceptance),
            stage: Stage::Accepting { asker: Some(asker), acceptance },
        }
    }

    #[must_use]
    pub fn stored(head: &Head, done: &[u32]) -> Self {
        let mut left: BTreeMap<u32, u32> = (0..head.recipients).map(|place| (place, 0)).collect();
        for place in done {
            left.remove(place);
        }
        Self {
            stage: Stage::Stored,
            pieces: head.pieces,
            body: head.body,
            active: BTreeSet::new(),
            recipients: head.recipients,
            done_noted: head.recipients.saturating_sub(u32::try_from(left.len()).unwrap_or(0)),
            left,
            bytes: 0,
        }
    }

    /// Whoever waits for the record to be durable.
    pub fn take_asker(&mut self) -> Option<Asker> {
        match &mut self.stage {
            Stage::Accepting { asker, acceptance: _ } => asker.take(),
            Stage::Held(_) | Stage::Stored | Stage::Loading { .. } => None,
        }
    }

    #[must_use]
    pub fn done_count(&self) -> u32 {
        self.recipients.saturating_sub(u32::try_from(self.left.len()).unwrap_or(u32::MAX))
    }

    /// Places of recipients that have the message.
    #[must_use]
    pub fn done(&self) -> Vec<u32> {
        (0..self.recipients).filter(|place| !self.left.contains_key(place)).collect()
    }

    pub fn digest(&self, digest: &mut Digest) {
        digest.word(match &self.stage {
            Stage::Accepting { .. } => 1,
            Stage::Held(_) => 2,
            Stage::Stored => 3,
            Stage::Loading { values } => 4 + values.len() as u64,
        });
        for (place, tries) in &self.left {
            digest.word(u64::from(*place) << 32 | u64::from(*tries));
        }
        digest.word(self.active.len() as u64);
        digest.word(u64::from(self.done_noted));
    }
}

/// Where the body of an acceptance is kept.
#[must_use]
pub fn body_ref(body: &Body) -> BodyRef {
    match body {
        Body::Inline(_) => BodyRef::Inline,
        Body::Blob { blob, len, holders: _ } => BodyRef::Blob { blob: *blob, len: *len },
    }
}

/// Octets that an acceptance holds in memory.
#[must_use]
pub fn bytes_of(acceptance: &Acceptance) -> usize {
    let columns = &acceptance.columns;
    let search = &columns.search;
    let columns: usize = [
        &columns.envelope,
        &columns.body,
        &columns.structure,
        &columns.parts,
        &columns.message_id,
        &columns.references,
        &search.from,
        &search.to,
        &search.cc,
        &search.bcc,
        &search.subject,
    ]
    .into_iter()
    .map(Bytes::len)
    .sum();
    let body = match &acceptance.body {
        Body::Inline(bytes) => bytes.len(),
        Body::Blob { .. } => 0,
    };
    let recipients: usize = acceptance
        .recipients
        .iter()
        .map(|recipient| 64 + recipient.recipient.len() + recipient.prefix.len())
        .sum();
    columns + body + recipients
}
