//! What a run is made of: seed, scenario, mutation.

mod mutation;

pub use mutation::Mutation;

use dds::DpMap;

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    /// Steps of machines before everything heals.
    pub steps: u64,
    pub scenario: Scenario,
    pub mutation: Option<Mutation>,
}

/// How often something goes wrong. Means of times between two faults in virtual milliseconds, 0: never; chances in 10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// The node ends between two effects: the machine lost power, or the process was killed.
    pub crash_ms: u64,
    /// A sync fails: the node ends.
    pub sync_error_ms: u64,
    /// A write takes seconds.
    pub stall_ms: u64,
    /// The disk is full for some seconds.
    pub full_ms: u64,
    /// A stored value can't be read any more.
    pub rot_ms: u64,
    /// A stored value is cut short, and the store does not notice.
    pub cut_ms: u64,
    /// An operator ends sessions, or the node says that it stops.
    pub kick_ms: u64,
    /// Another master claims a mailbox, and does nothing with it.
    pub rival_ms: u64,
    /// A backup is taken.
    pub backup_ms: u64,
    /// The disk is lost, and the last backup restored.
    pub restore_ms: u64,
    /// A completion comes late.
    pub late: u64,
    /// A completion comes twice.
    pub twice: u64,
    /// A read is not answered from memory.
    pub miss: u64,
    /// A read from the disk fails.
    pub read_error: u64,
    /// A write fails and has no effect.
    pub write_error: u64,
    /// A client vanishes instead of doing what comes next.
    pub vanish: u64,
    /// The hash pool has no room.
    pub hash_busy: u64,
    /// A request to a partition in another worker group, or its answer, gets lost.
    pub unknown: u64,
    /// A partition in another worker group is not served when a request comes.
    pub unavailable: u64,
    /// A connection of two nodes is reset.
    pub reset_ms: u64,
    /// A connection of two nodes stands still for seconds.
    pub still_ms: u64,
    /// A node stands still, for up to half a minute.
    pub pause_ms: u64,
    /// What is large is long on its way between two nodes.
    pub bulk_late: u64,
    /// The primary of some partition stands still for longer than its lease.
    pub stop_ms: u64,
    /// The node that leads the control group ends.
    pub leader_ms: u64,
    /// No word of the control plane arrives for a while, anywhere.
    pub control_ms: u64,
    /// Some nodes don't hear some others for a while, one way or both.
    pub split_ms: u64,
    /// All nodes lose power at about the same time.
    pub blackout_ms: u64,
    /// A node's disk is replaced by an empty one.
    pub wipe_ms: u64,
    /// A value on the disk of one node can't be read any more, while others hold it.
    pub decay_ms: u64,
    /// A node that has no vote starts from an older image of its disk.
    pub image_ms: u64,
    /// An operator moves a primary.
    pub move_ms: u64,
    /// An operator drains a node, and takes it back or removes it; a removed one joins anew.
    pub leave_ms: u64,
    /// A node starts with another release: mostly the next one.
    pub upgrade_ms: u64,
    /// The clocks of nodes go so many parts in a million fast or slow at most.
    pub drift_ppm: u64,
}

/// Who does what how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub users: u32,
    /// Deliveries per virtual second, over all deliverers.
    pub deliveries: u64,
    pub smtp_clients: u32,
    pub lmtp_clients: u32,
    pub imap_clients: u32,
    pub pop3_clients: u32,
    /// Milliseconds that a client at a screen thinks, on average.
    pub think_ms: u64,
    /// Messages too large to be kept inline, in 10,000.
    pub large: u64,
    /// Blobs live for seconds, and sweeps come as often.
    pub short_lives: bool,
    /// Every worker group scrubs what it leads so often, in milliseconds; 0: never.
    pub scrub_ms: u64,
    /// Extensions decide about messages.
    pub deciding: bool,
}

/// A named setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub nodes: u16,
    /// Worker groups of a node.
    pub groups: u8,
    /// Few, so that they are shared.
    pub partitions: u16,
    /// How many groups further than its mailboxes a partition lives.
    pub partition_group_offset: u8,
    pub load: Load,
    pub faults: FaultRates,
}

const LOAD: Load = Load {
    users: 6,
    deliveries: 40,
    smtp_clients: 4,
    lmtp_clients: 2,
    imap_clients: 6,
    pop3_clients: 2,
    think_ms: 100,
    large: 100,
    short_lives: false,
    scrub_ms: 0,
    deciding: false,
};

const FAULTS: FaultRates = FaultRates {
    crash_ms: 4_000,
    sync_error_ms: 30_000,
    stall_ms: 20_000,
    full_ms: 40_000,
    rot_ms: 0,
    cut_ms: 0,
    kick_ms: 20_000,
    rival_ms: 10_000,
    backup_ms: 0,
    restore_ms: 0,
    late: 500,
    twice: 300,
    miss: 500,
    read_error: 5,
    write_error: 5,
    vanish: 100,
    hash_busy: 300,
    unknown: 0,
    unavailable: 0,
    reset_ms: 0,
    still_ms: 0,
    pause_ms: 0,
    bulk_late: 0,
    stop_ms: 0,
    leader_ms: 0,
    control_ms: 0,
    split_ms: 0,
    blackout_ms: 0,
    wipe_ms: 0,
    decay_ms: 0,
    image_ms: 0,
    move_ms: 0,
    leave_ms: 0,
    upgrade_ms: 0,
    drift_ppm: 0,
};

const NO_FAULTS: FaultRates = FaultRates {
    crash_ms: 0,
    sync_error_ms: 0,
    stall_ms: 0,
    full_ms: 0,
    rot_ms: 0,
    cut_ms: 0,
    kick_ms: 0,
    rival_ms: 0,
    backup_ms: 0,
    restore_ms: 0,
    late: 0,
    twice: 0,
    miss: 0,
    read_error: 0,
    write_error: 0,
    vanish: 0,
    hash_busy: 0,
    unknown: 0,
    unavailable: 0,
    reset_ms: 0,
    still_ms: 0,
    pause_ms: 0,
    bulk_late: 0,
    stop_ms: 0,
    leader_ms: 0,
    control_ms: 0,
    split_ms: 0,
    blackout_ms: 0,
    wipe_ms: 0,
    decay_ms: 0,
    image_ms: 0,
    move_ms: 0,
    leave_ms: 0,
    upgrade_ms: 0,
    drift_ppm: 0,
};

/// What goes wrong between nodes, and with them.
const FAULTS_OF_SEVERAL: FaultRates =
    FaultRates { full_ms: 0, rival_ms: 0, drift_ppm: 50_000, ..FAULTS };

/// Twenty deliveries a second and ten sessions: what every speed is measured with.
const STEADY: Load = Load {
    users: 10,
    deliveries: 20,
    smtp_clients: 3,
    lmtp_clients: 1,
    imap_clients: 5,
    pop3_clients: 1,
    think_ms: 200,
    large: 20,
    short_lives: false,
    scrub_ms: 0,
    deciding: false,
};

/// Five nodes, and nothing goes wrong: others differ from it.
const FIVE: Scenario = Scenario {
    name: "five-calm",
    about: "five nodes are one service, and nothing goes wrong",
    nodes: 5,
    groups: 2,
    partitions: 16,
    partition_group_offset: 0,
    load: STEADY,
    faults: NO_FAULTS,
};

impl Scenario {
    /// All named scenarios that run whole nodes.
    pub const ALL: [Self; 24] = [
        Self {
            name: "steady",
            about: "20 deliveries a second, 10 sessions, faults on",
            nodes: 1,
            groups: 1,
            partitions: 16,
            partition_group_offset: 0,
            load: STEADY,
            faults: FaultRates { crash_ms: 20_000, ..FAULTS },
        },
        Self {
            name: "calm",
            about: "no faults at all: what every other scenario is compared with",
            nodes: 1,
            groups: 1,
            partitions: 16,
            partition_group_offset: 0,
            load: LOAD,
            faults: NO_FAULTS,
        },
        Self {
            name: "storm",
            about: "crashes every second, two worker groups",
            nodes: 1,
            groups: 2,
            partitions: 16,
            partition_group_offset: 0,
            load: LOAD,
            faults: FaultRates { crash_ms: 1_000, ..FAULTS },
        },
        Self {
            name: "blobs",
            about: "large messages, short lives, sweeps, deletions",
            nodes: 1,
            groups: 2,
            partitions: 16,
            partition_group_offset: 0,
            load: Load { large: 4_000, deliveries: 15, short_lives: true, ..LOAD },
            faults: FaultRates { crash_ms: 15_000, ..FAULTS },
        },
        Self {
            name: "decided",
            about: "extensions decide about every message, or are too late",
            nodes: 1,
            groups: 2,
            partitions: 16,
            partition_group_offset: 0,
            load: Load { large: 1_000, short_lives: true, deciding: true, ..LOAD },
            faults: FAULTS,
        },
        Self {
            name: "churn",
            about: "large messages come and go, no faults: their space comes back without a sweep",
            nodes: 1,
            groups: 2,
            partitions: 16,
            partition_group_offset: 0,
            load: Load { large: 5_000, deliveries: 30, ..LOAD },
            faults: NO_FAULTS,
        },
        Self {
            name: "full",
            about: "a disk that is full half of the time",
            nodes: 1,
            groups: 1,
            partitions: 16,
            partition_group_offset: 0,
            load: LOAD,
            faults: FaultRates { full_ms: 2_000, write_error: 200, ..FAULTS },
        },
        Self {
            name: "damage",
            about: "stored values rot or are cut short: reported, never served wrong",
            nodes: 1,
            groups: 1,
            partitions: 16,
            partition_group_offset: 0,
            load: LOAD,
            faults: FaultRates { rot_ms: 3_000, cut_ms: 3_000, ..FAULTS },
        },
        Self {
            name: "apart",
            about: "masters away from their partitions: outcomes unknown to every kind of writer",
            nodes: 1,
            groups: 3,
            partitions: 16,
            // With these groups the routes of the directory and of the queue are not in group 0,
            // where their masters live.
            partition_group_offset: 2,
            load: Load { large: 500, short_lives: true, ..LOAD },
            faults: FaultRates { crash_ms: 6_000, unknown: 300, unavailable: 50, ..FAULTS },
        },
        Self {
            name: "restored",
            about: "backups, and restorations of the last one, some of them more than once",
            nodes: 1,
            groups: 2,
            partitions: 16,
            partition_group_offset: 0,
            load: LOAD,
            faults: FaultRates { backup_ms: 8_000, restore_ms: 10_000, ..FAULTS },
        },
        Self {
            name: "three",
            about: "three nodes are one service, and nothing goes wrong",
            nodes: 3,
            groups: 2,
            partitions: 16,
            partition_group_offset: 0,
            load: Load { large: 300, ..LOAD },
            faults: NO_FAULTS,
        },
        Self {
            name: "three-storm",
            about: "three nodes: crashes, pauses, connections that are reset or stand still",
            nodes: 3,
            groups: 2,
            partitions: 16,
            partition_group_offset: 0,
            load: Load { large: 300, ..LOAD },
            faults: FaultRates {
                crash_ms: 6_000,
                full_ms: 0,
                rival_ms: 0,
                reset_ms: 4_000,
                still_ms: 5_000,
                pause_ms: 15_000,
                bulk_late: 1_000,
                ..FAULTS
            },
        },
        FIVE,
        Self {
            name: "five",
            about: "\"steady\" on five nodes: 20 deliveries a second, 10 sessions, faults on",
            faults: FaultRates {
                crash_ms: 20_000,
                reset_ms: 20_000,
                still_ms: 20_000,
                split_ms: 60_000,
                pause_ms: 60_000,
                move_ms: 20_000,
                ..FAULTS_OF_SEVERAL
            },
            ..FIVE
        },
        Self {
            name: "five-storm",
            about: "five nodes, and everything that can go wrong at once",
            load: Load { large: 300, ..LOAD },
            faults: FaultRates {
                crash_ms: 6_000,
                reset_ms: 4_000,
                still_ms: 6_000,
                split_ms: 12_000,
                pause_ms: 20_000,
                stop_ms: 20_000,
                leader_ms: 25_000,
                control_ms: 30_000,
                blackout_ms: 60_000,
                wipe_ms: 20_000,
                decay_ms: 30_000,
                move_ms: 3_000,
                leave_ms: 30_000,
                ..FAULTS_OF_SEVERAL
            },
            ..FIVE
        },
        Self {
            name: "seven",
            about: "seven nodes, 256 partitions; nodes end, come back from older images, leave and join",
            nodes: 7,
            partitions: 256,
            faults: FaultRates {
                crash_ms: 10_000,
                split_ms: 30_000,
                wipe_ms: 20_000,
                image_ms: 2_500,
                move_ms: 2_000,
                leave_ms: 20_000,
                ..FAULTS_OF_SEVERAL
            },
            ..FIVE
        },
        Self {
            name: "roomy",
            about: "five nodes whose members come and go: joins, drains, removals, moves",
            load: Load { large: 1_500, ..LOAD },
            faults: FaultRates {
                crash_ms: 30_000,
                move_ms: 500,
                leave_ms: 4_000,
                ..FAULTS_OF_SEVERAL
            },
            ..FIVE
        },
        Self {
            name: "five-cut",
            about: "five nodes that don't hear each other, one way or both, and drifting clocks",
            load: LOAD,
            faults: FaultRates {
                crash_ms: 0,
                reset_ms: 5_000,
                still_ms: 3_000,
                split_ms: 2_500,
                ..FAULTS_OF_SEVERAL
            },
            ..FIVE
        },
        Self {
            name: "upgrade",
            about: "the release is changed node by node: two kinds of frames, and a level that rises when all know it",
            load: Load { large: 300, ..LOAD },
            faults: FaultRates {
                crash_ms: 20_000,
                reset_ms: 10_000,
                upgrade_ms: 1_500,
                ..FAULTS_OF_SEVERAL
            },
            ..FIVE
        },
        Self {
            name: "no-control",
            about: "the control majority is gone again and again, while the sets are complete",
            load: LOAD,
            faults: FaultRates { control_ms: 6_000, drift_ppm: 50_000, ..NO_FAULTS },
            ..FIVE
        },
        Self {
            name: "leader-dies",
            about: "who ends leads the control group too",
            load: LOAD,
            faults: FaultRates { leader_ms: 5_000, drift_ppm: 50_000, ..NO_FAULTS },
            ..FIVE
        },
        Self {
            name: "stopped",
            about: "a primary stands still for longer than its lease",
            load: LOAD,
            faults: FaultRates { stop_ms: 4_000, drift_ppm: 50_000, ..NO_FAULTS },
            ..FIVE
        },
        Self {
            name: "blackout",
            about: "the whole cluster loses power",
            nodes: 3,
            load: LOAD,
            faults: FaultRates { blackout_ms: 6_000, drift_ppm: 50_000, ..NO_FAULTS },
            ..FIVE
        },
        Self {
            name: "three-scrub",
            about: "three nodes that scrub all the time, by themselves and asked to; nothing is damaged",
            nodes: 3,
            groups: 2,
            partitions: 16,
            partition_group_offset: 0,
            load: Load { large: 300, scrub_ms: 2_000, ..LOAD },
            faults: FaultRates {
                crash_ms: 8_000,
                full_ms: 0,
                rival_ms: 0,
                kick_ms: 4_000,
                reset_ms: 6_000,
                still_ms: 8_000,
                ..FAULTS
            },
        },
    ];

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name == name)
    }

    /// The DP map of a run.
    #[must_use]
    pub const fn map(&self) -> DpMap {
        DpMap { partitions: self.partitions, hash_key: (7, 11) }
    }
}
