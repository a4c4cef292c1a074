//! Which nodes the control leader hears of, and which it has not heard of for too long.
//!
//! Invariants: a node's silence counts from its last ping under its present session, from its registration, or from when this
//! node became the leader, whichever is last; time in which the leader itself did not run does not count.

use crate::cluster::{ClusterMap, NodeId, NodeState, Session};
use fsm::{Duration, Mono};
use std::collections::BTreeMap;

/// Pauses of the leader itself that are taken for a busy machine, in ticks.
const TICKS_LATE_MAX: u32 = 3;

#[derive(Debug)]
pub(super) struct Sessions {
    /// Silence counts from here at the earliest.
    since: Mono,
    ticked: Mono,
    heard: BTreeMap<NodeId, (Session, Mono)>,
}

impl Sessions {
    /// This node leads from now on.
    pub fn new(now: Mono) -> Self {
        Self { since: now, ticked: now, heard: BTreeMap::new() }
    }

    pub fn on_heard(&mut self, now: Mono, node: NodeId, session: Session) {
        let last = self.heard.entry(node).or_insert((session, now));
        if session >= last.0 {
            *last = (session, now);
        }
    }

    /// The nodes that are up in `map` and have been silent for the grace time.
    pub fn on_tick(
        &mut self,
        now: Mono,
        (map, me): (&ClusterMap, NodeId),
        (tick, grace): (Duration, Duration),
    ) -> Vec<(NodeId, Session)> {
        if now.since(self.ticked) > tick * TICKS_LATE_MAX {
            // This node was paused: pings may still wait to be read.
            self.since = now;
        }
        self.ticked = now;
        self.heard.retain(|node, _| map.nodes.contains_key(node));
        let mut silent = Vec::new();
        for (&node, known) in &map.nodes {
            // A registration is a sign of life too; it is heard of when it shows in the map.
            let fresh = || (known.session, now);
            let last = self.heard.entry(node).or_insert_with(fresh);
            if last.0 < known.session {
                *last = fresh();
            }
            let silence = now.since(last.1.max(self.since));
            if node != me && known.state == NodeState::Up && silence > grace {
                silent.push((node, known.session));
            }
        }
        silent
    }
}
