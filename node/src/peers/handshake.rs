//! How two nodes meet: each says who it is and proves that it knows the secret of the cluster; who was called tells what the
//! cluster is.
//!
//! Each record is `length: u16 big-endian` and MessagePack. The caller's hello, the other's hello, then both proofs: HMAC-SHA-256
//! under the secret of the role, both hellos with their nonces, and the keying material of the TLS session. Then the called one's
//! welcome. Who lacks the secret learns the names in the hello, and no more.

use super::credentials::Credentials;
use super::stream::{Stream, in_time};
use crate::life::{Life, Stranger};
use dds::DpMap;
use dds::cluster::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vspace::Wire;

/// Version 1 made two connections.
const VERSION: u16 = 2;
const RECORD_BYTES_MAX: usize = 4096;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Pings and the control plane.
    Control,
    /// Logs, requests and tasks.
    Data,
    /// Pages of copies and chunks of blobs.
    Bulk,
    /// Only to ask which cluster there is.
    Probe,
    /// Calls of the admin API: HTTP/2. Releases before the second life of a cluster refuse it.
    Admin,
    /// To be connected through with a third node.
    Relay,
}

impl Kind {
    pub fn of(wire: Wire) -> Self {
        match wire {
            Wire::Control => Self::Control,
            Wire::Data => Self::Data,
            Wire::Bulk => Self::Bulk,
        }
    }

    /// The connection of a link that it becomes.
    pub fn wire(self) -> Option<Wire> {
        match self {
            Self::Control => Some(Wire::Control),
            Self::Data => Some(Wire::Data),
            Self::Bulk => Some(Wire::Bulk),
            Self::Probe | Self::Admin | Self::Relay => None,
        }
    }
}

/// Who calls, or was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u16,
    pub cluster_name: String,
    /// 0: of none yet.
    pub cluster: u64,
    pub node: u16,
    pub name: String,
    pub incarnation: u64,
    pub kind: Kind,
    /// Drawn by the caller for all of its connections: only those that were made together make a link.
    pub pair: u64,
    nonce: [u8; 16],
    /// The name of the cluster in its first life, and which one this is; 0 of a release that knows no others.
    #[serde(default)]
    pub founding: u64,
    #[serde(default)]
    pub life: u32,
}

/// What a cluster is, for those who prove that they know its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Count of partitions and the key that spreads routes over them; `None`: the node is of no cluster yet.
    pub map: Option<(u16, (u64, u64))>,
    #[serde(default)]
    pub life: Life,
    /// Steps and microseconds of the restorations that led to what the cluster holds.
    #[serde(default)]
    pub restored: (u32, u64),
}

/// Why two nodes have no connection.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Io(std::io::Error),
    #[error("its host can't be reached: {0}")]
    NoWay(std::io::Error),
    #[error("what came is no greeting of a node")]
    Garbage,
    #[error("it speaks version {0} of the greeting, this node speaks {VERSION}")]
    Version(u16),
    #[error("it is of the cluster {0:?}: see cluster.name")]
    OtherName(String),
    #[error("{}", other_cluster(*.0))]
    OtherCluster(Stranger),
    #[error(
        "a second process says that it is node {0}: stop the one that was replaced, or empty its data directory"
    )]
    Twice(u16),
    #[error("it is of no cluster yet")]
    NoCluster,
    #[error("it does not know the secret of the cluster: see cluster.secret_file")]
    Secret,
    #[error(
        "it says that it is node {0}, which is not expected there: the files of the nodes differ"
    )]
    OtherNode(u16),
}

fn other_cluster(stranger: Stranger) -> &'static str {
    match stranger {
        Stranger::Later => "it is of the cluster that went on without this node",
        Stranger::Earlier => {
            "it is of the cluster before that was recovered: move its data directory away, and it joins"
        }
        Stranger::Apart => {
            "it is of another cluster of the same name: one of the two data directories was founded apart; move \
             that one away, and its node joins"
        }
    }
}

impl Refused {
    /// For the operator, now and then; a node that can't be reached is nothing to write about.
    pub fn note(&self, whom: &str) {
        if matches!(self, Self::Io(_) | Self::NoWay(_) | Self::NoCluster)
            || !is_news(format!("{whom}: {self}"))
        {
            return;
        }
        let with = vec![("with", whom.to_owned()), ("reason", self.to_string())];
        crate::log::note(crate::config::LogLevel::Warn, "no connection between nodes", with);
    }
}

/// Between two lines of the log that say the same.
const NOTED_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Different lines that are remembered; beyond them all is forgotten.
const NOTED_MAX: usize = 1000;

fn is_news(line: String) -> bool {
    static NOTED: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());
    let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    if noted.get(&line).is_some_and(|at| now.duration_since(*at) < NOTED_AGAIN_AFTER) {
        return false;
    }
    if noted.len() >= NOTED_MAX {
        noted.clear();
    }
    noted.insert(line, now);
    true
}

fn hello(credentials: &Credentials, (kind, pair): (Kind, u64)) -> std::io::Result<Hello> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(std::io::Error::other)?;
    Ok(Hello {
        version: VERSION,
        cluster_name: credentials.cluster_name.clone(),
        cluster: credentials.cluster(),
        node: credentials.node.0,
        name: credentials.name.clone(),
        incarnation: credentials.incarnation.0,
        kind,
        pair,
        nonce,
        founding: credentials.founding(),
        life: credentials.life.number,
    })
}

/// Calls `node`.
pub async fn call(
    mut stream: Stream,
    credentials: &Credentials,
    (node, kind, pair): (NodeId, Kind, u64),
) -> Result<(Hello, Welcome, Stream), Refused> {
    let mine = hello(credentials, (kind, pair)).map_err(Refused::Io)?;
    let sent = send(&mut stream, &mine).await?;
    let (theirs, received): (Hello, _) = receive(&mut stream).await?;
    check(&theirs, credentials)?;
    if theirs.node != node.0 {
        return Err(Refused::OtherNode(theirs.node));
    }
    let transcript = [sent, received, stream.binding.clone()].concat();
    send(&mut stream, &credentials.proof("caller", &transcript)).await?;
    let (proof, _): (Vec<u8>, _) = receive(&mut stream).await?;
    verify(&proof, &credentials.proof("called", &transcript))?;
    check_cluster(&theirs, credentials)?;
    let (welcome, _) = receive(&mut stream).await?;
    Ok((theirs, welcome, stream))
}

/// Answers a call.
pub async fn answer(
    mut stream: Stream,
    credentials: &Credentials,
) -> Result<(Hello, Kind, Stream), Refused> {
    let (theirs, received): (Hello, _) = receive(&mut stream).await?;
    // Before anything is judged: so both sides can say what is wrong.
    let mine = hello(credentials, (theirs.kind, theirs.pair)).map_err(Refused::Io)?;
    let sent = send(&mut stream, &mine).await?;
    check(&theirs, credentials)?;
    if theirs.node == credentials.node.0 {
        return Err(Refused::OtherNode(theirs.node));
    }
    let transcript = [received, sent, stream.binding.clone()].concat();
    let (proof, _): (Vec<u8>, _) = receive(&mut stream).await?;
    verify(&proof, &credentials.proof("caller", &transcript))?;
    send(&mut stream, &credentials.proof("called", &transcript)).await?;
    check_cluster(&theirs, credentials)?;
    let map = credentials.map.map(|DpMap { partitions, hash_key }| (partitions, hash_key));
    let restored = (credentials.restored.steps, credentials.restored.unix_micros);
    send(&mut stream, &Welcome { map, life: credentials.life.clone(), restored }).await?;
    let kind = theirs.kind;
    Ok((theirs, kind, stream))
}

fn check(theirs: &Hello, credentials: &Credentials) -> Result<(), Refused> {
    if theirs.version != VERSION {
        return Err(Refused::Version(theirs.version));
    }
    if theirs.cluster_name != credentials.cluster_name {
        return Err(Refused::OtherName(theirs.cluster_name.clone()));
    }
    // Who is of no cluster yet may only ask.
    if theirs.kind != Kind::Probe && (theirs.cluster == 0 || credentials.cluster() == 0) {
        return Err(Refused::NoCluster);
    }
    Ok(())
}

/// Judged once both have proved who they are: a node may end because of what it is told here. Who only asks may be of any.
fn check_cluster(theirs: &Hello, credentials: &Credentials) -> Result<(), Refused> {
    if theirs.kind == Kind::Probe || theirs.cluster == credentials.cluster() {
        return Ok(());
    }
    let same = theirs.founding == credentials.founding();
    Err(Refused::OtherCluster(credentials.life.stranger(same, theirs.life)))
}

fn verify(proof: &[u8], expected: &[u8]) -> Result<(), Refused> {
    use subtle::ConstantTimeEq;
    if bool::from(proof.ct_eq(expected)) { Ok(()) } else { Err(Refused::Secret) }
}

/// Sends a record; its bytes.
pub async fn send(stream: &mut Stream, record: &impl Serialize) -> Result<Vec<u8>, Refused> {
    let body = rmp_serde::to_vec_named(record).map_err(|_| Refused::Garbage)?;
    let length = u16::try_from(body.len()).map_err(|_| Refused::Garbage)?;
    let bytes = [&length.to_be_bytes()[..], &body].concat();
    in_time(async {
        stream.bytes.write_all(&bytes).await?;
        stream.bytes.flush().await
    })
    .await?;
    Ok(body)
}

/// The next record, and its bytes.
pub async fn receive<T: for<'a> Deserialize<'a>>(
    stream: &mut Stream,
) -> Result<(T, Vec<u8>), Refused> {
    let body = in_time(async {
        let length = usize::from(stream.bytes.read_u16().await?);
        if length > RECORD_BYTES_MAX {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        stream.bytes.read_exact(&mut body).await?;
        Ok(body)
    })
    .await?;
    let record = rmp_serde::from_slice(&body).map_err(|_| Refused::Garbage)?;
    Ok((record, body))
}
