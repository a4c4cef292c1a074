//! An extension in the process of the node.
//!
//! It is a machine like any other: it never blocks for the network, a lock or another thread, and the node runs it on a thread of
//! its own, so that nothing it does delays mail. When it panics, the node makes it anew after a pause, and everything that it had
//! not taken is given again: what it must not forget it keeps durably *before* it takes a batch.
//!
//! A minimal one counts arrivals:
//!
//! ```
//! use events::{Content, Extension, ExtensionEffect, ExtensionInput};
//! use mailstore::face::EventChange;
//!
//! #[derive(Debug, Default)]
//! struct Counter(u64);
//!
//! impl fsm::Machine for Counter {
//!     type Input = ExtensionInput;
//!     type Effect = ExtensionEffect;
//!
//!     fn step(&mut self, cx: &mut fsm::Cx<'_, ExtensionEffect>, input: ExtensionInput) {
//!         if let ExtensionInput::Given(batch) = input {
//!             if let Content::Events { events, .. } = &batch.content {
//!                 let arrived = events.iter().filter(|it| matches!(it.change, EventChange::Arrived(_)));
//!                 self.0 += arrived.count() as u64;
//!             }
//!             cx.emit(ExtensionEffect::Take(batch.id));
//!         }
//!     }
//!
//!     fn digest(&self, digest: &mut fsm::Digest) {
//!         digest.word(self.0);
//!     }
//! }
//!
//! impl Extension for Counter {}
//! ```
//!
//! The node starts it by one line in `node/src/extensions/inside.rs`, where its [`crate::Setup`] also stands: name of the
//! subscriber, scope, types of events, whether each node feeds it the mailboxes that it leads ([`crate::Reach::Led`]), and whether
//! it keeps its own place in each log ([`crate::Memory::Own`]).

use crate::{Batch, BatchId, Why};
use fsm::{Machine, TimerKey, Token};
use mailstore::face::{Completion, LogEvent, ModSeq, Task, UserId};

/// A machine that the node feeds with events.
pub trait Extension:
    Machine<Input = ExtensionInput, Effect = ExtensionEffect> + Send + 'static
{
}

/// Everything that can happen to an [`Extension`].
#[derive(Clone, Debug)]
pub enum ExtensionInput {
    /// To be taken (`Take`) once it was dealt with, at once or later. Batches of one mailbox come in order; a later one may come
    /// before an earlier one is taken. After a restart, of the extension, the node or the master, what was not taken comes again.
    Given(Batch),
    /// Only with [`crate::Memory::Own`], before the first batch of a mailbox: up to where does it know the mailbox? Answered by
    /// `Recalled`.
    Recall {
        user: UserId,
    },
    /// The mailbox is not followed here any more; what was given of it need not be taken. It may come back with `Recall`.
    Gone {
        user: UserId,
        why: Why,
    },
    /// The completion of `Ask`.
    Done {
        token: Token,
        completion: Completion,
    },
    /// The first input, and again after [`fsm::Cx::yield_now`].
    Resumed,
    TimerFired(TimerKey),
    /// The node stops: nothing comes behind this. What is emitted in answer is done, as far as it asks nothing.
    Stopping,
}

/// What an extension wants to be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// After a time without, every mailbox begins anew.
    #[default]
    Events,
    /// Mailboxes keep none for it, and it costs nothing.
    Nothing,
}

/// Everything an [`Extension`] may ask.
#[derive(Clone, Debug)]
pub enum ExtensionEffect {
    /// A batch was dealt with, and will not be missed.
    Take(BatchId),
    /// Everything of the mailbox up to `known` is known; `None`: nothing. When the log has gone on without it, a `Reset` comes.
    Recalled {
        user: UserId,
        known: Option<ModSeq>,
    },
    /// A task for the MailStore: reading a message, searching, changing flags. Done: exactly one `Done`.
    Ask {
        token: Token,
        task: Task,
    },
    /// From now on it wants this; at first it wants events.
    Wished(Wish),
    Log(LogEvent),
}
