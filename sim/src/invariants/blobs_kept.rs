//! No blob is collected while something refers to it, and every reference of a body is one that
//! sweeps renew.

use super::Subject;
use crate::failure::Failure;

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
