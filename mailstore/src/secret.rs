//! Secrets in memory: overwritten once nobody holds them any more.
//!
//! Absences: no secret is formatted, logged or compared here.

use bytes::Bytes;
use zeroize::{Zeroize, Zeroizing};

/// Bytes that overwrite themselves with zeroes when their last holder lets go. Clones and slices
/// share them.
#[must_use]
pub fn guarded(secret: Vec<u8>) -> Bytes {
    Bytes::from_owner(Zeroizing::new(secret))
}

/// Moves a secret that came in any other `Bytes` under guard. The original is overwritten if this
/// is its only holder.
#[must_use]
pub fn guard(secret: Bytes) -> Bytes {
    let copy = guarded(secret.to_vec());
    wipe(secret);
    copy
}

/// Overwrites a secret with zeroes, if this is its only holder.
pub fn wipe(secret: Bytes) {
    if let Ok(mut unique) = secret.try_into_mut() {
        unique.as_mut().zeroize();
    }
}
