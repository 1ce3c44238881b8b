//! World: a broker, a network with short writes and delays, clients that come and go; all from one seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_codec::{
    Connect, Decoder, Disconnect, Packet, Properties, PropertiesBuf, Property, ProtocolVersion,
    QoS, ReasonCode, RetainHandling, Subscribe, SubscriptionRequest, Unsubscribe, Will,
};
use broker_core::config::{BrokerConfig, SharedStrategy, ZoneConfig};
use broker_core::extension::{Consumer, Store};
use broker_core::{
    Attachment, Broker, Channel, Close, CloseCause, Flow, Message, Metric, Now, Peer, Sink,
    SubscriptionOptions, Turn,
};
use parking_lot::Mutex;

use crate::client::{Client, Limits, OwnedPublish, Rng};
use crate::model::{Connecting, Model};
use crate::rig::disk::Disk;
use crate::rig::{Q0, Q1, Q2, Socket, V3, V5, describe, properties};

/// Hears every message that is routed, when it is.
#[derive(Default)]
struct Ear(Mutex<Vec<Arc<Message>>>);

impl Consumer for Ear {
    fn consume(&self, message: &Arc<Message>) {
        self.0.lock().push(Arc::clone(message));
    }
}

/// One connection, the broker's end and the wire.
struct Conn {
    client: usize,
    version: ProtocolVersion,
    channel: Channel,
    socket: Arc<Socket>,
    decoder: Decoder,
    /// Sent by the client and still on its way.
    on_the_way: Vec<u8>,
    unhandled: Vec<u8>,
    /// Written by the broker and not yet looked at.
    written: Vec<u8>,
    watcher: Decoder,
    /// The client is gone; the broker finds out some time.
    is_cut: bool,
    is_closed: bool,
    plan: Plan,
}

/// What a CONNECT says, for the model.
#[derive(Clone)]
struct Plan {
    clean: bool,
    expiry_s: u32,
    will: Option<(String, u32)>,
    max_packet_size: usize,
}

pub struct World {
    rng: Rng,
    now: Now,
    broker: Arc<Broker>,
    zone: Arc<ZoneConfig>,
    turns: Vec<Turn>,
    clients: Vec<Client>,
    conns: Vec<Conn>,
    model: Model,
    ear: Arc<Ear>,
    _attachment: Attachment,
    disk: Option<Arc<Disk>>,
    /// Client and identifier to the payload the broker has handled last.
    handled: BTreeMap<(usize, u16), String>,
    totals: Totals,
    is_traced: bool,
}

/// What has happened, to know that enough has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Totals {
    pub steps: u64,
    pub routed: u64,
    pub received: u64,
    pub connections: u64,
    pub take_overs: u64,
    pub resumed: u64,
    pub wills: u64,
    pub waited_for_disk: u64,
    pub queue_full: u64,
    pub outbox_full: u64,
    pub too_large: u64,
    pub expired: u64,
    pub digest: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.routed += other.routed;
        self.received += other.received;
        self.connections += other.connections;
        self.take_overs += other.take_overs;
        self.resumed += other.resumed;
        self.wills += other.wills;
        self.waited_for_disk += other.waited_for_disk;
        self.queue_full += other.queue_full;
        self.outbox_full += other.outbox_full;
        self.too_large += other.too_large;
        self.expired += other.expired;
        self.digest ^= other.digest;
    }

    pub fn has_seen_everything(&self) -> bool {
        [
            self.routed,
            self.received,
            self.take_overs,
            self.resumed,
            self.wills,
            self.waited_for_disk,
            self.queue_full,
            self.outbox_full,
            self.too_large,
            self.expired,
        ]
        .iter()
        .all(|n| *n > 0)
    }
}

const TOPICS: &[&str] = &["t/0", "t/1", "t/0/x", "a", "long/topic/of/many/levels/0"];
const FILTERS: &[&str] = &["t/#", "t/+", "t/0", "+/+/x", "a", "long/#", "t/0/#"];
const SHARED_TOPICS: &[&str] = &["sh0", "sh1"];
const SHARES: &[&str] = &["$share/g/sh0", "$share/g/sh1", "$share/h/sh0"];

/// Runs one world from its beginning to the silence after it.
pub fn run(seed: u64) -> Totals {
    let mut world = World::new(seed);
    world.model.is_traced = world.is_traced;
    let steps = 300 + world.rng.below(500);
    for _ in 0..steps {
        world.step();
        world.totals.steps += 1;
    }
    world.come_to_rest();
    world.check_end()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let zone = ZoneConfig {
            max_inflight: *rng.pick(&[0, 1, 3, 32]),
            max_mqueue_len: *rng.pick(&[0, 5, 20, 1000]),
            max_outbox_bytes: *rng.pick(&[100, 2_000, 1 << 20]),
            max_topic_alias: *rng.pick(&[0, 3]),
            mqueue_store_qos0: rng.chance(50),
            retry_interval_ms: *rng.pick(&[0, 0, 5_000]),
            max_awaiting_rel: *rng.pick(&[2, 10]),
            await_rel_timeout_ms: 0,
            session_expiry_interval_s: *rng.pick(&[10, 100_000]),
            ..ZoneConfig::default()
        };
        let config = BrokerConfig {
            sys_interval_ms: 0,
            shared_strategy: *rng.pick(&[
                SharedStrategy::Random,
                SharedStrategy::RoundRobin,
                SharedStrategy::Sticky,
                SharedStrategy::Hash,
                SharedStrategy::HashTopic,
            ]),
            shared_dispatch_ack: rng.chance(30),
            ..BrokerConfig::default()
        };
        let disk = rng.chance(60).then(|| Arc::new(Disk::default()));
        let mut builder = Broker::builder().config(config);
        if let Some(disk) = &disk {
            builder = builder.store(Arc::clone(disk) as Arc<dyn Store>);
        }
        let broker = builder.build().expect("the settings are valid");
        let ear = Arc::new(Ear::default());
        let attachment =
            broker.attach("#", Arc::clone(&ear) as Arc<dyn Consumer>).expect("a good filter");
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let n_clients = 3 + rng.below(4);
        let retries = zone.retry_interval_ms > 0;
        let clients = (0..n_clients)
            .map(|index| {
                let version = *rng.pick(&[V3, V5, V5]);
                Client::new(index, version, retries && version == V3, zone.max_awaiting_rel)
            })
            .collect();
        Self {
            now,
            turns: (0..3).map(|_| broker.turn()).collect(),
            broker,
            zone: Arc::new(zone),
            clients,
            conns: Vec::new(),
            model: Model::new(now, disk.is_some()),
            ear,
            _attachment: attachment,
            disk,
            handled: BTreeMap::new(),
            totals: Totals::default(),
            is_traced: std::env::var_os("SIM_TRACE").is_some(),
            rng,
        }
    }

    fn step(&mut self) {
        let c = self.rng.below(self.clients.len());
        match self.rng.below(100) {
            0..30 => self.act(c),
            30..58 => self.deliver_some(),
            58..84 => self.client_reads(c),
            84..89 => {
                let ms = *self.rng.pick(&[1, 1, 10, 100, 1_000, 3_000, 20_000]);
                self.pass(ms);
            }
            89..93 => self.sync_some(),
            93 if self.rng.chance(70) => self.client_goes(c),
            94 if self.rng.chance(20) => {
                // The operator ends a connection.
                let id = self.clients[c].id.clone();
                let _ = self.broker.kick(&id);
            }
            _ => self.look_at_sockets(true),
        }
        if self.rng.chance(40) {
            self.look_at_sockets(true);
        }
        self.check_bounds();
    }

    fn turn(&mut self) -> usize {
        let t = self.rng.below(self.turns.len());
        self.turns[t].begin(self.now);
        t
    }

    /// Something a client does of its own accord.
    fn act(&mut self, c: usize) {
        if self.clients[c].link.is_none() {
            return self.connect(c, None);
        }
        if self.clients[c].is_ready() && self.rng.chance(1) {
            // Another connection of the same name while the first is there.
            self.clients[c].hang_up();
            return self.connect(c, None);
        }
        if !self.clients[c].is_ready() {
            return;
        }
        match self.rng.below(20) {
            0..3 => self.subscribe(c),
            3 => self.unsubscribe(c),
            4 => self.send(c, &Packet::PingReq),
            _ => (0..1 + self.rng.below(4)).for_each(|_| self.publish(c)),
        }
    }

    fn send(&mut self, c: usize, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.clients[c].version, &mut bytes);
        self.send_bytes(c, &bytes);
    }

    fn send_bytes(&mut self, c: usize, bytes: &[u8]) {
        if let Some(link) = &self.clients[c].link {
            self.conns[link.conn].on_the_way.extend_from_slice(bytes);
        }
    }

    /// `clean` is the seed's choice unless it is given.
    fn connect(&mut self, c: usize, clean: Option<bool>) {
        let version = self.clients[c].version;
        let is_v5 = version == V5;
        let rng = &mut self.rng;
        let clean = clean.unwrap_or_else(|| rng.chance(20)) || self.clients[c].must_be_clean;
        let expiry_s = match (is_v5, clean) {
            (true, _) => *rng.pick(&[0, 5, 60, 100_000, u32::MAX]),
            (false, true) => 0,
            (false, false) => self.zone.session_expiry_interval_s,
        };
        let limits = Limits {
            receive_maximum: if is_v5 { *rng.pick(&[1, 2, 10, u16::MAX]) } else { u16::MAX },
            max_packet_size: if is_v5 && rng.chance(20) { 120 } else { usize::MAX },
            alias_maximum: if is_v5 { *rng.pick(&[0, 2]) } else { 0 },
        };
        let conn = self.conns.len();
        let will = rng.chance(30).then(|| {
            let delay_s = if is_v5 { *rng.pick(&[0, 3, 30]) } else { 0 };
            (format!("will:{}:{conn}", self.clients[c].id), delay_s)
        });
        let mut list = Vec::new();
        if is_v5 {
            list.push(Property::SessionExpiryInterval(expiry_s));
            list.push(Property::ReceiveMaximum(limits.receive_maximum));
            list.push(Property::TopicAliasMaximum(limits.alias_maximum));
            if limits.max_packet_size < usize::MAX {
                list.push(Property::MaximumPacketSize(limits.max_packet_size as u32));
            }
        }
        let all = properties(&list);
        let mut will_list = PropertiesBuf::new();
        let will_topic = *rng.pick(TOPICS);
        let (will_qos, will_retain) = (*rng.pick(&[Q0, Q1, Q2]), rng.chance(20));
        if let Some((_, delay_s)) = will.as_ref().filter(|_| is_v5) {
            will_list.push(Property::WillDelayInterval(*delay_s));
        }
        let mut bytes = Vec::new();
        Packet::Connect(Connect {
            version,
            is_bridge: false,
            clean_start: clean,
            keep_alive_s: 0,
            properties: all.as_properties(),
            client_id: &self.clients[c].id,
            will: will.as_ref().map(|(payload, _)| Will {
                qos: will_qos,
                retain: will_retain,
                properties: will_list.as_properties(),
                topic: will_topic,
                payload: payload.as_bytes(),
            }),
            username: None,
            password: None,
        })
        .encode(version, &mut bytes);
        let capacity = *rng.pick(&[40, 300, 5_000, usize::MAX]);
        let socket = Socket::new(capacity);
        socket.lock().write_max = *rng.pick(&[0, 1, 7, 100]);
        socket.lock().log = Some(Vec::new());
        let peer = Peer {
            addr: None,
            listener: "simulation".into(),
            zone: Arc::clone(&self.zone),
            certificate_username: None,
            certificate_common_name: None,
        };
        let t = self.turn();
        let sink = Arc::clone(&socket) as Arc<dyn Sink>;
        self.conns.push(Conn {
            client: c,
            version,
            channel: Channel::new(peer, sink, &self.turns[t]),
            socket,
            decoder: Decoder::for_server(self.zone.max_packet_size),
            on_the_way: bytes,
            unhandled: Vec::new(),
            written: Vec::new(),
            watcher: Decoder::for_client(version, u32::MAX),
            is_cut: false,
            is_closed: false,
            plan: Plan { clean, expiry_s, will, max_packet_size: limits.max_packet_size },
        });
        self.clients[c].connect(conn, clean, &limits);
        self.totals.connections += 1;
    }

    fn subscribe(&mut self, c: usize) {
        let is_v5 = self.clients[c].version == V5;
        let rng = &mut self.rng;
        let filter = if rng.chance(25) { *rng.pick(SHARES) } else { *rng.pick(FILTERS) };
        let is_shared = filter.starts_with("$share/");
        let mut options =
            SubscriptionOptions { qos: *rng.pick(&[Q0, Q1, Q2, Q2]), ..Default::default() };
        let mut list = Vec::new();
        if is_v5 {
            options.no_local = !is_shared && rng.chance(20);
            options.retain_as_published = rng.chance(30);
            options.retain_handling = *rng.pick(&[
                RetainHandling::Send,
                RetainHandling::SendIfNew,
                RetainHandling::DoNotSend,
            ]);
            if rng.chance(40) {
                list.push(Property::SubscriptionIdentifier(1 + rng.below(300) as u32));
            }
        }
        let all = properties(&list);
        let packet_id = self.clients[c].any_id();
        self.send(
            c,
            &Packet::Subscribe(Subscribe {
                packet_id,
                properties: all.as_properties(),
                filters: vec![SubscriptionRequest { filter, options }],
            }),
        );
    }

    fn unsubscribe(&mut self, c: usize) {
        let filter =
            if self.rng.chance(25) { *self.rng.pick(SHARES) } else { *self.rng.pick(FILTERS) };
        let packet_id = self.clients[c].any_id();
        let properties = Properties::EMPTY;
        self.send(
            c,
            &Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters: vec![filter] }),
        );
    }

    fn publish(&mut self, c: usize) {
        let rng = &mut self.rng;
        let qos: QoS = *rng.pick(&[Q0, Q1, Q1, Q2, Q2]);
        if !self.clients[c].may_publish(qos) {
            return;
        }
        let topic = if rng.chance(25) { *rng.pick(SHARED_TOPICS) } else { *rng.pick(TOPICS) };
        let pad = *rng.pick(&[0, 0, 0, 30, 150, 3_000]);
        let is_v5 = self.clients[c].version == V5;
        let message = OwnedPublish {
            topic: topic.to_owned(),
            payload: self.clients[c].next_payload(pad),
            qos,
            retain: rng.chance(15) && !topic.starts_with("sh"),
            expiry_s: (is_v5 && rng.chance(20)).then(|| *rng.pick(&[1, 10, 100_000])),
        };
        let bytes = self.clients[c].publish(&message, &mut self.rng);
        self.send_bytes(c, &bytes);
    }

    /// A client leaves, with or without a word.
    fn client_goes(&mut self, c: usize) {
        let Some(link) = &self.clients[c].link else { return };
        let conn = link.conn;
        let is_ready = self.clients[c].is_ready();
        if is_ready && self.rng.chance(50) {
            let is_v5 = self.clients[c].version == V5;
            let mut list = Vec::new();
            if is_v5 && self.rng.chance(30) && self.conns[conn].plan.expiry_s > 0 {
                list.push(Property::SessionExpiryInterval(*self.rng.pick(&[0, 7, 1_000])));
            }
            let reason_code = match is_v5 && self.rng.chance(30) {
                true => ReasonCode::DisconnectWithWill,
                false => ReasonCode::Success,
            };
            let all = properties(&list);
            let properties = all.as_properties();
            self.send(c, &Packet::Disconnect(Disconnect { reason_code, properties }));
        } else {
            let conn = &mut self.conns[conn];
            // A CONNECT that comes after the next one would make a mess of any client's state.
            let most = if is_ready { conn.on_the_way.len() } else { 0 };
            let arrived = self.rng.below(most + 1);
            conn.on_the_way.truncate(arrived);
            conn.is_cut = true;
            conn.socket.lock().is_lost = self.rng.chance(50);
        }
        self.clients[c].hang_up();
    }

    /// Some bytes of some connection arrive.
    fn deliver_some(&mut self) {
        let open: Vec<_> = (0..self.conns.len()).filter(|n| !self.conns[*n].is_closed).collect();
        if open.is_empty() {
            return;
        }
        let n = *self.rng.pick(&open);
        let conn = &mut self.conns[n];
        if conn.on_the_way.is_empty() && conn.is_cut {
            return self.close(n, &CloseCause::ConnectionLost.into());
        }
        let most = conn.on_the_way.len();
        let count = if self.rng.chance(70) { most } else { self.rng.below(most + 1) };
        let bytes: Vec<_> = self.conns[n].on_the_way.drain(..count).collect();
        self.conns[n].unhandled.extend(bytes);
        let t = self.turn();
        self.feed(n, t);
        self.finish(t);
    }

    /// One pass over one connection, as a shell makes it.
    fn feed(&mut self, n: usize, t: usize) {
        let mut result = Ok(());
        let mut new_expiry_s = None;
        let bytes = std::mem::take(&mut self.conns[n].unhandled);
        let mut at = 0;
        while !self.conns[n].is_closed && self.conns[n].channel.wants_input() {
            let conn = &mut self.conns[n];
            let decoded = conn.decoder.decode(&bytes[at..]).expect("clients send valid packets");
            let Some((packet, len)) = decoded else { break };
            let turn = &mut self.turns[t];
            match conn.channel.handle_packet(&packet, turn) {
                Ok(Flow::Next) => {
                    at += len;
                    self.handled(n, &packet);
                }
                Ok(_) => panic!("nothing waits in this world"),
                Err(close) => {
                    if let Packet::Disconnect(disconnect) = &packet {
                        new_expiry_s = disconnect.properties.session_expiry_interval();
                    }
                    result = Err(close);
                    break;
                }
            }
        }
        self.conns[n].unhandled = bytes[at..].to_vec();
        let ended = self.conns[n].channel.end_turn(&mut self.turns[t]);
        if let Err(close) = result.and(ended) {
            self.close_in(n, &close, new_expiry_s, t);
        }
    }

    fn trace(&self, n: usize, what: &str) {
        if self.is_traced {
            let (ms, id) = (self.now.mono_ms, &self.clients[self.conns[n].client].id);
            eprintln!("{ms:8} {id} in connection {n}: {what}");
        }
    }

    /// The broker has handled a packet: the model follows.
    fn handled(&mut self, n: usize, packet: &Packet<'_>) {
        let conn = &self.conns[n];
        let c = conn.client;
        self.trace(n, &describe(packet));
        match packet {
            Packet::Connect(_) => {
                let plan = conn.plan.clone();
                self.totals.take_overs +=
                    u64::from(self.conns.iter().enumerate().any(|(other, conn)| {
                        other != n && conn.client == c && self.model.serves(other)
                    }));
                self.model.connect(Connecting {
                    conn: n,
                    id: &self.clients[c].id,
                    version: self.conns[n].version,
                    clean: plan.clean,
                    expiry_s: plan.expiry_s,
                    will: plan.will,
                    max_packet_size: plan.max_packet_size,
                });
            }
            Packet::Subscribe(subscribe) => {
                let identifier =
                    subscribe.properties.subscription_identifiers().next().unwrap_or(0);
                for request in &subscribe.filters {
                    self.model.subscribed(n, request.filter, request.options, identifier);
                }
            }
            Packet::Unsubscribe(unsubscribe) => {
                unsubscribe.filters.iter().for_each(|filter| self.model.unsubscribed(n, filter));
            }
            Packet::Publish(publish) => {
                if let Some(id) = publish.packet_id {
                    let payload = String::from_utf8_lossy(publish.payload).into_owned();
                    self.handled.insert((c, id.get()), payload);
                }
            }
            _ => {}
        }
        self.listen();
    }

    /// Tells the model what was routed.
    fn listen(&mut self) {
        let heard = std::mem::take(&mut *self.ear.0.lock());
        for message in heard {
            if self.is_traced {
                let payload = String::from_utf8_lossy(&message.payload);
                eprintln!("{} {} {} routed", message.topic, payload.trim_end(), message.qos);
            }
            self.totals.routed += 1;
            self.totals.wills += u64::from(message.payload.starts_with(b"will:"));
            self.model.route(&message);
        }
    }

    fn close(&mut self, n: usize, close: &Close) {
        let t = self.turn();
        self.close_in(n, close, None, t);
        self.finish(t);
    }

    fn close_in(&mut self, n: usize, close: &Close, expiry_s: Option<u32>, t: usize) {
        let expected = matches!(
            close.cause,
            CloseCause::ClientDisconnected
                | CloseCause::ClientDisconnectedWithWill
                | CloseCause::ConnectionLost
                | CloseCause::TakenOver
                | CloseCause::Kicked
                | CloseCause::ConnectTimeout
        );
        assert!(expected, "{}: closed by {close:?}", self.clients[self.conns[n].client].id);
        self.trace(n, &format!("closed, {:?}", close.cause));
        self.conns[n].channel.handle_closed(close, &mut self.turns[t]);
        self.conns[n].is_closed = true;
        // A Will was routed before the session of a closed connection ended.
        self.listen();
        self.model.closed(n, close.cause, expiry_s);
    }

    fn finish(&mut self, t: usize) {
        self.turns[t].finish();
        while self.turns[t].has_work() {
            self.turns[t].finish();
        }
        self.listen();
        self.watch();
    }

    /// Looks at what the broker has written since: acknowledgements must not be there before their records.
    fn watch(&mut self) {
        for (n, conn) in self.conns.iter_mut().enumerate() {
            let mut socket = conn.socket.lock();
            let Some(log) = socket.log.as_mut().filter(|log| !log.is_empty()) else { continue };
            conn.written.append(log);
            drop(socket);
            let mut at = 0;
            while let Some((packet, len)) =
                conn.watcher.decode(&conn.written[at..]).expect("the broker sends valid packets")
            {
                at += len;
                let (Packet::PubAck(ack) | Packet::PubRec(ack)) = &packet else { continue };
                // The last words to a connection that was taken over are of what was safe before.
                let Some(disk) = self.disk.as_ref().filter(|_| self.model.serves(n)) else {
                    continue;
                };
                let Some(payload) = self.handled.get(&(conn.client, ack.packet_id.get())) else {
                    continue;
                };
                if self.model.must_be_recorded(payload) {
                    self.totals.waited_for_disk += 1;
                    let lsn = disk.end_of(payload);
                    assert!(
                        lsn.is_some_and(|lsn| lsn <= disk.durable()),
                        "{} in {n}: acknowledged {} at {lsn:?} with {} safe",
                        describe(&packet),
                        payload.trim_end(),
                        disk.durable()
                    );
                }
            }
            conn.written.drain(..at);
        }
    }

    fn client_reads(&mut self, c: usize) {
        let Some(link) = &self.clients[c].link else { return };
        let n = link.conn;
        if self.rng.chance(40) {
            let bytes = self.clients[c].send_owed();
            return self.send_bytes(c, &bytes);
        }
        let mut socket = self.conns[n].socket.lock();
        let most = socket.unread.len();
        let count = if self.rng.chance(60) { most } else { self.rng.below(most + 1) };
        let bytes: Vec<_> = socket.unread.drain(..count).collect();
        let is_at_end = socket.unread.is_empty() && self.conns[n].is_closed;
        drop(socket);
        let reply = self.clients[c].read(&bytes, &mut self.model, &mut self.rng);
        self.send_bytes(c, &reply);
        if is_at_end {
            self.clients[c].hang_up();
        }
    }

    /// Wakes and sockets that take bytes again; with `by_chance` some are seen only later.
    fn look_at_sockets(&mut self, by_chance: bool) {
        for n in 0..self.conns.len() {
            if self.conns[n].is_closed || (by_chance && self.rng.chance(30)) {
                continue;
            }
            let (was_woken, is_writable) = {
                let mut socket = self.conns[n].socket.lock();
                let has_room = socket.unread.len() < socket.capacity || socket.is_lost;
                let is_writable = socket.was_refused && has_room;
                socket.was_refused &= !is_writable;
                (std::mem::take(&mut socket.was_woken), is_writable)
            };
            if !was_woken && !is_writable {
                continue;
            }
            let t = self.turn();
            if is_writable {
                self.conns[n].channel.handle_writable(&mut self.turns[t]);
                self.feed(n, t);
            }
            if was_woken && !self.conns[n].is_closed {
                match self.conns[n].channel.handle_wake(&mut self.turns[t]) {
                    Ok(()) => self.feed(n, t),
                    Err(close) => self.close_in(n, &close, None, t),
                }
            }
            self.finish(t);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.model.now = self.now;
        if self.rng.chance(70) {
            self.run_timers();
        }
    }

    fn run_timers(&mut self) {
        for n in 0..self.conns.len() {
            let due = self.conns[n].channel.poll_timeout();
            if self.conns[n].is_closed || due.is_none_or(|due| due > self.now.mono_ms) {
                continue;
            }
            let t = self.turn();
            if let Err(close) = self.conns[n].channel.handle_timeout(&mut self.turns[t]) {
                self.close_in(n, &close, None, t);
            }
            self.finish(t);
        }
        let t = self.turn();
        self.broker.handle_timeout(&mut self.turns[t]);
        self.listen();
        self.model.timers_ran();
        self.finish(t);
    }

    fn sync_some(&mut self) {
        let Some(disk) = &self.disk else { return };
        let (synced, frames) = (disk.synced(), disk.frames());
        disk.sync_frames(synced + self.rng.below(frames - synced + 1));
        disk.serve();
    }

    /// Every queue is bounded, whatever happens.
    fn check_bounds(&self) {
        for client in &self.clients {
            let Some(view) = self.broker.session(&client.id) else { continue };
            let zone = &self.zone;
            let most = |limit: usize| if limit == 0 { usize::MAX } else { limit };
            assert!(view.queued <= most(zone.max_mqueue_len as usize), "{view:?}");
            assert!(view.inflight <= most(zone.max_inflight.into()), "{view:?}");
            assert!(view.awaiting_rel <= zone.max_awaiting_rel.into(), "{view:?}");
            // One message beyond the bound, and the replies of one pass.
            assert!(view.outbox_bytes <= zone.max_outbox_bytes + 3_200 + 2_000, "{view:?}");
        }
    }

    /// Everybody comes back, nothing is slow any more, until nothing is left to do.
    fn come_to_rest(&mut self) {
        let mut quiet = 0;
        for round in 0.. {
            assert!(round < 5_000, "the world does not come to rest: {}", self.unrest());
            for c in 0..self.clients.len() {
                if self.clients[c].link.is_none() {
                    self.connect(c, Some(false));
                }
            }
            let before = (self.totals.routed, self.model.n_received);
            for n in 0..self.conns.len() {
                let conn = &mut self.conns[n];
                if conn.is_closed {
                    continue;
                }
                conn.socket.lock().capacity = usize::MAX;
                let bytes = std::mem::take(&mut conn.on_the_way);
                conn.unhandled.extend(bytes);
                let is_cut = conn.is_cut;
                let t = self.turn();
                self.feed(n, t);
                if is_cut && !self.conns[n].is_closed {
                    self.close_in(n, &CloseCause::ConnectionLost.into(), None, t);
                }
                self.finish(t);
            }
            self.look_at_sockets(false);
            if let Some(disk) = &self.disk {
                disk.sync_all();
                disk.serve();
            }
            self.look_at_sockets(false);
            for c in 0..self.clients.len() {
                let Some(link) = &self.clients[c].link else { continue };
                let n = link.conn;
                let bytes = std::mem::take(&mut self.conns[n].socket.lock().unread);
                let reply = self.clients[c].read(&bytes, &mut self.model, &mut self.rng);
                self.send_bytes(c, &reply);
                loop {
                    let bytes = self.clients[c].send_owed();
                    if bytes.is_empty() {
                        break;
                    }
                    self.send_bytes(c, &bytes);
                }
                if self.conns[n].is_closed {
                    self.clients[c].hang_up();
                }
            }
            // Wills and sessions whose time has not come are not waited for.
            self.pass(1);
            let is_idle =
                before == (self.totals.routed, self.model.n_received) && self.unrest().is_empty();
            quiet = if is_idle { quiet + 1 } else { 0 };
            if quiet > 3 {
                return;
            }
        }
    }

    /// What is still open.
    fn unrest(&self) -> String {
        let mut words = String::new();
        for client in &self.clients {
            if !client.is_ready() {
                words += &format!(" {} not connected", client.id);
            }
            if !client.is_idle() {
                words += &format!(
                    " {} (MQTT {}) has open {:?}",
                    client.id,
                    client.version,
                    client.open_words()
                );
            }
            if let Some(view) = self.broker.session(&client.id)
                && view.queued + view.inflight + view.outbox_bytes > 0
            {
                words += &format!(" {} is owed {view:?}", client.id);
            }
        }
        words
    }

    fn check_end(mut self) -> Totals {
        self.run_timers();
        let dropped = |id: &str| self.broker.session(id).map_or(0, |view| view.dropped);
        let inbox = self.broker.subscribe_local("#", 10_000, self.now).expect("a good filter");
        let retained: BTreeMap<_, _> = inbox
            .receiver()
            .try_iter()
            .map(|m| (m.topic.to_string(), String::from_utf8_lossy(&m.payload).into_owned()))
            .collect();
        self.model.check_end(dropped, &retained);
        let metrics = self.broker.metrics();
        let mut totals = self.totals.clone();
        totals.received = self.model.n_received;
        totals.resumed = self.model.n_resumed;
        totals.queue_full = metrics.value(Metric::DroppedQueueFull);
        totals.outbox_full = metrics.value(Metric::DroppedOutboxFull);
        totals.too_large = metrics.value(Metric::DroppedTooLarge);
        totals.expired = metrics.value(Metric::MessagesExpired);
        totals.digest = Metric::ALL
            .iter()
            .fold(self.now.mono_ms, |sum, m| sum.wrapping_mul(31).wrapping_add(metrics.value(*m)));
        totals
    }
}
