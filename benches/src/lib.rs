//! What the benches share: a broker whose clients live in this process, without a socket between.

#![forbid(unsafe_code)]

pub mod filters;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker_codec::{
    Ack, Connect, Decoder, Packet, PacketId, Properties, PropertiesBuf, Property, ProtocolVersion,
    Publish, QoS, ReasonCode, Subscribe, SubscriptionOptions, SubscriptionRequest, Unsubscribe,
};
use broker_core::config::{BrokerConfig, ZoneConfig};
use broker_core::{Broker, Channel, Close, CloseCause, Now, Peer, Sink, Turn};

/// A broker and the turn of the one thread that drives it.
pub struct World {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Working state of the thread.
    pub turn: Turn,
    zone: Arc<ZoneConfig>,
    listener: Arc<str>,
}

impl Default for World {
    fn default() -> Self {
        // Queues without a bound: a bench decides itself how much waits.
        let zone = ZoneConfig {
            max_mqueue_len: 0,
            max_mqueue_bytes: 0,
            max_inflight: 0,
            max_awaiting_rel: 0,
            max_outbox_bytes: usize::MAX,
            ..ZoneConfig::default()
        };
        let config = BrokerConfig { presence: None, ..BrokerConfig::default() };
        let broker = Broker::builder().config(config).build().expect("the settings are valid");
        Self { zone: Arc::new(zone), ..Self::of(broker) }
    }
}

impl World {
    /// A broker that is there already; its clients have the zone of all defaults.
    #[must_use]
    pub fn of(broker: Arc<Broker>) -> Self {
        let mut turn = broker.turn();
        turn.begin(NOW);
        Self { broker, turn, zone: Arc::default(), listener: "mqtt:tcp:bench".into() }
    }
}

/// One client: the shell's part of a connection, with a sink that swallows what it is sent.
pub struct Client {
    channel: Channel,
    decoder: Decoder,
    /// What came out for it.
    pub sink: Arc<Swallow>,
}

/// A sink that counts bytes and drops them.
#[derive(Default)]
pub struct Swallow {
    bytes: AtomicUsize,
}

impl Swallow {
    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Sink for Swallow {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let n = slices.iter().map(|slice| slice.len()).sum();
        self.bytes.fetch_add(n, Ordering::Relaxed);
        Ok(n)
    }

    fn wake(&self) {}
}

impl World {
    /// Connects a client of MQTT 5.0 whose session outlives its connection.
    #[must_use]
    pub fn connect(&mut self, client_id: &str) -> Client {
        self.connect_as(client_id, None)
    }

    /// The same under a user name.
    #[must_use]
    pub fn connect_as(&mut self, client_id: &str, username: Option<&str>) -> Client {
        let peer = Peer {
            addr: Some(([127, 0, 0, 1], 1883).into()),
            ..Peer::new(Arc::clone(&self.listener), Arc::clone(&self.zone))
        };
        let sink = Arc::new(Swallow::default());
        let channel = Channel::new(peer, Arc::clone(&sink) as Arc<dyn Sink>, &self.turn);
        let mut client = Client { channel, decoder: Decoder::for_server(u32::MAX), sink };
        let mut properties = PropertiesBuf::new();
        properties.push(Property::SessionExpiryInterval(u32::MAX));
        let connect = Packet::Connect(Connect {
            version: ProtocolVersion::V5,
            is_bridge: false,
            clean_start: false,
            keep_alive_s: 60,
            properties: properties.as_properties(),
            client_id,
            will: None,
            username,
            password: None,
        });
        client.feed(&encode(&connect), &mut self.turn);
        self.turn.finish();
        assert!(client.channel.is_connected(), "the broker lets everybody in");
        client
    }

    /// Subscribes a client to filters, as one packet.
    pub fn subscribe<'a>(
        &mut self,
        client: &mut Client,
        filters: impl IntoIterator<Item = &'a str>,
        qos: QoS,
    ) {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let filters =
            filters.into_iter().map(|filter| SubscriptionRequest { filter, options }).collect();
        let subscribe = Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            properties: Properties::EMPTY,
            filters,
        });
        client.feed(&encode(&subscribe), &mut self.turn);
        self.turn.finish();
    }

    /// Ends subscriptions of a client, as one packet.
    pub fn unsubscribe<'a>(
        &mut self,
        client: &mut Client,
        filters: impl IntoIterator<Item = &'a str>,
    ) {
        let unsubscribe = Packet::Unsubscribe(Unsubscribe {
            packet_id: PacketId::MIN,
            properties: Properties::EMPTY,
            filters: filters.into_iter().collect(),
        });
        client.feed(&encode(&unsubscribe), &mut self.turn);
        self.turn.finish();
    }

    /// Ends a client's connection; its session stays.
    pub fn close(&mut self, mut client: Client) {
        let close = Close::from(CloseCause::ConnectionLost);
        client.channel.handle_closed(&close, &mut self.turn);
        self.turn.finish();
    }

    /// Gives the broker what a client sends, and the client what the broker has for it and others.
    pub fn feed(&mut self, client: &mut Client, bytes: &[u8]) {
        client.feed(bytes, &mut self.turn);
        self.turn.finish();
    }
}

impl Client {
    fn feed(&mut self, mut bytes: &[u8], turn: &mut Turn) {
        while let Ok(Some((packet, len))) = self.decoder.decode(bytes) {
            assert!(self.channel.handle_packet(&packet, turn).is_ok(), "{packet:?}");
            bytes = &bytes[len..];
        }
        assert!(bytes.is_empty(), "whole packets only");
        assert!(self.channel.end_turn(turn).is_ok());
    }
}

/// A packet in the form of MQTT 5.0.
#[must_use]
pub fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(ProtocolVersion::V5, &mut bytes);
    bytes
}

/// A PUBLISH; `packet_id` is left out at QoS 0.
#[must_use]
pub fn publish(topic: &str, qos: QoS, packet_id: PacketId, payload: &[u8]) -> Vec<u8> {
    encode(&Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: (qos > QoS::AtMostOnce).then_some(packet_id),
        properties: Properties::EMPTY,
        payload,
    }))
}

/// A successful acknowledgement.
#[must_use]
pub fn ack(packet_id: PacketId) -> Ack<'static> {
    Ack { packet_id, reason_code: ReasonCode::Success, properties: Properties::EMPTY }
}

/// The nth Packet Identifier that a session hands out, or a client uses.
#[must_use]
pub fn nth_packet_id(n: u64) -> PacketId {
    PacketId::new((n % u64::from(u16::MAX)) as u16 + 1).expect("not zero")
}

/// A time: benches of logic need no clock.
pub const NOW: Now = Now { mono_ms: 1_000_000, us: 0, wall_ms: 1_700_000_000_000 };

/// True in a smoke run (`cargo test --benches`), where only the small sizes are tried.
#[must_use]
pub fn is_smoke() -> bool {
    !std::env::args().any(|arg| arg == "--bench")
}
