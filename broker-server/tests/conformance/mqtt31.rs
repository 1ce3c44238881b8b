//! MQTT 3.1 ("MQIsdp", level 3). It has no numbered statements; the sections cited are those of the 3.1 document.

use crate::client::{Will, elapse, raw, unique_id, unique_topic, v5, v31};
use crate::runner::tests;
use crate::wire::{self, PUBACK, Packet, V31, frame, publish};

tests![
    connect_publish_subscribe,
    connack_has_no_session_present,
    long_client_id_is_refused_or_served,
    empty_client_id_is_refused_or_served,
    clean_session_0_keeps_messages,
    unacknowledged_messages_come_again,
    will_is_published,
    keep_alive_is_enforced,
    duplicate_client_id_takes_over,
    dup_flag_on_subscribe_and_pubrel_is_tolerated,
];

/// 3.1 to 3.14
fn connect_publish_subscribe() {
    let topic = unique_topic();
    let mut client = v31().username("user").password(b"secret").open();
    client.subscribe(&format!("{topic}/#"), 2);
    for qos in 0..=2 {
        client.publish(publish(&format!("{topic}/a"), qos, "x"));
        assert_eq!(client.take().qos, qos);
    }
    client.unsubscribe(&[&format!("{topic}/#")]);
    client.publish(publish(&format!("{topic}/a"), 2, "x"));
    client.expect_nothing();
    client.disconnect();
}

/// 3.2: the first byte is reserved; a 3.1 client may insist that it is zero.
fn connack_has_no_session_present() {
    let id = unique_id();
    v31().id(&id).resume().open().disconnect();
    assert!(!v31().id(&id).resume().open().session_present);
}

/// 3.1: more than 23 characters may be answered with return code 2.
fn long_client_id_is_refused_or_served() {
    let id = format!("{}{}", unique_id(), "x".repeat(40));
    let mut client = v31().id(&id).begin();
    match client.recv() {
        Packet::ConnAck { code: 0, .. } => client.ping(),
        Packet::ConnAck { code: 2, .. } => client.expect_closed(),
        other => panic!("{other:?}"),
    }
}

/// 3.1: the Client Identifier has at least one character.
fn empty_client_id_is_refused_or_served() {
    let mut client = v31().id("").begin();
    match client.recv_within(5000) {
        Some(Packet::ConnAck { code: 0, .. }) => client.ping(),
        Some(Packet::ConnAck { code: 2, .. }) | None => client.expect_closed(),
        other => panic!("{other:?}"),
    }
}

/// 3.1, Clean session flag
fn clean_session_0_keeps_messages() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = v31().id(&id).resume().open();
    client.subscribe(&topic, 1);
    client.disconnect();
    v5().open().publish(publish(&topic, 1, "x"));
    assert_eq!(v31().id(&id).resume().open().take().text(), "x");
}

/// 4.2
fn unacknowledged_messages_come_again() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = v31().id(&id).resume().open();
    client.subscribe(&topic, 1);
    v5().open().publish(publish(&topic, 1, "x"));
    let sent = client.expect_publish();
    client.lose();
    let mut client = v31().id(&id).resume().open();
    let again = client.expect_publish();
    assert_eq!((again.id, again.dup), (sent.id, true));
    client.send(&wire::ack(PUBACK, again.id));
    client.expect_nothing();
}

/// 3.1, Will flag
fn will_is_published() {
    let topic = unique_topic();
    let mut watcher = v31().open();
    watcher.subscribe(&topic, 2);
    v31().will(Will::new(&topic, "lost").qos(2).retain()).open().lose();
    assert_eq!(watcher.take().text(), "lost");
    let mut late = v31().open();
    late.subscribe(&topic, 2);
    assert!(late.take().retain);
}

/// 3.1, Keep Alive timer
fn keep_alive_is_enforced() {
    let mut client = v31().keep_alive(2).open();
    elapse(1000);
    client.ping();
    client.expect_closed();
}

/// 3.1
fn duplicate_client_id_takes_over() {
    let id = unique_id();
    let mut old = v31().id(&id).open();
    let mut new = v31().id(&id).open();
    old.expect_closed();
    new.ping();
}

/// 2.1: 3.1 knows DUP on these packets; refusing it is lawful for 3.1.1 only.
fn dup_flag_on_subscribe_and_pubrel_is_tolerated() {
    let topic = unique_topic();
    let mut client = raw(V31);
    client.send(&v31().encode());
    client.expect_connack(0);
    let mut subscribe = wire::subscribe(V31, 1, &[(&topic, 2)], &[]);
    subscribe[0] |= 0x08;
    client.send(&subscribe);
    client.expect_suback(1);
    client.send_publish(&publish(&topic, 2, "x").id(2));
    client.expect_pubrec(2);
    client.send(&frame(0x6A, b"\0\x02"));
    client.expect_pubcomp(2);
    let mut unsubscribe = wire::unsubscribe(V31, 3, &[&topic]);
    unsubscribe[0] |= 0x08;
    client.send(&unsubscribe);
    client.expect_unsuback(3);
}
