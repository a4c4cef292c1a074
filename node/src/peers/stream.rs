//! A connection between two nodes, with TLS or without.

use super::credentials::TlsPair;
use super::handshake::Refused;
use crate::control::ByteStream;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long each step of a greeting may take. Our choice: above a round trip around the world.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// How long the host of a node may take to answer a call. Our choice: a packet that was lost is sent again after a second.
const REACH_TIME: Duration = Duration::from_millis(1500);

/// How long bytes may stay without an acknowledgement: there are pings all the time. Our choice: above a pause of a busy host, whose
/// kernel acknowledges anyway; with a detour found within the time that a task waits for its master.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Bytes that both sides derive from their TLS session: what was proved on one connection proves nothing on another.
const BINDING_BYTES: usize = 32;
const BINDING_LABEL: &[u8] = b"EXPORTER-hikyaku-peer";

pub struct Stream {
    pub bytes: Box<dyn ByteStream>,
    /// Empty without TLS.
    pub binding: Vec<u8>,
}

/// Connects to a node.
pub async fn connect(address: SocketAddr, tls: Option<&TlsPair>) -> Result<Stream, Refused> {
    let socket = reach(address).await?;
    in_time(secure(socket, address, tls)).await
}

/// Connects to a node over bytes that reach it already.
pub async fn connect_over(
    bytes: Box<dyn ByteStream>,
    address: SocketAddr,
    tls: Option<&TlsPair>,
) -> Result<Stream, Refused> {
    in_time(secure(bytes, address, tls)).await
}

/// A connection with the host of a node.
pub async fn reach(address: SocketAddr) -> Result<TcpStream, Refused> {
    let socket = match tokio::time::timeout(REACH_TIME, TcpStream::connect(address)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Err(Refused::Io(error));
        }
        Ok(Err(error)) => return Err(Refused::NoWay(error)),
        Err(_) => return Err(Refused::NoWay(std::io::ErrorKind::TimedOut.into())),
    };
    prepare(&socket).map_err(Refused::Io)?;
    Ok(socket)
}

async fn secure(
    bytes: impl ByteStream + 'static,
    address: SocketAddr,
    tls: Option<&TlsPair>,
) -> std::io::Result<Stream> {
    let Some(tls) = tls else { return Ok(Stream { bytes: Box::new(bytes), binding: Vec::new() }) };
    let name = rustls_pki_types::ServerName::IpAddress(address.ip().into());
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.client));
    let stream = connector.connect(name, bytes).await?;
    let binding = vec![0; BINDING_BYTES];
    let binding = stream.get_ref().1.export_keying_material(binding, BINDING_LABEL, None);
    let binding = binding.map_err(std::io::Error::other)?;
    Ok(Stream { bytes: Box::new(stream), binding })
}

/// The other side of [`connect`].
pub async fn accept(socket: TcpStream, tls: Option<&TlsPair>) -> Result<Stream, Refused> {
    let work = async {
        prepare(&socket)?;
        let Some(tls) = tls else {
            return Ok(Stream { bytes: Box::new(socket), binding: Vec::new() });
        };
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&tls.server));
        let stream = acceptor.accept(socket).await?;
        let binding = vec![0; BINDING_BYTES];
        let binding = stream.get_ref().1.export_keying_material(binding, BINDING_LABEL, None);
        let binding = binding.map_err(std::io::Error::other)?;
        Ok(Stream { bytes: Box::new(stream), binding })
    };
    in_time(work).await
}

/// Messages are whole; and a host that has gone without a word is noticed.
fn prepare(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    socket2::SockRef::from(socket).set_tcp_user_timeout(Some(SILENCE_MAX))
}

/// Gives `work` its time.
pub async fn in_time<T>(
    work: impl std::future::Future<Output = std::io::Result<T>>,
) -> Result<T, Refused> {
    match tokio::time::timeout(CONNECT_TIME, work).await {
        Ok(result) => result.map_err(Refused::Io),
        Err(_) => Err(Refused::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// Certificates of others are not looked at: the secret, bound to the connection, tells who they are.
#[derive(Debug)]
pub struct AnyCertificate(pub Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &rustls_pki_types::CertificateDer<'_>,
        _intermediates: &[rustls_pki_types::CertificateDer<'_>],
        _server_name: &rustls_pki_types::ServerName<'_>,
        _ocsp_response: &[u8],
        _now: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls_pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls_pki_types::CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The client's side of TLS between nodes: TLS 1.3 only.
///
/// # Errors
/// When the library lacks it.
pub fn client_config() -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}
