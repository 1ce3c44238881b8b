//! Resuming a Session (MQTT 5.0, 4.1, 4.4).

use crate::broker::is_ours;
use crate::client::{Client, connect, unique_id, unique_topic, v5};
use crate::runner::tests;
use crate::wire::{
    self, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Prop, RAP, V5, V31, V311, publish,
};

tests![
    unknown_session_is_created,
    subscriptions_survive,
    messages_are_queued_while_offline,
    qos_0_may_be_queued_or_not,
    unacknowledged_messages_are_resent_in_order,
    pubrels_are_resent_in_order,
    everything_owed_is_resent_before_new_messages,
    acknowledged_messages_are_not_resent,
    received_qos_2_is_remembered,
    pubrel_after_resume_is_answered_with_success,
    dup_of_a_message_first_seen_is_new,
    packet_identifiers_survive_two_reconnects,
    send_quota_starts_afresh,
    subscription_options_survive,
    subscription_identifiers_survive,
    clean_start_forgets_received_packet_identifiers,
    session_crosses_versions,
];

fn session(version: u8, id: &str) -> Client {
    connect(version).id(id).resume().expiry(60).open()
}

/// [MQTT-3.1.2-6], [MQTT311-3.1.2-4]
fn unknown_session_is_created() {
    for version in [V31, V311, V5] {
        let id = unique_id();
        let client = session(version, &id);
        assert!(!client.session_present);
        client.disconnect();
        let again = session(version, &id);
        assert!(again.session_present || version == V31);
    }
}

/// [MQTT-3.1.2-5], [MQTT-3.1.2-23], [MQTT311-3.1.2-4]
fn subscriptions_survive() {
    for version in [V31, V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut client = session(version, &id);
        client.subscribe(&topic, 1);
        client.subscribe(&format!("{topic}/gone"), 1);
        client.unsubscribe(&[&format!("{topic}/gone")]);
        client.lose();
        let mut client = session(version, &id);
        let mut publisher = v5().open();
        publisher.publish(publish(&format!("{topic}/gone"), 1, "gone"));
        publisher.publish(publish(&topic, 1, "x"));
        assert_eq!(client.take().text(), "x");
        client.expect_nothing();
    }
}

/// [MQTT-3.1.2-5], [MQTT-4.5.0-1], [MQTT311-3.1.2-5], [MQTT311-4.5.0-1]
fn messages_are_queued_while_offline() {
    for version in [V31, V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut client = session(version, &id);
        client.subscribe(&topic, 2);
        client.disconnect();
        let mut publisher = v5().open();
        for n in 0..30 {
            publisher.publish(publish(&topic, 1 + n % 2, format!("{n}")));
        }
        let mut client = session(version, &id);
        let got: Vec<_> = (0..30).map(|_| client.take()).collect();
        for (n, message) in got.iter().enumerate() {
            assert_eq!(message.text(), format!("{n}"));
            assert_eq!(usize::from(message.qos), 1 + n % 2);
            assert!(!message.dup, "never sent before");
        }
        client.expect_nothing();
    }
}

/// MQTT 5.0, 4.1: optional.
fn qos_0_may_be_queued_or_not() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = session(V5, &id);
    client.subscribe(&topic, 1);
    client.disconnect();
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 0, "zero"));
    publisher.publish(publish(&topic, 1, "one"));
    let mut client = session(V5, &id);
    let first = client.take();
    if first.text() == "zero" {
        assert_eq!(client.take().text(), "one");
    } else {
        assert_eq!(first.text(), "one");
    }
    client.expect_nothing();
}

/// [MQTT-4.4.0-1], [MQTT-3.3.1-1], [MQTT311-4.4.0-1], [MQTT311-2.3.1-3], [MQTT311-3.3.1-1], [MQTT311-4.6.0-1]
fn unacknowledged_messages_are_resent_in_order() {
    for version in [V31, V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut client = session(version, &id);
        client.subscribe(&topic, 2);
        let mut publisher = v5().open();
        for n in 0..10 {
            publisher.publish(publish(&topic, 1 + n % 2, format!("{n}")));
        }
        let first: Vec<_> = (0..10).map(|_| client.expect_publish()).collect();
        client.lose();
        let mut client = session(version, &id);
        for sent in &first {
            let again = client.expect_publish();
            assert!(again.dup);
            assert_eq!((again.id, again.qos, again.text()), (sent.id, sent.qos, sent.text()));
        }
        for sent in &first {
            client.acknowledge(sent);
        }
        client.expect_nothing();
    }
}

/// [MQTT-4.4.0-1], [MQTT311-4.4.0-1]
fn pubrels_are_resent_in_order() {
    for version in [V31, V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut client = session(version, &id);
        client.subscribe(&topic, 2);
        let mut publisher = v5().open();
        for n in 0..6 {
            publisher.publish(publish(&topic, 2, format!("{n}")));
        }
        let ids: Vec<u16> = (0..6).map(|_| client.expect_publish().id).collect();
        for id in &ids {
            client.send(&wire::ack(PUBREC, *id));
            client.expect_pubrel(*id);
        }
        client.lose();
        let mut client = session(version, &id);
        for id in &ids {
            assert_eq!(client.expect_pubrel(*id), 0);
        }
        for id in &ids {
            client.send(&wire::ack(PUBCOMP, *id));
        }
        client.expect_nothing();
    }
}

/// [MQTT-4.4.0-1], [MQTT-4.6.0-5]
fn everything_owed_is_resent_before_new_messages() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = session(V5, &id);
    client.subscribe(&topic, 2);
    let mut publisher = v5().open();
    for text in ["released", "sent 2", "sent 1"] {
        publisher.publish(publish(&topic, if text == "sent 1" { 1 } else { 2 }, text));
    }
    let sent: Vec<_> = (0..3).map(|_| client.expect_publish()).collect();
    client.send(&wire::ack(PUBREC, sent[0].id));
    client.expect_pubrel(sent[0].id);
    client.lose();
    publisher.publish(publish(&topic, 1, "queued"));
    let mut client = session(V5, &id);
    client.expect_pubrel(sent[0].id);
    client.send(&wire::ack(PUBCOMP, sent[0].id));
    let got: Vec<_> = (0..3).map(|_| client.expect_publish()).collect();
    let seen: Vec<_> = got.iter().map(|p| (p.text(), p.dup)).collect();
    let want = [("sent 2", true), ("sent 1", true), ("queued", false)];
    assert_eq!(seen, want.map(|(text, dup)| (text.to_owned(), dup)));
    for publish in &got {
        client.acknowledge(publish);
    }
    client.expect_nothing();
}

/// [MQTT-4.3.2-3], [MQTT-4.4.0-1]
fn acknowledged_messages_are_not_resent() {
    for version in [V31, V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut client = session(version, &id);
        client.subscribe(&topic, 1);
        let mut publisher = v5().open();
        for n in 0..5 {
            publisher.publish(publish(&topic, 1, format!("{n}")));
        }
        let sent: Vec<_> = (0..5).map(|_| client.expect_publish()).collect();
        for n in [0, 2, 4] {
            client.send(&wire::ack(PUBACK, sent[n].id));
        }
        client.ping();
        client.lose();
        let mut client = session(version, &id);
        for n in [1, 3] {
            assert_eq!(client.take().text(), format!("{n}"));
        }
        client.expect_nothing();
    }
}

/// [MQTT-4.3.3-10], [MQTT311-4.3.3-2]: over two connections.
fn received_qos_2_is_remembered() {
    for version in [V31, V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut watcher = v5().open();
        watcher.subscribe(&topic, 0);
        let mut client = session(version, &id);
        client.send_publish(&publish(&topic, 2, "once").id(3));
        client.expect_pubrec(3);
        client.lose();
        let mut client = session(version, &id);
        client.send_publish(&publish(&topic, 2, "once").id(3).dup());
        client.expect_pubrec(3);
        client.send(&wire::ack(PUBREL, 3));
        assert_eq!(client.expect_pubcomp(3), 0);
        assert_eq!(watcher.expect_publish().text(), "once");
        watcher.expect_nothing();
    }
}

/// [MQTT-4.3.3-11]; MQTT 5.0, 3.7.2.1: 0x92 is not for what the Session remembers.
fn pubrel_after_resume_is_answered_with_success() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = session(V5, &id);
    client.send_publish(&publish(&topic, 2, "x").id(3));
    client.expect_pubrec(3);
    client.lose();
    let mut client = session(V5, &id);
    client.send(&wire::ack(PUBREL, 3));
    assert_eq!(client.expect_pubcomp(3), 0);
}

/// DUP is a hint only: the Server may never have got the first one (MQTT 5.0, 3.3.1.1).
fn dup_of_a_message_first_seen_is_new() {
    for version in [V31, V311, V5] {
        for qos in [1, 2] {
            let (id, topic) = (unique_id(), unique_topic());
            let mut watcher = v5().open();
            watcher.subscribe(&topic, 0);
            session(version, &id).lose();
            session(version, &id).publish(publish(&topic, qos, "new").dup());
            assert_eq!(watcher.expect_publish().text(), "new");
        }
    }
}

/// [MQTT-2.2.1-4], [MQTT-4.4.0-1], [MQTT311-2.3.1-3]
fn packet_identifiers_survive_two_reconnects() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = session(V5, &id);
    client.subscribe(&topic, 1);
    let mut publisher = v5().open();
    publisher.publish(publish(&topic, 1, "old"));
    let old = client.expect_publish();
    client.lose();
    let mut client = session(V5, &id);
    assert_eq!(client.expect_publish().id, old.id);
    client.lose();
    let mut client = session(V5, &id);
    assert_eq!(client.expect_publish().id, old.id);
    publisher.publish(publish(&topic, 1, "new"));
    let new = client.expect_publish();
    assert_eq!(new.text(), "new");
    assert_ne!(new.id, old.id, "the old one is still in use");
    client.acknowledge(&new);
    client.acknowledge(&old);
    client.expect_nothing();
}

/// [MQTT-4.9.0-1]: the quota is no part of the Session State (MQTT 5.0, 4.9).
fn send_quota_starts_afresh() {
    let (id, topic) = (unique_id(), unique_topic());
    let connect = || v5().id(&id).resume().expiry(60).prop(Prop::ReceiveMaximum(2)).open();
    let mut client = connect();
    client.subscribe(&topic, 1);
    let mut publisher = v5().open();
    for n in 0..6 {
        publisher.publish(publish(&topic, 1, format!("{n}")));
    }
    client.expect_publish();
    client.expect_publish();
    client.expect_nothing();
    client.lose();
    let mut client = connect();
    for n in 0..6 {
        assert_eq!(client.take().text(), format!("{n}"));
    }
    client.expect_nothing();
}

/// Attack case 42: Retain As Published and QoS apply to what was queued, too [MQTT-3.3.1-13].
fn subscription_options_survive() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = session(V5, &id);
    client.subscribe(&topic, 1 | RAP);
    client.subscribe(&format!("{topic}/own"), 1 | wire::NO_LOCAL);
    client.disconnect();
    v5().open().publish(publish(&topic, 2, "kept").retain());
    let mut client = session(V5, &id);
    let got = client.take();
    assert!(got.retain && got.qos == 1, "{got:?}");
    v5().open().publish(publish(&topic, 1, "online").retain());
    assert!(client.take().retain);
    client.publish(publish(&format!("{topic}/own"), 1, "own"));
    client.expect_nothing();
}

/// [MQTT-3.3.4-3]: for what was queued, too.
fn subscription_identifiers_survive() {
    let (id, topic) = (unique_id(), unique_topic());
    let mut client = session(V5, &id);
    client.subscribe_with(&topic, 1, &[Prop::SubscriptionIdentifier(4711)]);
    client.disconnect();
    v5().open().publish(publish(&topic, 1, "queued"));
    let mut client = session(V5, &id);
    assert_eq!(client.take().props.subscription_ids(), [4711]);
    v5().open().publish(publish(&topic, 1, "online"));
    assert_eq!(client.take().props.subscription_ids(), [4711]);
}

/// [MQTT-3.1.2-4], [MQTT311-3.1.2-6]: an identifier of the old Session means nothing in the new one.
fn clean_start_forgets_received_packet_identifiers() {
    for version in [V311, V5] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut watcher = v5().open();
        watcher.subscribe(&topic, 0);
        let mut client = session(version, &id);
        client.send_publish(&publish(&topic, 2, "first").id(3));
        client.expect_pubrec(3);
        client.lose();
        let mut client = connect(version).id(&id).clean().open();
        client.send_publish(&publish(&topic, 2, "second").id(3));
        client.expect_pubrec(3);
        client.send(&wire::ack(PUBREL, 3));
        client.expect_pubcomp(3);
        let mut got = vec![watcher.expect_publish().text()];
        // The first one may have been delivered at PUBLISH or, by brokers that wait for PUBREL, never.
        if got[0] == "first" {
            got.push(watcher.expect_publish().text());
        }
        assert_eq!(got.last().unwrap(), "second");
        watcher.expect_nothing();
    }
}

/// A Session belongs to the Client Identifier, whatever version the next CONNECT speaks.
fn session_crosses_versions() {
    for (old, new) in [(V311, V5), (V5, V311), (V31, V5)] {
        let (id, topic) = (unique_id(), unique_topic());
        let mut client = session(old, &id);
        client.subscribe(&topic, 1);
        client.disconnect();
        v5().open().publish(publish(&topic, 1, "x"));
        let mut client = session(new, &id);
        if client.session_present || is_ours() {
            assert_eq!(client.take().text(), "x");
        }
        client.ping();
        match client.recv_within(10) {
            None => {}
            Some(Packet::Publish(_)) if !is_ours() => {}
            other => panic!("{other:?}"),
        }
    }
}
