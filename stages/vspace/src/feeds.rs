//! Wake-ups of those who read event logs: the master of a mailbox has something for a subscriber, or what masters said may be
//! lost.
//!
//! Who reads is learnt from the reading itself: a group keeps, for each subscriber, the last session of each node that has read
//! here. A reader that is told nothing may sleep: whatever could have kept a wake-up from it (a master that moved, a node or a
//! connection that was lost) makes its own node tell it to look again.

use crate::letter::Letter;
use crate::names::{self, Asker};
use crate::shard::Shard;
use crate::work::Outward;
use dds::PartitionId;
use dds::cluster::NodeId;
use mailstore::face::{EventTask, SessionId, Subscriber, Task, UserId, UserTask};
use std::collections::{BTreeMap, BTreeSet};

/// Something for the readers of event logs on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The mailbox of this user has events that the session has not read.
    Stirred { session: SessionId, user: UserId },
    /// Masters of users in these partitions may have told what never came.
    Unsure { partitions: Vec<PartitionId> },
}

/// Who reads event logs.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    /// The session of each node that reads here: of mailboxes whose masters live in this group.
    readers: BTreeMap<Subscriber, BTreeMap<NodeId, SessionId>>,
    /// Sessions of this node that read, wherever.
    own: BTreeSet<SessionId>,
}

/// What a task reads, when it reads the log of events.
fn reads(task: &UserTask) -> Option<&Subscriber> {
    match task {
        UserTask::Events {
            subscriber,
            task: EventTask::Begin { .. } | EventTask::Read { from: None },
        } => Some(subscriber),
        _ => None,
    }
}

impl Shard {
    /// A session of this node asks.
    pub(crate) fn note_own_reader(&mut self, session: SessionId, task: &Task) {
        if let Task::User { task, .. } = task
            && reads(task).is_some()
        {
            self.feeds.own.insert(session);
        }
    }

    pub(crate) fn forget_own_reader(&mut self, session: SessionId) {
        self.feeds.own.remove(&session);
    }

    /// A task for a master of this group.
    pub(crate) fn note_reader(&mut self, from: SessionId, task: &UserTask) {
        if let Asker::Operator(session) = names::asker_of(from)
            && let Some(subscriber) = reads(task)
        {
            let node = names::node_of(session);
            match self.feeds.readers.get_mut(subscriber) {
                Some(readers) => readers.insert(node, session),
                None => {
                    let readers = BTreeMap::from([(node, session)]);
                    self.feeds.readers.insert(subscriber.clone(), readers);
                    None
                }
            };
        }
    }

    /// A mailbox has events for these.
    pub(crate) fn wake_readers(&mut self, user: UserId, subscribers: &[Subscriber]) {
        let all = subscribers.iter().filter_map(|it| self.feeds.readers.get(it));
        let sessions: Vec<SessionId> = all.flat_map(|it| it.values().copied()).collect();
        for session in sessions {
            self.post(names::node_of(session), Letter::Stirred { session, user });
        }
    }

    pub(crate) fn on_stirred(&mut self, session: SessionId, user: UserId) {
        self.out.push(Outward::Wake(Wake::Stirred { session, user }));
    }

    /// What was told of users in these partitions may be lost. Sessions of the node's own live in group 0.
    pub(crate) fn unsure(&mut self, concerned: impl Fn(&Self, PartitionId) -> bool) {
        if self.feeds.own.is_empty() {
            return;
        }
        let all = self.map.partitions().map(|(partition, _)| partition);
        let partitions: Vec<PartitionId> = all.filter(|id| concerned(self, *id)).collect();
        if !partitions.is_empty() {
            self.out.push(Outward::Wake(Wake::Unsure { partitions }));
        }
    }

    pub(crate) fn unsure_of_node(&mut self, node: NodeId) {
        self.unsure(|shard, partition| {
            shard.map.group(partition).is_some_and(|group| group.primary == Some(node))
        });
    }
}
