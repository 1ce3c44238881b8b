//! Metrics: each moves by one where it should, and no other does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_codec::{Packet, Property};
use broker_core::{Metric, ReasonCode};

use crate::rig::*;

/// What `act` adds to each metric but those of bytes.
fn moved(rig: &mut Rig, act: impl FnOnce(&mut Rig)) -> Vec<String> {
    let values = |rig: &mut Rig| -> Vec<u64> {
        Metric::ALL.iter().map(|metric| rig.metric(*metric)).collect()
    };
    let before = values(rig);
    act(rig);
    let after = values(rig);
    Metric::ALL
        .iter()
        .zip(before.iter().zip(&after))
        .filter(|(metric, (old, new))| old != new && !metric.name().starts_with("bytes/"))
        .map(|(metric, (old, new))| format!("{} +{}", metric.name(), new - old))
        .collect()
}

#[track_caller]
fn check(rig: &mut Rig, expected: &[&str], act: impl FnOnce(&mut Rig)) {
    assert_eq!(moved(rig, act), expected);
}

const RECEIVED: &str = "packets/received +1";
const SENT: &str = "packets/sent +1";

#[test]
fn packets_of_a_connection_are_counted_once() {
    let mut rig = Rig::new();
    check(&mut rig, &[RECEIVED, SENT, "packets/connect +1", "packets/connack +1"], |rig| {
        rig.client("c");
    });
    let c = 0;
    check(&mut rig, &[RECEIVED, SENT, "packets/pingreq +1", "packets/pingresp +1"], |rig| {
        rig.send(c, &Packet::PingReq);
    });
    check(&mut rig, &[RECEIVED, SENT, "packets/subscribe +1", "packets/suback +1"], |rig| {
        rig.subscribe(c, "t", Q2);
    });
    check(&mut rig, &[RECEIVED, SENT, "packets/unsubscribe +1", "packets/unsuback +1"], |rig| {
        rig.unsubscribe(c, "t");
    });
    check(&mut rig, &[RECEIVED, "packets/disconnect/received +1"], |rig| {
        rig.disconnect(c, ReasonCode::Success, &[]);
    });
}

/// A CONNECT that is refused, and a packet that ends the connection, were received all the same.
#[test]
fn packets_that_end_a_connection_are_counted_too() {
    let mut rig = Rig::new();
    check(&mut rig, &[RECEIVED, SENT, "packets/connect +1", "packets/connack +1"], |rig| {
        rig.hello(Hello::v5("c").will("$SYS/x", "x"));
    });
    let c = rig.client("c");
    check(&mut rig, &[RECEIVED, SENT, "packets/connect +1", "packets/disconnect/sent +1"], |rig| {
        rig.say_hello(c, &Hello::v5("c"))
    });
    rig.client("d");
    check(
        &mut rig,
        &[
            RECEIVED,
            "packets/sent +2",
            "packets/connect +1",
            "packets/connack +1",
            "packets/disconnect/sent +1",
        ],
        |rig| {
            rig.client("d");
        },
    );
}

#[test]
fn messages_are_counted_by_qos_and_direction() {
    let mut rig = Rig::new();
    let s = rig.client("sub");
    rig.subscribed(s, "t", Q2);
    let p = rig.client("pub");
    let publish = [RECEIVED, SENT, "packets/publish/received +1", "packets/publish/sent +1"];
    let both = ["messages/received +1", "messages/sent +1"];
    let qos0 = ["messages/qos0/received +1", "messages/qos0/sent +1"];
    check(&mut rig, &[&publish[..], &both, &qos0].concat(), |rig| {
        rig.publish(p, "t", "x", Q0, 0);
    });
    let acked = |ack| {
        [RECEIVED, "packets/sent +2", "packets/publish/received +1", "packets/publish/sent +1", ack]
    };
    let qos1 = ["messages/qos1/received +1", "messages/qos1/sent +1"];
    check(&mut rig, &[&acked("packets/puback/sent +1")[..], &both, &qos1].concat(), |rig| {
        rig.publish(p, "t", "x", Q1, 1);
    });
    let qos2 = ["messages/qos2/received +1", "messages/qos2/sent +1"];
    check(&mut rig, &[&acked("packets/pubrec/sent +1")[..], &both, &qos2].concat(), |rig| {
        rig.publish(p, "t", "x", Q2, 2);
    });
    check(
        &mut rig,
        &[RECEIVED, SENT, "packets/pubrel/received +1", "packets/pubcomp/sent +1"],
        |r| {
            r.pubrel(p, 2);
        },
    );
    check(&mut rig, &[RECEIVED, "packets/puback/received +1"], |rig| rig.puback(s, 1));
    check(
        &mut rig,
        &[RECEIVED, SENT, "packets/pubrec/received +1", "packets/pubrel/sent +1"],
        |r| {
            r.pubrec(s, 2);
        },
    );
    check(&mut rig, &[RECEIVED, "packets/pubcomp/received +1"], |rig| rig.pubcomp(s, 2));
}

#[test]
fn what_is_dropped_is_counted_by_its_reason() {
    let mut rig = Rig::with_zone(|zone| {
        zone.max_mqueue_len = 1;
        zone.mqueue_store_qos0 = false;
    });
    let p = rig.client("pub");
    let publish = [
        RECEIVED,
        "packets/publish/received +1",
        "messages/received +1",
        "messages/qos0/received +1",
    ];
    check(&mut rig, &[&publish[..], &["messages/dropped +1"]].concat(), |rig| {
        rig.publish(p, "nobody", "x", Q0, 0);
    });
    let s = rig.join(Hello::v5("sub").lasting(100).with(Property::MaximumPacketSize(30)));
    rig.subscribed(s, "t", Q1);
    let lost = |reason| [&publish[..], &[reason]].concat();
    check(&mut rig, &lost("deliveries/dropped/too_large +1"), |rig| {
        rig.publish(p, "t", &"x".repeat(50), Q0, 0);
    });
    rig.lose(s);
    check(&mut rig, &lost("deliveries/dropped/qos0_offline +1"), |rig| {
        rig.publish(p, "t", "x", Q0, 0);
    });
    rig.publish(p, "t", "x", Q1, 1);
    let moved = moved(&mut rig, |rig| rig.publish(p, "t", "x", Q1, 2));
    assert!(moved.contains(&"deliveries/dropped/queue_full +1".to_owned()), "{moved:?}");
}

/// Bytes in and out are those of the sockets.
#[test]
fn bytes_are_those_that_the_socket_took() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    let before = rig.metric(Metric::BytesSent);
    rig.send(c, &Packet::PingReq);
    assert_eq!(rig.metric(Metric::BytesSent) - before, 2);
    let socket = rig.socket(c);
    socket.lock().capacity = 1;
    rig.out(c);
    rig.send(c, &Packet::PingReq);
    assert_eq!(rig.metric(Metric::BytesSent) - before, 3);
}

/// Statistics know how many there are and how many there have been at most.
#[test]
fn statistics_follow_connections_sessions_and_subscriptions() {
    let mut rig = Rig::new();
    let a = rig.join(Hello::v5("a").lasting(10));
    let b = rig.client("b");
    rig.subscribed(a, "x", Q0);
    rig.subscribed(b, "x", Q0);
    rig.subscribed(b, "$share/g/x", Q0);
    for (name, value) in [
        ("connections/count", 2),
        ("sessions/count", 2),
        ("sessions/persistent/count", 1),
        ("routes/count", 2),
        ("topics/count", 2),
        ("subscribers/count", 2),
        ("subscriptions/count", 3),
        ("suboptions/count", 3),
        ("subscriptions/shared/count", 1),
    ] {
        assert_eq!(stat(&rig, name), value, "{name}");
    }
    rig.lose(a);
    rig.lose(b);
    assert_eq!(stat(&rig, "connections/count"), 0);
    assert_eq!(stat(&rig, "connections/max"), 2);
    assert_eq!(stat(&rig, "sessions/count"), 1);
    rig.pass_s(10);
    for (name, value) in rig.broker.stats() {
        assert!(name.ends_with("/max") || value == 0, "{name} {value}");
    }
}

fn stat(rig: &Rig, name: &str) -> usize {
    let stats = rig.broker.stats();
    stats.iter().find(|(n, _)| *n == name).map(|(_, value)| *value).expect("a statistic")
}

/// Nobody looked while there were most of them.
#[test]
fn the_highest_values_are_kept_when_they_change() {
    let mut rig = Rig::new();
    let p = rig.client("p");
    for id in ["a", "b"] {
        let c = rig.join(Hello::v5(id).lasting(0));
        rig.subscribed(c, "x", Q0);
        rig.subscribed(c, &format!("own/{id}"), Q0);
        rig.subscribed(c, "$share/g/x", Q0);
    }
    rig.retain(p, "r/1", "x");
    rig.retain(p, "r/2", "x");
    rig.retain(p, "r/2", "again");
    for topic in ["r/1", "r/2"] {
        rig.retain(p, topic, "");
    }
    (0..=2).for_each(|c| rig.lose(c));
    for (name, max) in [
        ("connections", 3),
        ("sessions", 3),
        ("sessions/persistent", 2),
        ("topics", 4),
        ("routes", 4),
        ("subscribers", 4),
        ("subscriptions", 6),
        ("subscriptions/shared", 2),
        ("suboptions", 6),
        ("retained", 2),
    ] {
        assert_eq!(stat(&rig, &format!("{name}/max")), max, "{name}");
        assert_eq!(stat(&rig, &format!("{name}/count")), 0, "{name}");
    }
    assert_eq!(rig.broker.stats().len(), 20, "each statistic is looked at above");
}

/// A session is persistent that was created without Clean Start, and stays so.
#[test]
fn a_persistent_session_was_created_without_clean_start() {
    let mut rig = Rig::durable(|_, _| {});
    let kept = |id| Hello::v5(id).with(Property::SessionExpiryInterval(100));
    let a = rig.hello(kept("clean"));
    let b = rig.hello(Hello::v5("kept").lasting(100));
    rig.sync();
    rig.lose(a);
    rig.lose(b);
    let a = rig.hello(Hello::v5("clean").lasting(100));
    rig.sync();
    rig.check(a, &["CONNACK present=1 0x00"]);
    assert_eq!(stat(&rig, "sessions/persistent/count"), 1);
    rig.crash();
    assert_eq!(stat(&rig, "sessions/count"), 2);
    assert_eq!(stat(&rig, "sessions/persistent/count"), 1);
}

/// What the client does next may be to look.
#[test]
fn who_has_its_answer_finds_the_packet_counted() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    let (broker, seen) = (Arc::clone(&rig.broker), Arc::new(AtomicU64::new(0)));
    let look = {
        let seen = Arc::clone(&seen);
        move || {
            let counts = broker.metrics().snapshot();
            let both = counts.value(Metric::PacketsPublishReceived)
                + counts.value(Metric::PacketsPubAckSent);
            seen.store(both, Ordering::Relaxed);
        }
    };
    rig.socket(c).lock().on_write = Some(Box::new(look));
    rig.publish(c, "t", "x", Q1, 1);
    rig.check(c, &["PUBACK #1 0x10"]);
    assert_eq!(seen.load(Ordering::Relaxed), 2);
}
