//! What a shard is made of.

use crate::SessionLimits;
use crate::admission::AdmissionLimits;
use crate::membership::MembershipSetup;
use crate::names::GroupId;
use dds::DpMap;
use mailstore::{delivery, directory, mailbox, sweep};
use std::sync::Arc;

/// Everything a shard has to know of its node.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Number of the node in the cluster; 1 on a single node.
    pub node: u16,
    pub group: GroupId,
    /// How many worker groups the node has.
    pub groups: u8,
    pub map: DpMap,
    /// How many groups further than the mailbox of a user the partition of the user's data lives. 0 on a real node, so that a
    /// delivery never changes thread; elsewhere every request of a mailbox travels.
    pub partition_group_offset: u8,
    pub membership: MembershipSetup,
    /// Seed of all random streams: drawn at start, or given by a simulation.
    pub seed: u64,
    /// Units of work of one step; see [`fsm::Budget`].
    pub step_budget: u64,
    /// Fold the state of every stepped machine into the trace: slow, for the hunt after a difference.
    pub trace_states: bool,
    /// Memory that mailboxes may use before idle ones are dropped.
    pub mailbox_bytes_max: usize,
    /// IMAP sessions of one account, over all its clients.
    pub imap_logins_max: usize,
    pub sessions: SessionLimits,
    pub admission: AdmissionLimits,
    pub dds: Arc<dds::Limits>,
    pub mailbox: Arc<mailbox::Limits>,
    /// What the store knows of restorations.
    pub restored: mailbox::Restored,
    pub directory: directory::Setup,
    pub delivery: Arc<delivery::Limits>,
    pub sweep: Arc<sweep::Limits>,
    pub scrub: dds::scrub::Limits,
}

/// Limits that may change while the node runs.
#[derive(Clone, Debug)]
pub struct LiveLimits {
    /// For sessions from now on.
    pub sessions: SessionLimits,
    /// For log-ins from now on.
    pub imap_logins_max: usize,
    /// At once.
    pub admission: AdmissionLimits,
}

impl ShardConfig {
    /// Puts other limits in place.
    pub fn set_limits(&mut self, limits: LiveLimits) {
        let LiveLimits { sessions, imap_logins_max, admission } = limits;
        self.sessions = sessions;
        self.imap_logins_max = imap_logins_max;
        self.admission = admission;
    }

    /// Defaults for group `group` of `groups` on a node alone.
    #[must_use]
    pub fn new(map: DpMap, group: GroupId, groups: u8) -> Self {
        Self {
            node: 1,
            group,
            groups,
            map,
            partition_group_offset: 0,
            membership: MembershipSetup::alone(&map),
            seed: 0,
            step_budget: 2000,
            trace_states: false,
            mailbox_bytes_max: 256 * 1024 * 1024,
            imap_logins_max: 50,
            sessions: SessionLimits::default(),
            admission: AdmissionLimits::default(),
            dds: Arc::default(),
            mailbox: Arc::default(),
            restored: mailbox::Restored::default(),
            directory: directory::Setup {
                limits: Arc::default(),
                tag_key: [0; 16],
                dummy_phc: "".into(),
            },
            delivery: Arc::default(),
            sweep: Arc::default(),
            scrub: dds::scrub::Limits::default(),
        }
    }
}
