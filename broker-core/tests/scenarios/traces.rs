//! What a trace tells of a client, a topic or an address, and what it keeps to itself.

use std::sync::Arc;

use broker_codec::Property;
use broker_core::extension::{Action, Answer, Authorizer, Extensions, Verdict};
use broker_core::{ClientInfo, ReasonCode, Trace, TraceLevel, TraceOptions, TraceSubject, Traces};

use crate::rig::*;

fn start(rig: &Rig, subject: TraceSubject, level: TraceLevel) -> Arc<Trace> {
    let options = TraceOptions {
        subject,
        level,
        events_per_s: 1000,
        duration_ms: 60_000,
        shows_payload: false,
        destination: String::new(),
    };
    rig.broker.traces().start(options, rig.now).unwrap()
}

fn client(rig: &Rig, id: &str) -> Arc<Trace> {
    start(rig, TraceSubject::ClientId(id.into()), TraceLevel::Debug)
}

fn topic(rig: &Rig, filter: &str) -> Arc<Trace> {
    start(rig, TraceSubject::Topic(filter.into()), TraceLevel::Debug)
}

/// The events since `after`: client, kind, text.
fn lines(trace: &Trace, after: &mut u64) -> Vec<String> {
    let page = trace.events_after(*after, 1000);
    *after = page.next;
    page.events
        .iter()
        .map(|event| format!("{} {}: {}", event.client_id, event.kind.name(), event.text))
        .collect()
}

#[track_caller]
fn check(trace: &Trace, after: &mut u64, expected: &[&str]) {
    assert_eq!(lines(trace, after), expected);
}

#[test]
fn a_client_is_followed_from_connect_to_disconnect() {
    let mut rig = Rig::new();
    let trace = client(&rig, "c");
    let seen = &mut 0;
    let hello = Hello { password: Some(b"topsecret"), ..Hello::v5("c").user("bob") };
    let c = rig.join(Hello { keep_alive_s: 30, ..hello });
    check(
        &trace,
        seen,
        &[
            "c connect: CONNECT proto_ver=5 clean_start=true keep_alive_s=30 username=\"bob\" \
             has_password=true",
            "c connected: listener=test keep_alive_s=30",
            "c session: created expiry_s=0 subscriptions=0 queued=0 inflight=0",
        ],
    );
    rig.subscribed(c, "a/+", Q1);
    check(
        &trace,
        seen,
        &[
            "c received: SUBSCRIBE packet_id=77 filter=\"a/+\" qos=1",
            "c subscribed: filter=\"a/+\" qos=1",
            "c sent: SUBACK packet_id=77 reasons=0x01",
        ],
    );
    rig.publish(c, "a/b", "hello", Q1, 7);
    rig.puback(c, 1);
    check(
        &trace,
        seen,
        &[
            "c received: PUBLISH topic=\"a/b\" qos=1 packet_id=7 retain=false dup=false bytes=5",
            "c publish: topic=\"a/b\" qos=1 retain=false bytes=5",
            "c delivered: topic=\"a/b\" qos=1 retain=false dup=false bytes=5",
            "c routed: topic=\"a/b\" receivers=1",
            "c sent: PUBACK packet_id=7 reason=0x00",
            "c received: PUBACK packet_id=1 reason=0x00",
        ],
    );
    rig.unsubscribe(c, "a/+");
    rig.disconnect(c, ReasonCode::Success, &[]);
    let lines = trace.events_after(*seen, 10).events;
    let kinds: Vec<_> = lines.iter().map(|event| event.kind.name()).collect();
    assert_eq!(kinds, ["received", "unsubscribed", "sent", "received", "disconnected", "session"]);
    assert_eq!(&*lines[4].text, "reason=normal");
    assert_eq!(&*lines[5].text, "ended");
    let all = format!("{:?}", trace.events_after(0, 1000));
    assert!(!all.contains("topsecret") && !all.contains("hello"), "no password, no payload");
}

#[test]
fn payloads_are_shown_where_they_are_asked_for() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    let options = TraceOptions {
        shows_payload: true,
        level: TraceLevel::Debug,
        ..topic(&rig, "t").options().clone()
    };
    assert!(rig.broker.traces().stop(&options.subject));
    let trace = rig.broker.traces().start(options, rig.now).unwrap();
    rig.publish(c, "t", "21.5\n", Q0, 0);
    check(
        &trace,
        &mut 0,
        &[
            r#"c publish: topic="t" qos=0 retain=false bytes=5 payload="21.5\n""#,
            "c dropped: no_subscribers topic=\"t\"",
        ],
    );
}

#[test]
fn a_topic_is_followed_from_publisher_to_every_receiver() {
    let mut rig = Rig::with_zone(|zone| zone.max_mqueue_len = 1);
    let trace = topic(&rig, "a/#");
    let seen = &mut 0;
    let (pub_, sub) = (rig.client("pub"), rig.client("sub"));
    rig.subscribed(sub, "a/+", Q0);
    let away = rig.join(Hello::v5("away").lasting(100));
    rig.subscribed(away, "a/b", Q1);
    rig.lose(away);
    // Of the lives of clients it tells nothing.
    check(
        &trace,
        seen,
        &["sub subscribed: filter=\"a/+\" qos=0", "away subscribed: filter=\"a/b\" qos=1"],
    );
    rig.publish(pub_, "other", "x", Q1, 1);
    rig.publish(pub_, "a/b", "x", Q1, 2);
    let mut told = lines(&trace, seen);
    // Receivers come in any order.
    told[1..3].sort();
    assert_eq!(
        told,
        [
            "pub publish: topic=\"a/b\" qos=1 retain=false bytes=1",
            "away queued: topic=\"a/b\" qos=1 bytes=1 queued=1 inflight=0",
            "sub delivered: topic=\"a/b\" qos=0 retain=false dup=false bytes=1",
            "pub routed: topic=\"a/b\" receivers=2",
        ]
    );
    let info = start(&rig, TraceSubject::ClientId("away".into()), TraceLevel::Info);
    rig.publish(pub_, "a/b", "y", Q1, 3);
    check(&info, &mut 0, &["away dropped: queue_full topic=\"a/b\""]);
}

#[test]
fn every_drop_says_why() {
    let mut rig = Rig::with_zone(|zone| zone.mqueue_store_qos0 = false);
    let trace = start(&rig, TraceSubject::Topic("#".into()), TraceLevel::Info);
    let seen = &mut 0;
    let pub_ = rig.client("pub");
    let own = rig.client("own");
    let no_local = broker_core::SubscriptionOptions { no_local: true, ..Default::default() };
    rig.subscribe_with(own, "own", no_local, 0);
    let small = rig.join(Hello::v5("small").with(Property::MaximumPacketSize(60)));
    rig.subscribed(small, "small", Q1);
    let away = rig.join(Hello::v5("away").lasting(100));
    rig.subscribed(away, "away", Q1);
    rig.lose(away);
    rig.publish(own, "own", "x", Q0, 0);
    rig.publish(pub_, "small", &"x".repeat(60), Q1, 1);
    rig.publish(pub_, "small", &"x".repeat(60), Q0, 0);
    rig.publish(pub_, "away", "x", Q0, 0);
    rig.publish(pub_, "nobody", "x", Q0, 0);
    rig.publish(pub_, "$SYS/x", "x", Q1, 2);
    let expiry = [Property::MessageExpiryInterval(5)];
    rig.publish_with(pub_, message("away", "x", Q1, 3), &expiry);
    rig.pass_s(6);
    rig.join(Hello::v5("away").lasting(100));
    check(
        &trace,
        seen,
        &[
            "own dropped: no_local topic=\"own\"",
            "small dropped: too_large topic=\"small\"",
            "small dropped: too_large topic=\"small\"",
            "away dropped: qos0_offline topic=\"away\"",
            "pub dropped: no_subscribers topic=\"nobody\"",
            "away dropped: expired topic=\"away\"",
        ],
    );
    let reserved = topic(&rig, "$SYS/#");
    rig.publish(pub_, "$SYS/x", "x", Q1, 4);
    check(
        &reserved,
        &mut 0,
        &["pub dropped: refused topic=\"$SYS/x\" qos=1 reason=0x87 NotAuthorized"],
    );
}

/// Nobody may do anything with `shut`.
struct Shut;

impl Authorizer for Shut {
    fn authorize(&self, _: &Arc<ClientInfo>, _: Action, topic: &str) -> Answer<Verdict> {
        Answer::Now(if topic == "shut" { Verdict::Deny } else { Verdict::Ignore })
    }
}

#[test]
fn rights_are_told_with_who_has_decided() {
    let extensions = Extensions { authorizers: vec![Arc::new(Shut)], ..Extensions::default() };
    let mut rig = Rig::with_extensions(extensions);
    let c = rig.client("c");
    let trace = start(&rig, TraceSubject::ClientId("c".into()), TraceLevel::Info);
    rig.publish(c, "shut", "x", Q1, 1);
    rig.publish(c, "shut", "x", Q1, 2);
    rig.subscribe(c, "shut", Q1);
    check(
        &trace,
        &mut 0,
        &[
            "c acl: publish denied topic=\"shut\" by=\"rule\"",
            "c dropped: refused topic=\"shut\" qos=1 reason=0x87 NotAuthorized",
            "c acl: publish denied topic=\"shut\" by=\"cached\"",
            "c dropped: refused topic=\"shut\" qos=1 reason=0x87 NotAuthorized",
            "c acl: subscribe denied topic=\"shut\" by=\"rule\"",
        ],
    );
    let debug = topic(&rig, "open");
    rig.publish(c, "open", "x", Q0, 0);
    check(
        &debug,
        &mut 0,
        &[
            "c acl: publish allowed topic=\"open\" by=\"acl_nomatch\"",
            "c publish: topic=\"open\" qos=0 retain=false bytes=1",
            "c dropped: no_subscribers topic=\"open\"",
        ],
    );
}

#[test]
fn refusals_and_take_overs_are_part_of_a_clients_life() {
    let mut rig = Rig::with_zone(|zone| zone.max_client_id_len = 5);
    let address = TraceSubject::Address("192.0.2.0/24".parse().unwrap());
    let trace = start(&rig, address, TraceLevel::Info);
    rig.hello(Hello::v5("muchtoolong"));
    check(
        &trace,
        &mut 0,
        &[
            "muchtoolong connect: CONNECT proto_ver=5 clean_start=true keep_alive_s=0 \
             has_password=false",
            "muchtoolong refused: reason=0x85 ClientIdentifierNotValid",
            " disconnected: reason=refused",
        ],
    );
    let first = rig.join(Hello::v5("c").lasting(100));
    let trace = start(&rig, TraceSubject::ClientId("c".into()), TraceLevel::Info);
    rig.join(Hello::v5("c").lasting(100));
    assert!(rig.cause(first).is_some());
    let page = trace.events_after(0, 100);
    let lines: Vec<_> =
        page.events.iter().map(|event| format!("{}: {}", event.kind.name(), event.text)).collect();
    let expected = [
        "takeover: by a connection from 192.0.2.1:1883",
        "session: resumed expiry_s=100 subscriptions=0 queued=0 inflight=0",
        "disconnected: reason=takeovered",
    ];
    for line in expected {
        assert!(lines.iter().any(|it| it == line), "{line} in {lines:?}");
    }
}

#[test]
fn other_addresses_and_clients_are_not_told_of() {
    let mut rig = Rig::new();
    let elsewhere = TraceSubject::Address("198.51.100.0/24".parse().unwrap());
    let traces = [client(&rig, "other"), start(&rig, elsewhere, TraceLevel::Debug)];
    let c = rig.client("c");
    rig.subscribed(c, "t", Q0);
    rig.publish(c, "t", "x", Q0, 0);
    for trace in &traces {
        assert_eq!(trace.counts(), (0, 0));
    }
    fn stop(traces: &Traces, trace: &Trace) {
        assert!(traces.stop(&trace.options().subject));
    }
    traces.iter().for_each(|trace| stop(rig.broker.traces(), trace));
    assert!(rig.broker.traces().list().is_empty());
}

#[test]
fn a_trace_that_was_stopped_or_has_ended_hears_nothing_more() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    let trace = client(&rig, "c");
    rig.publish(c, "t", "x", Q0, 0);
    let (heard, _) = trace.counts();
    assert!(heard > 0);
    assert!(rig.broker.traces().stop(&trace.options().subject));
    assert!(!trace.is_running(rig.now));
    rig.publish(c, "t", "x", Q0, 0);
    assert_eq!(trace.counts(), (heard, 0));
    let trace = client(&rig, "c");
    rig.pass_s(60);
    rig.publish(c, "t", "x", Q0, 0);
    assert_eq!(trace.counts(), (0, 0));
    assert!(!trace.is_running(rig.now));
}
