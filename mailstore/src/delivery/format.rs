//! What the delivery queue keeps in the DDS, on one route per queue.
//!
//! | key | value | written |
//! |---|---|---|
//! | `d` id | the recipients that have the message | when others must wait |
//! | `h` id | head: time, body, counts, first piece | acceptance: it exists once this does |
//! | `p` id piece | further pieces of recipients and columns | before the head |
//! | `r` id | the blob it refers to: what a sweep renews | with the head |
//! | `80` id | inline body | with the head |
//!
//! Ids and numbers in keys are big-endian. Values are records of [`crate::record`]; pieces are
//! bare. Recipients and columns are one byte string, cut into pieces. Golden bytes are tested:
//! added to and never edited.

use crate::face::{
    Acceptance, AcceptedRecipient, Body, Columns, DeliveryId, Filing, Holders, InternalDate,
    SearchColumns, SystemFlags, UserId,
};
use crate::record::{Reader, RecordError, Writer};
use crate::rules::{read_keywords, read_place, write_keywords, write_place};
use bytes::{Bytes, BytesMut};
use dds::{BlobId, RouteKey, SortKey};
use fsm::Wall;
use std::sync::Arc;

const VERSION: u8 = 1;
/// Of recipients that extensions have decided about.
const VERSION_FILED: u8 = 2;

/// The route of queue `queue`.
#[must_use]
pub fn route(queue: u32) -> RouteKey {
    RouteKey([&b"delivery"[..], &queue.to_be_bytes()].concat().into())
}

/// Which entry of an acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Done,
    Head,
    Piece,
    Blob,
    Body,
}

impl Kind {
    const fn letter(self) -> u8 {
        match self {
            Self::Done => b'd',
            Self::Head => b'h',
            Self::Piece => b'p',
            Self::Blob => b'r',
            Self::Body => SortKey::BODY_FIRST,
        }
    }

    /// The keys of this kind, for a scan.
    #[must_use]
    pub fn range(self) -> (SortKey, SortKey) {
        let letter = self.letter();
        (SortKey(Bytes::copy_from_slice(&[letter])), SortKey(Bytes::copy_from_slice(&[letter + 1])))
    }
}

/// The key of an acceptance's entry; of pieces, the key before the first.
#[must_use]
pub fn key(kind: Kind, id: DeliveryId) -> SortKey {
    let mut key = [kind.letter(); 17];
    key[1..].copy_from_slice(&id.0.to_be_bytes());
    SortKey(Bytes::copy_from_slice(&key))
}

/// The key of piece `piece`, from 1: the first stands in the head.
#[must_use]
pub fn piece_key(id: DeliveryId, piece: u32) -> SortKey {
    SortKey([&key(Kind::Piece, id).0[..], &piece.to_be_bytes()].concat().into())
}

/// The keys of all pieces of an acceptance.
#[must_use]
pub fn pieces_range(id: DeliveryId) -> (SortKey, SortKey) {
    (piece_key(id, 0), piece_key(id, u32::MAX))
}

/// The acceptance that a key belongs to.
#[must_use]
pub fn id_of(key: &SortKey) -> Option<DeliveryId> {
    let bytes: [u8; 16] = key.0.get(1..17)?.try_into().ok()?;
    Some(DeliveryId(u128::from_be_bytes(bytes)))
}

/// Where the body of an acceptance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRef {
    Inline,
    Blob { blob: BlobId, len: u64 },
}

/// What is read of every acceptance at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub accepted: Wall,
    pub body: BodyRef,
    pub recipients: u32,
    /// Pieces besides the first.
    pub pieces: u32,
    pub first_piece: Bytes,
}

impl Head {
    #[must_use]
    pub fn value(&self) -> Bytes {
        let mut writer = Writer::new(VERSION);
        writer.signed(self.accepted.0);
        match self.body {
            BodyRef::Inline => writer.byte(0),
            BodyRef::Blob { blob, len } => {
                writer.byte(1);
                writer.wide(blob.0);
                writer.number(len);
            }
        }
        writer.number(u64::from(self.recipients));
        writer.number(u64::from(self.pieces));
        writer.bytes(&self.first_piece);
        writer.finish()
    }

    /// # Errors
    /// The bytes are not a head.
    pub fn read(value: Bytes) -> Result<Self, RecordError> {
        let (_version, mut reader) = Reader::new(value, VERSION)?;
        let head = Self {
            accepted: Wall(reader.signed("accepted")?),
            body: match reader.byte("body")? {
                0 => BodyRef::Inline,
                1 => {
                    BodyRef::Blob { blob: BlobId(reader.wide("blob")?), len: reader.number("len")? }
                }
                _ => return Err(RecordError::Malformed("body")),
            },
            recipients: read_u32(&mut reader, "recipients")?,
            pieces: read_u32(&mut reader, "pieces")?,
            first_piece: reader.bytes("first piece")?,
        };
        reader.finish()?;
        Ok(head)
    }
}

fn read_u32(reader: &mut Reader, field: &'static str) -> Result<u32, RecordError> {
    u32::try_from(reader.number(field)?).map_err(|_| RecordError::Malformed(field))
}

/// The value of a `Blob` entry.
#[must_use]
pub fn blob_value(blob: BlobId) -> Bytes {
    let mut writer = Writer::new(VERSION);
    writer.wide(blob.0);
    writer.finish()
}

/// The blob that a `Blob` entry refers to.
///
/// # Errors
/// The bytes are not a reference.
pub fn read_blob(value: Bytes) -> Result<BlobId, RecordError> {
    let (_version, mut reader) = Reader::new(value, VERSION)?;
    let blob = BlobId(reader.wide("blob")?);
    reader.finish()?;
    Ok(blob)
}

/// The value of a `Done` entry: recipients by their place in the acceptance.
#[must_use]
pub fn done_value(done: &[u32]) -> Bytes {
    let mut writer = Writer::new(VERSION);
    writer.number(done.len() as u64);
    for &recipient in done {
        writer.number(u64::from(recipient));
    }
    writer.finish()
}

/// # Errors
/// The bytes are not a list of recipients.
pub fn read_done(value: Bytes) -> Result<Vec<u32>, RecordError> {
    let (_version, mut reader) = Reader::new(value, VERSION)?;
    let count = reader.count("done")?;
    let done = (0..count).map(|_| read_u32(&mut reader, "done")).collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(done)
}

/// Recipients and columns as one string of bytes.
#[must_use]
pub fn payload(acceptance: &Acceptance) -> Bytes {
    // Without decisions an earlier release can read it, too.
    let filed = acceptance.recipients.iter().any(|recipient| !recipient.filing.is_empty());
    let mut writer = Writer::new(if filed { VERSION_FILED } else { VERSION });
    write_columns(&mut writer, &acceptance.columns);
    writer.number(acceptance.recipients.len() as u64);
    for recipient in &acceptance.recipients {
        writer.number(recipient.user.0);
        writer.text(&recipient.recipient);
        writer.bytes(&recipient.prefix);
        if filed {
            let Filing { place, flags, keywords } = &recipient.filing;
            write_place(&mut writer, place.as_ref());
            writer.byte(flags.0);
            write_keywords(&mut writer, keywords);
        }
    }
    writer.finish()
}

/// What stood in the store, put together again.
#[derive(Debug)]
pub struct Stored {
    pub id: DeliveryId,
    pub head: Head,
    /// The inline body, if the head says so.
    pub body: Bytes,
    /// The further pieces, in order.
    pub pieces: Vec<Bytes>,
}

impl Stored {
    /// # Errors
    /// The pieces are not what the head promised.
    pub fn read(self) -> Result<Acceptance, RecordError> {
        let payload = if self.pieces.is_empty() {
            self.head.first_piece
        } else {
            let mut whole = BytesMut::from(&self.head.first_piece[..]);
            self.pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
            whole.freeze()
        };
        let (version, mut reader) = Reader::new(payload, VERSION_FILED)?;
        let columns = read_columns(&mut reader)?;
        let count = reader.count("recipients")?;
        if u64::from(self.head.recipients) != count as u64 {
            return Err(RecordError::Malformed("recipients"));
        }
        let recipients =
            (0..count).map(|_| read_recipient(&mut reader, version)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Acceptance {
            delivery: self.id,
            body: match self.head.body {
                BodyRef::Inline => Body::Inline(self.body),
                BodyRef::Blob { blob, len } => Body::Blob { blob, len, holders: Holders::Several },
            },
            columns: Arc::new(columns),
            recipients,
        })
    }
}

fn read_recipient(reader: &mut Reader, version: u8) -> Result<AcceptedRecipient, RecordError> {
    Ok(AcceptedRecipient {
        user: UserId(reader.number("user")?),
        recipient: reader.text("recipient")?.into(),
        prefix: reader.bytes("prefix")?,
        filing: if version < VERSION_FILED {
            Filing::default()
        } else {
            Filing {
                place: read_place(reader)?,
                flags: SystemFlags(reader.byte("flags")?),
                keywords: read_keywords(reader)?,
            }
        },
    })
}

fn write_columns(writer: &mut Writer, columns: &Columns) {
    let Columns { envelope, body, structure, parts, search, header_bytes, message_id, references } =
        columns;
    let SearchColumns { from, to, cc, bcc, subject, sent } = search;
    for column in [envelope, body, structure, parts, from, to, cc, bcc, subject] {
        writer.bytes(column);
    }
    writer.option(*sent, |writer, sent| {
        writer.signed(sent.unix_seconds);
        writer.signed(i64::from(sent.zone_minutes));
    });
    writer.number(*header_bytes);
    writer.bytes(message_id);
    writer.bytes(references);
}

fn read_columns(reader: &mut Reader) -> Result<Columns, RecordError> {
    Ok(Columns {
        envelope: reader.bytes("envelope")?,
        body: reader.bytes("body column")?,
        structure: reader.bytes("structure")?,
        parts: reader.bytes("parts")?,
        search: SearchColumns {
            from: reader.bytes("from")?,
            to: reader.bytes("to")?,
            cc: reader.bytes("cc")?,
            bcc: reader.bytes("bcc")?,
            subject: reader.bytes("subject")?,
            sent: reader.option("sent", read_date)?,
        },
        header_bytes: reader.number("header bytes")?,
        message_id: reader.bytes("message id")?,
        references: reader.bytes("references")?,
    })
}

fn read_date(reader: &mut Reader, field: &'static str) -> Result<InternalDate, RecordError> {
    let unix_seconds = reader.signed(field)?;
    let zone_minutes =
        i16::try_from(reader.signed(field)?).map_err(|_| RecordError::Malformed(field))?;
    Ok(InternalDate { unix_seconds, zone_minutes })
}
