//! SELECT and EXAMINE (RFC 9051 6.3.2), with CONDSTORE and QRESYNC (RFC 7162 3.1.8, 3.2.5).
//!
//! States: `Opening` -> `Changes` -> `Arrivals` -> answer. Without QRESYNC there is nothing behind
//! `Opening`.
//! Invariants: when it fails no folder is selected (RFC 9051 6.3.2).

use super::copy::leave;
use super::job::{Job, Outcome};
use super::numbers::Pages;
use super::reply::Reply;
use super::shared::{Login, Turn};
use super::single::mailbox_id;
use super::tell::{self, Unsaid, WithUid};
use super::view::View;
use crate::codec::{Mailbox, QResync, SelectParams};
use fsm::Token;
use mailstore::face::{
    Completion, FlagRow, FolderName, FolderOpened, Known, OpenMode, UidSet, UserDone, UserTask,
    Want,
};
use std::sync::Arc;

/// A SELECT under way.
#[derive(Debug)]
pub struct SelectJob {
    mode: OpenMode,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Opening {
        token: Token,
        name: FolderName,
        qresync: Option<Box<QResync>>,
    },
    /// QRESYNC: flags that changed.
    Changes {
        rows: Arc<[FlagRow]>,
        at: usize,
        arrived: UidSet,
    },
    /// QRESYNC: the flags of messages that are new to the client.
    Arrivals {
        token: Token,
        pages: Pages,
    },
    Draining {
        pages: Pages,
    },
}

impl SelectJob {
    pub fn start(
        turn: &mut Turn<'_, '_>,
        mode: OpenMode,
        (mailbox, params): (Mailbox, SelectParams),
    ) -> Outcome {
        if params.qresync.is_some() && !turn.shared.enabled.qresync {
            // RFC 7162 3.2.5: only after ENABLE QRESYNC.
            return Outcome::Answer(Reply::bad("QRESYNC needs ENABLE QRESYNC"));
        }
        if params.condstore {
            turn.shared.enabled.condstore = true;
        }
        if turn.shared.view().is_some() {
            leave(turn);
            // RFC 7162 3.2.11: the client must know where responses for the old folder end.
            turn.shared.output.put("* OK [CLOSED] previous mailbox closed\r\n");
        }
        let name = match mailbox {
            Ok(name) => name,
            Err(error) => return Outcome::Answer(Reply::no(format!("[CANNOT] {error}"))),
        };
        let known = params.qresync.as_ref().map(|resync| Known {
            uid_validity: resync.uid_validity,
            mod_seq: resync.mod_seq,
            uids: resync.known_uids.as_ref().and_then(|set| set.resolve(0)),
        });
        let task = UserTask::OpenFolder { name: name.clone(), mode, known };
        let token = turn.submit_user(task);
        let stage = Stage::Opening { token, name, qresync: params.qresync.map(Box::new) };
        Outcome::Wait(Job::Select(Box::new(Self { mode, stage })))
    }

    fn wait(mut self: Box<Self>, stage: Stage) -> Outcome {
        self.stage = stage;
        Outcome::Wait(Job::Select(self))
    }

    pub fn opening(&self) -> Option<Token> {
        match &self.stage {
            Stage::Opening { token, name: _, qresync: _ } => Some(*token),
            Stage::Changes { .. } | Stage::Arrivals { .. } | Stage::Draining { .. } => None,
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
            Stage::Opening { token: awaited, name, qresync } if awaited == token => {
                match completion {
                    Completion::User(UserDone::Opened(opened)) => {
                        self.on_opened(turn, (name, qresync), &opened)
                    }
                    Completion::User(UserDone::Failed(error)) => {
                        Outcome::Answer(Reply::failed(&error))
                    }
                    Completion::Refused(refusal) => Outcome::Answer(Reply::refused(refusal)),
                    Completion::User(_)
                    | Completion::Directory(_)
                    | Completion::Delivery(_)
                    | Completion::Blob(_) => Outcome::Answer(Reply::bug()),
                }
            }
            Stage::Arrivals { token: awaited, pages } if awaited == token => match completion {
                Completion::User(UserDone::Fetched { rows }) => {
                    let rows: Vec<FlagRow> = rows
                        .iter()
                        .map(|row| FlagRow { uid: row.uid, mod_seq: row.mod_seq, flags: row.flags })
                        .collect();
                    put_rows(turn, &rows, u64::MAX);
                    self.next_arrivals(turn, pages)
                }
                // The client asks for the flags of new messages anyway, as EXISTS names more than
                // it knows.
                Completion::User(_)
                | Completion::Directory(_)
                | Completion::Delivery(_)
                | Completion::Blob(_)
                | Completion::Refused(_) => self.answer(),
            },
            stage @ (Stage::Opening { .. }
            | Stage::Changes { .. }
            | Stage::Arrivals { .. }
            | Stage::Draining { .. }) => self.wait(stage),
        }
    }

    pub fn on_drained(mut self: Box<Self>, turn: &mut Turn<'_, '_>) -> Outcome {
        let nothing = Stage::Draining { pages: Pages::new(UidSet::new()) };
        match std::mem::replace(&mut self.stage, nothing) {
            Stage::Changes { rows, at, arrived } => self.tell_changes(turn, (rows, at), arrived),
            Stage::Draining { pages } => self.next_arrivals(turn, pages),
            stage @ (Stage::Opening { .. } | Stage::Arrivals { .. }) => self.wait(stage),
        }
    }

    fn on_opened(
        self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        (name, qresync): (FolderName, Option<Box<QResync>>),
        opened: &FolderOpened,
    ) -> Outcome {
        let view = View::new(name, self.mode, opened);
        put_opened(turn, &view, opened);
        let known_uids = qresync
            .as_ref()
            .and_then(|resync| resync.known_uids.as_ref())
            .and_then(|set| set.resolve(0));
        let told = match (&opened.resync, qresync) {
            (Some(diff), Some(resync)) => {
                let mut vanished = diff.vanished.difference(&opened.uids);
                let mut arrived = diff.arrived.clone();
                if let Some(known) = known_uids {
                    vanished = vanished.intersection(&known);
                    arrived = arrived.intersection(&known);
                }
                let vanished = vanished.difference(&matched(&view, &resync));
                // RFC 7162 3.2.5.1: VANISHED comes before any FETCH.
                tell::put_vanished_earlier(&mut turn.shared.output, &vanished);
                Some((Arc::clone(&diff.changed), arrived))
            }
            (None, _) | (Some(_), None) => None,
        };
        turn.shared.select(view);
        match told {
            Some((rows, arrived)) => self.tell_changes(turn, (rows, 0), arrived),
            None => self.answer(),
        }
    }

    fn tell_changes(
        self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        (rows, at): (Arc<[FlagRow]>, usize),
        arrived: UidSet,
    ) -> Outcome {
        let room = turn.shared.limits.undrained_bytes_max;
        let at = at + put_rows(turn, rows.get(at..).unwrap_or_default(), room);
        if at < rows.len() {
            return self.wait(Stage::Changes { rows, at, arrived });
        }
        self.next_arrivals(turn, Pages::new(arrived))
    }

    fn next_arrivals(self: Box<Self>, turn: &mut Turn<'_, '_>, mut pages: Pages) -> Outcome {
        if turn.shared.output_is_full() {
            return self.wait(Stage::Draining { pages });
        }
        let page = pages.page(turn.shared.limits.fetch_rows_max);
        let Some(view) = turn.shared.view() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        if page.is_empty() {
            return self.answer();
        }
        let task = UserTask::Fetch {
            folder: view.folder,
            uids: page,
            want: Want::default(),
            changed_since: None,
        };
        let token = turn.submit_user(task);
        self.wait(Stage::Arrivals { token, pages })
    }

    fn answer(self) -> Outcome {
        Outcome::Answer(match self.mode {
            OpenMode::ReadWrite => Reply::ok("[READ-WRITE] SELECT completed"),
            OpenMode::ReadOnly => Reply::ok("[READ-ONLY] EXAMINE completed"),
        })
    }
}

fn put_rows(turn: &mut Turn<'_, '_>, rows: &[FlagRow], room: u64) -> usize {
    let shared = &mut *turn.shared;
    let Login::Selected { account: _, view } = &shared.login else { return rows.len() };
    let style = (&Unsaid::Nothing, WithUid::Yes);
    tell::put_changes(&mut shared.output, (view, shared.enabled), rows, style, room)
}

fn put_opened(turn: &mut Turn<'_, '_>, view: &View, opened: &FolderOpened) {
    let output = &mut turn.shared.output;
    tell::put_flag_table(output, view);
    tell::put_sizes(output, view);
    // RFC 3501 7.1: the number of the first unseen message.
    if let Some(seq) = opened.first_unseen.and_then(|uid| view.map.seq(uid)) {
        output.put("* OK [UNSEEN ").number(seq).put("] first unseen message\r\n");
    }
    output.put("* OK [UIDVALIDITY ").number(opened.uid_validity.0).put("] UIDs valid\r\n");
    output.put("* OK [UIDNEXT ").number(opened.uid_next.0).put("] predicted next UID\r\n");
    // RFC 7162 3.1.2.1: always there, and never 0.
    output.put("* OK [HIGHESTMODSEQ ").number(opened.highest_mod_seq.0.max(1));
    output.put("] highest\r\n* OK [MAILBOXID (").put(mailbox_id(opened.folder));
    output.put(")] id\r\n");
}

/// RFC 7162 3.2.5.2: up to the last pair of number and UID that still holds, nothing that the
/// client knows has gone.
fn matched(view: &View, resync: &QResync) -> UidSet {
    let pairs = resync.match_data.as_ref().and_then(|(numbers, uids)| {
        Some((numbers.resolve(0)?, uids.resolve(0)?))
            .filter(|(numbers, uids)| numbers.len() == uids.len())
    });
    let Some((numbers, uids)) = pairs else { return UidSet::new() };
    let count = u64::from(view.map.len());
    // Clients send a few dozen pairs, RFC 7162 suggests to thin them out; no more than there are
    // messages are looked at.
    let last = numbers
        .iter()
        .zip(uids.iter())
        .take(usize::try_from(count).unwrap_or(usize::MAX))
        .filter(|(number, uid)| view.map.uid(number.0) == Some(*uid))
        .last();
    last.map_or_else(UidSet::new, |(_, uid)| UidSet::from_range(1..=uid.0))
}
