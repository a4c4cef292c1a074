//! `[extensions.NAME]`: programs that follow mailboxes, what each may see and do.

use super::section::{Findings, Section, wrong_type};
use super::units::Time;
use mailstore::face::{Scope, Subscriber};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use toml::Value;

/// Extensions by name.
pub type Extensions = BTreeMap<String, Extension>;

/// Names of extensions that are part of the program.
const OWN_NAMES: [&str; 2] = ["index", "rules"];

/// Extensions of a cluster. Our choice: each mailbox keeps a cursor for each (`event_subscribers_max`), and has some of its own.
const EXTENSIONS_MAX: usize = 6;

/// Characters of a token in the file. What the node makes itself has 64.
const TOKEN_CHARS_MIN: usize = 32;

/// One extension.
#[derive(Clone, Debug, Serialize)]
pub struct Extension {
    /// Where its token is; made at the start of a node when it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The token itself, in place of a file.
    #[serde(skip)]
    pub token: Option<String>,
    /// `"*"`: every domain.
    pub domains: Vec<String>,
    pub accounts: Vec<String>,
    pub events: Vec<EventKind>,
    pub verbs: Vec<Verb>,
    /// How long a message waits for its decision.
    pub deadline: Time,
}

/// Our choice: what a look-up in the network takes.
const DEADLINE: Duration = Duration::from_secs(5);
/// Clients wait for the answer to a message for ten minutes (RFC 5321 4.5.3.2.6), and some are impatient. Our choice.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// A type of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    Arrived,
    Flagged,
    Vanished,
}

/// What an extension may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Follow events.
    Subscribe,
    /// Read folders, lists of messages, and messages.
    Fetch,
    /// Change flags, and move messages.
    Update,
    /// Be asked about messages before they are answered.
    Decide,
}

const EVENT_KINDS: [(&str, EventKind); 3] = [
    ("arrived", EventKind::Arrived),
    ("flagged", EventKind::Flagged),
    ("vanished", EventKind::Vanished),
];
const VERBS: [(&str, Verb); 4] = [
    ("subscribe", Verb::Subscribe),
    ("fetch", Verb::Fetch),
    ("update", Verb::Update),
    ("decide", Verb::Decide),
];

impl Default for Extension {
    fn default() -> Self {
        Self {
            token_file: None,
            token: None,
            domains: Vec::new(),
            accounts: Vec::new(),
            events: Vec::new(),
            verbs: Vec::new(),
            deadline: Time(DEADLINE),
        }
    }
}

impl Extension {
    /// The mailboxes it may follow.
    #[must_use]
    pub fn scope(&self) -> Scope {
        if self.domains.iter().any(|domain| domain == "*") {
            return Scope::Everybody;
        }
        Scope::Only { domains: self.domains.clone(), accounts: self.accounts.clone() }
    }

    fn read(mut section: Section, findings: &mut Findings) -> Self {
        let mut deadline = Time(DEADLINE);
        section.time("deadline", &mut deadline, findings);
        if deadline.0 > DEADLINE_MAX || deadline.0 == Duration::ZERO {
            findings.error(&section.key("deadline"), "must be above 0 and at most \"60 s\"");
        }
        let lower = |list: Vec<String>| list.iter().map(|it| it.to_ascii_lowercase()).collect();
        let it = Self {
            token_file: section.file("token_file", findings),
            token: section.string("token", findings),
            domains: lower(section.strings("domains", findings)),
            accounts: lower(section.strings("accounts", findings)),
            events: words(
                "events",
                (&EVENT_KINDS, &EVENT_KINDS.map(|it| it.1)),
                &mut section,
                findings,
            ),
            verbs: words("verbs", (&VERBS, &[Verb::Subscribe]), &mut section, findings),
            deadline,
        };
        if it.domains.is_empty() && it.accounts.is_empty() {
            let key = section.key("domains");
            findings
                .error(&key, "say whose mail it may see: domains, accounts, or domains = [\"*\"]");
        }
        let good = |token: &String| {
            token.len() >= TOKEN_CHARS_MIN && token.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if it.token.as_ref().is_some_and(|token| !good(token)) {
            let reason =
                "must be 32 or more letters, digits and signs; `openssl rand -hex 32` makes one";
            findings.error(&section.key("token"), reason);
        }
        if it.token.is_some() && it.token_file.is_some() {
            findings.error(&section.key("token"), "is given beside token_file: leave one out");
        }
        section.finish(findings);
        it
    }
}

/// A list of known words.
fn words<T: Copy>(
    key: &'static str,
    (known, default): (&[(&str, T)], &[T]),
    section: &mut Section,
    findings: &mut Findings,
) -> Vec<T> {
    let path = section.key(key);
    let given = section.strings(key, findings);
    if given.is_empty() {
        return default.to_vec();
    }
    let mut found = Vec::new();
    for word in given {
        match known.iter().find(|(name, _)| *name == word) {
            Some((_, it)) => found.push(*it),
            None => {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                findings.error(&path, format!("{word:?}: known are {}", names.join(", ")));
            }
        }
    }
    found
}

/// All tables below `[extensions]`.
pub(super) fn read_all(root: &mut Section, findings: &mut Findings) -> Extensions {
    let mut extensions = Extensions::new();
    let table = match root.take("extensions") {
        None => return extensions,
        Some(Value::Table(table)) => table,
        Some(other) => {
            findings.error("extensions", wrong_type("tables [extensions.NAME]", &other));
            return extensions;
        }
    };
    for (name, value) in table {
        let key = format!("extensions.{name}");
        if Subscriber::new(&name).is_none() {
            findings.error(&key, "a name has letters, digits, \"-\", \"_\" and \".\", at most 64");
        } else if OWN_NAMES.contains(&name.as_str()) {
            findings.error(&key, "is the name of a part of the program: choose another");
        }
        match value {
            Value::Table(table) => {
                let extension = Extension::read(Section::new(key, table), findings);
                extensions.insert(name, extension);
            }
            other => findings.error(&key, wrong_type("a table", &other)),
        }
    }
    if extensions.len() > EXTENSIONS_MAX {
        findings.error("extensions", format!("are at most {EXTENSIONS_MAX}"));
    }
    extensions
}
