//! How two nodes meet: each says who it is and proves that it knows the secret of the cluster; who was called tells what the
//! cluster is.
//!
//! Each record is `length: u16 big-endian` and MessagePack. The caller's hello, the other's hello, then both proofs: HMAC-SHA-256
//! under the secret of the role, both hellos with their nonces, and the keying material of the TLS session. Then the called one's
//! welcome. Who lacks the secret learns the names in the hello, and no more.

use super::credentials::Credentials;
use super::stream::{Stream, in_time};
use dds::DpMap;
use dds::cluster::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The only version there is.
const VERSION: u16 = 1;
const RECORD_BYTES_MAX: usize = 4096;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Pings and the control plane.
    Control,
    /// Everything else.
    Data,
    /// Only to ask which cluster there is.
    Probe,
    /// To be connected through with a third node.
    Relay,
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
    /// Drawn by the caller for both of its connections: only those that were made together make a link.
    pub pair: u64,
    nonce: [u8; 16],
}

/// What a cluster is, for those who prove that they belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Count of partitions and the key that spreads routes over them; `None`: the node is of no cluster yet.
    pub map: Option<(u16, (u64, u64))>,
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
    #[error(
        "it is of another cluster of the same name: one of the two data directories was founded apart; move that \
         one away, and its node joins"
    )]
    OtherCluster,
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
    let map = credentials.map.map(|DpMap { partitions, hash_key }| (partitions, hash_key));
    send(&mut stream, &Welcome { map }).await?;
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
    let mine = credentials.cluster();
    if theirs.cluster != 0 && mine != 0 && theirs.cluster != mine {
        return Err(Refused::OtherCluster);
    }
    // Who is of no cluster yet may only ask.
    if theirs.kind != Kind::Probe && (theirs.cluster == 0 || mine == 0) {
        return Err(Refused::NoCluster);
    }
    Ok(())
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
