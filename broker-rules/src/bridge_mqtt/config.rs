//! BridgeConfig: what an operator says of a bridge, checked.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use broker_codec::{ProtocolVersion, topic};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Map as Object, Value as Json};

use crate::params::{self, ParamKind, ParamSpec};
use crate::remote::tls::TlsFiles;
use crate::remote::{
    AddressRules, RemoteHost, parse_bytes, parse_duration, queue_config, queue_params,
};
use crate::sink::SinkConfig;

/// A bridge as it was configured.
#[derive(Clone)]
pub(super) struct BridgeConfig {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) addresses: Arc<AddressRules>,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) version: ProtocolVersion,
    pub(super) client_id: String,
    pub(super) clean_start: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    /// Put in front of every topic.
    pub(super) mountpoint: String,
    pub(super) keep_alive: Duration,
    /// Time to connect, and from then on to CONNACK.
    pub(super) connect_timeout: Duration,
    /// An acknowledgement that takes longer is not waited for.
    pub(super) retry_interval: Duration,
    /// Messages on their way at once.
    pub(super) inflight_max: usize,
    pub(super) sink: SinkConfig,
}

/// Parameters of the resource.
pub(super) fn params() -> Vec<ParamSpec> {
    let text = |name, title, description, default: &str| {
        ParamSpec::optional(name, ParamKind::String, title, description).or(default)
    };
    let plain =
        |name, title, description| ParamSpec::optional(name, ParamKind::String, title, description);
    let count = |name, title, description, default: u64| {
        ParamSpec::optional(name, ParamKind::Range(1.0, 65_535.0), title, description).or(default)
    };
    let mut params = vec![
        ParamSpec::required("bridge_name", ParamKind::String, "Bridge Name", "Bridge name"),
        ParamSpec::required(
            "address",
            ParamKind::String,
            "Broker Address",
            "Host and port of the remote broker, such as 127.0.0.1:1883",
        )
        .or("127.0.0.1:1883"),
        ParamSpec::optional(
            "proto_ver",
            ParamKind::OneOf(&["mqttv3", "mqttv4", "mqttv5"]),
            "Protocol Version",
            "MQTT protocol version",
        )
        .or("mqttv4"),
        text("client_id", "Client Id", "Client Id of the connection", "bridge_aws"),
        plain("clientid", "Client Id", "The same under its later name"),
        ParamSpec::optional(
            "append",
            ParamKind::Boolean,
            "Append a Suffix",
            "Whether something random is appended to clientid",
        ),
        ParamSpec::optional("clean_start", ParamKind::Boolean, "Clean Start", "Clean Start")
            .or(true),
        plain("username", "Username", "User name of the connection"),
        plain("password", "Password", "Password of the connection"),
        ParamSpec::required(
            "mountpoint",
            ParamKind::String,
            "Bridge MountPoint",
            "Put in front of topics; ${node} is the name of this node",
        )
        .or("bridge/aws/${node}/"),
        // The original's later versions have a boolean here: both are taken.
        text("ssl", "Enable TLS", "on or off", "off"),
        text("cacertfile", "CA Certificates", "PEM file of the CAs that are trusted", ""),
        text("certfile", "Certificate", "PEM file of the broker's own certificates", ""),
        text("keyfile", "Key", "PEM file of the key of the broker's certificate", ""),
        text("keepalive", "Keepalive", "Keep Alive of the connection", "60s"),
        ParamSpec::optional(
            "connect_timeout",
            ParamKind::Range(0.001, 3600.0),
            "Connect Timeout",
            "Seconds to connect, and from then on to the CONNACK",
        )
        .or(5),
        text("reconnect_interval", "Reconnect Interval", "Longest pause after a failure", "30s"),
        text("retry_interval", "Retry Interval", "Longest wait for an acknowledgement", "20s"),
        count("max_inflight_batches", "Max Inflight Batches", "Batches on their way at once", 32),
        count("queue_batch_count_limit", "Batch Size", "Messages of one batch", 32),
        text("queue_batch_bytes_limit", "Batch Bytes", "Bytes of one batch", "1000MB"),
        plain("queue_replayq_dir", "Queue Folder", "Not used: buffers lie in the data folder"),
    ];
    params.append(&mut queue_params());
    params
}

impl BridgeConfig {
    /// Reads a configuration; `folder` is for the buffer.
    pub(super) fn new(
        specs: &[ParamSpec],
        config: &Object<String, Json>,
        host: &RemoteHost,
        folder: Option<PathBuf>,
    ) -> Result<Self, String> {
        let mut config = config.clone();
        if let Some(Json::Bool(is_on)) = config.get("ssl") {
            let word = if *is_on { "on" } else { "off" };
            config.insert("ssl".to_owned(), word.into());
        }
        params::check(specs, &config).map_err(|error| error.to_string())?;
        let value = |name| params::value(specs, &config, name).unwrap_or(&Json::Null);
        let text = |name| params::text(specs, &config, name);
        let own = |name| config.get(name).and_then(Json::as_str).map(str::to_owned);
        let duration = |name: &'static str| {
            parse_duration(value(name))
                .ok_or_else(|| format!("{name}: a duration such as 30s is expected"))
        };
        let count = |name: &'static str| value(name).as_f64().map_or(1, |number| number as usize);

        let (name, port) = split_address(text("address"))?;
        let mountpoint = text("mountpoint").replace("${node}", &host.node);
        topic::validate_name(&format!("{mountpoint}x"))
            .map_err(|error| format!("mountpoint: {error}"))?;
        let files = TlsFiles::new(text("cacertfile"), text("certfile"), text("keyfile"))?;
        let tls = match text("ssl") {
            "off" => None,
            "on" => {
                let server = ServerName::try_from(name.clone())
                    .map_err(|_| "address: no host name".to_owned())?;
                Some((files.client_config()?, server))
            }
            _ => return Err("ssl: on or off is expected".to_owned()),
        };
        let inflight_max = count("max_inflight_batches") * count("queue_batch_count_limit");
        let inflight_max = inflight_max.min(INFLIGHT_MAX);
        let mut sink = queue_config(specs, &config, folder)?;
        sink.batch_items_max = inflight_max;
        let batch_bytes = parse_bytes(value("queue_batch_bytes_limit")).filter(|it| *it > 0);
        let batch_bytes =
            batch_bytes.ok_or("queue_batch_bytes_limit: a size such as 10MB is expected")?;
        let batch_bytes = usize::try_from(batch_bytes).unwrap_or(usize::MAX);
        sink.batch_bytes_max = sink.batch_bytes_max.min(batch_bytes);
        sink.retry_max = duration("reconnect_interval")?;
        sink.retry_min = sink.retry_min.min(sink.retry_max);
        Ok(Self {
            host: name,
            port,
            addresses: Arc::clone(&host.addresses),
            tls,
            version: match text("proto_ver") {
                "mqttv3" => ProtocolVersion::V3_1,
                "mqttv5" => ProtocolVersion::V5,
                _ => ProtocolVersion::V3_1_1,
            },
            client_id: client_id(text("client_id"), own("clientid"), config.get("append")),
            clean_start: value("clean_start").as_bool().unwrap_or(true),
            username: own("username").filter(|name| !name.is_empty()),
            password: own("password").filter(|password| !password.is_empty()),
            mountpoint,
            keep_alive: duration("keepalive")?.min(KEEP_ALIVE_MAX),
            connect_timeout: duration("connect_timeout")?,
            retry_interval: duration("retry_interval")?.max(Duration::from_secs(1)),
            inflight_max,
            sink,
        })
    }
}

impl fmt::Debug for BridgeConfig {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BridgeConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// The later name comes with a suffix unless it is declined, so that all nodes can have the same configuration.
fn client_id(first: &str, later: Option<String>, append: Option<&Json>) -> String {
    let append = append.and_then(Json::as_bool);
    let (client_id, is_appended) = match later {
        Some(later) => (later, append.unwrap_or(true)),
        None => (first.to_owned(), append.unwrap_or(false)),
    };
    if is_appended { format!("{client_id}-{}", random_suffix()) } else { client_id }
}

/// Something no other connection is called.
pub(super) fn random_suffix() -> String {
    format!("{:08x}", RandomState::new().hash_one(0) as u32)
}

/// Host and port of `host`, `host:port`, `[v6]` and `[v6]:port`.
fn split_address(address: &str) -> Result<(String, u16), String> {
    let bad = || "address: host:port is expected".to_owned();
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']').ok_or_else(bad)?;
            let port = behind.strip_prefix(':');
            if port.is_none() && !behind.is_empty() {
                return Err(bad());
            }
            (host, port)
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = port.map_or(Ok(1883), |port| port.parse().map_err(|_| bad()))?;
    let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || port == 0 || !host.chars().all(is_host) {
        return Err(bad());
    }
    Ok((host.to_owned(), port))
}

/// Messages on their way take memory twice.
const INFLIGHT_MAX: usize = 4096;
/// What CONNECT can say.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(u16::MAX as u64);
