//! Each metric, moved by exactly one, or by so many bytes, where its description says.

use broker_codec::{Packet, Property, Publish};
use broker_core::extension::Action;
use broker_core::store::Condition;
use broker_core::{Metric, ReasonCode};

use crate::access::{auth, toy, toy_hello};
use crate::rig::*;
use crate::rights_change::board;

/// What moves a metric: a world, made ready, the one act, and by how much.
struct Case {
    rig: Rig,
    act: Box<dyn FnOnce(&mut Rig)>,
    by: u64,
}

fn case(rig: Rig, act: impl FnOnce(&mut Rig) + 'static) -> Case {
    Case { rig, act: Box::new(act), by: 1 }
}

/// A publisher, `P`, and a subscriber of `t` at QoS 2, `S`.
const P: C = 0;
const S: C = 1;

fn pair() -> Rig {
    let mut rig = Rig::new();
    rig.client("p");
    let s = rig.join(Hello::v5("s").lasting(1000));
    rig.subscribed(s, "t", Q2);
    rig
}

fn expiring<'a>(qos: broker_core::QoS, id: u16) -> (Publish<'a>, [Property<'a>; 1]) {
    (message("t", "x", qos, id), [Property::MessageExpiryInterval(5)])
}

/// A metric without an arm does not compile.
fn case_of(metric: Metric) -> Option<Case> {
    Some(match metric {
        // PINGREQ and PINGRESP have two bytes each.
        Metric::BytesReceived | Metric::BytesSent => {
            Case { by: 2, ..case(pair(), |rig| rig.send(P, &Packet::PingReq)) }
        }
        Metric::PacketsReceived
        | Metric::PacketsSent
        | Metric::PacketsPingReq
        | Metric::PacketsPingResp => case(pair(), |rig| rig.send(P, &Packet::PingReq)),
        Metric::PacketsConnect | Metric::PacketsConnAck => case(pair(), |rig| {
            rig.hello(Hello::v5("c"));
        }),
        Metric::PacketsPublishReceived
        | Metric::PacketsPublishSent
        | Metric::MessagesReceived
        | Metric::MessagesSent
        | Metric::MessagesQos0Received
        | Metric::MessagesQos0Sent => case(pair(), |rig| rig.publish(P, "t", "x", Q0, 0)),
        Metric::MessagesQos1Received | Metric::MessagesQos1Sent | Metric::PacketsPubAckSent => {
            case(pair(), |rig| rig.publish(P, "t", "x", Q1, 1))
        }
        Metric::MessagesQos2Received | Metric::MessagesQos2Sent | Metric::PacketsPubRecSent => {
            case(pair(), |rig| rig.publish(P, "t", "x", Q2, 1))
        }
        Metric::PacketsPubAckReceived | Metric::PacketsPubAckMissed => {
            case(pair(), |rig| rig.puback(S, 9))
        }
        Metric::PacketsPubRecReceived | Metric::PacketsPubRecMissed | Metric::PacketsPubRelSent => {
            case(pair(), |rig| rig.pubrec(S, 9))
        }
        Metric::PacketsPubRelReceived
        | Metric::PacketsPubRelMissed
        | Metric::PacketsPubCompSent => case(pair(), |rig| rig.pubrel(P, 9)),
        Metric::PacketsPubCompReceived | Metric::PacketsPubCompMissed => {
            case(pair(), |rig| rig.pubcomp(S, 9))
        }
        Metric::PacketsSubscribe | Metric::PacketsSubAck => {
            case(pair(), |rig| rig.subscribe(P, "x", Q0))
        }
        Metric::PacketsUnsubscribe | Metric::PacketsUnsubAck => {
            case(pair(), |rig| rig.unsubscribe(P, "x"))
        }
        Metric::PacketsDisconnectReceived => {
            case(pair(), |rig| rig.disconnect(P, ReasonCode::Success, &[]))
        }
        Metric::PacketsDisconnectSent => case(pair(), |rig| rig.say_hello(P, &Hello::v5("p"))),
        Metric::PacketsAuthSent => case(toy(), |rig| {
            rig.hello(toy_hello(b"a"));
        }),
        Metric::PacketsAuth => {
            let mut rig = toy();
            let c = rig.hello(toy_hello(b"a"));
            case(rig, move |rig| auth(rig, c, ReasonCode::ContinueAuthentication, "TOY", b"b"))
        }
        Metric::MessagesQos2Dropped => {
            let mut rig = Rig::with_zone(|zone| zone.max_awaiting_rel = 1);
            let c = rig.client("c");
            rig.publish(c, "t", "x", Q2, 1);
            case(rig, move |rig| rig.publish(c, "t", "x", Q2, 2))
        }
        Metric::MessagesQos2Expired => {
            let mut rig = Rig::with_zone(|zone| zone.await_rel_timeout_ms = 10_000);
            let c = rig.client("c");
            rig.publish(c, "t", "x", Q2, 1);
            case(rig, |rig| rig.pass_s(20))
        }
        Metric::MessagesDropped => case(pair(), |rig| rig.publish(P, "nobody", "x", Q0, 0)),
        Metric::MessagesExpired => {
            let mut rig = pair();
            rig.lose(S);
            let (publish, properties) = expiring(Q1, 1);
            rig.publish_with(P, publish, &properties);
            rig.pass_s(5);
            case(rig, |rig| {
                rig.join(Hello::v5("s").lasting(1000));
            })
        }
        Metric::MessagesRetained => case(pair(), |rig| rig.retain(P, "kept", "x")),
        // There is no other node.
        Metric::MessagesForward => return None,
        Metric::DroppedQueueFull => {
            let mut rig = Rig::with_zone(|zone| zone.max_mqueue_len = 1);
            let p = rig.client("p");
            let s = rig.join(Hello::v5("s").lasting(1000));
            rig.subscribed(s, "t", Q1);
            rig.lose(s);
            rig.publish(p, "t", "x", Q1, 1);
            case(rig, move |rig| rig.publish(p, "t", "x", Q1, 2))
        }
        Metric::DroppedMemory => {
            let mut rig = Rig::build(
                |config, _| config.memory_limit_bytes = 100_000,
                Default::default(),
                None,
            );
            let p = rig.client("p");
            let s = rig.join(Hello::v5("s").lasting(1000));
            rig.subscribed(s, "t", Q0);
            rig.lose(s);
            rig.retain(p, "kept", &"x".repeat(83_000));
            rig.pass_s(1);
            case(rig, move |rig| rig.publish(p, "t", "x", Q0, 0))
        }
        Metric::DroppedOutboxFull => {
            let mut rig = Rig::with_zone(|zone| zone.max_outbox_bytes = 20);
            let p = rig.client("p");
            let s = rig.client("s");
            rig.subscribed(s, "t", Q0);
            rig.socket(s).lock().capacity = 0;
            rig.publish(p, "t", "01234567890123456789", Q0, 0);
            case(rig, move |rig| rig.publish(p, "t", "x", Q0, 0))
        }
        Metric::DroppedTooLarge => {
            let mut rig = pair();
            let s = rig.join(Hello::v5("s").with(Property::MaximumPacketSize(30)));
            rig.subscribed(s, "t", Q0);
            case(rig, |rig| rig.publish(P, "t", &"x".repeat(50), Q0, 0))
        }
        Metric::DroppedNoLocal => {
            let mut rig = pair();
            let options = broker_core::SubscriptionOptions { no_local: true, ..Default::default() };
            rig.subscribe_with(P, "own", options, 0);
            case(rig, |rig| rig.publish(P, "own", "x", Q0, 0))
        }
        Metric::DroppedOffline => {
            let mut rig = Rig::with_zone(|zone| zone.mqueue_store_qos0 = false);
            let p = rig.client("p");
            let s = rig.join(Hello::v5("s").lasting(1000));
            rig.subscribed(s, "t", Q0);
            rig.lose(s);
            case(rig, move |rig| rig.publish(p, "t", "x", Q0, 0))
        }
        Metric::DroppedDamaged => {
            let mut rig = Rig::durable(|_, _| {});
            let p = rig.client("p");
            let s = rig.join(Hello::v5("s").lasting(1000));
            rig.subscribe(s, "t", Q1);
            rig.sync();
            rig.lose(s);
            rig.publish(p, "t", "BROKEN", Q1, 1);
            rig.sync();
            rig.crash();
            rig.disk().damage("BROKEN");
            case(rig, |rig| {
                rig.join(Hello::v5("s").lasting(1000));
            })
        }
        Metric::DroppedRetainedFull => {
            let mut rig =
                Rig::build(|config, _| config.retained.max_messages = 1, Default::default(), None);
            let p = rig.client("p");
            rig.retain(p, "a", "x");
            case(rig, move |rig| rig.retain(p, "b", "x"))
        }
        Metric::PublishUnrecorded => {
            let mut rig = Rig::durable(|_, _| {});
            let p = rig.client("p");
            rig.disk().set_condition(Condition::Unavailable);
            case(rig, move |rig| {
                let message = message("t", "x", Q1, 1);
                rig.publish_with(p, Publish { retain: true, ..message }, &[]);
            })
        }
        // For two sessions it is recorded once.
        Metric::MessagesRecorded => {
            let mut rig = Rig::durable(|_, _| {});
            let p = rig.client("p");
            for id in ["a", "b"] {
                let c = rig.hello(Hello::v5(id).lasting(1000));
                rig.sync();
                rig.subscribe(c, "t", Q1);
                rig.sync();
                rig.lose(c);
            }
            case(rig, move |rig| rig.publish(p, "t", "x", Q1, 1))
        }
        Metric::SubscriptionsRevoked => {
            let (board, mut rig) = board();
            let s = rig.client("s");
            rig.subscribed(s, "t", Q0);
            case(rig, move |rig| board.deny(Action::Subscribe, "t", rig))
        }
        Metric::DroppedRevoked => {
            let (board, mut rig) = board();
            let p = rig.client("p");
            let s = rig.join(Hello::v5("s").with(Property::ReceiveMaximum(1)));
            rig.subscribed(s, "t", Q1);
            rig.publish(p, "t", "x", Q1, 1);
            rig.publish(p, "t", "x", Q1, 2);
            case(rig, move |rig| board.deny(Action::Subscribe, "t", rig))
        }
        Metric::PublishDenied => case(pair(), |rig| rig.publish(P, "$SYS/x", "x", Q0, 0)),
    })
}

#[test]
fn each_moves_by_what_happened_once() {
    for metric in Metric::ALL {
        let Some(Case { mut rig, act, by }) = case_of(*metric) else { continue };
        let before = rig.metric(*metric);
        act(&mut rig);
        assert_eq!(rig.metric(*metric) - before, by, "{}", metric.name());
    }
}

#[test]
fn a_single_node_forwards_nothing() {
    let mut rig = pair();
    rig.publish(P, "t", "x", Q0, 0);
    assert_eq!(rig.metric(Metric::MessagesForward), 0);
}

/// An expired message counts as such wherever it is found to be one.
#[test]
fn an_expired_message_is_counted_once_wherever_it_lies() {
    type Act = fn(&mut Rig);
    let leave = |rig: &mut Rig| rig.lose(S);
    let in_flight: Act = |rig| {
        let (publish, properties) = expiring(Q1, 1);
        rig.publish_with(P, publish, &properties);
        rig.lose(S);
        rig.pass_s(5);
        rig.join(Hello::v5("s").lasting(1000));
    };
    let delayed: Act = |rig| {
        let (publish, properties) = expiring(Q0, 0);
        let publish = Publish { topic: "$delayed/6/t", ..publish };
        rig.publish_with(P, publish, &properties);
        rig.pass_s(6);
    };
    let retain = |rig: &mut Rig| {
        let (publish, properties) = expiring(Q0, 0);
        let publish = Publish { topic: "kept", retain: true, ..publish };
        rig.publish_with(P, publish, &properties);
        // Now and then it is looked for what has expired: not in the next minute.
        rig.run_timers();
        rig.pass_s(5);
    };
    let count = |act: &dyn Fn(&mut Rig)| {
        let mut rig = pair();
        act(&mut rig);
        rig.metric(Metric::MessagesExpired)
    };
    assert_eq!(count(&in_flight), 1, "unacknowledged");
    assert_eq!(count(&delayed), 1, "delayed");
    assert_eq!(count(&|rig| retain(rig)), 0, "still stored");
    let swept = |rig: &mut Rig| {
        retain(rig);
        rig.pass_s(60);
        assert_eq!(rig.metric(Metric::MessagesRetained), 0);
    };
    assert_eq!(count(&swept), 1, "retained, swept");
    let replaced = |rig: &mut Rig| {
        retain(rig);
        rig.retain(P, "kept", "new");
        rig.pass_s(60);
    };
    assert_eq!(count(&replaced), 1, "retained, replaced");
    let removed = |rig: &mut Rig| {
        retain(rig);
        rig.retain(P, "kept", "");
        rig.pass_s(60);
    };
    assert_eq!(count(&removed), 1, "retained, removed");
    let queued = |rig: &mut Rig| {
        leave(rig);
        for id in 1..=2 {
            let (publish, properties) = expiring(Q1, id);
            rig.publish_with(P, publish, &properties);
        }
        rig.pass_s(5);
        let s = rig.hello(Hello::v5("s").lasting(1000));
        rig.check(s, &["CONNACK present=1 0x00"]);
    };
    assert_eq!(count(&queued), 2, "queued");
}

/// [MQTT-3.3.2-5]: what a member of a group leaves behind goes to no other once it has expired.
#[test]
fn an_expired_message_of_a_group_is_not_dealt_out_again() {
    let mut rig = Rig::new();
    let p = rig.client("p");
    let a = rig.join(Hello::v5("a").lasting(1000));
    rig.subscribed(a, "$share/g/t", Q1);
    rig.lose(a);
    let (publish, properties) = expiring(Q1, 1);
    rig.publish_with(p, publish, &properties);
    let b = rig.client("b");
    rig.subscribed(b, "$share/g/t", Q1);
    rig.pass_s(5);
    // The session of the first member ends; its message is looked at then.
    rig.client("a");
    rig.check(b, &[]);
    assert_eq!(rig.metric(Metric::MessagesExpired), 1);
}

/// Who refuses a message, or is too slow for it, is a subscriber all the same.
#[test]
fn a_message_is_dropped_only_if_nobody_subscribed() {
    let mut rig = pair();
    rig.publish(P, "nobody", "x", Q1, 1);
    rig.retain(P, "nobody", "x");
    rig.disconnect(P, ReasonCode::Success, &[]);
    let mut local = rig.broker.local_client("api");
    local.publish("nobody", "x", Q0, rig.now).unwrap();
    local.publish("t", "x", Q0, rig.now).unwrap();
    drop(local);
    assert_eq!(rig.metric(Metric::MessagesDropped), 3);
    let subscription = rig.broker.subscribe_local("nobody", 1, rig.now).unwrap();
    let mut local = rig.broker.local_client("api");
    local.publish("nobody", "x", Q0, rig.now).unwrap();
    drop((local, subscription));
    assert_eq!(rig.metric(Metric::MessagesDropped), 3);
}

/// `$SYS/…` reaches its subscribers without being counted as sent; their bytes are.
#[test]
fn messages_of_the_broker_about_itself_are_not_counted_as_sent() {
    let mut rig = Rig::build(|config, _| config.sys_interval_ms = 60_000, Default::default(), None);
    let c = rig.client("c");
    rig.subscribed(c, "$SYS/#", Q0);
    let (bytes, sent) = (rig.metric(Metric::BytesSent), rig.metric(Metric::PacketsSent));
    let dropped = rig.metric(Metric::MessagesDropped);
    rig.pass_s(61);
    assert!(rig.out(c).len() > Metric::ALL.len());
    assert!(rig.metric(Metric::BytesSent) > bytes + 1000);
    assert_eq!(rig.metric(Metric::PacketsSent), sent);
    assert_eq!(rig.metric(Metric::MessagesSent), 0);
    assert_eq!(rig.metric(Metric::MessagesDropped), dropped);
}

/// The PUBLISH that breaks the protocol was received; the sums say so in every snapshot.
#[test]
fn what_ends_a_connection_is_counted_by_its_kind_too() {
    let mut rig = Rig::with_zone(|zone| zone.max_qos_allowed = Q1);
    let c = rig.client("c");
    rig.publish(c, "t", "x", Q2, 1);
    rig.check(c, &["DISCONNECT 0x9b"]);
    let snapshot = rig.broker.metrics().snapshot();
    for (metric, value) in [
        (Metric::PacketsReceived, 2),
        (Metric::PacketsConnect, 1),
        (Metric::PacketsPublishReceived, 1),
        (Metric::MessagesReceived, 1),
        (Metric::MessagesQos2Received, 1),
    ] {
        assert_eq!(snapshot.value(metric), value, "{}", metric.name());
    }
}
