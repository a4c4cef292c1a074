//! Clients: they speak bytes, and remember what they were told.

mod auditor;
mod imap;
mod pop3;
mod smtp;
pub mod text;

pub use self::auditor::Auditor;
pub use self::imap::ImapClient;
pub use self::pop3::Pop3Client;
pub use self::smtp::{Deliverer, DelivererKind};
use crate::coverage::Coverage;
use crate::failure::Failure;
use crate::ledger::Ledger;
use fsm::Rng;
use mailstore::face::Protocol;

/// What a client may use and ask for while it acts.
#[derive(Debug)]
pub struct ClientCx<'a> {
    pub rng: &'a mut Rng,
    pub ledger: &'a mut Ledger,
    pub coverage: &'a mut Coverage,
    /// Bytes to send.
    pub say: Vec<u8>,
    /// Act again so many milliseconds from now.
    pub wake_ms: Option<u64>,
    /// Cut the connection, in the middle of what is being sent.
    pub vanish: bool,
    /// Open a connection.
    pub connect: bool,
    /// The time of faults is over: finish, and begin nothing new.
    pub winding_down: bool,
    /// Mean time of thinking, in milliseconds.
    pub think_ms: u64,
    /// Chance of vanishing, in 10,000.
    pub vanish_chance: u64,
    /// Chance of a large message, in 10,000.
    pub large_chance: u64,
    /// What was acknowledged must be seen: nothing was damaged.
    pub fresh: bool,
}

impl ClientCx<'_> {
    /// Act again after a while.
    pub fn think(&mut self) {
        self.think_about(self.think_ms);
    }

    /// Act again after `mean_ms` on average.
    pub fn think_about(&mut self, mean_ms: u64) {
        self.wake_ms = Some(1 + self.rng.below(mean_ms * 2 + 1));
    }

    /// Whether the client vanishes now.
    pub fn vanishes(&mut self) -> bool {
        self.vanish = !self.winding_down && self.rng.chance(self.vanish_chance, 10_000);
        self.vanish
    }
}

/// One client: it connects, speaks, and connects again.
pub trait Client: std::fmt::Debug {
    fn protocol(&self) -> Protocol;
    /// The time it asked for has come. Without a connection it may ask for one.
    fn woke(&mut self, cx: &mut ClientCx<'_>);
    /// The connection stands.
    fn opened(&mut self, cx: &mut ClientCx<'_>);
    /// The server said something.
    ///
    /// # Errors
    /// When it may not.
    fn heard(&mut self, cx: &mut ClientCx<'_>, bytes: &[u8]) -> Result<(), Failure>;
    /// The connection is gone. Whatever was not answered is unknown.
    fn closed(&mut self, cx: &mut ClientCx<'_>);
    /// Nothing is under way.
    fn is_quiet(&self) -> bool;
}
