//! How long things take: from PUBLISH to the outbox, from PUBLISH to the acknowledgement, and who is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker_codec::{Ack, Packet};
use broker_core::config::SlowSubscribersConfig;
use broker_core::{Distribution, Latency, ReasonCode};

use crate::access::with_topics;
use crate::rig::*;

/// What was measured: bounds of buckets in microseconds, each as often as something fell into it, and the sum.
fn measured(rig: &Rig, latency: Latency) -> (Vec<u64>, u64) {
    let Distribution { buckets, sum_us } = rig.broker.metrics().latency(latency);
    let bounds = Latency::BOUNDS_US.into_iter().chain([u64::MAX]);
    let all = bounds.zip(buckets).flat_map(|(bound, n)| (0..n).map(move |_| bound));
    (all.collect(), sum_us)
}

/// A pass over what was posted, that was handled after so many microseconds.
fn pass(rig: &mut Rig, c: C, us: u64) {
    let mut turn = rig.broker.turn();
    rig.feed_in(&mut turn, c);
    if turn.has_routed() {
        turn.note_routed(rig.now.mono_us() + us);
    }
    turn.finish();
}

#[test]
fn each_publish_counts_with_the_time_of_its_pass() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    let s = rig.client("s");
    rig.subscribed(s, "t", Q2);
    rig.now.us = 321;
    rig.post(c, &publish("t", "1", Q0, 0));
    pass(&mut rig, c, 10);
    rig.post(c, &publish("t", "2", Q0, 0));
    rig.post(c, &publish("nobody", "3", Q1, 1));
    rig.post(c, &publish("t", "4", Q2, 1));
    pass(&mut rig, c, 2_501);
    let expected = (vec![10, 5_000, 5_000, 5_000], 10 + 3 * 2_501);
    assert_eq!(measured(&rig, Latency::Routing), expected);
    // What is no PUBLISH, or is not routed now, is not measured.
    rig.post(c, &Packet::PubRel(ack(1)));
    rig.post(c, &publish("$SYS/refused", "x", Q0, 0));
    rig.post(c, &publish("$delayed/5/t", "x", Q0, 0));
    pass(&mut rig, c, 77);
    assert_eq!(measured(&rig, Latency::Routing), expected);
    // Nor does a pass that nobody measured count with the next.
    rig.publish(c, "t", "5", Q0, 0);
    rig.post(c, &Packet::PingReq);
    pass(&mut rig, c, 77);
    assert_eq!(measured(&rig, Latency::Routing), expected);
}

#[test]
fn a_wait_for_an_extension_is_part_of_routing() {
    let gate = Arc::new(AtomicBool::new(false));
    let (_, extensions) = with_topics(Some(Arc::clone(&gate)));
    let mut rig = Rig::with_extensions(extensions);
    let c = rig.client("c");
    rig.publish(c, "open/later", "x", Q0, 0);
    rig.pass_ms(40);
    assert_eq!(measured(&rig, Latency::Routing), (vec![], 0));
    gate.store(true, Ordering::Relaxed);
    rig.pass_ms(60);
    assert_eq!(measured(&rig, Latency::Routing), (vec![100_000], 100_000));
    // The next one has not waited for it.
    rig.post(c, &publish("open/x", "x", Q0, 0));
    pass(&mut rig, c, 5);
    assert_eq!(measured(&rig, Latency::Routing), (vec![10, 100_000], 100_005));
}

#[test]
fn acknowledgements_are_measured_from_the_first_send() {
    let mut rig = Rig::with_zone(|zone| zone.retry_interval_ms = 20_000);
    let s = rig.join(Hello::v3("s"));
    rig.subscribed(s, "t", Q2);
    let p = rig.client("p");
    rig.publish(p, "t", "at once", Q1, 1);
    rig.puback(s, 1);
    rig.publish(p, "t", "soon", Q2, 2);
    rig.now.us = 700;
    rig.pubrec(s, 2);
    assert_eq!(measured(&rig, Latency::Acknowledgement), (vec![10, 1_000], 700));
    // The rest of the exchange is no delivery.
    rig.pass_ms(3);
    rig.pubcomp(s, 2);
    rig.puback(s, 99);
    assert_eq!(measured(&rig, Latency::Acknowledgement), (vec![10, 1_000], 700));
    // What is sent again is the same delivery.
    rig.publish(p, "t", "after a retry", Q1, 3);
    rig.out(s);
    rig.pass_ms(20_000);
    rig.check(s, &["PUBLISH dup q1 #3 t=after a retry"]);
    rig.pass_ms(5_000);
    rig.puback(s, 3);
    let expected = (vec![10, 1_000, 30_000_000], 25_000_700);
    assert_eq!(measured(&rig, Latency::Acknowledgement), expected);
}

/// What a client has not acknowledged before it went away is sent in its next connection, and measured there.
#[test]
fn time_away_is_nobodys_latency() {
    let mut rig = Rig::new();
    let s = rig.join(Hello::v5("s").lasting(9_999));
    rig.subscribed(s, "t", Q1);
    let p = rig.client("p");
    rig.publish(p, "t", "open", Q1, 1);
    rig.lose(s);
    rig.publish(p, "t", "queued", Q1, 2);
    rig.pass_s(100);
    let s = rig.join(Hello::v5("s").lasting(9_999));
    rig.pass_ms(7);
    rig.puback(s, 1);
    rig.puback(s, 2);
    assert_eq!(measured(&rig, Latency::Acknowledgement), (vec![10_000, 10_000], 14_000));
}

/// An exactly-once delivery is kept back until the store has its record; that is not the client's fault.
#[test]
fn what_is_kept_back_for_the_store_is_measured_from_when_it_leaves() {
    let mut rig = Rig::durable(|_, _| {});
    let s = rig.join(Hello::v5("s").lasting(9_999));
    rig.subscribe(s, "t", Q2);
    rig.sync();
    rig.out(s);
    let p = rig.client("p");
    rig.publish(p, "t", "x", Q2, 1);
    rig.pass_ms(900);
    rig.sync();
    rig.pass_ms(4);
    rig.check(s, &["PUBLISH q2 #1 t=x"]);
    rig.pubrec(s, 1);
    assert_eq!(measured(&rig, Latency::Acknowledgement), (vec![5_000], 4_000));
}

/// Clients, latencies and how often.
fn slow(rig: &Rig) -> Vec<String> {
    let rows = rig.broker.slow_subscriptions(rig.now);
    rows.iter()
        .map(|it| format!("{} {} {}us x{}", it.client_id, it.topic, it.latency_us, it.count))
        .collect()
}

/// A message waits for its client in the queue as well, and that is the client's doing while it is there.
#[test]
fn time_in_the_queue_makes_a_client_slow_while_it_is_there() {
    let mut rig = Rig::with_zone(|zone| zone.max_inflight = 1);
    let s = rig.join(Hello::v5("s").lasting(9_999));
    rig.subscribed(s, "+", Q1);
    let p = rig.client("p");
    for topic in ["a", "b", "c"] {
        rig.publish(p, topic, "x", Q1, 1);
    }
    // 400 ms each, which is not slow; but the second had waited as long before, and the third twice.
    for id in 1..=3 {
        rig.pass_ms(400);
        rig.puback(s, id);
    }
    assert_eq!(slow(&rig), ["s c 1200000us x1", "s b 800000us x1"]);
    let expected = (vec![500_000; 3], 1_200_000);
    assert_eq!(measured(&rig, Latency::Acknowledgement), expected);
    rig.broker.clear_slow_subscriptions();
    // Queued while it is away, or before: what counts is the time since it is back.
    rig.publish(p, "a", "x", Q1, 1);
    rig.publish(p, "b", "x", Q1, 1);
    rig.lose(s);
    rig.publish(p, "c", "x", Q1, 1);
    rig.pass_s(60);
    let s = rig.join(Hello::v5("s").lasting(9_999));
    for id in [4, 5, 6] {
        rig.pass_ms(200);
        rig.puback(s, id);
    }
    assert_eq!(slow(&rig), ["s c 600000us x1"]);
}

/// A crash does not make its clients slow, and what they have waiting from before it does.
#[test]
fn what_was_queued_before_a_crash_waits_since_its_client_is_back() {
    let mut rig = Rig::durable(|_, zone| zone.max_inflight = 1);
    let s = rig.join(Hello::v5("s").lasting(9_999));
    rig.subscribe(s, "+", Q1);
    rig.sync();
    rig.lose(s);
    let p = rig.client("p");
    for topic in ["a", "b"] {
        rig.publish(p, topic, "x", Q1, 1);
    }
    rig.sync();
    rig.crash();
    rig.pass_s(60);
    let s = rig.hello(Hello::v5("s").lasting(9_999));
    rig.sync();
    for id in 1..=2 {
        rig.pass_ms(450);
        rig.puback(s, id);
        rig.sync();
    }
    assert_eq!(slow(&rig), ["s b 900000us x1"]);
}

#[test]
fn the_slowest_are_known_by_topic() {
    let slow_subscribers =
        SlowSubscribersConfig { threshold_ms: 300, top_k: 2, ..SlowSubscribersConfig::default() };
    let mut rig = Rig::build(
        |config, _| config.slow_subscribers = slow_subscribers,
        Default::default(),
        None,
    );
    let p = rig.client("p");
    for (id, ms) in [("quick", 299), ("slow", 300), ("slower", 400), ("slowest", 1_000)] {
        let c = rig.client(id);
        rig.subscribed(c, "t/+", Q2);
        rig.publish(p, "t/1", "x", Q1, 1);
        rig.publish(p, "t/2", "y", Q2, 2);
        rig.pass_ms(ms);
        rig.puback(c, 1);
        rig.pubrec(c, 2);
        rig.lose(c);
        rig.pubrel(p, 2);
    }
    assert_eq!(slow(&rig), ["slowest t/1 1000000us x1", "slowest t/2 1000000us x1"]);
    // A refusal is an answer too.
    let c = rig.client("slowest");
    rig.subscribed(c, "t/2", Q2);
    rig.publish(p, "t/2", "y", Q2, 2);
    rig.pass_ms(2_000);
    rig.send(c, &Packet::PubRec(Ack { reason_code: ReasonCode::QuotaExceeded, ..ack(1) }));
    assert_eq!(slow(&rig), ["slowest t/2 2000000us x2", "slowest t/1 1000000us x1"]);
    rig.broker.clear_slow_subscriptions();
    assert_eq!(slow(&rig), [""; 0]);
}
