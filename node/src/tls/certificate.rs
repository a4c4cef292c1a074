//! One certificate chain and its key: from files, or made here and signed by itself.

use super::TlsError;
use crate::private_file;
use mailstore::face::InternalDate;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Years that a self-signed certificate is good for. Our choice: nobody renews it.
const SELF_SIGNED_YEARS: i32 = 10;

/// A chain and its key, known to fit.
#[derive(Debug)]
pub struct Pair {
    pub key: Arc<CertifiedKey>,
}

impl Pair {
    /// Loads PEM files.
    ///
    /// # Errors
    /// The file at fault and what is wrong with it.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let unusable =
            |path: &Path, reason: String| TlsError::Unusable { path: path.to_path_buf(), reason };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|error| unusable(certificate, format!("{error}")))?;
        let end_entity = chain
            .first()
            .ok_or_else(|| unusable(certificate, "there is no certificate in it".to_owned()))?;
        ParsedCertificate::try_from(end_entity)
            .map_err(|error| unusable(certificate, format!("the first certificate: {error}")))?;
        let der = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| unusable(key, format!("no private key: {error}")))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, der, &provider)
            .map_err(|error| unusable(key, format!("not the key of the certificate: {error}")))?;
        Ok(Self { key: Arc::new(certified) })
    }

    /// The pair in `DATA/tls`; made when it is not there.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn self_signed(data: &Path, hostname: &str) -> Result<Self, TlsError> {
        let dir = data.join("tls");
        let (certificate, key) = (dir.join("self-signed.pem"), dir.join("self-signed.key"));
        // The certificate is written last: when it is there, so is its key.
        if private_file::read(&certificate)?.is_none() {
            let (certificate_pem, key_pem) = make(hostname)?;
            private_file::ensure_dir(&dir)?;
            private_file::write(&key, key_pem.as_bytes())?;
            private_file::write(&certificate, certificate_pem.as_bytes())?;
        }
        Self::load(&certificate, &key)
    }

    /// Whether the certificate is for `name`: RFC 9525.
    pub fn is_for(&self, name: &ServerName<'_>) -> bool {
        let Ok(end_entity) = self.key.end_entity_cert() else { return false };
        ParsedCertificate::try_from(end_entity)
            .is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok())
    }
}

/// Certificate and key in PEM, ECDSA on P-256.
fn make(hostname: &str) -> Result<(String, String), TlsError> {
    let failed = |error: rcgen::Error| TlsError::SelfSigned(error.to_string());
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !names.iter().any(|name| name == hostname) {
        names.insert(0, hostname.to_owned());
    }
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = rcgen::CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, hostname);
    let (year, month, day) = today();
    params.not_before = rcgen::date_time_ymd(year, month, day);
    params.not_after = rcgen::date_time_ymd(year + SELF_SIGNED_YEARS, month, day.min(28));
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn today() -> (i32, u8, u8) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let unix_seconds = i64::try_from(now).unwrap_or(0);
    let (year, month, day, ..) = InternalDate { unix_seconds, zone_minutes: 0 }.civil();
    let narrow = |number: u32| u8::try_from(number).unwrap_or(1);
    (i32::try_from(year).unwrap_or(2026), narrow(month), narrow(day))
}
