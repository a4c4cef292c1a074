//! Reads one table of the file: takes the keys it knows, collects every error with its key, and at the end names the keys
//! that nobody took.

use super::{Network, Size, Time};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// One thing wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The key, dotted: `limits.message_bytes`.
    pub key: String,
    pub reason: String,
    pub kind: FindingKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// The file is wrong.
    Error,
    /// The file is right, but this release can't do it.
    NotYet,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FindingKind::Error => write!(f, "{}: {}", self.key, self.reason),
            FindingKind::NotYet => {
                write!(f, "{}: not yet in this release: {}", self.key, self.reason)
            }
        }
    }
}

/// Collects what is wrong; knows where relative paths begin.
#[derive(Debug)]
pub struct Findings {
    pub list: Vec<Finding>,
    /// The directory of the file.
    pub base: PathBuf,
}

impl Findings {
    pub fn error(&mut self, key: &str, reason: impl Into<String>) {
        let finding =
            Finding { key: key.to_owned(), reason: reason.into(), kind: FindingKind::Error };
        self.list.push(finding);
    }

    pub fn not_yet(&mut self, key: &str, what: impl Into<String>) {
        let finding =
            Finding { key: key.to_owned(), reason: what.into(), kind: FindingKind::NotYet };
        self.list.push(finding);
    }

    /// A path of the file, relative to the file.
    pub fn path(&self, text: &str) -> PathBuf {
        let joined = self.base.join(Path::new(text));
        joined.strip_prefix(".").map(Path::to_path_buf).unwrap_or(joined)
    }
}

/// One table while it is read.
#[derive(Debug)]
pub struct Section {
    path: String,
    table: Table,
    known: Vec<&'static str>,
}

impl Section {
    /// `table` of the file at `path` (dotted; empty for the root).
    pub fn new(path: impl Into<String>, table: Table) -> Self {
        Self { path: path.into(), table, known: Vec::new() }
    }

    /// The dotted name of one of its keys.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Takes the value of a key out of the table.
    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Takes a sub-table.
    pub fn section(&mut self, key: &'static str, findings: &mut Findings) -> Option<Self> {
        let path = self.key(key);
        match self.take(key)? {
            Value::Table(table) => Some(Self::new(path, table)),
            other => {
                findings.error(&path, wrong_type("a table", &other));
                None
            }
        }
    }

    /// Takes a string and reads it with `read`; an error is collected.
    pub fn parsed<T>(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.string(key, findings)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(reason) => {
                findings.error(&self.key(key), reason);
                None
            }
        }
    }

    pub fn string(&mut self, key: &'static str, findings: &mut Findings) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                findings.error(&self.key(key), wrong_type("a string", &other));
                None
            }
        }
    }

    /// Sizes and times replace `slot`; what is absent or wrong leaves the default there.
    pub fn size(&mut self, key: &'static str, slot: &mut Size, findings: &mut Findings) {
        if let Some(size) = self.parsed(key, findings, Size::parse) {
            *slot = size;
        }
    }

    pub fn time(&mut self, key: &'static str, slot: &mut Time, findings: &mut Findings) {
        if let Some(time) = self.parsed(key, findings, Time::parse) {
            *slot = time;
        }
    }

    pub fn bool(&mut self, key: &'static str, slot: &mut bool, findings: &mut Findings) {
        match self.take(key) {
            None => {}
            Some(Value::Boolean(value)) => *slot = value,
            Some(other) => findings.error(&self.key(key), wrong_type("true or false", &other)),
        }
    }

    /// An integer of `at_least..=u32::MAX`.
    pub fn count(&mut self, key: &'static str, slot: &mut u32, findings: &mut Findings) {
        match self.take(key) {
            None => {}
            Some(Value::Integer(value)) => match u32::try_from(value) {
                Ok(value) if value > 0 => *slot = value,
                Ok(_) | Err(_) => findings.error(&self.key(key), "must be a number from 1 up"),
            },
            Some(other) => findings.error(&self.key(key), wrong_type("a number", &other)),
        }
    }

    pub fn file(&mut self, key: &'static str, findings: &mut Findings) -> Option<PathBuf> {
        self.string(key, findings).map(|text| findings.path(&text))
    }

    pub fn networks(&mut self, key: &'static str, findings: &mut Findings) -> Vec<Network> {
        let path = self.key(key);
        let mut networks = Vec::new();
        for text in self.strings(key, findings) {
            match Network::parse(&text) {
                Ok(network) => networks.push(network),
                Err(reason) => findings.error(&path, reason),
            }
        }
        networks
    }

    /// A list of strings; one string counts as a list of one.
    pub fn strings(&mut self, key: &'static str, findings: &mut Findings) -> Vec<String> {
        let path = self.key(key);
        let list = match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => list,
            Some(one) => vec![one],
        };
        let mut strings = Vec::new();
        for value in list {
            match value {
                Value::String(text) => strings.push(text),
                other => findings.error(&path, wrong_type("a string", &other)),
            }
        }
        strings
    }

    /// What is left was never asked for.
    pub fn finish(self, findings: &mut Findings) {
        for key in self.table.keys() {
            let path = self.key(key);
            let near = self.known.iter().filter(|known| distance(known, key) <= 3);
            let near = near.min_by_key(|known| distance(known, key));
            match near {
                Some(near) => findings.error(&path, format!("unknown key; is {near} meant?")),
                None => {
                    let known = self.known.join(", ");
                    findings.error(&path, format!("unknown key; known here: {known}"));
                }
            }
        }
    }
}

pub fn wrong_type(wanted: &str, got: &Value) -> String {
    format!("must be {wanted}, but is {} ({got})", got.type_str())
}

/// Levenshtein distance of two short words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = if x == *y { diagonal } else { diagonal + 1 };
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
