//! Single-threaded finite state machines and the context they step in.
//!
//! Everything in Hikyaku that decides is a [`Machine`]. A machine is synchronous and free of I/O: it takes one
//! [`Machine::Input`], changes its state, and emits any number of [`Machine::Effect`]s through its [`Cx`]. Work leaves as a
//! *task* with a [`Token`] and comes back as a *completion* with that token.
//!
//! Absences: nothing here knows of sockets, clocks, threads, files or any other crate of the workspace. A [`Host`] is the
//! executor's face of the context; it is used alike by the staged executor, by the simulator and by tests.
#![forbid(unsafe_code)]

mod budget;
mod cx;
mod digest;
mod host;
mod rng;
mod time;

pub use budget::Budget;
pub use cx::{Cx, TimerKey, TimerOp, Token};
pub use digest::Digest;
pub use host::{Host, Stepped};
pub use rng::Rng;
pub use time::{Duration, Mono, Wall};

/// A single-threaded, synchronous finite state machine.
///
/// Effects of one step leave in order, first in first out per destination; a crash may fall between any two.
pub trait Machine {
    /// Everything that can happen to the machine: tasks, completions, timers, bytes. A closed enum, matched without `_`.
    type Input;
    /// Everything it may ask of the world. A closed enum.
    type Effect;

    /// Takes one input to its end. Never blocks; long work spends [`Cx::budget`] and calls [`Cx::yield_now`].
    fn step(&mut self, cx: &mut Cx<'_, Self::Effect>, input: Self::Input);

    /// Folds the state that decides future behaviour into `digest`, for the trace hash of a simulation.
    fn digest(&self, digest: &mut Digest);
}
