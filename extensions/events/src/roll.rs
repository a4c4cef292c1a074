//! Which mailboxes a feeder follows.

use crate::feeder::{Reach, Setup};
use dds::PartitionId;
use mailstore::face::{AccountEntry, UserId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A mailbox that is followed.
#[derive(Debug)]
pub struct Follower {
    pub account: Arc<str>,
    pub place: PartitionId,
    /// Its log was begun with by this feeder.
    pub begun: bool,
}

/// The mailboxes in scope, and what decides which of them are fed here.
#[derive(Debug, Default)]
pub struct Roll {
    pub followers: BTreeMap<UserId, Follower>,
    /// In scope, and fed by other nodes.
    elsewhere: BTreeMap<UserId, Follower>,
    /// Partitions that this node leads.
    led: BTreeSet<PartitionId>,
}

/// What a change of the roll came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Turnover {
    pub come: Vec<UserId>,
    pub removed: Vec<UserId>,
    pub moved: Vec<UserId>,
}

impl Roll {
    /// The accounts there are.
    pub fn on_accounts(&mut self, setup: &Setup, accounts: &[AccountEntry]) -> Turnover {
        let wanted = accounts.iter().filter(|it| it.enabled && setup.scope.holds(&it.address));
        let wanted: BTreeMap<UserId, &str> =
            wanted.map(|it| (it.user, it.address.as_str())).collect();
        let gone = |map: &BTreeMap<UserId, Follower>| -> Vec<UserId> {
            map.keys().filter(|user| !wanted.contains_key(user)).copied().collect()
        };
        let removed = gone(&self.followers);
        for user in removed.iter().chain(&gone(&self.elsewhere)) {
            self.followers.remove(user);
            self.elsewhere.remove(user);
        }
        let mut come = Vec::new();
        for (user, address) in wanted {
            if let Some(known) = self.followers.get_mut(&user) {
                if &*known.account != address {
                    known.account = address.into();
                }
                continue;
            }
            let place = setup.map.partition_of(&mailstore::mailbox::route(user).0);
            let follower = Follower { account: address.into(), place, begun: false };
            if self.is_fed_here(setup, place) {
                self.followers.insert(user, follower);
                come.push(user);
            } else {
                self.elsewhere.insert(user, follower);
            }
        }
        Turnover { come, removed, moved: Vec::new() }
    }

    fn is_fed_here(&self, setup: &Setup, place: PartitionId) -> bool {
        match setup.reach {
            Reach::Everywhere => true,
            Reach::Led => self.led.contains(&place),
        }
    }

    /// This node leads other partitions.
    pub fn on_led(&mut self, setup: &Setup, led: BTreeSet<PartitionId>) -> Turnover {
        self.led = led;
        let all = std::mem::take(&mut self.followers);
        let others = std::mem::take(&mut self.elsewhere);
        let mut turnover = Turnover::default();
        for (user, follower) in all {
            if self.is_fed_here(setup, follower.place) {
                self.followers.insert(user, follower);
            } else {
                turnover.moved.push(user);
                self.elsewhere.insert(user, Follower { begun: false, ..follower });
            }
        }
        for (user, follower) in others {
            if self.is_fed_here(setup, follower.place) {
                turnover.come.push(user);
                self.followers.insert(user, follower);
            } else {
                self.elsewhere.insert(user, follower);
            }
        }
        turnover
    }

    /// Whether somebody who was told of is known: one that is fed elsewhere is, too.
    pub fn knows(&self, user: UserId) -> bool {
        self.followers.contains_key(&user) || self.elsewhere.contains_key(&user)
    }

    pub fn in_places(&self, places: &BTreeSet<PartitionId>) -> Vec<UserId> {
        let concerned = self.followers.iter().filter(|(_, it)| places.contains(&it.place));
        concerned.map(|(user, _)| *user).collect()
    }
}
