//! Deliveries to several recipients: accepted as one, fanned out from a durable record.

use super::{Body, Columns, Deliver, DeliveryId, Filing, Promise, UserId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A task for the delivery queue of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryTask {
    /// Keeps the message and its recipients durably, then delivers to each; a crash in between is made good at the next start.
    /// Done: `Accepted`, once the record is durable.
    Accept(Acceptance),
}

/// One SMTP transaction with several recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    pub delivery: DeliveryId,
    pub body: Body,
    pub columns: Arc<Columns>,
    /// One entry per mailbox: its trace prefix goes with it.
    pub recipients: Vec<AcceptedRecipient>,
}

/// One mailbox of an [`Acceptance`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedRecipient {
    pub user: UserId,
    pub recipient: Arc<str>,
    pub prefix: Bytes,
    #[serde(default, skip_serializing_if = "Filing::is_empty")]
    pub filing: Filing,
}

impl Acceptance {
    /// The delivery to one of its recipients.
    #[must_use]
    pub fn deliver_to(&self, recipient: &AcceptedRecipient) -> Deliver {
        Deliver {
            delivery: self.delivery,
            recipient: Arc::clone(&recipient.recipient),
            folder: super::FolderName::inbox(),
            prefix: recipient.prefix.clone(),
            body: self.body.clone(),
            columns: Arc::clone(&self.columns),
            filing: recipient.filing.clone(),
            promise: Promise::Given,
        }
    }
}

/// The completion of a [`DeliveryTask`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryDone {
    Accepted,
}
