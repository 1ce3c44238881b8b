//! Strategies that make valid packets of each version.

use broker_codec::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketKind, Properties,
    PropertiesBuf, Property, ProtocolVersion, Publish, QoS, ReasonCode, RetainHandling, SubAck,
    Subscribe, SubscriptionOptions, SubscriptionRequest, UnsubAck, Unsubscribe, Will,
};
use proptest::prelude::*;

/// The values of one packet, owned; [`Parts::packet`] arranges them as a packet of any kind.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) version: ProtocolVersion,
    pub(crate) kind: PacketKind,
    strings: Vec<String>,
    bytes: Vec<Vec<u8>>,
    numbers: Vec<u32>,
    flags: Vec<bool>,
    properties: Vec<u8>,
    will_properties: Vec<u8>,
}

pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let text = prop::collection::vec(text_char(), 0..12).prop_map(String::from_iter);
    (
        prop::sample::select(&VERSIONS[..]),
        prop::sample::select(&KINDS[..]),
        prop::collection::vec(text, 8),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 4),
        prop::collection::vec(any::<u32>(), 24),
        prop::collection::vec(any::<bool>(), 24),
    )
        .prop_map(|(version, kind, strings, bytes, numbers, flags)| {
            let mut parts = Parts {
                version,
                kind: if kind == PacketKind::Auth && !version.is_v5() {
                    PacketKind::PingReq
                } else {
                    kind
                },
                strings,
                bytes,
                numbers,
                flags,
                properties: Vec::new(),
                will_properties: Vec::new(),
            };
            parts.properties = parts.make_properties(parts.kind.into());
            parts.will_properties = parts.make_properties(None);
            parts
        })
}

fn text_char() -> impl Strategy<Value = char> {
    prop_oneof![4 => prop::char::range(' ', '~'), 1 => any::<char>()]
        .prop_map(|c| if c == '\0' { '0' } else { c })
}

pub(crate) const VERSIONS: [ProtocolVersion; 3] =
    [ProtocolVersion::V3_1, ProtocolVersion::V3_1_1, ProtocolVersion::V5];

const KINDS: [PacketKind; 15] = [
    PacketKind::Connect,
    PacketKind::ConnAck,
    PacketKind::Publish,
    PacketKind::PubAck,
    PacketKind::PubRec,
    PacketKind::PubRel,
    PacketKind::PubComp,
    PacketKind::Subscribe,
    PacketKind::SubAck,
    PacketKind::Unsubscribe,
    PacketKind::UnsubAck,
    PacketKind::PingReq,
    PacketKind::PingResp,
    PacketKind::Disconnect,
    PacketKind::Auth,
];

impl Parts {
    /// True if clients send such a packet; those that both ends send count as theirs.
    pub(crate) fn is_from_client(&self) -> bool {
        !matches!(
            self.kind,
            PacketKind::ConnAck | PacketKind::SubAck | PacketKind::UnsubAck | PacketKind::PingResp
        )
    }

    pub(crate) fn packet(&self) -> Packet<'_> {
        let version = self.version;
        let properties = self.as_properties(&self.properties);
        let packet_id = PacketId::new(self.numbers[0] as u16).unwrap_or(PacketId::MAX);
        match self.kind {
            PacketKind::Connect => Packet::Connect(self.connect()),
            PacketKind::ConnAck => Packet::ConnAck(ConnAck {
                session_present: self.flags[0] && version != ProtocolVersion::V3_1,
                reason_code: if version.is_v5() {
                    self.reason_code()
                } else {
                    ReasonCode::from_connack_return_code((self.numbers[1] % 6) as u8).unwrap()
                },
                properties,
            }),
            PacketKind::Publish => {
                let qos = self.qos(1);
                Packet::Publish(Publish {
                    dup: self.flags[0] && qos > QoS::AtMostOnce,
                    qos,
                    retain: self.flags[1],
                    topic: if properties.topic_alias().is_some() && self.flags[2] {
                        ""
                    } else {
                        self.topic_name()
                    },
                    packet_id: (qos > QoS::AtMostOnce).then_some(packet_id),
                    properties,
                    payload: &self.bytes[0],
                })
            }
            PacketKind::PubAck => Packet::PubAck(self.ack(packet_id)),
            PacketKind::PubRec => Packet::PubRec(self.ack(packet_id)),
            PacketKind::PubRel => Packet::PubRel(self.ack(packet_id)),
            PacketKind::PubComp => Packet::PubComp(self.ack(packet_id)),
            PacketKind::Subscribe => Packet::Subscribe(Subscribe {
                packet_id,
                properties,
                filters: self
                    .n_strings()
                    .map(|(i, filter)| SubscriptionRequest { filter, options: self.options(i) })
                    .collect(),
            }),
            PacketKind::SubAck => {
                let reason_codes = self.reason_codes(|code| {
                    version.is_v5() || code == code_of(code.suback_return_code())
                });
                Packet::SubAck(SubAck { packet_id, properties, reason_codes })
            }
            PacketKind::Unsubscribe => Packet::Unsubscribe(Unsubscribe {
                packet_id,
                properties,
                filters: self.n_strings().map(|(_, filter)| filter).collect(),
            }),
            PacketKind::UnsubAck => {
                let reason_codes = self.reason_codes(|_| version.is_v5());
                Packet::UnsubAck(UnsubAck { packet_id, properties, reason_codes })
            }
            PacketKind::PingReq => Packet::PingReq,
            PacketKind::PingResp => Packet::PingResp,
            PacketKind::Disconnect => {
                Packet::Disconnect(Disconnect { reason_code: self.v5_reason_code(), properties })
            }
            PacketKind::Auth => {
                Packet::Auth(Auth { reason_code: self.v5_reason_code(), properties })
            }
        }
    }

    fn connect(&self) -> Connect<'_> {
        let version = self.version;
        let username = self.flags[3].then_some(self.strings[1].as_str());
        let may_have_password = username.is_some() || version.is_v5();
        Connect {
            version,
            is_bridge: self.flags[0] && !version.is_v5(),
            clean_start: self.flags[1],
            keep_alive_s: self.numbers[2] as u16,
            properties: self.as_properties(&self.properties),
            client_id: &self.strings[0],
            will: self.flags[2].then(|| Will {
                qos: self.qos(3),
                retain: self.flags[5],
                properties: self.as_properties(&self.will_properties),
                topic: self.topic_name(),
                payload: &self.bytes[1],
            }),
            username,
            password: (self.flags[4] && may_have_password).then_some(&self.bytes[2]),
        }
    }

    fn ack(&self, packet_id: PacketId) -> Ack<'_> {
        let properties = self.as_properties(&self.properties);
        Ack { packet_id, reason_code: self.v5_reason_code(), properties }
    }

    fn as_properties<'a>(&self, raw: &'a [u8]) -> Properties<'a> {
        if self.version.is_v5() { Properties::from_validated(raw) } else { Properties::EMPTY }
    }

    fn qos(&self, i: usize) -> QoS {
        QoS::from_bits((self.numbers[i] % 3) as u8).unwrap()
    }

    fn options(&self, i: usize) -> SubscriptionOptions {
        if !self.version.is_v5() {
            return SubscriptionOptions { qos: self.qos(i), ..Default::default() };
        }
        let handling = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
        SubscriptionOptions {
            qos: self.qos(i),
            no_local: self.flags[i] && !self.strings[i].starts_with('$'),
            retain_as_published: self.flags[i + 8],
            retain_handling: handling[self.numbers[i + 8] as usize % 3],
        }
    }

    fn n_strings(&self) -> impl Iterator<Item = (usize, &str)> {
        let n = 1 + self.numbers[3] as usize % self.strings.len();
        self.strings.iter().map(String::as_str).take(n).enumerate()
    }

    fn topic_name(&self) -> &str {
        let name = self.strings[2].as_str();
        if name.is_empty() || name.contains(['+', '#']) { "a/b" } else { name }
    }

    fn v5_reason_code(&self) -> ReasonCode {
        if self.version.is_v5() { self.reason_code() } else { ReasonCode::Success }
    }

    fn reason_code(&self) -> ReasonCode {
        let codes = self.reason_codes(|_| true);
        codes.into_iter().next().unwrap_or_default()
    }

    /// Some of those that the kind of packet may have.
    fn reason_codes(&self, keep: impl Fn(ReasonCode) -> bool) -> Vec<ReasonCode> {
        let kind = self.kind;
        self.numbers
            .iter()
            .filter_map(|&number| ReasonCode::from_byte(number as u8))
            .filter(|&code| code.is_valid_for(kind) && keep(code))
            .collect()
    }

    /// Each property that `kind` (a Will if none) may have, if its flag is set.
    fn make_properties(&self, kind: Option<PacketKind>) -> Vec<u8> {
        use PacketKind as K;
        let text = |i: usize| self.strings[i].as_str();
        let (number, short) = (|i: usize| self.numbers[i], |i: usize| self.numbers[i] as u16);
        let bit = |i: usize| self.flags[23 - i] as u8;
        let user = Property::UserProperty(text(6), text(7));
        let all = match kind {
            Some(K::Connect) => vec![
                Property::SessionExpiryInterval(number(4)),
                Property::ReceiveMaximum(short(5).max(1)),
                Property::MaximumPacketSize(number(6).max(1)),
                Property::TopicAliasMaximum(short(7)),
                Property::RequestResponseInformation(bit(0)),
                Property::RequestProblemInformation(bit(1)),
                user,
                Property::AuthenticationMethod(text(3)),
            ],
            Some(K::ConnAck) => vec![
                Property::SessionExpiryInterval(number(4)),
                Property::ReceiveMaximum(short(5).max(1)),
                Property::MaximumQoS(bit(0)),
                Property::RetainAvailable(bit(1)),
                Property::MaximumPacketSize(number(6).max(1)),
                Property::AssignedClientIdentifier(text(3)),
                Property::TopicAliasMaximum(short(7)),
                Property::ReasonString(text(4)),
                user,
                Property::WildcardSubscriptionAvailable(bit(2)),
                Property::SubscriptionIdentifierAvailable(bit(3)),
                Property::SharedSubscriptionAvailable(bit(4)),
                Property::ServerKeepAlive(short(8)),
                Property::ResponseInformation(text(5)),
                Property::ServerReference(text(6)),
                Property::AuthenticationMethod(text(7)),
            ],
            Some(K::Publish) | None => vec![
                Property::PayloadFormatIndicator(bit(0)),
                Property::MessageExpiryInterval(number(4)),
                Property::ResponseTopic(self.topic_name()),
                Property::CorrelationData(&self.bytes[3]),
                Property::ContentType(text(3)),
                user,
                user,
                match kind {
                    Some(_) => Property::TopicAlias(short(5).max(1)),
                    None => Property::WillDelayInterval(number(5)),
                },
            ],
            Some(K::Subscribe) => {
                vec![user, Property::SubscriptionIdentifier(1 + number(4) % 268_435_455)]
            }
            Some(K::Disconnect) => vec![
                Property::ReasonString(text(3)),
                user,
                Property::ServerReference(text(4)),
                Property::SessionExpiryInterval(number(5)),
            ],
            Some(K::Auth) => {
                vec![Property::ReasonString(text(3)), user, Property::AuthenticationMethod(text(4))]
            }
            Some(K::Unsubscribe) => vec![user, user],
            Some(_) => vec![Property::ReasonString(text(3)), user],
        };
        let mut buf = PropertiesBuf::new();
        for (property, &is_there) in all.iter().zip(&self.flags) {
            if is_there {
                buf.push(*property);
            }
            if is_there && matches!(property, Property::AuthenticationMethod(_)) {
                buf.push(Property::AuthenticationData(&self.bytes[2]));
            }
        }
        buf.into_vec()
    }
}

fn code_of(byte: u8) -> ReasonCode {
    ReasonCode::from_byte(byte).unwrap()
}
