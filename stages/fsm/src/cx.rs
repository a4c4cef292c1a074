//! The context of one step: clocks, random numbers, ids, effects, timers and the budget.

use crate::{Budget, Duration, Mono, Rng, Wall};

/// Names one task so that its completion finds the way back. Never reused by one machine.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Token(pub u64);

/// Names one timer of one machine. Arming a key again moves the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerKey(pub u32);

/// What a step asked of its timers, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerOp {
    /// The timer fires at `at`, once.
    Arm { key: TimerKey, at: Mono },
    /// The timer does not fire any more.
    Cancel { key: TimerKey },
}

/// What a machine may use while it steps.
#[derive(Debug)]
pub struct Cx<'a, E> {
    pub(crate) mono: Mono,
    pub(crate) wall: Wall,
    pub(crate) rng: &'a mut Rng,
    pub(crate) tokens_issued: &'a mut u64,
    pub(crate) effects: &'a mut Vec<E>,
    pub(crate) timers: &'a mut Vec<TimerOp>,
    pub(crate) budget: &'a mut Budget,
    pub(crate) yielded: &'a mut bool,
}

impl<E> Cx<'_, E> {
    /// Monotonic time, the same during the whole step.
    #[must_use]
    pub fn mono(&self) -> Mono {
        self.mono
    }

    /// Wall-clock time, the same during the whole step.
    #[must_use]
    pub fn wall(&self) -> Wall {
        self.wall
    }

    /// This machine's random stream.
    pub fn rng(&mut self) -> &mut Rng {
        self.rng
    }

    /// A token that this machine has never used.
    pub fn fresh_token(&mut self) -> Token {
        *self.tokens_issued += 1;
        Token(*self.tokens_issued)
    }

    /// Asks something of the world.
    pub fn emit(&mut self, effect: E) {
        self.effects.push(effect);
    }

    /// Fires timer `key` once, `after` from now; replaces its earlier deadline.
    pub fn arm(&mut self, key: TimerKey, after: Duration) {
        let at = self.mono.plus(after);
        self.timers.push(TimerOp::Arm { key, at });
    }

    /// Timer `key` shall not fire; no harm when it was not armed. A firing already on its way is not recalled.
    pub fn cancel(&mut self, key: TimerKey) {
        self.timers.push(TimerOp::Cancel { key });
    }

    /// Work left in this step.
    pub fn budget(&mut self) -> &mut Budget {
        self.budget
    }

    /// Asks to be stepped again soon, after others had their turn: the machine gets its `Resumed` input.
    pub fn yield_now(&mut self) {
        *self.yielded = true;
    }
}
