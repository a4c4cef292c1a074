//! Limits of replication.

use fsm::Duration;

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How often a primary that waits for something looks around. Our choice.
    pub tick: Duration,
    /// Without progress for so long what was sent is sent again. Our choice: well above a round trip with a sync.
    pub resend_after: Duration,
    /// A learner that is being filled is asked where it is after so long without a word. Our choice: above the time that its page
    /// takes on a slow connection, since it may be sent again then.
    pub fill_resend_after: Duration,
    /// A member that a decision waits for is given up after this. Design section 4.
    pub silent_after: Duration,
    /// A change of the group that got no answer is asked for again. Our choice: above an election.
    pub ask_after: Duration,
    /// After its store failed a replica reads its log again. Our choice.
    pub wake_after: Duration,
    /// A store that had no space is not asked for more for so long, unless it is known to have some. Our choice: above the time
    /// after which it is looked at anew.
    pub full_for: Duration,
    /// A copy is cleared from the disk of a node that is not in the group, once the group has been whole, and the same, for this
    /// long or up to twice that: not all at once. Our choice: time for an operator to notice that a change was wrong.
    pub clear_after: Duration,
    /// Bytes of entries in one message. Our choice.
    pub append_bytes_max: usize,
    /// Bytes sent to one member that it has not acknowledged, before more waits. Our choice.
    pub window_bytes_max: usize,
    /// Bytes of one page of a partition that is copied. Our choice.
    pub page_bytes_max: usize,
    /// Values of dropped entries that are asked for at once. Our choice: so many of the largest, 256 KiB, are half of a frame.
    pub bodies_keys_max: usize,
    /// Bytes of entries that are kept for members that are missing. Our choice.
    pub keep_bytes_max: usize,
    /// Bytes of a slice of a partition that is scrubbed: read at once, by one reader. Our choice: a millisecond of its time.
    pub look_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(25),
            resend_after: Duration::from_millis(100),
            fill_resend_after: Duration::from_secs(2),
            silent_after: Duration::from_millis(400),
            ask_after: Duration::from_millis(500),
            wake_after: Duration::from_secs(1),
            full_for: Duration::from_secs(3),
            clear_after: Duration::from_secs(600),
            append_bytes_max: 256 * 1024,
            window_bytes_max: 4 * 1024 * 1024,
            page_bytes_max: 256 * 1024,
            bodies_keys_max: 32,
            keep_bytes_max: 512 * 1024,
            look_bytes_max: 256 * 1024,
        }
    }
}
