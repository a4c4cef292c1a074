//! The timers of a session.

use fsm::TimerKey;

/// The client must have logged in.
pub const LOGIN: TimerKey = TimerKey(1);
/// Looks whether the client has been silent for too long.
pub const SILENCE: TimerKey = TimerKey(2);
/// A master that did not answer is asked again.
pub const RETRY: TimerKey = TimerKey(3);
