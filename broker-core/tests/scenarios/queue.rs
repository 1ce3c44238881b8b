//! The queue of a session, and the outbox of a client that reads slowly.

use std::sync::Arc;

use broker_codec::{Packet, Property};
use broker_core::config::ZoneConfig;
use broker_core::{Metric, SubscriptionOptions};

use crate::rig::*;

fn offline(rig: &mut Rig, qos: broker_core::QoS) {
    let c = rig.join(Hello::v5("sub").lasting(1000));
    rig.subscribed(c, "#", qos);
    rig.lose(c);
}

fn payloads(lines: &[String]) -> Vec<String> {
    let publishes = lines.iter().filter(|line| line.starts_with("PUBLISH"));
    publishes.map(|line| line.rsplit_once('=').unwrap().1.to_owned()).collect()
}

fn resume(rig: &mut Rig) -> (C, Vec<String>) {
    let c = rig.hello(Hello::v5("sub").lasting(1000));
    let lines = rig.out(c);
    (c, payloads(&lines))
}

/// `max_mqueue_len`
#[test]
fn a_full_queue_drops_its_oldest_and_counts_it() {
    let mut rig = Rig::with_zone(|zone| zone.max_mqueue_len = 3);
    offline(&mut rig, Q1);
    let p = rig.client("pub");
    for n in 1..=5 {
        rig.publish(p, "t", &n.to_string(), Q1, n);
    }
    let view = rig.broker.session("sub").unwrap();
    assert_eq!((view.queued, view.dropped), (3, 2));
    assert_eq!(rig.broker.queued_messages(), 3);
    assert_eq!(rig.metric(Metric::DroppedQueueFull), 2);
    assert_eq!(resume(&mut rig).1, ["3", "4", "5"]);
    assert_eq!(rig.broker.queued_messages(), 0);
}

/// `max_mqueue_bytes`
#[test]
fn a_queue_is_bounded_in_bytes_too() {
    let mut rig = Rig::with_zone(|zone| zone.max_mqueue_bytes = 2_000);
    offline(&mut rig, Q1);
    let p = rig.client("pub");
    for n in 1..=5 {
        rig.publish(p, "t", &n.to_string().repeat(1000), Q1, n);
    }
    assert_eq!(rig.broker.session("sub").unwrap().queued, 1);
    // A message larger than the bound alone is kept: an empty queue takes anything.
    rig.publish(p, "t", &"x".repeat(5000), Q1, 9);
    assert_eq!(rig.broker.session("sub").unwrap().queued, 1);
    assert_eq!(resume(&mut rig).1, ["<5000 bytes>"]);
}

/// `mqueue_priorities`
#[test]
fn higher_priorities_leave_first_and_are_dropped_last() {
    let mut rig = Rig::with_zone(|zone| {
        zone.mqueue_priorities = [("high".to_owned(), 10), ("low".to_owned(), 1)].into();
        zone.mqueue_default_priority = 0;
        zone.max_mqueue_len = 5;
    });
    offline(&mut rig, Q1);
    let p = rig.client("pub");
    for (n, topic) in ["other", "low", "high", "low", "other", "high"].iter().enumerate() {
        rig.publish(p, topic, &format!("{topic}{n}"), Q1, n as u16 + 1);
    }
    assert_eq!(resume(&mut rig).1, ["high2", "high5", "low1", "low3", "other4"]);
}

/// `mqueue_store_qos0`
#[test]
fn qos_0_messages_are_queued_only_if_the_zone_says_so() {
    for (stores, expected) in [(true, ["0", "1"].as_slice()), (false, &["1"])] {
        let mut rig = Rig::with_zone(|zone| zone.mqueue_store_qos0 = stores);
        offline(&mut rig, Q1);
        let p = rig.client("pub");
        rig.publish(p, "t", "0", Q0, 0);
        rig.publish(p, "t", "1", Q1, 1);
        assert_eq!(rig.metric(Metric::DroppedOffline), u64::from(!stores));
        assert_eq!(resume(&mut rig).1, expected);
    }
}

/// [MQTT-4.6.0-6] A QoS 0 message does not overtake those of its topic that wait in the queue.
#[test]
fn a_qos_0_message_keeps_its_place_behind_queued_ones() {
    let mut rig = Rig::new();
    offline(&mut rig, Q1);
    let p = rig.client("pub");
    for n in 1..=2 {
        rig.publish(p, "t", &n.to_string(), Q1, n);
    }
    rig.publish(p, "t", "zero a", Q0, 0);
    let c = rig.hello(Hello::v5("sub").lasting(1000).with(Property::ReceiveMaximum(1)));
    rig.check(c, &["CONNACK present=1 0x00", "PUBLISH q1 #1 t=1"]);
    rig.publish(p, "t", "zero b", Q0, 0);
    rig.check(c, &[]);
    rig.puback(c, 1);
    rig.puback(c, 2);
    rig.check(c, &["PUBLISH q1 #2 t=2", "PUBLISH q0 t=zero a", "PUBLISH q0 t=zero b"]);
    // Nothing waits any more: straight on.
    rig.publish(p, "t", "zero c", Q0, 0);
    rig.check(c, &["PUBLISH q0 t=zero c"]);
}

/// `max_inflight`, and [MQTT-3.3.4-9] where the client allows less.
#[test]
fn the_window_is_the_lesser_of_zone_and_client() {
    let mut rig = Rig::with_zone(|zone| zone.max_inflight = 3);
    for (receive_maximum, window) in [(2, 2), (100, 3)] {
        let id = format!("sub{window}");
        let c = rig.join(Hello::v5(&id).with(Property::ReceiveMaximum(receive_maximum)));
        rig.subscribed(c, "t", Q1);
        let p = rig.client("pub");
        for n in 1..=5 {
            rig.publish(p, "t", "x", Q1, n);
        }
        assert_eq!(rig.out(c).len(), window);
    }
}

/// [MQTT-4.9.0-3] Everything else goes on while the quota is used up.
#[test]
fn qos_0_and_replies_go_on_while_the_quota_is_used_up() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("sub").with(Property::ReceiveMaximum(1)));
    rig.subscribed(c, "t", Q1);
    let p = rig.client("pub");
    rig.publish(p, "t", "1", Q1, 1);
    rig.publish(p, "t", "2", Q1, 2);
    rig.publish(p, "t", "zero", Q0, 0);
    rig.send(c, &Packet::PingReq);
    rig.publish(c, "u", "mine", Q2, 5);
    rig.check(c, &["PUBLISH q1 #1 t=1", "PUBLISH q0 t=zero", "PINGRESP", "PUBREC #5 0x10"]);
}

/// Attack case 14: a client that reads nothing costs bounded memory, and its neighbours nothing.
#[test]
fn a_slow_reader_is_bounded_and_alone() {
    let mut rig = Rig::with_zone(|zone| {
        zone.max_outbox_bytes = 1_000;
        zone.max_mqueue_len = 10;
    });
    let slow = rig.client("slow");
    let quick = rig.client("quick");
    for c in [slow, quick] {
        rig.subscribed(c, "#", Q1);
    }
    let socket = rig.socket(slow);
    socket.lock().capacity = 50;
    let p = rig.client("pub");
    for n in 1..=100 {
        rig.publish(p, "t", &format!("{n:0100}"), if n % 2 == 0 { Q0 } else { Q1 }, n);
        rig.puback(quick, n.div_ceil(2));
        assert!(rig.broker.session("slow").unwrap().outbox_bytes <= 1_000 + 130);
    }
    assert_eq!(payloads(&rig.out(quick)).len(), 100);
    let view = rig.broker.session("slow").unwrap();
    assert!(view.queued <= 10 && view.inflight <= 32, "{view:?}");
    let dropped = rig.metric(Metric::DroppedOutboxFull) + rig.metric(Metric::DroppedQueueFull);
    assert!(dropped > 50, "{dropped}");
    // When it reads again, all that is left comes, in order.
    socket.lock().capacity = usize::MAX;
    rig.writable(slow);
    let got = payloads(&rig.out(slow));
    assert!(got.is_sorted(), "{got:?}");
    assert_eq!(rig.broker.session("slow").unwrap().outbox_bytes, 0);
}

/// A client whose acknowledgements pile up unread is not read from, until it reads.
#[test]
fn a_client_that_leaves_its_replies_unread_is_not_read_from() {
    let mut rig = Rig::with_zone(|zone| zone.max_outbox_bytes = 20);
    let c = rig.client("c");
    let socket = rig.socket(c);
    socket.lock().capacity = 0;
    for n in 1..=100 {
        rig.publish(c, "t", "x", Q1, n);
    }
    assert!(!rig.wants_input(c));
    assert!(rig.broker.session("c").unwrap().outbox_bytes <= 30);
    // Its silence is not held against it.
    rig.pass_s(10_000);
    assert_eq!(rig.cause(c), None);
    while rig.out(c).last().is_none_or(|line| line != "PUBACK #100 0x10") {
        socket.lock().capacity += 10;
        rig.writable(c);
        rig.feed_all();
    }
}

/// The outbox may pass its bound for the length of a turn; a socket that takes it all clears that.
#[test]
fn a_full_outbox_that_is_flushed_at_once_does_not_stop_reading() {
    let mut rig = Rig::with_zone(|zone| zone.max_outbox_bytes = 100);
    let c = rig.client("c");
    rig.subscribed(c, "t", Q0);
    rig.post(c, &publish("t", &"x".repeat(90), Q0, 0));
    rig.post(c, &publish("t", &"x".repeat(90), Q1, 1));
    rig.feed_all();
    assert_eq!(rig.out(c).len(), 3);
    assert!(rig.wants_input(c));
    rig.send(c, &Packet::PingReq);
    rig.check(c, &["PINGRESP"]);
}

/// [MQTT-4.3.3-10] and MQTT 5.0, 4.4: 3.1.1 clients are sent again what they leave unacknowledged.
#[test]
fn retry_interval_is_for_older_clients_only() {
    let mut rig = Rig::with_zone(|zone| zone.retry_interval_ms = 20_000);
    let old = rig.join(Hello::v3("old"));
    let new = rig.client("new");
    for c in [old, new] {
        rig.subscribed(c, "t", Q2);
    }
    let p = rig.client("pub");
    rig.publish(p, "t", "1", Q1, 1);
    rig.publish(p, "t", "2", Q2, 2);
    rig.publish(p, "t", "3", Q2, 3);
    for c in [old, new] {
        assert_eq!(rig.out(c).len(), 3);
        rig.pubrec(c, 3);
        rig.check(c, &["PUBREL #3 0x00"]);
    }
    rig.pass_s(20);
    rig.check(old, &["PUBLISH dup q1 #1 t=1", "PUBLISH dup q2 #2 t=2", "PUBREL #3 0x00"]);
    rig.puback(old, 1);
    rig.pass_s(20);
    rig.check(old, &["PUBLISH dup q2 #2 t=2", "PUBREL #3 0x00"]);
    rig.pass_s(1000);
    rig.check(new, &[]);
}

/// A repetition must not come before the first sending in this connection.
#[test]
fn retry_leaves_what_is_still_to_be_resent_alone() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v3("c").lasting(0));
    rig.subscribed(c, "t", Q1);
    let p = rig.client("pub");
    for n in 1..=3 {
        rig.publish(p, "t", "x", Q1, n);
    }
    assert_eq!(rig.out(c).len(), 3);
    rig.lose(c);
    rig.zone = Arc::new(ZoneConfig { max_inflight: 1, ..open_zone() });
    let c = rig.join(Hello::v3("c").lasting(0));
    rig.pass_s(20);
    rig.check(c, &["PUBLISH dup q1 #1 t=x"]);
    rig.puback(c, 1);
    rig.check(c, &["PUBLISH dup q1 #2 t=x"]);
}

/// `upgrade_qos`
#[test]
fn upgrade_qos_delivers_with_the_subscriptions_qos() {
    let mut rig = Rig::with_zone(|zone| zone.upgrade_qos = true);
    let p = rig.client("pub");
    rig.retain(p, "kept", "k");
    let c = rig.client("c");
    rig.subscribe(c, "#", Q2);
    rig.check(c, &["SUBACK #77 02", "PUBLISH retain q2 #1 kept=k"]);
    rig.publish(p, "t", "x", Q0, 0);
    rig.check(c, &["PUBLISH q2 #2 t=x"]);
}

/// [MQTT-3.3.1-3] The flag of a delivery is that of a first sending, whatever the publisher's.
#[test]
fn no_local_keeps_ones_own_messages_away() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    let options = SubscriptionOptions { no_local: true, qos: Q1, ..Default::default() };
    rig.subscribe_with(c, "t", options, 0);
    rig.out(c);
    rig.publish(c, "t", "mine", Q1, 1);
    rig.check(c, &["PUBACK #1 0x10"]);
    assert_eq!(rig.metric(Metric::DroppedNoLocal), 1);
    let p = rig.client("pub");
    rig.publish(p, "t", "theirs", Q1, 1);
    rig.check(c, &["PUBLISH q1 #1 t=theirs"]);
}

/// `ignore_loop_deliver`: what No Local is, for older clients.
#[test]
fn ignore_loop_deliver_is_for_older_clients() {
    let mut rig = Rig::with_zone(|zone| zone.ignore_loop_deliver = true);
    for hello in [Hello::v3("old"), Hello::v5("new")] {
        let is_new = hello.version == V5;
        let c = rig.join(hello);
        rig.subscribed(c, "t", Q0);
        rig.publish(c, "t", "mine", Q0, 0);
        assert_eq!(rig.out(c).len(), usize::from(is_new));
        rig.lose(c);
    }
}
