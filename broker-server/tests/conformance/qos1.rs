//! QoS 1: at least once (MQTT 5.0, 4.3.2).

use crate::broker::is_ours;
use crate::client::{connect, unique_id, unique_topic, v5, v311};
use crate::runner::tests;
use crate::wire::{self, PUBACK, Packet, V5, V31, V311, publish};

tests![
    publish_is_acknowledged_with_its_packet_identifier,
    without_subscribers_puback_says_so,
    packet_identifier_is_free_after_puback,
    message_stays_until_puback,
    first_delivery_has_no_dup,
    message_is_not_resent_while_connected,
    puback_with_error_ends_the_exchange,
    repeated_puback_does_no_harm,
    puback_of_an_unknown_packet_identifier_does_no_harm,
    pubacks_come_in_order,
];

/// [MQTT-2.2.1-5], [MQTT-3.3.4-1], [MQTT-3.4.2-1], [MQTT-4.3.2-4], [MQTT311-2.3.1-6], [MQTT311-3.3.4-1], [MQTT311-4.3.2-2]
fn publish_is_acknowledged_with_its_packet_identifier() {
    for version in [V31, V311, V5] {
        let mut client = connect(version).open();
        for id in [1, 2, 255, 256, 0x7FFF, 0xFFFF] {
            client.send_publish(&publish(&unique_topic(), 1, "x").id(id));
            assert!(matches!(client.expect_puback(id), 0 | 0x10));
        }
        client.expect_nothing();
    }
}

/// MQTT 5.0, 3.4.2.1: 0x10, which a Server may send, and only if it is true.
fn without_subscribers_puback_says_so() {
    let topic = unique_topic();
    let mut publisher = v5().open();
    let code = publisher.publish(publish(&topic, 1, "x"));
    assert!(code == 0x10 || !is_ours() && code == 0, "{code:#04x}");
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 0);
    assert_eq!(publisher.publish(publish(&topic, 1, "x")), 0);
}

/// [MQTT-4.3.2-5], [MQTT311-4.3.2-2]
fn packet_identifier_is_free_after_puback() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut subscriber = v5().open();
        subscriber.subscribe(&topic, 1);
        let mut publisher = connect(version).open();
        for text in ["first", "second", "third"] {
            let message = publish(&topic, 1, text).id(7);
            let message = if text == "first" { message } else { message.dup() };
            publisher.send_publish(&message);
            publisher.expect_puback(7);
            assert_eq!(subscriber.take().text(), text, "a new message, whatever DUP says");
        }
    }
}

/// [MQTT-4.3.2-3], [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT311-4.3.2-1], [MQTT311-4.4.0-1], [MQTT311-3.3.1-1]
fn message_stays_until_puback() {
    for version in [V31, V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut subscriber = connect(version).id(&id).resume().expiry(60).open();
        subscriber.subscribe(&topic, 1);
        v5().open().publish(publish(&topic, 1, "x"));
        let first = subscriber.expect_publish();
        subscriber.lose();
        for _ in 0..2 {
            let mut again = connect(version).id(&id).resume().expiry(60).open();
            let second = again.expect_publish();
            assert!(second.dup);
            assert_eq!((second.id, second.text()), (first.id, "x".to_owned()));
            again.lose();
        }
        let mut again = connect(version).id(&id).resume().expiry(60).open();
        again.take();
        again.ping();
        again.lose();
        connect(version).id(&id).resume().expiry(60).open().expect_nothing();
    }
}

/// [MQTT-4.3.2-2], [MQTT311-4.3.2-1]
fn first_delivery_has_no_dup() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 1);
    v5().open().publish(publish(&topic, 1, "online"));
    let got = subscriber.take();
    assert!(got.qos == 1 && !got.dup);
    subscriber.disconnect();
    v5().open().publish(publish(&topic, 1, "queued").dup());
    let got = v5().id(&id).resume().open().take();
    assert!(got.qos == 1 && !got.dup, "queued, but never sent before");
}

/// [MQTT-4.4.0-1]: Servers must not resend at any other time than on reconnecting.
fn message_is_not_resent_while_connected() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    v5().open().publish(publish(&topic, 1, "x"));
    let got = subscriber.expect_publish();
    assert_eq!(subscriber.recv_within(2500), None);
    subscriber.acknowledge(&got);
    subscriber.expect_nothing();
}

/// [MQTT-4.4.0-2]
fn puback_with_error_ends_the_exchange() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 1);
    v5().open().publish(publish(&topic, 1, "x"));
    let got = subscriber.expect_publish();
    subscriber.send(&wire::ack_code(PUBACK, got.id, 0x97));
    subscriber.expect_nothing();
    subscriber.lose();
    v5().id(&id).resume().open().expect_nothing();
}

/// The second one is for no message; the connection may end, others may not notice.
fn repeated_puback_does_no_harm() {
    let topic = unique_topic();
    let mut subscriber = v311().open();
    subscriber.subscribe(&topic, 1);
    let mut publisher = v5().open();
    for text in ["a", "b"] {
        publisher.publish(publish(&topic, 1, text));
        let got = subscriber.take();
        assert_eq!(got.text(), text);
        subscriber.send(&wire::ack(PUBACK, got.id));
    }
    subscriber.expect_nothing();
}

/// No statement of the specification tells what to do; ours goes on.
fn puback_of_an_unknown_packet_identifier_does_no_harm() {
    let mut client = v5().open();
    client.send(&wire::ack(PUBACK, 4711));
    client.send(&wire::PINGREQ);
    match client.recv() {
        Packet::PingResp => {}
        Packet::Disconnect { code: 0x82, .. } if !is_ours() => client.expect_closed(),
        other => panic!("{other:?}"),
    }
}

/// MQTT 5.0, 4.6: acknowledgements in the order of the PUBLISH packets.
fn pubacks_come_in_order() {
    let mut client = v5().open();
    let topic = unique_topic();
    let mut bytes = Vec::new();
    for id in 1..=50 {
        bytes.extend(publish(&topic, 1, "x").id(id).encode(V5));
    }
    client.send(&bytes);
    for id in 1..=50 {
        client.expect_puback(id);
    }
}
