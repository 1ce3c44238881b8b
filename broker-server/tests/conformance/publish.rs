//! PUBLISH (MQTT 5.0, 3.3), without the parts that have a file of their own.

use crate::broker::{Bystanders, is_ours};
use crate::client::{connect, unique_topic, v5, v311};
use crate::runner::tests;
use crate::wire::{self, Prop, V5, V31, V311, publish};

tests![
    message_reaches_the_subscriber_unaltered,
    each_version_reaches_each_other,
    empty_payload_is_delivered,
    large_payload_is_delivered,
    qos_0_has_no_dup_and_no_packet_identifier,
    dup_is_not_passed_on,
    dup_with_qos_0_is_refused,
    qos_3_is_refused,
    wildcards_in_topic_name_are_refused,
    empty_topic_name_is_refused,
    topic_name_must_be_utf8,
    topic_name_with_nul_is_refused,
    missing_topic_name_is_refused,
    packet_identifier_0_is_refused,
    subscription_identifier_from_a_client_is_refused,
    payload_format_indicator_is_passed_on,
    payload_format_indicator_2_is_not_altered,
    content_type_is_passed_on,
    content_type_must_be_utf8,
    server_packet_ids_are_unused,
    overlapping_subscriptions_respect_the_maximum_qos,
    unsubscribed_topics_are_not_delivered,
    topic_with_bom_is_not_stripped,
];

/// [MQTT-3.3.2-3], [MQTT-4.5.0-1], [MQTT311-3.3.2-3], [MQTT311-4.5.0-1]
fn message_reaches_the_subscriber_unaltered() {
    let payload: Vec<u8> = (0..=255).collect();
    for qos in 0..=2 {
        let topic = unique_topic();
        let mut subscriber = v5().open();
        subscriber.subscribe(&format!("{topic}/+"), 2);
        let topic = format!("{topic}/level");
        v5().open().publish(publish(&topic, qos, &payload));
        let got = subscriber.take();
        assert_eq!((got.topic, got.qos, got.payload), (topic, qos, payload.clone()));
        assert!(!got.retain && !got.dup && got.props.0.is_empty());
        subscriber.expect_nothing();
    }
}

/// [MQTT-2.2.2-1]: the reader of the suite wants a Property Length in every packet.
fn each_version_reaches_each_other() {
    for from in [V31, V311, V5] {
        for to in [V31, V311, V5] {
            let topic = unique_topic();
            let mut subscriber = connect(to).open();
            subscriber.subscribe(&topic, 2);
            let mut publisher = connect(from).open();
            for qos in 0..=2 {
                publisher.publish(publish(&topic, qos, format!("{from} to {to}")));
                let got = subscriber.take();
                assert_eq!((got.qos, got.text()), (qos, format!("{from} to {to}")));
            }
        }
    }
}

/// MQTT 5.0, 3.3.3: a zero length Payload is valid.
fn empty_payload_is_delivered() {
    let topic = unique_topic();
    let mut client = v5().open();
    client.subscribe(&topic, 1);
    client.publish(publish(&topic, 1, ""));
    assert!(client.take().payload.is_empty());
}

/// Remaining Length of one to four bytes (MQTT 5.0, 2.1.4).
fn large_payload_is_delivered() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    let mut publisher = v5().open();
    for len in [10, 100, 127, 128, 16_000, 16_383, 16_384, 100_000, 1_000_000] {
        let payload: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        publisher.publish(publish(&topic, 1, &payload));
        assert!(subscriber.take().payload == payload, "{len} bytes differ");
    }
}

/// [MQTT-2.2.1-2], [MQTT-3.3.1-2], [MQTT-4.3.1-1], [MQTT311-2.3.1-5], [MQTT311-3.3.1-2], [MQTT311-4.3.1-1]
fn qos_0_has_no_dup_and_no_packet_identifier() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let mut subscriber = connect(version).open();
        subscriber.subscribe(&topic, 0);
        v5().open().publish(publish(&topic, 2, "payload").dup());
        let got = subscriber.expect_publish();
        assert_eq!((got.qos, got.dup, got.id), (0, false, 0));
        assert_eq!(got.text(), "payload", "a Packet Identifier would stand before it");
    }
}

/// [MQTT-3.3.1-3], [MQTT311-3.3.1-3]
fn dup_is_not_passed_on() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let mut subscriber = connect(version).open();
        subscriber.subscribe(&topic, 2);
        for qos in [1, 2] {
            connect(version).open().publish(publish(&topic, qos, "x").dup());
            assert!(!subscriber.take().dup);
        }
    }
}

/// [MQTT-3.3.1-2], [MQTT-4.13.1-1], [MQTT311-3.3.1-2]
fn dup_with_qos_0_is_refused() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let mut watcher = v5().open();
        watcher.subscribe(&topic, 0);
        let mut client = connect(version).open();
        client.send_publish(&publish(&topic, 0, "x").dup());
        client.expect_disconnect(&[0x81, 0x82]);
        watcher.expect_nothing();
    }
}

/// [MQTT-3.3.1-4], [MQTT311-3.3.1-4]
fn qos_3_is_refused() {
    for version in [V31, V311, V5] {
        let mut client = connect(version).open();
        client.send_publish(&publish(&unique_topic(), 3, "x").id(1));
        client.expect_disconnect(&[0x81]);
    }
}

/// [MQTT-3.3.2-2], [MQTT-4.7.0-1], [MQTT311-3.3.2-2], [MQTT311-4.7.1-1]
fn wildcards_in_topic_name_are_refused() {
    for version in [V31, V311, V5] {
        for topic in ["#", "+", "a/+/b", "a/#", "a+", "a#b"] {
            let mut client = connect(version).open();
            client.send_publish(&publish(topic, 1, "x").id(1));
            client.expect_disconnect(&[0x81, 0x82, 0x90]);
        }
    }
}

/// [MQTT-4.7.3-1], [MQTT311-4.7.3-1]; MQTT 5.0, 3.3.2.1: a Protocol Error without Topic Alias.
fn empty_topic_name_is_refused() {
    for version in [V31, V311, V5] {
        let mut client = connect(version).open();
        client.send_publish(&publish("", 0, "x"));
        client.expect_disconnect(&[0x81, 0x82, 0x90]);
    }
}

/// A PUBLISH at QoS 0 whose Topic Name is these bytes.
fn with_topic(version: u8, topic: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    wire::write_bytes(&mut body, topic);
    if version == V5 {
        body.push(0);
    }
    wire::frame(0x30, &body)
}

/// [MQTT-1.5.4-1], [MQTT-3.3.2-1], [MQTT311-1.5.3-1], [MQTT311-3.3.2-1]
fn topic_name_must_be_utf8() {
    let mut bystanders = Bystanders::new();
    let not_utf8: [&[u8]; 8] = [
        b"\xFF",
        b"a\xC3",                    // cut short
        b"a\x80",                    // continuation alone
        b"\xC0\xAF",                 // overlong "/"
        b"\xED\xA0\x80",             // U+D800
        b"\xED\xBF\xBF",             // U+DFFF
        b"\xF4\x90\x80\x80",         // above U+10FFFF
        b"\xED\xA0\xBD\xED\xB8\x80", // a surrogate pair
    ];
    for version in [V311, V5] {
        for topic in not_utf8 {
            let mut client = connect(version).open();
            client.send(&with_topic(version, topic));
            client.expect_disconnect(&[0x81, 0x82, 0x90]);
        }
    }
    bystanders.exchange();
}

/// [MQTT-1.5.4-2], [MQTT-4.7.3-2], [MQTT311-1.5.3-2], [MQTT311-4.7.3-2]
fn topic_name_with_nul_is_refused() {
    for version in [V311, V5] {
        for topic in [&b"\0"[..], b"a/\0/b", b"a\0"] {
            let mut client = connect(version).open();
            client.send(&with_topic(version, topic));
            client.expect_disconnect(&[0x81, 0x82, 0x90]);
        }
    }
}

/// [MQTT-3.3.2-1], [MQTT311-3.3.2-1]
fn missing_topic_name_is_refused() {
    for body in [&b""[..], b"\x00", b"\x00\x05abc"] {
        let mut client = v5().open();
        client.send(&wire::frame(0x30, body));
        client.expect_disconnect(&[0x81, 0x82]);
    }
}

/// [MQTT-2.2.1-3] as seen by the Server, [MQTT311-2.3.1-1]
fn packet_identifier_0_is_refused() {
    for version in [V311, V5] {
        for qos in [1, 2] {
            let mut client = connect(version).open();
            client.send_publish(&publish(&unique_topic(), qos, "x").id(0));
            client.expect_disconnect(&[0x81, 0x82]);
        }
    }
}

/// [MQTT-3.3.4-6]
fn subscription_identifier_from_a_client_is_refused() {
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 1);
    let mut client = v5().open();
    client.send_publish(&publish(&topic, 1, "x").id(1).prop(Prop::SubscriptionIdentifier(7)));
    client.expect_disconnect(&[0x81, 0x82]);
    watcher.expect_nothing();
}

/// [MQTT-3.3.2-4]
fn payload_format_indicator_is_passed_on() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    for value in [0, 1] {
        let prop = Prop::PayloadFormatIndicator(value);
        v5().open().publish(publish(&topic, 1, "text").prop(prop.clone()));
        let got = subscriber.take().props.0;
        // 0 is also what its absence means.
        assert!(got == [prop] || value == 0 && got.is_empty(), "{got:?}");
    }
}

/// [MQTT-3.3.2-4]; MQTT 5.0, 3.3.2.3.2 has no 2, but does not call it an error either. The reader of the
/// suite refuses one that is passed on.
fn payload_format_indicator_2_is_not_altered() {
    let topic = unique_topic();
    let mut watcher = v5().open();
    watcher.subscribe(&topic, 1);
    let mut client = v5().open();
    client.send_publish(&publish(&topic, 1, "x").id(1).prop(Prop::PayloadFormatIndicator(2)));
    if is_ours() {
        client.expect_disconnect(&[0x81, 0x82, 0x99]);
        watcher.expect_nothing();
    }
}

/// [MQTT-3.3.2-20]
fn content_type_is_passed_on() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    let prop = Prop::ContentType("text/plain; charset=utf-8 \u{1F600}".into());
    v5().open().publish(publish(&topic, 1, "x").prop(prop.clone()));
    assert_eq!(subscriber.take().props.0, [prop]);
}

/// [MQTT-3.3.2-19]
fn content_type_must_be_utf8() {
    let mut body = Vec::new();
    wire::write_bytes(&mut body, unique_topic().as_bytes());
    body.extend([5, 0x03, 0, 2, 0xC3, 0x28]);
    let mut client = v5().open();
    client.send(&wire::frame(0x30, &body));
    client.expect_disconnect(&[0x81]);
}

/// [MQTT-2.2.1-4], [MQTT-4.3.2-1], [MQTT-4.3.3-1], [MQTT311-2.3.1-4], [MQTT311-4.3.2-1]
fn server_packet_ids_are_unused() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let mut subscriber = connect(version).open();
        subscriber.subscribe(&topic, 2);
        let mut publisher = v5().open();
        for n in 0..10 {
            publisher.publish(publish(&topic, 1 + n % 2, "x"));
        }
        let mut ids: Vec<u16> = (0..10).map(|_| subscriber.expect_publish().id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 10, "each unacknowledged PUBLISH has its own: {ids:?}");
        assert!(!ids.contains(&0));
    }
}

/// [MQTT-3.3.4-2], [MQTT311-3.3.5-1]
fn overlapping_subscriptions_respect_the_maximum_qos() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let mut subscriber = connect(version).open();
        subscriber.subscribe(&format!("{topic}/#"), 0);
        subscriber.subscribe(&format!("{topic}/+"), 2);
        subscriber.subscribe(&format!("{topic}/a"), 1);
        v5().open().publish(publish(&format!("{topic}/a"), 2, "x"));
        // One copy, or one for each subscription; the best must be of QoS 2.
        let mut got = vec![subscriber.take().qos];
        while let Some(wire::Packet::Publish(more)) = subscriber.recv_within(300) {
            subscriber.acknowledge(&more);
            got.push(more.qos);
        }
        got.sort_unstable();
        assert!(got == [2] || got == [0, 1, 2], "{got:?}");
    }
}

/// [MQTT-3.3.2-3]
fn unsubscribed_topics_are_not_delivered() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&format!("{topic}/a"), 0);
    let mut publisher = v5().open();
    for other in ["b", "a/b", "A", "a ", ""] {
        publisher.publish(publish(&format!("{topic}/{other}"), 1, "x"));
    }
    subscriber.expect_nothing();
}

/// [MQTT-1.5.4-3], [MQTT311-1.5.3-3]
fn topic_with_bom_is_not_stripped() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let mut subscriber = connect(version).open();
        subscriber.subscribe(&format!("{topic}/\u{FEFF}a"), 0);
        let mut publisher = v311().open();
        publisher.publish(publish(&format!("{topic}/a"), 1, "without"));
        publisher.publish(publish(&format!("{topic}/\u{FEFF}a"), 1, "\u{FEFF}with"));
        let got = subscriber.expect_publish();
        assert_eq!(got.text(), "\u{FEFF}with");
        assert!(got.topic.ends_with("/\u{FEFF}a"), "{:?}", got.topic);
    }
}
