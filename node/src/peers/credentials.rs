//! What a node is called by others, and what it proves to them.

use crate::life::Life;
use dds::DpMap;
use dds::cluster::{Incarnation, NodeId};
use hmac::{Hmac, Mac};
use mailstore::mailbox::Restored;
use sha2::Sha256;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a secret that are enough; from `openssl rand -hex 32` and the like.
const SECRET_BYTES_MIN: usize = 16;

/// What a node shows of itself.
pub struct Credentials {
    pub cluster_name: String,
    /// `None`: this node is of no cluster yet.
    pub map: Option<DpMap>,
    pub life: Life,
    /// Those that led to what the cluster holds: whoever joins it has to know.
    pub restored: Restored,
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

impl Credentials {
    #[must_use]
    pub fn cluster(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| self.life.cluster_id(map).0)
    }

    /// The name of the cluster in its first life; 0 while this node is of none.
    #[must_use]
    pub fn founding(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| Life::default().cluster_id(map).0)
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
