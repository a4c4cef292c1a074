//! What a run ends with when an invariant does not hold.

/// An invariant that does not hold, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {what}")]
pub struct Failure {
    /// Which invariant: the name of its file.
    pub invariant: &'static str,
    pub what: String,
}

impl Failure {
    #[must_use]
    pub fn new(invariant: &'static str, what: impl Into<String>) -> Self {
        Self { invariant, what: what.into() }
    }
}
