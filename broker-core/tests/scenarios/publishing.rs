//! What an operator publishes and subscribes clients to.

use std::borrow::Cow;
use std::sync::Arc;

use broker_core::config::{BrokerConfig, RetainedConfig, RewriteRule, ZoneConfig};
use broker_core::extension::PublishDraft;
use broker_core::store::{Condition, Level};
use broker_core::{ClientId, Metric, PublishError, QoS, ReasonCode, Saved, Sink};

use crate::rig::*;

fn draft<'a>(topic: &'a str, payload: &'a str, qos: QoS) -> PublishDraft<'a> {
    let payload = Cow::Borrowed(payload.as_bytes());
    PublishDraft { topic: topic.into(), payload, qos, retain: false }
}

fn retained<'a>(topic: &'a str, payload: &'a str, qos: QoS) -> PublishDraft<'a> {
    PublishDraft { retain: true, ..draft(topic, payload, qos) }
}

impl Rig {
    fn order(&mut self, drafts: &[PublishDraft<'_>]) -> Result<usize, PublishError> {
        self.turn.begin(self.now);
        let answer = self.broker.publish(&ClientId::from("boss"), drafts, &mut self.turn);
        self.settle();
        answer
    }

    fn saved(&self) -> Saved {
        self.turn.saved()
    }

    fn subscribe_to(&mut self, id: &str, filters: &[&str]) -> Option<ReasonCode> {
        self.turn.begin(self.now);
        let answer = self.broker.subscribe_client_to(id, filters, Q1, &mut self.turn);
        self.settle();
        answer.err()
    }
}

#[test]
fn a_message_goes_to_all_who_subscribed_and_counts_as_nobodys_packet() {
    let mut rig = Rig::new();
    let (a, b) = (rig.client("a"), rig.client("boss"));
    rig.subscribed(a, "t/#", Q2);
    rig.subscribed(b, "t/1", Q0);
    assert_eq!(rig.order(&[draft("t/1", "x", Q1)]), Ok(2));
    rig.check(a, &["PUBLISH q1 #1 t/1=x"]);
    rig.check(b, &["PUBLISH q0 t/1=x"]);
    assert_eq!(rig.metric(Metric::MessagesReceived), 0);
    assert_eq!(rig.metric(Metric::MessagesDropped), 0);
    assert_eq!(rig.order(&[draft("nobody", "x", Q1), draft("t/2", "y", Q0)]), Ok(1));
    assert_eq!(rig.metric(Metric::MessagesDropped), 1);
    rig.check(a, &["PUBLISH q0 t/2=y"]);
}

#[test]
fn one_topic_that_is_none_keeps_all_messages_back() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    rig.subscribed(c, "#", Q0);
    let long = "x".repeat(65_536);
    for bad in ["", "a/#", "+", "a\0b", "$delayed/x/t", "$delayed/5/", &long] {
        let answer = rig.order(&[retained("a", "kept", Q0), draft(bad, "x", Q0)]);
        assert_eq!(answer, Err(PublishError::Topic(bad.into())));
    }
    rig.check(c, &[]);
    let late = rig.client("late");
    rig.subscribed(late, "#", Q0);
    rig.check(late, &[]);
}

#[test]
fn messages_are_rewritten_and_delayed_as_those_of_clients_are() {
    let mut rig = Rig::build(
        |config, _| {
            let (filter, pattern) = ("old/#".into(), "^old/(.+)$".into());
            config.rewrite_rules.push(RewriteRule { filter, pattern, target: "new/$1".into() });
        },
        Default::default(),
        None,
    );
    let c = rig.client("c");
    rig.subscribed(c, "new/#", Q0);
    assert_eq!(
        rig.order(&[draft("$delayed/5/old/x", "late", Q0), draft("old/x", "now", Q0)]),
        Ok(2)
    );
    rig.check(c, &["PUBLISH q0 new/x=now"]);
    rig.pass_s(5);
    rig.check(c, &["PUBLISH q0 new/x=late"]);
}

#[test]
fn without_room_for_what_is_to_be_kept_nothing_is_published() {
    let mut rig = Rig::build(
        |config, _| {
            config.retained.max_messages = 2;
            config.retained.max_payload_bytes = 4;
            config.delayed.max_messages = 1;
        },
        Default::default(),
        None,
    );
    let c = rig.client("c");
    rig.subscribed(c, "#", Q0);
    assert_eq!(rig.order(&[retained("a", "1", Q0)]), Ok(1));
    rig.out(c);
    for too_much in [
        &[retained("b", "1", Q0), retained("c", "1", Q0)][..],
        &[draft("a", "1", Q0), retained("a", "12345", Q0)],
    ] {
        assert_eq!(rig.order(too_much), Err(PublishError::RetainedFull));
    }
    let two = [draft("$delayed/1/x", "", Q0), draft("$delayed/1/y", "", Q0)];
    assert_eq!(rig.order(&two), Err(PublishError::DelayedFull));
    rig.check(c, &[]);
    // What takes the place of another, or is not kept, needs none.
    let fits = [
        retained("b", "1", Q0),
        retained("a", "1234", Q0),
        retained("c", "", Q0),
        draft("c", "12345", Q0),
    ];
    assert_eq!(rig.order(&fits), Ok(4));
    assert_eq!(rig.order(&two[..1]), Ok(1));
}

#[test]
fn while_nothing_is_retained_there_need_be_no_room_for_it() {
    let mut rig = Rig::durable(|_, _| {});
    let limits = BrokerConfig::default().retained;
    let off = RetainedConfig { enabled: false, max_payload_bytes: 4, ..limits };
    rig.broker.configure_retained(off);
    assert_eq!(rig.order(&[retained("a", "12345", Q1)]), Ok(0));
    rig.disk().set_condition(Condition::Unavailable);
    assert_eq!(rig.order(&[retained("a", "12345", Q1)]), Ok(0), "nor a store");
    assert!(rig.broker.retained_message("a", rig.now).is_none());
}

#[test]
fn what_no_client_could_send_is_refused() {
    let change = |config: &mut BrokerConfig, zone: &mut ZoneConfig| {
        config.zones.clear();
        zone.max_packet_size = 100;
    };
    let mut rig = Rig::build(change, Default::default(), None);
    let fits = "x".repeat(100 - "t".len() - 10);
    assert_eq!(rig.order(&[draft("t", &fits, Q1)]), Ok(0));
    let too_large = [draft("t", "x", Q1), draft("tt", &fits, Q1)];
    assert_eq!(rig.order(&too_large), Err(PublishError::TooLarge(100)));
    assert_eq!(rig.metric(Metric::MessagesDropped), 1, "of the first order");
}

#[test]
fn what_the_store_cannot_take_is_refused() {
    let mut rig = Rig::durable(|_, _| {});
    let away = rig.hello(Hello::v5("away").lasting(1_000));
    rig.subscribe(away, "d", Q1);
    rig.sync();
    rig.lose(away);
    rig.disk().set_condition(Condition::Unavailable);
    for needs_it in [retained("r", "x", Q1), draft("d", "x", Q1), draft("$delayed/1/x", "x", Q1)] {
        let answer = rig.order(&[draft("a", "x", Q1), needs_it]);
        assert_eq!(answer, Err(PublishError::StoreUnavailable));
    }
    assert_eq!(rig.order(&[draft("a", "x", Q1), retained("r", "x", Q0)]), Ok(0));
}

#[test]
fn a_message_is_saved_once_it_is_as_safe_as_its_topic_asks() {
    let mut rig = Rig::durable(|config, _| {
        config.durability.level = Level::Fsync;
        config.durability.topics = vec![("fast/#".into(), Level::Memory)];
    });
    let c = rig.hello(Hello::v5("c").lasting(1_000));
    rig.subscribe(c, "for/c", Q1);
    rig.sync();
    rig.lose(c);
    rig.sync();
    assert_eq!(rig.order(&[draft("t", "nobody keeps it", Q1)]), Ok(0));
    assert!(rig.broker.is_saved(rig.saved()));
    assert_eq!(rig.order(&[retained("fast/t", "fast", Q1)]), Ok(0));
    assert!(rig.broker.is_saved(rig.saved()));
    rig.sync();
    for draft in [retained("safe", "kept", Q0), retained("safe", "", Q0), draft("for/c", "x", Q1)] {
        rig.order(&[draft]).unwrap();
        let saved = rig.saved();
        let sink = Socket::new(0);
        rig.broker.wake_when_saved(saved, &(Arc::clone(&sink) as Arc<dyn Sink>));
        assert!(!rig.broker.is_saved(saved) && !sink.lock().was_woken);
        rig.sync();
        assert!(rig.broker.is_saved(saved) && sink.lock().was_woken);
    }
    rig.crash();
    let late = rig.hello(Hello::v5("late"));
    rig.sync();
    rig.out(late);
    rig.subscribe(late, "#", Q1);
    rig.sync();
    rig.check(late, &["SUBACK #77 01", "PUBLISH retain q1 #1 fast/t=fast"]);
    let c = rig.hello(Hello::v5("c").lasting(1_000));
    rig.sync();
    rig.check(c, &["CONNACK present=1 0x00", "PUBLISH q1 #1 for/c=x"]);
}

#[test]
fn without_a_store_all_is_saved_at_once() {
    let mut rig = Rig::new();
    rig.order(&[retained("t", "x", Q1)]).unwrap();
    let sink = Socket::new(0);
    rig.broker.wake_when_saved(rig.saved(), &(Arc::clone(&sink) as Arc<dyn Sink>));
    assert!(rig.broker.is_saved(rig.saved()) && sink.lock().was_woken);
}

#[test]
fn a_client_is_subscribed_to_all_filters_or_to_none() {
    let mut rig = Rig::with_zone(|zone| {
        zone.max_subscriptions = 3;
        zone.max_topic_levels = 2;
    });
    let c = rig.client("c");
    rig.subscribed(c, "mine", Q0);
    let check = |rig: &Rig, expected: &[&str]| {
        let all = rig.broker.subscriptions("c").unwrap();
        let all: Vec<_> =
            all.iter().map(|it| format!("{} {:?}", it.filter, it.options.qos)).collect();
        assert_eq!(all, expected);
    };
    for (filters, refused) in [
        (&["a", "b/#/c"][..], ReasonCode::TopicFilterInvalid),
        (&["a", "b/c/d"], ReasonCode::TopicFilterInvalid),
        (&["a", "b", "c"], ReasonCode::QuotaExceeded),
    ] {
        assert_eq!(rig.subscribe_to("c", filters), Some(refused));
        check(&rig, &["mine AtMostOnce"]);
    }
    assert_eq!(rig.subscribe_to("nobody", &["a"]), Some(ReasonCode::PacketIdentifierNotFound));
    assert_eq!(rig.subscribe_to("c", &["a", "mine", "$share/g/b"]), None);
    check(&rig, &["$share/g/b AtLeastOnce", "a AtLeastOnce", "mine AtLeastOnce"]);
    let plain: Vec<_> = rig.broker.subscriptions("c").unwrap();
    let plain: Vec<_> = plain.iter().map(|it| it.topic_filter()).collect();
    assert_eq!(plain, ["b", "a", "mine"]);
    // It has as many as it may, and may have those.
    assert_eq!(rig.subscribe_to("c", &["a", "mine"]), None);
}
