//! Who is connected: Client Identifier and the facts of one Network Connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use broker_codec::{ProtocolVersion, SubscriptionOptions};

use crate::config::ZoneConfig;
use crate::limits::ListenerLimits;
use crate::traffic::Told;

/// A Client Identifier; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ClientId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl std::borrow::Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What is known of a connection before its CONNECT.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Address of the client, behind a trusted proxy that of the PROXY header; `None` for a Unix socket.
    pub addr: Option<SocketAddr>,
    /// Our end of its connection; `None` for a Unix socket.
    pub local_addr: Option<SocketAddr>,
    /// Listener it came through, `mqtt:tcp:external`.
    pub listener: Arc<str>,
    /// Zone of that listener.
    pub zone: Arc<ZoneConfig>,
    /// What the listener lets its clients do, if that is limited.
    pub limits: Option<Arc<ListenerLimits>>,
    /// Whether what came along says that the client is not of this machine, whatever the address: a proxy that names
    /// nobody, a page of another host.
    pub is_elsewhere: bool,
    /// Name taken from the client's certificate (`peer_cert_as_username`).
    pub certificate_username: Option<Arc<str>>,
    /// The client's certificate, if it has shown one.
    pub certificate: Option<Arc<Certificate>>,
    /// The cookies of the request that opened its WebSocket, if there were any.
    pub ws_cookies: Option<Arc<Cookies>>,
}

impl Peer {
    /// A client that came through this listener, of whom nothing else is known.
    #[must_use]
    pub fn new(listener: impl Into<Arc<str>>, zone: Arc<ZoneConfig>) -> Self {
        Self {
            addr: None,
            local_addr: None,
            listener: listener.into(),
            zone,
            limits: None,
            is_elsewhere: false,
            certificate_username: None,
            certificate: None,
            ws_cookies: None,
        }
    }
}

/// Cookies of an HTTP request: names and values, in the order in which they came.
///
/// They often prove who somebody is: what is shown of them is up to who asks for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookies(Box<[(Box<str>, Box<str>)]>);

impl Cookies {
    /// Reads the value of a `Cookie` header (RFC 6265, 4.2.1); `None` if there is no cookie in it.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let pairs = header.split(';').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (name.trim(), value.trim()));
        let named = pairs.filter(|(name, _)| !name.is_empty());
        let cookies: Box<[_]> = named.map(|(name, value)| (name.into(), value.into())).collect();
        (!cookies.is_empty()).then_some(Self(cookies))
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl fmt::Debug for Cookies {
    /// Names only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// What a client's certificate, which was verified, says about its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Distinguished name of the subject as RFC 4514 writes it; `None` if it cannot be read.
    pub subject: Option<Box<str>>,
    /// Its common name; `None` also when it is not text.
    pub common_name: Option<Box<str>>,
}

/// What carries the packets of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    WebSocket,
    /// WebSocket over TLS.
    SecureWebSocket,
    /// A Unix domain socket.
    Unix,
}

impl Transport {
    /// The transport of a listener of that name, `mqtt:tcp:external`.
    #[must_use]
    pub fn of_listener(name: &str) -> Option<Self> {
        Some(match name.split(':').nth(1)? {
            "tcp" => Self::Tcp,
            "ssl" => Self::Tls,
            "ws" => Self::WebSocket,
            "wss" => Self::SecureWebSocket,
            "unix" => Self::Unix,
            _ => return None,
        })
    }
}

/// The client of one Network Connection, from its CONNECT on.
#[derive(Debug, Clone)]
pub struct ClientInfo {
    /// Client Identifier, assigned by the server if the client sent none.
    pub client_id: ClientId,
    /// User Name, or the name from the certificate.
    pub username: Option<Arc<str>>,
    /// Address; `None` for a Unix socket or a client inside the process.
    pub peer: Option<SocketAddr>,
    /// Our end of its connection; `None` where `peer` is, and for a session that was kept.
    pub local_addr: Option<SocketAddr>,
    /// Protocol level.
    pub version: ProtocolVersion,
    /// Zone of the listener.
    pub zone: Arc<ZoneConfig>,
    /// Listener, `mqtt:tcp:external`.
    pub listener: Arc<str>,
    /// Clean Start.
    pub clean_start: bool,
    /// Keep Alive in seconds, as it is enforced.
    pub keep_alive_s: u16,
    /// Time of the CONNECT, milliseconds since the Unix epoch.
    pub connected_at_ms: u64,
    /// True if no access rule applies to the client.
    pub is_superuser: bool,
    /// Prefix of the client's topics, `%c` and `%u` filled in; empty without one.
    pub mountpoint: Box<str>,
    /// The client says that it is a bridge: top bit of the protocol level.
    pub is_bridge: bool,
    /// The client's certificate, if it has shown one.
    pub certificate: Option<Arc<Certificate>>,
    /// The cookies of the request that opened its WebSocket, if there were any.
    pub ws_cookies: Option<Arc<Cookies>>,
    /// What its connection has done so far.
    pub(crate) told: Told,
}

impl ClientInfo {
    /// A client that has come through no listener.
    pub(crate) fn named(client_id: &str) -> Self {
        Self {
            client_id: client_id.into(),
            username: None,
            peer: None,
            local_addr: None,
            version: ProtocolVersion::V5,
            zone: Arc::default(),
            listener: "".into(),
            clean_start: false,
            keep_alive_s: 0,
            connected_at_ms: 0,
            is_superuser: false,
            mountpoint: "".into(),
            is_bridge: false,
            certificate: None,
            ws_cookies: None,
            told: Told::default(),
        }
    }

    /// Options of a subscription as the client means them: bridges expect of a broker that knows them no echo,
    /// and the RETAIN flag kept.
    pub(crate) const fn adapt(&self, mut options: SubscriptionOptions) -> SubscriptionOptions {
        if self.is_bridge {
            options.no_local = true;
            options.retain_as_published = true;
        }
        options
    }

    /// Name of the protocol as the client's CONNECT writes it.
    #[must_use]
    pub const fn protocol_name(&self) -> &'static str {
        match self.version {
            ProtocolVersion::V3_1 => "MQIsdp",
            ProtocolVersion::V3_1_1 | ProtocolVersion::V5 => "MQTT",
        }
    }

    /// What carries the client's packets, as the name of its listener says; `None` if that says nothing.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        Transport::of_listener(&self.listener)
    }

    /// As [`fill`](Self::fill), for topics that others are to be kept out of: `None` if what is filled in is not one
    /// level as all others are. A name with `/`, `+` or `#` would reach into the levels beside it, and one that begins
    /// with `$` into the topics of the broker.
    #[must_use]
    pub fn fill_levels(template: &str, client_id: &str, username: Option<&str>) -> Option<String> {
        let is_level = |name: &str| !name.starts_with('$') && !name.contains(['/', '+', '#']);
        let fits = |word, name: Option<&str>| !template.contains(word) || name.is_none_or(is_level);
        let all_fit = fits("%c", Some(client_id)) && fits("%u", username);
        all_fit.then(|| Self::fill(template, client_id, username))
    }

    /// `template` with `%c` and `%u` replaced in one pass by Client Identifier and User Name.
    ///
    /// A `%u` without a User Name stays as it is, as in the original.
    #[must_use]
    pub fn fill(template: &str, client_id: &str, username: Option<&str>) -> String {
        let mut out = String::with_capacity(template.len() + client_id.len());
        let mut rest = template;
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            let value = match (rest.as_bytes().get(at + 1), username) {
                (Some(b'c'), _) => Some(client_id),
                (Some(b'u'), Some(name)) => Some(name),
                _ => None,
            };
            match value {
                Some(value) => {
                    out.push_str(value);
                    rest = &rest[at + 2..];
                }
                None => {
                    out.push('%');
                    rest = &rest[at + 1..];
                }
            }
        }
        out.push_str(rest);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_one_pass() {
        assert_eq!(ClientInfo::fill("a/%c/%u", "%u", Some("bob")), "a/%u/bob");
        assert_eq!(ClientInfo::fill("%u/%x%", "id", None), "%u/%x%");
    }

    #[test]
    fn a_level_is_filled_by_one_level_of_a_client_s_own() {
        let fill = |id, name| ClientInfo::fill_levels("a/%c/%u", id, name);
        assert_eq!(fill("id", Some("bob")).as_deref(), Some("a/id/bob"));
        assert_eq!(fill("a$b", None).as_deref(), Some("a/a$b/%u"));
        for hostile in ["a/b", "/", "+", "a#", "$SYS", "$"] {
            assert_eq!(fill(hostile, Some("bob")), None, "{hostile}");
            assert_eq!(fill("id", Some(hostile)), None, "{hostile}");
            assert!(ClientInfo::fill_levels("a/%u", hostile, Some("bob")).is_some());
        }
    }
}
