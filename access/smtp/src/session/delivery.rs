//! From a complete message to the answer: handed to the master of its one mailbox, or to the delivery queue; LMTP to each
//! recipient's, with an answer for each.
//!
//! Invariants: each mailbox gets one copy, however many recipients lead to it; 250 is said on the completion of what is
//! durable, and on nothing else.

use super::conversation::{Conversation, Tally};
use super::state::{Greeting, State};
use crate::Mode;
use crate::codec::reply::{self, Reply};
use crate::message::{Envelope, Trace, Transport, Whole, drop_blob, refusal_reply};
use bytes::Bytes;
use fsm::{Cx, Digest, Token};
use mailstore::face::{
    Acceptance, AcceptedRecipient, AskedMailbox, Body, Columns, Completion, Decision, Deliver,
    DeliveryDone, DeliveryId, DeliveryTask, Filing, FolderName, InternalDate, Lane, LogEvent,
    Promise, ReceivedEvent, Recipient, SessionEffect, Task, UserDone, UserError, UserId, UserTask,
    Verdict, settle,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A message that was handed over.
#[derive(Debug)]
pub struct Delivering {
    envelope: Envelope,
    delivery: DeliveryId,
    bytes: u64,
    columns: Arc<Columns>,
    /// What was handed over separately.
    shares: Vec<Share>,
    /// For each answer that is owed, the share that decides it.
    owed: Vec<usize>,
}

/// Mailboxes that get the message together.
#[derive(Debug)]
struct Share {
    token: Token,
    outcome: Outcome,
}

impl Share {
    /// Nothing was asked for it.
    fn refused(cx: &mut Cx<'_, SessionEffect>, reply: Reply) -> Self {
        Self { token: cx.fresh_token(), outcome: Outcome::Refused(reply) }
    }
}

/// A mailbox of a share, and what is done with its copy.
#[derive(Clone, Debug)]
struct Target {
    mailbox: AskedMailbox,
    filing: Filing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Awaited,
    Kept,
    Refused(Reply),
}

impl Delivering {
    /// Submits the tasks that make the message durable, for whom it is not refused.
    pub(super) fn hand_over(
        conversation: &Conversation,
        cx: &mut Cx<'_, SessionEffect>,
        whole: Whole,
        decisions: Vec<Decision>,
    ) -> Self {
        let delivery = DeliveryId::new(cx.wall(), cx.rng().next_u64());
        let Whole { envelope, body, head: _, columns } = whole;
        let bytes = body.len();
        let (targets, owed) = share_out(conversation.mode, &envelope);
        let targets: Vec<(Verdict, Vec<Target>)> =
            targets.into_iter().map(|targets| decided(targets, &decisions)).collect();
        let kept = targets.iter().filter(|(verdict, _)| *verdict == Verdict::Kept).count();
        if let (0, Body::Blob { blob, .. }) = (kept, &body) {
            drop_blob(cx, *blob);
        }
        let body = if kept > 1 { body.shared() } else { body };
        let date = InternalDate { unix_seconds: cx.wall().unix_seconds(), zone_minutes: 0 };
        let client = conversation.client();
        let trace = conversation.trace(&envelope, &client, delivery, date);
        let mut parcel = Parcel { trace, delivery, body, columns: Arc::clone(&columns) };
        let shares = targets
            .into_iter()
            .map(|(verdict, targets)| match verdict {
                Verdict::Kept => {
                    Share { token: parcel.submit(cx, targets), outcome: Outcome::Awaited }
                }
                Verdict::Deferred => Share::refused(cx, reply::DEFERRED),
                Verdict::Refused => Share::refused(cx, reply::REJECTED),
            })
            .collect();
        Self { envelope, delivery, bytes, columns, shares, owed }
    }

    pub(super) fn digest(&self, digest: &mut Digest) {
        self.envelope.digest(digest);
        digest.word(self.bytes);
        for share in &self.shares {
            digest.word(share.token.0);
        }
    }
}

/// What every share of a message has in common.
struct Parcel<'a> {
    trace: Trace<'a>,
    delivery: DeliveryId,
    body: Body,
    columns: Arc<Columns>,
}

impl Parcel<'_> {
    /// One mailbox is asked directly; several go by the delivery queue, so that all or none of them is promised.
    fn submit(&mut self, cx: &mut Cx<'_, SessionEffect>, mut targets: Vec<Target>) -> Token {
        let only = if targets.len() == 1 { targets.pop() } else { None };
        let task = match only {
            Some(Target { mailbox, filing }) => Task::User {
                user: mailbox.user,
                task: UserTask::Deliver(Deliver {
                    delivery: self.delivery,
                    prefix: self.prefix(&mailbox),
                    recipient: mailbox.recipient,
                    folder: FolderName::inbox(),
                    body: self.body.clone(),
                    columns: Arc::clone(&self.columns),
                    filing,
                    promise: Promise::Open,
                }),
            },
            None => {
                let recipients = targets.into_iter().map(|target| AcceptedRecipient {
                    user: target.mailbox.user,
                    prefix: self.prefix(&target.mailbox),
                    recipient: target.mailbox.recipient,
                    filing: target.filing,
                });
                Task::Delivery(DeliveryTask::Accept(Acceptance {
                    delivery: self.delivery,
                    body: self.body.clone().shared(),
                    columns: Arc::clone(&self.columns),
                    recipients: recipients.collect(),
                }))
            }
        };
        // Each share has an id of its own, for an acceptance is kept under its id; people see the same short form.
        self.delivery.0 ^= u128::from(cx.rng().next_u64() & 0x3_FFFF_FFFF);
        let token = cx.fresh_token();
        cx.emit(SessionEffect::Submit { token, lane: Lane::Delivery, task });
        token
    }

    fn prefix(&self, mailbox: &AskedMailbox) -> Bytes {
        self.trace.prefix(&mailbox.address)
    }
}

/// The mailboxes that shall get a message, each once.
pub fn mailboxes(mode: Mode, envelope: &Envelope) -> Vec<AskedMailbox> {
    share_out(mode, envelope).0.into_iter().flatten().collect()
}

/// What was said of these mailboxes, and what it comes to when they are answered together.
fn decided(mailboxes: Vec<AskedMailbox>, said: &[Decision]) -> (Verdict, Vec<Target>) {
    let (verdict, filings) = settle(&mailboxes, said);
    let target = |(mailbox, filing)| Target { mailbox, filing };
    (verdict, mailboxes.into_iter().zip(filings).map(target).collect())
}

/// Which mailboxes go together, and which share answers for which recipient.
fn share_out(mode: Mode, envelope: &Envelope) -> (Vec<Vec<AskedMailbox>>, Vec<usize>) {
    if let Some((_, accepted)) = envelope.single_mailbox() {
        let replies = if mode == Mode::Lmtp { envelope.accepted.len() } else { 1 };
        let target = accepted.mailboxes.first().map(|mailbox| target(&accepted.address, mailbox));
        return (vec![target.into_iter().collect()], vec![0; replies]);
    }
    match mode {
        Mode::Smtp | Mode::Submission => (vec![distinct_mailboxes(envelope)], vec![0]),
        Mode::Lmtp => share_by_recipient(envelope),
    }
}

fn target(address: &Arc<str>, mailbox: &Recipient) -> AskedMailbox {
    AskedMailbox {
        user: mailbox.user,
        recipient: Arc::clone(address),
        address: Arc::clone(&mailbox.address),
    }
}

/// protocols.md: two aliases of one mailbox give one copy, for the first of them.
fn distinct_mailboxes(envelope: &Envelope) -> Vec<AskedMailbox> {
    let mut seen = std::collections::BTreeSet::new();
    let all = envelope
        .accepted
        .iter()
        .flat_map(|accepted| accepted.mailboxes.iter().map(|mailbox| (&accepted.address, mailbox)));
    all.filter(|(_, mailbox)| seen.insert(mailbox.user))
        .map(|(address, mailbox)| target(address, mailbox))
        .collect()
}

/// RFC 2033 4.2: each recipient is answered for itself. One whose mailboxes all belong to earlier ones is answered as these.
fn share_by_recipient(envelope: &Envelope) -> (Vec<Vec<AskedMailbox>>, Vec<usize>) {
    let mut shares: Vec<Vec<AskedMailbox>> = Vec::new();
    let mut owed = Vec::with_capacity(envelope.accepted.len());
    let mut share_of: BTreeMap<UserId, usize> = BTreeMap::new();
    for accepted in &envelope.accepted {
        let fresh: Vec<AskedMailbox> = accepted
            .mailboxes
            .iter()
            .filter(|mailbox| !share_of.contains_key(&mailbox.user))
            .map(|mailbox| target(&accepted.address, mailbox))
            .collect();
        if fresh.is_empty() {
            let first = accepted.mailboxes.first().and_then(|first| share_of.get(&first.user));
            owed.push(first.copied().unwrap_or(0));
            continue;
        }
        share_of.extend(fresh.iter().map(|target| (target.user, shares.len())));
        owed.push(shares.len());
        shares.push(fresh);
    }
    (shares, owed)
}

impl Conversation {
    fn trace<'a>(
        &'a self,
        envelope: &'a Envelope,
        client: &'a str,
        delivery: DeliveryId,
        date: InternalDate,
    ) -> Trace<'a> {
        let transport = match (self.mode, &self.greeting) {
            (Mode::Lmtp, _) => Transport::Lmtp,
            (Mode::Smtp | Mode::Submission, Greeting::Ehlo(_)) => Transport::Esmtp,
            (Mode::Smtp | Mode::Submission, Greeting::Helo(_) | Greeting::Awaited) => {
                Transport::Smtp
            }
        };
        Trace {
            reverse_path: &envelope.reverse_path,
            client,
            ip: self.peer.ip,
            hostname: &self.peer.hostname,
            transport,
            tls: self.tls.as_ref(),
            logged_in: self.account.is_some(),
            smtputf8: envelope.smtputf8,
            queue_id: delivery.queue_id(),
            date,
            // protocols.md: with several recipients each would learn of the others.
            only_recipient: match envelope.accepted.as_slice() {
                [only] => Some(&only.address),
                _ => None,
            },
        }
    }

    pub(super) fn on_delivery(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        mut delivering: Box<Delivering>,
        token: Token,
        completion: Completion,
    ) {
        if let Some(share) = delivering.shares.iter_mut().find(|share| share.token == token) {
            share.outcome = outcome(completion);
        }
        self.go_on_delivering(cx, delivering);
    }

    /// Waits for the outcome of every share, then answers.
    pub(super) fn go_on_delivering(
        &mut self,
        cx: &mut Cx<'_, SessionEffect>,
        delivering: Box<Delivering>,
    ) {
        if delivering.shares.iter().any(|share| share.outcome == Outcome::Awaited) {
            self.state = State::Delivering(delivering);
            return;
        }
        self.state = State::Ready;
        self.answer(cx, *delivering);
    }

    fn answer(&mut self, cx: &mut Cx<'_, SessionEffect>, delivering: Delivering) {
        let queue_id = delivering.delivery.queue_id();
        let mut kept = false;
        for (index, &share) in delivering.owed.iter().enumerate() {
            match delivering.shares[share].outcome {
                Outcome::Kept | Outcome::Awaited => {
                    kept = true;
                    self.reply_bytes(b"250 2.0.0 Ok: queued as ");
                    self.reply_bytes(queue_id.as_str().as_bytes());
                    self.reply_bytes(b"\r\n");
                }
                Outcome::Refused(refusal) => {
                    self.reply(refusal);
                    let recipient = delivering.envelope.accepted.get(index);
                    let recipient = recipient.map_or("", |accepted| &accepted.address);
                    self.log_refused(cx, recipient, refusal);
                }
            }
        }
        if kept {
            self.counts.messages += 1;
            self.fruitful = cx.mono();
            self.tally = Tally { failed_logins: self.tally.failed_logins, ..Tally::default() };
            self.log_received(cx, delivering);
        }
    }

    fn log_received(&self, cx: &mut Cx<'_, SessionEffect>, delivering: Delivering) {
        let Delivering { envelope, delivery, bytes, columns, shares: _, owed: _ } = delivering;
        let message_id = String::from_utf8_lossy(&columns.message_id).into_owned();
        cx.emit(SessionEffect::Log(LogEvent::Received(Box::new(ReceivedEvent {
            queue_id: delivery,
            ip: self.peer.ip,
            helo: self.client().as_ref().to_owned(),
            reverse_path: envelope.reverse_path.into_string(),
            recipients: envelope.accepted.iter().map(|a| a.address.as_ref().to_owned()).collect(),
            bytes,
            message_id,
            tls: self.tls.clone(),
        }))));
    }
}

/// RFC 3463 codes of what a master says.
fn outcome(completion: Completion) -> Outcome {
    match completion {
        Completion::User(UserDone::Delivered { folder: _, uid: _ })
        | Completion::Delivery(DeliveryDone::Accepted) => Outcome::Kept,
        Completion::User(UserDone::Failed(error)) => Outcome::Refused(match error {
            // protocols.md: 452 by default: the owner may make room.
            UserError::OverQuota => reply::OVER_QUOTA,
            UserError::Disabled => reply::DISABLED_USER,
            UserError::NoSuchFolder
            | UserError::FolderExists
            | UserError::Cannot(_)
            | UserError::BadName(_)
            | UserError::Limit(_)
            | UserError::MaildropInUse
            | UserError::NoSuchPending
            | UserError::Expunged => reply::LOCAL_TROUBLE,
        }),
        Completion::Refused(refusal) => Outcome::Refused(refusal_reply(refusal)),
        Completion::Directory(_) | Completion::User(_) | Completion::Blob(_) => {
            panic!("a delivery is answered with Delivered or Accepted")
        }
    }
}
