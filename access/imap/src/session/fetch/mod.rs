//! FETCH and UID FETCH (RFC 9051 6.4.5, RFC 7162 3.1.4, 3.2.6, RFC 3516).
//!
//! States, page by page: `Marking` (bodies set `\Seen`) -> `Rows` -> `Learning` (a keyword the
//! client has no name for) -> `Sections` -> `Draining` -> next page. `Vanished` before the first
//! page.
//! Invariants: a page is at most [`mailstore::face::FETCH_ROWS_MAX`] rows; no page is asked for
//! while the client has more than the limit to read; flags that this command set are shown in the
//! response that shows the body.

mod bodies;
mod plan;

use super::job::{Job, Outcome};
use super::numbers::{NumberCursor, Pages};
use super::reply::Reply;
use super::shared::{Login, Turn};
use super::sync::{How, Sync, SyncStep};
use super::tell::{self, Unsaid};
use super::view::ExpungeRule;
use crate::codec::{FetchCommand, Numbering};
use bodies::{Bodies, BodiesStep, Fetching, Trouble};
use fsm::Token;
use mailstore::face::{
    Completion, FlagChange, ModSeq, OpenMode, Row, SystemFlag, SystemFlags, TaskRefusal, UidSet,
    UserDone, UserError, UserTask,
};
use plan::{Plan, SeenNow};
use std::collections::BTreeMap;

/// A FETCH under way.
#[derive(Debug)]
pub struct FetchJob {
    plan: Plan,
    numbering: Numbering,
    pages: Pages,
    stage: Stage,
    trouble: Option<Trouble>,
    /// Flags told by this command: need not be told again at its end.
    told: BTreeMap<ModSeq, UidSet>,
}

#[derive(Debug)]
enum Stage {
    Vanished { token: Token },
    Marking { token: Token, page: UidSet },
    Rows { token: Token, seen: UidSet },
    Learning { sync: Sync, rows: Vec<Row>, seen: UidSet },
    Sections(Bodies),
    Draining,
}

/// The rule for expunges at the end of a command on messages by number or UID.
pub fn expunge_rule(numbering: Numbering) -> ExpungeRule {
    match numbering {
        // RFC 9051 7.5.1: UID FETCH, UID STORE and UID SEARCH are other commands than FETCH, STORE
        // and SEARCH.
        Numbering::Uid => ExpungeRule::Allowed,
        Numbering::Sequence => ExpungeRule::Withheld,
    }
}

impl FetchJob {
    pub fn start(turn: &mut Turn<'_, '_>, command: &FetchCommand) -> Outcome {
        let plan = Plan::new(command);
        if command.changed_since.is_some() || plan.shows_mod_seq() {
            // RFC 7162 3.1: these enable CONDSTORE.
            turn.shared.enabled.condstore = true;
        }
        let qresync = turn.shared.enabled.qresync;
        let Some(view) = turn.shared.view() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        let Ok(uids) = view.named(command.numbering, &command.set) else {
            return Outcome::Answer(Reply::bad("no message has such a number"));
        };
        let vanished = match (command.vanished, command.changed_since) {
            // RFC 7162 3.2.6: VANISHED needs QRESYNC.
            (true, _) if !qresync => {
                return Outcome::Answer(Reply::bad("VANISHED needs ENABLE QRESYNC"));
            }
            (true, Some(since)) => {
                // All UIDs that the client names, also those that it does not see any more.
                let largest = view.uid_next.0.saturating_sub(1);
                let named = command.set.resolve(largest).unwrap_or_default();
                let gone = named
                    .intersection(&UidSet::from_range(1..=largest))
                    .difference(&view.map.uids());
                Some(UserTask::Vanished { folder: view.folder, uids: gone, since })
            }
            (true, None) | (false, _) => None,
        };
        let job = Box::new(Self {
            plan,
            numbering: command.numbering,
            pages: Pages::new(uids),
            stage: Stage::Draining,
            trouble: None,
            told: BTreeMap::new(),
        });
        match vanished {
            Some(task) => {
                let token = turn.submit_user(task);
                job.wait(Stage::Vanished { token })
            }
            None => job.next_page(turn),
        }
    }

    fn wait(mut self: Box<Self>, stage: Stage) -> Outcome {
        self.stage = stage;
        Outcome::Wait(Job::Fetch(self))
    }

    /// Whether a response is half sent, so that no other one may be sent now.
    pub fn owes_bytes(&self) -> bool {
        match &self.stage {
            Stage::Sections(bodies) => bodies.is_open(),
            Stage::Vanished { .. }
            | Stage::Marking { .. }
            | Stage::Rows { .. }
            | Stage::Learning { .. }
            | Stage::Draining => false,
        }
    }

    /// An `OpenFolder` under way.
    pub fn opening(&self) -> Option<Token> {
        match &self.stage {
            Stage::Learning { sync, rows: _, seen: _ } => sync.opening(),
            Stage::Vanished { .. }
            | Stage::Marking { .. }
            | Stage::Rows { .. }
            | Stage::Sections(_)
            | Stage::Draining => None,
        }
    }

    fn next_page(mut self: Box<Self>, turn: &mut Turn<'_, '_>) -> Outcome {
        if turn.shared.output_is_full() {
            return self.wait(Stage::Draining);
        }
        let limits = &turn.shared.limits;
        let rows_max = if self.plan.sections.is_empty() {
            limits.fetch_rows_max
        } else {
            limits.fetch_body_rows_max
        };
        let page = self.pages.page(rows_max);
        let Some(view) = turn.shared.view() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        if page.is_empty() {
            return self.answer();
        }
        if self.plan.sets_seen && view.mode == OpenMode::ReadWrite {
            let task = UserTask::Store {
                folder: view.folder,
                uids: page.clone(),
                change: FlagChange::Add,
                flags: SystemFlags::default().with(SystemFlag::Seen),
                keywords: Vec::new(),
                unchanged_since: None,
            };
            let token = turn.submit_user(task);
            return self.wait(Stage::Marking { token, page });
        }
        self.ask_rows(turn, page, UidSet::new())
    }

    fn ask_rows(self: Box<Self>, turn: &mut Turn<'_, '_>, page: UidSet, seen: UidSet) -> Outcome {
        let folder = turn.shared.view().map(|view| view.folder).unwrap_or_default();
        let task = UserTask::Fetch {
            folder,
            uids: page,
            want: self.plan.want,
            changed_since: self.plan.changed_since,
        };
        let token = turn.submit_user(task);
        self.wait(Stage::Rows { token, seen })
    }

    fn answer(self: Box<Self>) -> Outcome {
        let reply = match self.trouble {
            None => Reply::ok("FETCH completed"),
            Some(Trouble::Gone) => Reply::no("[EXPUNGEISSUED] some of the messages are gone"),
            Some(Trouble::UnknownEncoding) => {
                Reply::no("[UNKNOWN-CTE] the encoding of a part can't be undone")
            }
            Some(Trouble::Refused(refusal)) => Reply::refused(refusal),
            Some(Trouble::Bug) => Reply::bug(),
        };
        let reply = reply.with(expunge_rule(self.numbering));
        let with_uid = self.numbering.into();
        Outcome::AnswerTelling(reply, Unsaid::Told(self.told), with_uid)
    }

    fn stop(mut self: Box<Self>, trouble: Trouble) -> Outcome {
        self.trouble.get_or_insert(trouble);
        self.answer()
    }

    pub fn on_completed(
        mut self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        match std::mem::replace(&mut self.stage, Stage::Draining) {
            Stage::Vanished { token: awaited } if awaited == token => {
                self.on_vanished(turn, completion)
            }
            Stage::Marking { token: awaited, page } if awaited == token => {
                self.on_marked(turn, page, completion)
            }
            Stage::Rows { token: awaited, seen } if awaited == token => match completion {
                Completion::User(UserDone::Fetched { rows }) => self.on_rows(turn, rows, seen),
                Completion::User(UserDone::Failed(UserError::NoSuchFolder)) => {
                    self.stop(Trouble::Gone)
                }
                Completion::Refused(refusal) => self.stop(Trouble::Refused(refusal)),
                Completion::User(_)
                | Completion::Directory(_)
                | Completion::Delivery(_)
                | Completion::Blob(_) => self.stop(Trouble::Bug),
            },
            Stage::Learning { sync, rows, seen } => {
                let step = sync.on_completed(turn, token, completion);
                self.on_learned(turn, step, rows, seen)
            }
            Stage::Sections(bodies) => {
                let mut fetching = Fetching { plan: &self.plan, trouble: &mut self.trouble };
                let step = bodies.on_completed(turn, (token, completion), &mut fetching);
                self.on_bodies(turn, step)
            }
            stage @ (Stage::Vanished { .. }
            | Stage::Marking { .. }
            | Stage::Rows { .. }
            | Stage::Draining) => self.wait(stage),
        }
    }

    pub fn on_drained(mut self: Box<Self>, turn: &mut Turn<'_, '_>) -> Outcome {
        match std::mem::replace(&mut self.stage, Stage::Draining) {
            Stage::Draining => self.next_page(turn),
            Stage::Sections(bodies) => {
                let mut fetching = Fetching { plan: &self.plan, trouble: &mut self.trouble };
                let step = bodies.go_on(turn, &mut fetching);
                self.on_bodies(turn, step)
            }
            Stage::Learning { sync, rows, seen } => {
                let step = sync.on_drained(turn);
                self.on_learned(turn, step, rows, seen)
            }
            stage @ (Stage::Vanished { .. } | Stage::Marking { .. } | Stage::Rows { .. }) => {
                self.wait(stage)
            }
        }
    }

    fn on_vanished(self: Box<Self>, turn: &mut Turn<'_, '_>, completion: Completion) -> Outcome {
        match completion {
            Completion::User(UserDone::Vanished(uids)) => {
                tell::put_vanished_earlier(&mut turn.shared.output, &uids);
                self.next_page(turn)
            }
            Completion::Refused(refusal) => self.stop(Trouble::Refused(refusal)),
            Completion::User(UserDone::Failed(_)) => {
                self.stop(Trouble::Refused(TaskRefusal::Unavailable))
            }
            Completion::User(_)
            | Completion::Directory(_)
            | Completion::Delivery(_)
            | Completion::Blob(_) => self.stop(Trouble::Bug),
        }
    }

    fn on_marked(
        self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        page: UidSet,
        completion: Completion,
    ) -> Outcome {
        // The body is shown also when `\Seen` could not be set: no space, quota, a master that
        // moves.
        let seen = match completion {
            Completion::User(UserDone::Stored(stored)) => stored.changed,
            Completion::User(_)
            | Completion::Directory(_)
            | Completion::Delivery(_)
            | Completion::Blob(_)
            | Completion::Refused(_) => UidSet::new(),
        };
        self.ask_rows(turn, page, seen)
    }

    fn on_rows(self: Box<Self>, turn: &mut Turn<'_, '_>, rows: Vec<Row>, seen: UidSet) -> Outcome {
        let known = turn.shared.view().map_or(u128::MAX, super::view::View::keyword_mask);
        let unknown = rows.iter().any(|row| row.flags.keywords & !known != 0);
        if unknown && self.plan.may_show_flags() {
            // RFC 9051 7.3.5: FLAGS comes before a keyword is used. In FETCH by number nothing may
            // disappear.
            let step = Sync::start(turn, How::all(ExpungeRule::Withheld));
            return self.on_learned(turn, step, rows, seen);
        }
        self.show(turn, rows, seen)
    }

    fn on_learned(
        self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        step: SyncStep,
        rows: Vec<Row>,
        seen: UidSet,
    ) -> Outcome {
        match step {
            SyncStep::Wait(sync) => self.wait(Stage::Learning { sync, rows, seen }),
            SyncStep::Done(told) => {
                let page: UidSet = rows.iter().map(|row| row.uid).collect();
                // What was told with the keyword may be newer than these rows, and MODSEQ never falls.
                if told.iter().any(|it| page.contains(it.uid)) {
                    return self.ask_rows(turn, page, seen);
                }
                self.show(turn, rows, seen)
            }
            SyncStep::Failed => self.stop(Trouble::Refused(TaskRefusal::Unavailable)),
            SyncStep::Bye(reason) => Outcome::Bye(reason),
        }
    }

    fn show(mut self: Box<Self>, turn: &mut Turn<'_, '_>, rows: Vec<Row>, seen: UidSet) -> Outcome {
        for row in &rows {
            if seen.contains(row.uid) {
                self.told.entry(row.mod_seq).or_default().insert(row.uid);
            }
        }
        if !self.plan.sections.is_empty() {
            let bodies = Bodies::new(rows, seen);
            let mut fetching = Fetching { plan: &self.plan, trouble: &mut self.trouble };
            let step = bodies.go_on(turn, &mut fetching);
            return self.on_bodies(turn, step);
        }
        let shared = &mut *turn.shared;
        let condstore = shared.enabled.condstore;
        let Login::Selected { account: _, view } = &shared.login else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        shared.output.reserve(rows.iter().map(row_bytes).sum());
        let mut cursor = NumberCursor::default();
        for row in &rows {
            let seen = SeenNow { set: seen.contains(row.uid), condstore };
            let place = (&**view, &mut cursor);
            if self.plan.put_row(&mut shared.output, place, row, seen).is_some() {
                shared.output.put(")\r\n");
            }
        }
        self.next_page(turn)
    }

    fn on_bodies(self: Box<Self>, turn: &mut Turn<'_, '_>, step: BodiesStep) -> Outcome {
        match step {
            BodiesStep::Wait(bodies) => self.wait(Stage::Sections(bodies)),
            BodiesStep::Done => self.next_page(turn),
            BodiesStep::Broken => Outcome::Broken,
        }
    }
}

/// A guess at the bytes of a row without its sections.
fn row_bytes(row: &Row) -> usize {
    96 + row.envelope.len() + row.body.len() + row.structure.len()
}
