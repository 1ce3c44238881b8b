//! Acts: what clients do of their own accord.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_codec::{
    Connect, Decoder, Disconnect, Packet, Properties, PropertiesBuf, Property, QoS, ReasonCode,
    RetainHandling, Subscribe, SubscriptionRequest, Unsubscribe, Will,
};
use broker_core::{Channel, Peer, Sink, SubscriptionOptions};

use super::{Conn, FILTERS, Plan, SHARED_TOPICS, SHARES, THREADS, TOPICS, World};
use crate::client::{Limits, OwnedPublish};
use crate::model::{DELAYED, PlannedWill};
use crate::rig::{Q0, Q1, Q2, Socket, V5, properties};

impl World {
    /// Something a client does of its own accord.
    pub(super) fn act(&mut self, c: usize) {
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

    pub(super) fn send_bytes(&mut self, c: usize, bytes: &[u8]) {
        if let Some(link) = &self.clients[c].link {
            self.conns[link.conn].on_the_way.extend_from_slice(bytes);
        }
    }

    /// `clean` is the seed's choice unless it is given.
    pub(super) fn connect(&mut self, c: usize, clean: Option<bool>) {
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
        let will = rng.chance(30).then(|| PlannedWill {
            payload: format!("will:{}:{conn}", self.clients[c].id),
            delay_s: if is_v5 { *rng.pick(&[0, 3, 30]) } else { 0 },
            is_retained: rng.chance(20),
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
        let will_qos = *rng.pick(&[Q0, Q1, Q2]);
        if let Some(will) = will.as_ref().filter(|_| is_v5) {
            will_list.push(Property::WillDelayInterval(will.delay_s));
        }
        let mut bytes = Vec::new();
        Packet::Connect(Connect {
            version,
            is_bridge: false,
            clean_start: clean,
            keep_alive_s: 0,
            properties: all.as_properties(),
            client_id: &self.clients[c].id,
            will: will.as_ref().map(|will| Will {
                qos: will_qos,
                retain: will.is_retained,
                properties: will_list.as_properties(),
                topic: will_topic,
                payload: will.payload.as_bytes(),
            }),
            username: None,
            password: None,
        })
        .encode(version, &mut bytes);
        let capacity = *rng.pick(&[40, 300, 5_000, usize::MAX]);
        let socket = Socket::new(capacity);
        socket.lock().write_max = *rng.pick(&[0, 1, 7, 100]);
        socket.lock().log = Some(Vec::new());
        let peer = Peer::new("simulation", Arc::clone(&self.zone));
        let thread = rng.below(THREADS);
        self.begin(thread);
        let sink = Arc::clone(&socket) as Arc<dyn Sink>;
        self.conns.push(Conn {
            client: c,
            version,
            channel: Channel::new(peer, sink, &self.threads[thread].turn),
            thread,
            socket,
            decoder: Decoder::for_server(self.zone.max_packet_size),
            on_the_way: bytes,
            unhandled: Vec::new(),
            written: Vec::new(),
            watcher: Decoder::for_client(version, u32::MAX),
            sent: BTreeMap::new(),
            promises: Vec::new(),
            is_cut: false,
            is_closed: false,
            plan: Plan { clean, expiry_s, will, max_packet_size: limits.max_packet_size },
        });
        self.leave(thread);
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
        let mut message = OwnedPublish {
            topic: topic.to_owned(),
            payload: String::new(),
            qos,
            retain: rng.chance(15) && !topic.starts_with("sh"),
            expiry_s: (is_v5 && rng.chance(20)).then(|| *rng.pick(&[1, 10, 100_000])),
        };
        if rng.chance(5) {
            message.topic = format!("$delayed/{}/{topic}", rng.pick(&[1, 2, 10]));
            message.expiry_s = None;
            message.payload = self.clients[c].next_payload(DELAYED, pad);
        } else if !(message.retain && rng.chance(25)) {
            message.payload = self.clients[c].next_payload("", pad);
        }
        let bytes = self.clients[c].publish(&message, &mut self.rng);
        self.send_bytes(c, &bytes);
    }

    /// A client leaves, with or without a word.
    pub(super) fn client_goes(&mut self, c: usize) {
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
}
