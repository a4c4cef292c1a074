//! Judges claims and batches of a route, and turns them into groups.

use super::group_builder::GroupBuilder;
use super::log::Plan;
use super::subject::Touched;
use crate::layout::{self, VERSION_BYTES, WriterRecord};
use crate::{
    Batch, Claimed, Epoch, Expect, Op, Outcome, PartitionId, Precondition, Refusal, Response,
    RouteKey, Seq, SortKey, Version, Writer,
};

/// Whether a batch of `writer` is the next one; otherwise its outcome as of the record.
///
/// # Errors
/// The outcome that needs no write: what the batch got before, or why it is refused.
pub fn check_writer(record: &WriterRecord, writer: Writer) -> Result<(), Outcome> {
    let expected = Seq(record.last.0.saturating_add(1));
    if writer.epoch != record.epoch {
        return Err(Outcome::Refused(Refusal::Fenced { current: record.epoch }));
    }
    if writer.seq == expected {
        return Ok(());
    }
    if writer.seq > expected || writer.seq.0 == 0 {
        return Err(Outcome::Refused(Refusal::SequenceGap { expected }));
    }
    Err(record
        .version_of(writer.seq)
        .map_or(Outcome::Refused(Refusal::Forgotten), |version| Outcome::Committed { version }))
}

/// The first precondition that does not hold, given each key's version.
pub fn first_failed(
    preconditions: &[Precondition],
    version_of: impl Fn(&SortKey, usize) -> Option<Version>,
) -> Option<usize> {
    preconditions.iter().enumerate().position(|(index, precondition)| {
        let version = version_of(&precondition.key, index);
        match precondition.expect {
            Expect::Absent => version.is_some(),
            Expect::Present => version.is_none(),
            Expect::VersionIs(expected) => version != Some(expected),
        }
    })
}

/// The group that gives a route its next epoch. The record becomes what it writes.
pub fn claim(partition: PartitionId, route: &RouteKey, record: &mut WriterRecord) -> Plan {
    let previous = (record.epoch, record.last);
    let epoch = Epoch(previous.0.0.saturating_add(1));
    *record = WriterRecord::claimed(epoch);
    let mut builder =
        GroupBuilder::new(partition, 1, layout::prefix_bytes(route) + 1 + record.encoded_bytes());
    builder.put_writer(route, record);
    let response = Response::Claimed(Claimed { epoch, previous });
    // After a full disk a master must be able to claim before it can delete anything.
    Plan { builder, response, touched: Vec::new(), frees_space: true }
}

/// The group of a batch that has passed all checks; it gets `version`. The record, present when the batch has a writer,
/// becomes what the group writes.
pub fn write(
    partition: PartitionId,
    batch: Batch,
    version: Version,
    writer: Option<(&mut WriterRecord, usize)>,
) -> Plan {
    let Batch { route, writer: _, preconditions: _, makes_way, ops } = batch;
    let frees_space = frees_space(makes_way, &ops);
    let prefix = layout::prefix_bytes(&route);
    let record_bytes =
        writer.as_ref().map_or(0, |(record, _)| prefix + 11 + record.encoded_bytes());
    let bytes = ops.iter().map(|op| op_bytes(op, prefix)).sum::<usize>() + record_bytes;
    let mut builder = GroupBuilder::new(partition, ops.len() + 1, bytes);
    let mut touched = Vec::with_capacity(ops.len());
    for op in ops {
        touched.push(match op {
            Op::Put { key, value } => {
                builder.put_entry(&route, &key, &value, version);
                Touched::Put(key)
            }
            Op::Delete { key } => {
                builder.delete_entry(&route, &key);
                Touched::Deleted(key)
            }
            Op::DeleteRange { from, to } => {
                builder.delete_entries(&route, &from, &to);
                Touched::DeletedRange(from, to)
            }
        });
    }
    if let Some((record, window)) = writer {
        record.advance(version, window);
        builder.put_writer(&route, record);
    }
    let response = Response::Wrote(Outcome::Committed { version });
    Plan { builder, response, touched, frees_space }
}

fn op_bytes(op: &Op, prefix: usize) -> usize {
    match op {
        Op::Put { key, value } => prefix + key.0.len() + VERSION_BYTES + value.len(),
        Op::Delete { key } => prefix + key.0.len(),
        Op::DeleteRange { .. } => 0,
    }
}

/// Deleting mail also writes: a change log, a folder's header. So a batch frees space when it deletes something, or makes way
/// for that, and puts no body; what it writes is small, and the ballast below the second watermark has room for it.
fn frees_space(makes_way: bool, ops: &[Op]) -> bool {
    let deletes = makes_way
        || ops.iter().any(|op| match op {
            Op::Put { .. } => false,
            Op::Delete { .. } | Op::DeleteRange { .. } => true,
        });
    let puts_body = ops.iter().any(|op| match op {
        Op::Put { key, .. } => key.is_body(),
        Op::Delete { .. } | Op::DeleteRange { .. } => false,
    });
    deletes && !puts_body
}
