//! One reconciliation of the client's view with its master: asks what changed, and tells it.
//!
//! States: `Syncing` | `Reopening` -> `Telling` -> done. Part of the jobs that need it; never runs
//! by itself.
//! Invariants: nothing is told that did not come as a completion; rows are told in pages, so that a
//! client that does not read costs bounded memory.

use super::shared::{Login, Turn};
use super::tell::{self, Unsaid, WithUid};
use super::view::{ExpungeRule, News, View};
use fsm::Token;
use mailstore::face::{
    Completion, FlagRow, FolderDiff, FolderOpened, Known, UserDone, UserError, UserTask,
};
use std::sync::Arc;

/// A reconciliation under way.
#[derive(Debug)]
pub struct Sync {
    stage: Stage,
    how: How,
}

/// How the changes are told.
#[derive(Debug)]
pub struct How {
    pub rule: ExpungeRule,
    pub unsaid: Unsaid,
    pub with_uid: WithUid,
}

#[derive(Debug)]
enum Stage {
    Syncing { token: Token },
    Reopening { token: Token },
    Telling { rows: Arc<[FlagRow]>, at: usize },
}

/// What a step of a reconciliation led to.
#[derive(Debug)]
pub enum SyncStep {
    /// For a completion, or for `Drained`.
    Wait(Sync),
    /// The client knows all. The rows are those of the diff.
    Done(Arc<[FlagRow]>),
    /// The master did not answer: the news are still due.
    Failed,
    /// The folder is gone, or no longer the same: the session ends.
    Bye(&'static str),
}

/// The plain form: everything is told.
impl How {
    pub fn all(rule: ExpungeRule) -> Self {
        Self { rule, unsaid: Unsaid::Nothing, with_uid: WithUid::No }
    }
}

impl Sync {
    /// Asks the master. A folder must be selected.
    pub fn start(turn: &mut Turn<'_, '_>, how: How) -> SyncStep {
        let Login::Selected { account: _, view } = &turn.shared.login else {
            return SyncStep::Failed;
        };
        let stage = match view.news {
            News::None | News::Due => {
                let task = UserTask::Sync {
                    folder: view.folder,
                    since: view.synced,
                    expunges_told: view.expunges_told,
                };
                Stage::Syncing { token: turn.submit_user(task) }
            }
            News::MasterLost => {
                let task = UserTask::OpenFolder {
                    name: view.name.clone(),
                    mode: view.mode,
                    known: Some(Known {
                        uid_validity: view.uid_validity,
                        mod_seq: view.synced,
                        uids: Some(view.map.uids()),
                    }),
                };
                Stage::Reopening { token: turn.submit_user(task) }
            }
        };
        SyncStep::Wait(Self { stage, how })
    }

    /// The token of an `OpenFolder` under way: a session that leaves must still close what it
    /// opens.
    pub fn opening(&self) -> Option<Token> {
        match &self.stage {
            Stage::Reopening { token } => Some(*token),
            Stage::Syncing { token: _ } | Stage::Telling { rows: _, at: _ } => None,
        }
    }

    pub fn on_completed(
        self,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> SyncStep {
        match (&self.stage, completion) {
            (Stage::Syncing { token: awaited }, completion) if *awaited == token => {
                match completion {
                    Completion::User(UserDone::Synced(diff)) => self.on_diff(turn, &diff),
                    // A master that does not know this session: whether the folder is gone shows
                    // when it is opened.
                    Completion::User(UserDone::Failed(UserError::NoSuchFolder)) => {
                        if let Some(view) = turn.shared.view_mut() {
                            view.news = News::MasterLost;
                        }
                        Self::start(turn, self.how)
                    }
                    Completion::User(_)
                    | Completion::Directory(_)
                    | Completion::Delivery(_)
                    | Completion::Blob(_)
                    | Completion::Refused(_) => SyncStep::Failed,
                }
            }
            (Stage::Reopening { token: awaited }, completion) if *awaited == token => {
                match completion {
                    Completion::User(UserDone::Opened(opened)) => self.on_opened(turn, &opened),
                    Completion::User(UserDone::Failed(UserError::NoSuchFolder)) => {
                        SyncStep::Bye("the selected mailbox was deleted")
                    }
                    Completion::User(_)
                    | Completion::Directory(_)
                    | Completion::Delivery(_)
                    | Completion::Blob(_)
                    | Completion::Refused(_) => SyncStep::Failed,
                }
            }
            (Stage::Syncing { .. } | Stage::Reopening { .. } | Stage::Telling { .. }, _) => {
                SyncStep::Wait(self)
            }
        }
    }

    fn on_opened(self, turn: &mut Turn<'_, '_>, opened: &FolderOpened) -> SyncStep {
        let Some(view) = turn.shared.view_mut() else { return SyncStep::Failed };
        if opened.uid_validity != view.uid_validity || opened.folder != view.folder {
            return SyncStep::Bye("the selected mailbox is another one now");
        }
        let diff = view.diff_to(opened);
        self.on_diff(turn, &diff)
    }

    fn on_diff(self, turn: &mut Turn<'_, '_>, diff: &FolderDiff) -> SyncStep {
        let enabled = turn.shared.enabled;
        let Login::Selected { account: _, view } = &mut turn.shared.login else {
            return SyncStep::Failed;
        };
        let telling = view.absorb(diff, self.how.rule);
        tell::put_telling(&mut turn.shared.output, enabled, view, &telling);
        if !telling.expunges.uids.is_empty() {
            acknowledge(turn);
        }
        let stage = Stage::Telling { rows: Arc::clone(&diff.changed), at: 0 };
        Self { stage, ..self }.on_drained(turn)
    }

    /// Tells as much as there is room for.
    pub fn on_drained(self, turn: &mut Turn<'_, '_>) -> SyncStep {
        let Stage::Telling { rows, mut at } = self.stage else { return SyncStep::Wait(self) };
        let shared = &mut *turn.shared;
        let (enabled, room) = (shared.enabled, shared.limits.undrained_bytes_max);
        if let Login::Selected { account: _, view } = &shared.login {
            let rest = rows.get(at..).unwrap_or_default();
            let style = (&self.how.unsaid, self.how.with_uid);
            at += tell::put_changes(&mut shared.output, (view, enabled), rest, style, room);
        }
        if at < rows.len() {
            return SyncStep::Wait(Self { stage: Stage::Telling { rows, at }, ..self });
        }
        SyncStep::Done(rows)
    }
}

/// Tells expunges that were withheld so far.
pub fn release_expunges(turn: &mut Turn<'_, '_>) {
    let enabled = turn.shared.enabled;
    let Login::Selected { account: _, view } = &mut turn.shared.login else { return };
    if view.vanished.is_empty() {
        return;
    }
    let expunges = view.release_expunges();
    tell::put_expunges(&mut turn.shared.output, enabled, &expunges);
    acknowledge(turn);
}

/// Lets the master forget messages that the client knows to be gone. What else its answer says is
/// left for later.
fn acknowledge(turn: &mut Turn<'_, '_>) {
    let Some(view) = turn.shared.view() else { return };
    let task = UserTask::Sync {
        folder: view.folder,
        since: view.synced,
        expunges_told: view.expunges_told,
    };
    let token = turn.submit_user(task);
    if let Some(view) = turn.shared.view_mut() {
        view.acknowledging = Some(token);
    }
}

/// The answer to [`acknowledge`]: true when `token` was one.
pub fn on_acknowledged(view: &mut View, token: Token, completion: &Completion) -> bool {
    if view.acknowledging != Some(token) {
        return false;
    }
    view.acknowledging = None;
    if let Completion::User(UserDone::Synced(diff)) = completion {
        let nothing_new = diff.vanished.is_empty()
            && diff.arrived.is_empty()
            && diff.changed.is_empty()
            && diff.keywords.len() <= view.keywords.len();
        if !nothing_new {
            view.on_changed(diff.mod_seq);
        }
    }
    true
}
