//! `cluster.toml`: read, checked as a whole, shown.
//!
//! [`Config::read`] names every error of a file, not only the first. Unknown keys are errors. What the format has but this
//! release lacks is a finding of its own kind. Everything has a default: an empty file is a single node.
//!
//! Absences: nothing here opens a socket or looks at the machine; paths are joined, never followed.

mod extensions;
mod listen;
mod network;
mod section;
mod sections;
mod units;

#[cfg(test)]
mod tests;

pub use extensions::{EventKind, Extension, Extensions, Verb};
pub use listen::{Address, Listen, Listener, Service, TlsMode};
pub use network::Network;
pub use section::{Finding, FindingKind, Findings};
#[cfg(test)]
pub use sections::CertificatePair;
pub use sections::{
    Auth, Cluster, Http, Limits, Log, LogFormat, LogLevel, Metrics, NodeEntry, Stages, Store, Tls,
};
pub use units::{Size, Time};

use section::Section;
use serde::Serialize;
use std::path::{Path, PathBuf};
use toml::Value;

/// The whole configuration, defaults filled in.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Config {
    pub cluster: Cluster,
    pub node: Vec<NodeEntry>,
    pub listen: Listen,
    pub tls: Tls,
    pub auth: Auth,
    pub limits: Limits,
    pub store: Store,
    pub http: Http,
    pub log: Log,
    pub metrics: Metrics,
    pub stages: Stages,
    #[serde(skip_serializing_if = "Extensions::is_empty")]
    pub extensions: Extensions,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: {source}; name an existing file with --config", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}: {}", .path.display(), list(.findings))]
    Wrong { path: PathBuf, findings: Vec<Finding> },
    #[error("{}: no [[node]] is named {name:?}; there is {known}", .path.display())]
    NoSuchNode { path: PathBuf, name: String, known: String },
    #[error("{}: {count} nodes are listed: say with --node which one is meant", .path.display())]
    WhichNode { path: PathBuf, count: usize },
}

fn list(findings: &[Finding]) -> String {
    let lines: Vec<String> = findings.iter().map(|finding| format!("\n  {finding}")).collect();
    format!("{} finding(s){}", findings.len(), lines.concat())
}

impl Config {
    /// Reads the text of a file that stands in `base`. The findings are all there is to say about it; with errors among them
    /// the configuration holds defaults in their places.
    #[must_use]
    pub fn read(text: &str, base: &Path) -> (Self, Vec<Finding>) {
        let mut findings = Findings { list: Vec::new(), base: base.to_path_buf() };
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                let line = error.span().map_or(1, |span| {
                    text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1)
                });
                findings.error(&format!("line {line}"), error.message());
                return (Self::single_node(base), findings.list);
            }
        };
        let config = Self::read_root(Section::new("", table), &mut findings);
        (config, findings.list)
    }

    /// The built-in single node: data in `base/hikyaku-data`.
    #[must_use]
    pub fn single_node(base: &Path) -> Self {
        Self { node: vec![NodeEntry::single(base)], ..Self::default() }
    }

    /// The file, when one is named or `./cluster.toml` is there, else the built-in single node. Findings of either kind are an
    /// error: a node must not start as something else than its file says.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some((path, text)) = Self::read_file(path)? else {
            return Ok(Self::single_node(Path::new("")));
        };
        let (config, findings) = Self::read(&text, path.parent().unwrap_or(Path::new("")));
        if findings.is_empty() { Ok(config) } else { Err(ConfigError::Wrong { path, findings }) }
    }

    /// The text of the file that `--config` or the current directory names.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn read_file(path: Option<&Path>) -> Result<Option<(PathBuf, String)>, ConfigError> {
        let named = path.is_some();
        let path = path.unwrap_or(Path::new("cluster.toml")).to_path_buf();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some((path, text))),
            Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConfigError::Unreadable { path, source }),
        }
    }

    /// The node meant by `--node`; without it the only one.
    ///
    /// # Errors
    /// `NoSuchNode`, `WhichNode`.
    pub fn node_named(&self, name: Option<&str>) -> Result<&NodeEntry, ConfigError> {
        let path = || PathBuf::from("configuration");
        match (name, self.node.as_slice()) {
            (None, [one]) => Ok(one),
            (None, several) => Err(ConfigError::WhichNode { path: path(), count: several.len() }),
            (Some(name), nodes) => nodes.iter().find(|node| node.name == name).ok_or_else(|| {
                let known: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
                let known = known.join(", ");
                ConfigError::NoSuchNode { path: path(), name: name.to_owned(), known }
            }),
        }
    }

    /// Where the admin API of a node listens, if anywhere.
    #[must_use]
    pub fn admin_address(&self, node: &NodeEntry) -> Option<Address> {
        match &node.admin {
            Some(address) => Some(Address::Tcp(*address)),
            None => self.listen.first(Service::Admin).map(|listener| listener.address.clone()),
        }
    }

    /// As a file that would configure the same.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every section serialises to a TOML table")
    }

    fn read_root(mut root: Section, findings: &mut Findings) -> Self {
        let mut config = Self::default();
        if let Some(section) = root.section("cluster", findings) {
            config.cluster = Cluster::read(section, findings);
        }
        config.node = read_nodes(&mut root, findings);
        if let Some(section) = root.section("listen", findings) {
            config.listen = Listen::read(section, findings);
        }
        if let Some(section) = root.section("tls", findings) {
            config.tls = Tls::read(section, findings);
        }
        if let Some(section) = root.section("auth", findings) {
            config.auth = Auth::read(section, findings);
        }
        if let Some(section) = root.section("limits", findings) {
            config.limits = Limits::read(section, findings);
        }
        if let Some(section) = root.section("store", findings) {
            config.store = Store::read(section, findings);
        }
        if let Some(section) = root.section("http", findings) {
            config.http = Http::read(section, findings);
        }
        if let Some(section) = root.section("log", findings) {
            config.log = Log::read(section, findings);
        }
        if let Some(section) = root.section("metrics", findings) {
            config.metrics = Metrics::read(section, findings);
        }
        if let Some(section) = root.section("stages", findings) {
            config.stages = Stages::read(section, findings);
        }
        config.extensions = extensions::read_all(&mut root, findings);
        root.finish(findings);
        config
    }
}

fn read_nodes(root: &mut Section, findings: &mut Findings) -> Vec<NodeEntry> {
    let mut nodes: Vec<NodeEntry> = Vec::new();
    match root.take("node") {
        None => {}
        Some(Value::Array(tables)) => {
            for (index, value) in tables.into_iter().enumerate() {
                let key = format!("node[{index}]");
                match value {
                    Value::Table(table) => {
                        nodes.push(NodeEntry::read(Section::new(key, table), findings));
                    }
                    other => findings.error(&key, section::wrong_type("a table", &other)),
                }
            }
        }
        Some(other) => findings.error("node", section::wrong_type("written [[node]]", &other)),
    }
    for (index, node) in nodes.iter().enumerate() {
        if nodes.iter().take(index).any(|earlier| earlier.name == node.name) {
            findings.error(&format!("node[{index}].name"), format!("{:?} again", node.name));
        }
    }
    if nodes.len() > 1 {
        for (index, node) in nodes.iter().enumerate() {
            if node.address.is_none() {
                findings
                    .error(&format!("node[{index}].address"), "is missing: other nodes need it");
            }
        }
    }
    if nodes.is_empty() {
        nodes.push(NodeEntry::single(&findings.base));
    }
    nodes
}
