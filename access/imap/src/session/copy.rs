//! COPY, MOVE (RFC 6851), EXPUNGE, UID EXPUNGE (RFC 4315) and CLOSE: what moves or removes
//! messages.

use super::job::{Job, Outcome};
use super::reply::Reply;
use super::shared::Turn;
use super::view::News;
use crate::codec::{Mailbox, Numbering, SequenceSet};
use fsm::Token;
use mailstore::face::{Completion, Copied, FolderName, OpenMode, UidSet, UserDone, UserTask};

/// One of them under way.
#[derive(Debug)]
pub struct CopyJob {
    token: Token,
    what: What,
}

#[derive(Debug)]
enum What {
    Copy {
        to: FolderName,
        asked: UidSet,
    },
    Move {
        to: FolderName,
        asked: UidSet,
    },
    Expunge,
    /// CLOSE removes without a word, then leaves.
    Close,
}

/// COPY and MOVE as they were asked for.
pub struct Transfer {
    pub numbering: Numbering,
    pub set: SequenceSet,
    pub mailbox: Mailbox,
    pub kind: TransferKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferKind {
    Copy,
    Move,
}

impl CopyJob {
    pub fn start_transfer(turn: &mut Turn<'_, '_>, transfer: Transfer) -> Outcome {
        let Some(view) = turn.shared.view() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        let to = match transfer.mailbox {
            Ok(to) => to,
            Err(error) => return Outcome::Answer(Reply::no(format!("[CANNOT] {error}"))),
        };
        let Ok(uids) = view.named(transfer.numbering, &transfer.set) else {
            return Outcome::Answer(Reply::bad("no message has such a number"));
        };
        if uids.is_empty() {
            // RFC 9051 6.4.9: a UID that is not there is left out without an error.
            return Outcome::Answer(Reply::ok("nothing to do"));
        }
        let folder = view.folder;
        let remove_source = match transfer.kind {
            TransferKind::Copy => false,
            TransferKind::Move if view.mode == OpenMode::ReadOnly => return read_only(),
            TransferKind::Move => true,
        };
        let task = UserTask::Copy { folder, uids: uids.clone(), to: to.clone(), remove_source };
        let token = turn.submit_user(task);
        let what = if remove_source {
            What::Move { to, asked: uids }
        } else {
            What::Copy { to, asked: uids }
        };
        Outcome::Wait(Job::Copy(Box::new(Self { token, what })))
    }

    /// EXPUNGE, or UID EXPUNGE with a set.
    pub fn start_expunge(turn: &mut Turn<'_, '_>, set: Option<&SequenceSet>) -> Outcome {
        let Some(view) = turn.shared.view() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        if view.mode == OpenMode::ReadOnly {
            return read_only();
        }
        // RFC 9051 6.4.3: messages that the client has not seen yet are not its to remove.
        let uids = match set {
            Some(set) => view.named_uids(set),
            None => view.map.uids(),
        };
        let task = UserTask::Expunge { folder: view.folder, uids: Some(uids) };
        let token = turn.submit_user(task);
        Outcome::Wait(Job::Copy(Box::new(Self { token, what: What::Expunge })))
    }

    pub fn start_close(turn: &mut Turn<'_, '_>) -> Outcome {
        let Some(view) = turn.shared.view() else {
            return Outcome::Answer(Turn::nothing_selected());
        };
        match view.mode {
            // RFC 9051 6.4.1: nothing is removed from a folder opened by EXAMINE.
            OpenMode::ReadOnly => {
                leave(turn);
                Outcome::Answer(Reply::ok("CLOSE completed"))
            }
            OpenMode::ReadWrite => {
                let uids = Some(view.map.uids());
                let task = UserTask::Expunge { folder: view.folder, uids };
                let token = turn.submit_user(task);
                Outcome::Wait(Job::Copy(Box::new(Self { token, what: What::Close })))
            }
        }
    }

    pub fn on_completed(
        self: Box<Self>,
        turn: &mut Turn<'_, '_>,
        token: Token,
        completion: Completion,
    ) -> Outcome {
        if token != self.token {
            return Outcome::Wait(Job::Copy(self));
        }
        match (self.what, completion) {
            (What::Copy { to, asked }, Completion::User(UserDone::Copied(copied))) => {
                on_copied(turn, (&to, &asked), &copied)
            }
            (What::Move { to, asked }, Completion::User(UserDone::Copied(copied))) => {
                on_moved(turn, (&to, &asked), &copied)
            }
            (What::Expunge, Completion::User(UserDone::Expunged { uids, mod_seq })) => {
                if uids.is_empty() {
                    return Outcome::Answer(Reply::ok("EXPUNGE completed"));
                }
                let qresync = turn.shared.enabled.qresync;
                if let Some(view) = turn.shared.view_mut() {
                    view.on_changed(mod_seq);
                }
                let reply = Reply::ok("EXPUNGE completed");
                // RFC 7162 3.2.7: with QRESYNC the client learns how far it is.
                Outcome::Answer(if qresync { reply.with_highest_mod_seq() } else { reply })
            }
            (What::Close, Completion::User(UserDone::Expunged { uids: _, mod_seq: _ })) => {
                leave(turn);
                Outcome::Answer(Reply::ok("CLOSE completed"))
            }
            (What::Close, Completion::User(UserDone::Failed(error))) => {
                close_untidy(turn, &Reply::failed(&error))
            }
            (What::Close, Completion::Refused(refusal)) => {
                close_untidy(turn, &Reply::refused(refusal))
            }
            (_, Completion::User(UserDone::Failed(error))) => {
                Outcome::Answer(Reply::failed_target(&error))
            }
            (_, Completion::Refused(refusal)) => Outcome::Answer(Reply::refused(refusal)),
            (What::Copy { .. } | What::Move { .. } | What::Expunge | What::Close, _) => {
                Outcome::Answer(Reply::bug())
            }
        }
    }
}

fn read_only() -> Outcome {
    Outcome::Answer(Reply::no("[READ-ONLY] the mailbox is open for reading only"))
}

/// Leaves the selected folder: the master need not watch for it any more.
pub fn leave(turn: &mut Turn<'_, '_>) {
    if let Some(view) = turn.shared.unselect() {
        turn.submit_user(UserTask::CloseFolder { folder: view.folder });
    }
}

/// Messages that were to be removed are still there.
pub fn close_untidy(turn: &mut Turn<'_, '_>, reply: &Reply) -> Outcome {
    leave(turn);
    // RFC 9051 6.4.1: CLOSE ends in OK and the authenticated state. 7.1.2: an untagged NO warns.
    turn.shared.output.put("* NO ").put(reply.text.as_bytes()).line();
    Outcome::Answer(Reply::ok("CLOSE completed, and deleted messages are still there"))
}

fn copy_uid(copied: &Copied) -> String {
    format!("[COPYUID {} {} {}]", copied.uid_validity, copied.source, copied.target)
}

/// Messages copied into the selected folder itself have arrived there.
fn note_target(turn: &mut Turn<'_, '_>, to: &FolderName) {
    if let Some(view) = turn.shared.view_mut()
        && view.name == *to
        && view.news == News::None
    {
        view.news = News::Due;
    }
}

fn on_copied(
    turn: &mut Turn<'_, '_>,
    (to, asked): (&FolderName, &UidSet),
    copied: &Copied,
) -> Outcome {
    note_target(turn, to);
    if copied.source.is_empty() {
        return gone(asked);
    }
    Outcome::Answer(Reply::ok(format!("{} COPY completed", copy_uid(copied))))
}

fn on_moved(
    turn: &mut Turn<'_, '_>,
    (to, asked): (&FolderName, &UidSet),
    copied: &Copied,
) -> Outcome {
    note_target(turn, to);
    if copied.source.is_empty() {
        return gone(asked);
    }
    if let Some(view) = turn.shared.view_mut() {
        view.on_changed(copied.mod_seq);
    }
    // RFC 6851 4.3: COPYUID comes in an untagged OK before the first EXPUNGE.
    turn.shared.output.put("* OK ").put(copy_uid(copied)).put(" moved\r\n");
    let reply = Reply::ok("MOVE completed");
    // RFC 7162 3.2.9: as after UID EXPUNGE.
    let qresync = turn.shared.enabled.qresync;
    Outcome::Answer(if qresync { reply.with_highest_mod_seq() } else { reply })
}

/// All messages that were named have been expunged elsewhere.
fn gone(asked: &UidSet) -> Outcome {
    debug_assert!(!asked.is_empty(), "an empty set is answered before the master is asked");
    // RFC 2180 4.4.1.
    Outcome::Answer(Reply::no("[EXPUNGEISSUED] the messages are gone"))
}
