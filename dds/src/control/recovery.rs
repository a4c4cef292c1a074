//! The control records of a data directory while no node runs on it: which map they hold, and how they become those of a cluster
//! that goes on from this one directory.
//!
//! Absences: nothing is decided here; [`ClusterMap::recovered`] says what the next map is.

use super::records::{self, Records};
use super::{MemberId, Session, raft_wire};
use crate::cluster::{ClusterMap, Incarnation, NodeId, decode_map, decode_proposal, encode_map};
use crate::{Read, ReadDone, StoreError, StoreOp};
use bytes::Bytes;
use proto::cluster as wire;

/// Entries and bytes of one page.
const PAGE: (usize, usize) = (1024, 1 << 20);

/// Why the records tell nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("the records of the control plane are damaged: {0}")]
    Damaged(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a data directory knows of its cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// As of all that is known to be committed.
    pub committed: ClusterMap,
    /// As of the end of the log: it may be what the others have agreed on since.
    pub latest: ClusterMap,
    term: u64,
}

impl Recorded {
    /// What a store holds; `None`: no control plane ever ran on it.
    ///
    /// # Errors
    /// The records can't be read, or are damaged.
    pub fn read(
        reads: &dyn Fn(&Read) -> Result<ReadDone, StoreError>,
    ) -> Result<Option<Self>, Unreadable> {
        let records = read_records(reads)?;
        records.check().map_err(Unreadable::Damaged)?;
        let Some(snapshot) = &records.snapshot else { return Ok(None) };
        raft_wire::check_snapshot_of(snapshot, None).map_err(Unreadable::Damaged)?;
        let map =
            decode_map(&snapshot.data).map_err(|malformed| Unreadable::Damaged(malformed.0))?;
        let hard_state = records.hard_state.unwrap_or_default();
        let mut recorded = Self { committed: map.clone(), latest: map, term: hard_state.term };
        for entry in &records.entries {
            apply(&mut recorded.latest, entry);
            if entry.index <= hard_state.commit {
                apply(&mut recorded.committed, entry);
            }
        }
        Ok(Some(recorded))
    }

    /// The writes, for one group, that make `founder` the only voter of a cluster that has `map`.
    #[must_use]
    pub fn found(&self, map: &ClusterMap, founder: (NodeId, Incarnation)) -> Vec<StoreOp> {
        let (node, incarnation) = founder;
        let voters = vec![MemberId::new(node, incarnation).0];
        let term = self.term.saturating_add(1);
        let conf_state = Some(wire::ConfState { voters, ..Default::default() });
        let metadata = Some(wire::SnapshotMetadata { conf_state, index: map.index, term });
        let snapshot = wire::Snapshot { data: encode_map(map), metadata };
        let hard_state = wire::HardState { term, vote: 0, commit: map.index };
        vec![
            records::drop_all(),
            records::put_snapshot(&snapshot),
            records::put_hard_state(&hard_state),
            records::put_node(node, incarnation, Session(0)),
        ]
    }
}

/// The write that makes a data directory know nothing of its cluster: it has to be let in again.
#[must_use]
pub fn forget() -> StoreOp {
    records::drop_all()
}

fn read_records(
    reads: &dyn Fn(&Read) -> Result<ReadDone, StoreError>,
) -> Result<Records, Unreadable> {
    let mut records = Records::default();
    let mut from = records::first();
    loop {
        let ReadDone::Scanned { entries, more } = reads(&records::scan(from, PAGE))? else {
            return Err(Unreadable::Damaged("answer to a scan"));
        };
        for (key, value) in &entries {
            records.take(key, value).map_err(Unreadable::Damaged)?;
        }
        match entries.last() {
            Some((last, _)) if more => from = [last, &[0_u8][..]].concat().into(),
            Some(_) | None => return Ok(records),
        }
    }
}

/// What makes no sense to this release is skipped, as by the control machine.
fn apply(map: &mut ClusterMap, entry: &wire::Entry) {
    let data: &Bytes = &entry.data;
    match decode_proposal(data) {
        Ok(proposal) if entry.entry_type() == wire::EntryType::Normal && !data.is_empty() => {
            let _applied = map.apply_proposal(entry.index, &proposal);
        }
        Ok(_) | Err(_) => map.skip(entry.index),
    }
}
