//! Why a message did not arrive: a verdict for each place that keeps one back, and for what becomes of the others.

use std::sync::Arc;

use broker_codec::Property;
use broker_core::config::RewriteRule;
use broker_core::extension::{Action, Answer, Authorizer, Extensions, Verdict};
use broker_core::{
    CheckResult, ClientInfo, QoS, SubscriptionOptions, TraceLevel, TraceOptions, TraceSubject, Why,
    WhyQuestion, WhyVerdict,
};

use crate::rig::*;

fn ask(rig: &Rig, topic: &str, qos: QoS) -> Why {
    let question = WhyQuestion { from: "pub", topic, to: "sub", qos, size: None };
    rig.broker.why(&question, rig.now)
}

/// The verdict, its sentence, and that the check of that name says so.
#[track_caller]
fn check(why: &Why, verdict: WhyVerdict, failing: &str, sentence: &str) {
    assert_eq!(why.verdict, verdict, "{why:#?}");
    assert_eq!(why.explanation, sentence, "{why:#?}");
    let failed: Vec<_> =
        why.checks.iter().filter(|it| it.result == CheckResult::Fail).map(|it| it.check).collect();
    assert_eq!(failed.first().copied().unwrap_or(""), failing, "{why:#?}");
    let order: Vec<_> = why.checks.iter().map(|it| it.check).collect();
    assert_eq!(
        order,
        [
            "publisher",
            "topic",
            "publish_acl",
            "receiver",
            "subscription",
            "subscribe_acl",
            "no_local",
            "expiry",
            "size",
            "queue",
            "window",
            "outbox"
        ]
    );
}

#[track_caller]
fn detail<'a>(why: &'a Why, check: &str) -> &'a str {
    &why.checks.iter().find(|it| it.check == check).unwrap().detail
}

fn count(why: &Why, name: &str) -> u64 {
    why.counts.iter().find(|(its, _)| *its == name).unwrap().1
}

#[test]
fn nothing_in_the_way_is_would_deliver() {
    let mut rig = Rig::new();
    let (_pub, sub) = (rig.client("pub"), rig.client("sub"));
    rig.subscribed(sub, "a/+", Q1);
    rig.subscribed(sub, "a/b", Q2);
    let why = ask(&rig, "a/b", Q1);
    let sentence = r#"nothing keeps a message of "pub" on "a/b" from "sub""#;
    check(&why, WhyVerdict::WouldDeliver, "", sentence);
    assert_eq!(detail(&why, "publisher"), "connected from 192.0.2.1:1883");
    assert_eq!(detail(&why, "topic"), "routed as \"a/b\", levels 2");
    assert_eq!(detail(&why, "receiver"), "connected from 192.0.2.1:1883");
    assert_eq!(detail(&why, "subscription"), "matched by \"a/+\" \"a/b\"; QoS 1");
    assert_eq!(detail(&why, "window"), "0 of 32 unacknowledged");
    // Asking has changed nothing.
    assert_eq!(count(&why, "delivered"), 0);
    rig.check(sub, &[]);
}

#[test]
fn who_is_not_there_gets_nothing() {
    let mut rig = Rig::new();
    rig.client("pub");
    let why = ask(&rig, "a", Q0);
    let sentence = "\"sub\" has no session: it is not connected, and nothing is kept for it";
    check(&why, WhyVerdict::NoSession, "receiver", sentence);
    assert!(why.counts.is_empty());
}

#[test]
fn an_unknown_publisher_leaves_its_checks_open() {
    let mut rig = Rig::new();
    let sub = rig.client("sub");
    rig.subscribed(sub, "a", Q0);
    let why = ask(&rig, "a", Q0);
    let open: Vec<_> = why
        .checks
        .iter()
        .filter(|it| it.result == CheckResult::Unknown)
        .map(|it| it.check)
        .collect();
    assert_eq!(open, ["publisher", "publish_acl"]);
    assert_eq!(why.verdict, WhyVerdict::WouldDeliver);
}

#[test]
fn who_subscribes_to_something_else_gets_nothing() {
    let mut rig = Rig::new();
    rig.client("pub");
    let sub = rig.client("sub");
    rig.subscribed(sub, "a/b/c", Q0);
    let why = ask(&rig, "a/b", Q0);
    let sentence = "none of the 1 subscriptions of \"sub\" matches \"a/b\"";
    check(&why, WhyVerdict::NoSubscription, "subscription", sentence);
}

/// Nobody may publish to `mute` or subscribe to `deaf`.
struct Rules;

impl Authorizer for Rules {
    fn authorize(&self, _: &Arc<ClientInfo>, action: Action, topic: &str) -> Answer<Verdict> {
        Answer::Now(match (action, topic) {
            (Action::Publish, "mute") | (Action::Subscribe, "deaf") => Verdict::Deny,
            _ => Verdict::Ignore,
        })
    }
}

#[test]
fn rights_are_those_that_decide() {
    let extensions = Extensions { authorizers: vec![Arc::new(Rules)], ..Extensions::default() };
    let mut rig = Rig::with_extensions(extensions);
    rig.client("pub");
    let sub = rig.client("sub");
    rig.subscribed(sub, "mute", Q0);
    let why = ask(&rig, "mute", Q0);
    let sentence = "\"pub\" may not publish to \"mute\": a rule says so";
    check(&why, WhyVerdict::AclDenied, "publish_acl", sentence);
    let why = ask(&rig, "deaf", Q0);
    let sentence = "none of the 1 subscriptions of \"sub\" matches \"deaf\"; \
                    and it may not subscribe to \"deaf\": a rule says so";
    check(&why, WhyVerdict::NoSubscription, "subscription", sentence);
    let why = ask(&rig, "other", Q0);
    assert!(detail(&why, "publish_acl").ends_with("no rule applies, acl_nomatch decides"));
}

#[test]
fn what_nobody_may_publish_to_is_told() {
    let mut rig = Rig::with_zone(|zone| zone.max_topic_levels = 2);
    rig.client("pub");
    rig.client("sub");
    for topic in ["$SYS/x", "a/b/c", "$delayed/5/a/b/c", "$delayed/x/a"] {
        let why = ask(&rig, topic, Q0);
        assert_eq!(why.verdict, WhyVerdict::TopicRefused, "{topic}: {why:#?}");
    }
}

#[test]
fn the_topic_is_the_one_that_is_routed() {
    let mut rig = Rig::build(
        |config, zone| {
            zone.mountpoint = Some("%c/".into());
            config.rewrite_rules = vec![RewriteRule {
                filter: "old/#".into(),
                pattern: "^old/(.+)$".into(),
                target: "new/$1".into(),
            }];
        },
        Extensions::default(),
        None,
    );
    rig.client("pub");
    rig.client("sub");
    let why = ask(&rig, "old/a", Q0);
    assert_eq!(detail(&why, "topic"), "routed as \"pub/new/a\", levels 3");
    assert_eq!(why.verdict, WhyVerdict::NoSubscription, "behind another mountpoint");
}

#[test]
fn no_local_keeps_ones_own_messages_back() {
    let mut rig = Rig::new();
    let both = rig.client("both");
    let no_local = SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() };
    rig.subscribe_with(both, "a", no_local, 0);
    rig.publish(both, "a", "x", Q0, 0);
    let question = WhyQuestion { from: "both", topic: "a", to: "both", qos: Q0, size: None };
    let why = rig.broker.why(&question, rig.now);
    let sentence = "the receiver is the publisher, and wants none of its own messages";
    check(&why, WhyVerdict::NoLocal, "no_local", sentence);
    assert_eq!(count(&why, "no_local"), 1);
    rig.client("other");
    let why = rig.broker.why(&WhyQuestion { from: "other", ..question }, rig.now);
    assert_eq!(why.verdict, WhyVerdict::WouldDeliver);
}

#[test]
fn messages_wait_for_a_client_that_is_away() {
    let mut rig = Rig::new();
    let pub_ = rig.client("pub");
    let sub = rig.join(Hello::v5("sub").lasting(100));
    rig.subscribed(sub, "a", Q1);
    rig.lose(sub);
    rig.pass_s(7);
    let why = ask(&rig, "a", Q1);
    let sentence = "a message would wait for \"sub\" until the client comes back";
    check(&why, WhyVerdict::Queued, "", sentence);
    assert_eq!(detail(&why, "receiver"), "away for 7 s; its session is kept");
    rig.publish(pub_, "a", "x", Q1, 1);
    rig.publish(pub_, "b", "x", Q1, 2);
    let why = ask(&rig, "a", Q1);
    check(&why, WhyVerdict::Queued, "", "1 of \"pub\" on \"a\" wait for the client to come");
    assert_eq!(count(&why, "queued"), 1);
    rig.pass_s(200);
    let why = ask(&rig, "a", Q1);
    assert_eq!(why.verdict, WhyVerdict::NoSession, "its time is over");
}

#[test]
fn qos_0_for_a_client_that_is_away_may_be_lost() {
    let mut rig = Rig::with_zone(|zone| zone.mqueue_store_qos0 = false);
    let pub_ = rig.client("pub");
    let sub = rig.join(Hello::v5("sub").lasting(100));
    rig.subscribed(sub, "a", Q1);
    rig.lose(sub);
    let why = ask(&rig, "a", Q0);
    let sentence = "\"sub\" is away for 0 s, and its zone keeps nothing of QoS 0 for it";
    check(&why, WhyVerdict::Offline, "receiver", sentence);
    assert_eq!(ask(&rig, "a", Q1).verdict, WhyVerdict::Queued);
    rig.publish(pub_, "a", "x", Q0, 0);
    rig.pass_s(5);
    let sub = rig.join(Hello::v5("sub").lasting(100));
    let why = ask(&rig, "a", Q0);
    let sentence = "\"sub\" is back, but was away when the last one came, 5 s ago, of QoS 0";
    check(&why, WhyVerdict::Offline, "receiver", sentence);
    assert_eq!(count(&why, "qos0_offline"), 1);
    // What has come since is the last that happened.
    rig.publish(pub_, "a", "x", Q0, 0);
    assert_eq!(rig.out(sub).len(), 1);
    assert_eq!(ask(&rig, "a", Q0).verdict, WhyVerdict::WouldDeliver);
}

#[test]
fn an_expired_message_is_told_before_and_after_it_is_dropped() {
    let mut rig = Rig::new();
    let pub_ = rig.client("pub");
    let sub = rig.join(Hello::v5("sub").lasting(100));
    rig.subscribed(sub, "a", Q1);
    rig.lose(sub);
    let expiry = [Property::MessageExpiryInterval(5)];
    rig.publish_with(pub_, message("a", "x", Q1, 1), &expiry);
    assert_eq!(ask(&rig, "a", Q1).verdict, WhyVerdict::Queued);
    rig.pass_s(6);
    let why = ask(&rig, "a", Q1);
    let sentence = "1 that wait for the client have expired meanwhile";
    check(&why, WhyVerdict::Expired, "expiry", sentence);
    rig.join(Hello::v5("sub").lasting(100));
    rig.pass_s(1);
    let why = ask(&rig, "a", Q1);
    let sentence = "the last one expired while it waited, and was dropped 1 s ago";
    check(&why, WhyVerdict::Expired, "expiry", sentence);
    assert_eq!(count(&why, "expired"), 1);
}

#[test]
fn a_full_queue_drives_messages_out() {
    let mut rig = Rig::with_zone(|zone| zone.max_mqueue_len = 2);
    let pub_ = rig.client("pub");
    let sub = rig.join(Hello::v5("sub").lasting(100));
    rig.subscribed(sub, "#", Q1);
    rig.lose(sub);
    for (n, topic) in ["a", "b", "c"].iter().enumerate() {
        rig.publish(pub_, topic, "x", Q1, 1 + n as u16);
    }
    let why = ask(&rig, "a", Q1);
    let sentence = "the queue of the receiver has no room: 2 of 2, and a new message drives the \
                    oldest one out";
    check(&why, WhyVerdict::QueueFull, "queue", sentence);
    assert_eq!(count(&why, "queue_full"), 1);
    // Back, and nothing written for it since: what was lost is still the last of its topic.
    let small = Hello::v5("sub").lasting(100).with(Property::ReceiveMaximum(1));
    let sub = rig.join(small);
    assert_eq!(rig.out(sub).len(), 0, "join has swallowed it");
    assert_eq!(ask(&rig, "b", Q1).verdict, WhyVerdict::DeliveredUnacknowledged);
    assert_eq!(ask(&rig, "c", Q1).verdict, WhyVerdict::Queued);
    let why = ask(&rig, "d", Q1);
    let sentence = "a message would wait for \"sub\" until earlier ones are acknowledged or read";
    check(&why, WhyVerdict::Queued, "", sentence);
    assert_eq!(detail(&why, "window"), "1 of 1 unacknowledged: others wait until it acknowledges");
}

#[test]
fn a_packet_larger_than_the_client_takes_is_skipped() {
    let mut rig = Rig::with_zone(|zone| zone.max_packet_size = 1000);
    let pub_ = rig.client("pub");
    let sub = rig.join(Hello::v5("sub").with(Property::MaximumPacketSize(60)));
    rig.subscribed(sub, "a", Q0);
    let sized = |rig: &Rig, size| {
        let question =
            WhyQuestion { from: "pub", topic: "a", to: "sub", qos: Q0, size: Some(size) };
        rig.broker.why(&question, rig.now)
    };
    assert_eq!(sized(&rig, 54).verdict, WhyVerdict::WouldDeliver);
    let sentence = "the message is too large: 61 bytes; the client takes up to 60";
    check(&sized(&rig, 55), WhyVerdict::TooLarge, "size", sentence);
    // And so it is.
    rig.publish(pub_, "a", &"x".repeat(54), Q0, 0);
    assert_eq!(rig.out(sub).len(), 1);
    rig.publish(pub_, "a", &"x".repeat(55), Q0, 0);
    assert_eq!(rig.out(sub).len(), 0);
    let sentence = "the message is too large: the last one was larger than the client takes (60), \
                    0 s ago";
    check(&ask(&rig, "a", Q0), WhyVerdict::TooLarge, "size", sentence);
    let sentence = "the message is too large: 1006 bytes; the publisher's zone takes packets up \
                    to 1000";
    check(&sized(&rig, 999), WhyVerdict::TooLarge, "size", sentence);
}

#[test]
fn a_client_that_does_not_read_loses_qos_0() {
    let mut rig = Rig::with_zone(|zone| zone.max_outbox_bytes = 100);
    let pub_ = rig.client("pub");
    let sub = rig.client("sub");
    rig.subscribed(sub, "a", Q1);
    rig.socket(sub).lock().capacity = 0;
    for _ in 0..3 {
        rig.publish(pub_, "a", &"x".repeat(80), Q0, 0);
    }
    let why = ask(&rig, "a", Q0);
    assert_eq!(why.verdict, WhyVerdict::OutboxFull, "{why:#?}");
    assert!(
        why.explanation.ends_with(" of 100 bytes: the client reads too slowly, QoS 0 is dropped"),
        "{}",
        why.explanation
    );
    assert!(count(&why, "outbox_full") > 0);
    assert_eq!(ask(&rig, "a", Q1).verdict, WhyVerdict::Queued, "that waits");
}

#[test]
fn what_was_not_acknowledged_is_told() {
    let mut rig = Rig::new();
    let (pub_, sub) = (rig.client("pub"), rig.client("sub"));
    rig.subscribed(sub, "a", Q1);
    rig.publish(pub_, "a", "x", Q1, 1);
    let why = ask(&rig, "a", Q1);
    let sentence = "1 of \"pub\" on \"a\" went out to \"sub\", which has not acknowledged so far";
    check(&why, WhyVerdict::DeliveredUnacknowledged, "", sentence);
    assert_eq!((count(&why, "delivered"), count(&why, "unacknowledged")), (1, 1));
    rig.puback(sub, 1);
    assert_eq!(ask(&rig, "a", Q1).verdict, WhyVerdict::WouldDeliver);
}

#[test]
fn a_trace_remembers_what_was_delivered() {
    let mut rig = Rig::new();
    let (pub_, sub) = (rig.client("pub"), rig.client("sub"));
    rig.subscribed(sub, "a", Q0);
    let options = TraceOptions {
        subject: TraceSubject::Topic("a".into()),
        level: TraceLevel::Debug,
        events_per_s: 100,
        duration_ms: 60_000,
        shows_payload: true,
        destination: String::new(),
    };
    rig.broker.traces().start(options, rig.now).unwrap();
    assert_eq!(ask(&rig, "a", Q0).verdict, WhyVerdict::WouldDeliver);
    rig.publish(pub_, "a", "x", Q0, 0);
    let sentence = "a trace has seen the last message on \"a\" go out to \"sub\"";
    check(&ask(&rig, "a", Q0), WhyVerdict::Delivered, "", sentence);
}

#[test]
fn of_a_group_one_member_gets_it() {
    let mut rig = Rig::new();
    rig.client("pub");
    let (sub, other) = (rig.client("sub"), rig.client("other"));
    rig.subscribed(sub, "$share/g/a", Q1);
    assert_eq!(ask(&rig, "a", Q1).verdict, WhyVerdict::WouldDeliver, "it is the only one");
    rig.subscribed(other, "$share/g/a", Q1);
    let why = ask(&rig, "a", Q1);
    let sentence =
        "one of the 2 members of group \"g\" gets each message, and \"sub\" is one of them";
    check(&why, WhyVerdict::SharedOtherMember, "", sentence);
    let expected =
        "matched by \"$share/g/a\"; QoS 1; one of 2 members of group \"g\" gets each message";
    assert_eq!(detail(&why, "subscription"), expected);
}
