//! `[listen]`: which protocol is served where.

use super::Network;
use super::section::{Findings, Section, wrong_type};
use serde::{Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use toml::{Table, Value};

/// A protocol that can be listened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    Smtp,
    Lmtp,
    Submission,
    Submissions,
    Imap,
    Imaps,
    Pop3,
    Pop3s,
    Http,
    Https,
    Admin,
    Node,
    Extensions,
    /// Postfix asks where recipients are.
    Socketmap,
}

impl Service {
    pub const ALL: [Self; 14] = [
        Self::Smtp,
        Self::Lmtp,
        Self::Submission,
        Self::Submissions,
        Self::Imap,
        Self::Imaps,
        Self::Pop3,
        Self::Pop3s,
        Self::Http,
        Self::Https,
        Self::Admin,
        Self::Node,
        Self::Extensions,
        Self::Socketmap,
    ];

    /// The key in `[listen]`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Lmtp => "lmtp",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Pop3 => "pop3",
            Self::Pop3s => "pop3s",
            Self::Http => "http",
            Self::Https => "https",
            Self::Admin => "admin",
            Self::Node => "node",
            Self::Extensions => "extensions",
            Self::Socketmap => "socketmap",
        }
    }

    /// 2000 and the standard port, so that nobody needs to be root.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Smtp => 2025,
            Self::Lmtp => 2024,
            Self::Submission => 2587,
            Self::Submissions => 2465,
            Self::Imap => 2143,
            Self::Imaps => 2993,
            Self::Pop3 => 2110,
            Self::Pop3s => 2995,
            Self::Http => 2080,
            Self::Https => 2443,
            Self::Admin => 2700,
            Self::Node => 2701,
            Self::Extensions => 2702,
            Self::Socketmap => 2026,
        }
    }

    /// Whether sessions of mail protocols are served there.
    #[must_use]
    pub const fn is_mail(self) -> bool {
        self.is_served()
            && !matches!(
                self,
                Self::Http | Self::Https | Self::Admin | Self::Extensions | Self::Socketmap
            )
    }

    /// Whether this release serves it.
    #[must_use]
    pub const fn is_served(self) -> bool {
        match self {
            Self::Smtp | Self::Lmtp | Self::Submission | Self::Submissions => true,
            Self::Imap | Self::Imaps | Self::Pop3 | Self::Pop3s => true,
            Self::Http | Self::Https | Self::Admin | Self::Extensions | Self::Socketmap => true,
            Self::Node => false,
        }
    }

    const fn default_tls(self) -> TlsMode {
        match self {
            Self::Submissions | Self::Imaps | Self::Pop3s | Self::Https => TlsMode::Implicit,
            Self::Smtp | Self::Lmtp | Self::Submission | Self::Imap | Self::Pop3 => {
                TlsMode::StartTls
            }
            Self::Http | Self::Admin | Self::Node | Self::Extensions | Self::Socketmap => {
                TlsMode::Off
            }
        }
    }
}

/// When TLS begins on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    Off,
    /// When the client asks: STARTTLS, STLS.
    StartTls,
    /// With the first byte.
    Implicit,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Port 0 (`auto` in the file): the kernel chooses.
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Parses `127.0.0.1:2143`, `[::1]:auto`, `auto` or `unix:/path`.
    fn parse(text: &str, findings: &Findings) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err("a unix socket needs a path, as in \"unix:/run/hikyaku/lmtp\"".to_owned())
            } else {
                Ok(Self::Unix(findings.path(path)))
            };
        }
        if text == "auto" {
            return Ok(Self::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)));
        }
        let with_number = match text.strip_suffix(":auto") {
            Some(host) => format!("{host}:0"),
            None => text.to_owned(),
        };
        with_number.parse().map(Self::Tcp).map_err(|_| {
            format!(
                "{text:?} is no address: write it as in \"127.0.0.1:2143\", \"[::]:143\", \
                 \"127.0.0.1:auto\" or \"unix:/path\""
            )
        })
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) if address.port() == 0 && address.is_ipv6() => {
                write!(f, "[{}]:auto", address.ip())
            }
            Self::Tcp(address) if address.port() == 0 => write!(f, "{}:auto", address.ip()),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    #[serde(skip)]
    pub service: Service,
    pub address: Address,
    /// Permission bits of a unix socket.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "octal")]
    pub mode: Option<u32>,
    /// Peers that speak the PROXY protocol (version 1 or 2) before anything else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxy_protocol_from: Vec<Network>,
    pub tls: TlsMode,
}

fn octal<S: Serializer>(mode: &Option<u32>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{:04o}", mode.unwrap_or(0)))
}

impl Listener {
    /// The listener of a service when nothing is configured.
    #[must_use]
    pub fn default_of(service: Service) -> Self {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), service.default_port());
        Self::at(service, Address::Tcp(address))
    }

    fn at(service: Service, address: Address) -> Self {
        let tls = service.default_tls();
        Self { service, address, mode: None, proxy_protocol_from: Vec::new(), tls }
    }
}

/// `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    pub listeners: Vec<Listener>,
    /// Networks that may deliver by LMTP over the network.
    pub lmtp_from: Vec<Network>,
}

impl Default for Listen {
    fn default() -> Self {
        // Only where Postfix is in front.
        let served = Service::ALL
            .into_iter()
            .filter(|service| service.is_served() && *service != Service::Socketmap);
        Self { listeners: served.map(Listener::default_of).collect(), lmtp_from: Vec::new() }
    }
}

impl Listen {
    /// Whether nothing was configured.
    #[must_use]
    pub fn is_default(&self) -> bool {
        let mut default = Self::default();
        if let Some(Listener { address: Address::Tcp(address), .. }) = self.listeners.first() {
            default.set_ip(address.ip());
        }
        *self == default
    }

    fn set_ip(&mut self, ip: IpAddr) {
        for listener in &mut self.listeners {
            if let Address::Tcp(address) = &mut listener.address {
                address.set_ip(ip);
            }
        }
    }

    /// Moves listeners of a node in a cluster, when nothing was configured, to the address where the others reach the node.
    pub fn follow(&mut self, node: SocketAddr) {
        if self.is_default() {
            self.set_ip(node.ip());
        }
    }

    /// Whether every node listens where the others reach it: see [`Listen::follow`].
    #[must_use]
    pub fn follows_nodes(&self) -> bool {
        self.is_default()
    }

    /// The first listener of a service.
    #[must_use]
    pub fn first(&self, service: Service) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.service == service)
    }

    pub(super) fn read(mut section: Section, findings: &mut Findings) -> Self {
        let lmtp_from = section.networks("lmtp_from", findings);
        let mut listen = Self { listeners: Vec::new(), lmtp_from };
        for service in Service::ALL {
            let key = section.key(service.name());
            let Some(value) = section.take(service.name()) else { continue };
            if !service.is_served() {
                findings.not_yet(&key, format!("a listener for {}", service.name()));
                continue;
            }
            let values = match value {
                Value::Array(list) => list,
                one => vec![one],
            };
            for value in values {
                if let Some(listener) = read_listener(service, &key, value, findings) {
                    listen.invariant_lmtp_is_guarded(&key, &listener, findings);
                    listen.listeners.push(listener);
                }
            }
        }
        section.finish(findings);
        listen
    }

    /// LMTP trusts its clients: it must not be open to anybody.
    fn invariant_lmtp_is_guarded(&self, key: &str, it: &Listener, findings: &mut Findings) {
        if it.service == Service::Lmtp && !it.address.is_local() && self.lmtp_from.is_empty() {
            findings.error(
                key,
                format!(
                    "LMTP on {} would trust anybody: listen on loopback or a unix socket, or set \
                     listen.lmtp_from to the networks of your mail transfer agents",
                    it.address
                ),
            );
        }
    }
}

fn read_listener(
    service: Service,
    key: &str,
    value: Value,
    findings: &mut Findings,
) -> Option<Listener> {
    match value {
        Value::String(text) => match Address::parse(&text, findings) {
            Ok(address) => Some(Listener::at(service, address)),
            Err(reason) => {
                findings.error(key, reason);
                None
            }
        },
        Value::Table(table) => read_table(service, key, table, findings),
        other => {
            findings.error(key, wrong_type("an address or a table", &other));
            None
        }
    }
}

fn read_table(
    service: Service,
    key: &str,
    table: Table,
    findings: &mut Findings,
) -> Option<Listener> {
    let mut section = Section::new(key, table);
    let address = match section.string("address", findings) {
        Some(text) => match Address::parse(&text, findings) {
            Ok(address) => Some(address),
            Err(reason) => {
                findings.error(&section.key("address"), reason);
                None
            }
        },
        None => {
            findings.error(&section.key("address"), "is missing");
            None
        }
    };
    let mode = section.parsed("mode", findings, |text| {
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o777)
            .ok_or_else(|| format!("{text:?} is no file mode: write it in octal, as in \"0660\""))
    });
    if mode.is_some() && !matches!(address, Some(Address::Unix(_)) | None) {
        findings.error(&section.key("mode"), "is for unix sockets only");
    }
    let tls = section.parsed("tls", findings, |text| match text {
        "off" => Ok(TlsMode::Off),
        "starttls" => Ok(TlsMode::StartTls),
        "implicit" => Ok(TlsMode::Implicit),
        other => Err(format!("{other:?}: must be \"off\", \"starttls\" or \"implicit\"")),
    });
    if tls == Some(TlsMode::StartTls) && service.default_tls() == TlsMode::Off {
        findings.error(&section.key("tls"), "this protocol has no STARTTLS: use \"implicit\"");
    }
    let proxy_protocol_from = section.networks("proxy_protocol_from", findings);
    section.finish(findings);
    let tls = tls.unwrap_or(service.default_tls());
    Some(Listener { service, address: address?, mode, proxy_protocol_from, tls })
}

/// As in the file: one key per service.
impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = to.serialize_map(None)?;
        if !self.lmtp_from.is_empty() {
            map.serialize_entry("lmtp_from", &self.lmtp_from)?;
        }
        for service in Service::ALL {
            let of: Vec<&Listener> =
                self.listeners.iter().filter(|listener| listener.service == service).collect();
            match of.as_slice() {
                [] => {}
                [one] => map.serialize_entry(service.name(), one)?,
                several => map.serialize_entry(service.name(), several)?,
            }
        }
        map.end()
    }
}
