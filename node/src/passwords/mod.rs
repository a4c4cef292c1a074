//! Passwords: how they are stored, judged and made, on threads of their own.
//!
//! A hash costs tens of milliseconds by design, so no worker ever makes one: [`HashPool`] is a bounded stage, fair per peer
//! address. Secrets are wiped from memory once they are judged.

mod pool;
mod scheme;

pub use pool::{Answer, HashDone, HashJob, HashKind, HashOutcome, HashPool};
pub use scheme::{Argon2Cost, StoredHash, needs_upgrade};

use zeroize::Zeroizing;

/// A password. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
