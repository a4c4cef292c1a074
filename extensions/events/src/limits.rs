//! Limits of what one extension holds in the memory of a node.

use fsm::Duration;

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Mailboxes that are at work at once: what was given of them is held by the extension, or their logs are read.
    pub mailboxes_at_once: usize,
    /// Tasks under way while another mailbox begins: what an extension costs while mail comes in is bounded by this.
    pub tasks_at_once: usize,
    /// Events of one reading, 100 bytes each: a longer log is read piece by piece.
    pub reading_events_max: usize,
    /// Events of one batch; those of one MODSEQ stay together.
    pub batch_events_max: usize,
    /// Batches given and not taken: an extension that is slow is waited for.
    pub batches_given_max: usize,
    /// The first pause after a refusal; doubled up to `pause_max`.
    pub pause: Duration,
    pub pause_max: Duration,
    /// How often the directory is asked for accounts that nobody has told of.
    pub roll_call: Duration,
    /// After a start the first list of mailboxes is asked for when this has passed, unless something happens in one before: what
    /// clients wait for then comes first.
    pub first_roll_call: Duration,
    /// The least time between two of these. Our choice.
    pub roll_call_min: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailboxes_at_once: 16,
            tasks_at_once: 16,
            reading_events_max: 4_096,
            batch_events_max: 256,
            batches_given_max: 64,
            pause: Duration::from_millis(200),
            pause_max: Duration::from_secs(30),
            roll_call: Duration::from_secs(600),
            first_roll_call: Duration::ZERO,
            roll_call_min: Duration::from_secs(1),
        }
    }
}
