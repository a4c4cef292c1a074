//! What replicas tell each other: payloads of [`super::Channel::Replication`] and [`super::Channel::Bulk`].

use super::bounds::{Physical, at_most, number, page_index, partition};
use super::items::{Items, Shape};
use super::{Decoded, Malformed, wire};
use crate::replica::{Body, Entry, LOOK_BYTES_MAX, Mark, Message, Page, Round, Seen, Slice, Stand};
use crate::{Column, GroupVersion, Limits, PageSum, PartitionId, StoreOp};
use bytes::Bytes;
use std::sync::Arc;
use wire::OperationKind as Kind;
use wire::looked::Seen as WireSeen;
use wire::partition_message::Body as Wire;

pub(super) const MESSAGES: u32 = 1;

const ENTRY: Shape = Shape(&[(6, &Shape::LEAF)]);
const ENTRIES: Shape = Shape(&[(1, &ENTRY)]);
const PLAIN: Shape = Shape(&[(1, &Shape::LEAF)]);
const PAGE: Shape = Shape(&[(2, &Shape::LEAF)]);
const MESSAGE: Shape =
    Shape(&[(12, &ENTRIES), (15, &ENTRIES), (17, &PLAIN), (18, &PLAIN), (21, &PAGE)]);

/// One item of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMessage {
    pub partition: PartitionId,
    /// An error concerns this partition alone.
    pub message: Result<Message, Malformed>,
}

#[must_use]
pub fn encode_message(partition: PartitionId, message: &Message) -> wire::PartitionMessage {
    wire::PartitionMessage {
        partition: partition.0.into(),
        version: message.version.0,
        round: message.round.0,
        body: Some(wire_body(&message.body)),
    }
}

/// # Errors
/// When the bytes are no list of messages to partitions.
pub fn decode_packet(payload: Bytes, limits: &Limits) -> Decoded<Vec<PartitionMessage>> {
    let mut items = Items::new(payload);
    let mut messages = Vec::new();
    while let Some((tag, bytes)) = items.next()? {
        if tag == MESSAGES {
            let record: wire::PartitionMessage = items.read(bytes, &MESSAGE, "packet")?;
            let partition = partition(record.partition)?;
            let message = message(record, &Physical::new(partition, limits));
            messages.push(PartitionMessage { partition, message });
        }
    }
    Ok(messages)
}

fn message(record: wire::PartitionMessage, physical: &Physical) -> Decoded<Message> {
    let body = record.body.ok_or(Malformed("body of an unknown kind"))?;
    Ok(Message {
        version: GroupVersion(number(record.version)?),
        round: Round(record.round),
        body: body_of(body, physical)?,
    })
}

fn wire_body(body: &Body) -> Wire {
    match body {
        Body::Join => Wire::Join(true),
        Body::Stand(stand) => Wire::Stand(wire_stand(stand)),
        Body::Append { entries, decided } => {
            Wire::Append(wire::Append { entries: wire_entries(entries), decided: *decided })
        }
        Body::Appended { through, decided } => {
            Wire::Appended(wire::Appended { through: *through, decided: *decided })
        }
        Body::Fetch { after } => Wire::Fetch(*after),
        Body::Fetched { entries } => {
            Wire::Fetched(wire::Fetched { entries: wire_entries(entries) })
        }
        Body::DropTail { last } => Wire::DropTail(wire_mark(*last)),
        Body::FetchBodies { keys } => Wire::FetchBodies(wire::FetchBodies { keys: keys.clone() }),
        Body::Bodies { values } => {
            let value = |(key, value): &(Bytes, Option<Bytes>)| wire::BodyValue {
                key: key.clone(),
                value: value.clone(),
            };
            Wire::Bodies(wire::Bodies { values: values.iter().map(value).collect() })
        }
        Body::Fill { mark } => Wire::Fill(wire_mark(*mark)),
        Body::Filled { mark, index } => Wire::Filled(wire_place(*mark, *index)),
        Body::Page { mark, page } => Wire::Page(wire_page(*mark, page)),
        Body::Apart => Wire::Apart(true),
        Body::Failed => Wire::Failed(true),
        Body::Damaged => Wire::Damaged(true),
        Body::Look(slice) => Wire::Look(wire_slice(slice)),
        Body::Looked { id, seen } => {
            Wire::Looked(wire::Looked { id: *id, seen: Some(wire_seen(seen)) })
        }
        Body::Doubt => Wire::Doubt(true),
    }
}

fn body_of(body: Wire, physical: &Physical) -> Decoded<Body> {
    Ok(match body {
        Wire::Join(_) => Body::Join,
        Wire::Stand(record) => Body::Stand(stand(record)?),
        Wire::Append(record) => Body::Append {
            entries: entries(record.entries, physical)?,
            decided: number(record.decided)?,
        },
        Wire::Appended(record) => {
            Body::Appended { through: number(record.through)?, decided: number(record.decided)? }
        }
        Wire::Fetch(after) => Body::Fetch { after: number(after)? },
        Wire::Fetched(record) => Body::Fetched { entries: entries(record.entries, physical)? },
        Wire::DropTail(record) => Body::DropTail { last: mark(Some(record))? },
        Wire::FetchBodies(record) => {
            let keys = record.keys.into_iter().map(|key| physical.key(key));
            Body::FetchBodies { keys: keys.collect::<Decoded<_>>()? }
        }
        Wire::Bodies(record) => {
            let value = |record: wire::BodyValue| {
                let value = record.value.map(|value| physical.value(value)).transpose()?;
                Ok((physical.key(record.key)?, value))
            };
            let values = record.values.into_iter().map(value);
            Body::Bodies { values: values.collect::<Decoded<_>>()? }
        }
        Wire::Fill(record) => Body::Fill { mark: mark(Some(record))? },
        Wire::Filled(record) => {
            let (mark, index) = place(Some(record))?;
            Body::Filled { mark, index }
        }
        Wire::Page(record) => page(record, physical)?,
        Wire::Apart(_) => Body::Apart,
        Wire::Failed(_) => Body::Failed,
        Wire::Damaged(_) => Body::Damaged,
        Wire::Look(record) => Body::Look(slice(record, physical)?),
        Wire::Looked(record) => {
            let seen = record.seen.ok_or(Malformed("answer of an unknown kind"))?;
            Body::Looked { id: record.id, seen: seen_of(seen, physical)? }
        }
        Wire::Doubt(_) => Body::Doubt,
    })
}

fn wire_mark(mark: Mark) -> wire::Mark {
    wire::Mark { number: mark.number, hash: mark.hash }
}

fn mark(record: Option<wire::Mark>) -> Decoded<Mark> {
    let record = record.ok_or(Malformed("mark"))?;
    Ok(Mark { number: number(record.number)?, hash: record.hash })
}

fn wire_place(mark: Mark, index: u32) -> wire::Place {
    wire::Place { mark: Some(wire_mark(mark)), index }
}

fn place(record: Option<wire::Place>) -> Decoded<(Mark, u32)> {
    let record = record.ok_or(Malformed("place"))?;
    Ok((mark(record.mark)?, page_index(record.index)?))
}

fn wire_stand(stand: &Stand) -> wire::Stand {
    wire::Stand {
        last: Some(wire_mark(stand.last)),
        applied: Some(wire_mark(stand.applied)),
        whole: stand.whole,
        filling: stand.filling.map(|(mark, index)| wire_place(mark, index)),
    }
}

fn stand(record: wire::Stand) -> Decoded<Stand> {
    Ok(Stand {
        last: mark(record.last)?,
        applied: mark(record.applied)?,
        whole: record.whole,
        filling: record.filling.map(|filling| place(Some(filling))).transpose()?,
    })
}

fn wire_page(mark: Mark, page: &Page) -> wire::Page {
    let entry = |(column, key, value): &(Column, Bytes, Bytes)| wire::PageEntry {
        column: wire_column(*column).into(),
        key: key.clone(),
        value: value.clone(),
    };
    wire::Page {
        place: Some(wire_place(mark, page.index)),
        entries: page.entries.iter().map(entry).collect(),
        last: page.last,
    }
}

fn page(record: wire::Page, physical: &Physical) -> Decoded<Body> {
    let (mark, index) = place(record.place)?;
    let entry = |record: wire::PageEntry| {
        let column = Physical::data_column(column(record.column)?)?;
        Ok((column, physical.key(record.key)?, physical.value(record.value)?))
    };
    let entries = record.entries.into_iter().map(entry).collect::<Decoded<_>>()?;
    Ok(Body::Page { mark, page: Page { index, entries, last: record.last } })
}

fn wire_slice(slice: &Slice) -> wire::Look {
    let Slice { id, at, column, ref after, bytes_max } = *slice;
    wire::Look { id, at, column: wire_column(column).into(), after: after.clone(), bytes_max }
}

fn slice(record: wire::Look, physical: &Physical) -> Decoded<Slice> {
    at_most(record.bytes_max as usize, LOOK_BYTES_MAX as usize, "page")?;
    Ok(Slice {
        id: record.id,
        at: number(record.at)?,
        column: column(record.column)?,
        after: key_or_none(record.after, physical)?,
        bytes_max: record.bytes_max,
    })
}

fn wire_seen(seen: &Seen) -> WireSeen {
    match seen {
        Seen::Sum(page) => WireSeen::Sum(wire::PageSum {
            high: (page.sum >> 64) as u64,
            low: page.sum as u64,
            entries: page.entries,
            bytes: page.bytes,
            last: page.last.clone(),
            more: page.more,
        }),
        Seen::Disturbed => WireSeen::Disturbed(true),
        Seen::Damaged => WireSeen::Damaged(true),
    }
}

fn seen_of(seen: WireSeen, physical: &Physical) -> Decoded<Seen> {
    Ok(match seen {
        WireSeen::Sum(record) => Seen::Sum(PageSum {
            sum: u128::from(record.high) << 64 | u128::from(record.low),
            entries: number(record.entries)?,
            bytes: number(record.bytes)?,
            last: key_or_none(record.last, physical)?,
            more: record.more,
        }),
        WireSeen::Disturbed(_) => Seen::Disturbed,
        WireSeen::Damaged(_) => Seen::Damaged,
    })
}

/// A key of the partition, or nothing.
fn key_or_none(key: Bytes, physical: &Physical) -> Decoded<Bytes> {
    if key.is_empty() { Ok(key) } else { physical.key(key) }
}

fn wire_entries(entries: &[Arc<Entry>]) -> Vec<wire::Entry> {
    entries.iter().map(|entry| wire_entry(entry)).collect()
}

fn entries(records: Vec<wire::Entry>, physical: &Physical) -> Decoded<Vec<Arc<Entry>>> {
    records.into_iter().map(|record| entry(record, physical).map(Arc::new)).collect()
}

fn wire_entry(entry: &Entry) -> wire::Entry {
    wire::Entry {
        version: entry.version.0,
        number: entry.number,
        before: entry.before,
        hash: entry.hash,
        frees_space: entry.frees_space,
        operations: entry.ops.iter().map(wire_operation).collect(),
    }
}

fn entry(record: wire::Entry, physical: &Physical) -> Decoded<Entry> {
    let ops = record.operations.into_iter().map(|record| operation(record, physical));
    Ok(Entry {
        version: GroupVersion(number(record.version)?),
        number: number(record.number)?,
        before: record.before,
        hash: record.hash,
        frees_space: record.frees_space,
        ops: ops.collect::<Decoded<_>>()?,
    })
}

fn wire_operation(op: &StoreOp) -> wire::Operation {
    let (kind, column, key, value) = match op {
        StoreOp::Put { column, key, value } => (Kind::Put, column, key, value.clone()),
        StoreOp::Delete { column, key } => (Kind::Delete, column, key, Bytes::new()),
        StoreOp::DeleteRange { column, from, to } => (Kind::DeleteRange, column, from, to.clone()),
    };
    let column = wire_column(*column).into();
    wire::Operation { kind: kind.into(), column, key: key.clone(), value }
}

fn operation(record: wire::Operation, physical: &Physical) -> Decoded<StoreOp> {
    let unknown = Malformed("operation of an unknown kind");
    let kind = Kind::try_from(record.kind).map_err(|_| unknown)?;
    let (column, key) = (column(record.column)?, physical.key(record.key)?);
    if column == Column::Log {
        physical.log_key(&key)?;
    }
    match kind {
        Kind::Unspecified => Err(unknown),
        Kind::Put => Ok(StoreOp::Put { column, key, value: physical.value(record.value)? }),
        Kind::Delete | Kind::DeleteRange if column == Column::Log => {
            Err(Malformed("operation on the log"))
        }
        Kind::Delete if record.value.is_empty() => Ok(StoreOp::Delete { column, key }),
        Kind::Delete => Err(Malformed("delete with a value")),
        Kind::DeleteRange => {
            Ok(StoreOp::DeleteRange { column, from: key, to: physical.key(record.value)? })
        }
    }
}

fn wire_column(column: Column) -> wire::Column {
    match column {
        Column::Meta => wire::Column::Meta,
        Column::Bodies => wire::Column::Bodies,
        Column::Log => wire::Column::Log,
    }
}

fn column(number: i32) -> Decoded<Column> {
    match wire::Column::try_from(number) {
        Ok(wire::Column::Meta) => Ok(Column::Meta),
        Ok(wire::Column::Bodies) => Ok(Column::Bodies),
        Ok(wire::Column::Log) => Ok(Column::Log),
        Ok(wire::Column::Unspecified) | Err(_) => Err(Malformed("unknown column")),
    }
}
