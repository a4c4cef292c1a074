//! Mistakes that a run makes on purpose, to show that it would be noticed.

/// A mistake made on purpose, outside the machines, that an invariant must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The store says that a write is synced, and it is not.
    DropSync,
    /// A write is acknowledged when it is queued.
    AcknowledgeEarly,
    /// Outcomes are not remembered: a batch that applied and is asked again applies again.
    ForgetWindow,
    /// An unknown outcome is taken for a refusal: its UIDs and number are assigned again.
    AssignEarly,
    /// Blobs are not renewed.
    SkipRenewal,
    /// A mailbox takes every blob for its own, those of several mailboxes too.
    ReleaseShared,
    /// A mailbox takes no blob for its own.
    KeepOwn,
    /// A reader of the event log is not told that it missed events.
    HideGap,
    /// Some wake-ups of readers of event logs are lost, and nobody is told.
    LoseWake,
    /// A mailbox does not know when mail came into its folders, nor when its user chose how long it stays: it expires at once.
    ForgetSaved,
    /// Batches of events are taken before they were dealt with.
    TakeEarly,
    /// EXPUNGE is said while a FETCH by number is under way.
    ForbiddenExpunge,
    /// A master does not remember what another node appended: asked again, it comes again.
    ForgetAppend,
    /// A task that was brought to a node which is lost is brought to others too, though twice is not the same as once.
    RepeatTask,
    /// A lease is taken for granted when it is asked for: a master answers from memory though another one writes by now.
    TakeLease,
    /// A node says that it has written a chunk for another one, and has not.
    PretendWritten,
    /// A task that a master did not do before it ended is neither brought to the next one nor answered.
    ForgetHeld,
    /// A worker group does not hear that the map has changed.
    ForgetNews,
    /// A message is answered before extensions have decided about it.
    DecideEarly,
    /// Who refuses a message refuses it for all.
    RefuseForAll,
}

impl Mutation {
    pub const ALL: [Self; 20] = [
        Self::DropSync,
        Self::AcknowledgeEarly,
        Self::ForgetWindow,
        Self::AssignEarly,
        Self::SkipRenewal,
        Self::ReleaseShared,
        Self::KeepOwn,
        Self::HideGap,
        Self::ForgetSaved,
        Self::LoseWake,
        Self::TakeEarly,
        Self::ForbiddenExpunge,
        Self::ForgetAppend,
        Self::RepeatTask,
        Self::TakeLease,
        Self::PretendWritten,
        Self::ForgetHeld,
        Self::ForgetNews,
        Self::DecideEarly,
        Self::RefuseForAll,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropSync => "drop-sync",
            Self::AcknowledgeEarly => "acknowledge-early",
            Self::ForgetWindow => "forget-window",
            Self::AssignEarly => "assign-early",
            Self::SkipRenewal => "skip-renewal",
            Self::ReleaseShared => "release-shared",
            Self::KeepOwn => "keep-own",
            Self::HideGap => "hide-gap",
            Self::ForgetSaved => "forget-saved",
            Self::LoseWake => "lose-wake",
            Self::TakeEarly => "take-early",
            Self::ForbiddenExpunge => "forbidden-expunge",
            Self::ForgetAppend => "forget-append",
            Self::RepeatTask => "repeat-task",
            Self::TakeLease => "take-lease",
            Self::PretendWritten => "pretend-written",
            Self::ForgetHeld => "forget-held",
            Self::ForgetNews => "forget-news",
            Self::DecideEarly => "decide-early",
            Self::RefuseForAll => "refuse-for-all",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutation| mutation.name() == name)
    }
}
