//! Clients and their connections.

use super::{Event, Life, Phase, World};
use crate::clients::{Client, ClientCx};
use crate::failure::Failure;
use crate::network::{Connection, LOW_WATER};
use bytes::Bytes;
use mailstore::face::{Peer, Protocol, SessionInput};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use vspace::{Inward, SessionId};

/// What is promised so long after the control majority is gone was not begun before.
const SECOND: u64 = 1_000_000_000;

/// What a client asked for while it acted.
struct Wishes {
    say: Vec<u8>,
    wake_ms: Option<u64>,
    vanish: bool,
    connect: bool,
}

impl World {
    /// Lets a client act, and does what it asks for.
    pub(super) fn with_client(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut dyn Client, &mut ClientCx<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let load = self.options.scenario.load;
        let slot = &mut self.clients[index];
        let think_ms = match slot.client.protocol() {
            Protocol::Smtp | Protocol::Lmtp => {
                let deliverers = u64::from(load.smtp_clients + load.lmtp_clients).max(1);
                (1_000 * deliverers / load.deliveries.max(1)).max(1)
            }
            Protocol::Submission | Protocol::Imap | Protocol::Pop3 | Protocol::Http => {
                load.think_ms
            }
        };
        let faults = self.phase == Phase::Faults;
        let mut cx = ClientCx {
            rng: &mut self.rng,
            ledger: &mut self.ledger,
            coverage: &mut self.coverage,
            say: Vec::new(),
            wake_ms: None,
            vanish: false,
            connect: false,
            winding_down: self.phase == Phase::WindingDown,
            think_ms,
            vanish_chance: if faults { self.options.scenario.faults.vanish } else { 0 },
            large_chance: load.large,
            fresh: self.harmed.is_none() && self.restored.steps == 0,
        };
        let promised = cx.ledger.counts.promised;
        act(&mut *slot.client, &mut cx)?;
        let gone = self.control_gone_from + SECOND..self.control_gone_until;
        if gone.contains(&self.schedule.now()) && cx.ledger.counts.promised > promised {
            cx.coverage.action("promised while control majority is gone");
        }
        let ClientCx { say, wake_ms, vanish, connect, .. } = cx;
        self.grant(index, Wishes { say, wake_ms, vanish, connect })
    }

    fn grant(&mut self, index: usize, wishes: Wishes) -> Result<(), Failure> {
        let Wishes { mut say, wake_ms, vanish, connect } = wishes;
        if let Some(millis) = wake_ms {
            let slot = &mut self.clients[index];
            slot.serial += 1;
            let nanos = millis * 1_000_000 + self.rng.below(1_000_000);
            self.schedule.after(nanos, Event::Wake { client: index, serial: slot.serial });
        }
        if vanish {
            let kept = self.rng.below(say.len() as u64 + 1);
            say.truncate(usize::try_from(kept).unwrap_or(0));
        }
        if let Some(session) = self.clients[index].session {
            self.send(session, say);
            if vanish {
                self.vanish(index, session)?;
            }
        }
        if connect && self.clients[index].session.is_none() {
            self.connect(index)?;
        }
        Ok(())
    }

    /// Bytes leave a client, cut anywhere.
    fn send(&mut self, session: SessionId, say: Vec<u8>) {
        let Some(connection) = self.connections.get_mut(&session) else { return };
        let mut rest = Bytes::from(say);
        while !rest.is_empty() {
            let cut = match self.rng.below(4) {
                0 => 1 + self.rng.below(rest.len() as u64),
                _ => 16 * 1024,
            };
            let cut = usize::try_from(cut).unwrap_or(1).min(rest.len());
            connection.inbound.push_back(rest.split_to(cut));
        }
        let life = self.life_of(session);
        self.tend(life, session);
    }

    /// The node of a session, as it runs now.
    fn life_of(&self, session: SessionId) -> Life {
        self.life(usize::from(vspace::node_of(session).0).saturating_sub(1))
    }

    fn connect(&mut self, index: usize) -> Result<(), Failure> {
        let count = self.nodes.len() as u64;
        let node = if count > 1 { usize::try_from(self.rng.below(count)).unwrap_or(0) } else { 0 };
        if !self.nodes[node].is_up() {
            return self.with_client(index, |client, cx| {
                client.closed(cx);
                Ok(())
            });
        }
        let group = self.next_group(node);
        let protocol = self.clients[index].client.protocol();
        let session = self.nodes[node].shards[usize::from(group.0)].next_session();
        let last = u8::try_from(index % 250).unwrap_or(0);
        let peer = Peer {
            session,
            protocol,
            ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last + 1)),
            hostname: "mx.example.org".into(),
            tls: None,
            tls_available: true,
            plaintext_auth: true,
            trusted: true,
        };
        self.connections.insert(session, Connection::new(session, group, index));
        self.clients[index].session = Some(session);
        self.with_client(index, |client, cx| {
            client.opened(cx);
            Ok(())
        })?;
        self.hand(node, group, Inward::Opened { session, peer: Arc::new(peer) })
    }

    /// A client hears what has come; a connection that ends is told to it.
    pub(super) fn on_hear(&mut self, life: Life, session: SessionId) -> Result<(), Failure> {
        let Some(connection) = self.connections.get_mut(&session) else { return Ok(()) };
        connection.hearing = false;
        let mut bytes = std::mem::take(&mut connection.outbound);
        if bytes.len() > 1 && self.rng.chance(1, 6) {
            let cut = 1 + usize::try_from(self.rng.below(bytes.len() as u64 - 1)).unwrap_or(0);
            connection.outbound = bytes.split_off(cut);
        }
        let (client, group) = (connection.client, connection.group);
        let drained = connection.drain_wanted && connection.outbound.len() < LOW_WATER;
        if drained {
            connection.drain_wanted = false;
        }
        let ends = connection.closing && connection.outbound.is_empty();
        if !bytes.is_empty() {
            let bytes = self.spoil(client, bytes);
            self.with_client(client, |client, cx| client.heard(cx, &bytes))?;
        }
        if ends && self.connections.remove(&session).is_some() {
            return self.hang_up(client, session);
        }
        if drained && self.connections.contains_key(&session) {
            let input = SessionInput::Drained;
            self.hand(life.node, group, Inward::Session { session, input })?;
        }
        self.tend(life, session);
        Ok(())
    }

    /// A client whose connection is gone.
    pub(super) fn hang_up(&mut self, index: usize, session: SessionId) -> Result<(), Failure> {
        if self.clients[index].session == Some(session) {
            self.clients[index].session = None;
            self.with_client(index, |client, cx| {
                client.closed(cx);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// A client cuts its connection: what it sent before may still arrive.
    fn vanish(&mut self, index: usize, session: SessionId) -> Result<(), Failure> {
        let node = self.life_of(session).node;
        if let Some(connection) = self.connections.remove(&session) {
            let group = connection.group;
            let pieces = connection.inbound.into_iter().map(SessionInput::Received);
            let life = self.life(node);
            let stands_still = self.nodes[node].paused_until > self.schedule.now();
            for input in pieces.chain([SessionInput::PeerClosed]) {
                let inward = Inward::Session { session, input };
                if stands_still {
                    self.arrive(life, group, 1_000, inward);
                } else {
                    self.accept(node, group, inward);
                }
            }
            self.schedule.after(1_000, Event::Run { life, group });
        }
        self.hang_up(index, session)
    }
}
