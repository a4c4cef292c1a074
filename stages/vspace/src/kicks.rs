//! The sessions of a user end on every node, also on those that can't be reached now: what was not acknowledged is told again when
//! a node is reached, until its process has ended, and its sessions with it.

use crate::letter::Letter;
use crate::shard::Shard;
use crate::work::{Outward, Packet};
use dds::cluster::NodeId;
use fsm::{Duration, Mono, Token};
use mailstore::face::UserId;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Users whose sessions one node still has to end. Our choice; the first ones are given up beyond that.
const OWED_MAX: usize = 10_000;

/// How long an operator waits for the nodes. Our choice: above a connection that is made anew.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// See the head of the file. Only in group 0.
#[derive(Debug, Default)]
pub(crate) struct Kicks {
    owed: BTreeMap<NodeId, BTreeMap<UserId, Cow<'static, str>>>,
    asking: Vec<Asking>,
}

/// An operator who waits to hear which nodes have answered.
#[derive(Debug)]
struct Asking {
    token: Token,
    user: UserId,
    until: Mono,
    silent: BTreeSet<NodeId>,
}

impl Shard {
    /// Ends all sessions of a user, in every group of every node.
    pub(crate) fn kick_everywhere(&mut self, user: UserId, reason: Cow<'static, str>) {
        let me = self.me();
        let others: Vec<NodeId> =
            self.map.nodes.keys().copied().filter(|node| *node != me).collect();
        for node in others {
            let owed = self.kicks.owed.entry(node).or_default();
            owed.insert(user, reason.clone());
            if owed.len() > OWED_MAX {
                owed.pop_first();
            }
            self.kick_at(node, user, reason.clone());
        }
        self.on_node_letter(me, Letter::Kick { user, reason });
    }

    fn kick_at(&mut self, node: NodeId, user: UserId, reason: Cow<'static, str>) {
        if self.peers.contains(&node) {
            self.send(node, Packet::Letter(Letter::Kick { user, reason }));
        }
    }

    /// For an operator: answered once all nodes have, or after a while.
    pub(crate) fn on_kick_user(&mut self, token: Token, user: UserId) {
        self.kick_everywhere(user, "an operator ended the session".into());
        let owing = self.kicks.owed.iter().filter(|(_, owed)| owed.contains_key(&user));
        let silent = owing.map(|(node, _)| *node).collect();
        let until = self.now.0.plus(ANSWER_TIME);
        self.kicks.asking.push(Asking { token, user, until, silent });
        self.answer_kicks();
    }

    /// The node has ended the sessions of the user.
    pub(crate) fn on_kicked(&mut self, node: NodeId, user: UserId) {
        if let Some(owed) = self.kicks.owed.get_mut(&node) {
            owed.remove(&user);
        }
        for asking in self.kicks.asking.iter_mut().filter(|asking| asking.user == user) {
            asking.silent.remove(&node);
        }
        self.answer_kicks();
    }

    /// Answers whoever need not wait longer.
    pub(crate) fn answer_kicks(&mut self) {
        let now = self.now.0;
        let done = |asking: &mut Asking| asking.silent.is_empty() || asking.until <= now;
        for Asking { token, silent, .. } in self.kicks.asking.extract_if(.., done) {
            let unanswered = silent.into_iter().collect();
            self.out.push(Outward::KickTold { token, unanswered });
        }
        if !self.kicks.asking.is_empty() {
            self.look_soon();
        }
    }

    /// The node can be reached again.
    pub(crate) fn kick_again(&mut self, node: NodeId) {
        let owed = self.kicks.owed.get(&node).cloned().unwrap_or_default();
        for (user, reason) in owed {
            self.kick_at(node, user, reason);
        }
    }

    /// The process of the node has ended, and its sessions with it.
    pub(crate) fn forget_kicks(&mut self, node: NodeId) {
        self.kicks.owed.remove(&node);
    }
}
