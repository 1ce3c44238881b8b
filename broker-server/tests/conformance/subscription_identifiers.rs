//! Subscription Identifier (MQTT 5.0, 3.8.2.1.2, 3.3.2.3.8).

use crate::broker::{announced, is_ours, need};
use crate::client::{unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, Packet, Prop, V5, publish};

tests![
    identifier_comes_with_the_message,
    without_identifier_none_comes,
    overlapping_subscriptions_send_all,
    identifier_is_replaced,
    identifier_is_removed,
    identifier_comes_with_retained_messages,
    largest_identifier_is_accepted,
    identifier_0_is_refused,
    two_identifiers_are_refused,
    identifiers_belong_to_one_client,
];

fn id(value: u32) -> Prop {
    Prop::SubscriptionIdentifier(value)
}

fn need_ids() {
    need(announced().subscription_ids, "Subscription Identifiers");
}

/// [MQTT-3.3.4-3], [MQTT-3.3.4-4]
fn identifier_comes_with_the_message() {
    need_ids();
    for qos in 0..=2 {
        let topic = unique_topic();
        let mut subscriber = v5().open();
        subscriber.subscribe_with(&topic, qos, &[id(qos as u32 + 1)]);
        v5().open().publish(publish(&topic, qos, "x"));
        assert_eq!(subscriber.take().props.subscription_ids(), [qos as u32 + 1]);
    }
}

/// MQTT 5.0, 3.8.2.1.2
fn without_identifier_none_comes() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe(&topic, 1);
    subscriber.subscribe_with(&unique_topic(), 1, &[id(1)]);
    v5().open().publish(publish(&topic, 1, "x"));
    assert!(subscriber.take().props.0.is_empty());
}

/// [MQTT-3.3.4-3], [MQTT-3.3.4-4], [MQTT-3.3.4-5]
fn overlapping_subscriptions_send_all() {
    need_ids();
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe_with(&format!("{topic}/a"), 1, &[id(1)]);
    subscriber.subscribe_with(&format!("{topic}/+"), 2, &[id(200)]);
    subscriber.subscribe_with(&format!("{topic}/#"), 0, &[id(30_000)]);
    subscriber.subscribe(&format!("{topic}/a/#"), 1);
    v5().open().publish(publish(&format!("{topic}/a"), 2, "x"));
    // One copy with all of them, or a copy for each subscription.
    let mut copies = vec![subscriber.take()];
    while let Some(Packet::Publish(copy)) = subscriber.recv_within(300) {
        subscriber.acknowledge(&copy);
        copies.push(copy);
    }
    let mut ids: Vec<u32> = copies.iter().flat_map(|c| c.props.subscription_ids()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 200, 30_000], "{copies:?}");
    assert!(copies.len() == 4 || copies.len() == 1 && copies[0].qos == 2, "{copies:?}");
    assert!(!is_ours() || copies.len() == 1);
}

/// [MQTT-3.8.4-3], [MQTT-3.3.4-3]
fn identifier_is_replaced() {
    need_ids();
    let topic = unique_topic();
    let mut subscriber = v5().open();
    for value in [5, 6] {
        subscriber.subscribe_with(&topic, 1, &[id(value)]);
        v5().open().publish(publish(&topic, 1, "x"));
        assert_eq!(subscriber.take().props.subscription_ids(), [value]);
    }
}

/// [MQTT-3.8.4-3]
fn identifier_is_removed() {
    let topic = unique_topic();
    let mut subscriber = v5().open();
    subscriber.subscribe_with(&topic, 1, &[id(5)]);
    subscriber.subscribe(&topic, 1);
    v5().open().publish(publish(&topic, 1, "x"));
    assert!(subscriber.take().props.subscription_ids().is_empty());
}

/// [MQTT-3.3.4-3]
fn identifier_comes_with_retained_messages() {
    need_ids();
    let topic = unique_topic();
    v5().open().publish(publish(&topic, 1, "kept").retain());
    let mut subscriber = v5().open();
    subscriber.subscribe_with(&topic, 1, &[id(77)]);
    assert_eq!(subscriber.take().props.subscription_ids(), [77]);
}

/// MQTT 5.0, 3.8.2.1.2: 1 to 268,435,455; one to four bytes.
fn largest_identifier_is_accepted() {
    need_ids();
    for value in [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455] {
        let topic = unique_topic();
        let mut subscriber = v5().open();
        subscriber.subscribe_with(&topic, 1, &[id(value)]);
        v5().open().publish(publish(&topic, 1, "x"));
        assert_eq!(subscriber.take().props.subscription_ids(), [value]);
    }
}

/// MQTT 5.0, 3.8.2.1.2: a Protocol Error.
fn identifier_0_is_refused() {
    let mut client = v5().open();
    client.send(&wire::subscribe(V5, 1, &[(&unique_topic(), 1)], &[id(0)]));
    client.expect_disconnect(&[0x81, 0x82]);
}

/// MQTT 5.0, 3.8.2.1.2: a Protocol Error.
fn two_identifiers_are_refused() {
    let mut client = v5().open();
    client.send(&wire::subscribe(V5, 1, &[(&unique_topic(), 1)], &[id(1), id(2)]));
    client.expect_disconnect(&[0x81, 0x82]);
}

/// MQTT 5.0, 3.8.4: those of the receiver, never those of others.
fn identifiers_belong_to_one_client() {
    need_ids();
    let topic = unique_topic();
    let mut subscribers: Vec<_> = (0..3).map(|_| v5().open()).collect();
    for (n, subscriber) in (1..).zip(&mut subscribers) {
        subscriber.subscribe_with(&topic, 1, &[id(n)]);
    }
    v5().open().publish(publish(&topic, 1, "x"));
    for (n, subscriber) in (1..).zip(&mut subscribers) {
        assert_eq!(subscriber.take().props.subscription_ids(), [n]);
    }
}
