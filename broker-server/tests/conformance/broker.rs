//! The broker under test: one process of ours, or a foreign one by address.

use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

use crate::client::v5;
use crate::process::{Folder, Process};
use crate::wire::{Prop, Props};

/// Where the broker under test listens.
#[derive(Debug)]
pub(crate) struct Broker {
    /// HOST:PORT.
    pub(crate) address: String,
    /// HOST:PORT of the WebSocket listener.
    pub(crate) websocket: Option<String>,
    /// HOST:PORT of a listener that offers little, see `limits.rs`.
    pub(crate) limited: Option<String>,
    /// HOST:PORT of a listener whose zone has `strict_mode`.
    pub(crate) strict: Option<String>,
    is_ours: bool,
}

static BROKER: OnceLock<Broker> = OnceLock::new();

/// The broker under test.
pub(crate) fn broker() -> &'static Broker {
    BROKER.get().expect("main sets it before the first test")
}

/// True if the broker was started here: what the specification leaves open is then asserted as well.
pub(crate) fn is_ours() -> bool {
    broker().is_ours
}

/// Uses `MQTT_BROKER`, or starts our own; the guard stops it.
pub(crate) fn start() -> Option<Ours> {
    if let Ok(address) = std::env::var("MQTT_BROKER") {
        let websocket = std::env::var("MQTT_BROKER_WS").ok();
        BROKER
            .set(Broker { address, websocket, limited: None, strict: None, is_ours: false })
            .unwrap();
        return None;
    }
    let (process, broker) = Ours::start();
    BROKER.set(broker).unwrap();
    Some(process)
}

/// Our own with a data folder of its own; both go when it is dropped.
pub(crate) struct Ours {
    process: Process,
    _folder: Folder,
}

impl Ours {
    fn start() -> (Self, Broker) {
        let folder = Folder::new();
        let config = folder.path().join("broker.toml");
        std::fs::write(&config, config_text(&folder.data())).unwrap();
        let process = Process::start(&config);
        let address = |name: &str| process.address(name).to_owned();
        let broker = Broker {
            address: address("mqtt:tcp:external"),
            websocket: Some(address("mqtt:ws:external")),
            limited: Some(address("mqtt:tcp:limited")),
            strict: Some(address("mqtt:tcp:strict")),
            is_ours: true,
        };
        (Self { process, _folder: folder }, broker)
    }

    /// True while it runs; a broker that died failed the suite whatever the tests say.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// The end of its log, for the report of a failure.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.process.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn config_text(data_dir: &Path) -> String {
    format!(
        "[node]\ndata_dir = {data_dir:?}\n\n\
         [mqtt]\nmax_topic_alias = 10\n\n\
         [auth.scram_sha_256.users]\nalice = \"{ALICES_PASSWORD}\"\nbob = \"builder\"\n\n\
         [listener.tcp.external]\nbind = \"127.0.0.1:0\"\n\n\
         [listener.ws.external]\nbind = \"127.0.0.1:0\"\n\n\
         [listener.tcp.limited]\nbind = \"127.0.0.1:0\"\nzone = \"limited\"\n\n\
         [zone.limited]\nmax_qos_allowed = 1\nretain_available = false\n\
         wildcard_subscription = false\nshared_subscription = false\nserver_keepalive = 2\n\
         max_packet_size = \"2KB\"\nmax_clientid_len = 30\n\n\
         [listener.tcp.strict]\nbind = \"127.0.0.1:0\"\nzone = \"strict\"\n\n\
         [zone.strict]\nstrict_mode = true\n\n\
         [listener.tcp.internal]\nenabled = false\n\n\
         [listener.ssl.external]\nenabled = false\n\n\
         [listener.wss.external]\nenabled = false\n\n\
         [management.listener.http]\nenabled = false\n"
    )
}

/// Of the user `alice`, who comes in by SCRAM-SHA-256.
pub(crate) const ALICES_PASSWORD: &str = "wonderland";

/// What the broker announces in CONNACK to a plain MQTT 5.0 client.
#[derive(Debug)]
pub(crate) struct Announced {
    pub(crate) receive_maximum: u16,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) maximum_packet_size: Option<u32>,
    pub(crate) maximum_qos: u8,
    pub(crate) retain: bool,
    pub(crate) shared: bool,
    pub(crate) subscription_ids: bool,
    pub(crate) props: Props,
}

pub(crate) fn announced() -> &'static Announced {
    static ANNOUNCED: OnceLock<Announced> = OnceLock::new();
    ANNOUNCED.get_or_init(|| {
        let props = v5().open().props;
        let mut it = Announced {
            receive_maximum: u16::MAX,
            topic_alias_maximum: 0,
            maximum_packet_size: None,
            maximum_qos: 2,
            retain: true,
            shared: true,
            subscription_ids: true,
            props: props.clone(),
        };
        for prop in props.0 {
            match prop {
                Prop::ReceiveMaximum(v) => it.receive_maximum = v,
                Prop::TopicAliasMaximum(v) => it.topic_alias_maximum = v,
                Prop::MaximumPacketSize(v) => it.maximum_packet_size = Some(v),
                Prop::MaximumQoS(v) => it.maximum_qos = v,
                Prop::RetainAvailable(v) => it.retain = v == 1,
                Prop::SharedSubscriptionAvailable(v) => it.shared = v == 1,
                Prop::SubscriptionIdentifierAvailable(v) => it.subscription_ids = v == 1,
                _ => {}
            }
        }
        it
    })
}

/// Ends the test without a verdict if a foreign broker lacks something; ours must have everything.
#[track_caller]
pub(crate) fn need(has: bool, what: &'static str) {
    if has {
        return;
    }
    assert!(!is_ours(), "our broker must offer: {what}");
    std::panic::panic_any(Skip(what));
}

/// The payload of a panic that is no failure.
pub(crate) struct Skip(pub(crate) &'static str);

/// Two clients whose messages must go on whatever another client does.
pub(crate) struct Bystanders {
    publisher: crate::client::Client,
    subscriber: crate::client::Client,
    topic: String,
    n_sent: u32,
}

impl Bystanders {
    pub(crate) fn new() -> Self {
        let topic = crate::client::unique_topic();
        let mut subscriber = v5().open();
        subscriber.subscribe(&topic, 1);
        Self { publisher: v5().open(), subscriber, topic, n_sent: 0 }
    }

    /// A message passes.
    #[track_caller]
    pub(crate) fn exchange(&mut self) {
        self.n_sent += 1;
        let text = format!("bystander {}", self.n_sent);
        self.publisher.publish(crate::wire::publish(&self.topic, 1, &text));
        assert_eq!(self.subscriber.take().text(), text);
    }
}

/// Flushes what the runner printed so far.
pub(crate) fn flush() {
    let _ = std::io::stdout().flush();
}
