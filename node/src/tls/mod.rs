//! TLS: certificates, the choice among them, and reloading.
//!
//! Invariants: a context always has at least one usable pair; a reload that fails leaves everything as it was; connections that
//! stand keep what they began with. TLS 1.2 and 1.3 only (RFC 8996). Sessions resume by tickets: a thousand clients cost no
//! memory for their sessions.

mod certificate;

use crate::config::Tls;
use certificate::Pair;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {reason}", .path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("the self-signed certificate can't be made: {0}")]
    SelfSigned(String),
    #[error(transparent)]
    File(#[from] std::io::Error),
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

/// The TLS of a node.
pub struct TlsContext {
    /// Where the self-signed pair is kept.
    data: PathBuf,
    hostname: String,
    current: RwLock<Configs>,
}

#[derive(Clone)]
struct Configs {
    mail: Arc<ServerConfig>,
    admin: Arc<ServerConfig>,
}

impl TlsContext {
    /// Loads the configured pairs; without any, the self-signed pair of the data directory, which is made when it is not there.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(config: &Tls, data: &Path, hostname: &str) -> Result<Self, TlsError> {
        let current = RwLock::new(configs(config, data, hostname)?);
        Ok(Self { data: data.to_path_buf(), hostname: hostname.to_owned(), current })
    }

    /// For listeners of mail. Take it anew for each connection, so that a reload is seen.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).mail)
    }

    /// For the admin API: HTTP/2 and HTTP/1.1 by ALPN.
    #[must_use]
    pub fn admin_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).admin)
    }

    /// Loads the pairs again, for connections from now on.
    ///
    /// # Errors
    /// See [`TlsError`]; the old pairs stay in use.
    pub fn reload(&self, config: &Tls) -> Result<(), TlsError> {
        let loaded = configs(config, &self.data, &self.hostname)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }
}

impl std::fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsContext").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

/// The pair for a client: the first whose certificate is for the name it asks for, else the first.
#[derive(Debug)]
struct ByName {
    first: Pair,
    rest: Vec<Pair>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.choose(hello.server_name()).key))
    }
}

impl ByName {
    fn choose(&self, name: Option<&str>) -> &Pair {
        let Some(name) = name.and_then(|name| ServerName::try_from(name).ok()) else {
            return &self.first;
        };
        if self.rest.is_empty() || self.first.is_for(&name) {
            return &self.first;
        }
        self.rest.iter().find(|pair| pair.is_for(&name)).unwrap_or(&self.first)
    }
}

fn configs(config: &Tls, data: &Path, hostname: &str) -> Result<Configs, TlsError> {
    let mut pairs = Vec::new();
    for pair in &config.certificates {
        pairs.push(Pair::load(&pair.certificate, &pair.key)?);
    }
    let mut pairs = pairs.into_iter();
    let first = match pairs.next() {
        Some(first) => first,
        None => Pair::self_signed(data, hostname)?,
    };
    let resolver = Arc::new(ByName { first, rest: pairs.collect() });
    let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    let config = |alpn: &[&[u8]]| -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(&ticketer);
        config.send_tls13_tickets = 1;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    };
    Ok(Configs { mail: config(&[])?, admin: config(&[b"h2", b"http/1.1"])? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CertificatePair;
    use std::os::unix::fs::PermissionsExt;

    /// A pair for `name` in files of `dir`.
    fn pair(dir: &Path, name: &str) -> CertificatePair {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("made");
        let certificate = dir.join(format!("{name}.pem"));
        let key = dir.join(format!("{name}.key"));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        CertificatePair { certificate, key }
    }

    fn first_der(context: &TlsContext) -> Vec<u8> {
        let path = context.data.join("tls/self-signed.pem");
        std::fs::read(path).expect("made at the first start")
    }

    #[test]
    fn the_self_signed_pair_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let load = || TlsContext::load(&Tls::default(), dir.path(), "mail.example.org");
        let first = first_der(&load().expect("made"));
        assert_eq!(first, first_der(&load().expect("loaded")));
        let key = dir.path().join("tls/self-signed.key");
        let mode = std::fs::metadata(key).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn pairs_are_chosen_by_name_and_the_first_is_for_the_rest() {
        let dir = tempfile::tempdir().expect("a directory");
        let load = |name: &str| {
            let files = pair(dir.path(), name);
            Pair::load(&files.certificate, &files.key).expect("usable")
        };
        let by_name = ByName {
            first: load("one.example.org"),
            rest: vec![load("two.example.org"), load("*.three.example.org")],
        };
        let is =
            |name: Option<&str>, pair: &Pair| Arc::ptr_eq(&by_name.choose(name).key, &pair.key);
        assert!(is(Some("one.example.org"), &by_name.first));
        assert!(is(Some("two.example.org"), &by_name.rest[0]));
        assert!(is(Some("mail.three.example.org"), &by_name.rest[1]));
        assert!(is(Some("four.example.org"), &by_name.first));
        assert!(is(Some("not a name"), &by_name.first));
        assert!(is(None, &by_name.first));
    }

    #[test]
    fn a_reload_that_fails_keeps_the_old_pair() {
        let dir = tempfile::tempdir().expect("a directory");
        let good = pair(dir.path(), "one.example.org");
        let other = pair(dir.path(), "two.example.org");
        let tls = |pair: &CertificatePair| Tls { certificates: vec![pair.clone()] };
        let context = TlsContext::load(&tls(&good), dir.path(), "host").expect("loads");
        let before = context.server_config();
        let mixed = CertificatePair { key: other.key.clone(), ..good.clone() };
        assert!(context.reload(&tls(&mixed)).is_err(), "a key of another certificate");
        std::fs::write(&good.certificate, "nothing").expect("written");
        let error = context.reload(&tls(&good)).expect_err("no certificate in it");
        assert!(error.to_string().contains("one.example.org.pem"), "{error}");
        assert!(Arc::ptr_eq(&before, &context.server_config()));
        context.reload(&tls(&other)).expect("a good pair");
        assert!(!Arc::ptr_eq(&before, &context.server_config()));
    }
}
