//! What the management API is started with.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;

/// `management.*`.
#[derive(Debug, Clone)]
pub struct ManagementOptions {
    /// `management.max_row_limit`: rows of a page, at most and by default.
    pub max_row_limit: usize,
    /// `management.application.default_secret`: of applications that are made without one.
    pub default_secret: Option<Secret>,
    /// Where it listens.
    pub listeners: Vec<ListenerOptions>,
    /// The user of the dashboard that is made where it is not there.
    pub default_user: DefaultUser,
}

/// `dashboard.default_user.*`.
#[derive(Debug, Clone)]
pub struct DefaultUser {
    /// `dashboard.default_user.login`.
    pub login: String,
    /// `dashboard.default_user.password`.
    pub password: Secret,
}

/// `management.listener.<scheme>.*`.
#[derive(Debug, Clone)]
pub struct ListenerOptions {
    /// `http:management`.
    pub name: String,
    /// Its part of the configuration, as errors name it: `management.listener.http`.
    pub key: String,
    /// Where it listens; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Whether it was configured by its port alone, and is shown so.
    pub is_port_alone: bool,
    /// Threads that serve its connections, at least 1.
    pub acceptors: usize,
    /// Connections at a time.
    pub max_clients: usize,
    /// Connections the system holds that are not accepted yet.
    pub backlog: u32,
    /// How long what was sent may stay unread before the connection is cut.
    pub send_timeout: Duration,
    /// Whether small answers leave at once.
    pub nodelay: bool,
    /// Makes it HTTPS.
    pub tls: Option<TlsOptions>,
}

/// TLS of a listener.
#[derive(Clone)]
pub struct TlsOptions {
    /// What handshakes go by.
    pub server: Arc<rustls::ServerConfig>,
    /// Reads certificate, key and authorities again, for handshakes to come; says why the old ones stay.
    pub reload: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Whether a certificate of this chain has been revoked since it was let in.
    pub is_revoked: Arc<dyn Fn(&[CertificateDer<'_>]) -> bool + Send + Sync>,
    /// Whether somebody who is asked about certificates vouches for this chain; an error waits for the answer.
    pub vouch: Arc<dyn Fn(&[CertificateDer<'static>]) -> Result<bool, Vouched> + Send + Sync>,
}

/// Tells whether somebody vouches for a certificate, in a bounded time.
pub type Vouched = Pin<Box<dyn Future<Output = bool> + Send>>;

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsOptions")
    }
}

/// A text that is not to be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text out of sight.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
