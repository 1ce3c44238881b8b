//! QoS 2: exactly once (MQTT 5.0, 4.3.3).

use crate::broker::{is_ours, need};
use crate::client::{connect, unique_id, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, V5, V31, V311, publish};

tests![
    exchange_carries_one_packet_identifier,
    without_subscribers_pubrec_says_so,
    repeated_publish_is_not_delivered_twice,
    packet_identifier_is_free_after_pubcomp,
    packet_identifier_is_free_after_pubrec_with_error,
    other_messages_pass_between_publish_and_pubrel,
    pubrel_follows_pubrec,
    pubrec_with_error_ends_the_exchange,
    publish_is_not_resent_after_pubrec,
    pubrel_stays_until_pubcomp,
    publish_stays_until_pubrec,
    repeated_pubrec_is_answered_with_pubrel,
    pubrel_of_an_unknown_packet_identifier,
    pubrec_of_an_unknown_packet_identifier,
    pubcomp_of_an_unknown_packet_identifier_does_no_harm,
    pubrel_flags_are_checked,
    puback_for_qos_2_does_no_harm,
    pubrecs_and_pubcomps_come_in_order,
];

/// [MQTT-2.2.1-5], [MQTT-3.3.4-1], [MQTT-3.5.2-1], [MQTT-3.7.2-1], [MQTT-4.3.3-8], [MQTT-4.3.3-11],
/// [MQTT311-2.3.1-6], [MQTT311-3.3.4-1], [MQTT311-4.3.3-2]
fn exchange_carries_one_packet_identifier() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut subscriber = v5().open();
        subscriber.subscribe(&topic, 2);
        let mut publisher = connect(version).open();
        for id in [1, 300, 0xFFFF] {
            publisher.send_publish(&publish(&topic, 2, "x").id(id));
            assert_eq!(publisher.expect_pubrec(id), 0);
            publisher.send(&wire::ack(PUBREL, id));
            assert_eq!(publisher.expect_pubcomp(id), 0);
            assert_eq!(subscriber.take().qos, 2);
        }
    }
}

/// MQTT 5.0, 3.5.2.1: 0x10, which a Server may send, and only if it is true.
fn without_subscribers_pubrec_says_so() {
    let topic = unique_topic();
    let mut publisher = v5().open();
    let code = publisher.publish(publish(&topic, 2, "x"));
    assert!(code == 0x10 || !is_ours() && code == 0, "{code:#04x}");
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 0);
    assert_eq!(publisher.publish(publish(&topic, 2, "x")), 0);
}

/// [MQTT-4.3.3-10], [MQTT311-4.3.3-2]
fn repeated_publish_is_not_delivered_twice() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut subscriber = v5().open();
        subscriber.subscribe(&topic, 0);
        let mut publisher = connect(version).open();
        publisher.send_publish(&publish(&topic, 2, "x").id(9));
        publisher.expect_pubrec(9);
        for _ in 0..3 {
            publisher.send_publish(&publish(&topic, 2, "x").id(9).dup());
            publisher.expect_pubrec(9);
        }
        publisher.send(&wire::ack(PUBREL, 9));
        assert_eq!(publisher.expect_pubcomp(9), 0);
        assert_eq!(subscriber.expect_publish().text(), "x");
        subscriber.expect_nothing();
    }
}

/// [MQTT-4.3.3-12], [MQTT311-4.3.3-2]
fn packet_identifier_is_free_after_pubcomp() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut subscriber = v5().open();
        subscriber.subscribe(&topic, 2);
        let mut publisher = connect(version).open();
        for text in ["first", "second"] {
            let message = publish(&topic, 2, text).id(5);
            publisher.send_publish(&if text == "first" { message } else { message.dup() });
            publisher.expect_pubrec(5);
            publisher.send(&wire::ack(PUBREL, 5));
            publisher.expect_pubcomp(5);
            assert_eq!(subscriber.take().text(), text);
        }
    }
}

/// MQTT 5.0, 4.3.3: an open exchange holds up nothing else.
fn other_messages_pass_between_publish_and_pubrel() {
    let topic = unique_topic();
    let mut publisher = v5().open();
    publisher.send_publish(&publish(&topic, 2, "open").id(1));
    publisher.expect_pubrec(1);
    publisher.send_publish(&publish(&topic, 1, "x").id(2));
    publisher.expect_puback(2);
    publisher.send_publish(&publish(&topic, 2, "x").id(3));
    publisher.expect_pubrec(3);
    publisher.send(&wire::ack(PUBREL, 3));
    publisher.expect_pubcomp(3);
    publisher.send(&wire::ack(PUBREL, 1));
    publisher.expect_pubcomp(1);
}

/// [MQTT-3.6.2-1], [MQTT-4.3.3-2], [MQTT-4.3.3-4], [MQTT311-4.3.3-1]
fn pubrel_follows_pubrec() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut subscriber = connect(version).open();
        subscriber.subscribe(&topic, 2);
        v5().open().publish(publish(&topic, 2, "x"));
        let got = subscriber.expect_publish();
        assert!(got.qos == 2 && !got.dup);
        subscriber.send(&wire::ack(PUBREC, got.id));
        assert_eq!(subscriber.expect_pubrel(got.id), 0);
        subscriber.send(&wire::ack(PUBCOMP, got.id));
        subscriber.expect_nothing();
    }
}

/// [MQTT-4.3.3-9]
fn packet_identifier_is_free_after_pubrec_with_error() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 2);
    let mut publisher = v5().open();
    publisher.send_publish(&publish("$SYS/forbidden", 2, "refused").id(7));
    need(publisher.expect_pubrec(7) >= 0x80, "a topic that nobody may publish to");
    publisher.send_publish(&publish(&topic, 2, "new").id(7));
    assert_eq!(publisher.expect_pubrec(7), 0);
    publisher.send(&wire::ack(PUBREL, 7));
    assert_eq!(publisher.expect_pubcomp(7), 0);
    assert_eq!(subscriber.take().text(), "new");
}

/// [MQTT-4.3.3-4], [MQTT-4.4.0-2]
fn pubrec_with_error_ends_the_exchange() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 2);
    v5().open().publish(publish(&topic, 2, "x"));
    let got = subscriber.expect_publish();
    subscriber.send(&wire::ack_code(PUBREC, got.id, 0x83));
    subscriber.expect_nothing();
    subscriber.lose();
    v5().id(&id).resume().open().expect_nothing();
}

/// [MQTT-4.3.3-6], [MQTT311-4.3.3-1]
fn publish_is_not_resent_after_pubrec() {
    for version in [V31, V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut subscriber = connect(version).id(&id).resume().expiry(60).open();
        subscriber.subscribe(&topic, 2);
        v5().open().publish(publish(&topic, 2, "x"));
        let got = subscriber.expect_publish();
        subscriber.send(&wire::ack(PUBREC, got.id));
        subscriber.expect_pubrel(got.id);
        subscriber.lose();
        let mut again = connect(version).id(&id).resume().expiry(60).open();
        match again.recv() {
            Packet::PubRel(ack) => assert_eq!(ack.id, got.id),
            other => panic!("PUBREL expected, got {other:?}"),
        }
        again.send(&wire::ack(PUBCOMP, got.id));
        again.expect_nothing();
    }
}

/// [MQTT-4.3.3-5], [MQTT-4.4.0-1], [MQTT311-4.3.3-1], [MQTT311-4.4.0-1]
fn pubrel_stays_until_pubcomp() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 2);
    v5().open().publish(publish(&topic, 2, "x"));
    let got = subscriber.expect_publish();
    subscriber.send(&wire::ack(PUBREC, got.id));
    subscriber.expect_pubrel(got.id);
    subscriber.lose();
    for _ in 0..2 {
        let mut again = v5().id(&id).resume().expiry(60).open();
        again.expect_pubrel(got.id);
        again.lose();
    }
    let mut again = v5().id(&id).resume().expiry(60).open();
    again.expect_pubrel(got.id);
    again.send(&wire::ack(PUBCOMP, got.id));
    again.ping();
    again.lose();
    v5().id(&id).resume().expiry(60).open().expect_nothing();
}

/// [MQTT-4.3.3-3], [MQTT-3.3.1-1], [MQTT311-4.3.3-1], [MQTT311-3.3.1-1]
fn publish_stays_until_pubrec() {
    for version in [V31, V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut subscriber = connect(version).id(&id).resume().expiry(60).open();
        subscriber.subscribe(&topic, 2);
        v5().open().publish(publish(&topic, 2, "x"));
        let first = subscriber.expect_publish();
        subscriber.lose();
        let mut again = connect(version).id(&id).resume().expiry(60).open();
        let second = again.take();
        assert!(second.dup);
        assert_eq!((second.id, second.text()), (first.id, "x".to_owned()));
    }
}

/// The second PUBREC asks for what the first asked for.
fn repeated_pubrec_is_answered_with_pubrel() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 2);
    v5().open().publish(publish(&topic, 2, "x"));
    let got = subscriber.expect_publish();
    for _ in 0..2 {
        subscriber.send(&wire::ack(PUBREC, got.id));
        subscriber.expect_pubrel(got.id);
    }
    subscriber.send(&wire::ack(PUBCOMP, got.id));
    subscriber.expect_nothing();
}

/// [MQTT-4.3.3-11], [MQTT311-4.3.3-2]; MQTT 5.0, 3.7.2.1: 0x92 where nothing is known of it.
fn pubrel_of_an_unknown_packet_identifier() {
    for version in [V31, V311, V5] {
        let mut client = connect(version).open();
        client.send(&wire::ack(PUBREL, 4711));
        let code = client.expect_pubcomp(4711);
        let want = if version == V5 { 0x92 } else { 0 };
        assert!(code == want || !is_ours() && code == 0, "{code:#04x}");
        client.expect_nothing();
    }
}

/// MQTT 5.0, 3.6.2.1: PUBREL with 0x92.
fn pubrec_of_an_unknown_packet_identifier() {
    let mut client = v5().open();
    client.send(&wire::ack(PUBREC, 4711));
    client.send(&wire::PINGREQ);
    match client.recv() {
        Packet::PubRel(ack) => {
            assert_eq!(ack.id, 4711);
            assert!(ack.code == 0x92 || !is_ours() && ack.code == 0, "{:#04x}", ack.code);
            client.ping();
        }
        Packet::PingResp if !is_ours() => {}
        Packet::Disconnect { .. } if !is_ours() => client.expect_closed(),
        other => panic!("{other:?}"),
    }
}

/// No statement of the specification tells what to do; ours goes on.
fn pubcomp_of_an_unknown_packet_identifier_does_no_harm() {
    let mut client = v5().open();
    client.send(&wire::ack(PUBCOMP, 4711));
    client.send(&wire::PINGREQ);
    match client.recv() {
        Packet::PingResp => {}
        Packet::Disconnect { .. } if !is_ours() => client.expect_closed(),
        other => panic!("{other:?}"),
    }
}

/// [MQTT-3.6.1-1], [MQTT311-3.6.1-1]
fn pubrel_flags_are_checked() {
    for version in [V311, V5] {
        for flags in [0, 1, 3, 4, 6, 8, 10, 15] {
            let mut client = connect(version).open();
            client.send_publish(&publish(&unique_topic(), 2, "x").id(1));
            client.expect_pubrec(1);
            client.send(&wire::ack(0x60 | flags, 1));
            client.expect_disconnect(&[0x81]);
        }
    }
}

/// A PUBACK does not end a QoS 2 exchange: the message is not lost for it.
fn puback_for_qos_2_does_no_harm() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 2);
    v5().open().publish(publish(&topic, 2, "x"));
    let got = subscriber.expect_publish();
    subscriber.try_send(&wire::ack(PUBACK, got.id));
    subscriber.try_send(&wire::PINGREQ);
    match subscriber.recv_within(5000) {
        Some(Packet::PingResp) | None => drop(subscriber),
        Some(Packet::Disconnect { code: 0x82, .. }) => subscriber.expect_closed(),
        other => panic!("{other:?}"),
    }
    let mut again = v5().id(&id).resume().expiry(60).open();
    assert_eq!(again.take().text(), "x");
}

/// MQTT 5.0, 4.6: acknowledgements in the order of what they acknowledge.
fn pubrecs_and_pubcomps_come_in_order() {
    let topic = unique_topic();
    let mut client = v5().open();
    let mut bytes = Vec::new();
    for id in 1..=50 {
        bytes.extend(publish(&topic, 2, "x").id(id).encode(V5));
    }
    client.send(&bytes);
    let mut bytes = Vec::new();
    for id in 1..=50 {
        client.expect_pubrec(id);
        bytes.extend(wire::ack(PUBREL, id));
    }
    client.send(&bytes);
    for id in 1..=50 {
        client.expect_pubcomp(id);
    }
}
