//! One user's mail: folders with their rows after replaying the log, and the bodies they name.

use super::cursor::{Cursor, Unreadable, big_endian};
use super::image::{Image, Route};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A message in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedRow {
    pub email: u64,
    pub mod_seq: u64,
    pub bytes: u64,
    pub flags: u8,
    pub keywords: u128,
}

/// A folder as its log leaves it.
#[derive(Clone, Debug, Default)]
pub struct DecodedFolder {
    pub id: u32,
    pub name: String,
    pub uid_validity: u32,
    pub rows: BTreeMap<u32, DecodedRow>,
    pub keywords: Vec<String>,
    pub header: DecodedHeader,
}

/// The header of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecodedHeader {
    pub uid_next: u32,
    pub messages: u32,
    pub unseen: u32,
    pub deleted: u32,
    pub keywords: u32,
    pub bytes: u64,
    pub deleted_bytes: u64,
    pub mod_seq: u64,
    pub folded: u64,
}

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub struct DecodedUser {
    pub folders: Vec<DecodedFolder>,
    /// Whole texts by EMAILID; `None` when something of it is missing.
    pub texts: BTreeMap<u64, Option<Vec<u8>>>,
    /// Blobs that bodies name, and those that the references name.
    pub blobs: BTreeSet<u128>,
    pub referenced: BTreeSet<u128>,
    /// Of these, the ones that no other mailbox may refer to.
    pub alone: BTreeSet<u128>,
    /// Blobs that are to be deleted, for nobody refers to them.
    pub released: BTreeSet<u128>,
    /// EMAILIDs of pending sets.
    pub staged: BTreeSet<u64>,
    /// Restorations that the mailbox was raised for, and the MODSEQ that all rows have at least.
    pub steps: u32,
    pub floor: u64,
    /// There was no restoration since.
    pub is_raised: bool,
    /// EMAILIDs that wait for removal.
    pub condemned: BTreeSet<u64>,
}

/// Reads all that the user numbered `user` has.
///
/// # Errors
/// A record of another form.
pub fn decode_user(image: &Image, user: u64) -> Result<DecodedUser, Unreadable> {
    let route: Bytes = [&b"u"[..], &user.to_be_bytes()].concat().into();
    let Some(route) = image.routes.get(&route) else { return Ok(DecodedUser::default()) };
    let mut decoded = DecodedUser::default();
    for (_, value) in of_kind(route, 0x1B) {
        (decoded.steps, decoded.floor) = restored(value)?;
    }
    for (key, value) in of_kind(route, 0x11) {
        let id = u32_in(key, 1);
        let mut folder = folder(route, id, value)?;
        for row in folder.rows.values_mut() {
            row.mod_seq = row.mod_seq.max(decoded.floor);
        }
        decoded.folders.push(folder);
    }
    for (_, value) in of_kind(route, 0x17) {
        condemned(value, &mut decoded.condemned)?;
    }
    for (_, value) in of_kind(route, 0x23) {
        decoded.staged.extend(rows(value, "staged rows")?.into_values().map(|(row, _)| row.email));
    }
    for (_, value) in of_kind(route, 0x41) {
        let mut cursor = Cursor::versioned(value, "blob reference")?;
        let blob = cursor.wide()?;
        decoded.referenced.insert(blob);
        if cursor.end().is_err() {
            if cursor.byte()? != 1 {
                return Err(Unreadable("holders of a blob".to_owned()));
            }
            cursor.end()?;
            decoded.alone.insert(blob);
        }
    }
    for (key, _) in of_kind(route, 0x1E) {
        decoded.released.insert(big_endian(&key[1..]));
    }
    for (key, value) in of_kind(route, 0x80) {
        let email = u64_in(key, 1);
        let text = text(image, (route, email), value, &mut decoded.blobs)?;
        decoded.texts.insert(email, text);
    }
    for (key, _) in of_kind(route, 0x81) {
        if !decoded.texts.contains_key(&u64_in(key, 1)) {
            return Err(Unreadable(format!("a piece of a body that is gone: {key:?}")));
        }
    }
    Ok(decoded)
}

fn of_kind(route: &Route, kind: u8) -> impl Iterator<Item = (&Bytes, &Bytes)> {
    route.iter().filter(move |(key, _)| key.first() == Some(&kind))
}

fn u32_in(key: &Bytes, at: usize) -> u32 {
    key.get(at..at + 4).map_or(0, |bytes| u32::try_from(big_endian(bytes)).unwrap_or(0))
}

fn u64_in(key: &Bytes, at: usize) -> u64 {
    key.get(at..at + 8).map_or(0, |bytes| u64::try_from(big_endian(bytes)).unwrap_or(0))
}

fn folder(route: &Route, id: u32, value: &Bytes) -> Result<DecodedFolder, Unreadable> {
    let mut cursor = Cursor::versioned(value, "folder record")?;
    let name = String::from_utf8_lossy(cursor.bytes()?).into_owned();
    let uid_validity = cursor.number32()?;
    if cursor.byte()? > 6 {
        return cursor.fail("special use");
    }
    cursor.end()?;
    let key = |kind: u8| Bytes::from([&[kind][..], &id.to_be_bytes()].concat());
    let Some(stored) = route.get(&key(0x12)) else { return cursor.fail("header is missing") };
    let header = header(stored)?;
    let keywords = match route.get(&key(0x13)) {
        Some(stored) => keyword_table(stored)?,
        None => Vec::new(),
    };
    let mut folder =
        DecodedFolder { id, name, uid_validity, rows: BTreeMap::new(), keywords, header };
    replay(route, &mut folder)?;
    Ok(folder)
}

fn header(value: &Bytes) -> Result<DecodedHeader, Unreadable> {
    let mut cursor = Cursor::versioned(value, "folder header")?;
    let mut small = [0_u32; 8];
    for number in &mut small {
        *number = cursor.number32()?;
    }
    let mut large = [0_u64; 7];
    for number in &mut large {
        *number = cursor.number()?;
    }
    cursor.end()?;
    Ok(DecodedHeader {
        uid_next: small[0],
        messages: small[1],
        unseen: small[2],
        deleted: small[3],
        keywords: small[6],
        bytes: large[0],
        deleted_bytes: large[1],
        mod_seq: large[2],
        folded: large[4],
    })
}

/// Steps and floor.
fn restored(value: &Bytes) -> Result<(u32, u64), Unreadable> {
    let mut cursor = Cursor::versioned(value, "record of a restoration")?;
    let steps = cursor.number32()?;
    let _micros = cursor.number()?;
    let floor = cursor.number()?;
    for _ in 0..cursor.number()? {
        let (_first, _end) = (cursor.number()?, cursor.number()?);
    }
    cursor.end()?;
    Ok((steps, floor))
}

fn keyword_table(value: &Bytes) -> Result<Vec<String>, Unreadable> {
    let mut cursor = Cursor::versioned(value, "keyword table")?;
    let count = cursor.number()?;
    let mut keywords = Vec::new();
    for _ in 0..count {
        keywords.push(String::from_utf8_lossy(cursor.bytes()?).into_owned());
    }
    cursor.end()?;
    Ok(keywords)
}

/// Segments, then the log, then what vanished.
fn replay(route: &Route, folder: &mut DecodedFolder) -> Result<(), Unreadable> {
    let mine = |key: &&Bytes| u32_in(key, 1) == folder.id;
    let mut table = BTreeMap::new();
    for (_, value) in of_kind(route, 0x20).filter(|(key, _)| mine(key)) {
        for (uid, (row, _)) in rows(value, "segment")? {
            if table.insert(uid, row).is_some() {
                return Err(Unreadable(format!("UID {uid} stands in two segments")));
            }
        }
    }
    for (key, value) in of_kind(route, 0x21).filter(|(key, _)| mine(key)) {
        // Kept for readers of the event log.
        if u64_in(key, 5) <= folder.header.folded {
            continue;
        }
        log_entry(route, u64_in(key, 5), value, &mut table)?;
    }
    for (key, value) in of_kind(route, 0x22).filter(|(key, _)| mine(key)) {
        if u64_in(key, 5) <= folder.header.folded {
            continue;
        }
        let mut cursor = Cursor::versioned(value, "vanished record")?;
        for uid in uids(&mut cursor)? {
            table.remove(&uid);
        }
        cursor.end()?;
    }
    folder.rows = table;
    Ok(())
}

type Rows = BTreeMap<u32, (DecodedRow, u64)>;

fn log_entry(
    route: &Route,
    mod_seq: u64,
    value: &Bytes,
    table: &mut BTreeMap<u32, DecodedRow>,
) -> Result<(), Unreadable> {
    let mut cursor = Cursor::versioned(value, "log entry")?;
    match cursor.byte()? {
        1 => {
            for (uid, (row, _)) in rows_of(&mut cursor)? {
                table.entry(uid).or_insert(row);
            }
        }
        2 => {
            let (change, system, keywords) = (cursor.byte()?, cursor.byte()?, cursor.wide()?);
            for uid in uids(&mut cursor)? {
                let Some(row) = table.get_mut(&uid).filter(|row| row.mod_seq < mod_seq) else {
                    continue;
                };
                match change {
                    0 => {
                        row.flags |= system;
                        row.keywords |= keywords;
                    }
                    1 => {
                        row.flags &= !system;
                        row.keywords &= !keywords;
                    }
                    2 => {
                        row.flags = system;
                        row.keywords = keywords;
                    }
                    _ => return cursor.fail("change"),
                }
                row.mod_seq = mod_seq;
            }
        }
        3 => {
            let (pending, first, count) =
                (cursor.number()?, cursor.number32()?, cursor.number32()?);
            let mut uid = first;
            for (key, value) in of_kind(route, 0x23).filter(|(key, _)| u64_in(key, 1) == pending) {
                debug_assert!(key.len() >= 9);
                for (row, _) in rows(value, "adopted rows")?.into_values() {
                    if uid - first < count {
                        table.entry(uid).or_insert(DecodedRow { mod_seq, ..row });
                        uid += 1;
                    }
                }
            }
        }
        _ => return cursor.fail("kind"),
    }
    cursor.end()
}

fn rows(value: &Bytes, what: &'static str) -> Result<Rows, Unreadable> {
    let mut cursor = Cursor::versioned(value, what)?;
    let rows = rows_of(&mut cursor)?;
    cursor.end()?;
    Ok(rows)
}

/// Rows, each relative to the one before; with each its MODSEQ of arrival.
fn rows_of(cursor: &mut Cursor<'_>) -> Result<Rows, Unreadable> {
    let count = cursor.number()?;
    let mut rows = Rows::new();
    let (mut uid, mut created, mut saved, mut email) = (0_u32, 0_u64, 0_i64, 0_u64);
    for _ in 0..count {
        let mark = cursor.byte()?;
        uid = uid.wrapping_add(cursor.number32()?);
        created = created.wrapping_add_signed(cursor.signed()?);
        let mod_seq = created.wrapping_add(cursor.number()?);
        saved = saved.wrapping_add(cursor.signed()?);
        let _date = saved.wrapping_add(cursor.signed()?);
        let _zone = cursor.signed()?;
        let bytes = cursor.number()?;
        email = email.wrapping_add_signed(cursor.signed()?);
        let _thread = cursor.fixed()?;
        let keywords = if mark & 0x80 == 0 { 0 } else { cursor.wide()? };
        let row = DecodedRow { email, mod_seq, bytes, flags: mark & 0x7F, keywords };
        if rows.insert(uid, (row, created)).is_some() {
            return cursor.fail("a UID stands twice");
        }
    }
    Ok(rows)
}

fn uids(cursor: &mut Cursor<'_>) -> Result<BTreeSet<u32>, Unreadable> {
    let mut uids = BTreeSet::new();
    match cursor.byte()? {
        0 => {
            let count = cursor.number()?;
            let mut last = 0_u32;
            for _ in 0..count {
                let first = last.wrapping_add(cursor.number32()?);
                last = first.wrapping_add(cursor.number32()?);
                uids.extend(first..=last);
            }
        }
        1 => {
            let first = cursor.number32()?;
            for (byte, base) in cursor.bytes()?.iter().zip((0_u32..).step_by(8)) {
                uids.extend(
                    (0..8).filter(|bit| byte >> bit & 1 == 1).map(|bit| first + base + bit),
                );
            }
        }
        _ => return cursor.fail("UID set"),
    }
    Ok(uids)
}

fn condemned(value: &Bytes, out: &mut BTreeSet<u64>) -> Result<(), Unreadable> {
    let mut cursor = Cursor::versioned(value, "condemned record")?;
    let count = cursor.number()?;
    let mut mark = 0_u64;
    for _ in 0..count {
        mark = mark.wrapping_add(cursor.number()?);
        out.insert(mark / 2);
    }
    cursor.end()
}

/// The records of a body that is kept in pieces of 61,440 bytes, if they have the length they should.
fn pieces(route: &Route, email: u64, len: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for piece in 0..len.div_ceil(61_440) {
        let number = u16::try_from(piece).ok()?.to_be_bytes();
        let key = [&[0x81][..], &email.to_be_bytes(), &number].concat();
        bytes.extend_from_slice(route.get(&key[..])?);
    }
    (bytes.len() as u64 == len).then_some(bytes)
}

/// Prefix and extents in one piece; the blobs named are added to `blobs`.
fn text(
    image: &Image,
    (route, email): (&Route, u64),
    value: &Bytes,
    blobs: &mut BTreeSet<u128>,
) -> Result<Option<Vec<u8>>, Unreadable> {
    let mut cursor = Cursor::versioned(value, "body record")?;
    let _header_bytes = cursor.number()?;
    let prefix_len = cursor.length()?;
    let table_len = cursor.length()?.saturating_sub(1);
    let count = cursor.number()?;
    enum Extent {
        Inline(u64),
        Blob(u128, u64, u64),
        Pieces(u64),
    }
    let mut extents = Vec::new();
    for _ in 0..count {
        extents.push(match cursor.byte()? {
            0 => Extent::Inline(cursor.number()?),
            1 => Extent::Blob(cursor.wide()?, cursor.number()?, cursor.number()?),
            2 => Extent::Pieces(cursor.number()?),
            _ => return cursor.fail("extent"),
        });
    }
    cursor.take(table_len)?;
    let mut text = cursor.take(prefix_len)?.to_vec();
    let mut whole = true;
    for extent in extents {
        match extent {
            Extent::Inline(len) => {
                let len = usize::try_from(len).or_else(|_| cursor.fail("extent"))?;
                text.extend_from_slice(cursor.take(len)?);
            }
            Extent::Pieces(len) => match pieces(route, email, len) {
                Some(bytes) => text.extend_from_slice(&bytes),
                None => whole = false,
            },
            Extent::Blob(blob, offset, len) => {
                blobs.insert(blob);
                match image.blob_range(blob, offset, len) {
                    Some(bytes) => text.extend_from_slice(&bytes),
                    None => whole = false,
                }
            }
        }
    }
    cursor.end()?;
    Ok(whole.then_some(text))
}
