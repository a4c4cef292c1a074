//! Deliver: one batch, one round. Body, columns, log entry, header and delivery memory go together.

use super::change::{Arrival, ArrivalSource, Asker, Change, MemoryKey};
use super::core::Core;
use super::filing::Filed;
use super::folder::Folder;
use super::format::{
    BodyRecord, ColumnRecord, Extent, LARGE_BYTES, LogEntry, Meta, Remembered, Rows,
    VALUE_BYTES_MAX, encode_blob_reference, encode_search, keys, pieces_of,
};
use super::load::scan_request;
use super::machine::Effect;
use super::memory::{MemoryState, Recall, recipient_hash};
use super::reading::Reading;
use super::{BlobLife, Waiting, answer};
use crate::face::{
    Body, Columns, Deliver, DeliveryId, EmailId, FolderId, INLINE_BYTES_MAX, InternalDate,
    LONE_BYTES_MAX, LogEvent, ModSeq, Promise, SystemFlags, TaskRefusal, ThreadId, Uid, UserDone,
    UserError, UserTask,
};
use bytes::Bytes;
use dds::{Op, Request};
use fsm::{Cx, Wall};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use std::sync::Arc;

/// A message on its way into a folder.
#[derive(Debug)]
pub struct Arriving {
    pub prefix: Bytes,
    pub body: Body,
    pub columns: Arc<Columns>,
    pub flags: SystemFlags,
    pub internal_date: InternalDate,
}

impl Arriving {
    /// RFC822.SIZE.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.prefix.len() as u64).saturating_add(self.body.len())
    }
}

impl Core {
    pub fn deliver(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        deliver: Deliver,
        (blob, header): (BlobLife, Option<&[u8]>),
    ) {
        let recipient = recipient_hash(&deliver.recipient);
        let once = (deliver.delivery, recipient);
        let repeated = |deliver| Waiting { asker, task: UserTask::Deliver(deliver), blob };
        let Some(deliver) = self.first_time(cx, once, deliver, repeated) else { return };
        let bytes = (deliver.prefix.len() as u64).saturating_add(deliver.body.len());
        if deliver.promise == Promise::Open && !self.quota_admits(bytes, 1) {
            return self.fail_message(cx, asker, (UserError::OverQuota, &deliver.body));
        }
        if let (Body::Blob { blob: id, .. }, BlobLife::AsFound) = (&deliver.body, blob) {
            let id = *id;
            let task = UserTask::Deliver(deliver);
            return self.renew_blob(cx, id, Waiting { asker, task, blob });
        }
        if let Some(filed) = self.filed(cx, deliver, header, repeated) {
            self.deliver_now(cx, asker, filed, recipient);
        }
    }

    /// Gives `what` back when it has not come yet, as far as the memory knows. Else whoever asks is told what came of it, or the memory is
    /// read first: then `waiting` says what is to be done.
    pub fn first_time<T>(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        (delivery, recipient): (DeliveryId, u64),
        what: T,
        waiting: impl FnOnce(T) -> Waiting,
    ) -> Option<T> {
        match self.memory.recall(delivery, recipient) {
            Recall::New => return Some(what),
            Recall::UnderWay => {
                self.memory.wait_for(delivery, recipient, waiting(what).asker);
            }
            Recall::Seen { hour } => {
                let key = MemoryKey { delivery, recipient, hour };
                let sort_key = keys::memory(hour, delivery, recipient);
                let Waiting { asker, task, .. } = waiting(what);
                let task = Box::new(task);
                self.get(cx, vec![sort_key], Reading::Remembered { key, task, asker });
            }
            Recall::NotLoaded => self.load_memory(cx, waiting(what)),
        }
        None
    }

    /// Puts into `ops` that a delivery has come, and where.
    pub fn remember(
        &mut self,
        wall: Wall,
        (delivery, recipient): (DeliveryId, u64),
        remembered: &Remembered,
        ops: &mut Vec<Op>,
    ) -> MemoryKey {
        let hour = hour_of(wall);
        let key = keys::memory(hour, delivery, recipient);
        ops.push(Op::Put { key, value: remembered.encode() });
        self.prune_memory(hour, ops);
        let memory = MemoryKey { delivery, recipient, hour };
        self.memory.sent(&memory);
        memory
    }

    fn deliver_now(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        asker: Asker,
        (deliver, mut filing): Filed,
        recipient: u64,
    ) {
        let Some(id) = self.chosen_folder(&deliver.folder, &mut filing) else {
            return answer(cx, asker, Err(TaskRefusal::Damaged));
        };
        let arriving = Arriving {
            prefix: deliver.prefix,
            body: deliver.body,
            columns: deliver.columns,
            flags: filing.flags,
            internal_date: now(cx.wall()),
        };
        let mark = self.mark_keywords(id);
        let mut ops = Vec::with_capacity(6);
        // A table of keywords that is full holds up no mail.
        let keywords = self.assign_keywords(id, &filing.keywords, &mut ops).unwrap_or(0);
        match self.arrive(cx.wall(), id, (&arriving, keywords), &mut ops) {
            Ok(arrived) => {
                let remembered = Remembered { folder: id, uid: arrived.uid };
                let once = (deliver.delivery, recipient);
                let memory = self.remember(cx.wall(), once, &remembered, &mut ops);
                let source = ArrivalSource::Delivery {
                    delivery: deliver.delivery,
                    recipient: deliver.recipient,
                    memory,
                    asker,
                };
                self.submit_arrival(cx, id, (arrived, keywords, source), ops);
            }
            Err(error) => {
                self.forget_keywords(mark);
                self.fail_message(cx, asker, (error, &arriving.body));
            }
        }
    }

    fn load_memory(&mut self, cx: &mut Cx<'_, Effect>, waiting: Waiting) {
        match &mut self.memory.state {
            MemoryState::Loading { waiting: queue, .. } => queue.push(waiting),
            MemoryState::Absent | MemoryState::Known(_) => {
                let hours = std::collections::BTreeMap::new();
                self.memory.state = MemoryState::Loading { waiting: vec![waiting], hours };
                let (from, to) = keys::memory_from(self.oldest_hour(hour_of(cx.wall())));
                let request = scan_request(&self.context.route, from, to);
                self.read(cx, request, Reading::Memory);
            }
        }
    }

    fn oldest_hour(&self, hour: u32) -> u32 {
        let kept = self.limits().delivery_memory.as_secs() / 3600;
        hour.saturating_sub(u32::try_from(kept).unwrap_or(u32::MAX))
    }

    /// Once an hour: what is older than the memory goes.
    fn prune_memory(&mut self, hour: u32, ops: &mut Vec<Op>) {
        let oldest = self.oldest_hour(hour);
        if self.memory.pruned_to < oldest {
            let (from, to) = keys::memory_before(oldest);
            ops.push(Op::DeleteRange { from, to });
            self.memory.prune(oldest);
        }
    }

    /// Extends a blob's life, durably, before metadata refers to it (design section 5).
    pub fn renew_blob(&mut self, cx: &mut Cx<'_, Effect>, blob: dds::BlobId, waiting: Waiting) {
        let expires = cx.wall().plus(self.limits().blob_life);
        let reading = Reading::Blob(Box::new(waiting));
        self.read(cx, Request::RenewBlob { blob, expires }, reading);
    }

    /// Assigns UID, MODSEQ and EMAILID, and puts the message into `ops`; the header is not in them yet.
    pub fn arrive(
        &mut self,
        wall: Wall,
        id: FolderId,
        (arriving, keywords): (&Arriving, u128),
        ops: &mut Vec<Op>,
    ) -> Result<Meta, UserError> {
        let messages_max = self.limits().folder_messages_max;
        let folder = self.folders.get(&id).ok_or(UserError::NoSuchFolder)?;
        if folder.assigned.messages >= messages_max {
            return Err(UserError::Limit("too many messages in the folder".into()));
        }
        if folder.assigned.uid_next == u32::MAX {
            return Err(UserError::Limit("the folder has used up its UIDs".into()));
        }
        let email = self.next_email();
        let mod_seq = self.next_mod_seq();
        put_message(ops, email, arriving)?;
        let folder = self.folders.get_mut(&id).ok_or(UserError::NoSuchFolder)?;
        let uid = folder.assigned.assign_uid().ok_or(UserError::Limit("no UID is left".into()))?;
        let meta = new_meta(uid, email, mod_seq, wall, arriving);
        let mut rows = Rows::default();
        rows.push(meta, keywords);
        let value = LogEntry::Arrived(rows).encode();
        ops.push(Op::Put { key: keys::log(id, mod_seq, 0), value });
        count_arrival(folder, &meta, mod_seq, email);
        self.usage.bytes = self.usage.bytes.saturating_add(u64::from(meta.bytes));
        self.usage.messages += 1;
        Ok(meta)
    }

    /// Sends the batch of one arrival, with the header.
    pub fn submit_arrival(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        id: FolderId,
        (meta, keywords, source): (Meta, u128, ArrivalSource),
        mut ops: Vec<Op>,
    ) {
        let Some(folder) = self.folders.get(&id) else {
            return;
        };
        let header = folder.assigned;
        ops.push(Op::Put { key: keys::of_folder(keys::HEADER, id), value: header.encode() });
        let arrival = Arrival { folder: id, meta, keywords, header, source };
        self.pipeline.submit(cx, ops, Change::Arrived(arrival));
    }

    /// One message came in.
    pub fn arrival_committed(&mut self, cx: &mut Cx<'_, Effect>, arrival: Arrival) {
        let Arrival { folder: id, meta, keywords, header, source } = arrival;
        let chunk_rows_max = self.limits().chunk_rows_max;
        let entries_max = self.limits().delivery_memory_entries_max;
        let Some(folder) = self.folders.get_mut(&id) else {
            return;
        };
        folder.commit_header(header, |recent| recent.saturating_add(1));
        folder.show_row(meta, keywords, chunk_rows_max);
        let (name, uid_validity) = (folder.name.clone(), folder.uid_validity);
        match source {
            ArrivalSource::Delivery { delivery, recipient, memory, asker } => {
                self.memory.remember(&memory, entries_max);
                let done = UserDone::Delivered { folder: name.clone(), uid: meta.uid };
                for echo in self.memory.settled(&memory) {
                    answer(cx, echo, Ok(done.clone()));
                }
                answer(cx, asker, Ok(done));
                let delay = cx.mono().since(asker.since).as_millis();
                let account = self.context.account.as_ref().map(|account| &account.address);
                cx.emit(Effect::Log(LogEvent::Delivered {
                    queue_id: delivery,
                    mailbox: account.filter(|a| !a.is_empty()).cloned().unwrap_or(recipient),
                    folder: name.as_str().into(),
                    uid: meta.uid,
                    delay_ms: u64::try_from(delay).unwrap_or(u64::MAX),
                }));
            }
            ArrivalSource::Append { memory, asker } => {
                let uids = crate::face::UidSet::from_range(meta.uid.0..=meta.uid.0);
                let done = UserDone::Appended { folder: id, uid_validity, uids };
                if let Some(memory) = memory {
                    self.memory.remember(&memory, entries_max);
                    for echo in self.memory.settled(&memory) {
                        answer(cx, echo, Ok(done.clone()));
                    }
                }
                answer(cx, asker, Ok(done));
            }
        }
        self.notify_changed(cx, id);
    }
}

/// Counts an arrival into the assigned header.
pub fn count_arrival(folder: &mut Folder, meta: &Meta, mod_seq: ModSeq, email: EmailId) {
    let header = &mut folder.assigned;
    header.count_in(meta);
    header.mod_seq = mod_seq;
    header.log_entries = header.log_entries.saturating_add(1);
    header.email_next = header.email_next.max(email.0.saturating_add(1));
}

/// The row of a message that arrives.
#[must_use]
pub fn new_meta(
    uid: Uid,
    email: EmailId,
    mod_seq: ModSeq,
    wall: Wall,
    arriving: &Arriving,
) -> Meta {
    Meta {
        uid,
        bytes: u32::try_from(arriving.bytes()).unwrap_or(u32::MAX),
        mod_seq,
        created: mod_seq,
        unix_seconds: arriving.internal_date.unix_seconds,
        saved: wall.unix_seconds(),
        email,
        thread: thread_of(&arriving.columns, email),
        zone_minutes: arriving.internal_date.zone_minutes,
        flags: arriving.flags,
        keyworded: false,
    }
}

/// What of the description of a message does not fit beside the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apart {
    pub search: bool,
    parts: bool,
}

impl Apart {
    /// # Errors
    /// Columns longer than a value: whoever made them did not keep to their limits.
    pub fn of(arriving: &Arriving) -> Result<Self, UserError> {
        let columns = &arriving.columns;
        let texts = columns.envelope.len() + columns.body.len() + columns.structure.len();
        let search = &columns.search;
        let search = [&search.from, &search.to, &search.cc, &search.bcc, &search.subject];
        let search_bytes = search.iter().map(|column| column.len() + 4).sum::<usize>() + 16;
        let inline = match &arriving.body {
            Body::Inline(bytes) if bytes.len() <= INLINE_BYTES_MAX => bytes.len(),
            Body::Inline(bytes) if bytes.len() > LONE_BYTES_MAX => {
                return Err(UserError::Limit("the message is too long for one batch".into()));
            }
            Body::Inline(_) | Body::Blob { .. } => 0,
        };
        let fixed = inline + arriving.prefix.len() + 64;
        if texts + 16 > VALUE_BYTES_MAX
            || search_bytes > VALUE_BYTES_MAX
            || columns.parts.len() > VALUE_BYTES_MAX
            || fixed > VALUE_BYTES_MAX
        {
            return Err(UserError::Limit("the description of the message is too long".into()));
        }
        let large = arriving.bytes() >= u64::from(LARGE_BYTES);
        Ok(Self {
            search: large && texts + search_bytes + 16 > VALUE_BYTES_MAX,
            parts: large && fixed + columns.parts.len() > VALUE_BYTES_MAX,
        })
    }
}

/// Body record and columns of a message.
///
/// # Errors
/// See [`Apart::of`].
pub fn put_message(
    ops: &mut Vec<Op>,
    email: EmailId,
    arriving: &Arriving,
) -> Result<(), UserError> {
    let apart = Apart::of(arriving)?;
    put_body(ops, email, (arriving, apart));
    put_columns(ops, email, (arriving, apart));
    Ok(())
}

/// The body record of a message, and what stands beside it.
pub fn put_body(ops: &mut Vec<Op>, email: EmailId, (arriving, apart): (&Arriving, Apart)) {
    let columns = &arriving.columns;
    let extent = match &arriving.body {
        Body::Inline(bytes) if bytes.len() <= INLINE_BYTES_MAX => Extent::Inline(bytes.clone()),
        Body::Inline(bytes) => {
            let piece = |(piece, value)| Op::Put { key: keys::body_piece(email, piece), value };
            ops.extend(pieces_of(bytes).map(piece));
            Extent::Pieces { len: bytes.len() as u64 }
        }
        Body::Blob { blob, len, holders } => {
            let key = keys::blob_reference(email);
            ops.push(Op::Put { key, value: encode_blob_reference(*blob, *holders) });
            Extent::Blob { blob: *blob, offset: 0, len: *len }
        }
    };
    let parts = (!apart.parts).then_some(columns.parts.as_ref());
    let value = BodyRecord::encode(columns.header_bytes, &arriving.prefix, parts, &extent);
    ops.push(Op::Put { key: keys::body(email), value });
    if apart.parts {
        ops.push(Op::Put { key: keys::apart(email, 1), value: columns.parts.clone() });
    }
}

/// The columns of a message, in records of its own.
pub fn put_columns(ops: &mut Vec<Op>, email: EmailId, (arriving, apart): (&Arriving, Apart)) {
    let columns = &arriving.columns;
    let texts = (columns.envelope.as_ref(), columns.body.as_ref(), columns.structure.as_ref());
    let value = ColumnRecord::encode(texts, (!apart.search).then_some(&columns.search));
    ops.push(Op::Put { key: keys::columns(email), value });
    if apart.search {
        ops.push(Op::Put { key: keys::apart(email, 0), value: encode_search(&columns.search) });
    }
}

/// RFC 8474 THREADID: messages that go back to the same oldest Message-ID share it. A message without any has its own.
fn thread_of(columns: &Columns, email: EmailId) -> ThreadId {
    let oldest = columns.references.split(|&byte| byte == b' ').find(|id| !id.is_empty());
    let root = oldest.unwrap_or(columns.message_id.as_ref());
    let mut hasher = SipHasher24::new_with_keys(0, 2);
    if root.is_empty() {
        hasher.write_u64(email.0);
    } else {
        hasher.write(root);
    }
    // A client may take it for a signed number.
    ThreadId(hasher.finish() >> 1)
}

/// Hours since 1970.
fn hour_of(wall: Wall) -> u32 {
    u32::try_from(wall.unix_seconds().div_euclid(3600)).unwrap_or(0)
}

/// The date of a message that arrives now, in UTC.
#[must_use]
pub fn now(wall: Wall) -> InternalDate {
    InternalDate { unix_seconds: wall.unix_seconds(), zone_minutes: 0 }
}
