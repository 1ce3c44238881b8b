//! What the management API is started with: `[management]`.

use std::net::{Ipv4Addr, SocketAddr};

use broker_net::config::{Bind, TlsConfig};

use super::field::{Field, Refusal, parse_address, refuse};
use super::value::Value;

/// `management.*`.
#[derive(Debug, Clone)]
pub(crate) struct ManagementConfig {
    /// `management.max_row_limit`.
    pub(crate) max_row_limit: usize,
    /// `management.application.default_secret`.
    pub(crate) default_secret: Option<DefaultSecret>,
    /// `management.listener.http`.
    pub(crate) http: HttpListener,
    /// `management.listener.https`.
    pub(crate) https: HttpsListener,
}

/// `management.listener.<scheme>.*`.
#[derive(Debug, Clone)]
pub(crate) struct HttpListener {
    pub(crate) enabled: bool,
    pub(crate) bind: HttpAddress,
    /// Threads that serve it.
    pub(crate) acceptors: usize,
    /// Connections at a time.
    pub(crate) max_clients: usize,
    pub(crate) backlog: u32,
    pub(crate) send_timeout_ms: u64,
    pub(crate) nodelay: bool,
}

/// The same over TLS.
#[derive(Debug, Clone)]
pub(crate) struct HttpsListener {
    pub(crate) listener: HttpListener,
    pub(crate) tls: TlsConfig,
}

/// Where a listener for HTTP listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpAddress(pub(crate) Bind);

impl HttpAddress {
    pub(crate) fn socket_addr(&self) -> SocketAddr {
        self.0.socket_addr().expect("a path is no address of this kind of key")
    }
}

/// A secret that is not in the configuration's `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DefaultSecret(pub(crate) String);

impl std::fmt::Debug for DefaultSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Default for ManagementConfig {
    fn default() -> Self {
        Self {
            max_row_limit: 10_000,
            default_secret: None,
            http: HttpListener::new(8_080),
            https: HttpsListener {
                listener: HttpListener {
                    enabled: false,
                    // The original's where its file leaves these keys out, as it does.
                    acceptors: 8,
                    max_clients: 64,
                    ..HttpListener::new(8_081)
                },
                tls: TlsConfig::default(),
            },
        }
    }
}

impl HttpListener {
    fn new(port: u16) -> Self {
        Self {
            enabled: true,
            bind: HttpAddress(Bind::Inet((Ipv4Addr::LOCALHOST, port).into())),
            acceptors: 2,
            max_clients: 512,
            backlog: 512,
            send_timeout_ms: 15_000,
            nodelay: true,
        }
    }
}

impl Field for HttpAddress {
    fn show(&self) -> Value {
        Value::Text(self.0.to_string())
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        let Value::Text(text) = value else { return refuse("is no address") };
        parse_address(&text).map(Self).or_else(refuse)
    }
}

impl Field for DefaultSecret {
    fn show(&self) -> Value {
        Value::Text(self.0.clone())
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        match value {
            Value::Text(text) if (1..=1_024).contains(&text.len()) => Ok(Self(text)),
            _ => refuse("is empty or too long"),
        }
    }
}
