//! Connections between clients and sessions: bytes on their way in both directions.

use bytes::Bytes;
use std::collections::VecDeque;
use vspace::{GroupId, SessionId};

/// Bytes that the client must have taken before a session that waits goes on.
pub const LOW_WATER: usize = 64 * 1024;

/// One connection. The session takes one piece of input at a time, as the edge of a real node gives
/// it.
#[derive(Debug)]
pub struct Connection {
    pub session: SessionId,
    pub group: GroupId,
    pub client: usize,
    /// Pieces on their way to the session.
    pub inbound: VecDeque<Bytes>,
    /// The session has a piece that it has not stepped with.
    pub taking: bool,
    pub paused: bool,
    pub tls_wanted: bool,
    /// Bytes on their way to the client.
    pub outbound: Vec<u8>,
    pub drain_wanted: bool,
    /// The client will look at what has come.
    pub hearing: bool,
    /// A piece is being brought to the session.
    pub feeding: bool,
    /// The session closes once the client has read what was sent.
    pub closing: bool,
}

impl Connection {
    #[must_use]
    pub fn new(session: SessionId, group: GroupId, client: usize) -> Self {
        Self {
            session,
            group,
            client,
            inbound: VecDeque::new(),
            taking: false,
            paused: false,
            tls_wanted: false,
            outbound: Vec::new(),
            drain_wanted: false,
            hearing: false,
            feeding: false,
            closing: false,
        }
    }

    /// Whether the session would take a piece now.
    #[must_use]
    pub fn may_feed(&self) -> bool {
        !self.taking
            && !self.paused
            && !self.feeding
            && !self.closing
            && (self.tls_wanted || !self.inbound.is_empty())
    }
}
