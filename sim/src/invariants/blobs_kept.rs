//! No blob is collected while something refers to it, every reference of a body is one that sweeps
//! renew, and what one mailbox may delete by itself nobody else refers to.

use super::Subject;
use crate::decoder::{DecodedUser, Queued};
use crate::failure::Failure;
use std::collections::BTreeMap;

pub fn check(subject: &Subject<'_>) -> Result<(), Failure> {
    let fail = |what: String| Err(Failure::new("blobs_kept", what));
    for blob in &subject.user.blobs {
        let stored = subject.image.blobs.get(blob);
        if stored.is_none_or(|stored| stored.record.is_none() || stored.chunks.is_empty()) {
            return fail(format!("blob {blob:032x} of user {} is gone", subject.number));
        }
        if stored.is_some_and(|stored| stored.listed != 1) {
            return fail(format!(
                "blob {blob:032x} is listed {:?} times",
                stored.map(|s| s.listed)
            ));
        }
        if !subject.user.referenced.contains(blob) {
            return fail(format!("no sweep renews blob {blob:032x} of user {}", subject.number));
        }
    }
    Ok(())
}

/// What holds for all users together.
pub fn check_all(users: &[Option<DecodedUser>], queue: &[Queued]) -> Result<(), Failure> {
    let fail = |what: String| Err(Failure::new("blobs_kept", what));
    let mut references: BTreeMap<u128, usize> = BTreeMap::new();
    let queued = queue.iter().filter_map(|queued| queued.blob);
    let held = users.iter().flatten().flat_map(|user| user.referenced.iter().copied());
    for blob in queued.chain(held) {
        *references.entry(blob).or_default() += 1;
    }
    for (number, user) in users.iter().enumerate() {
        let Some(user) = user else { continue };
        if let Some(blob) = user.released.iter().find(|blob| references.contains_key(*blob)) {
            return fail(format!("user {number} released blob {blob:032x}: it is referred to"));
        }
        if let Some(blob) = user.alone.iter().find(|blob| references.get(*blob) != Some(&1)) {
            return fail(format!("blob {blob:032x} is not that of user {number} alone"));
        }
    }
    Ok(())
}
