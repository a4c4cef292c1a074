//! What sessions and masters report for the log: one line each, never a password or a body.

use super::{AuthRefusal, DeliveryId, Protocol, TlsInfo, Uid, UserId};
use std::net::IpAddr;
use std::sync::Arc;

/// One line of the log, as data. Strings from clients are escaped when the line is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    Connected {
        protocol: Protocol,
        ip: IpAddr,
    },
    AuthFailed {
        protocol: Protocol,
        user: String,
        ip: IpAddr,
        reason: AuthRefusal,
    },
    AuthSucceeded {
        protocol: Protocol,
        user: Arc<str>,
        ip: IpAddr,
    },
    /// A message was accepted from a client.
    Received(Box<ReceivedEvent>),
    Delivered {
        queue_id: DeliveryId,
        mailbox: Arc<str>,
        folder: String,
        uid: Uid,
        delay_ms: u64,
    },
    /// A recipient or message was refused, with the reply.
    Refused {
        protocol: Protocol,
        ip: IpAddr,
        recipient: String,
        reply: String,
    },
    SessionEnded {
        protocol: Protocol,
        ip: IpAddr,
        user: Option<Arc<str>>,
        counts: SessionCounts,
    },
    /// The operator changed accounts, domains or aliases: what, in words.
    Administered {
        change: String,
    },
    /// An accepted message still waits for the master of one recipient; it is tried again.
    DeliveryDelayed {
        queue_id: DeliveryId,
        mailbox: Arc<str>,
        attempts: u32,
        reason: String,
    },
    /// The collector went over the references of all users.
    Swept {
        blobs_renewed: u64,
        blobs_collected: u64,
        elapsed_ms: u64,
    },
    /// A part of the service is held up by the store, or found damage; it goes on trying.
    Trouble {
        part: &'static str,
        /// Whose mailbox is damaged, when one is.
        user: Option<UserId>,
        what: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedEvent {
    pub queue_id: DeliveryId,
    pub ip: IpAddr,
    pub helo: String,
    pub reverse_path: String,
    pub recipients: Vec<String>,
    pub bytes: u64,
    pub message_id: String,
    pub tls: Option<TlsInfo>,
}

/// What a session did, for its last line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    pub commands: u64,
    pub errors: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub messages: u64,
}
