//! An extension that follows the event log of every mailbox: what it knows of a mailbox from events
//! and resets alone is in the end what the mailbox holds.

use super::{Phase, World};
use crate::failure::Failure;
use crate::invariants::Judged;
use fsm::Token;
use mailstore::face::{
    Completion, Event, EventChange, EventNext, EventPage, EventTask, FolderId, FolderKind,
    FolderName, ModSeq, OpenMode, Subscriber, Task, UserDone, UserError, UserTask,
};
use std::collections::{BTreeMap, BTreeSet};
use vspace::{GroupId, Inward};

/// UIDs by folder.
type Known = BTreeMap<FolderId, BTreeSet<u32>>;

/// What the extension knows of one mailbox.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    subscribed: bool,
    known: Known,
}

/// Virtual time that an answer may take.
const ANSWER_NANOS: u64 = 60 * 1_000_000_000;
/// Once within so many events somebody looks at the log.
const READ_ONCE_IN: u64 = 400;

impl World {
    /// Now and then the extension reads what is new for somebody.
    pub(super) fn read_events_sometimes(&mut self) -> Result<(), Failure> {
        if !self.rng.chance(1, READ_ONCE_IN) {
            return Ok(());
        }
        let number = usize::try_from(self.rng.below(self.users.len() as u64)).unwrap_or(0);
        self.follow(number).map(|_| ())
    }

    /// What the extension knows of every mailbox is true.
    pub(super) fn check_readers(&mut self, judged: &Judged) -> Result<(), Failure> {
        for (number, decoded) in judged.users.iter().enumerate() {
            let Some(decoded) = decoded else { continue };
            let mut rounds = 0;
            while !self.follow(number)? {
                rounds += 1;
                if rounds > 10 {
                    let what = format!("the events of user {number} have no end");
                    return Err(Failure::new("events_seen", what));
                }
            }
            let rows = decoded.folders.iter().filter(|folder| !folder.rows.is_empty());
            let rows: Known = rows
                .map(|folder| (FolderId(folder.id), folder.rows.keys().copied().collect()))
                .collect();
            let mut known = self.readers[number].known.clone();
            known.retain(|_, uids| !uids.is_empty());
            if known != rows {
                let what = format!("user {number} holds {rows:?}, events tell of {known:?}");
                return Err(Failure::new("events_seen", what));
            }
        }
        Ok(())
    }

    /// Reads and acknowledges what is new; false when an answer was missing, or the mailbox was looked at anew.
    fn follow(&mut self, number: usize) -> Result<bool, Failure> {
        self.readers.resize(self.users.len(), Reader::default());
        if !self.readers[number].subscribed {
            let done = self.ask_events(number, EventTask::Subscribe)?;
            if let Some(UserDone::Events(EventPage::Reset { at })) = done {
                self.readers[number].subscribed = true;
                self.look_anew(number, at)?;
            }
            return Ok(false);
        }
        let mut from = None;
        loop {
            match self.ask_events(number, EventTask::Read { from })? {
                Some(UserDone::Events(EventPage::Page { events, next })) => {
                    self.coverage.action("events read");
                    apply(&mut self.readers[number].known, events);
                    match next {
                        EventNext::More(place) => from = Some(place),
                        EventNext::End { up_to } => return self.acknowledge(number, up_to),
                    }
                }
                Some(UserDone::Events(EventPage::Reset { at })) => {
                    self.coverage.action("events missed: reset");
                    self.look_anew(number, at)?;
                    return Ok(false);
                }
                Some(other) => return Err(Failure::new("events_seen", format!("{other:?}"))),
                None => return Ok(false),
            }
        }
    }

    fn acknowledge(&mut self, number: usize, up_to: ModSeq) -> Result<bool, Failure> {
        if self.phase == Phase::Faults && self.rng.chance(1, 3) {
            self.coverage.fault("events are read and not acknowledged");
            return Ok(true);
        }
        let done = self.ask_events(number, EventTask::Acknowledge { up_to })?;
        Ok(done == Some(UserDone::Done))
    }

    /// All folders, as they are; then `at` is acknowledged.
    fn look_anew(&mut self, number: usize, at: ModSeq) -> Result<(), Failure> {
        let Some(UserDone::Folders(folders)) = self.ask_user(number, UserTask::ListFolders)? else {
            return Ok(());
        };
        let mut known = Known::new();
        for folder in folders.iter() {
            if !matches!(folder.kind, FolderKind::Folder { .. }) {
                continue;
            }
            match self.uids_of(number, folder.name.clone())? {
                Some((id, uids)) => known.insert(id, uids),
                None => return Ok(()),
            };
        }
        self.readers[number].known = known;
        self.acknowledge(number, at).map(|_| ())
    }

    fn uids_of(
        &mut self,
        number: usize,
        name: FolderName,
    ) -> Result<Option<(FolderId, BTreeSet<u32>)>, Failure> {
        let open = UserTask::OpenFolder { name, mode: OpenMode::ReadOnly, known: None };
        let Some(UserDone::Opened(opened)) = self.ask_user(number, open)? else {
            return Ok(None);
        };
        let uids = opened.uids.iter().map(|uid| uid.0).collect();
        self.ask_user(number, UserTask::CloseFolder { folder: opened.folder })?;
        Ok(Some((opened.folder, uids)))
    }

    fn ask_events(&mut self, number: usize, task: EventTask) -> Result<Option<UserDone>, Failure> {
        let subscriber = Subscriber::new("reader").expect("letters");
        self.ask_user(number, UserTask::Events { subscriber, task })
    }

    /// What the master says; `None`: it refused, or ended.
    fn ask_user(&mut self, number: usize, task: UserTask) -> Result<Option<UserDone>, Failure> {
        if !self.nodes[0].is_up() {
            return Ok(None);
        }
        let life = self.life(0);
        let session = vspace::operator_id(1, 3);
        // `operate` numbers from 1.
        self.tokens_of_readers += 1;
        let token = Token(1 << 40 | self.tokens_of_readers);
        let task = Task::User { user: self.users[number], task };
        self.hand(0, GroupId(0), Inward::Operator { session, token, task })?;
        let end = self.schedule.now() + ANSWER_NANOS;
        while !self.answers.contains_key(&token) {
            if self.is_over(life) || self.schedule.now() > end || !self.happen()? {
                return Ok(None);
            }
        }
        match self.answers.remove(&token) {
            // It was renamed or deleted a moment ago.
            Some(Completion::User(UserDone::Failed(UserError::NoSuchFolder))) => Ok(None),
            // The record of the account was damaged on purpose.
            Some(Completion::User(UserDone::Failed(UserError::Disabled)))
                if !self.harmed.is_none() =>
            {
                Ok(None)
            }
            // The backup knew of no subscriber.
            Some(Completion::User(UserDone::Failed(UserError::Cannot(_))))
                if self.restored.steps > 0 =>
            {
                self.readers[number].subscribed = false;
                Ok(None)
            }
            Some(Completion::User(UserDone::Failed(error))) => {
                Err(Failure::new("events_seen", error.to_string()))
            }
            Some(Completion::User(done)) => Ok(Some(done)),
            Some(_) | None => Ok(None),
        }
    }
}

fn apply(known: &mut Known, events: Vec<Event>) {
    for Event { folder, mod_seq: _, change } in events {
        let known = known.entry(folder).or_default();
        match change {
            EventChange::Arrived(uids) => known.extend(uids.iter().map(|uid| uid.0)),
            EventChange::Flagged(_) => {}
            EventChange::Vanished(uids) => {
                for uid in uids.iter() {
                    known.remove(&uid.0);
                }
            }
        }
    }
}
