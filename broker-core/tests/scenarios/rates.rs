//! Rates and numbers of connections: of a listener, a zone, a user, an address, each of its clients together.

use broker_core::config::{BrokerConfig, GroupLimits, Rate};
use broker_core::extension::Extensions;
use broker_core::{CloseCause, ListenerLimits, Metric, ReasonCode};

use crate::rig::*;

fn rate(amount: u64) -> Option<Rate> {
    Some(Rate::in_ms(amount, 1_000))
}

fn rig(change: impl FnOnce(&mut BrokerConfig)) -> Rig {
    Rig::build(|config, _| change(config), Extensions::default(), None)
}

/// How many packets a client receives after each pause.
fn received(rig: &mut Rig, c: C, pauses_ms: &[u64]) -> Vec<usize> {
    let after = |&ms: &u64| {
        rig.pass_ms(ms);
        rig.out(c).len()
    };
    pauses_ms.iter().map(after).collect()
}

/// `zone.<zone>.messages_in`: what one client has sent, another must wait for; nothing is lost.
#[test]
fn the_clients_of_a_zone_share_its_rate() {
    let mut rig = Rig::with_zone(|zone| zone.limits.messages_in = rate(4));
    let (a, b, s) = (rig.client("a"), rig.client("b"), rig.client("s"));
    rig.subscribed(s, "t", Q0);
    for n in 0..3 {
        rig.post(a, &publish("t", &format!("a{n}"), Q0, 1));
        rig.post(b, &publish("t", &format!("b{n}"), Q0, 1));
    }
    rig.feed_all();
    rig.check(s, &["PUBLISH q0 t=a0", "PUBLISH q0 t=a1", "PUBLISH q0 t=a2", "PUBLISH q0 t=b0"]);
    assert!(rig.wants_input(a) && !rig.wants_input(b));
    assert_eq!(received(&mut rig, s, &[249, 1, 250, 1_000]), [0, 1, 1, 0]);
}

/// `rate_limit` is each connection's, `bytes_in` that of all; more than there is leaves a debt.
#[test]
fn bytes_are_read_at_their_rate() {
    let mut rig = Rig::new();
    rig.listener_limits = ListenerLimits::new(rate(1_000), &GroupLimits::default());
    let (a, b) = (rig.client("a"), rig.client("b"));
    let payload = "x".repeat(2_000);
    rig.publish(a, "t", &payload, Q1, 1);
    assert_eq!(rig.out(a).len(), 1);
    assert!(!rig.wants_input(a) && rig.wants_input(b), "each has its own");
    rig.post(a, &publish("t", "later", Q1, 2));
    // 2,000 bytes and some too many, and reading begins again when half of the rate is back.
    assert_eq!(received(&mut rig, a, &[1_500, 1_000]), [0, 1]);

    let all = GroupLimits { bytes_in: rate(1_000), ..GroupLimits::default() };
    rig.listener_limits = ListenerLimits::new(None, &all);
    let (c, d) = (rig.client("c"), rig.client("d"));
    rig.publish(c, "t", &payload, Q1, 1);
    rig.publish(d, "t", "small", Q1, 1);
    assert!(!rig.wants_input(c) && !rig.wants_input(d), "all have it together");
    rig.pass_ms(4_000);
    assert!(rig.wants_input(c) && rig.wants_input(d));
}

/// Keep Alive counts on only once the client is read from again.
#[test]
fn a_paced_client_is_not_blamed_for_its_silence() {
    let mut rig = Rig::new();
    rig.listener_limits = ListenerLimits::new(rate(1_000), &GroupLimits::default());
    let c = rig.join(Hello { keep_alive_s: 1, ..Hello::v5("c") });
    rig.publish(c, "t", &"x".repeat(9_000), Q0, 0);
    for _ in 0..9 {
        rig.pass_s(1);
    }
    assert_eq!(rig.cause(c), None);
    rig.pass_s(3);
    assert_eq!(rig.cause(c), Some(CloseCause::KeepAliveTimeout));
}

/// `rate_limit_action = "disconnect"`
#[test]
fn where_an_operator_says_so_who_is_too_fast_is_cut_off() {
    let mut rig = Rig::with_zone(|zone| {
        zone.limits.messages_in = rate(1);
        zone.rate_limit_disconnect = true;
    });
    let c = rig.client("c");
    rig.publish(c, "t", "x", Q1, 1);
    rig.publish(c, "t", "x", Q1, 2);
    rig.check(c, &["PUBACK #1 0x10", "DISCONNECT 0x96"]);
    rig.zone = {
        let mut zone = (*rig.zone).clone();
        (zone.name, zone.limits.messages_in) = ("other".into(), None);
        zone.into()
    };
    rig.listener_limits = ListenerLimits::new(rate(1_000), &GroupLimits::default());
    let c = rig.client("c");
    rig.publish(c, "t", &"x".repeat(2_000), Q0, 0);
    rig.check(c, &["DISCONNECT 0x96"]);
}

/// `limits.user.messages_out`: what is too much waits in the queue, whatever its QoS; acknowledgements do not.
#[test]
fn messages_are_sent_at_their_rate() {
    let mut rig = rig(|config| config.user_limits.messages_out = rate(2));
    let s = rig.join(Hello::v5("s").user("u"));
    let (p, other) = (rig.client("p"), rig.client("other"));
    rig.subscribed(s, "#", Q1);
    rig.subscribed(other, "#", Q1);
    for (n, qos) in [Q0, Q1, Q0, Q1, Q0].into_iter().enumerate() {
        rig.publish(p, "t", &n.to_string(), qos, 1);
    }
    assert_eq!(rig.out(other).len(), 5, "who has no user name is not limited");
    rig.check(s, &["PUBLISH q0 t=0", "PUBLISH q1 #1 t=1"]);
    rig.publish(s, "x", "mine", Q1, 9);
    rig.check(s, &["PUBACK #9 0x00"]);
    assert_eq!(received(&mut rig, s, &[499, 1, 499, 1, 1_000, 1_000]), [0, 1, 0, 1, 2, 0]);
    assert_eq!(rig.metric(Metric::DroppedOutboxFull), 0);
    let again = rig.join(Hello::v5("again").user("u"));
    rig.subscribed(again, "t", Q0);
    rig.publish(p, "t", "a", Q0, 0);
    rig.publish(p, "t", "b", Q0, 0);
    // Both connections of the user share what there is.
    assert_eq!(rig.out(again).len() + rig.out(s).len(), 2);
}

/// `bytes_out`: a message goes if anything is left, and is paid for afterwards.
#[test]
fn bytes_are_sent_at_their_rate() {
    let mut rig = rig(|config| config.address_limits.bytes_out = rate(1_000));
    let (s, p) = (rig.client("s"), rig.client("p"));
    rig.subscribed(s, "t", Q0);
    let payload = "x".repeat(1_990);
    for _ in 0..3 {
        rig.publish(p, "t", &payload, Q0, 0);
    }
    assert_eq!(received(&mut rig, s, &[0, 997, 1, 1_996, 1]), [1, 0, 1, 0, 1]);
}

/// QoS 0 that may not wait is dropped, and counted.
#[test]
fn where_nothing_of_qos_0_is_queued_what_is_too_much_is_dropped() {
    let mut rig = Rig::with_zone(|zone| {
        zone.limits.messages_out = rate(1);
        zone.mqueue_store_qos0 = false;
    });
    let (s, p) = (rig.client("s"), rig.client("p"));
    rig.subscribed(s, "t", Q0);
    rig.publish(p, "t", "a", Q0, 0);
    rig.publish(p, "t", "b", Q0, 0);
    assert_eq!(received(&mut rig, s, &[0, 5_000]), [1, 0]);
    assert_eq!(rig.metric(Metric::DroppedOutboxFull), 1);
}

/// `limits.user.max_connections`: one too many is told so; who takes his own session over is none too many.
#[test]
fn a_user_has_no_more_connections_than_it_may() {
    let mut rig = rig(|config| config.user_limits.max_connections = 2);
    let hello = |id| Hello::v5(id).user("u");
    let a = rig.join(hello("a"));
    rig.join(hello("b"));
    let c = rig.hello(hello("c"));
    rig.check(c, &["CONNACK present=0 0x97"]);
    let old = rig.hello(Hello { version: V3, ..hello("d") });
    rig.check(old, &["CONNACK present=0 0x88"]);
    rig.join(Hello::v5("e").user("other"));
    rig.join(Hello::v5("nobody"));
    let again = rig.join(hello("a"));
    assert_eq!(rig.cause(a), Some(CloseCause::TakenOver));
    rig.lose(again);
    rig.join(hello("c"));
    let c = rig.hello(hello("d"));
    rig.check(c, &["CONNACK present=0 0x97"]);
}

/// `limits.user.max_subscriptions_total`: what the clients of a user subscribe to counts together while they are
/// there, and nobody else's does.
#[test]
fn a_user_has_no_more_subscriptions_than_it_may() {
    let mut rig = rig(|config| config.user_limits.max_subscriptions_total = 3);
    let hello = |id| Hello::v5(id).user("u").lasting(1_000);
    let (a, b) = (rig.join(hello("a")), rig.join(hello("b")));
    let other = rig.join(Hello::v5("other").user("v"));
    rig.subscribed(a, "1", Q1);
    rig.subscribed(a, "2", Q1);
    rig.subscribed(b, "3", Q1);
    rig.subscribe(b, "4", Q1);
    rig.check(b, &["SUBACK #77 97"]);
    rig.subscribed(a, "1", Q0);
    rig.subscribed(other, "5", Q1);
    let turn = &mut rig.turn;
    let ordered = rig.broker.subscribe_client_to("b", &["3", "4"], Q1, turn);
    assert_eq!(ordered, Err(ReasonCode::QuotaExceeded), "by the management API either");
    rig.unsubscribe(a, "2");
    rig.unsubscribe(a, "never");
    rig.out(a);
    rig.subscribed(b, "4", Q1);
    rig.subscribe(a, "2", Q1);
    rig.check(a, &["SUBACK #77 97"]);

    // Who goes makes room; who comes back brings what it had, and no more.
    rig.lose(b);
    rig.subscribed(a, "2", Q1);
    rig.subscribed(a, "6", Q1);
    let b = rig.join(hello("b"));
    rig.subscribe(b, "7", Q1);
    rig.check(b, &["SUBACK #77 97"]);
    rig.unsubscribe(b, "3");
    rig.unsubscribe(b, "4");
    rig.out(b);
    rig.subscribe(b, "7", Q1);
    rig.check(b, &["SUBACK #77 97"]);
    // A session that is taken over counts once.
    let a = rig.join(hello("a"));
    rig.unsubscribe(a, "1");
    rig.out(a);
    rig.subscribed(a, "1", Q1);
}

/// `limits.user.max_mqueue_bytes_total`: what waits for the clients of a user takes no more together; the queue that would
/// be too much makes room for what comes.
#[test]
fn the_queues_of_a_user_have_no_more_bytes_than_they_may() {
    let mut rig = Rig::build(
        |config, zone| {
            config.user_limits.max_mqueue_bytes_total = 3_000;
            zone.max_inflight = 1;
        },
        Extensions::default(),
        None,
    );
    let hello = |id| Hello::v5(id).user("u").lasting(1_000);
    let (a, b) = (rig.join(hello("a")), rig.join(hello("b")));
    let (p, other) = (rig.client("p"), rig.client("other"));
    for c in [a, b, other] {
        rig.subscribed(c, "t", Q1);
    }
    let queued = |rig: &Rig, id: &str| rig.broker.session(id).unwrap().queued;
    let publish = |rig: &mut Rig, n: u16| {
        rig.publish(p, "t", &"x".repeat(950 - usize::from(n)), Q1, n);
    };
    (1..=4).for_each(|n| publish(&mut rig, n));
    // One is in flight; there is room for two of a good thousand bytes.
    assert_eq!((queued(&rig, "a"), queued(&rig, "b"), queued(&rig, "other")), (1, 1, 3));
    assert_eq!(rig.metric(Metric::DroppedQueueFull), 4);
    rig.out(a);
    rig.puback(a, 1);
    rig.check(a, &["PUBLISH q1 #2 t=<946 bytes>"]);
    publish(&mut rig, 5);
    assert_eq!((queued(&rig, "a"), queued(&rig, "b")), (1, 1));
    // Who goes makes room; his own queue is his session's, whose bounds are those of his zone.
    rig.lose(a);
    publish(&mut rig, 6);
    publish(&mut rig, 7);
    assert_eq!((queued(&rig, "a"), queued(&rig, "b")), (3, 2));
    rig.lose(b);
    let b = rig.join(hello("b"));
    publish(&mut rig, 8);
    assert_eq!(queued(&rig, "b"), 2, "it brings what it had");
    // What is taken leaves room as well.
    rig.out(b);
    (1..=9).for_each(|id| rig.puback(b, id));
    assert_eq!(queued(&rig, "b"), 0);
    (9..=11).for_each(|n| publish(&mut rig, n));
    assert_eq!(queued(&rig, "b"), 2);
}

/// Where there is a store, it keeps what is too much for memory.
#[test]
fn what_is_too_much_for_a_user_s_queues_stays_with_the_store() {
    let mut rig = Rig::durable(|config, zone| {
        config.user_limits.max_mqueue_bytes_total = 5_000;
        zone.max_inflight = 1;
    });
    let p = rig.client("p");
    let s = rig.hello(Hello::v5("s").user("u").lasting(1_000));
    rig.sync();
    rig.subscribe(s, "t", Q1);
    rig.sync();
    for n in 1..=50 {
        rig.publish(p, "t", &format!("{n} {}", "x".repeat(1_000)), Q1, n);
        rig.sync();
    }
    assert_eq!(rig.broker.session("s").unwrap().queued, 49);
    assert_eq!(rig.metric(Metric::DroppedQueueFull), 0);
    let held = rig.broker.queue_bytes();
    assert!((1_000..10_000).contains(&held), "{held} bytes are in memory");
}

/// `retained_in`: messages to be retained have a rate of their own; what removes one is none.
#[test]
fn messages_are_retained_at_their_rate() {
    let mut rig = Rig::with_zone(|zone| zone.limits.retained_in = rate(1));
    let (p, s) = (rig.client("p"), rig.client("s"));
    rig.subscribed(s, "#", Q0);
    rig.publish(p, "plain", "x", Q0, 0);
    rig.retain(p, "kept", "1");
    rig.retain(p, "kept", "");
    rig.publish(p, "plain", "y", Q0, 0);
    assert_eq!(rig.out(s).len(), 4);
    rig.retain(p, "kept", "2");
    assert!(!rig.wants_input(p));
    assert_eq!(received(&mut rig, s, &[999, 1]), [0, 1]);
    assert!(rig.broker.retained_message("kept", rig.now).is_some());
}

/// `limits.ip`: the addresses of an IPv6 line count as one.
#[test]
fn an_address_has_no_more_connections_than_it_may() {
    let mut rig = rig(|config| config.address_limits.max_connections = 1);
    for (n, (address, code)) in [
        ("192.0.2.1:1", "0x00"),
        ("192.0.2.1:2", "0x97"),
        ("192.0.2.2:1", "0x00"),
        ("[::ffff:192.0.2.2]:1", "0x97"),
        ("[2001:db8::1]:1", "0x00"),
        ("[2001:db8::2]:1", "0x97"),
        ("[2001:db8:0:1::1]:1", "0x00"),
    ]
    .into_iter()
    .enumerate()
    {
        rig.address = address.parse().unwrap();
        let c = rig.hello(Hello::v5(&n.to_string()));
        let answer = rig.out(c);
        assert!(answer[0].contains(code), "{address}: {answer:?}");
    }
}

/// `max_conn_rate`: of an address before anybody is asked who it is, of users and zones once that is known.
#[test]
fn connects_come_at_their_rate() {
    let two = |limits: &mut GroupLimits| limits.max_conn_rate = 2;
    let mut by_address = rig(|config| two(&mut config.address_limits));
    let mut by_user = rig(|config| two(&mut config.user_limits));
    let mut by_zone = Rig::with_zone(|zone| two(&mut zone.limits));
    for rig in [&mut by_address, &mut by_user, &mut by_zone] {
        let hello = |id| Hello::v5(id).user("u");
        rig.join(hello("a"));
        rig.join(hello("b"));
        let c = rig.hello(hello("c"));
        rig.check(c, &["CONNACK present=0 0x9f"]);
        assert_eq!(rig.cause(c), Some(CloseCause::Refused(ReasonCode::ConnectionRateExceeded)));
        rig.pass_ms(500);
        rig.join(hello("c"));
    }
}

/// Connecting again gives nobody more than he had left.
#[test]
fn a_debt_outlives_its_connection() {
    let mut rig = rig(|config| config.user_limits.messages_in = rate(2));
    let hello = || Hello::v5("c").user("u");
    let c = rig.join(hello());
    rig.publish(c, "t", "x", Q1, 1);
    rig.publish(c, "t", "x", Q1, 2);
    assert_eq!(rig.out(c).len(), 2);
    rig.lose(c);
    let c = rig.join(hello());
    rig.publish(c, "t", "x", Q1, 3);
    assert_eq!(received(&mut rig, c, &[0, 500]), [0, 1]);
}

/// Limits that change count for who comes from then on.
#[test]
fn other_limits_are_those_of_later_connections() {
    let mut rig = rig(|config| config.user_limits.max_connections = 1);
    let hello = |id| Hello::v5(id).user("u");
    rig.join(hello("a"));
    let refused = rig.hello(hello("b"));
    rig.check(refused, &["CONNACK present=0 0x97"]);
    let mut config = (*rig.broker.config()).clone();
    config.user_limits = GroupLimits::default();
    rig.broker.reconfigure(config).unwrap();
    rig.join(hello("b"));
    rig.join(hello("c"));
}
