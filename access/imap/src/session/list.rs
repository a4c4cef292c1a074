//! LIST in its basic and extended forms (RFC 9051 6.3.9, RFC 5258, RFC 5819, RFC 6154) and LSUB
//! (RFC 3501 6.3.9).
//!
//! States: `Listing` -> (`Statuses`) -> answer.
//! Invariants: lines come in the order of names; a folder whose STATUS can't be had is listed
//! without it.

use super::job::{Job, Outcome};
use super::names;
use super::pattern::Pattern;
use super::reply::Reply;
use super::shared::{Extensions, Turn};
use super::single::put_status;
use crate::codec::{self, ListCommand, ListForm, ListReturn, ListSelection, StatusItem};
use fsm::Token;
use mailstore::face::{
    Completion, FolderInfo, FolderKind, FolderName, FolderStatus, UserDone, UserTask,
};
use std::collections::BTreeMap;

/// A LIST or LSUB under way.
#[derive(Debug)]
pub struct ListJob {
    query: Query,
    stage: Stage,
}

#[derive(Debug)]
struct Query {
    kind: Kind,
    patterns: Vec<Pattern>,
    selection: ListSelection,
    returns: ListReturn,
}

/// Which response it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Basic,
    Extended,
    Lsub,
}

#[derive(Debug)]
enum Stage {
    Listing { token: Token },
    Statuses { token: Token, lines: Vec<Line>, at: usize, asked: Vec<FolderName> },
    Draining { lines: Vec<Line>, at: usize },
}

/// One line to send.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    name: String,
    attributes: Vec<&'static str>,
    /// RFC 5258 4: something subscribed lies below.
    child_info: bool,
    /// Can be asked for its STATUS.
    folder: Option<FolderName>,
}

impl ListJob {
    pub fn start_list(turn: &mut Turn<'_, '_>, command: ListCommand) -> Outcome {
        let kind = match command.form {
            ListForm::Basic => Kind::Basic,
            ListForm::Extended => Kind::Extended,
        };
        // RFC 9051 6.3.9: an empty pattern asks for the separator and the root of the reference.
        if kind == Kind::Basic
            && matches!(command.patterns.as_slice(), [Ok(only)] if only.is_empty())
        {
            turn.shared.output.put("* LIST (\\Noselect) \"/\" \"\"\r\n");
            return Outcome::Answer(Reply::ok("LIST completed"));
        }
        let patterns = patterns(&command.reference, &command.patterns);
        let query =
            Query { kind, patterns, selection: command.selection, returns: command.returns };
        Self::start(turn, query)
    }

    pub fn start_lsub(
        turn: &mut Turn<'_, '_>,
        reference: &codec::Pattern,
        pattern: codec::Pattern,
    ) -> Outcome {
        let query = Query {
            kind: Kind::Lsub,
            patterns: patterns(reference, &[pattern]),
            selection: ListSelection::default(),
            returns: ListReturn::default(),
        };
        Self::start(turn, query)
    }

    fn start(turn: &mut Turn<'_, '_>, query: Query) -> Outcome {
        let token = turn.submit_user(UserTask::ListFolders);
        Outcome::Wait(Job::List(Box::new(Self { query, stage: Stage::Listing { token } })))
    }

    pub fn on_completed(
        mut self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        let nothing = Stage::Draining { lines: Vec::new(), at: 0 };
        match std::mem::replace(&mut self.stage, nothing) {
            Stage::Listing { token: awaited } if awaited == token => match completion {
                Completion::User(UserDone::Folders(folders)) => {
                    let lines = match self.query.kind {
                        Kind::Lsub => self.query.lsub_lines(&folders),
                        Kind::Basic | Kind::Extended => self.query.list_lines(&folders),
                    };
                    self.go_on(turn, lines, 0)
                }
                Completion::User(UserDone::Failed(error)) => Outcome::Answer(Reply::failed(&error)),
                Completion::Refused(refusal) => Outcome::Answer(Reply::refused(refusal)),
                Completion::User(_)
                | Completion::Directory(_)
                | Completion::Delivery(_)
                | Completion::Blob(_) => Outcome::Answer(Reply::bug()),
            },
            Stage::Statuses { token: awaited, lines, at, asked } if awaited == token => {
                let statuses = match completion {
                    Completion::User(UserDone::Status(statuses)) => statuses,
                    Completion::User(_)
                    | Completion::Directory(_)
                    | Completion::Delivery(_)
                    | Completion::Blob(_)
                    | Completion::Refused(_) => Vec::new(),
                };
                let found: BTreeMap<FolderName, FolderStatus> = asked
                    .into_iter()
                    .zip(statuses)
                    .filter_map(|(name, status)| Some((name, status?)))
                    .collect();
                let end = self.put_lines(turn, (&lines, at), Some(&found));
                self.go_on(turn, lines, end)
            }
            stage @ (Stage::Listing { .. } | Stage::Statuses { .. } | Stage::Draining { .. }) => {
                self.stage = stage;
                Outcome::Wait(Job::List(self))
            }
        }
    }

    pub fn on_drained(mut self: Box<Self>, turn: &mut Turn<'_, '_>) -> Outcome {
        let nothing = Stage::Draining { lines: Vec::new(), at: 0 };
        match std::mem::replace(&mut self.stage, nothing) {
            Stage::Draining { lines, at } => self.go_on(turn, lines, at),
            stage @ (Stage::Listing { .. } | Stage::Statuses { .. }) => {
                self.stage = stage;
                Outcome::Wait(Job::List(self))
            }
        }
    }

    fn go_on(mut self: Box<Self>, turn: &mut Turn<'_, '_>, lines: Vec<Line>, at: usize) -> Outcome {
        if at >= lines.len() {
            let text = match self.query.kind {
                Kind::Lsub => "LSUB completed",
                Kind::Basic | Kind::Extended => "LIST completed",
            };
            return Outcome::Answer(Reply::ok(text));
        }
        if turn.shared.output_is_full() {
            self.stage = Stage::Draining { lines, at };
            return Outcome::Wait(Job::List(self));
        }
        if self.query.returns.status.is_some() {
            let end = lines.len().min(at + turn.shared.limits.status_names_max);
            let page = lines.get(at..end).unwrap_or_default();
            let asked: Vec<FolderName> =
                page.iter().filter_map(|line| line.folder.clone()).collect();
            let token = turn.submit_user(UserTask::Status { names: asked.clone() });
            self.stage = Stage::Statuses { token, lines, at, asked };
            return Outcome::Wait(Job::List(self));
        }
        let end = self.put_lines(turn, (&lines, at), None);
        self.go_on(turn, lines, end)
    }

    /// Sends a page of lines from `at` on; returns where it ends.
    fn put_lines(
        &self,
        turn: &mut Turn<'_, '_>,
        (lines, at): (&[Line], usize),
        statuses: Option<&BTreeMap<FolderName, FolderStatus>>,
    ) -> usize {
        let end = lines.len().min(at + turn.shared.limits.status_names_max);
        let enabled = turn.shared.enabled;
        let append_limit = turn.shared.limits.append_bytes_max;
        let items = self.query.returns.status.as_deref().unwrap_or_default();
        if items.contains(&StatusItem::HighestModSeq) {
            turn.shared.enabled.condstore = true;
        }
        for line in lines.get(at..end).unwrap_or_default() {
            put_line(turn, enabled, (self.query.kind, line));
            let status = line.folder.as_ref().and_then(|name| Some((name, statuses?.get(name)?)));
            if let Some((name, status)) = status {
                // RFC 5819 2: each STATUS behind its LIST.
                let output = &mut turn.shared.output;
                put_status(output, (enabled, append_limit), (name, items), status);
            }
        }
        end
    }
}

fn put_line(turn: &mut Turn<'_, '_>, enabled: Extensions, (kind, line): (Kind, &Line)) {
    let output = &mut turn.shared.output;
    output.put(match kind {
        Kind::Lsub => "* LSUB (",
        Kind::Basic | Kind::Extended => "* LIST (",
    });
    output.put(line.attributes.join(" ")).put(") \"/\" ");
    names::put_name(output, enabled, &line.name);
    if line.child_info {
        output.put(" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    }
    output.line();
}

/// Patterns that can match a name. A pattern that is no text matches nothing, which is not an
/// error.
fn patterns(reference: &codec::Pattern, patterns: &[codec::Pattern]) -> Vec<Pattern> {
    let Ok(reference) = reference else { return Vec::new() };
    patterns.iter().flatten().map(|pattern| Pattern::new(reference, pattern)).collect()
}

impl Query {
    fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    fn list_lines(&self, folders: &[FolderInfo]) -> Vec<Line> {
        let select = self.selection;
        let mut lines: BTreeMap<&str, Line> = BTreeMap::new();
        for folder in folders {
            let special = match folder.kind {
                FolderKind::Folder { id: _, special_use } => special_use.is_some(),
                FolderKind::NoSelect | FolderKind::NonExistent => false,
            };
            // RFC 5258 3.1, RFC 6154 5.2: all options must hold.
            let chosen = if select.subscribed || select.special_use {
                (!select.subscribed || folder.subscribed) && (!select.special_use || special)
            } else {
                folder.kind != FolderKind::NonExistent
            };
            if !chosen {
                continue;
            }
            let name = folder.name.as_str();
            if self.matches(name) {
                let line = lines.entry(name).or_insert_with(|| self.line(folders, name));
                debug_assert_eq!(line.name, name, "one line for each name");
            }
            if select.recursive_match {
                // RFC 5258 3.1: parents that match are shown when something below them was chosen.
                for (at, _) in name.match_indices('/') {
                    let Some(parent) = name.get(..at) else { continue };
                    if self.matches(parent) {
                        let line =
                            lines.entry(parent).or_insert_with(|| self.line(folders, parent));
                        line.child_info = true;
                    }
                }
            }
        }
        lines.into_values().collect()
    }

    fn line(&self, folders: &[FolderInfo], name: &str) -> Line {
        let folder = find(folders, name);
        let kind = folder.map_or(FolderKind::NonExistent, |folder| folder.kind);
        let mut attributes = Vec::new();
        let mut selectable = None;
        match kind {
            FolderKind::Folder { id: _, special_use } => {
                selectable = folder.map(|folder| folder.name.clone());
                if let Some(special_use) = special_use {
                    // RFC 6154 2: attributes of use may always be shown.
                    attributes.push(special_use.name());
                }
            }
            FolderKind::NoSelect => attributes.push("\\Noselect"),
            FolderKind::NonExistent => attributes.push("\\NonExistent"),
        }
        // RFC 5258 4, RFC 3348: shown always, as CHILDREN is announced.
        attributes.push(if has_children(folders, name) {
            "\\HasChildren"
        } else {
            "\\HasNoChildren"
        });
        let shows_subscribed = self.selection.subscribed || self.returns.subscribed;
        if shows_subscribed && folder.is_some_and(|folder| folder.subscribed) {
            attributes.push("\\Subscribed");
        }
        Line { name: name.to_owned(), attributes, child_info: false, folder: selectable }
    }

    /// RFC 3501 6.3.9: subscribed names; with `%` also parents of them, `\Noselect`.
    fn lsub_lines(&self, folders: &[FolderInfo]) -> Vec<Line> {
        let mut lines: BTreeMap<String, Line> = BTreeMap::new();
        let plain = |name: &str, attributes: Vec<&'static str>| Line {
            name: name.to_owned(),
            attributes,
            child_info: false,
            folder: None,
        };
        for folder in folders.iter().filter(|folder| folder.subscribed) {
            let name = folder.name.as_str();
            if self.matches(name) {
                let attributes = match folder.kind {
                    FolderKind::NoSelect => vec!["\\Noselect"],
                    FolderKind::Folder { .. } | FolderKind::NonExistent => Vec::new(),
                };
                lines.insert(name.to_owned(), plain(name, attributes));
                continue;
            }
            for (at, _) in name.match_indices('/') {
                let Some(parent) = name.get(..at) else { continue };
                if self.matches(parent) {
                    lines
                        .entry(parent.to_owned())
                        .or_insert_with(|| plain(parent, vec!["\\Noselect"]));
                }
            }
        }
        lines.into_values().collect()
    }
}

fn find<'f>(folders: &'f [FolderInfo], name: &str) -> Option<&'f FolderInfo> {
    let at = folders.binary_search_by(|folder| folder.name.as_str().cmp(name)).ok()?;
    folders.get(at)
}

/// Whether a folder lies below `name`. Names are sorted, so those below stand together.
fn has_children(folders: &[FolderInfo], name: &str) -> bool {
    let prefix = format!("{name}/");
    let from = folders.partition_point(|folder| folder.name.as_str() < prefix.as_str());
    folders
        .get(from..)
        .unwrap_or_default()
        .iter()
        .take_while(|folder| folder.name.as_str().starts_with(&prefix))
        .any(|folder| folder.kind != FolderKind::NonExistent)
}
