//! The place of a node in the file of its cluster: its number, who the others are, and what it proves to them.

use super::identity::{self, Identity};
use crate::config::{Config, NodeEntry};
use crate::peers::{self, Cluster, Credentials, Other};
use crate::tls::TlsContext;
use anyhow::{Context, bail};
use dds::DpMap;
use dds::Store;
use dds::cluster::{Address, Incarnation, NodeId, Settings, Site, Start};
use dds::control::Boot;
use std::net::SocketAddr;
use std::sync::Arc;
use vspace::MembershipSetup;

/// The feature level of a new cluster.
const FEATURE_LEVEL: u32 = 1;
/// The share of the partitions that a node takes, relative to others.
const WEIGHT: u32 = 100;

/// See the head of the file.
pub struct Place {
    pub me: NodeId,
    entry: NodeEntry,
    others: Vec<Other>,
    secret: Option<Vec<u8>>,
    tls: Option<peers::TlsPair>,
}

impl Place {
    /// # Errors
    /// When the file lists several nodes and lacks what they need to reach each other.
    pub fn new(config: &Config, entry: &NodeEntry, tls: &TlsContext) -> anyhow::Result<Self> {
        let number = |index: usize| u16::try_from(index + 1).context("too many nodes");
        let at = config.node.iter().position(|node| node.name == entry.name);
        let me = NodeId(number(at.unwrap_or(0))?);
        let mut others = Vec::new();
        let several = config.node.len() > 1;
        for (index, node) in config.node.iter().enumerate() {
            let id = NodeId(number(index)?);
            if id == me || !several {
                continue;
            }
            let Some(address) = node.address else {
                bail!("node {:?} has no address: the others can't reach it", node.name);
            };
            others.push(Other { node: id, name: node.name.clone(), address });
        }
        let exposed = several && config.node.iter().any(is_exposed);
        let secret = match &config.cluster.secret_file {
            Some(path) if several => Some(peers::read_secret(path)?),
            Some(_) => None,
            None if exposed => bail!(
                "the nodes are not all on loopback, so they must prove to each other who they are: set \
                 cluster.secret_file (`openssl rand -hex 32` makes a secret)"
            ),
            None => None,
        };
        let pair = || -> anyhow::Result<peers::TlsPair> {
            Ok(peers::TlsPair { server: tls.admin_config(), client: peers::client_config()? })
        };
        let tls = exposed.then(pair).transpose()?;
        Ok(Self { me, entry: entry.clone(), others, secret, tls })
    }

    /// The identity of the data directory, made at the first start: alone, or with what the others know.
    ///
    /// # Errors
    /// When the store can't be read or written, or another cluster is there.
    pub async fn identity(
        &self,
        config: &Config,
        store: &dyn Store,
        founds: bool,
    ) -> anyhow::Result<Identity> {
        let partitions = u16::try_from(config.cluster.partitions).context("too many partitions")?;
        if let Some(identity) = identity::load(store, partitions, self.me)? {
            return Ok(identity);
        }
        let joins = if self.others.is_empty() {
            None
        } else {
            let credentials = Arc::new(self.credentials(config, None, Incarnation(0)));
            match peers::find_cluster(credentials, self.listen()?, &self.others, founds).await? {
                Cluster::Found => None,
                Cluster::Join(map) => Some(map),
            }
        };
        if let Some(map) = joins
            && map.partitions != partitions
        {
            bail!(
                "the cluster has {} partitions, the configuration says {partitions}: set \
                 cluster.partitions = {}",
                map.partitions,
                map.partitions
            );
        }
        identity::create(store, (partitions, joins), self.me)
    }

    fn credentials(
        &self,
        config: &Config,
        map: Option<DpMap>,
        incarnation: Incarnation,
    ) -> Credentials {
        Credentials {
            cluster_name: config.cluster.name.clone(),
            map,
            node: self.me,
            name: self.entry.name.clone(),
            incarnation,
            secret: self.secret.clone(),
            tls: self.tls.clone(),
        }
    }

    fn listen(&self) -> anyhow::Result<SocketAddr> {
        self.entry.address.with_context(|| format!("node {:?} has no address", self.entry.name))
    }

    /// What the machines of this node are told of it.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn membership(
        &self,
        config: &Config,
        identity: &Identity,
    ) -> anyhow::Result<MembershipSetup> {
        let DpMap { partitions, hash_key } = identity.map;
        let count = |count: u32| u8::try_from(count).context("too many replicas");
        let settings = Settings {
            partitions,
            hash_key,
            replicas: count(config.cluster.replicas)?,
            min_in_sync: 1,
            min_in_sync_wanted: count(config.cluster.min_in_sync)?,
            feature_level: FEATURE_LEVEL,
        };
        let text =
            |address: Option<SocketAddr>| address.map(|at| at.to_string()).unwrap_or_default();
        let zone = match &*self.entry.zone {
            // Who says nothing of zones has none.
            "default" => String::new(),
            zone => zone.to_owned(),
        };
        let address = Address { peers: text(self.entry.address), admin: text(self.entry.admin) };
        let boot = if identity.member.joined { Boot::Join } else { Boot::Found(settings) };
        Ok(MembershipSetup {
            incarnation: identity.member.incarnation,
            start: Start(identity::draw()?),
            site: Site { address, zone, weight: WEIGHT },
            boot,
            ..MembershipSetup::alone(&identity.map)
        })
    }

    /// The connections with the others, if there are any.
    ///
    /// # Errors
    /// When this node has no address to be reached at.
    pub fn peers(
        &self,
        config: &Config,
        identity: &Identity,
        ports: &[stages::PortSender<vspace::Inward>],
    ) -> anyhow::Result<Option<peers::Setup>> {
        if self.others.is_empty() {
            return Ok(None);
        }
        let groups = u8::try_from(ports.len()).context("stages.workers is at most 255")?;
        let credentials = self.credentials(config, Some(identity.map), identity.member.incarnation);
        Ok(Some(peers::Setup {
            credentials: Arc::new(credentials),
            places: vspace::Places { map: identity.map, groups },
            listen: self.listen()?,
            others: self.others.clone(),
            ports: ports.to_vec(),
            limits: Arc::default(),
            traffic: Arc::default(),
        }))
    }
}

fn is_exposed(node: &NodeEntry) -> bool {
    node.address.is_some_and(|address| !address.ip().is_loopback())
}
