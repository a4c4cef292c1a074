//! The executor's face of a machine's context: keeps what outlives a step, and collects what a step asked for.

use crate::{Budget, Cx, Machine, Mono, Rng, TimerOp, Wall};

/// Keeps the random stream and the token counter of one machine between its steps.
#[derive(Clone, Debug)]
pub struct Host {
    rng: Rng,
    tokens_issued: u64,
}

/// What one step asked for. Reused between steps, so that a step allocates nothing.
#[derive(Debug)]
pub struct Stepped<E> {
    /// Effects, in order.
    pub effects: Vec<E>,
    /// Timer operations, in order.
    pub timers: Vec<TimerOp>,
    /// The machine wants to be stepped again with its `Resumed` input.
    pub yielded: bool,
}

impl<E> Default for Stepped<E> {
    fn default() -> Self {
        Self { effects: Vec::new(), timers: Vec::new(), yielded: false }
    }
}

impl Host {
    /// The host of machine `machine` (unique on its node and incarnation) under `seed`.
    #[must_use]
    pub fn new(seed: u64, machine: u64) -> Self {
        Self { rng: Rng::new(seed, machine), tokens_issued: 0 }
    }

    /// The same, with tokens above `issued`: for a machine that takes the place of another, so that no completion meant for that
    /// one is taken for its own.
    #[must_use]
    pub fn with_tokens_above(self, issued: u64) -> Self {
        Self { tokens_issued: issued, ..self }
    }

    /// Steps `machine` once; what it asked for is appended to `stepped`.
    pub fn step<M: Machine>(
        &mut self,
        machine: &mut M,
        stepped: &mut Stepped<M::Effect>,
        (mono, wall): (Mono, Wall),
        mut budget: Budget,
        input: M::Input,
    ) {
        let mut cx = Cx {
            mono,
            wall,
            rng: &mut self.rng,
            tokens_issued: &mut self.tokens_issued,
            effects: &mut stepped.effects,
            timers: &mut stepped.timers,
            budget: &mut budget,
            yielded: &mut stepped.yielded,
        };
        machine.step(&mut cx, input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Duration, TimerKey, Token};

    /// Counts its inputs; every third yields.
    #[derive(Default)]
    struct Counter(u64);

    impl Machine for Counter {
        type Input = u64;
        type Effect = (Token, u64);

        fn step(&mut self, cx: &mut Cx<'_, Self::Effect>, input: u64) {
            self.0 += input;
            let token = cx.fresh_token();
            cx.emit((token, self.0));
            cx.arm(TimerKey(1), Duration::from_millis(5));
            if self.0.is_multiple_of(3) {
                cx.yield_now();
            }
        }

        fn digest(&self, digest: &mut Digest) {
            digest.word(self.0);
        }
    }

    #[test]
    fn a_step_collects_effects_timers_and_the_wish_to_yield() {
        let (mut host, mut machine) = (Host::new(1, 1), Counter::default());
        let mut stepped = Stepped::default();
        let now = (Mono(7), Wall(0));
        host.step(&mut machine, &mut stepped, now, Budget::new(1), 1);
        assert!(!stepped.yielded);
        host.step(&mut machine, &mut stepped, now, Budget::new(1), 2);
        assert!(stepped.yielded);
        assert_eq!(stepped.effects, [(Token(1), 1), (Token(2), 3)]);
        assert_eq!(stepped.timers[0], TimerOp::Arm { key: TimerKey(1), at: Mono(5_000_007) });
    }

    #[test]
    fn equal_seeds_give_equal_streams_and_machines_differ() {
        let draw = |seed, machine| Rng::new(seed, machine).next_u64();
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }
}
