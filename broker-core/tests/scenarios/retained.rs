//! Retained messages: kept, replayed, bounded.

use std::sync::Arc;

use broker_codec::{Packet, Property};
use broker_core::{Message, Metric, PageRequest, SubscriptionOptions};

use crate::rig::*;

fn retain_q1(rig: &mut Rig, c: C, topic: &str, payload: &str) {
    let mut kept = message(topic, payload, Q1, 1);
    kept.retain = true;
    rig.send(c, &Packet::Publish(kept));
    rig.out(c);
}

/// [MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7]
#[test]
fn the_last_message_of_a_topic_is_kept_and_an_empty_one_removes_it() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    rig.retain(p, "t", "1");
    rig.retain(p, "t", "2");
    rig.publish(p, "t", "not kept", Q0, 0);
    rig.retain(p, "u", "3");
    rig.retain(p, "u", "");
    let c = rig.client("c");
    rig.subscribe(c, "#", Q0);
    rig.check(c, &["SUBACK #77 00", "PUBLISH retain q0 t=2"]);
    assert_eq!(rig.broker.stats()[16], ("retained/count", 1));
}

/// [MQTT-3.3.1-12] [MQTT-3.3.1-13] [MQTT311-3.3.1-9]
#[test]
fn the_retain_flag_is_kept_only_where_the_subscription_asks() {
    let mut rig = Rig::new();
    let asks = rig.client("asks");
    let options = SubscriptionOptions { retain_as_published: true, ..Default::default() };
    rig.subscribe_with(asks, "t", options, 0);
    let plain = rig.client("plain");
    let old = rig.join(Hello::v3("old"));
    for c in [plain, old] {
        rig.subscribe(c, "t", Q0);
    }
    for c in [asks, plain, old] {
        rig.out(c);
    }
    let p = rig.client("pub");
    rig.retain(p, "t", "x");
    rig.check(asks, &["PUBLISH retain q0 t=x"]);
    for c in [plain, old] {
        rig.check(c, &["PUBLISH q0 t=x"]);
    }
}

/// MQTT 5.0, 3.3.1.3: not for shared subscriptions.
#[test]
fn a_shared_subscription_gets_no_retained_messages() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    rig.retain(p, "t", "x");
    let c = rig.client("c");
    rig.subscribe(c, "$share/g/t", Q0);
    rig.check(c, &["SUBACK #77 00"]);
}

/// Attack case 40: the interval runs while the message is retained.
#[test]
fn a_retained_message_expires_and_is_passed_on_counted_down() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    let mut kept = message("t", "x", Q0, 0);
    kept.retain = true;
    rig.publish_with(p, kept, &[Property::MessageExpiryInterval(30)]);
    rig.pass_s(10);
    let c = rig.client("c");
    rig.subscribe(c, "t", Q0);
    rig.check(c, &["SUBACK #77 00", "PUBLISH retain q0 t=x expiry=20"]);
    rig.pass_s(20);
    rig.subscribe(c, "t", Q0);
    rig.check(c, &["SUBACK #77 00"]);
}

/// Attack case 18: a clock that is set back adds no lifetime [MQTT-3.3.2-6].
#[test]
fn a_clock_set_back_does_not_raise_the_expiry() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    let mut kept = message("t", "x", Q0, 0);
    kept.retain = true;
    rig.publish_with(p, kept, &[Property::MessageExpiryInterval(30)]);
    rig.now.wall_ms -= 3_600_000;
    let c = rig.client("c");
    rig.subscribe(c, "t", Q0);
    rig.check(c, &["SUBACK #77 00", "PUBLISH retain q0 t=x expiry=30"]);
}

/// Attack case 13: `#` over many topics goes page by page through a small outbox.
#[test]
fn a_large_replay_goes_in_pages_through_a_small_outbox() {
    let mut rig = Rig::with_zone(|zone| zone.max_outbox_bytes = 1_000);
    let p = rig.client("pub");
    for n in 0..2_000 {
        rig.retain(p, &format!("t/{:02}/{n}", n % 50), "x");
    }
    let c = rig.client("c");
    let socket = rig.socket(c);
    socket.lock().capacity = 500;
    rig.subscribe(c, "#", Q1);
    let mut seen = std::collections::BTreeSet::new();
    let mut rounds = 0;
    while seen.len() < 2_000 {
        let waits = rig.broker.session("c").unwrap().outbox_bytes;
        assert!(waits <= 1_000 + 20, "{waits}");
        for line in rig.out(c) {
            if line.starts_with("PUBLISH") {
                assert!(seen.insert(line));
            }
        }
        rig.writable(c);
        rounds += 1;
        assert!(rounds < 1_000, "stalled at {}", seen.len());
    }
    rig.check(c, &[]);
}

/// What came after the SUBACK is newer than what was retained before: the old value must not follow it.
#[test]
fn a_replay_does_not_bring_what_was_replaced_meanwhile() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    for n in 0..4 {
        retain_q1(&mut rig, p, &format!("t/{n}"), "old");
    }
    let c = rig.join(Hello::v5("c").with(Property::ReceiveMaximum(1)));
    rig.subscribe(c, "t/#", Q1);
    rig.check(c, &["SUBACK #77 01", "PUBLISH retain q1 #1 t/0=old"]);
    retain_q1(&mut rig, p, "t/2", "new");
    retain_q1(&mut rig, p, "t/3", "");
    for id in 1..=6 {
        rig.puback(c, id);
    }
    rig.check(c, &["PUBLISH q1 #2 t/2=new", "PUBLISH q1 #3 t/3=", "PUBLISH retain q1 #4 t/1=old"]);
}

/// [MQTT-3.10.4-2] Nothing more is added after UNSUBSCRIBE.
#[test]
fn unsubscribing_ends_a_replay() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    for n in 0..4 {
        retain_q1(&mut rig, p, &format!("t/{n}"), "x");
    }
    let c = rig.join(Hello::v5("c").with(Property::ReceiveMaximum(1)));
    rig.subscribe(c, "t/#", Q1);
    rig.unsubscribe(c, "t/#");
    rig.puback(c, 1);
    rig.check(c, &["SUBACK #77 01", "PUBLISH retain q1 #1 t/0=x", "UNSUBACK #78 00"]);
}

/// Attack case 12: subscribing over and over does not pile up replays.
#[test]
fn subscribing_again_starts_the_replay_over() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    for n in 0..2 {
        retain_q1(&mut rig, p, &format!("t/{n}"), "x");
    }
    let c = rig.join(Hello::v5("c").with(Property::ReceiveMaximum(1)));
    for _ in 0..100 {
        rig.subscribe(c, "t/#", Q1);
    }
    rig.out(c);
    let mut n = 0;
    for id in 1..=100 {
        rig.puback(c, id);
        n += rig.out(c).len();
    }
    assert_eq!(n, 2, "the last replay, of two messages");
}

/// A page is read before its messages leave; one that expires meanwhile does not.
#[test]
fn a_message_that_expires_during_the_replay_is_not_sent() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    for topic in ["t/0", "t/1"] {
        let mut kept = message(topic, "x", Q1, 1);
        kept.retain = true;
        rig.publish_with(p, kept, &[Property::MessageExpiryInterval(10)]);
    }
    let c = rig.join(Hello::v5("c").with(Property::ReceiveMaximum(1)));
    rig.subscribe(c, "t/#", Q1);
    rig.pass_s(10);
    rig.puback(c, 1);
    rig.check(c, &["SUBACK #77 01", "PUBLISH retain q1 #1 t/0=x expiry=10"]);
}

/// Attack case 13: the store is bounded in messages, bytes and payload.
#[test]
fn a_full_store_refuses_and_counts_but_delivers() {
    let mut rig = Rig::build(
        |config, _| {
            config.retained.max_messages = 1;
            config.retained.max_payload_bytes = 10;
        },
        Default::default(),
        None,
    );
    let c = rig.client("c");
    rig.subscribed(c, "#", Q0);
    let p = rig.client("pub");
    rig.retain(p, "a", "x");
    rig.retain(p, "b", "y");
    rig.retain(p, "a", "longer than ten bytes");
    assert_eq!(rig.out(c).len(), 3);
    assert_eq!(rig.metric(Metric::DroppedRetainedFull), 2);
    assert_eq!(rig.broker.stats()[16], ("retained/count", 1));
}

/// Attack case 13: a large retained message for many subscribers is held once.
#[test]
fn a_large_message_reaches_many_whole() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    let large = "x".repeat(100_000);
    rig.retain(p, "t", &large);
    for n in 0..20 {
        let c = rig.client(&format!("c{n}"));
        let socket = rig.socket(c);
        socket.lock().write_max = 7_919;
        rig.subscribe(c, "t", Q0);
        for _ in 0..20 {
            rig.writable(c);
        }
        rig.check(c, &["SUBACK #77 00", "PUBLISH retain q0 t=<100000 bytes>"]);
    }
}

impl Rig {
    /// Topics and payloads of a page, and the count of all.
    fn retained_page(&mut self, page: usize, limit: usize) -> (Vec<String>, usize) {
        self.turn.begin(self.now);
        let request = PageRequest { page, limit, caller: 1 };
        let page = self.broker.retained_page(&request, &mut self.turn);
        self.settle();
        let row = |message: &Arc<Message>| {
            format!("{}={}", message.topic, str::from_utf8(&message.payload).unwrap())
        };
        (page.rows.iter().map(row).collect(), page.count)
    }

    fn clear_retained(&mut self, topic: &str) -> bool {
        self.turn.begin(self.now);
        let cleared = self.broker.clear_retained(topic, &mut self.turn);
        self.settle();
        cleared
    }

    fn clear_all_retained(&mut self) -> usize {
        self.turn.begin(self.now);
        let n_cleared = self.broker.clear_all_retained(&mut self.turn);
        self.settle();
        n_cleared
    }
}

#[test]
fn an_operator_sees_them_by_topic_whatever_comes_and_goes_between_two_pages() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    for topic in ["d", "b/2", "a", "e", "b/1", "c"] {
        rig.retain(p, topic, "x");
    }
    assert_eq!(rig.retained_page(1, 2), (vec!["a=x".into(), "b/1=x".into()], 6));
    rig.retain(p, "a", "");
    rig.retain(p, "b/1", "");
    rig.retain(p, "a/0", "new");
    rig.retain(p, "b/2", "y");
    assert_eq!(rig.retained_page(2, 2), (vec!["b/2=y".into(), "c=x".into()], 5));
    assert_eq!(rig.retained_page(3, 2), (vec!["d=x".into(), "e=x".into()], 5));
    assert_eq!(rig.retained_page(4, 2), (vec![], 5));
    // Without the one before it, a page is what its number says.
    assert_eq!(rig.retained_page(2, 4), (vec!["e=x".into()], 5));
}

#[test]
fn an_operator_sees_none_that_has_expired() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    let mut kept = message("a", "x", Q0, 0);
    kept.retain = true;
    rig.publish_with(p, kept, &[Property::MessageExpiryInterval(5)]);
    rig.retain(p, "b", "y");
    assert_eq!(rig.retained_page(1, 9).1, 2);
    assert!(rig.broker.retained_message("a", rig.now).is_some());
    rig.now = rig.now.plus_ms(5_000);
    assert!(rig.broker.retained_message("a", rig.now).is_none());
    assert_eq!(rig.retained_page(1, 9), (vec!["b=y".into()], 1));
    assert_eq!(
        rig.broker.retained_bytes(),
        rig.broker.retained_message("b", rig.now).unwrap().weight()
    );
}

#[test]
fn what_an_operator_clears_stays_cleared_over_a_crash() {
    let mut rig = Rig::durable(|config, _| config.sys_interval_ms = 60_000);
    let p = rig.hello(Hello::v5("pub"));
    rig.sync();
    for n in 0..600 {
        rig.retain(p, &format!("t/{n}"), "x");
    }
    rig.sync();
    rig.run_timers();
    assert!(rig.broker.retained_message("$SYS/brokers", rig.now).is_some());
    assert!(rig.clear_retained("t/7"));
    let saved = rig.turn.saved();
    assert!(!rig.broker.is_saved(saved), "an answer must wait");
    assert!(!rig.clear_retained("t/7"));
    rig.sync();
    assert!(rig.broker.is_saved(saved));
    rig.crash();
    assert_eq!(rig.retained_page(1, 1).1, 599);
    rig.run_timers();
    let (own, all) = (rig.retained_page(1, 10_000).0, rig.retained_page(1, 10_000).1);
    let n_own = own.iter().filter(|row| row.starts_with("$SYS/")).count();
    assert!(n_own > 0);
    assert_eq!(rig.clear_all_retained(), 599);
    assert_eq!(rig.retained_page(1, 1).1, all - 599);
    assert_eq!(all - 599, n_own, "the broker's own stay");
    rig.sync();
    rig.crash();
    assert_eq!(rig.retained_page(1, 1).1, 0);
}
