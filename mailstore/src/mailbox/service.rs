//! How tasks are served: which depend on what, which end with their session, which a disabled account still gets.

use super::Waiting;
use crate::face::{AccountFacts, EventTask, Promise, RecordTask, SessionId, UserTask};

/// A disabled account gets what was accepted for it, may let go of what it holds, and is served nothing else. One that is
/// gone gets nothing either: who promised learns that it ends here.
#[must_use]
pub fn serves(account: &AccountFacts, task: &UserTask) -> bool {
    match task {
        UserTask::Deliver(deliver) => deliver.promise == Promise::Given && !account.is_removed(),
        UserTask::CloseFolder { .. } | UserTask::ReleaseMaildrop | UserTask::DropAppend { .. } => {
            true
        }
        UserTask::ListFolders
        | UserTask::CreateFolder { .. }
        | UserTask::DeleteFolder { .. }
        | UserTask::RenameFolder { .. }
        | UserTask::Subscribe { .. }
        | UserTask::Status { .. }
        | UserTask::OpenFolder { .. }
        | UserTask::Sync { .. }
        | UserTask::Fetch { .. }
        | UserTask::Vanished { .. }
        | UserTask::ReadSection { .. }
        | UserTask::Search { .. }
        | UserTask::Store { .. }
        | UserTask::Expunge { .. }
        | UserTask::Copy { .. }
        | UserTask::Append { .. }
        | UserTask::Replace { .. }
        | UserTask::StageAppend { .. }
        | UserTask::CommitAppend { .. }
        | UserTask::Quota
        | UserTask::Events { .. }
        | UserTask::Records(_)
        | UserTask::OpenMaildrop
        | UserTask::CommitMaildrop { .. } => false,
    }
}

/// What a session wanted for itself: pointless, or harmful, once it is gone.
#[must_use]
pub fn is_own(waiting: &Waiting, session: SessionId) -> bool {
    waiting.asker.session == session
        && matches!(
            waiting.task,
            UserTask::OpenFolder { .. }
                | UserTask::OpenMaildrop
                | UserTask::CommitMaildrop { .. }
                | UserTask::StageAppend { .. }
                | UserTask::CommitAppend { .. }
                | UserTask::Search { .. }
                | UserTask::Fetch { .. }
        )
}

/// How a task relates to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Changes nothing that is persistent.
    Read,
    /// Depends on assigned counters alone.
    Arrival,
    /// Depends on committed rows.
    Change,
    /// Changes the folder table.
    Barrier,
}

/// How a task relates to others.
#[must_use]
pub fn class(task: &UserTask) -> Class {
    match task {
        UserTask::Events { subscriber: _, task: EventTask::Read { .. } } => Class::Read,
        UserTask::Events { .. }
        | UserTask::Deliver(_)
        | UserTask::Append { .. }
        | UserTask::StageAppend { .. }
        | UserTask::CommitAppend { .. } => Class::Arrival,
        UserTask::CreateFolder { .. }
        | UserTask::DeleteFolder { .. }
        | UserTask::RenameFolder { .. } => Class::Barrier,
        UserTask::Subscribe { .. }
        | UserTask::Store { .. }
        | UserTask::Expunge { .. }
        | UserTask::Copy { .. }
        | UserTask::Replace { .. }
        | UserTask::DropAppend { .. }
        | UserTask::Records(RecordTask::Write(_))
        | UserTask::CommitMaildrop { .. } => Class::Change,
        UserTask::ListFolders
        | UserTask::Status { .. }
        | UserTask::OpenFolder { .. }
        | UserTask::CloseFolder { .. }
        | UserTask::Sync { .. }
        | UserTask::Fetch { .. }
        | UserTask::Vanished { .. }
        | UserTask::ReadSection { .. }
        | UserTask::Search { .. }
        | UserTask::Quota
        | UserTask::Records(RecordTask::List { .. } | RecordTask::Get { .. })
        | UserTask::OpenMaildrop
        | UserTask::ReleaseMaildrop => Class::Read,
    }
}

/// Whether a task changes what is persistent.
#[must_use]
pub fn is_change(task: &UserTask) -> bool {
    class(task) != Class::Read
}
