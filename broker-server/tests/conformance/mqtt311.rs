//! What MQTT 3.1.1 demands differently from 5.0; the common part is tested for each version by section.

use crate::client::{connect, unique_id, unique_topic, v311};
use crate::runner::tests;
use crate::wire::{self, PUBACK, V31, V311, frame, publish};

tests![
    empty_client_id_needs_clean_session,
    password_needs_user_name,
    unacceptable_protocol_level_has_return_code_1,
    unacceptable_level_of_the_old_name_too,
    malformed_connect_gets_no_connack,
    acks_have_no_body_beyond_the_identifier,
    suback_has_no_properties,
    remaining_length_may_be_longer_than_needed,
    publish_is_acknowledged_whatever_becomes_of_it,
    clean_session_0_survives_the_network,
    clean_session_0_then_1_then_0_starts_anew,
    bridge_bit_is_accepted_or_refused,
    flags_of_every_packet_are_checked,
];

/// [MQTT311-3.1.3-7], [MQTT311-3.1.3-8], [MQTT311-3.1.3-9]
fn empty_client_id_needs_clean_session() {
    let mut client = v311().id("").resume().begin();
    client.expect_connack(2);
    assert!(!client.session_present);
    client.expect_closed();
    v311().id("").open().ping();
}

/// [MQTT311-3.1.2-22]
fn password_needs_user_name() {
    for version in [V31, V311] {
        let mut client = connect(version).password(b"secret").begin();
        client.expect_refused(&[]);
    }
}

/// [MQTT311-3.1.2-2], [MQTT311-3.2.2-4], [MQTT311-3.2.2-5]
fn unacceptable_protocol_level_has_return_code_1() {
    for level in [2, 3, 6, 9] {
        let mut body = v311().header("MQTT", level, 0x02);
        wire::write_bytes(&mut body, unique_id().as_bytes());
        let mut client = crate::client::raw(V311);
        client.send(&frame(0x10, &body));
        client.expect_connack(1);
        assert!(!client.session_present);
        client.expect_closed();
    }
}

/// The same for "MQIsdp", whose only level is 3.
fn unacceptable_level_of_the_old_name_too() {
    let mut body = v311().header("MQIsdp", 9, 0x02);
    wire::write_bytes(&mut body, unique_id().as_bytes());
    let mut client = crate::client::raw(V31);
    client.send(&frame(0x10, &body));
    client.expect_refused(&[1]);
}

/// [MQTT311-3.1.4-1], [MQTT311-3.2.2-6]
fn malformed_connect_gets_no_connack() {
    for body in [&b"\0\x04MQTT\x04\x02\0"[..], b"\0\x04MQTT\x04\x02\0\0\0\x05ab", b"\0\x04MQ"] {
        let mut client = crate::client::raw(V311);
        client.send(&frame(0x10, body));
        client.expect_closed();
    }
}

/// MQTT 3.1.1, 3.4: the reader of the suite refuses more than the Packet Identifier.
fn acks_have_no_body_beyond_the_identifier() {
    let topic = unique_topic();
    let mut client = v311().open();
    client.subscribe(&topic, 2);
    client.publish(publish(&topic, 1, "x"));
    client.publish(publish(&topic, 2, "y"));
    assert_eq!([client.take().text(), client.take().text()], ["x", "y"]);
    client.unsubscribe(&[&topic]);
}

/// [MQTT311-3.8.4-5], [MQTT311-3.9.3-2]
fn suback_has_no_properties() {
    let mut client = v311().open();
    let (a, b) = (unique_topic(), unique_topic());
    client.send(&wire::subscribe(V311, 0x1234, &[(&a, 2), (&b, 0)], &[]));
    assert_eq!(client.expect_suback(0x1234), [2, 0]);
}

/// MQTT 3.1.1, 2.2.3 does not demand the shortest form; whichever, the connection is answered.
fn remaining_length_may_be_longer_than_needed() {
    let mut client = v311().open();
    client.send(b"\xC0\x80\x00");
    match client.recv_within(5000) {
        Some(wire::Packet::PingResp) => {}
        None => client.expect_closed(),
        Some(other) => panic!("{other:?}"),
    }
}

/// [MQTT311-3.3.5-2], [MQTT311-3.3.4-1]
fn publish_is_acknowledged_whatever_becomes_of_it() {
    let mut client = v311().open();
    client.try_send(&publish("$SYS/forbidden", 1, "x").id(7).encode(V311));
    match client.recv_within(5000) {
        Some(wire::Packet::PubAck(ack)) => assert_eq!(ack.id, 7),
        None => client.expect_closed(),
        Some(other) => panic!("{other:?}"),
    }
}

/// [MQTT311-3.1.2-4], [MQTT311-3.1.2-5]
fn clean_session_0_survives_the_network() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = v311().id(&id).resume().open();
    client.subscribe(&topic, 1);
    v311().open().publish(publish(&topic, 1, "one"));
    let sent = client.expect_publish();
    client.lose();
    v311().open().publish(publish(&topic, 1, "two"));
    let mut client = v311().id(&id).resume().open();
    let again = client.expect_publish();
    assert_eq!((again.id, again.dup, again.text()), (sent.id, true, "one".to_owned()));
    client.send(&wire::ack(PUBACK, again.id));
    assert_eq!(client.take().text(), "two");
}

/// [MQTT311-3.1.2-6]: state is not used in any later Session.
fn clean_session_0_then_1_then_0_starts_anew() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = v311().id(&id).resume().open();
    client.subscribe(&topic, 1);
    client.disconnect();
    v311().id(&id).open().disconnect();
    v311().open().publish(publish(&topic, 1, "x"));
    let mut client = v311().id(&id).resume().open();
    assert!(!client.session_present);
    client.expect_nothing();
}

/// Level 0x84 is a bridge of the widespread extension; not part of the specification.
fn bridge_bit_is_accepted_or_refused() {
    let mut body = v311().header("MQTT", 0x84, 0x02);
    wire::write_bytes(&mut body, unique_id().as_bytes());
    let mut client = crate::client::raw(V311);
    client.send(&frame(0x10, &body));
    match client.recv() {
        wire::Packet::ConnAck { code: 0, .. } => client.ping(),
        wire::Packet::ConnAck { code: 1, .. } => client.expect_closed(),
        other => panic!("{other:?}"),
    }
}

/// [MQTT311-2.2.2-1], [MQTT311-2.2.2-2], [MQTT311-4.8.0-1]
fn flags_of_every_packet_are_checked() {
    let topic = unique_topic();
    let packets = [
        wire::subscribe(V311, 1, &[(&topic, 0)], &[]),
        wire::unsubscribe(V311, 1, &[&topic]),
        wire::ack(wire::PUBREL, 1),
    ];
    for mut packet in packets {
        packet[0] &= 0xF0;
        let mut client = v311().open();
        client.send(&packet);
        client.expect_closed();
    }
}
