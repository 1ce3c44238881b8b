//! Writers: Control Packets to bytes, into a buffer of the caller.

mod publish;

pub use publish::{PublishFrames, PublishHeader, encode_publish, publish_len};

use crate::decode::flags;
use crate::packet::{Ack, ConnAck, Connect, Packet, PacketKind, ProtocolVersion, Publish};
use crate::primitive::{
    binary_len, put_binary, put_string, put_variable_byte_integer, string_len,
    variable_byte_integer_len,
};
use crate::property::Properties;
use crate::reason_code::ReasonCode;

impl Packet<'_> {
    /// Appends the packet to `out` in the format of `version`, but CONNECT in that of its own version.
    ///
    /// What `version` has no place for is left out: properties and most Reason Codes before 5.0, and
    /// the whole of an AUTH. Strings and Binary Data are cut at 65,535 bytes. The packet must not
    /// exceed 256 MiB, which [`encoded_len`](Self::encoded_len) tells.
    pub fn encode(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        if let Self::Publish(publish) = self {
            let (header, len) = (publish.header(), publish.payload.len());
            encode_publish(out, version, &header, publish.topic, len);
            out.extend_from_slice(publish.payload);
            return;
        }
        if matches!(self, Self::Auth(_)) && !version.is_v5() {
            return;
        }
        let kind = self.kind();
        let body_len = self.body_len(version);
        out.reserve(1 + variable_byte_integer_len(body_len) + body_len);
        out.push((kind as u8) << 4 | kind.fixed_flags());
        put_variable_byte_integer(out, body_len);
        let body_at = out.len();
        self.put_body(version, out);
        debug_assert_eq!(out.len() - body_at, body_len, "{kind}");
    }

    /// Bytes that [`encode`](Self::encode) appends.
    #[must_use]
    pub fn encoded_len(&self, version: ProtocolVersion) -> usize {
        match self {
            Self::Publish(publish) => {
                publish_len(version, &publish.header(), publish.topic.len(), publish.payload.len())
            }
            Self::Auth(_) if !version.is_v5() => 0,
            _ => {
                let body_len = self.body_len(version);
                1 + variable_byte_integer_len(body_len) + body_len
            }
        }
    }

    fn body_len(&self, version: ProtocolVersion) -> usize {
        match self {
            Self::Connect(connect) => connect_len(connect),
            Self::ConnAck(connack) => 2 + properties_len(version, connack.properties),
            Self::Publish(_) | Self::PingReq | Self::PingResp => 0,
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                2 + reason_len(version, ack.reason_code, ack.properties)
            }
            Self::Subscribe(subscribe) => {
                let filters = subscribe.filters.iter().map(|it| string_len(it.filter) + 1);
                2 + properties_len(version, subscribe.properties) + filters.sum::<usize>()
            }
            Self::SubAck(suback) => {
                2 + properties_len(version, suback.properties) + suback.reason_codes.len()
            }
            Self::Unsubscribe(unsubscribe) => {
                let filters = unsubscribe.filters.iter().map(|filter| string_len(filter));
                2 + properties_len(version, unsubscribe.properties) + filters.sum::<usize>()
            }
            Self::UnsubAck(unsuback) if version.is_v5() => {
                2 + properties_len(version, unsuback.properties) + unsuback.reason_codes.len()
            }
            Self::UnsubAck(_) => 2,
            Self::Disconnect(it) => reason_len(version, it.reason_code, it.properties),
            Self::Auth(it) => reason_len(version, it.reason_code, it.properties),
        }
    }

    fn put_body(&self, version: ProtocolVersion, out: &mut Vec<u8>) {
        match self {
            Self::Connect(connect) => put_connect(out, connect),
            Self::ConnAck(connack) => put_connack(out, version, connack),
            Self::Publish(_) | Self::PingReq | Self::PingResp => {}
            Self::PubAck(ack) | Self::PubRec(ack) | Self::PubRel(ack) | Self::PubComp(ack) => {
                put_ack(out, version, ack);
            }
            Self::Subscribe(subscribe) => {
                out.extend_from_slice(&subscribe.packet_id.get().to_be_bytes());
                put_properties(out, version, subscribe.properties);
                for request in &subscribe.filters {
                    put_string(out, request.filter);
                    out.push(if version.is_v5() {
                        request.options.bits()
                    } else {
                        request.options.qos.bits()
                    });
                }
            }
            Self::SubAck(suback) => {
                out.extend_from_slice(&suback.packet_id.get().to_be_bytes());
                put_properties(out, version, suback.properties);
                let is_v5 = version.is_v5();
                out.extend(
                    suback
                        .reason_codes
                        .iter()
                        .map(|code| if is_v5 { code.as_byte() } else { code.suback_return_code() }),
                );
            }
            Self::Unsubscribe(unsubscribe) => {
                out.extend_from_slice(&unsubscribe.packet_id.get().to_be_bytes());
                put_properties(out, version, unsubscribe.properties);
                unsubscribe.filters.iter().for_each(|filter| put_string(out, filter));
            }
            Self::UnsubAck(unsuback) => {
                out.extend_from_slice(&unsuback.packet_id.get().to_be_bytes());
                put_properties(out, version, unsuback.properties);
                if version.is_v5() {
                    out.extend(unsuback.reason_codes.iter().map(|code| code.as_byte()));
                }
            }
            Self::Disconnect(it) => put_reason(out, version, it.reason_code, it.properties),
            Self::Auth(it) => put_reason(out, version, it.reason_code, it.properties),
        }
    }
}

impl<'a> Publish<'a> {
    /// What [`encode_publish`] needs beside topic and payload.
    #[must_use]
    pub const fn header(&self) -> PublishHeader<'a> {
        PublishHeader {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            packet_id: self.packet_id,
            message_expiry_interval: None,
            topic_alias: None,
            subscription_identifiers: &[],
            properties: self.properties,
        }
    }
}

fn connect_len(connect: &Connect<'_>) -> usize {
    let version = connect.version;
    let name = if version == ProtocolVersion::V3_1 { "MQIsdp" } else { "MQTT" };
    let will = connect.will.as_ref().map_or(0, |will| {
        properties_len(version, will.properties) + string_len(will.topic) + binary_len(will.payload)
    });
    string_len(name)
        + 4
        + properties_len(version, connect.properties)
        + string_len(connect.client_id)
        + will
        + connect.username.map_or(0, string_len)
        + connect.password.map_or(0, binary_len)
}

fn put_connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let version = connect.version;
    put_string(out, if version == ProtocolVersion::V3_1 { "MQIsdp" } else { "MQTT" });
    let bridge = if connect.is_bridge && !version.is_v5() { flags::BRIDGE } else { 0 };
    out.push(version.level() | bridge);
    out.push(connect_flags(connect));
    out.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
    put_properties(out, version, connect.properties);
    put_string(out, connect.client_id);
    if let Some(will) = &connect.will {
        put_properties(out, version, will.properties);
        put_string(out, will.topic);
        put_binary(out, will.payload);
    }
    if let Some(username) = connect.username {
        put_string(out, username);
    }
    if let Some(password) = connect.password {
        put_binary(out, password);
    }
}

fn connect_flags(connect: &Connect<'_>) -> u8 {
    let will = connect.will.as_ref().map_or(0, |will| {
        flags::WILL | will.qos.bits() << 3 | if will.retain { flags::WILL_RETAIN } else { 0 }
    });
    will | if connect.clean_start { flags::CLEAN_START } else { 0 }
        | if connect.username.is_some() { flags::USER_NAME } else { 0 }
        | if connect.password.is_some() { flags::PASSWORD } else { 0 }
}

fn put_connack(out: &mut Vec<u8>, version: ProtocolVersion, connack: &ConnAck<'_>) {
    // MQTT 3.1 has no Session Present.
    out.push(u8::from(connack.session_present && version != ProtocolVersion::V3_1));
    out.push(if version.is_v5() {
        connack.reason_code.as_byte()
    } else {
        connack.reason_code.connack_return_code()
    });
    put_properties(out, version, connack.properties);
}

fn put_ack(out: &mut Vec<u8>, version: ProtocolVersion, ack: &Ack<'_>) {
    out.extend_from_slice(&ack.packet_id.get().to_be_bytes());
    put_reason(out, version, ack.reason_code, ack.properties);
}

/// Bytes of Reason Code and properties, both of which the shortest form leaves out (MQTT 5.0, 3.4.2.1).
fn reason_len(version: ProtocolVersion, code: ReasonCode, properties: Properties<'_>) -> usize {
    match (version.is_v5(), code, properties.is_empty()) {
        (false, ..) | (true, ReasonCode::Success, true) => 0,
        (true, _, true) => 1,
        (true, _, false) => 1 + properties_len(version, properties),
    }
}

fn put_reason(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    code: ReasonCode,
    properties: Properties<'_>,
) {
    let len = reason_len(version, code, properties);
    if len > 0 {
        out.push(code.as_byte());
    }
    if len > 1 {
        put_properties(out, version, properties);
    }
}

fn properties_len(version: ProtocolVersion, properties: Properties<'_>) -> usize {
    let len = properties.as_bytes().len();
    if version.is_v5() { variable_byte_integer_len(len) + len } else { 0 }
}

fn put_properties(out: &mut Vec<u8>, version: ProtocolVersion, properties: Properties<'_>) {
    if version.is_v5() {
        put_variable_byte_integer(out, properties.as_bytes().len());
        out.extend_from_slice(properties.as_bytes());
    }
}

/// First byte of a PUBLISH.
const fn publish_first_byte(header: &PublishHeader<'_>) -> u8 {
    (PacketKind::Publish as u8) << 4
        | (header.dup as u8) << 3
        | header.qos.bits() << 1
        | header.retain as u8
}
