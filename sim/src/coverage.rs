//! What a run has hit: faults and inputs by kind. A fault that never happened proves nothing.

use std::collections::BTreeMap;
use vspace::INPUT_KINDS;

/// Every kind of fault that a run may meet.
pub const FAULT_KINDS: [&str; 79] = [
    "IMAP client vanishes",
    "POP3 client vanishes",
    "all nodes lose power",
    "another master claims a mailbox",
    "answer of the table is lost",
    "backup",
    "backup is restored once more",
    "completion of a read comes twice",
    "completion of a write comes late",
    "completion of a write comes twice",
    "connection of two nodes is reset",
    "connection of two nodes stands still",
    "control majority is gone",
    "crash between two effects",
    "crash loses what was not synced",
    "crash of the table",
    "crash while an outcome is unknown",
    "crash: killed",
    "crash: power loss",
    "deliverer vanishes before the message",
    "deliverer vanishes within or behind the message",
    "disk is an older image",
    "disk is full",
    "disk is lost and restored",
    "disk is replaced",
    "disk stalls",
    "events are read and not acknowledged",
    "extension ends",
    "hash pool has no room",
    "majority of disks is lost",
    "leader of the control group ends",
    "message comes late",
    "message comes twice",
    "message is lost",
    "node is down for long",
    "node is downgraded",
    "node is drained",
    "node is removed, and joins anew",
    "node is told that space runs low",
    "node is upgraded",
    "node of a cluster ends",
    "node says that it stops",
    "node stands still",
    "nodes don't hear each other",
    "nodes don't hear each other, either way",
    "nodes don't hear each other, one way",
    "operator ends sessions",
    "outcome stays unknown when asked again",
    "outcome unknown, applied: chunk",
    "outcome unknown, applied: claim",
    "outcome unknown, applied: delivery",
    "outcome unknown, applied: directory",
    "outcome unknown, applied: mailbox",
    "outcome unknown, applied: renewal",
    "outcome unknown, applied: sweep",
    "outcome unknown, lost: chunk",
    "outcome unknown, lost: claim",
    "outcome unknown, lost: delivery",
    "outcome unknown, lost: directory",
    "outcome unknown, lost: mailbox",
    "outcome unknown, lost: renewal",
    "outcome unknown, lost: sweep",
    "packet comes late",
    "page or chunk is overtaken",
    "partition is not served for a moment",
    "partition is placed by an operator",
    "primary stands still beyond its lease",
    "read fails",
    "read goes to the disk",
    "read is not answered",
    "stored value appears in silence",
    "stored value changes in silence",
    "stored value is cut short",
    "stored value rots",
    "stored value rots on one of several disks",
    "stored value vanishes in silence",
    "sync fails",
    "unknown outcome asked again",
    "write fails",
];

/// Counts by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    pub faults: BTreeMap<&'static str, u64>,
    pub inputs: BTreeMap<&'static str, u64>,
    /// What clients did and were answered.
    pub actions: BTreeMap<&'static str, u64>,
}

/// Nothing was hit yet, of everything that can be.
impl Default for Coverage {
    fn default() -> Self {
        Self {
            faults: FAULT_KINDS.into_iter().map(|kind| (kind, 0)).collect(),
            inputs: INPUT_KINDS.into_iter().map(|kind| (kind, 0)).collect(),
            actions: BTreeMap::new(),
        }
    }
}

impl Coverage {
    pub fn fault(&mut self, kind: &'static str) {
        let count = self.faults.get_mut(kind);
        *count.unwrap_or_else(|| panic!("a fault that is not listed: {kind}")) += 1;
    }

    pub fn action(&mut self, kind: &'static str) {
        *self.actions.entry(kind).or_default() += 1;
    }

    pub fn input(&mut self, kind: &'static str, count: u64) {
        *self.inputs.entry(kind).or_default() += count;
    }

    /// Adds what another run has hit.
    pub fn add(&mut self, other: &Self) {
        let maps = [
            (&mut self.faults, &other.faults),
            (&mut self.inputs, &other.inputs),
            (&mut self.actions, &other.actions),
        ];
        for (mine, theirs) in maps {
            for (&kind, &count) in theirs {
                *mine.entry(kind).or_default() += count;
            }
        }
    }

    /// Faults and inputs that were never hit.
    #[must_use]
    pub fn never(&self) -> Vec<&'static str> {
        let all = self.faults.iter().chain(&self.inputs);
        all.filter(|(_, count)| **count == 0).map(|(&kind, _)| kind).collect()
    }

    /// One line per kind, by name.
    #[must_use]
    pub fn report(&self) -> String {
        let mut out = String::new();
        for (title, map) in
            [("faults", &self.faults), ("inputs", &self.inputs), ("clients", &self.actions)]
        {
            out.push_str(&format!("{title}:\n"));
            for (kind, count) in map {
                let mark = if *count == 0 { "   <- never" } else { "" };
                out.push_str(&format!("  {kind:<46} {count:>10}{mark}\n"));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_hit_is_named() {
        let (mut all, mut one) = (Coverage::default(), Coverage::default());
        for kind in FAULT_KINDS.into_iter().skip(1) {
            one.fault(kind);
        }
        for kind in INPUT_KINDS.into_iter().skip(1) {
            one.input(kind, 2);
        }
        all.add(&one);
        assert_eq!(all.never(), [FAULT_KINDS[0], INPUT_KINDS[0]]);
        assert_eq!(all.report().matches("<- never").count(), 2);
    }
}
