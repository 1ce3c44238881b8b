//! Keys of what is under way to a client and from it, and of its queue while it is away.

use crate::Case;
use crate::broker::elsewhere;
use crate::case;
use crate::client::{Client, elapse, unique_id, unique_topic, v5, v311};
use crate::wire::{self, PUBACK, Packet, Prop, Publish, publish};

pub(crate) const CASES: &[Case] = &[
    case("max_inflight", "2", max_inflight),
    case("retry_interval", "\"200ms\"", retry_interval),
    case("max_awaiting_rel", "2", max_awaiting_rel),
    case("await_rel_timeout", "\"300ms\"", await_rel_timeout),
    case("max_mqueue_len", "2", max_mqueue_len),
    case("max_mqueue_bytes", "\"10KB\"", max_mqueue_bytes),
    case("mqueue_priorities", "\"zones/urgent=9\"", mqueue_priorities)
        .given("mqueue_default_priority = \"lowest\""),
    case("mqueue_default_priority", "\"lowest\"", mqueue_priorities)
        .given("mqueue_priorities = \"zones/urgent=9\""),
    case("mqueue_store_qos0", "false", mqueue_store_qos0),
];

fn max_inflight() {
    let topic = unique_topic();
    let mut client = v311().open();
    client.subscribe(&topic, 1);
    let mut publisher = v5().open_over(elsewhere());
    for n in 0..3 {
        publisher.publish(publish(&topic, 1, n.to_string()));
    }
    let first = client.expect_publish();
    assert_eq!(client.expect_publish().text(), "1");
    client.expect_nothing();
    client.send(&wire::ack(PUBACK, first.id));
    assert_eq!(client.expect_publish().text(), "2");
}

fn retry_interval() {
    let topic = unique_topic();
    let mut client = v311().open();
    client.subscribe(&topic, 1);
    v5().open_over(elsewhere()).publish(publish(&topic, 1, "again"));
    assert!(!client.expect_publish().dup);
    assert!(client.expect_publish().dup);
}

fn max_awaiting_rel() {
    let mut client = v5().open();
    assert!(client.props.0.contains(&Prop::ReceiveMaximum(2)));
    for id in 1..=3 {
        client.send_publish(&publish(&unique_topic(), 2, "x").id(id));
    }
    client.expect_pubrec(1);
    client.expect_pubrec(2);
    client.expect_disconnect(&[0x93]);
}

/// Once it is forgotten, the same message is another one.
fn await_rel_timeout() {
    let topic = unique_topic();
    let mut client = v311().open();
    client.subscribe(&topic, 0);
    let message = publish(&topic, 2, "x").id(1);
    client.send_publish(&message);
    client.expect_pubrec(1);
    client.expect_publish();
    for _ in 0..10 {
        elapse(400);
        client.send_publish(&message.clone().dup());
        client.expect_pubrec(1);
        client.ping();
        if client.recv_within(0).is_some() {
            return;
        }
    }
    panic!("it is not forgotten");
}

/// What a client gets that was away while these were published.
fn received_after(messages: &[Publish]) -> Vec<String> {
    let id = unique_id();
    let mut client = v311().id(&id).resume().open();
    for message in messages {
        client.subscribe(&message.topic, 1);
    }
    client.disconnect();
    let mut publisher = v5().open_over(elsewhere());
    for message in messages {
        publisher.publish(message.clone());
    }
    let mut client: Client = v311().id(&id).resume().open();
    assert!(client.session_present);
    client.ping();
    let mut texts = Vec::new();
    while let Some(Packet::Publish(message)) = client.recv_within(0) {
        texts.push(message.text());
    }
    texts
}

fn max_mqueue_len() {
    let topic = unique_topic();
    let messages = ["a", "b", "c"].map(|text| publish(&topic, 1, text));
    assert_eq!(received_after(&messages), ["b", "c"]);
}

fn max_mqueue_bytes() {
    let topic = unique_topic();
    let messages = ["a", "b", "c"].map(|text| publish(&topic, 1, text.repeat(6_000)));
    assert_eq!(received_after(&messages), ["c".repeat(6_000)]);
}

/// The topic is that of all zones that run this test: what is meant for another is not looked at.
fn mqueue_priorities() {
    let id = unique_id();
    let [later, urgent] = ["later", "urgent"].map(|text| format!("{text} {id}"));
    let messages = [publish(&unique_topic(), 1, &later), publish("zones/urgent", 1, &urgent)];
    let mut received = received_after(&messages);
    received.retain(|text| text.ends_with(&id));
    assert_eq!(received, [urgent, later]);
}

fn mqueue_store_qos0() {
    let topic = unique_topic();
    let messages = [publish(&topic, 0, "a"), publish(&topic, 1, "b")];
    assert_eq!(received_after(&messages), ["b"]);
}
