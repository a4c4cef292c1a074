//! A node without listeners and without an admin API: what it is to the hash table of its cluster, for whoever measures that.
//!
//! Store, writer, readers, worker groups with all of their machines, connections with other nodes: as in a node that serves.

use super::bridge::{Bridge, ClusterView, HashTableClients};
use super::full_text::NodeIndex;
use super::place::Place;
use super::running;
use crate::config::{Config, NodeEntry};
use crate::edge::Doorkeeper;
use crate::peers::Sent;
use dds_rocksdb::RocksStore;
use stages::PortSender;
use std::sync::Arc;
use vspace::{Inward, NodeId, Places};

/// See the head of the file. It runs until the process ends.
pub struct HashTableNode {
    bridge: Arc<Bridge>,
    store: Arc<RocksStore>,
    _threads: running::Threads,
    pub me: NodeId,
    /// Which group a request is for.
    pub places: Places,
}

/// Counters of a node since its start.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Syncs of the store, and groups that they covered.
    pub syncs: u64,
    pub groups: u64,
    pub sent: Sent,
}

impl HashTableNode {
    /// Starts a node of the file. It may have to wait for the others: see [`HashTableNode::view`].
    ///
    /// # Errors
    /// When the store can't be opened, or the others can't be joined.
    pub async fn start(
        config: &Config,
        entry: &NodeEntry,
        clients: Arc<dyn HashTableClients>,
    ) -> anyhow::Result<Self> {
        running::prepare_data(&entry.data)?;
        running::raise_descriptor_limit();
        let hostname: Arc<str> = entry.name.as_str().into();
        let (tls, store) = running::load_and_open(config, &entry.data, &hostname)?;
        let place = Place::new(config, entry, &tls)?;
        let identity = place.identity(config, &*store, false).await?;
        let door = Arc::new(Doorkeeper::new(hostname, config));
        let index = Arc::new(NodeIndex::new(&entry.data, identity.map));
        let bridge = Arc::new(Bridge::new(tls, Vec::new(), door, index));
        bridge.join_clients(clients);
        let (threads, _, _) =
            running::start_node(config, (&bridge, &store), (&place, &identity), Vec::new())?;
        let groups = u8::try_from(bridge.groups())?;
        let places = Places { map: identity.map, groups };
        Ok(Self { bridge, store, _threads: threads, me: place.me, places })
    }

    /// The cluster as this node knows it.
    #[must_use]
    pub fn view(&self) -> ClusterView {
        self.bridge.cluster()
    }

    /// The worker groups.
    #[must_use]
    pub fn ports(&self) -> &[PortSender<Inward>] {
        self.bridge.ports()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        let stats = self.store.stats();
        Counts { syncs: stats.syncs, groups: stats.groups, sent: self.bridge.traffic.sent() }
    }
}
