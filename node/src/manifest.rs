//! The manifest of the backup of a cluster: which nodes have a part of it, and what counts of each. Every part holds the same.
//!
//! Each node copies its own brick, on its own host. The copies are not of one moment, and need not be: of every partition some
//! copy counts that was in sync when the backup began and when all were made, so that it holds what was acknowledged before.

use crate::control::{HolderReport, HoldersReport};
use anyhow::{Context, bail};
use dds::cluster::{ClusterMap, Incarnation, NodeId};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const FORMAT: u64 = 1;
/// Changes of a group in which no copy can have been dropped and made anew: it would have been removed, let in, and promoted.
const CHANGES_MAX: u64 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Drawn for each backup.
    pub backup: u64,
    pub cluster: String,
    /// By number: names, and the data directories that were copied.
    pub nodes: BTreeMap<u16, (String, u64)>,
    /// By partition: whose copies count, rising.
    pub held: Vec<Vec<u16>>,
}

impl Manifest {
    /// Of what was held when the copies began and when they were made, by `nodes`.
    #[must_use]
    pub fn of(
        (backup, cluster): (u64, String),
        nodes: BTreeMap<u16, (String, u64)>,
        (before, after): (&HoldersReport, &HoldersReport),
    ) -> Self {
        let held = |(old, new): (&HolderReport, &HolderReport)| {
            let steady = new.version.saturating_sub(old.version) <= CHANGES_MAX;
            let counts =
                |node: &&u16| steady && new.in_sync.contains(*node) && nodes.contains_key(*node);
            old.in_sync.iter().filter(counts).copied().collect()
        };
        let held = before.groups.iter().zip(&after.groups).map(held).collect();
        Self { backup, cluster, nodes, held }
    }

    /// Partitions of which no copy counts.
    #[must_use]
    pub fn missing(&self) -> Vec<u16> {
        let none = |(_, held): &(u16, &Vec<u16>)| held.is_empty();
        (0_u16..).zip(&self.held).filter(none).map(|(partition, _)| partition).collect()
    }

    /// The node whose part a restoration begins with: the one with the most copies that count, of the lowest number.
    #[must_use]
    pub fn founder(&self) -> Option<u16> {
        let copies = |node: u16| self.held.iter().filter(|held| held.contains(&node)).count();
        self.nodes.keys().copied().rev().max_by_key(|&node| copies(node))
    }

    /// The map of a cluster in which only the copies that count are.
    #[must_use]
    pub fn applied_to(&self, mut map: ClusterMap) -> ClusterMap {
        for (group, held) in map.groups.iter_mut().zip(&self.held) {
            group.in_sync = held.iter().copied().map(NodeId).collect();
            group.candidates.clone_from(&group.in_sync);
        }
        map
    }

    /// The data directory that was copied.
    #[must_use]
    pub fn incarnation(&self, node: u16) -> Option<Incarnation> {
        self.nodes.get(&node).map(|(_, incarnation)| Incarnation(*incarnation))
    }

    #[must_use]
    pub fn encode(&self) -> String {
        let node = |(number, (name, incarnation)): (&u16, &(String, u64))| json!({"number": number, "name": name, "incarnation": hex(*incarnation)});
        let nodes: Vec<Value> = self.nodes.iter().map(node).collect();
        let text = json!({
            "format": FORMAT, "backup": hex(self.backup), "cluster": self.cluster, "nodes": nodes, "held": self.held,
        });
        format!("{text}\n")
    }

    /// # Errors
    /// It is no manifest, or one of a newer release.
    pub fn decode(text: &[u8]) -> anyhow::Result<Self> {
        let unreadable =
            "the manifest of the backup can't be read; use another part, or another backup";
        let value: Value = serde_json::from_slice(text).context(unreadable)?;
        if value["format"].as_u64() != Some(FORMAT) {
            bail!("the format of the manifest is {}, this release knows {FORMAT}", value["format"]);
        }
        let node = |value: &Value| {
            let number = u16::try_from(value["number"].as_u64()?).ok()?;
            let name = value["name"].as_str()?.to_owned();
            Some((number, (name, unhex(&value["incarnation"])?)))
        };
        let nodes = value["nodes"].as_array().context(unreadable)?;
        Ok(Self {
            backup: unhex(&value["backup"]).context(unreadable)?,
            cluster: value["cluster"].as_str().context(unreadable)?.to_owned(),
            nodes: nodes.iter().map(node).collect::<Option<_>>().context(unreadable)?,
            held: serde_json::from_value(value["held"].clone()).context(unreadable)?,
        })
    }
}

/// JSON's numbers are not for 64 bits.
fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn unhex(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holders(groups: &[(u64, &[u16])]) -> HoldersReport {
        let group = |(version, in_sync): &(u64, &[u16])| HolderReport {
            version: *version,
            primary: None,
            in_sync: in_sync.to_vec(),
        };
        HoldersReport { groups: groups.iter().map(group).collect(), ..HoldersReport::default() }
    }

    #[test]
    fn only_copies_count_that_were_in_sync_all_the_time() {
        let before = holders(&[(1, &[1, 2, 3]), (1, &[2, 3]), (1, &[1, 2]), (5, &[3])]);
        let after = holders(&[(1, &[1, 2, 3]), (2, &[1, 3]), (4, &[1, 2]), (5, &[3])]);
        let nodes = [(1, ("a".to_owned(), 10)), (2, ("b".to_owned(), u64::MAX))].into();
        let manifest = Manifest::of((7, "mail".to_owned()), nodes, (&before, &after));
        // Of 1 node 2 was removed; of 2 a copy may have been made anew; 3 is held by a node that made no copy.
        assert_eq!(manifest.held, [vec![1, 2], vec![], vec![], vec![]]);
        assert_eq!(manifest.missing(), [1, 2, 3]);
        assert_eq!(manifest.founder(), Some(1));
        assert_eq!(Manifest::decode(manifest.encode().as_bytes()).expect("whole"), manifest);
        assert!(Manifest::decode(b"{}").is_err());
    }
}
