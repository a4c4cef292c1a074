//! From the queue to the masters: who is ready, who is being asked, who must wait, and what is
//! being read back.
//!
//! Invariants: at most `deliveries_max` masters are asked and `loads_max` acceptances read at the
//! same time; a recipient that has to wait holds nobody else up.
//! Absences: no recipient is ever given up, but those whose account was removed.

use super::format::{self, BodyRef, Head, Kind, Stored};
use super::pending::{Pending, Stage, bytes_of};
use super::{Delivery, Effect, TIMER_RETRY, trouble};
use crate::backoff::backoff;
use crate::face::{Acceptance, DeliveryId, LogEvent, TaskRefusal, UserDone, UserError, UserTask};
use bytes::Bytes;
use dds::{Request, Response, SortKey};
use fsm::{Cx, Digest, Mono, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Tries of everybody left before the message is kept in the store only.
const TRIES_IN_MEMORY: u32 = 3;

/// A recipient: the acceptance, and its place there.
type Place = (DeliveryId, u32);

/// Recipients by what they wait for.
#[derive(Debug, Default)]
pub struct FanOut {
    ready: VecDeque<Place>,
    later: BTreeSet<(Mono, Place)>,
    asked: BTreeMap<Token, Place>,
    /// Recipients of acceptances that are being read back, or wait for it.
    parked: BTreeMap<DeliveryId, Vec<u32>>,
    to_load: VecDeque<DeliveryId>,
    reads: BTreeMap<Token, DeliveryId>,
}

impl FanOut {
    #[must_use]
    pub fn is_reading(&self, token: Token) -> bool {
        self.reads.contains_key(&token)
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Moves everybody whose time has come to the ready ones.
    pub fn wake(&mut self, cx: &mut Cx<'_, Effect>) {
        while let Some(&(due, place)) = self.later.first() {
            if due > cx.mono() {
                let wait = due.since(cx.mono());
                return cx.arm(TIMER_RETRY, wait);
            }
            self.later.pop_first();
            self.ready.push_back(place);
        }
    }

    fn wait(&mut self, cx: &mut Cx<'_, Effect>, due: Mono, place: Place) {
        self.later.insert((due, place));
        if self.later.first() == Some(&(due, place)) {
            let wait = due.since(cx.mono());
            cx.arm(TIMER_RETRY, wait);
        }
    }

    pub fn digest(&self, digest: &mut Digest) {
        for len in [self.ready.len(), self.later.len(), self.asked.len(), self.reads.len()] {
            digest.word(len as u64);
        }
        digest.word(self.later.first().map_or(0, |(due, _)| due.0));
    }
}

impl Delivery {
    /// Everybody left becomes ready.
    pub(super) fn begin_fan_out(&mut self, id: DeliveryId) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        for &place in pending.left.keys() {
            if pending.active.insert(place) {
                self.fan_out.ready.push_back((id, place));
            }
        }
    }

    /// Asks masters and reads acceptances back, as far as the limits allow.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_, Effect>) {
        while self.fan_out.asked.len() < self.limits.deliveries_max {
            let Some((id, place)) = self.fan_out.ready.pop_front() else { break };
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.active.insert(place);
            match &pending.stage {
                Stage::Held(acceptance) => {
                    let acceptance = Arc::clone(acceptance);
                    self.ask_master(cx, &acceptance, place);
                }
                Stage::Stored => {
                    pending.stage = Stage::Loading { values: Vec::new() };
                    self.fan_out.parked.entry(id).or_default().push(place);
                    self.fan_out.to_load.push_back(id);
                }
                Stage::Loading { .. } => self.fan_out.parked.entry(id).or_default().push(place),
                Stage::Accepting { .. } => unreachable!("fan-out begins with the commit"),
            }
        }
        while self.fan_out.reads.len() < self.limits.loads_max
            && self.bytes_held < self.limits.bytes_held_max
        {
            let Some(id) = self.fan_out.to_load.pop_front() else { break };
            self.read_next(cx, id);
        }
    }

    fn ask_master(&mut self, cx: &mut Cx<'_, Effect>, acceptance: &Acceptance, place: u32) {
        let recipient = usize::try_from(place).ok().and_then(|at| acceptance.recipients.get(at));
        let Some(recipient) = recipient else { return };
        let token = cx.fresh_token();
        let task = UserTask::Deliver(acceptance.deliver_to(recipient));
        cx.emit(Effect::AskUser { token, user: recipient.user, task });
        self.fan_out.asked.insert(token, (acceptance.delivery, place));
    }

    /// A master has answered.
    pub(super) fn on_user_done(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        token: Token,
        result: Result<UserDone, TaskRefusal>,
    ) {
        // From before a reload: the record stands, and it is asked again.
        let Some((id, place)) = self.fan_out.asked.remove(&token) else { return };
        match result {
            Ok(UserDone::Delivered { folder: _, uid: _ }) => self.done(id, place),
            Ok(UserDone::Failed(UserError::Disabled)) => {
                let id_for_people = id.queue_id();
                trouble(cx, format!("{id_for_people}: the account of a recipient was removed"));
                self.done(id, place);
            }
            Ok(UserDone::Failed(error)) => self.again(cx, (id, place), &error.to_string()),
            Ok(other) => {
                self.again(cx, (id, place), &format!("no answer to a delivery: {other:?}"))
            }
            Err(refusal) => self.again(cx, (id, place), &refusal.to_string()),
        }
        self.finish_if_done(id);
        self.let_go_if_idle(id);
        self.with_commits(cx, |commits, cx, limits| commits.advance(cx, limits));
        self.pump(cx);
    }

    fn done(&mut self, id: DeliveryId, place: u32) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.left.remove(&place);
            pending.active.remove(&place);
        }
    }

    /// The recipient is tried again later.
    fn again(&mut self, cx: &mut Cx<'_, Effect>, (id, place): Place, reason: &str) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        pending.active.remove(&place);
        let tries = pending.left.entry(place).or_insert(0);
        *tries = tries.saturating_add(1);
        let tries = *tries;
        if tries >= self.limits.attempts_before_log && tries.is_power_of_two() {
            let mailbox = mailbox_of(pending, place);
            cx.emit(Effect::Log(LogEvent::DeliveryDelayed {
                queue_id: id,
                mailbox,
                attempts: tries,
                reason: reason.to_owned(),
            }));
        }
        let range = (self.limits.retry_min, self.limits.retry_max);
        let due = cx.mono().plus(backoff(cx, range, tries));
        self.fan_out.wait(cx, due, (id, place));
    }

    pub(super) fn finish_if_done(&mut self, id: DeliveryId) {
        if self.pending.get(&id).is_some_and(|pending| pending.left.is_empty()) {
            self.remove(id);
        }
    }

    /// While all who are left must wait, the message need not stay in memory.
    fn let_go_if_idle(&mut self, id: DeliveryId) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let patient = pending.left.values().all(|&tries| tries >= TRIES_IN_MEMORY);
        if !patient || !pending.active.is_empty() || !matches!(pending.stage, Stage::Held(_)) {
            return;
        }
        pending.stage = Stage::Stored;
        self.bytes_held -= std::mem::take(&mut pending.bytes);
        self.note_done(id);
    }

    /// Asks for the next values of an acceptance that comes back.
    fn read_next(&mut self, cx: &mut Cx<'_, Effect>, id: DeliveryId) {
        let Some(pending) = self.pending.get(&id) else { return };
        let Stage::Loading { values } = &pending.stage else { return };
        let keys: Vec<SortKey> = keys_wanted(id, pending)
            .skip(values.len())
            .take(self.limits.pieces_read_at_once.max(1))
            .collect();
        let token = cx.fresh_token();
        let request = Request::Get { route: self.route.clone(), keys };
        cx.emit(Effect::Dds { token, request });
        self.fan_out.reads.insert(token, id);
    }

    /// Values of an acceptance that comes back.
    pub(super) fn on_read(&mut self, cx: &mut Cx<'_, Effect>, token: Token, response: Response) {
        let Some(id) = self.fan_out.reads.remove(&token) else { return };
        match self.take_values(id, response) {
            Ok(Some(acceptance)) => {
                let Some(pending) = self.pending.get_mut(&id) else { return };
                pending.bytes = bytes_of(&acceptance);
                self.bytes_held += pending.bytes;
                pending.stage = Stage::Held(Arc::new(acceptance));
                for place in self.fan_out.parked.remove(&id).unwrap_or_default() {
                    self.fan_out.ready.push_front((id, place));
                }
            }
            Ok(None) => self.read_next(cx, id),
            Err(reason) => {
                if let Some(pending) = self.pending.get_mut(&id) {
                    pending.stage = Stage::Stored;
                }
                for place in self.fan_out.parked.remove(&id).unwrap_or_default() {
                    self.again(cx, (id, place), &reason);
                }
            }
        }
        self.pump(cx);
    }

    /// `None`: more values are wanted.
    fn take_values(
        &mut self,
        id: DeliveryId,
        response: Response,
    ) -> Result<Option<Acceptance>, String> {
        let Some(pending) = self.pending.get_mut(&id) else {
            return Err("the acceptance is gone".to_owned());
        };
        let Response::Got(found) = response else {
            return Err(format!("can't be read: {response:?}"));
        };
        let wanted = keys_wanted(id, pending).count();
        let Stage::Loading { values } = &mut pending.stage else {
            return Err("nothing was to be read".to_owned());
        };
        for value in found {
            values.push(value.ok_or("a piece is missing")?.0);
        }
        if values.len() < wanted {
            return Ok(None);
        }
        put_together(id, std::mem::take(values)).map(Some)
    }
}

/// All keys of an acceptance: head, inline body, further pieces.
fn keys_wanted(id: DeliveryId, pending: &Pending) -> impl Iterator<Item = SortKey> + use<> {
    let body = match pending.body {
        BodyRef::Inline => Some(format::key(Kind::Body, id)),
        BodyRef::Blob { .. } => None,
    };
    let pieces = (1..=pending.pieces).map(move |piece| format::piece_key(id, piece));
    std::iter::once(format::key(Kind::Head, id)).chain(body).chain(pieces)
}

fn put_together(id: DeliveryId, values: Vec<Bytes>) -> Result<Acceptance, String> {
    let mut values = values.into_iter();
    let head = Head::read(values.next().unwrap_or_default()).map_err(|error| error.to_string())?;
    let body = match head.body {
        BodyRef::Inline => values.next().ok_or("the body is missing")?,
        BodyRef::Blob { .. } => Bytes::new(),
    };
    let stored = Stored { id, head, body, pieces: values.collect() };
    stored.read().map_err(|error| error.to_string())
}

/// The address of a recipient for the log; empty while the message is in the store only.
fn mailbox_of(pending: &Pending, place: u32) -> Arc<str> {
    let recipient = match &pending.stage {
        Stage::Held(acceptance) => {
            usize::try_from(place).ok().and_then(|at| acceptance.recipients.get(at))
        }
        Stage::Accepting { .. } | Stage::Stored | Stage::Loading { .. } => None,
    };
    recipient.map_or_else(|| "".into(), |recipient| Arc::clone(&recipient.recipient))
}
