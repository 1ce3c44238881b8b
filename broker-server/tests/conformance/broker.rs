//! The broker under test: one process of ours, or a foreign one by address.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::client::{PATIENCE, v5};
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
pub(crate) fn start() -> Option<Process> {
    if let Ok(address) = std::env::var("MQTT_BROKER") {
        let websocket = std::env::var("MQTT_BROKER_WS").ok();
        BROKER
            .set(Broker { address, websocket, limited: None, strict: None, is_ours: false })
            .unwrap();
        return None;
    }
    let (process, broker) = Process::start();
    BROKER.set(broker).unwrap();
    Some(process)
}

/// A broker process with a data folder of its own; both go when it is dropped.
pub(crate) struct Process {
    child: Child,
    dir: PathBuf,
}

impl Process {
    fn start() -> (Self, Broker) {
        let dir = std::env::temp_dir().join(format!("conformance-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the temporary folder is writable");
        let ports = free_ports();
        let [tcp, ws, limited, strict] = ports;
        let config = dir.join("broker.toml");
        std::fs::write(&config, config_text(&dir.join("data"), ports)).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_broker-server"))
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("the broker starts");
        let mut process = Self { child, dir };
        let broker = Broker {
            address: format!("127.0.0.1:{tcp}"),
            websocket: Some(format!("127.0.0.1:{ws}")),
            limited: Some(format!("127.0.0.1:{limited}")),
            strict: Some(format!("127.0.0.1:{strict}")),
            is_ours: true,
        };
        process.wait_until_it_accepts(&broker);
        (process, broker)
    }

    fn wait_until_it_accepts(&mut self, broker: &Broker) {
        let deadline = Instant::now() + 4 * PATIENCE;
        while TcpStream::connect(&broker.address).is_err() {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                panic!("the broker does not accept ({ended:?}); its log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// True while it runs; a broker that died failed the suite whatever the tests say.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of its log, for the report of a failure.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn config_text(data_dir: &std::path::Path, [tcp, ws, limited, strict]: [u16; 4]) -> String {
    format!(
        "[node]\ndata_dir = {data_dir:?}\n\n\
         [mqtt]\nmax_topic_alias = 10\n\n\
         [auth.scram_sha_256.users]\nalice = \"{ALICES_PASSWORD}\"\nbob = \"builder\"\n\n\
         [listener.tcp.external]\nbind = \"127.0.0.1:{tcp}\"\n\n\
         [listener.ws.external]\nbind = \"127.0.0.1:{ws}\"\n\n\
         [listener.tcp.limited]\nbind = \"127.0.0.1:{limited}\"\nzone = \"limited\"\n\n\
         [zone.limited]\nmax_qos_allowed = 1\nretain_available = false\n\
         wildcard_subscription = false\nshared_subscription = false\nserver_keepalive = 2\n\
         max_packet_size = \"2KB\"\nmax_clientid_len = 30\n\n\
         [listener.tcp.strict]\nbind = \"127.0.0.1:{strict}\"\nzone = \"strict\"\n\n\
         [zone.strict]\nstrict_mode = true\n\n\
         [listener.tcp.internal]\nenabled = false\n\n\
         [listener.ssl.external]\nenabled = false\n\n\
         [listener.wss.external]\nenabled = false\n\n\
         [management.listener.http]\nenabled = false\n"
    )
}

/// Of the user `alice`, who comes in by SCRAM-SHA-256.
pub(crate) const ALICES_PASSWORD: &str = "wonderland";

/// Held open together, so that they differ.
fn free_ports() -> [u16; 4] {
    let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|l| l.local_addr().unwrap().port())
}

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
