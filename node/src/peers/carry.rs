//! Packets on a connection: into frames and out of them.

use super::Setup;
use super::handshake::Hello;
use super::stream::Stream;
use crate::config::LogLevel;
use bytes::{Buf, Bytes, BytesMut};
use dds::cluster::{Incarnation, NodeId, Session};
use dds::wire::{
    Channel, ClusterId, Envelope, Frame, FrameWriter, Framer, Item, Malformed, decode_exchange,
    decode_frame, decode_heartbeats, decode_letters, decode_packet,
};
use stages::Clock;
use std::cell::Cell;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use vspace::{Inward, Letter, Packet, Wire};

const READ_BYTES: usize = 256 * 1024;

/// Bytes of one flush, after which no more packets are added. Our choice: a few pages.
const WRITE_BYTES: usize = 1024 * 1024;

/// One connection.
pub struct Lanes<'a> {
    pub setup: &'a Setup,
    pub peer: &'a Hello,
}

/// What is to be written, and how many packets of it there are.
type Outgoing<'a> = (mpsc::UnboundedReceiver<Vec<Packet>>, &'a Cell<usize>);

/// The frames of one flush, by channel.
struct Writers {
    all: [(Channel, FrameWriter); 6],
}

impl Writers {
    fn new(envelope: impl Fn(Channel) -> Envelope) -> Self {
        let channels = [
            Channel::Heartbeat,
            Channel::Control,
            Channel::Replication,
            Channel::Request,
            Channel::Letter,
            Channel::Bulk,
        ];
        Self { all: channels.map(|channel| (channel, FrameWriter::new(&envelope(channel)))) }
    }

    fn bytes(&self) -> usize {
        self.all.iter().map(|(_, frames)| frames.bytes()).sum()
    }

    fn on(&mut self, channel: Channel) -> &mut FrameWriter {
        let found = self.all.iter_mut().find(|(known, _)| *known == channel);
        &mut found.expect("every channel that is written has its writer").1
    }

    /// The frames of all channels.
    fn take(&mut self) -> impl Buf + use<> {
        let [a, b, c, d, e, f] = self.all.each_mut().map(|(_, frames)| frames.take());
        a.chain(b).chain(c).chain(d).chain(e).chain(f)
    }

    fn push(&mut self, packet: &Packet) -> Result<(), dds::wire::Oversize> {
        match packet {
            Packet::Link(message) => self.on(Channel::Heartbeat).push(Item::Heartbeat(message)),
            Packet::Control(bytes) => self.on(Channel::Control).push_payload(bytes),
            Packet::Replica { partition, message } => {
                let partition = *partition;
                let channel = match packet.wire() {
                    Wire::Control | Wire::Data => Channel::Replication,
                    Wire::Bulk => Channel::Bulk,
                };
                self.on(channel).push(Item::Message { partition, message })
            }
            Packet::Ask { id, request } => {
                self.on(Channel::Request).push(Item::Ask { id: *id, request })
            }
            Packet::Answer { id, response } => {
                self.on(Channel::Request).push(Item::Answer { id: *id, response })
            }
            Packet::Letter(letter) => self.on(Channel::Letter).push(Item::Letter(&letter.encode())),
        }
    }
}

impl Lanes<'_> {
    /// Carries packets both ways until either side ends.
    pub async fn run(&self, stream: Stream, outgoing: Outgoing<'_>) {
        let (reader, writer) = tokio::io::split(stream.bytes);
        tokio::select! {
            result = self.write(writer, outgoing) => self.note(result),
            result = self.read(reader) => self.note(result),
        }
    }

    fn note(&self, result: std::io::Result<()>) {
        if let Err(error) = result
            && error.kind() == std::io::ErrorKind::InvalidData
        {
            let with = vec![("node", self.peer.name.clone()), ("reason", error.to_string())];
            crate::log::note(LogLevel::Warn, "a connection between nodes ends", with);
        }
    }

    fn envelope(&self, channel: Channel) -> Envelope {
        let credentials = &self.setup.credentials;
        Envelope {
            cluster: ClusterId(credentials.cluster()),
            from: credentials.node,
            to: NodeId(self.peer.node),
            incarnation: credentials.incarnation,
            session: Session(0),
            channel,
        }
    }

    async fn write(
        &self,
        mut writer: impl tokio::io::AsyncWrite + Unpin,
        (mut outgoing, waiting): Outgoing<'_>,
    ) -> std::io::Result<()> {
        let mut writers = Writers::new(|channel| self.envelope(channel));
        while let Some(packets) = outgoing.recv().await {
            let mut next = Some(packets);
            while let Some(packets) = next {
                waiting.set(waiting.get().saturating_sub(packets.len()));
                for packet in packets {
                    self.setup.traffic.on_packet(&packet);
                    if let Err(oversize) = writers.push(&packet) {
                        let with = vec![("reason", oversize.to_string())];
                        let what = "a message for another node is too large, and is dropped";
                        crate::log::note(LogLevel::Error, what, with);
                    }
                }
                next = if writers.bytes() < WRITE_BYTES { outgoing.try_recv().ok() } else { None };
            }
            // One write for all channels: each is a segment, and wakes the other side.
            let mut bytes = writers.take();
            self.setup.traffic.on_flush(bytes.remaining());
            writer.write_all_buf(&mut bytes).await?;
            writer.flush().await?;
        }
        Ok(())
    }

    async fn read(&self, mut reader: impl tokio::io::AsyncRead + Unpin) -> std::io::Result<()> {
        let mut framer = Framer::default();
        let mut buffer = BytesMut::zeroed(READ_BYTES);
        loop {
            let read = reader.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            let mut groups: Vec<Vec<Inward>> =
                self.setup.ports.iter().map(|_| Vec::new()).collect();
            let mut rest = &buffer[..read];
            loop {
                while let Some(frame) = framer.take().map_err(invalid)? {
                    self.on_frame(frame, &mut groups)?;
                }
                if rest.is_empty() {
                    break;
                }
                let fed = framer.feed(rest);
                rest = &rest[fed..];
            }
            let now = Clock.mono();
            for (port, inward) in self.setup.ports.iter().zip(groups) {
                port.complete(now, inward);
            }
        }
    }

    fn on_frame(&self, bytes: Bytes, groups: &mut [Vec<Inward>]) -> std::io::Result<()> {
        let Frame { envelope, payload } = decode_frame(bytes).map_err(malformed)?;
        let from = NodeId(self.peer.node);
        let expected = self.envelope(envelope.channel);
        if (envelope.from, envelope.to) != (from, expected.from)
            || envelope.cluster != expected.cluster
            || envelope.incarnation != Incarnation(self.peer.incarnation)
        {
            return Err(invalid("a frame of another connection"));
        }
        let limits = &self.setup.limits;
        let mut give = |packet: Packet| {
            let group = usize::from(self.setup.places.group_of_packet(&packet).0);
            groups[group].push(Inward::Peer { from, packet });
        };
        match envelope.channel {
            Channel::Heartbeat => {
                for message in decode_heartbeats(payload).map_err(malformed)? {
                    match message {
                        Ok(message) => give(Packet::Link(message)),
                        Err(error) => self.skipped(error),
                    }
                }
            }
            Channel::Control => give(Packet::Control(payload)),
            Channel::Replication | Channel::Bulk => {
                for item in decode_packet(payload, limits).map_err(malformed)? {
                    let partition = item.partition;
                    match item.message {
                        Ok(message) => give(Packet::Replica { partition, message }),
                        Err(error) => self.skipped(error),
                    }
                }
            }
            Channel::Request => {
                let exchange = decode_exchange(payload, limits).map_err(malformed)?;
                for (id, request) in exchange.asks {
                    match request {
                        Ok(request) => give(Packet::Ask { id, request }),
                        Err(error) => self.skipped(error),
                    }
                }
                for (id, response) in exchange.answers {
                    match response {
                        Ok(response) => give(Packet::Answer { id, response }),
                        Err(error) => self.skipped(error),
                    }
                }
            }
            Channel::Letter => {
                for bytes in decode_letters(payload).map_err(malformed)? {
                    match Letter::decode(&bytes) {
                        Ok(letter) => give(Packet::Letter(letter)),
                        Err(error) => {
                            let with = vec![
                                ("node", self.peer.name.clone()),
                                ("reason", error.to_string()),
                            ];
                            crate::log::note(LogLevel::Warn, "a message was skipped", with);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn skipped(&self, error: Malformed) {
        let with = vec![("node", self.peer.name.clone()), ("reason", error.0.to_owned())];
        crate::log::note(LogLevel::Warn, "a message was skipped", with);
    }
}

fn malformed(error: Malformed) -> std::io::Error {
    invalid(error.0)
}

fn invalid(error: impl ToString) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string())
}
