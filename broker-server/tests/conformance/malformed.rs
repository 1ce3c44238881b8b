//! Bytes that are no packets, each with two bystanders whose messages must go on (attack cases, section A).

use crate::broker::Bystanders;
use crate::client::{Connect, Will, connect, raw, unique_id, unique_topic, v5, v31, v311};
use crate::runner::tests;
use crate::wire::{self, Packet, Prop, V5, V31, V311, frame, publish, write_bytes, write_varint};

tests![
    remaining_length_of_five_bytes,
    remaining_length_longer_than_needed,
    packet_type_0_is_refused,
    server_packets_from_a_client_are_refused,
    truncated_bodies_are_refused,
    trailing_bytes_are_refused,
    acks_with_wrong_flags_are_refused,
    ack_with_packet_identifier_0_is_refused,
    ack_with_a_foreign_reason_code_is_refused,
    duplicate_property_is_refused,
    unknown_property_is_refused,
    misplaced_property_is_refused,
    property_length_beyond_the_packet_is_refused,
    property_length_longer_than_needed_is_refused,
    truncated_property_is_refused,
    connect_properties_are_checked,
    will_properties_are_checked,
    ten_thousand_user_properties,
    huge_connect_sent_slowly,
    garbage_is_refused,
    http_request_is_refused,
    half_open_connections_do_no_harm,
    utf8_is_checked_in_every_property,
    failure_closes_but_keeps_the_session,
];

const MALFORMED: &[u8] = &[0x81, 0x82];

/// Each of these, sent by a client that is connected, ends its connection and nobody else's.
#[track_caller]
fn refuse_all(version: u8, packets: &[Vec<u8>]) {
    let mut bystanders = Bystanders::new();
    for packet in packets {
        let mut client = connect(version).open();
        client.send(packet);
        client.expect_disconnect(MALFORMED);
        bystanders.exchange();
    }
}

/// Each of these, sent as the first packet, is refused.
#[track_caller]
fn refuse_first(packets: &[Vec<u8>]) {
    let mut bystanders = Bystanders::new();
    for packet in packets {
        let mut client = raw(V5);
        client.try_send(packet);
        client.expect_refused(MALFORMED);
        bystanders.exchange();
    }
}

/// [MQTT-4.13.1-1], [MQTT311-4.8.0-1]; MQTT 5.0, 1.5.5: four bytes at most.
fn remaining_length_of_five_bytes() {
    refuse_first(&[b"\x10\xFF\xFF\xFF\xFF\x7F".to_vec(), b"\x10\x80\x80\x80\x80\x01".to_vec()]);
    for version in [V311, V5] {
        refuse_all(
            version,
            &[b"\x30\xFF\xFF\xFF\xFF\x01".to_vec(), b"\xC0\x80\x80\x80\x80\x00".to_vec()],
        );
    }
}

/// [MQTT-1.5.5-1]: MQTT 5.0 only; the older versions do not forbid it.
fn remaining_length_longer_than_needed() {
    let mut connect = vec![0x10];
    let body = &v5().encode()[2..];
    connect.extend([0x80 | u8::try_from(body.len()).unwrap(), 0x00]);
    connect.extend(body);
    refuse_first(&[connect]);
    refuse_all(V5, &[b"\xC0\x80\x00".to_vec(), b"\xC0\x80\x80\x00".to_vec()]);
}

/// MQTT 5.0, 2.1.2: forbidden.
fn packet_type_0_is_refused() {
    refuse_first(&[frame(0x00, b""), frame(0x0F, b"abc")]);
    for version in [V31, V311, V5] {
        refuse_all(version, &[frame(0x00, b""), frame(0x00, b"\0\x01")]);
    }
}

/// Attack case 3: CONNACK, SUBACK, UNSUBACK and PINGRESP come from the Server only.
fn server_packets_from_a_client_are_refused() {
    refuse_first(&[frame(0x20, b"\0\0"), frame(0x20, b"\0\0\0")]);
    for version in [V31, V311, V5] {
        let connack = if version == V5 { frame(0x20, b"\0\0\0") } else { frame(0x20, b"\0\0") };
        let suback =
            if version == V5 { frame(0x90, b"\0\x01\0\0") } else { frame(0x90, b"\0\x01\0") };
        let unsuback =
            if version == V5 { frame(0xB0, b"\0\x01\0\0") } else { frame(0xB0, b"\0\x01") };
        refuse_all(version, &[connack, suback, unsuback, frame(0xD0, b"")]);
    }
}

/// [MQTT-4.13.1-1], [MQTT311-4.8.0-1]
fn truncated_bodies_are_refused() {
    for version in [V311, V5] {
        let mut packets = vec![
            frame(0x32, b"\x00\x01a"),
            frame(0x32, b"\x00\x01a\x01"),
            frame(0x40, b""),
            frame(0x40, b"\x01"),
            frame(0x50, b"\x01"),
            frame(0x62, b"\x01"),
            frame(0x70, b"\x01"),
            frame(0x82, b"\x01"),
            frame(0xA2, b"\x01"),
            frame(0x82, b""),
            frame(0xA2, b""),
        ];
        if version == V5 {
            packets.extend([
                frame(0x30, b"\x00\x01a"),
                frame(0x82, b"\x00\x01"),
                frame(0xA2, b"\x00\x01"),
            ]);
        }
        refuse_all(version, &packets);
    }
}

/// MQTT 5.0, 4.13.1
fn trailing_bytes_are_refused() {
    refuse_all(V311, &[frame(0x40, b"\0\x01x"), frame(0x62, b"\0\x01xyz"), frame(0xC0, b"x")]);
    refuse_all(
        V5,
        &[
            frame(0x40, b"\0\x01\0\0x"),
            frame(0x62, b"\0\x01\0\0xyz"),
            frame(0xE0, b"\0\0x"),
            frame(0xA2, b"\0\x01\0\0\x01ax"),
        ],
    );
}

/// [MQTT-2.1.3-1], [MQTT311-2.2.2-2]
fn acks_with_wrong_flags_are_refused() {
    for version in [V311, V5] {
        let packets: Vec<_> =
            [0x41, 0x42, 0x48, 0x51, 0x52, 0x58, 0x60, 0x61, 0x66, 0x71, 0x72, 0x78]
                .map(|first| wire::ack(first, 1))
                .to_vec();
        refuse_all(version, &packets);
    }
}

/// MQTT 5.0, 2.2.1: identifiers are not zero.
fn ack_with_packet_identifier_0_is_refused() {
    for version in [V311, V5] {
        refuse_all(version, &[0x40, 0x50, 0x62, 0x70].map(|first| wire::ack(first, 0)));
    }
}

/// [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1] as seen by the Server.
fn ack_with_a_foreign_reason_code_is_refused() {
    refuse_all(
        V5,
        &[
            wire::ack_code(0x40, 1, 0x01),
            wire::ack_code(0x40, 1, 0x92),
            wire::ack_code(0x50, 1, 0x04),
            wire::ack_code(0x50, 1, 0xFF),
            wire::ack_code(0x62, 1, 0x80),
            wire::ack_code(0x70, 1, 0x10),
        ],
    );
}

/// PUBLISH at QoS 0 with these bytes as properties.
fn publish_with(props: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    write_bytes(&mut body, unique_topic().as_bytes());
    write_varint(&mut body, u32::try_from(props.len()).unwrap());
    body.extend(props);
    frame(0x30, &body)
}

/// MQTT 5.0, 3.3.2.3: each a Protocol Error.
fn duplicate_property_is_refused() {
    let twice = [
        Prop::PayloadFormatIndicator(1),
        Prop::MessageExpiryInterval(9),
        Prop::ContentType("a".into()),
        Prop::ResponseTopic("a".into()),
        Prop::CorrelationData(vec![1]),
        Prop::TopicAlias(1),
    ];
    let packets: Vec<_> =
        twice.map(|p| publish(&unique_topic(), 0, "x").prop(p.clone()).prop(p).encode(V5)).to_vec();
    refuse_all(V5, &packets);
    let twice = [
        Prop::SessionExpiryInterval(1),
        Prop::ReceiveMaximum(9),
        Prop::MaximumPacketSize(999),
        Prop::TopicAliasMaximum(1),
        Prop::RequestResponseInformation(1),
        Prop::RequestProblemInformation(1),
        Prop::AuthenticationMethod("m".into()),
        Prop::AuthenticationData(vec![1]),
    ];
    refuse_first(&twice.map(|p| v5().prop(p.clone()).prop(p).encode()));
    let twice = [
        Prop::WillDelayInterval(1),
        Prop::PayloadFormatIndicator(0),
        Prop::MessageExpiryInterval(1),
        Prop::ContentType("a".into()),
        Prop::ResponseTopic("a".into()),
        Prop::CorrelationData(vec![1]),
    ];
    let will = |p: Prop| Will::new("a", "x").prop(p.clone()).prop(p);
    refuse_first(&twice.map(|p| v5().will(will(p)).encode()));
}

/// MQTT 5.0, 2.2.2.2
fn unknown_property_is_refused() {
    let packets: Vec<_> = [0x00, 0x04, 0x07, 0x0A, 0x2B, 0x7F, 0xFF]
        .map(|id| publish_with(&[id, 0, 0, 0, 0]))
        .to_vec();
    refuse_all(V5, &packets);
}

/// MQTT 5.0, table 2-4
fn misplaced_property_is_refused() {
    let misplaced = [
        Prop::SessionExpiryInterval(1),
        Prop::WillDelayInterval(1),
        Prop::ReceiveMaximum(1),
        Prop::ReasonString("x".into()),
        Prop::MaximumQoS(1),
        Prop::AssignedClientIdentifier("x".into()),
        Prop::ServerKeepAlive(1),
    ];
    let mut packets: Vec<_> =
        misplaced.map(|p| publish(&unique_topic(), 0, "x").prop(p).encode(V5)).to_vec();
    packets.push(wire::subscribe(V5, 1, &[("a", 0)], &[Prop::ReasonString("x".into())]));
    packets.push(wire::subscribe(V5, 1, &[("a", 0)], &[Prop::TopicAlias(1)]));
    packets.push(wire::disconnect(0, &[Prop::ReceiveMaximum(1)]));
    packets.push(wire::disconnect(0, &[Prop::MessageExpiryInterval(1)]));
    refuse_all(V5, &packets);
    refuse_first(&[
        v5().prop(Prop::ServerKeepAlive(1)).encode(),
        v5().prop(Prop::TopicAlias(1)).encode(),
        v5().prop(Prop::WillDelayInterval(1)).encode(),
        v5().prop(Prop::MessageExpiryInterval(1)).encode(),
    ]);
}

/// Attack case 6.
fn property_length_beyond_the_packet_is_refused() {
    let mut packets = Vec::new();
    for len in [&b"\x05"[..], b"\x7F", b"\xFF\xFF\xFF\x7F"] {
        let mut body = Vec::new();
        write_bytes(&mut body, b"a");
        body.extend(len);
        packets.push(frame(0x30, &body));
        packets.push(frame(0x82, &[&[0, 1], len, b"\0\x01a"].concat()));
        packets.push(frame(0xE0, &[&[0], len].concat()));
        packets.push(frame(0x40, &[&[0, 1, 0], len].concat()));
    }
    refuse_all(V5, &packets);
}

/// [MQTT-1.5.5-1]
fn property_length_longer_than_needed_is_refused() {
    let mut body = Vec::new();
    write_bytes(&mut body, unique_topic().as_bytes());
    body.extend(b"\x80\x00x");
    refuse_all(V5, &[frame(0x30, &body), frame(0x82, b"\0\x01\x80\x00\0\x01a\0")]);
}

/// A property that ends before its value does.
fn truncated_property_is_refused() {
    let props: [&[u8]; 8] = [
        b"\x01",
        b"\x02\0\0\0",
        b"\x03\0",
        b"\x03\0\x02a",
        b"\x09\0\x05abc",
        b"\x23\0",
        b"\x26\0\x01k",
        b"\x26\0\x01k\0\x05v",
    ];
    refuse_all(V5, &props.map(publish_with));
}

/// MQTT 5.0, 3.1.2.11: values that are not allowed, lengths that are not true. [MQTT-3.1.4-1]
fn connect_properties_are_checked() {
    let id = unique_id();
    let with = |raw: &[u8]| {
        let mut body = b"\0\x04MQTT\x05\x02\0\0".to_vec();
        body.extend(raw);
        write_bytes(&mut body, id.as_bytes());
        frame(0x10, &body)
    };
    refuse_first(&[
        with(b"\x7F"),                 // length beyond the packet
        with(b"\x01\x17"),             // no value
        with(b"\x02\x17\x02"),         // Request Problem Information 2
        with(b"\x02\x19\xFF"),         // Request Response Information 255
        with(b"\x03\x21\0\0"),         // Receive Maximum 0
        with(b"\x05\x27\0\0\0\0"),     // Maximum Packet Size 0
        with(b"\x02\x00\x00"),         // no such property
        with(b"\xFF\xFF\xFF\xFF\x01"), // length of five bytes
    ]);
}

/// Attack case 4: Will Properties that belong elsewhere.
fn will_properties_are_checked() {
    let will = |p: Prop| v5().will(Will::new("a", "x").prop(p)).encode();
    refuse_first(&[
        will(Prop::TopicAlias(1)),
        will(Prop::SessionExpiryInterval(1)),
        will(Prop::SubscriptionIdentifier(1)),
        will(Prop::ReasonString("x".into())),
        will(Prop::ReceiveMaximum(1)),
    ]);
    let mut bystanders = Bystanders::new();
    for topic in ["", "a/#", "+"] {
        for connect in [v311(), v5()] {
            let mut client = connect.will(Will::new(topic, "x")).begin();
            client.expect_refused(&[0x81, 0x82, 0x90]);
        }
    }
    bystanders.exchange();
}

/// Attack case 6: large, but well-formed; served or refused for its size.
fn ten_thousand_user_properties() {
    let mut bystanders = Bystanders::new();
    let mut connect: Connect = v5();
    for _ in 0..10_000 {
        connect = connect.prop(Prop::UserProperty("k".into(), "v".into()));
    }
    let mut client = connect.begin();
    match client.recv_within(5000) {
        Some(Packet::ConnAck { code: 0, .. }) => client.ping(),
        Some(Packet::ConnAck { code: 0x95 | 0x97, .. }) | None => client.expect_closed(),
        Some(other) => panic!("{other:?}"),
    }
    bystanders.exchange();
}

/// Attack case 2: many connections that announce 256 MB each.
fn huge_connect_sent_slowly() {
    let mut bystanders = Bystanders::new();
    let mut clients: Vec<_> = (0..50).map(|_| raw(V5)).collect();
    for client in &mut clients {
        client.try_send(b"\x10\xFF\xFF\xFF\x7F\0\x04MQTT\x05");
    }
    bystanders.exchange();
    for client in &mut clients {
        client.try_send(&[0; 100]);
    }
    bystanders.exchange();
}

/// Bytes of a generator with a fixed seed.
fn garbage_is_refused() {
    let mut bystanders = Bystanders::new();
    let mut state = 0x51C3_u32;
    for _ in 0..60 {
        let bytes: Vec<u8> = (0..64)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        let mut client = raw(V5);
        client.try_send(&bytes);
        // It may wait for more of what looks like a CONNECT, but never answers with success.
        if let Some(packet) = client.recv_within(20) {
            assert!(matches!(packet, Packet::ConnAck { code: 1.., .. }), "{packet:?}");
        }
        let mut client = v5().open();
        client.try_send(&bytes);
    }
    bystanders.exchange();
}

/// Somebody's browser, a TLS ClientHello, an SSH banner.
fn http_request_is_refused() {
    let mut bystanders = Bystanders::new();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    ] {
        let mut client = raw(V5);
        client.send(bytes);
        client.expect_closed();
    }
    bystanders.exchange();
}

/// Attack case 8: connections that say nothing.
fn half_open_connections_do_no_harm() {
    let mut bystanders = Bystanders::new();
    let mut clients: Vec<_> = (0..60).map(|_| raw(V5)).collect();
    for client in &mut clients {
        client.try_send(b"\x10");
    }
    bystanders.exchange();
    drop(clients);
    bystanders.exchange();
}

/// [MQTT-1.5.4-1], [MQTT-1.5.4-2]
fn utf8_is_checked_in_every_property() {
    let mut packets = Vec::new();
    for id in [0x03, 0x08] {
        for text in [&b"\xFF"[..], b"\xED\xA0\x80", b"a\0"] {
            let mut props = vec![id];
            write_bytes(&mut props, text);
            packets.push(publish_with(&props));
        }
    }
    let mut bystanders = Bystanders::new();
    for packet in packets {
        let mut client = v5().open();
        client.send(&packet);
        client.expect_disconnect(&[0x81, 0x82, 0x90]);
        bystanders.exchange();
    }
}

/// The connection is at fault, not the Session (MQTT 5.0, 4.13).
fn failure_closes_but_keeps_the_session() {
    for version in [V31, V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut client = connect(version).id(&id).resume().expiry(60).open();
        client.subscribe(&topic, 1);
        client.send(&frame(0x00, b""));
        client.expect_disconnect(MALFORMED);
        v5().open().publish(publish(&topic, 1, "x"));
        let mut client = connect(version).id(&id).resume().expiry(60).open();
        assert_eq!(client.take().text(), "x");
    }
    v31().open().ping();
}
