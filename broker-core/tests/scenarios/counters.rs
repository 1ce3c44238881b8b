//! What is counted of each connection and session, and the facts that are known of a client.

use broker_codec::{Packet, Property};
use broker_core::{ConnectionView, ReasonCode, SessionCounts, SessionView, Tally, Transport};

use crate::access::{auth, toy, toy_hello};
use crate::rig::*;

fn view(rig: &Rig, id: &str) -> SessionView {
    rig.broker.session(id).expect("a session")
}

fn connection(rig: &Rig, id: &str) -> ConnectionView {
    view(rig, id).connection.expect("a connection")
}

fn counts(rig: &Rig, id: &str) -> SessionCounts {
    view(rig, id).counts
}

/// What `act` adds to what was received from, and sent to, the client `c`.
fn moved(rig: &mut Rig, act: impl FnOnce(&mut Rig)) -> (Tally, Tally) {
    let before = connection(rig, "c");
    act(rig);
    let after = connection(rig, "c");
    let less = |a: Tally, b: Tally| Tally {
        bytes: a.bytes - b.bytes,
        calls: a.calls - b.calls,
        packets: a.packets - b.packets,
        messages: a.messages - b.messages,
    };
    (less(after.received, before.received), less(after.sent, before.sent))
}

const fn tally(bytes: u64, calls: u64, packets: u64, messages: u64) -> Tally {
    Tally { bytes, calls, packets, messages }
}

#[test]
fn both_directions_are_counted_from_connect_on() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    let first = connection(&rig, "c");
    assert_eq!((first.received.calls, first.received.packets, first.received.messages), (1, 1, 0));
    assert_eq!((first.sent.calls, first.sent.packets, first.sent.messages), (1, 1, 0));
    assert!(first.received.bytes > 15 && first.sent.bytes > 5, "CONNECT and CONNACK: {first:?}");
    assert_eq!(first.turns, 1);
    // Three times two bytes, in three reads, answered by three writes.
    let pinged = moved(&mut rig, |rig| (0..3).for_each(|_| rig.send(c, &Packet::PingReq)));
    assert_eq!(pinged, (tally(6, 3, 3, 0), tally(6, 3, 3, 0)));
    assert_eq!(connection(&rig, "c").turns, 4);
    // The same in one.
    let pinged = moved(&mut rig, |rig| {
        (0..3).for_each(|_| rig.post(c, &Packet::PingReq));
        rig.feed_all();
    });
    assert_eq!(pinged, (tally(6, 1, 3, 0), tally(6, 1, 3, 0)));
    let subscribed = moved(&mut rig, |rig| rig.subscribe(c, "t", Q1));
    assert_eq!(subscribed, (tally(9, 1, 1, 0), tally(6, 1, 1, 0)));
    // PUBLISH of 9 bytes and PUBACK of 4, both ways; the acknowledgement joins what is sent.
    let published = moved(&mut rig, |rig| rig.publish(c, "t", "x", Q1, 1));
    assert_eq!(published, (tally(9, 1, 1, 1), tally(13, 1, 2, 1)));
    let acked = moved(&mut rig, |rig| rig.puback(c, 1));
    assert_eq!(acked, (tally(4, 1, 1, 0), tally(0, 0, 0, 0)));
}

/// What came before there was a session to count for is not forgotten.
#[test]
fn a_connect_in_pieces_and_an_exchange_before_it_are_counted() {
    let mut rig = Rig::new();
    let c = rig.open(V3);
    for part in [&b"\x10\x0d\x00\x04MQ"[..], b"TT\x04\x02\x00", b"\x00\x00\x01c"] {
        rig.send_bytes(c, part);
    }
    assert_eq!(connection(&rig, "c").received, tally(15, 3, 1, 0));
    assert_eq!(connection(&rig, "c").sent, tally(4, 1, 1, 0));

    let mut rig = toy();
    let c = rig.hello(toy_hello(b"a"));
    auth(&mut rig, c, ReasonCode::ContinueAuthentication, "TOY", b"b");
    let Tally { calls, packets, .. } = connection(&rig, "c").received;
    assert_eq!((calls, packets), (2, 2));
    let Tally { calls, packets, bytes, .. } = connection(&rig, "c").sent;
    assert_eq!((calls, packets), (2, 2));
    assert_eq!(bytes, rig.socket(c).lock().unread.len() as u64);
}

/// `$SYS/…` is not counted among all messages sent, but it is for who gets it.
#[test]
fn messages_of_the_broker_about_itself_are_counted_for_who_gets_them() {
    let mut rig = Rig::build(|config, _| config.sys_interval_ms = 60_000, Default::default(), None);
    let c = rig.client("c");
    rig.subscribe(c, "$SYS/#", Q0);
    let (_, sent) = moved(&mut rig, |rig| rig.pass_s(61));
    assert!(sent.messages > 50, "{sent:?}");
    assert_eq!(sent.packets, sent.messages);
}

#[test]
fn bytes_count_once_the_socket_has_them() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    rig.socket(c).lock().capacity = 1;
    rig.out(c);
    let (_, sent) = moved(&mut rig, |rig| rig.send(c, &Packet::PingReq));
    assert_eq!(sent, tally(1, 1, 1, 0));
    assert_eq!(connection(&rig, "c").pending_bytes, 1);
}

/// A new connection begins at nothing; the session goes on.
#[test]
fn a_session_counts_through_its_connections() {
    let mut rig = Rig::new();
    let p = rig.client("p");
    let hello = || Hello::v5("c").lasting(1000);
    let c = rig.join(hello());
    rig.subscribed(c, "t", Q1);
    rig.publish(p, "t", "x", Q1, 1);
    assert_eq!(counts(&rig, "c").delivered, 1);
    rig.lose(c);
    assert!(view(&rig, "c").connection.is_none());
    rig.publish(p, "t", "y", Q1, 2);
    rig.publish(p, "t", "z", Q1, 3);
    assert_eq!((counts(&rig, "c").delivered, counts(&rig, "c").enqueued), (1, 2));
    // The first once more, and the two that waited.
    let c = rig.join(hello());
    assert_eq!((counts(&rig, "c").delivered, counts(&rig, "c").enqueued), (4, 2));
    assert_eq!(connection(&rig, "c").sent.messages, 3);
    assert_eq!(connection(&rig, "c").received.packets, 1);
    // Taken over.
    (1..=3).for_each(|id| rig.puback(c, id));
    rig.join(hello());
    assert_eq!(counts(&rig, "c").delivered, 4);
    assert_eq!(counts(&rig, "c").work(), 6);
    assert_eq!(connection(&rig, "c").sent.messages, 0);
    assert_eq!(connection(&rig, "c").received.packets, 1);
}

/// Clean Start is that of the CONNECT that made the session.
#[test]
fn a_session_remembers_how_it_began() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("c").with(Property::SessionExpiryInterval(100)));
    assert!(counts(&rig, "c").created_clean);
    rig.lose(c);
    rig.join(Hello::v5("c").lasting(100));
    assert!(counts(&rig, "c").created_clean && !view(&rig, "c").client.clean_start);
}

#[test]
fn limits_are_those_in_force() {
    let mut rig = Rig::with_zone(|zone| {
        zone.max_subscriptions = 7;
        zone.max_inflight = 20;
        zone.max_mqueue_len = 30;
        zone.max_awaiting_rel = 40;
    });
    let c = rig.join(Hello::v5("c").lasting(100).with(Property::ReceiveMaximum(3)));
    let counts_now = counts(&rig, "c");
    assert_eq!((counts_now.max_subscriptions, counts_now.max_inflight), (7, 3));
    assert_eq!((counts_now.max_queued, counts_now.max_awaiting_rel), (30, 40));
    rig.lose(c);
    assert_eq!(counts(&rig, "c").max_inflight, 20);
}

#[test]
fn what_waits_for_a_connection_is_counted() {
    let mut rig = Rig::with_zone(|zone| zone.max_inflight = 1);
    let p = rig.client("p");
    let c = rig.client("c");
    rig.subscribed(c, "t", Q1);
    for id in 1..=3 {
        rig.publish(p, "t", "x", Q1, id);
    }
    assert_eq!(connection(&rig, "c").waiting, 2);
    rig.puback(c, 1);
    assert_eq!(connection(&rig, "c").waiting, 1);
}

#[test]
fn retained_messages_that_are_owed_wait_for_the_session() {
    let mut rig = Rig::with_zone(|zone| zone.max_outbox_bytes = 100);
    let p = rig.client("p");
    for n in 0..10 {
        rig.retain(p, &format!("r/{n}"), &"x".repeat(50));
    }
    let c = rig.client("c");
    rig.socket(c).lock().capacity = 0;
    rig.subscribe(c, "r/+", Q0);
    assert_eq!(counts(&rig, "c").waiting, 1);
    rig.socket(c).lock().capacity = usize::MAX;
    rig.writable(c);
    assert_eq!(counts(&rig, "c").waiting, 0);
}

/// Memory follows what is held.
#[test]
fn memory_that_is_shown_grows_and_shrinks_with_what_is_held() {
    let mut rig = Rig::with_zone(|zone| zone.max_topic_alias = 10);
    let p = rig.client("p");
    let hello = || Hello::v5("c").lasting(1000);
    let c = rig.join(hello());
    rig.subscribed(c, "t", Q1);
    let (idle, session) = (connection(&rig, "c").heap_bytes, counts(&rig, "c").heap_bytes);
    assert!((300..2_000).contains(&idle), "{idle}");
    assert!((100..1_000).contains(&session), "{session}");
    // Bytes that the socket does not take.
    rig.socket(c).lock().capacity = 0;
    rig.publish(p, "t", &"x".repeat(20_000), Q1, 1);
    assert!(connection(&rig, "c").heap_bytes >= idle + 20_000);
    assert!(counts(&rig, "c").heap_bytes >= session + 20_000, "in flight");
    rig.lose(c);
    for id in 2..=11 {
        rig.publish(p, "t", &"x".repeat(1_000), Q1, id);
    }
    assert!(counts(&rig, "c").heap_bytes >= session + 30_000, "and queued");
    let c = rig.join(hello());
    (1..=11).for_each(|id| rig.puback(c, id));
    rig.pass_s(1000);
    assert!(counts(&rig, "c").heap_bytes < session + 3_000);
    // An alias of the client is kept by its channel.
    let before = connection(&rig, "c").heap_bytes;
    let topic = "a".repeat(5_000);
    rig.publish_with(c, message(&topic, "x", Q0, 0), &[Property::TopicAlias(1)]);
    assert!(connection(&rig, "c").heap_bytes >= before + 5_000);
}

#[test]
fn facts_of_a_client_are_known() {
    let mut rig = Rig::new();
    rig.join(Hello { version: V3, ..Hello::v5("three") });
    let client = view(&rig, "three").client;
    assert_eq!((client.protocol_name(), client.version.level()), ("MQTT", 4));
    assert!(!client.is_bridge && client.certificate.is_none());
    // The name of the rig's listener says nothing of how packets come.
    assert_eq!(client.transport(), None);
    for (name, transport) in [
        ("mqtt:tcp:external", Transport::Tcp),
        ("mqtt:ssl:a:b", Transport::Tls),
        ("mqtt:ws:external", Transport::WebSocket),
        ("mqtt:wss:external", Transport::SecureWebSocket),
        ("mqtt:unix:local", Transport::Unix),
    ] {
        assert_eq!(Transport::of_listener(name), Some(transport));
    }
    // MQTT 3.1 of a bridge: level 3 with the top bit set.
    let bridge = rig.open(broker_core::ProtocolVersion::V3_1);
    rig.send_bytes(bridge, b"\x10\x12\x00\x06MQIsdp\x83\x02\x00\x3c\x00\x04brdg");
    let client = view(&rig, "brdg").client;
    assert_eq!((client.protocol_name(), client.version.level()), ("MQIsdp", 3));
    assert!(client.is_bridge);
    assert_eq!(client.keep_alive_s, 60);
}
