//! Keys of `[listener.<protocol>.<name>]`.

use std::path::PathBuf;

use broker_core::config::Rate;
use broker_net::config::{Bind, Protocol, TlsConfig, WebSocketConfig};
use broker_rules::http::HttpEndpoint;

use super::super::field::{Field, Refusal, parse_address, refuse};
use super::super::settings::Listener;
use super::super::value::{Kind, Value, parse_size};
use super::limits::{BYTE_RATE, MESSAGE_RATE};
use super::root::SIZE_MAX;
use super::{Access, Goes, Key, field};
use crate::revocation::fetch_options;

/// Access to a field of the TLS part.
macro_rules! tls {
    ($field:ident) => {
        Access {
            read: |target| target.config.tls.as_ref().map_or(Value::Unset, |tls| tls.$field.show()),
            write: |target, value| {
                if let Some(tls) = &mut target.config.tls {
                    tls.$field = Field::parse(value)?;
                }
                Ok(())
            },
        }
    };
}

/// Access to a field of the WebSocket part, checked by `$check` if it is a text.
macro_rules! websocket {
    ($field:ident) => {
        websocket!($field, |_: &str| Ok::<(), String>(()))
    };
    ($field:ident, $check:expr) => {
        Access {
            read: |target| {
                target.config.websocket.as_ref().map_or(Value::Unset, |part| part.$field.show())
            },
            write: |target, value| {
                if let Value::Text(text) = &value {
                    $check(text).or_else(refuse)?;
                }
                if let Some(part) = &mut target.config.websocket {
                    part.$field = Field::parse(value)?;
                }
                Ok(())
            },
        }
    };
}

pub(super) static KEYS: &[Key] = &[
    key("enabled", ALL, Kind::Flag, field!(enabled), "Whether the listener is started."),
    key(
        "bind",
        ALL,
        Kind::Address(
            "a port, ip:port or [ip6]:port (port 0: a free one); for a unix listener a path",
        ),
        BIND,
        "Where it listens; a port alone is one of all IPv4 addresses.",
    ),
    key(
        "zone",
        ALL,
        Kind::Text("the name of a zone"),
        field!(config.zone),
        "The zone whose limits its clients get.",
    ),
    key(
        "acceptors",
        ALL,
        Kind::Number(1, 65_535),
        field!(config.acceptors),
        "Connections that are accepted in one go before the others get their turn.",
    ),
    key(
        "max_connections",
        ALL,
        Kind::Number(1, 100_000_000),
        field!(config.max_connections),
        "Connections at a time; further ones are refused.",
    ),
    key(
        "max_conn_rate",
        ALL,
        Kind::Number(0, u32::MAX as u64),
        field!(config.max_conn_rate),
        "Connections that are accepted per second; 0 for no limit.",
    ),
    optional_key(
        "rate_limit",
        ALL,
        Kind::Text(
            "a size and an interval, such as \"100KB,10s\", or bytes per second and at once, such as \"1024,4096\"",
        ),
        RATE_LIMIT,
        "Bytes that each connection may send; more are read later.",
    ),
    optional_key(
        "messages_in",
        ALL,
        MESSAGE_RATE,
        field!(config.limits.messages_in),
        "PUBLISH packets that the clients of the listener may send together; more are read later.",
    ),
    optional_key(
        "bytes_in",
        ALL,
        BYTE_RATE,
        field!(config.limits.bytes_in),
        "Bytes that the clients of the listener may send together; more are read later.",
    ),
    optional_key(
        "messages_out",
        ALL,
        MESSAGE_RATE,
        field!(config.limits.messages_out),
        "PUBLISH packets that the clients of the listener are sent together; more wait in their queues.",
    ),
    optional_key(
        "bytes_out",
        ALL,
        BYTE_RATE,
        field!(config.limits.bytes_out),
        "Bytes of PUBLISH packets that the clients of the listener are sent together; more wait in their queues.",
    ),
    optional_key(
        "retained_in",
        ALL,
        MESSAGE_RATE,
        field!(config.limits.retained_in),
        "Messages to be retained that the clients of the listener may send together; more are read later.",
    ),
    key(
        "max_subscriptions_total",
        ALL,
        Kind::Number(0, u32::MAX as u64),
        field!(config.limits.max_subscriptions_total),
        "Subscriptions of the connected clients of the listener together; further ones are refused (0x97); 0 for no limit.",
    ),
    key(
        "max_mqueue_bytes_total",
        ALL,
        Kind::Size(0, SIZE_MAX),
        field!(config.limits.max_mqueue_bytes_total),
        "Bytes of memory in the queues of the connected clients of the listener together; for more the oldest messages of the same queue are dropped, or left to the store. 0 for no limit.",
    ),
    key(
        "max_half_open_per_ip",
        INET,
        Kind::Number(0, u32::MAX as u64),
        field!(config.max_half_open_per_ip),
        "Connections of one address that have not finished CONNECT; 0 for no limit.",
    ),
    key(
        "access",
        INET,
        Kind::List(
            "\"allow\" or \"deny\" and \"all\", an address or a block, such as \"deny 10.0.0.0/8\"",
        ),
        field!(config.access),
        "Who may connect: the first rule that matches decides; who matches none may.",
    ),
    key(
        "proxy_protocol",
        INET,
        Kind::Flag,
        field!(config.proxy_protocol),
        "Whether each connection starts with a PROXY v1 or v2 header.",
    ),
    key(
        "proxy_protocol_peers",
        INET,
        Kind::List("an address or a block, such as \"10.0.0.0/8\""),
        field!(config.proxy_protocol_peers),
        "The proxies: who may send a PROXY header or the headers of proxy_address_header.",
    ),
    key(
        "proxy_protocol_timeout",
        INET,
        Kind::Duration(1, HOUR_MS),
        field!(config.proxy_protocol_timeout_ms),
        "Time for the PROXY header to come.",
    ),
    key(
        "backlog",
        ALL,
        Kind::Number(1, 65_535),
        field!(config.tcp.backlog),
        "Connections that the system holds until they are accepted.",
    ),
    key(
        "nodelay",
        INET,
        Kind::Flag,
        field!(config.tcp.nodelay),
        "TCP_NODELAY: small packets leave at once.",
    ),
    key("reuseaddr", INET, Kind::Flag, field!(config.tcp.reuseaddr), "SO_REUSEADDR."),
    optional_key(
        "recbuf",
        INET,
        Kind::Size(1_024, 1 << 30),
        field!(config.tcp.recbuf),
        "SO_RCVBUF; without it the system decides.",
    ),
    optional_key(
        "sndbuf",
        INET,
        Kind::Size(1_024, 1 << 30),
        field!(config.tcp.sndbuf),
        "SO_SNDBUF; without it the system decides.",
    ),
    key(
        "send_timeout",
        ALL,
        Kind::Duration(0, HOUR_MS),
        field!(config.tcp.send_timeout_ms),
        "A peer that takes no byte for so long is closed; 0 for never.",
    ),
    optional_key(
        "certfile",
        TLS,
        Kind::Text(PATH),
        tls!(certfile),
        "The server's certificate and its chain, PEM; without it one is made in node.data_dir.",
    ),
    optional_key("keyfile", TLS, Kind::Text(PATH), tls!(keyfile), "The private key, PEM."),
    optional_key(
        "cacertfile",
        TLS,
        Kind::Text(PATH),
        tls!(cacertfile),
        "Who may sign client certificates, PEM.",
    ),
    key("crlfile", TLS, Kind::List(PATH), tls!(crlfile), CRLFILE),
    key("crl_url", TLS, Kind::List(URL), CRL_URL, CRL_URL_HELP),
    key("crl_refresh", TLS, CRL_REFRESH, tls!(crl_refresh_ms), CRL_REFRESH_HELP),
    key("crl_check", TLS, CRL_CHECK, tls!(crl_check), CRL_CHECK_HELP),
    key("ocsp_check", TLS, OCSP_CHECK, tls!(ocsp_check), OCSP_CHECK_HELP),
    optional_key("ocsp_responder", TLS, OCSP_RESPONDER, tls!(ocsp_responder), OCSP_RESPONDER_HELP),
    key("ocsp_refresh", TLS, OCSP_REFRESH, tls!(ocsp_refresh_ms), OCSP_REFRESH_HELP),
    key("ocsp_timeout", TLS, OCSP_TIMEOUT, tls!(ocsp_timeout_ms), OCSP_TIMEOUT_HELP),
    optional_key("ocsp_stapling", TLS, OCSP_STAPLING, tls!(ocsp_stapling), OCSP_STAPLING_HELP),
    key(
        "psk_ciphers",
        TLS,
        Kind::List("a cipher suite by openssl's name, such as PSK-AES128-GCM-SHA256"),
        tls!(psk_ciphers),
        "TLS with pre-shared keys, those that emqx_psk_file reads, in the place of certificates: the cipher suites that are offered, in TLS 1.2. In builds with the feature psk.",
    ),
    key(
        "verify",
        TLS,
        Kind::Word(&["verify_none", "verify_peer"]),
        VERIFY,
        "Whether a client certificate is asked for and checked.",
    ),
    key(
        "fail_if_no_peer_cert",
        TLS,
        Kind::Flag,
        tls!(fail_if_no_peer_cert),
        "Whether a client without a certificate is refused; with verify_peer.",
    ),
    key(
        "tls_versions",
        TLS,
        Kind::List("one of tlsv1.2, tlsv1.3 (tlsv1 and tlsv1.1 are read but not offered)"),
        TLS_VERSIONS,
        "TLS versions that are offered.",
    ),
    key(
        "handshake_timeout",
        TLS,
        Kind::Duration(1, HOUR_MS),
        tls!(handshake_timeout_ms),
        "Time for the TLS handshake.",
    ),
    optional_key(
        "peer_cert_as_username",
        TLS,
        Kind::Word(&["cn", "dn", "crt"]),
        tls!(peer_cert_as_username),
        "What of the client certificate is taken as user name; one without it is refused. With verify_peer.",
    ),
    key(
        "mqtt_path",
        WEB,
        Kind::Text("a path that starts with /"),
        websocket!(mqtt_path, check_path),
        "Path of the URL.",
    ),
    key(
        "verify_protocol_header",
        WEB,
        Kind::Flag,
        websocket!(verify_protocol_header),
        "Whether clients must ask for the WebSocket subprotocol mqtt.",
    ),
    key(
        "max_frame_size",
        WEB,
        Kind::Size(0, 1 << 40),
        websocket!(max_frame_size),
        "Size of a WebSocket frame; 0 for no limit but that of the MQTT packet.",
    ),
    optional_key(
        "proxy_address_header",
        WEB,
        Kind::Text("the name of an HTTP header"),
        websocket!(proxy_address_header, check_header),
        "Header in which the proxies of proxy_protocol_peers name the client's address.",
    ),
    optional_key(
        "proxy_port_header",
        WEB,
        Kind::Text("the name of an HTTP header"),
        websocket!(proxy_port_header, check_header),
        "Header in which the proxies of proxy_protocol_peers name the client's port.",
    ),
];

const fn key(
    name: &'static str,
    protocols: &'static [Protocol],
    kind: Kind,
    access: Access<Listener>,
    help: &'static str,
) -> Key {
    Key { name, kind, unset: None, goes: Goes::Listener { access, protocols }, help }
}

const fn optional_key(
    name: &'static str,
    protocols: &'static [Protocol],
    kind: Kind,
    access: Access<Listener>,
    help: &'static str,
) -> Key {
    Key { name, kind, unset: Some("none"), goes: Goes::Listener { access, protocols }, help }
}

const BIND: Access<Listener> = Access {
    read: |listener| match &listener.bind {
        Some(Bind::Unix(path)) => path.show(),
        Some(address) => Value::Text(address.to_string()),
        None => Value::Unset,
    },
    write: |listener, value| {
        let Value::Text(text) = value else { return refuse("is no address") };
        listener.bind = Some(if listener.config.protocol == Protocol::Unix {
            Bind::Unix(PathBuf::parse(Value::Text(text))?)
        } else {
            parse_address(&text).or_else(refuse)?
        });
        Ok(())
    },
};

/// The original has a rate and what may come at once instead of an amount and its time.
const RATE_LIMIT: Access<Listener> = Access {
    read: |listener| match listener.config.rate_limit {
        // No duration says it.
        Some(rate) if !rate.interval_ns.is_multiple_of(1_000_000) => {
            let Rate { amount, interval_ns } = rate;
            let per_second = u128::from(amount) * NS_PER_S / u128::from(interval_ns).max(1);
            Value::Text(format!("{per_second},{amount}"))
        }
        rate => rate.show(),
    },
    write: |listener, value| {
        listener.config.rate_limit = match &value {
            Value::Text(text) if let Some(rate) = rate_and_burst(text) => Some(rate),
            _ => Field::parse(value)?,
        };
        Ok(())
    },
};

/// `1024,4096`: bytes per second, and at once.
fn rate_and_burst(text: &str) -> Option<Rate> {
    let (per_second, at_once) = text.split_once(',')?;
    let (per_second, amount) = (parse_size(per_second)?, parse_size(at_once)?);
    let interval_ns = (u128::from(amount) * NS_PER_S).checked_div(u128::from(per_second))?;
    let interval_ns = u64::try_from(interval_ns).ok()?.max(1);
    (amount > 0).then_some(Rate { amount, interval_ns })
}

const VERIFY: Access<Listener> = Access {
    read: |listener| {
        let verify = listener.config.tls.as_ref().is_some_and(|tls| tls.verify_peer);
        Value::Text(if verify { "verify_peer" } else { "verify_none" }.into())
    },
    write: |listener, value| {
        if let Some(tls) = &mut listener.config.tls {
            tls.verify_peer = value == Value::Text("verify_peer".into());
        }
        Ok(())
    },
};

const TLS_VERSIONS: Access<Listener> = Access {
    read: |listener| {
        let offered = |tls: &TlsConfig| {
            let versions = [(tls.tls12, "tlsv1.2"), (tls.tls13, "tlsv1.3")];
            versions.iter().filter(|(on, _)| *on).map(|(_, word)| (*word).to_owned()).collect()
        };
        Value::List(listener.config.tls.as_ref().map(offered).unwrap_or_default())
    },
    write: |listener, value| {
        let versions: Vec<String> = Field::parse(value)?;
        let known = ["tlsv1.3", "tlsv1.2", "tlsv1.1", "tlsv1"];
        if let Some(unknown) = versions.iter().find(|word| !known.contains(&word.as_str())) {
            return refuse(format!("{unknown} is no TLS version"));
        }
        let has = |word: &str| versions.iter().any(|version| version == word);
        let (tls12, tls13) = (has("tlsv1.2"), has("tlsv1.3"));
        if !tls12 && !tls13 {
            return refuse("offers neither tlsv1.2 nor tlsv1.3");
        }
        if let Some(tls) = &mut listener.config.tls {
            (tls.tls12, tls.tls13) = (tls12, tls13);
        }
        Ok(())
    },
};

const CRL_URL: Access<Listener> = Access {
    read: |listener| listener.config.tls.as_ref().map_or(Value::Unset, |tls| tls.crl_url.show()),
    write: |listener, value| {
        let urls = parse_urls(value)?;
        if let Some(tls) = &mut listener.config.tls {
            tls.crl_url = urls;
        }
        Ok(())
    },
};

/// URLs to fetch something from, without a name and password, which would not stay in the configuration.
pub(super) fn parse_urls(value: Value) -> Result<Vec<String>, Vec<Refusal>> {
    let urls: Vec<String> = Field::parse(value)?;
    let refusals = urls.iter().enumerate().filter_map(|(at, url)| {
        let detail = check_url(url).err()?;
        Some(Refusal { item: Some(at), detail: detail.into() })
    });
    let refusals: Vec<_> = refusals.collect();
    if refusals.is_empty() { Ok(urls) } else { Err(refusals) }
}

pub(crate) fn check_url(url: &str) -> Result<(), &'static str> {
    if HttpEndpoint::new(url, [], &fetch_options()).is_err() {
        Err("is no URL to fetch")
    } else if has_user_info(url) {
        Err("has a user name or password")
    } else {
        Ok(())
    }
}

fn has_user_info(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    authority.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'))
}

fn check_path(path: &str) -> Result<(), String> {
    let printable = path.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#'));
    if path.starts_with('/') && printable { Ok(()) } else { Err("is no path".into()) }
}

fn check_header(name: &str) -> Result<(), String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let well_formed = !name.is_empty() && name.chars().all(token);
    if well_formed { Ok(()) } else { Err("is no header name".into()) }
}

/// The parts that a listener of this protocol has.
pub(crate) fn parts(protocol: Protocol) -> (Option<TlsConfig>, Option<WebSocketConfig>) {
    let tls = TLS.contains(&protocol).then(TlsConfig::default);
    let websocket = WEB.contains(&protocol).then(|| WebSocketConfig {
        mqtt_path: "/mqtt".into(),
        verify_protocol_header: true,
        max_frame_size: 0,
        proxy_address_header: None,
        proxy_port_header: None,
    });
    (tls, websocket)
}

const NS_PER_S: u128 = 1_000_000_000;

const ALL: &[Protocol] =
    &[Protocol::Tcp, Protocol::Ssl, Protocol::Ws, Protocol::Wss, Protocol::Unix];
const INET: &[Protocol] = &[Protocol::Tcp, Protocol::Ssl, Protocol::Ws, Protocol::Wss];
const TLS: &[Protocol] = &[Protocol::Ssl, Protocol::Wss];
const WEB: &[Protocol] = &[Protocol::Ws, Protocol::Wss];
pub(super) const CRLFILE: &str = "Revocation lists of those authorities, PEM or DER: a client whose certificate is on one is refused, and cut off if it is connected; with verify_peer.";
pub(super) const CRL_URL_HELP: &str =
    "The same from web servers; until a list has come, its clients are refused as crl_check says.";
pub(super) const CRL_REFRESH: Kind = Kind::Duration(1_000, 24 * HOUR_MS);
pub(super) const CRL_REFRESH_HELP: &str = "How often revocation lists are read and fetched again.";
pub(super) const CRL_CHECK: Kind = Kind::Word(&["chain", "peer", "best_effort"]);
pub(super) const CRL_CHECK_HELP: &str = "Where there are revocation lists: chain wants one that is in date for every certificate up to the root, peer for the client's own, best_effort goes by those there are, in date or not.";
pub(super) const OCSP_CHECK: Kind = Kind::Word(&["off", "soft", "hard"]);
pub(super) const OCSP_CHECK_HELP: &str = "Whether an OCSP responder is asked about client certificates: who is revoked, or not known to it, is refused. A client about whom there is no answer that can be believed is let in with soft, and refused with hard. With verify_peer and ocsp_responder.";
pub(super) const OCSP_RESPONDER: Kind = Kind::Text("\"certificate\" or an http or https URL");
pub(super) const OCSP_RESPONDER_HELP: &str = "The URL of the responder that ocsp_check asks, whatever certificates say; \"certificate\" asks the one that the client's certificate names, once its signature is verified, where rules.allow_private_addresses and rules.allowed_addresses let it lead.";
pub(super) const OCSP_REFRESH: Kind = Kind::Duration(1_000, 24 * HOUR_MS);
pub(super) const OCSP_REFRESH_HELP: &str = "How old an answer of the responder may become, if it does not end before: then it is asked again, also about clients that are connected.";
pub(super) const OCSP_TIMEOUT: Kind = Kind::Duration(100, 60_000);
pub(super) const OCSP_TIMEOUT_HELP: &str = "How long a client waits for the responder between TLS handshake and CONNECT; after that there is no answer.";
pub(super) const OCSP_STAPLING: Kind = Kind::Text("\"fetch\" or the path of a file");
pub(super) const OCSP_STAPLING_HELP: &str = "What shows clients that the server's certificate has not been revoked: the answer of the OCSP responder that the certificate names, fetched before the last one is out of date, or a file with it, DER; certfile must hold the issuer's certificate as well.";
pub(super) const URL: &str = "an http or https URL";
pub(super) const PATH: &str = "the path of a file";
const HOUR_MS: u64 = 3_600_000;
