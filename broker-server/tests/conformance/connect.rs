//! CONNECT (MQTT 5.0, 3.1).

use crate::broker::Bystanders;
use crate::client::{Will, connect, raw, unique_id, unique_topic, v5, v31, v311};
use crate::runner::tests;
use crate::wire::{self, Packet, Prop, V5, V31, V311, publish};

tests![
    first_packet_must_be_connect,
    second_connect_is_a_protocol_error,
    wrong_protocol_name_is_refused,
    unsupported_protocol_version_is_refused,
    reserved_flag_is_refused,
    clean_start_discards_the_session,
    will_qos_without_will_flag_is_refused,
    will_retain_without_will_flag_is_refused,
    will_qos_3_is_refused,
    will_flag_without_will_fields_is_refused,
    user_name_without_flag_is_refused,
    user_name_flag_without_user_name_is_refused,
    password_without_flag_is_refused,
    password_flag_without_password_is_refused,
    password_without_user_name_is_well_formed,
    plain_client_ids_are_allowed,
    client_id_names_the_session,
    empty_client_id_is_assigned_a_new_one,
    assigned_client_id_can_be_resumed,
    missing_client_id_is_refused,
    client_id_must_be_utf8,
    will_topic_must_be_utf8,
    user_name_must_be_utf8,
    payload_fields_come_in_order,
    nothing_after_a_refused_connect_is_processed,
    packets_right_after_connect_are_processed,
    connect_may_arrive_byte_by_byte,
    trailing_bytes_are_refused,
    client_id_of_maximum_length_does_no_harm,
];

const MALFORMED: &[u8] = &[0x81, 0x82];

/// Sends a CONNECT and wants it refused as malformed, while others go on.
#[track_caller]
fn refuse(bytes: &[u8]) {
    let mut bystanders = Bystanders::new();
    let mut client = raw(V5);
    client.send(bytes);
    client.expect_refused(MALFORMED);
    bystanders.exchange();
}

/// [MQTT-3.1.0-1], [MQTT311-3.1.0-1]
fn first_packet_must_be_connect() {
    let mut bystanders = Bystanders::new();
    let firsts = [
        wire::PINGREQ.to_vec(),
        publish("a", 0, "x").encode(V5),
        publish("a", 1, "x").id(1).encode(V5),
        wire::subscribe(V5, 1, &[("#", 0)], &[]),
        wire::DISCONNECT.to_vec(),
        wire::auth(0x18, &[]),
        wire::ack(wire::PUBREL, 1),
    ];
    for first in firsts {
        let mut client = raw(V5);
        client.send(&first);
        client.expect_closed();
    }
    bystanders.exchange();
}

/// [MQTT-3.1.0-2], [MQTT311-3.1.0-2]
fn second_connect_is_a_protocol_error() {
    let mut client = v5().open();
    client.send(&v5().encode());
    client.expect_disconnect(&[0x82]);

    let mut client = v311().open();
    client.send(&v311().encode());
    client.expect_closed();
}

/// [MQTT-3.1.2-1], [MQTT311-3.1.2-1]
fn wrong_protocol_name_is_refused() {
    for name in ["MQTX", "mqtt", "", "MQTTT", "HTTP"] {
        let mut body = v5().header(name, V5, 0x02);
        wire::write_bytes(&mut body, b"x");
        let mut client = raw(V5);
        client.send(&wire::frame(0x10, &body));
        client.expect_refused(&[0x01, 0x81, 0x82, 0x84]);
    }
}

/// [MQTT-3.1.2-2], [MQTT-3.2.2-7], [MQTT-4.13.2-1], [MQTT311-3.1.2-2], [MQTT311-3.2.2-5]
fn unsupported_protocol_version_is_refused() {
    for level in [0, 1, 2, 6, 7, 127] {
        let mut body = v5().header("MQTT", level, 0x02);
        wire::write_bytes(&mut body, unique_id().as_bytes());
        let mut client = raw(V5);
        client.send(&wire::frame(0x10, &body));
        client.expect_refused(&[0x01, 0x84]);
    }
}

/// [MQTT-3.1.2-3], [MQTT-3.1.4-1], [MQTT311-3.1.2-3], [MQTT311-3.1.4-1]
fn reserved_flag_is_refused() {
    refuse(&v5().encode_with(0x03));
    let mut client = raw(V311);
    client.send(&v311().encode_with(0x03));
    client.expect_refused(&[]);
}

/// [MQTT-3.1.2-4], [MQTT-3.1.4-4], [MQTT-3.2.2-2], [MQTT311-3.1.2-6], [MQTT311-3.1.4-3], [MQTT311-3.2.2-1]
fn clean_start_discards_the_session() {
    for version in [V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut client = connect(version).id(&id).resume().expiry(60).open();
        client.subscribe(&topic, 1);
        client.disconnect();
        v5().open().publish(publish(&topic, 1, "queued"));

        let mut client = connect(version).id(&id).clean().open();
        assert!(!client.session_present);
        v5().open().publish(publish(&topic, 1, "new"));
        client.expect_nothing();
    }
}

/// [MQTT-3.1.2-11], [MQTT311-3.1.2-11], [MQTT311-3.1.2-13]
fn will_qos_without_will_flag_is_refused() {
    refuse(&v5().encode_with(0x02 | 0x08));
    refuse(&v5().encode_with(0x02 | 0x10));
    refuse(&v311().encode_with(0x02 | 0x08));
}

/// [MQTT-3.1.2-13], [MQTT311-3.1.2-15]
fn will_retain_without_will_flag_is_refused() {
    refuse(&v5().encode_with(0x02 | 0x20));
    refuse(&v311().encode_with(0x02 | 0x20));
}

/// [MQTT-3.1.2-12], [MQTT311-3.1.2-14]
fn will_qos_3_is_refused() {
    let will = Will::new("a", "x");
    refuse(&v5().will(will.clone()).encode_with(0x02 | 0x04 | 0x18));
    refuse(&v311().will(will).encode_with(0x02 | 0x04 | 0x18));
}

/// [MQTT-3.1.2-9], [MQTT311-3.1.2-9]
fn will_flag_without_will_fields_is_refused() {
    refuse(&v5().encode_with(0x02 | 0x04));
    refuse(&v311().encode_with(0x02 | 0x04));
    let mut only_topic = v311().header("MQTT", V311, 0x06);
    wire::write_bytes(&mut only_topic, b"id");
    wire::write_bytes(&mut only_topic, b"will/topic");
    refuse(&wire::frame(0x10, &only_topic));
}

/// [MQTT-3.1.2-16], [MQTT311-3.1.2-18]
fn user_name_without_flag_is_refused() {
    refuse(&v5().username("user").encode_with(0x02));
    refuse(&v311().username("user").encode_with(0x02));
}

/// [MQTT-3.1.2-17], [MQTT311-3.1.2-19]
fn user_name_flag_without_user_name_is_refused() {
    refuse(&v5().encode_with(0x82));
    refuse(&v311().encode_with(0x82));
}

/// [MQTT-3.1.2-18], [MQTT311-3.1.2-20]
fn password_without_flag_is_refused() {
    refuse(&v5().username("user").password(b"secret").encode_with(0x82));
    refuse(&v311().username("user").password(b"secret").encode_with(0x82));
}

/// [MQTT-3.1.2-19], [MQTT311-3.1.2-21]
fn password_flag_without_password_is_refused() {
    refuse(&v5().username("user").encode_with(0xC2));
    refuse(&v311().username("user").encode_with(0xC2));
}

/// MQTT 5.0, 3.1.2.9: a Password without a User Name is allowed, unlike in 3.1.1.
fn password_without_user_name_is_well_formed() {
    let mut client = v5().password(b"secret").begin();
    match client.recv() {
        Packet::ConnAck { code: 0 | 0x86 | 0x87, .. } => {}
        other => panic!("{other:?}"),
    }
}

/// [MQTT-3.1.3-5], [MQTT311-3.1.3-5]
fn plain_client_ids_are_allowed() {
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in [V31, V311, V5] {
        for id in ["z", &alphabet[..23], &alphabet[23..46], &alphabet[39..]] {
            connect(version).id(id).open();
        }
    }
}

/// [MQTT-3.1.3-2], [MQTT311-3.1.3-2]
fn client_id_names_the_session() {
    let id = unique_id();
    v5().id(&id).expiry(60).open().disconnect();
    let mut other = v5().id(&format!("{id}x")).resume().open();
    assert!(!other.session_present, "another Client Identifier, another Session");
    let own = v5().id(&id).resume().open();
    assert!(own.session_present);
    other.ping();
}

/// [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16], [MQTT311-3.1.3-6]
fn empty_client_id_is_assigned_a_new_one() {
    let mut first = v5().id("").open();
    let second = v5().id("").resume().open();
    let assigned = [&first, &second].map(|c| c.props.assigned_client_id().expect("assigned"));
    assert!(!assigned[0].is_empty());
    assert_ne!(assigned[0], assigned[1]);
    first.ping();

    let mut first = v311().id("").open();
    v311().id("").open();
    first.ping();
}

/// [MQTT-3.1.3-7]: processed as if the Client had provided it.
fn assigned_client_id_can_be_resumed() {
    let topic = unique_topic();
    let mut client = v5().id("").expiry(60).open();
    let id = client.props.assigned_client_id().expect("assigned");
    client.subscribe(&topic, 1);
    client.disconnect();
    v5().open().publish(publish(&topic, 1, "x"));
    let mut client = v5().id(&id).resume().expiry(60).open();
    assert!(client.session_present);
    assert_eq!(client.props.assigned_client_id(), None, "nothing was assigned this time");
    assert_eq!(client.take().text(), "x");
}

/// [MQTT-3.1.3-3], [MQTT311-3.1.3-3]
fn missing_client_id_is_refused() {
    refuse(&wire::frame(0x10, &v5().header("MQTT", V5, 0x02)));
    refuse(&wire::frame(0x10, &v311().header("MQTT", V311, 0x02)));
}

/// [MQTT-3.1.3-4], [MQTT311-3.1.3-4]
fn client_id_must_be_utf8() {
    for id in [&b"\xFF\xFE"[..], b"a\xC3", b"\xED\xA0\x80", b"nul\0nul"] {
        let mut body = v5().header("MQTT", V5, 0x02);
        wire::write_bytes(&mut body, id);
        let mut client = raw(V5);
        client.send(&wire::frame(0x10, &body));
        client.expect_refused(&[0x81, 0x82, 0x85]);
    }
}

/// [MQTT-3.1.3-11], [MQTT311-3.1.3-10]
fn will_topic_must_be_utf8() {
    for topic in [&b"\xFF"[..], b"\xC0\xAF", b"a\0b"] {
        let mut body = v5().header("MQTT", V5, 0x06);
        wire::write_bytes(&mut body, unique_id().as_bytes());
        body.push(0);
        wire::write_bytes(&mut body, topic);
        wire::write_bytes(&mut body, b"payload");
        let mut client = raw(V5);
        client.send(&wire::frame(0x10, &body));
        client.expect_refused(&[0x81, 0x82, 0x90]);
    }
}

/// [MQTT-3.1.3-12], [MQTT311-3.1.3-11]
fn user_name_must_be_utf8() {
    for name in [&b"\xFF"[..], b"\xED\xBF\xBF", b"a\0b"] {
        let mut body = v5().header("MQTT", V5, 0x82);
        wire::write_bytes(&mut body, unique_id().as_bytes());
        wire::write_bytes(&mut body, name);
        let mut client = raw(V5);
        client.send(&wire::frame(0x10, &body));
        client.expect_refused(&[0x81, 0x82, 0x86]);
    }
}

/// [MQTT-3.1.3-1], [MQTT311-3.1.3-1]
fn payload_fields_come_in_order() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut watcher = v5().open();
        watcher.subscribe(&topic, 0);
        let will = Will::new(&topic, "will payload");
        let client = connect(version).will(will).username("user").password(b"secret").open();
        client.lose();
        assert_eq!(watcher.expect_publish().text(), "will payload");
    }
}

/// [MQTT-3.1.4-6], [MQTT-3.1.4-2], [MQTT311-3.1.4-5]
fn nothing_after_a_refused_connect_is_processed() {
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 1);
    let mut bytes = v5().encode_with(0x03);
    bytes.extend(publish(&topic, 1, "never").id(1).encode(V5));
    let mut client = raw(V5);
    client.send(&bytes);
    client.expect_refused(MALFORMED);
    watcher.expect_nothing();
}

/// MQTT 5.0, 3.1.4: Clients need not wait for CONNACK.
fn packets_right_after_connect_are_processed() {
    let topic = unique_topic();
    let mut bytes = v5().encode();
    bytes.extend(wire::subscribe(V5, 1, &[(&topic, 1)], &[]));
    bytes.extend(publish(&topic, 1, "early").id(2).encode(V5));
    let mut client = raw(V5);
    client.send(&bytes);
    client.expect_connack(0);
    assert_eq!(client.expect_suback(1), [1]);
    client.expect_puback(2);
    assert_eq!(client.take().text(), "early");
}

/// The bytes of a stream have no boundaries [MQTT-4.2-1], [MQTT311-7.1.1-1].
fn connect_may_arrive_byte_by_byte() {
    let mut client = raw(V5);
    for byte in v5().prop(Prop::UserProperty("k".into(), "v".into())).encode() {
        client.send(&[byte]);
    }
    client.expect_connack(0);
    let topic = unique_topic();
    for byte in wire::subscribe(V5, 7, &[(&topic, 0)], &[]) {
        client.send(&[byte]);
    }
    client.expect_suback(7);
}

/// [MQTT-3.1.4-1]
fn trailing_bytes_are_refused() {
    for connect in [v31(), v311(), v5()] {
        let mut body = connect.encode()[2..].to_vec();
        body.extend(b"\0\0");
        refuse(&wire::frame(0x10, &body));
    }
}

/// Refused or accepted, but answered, and nobody else notices [MQTT-3.1.3-8].
fn client_id_of_maximum_length_does_no_harm() {
    let mut bystanders = Bystanders::new();
    let id = format!("{}{}", unique_id(), "x".repeat(65_535));
    let mut client = v5().id(&id[..65_535]).begin();
    match client.recv() {
        Packet::ConnAck { code: 0, .. } => client.ping(),
        Packet::ConnAck { code: 0x85 | 0x95 | 0x97, .. } => client.expect_closed(),
        other => panic!("{other:?}"),
    }
    bystanders.exchange();
}
