//! Topic metrics: what becomes of messages of single topics, from when an operator asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_core::config::ZoneConfig;
use broker_core::{AddTopicError, TOPIC_METRICS_MAX, TopicCounts};

use crate::rig::*;

fn add(rig: &mut Rig, topic: &str) {
    rig.broker.add_topic_metrics(topic).map(drop).expect("not there yet");
}

fn topics(rig: &Rig) -> Vec<String> {
    rig.broker.topic_metrics().iter().map(|(topic, _)| topic.to_string()).collect()
}

/// `module.topic_metrics`: what is published to a registered topic is counted, what is written for each client,
/// and what nobody received.
#[test]
fn registered_topics_are_counted() {
    let mut rig =
        Rig::build(|config, _| config.topic_metrics = vec!["t/1".into()], Default::default(), None);
    let p = rig.client("pub");
    rig.publish(p, "t/1", "nobody", Q0, 0);
    for (id, qos) in [("a", Q0), ("b", Q1), ("c", Q2)] {
        let c = rig.client(id);
        rig.subscribed(c, "t/#", qos);
    }
    rig.publish(p, "t/1", "somebody", Q1, 1);
    rig.publish(p, "t/1", "two", Q2, 2);
    rig.publish(p, "t/2", "not registered", Q0, 0);
    let counts = TopicCounts {
        qos_in: [1, 1, 1],
        qos_out: [2, 3, 1],
        dropped: 1,
        bytes_in: 6 + 8 + 3,
        bytes_out: 3 * (8 + 3),
    };
    assert_eq!(rig.broker.topic_metrics(), [("t/1".into(), counts)]);
    assert_eq!((counts.messages_in(), counts.messages_out()), (3, 6));
    assert_eq!(rig.broker.topic_metrics_of("t/1"), Some(counts));
    assert_eq!(rig.broker.topic_metrics_of("t/2"), None);
}

/// A message waits for its client: it is out when it leaves, and once more when it is sent again.
#[test]
fn what_waits_is_counted_when_it_leaves() {
    let mut rig = Rig::new();
    add(&mut rig, "t");
    let s = rig.join(Hello::v5("s").lasting(9_999));
    rig.subscribed(s, "t", Q1);
    rig.lose(s);
    let p = rig.client("p");
    rig.publish(p, "t", "four", Q1, 1);
    let count = |rig: &Rig| rig.broker.topic_metrics_of("t").expect("registered");
    assert_eq!((count(&rig).messages_in(), count(&rig).messages_out()), (1, 0));
    for sent in 1..=2 {
        let s = rig.join(Hello::v5("s").lasting(9_999));
        rig.lose(s);
        assert_eq!((count(&rig).qos_out, count(&rig).bytes_out), ([0, sent, 0], sent * 4));
    }
}

#[test]
fn topics_come_and_go_while_messages_do() {
    let mut rig = Rig::new();
    let p = rig.client("p");
    rig.publish(p, "t", "before", Q0, 0);
    add(&mut rig, "t");
    add(&mut rig, "a");
    rig.publish(p, "t", "x", Q0, 0);
    assert_eq!(rig.broker.add_topic_metrics("t"), Err(AddTopicError::AlreadyExists));
    assert_eq!(topics(&rig), ["a", "t"]);
    // A thread that is in the middle of a pass counts on for what it has, and nobody sees it.
    let mut turn = rig.broker.turn();
    rig.post(p, &publish("t", "y", Q0, 0));
    rig.feed_in(&mut turn, p);
    assert!(rig.broker.remove_topic_metrics("t").is_some());
    assert_eq!(rig.broker.remove_topic_metrics("t"), None);
    add(&mut rig, "t");
    turn.finish();
    assert_eq!(rig.broker.topic_metrics_of("t"), Some(TopicCounts::default()), "begins anew");
    rig.publish(p, "t", "zz", Q0, 0);
    let expected = TopicCounts { qos_in: [1, 0, 0], dropped: 1, bytes_in: 2, ..Default::default() };
    assert_eq!(rig.broker.topic_metrics_of("t"), Some(expected));
}

/// Threads count for themselves and lose nothing, also one that ends.
#[test]
fn counts_of_threads_add_up() {
    let mut rig = Rig::new();
    add(&mut rig, "t");
    let mut other = rig.beside();
    let (p, q) = (rig.client("p"), other.client("q"));
    for _ in 0..3 {
        rig.publish(p, "t", "x", Q0, 0);
        other.publish(q, "t", "y", Q0, 0);
    }
    let mut turn = rig.broker.turn();
    rig.post(p, &publish("t", "z", Q0, 0));
    rig.feed_in(&mut turn, p);
    assert_eq!(rig.broker.topic_metrics_of("t").map(|t| t.messages_in()), Some(6));
    drop(turn);
    assert_eq!(rig.broker.topic_metrics_of("t").map(|t| t.messages_in()), Some(7));
}

#[test]
fn a_topic_is_named_as_the_broker_knows_it() {
    let mut rig = Rig::new();
    add(&mut rig, "m/t");
    let zone = ZoneConfig { mountpoint: Some("m/".into()), ..open_zone() };
    let c = rig.open_in(V5, Arc::new(zone));
    rig.say_hello(c, &Hello::v5("c"));
    rig.out(c);
    for qos in [Q0, Q1] {
        rig.subscribed(c, "t", qos);
        rig.publish(c, "t", "x", qos, u16::from(qos > Q0));
    }
    let counts = rig.broker.topic_metrics_of("m/t").expect("registered");
    assert_eq!((counts.qos_in, counts.qos_out), ([1, 1, 0], [1, 1, 0]));
}

#[test]
fn what_is_no_topic_name_or_one_too_many_is_refused() {
    let mut rig = Rig::new();
    for topic in ["", "a/+", "#", "a\0"] {
        let refused = rig.broker.add_topic_metrics(topic);
        assert!(matches!(refused, Err(AddTopicError::Malformed(_))), "{topic:?}: {refused:?}");
    }
    for n in 0..TOPIC_METRICS_MAX {
        add(&mut rig, &format!("t/{n}"));
    }
    assert_eq!(rig.broker.add_topic_metrics("u"), Err(AddTopicError::TooMany));
    assert!(rig.broker.remove_topic_metrics("t/7").is_some());
    add(&mut rig, "u");
}

/// Registered topics survive the process, their counts do not.
#[test]
fn topics_are_registered_after_a_crash() {
    let mut rig = Rig::durable(|config, _| config.topic_metrics = vec!["configured".into()]);
    for topic in ["kept", "gone"] {
        let saved = rig.broker.add_topic_metrics(topic).expect("not there yet");
        assert!(!rig.broker.is_saved(saved));
        rig.sync();
        assert!(rig.broker.is_saved(saved));
    }
    let saved = rig.broker.remove_topic_metrics("gone").expect("it is there");
    let removed = rig.broker.remove_topic_metrics("configured").expect("it is there");
    rig.sync();
    assert!(rig.broker.is_saved(saved) && rig.broker.is_saved(removed));
    let p = rig.client("p");
    rig.publish(p, "kept", "x", Q0, 0);
    rig.crash();
    assert_eq!(topics(&rig), ["configured", "kept"]);
    assert_eq!(rig.broker.topic_metrics_of("kept"), Some(TopicCounts::default()));
    let p = rig.client("p");
    rig.publish(p, "kept", "x", Q0, 0);
    assert_eq!(rig.broker.topic_metrics_of("kept").map(|t| t.qos_in), Some([1, 0, 0]));
}

/// Who has its PUBACK asks for the counts of the topic at once.
#[test]
fn who_has_its_answer_finds_the_message_counted() {
    let mut rig = Rig::new();
    add(&mut rig, "t");
    let p = rig.client("pub");
    let (broker, seen) = (Arc::clone(&rig.broker), Arc::new(AtomicU64::new(0)));
    let at_write = Arc::clone(&seen);
    let look = move || at_write.store(broker.topic_metrics()[0].1.qos_in[1], Ordering::Relaxed);
    rig.socket(p).lock().on_write = Some(Box::new(look));
    rig.publish(p, "t", "x", Q1, 1);
    rig.check(p, &["PUBACK #1 0x10"]);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}
