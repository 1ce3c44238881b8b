//! A client as the specification wants it: what it owes and is owed outlives its connections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use broker_codec::{
    Ack, Decoder, Packet, PacketId, Properties, Property, ProtocolVersion, Publish, QoS, ReasonCode,
};

use crate::model::{Model, Reception};
use crate::rig::{Q0, Q1, Q2, properties};
use crate::rng::Rng;

/// A message the client has sent and is not done with.
#[derive(Clone)]
struct Open {
    publish: OwnedPublish,
    is_released: bool,
}

#[derive(Clone)]
pub struct OwnedPublish {
    pub topic: String,
    pub payload: String,
    pub qos: QoS,
    pub retain: bool,
    pub expiry_s: Option<u32>,
}

/// What of a client belongs to its present connection.
pub struct Link {
    /// Index of the connection in the world.
    pub conn: usize,
    decoder: Decoder,
    unread: Vec<u8>,
    is_accepted: bool,
    receive_maximum: u16,
    max_packet_size: usize,
    alias_maximum: u16,
    aliases_in: BTreeMap<u16, String>,
    aliases_out: Vec<String>,
    alias_out_maximum: u16,
    quota: u16,
    /// Identifiers of PUBLISH packets read in this connection and not yet acknowledged in full.
    unacknowledged: BTreeSet<PacketId>,
    /// Identifiers that came with DUP in this connection, and PUBRELs that nobody asked for.
    repeated: BTreeSet<PacketId>,
    released_unasked: BTreeSet<PacketId>,
    /// PUBREC sent in this connection and not yet answered.
    pubrecs: BTreeMap<PacketId, u32>,
    /// It is the first since the broker has died.
    is_after_crash: bool,
}

pub struct Client {
    pub id: String,
    pub version: ProtocolVersion,
    pub link: Option<Link>,
    open: BTreeMap<PacketId, Open>,
    order: VecDeque<PacketId>,
    /// Of SUBSCRIBE and UNSUBSCRIBE.
    next_id: u16,
    serial: u32,
    /// QoS 2 identifiers received and not released: what makes a repetition one.
    received: BTreeSet<PacketId>,
    /// Acknowledgements owed, in order.
    pub owed: VecDeque<Packet<'static>>,
    /// Payload last received under an identifier.
    last_payload: BTreeMap<PacketId, String>,
    pub retry_is_on: bool,
    /// It asked for a clean start and does not know whether it got it: it must ask again.
    pub must_be_clean: bool,
    /// The broker has died since the last CONNACK.
    pub is_after_crash: bool,
    /// Exchanges that went on after a crash.
    pub n_went_on: u64,
    /// Messages it has open at most where no CONNACK can tell: an older client must be configured.
    window: u16,
}

pub struct Limits {
    pub receive_maximum: u16,
    pub max_packet_size: usize,
    pub alias_maximum: u16,
}

impl Client {
    pub fn new(index: usize, version: ProtocolVersion, retry_is_on: bool, window: u16) -> Self {
        Self {
            id: format!("c{index}"),
            version,
            link: None,
            open: BTreeMap::new(),
            order: VecDeque::new(),
            next_id: 1000,
            serial: 0,
            received: BTreeSet::new(),
            owed: VecDeque::new(),
            last_payload: BTreeMap::new(),
            retry_is_on,
            must_be_clean: false,
            is_after_crash: false,
            n_went_on: 0,
            window,
        }
    }

    pub fn connect(&mut self, conn: usize, clean: bool, limits: &Limits) {
        self.owed.clear();
        // [MQTT-3.1.2-4] is for both ends.
        if clean {
            self.forget();
        }
        self.must_be_clean |= clean;
        self.link = Some(Link {
            conn,
            decoder: Decoder::for_client(self.version, u32::MAX),
            unread: Vec::new(),
            is_accepted: false,
            receive_maximum: limits.receive_maximum,
            max_packet_size: limits.max_packet_size,
            alias_maximum: limits.alias_maximum,
            aliases_in: BTreeMap::new(),
            aliases_out: Vec::new(),
            alias_out_maximum: 0,
            quota: 0,
            unacknowledged: BTreeSet::new(),
            repeated: BTreeSet::new(),
            released_unasked: BTreeSet::new(),
            pubrecs: BTreeMap::new(),
            is_after_crash: self.is_after_crash,
        });
    }

    /// Forgets the connection. Without its CONNACK a client cannot know whose session it meets next.
    pub fn hang_up(&mut self) {
        self.must_be_clean |= self.link.take().is_some_and(|link| !link.is_accepted);
    }

    pub fn is_ready(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_accepted)
    }

    /// True if nothing is open in either direction.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.owed.is_empty()
    }

    pub fn open_words(&self) -> Vec<String> {
        let word = |(id, open): (&PacketId, &Open)| {
            let released = if open.is_released { " released" } else { "" };
            let OwnedPublish { payload, qos, .. } = &open.publish;
            format!("#{id} {} q{qos}{released}", payload.trim_end())
        };
        self.open.iter().map(word).collect()
    }

    pub fn next_payload(&mut self, suffix: &str, pad: usize) -> String {
        self.serial += 1;
        format!("{}:{}{suffix}{}", self.id, self.serial, " ".repeat(pad))
    }

    /// The lowest identifier that is free: each is used again as soon as it may be.
    fn free_id(&self) -> PacketId {
        let mut ids = (1..=u16::MAX).filter_map(PacketId::new);
        ids.find(|id| !self.open.contains_key(id)).expect("few are in use")
    }

    pub fn any_id(&mut self) -> PacketId {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1000);
        PacketId::new(self.next_id).expect("it is not 0")
    }

    pub fn may_publish(&self, qos: QoS) -> bool {
        qos == Q0 || self.link.as_ref().is_some_and(|link| link.quota > 0)
    }

    /// Sends a message; returns its bytes, and the identifier it got.
    pub fn publish(&mut self, message: &OwnedPublish, rng: &mut Rng) -> Vec<u8> {
        let mut id = None;
        if message.qos > Q0 {
            let new = self.free_id();
            self.open.insert(new, Open { publish: message.clone(), is_released: false });
            self.order.push_back(new);
            if let Some(link) = &mut self.link {
                link.quota -= 1;
            }
            id = Some(new);
        }
        self.encode(message, id, false, rng)
    }

    fn encode(
        &mut self,
        message: &OwnedPublish,
        id: Option<PacketId>,
        dup: bool,
        rng: &mut Rng,
    ) -> Vec<u8> {
        let mut list: Vec<_> =
            message.expiry_s.map(Property::MessageExpiryInterval).into_iter().collect();
        let mut topic = message.topic.as_str();
        if let Some(link) = &mut self.link
            && link.alias_out_maximum > 0
            && rng.chance(50)
        {
            if let Some(at) = link.aliases_out.iter().position(|t| *t == message.topic) {
                list.push(Property::TopicAlias(at as u16 + 1));
                topic = "";
            } else if link.aliases_out.len() < link.alias_out_maximum.into() {
                link.aliases_out.push(message.topic.clone());
                list.push(Property::TopicAlias(link.aliases_out.len() as u16));
            }
        }
        let all = properties(&list);
        let mut bytes = Vec::new();
        Packet::Publish(Publish {
            dup,
            qos: message.qos,
            retain: message.retain,
            topic,
            packet_id: id,
            properties: if self.version.is_v5() { all.as_properties() } else { Properties::EMPTY },
            payload: message.payload.as_bytes(),
        })
        .encode(self.version, &mut bytes);
        bytes
    }

    /// Takes bytes from the socket and answers what must be answered. Returns what it wants to send now.
    pub fn read(&mut self, bytes: &[u8], model: &mut Model, rng: &mut Rng) -> Vec<u8> {
        let Some(link) = &mut self.link else { return Vec::new() };
        link.unread.extend_from_slice(bytes);
        let unread = std::mem::take(&mut link.unread);
        let mut at = 0;
        let mut reply = Vec::new();
        while let Some(link) = &mut self.link {
            let mut decoder = link.decoder.clone();
            let decoded = decoder.decode(&unread[at..]);
            let Some((packet, len)) = decoded.expect("the broker sends valid packets") else {
                break;
            };
            assert!(
                len <= link.max_packet_size,
                "{}: {:?} of {len} bytes, Maximum Packet Size is {}",
                self.id,
                packet.kind(),
                link.max_packet_size
            );
            at += len;
            self.handle(packet, model, &mut reply, rng);
        }
        if let Some(link) = &mut self.link {
            link.unread = unread[at..].to_vec();
        }
        reply
    }

    fn handle(
        &mut self,
        packet: Packet<'_>,
        model: &mut Model,
        reply: &mut Vec<u8>,
        rng: &mut Rng,
    ) {
        match packet {
            Packet::ConnAck(connack) => {
                assert_eq!(connack.reason_code, ReasonCode::Success, "{}", self.id);
                let link = self.link.as_mut().expect("a CONNACK comes in a connection");
                assert!(!std::mem::replace(&mut link.is_accepted, true), "second CONNACK");
                model.connack(link.conn, connack.session_present);
                self.must_be_clean = false;
                self.is_after_crash = false;
                link.quota = connack.properties.receive_maximum().unwrap_or(self.window);
                link.alias_out_maximum = connack.properties.topic_alias_maximum().unwrap_or(0);
                if connack.session_present {
                    self.resume(reply, rng);
                } else {
                    self.forget();
                }
            }
            Packet::Publish(publish) => self.handle_publish(&publish, model),
            Packet::PubAck(ack) => self.handle_end(ack.packet_id, Q1, &ack, model),
            Packet::PubRec(ack) => {
                let id = ack.packet_id;
                if ack.reason_code.is_error() {
                    return self.handle_end(id, Q2, &ack, model);
                }
                if let Some(open) = self.open.get_mut(&id) {
                    assert_eq!(open.publish.qos, Q2, "{}: PUBREC of {id}", self.id);
                    model.check_taken(&open.publish.payload, Q2);
                    open.is_released = true;
                }
                self.owe(Packet::PubRel, id);
            }
            Packet::PubComp(ack) => self.handle_end(ack.packet_id, Q2, &ack, model),
            Packet::PubRel(ack) => {
                let id = ack.packet_id;
                self.received.remove(&id);
                let link = self.link.as_mut().expect("a PUBREL comes in a connection");
                match link.pubrecs.get_mut(&id).filter(|n| **n > 0) {
                    Some(n) => *n -= 1,
                    None => {
                        self.n_went_on += u64::from(link.is_after_crash);
                        assert!(
                            link.released_unasked.insert(id) || self.retry_is_on,
                            "{}: PUBREL {id} resent twice in one connection",
                            self.id
                        );
                    }
                }
                self.owe(Packet::PubComp, id);
            }
            Packet::Disconnect(disconnect) => {
                model.told(&self.id, disconnect.reason_code);
            }
            Packet::SubAck(suback) => {
                assert!(suback.reason_codes.iter().all(|code| !code.is_error()), "{suback:?}");
            }
            Packet::UnsubAck(_) | Packet::PingResp => {}
            other => panic!("{}: {:?} out of place", self.id, other.kind()),
        }
    }

    fn owe(&mut self, make: fn(Ack<'static>) -> Packet<'static>, packet_id: PacketId) {
        let (reason_code, properties) = (ReasonCode::Success, Properties::EMPTY);
        self.owed.push_back(make(Ack { packet_id, reason_code, properties }));
    }

    /// Sends what is owed first. Returns its bytes.
    pub fn send_owed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (Some(packet), Some(link)) = (self.owed.pop_front(), &mut self.link) else {
            return bytes;
        };
        match &packet {
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                link.unacknowledged.remove(&ack.packet_id);
            }
            Packet::PubRec(ack) => *link.pubrecs.entry(ack.packet_id).or_insert(0) += 1,
            _ => {}
        }
        packet.encode(self.version, &mut bytes);
        bytes
    }

    fn handle_publish(&mut self, publish: &Publish<'_>, model: &mut Model) {
        let link = self.link.as_mut().expect("a PUBLISH comes in a connection");
        let conn = link.conn;
        let topic = match publish.properties.topic_alias() {
            None => publish.topic.to_owned(),
            Some(alias) => {
                assert!((1..=link.alias_maximum).contains(&alias), "{}: alias {alias}", self.id);
                if !publish.topic.is_empty() {
                    link.aliases_in.insert(alias, publish.topic.to_owned());
                }
                link.aliases_in.get(&alias).expect("an alias is set before it is used").clone()
            }
        };
        let payload = String::from_utf8(publish.payload.to_vec()).expect("payloads are text");
        let mut is_resent = false;
        if let Some(id) = publish.packet_id {
            let is_new = link.unacknowledged.insert(id);
            assert!(is_new || self.retry_is_on, "{}: {id} is in flight already", self.id);
            assert!(
                link.unacknowledged.len() <= link.receive_maximum.into(),
                "{}: more than {} in flight",
                self.id,
                link.receive_maximum
            );
            if publish.dup {
                assert!(
                    link.repeated.insert(id) || self.retry_is_on,
                    "{}: {id} resent twice in one connection",
                    self.id
                );
                is_resent = self.last_payload.get(&id) == Some(&payload);
                self.n_went_on += u64::from(link.is_after_crash);
            }
            self.last_payload.insert(id, payload.clone());
        } else {
            assert!(!publish.dup, "[MQTT-3.3.1-2]");
        }
        match (publish.qos, publish.packet_id) {
            (Q1, Some(id)) => self.owe(Packet::PubAck, id),
            (Q2, Some(id)) => {
                is_resent = !self.received.insert(id);
                self.owe(Packet::PubRec, id);
            }
            _ => {}
        }
        let reception = Reception {
            topic: &topic,
            payload: &payload,
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            is_resent,
            expiry_s: publish.properties.message_expiry_interval(),
            identifiers: publish.properties.subscription_identifiers().collect(),
        };
        model.received(&self.id, conn, &reception);
    }

    /// The last acknowledgement of a message the client sent.
    fn handle_end(&mut self, id: PacketId, qos: QoS, ack: &Ack<'_>, model: &mut Model) {
        let Some(open) = self.open.remove(&id) else { return };
        assert_eq!(open.publish.qos, qos, "{}: acknowledgement of {id}", self.id);
        // PUBREL may have been handled in an earlier connection, and its PUBCOMP lost.
        let is_fine = !ack.reason_code.is_error()
            || (open.is_released && ack.reason_code == ReasonCode::PacketIdentifierNotFound);
        assert!(is_fine, "{}: {ack:?}", self.id);
        model.check_taken(&open.publish.payload, qos);
        self.order.retain(|other| *other != id);
        if let Some(link) = &mut self.link {
            link.quota = link.quota.saturating_add(1);
        }
    }

    /// The session is there: everything open is sent again, in order [MQTT-4.4.0-1].
    fn resume(&mut self, reply: &mut Vec<u8>, rng: &mut Rng) {
        if self.link.as_ref().is_some_and(|link| link.is_after_crash) {
            self.n_went_on += self.order.len() as u64;
        }
        for id in self.order.clone() {
            let Open { publish, is_released } = self.open[&id].clone();
            if is_released {
                Packet::PubRel(Ack {
                    packet_id: id,
                    reason_code: ReasonCode::Success,
                    properties: Properties::EMPTY,
                })
                .encode(self.version, reply);
            } else {
                reply.extend(self.encode(&publish, Some(id), true, rng));
            }
            if let Some(link) = &mut self.link {
                link.quota = link.quota.saturating_sub(1);
            }
        }
    }

    /// The session is new: what was open belongs to none.
    fn forget(&mut self) {
        self.open.clear();
        self.order.clear();
        self.received.clear();
        self.last_payload.clear();
    }
}
