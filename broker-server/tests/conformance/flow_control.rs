//! Receive Maximum (MQTT 5.0, 4.9, 3.1.2.11.3).

use crate::broker::{announced, need};
use crate::client::{unique_id, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, PUBACK, PUBCOMP, PUBREC, Prop, V5, publish};

tests![
    server_stops_at_receive_maximum,
    qos_2_counts_until_pubcomp,
    pubrec_with_error_gives_the_quota_back,
    qos_0_flows_whatever_the_quota,
    other_packets_flow_whatever_the_quota,
    resent_messages_count,
    receive_maximum_0_is_refused,
    client_above_receive_maximum_is_disconnected,
    client_at_receive_maximum_is_served,
    qos_1_beyond_receive_maximum_is_served_one_by_one,
];

/// [MQTT-3.3.4-9], [MQTT-4.9.0-1], [MQTT-4.9.0-2]
fn server_stops_at_receive_maximum() {
    for max in [1, 2, 5] {
        let topic = unique_topic();
        let mut subscriber = v5().prop(Prop::ReceiveMaximum(max)).open();
        subscriber.subscribe(&topic, 1);
        let mut publisher = v5().open();
        for n in 0..10 {
            publisher.publish(publish(&topic, 1, format!("{n}")));
        }
        let mut open: Vec<_> = (0..max).map(|_| subscriber.expect_publish()).collect();
        subscriber.expect_nothing();
        for n in 0..10 {
            let oldest = open.remove(0);
            assert_eq!(oldest.text(), format!("{n}"));
            subscriber.send(&wire::ack(PUBACK, oldest.id));
            if n + max < 10 {
                open.push(subscriber.expect_publish());
            }
            subscriber.expect_nothing();
        }
    }
}

/// [MQTT-3.3.4-9], [MQTT-4.9.0-2]: PUBREC does not give it back.
fn qos_2_counts_until_pubcomp() {
    let topic = unique_topic();
    let mut subscriber = v5().prop(Prop::ReceiveMaximum(1)).open();
    subscriber.subscribe(&topic, 2);
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 2, "a"));
    publisher.publish(publish(&topic, 1, "b"));
    let first = subscriber.expect_publish();
    subscriber.send(&wire::ack(PUBREC, first.id));
    subscriber.expect_pubrel(first.id);
    subscriber.expect_nothing();
    subscriber.send(&wire::ack(PUBCOMP, first.id));
    assert_eq!(subscriber.take().text(), "b");
}

/// [MQTT-3.3.4-9]
fn pubrec_with_error_gives_the_quota_back() {
    let topic = unique_topic();
    let mut subscriber = v5().prop(Prop::ReceiveMaximum(1)).open();
    subscriber.subscribe(&topic, 2);
    let mut publisher = v5().open();
    for text in ["a", "b", "c"] {
        publisher.publish(publish(&topic, 2, text));
    }
    let first = subscriber.expect_publish();
    subscriber.send(&wire::ack_code(PUBREC, first.id, 0x80));
    let second = subscriber.expect_publish();
    assert_eq!(second.text(), "b");
    subscriber.send(&wire::ack_code(PUBREC, second.id, 0x97));
    assert_eq!(subscriber.take().text(), "c");
}

/// MQTT 5.0, 4.9: the quota is about QoS above 0.
fn qos_0_flows_whatever_the_quota() {
    let topic = unique_topic();
    let mut subscriber = v5().prop(Prop::ReceiveMaximum(1)).open();
    subscriber.subscribe(&topic, 1);
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 1, "one"));
    publisher.publish(publish(&topic, 1, "held back"));
    publisher.publish(publish(&topic, 0, "zero"));
    let first = subscriber.expect_publish();
    assert_eq!(first.text(), "one");
    assert_eq!(subscriber.expect_publish().text(), "zero");
    subscriber.expect_nothing();
    subscriber.acknowledge(&first);
    assert_eq!(subscriber.take().text(), "held back");
}

/// [MQTT-3.3.4-10], [MQTT-4.9.0-3]
fn other_packets_flow_whatever_the_quota() {
    let topic = unique_topic();
    let mut client = v5().prop(Prop::ReceiveMaximum(1)).open();
    client.subscribe(&topic, 1);
    client.publish(publish(&topic, 1, "one"));
    let open = client.expect_publish();
    client.publish(publish(&topic, 1, "two"));
    client.publish(publish(&unique_topic(), 2, "x"));
    client.subscribe(&unique_topic(), 1);
    client.unsubscribe(&[&unique_topic()]);
    client.expect_nothing();
    client.acknowledge(&open);
    assert_eq!(client.take().text(), "two");
}

/// [MQTT-3.3.4-9]: what is resent is not acknowledged either.
fn resent_messages_count() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = v5().id(&id).expiry(60).open();
    client.subscribe(&topic, 1);
    let mut publisher = v5().open();
    for n in 0..4 {
        publisher.publish(publish(&topic, 1, format!("{n}")));
    }
    for _ in 0..4 {
        client.expect_publish();
    }
    client.lose();
    let mut client = v5().id(&id).resume().prop(Prop::ReceiveMaximum(2)).open();
    let mut open = vec![client.expect_publish(), client.expect_publish()];
    client.expect_nothing();
    for n in 0..4 {
        let oldest = open.remove(0);
        assert_eq!((oldest.text(), oldest.dup), (format!("{n}"), true));
        client.acknowledge(&oldest);
        if n < 2 {
            open.push(client.expect_publish());
        }
        client.expect_nothing();
    }
}

/// MQTT 5.0, 3.1.2.11.3: a Protocol Error.
fn receive_maximum_0_is_refused() {
    v5().prop(Prop::ReceiveMaximum(0)).begin().expect_refused(&[0x81, 0x82]);
}

/// MQTT 5.0, 3.3.4: 0x93 for one QoS 2 message too many.
fn client_above_receive_maximum_is_disconnected() {
    let max = announced().receive_maximum;
    need(max <= 1000, "a Receive Maximum small enough to exceed");
    let topic = unique_topic();
    let mut client = v5().open();
    for id in 1..=max {
        client.send_publish(&publish(&topic, 2, "x").id(id));
        assert!(client.expect_pubrec(id) < 0x80);
    }
    client.send_publish(&publish(&topic, 2, "x").id(max + 1));
    client.expect_disconnect(&[0x93]);
}

/// MQTT 5.0, 3.3.4: exactly Receive Maximum is allowed, and the quota comes back with PUBCOMP.
fn client_at_receive_maximum_is_served() {
    let max = announced().receive_maximum.min(1000);
    let topic = unique_topic();
    let mut client = v5().open();
    for round in 0..2 {
        let mut bytes = Vec::new();
        for id in 1..=max {
            bytes.extend(publish(&topic, 2, "x").id(id).encode(V5));
        }
        client.send(&bytes);
        for id in 1..=max {
            assert!(client.expect_pubrec(id) < 0x80, "{round}");
        }
        // The same identifiers again are no new messages.
        client.send_publish(&publish(&topic, 2, "x").id(max).dup());
        client.expect_pubrec(max);
        for id in 1..=max {
            client.send(&wire::ack(wire::PUBREL, id));
            assert_eq!(client.expect_pubcomp(id), 0);
        }
    }
}

/// Each PUBACK gives the quota back.
fn qos_1_beyond_receive_maximum_is_served_one_by_one() {
    let max = announced().receive_maximum.min(1000);
    let topic = unique_topic();
    let mut client = v5().open();
    for id in 1..=max + 20 {
        client.send_publish(&publish(&topic, 1, "x").id(id));
        assert!(client.expect_puback(id) < 0x80);
    }
}
