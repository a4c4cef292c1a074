//! The connection to the admin API of a node: where it is, the token, and TLS off loopback.

use super::args::Cli;
use crate::admin::api::admin_client::AdminClient;
use crate::admin::{ADDRESS_FILE, TOKEN_FILE, Token};
use crate::config::{Address, Config, NodeEntry, Tls};
use crate::private_file;
use anyhow::{Context, anyhow, bail};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// A client that shows the token with every call.
pub type Client = AdminClient<InterceptedService<Channel, ShowToken>>;

#[derive(Clone)]
pub struct ShowToken(MetadataValue<Ascii>);

impl Interceptor for ShowToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Connects to the node that the command line means.
pub async fn connect(cli: &Cli) -> anyhow::Result<Client> {
    let named = cli.node.is_some() || cli.data.is_some() || cli.admin.is_some();
    let config = super::load_config(cli)?;
    if named || config.node.len() < 2 {
        let (config, node) = super::load(cli)?;
        let mut client = connect_to(cli, &config, &node).await?;
        if cli.node.is_some() && cli.data.is_none() && cli.admin.is_none() && config.node.len() > 1
        {
            check_name(&mut client, &node).await?;
        }
        return Ok(client);
    }
    // Any node of the cluster can answer, as long as its data directory is on this host.
    let mut last = None;
    for node in &config.node {
        match connect_to(cli, &config, node).await {
            Ok(client) => return Ok(client),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow!("the file lists no node")))
}

/// On every host the data directory may have the same name: who answers must be who was meant.
async fn check_name(client: &mut Client, node: &NodeEntry) -> anyhow::Result<()> {
    use crate::admin::api::StatusRequest;
    let status = client
        .status(StatusRequest { this_node_only: true, of: String::new() })
        .await
        .map_err(|status| told(&status))?;
    let answers = status.into_inner().node;
    if answers != node.name {
        bail!(
            "the data directory {} of this host is that of {answers}: ask {} on its own host, or name it with \
             --admin and --data",
            node.data.display(),
            node.name
        );
    }
    Ok(())
}

async fn connect_to(cli: &Cli, config: &Config, node: &NodeEntry) -> anyhow::Result<Client> {
    let configured = config.admin_address(node);
    let address = address(cli, node, configured)?;
    let token = Token::load(&node.data)?.ok_or_else(|| {
        anyhow!(
            "{} is not there: the first start of the node writes it; name its data directory with \
             --data, or start it with `hikyaku serve`",
            node.data.join(TOKEN_FILE).display()
        )
    })?;
    let header = token.header().parse().context("the admin token is no header value")?;
    let channel = channel(&address, &config.tls, &node.data).await?;
    Ok(AdminClient::with_interceptor(channel, ShowToken(header)))
}

/// `--admin`, else where the running node said it listens, else the configuration.
fn address(cli: &Cli, node: &NodeEntry, configured: Option<Address>) -> anyhow::Result<String> {
    if let Some(given) = &cli.admin {
        return Ok(given.clone());
    }
    if let Some(told) = private_file::read(&node.data.join(ADDRESS_FILE))? {
        return Ok(String::from_utf8_lossy(&told).trim().to_owned());
    }
    match configured {
        Some(Address::Tcp(address)) if address.port() != 0 => Ok(address.to_string()),
        Some(Address::Tcp(_)) => bail!(
            "the admin port of {} is chosen at its start, and it has not started with {} yet",
            node.name,
            node.data.display()
        ),
        Some(Address::Unix(path)) => {
            bail!("listen.admin is the unix socket {}: give it a port instead", path.display())
        }
        None => {
            bail!("[listen] of the configuration has no admin: add it, or name it with --admin")
        }
    }
}

async fn channel(address: &str, tls: &Tls, data: &Path) -> anyhow::Result<Channel> {
    let address = address.to_owned();
    let addresses: Vec<std::net::SocketAddr> = tokio::net::lookup_host(&address)
        .await
        .with_context(|| format!("--admin {address}: write it as in 127.0.0.1:2700"))?
        .collect();
    let Some(first) = addresses.first() else { bail!("{address} has no address") };
    let is_local = first.ip().to_canonical().is_loopback();
    let connector = if is_local { None } else { Some(pinned(tls, data)?) };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let connect = tower::service_fn({
        let address = address.clone();
        move |_| {
            let (address, connector) = (address.clone(), connector.clone());
            async move { stream(&address, connector).await.map(TokioIo::new) }
        }
    });
    endpoint.connect_with_connector(connect).await.map_err(|error| {
        let reason = std::error::Error::source(&error).map(ToString::to_string);
        anyhow!(
            "no node answers on the admin address {address}: {}; start it with `hikyaku serve`, or \
             name another with --admin",
            reason.unwrap_or_else(|| error.to_string())
        )
    })
}

/// Plaintext or TLS: the API does not care.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for T {}

async fn stream(
    address: &str,
    connector: Option<TlsConnector>,
) -> std::io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    match connector {
        None => Ok(Box::new(stream)),
        Some(connector) => {
            let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
            Ok(Box::new(connector.connect(name, stream).await?))
        }
    }
}

/// TLS to a node whose certificate we hold: that of `[tls]`, or the self-signed one of the data directory.
fn pinned(tls: &Tls, data: &Path) -> anyhow::Result<TlsConnector> {
    let mut known = Vec::new();
    let configured = tls.certificates.iter().map(|pair| pair.certificate.clone());
    for path in configured.chain([data.join("tls/self-signed.pem")]) {
        if let Ok(certificate) = CertificateDer::from_pem_file(&path) {
            known.push(certificate);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Pinned { known, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Trusts exactly the certificates it holds, whoever signed them: who has the token has them too.
#[derive(Debug)]
struct Pinned {
    known: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.known.iter().any(|known| known == end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(
                "its certificate is neither in [tls] of the configuration nor in DATA/tls"
                    .to_owned(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a refused call says to a person.
pub fn told(status: &Status) -> anyhow::Error {
    match status.code() {
        tonic::Code::Unauthenticated => {
            anyhow!("{}; name the data directory of the node with --data", status.message())
        }
        tonic::Code::FailedPrecondition
        | tonic::Code::InvalidArgument
        | tonic::Code::Unimplemented
        | tonic::Code::Unavailable
        | tonic::Code::ResourceExhausted
        | tonic::Code::Internal => anyhow!("{}", status.message()),
        code => anyhow!("{}: {}", code.description(), status.message()),
    }
}
