//! Shared subscriptions: who gets a message, and what becomes of those of a member that goes.

use std::sync::{Arc, Weak};

use broker_codec::Property;
use broker_core::config::SharedStrategy;
use broker_core::extension::Consumer;
use broker_core::{Message, Metric, QoS};
use parking_lot::Mutex;

use crate::rig::*;

fn group(strategy: SharedStrategy, dispatch_ack: bool) -> Rig {
    Rig::build(
        |config, _| {
            config.shared_strategy = strategy;
            config.shared_dispatch_ack = dispatch_ack;
        },
        Default::default(),
        None,
    )
}

fn members(rig: &mut Rig, n: usize, qos: QoS) -> Vec<C> {
    let join = |n| {
        let c = rig.join(Hello::v5(&format!("m{n}")).lasting(1000));
        rig.subscribed(c, "$share/g/t/+", qos);
        c
    };
    (0..n).map(join).collect()
}

fn counts(rig: &mut Rig, members: &[C]) -> Vec<usize> {
    members.iter().map(|m| rig.out(*m).len()).collect()
}

/// [MQTT-4.8.2-3] Each message goes to one member of each group.
#[test]
fn each_message_goes_to_one_member_of_each_group() {
    for strategy in [
        SharedStrategy::Random,
        SharedStrategy::RoundRobin,
        SharedStrategy::Sticky,
        SharedStrategy::Hash,
        SharedStrategy::HashTopic,
    ] {
        let mut rig = group(strategy, false);
        let list = members(&mut rig, 3, Q0);
        let (queue, plain) = (rig.client("queue"), rig.client("plain"));
        rig.subscribed(queue, "$queue/t/#", Q0);
        rig.subscribed(plain, "t/1", Q0);
        let p = rig.client("pub");
        for _ in 0..30 {
            rig.publish(p, "t/1", "x", Q0, 0);
        }
        let shares = counts(&mut rig, &list);
        assert_eq!(shares.iter().sum::<usize>(), 30, "{strategy:?}");
        match strategy {
            SharedStrategy::RoundRobin => assert_eq!(shares, [10, 10, 10]),
            SharedStrategy::Random => assert!(shares.iter().all(|n| *n > 0), "{shares:?}"),
            _ => assert!(shares.contains(&30), "{strategy:?} {shares:?}"),
        }
        assert_eq!(rig.out(queue).len(), 30);
        assert_eq!(rig.out(plain).len(), 30);
    }
}

/// `sticky` keeps to one member, whoever publishes to whatever topic, and to another once that has gone.
#[test]
fn a_sticky_group_keeps_to_one_member() {
    let mut rig = group(SharedStrategy::Sticky, false);
    let list = members(&mut rig, 3, Q0);
    let publishers = [rig.client("p0"), rig.client("p1"), rig.client("p2")];
    let publish_all = |rig: &mut Rig| {
        for n in 0..30 {
            rig.publish(publishers[n % 3], &format!("t/{}", n % 5), "x", Q0, 0);
        }
        counts(rig, &list)
    };
    let shares = publish_all(&mut rig);
    let favourite = shares.iter().position(|n| *n == 30).expect("all went to one");
    assert_eq!(publish_all(&mut rig), shares);
    rig.lose(list[favourite]);
    let shares = publish_all(&mut rig);
    assert!(shares[favourite] == 0 && shares.contains(&30), "{shares:?}");
}

/// The strategies that hash spread over topics or publishers.
#[test]
fn hashes_follow_what_they_are_named_after() {
    for (strategy, by_topic) in [(SharedStrategy::Hash, false), (SharedStrategy::HashTopic, true)] {
        let mut rig = group(strategy, false);
        let list = members(&mut rig, 3, Q0);
        let one = rig.client("p0");
        for n in 0..30 {
            rig.publish(one, &format!("t/{n}"), "x", Q0, 0);
        }
        let spread = counts(&mut rig, &list).iter().filter(|n| **n > 0).count();
        assert_eq!(spread > 1, by_topic);
        for n in 0..30 {
            let p = rig.client(&format!("p{n}"));
            rig.publish(p, "t/1", "x", Q0, 0);
        }
        let spread = counts(&mut rig, &list).iter().filter(|n| **n > 0).count();
        assert_eq!(spread > 1, !by_topic);
    }
}

/// A member that is there is preferred to one that is away; among those away the message waits.
#[test]
fn connected_members_come_first() {
    let mut rig = group(SharedStrategy::RoundRobin, false);
    let list = members(&mut rig, 3, Q1);
    rig.lose(list[0]);
    rig.lose(list[1]);
    let p = rig.client("pub");
    for n in 1..=6 {
        rig.publish(p, "t/1", "x", Q1, n);
    }
    assert_eq!(rig.out(list[2]).len(), 6);
    rig.lose(list[2]);
    rig.publish(p, "t/1", "waits", Q1, 7);
    let queued: usize = (0..3).map(|n| rig.broker.session(&format!("m{n}")).unwrap().queued).sum();
    assert_eq!(queued, 1);
}

/// Who comes back has its share again, with every strategy and by every kind of filter.
#[test]
fn a_member_that_comes_back_gets_messages_again() {
    for (strategy, filter) in [
        (SharedStrategy::Random, "$share/g/t/+"),
        (SharedStrategy::RoundRobin, "$share/g/t/1"),
        (SharedStrategy::RoundRobin, "$queue/t/#"),
        (SharedStrategy::HashTopic, "$share/g/t/1"),
    ] {
        let mut rig = group(strategy, false);
        let join = |rig: &mut Rig, id: &str| rig.join(Hello::v5(id).lasting(1000));
        let mut list = Vec::new();
        for id in ["m0", "m1", "m2"] {
            let c = join(&mut rig, id);
            rig.subscribed(c, filter, Q0);
            list.push(c);
        }
        let p = rig.client("pub");
        let spread = |rig: &mut Rig, list: &[C]| {
            for _ in 0..30 {
                rig.publish(p, "t/1", "x", Q0, 0);
            }
            counts(rig, list)
        };
        let before = spread(&mut rig, &list);
        let chosen = before.iter().position(|n| *n > 0).unwrap();
        rig.lose(list[chosen]);
        assert_eq!(spread(&mut rig, &list).iter().sum::<usize>(), 30, "{filter}");
        list[chosen] = join(&mut rig, &format!("m{chosen}"));
        let after = spread(&mut rig, &list);
        assert!(after[chosen] > 0, "{strategy:?} {filter} {before:?} {after:?}");
    }
}

/// Attack case 19; MQTT 5.0, 4.8.2: when a session ends, others get what it had not begun at QoS 2.
#[test]
fn messages_of_a_session_that_ends_go_to_others() {
    let mut rig = group(SharedStrategy::Sticky, false);
    let first = rig.join(Hello::v5("m0").with(Property::ReceiveMaximum(2)));
    rig.subscribed(first, "$share/g/t/+", Q2);
    let p = rig.client("pub");
    rig.publish(p, "t/1", "q1 sent", Q1, 1);
    rig.publish(p, "t/1", "q2 begun", Q2, 2);
    rig.publish(p, "t/1", "q2 waits", Q2, 3);
    let second = rig.client("m1");
    rig.subscribed(second, "$share/g/t/+", Q2);
    rig.check(first, &["PUBLISH q1 #1 t/1=q1 sent", "PUBLISH q2 #2 t/1=q2 begun"]);
    rig.lose(first);
    rig.check(second, &["PUBLISH q1 #1 t/1=q1 sent", "PUBLISH q2 #2 t/1=q2 waits"]);
}

/// [MQTT-3.10.4-3] What was begun is completed by the member that unsubscribed; the rest goes to others.
#[test]
fn unsubscribing_completes_what_was_begun_and_hands_on_the_rest() {
    let mut rig = group(SharedStrategy::Sticky, false);
    let first = rig.join(Hello::v5("m0").with(Property::ReceiveMaximum(1)));
    rig.subscribed(first, "$share/g/t/+", Q1);
    rig.subscribed(first, "own", Q1);
    let p = rig.client("pub");
    for n in 1..=3 {
        rig.publish(p, "t/1", &n.to_string(), Q1, n);
    }
    rig.check(first, &["PUBLISH q1 #1 t/1=1"]);
    let second = rig.client("m1");
    rig.subscribed(second, "$share/g/t/+", Q1);
    rig.unsubscribe(first, "$share/g/t/+");
    rig.check(first, &["UNSUBACK #78 00"]);
    rig.check(second, &["PUBLISH q1 #1 t/1=2", "PUBLISH q1 #2 t/1=3"]);
    // Its exchange ends as it began, and makes room for what is its own.
    rig.publish(p, "own", "x", Q1, 9);
    rig.check(first, &[]);
    rig.puback(first, 1);
    rig.check(first, &["PUBLISH q1 #2 own=x"]);
    assert_eq!(rig.metric(Metric::PacketsPubAckMissed), 0);
}

/// Leaving a group while messages of an earlier connection are still to be resent.
#[test]
fn unsubscribing_while_resending_goes_on_resending() {
    let mut rig = group(SharedStrategy::Sticky, false);
    let first = rig.join(Hello::v5("m0").lasting(100));
    rig.subscribed(first, "$share/g/t/+", Q1);
    let p = rig.client("pub");
    for n in 1..=3 {
        rig.publish(p, "t/1", &n.to_string(), Q1, n);
    }
    rig.lose(first);
    let first = rig.join(Hello::v5("m0").lasting(100).with(Property::ReceiveMaximum(1)));
    rig.unsubscribe(first, "$share/g/t/+");
    rig.out(first);
    rig.puback(first, 1);
    rig.check(first, &["PUBLISH dup q1 #2 t/1=2"]);
    rig.puback(first, 2);
    rig.check(first, &["PUBLISH dup q1 #3 t/1=3"]);
}

/// `shared_dispatch_ack_enabled`: another member gets what was left unacknowledged.
#[test]
fn dispatch_ack_hands_on_what_was_left_unacknowledged() {
    for enabled in [false, true] {
        let mut rig = group(SharedStrategy::Sticky, enabled);
        let first = rig.join(Hello::v5("m0").lasting(100));
        rig.subscribed(first, "$share/g/t/+", Q2);
        let p = rig.client("pub");
        rig.publish(p, "t/1", "q1", Q1, 1);
        rig.publish(p, "t/1", "q2", Q2, 2);
        let second = rig.client("m1");
        rig.subscribed(second, "$share/g/t/+", Q2);
        rig.lose(first);
        // [MQTT-4.8.2-4] What was begun at QoS 2 stays with its member.
        rig.check(second, if enabled { &["PUBLISH q1 #1 t/1=q1"] } else { &[] });
        let first = rig.hello(Hello::v5("m0").lasting(100));
        let resent = rig.out(first);
        assert_eq!(resent.len(), if enabled { 2 } else { 3 }, "{resent:?}");
    }
}

/// A message nobody else can take stays with the member that had it.
#[test]
fn dispatch_ack_loses_nothing_of_the_only_member() {
    let mut rig = group(SharedStrategy::Sticky, true);
    let only = rig.join(Hello::v5("m0").lasting(100).with(Property::ReceiveMaximum(1)));
    rig.subscribed(only, "$share/g/t/+", Q1);
    let p = rig.client("pub");
    for n in 1..=3 {
        rig.publish(p, "t/1", &n.to_string(), Q1, n);
    }
    rig.lose(only);
    let only = rig.hello(Hello::v5("m0").lasting(100));
    rig.check(
        only,
        &[
            "CONNACK present=1 0x00",
            "PUBLISH dup q1 #1 t/1=1",
            "PUBLISH q1 #2 t/1=2",
            "PUBLISH q1 #3 t/1=3",
        ],
    );
}

/// [MQTT-4.8.2-1] [MQTT-4.8.2-2] and [MQTT-3.8.3-4]
#[test]
fn malformed_shares_are_refused() {
    let mut rig = Rig::new();
    for filter in ["$share/g", "$share//t", "$share/a+/t", "$share/g/", "$queue/", "$share/g/a#"] {
        let c = rig.client("c");
        rig.subscribe(c, filter, Q0);
        let lines = rig.out(c);
        let is_refused = lines == ["SUBACK #77 8f"]
            || matches!(&lines[..], [line] if line.starts_with("DISCONNECT"));
        assert!(is_refused, "{filter} {lines:?}");
    }
}

/// The QoS of the member that is picked holds, and so does its Subscription Identifier.
#[test]
fn a_share_has_the_options_of_its_member() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    let options = broker_core::SubscriptionOptions { qos: Q1, ..Default::default() };
    rig.subscribe_with(c, "$share/g/t", options, 9);
    rig.out(c);
    let p = rig.client("pub");
    rig.publish(p, "t", "x", Q2, 1);
    rig.check(c, &["PUBLISH q1 #1 t=x sub=9"]);
}

/// Remembers what it hears, without keeping it.
#[derive(Default)]
struct Faint(Mutex<Vec<Weak<Message>>>);

impl Consumer for Faint {
    fn consume(&self, message: &Arc<Message>) {
        self.0.lock().push(Arc::downgrade(message));
    }
}

/// A group has its members, and these have messages that remember their group.
#[test]
fn a_broker_that_is_dropped_takes_its_groups_along() {
    for durable in [false, true] {
        let mut rig = if durable { Rig::durable(|_, _| {}) } else { Rig::new() };
        let faint = Arc::new(Faint::default());
        let attachment = rig.broker.attach("t/#", faint.clone()).unwrap();
        let list = [0, 1].map(|n| {
            let c = rig.join(Hello::v5(&format!("m{n}")).lasting(1000));
            rig.subscribe(c, "$share/g/t/+", Q2);
            c
        });
        let pins = |rig: &Rig| rig.disk.as_ref().map_or(0, |disk| disk.pins());
        let p = rig.client("pub");
        rig.lose(list[0]);
        for n in 1..=6 {
            // In flight, and in queues.
            rig.publish(p, "t/1", "x", if n % 2 == 0 { Q1 } else { Q2 }, n);
        }
        rig.lose(list[1]);
        rig.publish(p, "t/1", "x", Q1, 7);
        drop(attachment);
        let heard = std::mem::take(&mut *faint.0.lock());
        assert_eq!(heard.len(), 7);
        assert!(heard.iter().all(|message| message.upgrade().is_some()));
        let disk = rig.disk.clone();
        assert_eq!(pins(&rig) > 0, durable);
        let broker = Arc::downgrade(&rig.broker);
        drop(rig);
        assert!(broker.upgrade().is_none());
        assert!(heard.iter().all(|message| message.upgrade().is_none()), "messages are left over");
        assert_eq!(disk.map_or(0, |disk| disk.pins()), 0, "the store's segments are held for ever");
    }
}
