//! What must hold, one file each. All of them read the raw store through the independent decoder,
//! or what clients were told.

mod acknowledged_present;
mod at_most_once;
mod blobs_kept;
mod bodies_resolve;
mod check_is_clean;
pub mod decided;
mod index_matches;
mod linearizable;
pub mod nobody_is_behind;
mod one_primary;
pub mod reads_are_fresh;
pub mod replicas_agree;
mod space_comes_back;
mod uids_rise;

use crate::decoder::{DecodedUser, Image, Queued, Route, Unreadable, decode_user, queue};
use crate::failure::Failure;
use crate::ledger::{Ledger, UserNumber};
use bytes::Bytes;
use mailstore::face::UserId;
use std::collections::BTreeSet;

/// When invariants are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The node has just ended: this is what a restart will find.
    Crashed,
    /// Everything has been healed and finished.
    Finished,
}

/// What was damaged on purpose: whoever it belongs to is owed no more than the truth.
#[derive(Clone, Debug, Default)]
pub struct Harm {
    users: BTreeSet<u64>,
    everybody: bool,
}

impl Harm {
    /// The value under a physical key was damaged.
    pub fn note(&mut self, key: &Bytes) {
        match key.get(2..) {
            Some([9, b'u', user @ ..]) if user.len() >= 8 => {
                let user = user.iter().take(8).fold(0, |sum, &byte| sum << 8 | u64::from(byte));
                self.users.insert(user);
            }
            Some(_) | None => self.everybody = true,
        }
    }

    #[must_use]
    pub fn spares(&self, user: UserId) -> bool {
        !self.everybody && !self.users.contains(&user.0)
    }

    #[must_use]
    pub fn is_none(&self) -> bool {
        !self.everybody && self.users.is_empty()
    }
}

/// The state of one user, as the invariants see it.
#[derive(Debug)]
pub struct Subject<'a> {
    pub number: UserNumber,
    pub user: &'a DecodedUser,
    pub image: &'a Image,
    pub queue: &'a [Queued],
    pub moment: Moment,
}

/// The brick as a whole.
#[derive(Debug)]
pub struct Judged {
    pub users: Vec<Option<DecodedUser>>,
    pub queued: usize,
    /// Blobs that nobody refers to, of messages for one user.
    pub garbage: Vec<u128>,
    /// Users that have folders.
    pub founded: Vec<UserId>,
}

/// Judges what the store holds.
///
/// # Errors
/// The first invariant that does not hold.
pub fn judge(
    entries: Vec<(dds::Column, Bytes, Bytes)>,
    (users, harm, steps): (&[UserId], &Harm, u32),
    ledger: &mut Ledger,
    moment: Moment,
) -> Result<Judged, Failure> {
    let unreadable = |error: Unreadable| Failure::new("index_matches", error.0);
    let image = match Image::new(entries) {
        Ok(image) => image,
        Err(_) if !harm.is_none() => {
            let users = users.iter().map(|_| None).collect();
            return Ok(Judged { users, queued: 0, garbage: Vec::new(), founded: Vec::new() });
        }
        Err(error) => return Err(unreadable(error)),
    };
    let queued = if harm.everybody { Vec::new() } else { queue(&image).map_err(unreadable)? };
    let mut decoded = Vec::new();
    for (number, &user) in (0..).zip(users) {
        if !harm.spares(user) {
            decoded.push(None);
            continue;
        }
        let mut one = decode_user(&image, user.0).map_err(unreadable)?;
        one.is_raised = one.steps == steps;
        let subject = Subject { number, user: &one, image: &image, queue: &queued, moment };
        bodies_resolve::check(&subject, ledger)?;
        index_matches::check(&subject)?;
        acknowledged_present::check(&subject, ledger)?;
        at_most_once::check(&subject, ledger)?;
        uids_rise::check(&subject, ledger)?;
        blobs_kept::check(&subject)?;
        decoded.push(Some(one));
    }
    blobs_kept::check_all(&decoded, &queued)?;
    let garbage = space_comes_back::garbage(&image, &decoded, &queued, ledger);
    let founded = founded(&image);
    Ok(Judged { users: decoded, queued: queued.len(), garbage, founded })
}

/// Users whose route has a folder.
fn founded(image: &Image) -> Vec<UserId> {
    let has_folder = |route: &Route| route.keys().any(|key| key.first() == Some(&0x11));
    let routes = image
        .routes
        .iter()
        .filter(|(key, route)| key.len() == 9 && key[0] == b'u' && has_folder(route));
    let id = |key: &Bytes| key[1..].iter().fold(0, |id, &byte| id << 8 | u64::from(byte));
    routes.map(|(key, _)| UserId(id(key))).collect()
}

pub use check_is_clean::check as check_is_clean;
pub use index_matches::{Audit, audit};
pub use linearizable::History;
pub use one_primary::Leaders;
