//! Acceptances on their way into the store, and out of it.

use super::commit::{Item, ItemKind};
use super::format::{self, BodyRef, Head, Kind};
use super::pending::{Pending, Stage, bytes_of};
use super::{Asker, Delivery, Effect, State, accepted, refuse, trouble};
use crate::face::{Acceptance, Body, DeliveryId, TaskRefusal};
use bytes::Bytes;
use dds::{Op, Outcome, Refusal, Request, Response};
use fsm::Cx;
use std::sync::Arc;

impl Delivery {
    pub(super) fn on_accept(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        acceptance: Acceptance,
    ) {
        if acceptance.recipients.is_empty() {
            return accepted(cx, asker);
        }
        if !matches!(self.state, State::Serving(_)) {
            if self.waiting.len() >= self.limits.acceptances_waiting_max {
                return refuse(cx, asker, TaskRefusal::Overloaded);
            }
            return self.waiting.push_back((asker, acceptance));
        }
        let full = self.pending.len() + self.renewals.len() >= self.limits.acceptances_max
            || self.bytes_held + bytes_of(&acceptance) > self.limits.bytes_held_max;
        if full || self.pending.contains_key(&acceptance.delivery) {
            return refuse(cx, asker, TaskRefusal::Overloaded);
        }
        match acceptance.body {
            Body::Inline(_) => self.commit(cx, asker, acceptance),
            // Design section 5: whoever refers to a blob extends its life durably before the
            // metadata commits.
            Body::Blob { blob, .. } => {
                let token = cx.fresh_token();
                let expires = cx.wall().plus(self.limits.blob_life);
                cx.emit(Effect::Dds { token, request: Request::RenewBlob { blob, expires } });
                self.renewals.insert(token, (asker, acceptance));
            }
        }
    }

    /// The blob lives, or is gone.
    pub(super) fn on_renewed(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        acceptance: Acceptance,
        response: &Response,
    ) {
        match response {
            Response::Wrote(Outcome::Committed { version: _ }) => {
                if matches!(self.state, State::Serving(_)) {
                    self.commit(cx, asker, acceptance);
                } else {
                    refuse(cx, asker, TaskRefusal::Unavailable);
                }
            }
            Response::Wrote(Outcome::Refused(Refusal::NoSpace))
            | Response::Refused(Refusal::NoSpace) => refuse(cx, asker, TaskRefusal::NoSpace),
            Response::Wrote(Outcome::Refused(_) | Outcome::Unknown)
            | Response::Refused(_)
            | Response::Claimed(_)
            | Response::Got(_)
            | Response::Scanned { .. }
            | Response::BlobRead(_)
            | Response::Absent
            | Response::Collected { .. } => refuse(cx, asker, TaskRefusal::Unavailable),
        }
    }

    /// Queues the record: pieces first, then the head with the body, which makes it exist.
    fn commit(&mut self, cx: &mut Cx<'_, Effect>, asker: Asker, acceptance: Acceptance) {
        let payload = format::payload(&acceptance);
        if payload.len() > self.limits.payload_bytes_max {
            trouble(cx, format!("{} octets of recipients and columns are too many", payload.len()));
            return refuse(cx, asker, TaskRefusal::Overloaded);
        }
        let id = acceptance.delivery;
        let piece_bytes = self.limits.piece_bytes_max.max(1);
        let first_piece = payload.slice(..payload.len().min(piece_bytes));
        let further = payload.slice(first_piece.len()..);
        let further: Vec<Bytes> = (0..further.len())
            .step_by(piece_bytes)
            .map(|at| further.slice(at..further.len().min(at + piece_bytes)))
            .collect();
        let pieces = u32::try_from(further.len()).unwrap_or(u32::MAX);
        let acceptance = Arc::new(acceptance);
        let pending = Pending::accepting(asker, Arc::clone(&acceptance), pieces);
        let head = Head {
            accepted: cx.wall(),
            body: pending.body,
            recipients: pending.recipients,
            pieces,
            first_piece,
        };
        self.bytes_held += pending.bytes;
        self.pending.insert(id, pending);
        let head_ops = head_ops(id, &head, &acceptance.body);
        self.with_commits(cx, |commits, cx, limits| {
            for ops in piece_ops(id, &further, limits.commit_bytes_max) {
                commits.push(Item { id, kind: ItemKind::Pieces, ops });
            }
            commits.push(Item { id, kind: ItemKind::Head, ops: head_ops });
            commits.advance(cx, limits);
        });
    }

    pub(super) fn on_applied(&mut self, cx: &mut Cx<'_, Effect>, id: DeliveryId, kind: ItemKind) {
        match kind {
            ItemKind::Head => {
                let Some(pending) = self.pending.get_mut(&id) else { return };
                let asker = pending.take_asker();
                if let Stage::Accepting { asker: _, acceptance } = &pending.stage {
                    pending.stage = Stage::Held(Arc::clone(acceptance));
                }
                if let Some(asker) = asker {
                    accepted(cx, asker);
                }
                self.begin_fan_out(id);
            }
            ItemKind::Pieces | ItemKind::Done | ItemKind::Remove => {}
        }
    }

    pub(super) fn on_refused(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (id, kind): (DeliveryId, ItemKind),
        reason: TaskRefusal,
    ) {
        match kind {
            ItemKind::Pieces | ItemKind::Head => {
                let Some(mut pending) = self.pending.remove(&id) else { return };
                self.bytes_held -= pending.bytes;
                if let Some(asker) = pending.take_asker() {
                    refuse(cx, asker, reason);
                }
                self.with_commits(cx, |commits, _, _| commits.retract(id));
                if pending.pieces > 0 {
                    self.remove_pieces(id);
                }
            }
            // Removals come again by themselves; who is done is noted again when somebody else is.
            ItemKind::Done | ItemKind::Remove => {}
        }
    }

    /// Writes down who has the message, so that the delivery memory of their masters may forget.
    pub(super) fn note_done(&mut self, id: DeliveryId) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        if pending.done_count() <= pending.done_noted {
            return;
        }
        pending.done_noted = pending.done_count();
        let op = Op::Put {
            key: format::key(Kind::Done, id),
            value: format::done_value(&pending.done()),
        };
        if let State::Serving(commits) = &mut self.state {
            commits.push(Item { id, kind: ItemKind::Done, ops: vec![op] });
        }
    }

    /// Everybody has it: the record goes.
    pub(super) fn remove(&mut self, id: DeliveryId) {
        let Some(pending) = self.pending.remove(&id) else { return };
        self.bytes_held -= pending.bytes;
        let mut ops = vec![Op::Delete { key: format::key(Kind::Head, id) }];
        match pending.body {
            BodyRef::Inline => ops.push(Op::Delete { key: format::key(Kind::Body, id) }),
            BodyRef::Blob { .. } => ops.push(Op::Delete { key: format::key(Kind::Blob, id) }),
        }
        if pending.pieces > 0 {
            let (from, to) = format::pieces_range(id);
            ops.push(Op::DeleteRange { from, to });
        }
        if pending.done_noted > 0 {
            ops.push(Op::Delete { key: format::key(Kind::Done, id) });
        }
        if let State::Serving(commits) = &mut self.state {
            commits.push(Item { id, kind: ItemKind::Remove, ops });
        }
    }

    pub(super) fn remove_pieces(&mut self, id: DeliveryId) {
        let (from, to) = format::pieces_range(id);
        let ops = vec![Op::DeleteRange { from, to }];
        if let State::Serving(commits) = &mut self.state {
            commits.push(Item { id, kind: ItemKind::Remove, ops });
        }
    }
}

fn head_ops(id: DeliveryId, head: &Head, body: &Body) -> Vec<Op> {
    let put = |kind, value| Op::Put { key: format::key(kind, id), value };
    let body = match body {
        Body::Inline(bytes) => put(Kind::Body, bytes.clone()),
        Body::Blob { blob, .. } => put(Kind::Blob, format::blob_value(*blob)),
    };
    vec![put(Kind::Head, head.value()), body]
}

/// Further pieces, in batches of at most `bytes_max`.
fn piece_ops(id: DeliveryId, further: &[Bytes], bytes_max: usize) -> Vec<Vec<Op>> {
    let piece_bytes = further.first().map_or(1, Bytes::len).max(1);
    let per_batch = (bytes_max / piece_bytes).max(1);
    let mut ops = Vec::new();
    let mut piece = 0;
    for chunk in further.chunks(per_batch) {
        let puts = chunk.iter().map(|value| {
            piece += 1;
            Op::Put { key: format::piece_key(id, piece), value: value.clone() }
        });
        ops.push(puts.collect());
    }
    ops
}
