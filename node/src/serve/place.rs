//! The place of a node in the file of its cluster: its number, who the others are, and what it proves to them.

use super::bridge::Bridge;
use super::identity::{self, Identity, Known};
use crate::config::{Config, LogLevel, NodeEntry};
use crate::control::ByteStream;
use crate::life::Stranger;
use crate::peers::{self, Cluster, Credentials, Other, Told};
use crate::tls::TlsContext;
use anyhow::{Context, bail};
use dds::cluster::{Address, ClusterMap, NodeId, Session, Settings, Site, Start};
use dds::control::{Boot, Recorded};
use dds::{DpMap, Store, Tier};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use vspace::MembershipSetup;

/// The feature level of a new cluster.
const FEATURE_LEVEL: u32 = dds::cluster::PLACES;
/// The share of the partitions that a node takes, relative to others.
const WEIGHT: u32 = 100;

/// Between two looks for somebody who lets this node in.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// Connections on which other nodes call the admin API.
pub type AdminCalls = tokio::sync::mpsc::UnboundedReceiver<Box<dyn ByteStream>>;

/// The other nodes, and what this one proves to them.
pub struct Neighbours {
    pub credentials: Arc<Credentials>,
    pub others: Vec<Other>,
}

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
            return self.same_cluster(config, store, identity).await;
        }
        let joins = if self.others.is_empty() {
            None
        } else {
            let credentials = Arc::new(self.credentials(config, None));
            match peers::find_cluster(credentials, self.listen()?, &self.others, founds).await? {
                Cluster::Found => None,
                Cluster::Join(known) => Some(known),
            }
        };
        if let Some(Known { map, .. }) = &joins
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

    /// The identity of a data directory that has one, unless others are of another cluster.
    async fn same_cluster(
        &self,
        config: &Config,
        store: &dyn Store,
        identity: Identity,
    ) -> anyhow::Result<Identity> {
        if self.others.is_empty() {
            return Ok(identity);
        }
        let credentials = Arc::new(self.credentials(config, Some(&identity)));
        let recorded = Recorded::read(&|read| store.read(read, Tier::Disk))?;
        let fresh = recorded.as_ref().is_some_and(|known| is_fresh(&known.latest, self.me));
        let is_lost = recorded.is_none() && identity.member.joined;
        let mut noted = false;
        loop {
            let told = peers::ask_once(&credentials, &self.others).await;
            if let Some(later) = self.judge(&identity, &told, fresh)? {
                let what = "the cluster was recovered or restored, and goes on with this node";
                let with = vec![("life", later.life.number.to_string())];
                crate::log::note(LogLevel::Warn, what, with);
                return identity::adopt(store, &identity, later);
            }
            let of_mine =
                |told: &Told| told.known.life == identity.life && told.known.map == identity.map;
            // Without records of the cluster it can only be let in by somebody.
            if !is_lost || told.iter().any(of_mine) {
                return Ok(identity);
            }
            if !std::mem::replace(&mut noted, true) {
                let what = "waiting for a node that lets this one in";
                crate::log::note(LogLevel::Info, what, Vec::new());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// What follows from what others say of their cluster: the life to go on in, if it is a later one.
    fn judge(
        &self,
        identity: &Identity,
        told: &[Told],
        fresh: bool,
    ) -> anyhow::Result<Option<Known>> {
        let (mine, incarnation) = (&identity.life, identity.member.incarnation);
        for Told { name, node, incarnation: theirs, known } in told {
            let same = known.map == identity.map;
            if same && known.life == *mine {
                continue;
            }
            match mine.stranger(same, known.life.number) {
                Stranger::Later if known.life.keeps(self.me, incarnation) => {
                    return Ok(Some(known.clone()));
                }
                Stranger::Later => bail!("{name}: {}", super::LEFT_BEHIND),
                Stranger::Apart if fresh => bail!("{name}: {}", super::FOUNDED_APART),
                Stranger::Earlier if fresh && !mine.keeps(*node, *theirs) => {
                    bail!("{name}: {}", super::STILL_UP)
                }
                Stranger::Apart | Stranger::Earlier => {}
            }
        }
        Ok(None)
    }

    /// What this node shows of itself; nothing of a cluster while it has no identity.
    fn credentials(&self, config: &Config, identity: Option<&Identity>) -> Credentials {
        Credentials {
            cluster_name: config.cluster.name.clone(),
            map: identity.map(|identity| identity.map),
            life: identity.map(|identity| identity.life.clone()).unwrap_or_default(),
            restored: identity.map(|identity| identity.restored).unwrap_or_default(),
            node: self.me,
            name: self.entry.name.clone(),
            incarnation: identity.map(|it| it.member.incarnation).unwrap_or_default(),
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
        let mut control = dds::control::Limits::default();
        control.heat.moves = config.cluster.balance_load;
        control.heat.difference_min = config.cluster.balance_load_min.into();
        control.heat.rests = config.cluster.balance_load_rest.0;
        Ok(MembershipSetup {
            control,
            incarnation: identity.member.incarnation,
            start: Start(identity::draw()?),
            site: Site { address, zone, weight: WEIGHT },
            boot,
            fills: dds::fills::Limits {
                bytes_per_second: config.cluster.fill_rate.0,
                ..dds::fills::Limits::default()
            },
            ..MembershipSetup::alone(&identity.map)
        })
    }

    /// Where the other nodes are, for calls of the admin API.
    #[must_use]
    pub fn neighbours(&self, config: &Config, identity: &Identity) -> Neighbours {
        let credentials = Arc::new(self.credentials(config, Some(identity)));
        Neighbours { credentials, others: self.others.clone() }
    }

    /// The connections with the others, if there are any.
    ///
    /// # Errors
    /// When this node has no address to be reached at.
    pub fn peers(
        &self,
        config: &Config,
        (identity, bridge): (&Identity, &Arc<Bridge>),
        ports: &[stages::PortSender<vspace::Inward>],
    ) -> anyhow::Result<Option<(peers::Setup, AdminCalls)>> {
        if self.others.is_empty() {
            return Ok(None);
        }
        let groups = u8::try_from(ports.len()).context("stages.workers is at most 255")?;
        let credentials = self.credentials(config, Some(identity));
        let (bridge, me) = (Arc::clone(bridge), self.me);
        let (admin, calls) = tokio::sync::mpsc::unbounded_channel();
        let setup = peers::Setup {
            credentials: Arc::new(credentials),
            places: vspace::Places { map: identity.map, groups },
            listen: self.listen()?,
            others: self.others.clone(),
            ports: ports.to_vec(),
            limits: Arc::default(),
            admin,
            on_stranger: Arc::new(move |stranger| bridge.meet(me, stranger)),
            traffic: Arc::default(),
            standings: Arc::default(),
        };
        Ok(Some((setup, calls)))
    }
}

/// Whether no other node has ever taken part in what this map is of: it was founded here, recovered or restored.
#[must_use]
pub fn is_fresh(map: &ClusterMap, me: NodeId) -> bool {
    let absent =
        |(node, known): (&NodeId, &dds::cluster::Node)| *node == me || known.session == Session(0);
    map.is_founded() && map.nodes.iter().all(absent)
}

fn is_exposed(node: &NodeEntry) -> bool {
    node.address.is_some_and(|address| !address.ip().is_loopback())
}
