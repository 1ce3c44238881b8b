//! Retained Messages (MQTT 5.0, 3.3.1.3) and the options about them.

use crate::client::{connect, unique_id, unique_topic, v5, v311};
use crate::runner::tests;
use crate::wire::{DO_NOT_SEND, Prop, RAP, SEND_IF_NEW, V5, V31, V311, publish};

tests![
    retained_message_is_sent_to_new_subscribers,
    retained_message_is_replaced,
    retained_message_of_qos_0_replaces_too,
    empty_payload_removes,
    empty_payload_is_not_stored,
    message_without_retain_changes_nothing,
    retained_messages_outlive_the_session,
    all_matching_retained_messages_are_sent,
    retained_qos_is_the_minimum,
    retain_handling_0_sends_at_each_subscribe,
    retain_handling_1_sends_if_new,
    retain_handling_1_counts_the_session,
    retain_handling_2_never_sends,
    retain_as_published_0_clears_the_flag,
    retain_as_published_1_keeps_the_flag,
    retained_message_has_the_flag_whatever_the_option,
    properties_are_retained,
    dollar_topics_are_not_sent_for_wildcards,
    nothing_is_sent_on_resume,
];

fn retain(topic: &str, qos: u8, text: &str) {
    v5().open().publish(publish(topic, qos, text).retain());
}

/// [MQTT-3.3.1-5], [MQTT-3.3.1-9], [MQTT311-3.3.1-5], [MQTT311-3.3.1-6], [MQTT311-3.3.1-8]
fn retained_message_is_sent_to_new_subscribers() {
    for version in [V31, V311, V5] {
        for qos in 0..=2 {
            let topic = unique_topic();
            connect(version).open().publish(publish(&topic, qos, "kept").retain());
            let mut subscriber = connect(version).open();
            subscriber.subscribe(&topic, 2);
            let got = subscriber.take();
            assert!(got.retain && !got.dup);
            assert_eq!((got.qos, got.text()), (qos, "kept".to_owned()));
            subscriber.expect_nothing();
        }
    }
}

/// [MQTT-3.3.1-5], [MQTT311-3.3.1-5]
fn retained_message_is_replaced() {
    let topic = unique_topic();
    for text in ["first", "second", "third"] {
        retain(&topic, 1, text);
    }
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    assert_eq!(subscriber.take().text(), "third");
    subscriber.expect_nothing();
}

/// [MQTT311-3.3.1-7]
fn retained_message_of_qos_0_replaces_too() {
    let topic = unique_topic();
    retain(&topic, 2, "first");
    retain(&topic, 0, "second");
    let mut subscriber = v311().open();
    subscriber.subscribe(&topic, 2);
    let got = subscriber.take();
    assert_eq!((got.qos, got.text()), (0, "second".to_owned()));
}

/// [MQTT-3.3.1-6], [MQTT311-3.3.1-10]
fn empty_payload_removes() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut online = connect(version).open();
        online.subscribe(&topic, 1);
        retain(&topic, 1, "kept");
        assert_eq!(online.take().text(), "kept");
        connect(version).open().publish(publish(&topic, 1, "").retain());
        assert!(online.take().payload.is_empty(), "processed normally as well");
        let mut later = connect(version).open();
        later.subscribe(&topic, 1);
        later.expect_nothing();
    }
}

/// [MQTT-3.3.1-7], [MQTT311-3.3.1-11]
fn empty_payload_is_not_stored() {
    let topic = unique_topic();
    retain(&topic, 1, "");
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    subscriber.expect_nothing();
}

/// [MQTT-3.3.1-8], [MQTT311-3.3.1-12]
fn message_without_retain_changes_nothing() {
    for version in [V311, V5] {
        let topic = unique_topic();
        let mut publisher = connect(version).open();
        publisher.publish(publish(&topic, 1, "not kept"));
        let mut subscriber = v5().open();
        subscriber.subscribe(&topic, 1);
        subscriber.expect_nothing();

        retain(&topic, 1, "kept");
        publisher.publish(publish(&topic, 1, "not kept"));
        publisher.publish(publish(&topic, 1, ""));
        let mut subscriber = v5().open();
        subscriber.subscribe(&topic, 1);
        assert_eq!(subscriber.take().text(), "kept");
    }
}

/// [MQTT311-3.1.2-7]; MQTT 5.0, 4.1: no part of the Session State.
fn retained_messages_outlive_the_session() {
    let topic = unique_topic();
    let id = unique_id();
    v311().id(&id).open().publish(publish(&topic, 1, "kept").retain());
    v311().id(&id).open().disconnect();
    let mut subscriber = v311().open();
    subscriber.subscribe(&topic, 1);
    assert_eq!(subscriber.take().text(), "kept");
}

/// [MQTT-3.3.1-9], [MQTT311-3.3.1-6]
fn all_matching_retained_messages_are_sent() {
    let topic = unique_topic();
    let mut publisher = v5().open();
    for level in ["a", "a/b", "a/b/c", "x/y", "", "a/"] {
        publisher.publish(publish(&format!("{topic}/{level}"), 1, format!("/{level}")).retain());
    }
    publisher.publish(publish(&topic, 1, "root").retain());
    let cases: [(&str, &[&str]); 6] = [
        ("/#", &["/", "/a", "/a/", "/a/b", "/a/b/c", "/x/y", "root"]),
        ("/+", &["/", "/a"]),
        ("/a/#", &["/a", "/a/", "/a/b", "/a/b/c"]),
        ("/+/+", &["/a/", "/a/b", "/x/y"]),
        ("/+/b/#", &["/a/b", "/a/b/c"]),
        ("/a/b", &["/a/b"]),
    ];
    for (filter, want) in cases {
        let mut subscriber = v5().open();
        subscriber.subscribe(&format!("{topic}{filter}"), 1);
        let mut got: Vec<String> = want.iter().map(|_| subscriber.take().text()).collect();
        got.sort();
        assert_eq!(got, want, "{filter}");
        subscriber.expect_nothing();
    }
}

/// [MQTT-3.8.4-8]
fn retained_qos_is_the_minimum() {
    for published in 0..=2 {
        let topic = unique_topic();
        retain(&topic, published, "x");
        for granted in 0..=2 {
            let mut subscriber = v5().open();
            subscriber.subscribe(&topic, granted);
            assert_eq!(subscriber.take().qos, published.min(granted));
        }
    }
}

/// [MQTT-3.3.1-9], [MQTT-3.8.4-4], [MQTT311-3.8.4-3]
fn retain_handling_0_sends_at_each_subscribe() {
    for version in [V311, V5] {
        let topic = unique_topic();
        retain(&topic, 1, "kept");
        let mut subscriber = connect(version).open();
        for _ in 0..3 {
            subscriber.subscribe(&topic, 1);
            assert_eq!(subscriber.take().text(), "kept");
        }
        subscriber.expect_nothing();
    }
}

/// [MQTT-3.3.1-10]
fn retain_handling_1_sends_if_new() {
    let topic = unique_topic();
    retain(&topic, 1, "kept");
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1 | SEND_IF_NEW);
    assert_eq!(subscriber.take().text(), "kept");
    subscriber.subscribe(&topic, 2 | SEND_IF_NEW);
    subscriber.expect_nothing();
    subscriber.unsubscribe(&[&topic]);
    subscriber.subscribe(&topic, 1 | SEND_IF_NEW);
    assert_eq!(subscriber.take().text(), "kept");
}

/// [MQTT-3.3.1-10]: a subscription of the resumed Session exists already.
fn retain_handling_1_counts_the_session() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut subscriber = v5().id(&id).expiry(60).open();
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 0, "kept").retain());
    let mut subscriber = v5().id(&id).resume().open();
    while let Some(packet) = subscriber.recv_within(200) {
        // Sent as a message to the offline client, if the broker queues QoS 0 at all.
        assert!(matches!(packet, crate::wire::Packet::Publish(_)));
    }
    subscriber.subscribe(&topic, 1 | SEND_IF_NEW);
    subscriber.expect_nothing();
}

/// [MQTT-3.3.1-11]
fn retain_handling_2_never_sends() {
    let topic = unique_topic();
    retain(&topic, 1, "kept");
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1 | DO_NOT_SEND);
    subscriber.subscribe(&format!("{topic}/#"), 1 | DO_NOT_SEND);
    subscriber.expect_nothing();
    v5().open().publish(publish(&format!("{topic}/a"), 1, "new"));
    assert_eq!(subscriber.take().text(), "new");
}

/// [MQTT-3.3.1-12], [MQTT311-3.3.1-9]
fn retain_as_published_0_clears_the_flag() {
    for version in [V31, V311, V5] {
        let topic = unique_topic();
        let mut subscriber = connect(version).open();
        subscriber.subscribe(&topic, 1);
        retain(&topic, 1, "x");
        assert!(!subscriber.take().retain);
    }
}

/// [MQTT-3.3.1-13]
fn retain_as_published_1_keeps_the_flag() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1 | RAP);
    let mut publisher = v311().open();
    publisher.publish(publish(&topic, 1, "with").retain());
    assert!(subscriber.take().retain);
    publisher.publish(publish(&topic, 1, "without"));
    assert!(!subscriber.take().retain);
    publisher.publish(publish(&topic, 1, "").retain());
    assert!(subscriber.take().retain);
}

/// MQTT 5.0, 3.3.1.3: sent because of a new subscription, the flag is set.
fn retained_message_has_the_flag_whatever_the_option() {
    let topic = unique_topic();
    retain(&topic, 1, "kept");
    for options in [1, 1 | RAP] {
        let mut subscriber = v5().open();
        subscriber.subscribe(&topic, options);
        assert!(subscriber.take().retain);
    }
}

/// [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-20]
fn properties_are_retained() {
    let topic = unique_topic();
    let props = [
        Prop::PayloadFormatIndicator(1),
        Prop::ContentType("text/plain".into()),
        Prop::ResponseTopic("answers/here".into()),
        Prop::CorrelationData(vec![0, 1, 2]),
        Prop::UserProperty("b".into(), "2".into()),
        Prop::UserProperty("a".into(), "1".into()),
    ];
    let mut message = publish(&topic, 1, "kept").retain();
    message.props.0 = props.to_vec();
    v5().open().publish(message);
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    let got = subscriber.take().props;
    for prop in &props {
        assert!(got.0.contains(prop), "{prop:?} is missing in {got:?}");
    }
    assert_eq!(got.user(), [("b", "2"), ("a", "1")]);
}

/// [MQTT-4.7.2-1], [MQTT311-4.7.2-1]
fn dollar_topics_are_not_sent_for_wildcards() {
    let topic = format!("$conformance/{}", unique_topic());
    v5().open().publish(publish(&topic, 1, "kept").retain());
    for filter in [format!("+/{}", &topic[13..]), format!("+/+/{}/#", &topic[25..])] {
        let mut subscriber = v5().open();
        subscriber.subscribe(&filter, 1);
        subscriber.expect_nothing();
    }
}

/// Retained messages follow SUBSCRIBE only, not the resumption of a Session (MQTT 5.0, 3.3.1.3).
fn nothing_is_sent_on_resume() {
    for version in [V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        retain(&topic, 1, "kept");
        let mut subscriber = connect(version).id(&id).resume().expiry(60).open();
        subscriber.subscribe(&topic, 1);
        subscriber.take();
        subscriber.disconnect();
        connect(version).id(&id).resume().expiry(60).open().expect_nothing();
    }
}
