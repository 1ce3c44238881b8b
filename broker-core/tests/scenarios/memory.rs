//! The budget of memory: what counts, and what happens near its end and beyond.

use broker_core::extension::Extensions;
use broker_core::{CloseCause, Metric, ReasonCode};

use crate::rig::*;

const LIMIT: usize = 1_000_000;

fn rig(change: impl FnOnce(&mut broker_core::config::ZoneConfig)) -> Rig {
    Rig::build(
        |config, zone| {
            config.memory_limit_bytes = LIMIT;
            change(zone);
        },
        Extensions::default(),
        None,
    )
}

/// Retains so much that `percent` of the budget are used.
fn fill(rig: &mut Rig, p: C, percent: usize) {
    let wanted = LIMIT / 100 * percent;
    let missing = wanted.saturating_sub(rig.broker.memory_used() + 600);
    rig.retain(p, &format!("filled/{percent}"), &"x".repeat(missing));
    // What a publisher is paced for.
    rig.pass_s(10);
    let used = rig.broker.memory_used();
    assert!(used.abs_diff(wanted) < LIMIT / 50, "{used} are used");
}

fn alarms(rig: &Rig) -> Vec<String> {
    let ids = rig.broker.alarms().list().into_iter().map(|alarm| alarm.id);
    ids.filter(|id| id == "memory_limit").collect()
}

/// All that clients hold counts, and nothing once they are gone.
#[test]
fn what_clients_hold_is_counted_and_given_back() {
    let mut rig = rig(|_| {});
    let p = rig.client("p");
    let held = |rig: &mut Rig, bytes: usize, what: &str| {
        rig.pass_ms(1);
        let used = rig.broker.memory_used();
        assert!((bytes..bytes + 40_000).contains(&used), "{what}: {used} are used");
    };
    held(&mut rig, 0, "nothing");
    let s = rig.join(Hello::v5("s").lasting(1_000));
    rig.subscribed(s, "t", Q1);
    let payload = "x".repeat(100_000);
    rig.socket(s).lock().capacity = 0;
    rig.publish(p, "t", &payload, Q0, 0);
    held(&mut rig, 100_000, "outbox");
    rig.publish(p, "t", &payload, Q1, 1);
    held(&mut rig, 300_000, "outbox and window");
    rig.lose(s);
    held(&mut rig, 100_000, "window");
    rig.publish(p, "t", &payload, Q1, 2);
    held(&mut rig, 200_000, "window and queue");
    rig.retain(p, "kept", &payload);
    held(&mut rig, 300_000, "retained");
    rig.publish(p, "$delayed/5/x", &payload, Q0, 0);
    held(&mut rig, 400_000, "delayed");
    rig.pass_s(6);
    let s = rig.join(Hello::v5("s").clean());
    held(&mut rig, 100_000, "what is retained");
    rig.retain(p, "kept", "");
    let deep = "+/".repeat(1_000);
    rig.subscribed(s, &deep, Q0);
    held(&mut rig, 150_000, "a deep filter");
    rig.unsubscribe(s, &deep);
    rig.lose(s);
    held(&mut rig, 0, "nothing again");
}

/// Near the end slow readers lose QoS 0, and heavy publishers are read from later; the others notice nothing.
#[test]
fn near_the_end_slow_readers_and_heavy_publishers_wait() {
    let mut rig = rig(|_| {});
    let (p, light) = (rig.client("p"), rig.client("light"));
    let (fast, slow) = (rig.client("fast"), rig.client("slow"));
    rig.subscribed(fast, "t", Q0);
    rig.subscribed(slow, "t", Q0);
    rig.socket(slow).lock().capacity = 0;
    rig.publish(light, "t", "before", Q0, 0);
    fill(&mut rig, p, 90);
    rig.publish(light, "t", "near", Q0, 0);
    rig.check(fast, &["PUBLISH q0 t=before", "PUBLISH q0 t=near"]);
    assert_eq!(rig.metric(Metric::DroppedMemory), 1);
    rig.publish(p, "none", &"x".repeat(20_000), Q0, 0);
    assert!(rig.wants_input(light) && !rig.wants_input(p));
    rig.pass_ms(100);
    assert!(rig.wants_input(p), "not for ever");
    rig.join(Hello::v5("newcomer"));
    assert_eq!(alarms(&rig), [""; 0]);
}

/// Beyond it nobody else comes in and nothing more is kept, which is an alarm until there is room again.
#[test]
fn beyond_the_end_newcomers_are_refused_and_nothing_more_is_kept() {
    let mut rig = rig(|_| {});
    let (p, s) = (rig.client("p"), rig.client("s"));
    let away = rig.join(Hello::v5("away").lasting(1_000));
    rig.subscribed(s, "t", Q1);
    rig.subscribed(away, "t", Q1);
    rig.lose(away);
    rig.publish(p, "t", "first", Q1, 1);
    rig.publish(p, "t", "second", Q1, 2);
    rig.out(s);
    rig.out(p);
    rig.puback(s, 1);
    rig.puback(s, 2);
    fill(&mut rig, p, 102);
    assert_eq!(alarms(&rig), ["memory_limit"]);
    let c = rig.hello(Hello::v5("newcomer"));
    rig.check(c, &["CONNACK present=0 0x97"]);
    assert_eq!(rig.cause(c), Some(CloseCause::Refused(ReasonCode::QuotaExceeded)));
    let c = rig.hello(Hello::v3("older"));
    rig.check(c, &["CONNACK present=0 0x88"]);
    rig.subscribe(s, "other", Q0);
    rig.check(s, &["SUBACK #77 97"]);
    rig.subscribe(s, "t", Q1);
    rig.check(s, &["SUBACK #77 01"]);
    rig.retain(p, "new", "x");
    assert_eq!(rig.metric(Metric::DroppedRetainedFull), 1);
    // The queue of who is away does not grow: its oldest message goes. Who is there is served.
    rig.publish(p, "t", "third", Q1, 3);
    assert_eq!(rig.metric(Metric::DroppedMemory), 1);
    rig.check(s, &["PUBLISH q1 #3 t=third"]);

    rig.retain(p, "filled/102", "");
    rig.pass_ms(1);
    assert_eq!(alarms(&rig), [""; 0]);
    let away = rig.join(Hello::v5("away").lasting(1_000));
    assert_eq!(rig.broker.session("away").unwrap().inflight, 2);
    rig.lose(away);
}

/// Where there is a store, what is queued goes there instead.
#[test]
fn queues_of_durable_sessions_go_to_the_store() {
    let mut rig = Rig::durable(|config, zone| {
        config.memory_limit_bytes = LIMIT;
        zone.max_mqueue_bytes = 0;
    });
    let p = rig.client("p");
    let s = rig.hello(Hello::v5("s").lasting(1_000));
    rig.sync();
    rig.subscribe(s, "t", Q1);
    rig.sync();
    rig.lose(s);
    let payload = "x".repeat(10_000);
    for n in 0..200 {
        rig.publish(p, "t", &format!("{n} {payload}"), Q1, n + 1);
        rig.sync();
        rig.pass_s(1);
    }
    assert!(rig.broker.memory_used() < LIMIT, "{} are used", rig.broker.memory_used());
    assert_eq!(rig.broker.session("s").unwrap().queued, 200);
    assert_eq!(rig.metric(Metric::DroppedMemory), 0);
    // Sessions that come back count at once.
    rig.crash();
    let used = rig.broker.memory_used();
    assert!((2_000..100_000).contains(&used), "{used} are used");
}

/// What tables have room for after a crowd has left is given back, and what is left in them stays.
#[test]
fn room_for_what_is_gone_is_given_back() {
    let mut rig = Rig::new();
    let crowd: Vec<_> = (0..4_500).map(|n| rig.client(&format!("c{n}"))).collect();
    let p = crowd[0];
    for n in 0..2_000 {
        rig.subscribed(crowd[1], &format!("t/{n}"), Q0);
    }
    rig.subscribed(p, "t/own", Q0);
    assert_eq!(rig.broker.give_back(), 0, "all of it is used");
    rig.lose(crowd[1]);
    let of_filters = rig.broker.give_back();
    assert!(of_filters > 2_000 * 16, "{of_filters}");
    crowd[2..].iter().for_each(|c| rig.lose(*c));
    let of_sessions = rig.broker.give_back();
    assert!(of_sessions > 4_000 * 8, "{of_sessions}");
    assert_eq!(rig.broker.give_back(), 0);
    // Those that are left are found as before.
    rig.publish(p, "t/own", "x", Q0, 0);
    assert_eq!(rig.out(p), ["PUBLISH q0 t/own=x"]);
    assert!(rig.broker.session("c0").is_some() && rig.broker.session("c2").is_none());
}
