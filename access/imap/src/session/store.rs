//! STORE and UID STORE (RFC 9051 6.4.6, RFC 7162 3.1.3).
//!
//! States: `Storing` -> (`Restoring`) -> `Telling` -> `Rest` -> answer.
//! Invariants: a silent STORE leaves unsaid only what the client can work out by itself: it first
//! changes the messages that nobody else changed since the client was told of them, then the
//! others, and those are told.

use super::fetch::expunge_rule;
use super::job::{Job, Outcome};
use super::numbers::Pages;
use super::reply::Reply;
use super::shared::{Login, Turn};
use super::sync::{How, Sync, SyncStep};
use super::tell::{self, Unsaid};
use crate::codec::{FlagList, Numbering, StoreCommand};
use fsm::Token;
use mailstore::face::{
    Completion, FlagChange, FlagRow, ModSeq, OpenMode, Row, Stored, UidSet, UserDone, UserTask,
    Want,
};
use std::sync::Arc;

/// A STORE under way.
#[derive(Debug)]
pub struct StoreJob {
    what: What,
    stage: Stage,
    /// Messages left alone because of UNCHANGEDSINCE.
    modified: UidSet,
}

/// What the client asked for.
#[derive(Debug)]
struct What {
    numbering: Numbering,
    uids: UidSet,
    change: FlagChange,
    silent: bool,
    flags: FlagList,
    unchanged_since: Option<ModSeq>,
}

#[derive(Debug)]
enum Stage {
    Storing {
        token: Token,
    },
    /// The second pass of a silent STORE: over messages that others changed meanwhile.
    Restoring {
        token: Token,
        first: Stored,
    },
    Telling {
        sync: Sync,
    },
    /// Shows messages that were as they should be before.
    Rest {
        token: Token,
        pages: Pages,
    },
    Draining {
        pages: Pages,
    },
}

impl StoreJob {
    pub fn start(turn: &mut Turn<'_, '_>, command: StoreCommand) -> Outcome {
        let rule = expunge_rule(command.numbering);
        if command.unchanged_since.is_some() {
            // RFC 7162 3.1: enables CONDSTORE.
            turn.shared.enabled.condstore = true;
        }
        let Some(view) = turn.shared.view() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        if view.mode == OpenMode::ReadOnly {
            let reply = Reply::no("[READ-ONLY] the mailbox is open for reading only");
            return Outcome::Answer(reply.with(rule));
        }
        let Ok(uids) = view.named(command.numbering, &command.set) else {
            return Outcome::Answer(Reply::bad("no message has such a number").with(rule));
        };
        let flags = match command.flags {
            Ok(flags) => flags,
            Err(error) => {
                return Outcome::Answer(Reply::no(format!("[LIMIT] {error}")).with(rule));
            }
        };
        if uids.is_empty() {
            return Outcome::Answer(Reply::ok("STORE completed").with(rule));
        }
        let what = What {
            numbering: command.numbering,
            uids,
            change: command.change,
            silent: command.silent,
            flags,
            unchanged_since: command.unchanged_since,
        };
        let condition = match (what.silent, what.change) {
            (true, FlagChange::Add | FlagChange::Remove) => {
                Some(what.unchanged_since.map_or(view.synced, |since| since.min(view.synced)))
            }
            // The result of a replacement is known whatever was there before.
            (true, FlagChange::Replace) | (false, _) => what.unchanged_since,
        };
        let token = what.submit(turn, what.uids.clone(), condition);
        let stage = Stage::Storing { token };
        Outcome::Wait(Job::Store(Box::new(Self { what, stage, modified: UidSet::new() })))
    }

    fn wait(mut self: Box<Self>, stage: Stage) -> Outcome {
        self.stage = stage;
        Outcome::Wait(Job::Store(self))
    }

    /// An `OpenFolder` under way.
    pub fn opening(&self) -> Option<Token> {
        match &self.stage {
            Stage::Telling { sync } => sync.opening(),
            Stage::Storing { .. }
            | Stage::Restoring { .. }
            | Stage::Rest { .. }
            | Stage::Draining { .. } => None,
        }
    }

    pub fn on_completed(
        mut self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        let nothing = Stage::Draining { pages: Pages::new(UidSet::new()) };
        match std::mem::replace(&mut self.stage, nothing) {
            Stage::Storing { token: awaited } if awaited == token => {
                match self.stored(completion) {
                    Ok(stored) => self.on_stored(turn, stored),
                    Err(reply) => Outcome::Answer(reply),
                }
            }
            Stage::Restoring { token: awaited, first } if awaited == token => {
                match self.stored(completion) {
                    Ok(second) => {
                        self.modified = second.modified;
                        self.tell(turn, &first)
                    }
                    Err(reply) => Outcome::Answer(reply),
                }
            }
            Stage::Telling { sync } => {
                let step = sync.on_completed(turn, token, completion);
                self.on_told(turn, step)
            }
            Stage::Rest { token: awaited, pages } if awaited == token => match completion {
                Completion::User(UserDone::Fetched { rows }) => self.on_rest(turn, &rows, pages),
                // The flags are set; what they were before is the client's to ask again.
                Completion::User(_)
                | Completion::Directory(_)
                | Completion::Delivery(_)
                | Completion::Blob(_)
                | Completion::Refused(_) => self.answer(turn),
            },
            stage @ (Stage::Storing { .. }
            | Stage::Restoring { .. }
            | Stage::Rest { .. }
            | Stage::Draining { .. }) => self.wait(stage),
        }
    }

    pub fn on_drained(mut self: Box<Self>, turn: &mut Turn<'_, '_>) -> Outcome {
        let nothing = Stage::Draining { pages: Pages::new(UidSet::new()) };
        match std::mem::replace(&mut self.stage, nothing) {
            Stage::Telling { sync } => {
                let step = sync.on_drained(turn);
                self.on_told(turn, step)
            }
            Stage::Draining { pages } => self.next_rest(turn, pages),
            stage @ (Stage::Storing { .. } | Stage::Restoring { .. } | Stage::Rest { .. }) => {
                self.wait(stage)
            }
        }
    }

    fn stored(&self, completion: Completion) -> Result<Stored, Reply> {
        let reply = match completion {
            Completion::User(UserDone::Stored(stored)) => return Ok(stored),
            Completion::User(UserDone::Failed(error)) => Reply::failed(&error),
            Completion::Refused(refusal) => Reply::refused(refusal),
            Completion::User(_)
            | Completion::Directory(_)
            | Completion::Delivery(_)
            | Completion::Blob(_) => Reply::bug(),
        };
        Err(reply.with(expunge_rule(self.what.numbering)))
    }

    fn on_stored(mut self: Box<Self>, turn: &mut Turn<'_, '_>, stored: Stored) -> Outcome {
        let relative = match self.what.change {
            FlagChange::Add | FlagChange::Remove => true,
            FlagChange::Replace => false,
        };
        if self.what.silent && relative && !stored.modified.is_empty() {
            let condition = self.what.unchanged_since;
            let token = self.what.submit(turn, stored.modified.clone(), condition);
            return self.wait(Stage::Restoring { token, first: stored });
        }
        self.modified = stored.modified.clone();
        self.tell(turn, &stored)
    }

    /// `silent`: what a silent STORE did to messages nobody else had touched.
    fn tell(self: Box<Self>, turn: &mut Turn<'_, '_>, silent: &Stored) -> Outcome {
        let unsaid = if self.what.silent {
            let uids = silent.changed.clone();
            Unsaid::Stored { uids, mod_seq: silent.mod_seq }
        } else {
            Unsaid::Nothing
        };
        let how = How {
            rule: expunge_rule(self.what.numbering),
            unsaid,
            with_uid: self.what.numbering.into(),
        };
        let step = Sync::start(turn, how);
        self.on_told(turn, step)
    }

    fn on_told(self: Box<Self>, turn: &mut Turn<'_, '_>, step: SyncStep) -> Outcome {
        match step {
            SyncStep::Wait(sync) => self.wait(Stage::Telling { sync }),
            SyncStep::Done(rows) => {
                if self.what.silent {
                    return self.answer(turn);
                }
                let rest = self.rest(&rows);
                self.next_rest(turn, Pages::new(rest))
            }
            // The change is durable; that it could not be told now is made good at the next
            // command.
            SyncStep::Failed => self.answer(turn),
            SyncStep::Bye(reason) => Outcome::Bye(reason),
        }
    }

    /// Messages named whose flags have not been told: they were as they should be.
    fn rest(&self, told: &Arc<[FlagRow]>) -> UidSet {
        let told: UidSet = told.iter().map(|row| row.uid).collect();
        self.what.uids.difference(&told).difference(&self.modified)
    }

    fn next_rest(self: Box<Self>, turn: &mut Turn<'_, '_>, mut pages: Pages) -> Outcome {
        if turn.shared.output_is_full() {
            return self.wait(Stage::Draining { pages });
        }
        let page = pages.page(turn.shared.limits.fetch_rows_max);
        let Some(view) = turn.shared.view() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        if page.is_empty() {
            return self.answer(turn);
        }
        let task = UserTask::Fetch {
            folder: view.folder,
            uids: page,
            want: Want::default(),
            changed_since: None,
        };
        let token = turn.submit_user(task);
        self.wait(Stage::Rest { token, pages })
    }

    fn on_rest(self: Box<Self>, turn: &mut Turn<'_, '_>, rows: &[Row], pages: Pages) -> Outcome {
        let rows: Vec<FlagRow> = rows
            .iter()
            .map(|row| FlagRow { uid: row.uid, mod_seq: row.mod_seq, flags: row.flags })
            .collect();
        let shared = &mut *turn.shared;
        if let Login::Selected { account: _, view } = &shared.login {
            let place = (&**view, shared.enabled);
            let style = (&Unsaid::Nothing, self.what.numbering.into());
            tell::put_changes(&mut shared.output, place, &rows, style, u64::MAX);
        }
        self.next_rest(turn, pages)
    }

    fn answer(self, turn: &mut Turn<'_, '_>) -> Outcome {
        let rule = expunge_rule(self.what.numbering);
        let Some(view) = turn.shared.view() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        if self.modified.is_empty() {
            return Outcome::Answer(Reply::ok("STORE completed").with(rule));
        }
        // RFC 7162 3.1.3: in the numbering of the command.
        let shown = view.shown(self.what.numbering, &self.modified);
        let text = format!("[MODIFIED {shown}] conditional STORE left some messages alone");
        Outcome::Answer(Reply::ok(text).with(rule))
    }
}

impl What {
    fn submit(
        &self,
        turn: &mut Turn<'_, '_>,
        uids: UidSet,
        unchanged_since: Option<ModSeq>,
    ) -> Token {
        let folder = turn.shared.view().map(|view| view.folder).unwrap_or_default();
        turn.submit_user(UserTask::Store {
            folder,
            uids,
            change: self.change,
            flags: self.flags.system,
            keywords: self.flags.keywords.clone(),
            unchanged_since,
        })
    }
}
