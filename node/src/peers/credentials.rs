//! What a node is called by others, and what it proves to them.

use dds::DpMap;
use dds::cluster::{Incarnation, NodeId};
use dds::wire::ClusterId;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a secret that are enough; from `openssl rand -hex 32` and the like.
const SECRET_BYTES_MIN: usize = 16;

/// What a node shows of itself.
pub struct Credentials {
    pub cluster_name: String,
    /// `None`: this node is of no cluster yet.
    pub map: Option<DpMap>,
    pub node: NodeId,
    pub name: String,
    pub incarnation: Incarnation,
    /// `None`: nothing is proved; on loopback only.
    pub secret: Option<Vec<u8>>,
    /// `None`: in the clear; on loopback only.
    pub tls: Option<TlsPair>,
}

/// Both sides of a connection with TLS. Certificates prove nothing: the secret does, bound to the connection.
#[derive(Clone)]
pub struct TlsPair {
    pub server: Arc<rustls::ServerConfig>,
    pub client: Arc<rustls::ClientConfig>,
}

/// The name of a cluster: of what was drawn when it was founded.
#[must_use]
pub fn cluster_id(map: &DpMap) -> ClusterId {
    let mut hash = Sha256::new();
    hash.update(b"hikyaku cluster");
    hash.update(map.partitions.to_be_bytes());
    hash.update(map.hash_key.0.to_be_bytes());
    hash.update(map.hash_key.1.to_be_bytes());
    let digest = hash.finalize();
    let id = digest.iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
    // 0 stands for no cluster.
    ClusterId(id.max(1))
}

impl Credentials {
    #[must_use]
    pub fn cluster(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| cluster_id(map).0)
    }

    /// The proof of knowing the secret, for one connection and one side of it.
    #[must_use]
    pub fn proof(&self, role: &str, transcript: &[u8]) -> Vec<u8> {
        let key = self.secret.as_deref().unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length will do");
        mac.update(role.as_bytes());
        mac.update(transcript);
        mac.finalize().into_bytes().to_vec()
    }
}

/// The secret of a cluster, white space at the end taken off.
///
/// # Errors
/// When the file can't be read, or is too short to keep anybody out.
pub fn read_secret(path: &Path) -> anyhow::Result<Vec<u8>> {
    use anyhow::{Context, bail};
    let text = std::fs::read(path).with_context(|| {
        format!(
            "the secret of the cluster can't be read from {}: make one with `openssl rand -hex 32` and \
             copy it to every node",
            path.display()
        )
    })?;
    let secret = text.trim_ascii_end().to_vec();
    if secret.len() < SECRET_BYTES_MIN {
        bail!(
            "the secret in {} has {} bytes, {SECRET_BYTES_MIN} are needed: make one with `openssl rand -hex 32`",
            path.display(),
            secret.len()
        );
    }
    Ok(secret)
}
