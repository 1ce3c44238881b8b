//! ConnectionOptions: the flags that say which broker to reach and how to greet it.
//!
//! The flags are raw values; [`ConnectionOptions::resolve`] checks them against each other.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use broker_codec::{ProtocolVersion, QoS, topic};
use clap::Args;
use rustls::SupportedProtocolVersion;
use rustls::pki_types::ServerName;

use crate::client::{Greeting, WillMessage};
use crate::properties::PacketProperties;
use crate::transport::{Place, Target, TlsOptions, WebSocketTarget};
use crate::url::BrokerUrl;

/// Flags that all commands over MQTT share.
#[derive(Debug, Args)]
#[allow(rustdoc::broken_intra_doc_links, reason = "--help prints it as it stands")]
pub(crate) struct ConnectionOptions {
    /// Host of the broker [default: localhost]
    #[arg(short = 'h', long, help_heading = "Connection")]
    host: Option<String>,
    /// Port of the broker [default: 1883, TLS 8883, WebSocket 8083, both 8084]
    #[arg(short, long, help_heading = "Connection")]
    port: Option<u16>,
    /// All in one: mqtt[s]://[USER[:PW]@]HOST[:PORT][/TOPIC] or ws[s]://…[/PATH]
    #[arg(short = 'L', long, help_heading = "Connection", conflicts_with_all = ["host", "port"])]
    url: Option<BrokerUrl>,
    /// Connect to a Unix domain socket
    #[arg(long, value_name = "PATH", help_heading = "Connection", conflicts_with_all = ["host", "port", "url"])]
    unix: Option<PathBuf>,
    /// Local address to connect from; repeatable in bench, for more ports
    #[arg(short = 'A', long, value_name = "ADDRESS", help_heading = "Connection")]
    bind: Vec<IpAddr>,
    /// Give up if the broker has not accepted by then
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, help_heading = "Connection")]
    connect_timeout: Duration,

    /// mqttv5, mqttv311 or mqttv31 [default: mqttv311, or mqttv5 if another flag needs it]
    #[arg(short = 'V', long, value_name = "VERSION", value_parser = protocol_version, help_heading = "MQTT")]
    protocol_version: Option<ProtocolVersion>,
    /// Client Identifier [default: random]
    #[arg(short, long, help_heading = "MQTT")]
    id: Option<String>,
    /// Client Identifier made of a prefix and the process id
    #[arg(short = 'I', long, value_name = "PREFIX", help_heading = "MQTT", conflicts_with = "id")]
    id_prefix: Option<String>,
    /// User Name
    #[arg(short, long, help_heading = "MQTT")]
    username: Option<String>,
    /// Password
    #[arg(short = 'P', long, value_name = "PASSWORD", help_heading = "MQTT")]
    pw: Option<String>,
    /// Keep Alive; 0 turns it off
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60, help_heading = "MQTT")]
    keepalive: u16,
    /// How long the session outlives the connection, or -1 for ever (5.0)
    #[arg(short = 'x', long, value_name = "SECONDS", value_parser = expiry, allow_negative_numbers = true, help_heading = "MQTT")]
    session_expiry_interval: Option<u32>,
    /// Add a property to a packet (5.0): -D publish content-type text/plain
    #[arg(short = 'D', long, num_args = 3..=4, value_names = ["PACKET", "NAME", "VALUE"], allow_negative_numbers = true, help_heading = "MQTT")]
    property: Vec<String>,

    /// Topic of the Will Message
    #[arg(long, value_name = "TOPIC", help_heading = "Will")]
    will_topic: Option<String>,
    /// Its payload [default: empty]
    #[arg(long, value_name = "PAYLOAD", requires = "will_topic", help_heading = "Will")]
    will_payload: Option<String>,
    /// Its QoS [default: 0]
    #[arg(long, value_name = "QOS", value_parser = qos, requires = "will_topic", help_heading = "Will")]
    will_qos: Option<QoS>,
    /// Retain it
    #[arg(long, requires = "will_topic", help_heading = "Will")]
    will_retain: bool,

    /// Use TLS and trust the CA certificates of the system
    #[arg(long, alias = "tls-use-os-certs", help_heading = "TLS")]
    tls: bool,
    /// Use TLS and trust the CA certificates in this PEM file
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    cafile: Option<PathBuf>,
    /// Certificate of the client, PEM
    #[arg(long, value_name = "FILE", requires = "key", help_heading = "TLS")]
    cert: Option<PathBuf>,
    /// Private key of the client, PEM
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "TLS")]
    key: Option<PathBuf>,
    /// Take any server name, and without --cafile any certificate
    #[arg(long, help_heading = "TLS")]
    insecure: bool,
    /// Only this version: tlsv1.3 or tlsv1.2
    #[arg(long, value_name = "VERSION", value_parser = tls_version, help_heading = "TLS")]
    tls_version: Option<&'static SupportedProtocolVersion>,
    /// Protocol to negotiate by ALPN
    #[arg(long, value_name = "PROTOCOL", help_heading = "TLS")]
    tls_alpn: Option<String>,

    /// Speak MQTT over WebSocket
    #[arg(long, help_heading = "WebSocket")]
    ws: bool,
    /// Request path, implies --ws [default: /mqtt]
    #[arg(long, value_name = "PATH", help_heading = "WebSocket")]
    ws_path: Option<String>,
}

/// What the flags come to.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) target: Target,
    pub(crate) greeting: Greeting,
    pub(crate) properties: PacketProperties,
    pub(crate) connect_timeout: Duration,
    /// Topic in the URL.
    pub(crate) url_topic: Option<String>,
}

/// What else a command has to say before the flags can be resolved.
#[derive(Debug, Default)]
pub(crate) struct Demands {
    /// A flag of the command that needs MQTT 5.0.
    pub(crate) v5_flag: Option<&'static str>,
    /// `-c`: the session is kept.
    pub(crate) keeps_session: bool,
}

impl ConnectionOptions {
    /// Checks the flags, reads the files, looks the host up.
    pub(crate) fn resolve(&self, demands: &Demands) -> Result<Connection> {
        let properties = PacketProperties::parse(&self.property)?;
        let greeting = self.greeting(demands, &properties)?;
        let url = self.url.as_ref();
        let host =
            self.host.as_deref().or_else(|| url.map(|it| it.host.as_str())).unwrap_or("localhost");
        let is_websocket =
            self.ws || self.ws_path.is_some() || url.is_some_and(|it| it.is_websocket);
        let is_tls = self.wants_tls();
        let port = self.port.or_else(|| url.and_then(|it| it.port)).unwrap_or(
            match (is_tls, is_websocket) {
                (false, false) => 1883,
                (true, false) => 8883,
                (false, true) => 8083,
                (true, true) => 8084,
            },
        );
        let tls = if is_tls {
            let name = ServerName::try_from(host.to_owned());
            let name = name.with_context(|| format!("-h/--host '{host}' as a TLS server name"))?;
            Some((self.tls_options().client_config()?, name))
        } else {
            None
        };
        let path = self.ws_path.clone().or_else(|| url.and_then(|it| it.websocket_path.clone()));
        let path = path.unwrap_or_else(|| "/mqtt".to_owned());
        ensure!(path.starts_with('/'), "--ws-path '{path}' does not start with '/'");
        let websocket = WebSocketTarget { host: host.to_owned(), port, path };
        let place = match &self.unix {
            Some(path) => Place::Unix(path.clone()),
            None => Place::resolve(host, port)?,
        };
        Ok(Connection {
            target: Target {
                place,
                tls,
                websocket: is_websocket.then_some(websocket),
                bind: self.bind.clone(),
            },
            greeting,
            properties,
            connect_timeout: self.connect_timeout,
            url_topic: url.and_then(|it| it.topic.clone()),
        })
    }

    /// The Client Identifier that `-i` or `-I` asks for.
    pub(crate) fn fixed_client_id(&self) -> Option<String> {
        let with_process = |prefix| format!("{prefix}{}", std::process::id());
        self.id.clone().or_else(|| self.id_prefix.as_ref().map(with_process))
    }

    fn greeting(&self, demands: &Demands, properties: &PacketProperties) -> Result<Greeting> {
        let version = self.version(demands)?;
        let keeps_session = demands.keeps_session;
        let client_id = self.fixed_client_id().unwrap_or_else(random_client_id);
        let is_named = self.id.as_ref().is_some_and(|id| !id.is_empty());
        ensure!(!keeps_session || is_named, "-c/--disable-clean-session needs -i/--id");
        let from_url = self.url.as_ref();
        let username =
            self.username.clone().or_else(|| from_url.and_then(|it| it.username.clone()));
        let password = self.pw.clone().or_else(|| from_url.and_then(|it| it.password.clone()));
        ensure!(
            username.is_some() || password.is_none() || version.is_v5(),
            "-P/--pw without -u/--username needs -V mqttv5"
        );
        let by_property = properties.connect.as_properties().session_expiry_interval();
        ensure!(
            by_property.is_none() || self.session_expiry_interval.is_none(),
            "-x/--session-expiry-interval and -D connect session-expiry-interval are the same"
        );
        let default_expiry = if keeps_session { Some(u32::MAX) } else { None };
        Ok(Greeting {
            version,
            client_id,
            clean_start: !keeps_session,
            keep_alive_s: self.keepalive,
            username,
            password: password.map(String::into_bytes),
            session_expiry_s: self
                .session_expiry_interval
                .or_else(|| default_expiry.filter(|_| by_property.is_none())),
            will: self.will()?,
            properties: properties.connect.clone(),
            will_properties: properties.will.clone(),
        })
    }

    /// MQTT 3.1.1 like the tools of mosquitto, unless a flag only makes sense with 5.0.
    fn version(&self, demands: &Demands) -> Result<ProtocolVersion> {
        let flag = demands.v5_flag.or_else(|| {
            let expiry = self.session_expiry_interval.map(|_| "-x/--session-expiry-interval");
            expiry.or_else(|| (!self.property.is_empty()).then_some("-D/--property"))
        });
        match (self.protocol_version, flag) {
            (Some(version), Some(flag)) if !version.is_v5() => {
                bail!("{flag} needs -V mqttv5, not MQTT {version}")
            }
            (Some(version), _) => Ok(version),
            (None, Some(_)) => Ok(ProtocolVersion::V5),
            (None, None) => Ok(ProtocolVersion::V3_1_1),
        }
    }

    fn will(&self) -> Result<Option<WillMessage>> {
        let Some(topic) = &self.will_topic else { return Ok(None) };
        topic::validate_name(topic).with_context(|| format!("--will-topic '{topic}'"))?;
        Ok(Some(WillMessage {
            topic: topic.clone(),
            payload: self.will_payload.clone().unwrap_or_default().into_bytes(),
            qos: self.will_qos.unwrap_or_default(),
            retain: self.will_retain,
        }))
    }

    fn wants_tls(&self) -> bool {
        self.tls
            || self.cafile.is_some()
            || self.cert.is_some()
            || self.insecure
            || self.tls_version.is_some()
            || self.tls_alpn.is_some()
            || self.url.as_ref().is_some_and(|it| it.is_tls)
    }

    fn tls_options(&self) -> TlsOptions {
        TlsOptions {
            ca_file: self.cafile.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            is_insecure: self.insecure,
            version: self.tls_version,
            alpn: self.tls_alpn.clone(),
        }
    }
}

/// 21 characters, since MQTT 3.1 allows 23.
pub(crate) fn random_client_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    // Seeded by the system; unique is all that it has to be.
    let mut number = RandomState::new().hash_one(std::process::id());
    let digits = std::iter::repeat_with(|| {
        let digit = ALPHABET[(number % 32) as usize];
        number /= 32;
        char::from(digit)
    });
    "broker-cli-".chars().chain(digits.take(10)).collect()
}

const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A QoS, 0 to 2.
pub(crate) fn qos(text: &str) -> Result<QoS> {
    let bits = text.parse().ok();
    bits.and_then(QoS::from_bits).context("QoS is 0, 1 or 2")
}

/// Seconds, with a fraction if need be.
pub(crate) fn seconds(text: &str) -> Result<Duration> {
    let seconds: f64 = text.parse().context("a number of seconds is needed")?;
    Duration::try_from_secs_f64(seconds).context("a number of seconds is needed")
}

fn protocol_version(text: &str) -> Result<ProtocolVersion> {
    Ok(match text.strip_prefix("mqttv").unwrap_or(text) {
        "5" | "5.0" => ProtocolVersion::V5,
        "311" | "3.1.1" => ProtocolVersion::V3_1_1,
        "31" | "3.1" => ProtocolVersion::V3_1,
        _ => bail!("the versions are mqttv5, mqttv311 and mqttv31"),
    })
}

fn expiry(text: &str) -> Result<u32> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        _ => text.parse().context("seconds from 0 to 4294967294, or -1 for ever"),
    }
}

fn tls_version(text: &str) -> Result<&'static SupportedProtocolVersion> {
    Ok(match text {
        "tlsv1.3" => &rustls::version::TLS13,
        "tlsv1.2" => &rustls::version::TLS12,
        _ => bail!("the versions are tlsv1.3 and tlsv1.2"),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(disable_help_flag = true)]
    struct Flags {
        #[command(flatten)]
        connection: ConnectionOptions,
    }

    fn resolve_with(line: &str, demands: &Demands) -> Result<Connection, String> {
        let flags = Flags::try_parse_from(std::iter::once("test").chain(line.split_whitespace()));
        let flags = flags.map_err(|error| error.to_string())?;
        flags.connection.resolve(demands).map_err(|error| format!("{error:#}"))
    }

    fn resolve(line: &str) -> Result<Connection, String> {
        resolve_with(line, &Demands::default())
    }

    #[test]
    fn defaults_are_those_of_mosquitto() {
        let connection = resolve("-h 127.0.0.1").unwrap();
        assert_eq!(connection.target.place.to_string(), "127.0.0.1:1883");
        assert_eq!(connection.greeting.version, ProtocolVersion::V3_1_1);
        assert_eq!(connection.greeting.keep_alive_s, 60);
        assert!(connection.greeting.clean_start);
        assert_eq!(connection.greeting.client_id.len(), 21);
    }

    #[test]
    fn port_follows_tls_and_websocket() {
        for (line, place) in [
            ("-h 127.0.0.1 --insecure", "127.0.0.1:8883"),
            ("-h 127.0.0.1 --ws", "127.0.0.1:8083"),
            ("-L wss://127.0.0.1 --insecure", "127.0.0.1:8084"),
            ("-L mqtt://[::1]:1", "[::1]:1"),
            ("--unix /run/mqtt.sock", "/run/mqtt.sock"),
        ] {
            assert_eq!(resolve(line).unwrap().target.place.to_string(), place);
        }
        let websocket = resolve("-L ws://127.0.0.1/a?b").unwrap().target.websocket.unwrap();
        assert_eq!(websocket.path, "/a?b");
    }

    #[test]
    fn url_gives_user_and_topic_which_flags_override() {
        let connection = resolve("-L mqtt://a:b@127.0.0.1/t -u c").unwrap();
        assert_eq!(connection.greeting.username.as_deref(), Some("c"));
        assert_eq!(connection.greeting.password.as_deref(), Some(b"b".as_slice()));
        assert_eq!(connection.url_topic.as_deref(), Some("t"));
    }

    #[test]
    fn flags_of_mqtt_5_choose_it() {
        for line in ["-x 60", "-D connect user-property a b", "-x -1"] {
            let connection = resolve(&format!("-h 127.0.0.1 {line}")).unwrap();
            assert_eq!(connection.greeting.version, ProtocolVersion::V5, "{line}");
        }
        let error = resolve("-h 127.0.0.1 -V mqttv311 -x 60").unwrap_err();
        assert_eq!(error, "-x/--session-expiry-interval needs -V mqttv5, not MQTT 3.1.1");
        let demands = Demands { v5_flag: Some("--no-local"), keeps_session: false };
        let error = resolve_with("-h 127.0.0.1 -V 31", &demands).unwrap_err();
        assert_eq!(error, "--no-local needs -V mqttv5, not MQTT 3.1");
    }

    #[test]
    fn kept_session_needs_an_id_and_does_not_expire() {
        let demands = Demands { v5_flag: None, keeps_session: true };
        let error = resolve_with("-h 127.0.0.1", &demands).unwrap_err();
        assert_eq!(error, "-c/--disable-clean-session needs -i/--id");
        let expiry = |line| resolve_with(line, &demands).unwrap().greeting.session_expiry_s;
        assert_eq!(expiry("-h 127.0.0.1 -i a"), Some(u32::MAX));
        assert_eq!(expiry("-h 127.0.0.1 -i a -x 5"), Some(5));
        assert_eq!(expiry("-h 127.0.0.1 -i a -D connect session-expiry-interval 5"), None);
    }

    #[test]
    fn contradictions_are_refused_by_flag() {
        for (line, expected) in [
            ("-P secret", "-P/--pw without -u/--username needs -V mqttv5"),
            ("--will-topic a/#", "--will-topic 'a/#': wildcard in a topic name at byte 2"),
            ("--ws-path mqtt", "--ws-path 'mqtt' does not start with '/'"),
            ("--cafile /nonexistent", "--cafile /nonexistent"),
            ("-V 6", "invalid value '6' for '--protocol-version <VERSION>'"),
            ("--will-payload x", "--will-topic <TOPIC>"),
            ("--cert c", "--key <FILE>"),
            ("-i a -I b", "cannot be used with"),
            ("--tls-version tlsv1.1", "the versions are tlsv1.3 and tlsv1.2"),
        ] {
            let error = resolve(&format!("-h 127.0.0.1 {line}")).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
