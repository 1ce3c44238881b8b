//! Client: one MQTT connection as seen from the client, without waiting for anything.
//!
//! The owner reports readiness of the socket and takes [`Event`]s; [`Link`](crate::link::Link) does so
//! for commands with one connection, the engine of `bench` for thousands.

mod flow;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use broker_codec::{
    Connect, Decoder, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property,
    ProtocolVersion, Publish, PublishHeader, QoS, ReasonCode, SubAck, Subscribe,
    SubscriptionRequest, Unsubscribe, Will, encode_publish, publish_len,
};

use crate::output::{Notes, Reason, Refused};
use crate::transport::Transport;
use flow::{Acknowledged, Flow};

/// What CONNECT says.
#[derive(Debug, Clone)]
pub(crate) struct Greeting {
    pub(crate) version: ProtocolVersion,
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
    /// Session Expiry Interval, unless `properties` has it.
    pub(crate) session_expiry_s: Option<u32>,
    pub(crate) will: Option<WillMessage>,
    pub(crate) properties: PropertiesBuf,
    pub(crate) will_properties: PropertiesBuf,
}

/// The Will Message of a [`Greeting`].
#[derive(Debug, Clone)]
pub(crate) struct WillMessage {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

impl Greeting {
    /// Appends the CONNECT packet, with `client_id` in place of the own.
    fn encode(&self, client_id: &str, out: &mut Vec<u8>) {
        let mut properties = self.properties.clone();
        if let Some(seconds) = self.session_expiry_s {
            properties.push(Property::SessionExpiryInterval(seconds));
        }
        let will = self.will.as_ref().map(|will| Will {
            qos: will.qos,
            retain: will.retain,
            properties: self.will_properties.as_properties(),
            topic: &will.topic,
            payload: &will.payload,
        });
        let connect = Connect {
            version: self.version,
            is_bridge: false,
            clean_start: self.clean_start,
            keep_alive_s: self.keep_alive_s,
            properties: properties.as_properties(),
            client_id,
            will,
            username: self.username.as_deref(),
            password: self.password.as_deref(),
        };
        Packet::Connect(connect).encode(self.version, out);
    }
}

/// A message to publish.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) properties: Properties<'a>,
}

/// What the server told the client.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    Connected,
    /// A message, acknowledged by now; its topic is there even if an alias stood for it.
    Message(Publish<'a>),
    /// A published message of QoS 1 or 2 is done, for better or worse.
    Published {
        tag: u64,
        code: ReasonCode,
        text: Option<&'a str>,
    },
    Subscribed(SubAck<'a>),
    Unsubscribed,
}

/// One connection; see the module.
#[derive(Debug)]
pub(crate) struct Client {
    transport: Transport,
    decoder: Decoder,
    version: ProtocolVersion,
    client_id: String,
    notes: Notes,
    input: Input,
    output: Output,
    flow: Flow,
    limits: Limits,
    keep_alive: KeepAlive,
    /// Topics of the aliases that the server set.
    aliases: HashMap<u16, Box<str>>,
    is_connected: bool,
}

/// Bytes received and how many of them are decoded.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    decoded: usize,
    is_at_end: bool,
}

/// Bytes to send and how many of them are sent.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

/// What the server does not take, by its CONNACK.
#[derive(Debug)]
struct Limits {
    maximum_packet_size: usize,
    maximum_qos: QoS,
    retain_available: bool,
}

/// When to send PINGREQ, and how long to wait for the answer.
#[derive(Debug)]
struct KeepAlive {
    interval: Duration,
    sent_at: Instant,
    pinged_at: Option<Instant>,
}

impl Client {
    /// A client whose CONNECT is waiting for the transport; `client_id` replaces that of `greeting`.
    pub(crate) fn new(
        transport: Transport,
        greeting: &Greeting,
        client_id: String,
        inflight_max: usize,
        notes: Notes,
    ) -> Self {
        let version = greeting.version;
        let mut output = Output::default();
        greeting.encode(&client_id, &mut output.bytes);
        notes.debug(format_args!(
            "Client {client_id} sending CONNECT (MQTT {version}, clean start {}, keep alive {} s)",
            greeting.clean_start, greeting.keep_alive_s
        ));
        Self {
            transport,
            decoder: Decoder::for_client(version, u32::MAX),
            version,
            client_id,
            notes,
            input: Input::default(),
            output,
            flow: Flow::new(inflight_max),
            limits: Limits {
                maximum_packet_size: usize::MAX,
                maximum_qos: QoS::ExactlyOnce,
                retain_available: true,
            },
            keep_alive: KeepAlive {
                interval: Duration::from_secs(u64::from(greeting.keep_alive_s)),
                sent_at: Instant::now(),
                pinged_at: None,
            },
            aliases: HashMap::new(),
            is_connected: false,
        }
    }

    pub(crate) const fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    pub(crate) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Reads until the socket is empty or about `budget` bytes came; true if there may be more.
    pub(crate) fn handle_readable(&mut self, scratch: &mut [u8], budget: usize) -> Result<bool> {
        self.input.compact();
        let until = self.input.bytes.len() + budget;
        while self.input.bytes.len() < until {
            match self.transport.try_read(scratch, &mut self.input.bytes) {
                Ok(true) => {}
                Ok(false) => {
                    self.input.is_at_end = true;
                    return Ok(false);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading from the server"),
            }
        }
        Ok(true)
    }

    /// Sends what is queued; true if nothing is left.
    pub(crate) fn flush(&mut self, now: Instant) -> Result<bool> {
        loop {
            let has_progressed = self.hand_over(now).context("writing to the server")?;
            match self.transport.try_flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                result => result.context("writing to the server")?,
            }
            // The layers may have refused more for their own bounds, and have room again by now.
            let is_sent = self.output.compact();
            if is_sent || !has_progressed {
                return Ok(is_sent);
            }
        }
    }

    /// Gives the transport as much as it takes; true if that was anything.
    fn hand_over(&mut self, now: Instant) -> std::io::Result<bool> {
        let before = self.output.sent;
        while self.output.sent < self.output.bytes.len() {
            match self.transport.try_write(&self.output.bytes[self.output.sent..]) {
                Ok(len) => {
                    self.output.sent += len;
                    self.keep_alive.sent_at = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.output.sent > before)
    }

    /// The next thing the server said; `None` until more is read, an error when the connection is over.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event<'_>>> {
        loop {
            let decoded = self.decoder.decode(&self.input.bytes[self.input.decoded..]);
            let Some((packet, len)) = decoded.context("malformed packet from the server")? else {
                if self.input.is_at_end {
                    bail!(if self.is_connected {
                        "server closed the connection without DISCONNECT"
                    } else {
                        "server closed the connection without CONNACK"
                    });
                }
                return Ok(None);
            };
            self.input.decoded += len;
            if self.notes.is_debug {
                note_received(self.notes, &self.client_id, &packet);
            }
            ensure!(
                self.is_connected || matches!(packet, Packet::ConnAck(_) | Packet::Auth(_)),
                "{} from the server before CONNACK",
                packet.kind()
            );
            let acknowledged = match packet {
                Packet::ConnAck(connack) => {
                    ensure!(!self.is_connected, "second CONNACK from the server");
                    if connack.reason_code.is_error() {
                        let text = connack.properties.reason_string();
                        let code = connack.reason_code;
                        return Err(Refused::new("connection refused", code, text).into());
                    }
                    let properties = connack.properties;
                    self.is_connected = true;
                    self.limits.apply(properties);
                    self.flow.apply_receive_maximum(properties.receive_maximum());
                    if let Some(seconds) = properties.server_keep_alive() {
                        self.keep_alive.interval = Duration::from_secs(u64::from(seconds));
                    }
                    if let Some(id) = properties.assigned_client_identifier() {
                        id.clone_into(&mut self.client_id);
                    }
                    return Ok(Some(Event::Connected));
                }
                Packet::Publish(mut publish) => {
                    let alias = publish.properties.topic_alias();
                    if let (Some(alias), false) = (alias, publish.topic.is_empty()) {
                        self.aliases.insert(alias, publish.topic.into());
                    }
                    let output = &mut self.output.bytes;
                    if !self.flow.handle_publish(&publish, self.version, output) {
                        continue;
                    }
                    if let (Some(alias), true) = (alias, publish.topic.is_empty()) {
                        let topic = self.aliases.get(&alias);
                        publish.topic = topic.context("unknown topic alias from the server")?;
                    }
                    return Ok(Some(Event::Message(publish)));
                }
                Packet::PubAck(ack) => self.flow.handle_puback(&ack),
                Packet::PubRec(ack) => {
                    self.flow.handle_pubrec(&ack, self.version, &mut self.output.bytes)
                }
                Packet::PubComp(ack) => self.flow.handle_pubcomp(&ack),
                Packet::PubRel(ack) => {
                    self.flow.handle_pubrel(&ack, self.version, &mut self.output.bytes);
                    None
                }
                Packet::SubAck(suback) => return Ok(Some(Event::Subscribed(suback))),
                Packet::UnsubAck(_) => return Ok(Some(Event::Unsubscribed)),
                Packet::PingResp => {
                    self.keep_alive.pinged_at = None;
                    None
                }
                Packet::Disconnect(Disconnect { reason_code, properties }) => {
                    let text = properties.reason_string();
                    let what = "server closed the connection";
                    return Err(Refused::new(what, reason_code, text).into());
                }
                Packet::Auth(_) => {
                    bail!("server asks for enhanced authentication (AUTH), which this client lacks")
                }
                Packet::Connect(_)
                | Packet::Subscribe(_)
                | Packet::Unsubscribe(_)
                | Packet::PingReq => unreachable!("the decoder takes what servers send"),
            };
            if let Some(Acknowledged { tag, code, text }) = acknowledged {
                return Ok(Some(Event::Published { tag, code, text }));
            }
        }
    }

    /// Whether another QoS 1 or 2 message may be under way.
    pub(crate) fn has_quota(&self) -> bool {
        self.flow.has_quota()
    }

    /// Messages published and not yet acknowledged.
    pub(crate) fn n_inflight(&self) -> usize {
        self.flow.n_outgoing()
    }

    /// QoS 2 messages received whose exchange is not over.
    pub(crate) fn n_incoming(&self) -> usize {
        self.flow.n_incoming()
    }

    /// Bytes that wait for the socket.
    pub(crate) fn n_output_bytes(&self) -> usize {
        self.output.bytes.len() - self.output.sent
    }

    /// Queues a PUBLISH; `tag` comes back with [`Event::Published`] if its QoS is above 0.
    pub(crate) fn publish(&mut self, message: &Message<'_>, tag: u64) -> Result<()> {
        let Message { topic, payload, qos, retain, properties } = *message;
        ensure!(
            qos <= self.limits.maximum_qos,
            "-q {qos}: the server takes QoS {} at most",
            self.limits.maximum_qos
        );
        ensure!(
            !retain || self.limits.retain_available,
            "-r/--retain: the server keeps no retained messages"
        );
        let mut header = PublishHeader { qos, retain, properties, ..PublishHeader::default() };
        let len = publish_len(self.version, &header, topic.len(), payload.len());
        let max = self.limits.maximum_packet_size.min(PACKET_BYTES_MAX);
        ensure!(len <= max, "message of {len} bytes is too large, at most {max} are possible");
        if qos > QoS::AtMostOnce {
            header.packet_id = Some(self.flow.start(qos, tag));
        }
        self.notes.debug(format_args!(
            "Client {} sending PUBLISH (q{qos}, r{}, m{}, '{topic}', {} bytes)",
            self.client_id,
            u8::from(retain),
            header.packet_id.map_or(0, PacketId::get),
            payload.len()
        ));
        encode_publish(&mut self.output.bytes, self.version, &header, topic, payload.len());
        self.output.bytes.extend_from_slice(payload);
        Ok(())
    }

    /// Queues a SUBSCRIBE.
    pub(crate) fn subscribe(
        &mut self,
        filters: Vec<SubscriptionRequest<'_>>,
        properties: Properties<'_>,
    ) {
        let packet_id = self.flow.next_packet_id();
        for request in &filters {
            self.notes.debug(format_args!(
                "Client {} sending SUBSCRIBE (m{packet_id}, '{}', q{}, options 0x{:02x})",
                self.client_id,
                request.filter,
                request.options.qos,
                request.options.bits()
            ));
        }
        self.send(&Packet::Subscribe(Subscribe { packet_id, properties, filters }));
    }

    /// Queues an UNSUBSCRIBE.
    pub(crate) fn unsubscribe(&mut self, filters: Vec<&str>, properties: Properties<'_>) {
        let packet_id = self.flow.next_packet_id();
        self.note_sending(format_args!("UNSUBSCRIBE (m{packet_id}, {filters:?})"));
        self.send(&Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }));
    }

    /// Queues DISCONNECT, the last packet.
    pub(crate) fn disconnect(&mut self, code: ReasonCode, properties: Properties<'_>) {
        self.note_sending(format_args!("DISCONNECT ({})", Reason(code)));
        self.send(&Packet::Disconnect(Disconnect { reason_code: code, properties }));
    }

    /// From now on messages are passed over without an acknowledgement: the user has what was asked for.
    pub(crate) fn stop_receiving(&mut self) {
        self.flow.stop_receiving();
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let KeepAlive { interval, sent_at, pinged_at } = self.keep_alive;
        if interval.is_zero() || !self.is_connected {
            return None;
        }
        Some(pinged_at.unwrap_or(sent_at) + interval)
    }

    /// Sends PINGREQ if it is time; an error if the last one was not answered [MQTT-3.1.2-20].
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<()> {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return Ok(());
        }
        ensure!(self.keep_alive.pinged_at.is_none(), "server does not answer PINGREQ");
        self.keep_alive.pinged_at = Some(now);
        self.note_sending(format_args!("PINGREQ"));
        self.send(&Packet::PingReq);
        Ok(())
    }

    fn send(&mut self, packet: &Packet<'_>) {
        packet.encode(self.version, &mut self.output.bytes);
    }

    fn note_sending(&self, what: std::fmt::Arguments<'_>) {
        self.notes.debug(format_args!("Client {} sending {what}", self.client_id));
    }
}

impl Input {
    /// Moves what is not decoded to the front. A buffer that a burst made large is given back.
    fn compact(&mut self) {
        if self.decoded == self.bytes.len() && self.bytes.capacity() > BUFFER_BYTES_KEPT {
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..self.decoded);
        }
        self.decoded = 0;
    }
}

impl Output {
    /// Drops what is sent; true if that is all.
    fn compact(&mut self) -> bool {
        let is_sent = self.sent == self.bytes.len();
        if is_sent && self.bytes.capacity() > BUFFER_BYTES_KEPT {
            self.bytes = Vec::new();
        } else if is_sent {
            self.bytes.clear();
        } else if self.sent > BUFFER_BYTES_KEPT {
            self.bytes.drain(..self.sent);
        } else {
            return false;
        }
        self.sent = 0;
        is_sent
    }
}

impl Limits {
    fn apply(&mut self, connack: Properties<'_>) {
        if let Some(bytes) = connack.maximum_packet_size() {
            self.maximum_packet_size = bytes as usize;
        }
        self.maximum_qos = connack.maximum_qos().unwrap_or(self.maximum_qos);
        self.retain_available = connack.retain_available().unwrap_or(true);
    }
}

fn note_received(notes: Notes, client_id: &str, packet: &Packet<'_>) {
    let kind = packet.kind();
    let details = match packet {
        Packet::ConnAck(it) => {
            format!(" ({}, session present {})", Reason(it.reason_code), it.session_present)
        }
        Packet::Publish(it) => format!(
            " (d{}, q{}, r{}, m{}, '{}', {} bytes)",
            u8::from(it.dup),
            it.qos,
            u8::from(it.retain),
            it.packet_id.map_or(0, PacketId::get),
            it.topic,
            it.payload.len()
        ),
        Packet::PubAck(it) | Packet::PubRec(it) | Packet::PubRel(it) | Packet::PubComp(it) => {
            format!(" (m{}, {})", it.packet_id, Reason(it.reason_code))
        }
        Packet::SubAck(it) => {
            let codes: Vec<_> = it.reason_codes.iter().map(|it| Reason(*it).to_string()).collect();
            format!(" (m{}, {})", it.packet_id, codes.join(", "))
        }
        Packet::Disconnect(it) => format!(" ({})", Reason(it.reason_code)),
        _ => String::new(),
    };
    notes.debug(format_args!("Client {client_id} received {kind}{details}"));
}

/// Largest packet that MQTT can express.
const PACKET_BYTES_MAX: usize = 268_435_460;

/// An empty buffer keeps this much memory, so that thousands of idle clients cost little.
const BUFFER_BYTES_KEPT: usize = 16 * 1024;
