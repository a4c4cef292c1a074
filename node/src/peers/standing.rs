//! How the links with other nodes stand, for whoever asks from another thread.

use dds::cluster::NodeId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Of every node that was ever reached. Written by the thread of the connections.
#[derive(Debug, Default)]
pub struct Standings(Mutex<BTreeMap<NodeId, Standing>>);

/// Of the link with one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub is_up: bool,
    /// The node that carries it.
    pub through: Option<String>,
    /// When that began; `None`: with the start of this node.
    pub since: Option<Instant>,
    /// Times that it was lost.
    pub lost: u64,
}

impl Standings {
    fn change(&self, node: NodeId, change: impl FnOnce(&mut Standing)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = all.entry(node).or_default();
        change(standing);
        standing.since = Some(Instant::now());
    }

    pub fn on_up(&self, node: NodeId) {
        self.change(node, |it| it.is_up = true);
    }

    /// It is up, and `third` carries it.
    pub fn on_carried(&self, node: NodeId, third: &str) {
        self.change(node, |it| it.through = Some(third.to_owned()));
    }

    pub fn on_lost(&self, node: NodeId) {
        self.change(node, |it| {
            it.is_up = false;
            it.through = None;
            it.lost += 1;
        });
    }

    #[must_use]
    pub fn of(&self, node: NodeId) -> Standing {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&node).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_is_lost_is_carried_by_nobody() {
        let standings = Standings::default();
        assert_eq!(standings.of(NodeId(2)), Standing::default());
        standings.on_up(NodeId(2));
        standings.on_carried(NodeId(2), "c");
        assert_eq!(standings.of(NodeId(2)).through.as_deref(), Some("c"));
        standings.on_lost(NodeId(2));
        let now = standings.of(NodeId(2));
        assert_eq!((now.is_up, now.through, now.lost), (false, None, 1));
        assert!(now.since.is_some());
    }
}
