//! What becomes of topics on their way: mountpoint, rewrite, delay, events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker_codec::{Packet, Property};
use broker_core::config::{AutoSubscription, RewriteRule, ZoneConfig};
use broker_core::extension::Consumer;
use broker_core::{CloseCause, Message, Metric, ReasonCode, SubscriptionOptions};

use crate::rig::*;

fn mounted(mountpoint: &str) -> Arc<ZoneConfig> {
    Arc::new(ZoneConfig { mountpoint: Some(mountpoint.into()), ..open_zone() })
}

/// `mountpoint`: clients of a zone live behind its prefix and never see it.
#[test]
fn a_mountpoint_holds_for_publish_subscribe_will_and_retained() {
    let mut rig = Rig::new();
    let outside = rig.client("outside");
    rig.subscribed(outside, "#", Q1);
    let zone = mounted("m/%c/%u/");
    let c = rig.open_in(V5, Arc::clone(&zone));
    rig.say_hello(c, &Hello::v5("c").user("bob").will("w", "gone"));
    rig.out(c);
    rig.subscribed(c, "t/#", Q1);
    rig.subscribed(c, "$share/g/s", Q1);
    rig.publish(c, "t/1", "x", Q1, 1);
    rig.retain(c, "t/2", "kept");
    rig.publish(c, "s", "y", Q0, 0);
    rig.check(
        c,
        &["PUBLISH q1 #1 t/1=x", "PUBACK #1 0x00", "PUBLISH q0 t/2=kept", "PUBLISH q0 s=y"],
    );
    rig.subscribe(c, "t/2", Q1);
    rig.check(c, &["SUBACK #77 01", "PUBLISH retain q0 t/2=kept"]);
    rig.publish(outside, "t/1", "not theirs", Q0, 0);
    rig.publish(outside, "m/c/bob/t/9", "theirs", Q0, 0);
    rig.check(c, &["PUBLISH q0 t/9=theirs"]);
    rig.unsubscribe(c, "t/#");
    rig.check(c, &["UNSUBACK #78 00"]);
    rig.lose(c);
    let seen = rig.out(outside);
    let topics: Vec<_> = seen.iter().map(|l| l.rsplit(' ').next().unwrap_or_default()).collect();
    assert_eq!(
        topics,
        [
            "m/c/bob/t/1=x",
            "m/c/bob/t/2=kept",
            "m/c/bob/s=y",
            "theirs",
            "m/c/bob/t/9=theirs",
            "m/c/bob/w=gone"
        ]
    );
}

/// Attack case 21: a name with a wildcard must not turn the prefix into a pattern.
#[test]
fn names_that_reach_beyond_a_level_have_no_mountpoint() {
    let mut rig = Rig::new();
    for (id, user) in [
        ("+", "bob"),
        ("a#", "bob"),
        ("a/b", "bob"),
        ("$SYS", "bob"),
        ("c", "+"),
        ("c", "b/#"),
        ("c", "/"),
    ] {
        let c = rig.open_in(V5, mounted("m/%c/%u/"));
        rig.say_hello(c, &Hello::v5(id).user(user));
        rig.check(c, &["CONNACK present=0 0x85"]);
    }
}

/// `module.rewrite`
#[test]
fn topics_are_rewritten_for_publish_and_subscribe() {
    let rule = |filter: &str, pattern: &str, target: &str| RewriteRule {
        filter: filter.into(),
        pattern: pattern.into(),
        target: target.into(),
    };
    let mut rig = Rig::build(
        |config, _| config.rewrite_rules = vec![rule("x/#", "^x/y/(.+)$", "z/y/$1")],
        Default::default(),
        None,
    );
    let c = rig.client("c");
    rig.subscribed(c, "x/y/+", Q0);
    let p = rig.client("pub");
    rig.publish(p, "x/y/1", "rewritten", Q0, 0);
    rig.publish(p, "z/y/2", "as it is", Q0, 0);
    rig.publish(p, "x/z/3", "not matched", Q0, 0);
    rig.check(c, &["PUBLISH q0 z/y/1=rewritten", "PUBLISH q0 z/y/2=as it is"]);
    rig.unsubscribe(c, "x/y/+");
    rig.publish(p, "x/y/1", "x", Q0, 0);
    rig.check(c, &["UNSUBACK #78 00"]);
    assert!(rig.routes().is_empty());
}

/// `module.subscription`
#[test]
fn clients_are_subscribed_without_asking() {
    let wanted = |filter: &str, qos| AutoSubscription { filter: filter.into(), qos };
    let mut rig = Rig::build(
        |config, _| {
            config.auto_subscriptions =
                vec![wanted("inbox/%c", Q1), wanted("user/%u", Q0), wanted("all", Q2)];
        },
        Default::default(),
        None,
    );
    let p = rig.client("pub");
    rig.retain(p, "all", "kept");
    let c = rig.hello(Hello::v5("c").user("+").lasting(100));
    rig.check(c, &["CONNACK present=0 0x00", "PUBLISH retain q0 all=kept"]);
    rig.publish(p, "inbox/c", "x", Q2, 1);
    rig.publish(p, "user/x", "a wildcard in a name is none", Q0, 0);
    rig.check(c, &["PUBLISH q1 #1 inbox/c=x"]);
    // Not again for a session that is resumed, nor after UNSUBSCRIBE.
    rig.unsubscribe(c, "all");
    rig.lose(c);
    rig.join(Hello::v5("c").user("+").lasting(100));
    assert_eq!(rig.broker.subscriptions("c").unwrap().len(), 1);
}

/// `$delayed/<seconds>/<topic>`
#[test]
fn a_delayed_message_is_published_when_it_is_due() {
    let mut rig = Rig::new();
    let s = rig.client("sub");
    rig.subscribed(s, "#", Q1);
    let p = rig.client("pub");
    rig.publish(p, "$delayed/10/t/x", "late", Q1, 1);
    rig.publish(p, "$delayed/5/t/y", "sooner", Q2, 2);
    rig.check(p, &["PUBACK #1 0x00", "PUBREC #2 0x00"]);
    assert_eq!(rig.broker.delayed_len(), 2);
    rig.pass_ms(4_999);
    rig.check(s, &[]);
    rig.pass_ms(1);
    rig.check(s, &["PUBLISH q1 #1 t/y=sooner"]);
    rig.lose(p);
    rig.pass_s(5);
    rig.check(s, &["PUBLISH q1 #2 t/x=late"]);
}

#[test]
fn a_delayed_message_is_retained_when_it_is_due_and_may_expire_before() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    rig.retain(p, "$delayed/5/t", "kept");
    let mut short = message("$delayed/5/u", "x", Q0, 0);
    short.retain = true;
    rig.publish_with(p, short, &[Property::MessageExpiryInterval(3)]);
    let c = rig.client("c");
    rig.subscribe(c, "+", Q0);
    rig.check(c, &["SUBACK #77 00"]);
    rig.pass_s(5);
    rig.check(c, &["PUBLISH q0 t=kept"]);
    rig.subscribe(c, "+", Q0);
    rig.check(c, &["SUBACK #77 00", "PUBLISH retain q0 t=kept"]);
    assert_eq!(rig.metric(Metric::MessagesExpired), 1);
}

#[test]
fn a_bad_delay_is_a_bad_topic() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    for (n, topic) in
        ["$delayed/x/t", "$delayed/1", "$delayed/1/", "$delayed/99999999999/t"].iter().enumerate()
    {
        rig.publish(p, topic, "x", Q1, n as u16 + 1);
        rig.publish(p, topic, "x", Q2, n as u16 + 100);
        rig.check(p, &[&format!("PUBACK #{} 0x90", n + 1), &format!("PUBREC #{} 0x90", n + 100)]);
    }
    assert_eq!(rig.broker.delayed_len(), 0);
    // Attack case 25: a reserved topic behind a delay is as reserved as before.
    rig.publish(p, "$delayed/1/$SYS/x", "x", Q1, 50);
    rig.check(p, &["PUBACK #50 0x87"]);
    // The refused identifiers are free: PUBREC with an error ended their exchange.
    assert_eq!(rig.broker.session("pub").unwrap().awaiting_rel, 0);
}

#[test]
fn delayed_messages_are_bounded() {
    let mut rig = Rig::build(|config, _| config.delayed.max_messages = 1, Default::default(), None);
    let p = rig.client("pub");
    for id in 1..=2 {
        rig.publish(p, "$delayed/1/t", "x", Q1, id);
    }
    rig.check(p, &["PUBACK #1 0x00", "PUBACK #2 0x97"]);
}

/// Attack case 25: what only the broker publishes.
#[test]
fn reserved_topics_are_not_for_clients() {
    let mut rig = Rig::new();
    let s = rig.client("sub");
    for filter in ["#", "$SYS/#", "$events/#"] {
        rig.subscribed(s, filter, Q0);
    }
    let p = rig.client("pub");
    rig.out(s);
    rig.publish(p, "$SYS/brokers", "x", Q1, 1);
    rig.publish(p, "$events/message_acked", "x", Q1, 2);
    rig.check(p, &["PUBACK #1 0x87", "PUBACK #2 0x87"]);
    assert!(rig.out(s).iter().all(|line| !line.ends_with("=x")));
    // [MQTT-4.7.2-1]: `#` sees no `$` topic.
    rig.unsubscribe(s, "$events/#");
    rig.out(s);
    rig.publish(p, "$other", "x", Q1, 3);
    rig.check(s, &[]);
}

fn named(lines: &[String], event: &str) -> usize {
    lines.iter().filter(|line| line.contains(&format!("$events/{event}="))).count()
}

#[test]
fn events_tell_the_life_of_clients() {
    let mut rig = Rig::new();
    let e = rig.client("events");
    rig.subscribed(e, "$events/#", Q0);
    rig.out(e);
    let c = rig.client("c");
    rig.subscribed(c, "t", Q1);
    let p = rig.client("pub");
    rig.publish(p, "t", "x", Q1, 1);
    rig.puback(c, 1);
    rig.publish(p, "nobody", "x", Q0, 0);
    rig.unsubscribe(c, "t");
    rig.lose(c);
    let lines = rig.out(e);
    for (event, n) in [
        ("client_connected", 2),
        ("client_disconnected", 1),
        ("session_subscribed", 1),
        ("session_unsubscribed", 1),
        ("message_acked", 1),
        ("message_dropped", 1),
    ] {
        assert_eq!(named(&lines, event), n, "{event} {lines:?}");
    }
}

/// A PUBLISH is told of as often as it is written, whatever for; the broker's own are not, or the first would
/// never be the last.
#[test]
fn events_tell_of_each_publish_written_for_a_client() {
    let mut rig = Rig::new();
    let e = rig.client("events");
    rig.subscribed(e, "$events/message_delivered", Q0);
    rig.subscribed(e, "$SYS/#", Q0);
    let inbox = rig.broker.subscribe_local("$events/+", 100, rig.now).unwrap();
    let told = || -> Vec<String> {
        let all = inbox.receiver().try_iter();
        let delivered = all.filter(|event| event.topic.ends_with("/message_delivered"));
        delivered.map(|event| String::from_utf8(event.payload.to_vec()).unwrap()).collect()
    };
    let p = rig.join(Hello::v5("pub").user("alice"));
    rig.retain(p, "kept", "k");
    let lasting = || Hello::v5("c").lasting(100).user("bob");
    let c = rig.join(lasting());
    let d = rig.client("d");
    rig.subscribed(c, "t", Q1);
    rig.subscribed(d, "t", Q0);
    assert_eq!(told(), [""; 0]);
    rig.publish(p, "t", "x", Q1, 1);
    let events = told();
    assert_eq!(events.len(), 2, "{events:?}");
    let to_c = events.iter().find(|event| event.contains(r#""clientid":"c""#)).unwrap();
    for part in [
        r#""event":"message_delivered""#,
        r#""username":"bob""#,
        r#""from_clientid":"pub","from_username":"alice""#,
        r#""topic":"t","qos":1,"payload":"x","flags":{"dup":false,"retain":false}"#,
    ] {
        assert!(to_c.contains(part), "{part} {to_c}");
    }
    // What is queued is told of when it leaves, what is sent again each time.
    rig.lose(c);
    rig.publish(p, "t", "y", Q1, 2);
    assert_eq!(told().len(), 1, "to d");
    let c = rig.join(lasting());
    let events = told();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[0].contains(r#""dup":true"#) && events[1].contains(r#""dup":false"#));
    // Retained messages are written too, acknowledgements are no deliveries.
    rig.puback(c, 1);
    rig.subscribed(c, "kept", Q0);
    let events = told();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].contains(r#""retain":true"#), "{events:?}");
    assert_eq!(named(&rig.out(e), "message_delivered"), 6);
}

/// Who listens to other events does not pay for this one.
#[test]
fn a_delivery_makes_no_event_unless_somebody_listens_to_deliveries() {
    let mut rig = Rig::new();
    let e = rig.client("events");
    rig.subscribed(e, "$events/client_connected", Q0);
    let c = rig.client("c");
    rig.subscribed(c, "t", Q0);
    rig.out(e);
    let dropped = rig.metric(Metric::MessagesDropped);
    rig.publish(c, "t", "z", Q1, 3);
    rig.check(e, &[]);
    assert_eq!(rig.metric(Metric::MessagesDropped), dropped, "no event was routed to nobody");
}

/// A group may share events as anything else.
#[test]
fn events_reach_shared_subscriptions() {
    let mut rig = Rig::new();
    let e = rig.client("events");
    rig.subscribed(e, "$share/g/$events/client_connected", Q0);
    rig.out(e);
    rig.client("c");
    assert_eq!(named(&rig.out(e), "client_connected"), 1);
    rig.lose(e);
    assert!(rig.routes().is_empty());
}

struct Counter(AtomicUsize);

impl Consumer for Counter {
    fn consume(&self, _: &Arc<Message>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Nobody listens: no event is made. A consumer inside the process listens as a client does.
#[test]
fn events_cost_nothing_unless_somebody_listens() {
    let mut rig = Rig::new();
    let before = rig.metric(Metric::MessagesDropped);
    let c = rig.client("c");
    rig.subscribed(c, "t", Q0);
    rig.lose(c);
    assert_eq!(rig.metric(Metric::MessagesDropped), before, "no event was routed to nobody");
    let counter = Arc::new(Counter(AtomicUsize::new(0)));
    let attachment =
        rig.broker.attach("$events/+", Arc::clone(&counter) as Arc<dyn Consumer>).unwrap();
    let c = rig.client("c");
    assert_eq!(counter.0.load(Ordering::Relaxed), 1);
    drop(attachment);
    rig.lose(c);
    assert_eq!(counter.0.load(Ordering::Relaxed), 1);
}

/// `module.presence`
#[test]
fn presence_is_told_in_the_originals_topics() {
    let mut rig = Rig::new();
    let w = rig.client("w");
    rig.subscribed(w, "$SYS/brokers/+/clients/#", Q1);
    let c = rig.client("c");
    rig.client("with/slash"); // Its topic has a level more, and is still a topic.
    rig.client("+");
    rig.disconnect(c, ReasonCode::Success, &[]);
    let lines = rig.out(w);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("$SYS/brokers/emqx@127.0.0.1/clients/c/connected"));
    assert!(lines[2].contains("clients/c/disconnected"));
}

/// Bridges say so in the protocol level: no echo, the RETAIN flag kept.
#[test]
fn a_bridge_gets_no_echo_and_the_retain_flag() {
    let mut rig = Rig::new();
    let b = rig.open(V3);
    rig.send_bytes(b, b"\x10\x0d\0\x04MQTT\x84\x02\0\0\0\x01b");
    rig.check(b, &["CONNACK present=0 0x00"]);
    rig.subscribed(b, "#", Q0);
    rig.publish(b, "t", "echo", Q0, 0);
    let p = rig.client("pub");
    rig.retain(p, "t", "x");
    rig.check(b, &["PUBLISH retain q0 t=x"]);
}

/// User Properties and the rest of what is forwarded arrive unaltered and in order.
#[test]
fn properties_are_forwarded_unaltered() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    rig.subscribed(c, "t", Q1);
    let p = rig.client("pub");
    let list = [
        Property::PayloadFormatIndicator(1),
        Property::UserProperty("a", "1"),
        Property::UserProperty("a", "2"),
        Property::ResponseTopic("r"),
        Property::CorrelationData(b"xy"),
        Property::ContentType("text"),
    ];
    rig.publish_with(p, message("t", "x", Q1, 1), &list);
    rig.check(
        c,
        &["PUBLISH q1 #1 t=x PayloadFormatIndicator(1) a:1 a:2 ResponseTopic(\"r\") \
           CorrelationData([120, 121]) ContentType(\"text\")"],
    );
    // A 3.1.1 client gets the message without them.
    let old = rig.join(Hello::v3("old"));
    rig.subscribed(old, "t", Q1);
    rig.publish_with(p, message("t", "x", Q1, 2), &list);
    rig.check(old, &["PUBLISH q1 #1 t=x"]);
}

/// Attack case 3 and others end here: the bystander's traffic goes on.
#[test]
fn a_bystander_is_not_disturbed() {
    let mut rig = Rig::new();
    let by = rig.client("bystander");
    let options = SubscriptionOptions { qos: Q2, ..Default::default() };
    rig.subscribe_with(by, "t", options, 1);
    rig.out(by);
    let attacker = rig.client("attacker");
    rig.send(attacker, &Packet::PingResp);
    assert!(matches!(rig.cause(attacker), Some(CloseCause::Violation(_))));
    rig.publish(by, "t", "x", Q2, 1);
    rig.check(by, &["PUBLISH q2 #1 t=x sub=1", "PUBREC #1 0x00"]);
}
