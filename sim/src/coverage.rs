//! What a run has hit: faults and inputs by kind. A fault that never happened proves nothing.

use std::collections::BTreeMap;

/// Counts by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub faults: BTreeMap<&'static str, u64>,
    pub inputs: BTreeMap<&'static str, u64>,
    /// What clients did and were answered.
    pub actions: BTreeMap<&'static str, u64>,
}

impl Coverage {
    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
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
                out.push_str(&format!("  {kind:<44} {count:>10}{mark}\n"));
            }
        }
        out
    }
}
