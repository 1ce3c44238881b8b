//! UNSUBSCRIBE and UNSUBACK (MQTT 5.0, 3.10, 3.11).

use crate::client::{connect, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, V5, V31, V311, publish};

tests![
    unsubscribe_is_acknowledged_with_its_packet_identifier,
    unknown_filters_are_acknowledged_too,
    each_filter_has_a_reason_code_in_order,
    filters_are_compared_character_by_character,
    no_new_messages_are_added,
    started_deliveries_are_completed,
    flags_are_checked,
    filter_must_be_utf8,
    no_filter_is_refused,
    packet_identifier_0_is_refused,
];

/// [MQTT-2.2.1-6], [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT311-2.3.1-7], [MQTT311-3.10.4-4]
fn unsubscribe_is_acknowledged_with_its_packet_identifier() {
    for version in [V31, V311, V5] {
        let mut client = connect(version).open();
        for id in [1, 0x0100, 0xFFFF] {
            let topic = unique_topic();
            client.subscribe(&topic, 0);
            client.send(&wire::unsubscribe(version, id, &[&topic]));
            let codes = client.expect_unsuback(id);
            assert_eq!(codes, if version == V5 { &[0][..] } else { &[] });
        }
    }
}

/// [MQTT-3.10.4-5], [MQTT311-3.10.4-5]
fn unknown_filters_are_acknowledged_too() {
    for version in [V31, V311, V5] {
        let mut client = connect(version).open();
        let codes = client.unsubscribe(&[&unique_topic()]);
        assert_eq!(codes, if version == V5 { &[0x11][..] } else { &[] });
    }
}

/// [MQTT-3.10.4-6], [MQTT-3.11.3-1], [MQTT-3.11.3-2], [MQTT311-3.10.4-6]
fn each_filter_has_a_reason_code_in_order() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let [a, b, c] = ["a", "b", "c"].map(|l| format!("{topic}/{l}"));
        let mut client = connect(version).open();
        client.subscribe(&a, 1);
        client.subscribe(&c, 1);
        let codes = client.unsubscribe(&[&a, &b, &c, &a]);
        let want = if version == V5 { &[0, 0x11, 0, 0x11][..] } else { &[] };
        assert_eq!(codes, want);
        for topic in [&a, &c] {
            v5().open().publish(publish(topic, 1, "x"));
        }
        client.expect_nothing();
    }
}

/// [MQTT-3.10.4-1], [MQTT311-3.10.4-1]
fn filters_are_compared_character_by_character() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let plus = format!("{topic}/+");
        let mut client = connect(version).open();
        client.subscribe(&plus, 1);
        for other in ["a", "#", "+/", "+/#", ""] {
            client.unsubscribe(&[&format!("{topic}/{other}")]);
        }
        v5().open().publish(publish(&format!("{topic}/a"), 1, "still"));
        assert_eq!(client.take().text(), "still");
        client.unsubscribe(&[&plus]);
        v5().open().publish(publish(&format!("{topic}/a"), 1, "gone"));
        client.expect_nothing();
    }
}

/// [MQTT-3.10.4-2], [MQTT311-3.10.4-2]
fn no_new_messages_are_added() {
    for version in [V31, V311, V5] {
        for qos in 0..=2 {
            let topic = unique_topic();
            let mut client = connect(version).open();
            client.subscribe(&topic, qos);
            let mut publisher = v5().open();
            publisher.publish(publish(&topic, qos, "before"));
            assert_eq!(client.take().text(), "before");
            client.unsubscribe(&[&topic]);
            publisher.publish(publish(&topic, qos, "after"));
            client.expect_nothing();
        }
    }
}

/// [MQTT-3.10.4-3], [MQTT311-3.10.4-3]
fn started_deliveries_are_completed() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut client = connect(version).open();
        client.subscribe(&topic, 2);
        v5().open().publish(publish(&topic, 2, "started"));
        let started = client.expect_publish();
        client.unsubscribe(&[&topic]);
        client.acknowledge(&started);
        client.expect_nothing();
    }
}

/// [MQTT-3.10.1-1], [MQTT311-3.10.1-1]
fn flags_are_checked() {
    for version in [V311, V5] {
        for flags in [0, 1, 3, 6, 8, 10, 15] {
            let mut client = connect(version).open();
            let mut bytes = wire::unsubscribe(version, 1, &[&unique_topic()]);
            bytes[0] = 0xA0 | flags;
            client.send(&bytes);
            client.expect_disconnect(&[0x81]);
        }
    }
}

/// [MQTT-3.10.3-1], [MQTT311-3.10.3-1]
fn filter_must_be_utf8() {
    for filter in [&b"\x00\x01\xFF"[..], b"\x00\x03\xED\xA0\x80", b"\x00\x03a\x00b", b"\x00\x05a"] {
        let mut client = v5().open();
        let mut body = vec![0, 1, 0];
        body.extend(filter);
        client.send(&wire::frame(0xA2, &body));
        client.expect_disconnect(&[0x81, 0x82, 0x8F]);
    }
}

/// [MQTT-3.10.3-2], [MQTT311-3.10.3-2]
fn no_filter_is_refused() {
    for version in [V311, V5] {
        let mut client = connect(version).open();
        client.send(&wire::unsubscribe(version, 1, &[]));
        client.expect_disconnect(&[0x81, 0x82]);
    }
}

/// [MQTT-2.2.1-3] as seen by the Server, [MQTT311-2.3.1-1]
fn packet_identifier_0_is_refused() {
    for version in [V311, V5] {
        let mut client = connect(version).open();
        client.send(&wire::unsubscribe(version, 0, &[&unique_topic()]));
        client.expect_disconnect(&[0x81, 0x82]);
    }
}
