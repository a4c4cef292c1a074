//! What an answer of the hash table means to the writer of a route.

use crate::face::TaskRefusal;
use dds::{Outcome, Refusal, Response};

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Durable.
    Committed,
    /// Perhaps: ask again with the same number.
    Unknown,
    /// Nothing of it applies, and its number is free.
    Refused(TaskRefusal),
    /// The writer has lost its place: what is stored shows only when it claims and loads again.
    Lost,
}

/// Judges the answer to a batch that was sent `tries` times before without a definite answer.
#[must_use]
pub fn judge(response: &Response, tries: u32) -> Verdict {
    let refusal = match response {
        Response::Wrote(Outcome::Committed { version: _ }) => return Verdict::Committed,
        Response::Wrote(Outcome::Unknown) => return Verdict::Unknown,
        Response::Wrote(Outcome::Refused(refusal)) | Response::Refused(refusal) => refusal,
        Response::Claimed(_)
        | Response::Got(_)
        | Response::Scanned { .. }
        | Response::BlobRead(_)
        | Response::Absent
        | Response::Collected { .. } => return Verdict::Lost,
    };
    match refusal {
        // Said at the door, these tell nothing of an earlier try whose outcome was lost.
        Refusal::Overloaded | Refusal::Unavailable if tries > 0 => Verdict::Unknown,
        Refusal::Corrupt { what: _ } if tries > 0 => Verdict::Lost,
        Refusal::Overloaded => Verdict::Refused(TaskRefusal::Overloaded),
        Refusal::Unavailable => Verdict::Refused(TaskRefusal::Unavailable),
        Refusal::NoSpace => Verdict::Refused(TaskRefusal::NoSpace),
        Refusal::Corrupt { what: _ } => Verdict::Refused(TaskRefusal::Damaged),
        Refusal::TooLarge { what: _ } | Refusal::ReservedKey => {
            Verdict::Refused(TaskRefusal::Overloaded)
        }
        Refusal::Fenced { .. }
        | Refusal::SequenceGap { .. }
        | Refusal::Forgotten
        | Refusal::PreconditionFailed { .. } => Verdict::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_at_the_door_does_not_settle_an_unknown_outcome() {
        let unavailable = Response::Refused(Refusal::Unavailable);
        assert_eq!(judge(&unavailable, 0), Verdict::Refused(TaskRefusal::Unavailable));
        assert_eq!(judge(&unavailable, 1), Verdict::Unknown);
        let no_space = Response::Wrote(Outcome::Refused(Refusal::NoSpace));
        assert_eq!(judge(&no_space, 1), Verdict::Refused(TaskRefusal::NoSpace));
        assert_eq!(judge(&Response::Refused(Refusal::Forgotten), 0), Verdict::Lost);
        assert_eq!(judge(&Response::Absent, 0), Verdict::Lost);
    }
}
