//! Kinds of inputs that machines step with, counted: what a run never stepped with, it did not
//! prove.

use crate::shard::Work;
use dds::partition;
use mailstore::face::{Notice, SessionInput};
use mailstore::{delivery, directory, mailbox, sweep};

/// Names of the kinds; [`crate::ShardStats::inputs`] counts by place.
pub const INPUT_KINDS: [&str; 45] = [
    "session: Opened",
    "session: Received",
    "session: TlsStarted",
    "session: Drained",
    "session: Completed",
    "session: Notified, Changed",
    "session: Notified, FolderDeleted",
    "session: Notified, Kicked",
    "session: Notified, MasterChanged",
    "session: TimerFired",
    "session: Resumed",
    "session: PeerClosed",
    "session: ShuttingDown",
    "mailbox: Asked",
    "mailbox: DdsDone",
    "mailbox: AccountIs",
    "mailbox: SessionGone",
    "mailbox: Matched",
    "mailbox: EraseAll",
    "mailbox: TimerFired",
    "mailbox: Resumed",
    "partition: Asked",
    "partition: Stored",
    "partition: ReadDone",
    "directory: Asked",
    "directory: DdsDone",
    "directory: Hashed",
    "directory: Rehashed",
    "directory: AskedAccount",
    "directory: AskedUsers",
    "directory: Erased",
    "directory: TimerFired",
    "directory: Resumed",
    "delivery: Asked",
    "delivery: DdsDone",
    "delivery: UserDone",
    "delivery: TimerFired",
    "delivery: Resumed",
    "sweep: Users",
    "sweep: DdsDone",
    "sweep: RoomIs",
    "sweep: TimerFired",
    "sweep: Resumed",
    "mailbox: Expected",
    "partition: Ceased",
];

/// The place of an input in [`INPUT_KINDS`].
pub(crate) fn kind_of(work: &Work) -> usize {
    match work {
        Work::Session(_, input) => match input {
            SessionInput::Opened(_) => 0,
            SessionInput::Received(_) => 1,
            SessionInput::TlsStarted(_) => 2,
            SessionInput::Drained => 3,
            SessionInput::Completed { .. } => 4,
            SessionInput::Notified(Notice::Changed { .. }) => 5,
            SessionInput::Notified(Notice::FolderDeleted { .. }) => 6,
            SessionInput::Notified(Notice::Kicked { .. }) => 7,
            SessionInput::Notified(Notice::MasterChanged) => 8,
            SessionInput::TimerFired(_) => 9,
            SessionInput::Resumed => 10,
            SessionInput::PeerClosed => 11,
            SessionInput::ShuttingDown => 12,
        },
        Work::Mailbox(_, input) => match input {
            mailbox::Input::Asked { .. } => 13,
            mailbox::Input::DdsDone { .. } => 14,
            mailbox::Input::AccountIs(_) => 15,
            mailbox::Input::SessionGone { .. } => 16,
            mailbox::Input::Matched { .. } => 17,
            mailbox::Input::EraseAll => 18,
            mailbox::Input::TimerFired(_) => 19,
            mailbox::Input::Resumed => 20,
            mailbox::Input::Expected => 43,
        },
        Work::Partition(_, input) => match input {
            partition::Input::Asked { .. } => 21,
            partition::Input::Stored { .. } => 22,
            partition::Input::ReadDone { .. } => 23,
            partition::Input::Ceased => 44,
        },
        Work::Directory(input) => match input {
            directory::Input::Asked { .. } => 24,
            directory::Input::DdsDone { .. } => 25,
            directory::Input::Hashed { .. } => 26,
            directory::Input::Rehashed { .. } => 27,
            directory::Input::AskedAccount { .. } => 28,
            directory::Input::AskedUsers { .. } => 29,
            directory::Input::Erased { .. } => 30,
            directory::Input::TimerFired(_) => 31,
            directory::Input::Resumed => 32,
        },
        Work::Delivery(input) => match input {
            delivery::Input::Asked { .. } => 33,
            delivery::Input::DdsDone { .. } => 34,
            delivery::Input::UserDone { .. } => 35,
            delivery::Input::TimerFired(_) => 36,
            delivery::Input::Resumed => 37,
        },
        Work::Sweep(input) => match input {
            sweep::Input::Users(_) => 38,
            sweep::Input::DdsDone { .. } => 39,
            sweep::Input::RoomIs(_) => 40,
            sweep::Input::TimerFired(_) => 41,
            sweep::Input::Resumed => 42,
        },
    }
}
