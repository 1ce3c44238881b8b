//! Limits of a connection: what is too much is refused, with the code the protocol has for it.

use broker_codec::{Packet, Properties, Property, Subscribe, SubscriptionRequest, Unsubscribe};
use broker_core::config::{Rate, ZoneConfig};
use broker_core::{Ban, CloseCause, Metric, ReasonCode, SubscriptionOptions, Who};

use crate::rig::*;

/// Attack case 11; [MQTT-3.3.4-9]: the client was told as Receive Maximum how many it may have open.
#[test]
fn too_many_unreleased_messages_close_a_v5_connection() {
    let mut rig = Rig::with_zone(|zone| zone.max_awaiting_rel = 3);
    let c = rig.client("c");
    for id in 1..=3 {
        rig.publish(c, "t", "x", Q2, id);
    }
    // Repetitions are none too many, nor is the next once one is released.
    rig.publish(c, "t", "x", Q2, 3);
    rig.pubrel(c, 1);
    rig.publish(c, "t", "x", Q2, 4);
    assert_eq!(rig.out(c).len(), 6);
    rig.publish(c, "t", "x", Q2, 5);
    rig.check(c, &["DISCONNECT 0x93"]);
}

/// An older client knows no such limit: its message is not acknowledged, so it keeps it.
#[test]
fn too_many_unreleased_messages_of_an_older_client_are_left_to_it() {
    let mut rig = Rig::with_zone(|zone| zone.max_awaiting_rel = 1);
    let c = rig.join(Hello::v3("c"));
    rig.publish(c, "t", "x", Q2, 1);
    rig.publish(c, "t", "x", Q2, 2);
    rig.check(c, &["PUBREC #1 0x00"]);
    assert_eq!(rig.metric(Metric::MessagesQos2Dropped), 1);
    rig.pubrel(c, 1);
    rig.publish(c, "t", "x", Q2, 2);
    rig.check(c, &["PUBCOMP #1 0x00", "PUBREC #2 0x00"]);
}

/// `await_rel_timeout`
#[test]
fn unreleased_messages_are_forgotten_after_a_while() {
    let mut rig = Rig::with_zone(|zone| zone.await_rel_timeout_ms = 10_000);
    let c = rig.client("c");
    rig.publish(c, "t", "x", Q2, 1);
    rig.pass_s(9);
    assert_eq!(rig.broker.session("c").unwrap().awaiting_rel, 1);
    rig.pass_s(20);
    assert_eq!(rig.broker.session("c").unwrap().awaiting_rel, 0);
    assert_eq!(rig.metric(Metric::MessagesQos2Expired), 1);
    rig.pubrel(c, 1);
    rig.check(c, &["PUBREC #1 0x10", "PUBCOMP #1 0x92"]);
}

/// `publish_limit`: a client that publishes too fast is paced, not refused.
#[test]
fn a_client_is_paced_to_its_publish_limit() {
    let mut rig = Rig::with_zone(|zone| zone.publish_limit = Some(Rate::in_ms(2, 1_000)));
    let c = rig.join(Hello { keep_alive_s: 1, ..Hello::v5("c") });
    for id in 1..=5 {
        rig.post(c, &publish("t", "x", Q1, id));
    }
    rig.feed_all();
    for (ms, acks) in [(0, 2), (499, 0), (1, 1), (1_000, 2), (1_000, 0)] {
        rig.pass_ms(ms);
        assert_eq!(rig.out(c).len(), acks, "after {ms}");
    }
    assert_eq!(rig.cause(c), None);
}

/// A pass that has handled much says so, and the next one begins anew: others than the loudest have their turn.
#[test]
fn a_pass_that_has_done_enough_says_so() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    let pings = |n: usize| [0xC0, 0].repeat(n);
    rig.send_bytes(c, &pings(4_095));
    assert!(!rig.turn.has_done_enough());
    rig.send_bytes(c, &pings(4_096));
    assert!(rig.turn.has_done_enough());
    rig.send_bytes(c, &pings(1));
    assert!(!rig.turn.has_done_enough());
    assert_eq!(rig.out(c).len(), 4_095 + 4_096 + 1);
}

/// `max_subscriptions`
#[test]
fn a_session_has_no_more_subscriptions_than_it_may() {
    let mut rig = Rig::with_zone(|zone| zone.max_subscriptions = 2);
    let c = rig.client("c");
    for (filter, code) in [("a", "00"), ("b", "00"), ("c", "97"), ("a", "00")] {
        rig.subscribe(c, filter, Q0);
        rig.check(c, &[&format!("SUBACK #77 {code}")]);
    }
    rig.unsubscribe(c, "a");
    rig.subscribe(c, "c", Q0);
    rig.check(c, &["UNSUBACK #78 00", "SUBACK #77 00"]);
}

/// Attack case 12: 1,000 filters in a packet, each answered; then all gone with the connection.
#[test]
fn a_thousand_filters_in_a_packet() {
    let mut rig = Rig::new();
    let filters: Vec<_> = (0..1_000).map(|n| format!("f/{n}/+/#")).collect();
    let request = |filter| SubscriptionRequest {
        filter,
        options: SubscriptionOptions { qos: Q1, ..Default::default() },
    };
    let c = rig.client("c");
    rig.send(
        c,
        &Packet::Subscribe(Subscribe {
            packet_id: packet_id(1),
            properties: Properties::EMPTY,
            filters: filters.iter().map(|filter| request(filter)).collect(),
        }),
    );
    let line = format!("SUBACK #1{}", " 01".repeat(1_000));
    rig.check(c, &[&line]);
    let p = rig.client("pub");
    rig.publish(p, "f/999/x/y", "hit", Q0, 0);
    rig.check(c, &["PUBLISH q0 f/999/x/y=hit"]);
    rig.lose(c);
    assert_eq!(rig.routes(), Vec::<String>::new());
}

/// Attack case 12: as deep as a string can be, and many that overlap.
#[test]
fn deep_and_overlapping_filters_are_matched_once() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    let deep = "+/".repeat(30_000) + "#";
    rig.subscribed(c, &deep, Q0);
    for filter in ["#", "+/b/#", "a/+/#", "a/b/c", "+/+/+"] {
        rig.subscribed(c, filter, Q0);
    }
    let p = rig.client("pub");
    rig.publish(p, "a/b/c", "x", Q0, 0);
    rig.check(c, &["PUBLISH q0 a/b/c=x"]);
    rig.publish(p, &"/".repeat(65_000), "deep", Q0, 0);
    assert_eq!(rig.out(c).len(), 1);
    rig.unsubscribe(c, &deep);
    rig.check(c, &["UNSUBACK #78 00"]);
}

/// `max_topic_levels`
#[test]
fn topics_are_no_deeper_than_they_may_be() {
    let mut rig = Rig::with_zone(|zone| zone.max_topic_levels = 3);
    let c = rig.client("c");
    rig.subscribe(c, "a/b/c/d", Q0);
    rig.subscribe(c, "$share/g/a/b/c", Q0);
    rig.publish(c, "a/b/c/d", "x", Q1, 1);
    rig.publish(c, "a/b/x", "x", Q1, 2);
    rig.check(c, &["SUBACK #77 8f", "SUBACK #77 00", "PUBACK #1 0x90", "PUBACK #2 0x10"]);
    let w = rig.hello(Hello::v5("w").will("a/b/c/d", "x"));
    rig.check(w, &["CONNACK present=0 0x90"]);
}

/// [MQTT-3.2.2-11] [MQTT-3.2.2-14]: what CONNACK says is not offered must not be used.
#[test]
fn what_is_not_offered_is_refused() {
    let zone = || {
        Rig::with_zone(|zone| {
            zone.max_qos_allowed = Q1;
            zone.retain_available = false;
            zone.wildcard_subscription = false;
            zone.shared_subscription = false;
        })
    };
    let mut rig = zone();
    let c = rig.hello(Hello::v5("c"));
    rig.check(
        c,
        &["CONNACK present=0 0x00 MaximumQoS(1) RetainAvailable(0) \
           WildcardSubscriptionAvailable(0) SharedSubscriptionAvailable(0)"],
    );
    rig.subscribe(c, "a/+", Q0);
    rig.subscribe(c, "$share/g/a", Q0);
    // [MQTT-3.2.2-9]: a subscription may ask for more and gets less.
    rig.subscribe(c, "a", Q2);
    rig.check(c, &["SUBACK #77 a2", "SUBACK #77 9e", "SUBACK #77 01"]);
    rig.publish(c, "a", "x", Q2, 1);
    rig.check(c, &["DISCONNECT 0x9b"]);
    let c = rig.client("c");
    rig.retain(c, "a", "x");
    rig.check(c, &["DISCONNECT 0x9a"]);
    // [MQTT-3.2.2-12] [MQTT-3.2.2-13]
    for (qos, retain, code) in [(Q2, false, "9b"), (Q0, true, "9a")] {
        let mut hello = Hello::v5("w");
        hello.will = Some(("a", "x", qos, retain));
        let c = rig.hello(hello);
        assert!(rig.out(c)[0].starts_with(&format!("CONNACK present=0 0x{code}")));
    }
}

/// [MQTT-3.1.3-6] [MQTT311-3.1.3-8]
#[test]
fn an_empty_client_id_is_assigned_where_it_may_be() {
    let mut rig = Rig::with_zone(|zone| zone.max_client_id_len = 10);
    let c = rig.hello(Hello::v5(""));
    assert!(rig.out(c)[0].starts_with("CONNACK present=0 0x00 AssignedClientIdentifier"));
    rig.join(Hello::v3(""));
    for refused in [Hello::v3("").lasting(0), Hello::v5("12345678901")] {
        let c = rig.hello(refused);
        assert_eq!(rig.out(c), ["CONNACK present=0 0x85"]);
    }
}

fn aliasing(change: impl FnOnce(&mut ZoneConfig)) -> Rig {
    Rig::with_zone(|zone| {
        zone.max_topic_alias = 2;
        change(zone);
    })
}

/// Attack case 16; [MQTT-3.3.2-7] [MQTT-3.3.2-8] [MQTT-3.3.2-9]
#[test]
fn topic_aliases_of_a_client_are_checked() {
    let mut rig = aliasing(|_| {});
    let s = rig.client("sub");
    rig.subscribed(s, "#", Q0);
    let alias = |n| [Property::TopicAlias(n)];
    let c = rig.hello(Hello::v5("c"));
    rig.check(c, &["CONNACK present=0 0x00 TopicAliasMaximum(2)"]);
    rig.publish_with(c, message("one", "1", Q0, 0), &alias(1));
    rig.publish_with(c, message("", "2", Q0, 0), &alias(1));
    rig.publish_with(c, message("two", "3", Q0, 0), &alias(1));
    rig.publish_with(c, message("", "4", Q0, 0), &alias(1));
    rig.check(s, &["PUBLISH q0 one=1", "PUBLISH q0 one=2", "PUBLISH q0 two=3", "PUBLISH q0 two=4"]);
    // Unknown, zero, above the maximum, and of an earlier connection.
    for (topic, n, code) in [("", 2, 0x82), ("t", 3, 0x94), ("t", 0, 0x94), ("", 1, 0x82)] {
        let c = rig.client("c");
        rig.publish_with(c, message(topic, "x", Q0, 0), &alias(n));
        rig.check(c, &[&format!("DISCONNECT 0x{code:02x}")]);
    }
    rig.check(s, &[]);
}

/// Attack case 16: what aliases take is bounded.
#[test]
fn topic_aliases_of_a_client_are_bounded_in_bytes() {
    let mut rig = aliasing(|zone| zone.max_topic_alias = u16::MAX);
    let c = rig.client("c");
    let mut n = 0;
    while rig.cause(c).is_none() {
        n += 1;
        let topic = format!("{n}/{}", "x".repeat(60_000));
        rig.publish_with(c, message(&topic, "", Q0, 0), &[Property::TopicAlias(n)]);
    }
    assert_eq!(rig.cause(c), Some(CloseCause::Violation(ReasonCode::QuotaExceeded)));
    assert_eq!(n, 18);
}

/// [MQTT-3.1.2-26] [MQTT-3.1.2-27]: aliases are given only as far as the client takes them.
#[test]
fn topic_aliases_are_given_as_far_as_the_client_takes_them() {
    let mut rig = aliasing(|_| {});
    let c = rig.join(Hello::v5("c").with(Property::TopicAliasMaximum(1)));
    let without = rig.client("without");
    for c in [c, without] {
        rig.subscribed(c, "#", Q1);
    }
    let p = rig.client("pub");
    for (n, topic) in ["t/one", "t/two", "t/one"].iter().enumerate() {
        rig.publish(p, topic, "x", Q1, n as u16 + 1);
    }
    rig.check(
        c,
        &["PUBLISH q1 #1 t/one=x alias=1", "PUBLISH q1 #2 t/two=x", "PUBLISH q1 #3 =x alias=1"],
    );
    assert!(rig.out(without).iter().all(|line| !line.contains("alias")));
}

/// [MQTT-3.1.2-24]: an alias must not push a packet over the client's Maximum Packet Size.
#[test]
fn an_alias_does_not_make_a_packet_too_large() {
    // A PUBLISH of topic `a` and a payload of 24 bytes takes 30 bytes, with an alias instead of it 32.
    for max in 28..40 {
        let mut rig = aliasing(|_| {});
        let limits = [Property::TopicAliasMaximum(2), Property::MaximumPacketSize(max)];
        let c = rig.join(limits.into_iter().fold(Hello::v5("c"), Hello::with));
        rig.subscribed(c, "#", Q0);
        let p = rig.client("pub");
        for topic in ["a", "a", "abc", "abc", "abcd", "abcd"] {
            for len in [0, 24] {
                rig.publish(p, topic, &"x".repeat(len), Q0, 0);
                let socket = rig.socket(c);
                let bytes = socket.lock().unread.len();
                assert!(bytes <= max as usize, "{bytes} bytes of {max} for {topic}");
                rig.out(c);
            }
        }
    }
}

/// [MQTT-3.1.2-24] [MQTT-3.1.2-25]: as if it had been sent, whatever the QoS.
#[test]
fn a_message_larger_than_the_client_takes_is_not_sent() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("c").with(Property::MaximumPacketSize(50)));
    rig.subscribed(c, "t", Q2);
    let p = rig.client("pub");
    for (n, qos) in [Q0, Q1, Q2].into_iter().enumerate() {
        let n = n as u16;
        rig.publish(p, "t", &"x".repeat(100), qos, if n == 0 { 0 } else { n });
        rig.publish(p, "t", "x", qos, if n == 0 { 0 } else { n + 10 });
    }
    rig.check(c, &["PUBLISH q0 t=x", "PUBLISH q1 #2 t=x", "PUBLISH q2 #4 t=x"]);
    assert_eq!(rig.metric(Metric::DroppedTooLarge), 3);
}

/// Malformed packets and packets out of place, before and after CONNECT.
#[test]
fn what_is_no_packet_closes_the_connection() {
    let mut rig = Rig::new();
    for bytes in [
        vec![0xC0, 0x00],                             // PINGREQ first
        vec![0xF0, 0x00],                             // AUTH first
        b"\x10\x0C\0\x04MQTT\x09\x02\0\0\0".to_vec(), // never whole
        vec![0x00, 0x00],
    ] {
        let c = rig.open(V5);
        rig.send_bytes(c, &bytes);
        if rig.cause(c).is_none() {
            rig.pass_s(60);
        }
        assert!(rig.cause(c).is_some(), "{bytes:02x?}");
    }
    for bytes in [
        vec![0x30, 0x03, 0x00, 0x01, b'+'], // wildcard in a topic
        vec![0x36, 0x06, 0x00, 0x01, b't', 0x00, 0x01, 0x00], // QoS 3
        vec![0x20, 0x03, 0x00, 0x00, 0x00], // CONNACK
        vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01], // length of five bytes
    ] {
        let c = rig.client("c");
        rig.send_bytes(c, &bytes);
        let lines = rig.out(c);
        assert!(matches!(&lines[..], [line] if line.starts_with("DISCONNECT 0x")), "{bytes:02x?}");
    }
    let c = rig.client("c");
    rig.send_bytes(c, &[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
    rig.check(c, &["DISCONNECT 0x95"]);
}

/// `server_keepalive`, `response_information`
#[test]
fn connack_tells_what_the_server_decided() {
    let mut rig = Rig::with_zone(|zone| {
        zone.server_keep_alive_s = Some(30);
        zone.response_information = Some("reply/%c".into());
    });
    let hello = Hello::v5("c").with(Property::RequestResponseInformation(1));
    let c = rig.hello(hello);
    rig.check(c, &["CONNACK present=0 0x00 ServerKeepAlive(30) ResponseInformation(\"reply/c\")"]);
    rig.pass_s(45);
    rig.check(c, &["DISCONNECT 0x8d"]);
    let old = rig.join(Hello::v3("old"));
    rig.pass_s(1000);
    assert_eq!(rig.cause(old), None);
}

/// `use_username_as_clientid`
#[test]
fn the_user_name_may_be_the_client_id() {
    let mut rig = Rig::with_zone(|zone| zone.use_username_as_client_id = true);
    let c = rig.hello(Hello::v5("id").user("bob"));
    rig.check(c, &["CONNACK present=0 0x00 AssignedClientIdentifier(\"bob\")"]);
    assert!(rig.broker.session("bob").is_some());
}

/// `keepalive_backoff`: silence of Keep Alive x backoff x 2 ends the connection, not less.
#[test]
fn silence_is_borne_as_long_as_the_backoff_says() {
    let mut rig = Rig::with_zone(|zone| zone.keep_alive_backoff = 1.0);
    let c = rig.join(Hello { keep_alive_s: 5, ..Hello::v5("c") });
    rig.pass_ms(9_999);
    assert_eq!(rig.cause(c), None);
    rig.pass_ms(1);
    assert_eq!(rig.cause(c), Some(CloseCause::KeepAliveTimeout));
}

/// [MQTT-3.1.2-24]: SUBACK and UNSUBACK have a Reason Code for each filter and nothing that could be left out.
#[test]
fn a_request_whose_acknowledgement_the_client_does_not_take_is_not_done() {
    let mut rig = Rig::new();
    let hello = || Hello::v5("c").with(Property::MaximumPacketSize(20)).lasting(100);
    let filters: Vec<_> = (0..16).map(|n| format!("t/{n}")).collect();
    let subscribe = |n| {
        Packet::Subscribe(Subscribe {
            packet_id: packet_id(1),
            properties: Properties::EMPTY,
            filters: filters[..n]
                .iter()
                .map(|filter| SubscriptionRequest {
                    filter,
                    options: SubscriptionOptions::default(),
                })
                .collect(),
        })
    };
    let c = rig.join(hello());
    // 2 bytes of header, 2 of the identifier, 1 for no properties.
    rig.send(c, &subscribe(15));
    assert_eq!(rig.out(c).len(), 1, "20 bytes fit");
    rig.send(c, &subscribe(16));
    rig.check(c, &["DISCONNECT 0x95"]);
    assert_eq!(rig.broker.session("c").unwrap().subscriptions, 15);

    let c = rig.join(hello());
    let all: Vec<_> = filters.iter().map(String::as_str).collect();
    let unsubscribe = |n: usize| {
        Packet::Unsubscribe(Unsubscribe {
            packet_id: packet_id(2),
            properties: Properties::EMPTY,
            filters: all[..n].to_vec(),
        })
    };
    rig.send(c, &unsubscribe(16));
    rig.check(c, &["DISCONNECT 0x95"]);
    assert_eq!(rig.broker.session("c").unwrap().subscriptions, 15);
    let c = rig.join(hello());
    rig.send(c, &unsubscribe(15));
    assert_eq!(rig.out(c).len(), 1);
    assert_eq!(rig.broker.session("c").unwrap().subscriptions, 0);
}

/// [MQTT-3.1.2-24]: of a CONNACK, what the client can do without gives way; what it must know does not.
#[test]
fn a_connack_is_shortened_or_not_sent() {
    let mut rig = Rig::with_zone(|zone| {
        zone.response_information = Some("a/place/for/answers".into());
        zone.max_topic_alias = 5;
    });
    let hello = |size| {
        Hello::v5("c")
            .with(Property::RequestResponseInformation(1))
            .with(Property::MaximumPacketSize(size))
    };
    let mut sizes = Vec::new();
    for size in (1..=60).rev() {
        let c = rig.hello(hello(size));
        let len = rig.socket(c).lock().unread.len();
        assert!(len <= size as usize, "{len} of {size}");
        let lines = rig.out(c);
        if lines.is_empty() {
            assert!(matches!(rig.cause(c), Some(CloseCause::Refused(ReasonCode::PacketTooLarge))));
        }
        if sizes.last() != Some(&len) {
            sizes.push(len);
        }
    }
    // Response Information, Topic Alias Maximum and all, then without them, then nothing.
    let full = sizes[0];
    assert_eq!(sizes, [full, full - 22 - 3, 0]);
    rig.hello(Hello::v5("other").with(Property::MaximumPacketSize(4)));
    assert!(rig.broker.session("other").is_none(), "no session for who was not let in");
}

/// [MQTT-3.1.2-24]: so it is when the client is refused.
#[test]
fn a_connack_that_refuses_is_shortened_or_not_sent() {
    let mut rig = Rig::new();
    let _ = rig.broker.ban(&Who::ClientId("c".into()), Ban::until(u64::MAX), rig.now.wall_ms);
    for (size, expected) in [
        (100, vec!["CONNACK present=0 0x8a ReasonString(\"banned\")"]),
        (13, vec!["CONNACK present=0 0x8a"]),
        (5, vec!["CONNACK present=0 0x8a"]),
        (4, vec![]),
    ] {
        let c = rig.hello(Hello::v5("c").with(Property::MaximumPacketSize(size)));
        rig.check(c, &expected);
        assert!(rig.cause(c).is_some());
    }
}

/// Attack case 14: who does not read its answers is not read from, and that holds for SUBACK, which leaves ahead
/// of retained messages, too.
#[test]
fn a_client_that_only_subscribes_is_stopped_at_its_outbox() {
    let mut rig = Rig::with_zone(|zone| zone.max_outbox_bytes = 1_000);
    let p = rig.client("pub");
    rig.retain(p, "kept", "x");
    let c = rig.client("c");
    rig.socket(c).lock().capacity = 0;
    let mut n_taken = 0;
    while rig.wants_input(c) && n_taken < 1_000 {
        rig.subscribe(c, "t", Q0);
        n_taken += 1;
    }
    // SUBACK has six bytes.
    assert!(n_taken < 200, "{n_taken} packets were read");
}
