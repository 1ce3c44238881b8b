//! PUBLISH writer, and the frames of one message that many subscribers share.

use super::publish_first_byte;
use crate::packet::{PacketId, ProtocolVersion, QoS};
use crate::primitive::{
    put_string, put_variable_byte_integer, string_len, variable_byte_integer_len,
};
use crate::property::{Properties, PropertyId};

/// Everything of an outgoing PUBLISH but topic and payload.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishHeader<'a> {
    /// DUP flag.
    pub dup: bool,
    /// QoS of this delivery.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Packet Identifier. Above QoS 0, `None` leaves two zero bytes to be patched; at QoS 0 it is ignored.
    pub packet_id: Option<PacketId>,
    /// What is left of the Message Expiry Interval, in seconds.
    pub message_expiry_interval: Option<u32>,
    /// Topic Alias of this connection.
    pub topic_alias: Option<u16>,
    /// Subscription Identifiers of the subscriptions that matched [MQTT-3.3.4-3].
    pub subscription_identifiers: &'a [u32],
    /// What is forwarded unaltered [MQTT-3.3.2-17]: none of the three above.
    pub properties: Properties<'a>,
}

impl PublishHeader<'_> {
    /// Bytes of all properties, without their length.
    fn properties_len(&self) -> usize {
        let ids = self.subscription_identifiers.iter();
        self.properties.as_bytes().len()
            + self.message_expiry_interval.map_or(0, |_| 5)
            + self.topic_alias.map_or(0, |_| 3)
            + ids.map(|&id| 1 + variable_byte_integer_len(id as usize)).sum::<usize>()
    }

    fn put_properties(&self, out: &mut Vec<u8>, len: usize) {
        put_variable_byte_integer(out, len);
        out.extend_from_slice(self.properties.as_bytes());
        if let Some(seconds) = self.message_expiry_interval {
            out.push(PropertyId::MessageExpiryInterval.as_byte());
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        if let Some(alias) = self.topic_alias {
            out.push(PropertyId::TopicAlias.as_byte());
            out.extend_from_slice(&alias.to_be_bytes());
        }
        for &id in self.subscription_identifiers {
            out.push(PropertyId::SubscriptionIdentifier.as_byte());
            put_variable_byte_integer(out, id as usize);
        }
    }
}

/// Writes a PUBLISH up to its payload, whose `payload_len` bytes the caller appends or sends from elsewhere.
///
/// Returns where the Packet Identifier stands, counted from the first byte of the packet, if there is one.
/// The caller has made sure with [`publish_len`] that the packet is not beyond what MQTT can express.
pub fn encode_publish(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    header: &PublishHeader<'_>,
    topic: &str,
    payload_len: usize,
) -> Option<usize> {
    let properties_len = if version.is_v5() { header.properties_len() } else { 0 };
    // put_string cuts a topic that is too long to be one.
    let topic_len = string_len(topic) - 2;
    let body_len = body_len(version, header, properties_len, topic_len, payload_len);
    let packet_at = out.len();
    out.reserve(MAX_FIXED_HEADER + body_len.min(MAX_FIXED_HEADER + RESERVE_MAX));
    out.push(publish_first_byte(header));
    put_variable_byte_integer(out, body_len);
    put_string(out, topic);
    let packet_id_at = (header.qos > QoS::AtMostOnce).then(|| {
        let at = out.len() - packet_at;
        out.extend_from_slice(&header.packet_id.map_or(0, PacketId::get).to_be_bytes());
        at
    });
    if version.is_v5() {
        header.put_properties(out, properties_len);
    }
    packet_id_at
}

/// Bytes that the whole PUBLISH takes, payload included, to be held against a Maximum Packet Size.
///
/// Above 268,435,460 there is no such packet.
#[must_use]
pub fn publish_len(
    version: ProtocolVersion,
    header: &PublishHeader<'_>,
    topic_len: usize,
    payload_len: usize,
) -> usize {
    let properties_len = if version.is_v5() { header.properties_len() } else { 0 };
    let body_len = body_len(version, header, properties_len, topic_len, payload_len);
    body_len.saturating_add(1 + variable_byte_integer_len(body_len))
}

fn body_len(
    version: ProtocolVersion,
    header: &PublishHeader<'_>,
    properties_len: usize,
    topic_len: usize,
    payload_len: usize,
) -> usize {
    let packet_id = if header.qos > QoS::AtMostOnce { 2 } else { 0 };
    let properties = if version.is_v5() {
        variable_byte_integer_len(properties_len) + properties_len
    } else {
        0
    };
    (2 + topic_len + packet_id + properties).saturating_add(payload_len)
}

/// The encoded frames of one message, one per (version is 5.0, has Packet Identifier), made when first asked for.
///
/// Kept across messages with [`clear`](Self::clear), so that in the steady state nothing is allocated.
#[derive(Debug, Default)]
pub struct PublishFrames {
    frames: [Frame; 4],
}

/// Not encoded yet if empty.
#[derive(Debug, Default)]
struct Frame {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
}

impl PublishFrames {
    /// Forgets the message; the memory stays.
    pub fn clear(&mut self) {
        self.frames.iter_mut().for_each(|frame| frame.bytes.clear());
    }

    /// The frame of the message for a subscriber of `version` and QoS of `header`, payload included,
    /// and where its Packet Identifier stands.
    ///
    /// `header` must have nothing that differs between subscribers but DUP, QoS, RETAIN and Packet
    /// Identifier, which the caller patches in its copy: the first byte and the two at the offset.
    pub fn get(
        &mut self,
        version: ProtocolVersion,
        header: &PublishHeader<'_>,
        topic: &str,
        payload: &[u8],
    ) -> (&[u8], Option<usize>) {
        self.frame(version, header, topic, payload, payload.len())
    }

    /// Like [`get`](Self::get) but without the payload, which is sent from elsewhere.
    ///
    /// Between two calls of [`clear`](Self::clear) use one or the other.
    pub fn get_head(
        &mut self,
        version: ProtocolVersion,
        header: &PublishHeader<'_>,
        topic: &str,
        payload_len: usize,
    ) -> (&[u8], Option<usize>) {
        self.frame(version, header, topic, &[], payload_len)
    }

    #[inline]
    fn frame(
        &mut self,
        version: ProtocolVersion,
        header: &PublishHeader<'_>,
        topic: &str,
        payload: &[u8],
        payload_len: usize,
    ) -> (&[u8], Option<usize>) {
        let has_packet_id = header.qos > QoS::AtMostOnce;
        let frame =
            &mut self.frames[usize::from(version.is_v5()) << 1 | usize::from(has_packet_id)];
        if frame.bytes.is_empty() {
            frame.packet_id_at =
                encode_publish(&mut frame.bytes, version, header, topic, payload_len);
            frame.bytes.extend_from_slice(payload);
        }
        (&frame.bytes, frame.packet_id_at)
    }
}

/// Type, flags and Remaining Length.
const MAX_FIXED_HEADER: usize = 5;

/// A payload up to this size is probably appended to the header, so that room is made for both at once.
const RESERVE_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// [MQTT-3.3.4-3]: per-subscriber properties follow the forwarded ones.
    #[test]
    fn per_subscriber_properties_are_appended() {
        let header = PublishHeader {
            qos: QoS::AtLeastOnce,
            packet_id: PacketId::new(0x0102),
            message_expiry_interval: Some(5),
            topic_alias: Some(6),
            subscription_identifiers: &[1, 128],
            properties: Properties::from_validated(b"\x01\x01"),
            ..PublishHeader::default()
        };
        let mut out = vec![0xFF];
        let at = encode_publish(&mut out, ProtocolVersion::V5, &header, "a", 2);
        assert_eq!(at, Some(5));
        let expected =
            b"\xFF\x32\x17\0\x01a\x01\x02\x0F\x01\x01\x02\0\0\0\x05\x23\0\x06\x0B\x01\x0B\x80\x01";
        assert_eq!(out, expected);
        assert_eq!(publish_len(ProtocolVersion::V5, &header, 1, 2), out.len() - 1 + 2);
    }

    #[test]
    fn length_beyond_mqtt_is_reported_not_wrapped() {
        let header = PublishHeader::default();
        let len = |payload| publish_len(ProtocolVersion::V3_1_1, &header, 1, payload);
        assert_eq!(len(268_435_452), 268_435_460);
        assert!(len(268_435_453) > 268_435_460);
        assert!(len(usize::MAX) > 268_435_460);
    }

    #[test]
    fn frames_are_kept_until_cleared() {
        let mut frames = PublishFrames::default();
        let header = PublishHeader::default();
        let version = ProtocolVersion::V3_1_1;
        assert_eq!(frames.get(version, &header, "a", b"x"), (&b"\x30\x04\0\x01ax"[..], None));
        assert_eq!(frames.get(version, &header, "b", b"y").0, b"\x30\x04\0\x01ax");
        frames.clear();
        assert_eq!(frames.get(version, &header, "b", b"y").0, b"\x30\x04\0\x01by");
        let qos1 = PublishHeader { qos: QoS::AtLeastOnce, ..header };
        let frame = frames.get_head(version, &qos1, "b", 9);
        assert_eq!(frame, (&b"\x32\x0E\0\x01b\0\0"[..], Some(5)));
    }
}
