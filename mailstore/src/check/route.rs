//! Route by route: whose it is, its entries in order, then its bodies.

use super::queue::QueueCheck;
use super::source::Pages;
use super::user::UserCheck;
use super::{RESTORE, Walk};
use crate::face::UserId;
use bytes::Bytes;
use dds::layout::{self, WriterRecord};
use dds::{Column, PartitionId, RouteKey, SortKey};
use std::collections::BTreeSet;

/// A route on its way.
enum Visit {
    User(Box<UserCheck>),
    Queue(Box<QueueCheck>),
    /// The directory, which was read already.
    Other,
}

/// The route whose entries come now.
struct Current {
    route: RouteKey,
    visit: Visit,
}

impl Walk<'_> {
    pub(super) fn check_routes(&mut self, partition: PartitionId) {
        let (from, to) = range_of_routes(partition);
        let mut pages = Pages::new(Column::Meta, from, to);
        let mut current: Option<Current> = None;
        let mut visited = BTreeSet::new();
        loop {
            let page = match pages.next(self.reads) {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) => {
                    // What comes behind the route may be readable.
                    let Some(lost) = current.take() else {
                        return self.lost_partition(partition, &visited, &error.to_string());
                    };
                    let thing = self.thing_of(&lost.visit);
                    self.damage(thing, format!("the index can't be read: {error}"));
                    pages.skip_to(behind(partition, &lost.route));
                    continue;
                }
            };
            for (key, stored) in page {
                self.count(&key, &stored);
                let Some((route, sort)) = split(&key) else {
                    self.damage(format!("key {}", key.escape_ascii()), "of no known kind");
                    continue;
                };
                if current.as_ref().is_none_or(|current| current.route != route) {
                    self.finish(partition, current.take());
                    visited.extend(user_in(&route));
                    let visit = self.visit(&route);
                    current = Some(Current { route, visit });
                }
                if let Some(current) = &mut current {
                    self.take(current, (&sort, stored));
                }
            }
        }
        self.finish(partition, current.take());
    }

    /// Nothing of the partition can be found any more behind an entry that can't be read.
    fn lost_partition(&mut self, partition: PartitionId, visited: &BTreeSet<UserId>, reason: &str) {
        let mut lost = self.users_of(partition);
        lost.retain(|user| !visited.contains(user));
        if lost.is_empty() {
            self.damage(format!("partition {}", partition.0), reason);
        }
        for user in lost {
            self.damage(self.name(user), format!("the index can't be read: {reason}"));
        }
    }

    fn visit(&mut self, route: &RouteKey) -> Visit {
        if let Some(user) = user_in(route) {
            self.counts.users += 1;
            Visit::User(Box::new(UserCheck::new(self.name(user))))
        } else if route.0.starts_with(b"delivery") {
            Visit::Queue(Box::default())
        } else {
            Visit::Other
        }
    }

    fn thing_of(&self, visit: &Visit) -> String {
        match visit {
            Visit::User(user) => user.name.clone(),
            Visit::Queue(_) => "the delivery queue".to_owned(),
            Visit::Other => "the directory".to_owned(),
        }
    }

    fn take(&mut self, current: &mut Current, (sort, stored): (&SortKey, Bytes)) {
        if sort.0[..] == [0] {
            if let Err(error) = WriterRecord::decode(&stored) {
                let thing = self.thing_of(&current.visit);
                self.damage(thing, error.to_string());
            }
            return;
        }
        let value = match layout::split_entry(stored) {
            Ok((value, _)) => value,
            Err(error) => {
                let thing = self.thing_of(&current.visit);
                let reason = format!("record {}: {error}", sort.0.escape_ascii());
                return self.damage(thing, reason);
            }
        };
        match &mut current.visit {
            Visit::User(user) => self.take_of_user(user, sort, &value),
            Visit::Queue(queue) => {
                if let Err(reason) = queue.take(sort, value) {
                    self.damage_of("the delivery queue", reason, RESTORE);
                }
            }
            Visit::Other => {}
        }
    }

    fn finish(&mut self, partition: PartitionId, current: Option<Current>) {
        let Some(Current { route, visit }) = current else { return };
        match visit {
            Visit::User(user) => self.finish_user(partition, &route, *user),
            Visit::Queue(queue) => self.finish_queue(partition, &route, *queue),
            Visit::Other => {}
        }
    }
}

/// The user whose route this is.
fn user_in(route: &RouteKey) -> Option<UserId> {
    let id = <[u8; 8]>::try_from(route.0.strip_prefix(b"u")?).ok()?;
    Some(UserId(u64::from_be_bytes(id)))
}

fn split(key: &Bytes) -> Option<(RouteKey, SortKey)> {
    let end = 3 + usize::from(*key.get(2)?);
    (key.len() > end).then(|| (RouteKey(key.slice(3..end)), SortKey(key.slice(end..))))
}

/// Everything in a partition that has a route.
fn range_of_routes(partition: PartitionId) -> (Bytes, Bytes) {
    let [high, low] = partition.0.to_be_bytes();
    let to = partition.0.checked_add(1).map_or(vec![0xFF; 3], |next| next.to_be_bytes().to_vec());
    (Bytes::copy_from_slice(&[high, low, 1]), to.into())
}

/// The least key behind all entries of a route: no sort key begins with eight of these.
fn behind(partition: PartitionId, route: &RouteKey) -> Bytes {
    layout::entry_key(partition, route, &[0xFF; 8])
}
