//! A blocking client that says exactly what a test tells it to, and names what it got instead.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::broker::{self, broker};
use crate::wire::{self, Packet, Prop, Props, Publish, V5, V31, V311};

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A Client Identifier of this test alone; letters and digits, under 24 bytes [MQTT-3.1.3-5].
pub(crate) fn unique_id() -> String {
    format!("c{}x{}", std::process::id(), next_number())
}

/// A Topic Name of this test alone.
pub(crate) fn unique_topic() -> String {
    format!("conformance/{}/{}", std::process::id(), next_number())
}

fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Lets time pass. Only for statements about time; everything else waits for a packet.
pub(crate) fn elapse(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Bytes in both directions; TCP or WebSocket.
pub(crate) trait Transport: Send {
    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// At least one byte, `Ok(0)` at the end, `WouldBlock` or `TimedOut` when time is up.
    fn receive(&mut self, into: &mut Vec<u8>, timeout: Duration) -> std::io::Result<usize>;
    /// No more will be sent; the peer sees the end.
    fn finish(&mut self);
}

impl Transport for TcpStream {
    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write_all(bytes)
    }

    fn receive(&mut self, into: &mut Vec<u8>, timeout: Duration) -> std::io::Result<usize> {
        self.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))?;
        let mut chunk = [0; 16 * 1024];
        let n = self.read(&mut chunk)?;
        into.extend(&chunk[..n]);
        Ok(n)
    }

    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// A Will Message to connect with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Will {
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) props: Vec<Prop>,
}

impl Will {
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self { topic: topic.into(), payload: payload.into(), ..Self::default() }
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn prop(mut self, prop: Prop) -> Self {
        self.props.push(prop);
        self
    }

    pub(crate) fn delay(self, seconds: u32) -> Self {
        self.prop(Prop::WillDelayInterval(seconds))
    }
}

/// A CONNECT under construction: Clean Start, no Keep Alive, a Client Identifier of its own.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) version: u8,
    pub(crate) id: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) props: Vec<Prop>,
    pub(crate) will: Option<Will>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Vec<u8>>,
}

pub(crate) fn connect(version: u8) -> Connect {
    Connect {
        version,
        id: unique_id(),
        clean: true,
        keep_alive: 0,
        props: Vec::new(),
        will: None,
        username: None,
        password: None,
    }
}

/// CONNECT of MQTT 5.0.
pub(crate) fn v5() -> Connect {
    connect(V5)
}

/// CONNECT of MQTT 3.1.1.
pub(crate) fn v311() -> Connect {
    connect(V311)
}

/// CONNECT of MQTT 3.1.
pub(crate) fn v31() -> Connect {
    connect(V31)
}

impl Connect {
    pub(crate) fn id(mut self, id: &str) -> Self {
        self.id = id.into();
        self
    }

    /// Clean Start 0, or Clean Session 0.
    pub(crate) fn resume(mut self) -> Self {
        self.clean = false;
        self
    }

    pub(crate) fn clean(mut self) -> Self {
        self.clean = true;
        self
    }

    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub(crate) fn prop(mut self, prop: Prop) -> Self {
        self.props.push(prop);
        self
    }

    /// Session Expiry Interval in seconds; in the older versions Clean Session 0.
    pub(crate) fn expiry(self, seconds: u32) -> Self {
        match self.version {
            V5 => self.prop(Prop::SessionExpiryInterval(seconds)),
            _ => self.resume(),
        }
    }

    pub(crate) fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    pub(crate) fn username(mut self, name: &str) -> Self {
        self.username = Some(name.into());
        self
    }

    pub(crate) fn password(mut self, password: &[u8]) -> Self {
        self.password = Some(password.into());
        self
    }

    pub(crate) fn flags(&self) -> u8 {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags | u8::from(self.password.is_some()) << 6 | u8::from(self.username.is_some()) << 7
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        self.encode_with(self.flags())
    }

    /// The same packet with other Connect Flags.
    pub(crate) fn encode_with(&self, flags: u8) -> Vec<u8> {
        let name = if self.version == V31 { "MQIsdp" } else { "MQTT" };
        let mut body = self.header(name, self.version, flags);
        wire::write_bytes(&mut body, self.id.as_bytes());
        if let Some(will) = &self.will {
            if self.version == V5 {
                wire::write_props(&mut body, &will.props);
            }
            wire::write_bytes(&mut body, will.topic.as_bytes());
            wire::write_bytes(&mut body, &will.payload);
        }
        if let Some(name) = &self.username {
            wire::write_bytes(&mut body, name.as_bytes());
        }
        if let Some(password) = &self.password {
            wire::write_bytes(&mut body, password);
        }
        wire::frame(0x10, &body)
    }

    /// The variable header, for tests that write the payload themselves.
    pub(crate) fn header(&self, name: &str, level: u8, flags: u8) -> Vec<u8> {
        let mut body = Vec::new();
        wire::write_bytes(&mut body, name.as_bytes());
        body.extend([level, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == V5 {
            wire::write_props(&mut body, &self.props);
        }
        body
    }

    /// Connects and wants success.
    #[track_caller]
    pub(crate) fn open(self) -> Client {
        self.open_over(Box::new(tcp()))
    }

    /// The same over a given transport.
    #[track_caller]
    pub(crate) fn open_over(self, transport: Box<dyn Transport>) -> Client {
        let mut client = Client::new(transport, self.version);
        for prop in &self.props {
            if let Prop::MaximumPacketSize(max) = prop {
                client.limit_packets(*max as usize);
            }
        }
        client.send(&self.encode());
        client.expect_connack(0);
        client.id = self.id;
        client
    }

    /// Sends CONNECT and leaves the answer to the test.
    pub(crate) fn begin(&self) -> Client {
        self.begin_over(Box::new(tcp()))
    }

    /// The same over a given transport.
    pub(crate) fn begin_over(&self, transport: Box<dyn Transport>) -> Client {
        let mut client = Client::new(transport, self.version);
        client.send(&self.encode());
        client
    }
}

/// A Network Connection on which nothing was sent yet; `version` is how answers are read.
pub(crate) fn raw(version: u8) -> Client {
    Client::new(Box::new(tcp()), version)
}

fn tcp() -> TcpStream {
    tcp_to(&broker().address)
}

/// A connection to HOST:PORT.
pub(crate) fn tcp_to(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the broker accepts");
    stream.set_nodelay(true).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// One Network Connection.
pub(crate) struct Client {
    transport: Box<dyn Transport>,
    buf: Vec<u8>,
    /// Packets that came while another was waited for.
    pending: VecDeque<Packet>,
    next_packet_id: u16,
    max_packet_size: usize,
    pub(crate) version: u8,
    pub(crate) id: String,
    pub(crate) session_present: bool,
    /// Properties of CONNACK.
    pub(crate) props: Props,
}

impl Client {
    fn new(transport: Box<dyn Transport>, version: u8) -> Self {
        Self {
            transport,
            buf: Vec::new(),
            pending: VecDeque::new(),
            next_packet_id: 1,
            max_packet_size: usize::MAX,
            version,
            id: String::new(),
            session_present: false,
            props: Props::default(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.transport.send(bytes).expect("the broker takes what is sent");
    }

    /// Asserts from now on that no packet is larger.
    pub(crate) fn limit_packets(&mut self, max: usize) {
        self.max_packet_size = max;
    }

    /// Sends to a broker that may already have closed.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.transport.send(bytes);
    }

    pub(crate) fn send_publish(&mut self, publish: &Publish) {
        let bytes = publish.encode(self.version);
        self.send(&bytes);
    }

    pub(crate) fn packet_id(&mut self) -> u16 {
        let id = self.next_packet_id;
        self.next_packet_id = id.checked_add(1).unwrap_or(1);
        id
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn recv(&mut self) -> Packet {
        match self.pending.pop_front() {
            Some(packet) => packet,
            None => match self.read(PATIENCE) {
                Ok(packet) => packet,
                Err(end) => panic!("a packet expected, but {end}"),
            },
        }
    }

    /// The next packet that `wanted` takes; others are kept for later.
    #[track_caller]
    fn recv_where(&mut self, wanted: impl Fn(&Packet) -> bool) -> Packet {
        if let Some(at) = self.pending.iter().position(&wanted) {
            return self.pending.remove(at).unwrap();
        }
        loop {
            match self.read(PATIENCE) {
                Ok(packet) if wanted(&packet) => return packet,
                Ok(packet @ Packet::Disconnect { .. }) => panic!("unexpected {packet:?}"),
                Ok(packet) => self.pending.push_back(packet),
                Err(end) => {
                    let pending = &self.pending;
                    panic!("an answer expected, but {end}; came instead: {pending:?}")
                }
            }
        }
    }

    fn read(&mut self, patience: Duration) -> Result<Packet, End> {
        let deadline = Instant::now() + patience;
        loop {
            match wire::decode(&self.buf, self.version) {
                Ok(Some((packet, len))) => {
                    self.buf.drain(..len);
                    let max = self.max_packet_size;
                    assert!(
                        len <= max,
                        "{len} bytes, but Maximum Packet Size is {max}: {packet:?}"
                    );
                    return Ok(packet);
                }
                Ok(None) => {}
                Err(e) => panic!("the broker sent no valid packet: {e}; bytes {:02x?}", self.buf),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(End::Silence);
            }
            match self.transport.receive(&mut self.buf, left) {
                Ok(0) => return Err(End::Closed),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Closed),
            }
        }
    }

    /// CONNACK with this Reason Code; its properties go to `props`.
    #[track_caller]
    pub(crate) fn expect_connack(&mut self, want: u8) {
        match self.recv() {
            Packet::ConnAck { session_present, code, props } => {
                assert_eq!(code, want, "Reason Code of CONNACK, {props:?}");
                self.session_present = session_present;
                self.props = props;
            }
            other => panic!("CONNACK expected, got {other:?}"),
        }
    }

    /// The next packet must be a PUBLISH; it is not acknowledged.
    #[track_caller]
    pub(crate) fn expect_publish(&mut self) -> Publish {
        match self.recv() {
            Packet::Publish(publish) => publish,
            other => panic!("PUBLISH expected, got {other:?}"),
        }
    }

    /// A PUBLISH, acknowledged as its QoS demands.
    #[track_caller]
    pub(crate) fn take(&mut self) -> Publish {
        let publish = self.expect_publish();
        self.acknowledge(&publish);
        publish
    }

    /// The whole exchange of a PUBLISH just received.
    #[track_caller]
    pub(crate) fn acknowledge(&mut self, publish: &Publish) {
        match publish.qos {
            0 => {}
            1 => self.send(&wire::ack(wire::PUBACK, publish.id)),
            _ => {
                self.send(&wire::ack(wire::PUBREC, publish.id));
                self.expect_pubrel(publish.id);
                self.send(&wire::ack(wire::PUBCOMP, publish.id));
            }
        }
    }

    #[track_caller]
    pub(crate) fn expect_puback(&mut self, id: u16) -> u8 {
        match self.recv_where(|p| matches!(p, Packet::PubAck(_))) {
            Packet::PubAck(ack) if ack.id == id => ack.code,
            other => panic!("PUBACK of {id} expected, got {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_pubrec(&mut self, id: u16) -> u8 {
        match self.recv_where(|p| matches!(p, Packet::PubRec(_))) {
            Packet::PubRec(ack) if ack.id == id => ack.code,
            other => panic!("PUBREC of {id} expected, got {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_pubrel(&mut self, id: u16) -> u8 {
        match self.recv_where(|p| matches!(p, Packet::PubRel(_))) {
            Packet::PubRel(ack) if ack.id == id => ack.code,
            other => panic!("PUBREL of {id} expected, got {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_pubcomp(&mut self, id: u16) -> u8 {
        match self.recv_where(|p| matches!(p, Packet::PubComp(_))) {
            Packet::PubComp(ack) if ack.id == id => ack.code,
            other => panic!("PUBCOMP of {id} expected, got {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_suback(&mut self, id: u16) -> Vec<u8> {
        match self.recv_where(|p| matches!(p, Packet::SubAck { .. })) {
            Packet::SubAck { id: got, codes, .. } if got == id => codes,
            other => panic!("SUBACK of {id} expected, got {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_unsuback(&mut self, id: u16) -> Vec<u8> {
        match self.recv_where(|p| matches!(p, Packet::UnsubAck { .. })) {
            Packet::UnsubAck { id: got, codes, .. } if got == id => codes,
            other => panic!("UNSUBACK of {id} expected, got {other:?}"),
        }
    }

    /// Publishes and goes through the exchange of its QoS; the Reason Code of PUBACK or PUBREC.
    #[track_caller]
    pub(crate) fn publish(&mut self, publish: Publish) -> u8 {
        match publish.qos {
            0 => {
                self.send_publish(&publish);
                self.ping();
                0
            }
            1 => {
                let id = self.packet_id();
                self.send_publish(&publish.id(id));
                self.expect_puback(id)
            }
            _ => {
                let id = self.packet_id();
                self.send_publish(&publish.id(id));
                let code = self.expect_pubrec(id);
                if code < 0x80 {
                    self.send(&wire::ack(wire::PUBREL, id));
                    assert_eq!(self.expect_pubcomp(id), 0, "Reason Code of PUBCOMP");
                }
                code
            }
        }
    }

    /// Subscribes with this options byte; the QoS must be granted.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str, options: u8) {
        self.subscribe_with(filter, options, &[]);
    }

    #[track_caller]
    pub(crate) fn subscribe_with(&mut self, filter: &str, options: u8, props: &[Prop]) {
        let codes = self.subscribe_many(&[(filter, options)], props);
        assert_eq!(codes, [options & 3], "Reason Codes of SUBACK");
    }

    #[track_caller]
    pub(crate) fn subscribe_many(&mut self, filters: &[(&str, u8)], props: &[Prop]) -> Vec<u8> {
        let id = self.packet_id();
        let bytes = wire::subscribe(self.version, id, filters, props);
        self.send(&bytes);
        self.expect_suback(id)
    }

    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let id = self.packet_id();
        let bytes = wire::unsubscribe(self.version, id, filters);
        self.send(&bytes);
        self.expect_unsuback(id)
    }

    /// PINGREQ and its PINGRESP; PUBLISH packets on the way are kept.
    #[track_caller]
    pub(crate) fn ping(&mut self) {
        self.send(&wire::PINGREQ);
        self.recv_where(|p| *p == Packet::PingResp);
    }

    /// Nothing waits: a PINGRESP comes before anything else.
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) {
        self.ping();
        assert!(self.pending.is_empty(), "nothing expected, got {:?}", self.pending);
    }

    /// Waits for a packet that may not come.
    pub(crate) fn recv_within(&mut self, ms: u64) -> Option<Packet> {
        self.pending.pop_front().or_else(|| self.read(Duration::from_millis(ms)).ok())
    }

    /// The broker closes; nothing but CONNACK or DISCONNECT with one of these Reason Codes comes before.
    ///
    /// Closing without a word is always lawful (MQTT 5.0, 4.13). Packets that were waited past are ignored.
    #[track_caller]
    pub(crate) fn expect_refused(&mut self, codes: &[u8]) {
        self.expect_refusal(codes);
    }

    #[track_caller]
    fn expect_refusal(&mut self, codes: &[u8]) -> Option<u8> {
        let mut said = None;
        loop {
            match self.read(PATIENCE) {
                Ok(Packet::Disconnect { code, .. } | Packet::ConnAck { code, .. })
                    if said.is_none() && code != 0 =>
                {
                    assert!(codes.contains(&code), "refused with {code:#04x}, not {codes:02x?}");
                    said = Some(code);
                }
                Ok(other) => panic!("refusal expected, got {other:?}"),
                Err(End::Closed) => return said,
                Err(End::Silence) => panic!("the broker keeps the connection open"),
            }
        }
    }

    /// DISCONNECT with one of these Reason Codes, then the end. A foreign broker may leave out the packet:
    /// it is a SHOULD (MQTT 5.0, 4.13.1).
    #[track_caller]
    pub(crate) fn expect_disconnect(&mut self, codes: &[u8]) {
        let said = self.expect_refusal(codes);
        if broker::is_ours() && self.version == V5 {
            assert!(said.is_some(), "closed without a DISCONNECT; one of {codes:02x?} expected");
        }
    }

    /// The end, without another packet.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        assert!(self.pending.is_empty(), "the end expected, got {:?}", self.pending);
        match self.read(PATIENCE) {
            Ok(packet) => panic!("the end expected, got {packet:?}"),
            Err(End::Closed) => {}
            Err(End::Silence) => panic!("the broker keeps the connection open"),
        }
    }

    /// DISCONNECT, and waits until the broker has seen it.
    #[track_caller]
    pub(crate) fn disconnect(self) {
        self.disconnect_with(&wire::DISCONNECT);
    }

    #[track_caller]
    pub(crate) fn disconnect_with(mut self, packet: &[u8]) {
        self.send(packet);
        self.lose();
    }

    /// Ends the connection without DISCONNECT, and waits until the broker has seen it.
    #[track_caller]
    pub(crate) fn lose(mut self) {
        self.transport.finish();
        loop {
            match self.read(PATIENCE) {
                Ok(Packet::Disconnect { code, .. }) => panic!("refused with {code:#04x}"),
                Ok(_) => {}
                Err(End::Closed) => return,
                Err(End::Silence) => panic!("the broker does not see the end of the connection"),
            }
        }
    }
}

enum End {
    Closed,
    Silence,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "the broker closed the connection",
            Self::Silence => "nothing came in time",
        })
    }
}
