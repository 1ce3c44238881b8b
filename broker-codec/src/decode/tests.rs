//! Rules of the specification that the decoder enforces, packet bytes in, packet or error out.

use super::Decoder;
use crate::error::DecodeError;
use crate::packet::{Packet, PacketKind, ProtocolVersion};
use crate::property::PropertyId;
use crate::reason_code::ReasonCode;

use ProtocolVersion::{V3_1, V3_1_1, V5};

/// A server's decoder past a CONNECT of `version`.
fn server(version: ProtocolVersion) -> Decoder {
    let connect: &[u8] = match version {
        V3_1 => b"\x10\x0F\0\x06MQIsdp\x03\x02\0\0\0\x01a",
        V3_1_1 => b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0",
        V5 => b"\x10\x0D\0\x04MQTT\x05\x02\0\0\0\0\0",
    };
    let mut decoder = Decoder::for_server(1000);
    assert!(decoder.decode(connect).unwrap().is_some());
    assert_eq!(decoder.version(), version);
    decoder
}

fn check(mut decoder: Decoder, bytes: &[u8], error: DecodeError, code: ReasonCode) {
    assert_eq!(decoder.decode(bytes).map(|_| ()), Err(error), "{bytes:02x?}");
    assert_eq!(error.reason_code(), code);
}

/// Refused from a client of `version`.
fn refused(version: ProtocolVersion, bytes: &[u8], error: DecodeError, code: ReasonCode) {
    check(server(version), bytes, error, code);
}

fn refused_connect(bytes: &[u8], error: DecodeError, code: ReasonCode) {
    check(Decoder::for_server(1000), bytes, error, code);
}

fn taken(mut decoder: Decoder, bytes: &[u8]) -> Packet<'_> {
    let (packet, len) = decoder.decode(bytes).unwrap().unwrap();
    assert_eq!(len, bytes.len());
    packet
}

const MALFORMED: ReasonCode = ReasonCode::MalformedPacket;
const PROTOCOL: ReasonCode = ReasonCode::ProtocolError;

/// There is one per connection.
#[test]
fn decoder_is_small() {
    assert!(size_of::<Decoder>() <= 16);
}

/// [MQTT-2.1.3-1]
#[test]
fn fixed_header_flags_are_those_of_the_packet_type() {
    for (first, kind) in [
        (0x80, PacketKind::Subscribe),
        (0xA0, PacketKind::Unsubscribe),
        (0x60, PacketKind::PubRel),
        (0x42, PacketKind::PubAck),
        (0xC1, PacketKind::PingReq),
        (0xE8, PacketKind::Disconnect),
    ] {
        let error = DecodeError::FixedHeaderFlags { kind, flags: first & 0x0F };
        // The first byte is enough.
        refused(V5, &[first], error, MALFORMED);
    }
    refused(V5, &[0x00], DecodeError::ReservedPacketType, MALFORMED);
}

/// MQTT 3.1, 3.8: a client may set DUP when it sends a SUBSCRIBE again.
#[test]
fn mqtt_3_1_subscribe_may_have_dup() {
    let packet = taken(server(V3_1), b"\x8A\x06\0\x01\0\x01a\x01");
    assert_eq!(packet.kind(), PacketKind::Subscribe);
}

/// [MQTT-1.5.5-1]
#[test]
fn remaining_length_is_minimal_and_at_most_four_bytes() {
    for bytes in [&b"\xC0\x80\x00"[..], b"\x30\x85\x80\x00", b"\x30\x80\x80\x80\x80"] {
        refused(V5, bytes, DecodeError::VariableByteInteger, MALFORMED);
    }
    let mut decoder = server(V5);
    assert_eq!(decoder.decode(b"\x30\x80\x80\x80"), Ok(None));
}

/// [MQTT-3.1.2-24]: the header is enough, as waiting for the body would need the memory.
#[test]
fn too_large_packet_is_refused_by_its_header() {
    let error = DecodeError::PacketTooLarge { len: 1001, max: 1000 };
    refused(V5, b"\x30\xE6\x07", error, ReasonCode::PacketTooLarge);
    assert_eq!(server(V5).frame_len(b"\x30\xE6\x07"), Err(error));
    assert_eq!(server(V5).frame_len(b"\x30\xE5\x07"), Ok(Some(1000)));
    assert_eq!(server(V5).frame_len(b"\x30"), Ok(None));
    // A first one has a bound of its own.
    let decoder = Decoder::for_server(u32::MAX);
    let error = DecodeError::PacketTooLarge { len: 524_289, max: 524_288 };
    assert_eq!(decoder.frame_len(b"\x10\xFD\xFF\x1F"), Err(error));
    assert_eq!(decoder.frame_len(b"\x10\xFC\xFF\x1F"), Ok(Some(524_288)));
}

/// [MQTT-3.1.0-1]
#[test]
fn first_packet_is_connect() {
    let error = DecodeError::NotConnected { kind: PacketKind::PingReq };
    refused_connect(b"\xC0", error, PROTOCOL);
}

#[test]
fn packets_that_only_the_other_end_sends_are_refused() {
    for (first, kind) in [
        (0x20, PacketKind::ConnAck),
        (0x90, PacketKind::SubAck),
        (0xB0, PacketKind::UnsubAck),
        (0xD0, PacketKind::PingResp),
    ] {
        refused(V5, &[first], DecodeError::UnexpectedPacket { kind }, PROTOCOL);
    }
    let client = |version| Decoder::for_client(version, 1000);
    let error = DecodeError::UnexpectedPacket { kind: PacketKind::Subscribe };
    check(client(V5), &[0x82], error, PROTOCOL);
    let error = DecodeError::UnexpectedPacket { kind: PacketKind::Disconnect };
    check(client(V3_1_1), &[0xE0], error, PROTOCOL);
    let error = DecodeError::UnexpectedPacket { kind: PacketKind::Auth };
    refused(V3_1_1, &[0xF0, 0], error, PROTOCOL);
}

#[test]
fn bytes_after_the_last_field_are_malformed() {
    let error = DecodeError::TrailingBytes { bytes: 1 };
    refused(V5, b"\xC0\x01\0", error, MALFORMED);
    refused(V3_1_1, b"\x40\x03\0\x01\0", error, MALFORMED);
    refused(V3_1_1, b"\xE0\x01\0", error, MALFORMED);
    refused(V5, b"\x40\x05\0\x01\0\0\0", error, MALFORMED);
    refused_connect(b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\0\0", error, MALFORMED);
}

/// [MQTT-1.5.4-1] [MQTT-1.5.4-2]
#[test]
fn strings_are_utf8_without_null() {
    refused(V5, b"\x30\x04\0\x01\xFF\0", DecodeError::InvalidUtf8, MALFORMED);
    // A surrogate.
    refused(V5, b"\x30\x06\0\x03\xED\xA0\x80\0", DecodeError::InvalidUtf8, MALFORMED);
    let null = DecodeError::ForbiddenCharacter { character: 0 };
    refused(V5, b"\x30\x05\0\x02a\0\0", null, MALFORMED);
    refused(V5, b"\x82\x07\0\x01\0\0\x01\0\x01", null, MALFORMED);
}

/// MQTT 5.0, 1.5.4: these SHOULD NOT be there; the operator decides.
#[test]
fn strict_mode_refuses_control_and_non_characters() {
    for (text, character) in [
        ("\u{1}", 1),
        ("\u{7F}", 0x7F),
        ("\u{9F}", 0x9F),
        ("\u{FDD0}", 0xFDD0),
        ("\u{1FFFF}", 0x1FFFF),
    ] {
        let mut bytes = vec![0x30, text.len() as u8 + 3, 0, text.len() as u8];
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        taken(server(V5), &bytes);
        let mut strict = server(V5);
        strict.set_strict(true);
        check(strict, &bytes, DecodeError::ForbiddenCharacter { character }, MALFORMED);
    }
}

/// [MQTT-3.3.1-4] [MQTT-3.3.1-2]
#[test]
fn publish_flags_are_consistent() {
    refused(V5, b"\x36\x06\0\x01a\0\x01\0", DecodeError::InvalidQoS, MALFORMED);
    refused(V5, b"\x38\x04\0\x01a\0", DecodeError::DupWithoutQoS, MALFORMED);
}

/// [MQTT-2.2.1-3]
#[test]
fn packet_identifier_is_not_zero() {
    for bytes in [
        &b"\x32\x06\0\x01a\0\0\0"[..],
        b"\x40\x02\0\0",
        b"\x82\x07\0\0\0\0\x01a\0",
        b"\xA2\x06\0\0\0\0\x01a",
    ] {
        refused(V5, bytes, DecodeError::ZeroPacketId, PROTOCOL);
    }
}

/// [MQTT-3.3.2-2], MQTT 5.0, 3.3.2.1
#[test]
fn publish_topic_is_a_topic_name() {
    for bytes in [&b"\x30\x06\0\x03a/+\0"[..], b"\x30\x06\0\x03a/#\0"] {
        let error = server(V5).decode(bytes).unwrap_err();
        assert!(matches!(error, DecodeError::TopicName(at) if at.at == 2));
        assert_eq!(error.reason_code(), ReasonCode::TopicNameInvalid);
    }
    refused(V5, b"\x30\x03\0\0\0", DecodeError::EmptyTopicName, PROTOCOL);
    refused(V3_1_1, b"\x30\x02\0\0", DecodeError::EmptyTopicName, PROTOCOL);
    let packet = taken(server(V5), b"\x30\x06\0\0\x03\x23\0\x05");
    assert!(matches!(packet, Packet::Publish(it) if it.properties.topic_alias() == Some(5)));
}

/// [MQTT-3.3.2-8]
#[test]
fn topic_alias_is_not_zero() {
    let (error, code) = (DecodeError::ZeroTopicAlias, ReasonCode::TopicAliasInvalid);
    refused(V5, b"\x30\x07\0\x01a\x03\x23\0\0", error, code);
}

/// [MQTT-3.3.4-6]
#[test]
fn client_does_not_publish_subscription_identifiers() {
    let bytes = b"\x30\x08\0\x01a\x04\x0B\x01\x0B\x02";
    refused(V5, bytes, DecodeError::SubscriptionIdentifierFromClient, PROTOCOL);
    let packet = taken(Decoder::for_client(V5, 1000), bytes);
    let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
    assert!(publish.properties.subscription_identifiers().eq([1, 2]));
}

/// [MQTT-3.3.2-14]
#[test]
fn response_topic_has_no_wildcard() {
    let error = server(V5).decode(b"\x30\x08\0\x01a\x04\x08\0\x01#").unwrap_err();
    assert!(matches!(error, DecodeError::ResponseTopic(_)));
    assert_eq!(error.reason_code(), PROTOCOL);
}

/// MQTT 5.0, 2.2.2
#[test]
fn properties_are_known_in_place_once_and_in_range() {
    use PropertyId as Id;
    for (bytes, error, code) in [
        // Unknown, and known but longer than a byte.
        (&b"\x30\x06\0\x01a\x02\x04\0"[..], DecodeError::UnknownProperty { id: 4 }, MALFORMED),
        (b"\x30\x07\0\x01a\x03\x81\x01\0", DecodeError::UnknownProperty { id: 129 }, MALFORMED),
        (
            b"\x30\x07\0\x01a\x03\x21\0\x01",
            DecodeError::MisplacedProperty { id: Id::ReceiveMaximum },
            MALFORMED,
        ),
        (
            b"\x30\x08\0\x01a\x04\x01\0\x01\0",
            DecodeError::DuplicateProperty { id: Id::PayloadFormatIndicator },
            PROTOCOL,
        ),
        (
            b"\x30\x06\0\x01a\x02\x01\x02",
            DecodeError::PropertyValue { id: Id::PayloadFormatIndicator },
            PROTOCOL,
        ),
        (
            b"\x82\x09\0\x01\x02\x0B\0\0\x01a\0",
            DecodeError::PropertyValue { id: Id::SubscriptionIdentifier },
            PROTOCOL,
        ),
        (
            b"\x82\x0B\0\x01\x04\x0B\x01\x0B\x02\0\x01a\0",
            DecodeError::DuplicateProperty { id: Id::SubscriptionIdentifier },
            PROTOCOL,
        ),
        // Property Length beyond the packet, and a property beyond its Property Length.
        (b"\x30\x05\0\x01a\x09\x01", DecodeError::Truncated, MALFORMED),
        (b"\x30\x06\0\x01a\x01\x01\x01", DecodeError::Truncated, MALFORMED),
        (b"\xF0\x07\x18\x05\x16\0\x02ab", DecodeError::AuthenticationDataWithoutMethod, PROTOCOL),
    ] {
        refused(V5, bytes, error, code);
    }
    for (property, id) in [
        (&b"\x21\0\0"[..], Id::ReceiveMaximum),
        (b"\x27\0\0\0\0", Id::MaximumPacketSize),
        (b"\x17\x02", Id::RequestProblemInformation),
        (b"\x19\x02", Id::RequestResponseInformation),
    ] {
        let mut bytes = b"\x10\x00\0\x04MQTT\x05\x02\0\0".to_vec();
        bytes.push(property.len() as u8);
        bytes.extend_from_slice(property);
        bytes.extend_from_slice(b"\0\0");
        bytes[1] = bytes.len() as u8 - 2;
        refused_connect(&bytes, DecodeError::PropertyValue { id }, PROTOCOL);
    }
    let error = DecodeError::PropertyValue { id: Id::MaximumQoS };
    check(Decoder::for_client(V5, 1000), b"\x20\x05\0\0\x02\x24\x02", error, PROTOCOL);
}

/// [MQTT-3.8.3-2] [MQTT-3.10.3-2]
#[test]
fn subscribe_and_unsubscribe_have_a_topic_filter() {
    let kind = PacketKind::Subscribe;
    refused(V5, b"\x82\x03\0\x01\0", DecodeError::NoTopicFilter { kind }, PROTOCOL);
    refused(V3_1_1, b"\x82\x02\0\x01", DecodeError::NoTopicFilter { kind }, PROTOCOL);
    let kind = PacketKind::Unsubscribe;
    refused(V5, b"\xA2\x03\0\x01\0", DecodeError::NoTopicFilter { kind }, PROTOCOL);
}

/// [MQTT-3.8.3-5] [MQTT311-3.8.3-4], MQTT 5.0, 3.8.3.1
#[test]
fn subscription_options_are_in_range() {
    for bits in [0x03, 0x30] {
        let bytes = [0x82, 0x07, 0, 1, 0, 0, 1, b'a', bits];
        refused(V5, &bytes, DecodeError::SubscriptionOptions { bits }, PROTOCOL);
    }
    for bits in [0x40, 0x80] {
        let bytes = [0x82, 0x07, 0, 1, 0, 0, 1, b'a', bits];
        refused(V5, &bytes, DecodeError::ReservedSubscriptionOptions { bits }, MALFORMED);
    }
    let error = DecodeError::ReservedSubscriptionOptions { bits: 4 };
    refused(V3_1_1, b"\x82\x06\0\x01\0\x01a\x04", error, MALFORMED);
}

/// [MQTT-3.8.3-4]
#[test]
fn shared_subscription_has_no_no_local() {
    let bytes = b"\x82\x10\0\x01\0\0\x0A$share/g/a\x04";
    refused(V5, bytes, DecodeError::NoLocalOnShared, PROTOCOL);
}

/// The broker answers 0x8F for that filter alone.
#[test]
fn invalid_topic_filter_is_no_decode_error() {
    taken(server(V5), b"\x82\x08\0\x01\0\0\x02#a\0");
    taken(server(V5), b"\x82\x06\0\x01\0\0\0\0");
}

/// [MQTT-3.1.2-1] [MQTT-3.1.2-2]
#[test]
fn connect_names_a_protocol_that_exists() {
    let code = ReasonCode::UnsupportedProtocolVersion;
    for (name, level) in [("MQTT", 3), ("MQTT", 6), ("MQTT", 0x85), ("MQIsdp", 4)] {
        let mut bytes = vec![0x10, name.len() as u8 + 8, 0, name.len() as u8];
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&[level, 2, 0, 0, 0, 0]);
        refused_connect(&bytes, DecodeError::UnsupportedProtocolVersion { level }, code);
    }
    let bytes = b"\x10\x0C\0\x04mqtt\x04\x02\0\0\0\0";
    refused_connect(bytes, DecodeError::ProtocolName, code);
}

#[test]
fn bridge_bit_is_known_before_5_0() {
    let packet = taken(Decoder::for_server(1000), b"\x10\x0C\0\x04MQTT\x84\x02\0\0\0\0");
    assert!(matches!(packet, Packet::Connect(it) if it.is_bridge && it.version == V3_1_1));
}

/// [MQTT-3.1.2-3] [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT311-3.1.2-22]
#[test]
fn connect_flags_are_consistent() {
    for (flags, error) in [
        (0x03, DecodeError::ReservedConnectFlag),
        (0x0A, DecodeError::WillFlags),
        (0x22, DecodeError::WillFlags),
        (0x1E, DecodeError::WillFlags),
        (0x42, DecodeError::PasswordWithoutUserName),
    ] {
        let mut bytes = *b"\x10\x14\0\x04MQTT\x04\xFF\0\0\0\0\0\x01w\0\0\0\0\0";
        bytes[9] = flags;
        refused_connect(&bytes, error, MALFORMED);
    }
    let packet = taken(Decoder::for_server(99), b"\x10\x10\0\x04MQTT\x05\x42\0\0\0\0\0\0\x01p");
    assert!(matches!(packet, Packet::Connect(it) if it.password == Some(b"p")));
}

/// MQTT 3.1, 3.1: "the Remaining Length field takes precedence over the User Name flag".
#[test]
fn mqtt_3_1_user_name_may_be_missing() {
    let bytes = b"\x10\x0F\0\x06MQIsdp\x03\xC2\0\0\0\x01a";
    let packet = taken(Decoder::for_server(99), bytes);
    assert!(matches!(packet, Packet::Connect(it) if it.username.is_none()));
}

/// The CONNACK has to be in the client's format.
#[test]
fn version_is_known_even_if_connect_is_malformed() {
    let mut decoder = Decoder::for_server(1000);
    assert!(decoder.decode(b"\x10\x0D\0\x04MQTT\x05\x03\0\0\0\0\0").is_err());
    assert_eq!(decoder.version(), V5);
}

/// MQTT 5.0, 3.4.2.1, 3.14.2.1, 3.15.2.1
#[test]
fn reason_code_and_properties_may_be_left_out() {
    for bytes in [&b"\x40\x02\0\x01"[..], b"\x40\x03\0\x01\x10", b"\x40\x04\0\x01\x10\0"] {
        let code = if bytes.len() > 4 { 0x10 } else { 0 };
        let packet = taken(server(V5), bytes);
        assert!(matches!(packet, Packet::PubAck(it) if it.reason_code.as_byte() == code));
    }
    for bytes in
        [&b"\xE0\x00"[..], b"\xE0\x01\x04", b"\xE0\x02\x04\0", b"\xF0\x00", b"\xF0\x01\x18"]
    {
        taken(server(V5), bytes);
    }
}

/// [MQTT-3.4.2-1] [MQTT-3.6.2-1] [MQTT-3.14.2-1] [MQTT-3.15.2-1]
#[test]
fn reason_codes_are_those_of_the_packet_type() {
    for (bytes, kind, byte) in [
        (&b"\x40\x03\0\x01\x92"[..], PacketKind::PubAck, 0x92),
        (b"\x62\x03\0\x01\x80", PacketKind::PubRel, 0x80),
        (b"\xE0\x01\x01", PacketKind::Disconnect, 0x01),
        (b"\xF0\x01\x80", PacketKind::Auth, 0x80),
        (b"\x40\x03\0\x01\xFF", PacketKind::PubAck, 0xFF),
    ] {
        refused(V5, bytes, DecodeError::InvalidReasonCode { kind, byte }, PROTOCOL);
    }
}

/// [MQTT311-3.9.3-2]
#[test]
fn mqtt_3_suback_failure_is_unspecified_error() {
    let packet = taken(Decoder::for_client(V3_1_1, 99), b"\x90\x04\0\x01\x01\x80");
    let Packet::SubAck(suback) = packet else { panic!("{packet:?}") };
    assert_eq!(suback.reason_codes, [ReasonCode::GrantedQoS1, ReasonCode::UnspecifiedError]);
}

/// [MQTT-3.14.2-2]
#[test]
fn server_does_not_change_the_session_expiry() {
    let bytes = b"\xE0\x07\0\x05\x11\0\0\0\x01";
    taken(server(V5), bytes);
    let error = DecodeError::MisplacedProperty { id: PropertyId::SessionExpiryInterval };
    check(Decoder::for_client(V5, 99), bytes, error, MALFORMED);
}
