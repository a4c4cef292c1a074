//! Sort keys of a user's route. The table is in the parent module.

use super::{BlockKind, Damaged};
use crate::face::{
    Collection, DeliveryId, EmailId, FolderId, FolderName, ModSeq, PendingId, RecordName,
    Subscriber, Uid, UserId,
};
use bytes::{BufMut, Bytes, BytesMut};
use dds::{BlobId, RouteKey, SortKey};

pub const ROOT: u8 = 0x10;
pub const FOLDER: u8 = 0x11;
pub const HEADER: u8 = 0x12;
pub const KEYWORDS: u8 = 0x13;
pub const SUBSCRIPTION: u8 = 0x14;
pub const PENDING: u8 = 0x15;
pub const TOMBSTONE: u8 = 0x16;
pub const CONDEMNED: u8 = 0x17;
pub const REFERENCES: u8 = 0x18;
pub const PACKED: u8 = 0x19;
pub const GONE: u8 = 0x1A;
pub const RESTORED: u8 = 0x1B;
pub const CURSOR: u8 = 0x1C;
pub const KEPT: u8 = 0x1D;
pub const RELEASED: u8 = 0x1E;
pub const RECORD_USAGE: u8 = 0x1F;
/// Everything below this is read when the mailbox loads.
pub const SMALL_END: u8 = 0x20;
pub const SEGMENT: u8 = 0x20;
pub const LOG: u8 = 0x21;
pub const VANISHED: u8 = 0x22;
pub const STAGED: u8 = 0x23;
pub const RECORD: u8 = 0x24;
pub const COLUMNS: u8 = 0x30;
pub const APART: u8 = 0x31;
pub const BLOCK: u8 = 0x32;
pub const MEMORY: u8 = 0x40;
pub const BLOB: u8 = 0x41;
const BODY: u8 = 0x80;
const BODY_PIECE: u8 = 0x81;

/// A range of keys, the end left out.
pub type KeyRange = (SortKey, SortKey);

/// The route of a user's mail.
#[must_use]
pub fn route(user: UserId) -> RouteKey {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(b'u');
    key.put_u64(user.0);
    RouteKey(key.freeze())
}

/// The user of a route; `None`: it is another's.
#[must_use]
pub fn user_of(route: &RouteKey) -> Option<UserId> {
    let user = route.0.strip_prefix(b"u").and_then(|rest| <[u8; 8]>::try_from(rest).ok());
    user.map(|user| UserId(u64::from_be_bytes(user)))
}

fn key(kind: u8, fill: impl FnOnce(&mut BytesMut)) -> SortKey {
    let mut key = BytesMut::with_capacity(32);
    key.put_u8(kind);
    fill(&mut key);
    SortKey(key.freeze())
}

/// The key that is `kind` alone.
#[must_use]
pub fn lone(kind: u8) -> SortKey {
    SortKey(Bytes::copy_from_slice(&[kind]))
}

#[must_use]
pub fn of_folder(kind: u8, folder: FolderId) -> SortKey {
    key(kind, |key| key.put_u32(folder.0))
}

#[must_use]
pub fn subscription(name: &FolderName) -> SortKey {
    key(SUBSCRIPTION, |key| key.put_slice(name.as_str().as_bytes()))
}

#[must_use]
pub fn pending(pending: PendingId) -> SortKey {
    key(PENDING, |key| key.put_u64(pending.0))
}

#[must_use]
pub fn condemned(mod_seq: ModSeq, part: u16) -> SortKey {
    key(CONDEMNED, |key| {
        key.put_u64(mod_seq.0);
        key.put_u16(part);
    })
}

#[must_use]
pub fn references(page: u64) -> SortKey {
    key(REFERENCES, |key| key.put_u64(page))
}

#[must_use]
pub fn gone(block: u64) -> SortKey {
    key(GONE, |key| key.put_u64(block))
}

#[must_use]
pub fn segment(folder: FolderId, base: Uid) -> SortKey {
    key(SEGMENT, |key| {
        key.put_u32(folder.0);
        key.put_u32(base.0);
    })
}

/// All segments of a folder.
#[must_use]
pub fn segments(folder: FolderId) -> KeyRange {
    (segment(folder, Uid(0)), behind(key(SEGMENT, |key| key.put_u32(folder.0))))
}

#[must_use]
pub fn log(folder: FolderId, mod_seq: ModSeq, part: u16) -> SortKey {
    folder_log(LOG, folder, mod_seq, part)
}

#[must_use]
pub fn vanished(folder: FolderId, mod_seq: ModSeq, part: u16) -> SortKey {
    folder_log(VANISHED, folder, mod_seq, part)
}

fn folder_log(kind: u8, folder: FolderId, mod_seq: ModSeq, part: u16) -> SortKey {
    key(kind, |key| {
        key.put_u32(folder.0);
        key.put_u64(mod_seq.0);
        key.put_u16(part);
    })
}

/// Log entries of a folder, `from` and behind.
#[must_use]
pub fn log_from(folder: FolderId, from: ModSeq) -> KeyRange {
    (log(folder, from, 0), behind(key(LOG, |key| key.put_u32(folder.0))))
}

/// Log entries of a folder up to `to`, that included.
#[must_use]
pub fn log_up_to(folder: FolderId, to: ModSeq) -> KeyRange {
    (log(folder, ModSeq(0), 0), log(folder, ModSeq(to.0.saturating_add(1)), 0))
}

#[must_use]
pub fn vanished_from(folder: FolderId, from: ModSeq) -> KeyRange {
    (vanished(folder, from, 0), behind(key(VANISHED, |key| key.put_u32(folder.0))))
}

/// Vanished records of a folder up to `to`, that included.
#[must_use]
pub fn vanished_up_to(folder: FolderId, to: ModSeq) -> KeyRange {
    (vanished(folder, ModSeq(0), 0), vanished(folder, ModSeq(to.0.saturating_add(1)), 0))
}

#[must_use]
pub fn staged(pending: PendingId, index: u32) -> SortKey {
    key(STAGED, |key| {
        key.put_u64(pending.0);
        key.put_u32(index);
    })
}

/// All staged rows of a pending set.
#[must_use]
pub fn staged_all(pending: PendingId) -> KeyRange {
    (staged(pending, 0), behind(key(STAGED, |key| key.put_u64(pending.0))))
}

#[must_use]
pub fn columns(email: EmailId) -> SortKey {
    key(COLUMNS, |key| key.put_u64(email.0))
}

/// What did not fit beside the others: part 0 search columns, part 1 the part table.
#[must_use]
pub fn apart(email: EmailId, part: u8) -> SortKey {
    key(APART, |key| {
        key.put_u64(email.0);
        key.put_u8(part);
    })
}

#[must_use]
pub fn apart_all(email: EmailId) -> KeyRange {
    (apart(email, 0), apart(email, u8::MAX))
}

#[must_use]
pub fn block(kind: BlockKind, block: u64) -> SortKey {
    key(BLOCK, |key| {
        key.put_u8(kind as u8);
        key.put_u64(block);
    })
}

/// The parts of a block's key.
///
/// # Errors
/// When it is none.
pub fn parse_block(key: &SortKey) -> Result<(BlockKind, u64), Damaged> {
    let damaged = Damaged("key of a block");
    let (kind, number) = key.0.get(1..).and_then(<[u8]>::split_first).ok_or(damaged)?;
    let kind = BlockKind::ALL.into_iter().find(|it| *it as u8 == *kind).ok_or(damaged)?;
    let number = <[u8; 8]>::try_from(number).map_err(|_| damaged)?;
    Ok((kind, u64::from_be_bytes(number)))
}

/// The delivery memory: by hour, so that it is pruned from the front.
#[must_use]
pub fn memory(hour: u32, delivery: DeliveryId, recipient: u64) -> SortKey {
    key(MEMORY, |key| {
        key.put_u32(hour);
        key.put_u128(delivery.0);
        key.put_u64(recipient);
    })
}

/// All of the delivery memory from `hour` on.
#[must_use]
pub fn memory_from(hour: u32) -> KeyRange {
    (key(MEMORY, |key| key.put_u32(hour)), lone(MEMORY + 1))
}

/// All of the delivery memory before `hour`.
#[must_use]
pub fn memory_before(hour: u32) -> KeyRange {
    (lone(MEMORY), key(MEMORY, |key| key.put_u32(hour)))
}

/// The parts of a delivery memory key.
///
/// # Errors
/// When it is none.
pub fn parse_memory(key: &SortKey) -> Result<(u32, DeliveryId, u64), Damaged> {
    let damaged = Damaged("delivery memory key");
    let rest = key.0.strip_prefix(&[MEMORY]).ok_or(damaged)?;
    let (hour, rest) = rest.split_first_chunk::<4>().ok_or(damaged)?;
    let (delivery, rest) = rest.split_first_chunk::<16>().ok_or(damaged)?;
    let recipient = <[u8; 8]>::try_from(rest).map_err(|_| damaged)?;
    Ok((
        u32::from_be_bytes(*hour),
        DeliveryId(u128::from_be_bytes(*delivery)),
        u64::from_be_bytes(recipient),
    ))
}

#[must_use]
pub fn blob_reference(email: EmailId) -> SortKey {
    key(BLOB, |key| key.put_u64(email.0))
}

/// All references of a user to blobs: what a sweep renews. [`super::decode_blob_reference`] reads the values.
#[must_use]
pub fn blob_references() -> KeyRange {
    (lone(BLOB), lone(BLOB + 1))
}

#[must_use]
pub fn cursor(subscriber: &Subscriber) -> SortKey {
    key(CURSOR, |key| key.put_slice(subscriber.as_str().as_bytes()))
}

/// The subscriber of a cursor.
///
/// # Errors
/// When it is none.
pub fn parse_cursor(key: &SortKey) -> Result<Subscriber, Damaged> {
    let name = key.0.get(1..).and_then(|name| std::str::from_utf8(name).ok());
    name.and_then(Subscriber::new).ok_or(Damaged("cursor key"))
}

#[must_use]
pub fn record(collection: Collection, name: &RecordName) -> SortKey {
    key(RECORD, |key| {
        key.put_u8(collection as u8);
        key.put_slice(name.as_str().as_bytes());
    })
}

/// All records of a collection.
#[must_use]
pub fn records(collection: Collection) -> KeyRange {
    let first = key(RECORD, |key| key.put_u8(collection as u8));
    (first.clone(), behind(first))
}

/// The parts of a record's key.
///
/// # Errors
/// When it is none.
pub fn parse_record(key: &SortKey) -> Result<(u8, RecordName), Damaged> {
    let (collection, name) = key.0.get(1..).and_then(<[u8]>::split_first).ok_or(DAMAGED_RECORD)?;
    let name = std::str::from_utf8(name).ok().and_then(RecordName::new).ok_or(DAMAGED_RECORD)?;
    Ok((*collection, name))
}

const DAMAGED_RECORD: Damaged = Damaged("key of a record");

/// The folder of a log key.
#[must_use]
pub fn folder_of_log(key: &SortKey) -> Option<FolderId> {
    let (folder, _) = key.0.strip_prefix(&[LOG])?.split_first_chunk::<4>()?;
    Some(FolderId(u32::from_be_bytes(*folder)))
}

#[must_use]
pub fn released(blob: BlobId) -> SortKey {
    key(RELEASED, |key| key.put_u128(blob.0))
}

/// The blob of a released key.
///
/// # Errors
/// When it is none.
pub fn parse_released(key: &SortKey) -> Result<BlobId, Damaged> {
    let rest = key.0.get(1..).and_then(|rest| <[u8; 16]>::try_from(rest).ok());
    rest.map(|rest| BlobId(u128::from_be_bytes(rest))).ok_or(Damaged("released key"))
}

#[must_use]
pub fn body(email: EmailId) -> SortKey {
    key(BODY, |key| key.put_u64(email.0))
}

/// Body records from `email` on. [`parse_u64`] reads their keys.
#[must_use]
pub fn bodies_from(email: EmailId) -> KeyRange {
    (body(email), lone(BODY + 1))
}

/// A piece of a body that is kept in pieces.
#[must_use]
pub fn body_piece(email: EmailId, piece: u16) -> SortKey {
    key(BODY_PIECE, |key| {
        key.put_u64(email.0);
        key.put_u16(piece);
    })
}

/// Everything the user has but bodies, and the bodies.
#[must_use]
pub fn everything() -> [KeyRange; 2] {
    [(lone(1), lone(BODY)), (lone(BODY), lone(u8::MAX))]
}

/// What is read when the mailbox loads.
#[must_use]
pub fn small() -> KeyRange {
    (lone(ROOT), lone(SMALL_END))
}

/// The least key that does not begin with `prefix`.
#[must_use]
pub fn behind(prefix: SortKey) -> SortKey {
    let mut key = prefix.0.to_vec();
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            break;
        }
    }
    SortKey(key.into())
}

/// The least key above `key`.
#[must_use]
pub fn next(key: &SortKey) -> SortKey {
    let mut bytes = BytesMut::with_capacity(key.0.len() + 1);
    bytes.put_slice(&key.0);
    bytes.put_u8(0);
    SortKey(bytes.freeze())
}

/// The big-endian number behind the first byte of a key.
///
/// # Errors
/// When the key is of another length.
pub fn parse_u32(key: &SortKey) -> Result<u32, Damaged> {
    let rest = key.0.get(1..).and_then(|rest| <[u8; 4]>::try_from(rest).ok());
    rest.map(u32::from_be_bytes).ok_or(Damaged("key of a folder"))
}

/// As [`parse_u32`], 64 bits.
///
/// # Errors
/// When the key is of another length.
pub fn parse_u64(key: &SortKey) -> Result<u64, Damaged> {
    let rest = key.0.get(1..).and_then(|rest| <[u8; 8]>::try_from(rest).ok());
    rest.map(u64::from_be_bytes).ok_or(Damaged("key with a number"))
}

/// The UID a segment key names.
///
/// # Errors
/// When it is none.
pub fn parse_segment(key: &SortKey) -> Result<Uid, Damaged> {
    let rest = key.0.get(5..).and_then(|rest| <[u8; 4]>::try_from(rest).ok());
    rest.map(|rest| Uid(u32::from_be_bytes(rest))).ok_or(Damaged("segment key"))
}

/// The MODSEQ and part of a log or vanished key.
///
/// # Errors
/// When it is none.
pub fn parse_log(key: &SortKey) -> Result<(ModSeq, u16), Damaged> {
    let damaged = Damaged("log key");
    let rest = key.0.get(5..).ok_or(damaged)?;
    let (mod_seq, part) = rest.split_first_chunk::<8>().ok_or(damaged)?;
    let part = <[u8; 2]>::try_from(part).map_err(|_| damaged)?;
    Ok((ModSeq(u64::from_be_bytes(*mod_seq)), u16::from_be_bytes(part)))
}

/// The MODSEQ and part of a condemned key.
///
/// # Errors
/// When it is none.
pub fn parse_condemned(key: &SortKey) -> Result<(ModSeq, u16), Damaged> {
    let damaged = Damaged("condemned key");
    let rest = key.0.get(1..).ok_or(damaged)?;
    let (mod_seq, part) = rest.split_first_chunk::<8>().ok_or(damaged)?;
    let part = <[u8; 2]>::try_from(part).map_err(|_| damaged)?;
    Ok((ModSeq(u64::from_be_bytes(*mod_seq)), u16::from_be_bytes(part)))
}
