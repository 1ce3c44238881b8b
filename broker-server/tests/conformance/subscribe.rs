//! SUBSCRIBE and SUBACK (MQTT 5.0, 3.8, 3.9).

use crate::broker::Bystanders;
use crate::client::{connect, unique_topic, v5, v311};
use crate::runner::tests;
use crate::wire::{self, DO_NOT_SEND, NO_LOCAL, Packet, V5, V31, V311, publish};

tests![
    subscribe_is_acknowledged_with_its_packet_identifier,
    each_filter_has_a_reason_code_in_order,
    filters_are_handled_one_after_the_other,
    flags_are_checked,
    filter_must_be_utf8,
    no_filter_is_refused,
    reserved_option_bits_are_refused,
    qos_3_is_refused,
    retain_handling_3_is_refused,
    packet_identifier_0_is_refused,
    cut_short_is_refused,
    invalid_filters_are_refused,
    no_local_keeps_own_messages_away,
    without_no_local_own_messages_come,
    same_filter_replaces_the_subscription,
    no_message_is_lost_while_replacing,
    delivered_qos_is_the_minimum,
    thousand_filters_in_one_packet,
];

/// [MQTT-2.2.1-6], [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT311-2.3.1-7], [MQTT311-3.8.4-1], [MQTT311-3.8.4-2]
fn subscribe_is_acknowledged_with_its_packet_identifier() {
    for version in [V31, V311, V5] {
        let mut client = connect(version).open();
        for id in [1, 0x0100, 0xFFFF] {
            client.send(&wire::subscribe(version, id, &[(&unique_topic(), 0)], &[]));
            assert_eq!(client.expect_suback(id), [0]);
        }
    }
}

/// [MQTT-3.8.4-6], [MQTT-3.8.4-7], [MQTT-3.9.3-1], [MQTT-3.9.3-2], [MQTT311-3.8.4-5], [MQTT311-3.9.3-1],
/// [MQTT311-3.9.3-2]
fn each_filter_has_a_reason_code_in_order() {
    for version in [V31, V311, V5] {
        let mut client = connect(version).open();
        let topics: Vec<String> = (0..6).map(|_| unique_topic()).collect();
        let qos = [2, 0, 1, 1, 0, 2];
        let filters: Vec<(&str, u8)> = topics.iter().map(String::as_str).zip(qos).collect();
        assert_eq!(client.subscribe_many(&filters, &[]), qos);
    }
}

/// [MQTT-3.8.4-5], [MQTT311-3.8.4-4]
fn filters_are_handled_one_after_the_other() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let mut client = connect(version).open();
        // The last one for a filter stands.
        let codes =
            client.subscribe_many(&[(&topic, 2), (&format!("{topic}/b"), 1), (&topic, 0)], &[]);
        assert_eq!(codes, [2, 1, 0]);
        let mut publisher = v5().open();
        publisher.publish(publish(&topic, 2, "a"));
        publisher.publish(publish(&format!("{topic}/b"), 2, "b"));
        assert_eq!(client.take().qos, 0);
        assert_eq!(client.take().qos, 1);
        client.expect_nothing();
    }
}

/// [MQTT-3.8.1-1], [MQTT311-3.8.1-1]
fn flags_are_checked() {
    for version in [V311, V5] {
        for flags in [0, 1, 3, 6, 8, 10, 15] {
            let mut client = connect(version).open();
            let mut bytes = wire::subscribe(version, 1, &[(&unique_topic(), 0)], &[]);
            bytes[0] = 0x80 | flags;
            client.send(&bytes);
            client.expect_disconnect(&[0x81]);
        }
    }
}

/// SUBSCRIBE 1 whose payload is these bytes.
fn with_payload(version: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1];
    if version == V5 {
        body.push(0);
    }
    body.extend(payload);
    wire::frame(0x82, &body)
}

/// [MQTT-3.8.3-1], [MQTT311-3.8.3-1]
fn filter_must_be_utf8() {
    for version in [V311, V5] {
        for filter in [&b"\x00\x01\xFF\x00"[..], b"\x00\x03\xED\xA0\x80\x00", b"\x00\x03a\x00b\x00"]
        {
            let mut client = connect(version).open();
            client.send(&with_payload(version, filter));
            client.expect_disconnect(&[0x81, 0x82, 0x8F]);
        }
    }
}

/// [MQTT-3.8.3-2], [MQTT311-3.8.3-3]
fn no_filter_is_refused() {
    for version in [V311, V5] {
        let mut client = connect(version).open();
        client.send(&wire::subscribe(version, 1, &[], &[]));
        client.expect_disconnect(&[0x81, 0x82]);
    }
}

/// [MQTT-3.8.3-5], [MQTT311-3.8.3-4]
fn reserved_option_bits_are_refused() {
    for (version, bits) in
        [(V5, vec![0x40, 0x80, 0xC0]), (V311, vec![0x04, 0x08, 0x10, 0x20, 0x40, 0x80])]
    {
        for bit in bits {
            let mut client = connect(version).open();
            client.send(&wire::subscribe(version, 1, &[(&unique_topic(), bit)], &[]));
            client.expect_disconnect(&[0x81, 0x82]);
        }
    }
}

/// MQTT 5.0, 3.8.3.1: a Protocol Error. [MQTT311-3.8.3-4]
fn qos_3_is_refused() {
    for version in [V311, V5] {
        let mut client = connect(version).open();
        client.send(&wire::subscribe(version, 1, &[(&unique_topic(), 3)], &[]));
        client.expect_disconnect(&[0x81, 0x82]);
    }
}

/// MQTT 5.0, 3.8.3.1: a Protocol Error.
fn retain_handling_3_is_refused() {
    let mut client = v5().open();
    client.send(&wire::subscribe(V5, 1, &[(&unique_topic(), 0x30)], &[]));
    client.expect_disconnect(&[0x81, 0x82]);
}

/// [MQTT-2.2.1-3] as seen by the Server, [MQTT311-2.3.1-1]
fn packet_identifier_0_is_refused() {
    for version in [V311, V5] {
        let mut client = connect(version).open();
        client.send(&wire::subscribe(version, 0, &[(&unique_topic(), 0)], &[]));
        client.expect_disconnect(&[0x81, 0x82]);
    }
}

/// A filter without options, a length beyond the packet.
fn cut_short_is_refused() {
    for payload in [&b"\x00\x01a"[..], b"\x00\x05a\x00", b"\x00", b"\x00\x01a\x00\x00\x01b"] {
        let mut client = v5().open();
        client.send(&with_payload(V5, payload));
        client.expect_disconnect(&[0x81, 0x82]);
    }
}

/// [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1], [MQTT311-4.7.1-2], [MQTT311-4.7.1-3], [MQTT311-4.7.3-1]
fn invalid_filters_are_refused() {
    let mut bystanders = Bystanders::new();
    for version in [V311, V5] {
        for filter in ["", "a#", "#/a", "a/#/b", "a+", "+a", "a/+b/c", "a/b+", "##", "a/##", "++"] {
            let mut client = connect(version).open();
            client.send(&wire::subscribe(version, 1, &[(filter, 0)], &[]));
            // Either the packet is malformed or the filter fails alone.
            match client.recv_within(5000) {
                Some(Packet::SubAck { codes, .. }) => {
                    let want = if version == V5 { 0x8F } else { 0x80 };
                    assert_eq!(codes, [want], "{filter:?}");
                }
                Some(Packet::Disconnect { code, .. }) => {
                    assert!(matches!(code, 0x81 | 0x82 | 0x8F), "{filter:?}: {code:#04x}");
                    client.expect_closed();
                }
                Some(other) => panic!("{filter:?}: {other:?}"),
                None => client.expect_closed(),
            }
        }
    }
    bystanders.exchange();
}

/// [MQTT-3.8.3-3]
fn no_local_keeps_own_messages_away() {
    let topic = unique_topic();
    let mut client = v5().open();
    client.subscribe(&topic, 1 | NO_LOCAL);
    let mut other = v5().open();
    other.subscribe(&topic, 0);
    client.publish(publish(&topic, 1, "own"));
    client.publish(publish(&topic, 2, "own"));
    client.expect_nothing();
    assert_eq!(other.expect_publish().text(), "own");
    other.publish(publish(&topic, 1, "foreign"));
    assert_eq!(client.take().text(), "foreign");
    client.expect_nothing();
}

/// MQTT 5.0, 3.8.3.1
fn without_no_local_own_messages_come() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut client = connect(version).open();
        client.subscribe(&topic, 1);
        client.publish(publish(&topic, 1, "own"));
        assert_eq!(client.take().text(), "own");
    }
}

/// [MQTT-3.8.4-3], [MQTT311-3.8.4-3]
fn same_filter_replaces_the_subscription() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut client = connect(version).open();
        for qos in [0, 2, 1] {
            client.subscribe(&topic, qos);
            v5().open().publish(publish(&topic, 2, "x"));
            assert_eq!(client.take().qos, qos);
            client.expect_nothing();
        }
        client.unsubscribe(&[&topic]);
        v5().open().publish(publish(&topic, 2, "x"));
        client.expect_nothing();
    }
}

/// [MQTT-3.8.4-4], [MQTT311-3.8.4-3]
fn no_message_is_lost_while_replacing() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    let mut publisher = v5().open();
    for n in 0..40 {
        publisher.send_publish(&publish(&topic, 1, format!("{n}")).id(n + 1));
        let id = subscriber.packet_id();
        let options = 1 | if n % 2 == 0 { DO_NOT_SEND } else { 0 };
        subscriber.send(&wire::subscribe(V5, id, &[(&topic, options)], &[]));
        subscriber.expect_suback(id);
    }
    for n in 0..40 {
        publisher.expect_puback(n + 1);
        assert_eq!(subscriber.take().text(), format!("{n}"));
    }
    subscriber.expect_nothing();
}

/// [MQTT-3.8.4-8], [MQTT311-3.8.4-6]
fn delivered_qos_is_the_minimum() {
    for version in [V31, V311, V5] {
        for granted in 0..=2 {
            let topic = unique_topic();
            let mut subscriber = connect(version).open();
            subscriber.subscribe(&topic, granted);
            let mut publisher = v5().open();
            for published in 0..=2 {
                publisher.publish(publish(&topic, published, "x"));
                assert_eq!(subscriber.take().qos, published.min(granted));
            }
        }
    }
}

/// All answered, nobody else waits.
fn thousand_filters_in_one_packet() {
    let mut bystanders = Bystanders::new();
    let topic = unique_topic();
    let topics: Vec<String> = (0..1000).map(|n| format!("{topic}/{n}/+/#")).collect();
    let filters: Vec<(&str, u8)> = topics.iter().map(|t| (t.as_str(), 1)).collect();
    let mut client = v311().open();
    let codes = client.subscribe_many(&filters, &[]);
    assert_eq!(codes.len(), 1000);
    bystanders.exchange();
    if codes[999] == 1 {
        v5().open().publish(publish(&format!("{topic}/999/a/b"), 1, "x"));
        client.take();
    }
}
