//! What a listener is made of; validated values, named as EMQ X 3.1 names its keys.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use broker_core::config::{GroupLimits, Rate};

/// One listener, `listener.<protocol>.<name>`.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerConfig {
    /// `<name>` of the key: `external`, `internal` or one of the operator's.
    pub name: String,
    /// `<protocol>` of the key.
    pub protocol: Protocol,
    /// Where it listens.
    pub bind: Bind,
    /// `zone`: whose limits its clients get.
    pub zone: String,
    /// `acceptors`: connections accepted in one go before the others get their turn.
    pub acceptors: usize,
    /// `max_connections` at a time; further ones are refused.
    pub max_connections: usize,
    /// `max_conn_rate` per second; 0 for no limit.
    pub max_conn_rate: u32,
    /// `rate_limit`: bytes of MQTT that each connection may send.
    pub rate_limit: Option<Rate>,
    /// What all connections may send and be sent together; `max_connections` and `max_conn_rate` are above.
    pub limits: GroupLimits,
    /// `max_half_open_per_ip`: connections of one address that have not finished CONNECT; 0 for no limit.
    pub max_half_open_per_ip: u32,
    /// `access`: the first rule that matches the peer's address decides; none matches: allowed.
    pub access: Vec<AccessRule>,
    /// `proxy_protocol`: a PROXY v1 or v2 header must come first.
    pub proxy_protocol: bool,
    /// `proxy_protocol_peers`: who may send such a header; others are refused. Empty: nobody.
    pub proxy_protocol_peers: Vec<Cidr>,
    /// `proxy_protocol_timeout` in milliseconds.
    pub proxy_protocol_timeout_ms: u64,
    /// Socket options; of no meaning for a Unix socket.
    pub tcp: TcpOptions,
    /// TLS, for `ssl` and `wss`.
    pub tls: Option<TlsConfig>,
    /// WebSocket, for `ws` and `wss`.
    pub websocket: Option<WebSocketConfig>,
}

/// What is spoken under MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Ssl,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS over TCP.
    Wss,
    /// A Unix domain socket.
    Unix,
}

/// An address to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// An IP address and port.
    Inet(SocketAddr),
    /// A port of all IPv4 addresses.
    Port(u16),
    /// A path in the file system.
    Unix(PathBuf),
}

/// `allow all`, `deny 192.168.0.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessRule {
    /// Allow or deny.
    pub allow: bool,
    /// Whom; `None` is everybody.
    pub peer: Option<Cidr>,
}

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// Any address of the block.
    pub addr: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

/// Options of a TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOptions {
    /// `backlog` of the listening socket.
    pub backlog: u32,
    /// `nodelay`.
    pub nodelay: bool,
    /// `reuseaddr`.
    pub reuseaddr: bool,
    /// `recbuf` in bytes; `None` leaves it to the system.
    pub recbuf: Option<u32>,
    /// `sndbuf` in bytes; `None` leaves it to the system.
    pub sndbuf: Option<u32>,
    /// `send_timeout` in milliseconds: a peer that takes no byte for so long is closed; 0 for never.
    pub send_timeout_ms: u64,
}

/// TLS of a listener. Where no certificate is named, one is made in the data folder at first start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// `certfile`: PEM, the server's certificate first.
    pub certfile: Option<PathBuf>,
    /// `keyfile`: PEM.
    pub keyfile: Option<PathBuf>,
    /// `cacertfile`: PEM, who may sign client certificates.
    pub cacertfile: Option<PathBuf>,
    /// `crlfile`: PEM or DER, what those authorities have revoked.
    pub crlfile: Vec<PathBuf>,
    /// `crl_url`: the same from web servers; whoever starts the server fetches them.
    pub crl_url: Vec<String>,
    /// `crl_refresh` in milliseconds: how often both are read again.
    pub crl_refresh_ms: u64,
    /// `crl_check`.
    pub crl_check: CrlCheck,
    /// `psk_ciphers`: TLS with pre-shared keys, by these cipher suites and no others; empty for certificates.
    pub psk_ciphers: Vec<PskCipher>,
    /// `ocsp_stapling`: clients are shown that the certificate has not been revoked.
    pub ocsp_stapling: Option<OcspStapling>,
    /// `ocsp_check`: whether a responder is asked about the client's certificate.
    pub ocsp_check: OcspCheck,
    /// `ocsp_responder`: which one.
    pub ocsp_responder: Option<OcspResponder>,
    /// `ocsp_refresh` in milliseconds: how old its answers may become before it is asked again.
    pub ocsp_refresh_ms: u64,
    /// `ocsp_timeout` in milliseconds: how long a client waits for an answer.
    pub ocsp_timeout_ms: u64,
    /// `verify = verify_peer`: a client certificate is asked for and checked.
    pub verify_peer: bool,
    /// `fail_if_no_peer_cert`: it must be there.
    pub fail_if_no_peer_cert: bool,
    /// `tls_versions` contains tlsv1.2.
    pub tls12: bool,
    /// `tls_versions` contains tlsv1.3.
    pub tls13: bool,
    /// `handshake_timeout` in milliseconds.
    pub handshake_timeout_ms: u64,
    /// `peer_cert_as_username`.
    pub peer_cert_as_username: Option<PeerCertField>,
}

/// A cipher suite of `psk_ciphers`, by openssl's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PskCipher(&'static str);

impl PskCipher {
    /// All that may be named.
    pub fn all() -> impl Iterator<Item = Self> {
        PSK_CIPHERS.iter().chain(PSK_CIPHERS_LEFT_OUT).map(|name| Self(name))
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|cipher| cipher.0 == name)
    }

    /// `PSK-AES128-GCM-SHA256`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }

    /// Whether it is spoken; those that are broken are read and left out.
    #[must_use]
    pub fn is_offered(self) -> bool {
        PSK_CIPHERS.contains(&self.0)
    }
}

const PSK_CIPHERS: &[&str] = &[
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-PSK-AES256-CBC-SHA384",
    "ECDHE-PSK-AES128-CBC-SHA256",
    "ECDHE-PSK-AES256-CBC-SHA",
    "ECDHE-PSK-AES128-CBC-SHA",
    "PSK-AES256-GCM-SHA384",
    "PSK-CHACHA20-POLY1305",
    "PSK-AES128-GCM-SHA256",
    "PSK-AES256-CBC-SHA384",
    "PSK-AES128-CBC-SHA256",
    "PSK-AES256-CBC-SHA",
    "PSK-AES128-CBC-SHA",
];
/// EMQ X 3.1 has them.
const PSK_CIPHERS_LEFT_OUT: &[&str] = &["PSK-3DES-EDE-CBC-SHA", "PSK-RC4-SHA"];

/// Which certificates have to be on no revocation list, where one is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrlCheck {
    /// The client's and those between it and the root: for each a list of its issuer must be there, and in date.
    Chain,
    /// The same for the client's alone.
    Peer,
    /// As far as there are lists; those that are out of date count as well.
    BestEffort,
}

/// Where the answer of an OCSP responder about the server's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OcspStapling {
    /// The responder that the certificate names; whoever starts the server asks it.
    Fetch,
    /// A file, DER.
    File(PathBuf),
}

/// Whether a client's certificate must be good by the word of an OCSP responder. Who is revoked, or whom the responder
/// does not know, is refused by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcspCheck {
    /// Nobody is asked.
    Off,
    /// Where there is no answer that can be believed, the client is let in.
    Soft,
    /// Where there is none, it is refused.
    Hard,
}

/// Who is asked about a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OcspResponder {
    /// The responder that the certificate names, once its signature is verified.
    Certificate,
    /// The one at this URL, whatever the certificate says.
    Url(String),
}

/// What of a client certificate becomes the user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerCertField {
    /// Common name.
    Cn,
    /// Distinguished name.
    Dn,
    /// The certificate itself, DER in base64.
    Crt,
}

/// WebSocket of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketConfig {
    /// `mqtt_path`.
    pub mqtt_path: String,
    /// `verify_protocol_header`: `Sec-WebSocket-Protocol: mqtt` (or mqttv3.1, mqttv3.1.1) must be asked for.
    pub verify_protocol_header: bool,
    /// `max_frame_size` in bytes; 0 for no limit but that of the MQTT packet.
    pub max_frame_size: usize,
    /// `proxy_address_header`, read only from `proxy_protocol_peers`.
    pub proxy_address_header: Option<String>,
    /// `proxy_port_header`, likewise.
    pub proxy_port_header: Option<String>,
}

impl TlsConfig {
    /// Whether client certificates are held against revocation lists.
    pub const fn has_crls(&self) -> bool {
        self.verify_peer && !(self.crlfile.is_empty() && self.crl_url.is_empty())
    }

    /// Whether a responder is asked about client certificates.
    pub fn asks_ocsp(&self) -> bool {
        self.verify_peer && self.ocsp_check != OcspCheck::Off
    }
}

impl Default for TlsConfig {
    /// TLS 1.2 and 1.3, no client certificates, a certificate that is made.
    fn default() -> Self {
        Self {
            certfile: None,
            keyfile: None,
            cacertfile: None,
            crlfile: Vec::new(),
            crl_url: Vec::new(),
            crl_refresh_ms: 3_600_000,
            crl_check: CrlCheck::Chain,
            psk_ciphers: Vec::new(),
            ocsp_stapling: None,
            ocsp_check: OcspCheck::Off,
            ocsp_responder: None,
            ocsp_refresh_ms: 3_600_000,
            ocsp_timeout_ms: 5_000,
            verify_peer: false,
            fail_if_no_peer_cert: false,
            tls12: true,
            tls13: true,
            handshake_timeout_ms: 15_000,
            peer_cert_as_username: None,
        }
    }
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            backlog: 1024,
            nodelay: true,
            reuseaddr: true,
            recbuf: None,
            sndbuf: None,
            send_timeout_ms: 15_000,
        }
    }
}

impl ListenerConfig {
    /// MQTT over plain TCP at an address, open to everybody, in zone `external`; port 0 takes a free one.
    pub fn tcp(name: &str, addr: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            protocol: Protocol::Tcp,
            bind: Bind::Inet(addr),
            zone: "external".into(),
            acceptors: 8,
            max_connections: 1_024_000,
            max_conn_rate: 0,
            rate_limit: None,
            limits: GroupLimits::default(),
            max_half_open_per_ip: 4_096,
            access: Vec::new(),
            proxy_protocol: false,
            proxy_protocol_peers: Vec::new(),
            proxy_protocol_timeout_ms: 3_000,
            tcp: TcpOptions::default(),
            tls: None,
            websocket: None,
        }
    }

    /// The start of its configuration keys: `listener.tcp.external`.
    pub fn key(&self) -> String {
        format!("listener.{}.{}", self.protocol.as_str(), self.name)
    }

    /// Whether `peer` may speak for others, in a PROXY header or an HTTP one.
    pub fn trusts_proxy(&self, peer: IpAddr) -> bool {
        self.proxy_protocol_peers.iter().any(|block| block.contains(peer))
    }
}

impl Bind {
    /// The address; `None` for a path.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(addr) => Some(*addr),
            Self::Port(port) => Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port))),
            Self::Unix(_) => None,
        }
    }

    /// The same way to say it with the port that the system chose.
    #[must_use]
    pub fn bound_at(&self, addr: SocketAddr) -> Self {
        match self {
            Self::Inet(_) => Self::Inet(addr),
            Self::Port(_) => Self::Port(addr.port()),
            Self::Unix(path) => Self::Unix(path.clone()),
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(addr) => addr.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Protocol {
    /// The word in the configuration key.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Ssl => "ssl",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
        }
    }
}

impl Cidr {
    /// Whether `peer` lies in the block. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, peer: IpAddr) -> bool {
        match (self.addr.to_canonical(), peer.to_canonical()) {
            (IpAddr::V4(block), IpAddr::V4(peer)) => {
                let differs = block.to_bits() ^ peer.to_bits();
                differs.checked_shr(32 - u32::from(self.prefix.min(32))).unwrap_or(0) == 0
            }
            (IpAddr::V6(block), IpAddr::V6(peer)) => {
                let differs = block.to_bits() ^ peer.to_bits();
                differs.checked_shr(128 - u32::from(self.prefix.min(128))).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}
