//! What the control leader looks after: sessions, members of the group, placement, and the minimum of in-sync members.

use super::controller::Controller;
use super::log::{ControlLog, MemberId, Members};
use super::membership::{self, Membership, Step};
use super::proposals::{Errand, Proposals};
use super::sessions::Sessions;
use super::{Config, Limits};
use crate::cluster::{ClusterMap, Command, Delta, NodeId, Relief, Reports, Session};
use fsm::Mono;

#[derive(Debug)]
pub(super) struct Leading {
    /// It leads in this term, or did until now.
    pub term: u64,
    sessions: Sessions,
    controller: Controller,
}

impl Leading {
    pub fn new(now: Mono, term: u64, map: &ClusterMap) -> Self {
        Self { term, sessions: Sessions::new(now), controller: Controller::new(now, map) }
    }

    pub fn on_heard(&mut self, now: Mono, node: NodeId, session: Session) {
        self.sessions.on_heard(now, node, session);
    }

    pub fn on_changed(&mut self, now: Mono, map: &ClusterMap, delta: &Delta) {
        self.controller.on_changed(now, map, delta);
    }

    /// What shall be proposed, besides what is.
    pub fn on_tick(
        &mut self,
        now: Mono,
        (map, reports, config): (&ClusterMap, &Reports, &Config),
        proposals: &Proposals,
    ) -> Vec<(Errand, Command)> {
        let limits: &Limits = &config.limits;
        let times = (limits.tick, limits.grace);
        let silent = self.sessions.on_tick(now, (map, config.node), times);
        let give_up = |(node, session)| (Errand::GiveUp(node), Command::GiveUp { node, session });
        let mut wanted: Vec<_> = silent.into_iter().map(give_up).collect();
        if !proposals.is_asked(Errand::Suggest) {
            let suggestions = self.controller.on_tick(now, (map, reports), limits);
            if !suggestions.is_empty() {
                wanted.push((Errand::Suggest, Command::Suggest(suggestions)));
            }
        }
        let reached = Controller::min_in_sync(map);
        wanted.extend(reached.map(|command| (Errand::ReachMinInSync, command)));
        wanted.retain(|(errand, _)| !proposals.is_asked(*errand));
        wanted
    }

    /// The move for the sake of work that the last tick has chosen, if it has.
    pub fn take_relief(&mut self) -> Option<Relief> {
        self.controller.take_relief()
    }

    /// Moves the members of the group along, one step.
    pub fn move_members(
        &self,
        log: &mut dyn ControlLog,
        (map, members): (&ClusterMap, &Members),
        (me, limits): (MemberId, &Limits),
    ) {
        let absent = self.controller.absent();
        let membership = Membership { map, members, me, absent };
        let keeps_up = |member| member == me || log.keeps_up(member, limits.voter_lag_max);
        match membership::next_step(&membership, keeps_up) {
            None => {}
            Some(Step::Change(change)) => {
                // Refused while the one before is under way.
                log.change_members(&change);
            }
            Some(Step::Transfer(to)) => log.transfer(to),
        }
    }
}
