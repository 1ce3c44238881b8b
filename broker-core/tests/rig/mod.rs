//! Rig: a broker, its connections and a clock, driven by hand; what clients receive is compared as text.
//!
//! It stands where a shell stands: it decodes what clients send, feeds channels, runs timers, and hands the
//! sockets' bytes to the test. Nothing here reads a clock or waits.

#![allow(dead_code, unreachable_pub, reason = "each test crate uses its part, and exports nothing")]
#![allow(clippy::needless_pass_by_value, reason = "a test reads better with values")]

pub mod disk;

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use broker_codec::{
    Ack, Connect, Decoder, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property,
    Publish, Subscribe, SubscriptionRequest, Unsubscribe, Will,
};
use broker_core::config::{Anonymous, BrokerConfig, ZoneConfig};
use broker_core::extension::{Extensions, Store};
use broker_core::restore::Restored;
use broker_core::{
    Answered, Ban, Broker, Channel, Close, CloseCause, Flow, ListenerLimits, Metric, Now, Page,
    PageRequest, Peer, ProtocolVersion, QoS, ReasonCode, Sink, SubscriptionOptions, Turn, Who,
};
use disk::Disk;
use parking_lot::Mutex;

pub const V3: ProtocolVersion = ProtocolVersion::V3_1_1;
pub const V5: ProtocolVersion = ProtocolVersion::V5;
pub const Q0: QoS = QoS::AtMostOnce;
pub const Q1: QoS = QoS::AtLeastOnce;
pub const Q2: QoS = QoS::ExactlyOnce;

/// The broker's end of a socket, whose buffer has as much room as the test says.
pub struct Socket(Mutex<SocketState>);

#[derive(Default)]
pub struct SocketState {
    /// Bytes the broker wrote and the client has not read.
    pub unread: Vec<u8>,
    /// Bytes it takes at most while unread.
    pub capacity: usize,
    /// The broker was refused bytes since the last time it was asked.
    pub was_refused: bool,
    pub was_woken: bool,
    pub is_lost: bool,
    /// Bytes of one write at most; 0 for no limit.
    pub write_max: usize,
    /// All bytes written since somebody looked, if somebody does.
    pub log: Option<Vec<u8>>,
    /// Called where the broker writes.
    pub on_write: Option<Box<dyn FnMut() + Send>>,
}

impl Socket {
    pub fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(SocketState { capacity, ..SocketState::default() })))
    }

    pub fn lock(&self) -> parking_lot::MutexGuard<'_, SocketState> {
        self.0.lock()
    }
}

impl Sink for Socket {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut socket = self.lock();
        if socket.is_lost {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if let Some(look) = &mut socket.on_write {
            look();
        }
        let mut room = socket.capacity.saturating_sub(socket.unread.len());
        if socket.write_max > 0 {
            room = room.min(socket.write_max);
        }
        let mut written = 0;
        for slice in slices {
            let n = slice.len().min(room - written);
            socket.unread.extend_from_slice(&slice[..n]);
            if let Some(log) = &mut socket.log {
                log.extend_from_slice(&slice[..n]);
            }
            written += n;
        }
        if written < slices.iter().map(|s| s.len()).sum() {
            socket.was_refused = true;
        }
        if written == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }

    fn wake(&self) {
        self.lock().was_woken = true;
    }
}

struct Conn {
    channel: Channel,
    socket: Arc<Socket>,
    decoder: Decoder,
    version: ProtocolVersion,
    /// Bytes of the client that are not handled yet.
    unhandled: Vec<u8>,
    /// How many of them the broker has read.
    read: usize,
    waiting: Option<Pin<Box<dyn Future<Output = Answered> + Send>>>,
    closed: Option<Close>,
}

/// Index of a connection.
pub type C = usize;

pub struct Rig {
    pub broker: Arc<Broker>,
    pub turn: Turn,
    pub now: Now,
    pub zone: Arc<ZoneConfig>,
    /// Where clients come from.
    pub address: SocketAddr,
    /// What the listener they come through limits.
    pub listener_limits: Option<Arc<ListenerLimits>>,
    conns: Vec<Conn>,
    pub config: BrokerConfig,
    pub disk: Option<Arc<Disk>>,
}

/// A CONNECT with everything a test may want to set.
pub struct Hello<'a> {
    pub id: &'a str,
    pub version: ProtocolVersion,
    pub clean: bool,
    pub bridge: bool,
    pub keep_alive_s: u16,
    pub username: Option<&'a str>,
    pub password: Option<&'a [u8]>,
    pub properties: Vec<Property<'a>>,
    /// Topic, payload, QoS, retain.
    pub will: Option<(&'a str, &'a str, QoS, bool)>,
    pub will_properties: Vec<Property<'a>>,
}

impl<'a> Hello<'a> {
    /// MQTT 5.0 with Clean Start and no session expiry.
    pub fn v5(id: &'a str) -> Self {
        Self {
            id,
            version: V5,
            clean: true,
            bridge: false,
            keep_alive_s: 0,
            username: None,
            password: None,
            properties: Vec::new(),
            will: None,
            will_properties: Vec::new(),
        }
    }

    /// MQTT 3.1.1 with Clean Session.
    pub fn v3(id: &'a str) -> Self {
        Self { version: V3, ..Self::v5(id) }
    }

    pub fn with(mut self, property: Property<'a>) -> Self {
        self.properties.push(property);
        self
    }

    /// A session that lasts `seconds` and is resumed if it is there.
    pub fn lasting(mut self, seconds: u32) -> Self {
        self.clean = false;
        if self.version == V5 {
            self.properties.push(Property::SessionExpiryInterval(seconds));
        }
        self
    }

    pub fn clean(mut self) -> Self {
        self.clean = true;
        self
    }

    pub fn will(mut self, topic: &'a str, payload: &'a str) -> Self {
        self.will = Some((topic, payload, Q1, false));
        self
    }

    pub fn will_delay(mut self, seconds: u32) -> Self {
        self.will_properties.push(Property::WillDelayInterval(seconds));
        self
    }

    pub fn user(mut self, name: &'a str) -> Self {
        self.username = Some(name);
        self
    }
}

pub fn properties(list: &[Property<'_>]) -> PropertiesBuf {
    let mut buf = PropertiesBuf::new();
    list.iter().for_each(|property| buf.push(*property));
    buf
}

pub fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).expect("tests use identifiers above zero")
}

/// A zone that lets everybody in.
pub fn open_zone() -> ZoneConfig {
    ZoneConfig { allow_anonymous: Anonymous::All, ..ZoneConfig::default() }
}

impl Rig {
    pub fn new() -> Self {
        Self::with_zone(|_| {})
    }

    pub fn with_zone(change: impl FnOnce(&mut ZoneConfig)) -> Self {
        Self::build(|_, zone| change(zone), Extensions::default(), None)
    }

    pub fn with_extensions(extensions: Extensions) -> Self {
        Self::build(|_, _| {}, extensions, None)
    }

    pub fn build(
        change: impl FnOnce(&mut BrokerConfig, &mut ZoneConfig),
        extensions: Extensions,
        store: Option<Arc<dyn Store>>,
    ) -> Self {
        let mut config = BrokerConfig { sys_interval_ms: 0, ..BrokerConfig::default() };
        let mut zone = open_zone();
        change(&mut config, &mut zone);
        // Sessions that are restored find their zone by its name.
        config.zones.insert(zone.name.clone(), Arc::new(zone.clone()));
        let mut builder = Broker::builder().config(config.clone()).extensions(extensions);
        if let Some(store) = store {
            builder = builder.store(store);
        }
        let broker = builder.build().expect("the settings of a test are valid");
        let turn = broker.turn();
        let now = Now { mono_ms: 1_000, us: 0, wall_ms: 1_700_000_000_000 };
        let zone = Arc::new(zone);
        let address = "192.0.2.1:1883".parse().expect("an address");
        let conns = Vec::new();
        let listener_limits = None;
        let mut rig =
            Self { broker, turn, now, zone, address, listener_limits, conns, config, disk: None };
        rig.turn.begin(now);
        rig
    }

    /// A broker with a store.
    pub fn durable(change: impl FnOnce(&mut BrokerConfig, &mut ZoneConfig)) -> Self {
        let disk = Arc::new(Disk::default());
        let store = Arc::clone(&disk) as Arc<dyn Store>;
        Self { disk: Some(disk), ..Self::build(change, Extensions::default(), Some(store)) }
    }

    /// Another thread of the same broker, with connections of its own.
    pub fn beside(&self) -> Self {
        Self {
            broker: Arc::clone(&self.broker),
            turn: self.broker.turn(),
            now: self.now,
            zone: Arc::clone(&self.zone),
            address: self.address,
            listener_limits: self.listener_limits.clone(),
            conns: Vec::new(),
            config: self.config.clone(),
            disk: self.disk.clone(),
        }
    }

    pub fn disk(&self) -> Arc<Disk> {
        Arc::clone(self.disk.as_ref().expect("a durable rig"))
    }

    /// The disk syncs all it has.
    pub fn sync(&mut self) {
        self.disk().sync_all();
        self.settle();
    }

    /// The process dies and comes back after `down_ms`; `frames` of its log survive.
    pub fn crash_keeping(&mut self, frames: usize, down_ms: u64) -> Restored {
        let newest = self.disk().snapshots().checked_sub(1);
        self.crash_to(newest, frames, down_ms)
    }

    /// The same, with the snapshot of that number, or the log alone.
    pub fn crash_to(&mut self, snapshot: Option<usize>, frames: usize, down_ms: u64) -> Restored {
        let disk = self.disk().crash(frames);
        let store = Arc::clone(&disk) as Arc<dyn Store>;
        let config = self.config.clone();
        let builder = Broker::builder().config(config).store(store);
        self.broker = builder.build().expect("as before");
        // The monotonic clock begins anew.
        self.now = Now { mono_ms: 500, us: 0, wall_ms: self.now.wall_ms + down_ms };
        self.conns.clear();
        let restored = disk.restore_from(snapshot, &self.broker, self.now);
        self.disk = Some(disk);
        self.turn = self.broker.turn();
        self.turn.begin(self.now);
        self.sync();
        restored
    }

    /// The same, and only what was synced survives.
    pub fn crash(&mut self) -> Restored {
        self.crash_keeping(self.disk().synced(), 0)
    }

    /// Accepts a connection of a client that will speak `version`.
    pub fn open(&mut self, version: ProtocolVersion) -> C {
        let zone = Arc::clone(&self.zone);
        self.open_in(version, zone)
    }

    pub fn open_in(&mut self, version: ProtocolVersion, zone: Arc<ZoneConfig>) -> C {
        let socket = Socket::new(usize::MAX);
        let peer = Peer {
            addr: Some(self.address),
            limits: self.listener_limits.clone(),
            ..Peer::new("test", Arc::clone(&zone))
        };
        self.turn.begin(self.now);
        let channel = Channel::new(peer, Arc::clone(&socket) as Arc<dyn Sink>, &self.turn);
        let decoder = Decoder::for_server(zone.max_packet_size);
        self.conns.push(Conn {
            channel,
            socket,
            decoder,
            version,
            unhandled: Vec::new(),
            read: 0,
            waiting: None,
            closed: None,
        });
        self.conns.len() - 1
    }

    /// Opens a connection and sends CONNECT; the answer is for the test to read.
    pub fn hello(&mut self, hello: Hello<'_>) -> C {
        let c = self.open(hello.version);
        self.say_hello(c, &hello);
        c
    }

    /// Corrects what is known of whom the connection comes from.
    pub fn set_peer(&mut self, c: C, change: impl FnOnce(&mut Peer)) {
        self.conns[c].channel.set_peer(change);
    }

    pub fn say_hello(&mut self, c: C, hello: &Hello<'_>) {
        self.post_hello(c, hello);
        self.send_bytes(c, &[]);
    }

    /// Keeps CONNECT for the broker to read later.
    pub fn post_hello(&mut self, c: C, hello: &Hello<'_>) {
        let all = properties(&hello.properties);
        let will_properties = properties(&hello.will_properties);
        self.post(
            c,
            &Packet::Connect(Connect {
                version: hello.version,
                is_bridge: hello.bridge,
                clean_start: hello.clean,
                keep_alive_s: hello.keep_alive_s,
                properties: all.as_properties(),
                client_id: hello.id,
                will: hello.will.map(|(topic, payload, qos, retain)| Will {
                    qos,
                    retain,
                    properties: will_properties.as_properties(),
                    topic,
                    payload: payload.as_bytes(),
                }),
                username: hello.username,
                password: hello.password,
            }),
        );
    }

    /// Connects with the pass in which the broker also reads what `other` has posted, after it.
    pub fn hello_before(&mut self, other: C, hello: Hello<'_>) -> C {
        let c = self.open(hello.version);
        let posted = std::mem::take(&mut self.conns[other].unhandled);
        self.conns[other].closed.get_or_insert_with(|| CloseCause::ConnectionLost.into());
        self.say_hello(c, &hello);
        self.conns[other].closed = None;
        self.conns[other].unhandled = posted;
        self.turn.begin(self.now);
        self.feed(other);
        self.settle();
        c
    }

    /// Connects and swallows the CONNACK, which must be a good one.
    pub fn join(&mut self, hello: Hello<'_>) -> C {
        let c = self.hello(hello);
        let connack = self.out(c);
        assert!(connack.first().is_some_and(|p| p.contains(" 0x00")), "{connack:?}");
        c
    }

    /// An MQTT 5.0 client without a lasting session.
    pub fn client(&mut self, id: &str) -> C {
        self.join(Hello::v5(id))
    }

    pub fn send(&mut self, c: C, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.conns[c].version, &mut bytes);
        self.send_bytes(c, &bytes);
    }

    pub fn send_bytes(&mut self, c: C, bytes: &[u8]) {
        self.conns[c].unhandled.extend_from_slice(bytes);
        self.turn.begin(self.now);
        self.feed(c);
        self.settle();
    }

    /// Keeps bytes for the broker to read later, in [`feed_all`](Self::feed_all).
    pub fn post(&mut self, c: C, packet: &Packet<'_>) {
        let version = self.conns[c].version;
        packet.encode(version, &mut self.conns[c].unhandled);
    }

    pub fn feed_all(&mut self) {
        self.turn.begin(self.now);
        (0..self.conns.len()).for_each(|c| self.feed(c));
        self.settle();
    }

    /// The same of one client, in a pass that has begun already.
    pub fn feed_only(&mut self, c: C) {
        self.feed(c);
    }

    /// What a client has posted is read by another thread, which has yet to end its pass.
    pub fn feed_in(&mut self, turn: &mut Turn, c: C) {
        turn.begin(self.now);
        std::mem::swap(&mut self.turn, turn);
        self.feed(c);
        std::mem::swap(&mut self.turn, turn);
    }

    /// Packets of one pass over one connection, as a shell makes it.
    fn feed(&mut self, c: C) {
        let Self { conns, turn, .. } = self;
        let conn = &mut conns[c];
        if conn.closed.is_some() {
            return;
        }
        if conn.unhandled.len() > conn.read {
            turn.count_received(conn.unhandled.len() - conn.read);
        }
        let mut at = 0;
        let mut result = Ok(());
        match conn.channel.recheck_rights(turn) {
            Ok(Some(Flow::Wait(answer))) => conn.waiting = Some(answer),
            Ok(_) => {}
            Err(close) => result = Err(close),
        }
        while result.is_ok() && conn.waiting.is_none() && conn.channel.wants_input() {
            match conn.decoder.decode(&conn.unhandled[at..]) {
                Ok(Some((packet, len))) => match conn.channel.handle_packet(&packet, turn) {
                    Ok(Flow::Next) => at += len,
                    Ok(Flow::Pause) => break,
                    Ok(Flow::Wait(answer)) => conn.waiting = Some(answer),
                    Err(close) => {
                        result = Err(close);
                        break;
                    }
                },
                Ok(None) => break,
                Err(error) => {
                    let version = conn.decoder.version();
                    result = Err(conn.channel.handle_malformed(&error, version, turn));
                    break;
                }
            }
        }
        conn.unhandled.drain(..at);
        conn.read = conn.unhandled.len();
        let ended = conn.channel.end_turn(turn);
        if let Err(close) = result.and(ended) {
            self.close(c, close);
        }
    }

    fn close(&mut self, c: C, close: Close) {
        self.conns[c].channel.handle_closed(&close, &mut self.turn);
        self.conns[c].closed = Some(close);
    }

    /// Ends the turn and does what it asks for, until nothing is left.
    pub fn settle(&mut self) {
        loop {
            self.turn.finish();
            let mut is_quiet = !self.turn.has_work();
            is_quiet &= self.disk.as_ref().is_none_or(|disk| disk.serve() == 0);
            for c in 0..self.conns.len() {
                let conn = &mut self.conns[c];
                if conn.closed.is_some() {
                    continue;
                }
                if let Some(answer) = &mut conn.waiting {
                    let mut context = Context::from_waker(Waker::noop());
                    if let Poll::Ready(answered) = answer.as_mut().poll(&mut context) {
                        conn.waiting = None;
                        conn.channel.handle_answer(answered);
                        self.feed(c);
                        is_quiet = false;
                    }
                }
                let conn = &mut self.conns[c];
                if std::mem::take(&mut conn.socket.lock().was_woken) {
                    is_quiet = false;
                    match conn.channel.handle_wake(&mut self.turn) {
                        Ok(()) => {
                            let _ = conn.channel.stalled_since_ms(&self.turn);
                            self.feed(c);
                        }
                        Err(close) => self.close(c, close),
                    }
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    /// The client is gone without a word.
    pub fn lose(&mut self, c: C) {
        self.turn.begin(self.now);
        self.conns[c].socket.lock().is_lost = true;
        self.close(c, CloseCause::ConnectionLost.into());
        self.settle();
    }

    /// Lets time pass and runs what is due.
    pub fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.run_timers();
    }

    pub fn run_timers(&mut self) {
        self.turn.begin(self.now);
        for c in 0..self.conns.len() {
            let conn = &mut self.conns[c];
            let is_due = conn.channel.poll_timeout().is_some_and(|due| due <= self.now.mono_ms);
            if conn.closed.is_none() && is_due {
                match conn.channel.handle_timeout(&mut self.turn) {
                    Ok(()) => self.feed(c),
                    Err(close) => self.close(c, close),
                }
            }
        }
        while self.broker.poll_timeout().is_some_and(|due| due <= self.now.mono_ms) {
            self.broker.handle_timeout(&mut self.turn);
        }
        self.settle();
    }

    /// One pass of the broker's own work, and what it has woken.
    pub fn keep_house_once(&mut self) {
        self.turn.begin(self.now);
        self.broker.handle_timeout(&mut self.turn);
        self.settle();
    }

    pub fn pass_s(&mut self, seconds: u64) {
        self.pass_ms(seconds * 1000);
    }

    /// Why the broker closed the connection.
    pub fn cause(&self, c: C) -> Option<CloseCause> {
        self.conns[c].closed.as_ref().map(|close| close.cause)
    }

    pub fn is_ahead(&self, c: C) -> bool {
        self.conns[c].channel.is_ahead()
    }

    pub fn wants_input(&self, c: C) -> bool {
        self.conns[c].channel.wants_input()
    }

    pub fn socket(&self, c: C) -> Arc<Socket> {
        Arc::clone(&self.conns[c].socket)
    }

    /// Tells the channel that its socket takes bytes again.
    pub fn writable(&mut self, c: C) {
        self.turn.begin(self.now);
        self.conns[c].channel.handle_writable(&mut self.turn);
        self.settle();
    }

    /// What the client has received since it was asked last, one line per packet.
    pub fn out(&mut self, c: C) -> Vec<String> {
        let version = self.conns[c].version;
        let mut decoder = Decoder::for_client(version, u32::MAX);
        let mut socket = self.conns[c].socket.lock();
        let mut at = 0;
        let mut lines = Vec::new();
        while let Some((packet, len)) =
            decoder.decode(&socket.unread[at..]).expect("the broker sends valid packets")
        {
            lines.push(describe(&packet));
            at += len;
        }
        socket.unread.drain(..at);
        lines
    }

    #[track_caller]
    pub fn check(&mut self, c: C, expected: &[&str]) {
        assert_eq!(self.out(c), expected);
    }

    /// All rows of a list.
    pub fn list<T>(&self, page: impl Fn(&Broker, &PageRequest, Now) -> Page<T>) -> Vec<T> {
        let request = PageRequest { page: 1, limit: usize::MAX, caller: u64::MAX };
        let page = page(&self.broker, &request, self.now);
        assert_eq!(page.count, page.rows.len(), "a list of one page");
        page.rows
    }

    /// Filters that somebody has subscribed to.
    pub fn routes(&self) -> Vec<String> {
        let mut routes: Vec<_> =
            self.list(Broker::routes_page).iter().map(|route| route.filter.to_string()).collect();
        routes.sort();
        routes.dedup();
        routes
    }

    pub fn bans(&self) -> Vec<(Who, Ban)> {
        self.list(Broker::bans_page)
    }

    pub fn metric(&mut self, metric: Metric) -> u64 {
        self.turn.finish();
        self.broker.metrics().value(metric)
    }

    pub fn subscribe(&mut self, c: C, filter: &str, qos: QoS) {
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        self.subscribe_with(c, filter, options, 0);
    }

    pub fn subscribe_with(
        &mut self,
        c: C,
        filter: &str,
        options: SubscriptionOptions,
        identifier: u32,
    ) {
        let all = if identifier > 0 {
            properties(&[Property::SubscriptionIdentifier(identifier)])
        } else {
            PropertiesBuf::new()
        };
        self.send(
            c,
            &Packet::Subscribe(Subscribe {
                packet_id: packet_id(77),
                properties: all.as_properties(),
                filters: vec![SubscriptionRequest { filter, options }],
            }),
        );
    }

    /// Subscribes and swallows the SUBACK.
    pub fn subscribed(&mut self, c: C, filter: &str, qos: QoS) {
        self.subscribe(c, filter, qos);
        let suback = self.out(c);
        // What matches may come before it (MQTT 5.0, 3.8.4).
        assert!(suback.contains(&format!("SUBACK #77 {:02x}", qos as u8)), "{suback:?}");
    }

    pub fn unsubscribe(&mut self, c: C, filter: &str) {
        self.send(
            c,
            &Packet::Unsubscribe(Unsubscribe {
                packet_id: packet_id(78),
                properties: Properties::EMPTY,
                filters: vec![filter],
            }),
        );
    }

    /// Publishes; an identifier of 0 is none.
    pub fn publish(&mut self, c: C, topic: &str, payload: &str, qos: QoS, id: u16) {
        self.send(c, &publish(topic, payload, qos, id));
    }

    pub fn publish_with(&mut self, c: C, publish: Publish<'_>, list: &[Property<'_>]) {
        let all = properties(list);
        self.send(c, &Packet::Publish(Publish { properties: all.as_properties(), ..publish }));
    }

    pub fn retain(&mut self, c: C, topic: &str, payload: &str) {
        let Packet::Publish(publish) = publish(topic, payload, Q0, 0) else { return };
        self.send(c, &Packet::Publish(Publish { retain: true, ..publish }));
    }

    pub fn puback(&mut self, c: C, id: u16) {
        self.send(c, &Packet::PubAck(ack(id)));
    }
    pub fn pubrec(&mut self, c: C, id: u16) {
        self.send(c, &Packet::PubRec(ack(id)));
    }
    pub fn pubrel(&mut self, c: C, id: u16) {
        self.send(c, &Packet::PubRel(ack(id)));
    }
    pub fn pubcomp(&mut self, c: C, id: u16) {
        self.send(c, &Packet::PubComp(ack(id)));
    }

    pub fn disconnect(&mut self, c: C, reason_code: ReasonCode, list: &[Property<'_>]) {
        let all = properties(list);
        let properties = all.as_properties();
        self.send(c, &Packet::Disconnect(Disconnect { reason_code, properties }));
    }
}

pub fn publish<'a>(topic: &'a str, payload: &'a str, qos: QoS, id: u16) -> Packet<'a> {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: PacketId::new(id),
        properties: Properties::EMPTY,
        payload: payload.as_bytes(),
    })
}

/// The PUBLISH of [`publish`], for changes.
pub fn message<'a>(topic: &'a str, payload: &'a str, qos: QoS, id: u16) -> Publish<'a> {
    match publish(topic, payload, qos, id) {
        Packet::Publish(publish) => publish,
        _ => unreachable!("publish makes a PUBLISH"),
    }
}

pub fn ack(id: u16) -> Ack<'static> {
    Ack {
        packet_id: packet_id(id),
        reason_code: ReasonCode::Success,
        properties: Properties::EMPTY,
    }
}

/// One packet as a line of text; CONNACK without the limits every CONNACK has.
pub fn describe(packet: &Packet<'_>) -> String {
    let kind = packet.kind();
    match packet {
        Packet::ConnAck(p) => {
            let all = words(p.properties);
            format!("{kind} present={} {}{all}", u8::from(p.session_present), hex(p.reason_code))
        }
        Packet::Publish(p) => {
            let dup = if p.dup { " dup" } else { "" };
            let retain = if p.retain { " retain" } else { "" };
            let id = p.packet_id.map_or_else(String::new, |id| format!(" #{id}"));
            let payload = match p.payload {
                long if long.len() > 40 => format!("<{} bytes>", long.len()),
                short => String::from_utf8_lossy(short).into_owned(),
            };
            let all = words(p.properties);
            format!("{kind}{dup}{retain} q{}{id} {}={payload}{all}", p.qos, p.topic)
        }
        Packet::PubAck(p) | Packet::PubRec(p) | Packet::PubRel(p) | Packet::PubComp(p) => {
            format!("{kind} #{} {}{}", p.packet_id, hex(p.reason_code), words(p.properties))
        }
        Packet::SubAck(p) => format!("{kind} #{}{}", p.packet_id, codes(&p.reason_codes)),
        Packet::UnsubAck(p) => format!("{kind} #{}{}", p.packet_id, codes(&p.reason_codes)),
        Packet::Disconnect(p) => format!("{kind} {}{}", hex(p.reason_code), words(p.properties)),
        Packet::Auth(p) => format!("{kind} {}{}", hex(p.reason_code), words(p.properties)),
        Packet::Subscribe(p) => {
            let filter = |f: &SubscriptionRequest<'_>| format!(" {} q{}", f.filter, f.options.qos);
            format!("{kind}{}", p.filters.iter().map(filter).collect::<String>())
        }
        Packet::Unsubscribe(p) => format!("{kind} {}", p.filters.join(" ")),
        Packet::Connect(p) => format!("{kind} clean={}", p.clean_start),
        _ => kind.to_string(),
    }
}

fn hex(reason_code: ReasonCode) -> String {
    format!("0x{:02x}", reason_code.as_byte())
}

fn codes(list: &[ReasonCode]) -> String {
    list.iter().map(|code| format!(" {:02x}", code.as_byte())).collect()
}

fn words(properties: Properties<'_>) -> String {
    let word = |property| match property {
        Property::MaximumPacketSize(_) | Property::ReceiveMaximum(_) => String::new(),
        Property::MessageExpiryInterval(s) => format!(" expiry={s}"),
        Property::SubscriptionIdentifier(id) => format!(" sub={id}"),
        Property::TopicAlias(alias) => format!(" alias={alias}"),
        Property::UserProperty(name, value) => format!(" {name}:{value}"),
        Property::SessionExpiryInterval(s) => format!(" session_expiry={s}"),
        Property::AuthenticationMethod(name) => format!(" method={name}"),
        Property::AuthenticationData(data) => format!(" data={}", String::from_utf8_lossy(data)),
        other => format!(" {other:?}"),
    };
    properties.iter().map(word).collect()
}
