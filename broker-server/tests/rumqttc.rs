//! rumqttc, the Rust client, against the real program: v3.1.1 and v5, sessions, wills, refusals.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rumqttc::v5;
use rumqttc::{Client, Connection, Event, LastWill, MqttOptions, Packet, Publish, QoS};

/// A broker on ports of the system's choosing; killed with the test.
struct Broker {
    process: Child,
    port: u16,
    folder: PathBuf,
}

impl Broker {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("rumqttc-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let config = folder.join("broker.toml");
        let text = format!(
            "[node]\ndata_dir = {:?}\n[listener.tcp.external]\nbind = \"127.0.0.1:0\"\n\
             [listener.tcp.internal]\nenabled = false\n[listener.ssl.external]\nenabled = false\n\
             [listener.ws.external]\nenabled = false\n[listener.wss.external]\nenabled = false\n\
             [management.listener.http]\nenabled = false\n",
            folder.join("data")
        );
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_broker-server"))
            .arg("--config")
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let listening = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("name=mqtt:tcp:external address=127.0.0.1:")?;
            Some(port.parse().unwrap())
        });
        // Read on, so that the broker never writes into a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, port: listening.expect("the broker listens"), folder }
    }

    fn connect(&self, id: &str, change: impl FnOnce(&mut MqttOptions)) -> Peer {
        let mut options = MqttOptions::new(id, "127.0.0.1", self.port);
        change(&mut options);
        let (client, connection) = Client::new(options, 100);
        let mut peer = Peer { client, connection };
        peer.wait(|packet| matches!(packet, Packet::ConnAck(_)).then_some(()));
        peer
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A client of v3.1.1 with its event loop.
struct Peer {
    client: Client,
    connection: Connection,
}

impl Peer {
    /// Runs the event loop until `wanted` finds in a packet what it looks for.
    fn wait<T>(&mut self, wanted: impl Fn(&Packet) -> Option<T>) -> T {
        loop {
            let event = self.connection.recv_timeout(DEADLINE).expect("within the deadline");
            if let Event::Incoming(packet) = event.expect("the connection holds")
                && let Some(found) = wanted(&packet)
            {
                return found;
            }
        }
    }

    fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.client.subscribe(filter, qos).unwrap();
        self.wait(|packet| matches!(packet, Packet::SubAck(_)).then_some(()));
    }

    /// Publishes with QoS 1 and waits for the PUBACK.
    fn publish(&mut self, topic: &str, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
        self.wait(|packet| matches!(packet, Packet::PubAck(_)).then_some(()));
    }

    fn receive(&mut self) -> Publish {
        self.wait(|packet| match packet {
            Packet::Publish(publish) => Some(publish.clone()),
            _ => None,
        })
    }
}

const DEADLINE: Duration = Duration::from_secs(15);

#[test]
fn messages_arrive_in_order_with_each_qos() {
    let broker = Broker::start("qos");
    let mut subscriber = broker.connect("subscriber", |_| {});
    subscriber.subscribe("a/#", QoS::ExactlyOnce);
    let mut publisher = broker.connect("publisher", |_| {});
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        publisher.client.publish("a/b", qos, false, format!("{qos:?}")).unwrap();
    }
    publisher.wait(|packet| matches!(packet, Packet::PubComp(_)).then_some(()));
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let message = subscriber.receive();
        assert_eq!((message.topic.as_str(), message.qos), ("a/b", qos));
        assert_eq!(message.payload, format!("{qos:?}"));
    }
}

#[test]
fn a_session_keeps_messages_while_its_client_is_away() {
    let broker = Broker::start("session");
    let mut keeper = broker.connect("keeper", |options| {
        options.set_clean_session(false);
    });
    keeper.subscribe("news", QoS::AtLeastOnce);
    drop(keeper);
    let mut publisher = broker.connect("publisher", |_| {});
    for n in 0..10 {
        publisher.publish("news", &n.to_string());
    }
    let mut keeper = broker.connect("keeper", |options| {
        options.set_clean_session(false);
    });
    for n in 0..10 {
        assert_eq!(keeper.receive().payload, n.to_string());
    }
}

#[test]
fn a_dropped_connection_leaves_its_will() {
    let broker = Broker::start("will");
    let mut watcher = broker.connect("watcher", |_| {});
    watcher.subscribe("will/#", QoS::AtLeastOnce);
    let mortal = broker.connect("mortal", |options| {
        options.set_last_will(LastWill::new("will/a", "gone", QoS::AtLeastOnce, false));
    });
    drop(mortal);
    let message = watcher.receive();
    assert_eq!((message.topic.as_str(), &message.payload[..]), ("will/a", &b"gone"[..]));
}

#[test]
fn v5_properties_arrive() {
    use v5::mqttbytes::QoS;
    use v5::mqttbytes::v5::{Packet, PublishProperties};

    let broker = Broker::start("v5");
    let options = v5::MqttOptions::new("five", "127.0.0.1", broker.port);
    let (client, mut connection) = v5::Client::new(options, 100);
    client.subscribe("a", QoS::ExactlyOnce).unwrap();
    let properties = PublishProperties {
        content_type: Some("text/plain".into()),
        user_properties: vec![("unit".into(), "celsius".into())],
        ..PublishProperties::default()
    };
    client.publish_with_properties("a", QoS::ExactlyOnce, false, "21", properties.clone()).unwrap();
    let message = loop {
        let event = connection.recv_timeout(DEADLINE).expect("within the deadline");
        if let v5::Event::Incoming(Packet::Publish(message)) = event.expect("connected") {
            break message;
        }
    };
    assert_eq!((&message.topic[..], &message.payload[..]), (&b"a"[..], &b"21"[..]));
    let received = message.properties.expect("has properties");
    assert_eq!(received.content_type, properties.content_type);
    assert_eq!(received.user_properties, properties.user_properties);
}
