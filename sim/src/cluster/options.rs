//! What a run of a cluster is made of.

use dds::cluster::Settings;

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    pub seed: u64,
    /// Steps of machines before everything heals.
    pub steps: u64,
    pub scenario: ClusterScenario,
    pub mutation: Option<ClusterMutation>,
    /// Every step of this partition's seats is printed, to the error output.
    pub watch: Option<u16>,
}

/// Who is there, and what goes wrong how often. Means of times between two faults in virtual milliseconds, 0: never; chances
/// in 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterScenario {
    pub name: &'static str,
    pub about: &'static str,
    pub nodes: u16,
    pub partitions: u16,
    pub clients: u64,
    /// A node ends: the machine lost power, or the process was killed.
    pub crash_ms: u64,
    /// All nodes lose power at about the same time.
    pub blackout_ms: u64,
    /// A node stands still for up to 30 seconds.
    pub pause_ms: u64,
    /// Some nodes don't hear some others for a while.
    pub cut_ms: u64,
    /// The control majority is gone for a while.
    pub control_ms: u64,
    /// A node's disk is replaced by an empty one.
    pub wipe_ms: u64,
    /// A node starts from an older image of its disk.
    pub image_ms: u64,
    /// A write takes up to so many nanoseconds.
    pub write_nanos: u64,
    /// Some writes take seconds.
    pub stalls: bool,
    /// A write fails and has no effect.
    pub write_error: u64,
    /// A message is lost.
    pub loss: u64,
    /// A message comes twice.
    pub twice: u64,
    /// A message comes late.
    pub late: u64,
    /// A primary is asked to hand over, though nothing calls for it.
    pub move_ms: u64,
    /// Pages must come to a node no faster than it is to be filled: where messages are neither lost nor late.
    pub paced: bool,
    /// A majority of the disks is lost, and an operator lets the rest go on.
    pub recover_ms: u64,
    /// Every node scrubs what it leads so often. 0: never, also not in the end.
    pub scrub_ms: u64,
    /// An entry that nobody wrote appears on one disk.
    pub stray_ms: u64,
    /// When everything has come to rest, values on some disks change, vanish, or can't be read; then everybody is asked to scrub.
    pub rots: bool,
    /// An operator wants a partition at some node, or no more.
    pub place_ms: u64,
    /// A disk takes nothing but what frees space, for a while.
    pub full_ms: u64,
    /// Nodes have much work of some partitions, now of these, now of others.
    pub heat: bool,
}

const CALM: ClusterScenario = ClusterScenario {
    name: "cluster-calm",
    about: "five nodes, nothing goes wrong but moves",
    nodes: 5,
    partitions: 16,
    clients: 12,
    crash_ms: 0,
    blackout_ms: 0,
    pause_ms: 0,
    cut_ms: 0,
    control_ms: 0,
    wipe_ms: 0,
    image_ms: 0,
    write_nanos: 400_000,
    stalls: false,
    write_error: 0,
    loss: 0,
    twice: 0,
    late: 0,
    move_ms: 2_000,
    paced: false,
    recover_ms: 0,
    scrub_ms: 0,
    stray_ms: 0,
    rots: false,
    place_ms: 0,
    full_ms: 0,
    heat: false,
};

impl ClusterScenario {
    /// All scenarios.
    pub const ALL: [Self; 17] = [
        CALM,
        Self {
            name: "cluster-storm",
            about: "five nodes, everything at once",
            crash_ms: 4_000,
            pause_ms: 9_000,
            cut_ms: 5_000,
            control_ms: 15_000,
            wipe_ms: 25_000,
            image_ms: 40_000,
            stalls: true,
            write_error: 3,
            loss: 100,
            twice: 100,
            late: 100,
            move_ms: 3_000,
            ..CALM
        },
        Self {
            name: "cluster-partition",
            about: "nodes that do not hear each other, lost and late messages",
            cut_ms: 1_500,
            pause_ms: 6_000,
            loss: 300,
            twice: 300,
            late: 300,
            ..CALM
        },
        Self {
            name: "cluster-crash",
            about: "three nodes that end and start again, also all at once",
            nodes: 3,
            partitions: 4,
            crash_ms: 1_200,
            blackout_ms: 12_000,
            twice: 100,
            late: 100,
            ..CALM
        },
        Self {
            name: "cluster-disks",
            about: "seven nodes whose disks are lost, replaced by old images, stall and fail",
            nodes: 7,
            crash_ms: 6_000,
            wipe_ms: 5_000,
            image_ms: 8_000,
            stalls: true,
            write_error: 10,
            ..CALM
        },
        Self {
            name: "cluster-blackout",
            about: "three nodes with slow disks that lose power together again and again",
            nodes: 3,
            partitions: 4,
            crash_ms: 3_000,
            blackout_ms: 1_500,
            write_nanos: 20_000_000,
            ..CALM
        },
        Self {
            name: "cluster-three",
            about: "three nodes that start again; where mistakes are made on purpose, from older images",
            nodes: 3,
            partitions: 4,
            crash_ms: 2_000,
            image_ms: 1_000,
            ..CALM
        },
        Self {
            name: "cluster-images",
            about: "seven nodes; those without a vote start again from older images of their disks",
            nodes: 7,
            partitions: 8,
            crash_ms: 1_000,
            image_ms: 500,
            ..CALM
        },
        Self {
            name: "cluster-fill",
            about: "five nodes whose disks are replaced: they are filled at the pace that is set",
            wipe_ms: 4_000,
            paced: true,
            ..CALM
        },
        Self {
            name: "cluster-recover",
            about: "three nodes; again and again most disks are lost, and the rest goes on without a majority",
            nodes: 3,
            partitions: 4,
            crash_ms: 3_000,
            cut_ms: 4_000,
            recover_ms: 12_000,
            ..CALM
        },
        Self {
            name: "cluster-moves",
            about: "five nodes; an operator moves partitions to nodes with and without copies, some of which end meanwhile",
            place_ms: 400,
            crash_ms: 4_000,
            cut_ms: 6_000,
            pause_ms: 15_000,
            wipe_ms: 25_000,
            loss: 50,
            twice: 50,
            late: 50,
            ..CALM
        },
        Self {
            name: "cluster-hot",
            about: "five nodes with much work of some partitions: primaries move to nodes with less",
            clients: 2,
            heat: true,
            move_ms: 0,
            crash_ms: 20_000,
            control_ms: 30_000,
            place_ms: 20_000,
            loss: 10,
            ..CALM
        },
        Self {
            name: "cluster-full",
            about: "five nodes whose disks are full now and then, several at a time",
            full_ms: 700,
            crash_ms: 10_000,
            cut_ms: 10_000,
            place_ms: 10_000,
            late: 50,
            twice: 50,
            ..CALM
        },
        Self {
            name: "cluster-steady",
            about: "five nodes under load, few faults: for the speed",
            crash_ms: 60_000,
            cut_ms: 60_000,
            loss: 1,
            twice: 1,
            late: 1,
            ..CALM
        },
        Self {
            name: "cluster-scrub",
            about: "five nodes that scrub all the time, everything goes wrong but what a scrub would find",
            partitions: 8,
            crash_ms: 6_000,
            pause_ms: 9_000,
            cut_ms: 6_000,
            control_ms: 15_000,
            wipe_ms: 25_000,
            image_ms: 40_000,
            stalls: true,
            write_error: 3,
            loss: 50,
            twice: 50,
            late: 50,
            move_ms: 3_000,
            scrub_ms: 4_000,
            ..CALM
        },
        Self {
            name: "cluster-rot",
            about: "four nodes whose disks change, lose and damage values in silence, and that scrub",
            nodes: 4,
            partitions: 8,
            scrub_ms: 4_000,
            rots: true,
            ..CALM
        },
        Self {
            name: "cluster-stray",
            about: "five nodes that end and start again; copies go wrong under load, and are built anew",
            partitions: 8,
            crash_ms: 8_000,
            loss: 30,
            twice: 30,
            late: 30,
            scrub_ms: 3_000,
            stray_ms: 1_500,
            rots: true,
            ..CALM
        },
    ];

    /// Of the cluster that the first node founds.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            partitions: self.partitions,
            hash_key: (1, 2),
            replicas: 3,
            min_in_sync: 1,
            min_in_sync_wanted: 2,
            feature_level: dds::cluster::PLACES,
        }
    }

    /// Whether nodes say anything of themselves.
    #[must_use]
    pub fn reports(&self) -> bool {
        self.heat || self.place_ms > 0 || self.full_ms > 0
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name == name)
    }
}

/// A mistake made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterMutation {
    /// A member takes entries of an older version than it has joined.
    SkipFence,
    /// A member's acknowledgement is not waited for.
    AcknowledgeAlone,
    /// Decisions need one in-sync member less than the map says.
    BelowMin,
    /// A learner is promoted before it has everything.
    PromoteEarly,
    /// Leases always hold.
    ReadWithoutLease,
    /// What an answer depends on is taken for decided once it is logged here.
    AnswerEarly,
    /// A new primary does not ask who has more than itself.
    ForgetReconciliation,
    /// A node whose disk was replaced keeps its incarnation.
    ReuseIncarnation,
    /// A node that starts from an older image passes it off as the newest.
    RejoinWithLostTail,
    /// A copy asks for its next page at once.
    FillUnpaced,
    /// The operator recovers a node that was given up before.
    RecoverStale,
    /// A member sums a slice as it is there, whatever place of the log was asked for.
    CompareElsewhere,
    /// What is answered first about a slice is taken for everybody's answer.
    OverlookRot,
    /// Work is moved at the least difference, at once, and again at once.
    NoHysteresis,
}

impl ClusterMutation {
    pub const ALL: [Self; 14] = [
        Self::SkipFence,
        Self::AcknowledgeAlone,
        Self::BelowMin,
        Self::PromoteEarly,
        Self::ReadWithoutLease,
        Self::AnswerEarly,
        Self::ForgetReconciliation,
        Self::ReuseIncarnation,
        Self::RejoinWithLostTail,
        Self::FillUnpaced,
        Self::RecoverStale,
        Self::CompareElsewhere,
        Self::OverlookRot,
        Self::NoHysteresis,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SkipFence => "skip-fence",
            Self::AcknowledgeAlone => "acknowledge-alone",
            Self::BelowMin => "below-min",
            Self::PromoteEarly => "promote-early",
            Self::ReadWithoutLease => "read-without-lease",
            Self::AnswerEarly => "answer-early",
            Self::ForgetReconciliation => "forget-reconciliation",
            Self::ReuseIncarnation => "reuse-incarnation",
            Self::RejoinWithLostTail => "rejoin-with-lost-tail",
            Self::FillUnpaced => "fill-unpaced",
            Self::RecoverStale => "recover-stale",
            Self::CompareElsewhere => "compare-elsewhere",
            Self::OverlookRot => "overlook-rot",
            Self::NoHysteresis => "no-hysteresis",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutation| mutation.name() == name)
    }
}
