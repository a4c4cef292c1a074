//! Secrets in memory: overwritten once they are no longer needed.
//!
//! Absences: no secret is formatted, logged or compared here.

use bytes::Bytes;
use zeroize::Zeroize;

/// Overwrites a secret with zeroes, if this is its only holder. A holder that shares it wipes it later, when it lets go.
pub fn wipe(secret: Bytes) {
    if let Ok(mut unique) = secret.try_into_mut() {
        unique.as_mut().zeroize();
    }
}
