//! What a client finds when it comes back.

use broker_codec::{Packet, Property, RetainHandling};
use broker_core::{CloseCause, Metric, ReasonCode, SubscriptionOptions};

use crate::rig::*;

/// Three messages in flight, one of each stage: QoS 1 sent, QoS 2 sent, QoS 2 past PUBREC.
fn three_in_flight(rig: &mut Rig) {
    let c = rig.join(Hello::v5("sub").lasting(100));
    rig.subscribed(c, "t", Q2);
    let p = rig.client("pub");
    rig.publish(p, "t", "one", Q1, 1);
    rig.publish(p, "t", "two", Q2, 2);
    rig.publish(p, "t", "three", Q2, 3);
    rig.check(c, &["PUBLISH q1 #1 t=one", "PUBLISH q2 #2 t=two", "PUBLISH q2 #3 t=three"]);
    rig.pubrec(c, 3);
    rig.check(c, &["PUBREL #3 0x00"]);
    rig.lose(c);
}

/// Attack case 39; [MQTT-4.4.0-1] [MQTT-4.6.0-1]
#[test]
fn what_was_in_flight_is_resent_once_and_in_order() {
    let mut rig = Rig::new();
    three_in_flight(&mut rig);
    for _ in 0..2 {
        let c = rig.hello(Hello::v5("sub").lasting(100));
        rig.check(
            c,
            &[
                "CONNACK present=1 0x00",
                "PUBLISH dup q1 #1 t=one",
                "PUBLISH dup q2 #2 t=two",
                "PUBREL #3 0x00",
            ],
        );
        rig.pass_s(60);
        rig.check(c, &[]);
        rig.lose(c);
    }
}

/// [MQTT-4.3.3-13] The exchange goes on where it stood.
#[test]
fn a_resumed_exchange_ends_as_any_other() {
    let mut rig = Rig::new();
    three_in_flight(&mut rig);
    let c = rig.join(Hello::v5("sub").lasting(100));
    rig.puback(c, 1);
    rig.pubrec(c, 2);
    rig.pubcomp(c, 3);
    rig.pubcomp(c, 2);
    rig.check(c, &["PUBREL #2 0x00"]);
    assert_eq!(rig.broker.session("sub").unwrap().inflight, 0);
}

/// Attack case 39: PUBREL after resume gets 0x00, and one for an unknown identifier 0x92.
#[test]
fn pubrel_after_resume_is_known() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("pub").lasting(100));
    rig.publish(c, "t", "x", Q2, 9);
    rig.check(c, &["PUBREC #9 0x10"]);
    rig.lose(c);
    let c = rig.join(Hello::v5("pub").lasting(100));
    rig.pubrel(c, 9);
    rig.pubrel(c, 9);
    rig.check(c, &["PUBCOMP #9 0x00", "PUBCOMP #9 0x92"]);
}

/// [MQTT-4.3.3-10] A repeated QoS 2 PUBLISH is acknowledged and not passed on, across connections too.
#[test]
fn a_repeated_qos_2_publish_is_not_passed_on() {
    let mut rig = Rig::new();
    let s = rig.client("sub");
    rig.subscribed(s, "t", Q2);
    let c = rig.join(Hello::v5("pub").lasting(100));
    rig.publish(c, "t", "x", Q2, 9);
    let mut again = message("t", "x", Q2, 9);
    again.dup = true;
    rig.send(c, &Packet::Publish(again.clone()));
    rig.lose(c);
    let c = rig.join(Hello::v5("pub").lasting(100));
    rig.send(c, &Packet::Publish(again));
    rig.check(c, &["PUBREC #9 0x00"]);
    rig.check(s, &["PUBLISH q2 #1 t=x"]);
}

/// Attack case 39: DUP says nothing of a message that was never seen [MQTT-3.3.1-2].
#[test]
fn dup_of_a_message_first_seen_is_passed_on_without_dup() {
    let mut rig = Rig::new();
    let s = rig.client("sub");
    rig.subscribed(s, "t", Q2);
    let c = rig.client("pub");
    for (qos, id) in [(Q1, 1), (Q2, 2)] {
        let mut first_seen = message("t", "x", qos, id);
        first_seen.dup = true;
        rig.send(c, &Packet::Publish(first_seen));
    }
    rig.check(s, &["PUBLISH q1 #1 t=x", "PUBLISH q2 #2 t=x"]);
}

/// Attack case 41; [MQTT-4.9.0-1]
#[test]
fn the_send_quota_starts_afresh_at_each_connection() {
    let mut rig = Rig::new();
    let hello = || Hello::v5("sub").lasting(100).with(Property::ReceiveMaximum(2));
    let c = rig.join(hello());
    rig.subscribed(c, "t", Q1);
    let p = rig.client("pub");
    for n in 1..=4 {
        rig.publish(p, "t", &n.to_string(), Q1, n);
    }
    rig.check(c, &["PUBLISH q1 #1 t=1", "PUBLISH q1 #2 t=2"]);
    rig.lose(c);
    let c = rig.hello(hello());
    rig.check(c, &["CONNACK present=1 0x00", "PUBLISH dup q1 #1 t=1", "PUBLISH dup q1 #2 t=2"]);
    rig.puback(c, 1);
    rig.check(c, &["PUBLISH q1 #3 t=3"]);
    rig.puback(c, 2);
    rig.check(c, &["PUBLISH q1 #4 t=4"]);
}

/// [MQTT-3.3.4-9] PUBCOMP of an exchange begun in an earlier connection makes no room beyond the maximum.
#[test]
fn pubcomp_of_an_earlier_connection_does_not_raise_the_quota() {
    let mut rig = Rig::new();
    let hello = || Hello::v5("sub").lasting(100).with(Property::ReceiveMaximum(2));
    let c = rig.join(hello());
    rig.subscribed(c, "t", Q2);
    let p = rig.client("pub");
    for n in 1..=5 {
        rig.publish(p, "t", &n.to_string(), Q2, n);
    }
    rig.pubrec(c, 1);
    rig.lose(c);
    // One exchange in the window, two unanswered PUBLISH packets would be one too many.
    let hello = || Hello::v5("sub").lasting(100).with(Property::ReceiveMaximum(1));
    let c = rig.hello(hello());
    rig.check(c, &["CONNACK present=1 0x00", "PUBREL #1 0x00"]);
    rig.pubcomp(c, 1);
    rig.check(c, &["PUBLISH dup q2 #2 t=2"]);
    rig.pubcomp(c, 1);
    rig.check(c, &[]);
    rig.pubrec(c, 2);
    rig.pubcomp(c, 2);
    rig.check(c, &["PUBREL #2 0x00", "PUBLISH q2 #3 t=3"]);
}

/// [MQTT-3.3.4-9] An acknowledgement for what this connection was not sent makes no room in it.
#[test]
fn an_early_acknowledgement_does_not_raise_the_quota() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("sub").lasting(100));
    rig.subscribed(c, "t", Q1);
    let p = rig.client("pub");
    for n in 1..=4 {
        rig.publish(p, "t", &n.to_string(), Q1, n);
    }
    rig.lose(c);
    let c = rig.hello(Hello::v5("sub").lasting(100).with(Property::ReceiveMaximum(1)));
    rig.check(c, &["CONNACK present=1 0x00", "PUBLISH dup q1 #1 t=1"]);
    // Unasked: the client remembers the identifier from the last connection.
    rig.puback(c, 3);
    rig.check(c, &[]);
    rig.puback(c, 1);
    rig.check(c, &["PUBLISH dup q1 #2 t=2"]);
}

/// Attack case 41: an over-size queued message is skipped [MQTT-3.1.2-24] [MQTT-3.1.2-25].
#[test]
fn an_oversize_queued_message_is_skipped() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("sub").lasting(100));
    rig.subscribed(c, "t", Q2);
    rig.lose(c);
    let p = rig.client("pub");
    rig.publish(p, "t", "small", Q1, 1);
    rig.publish(p, "t", &"x".repeat(100), Q1, 2);
    rig.publish(p, "t", &"x".repeat(100), Q2, 3);
    rig.publish(p, "t", "after", Q2, 4);
    let limits = [Property::MaximumPacketSize(60), Property::ReceiveMaximum(2)];
    let hello = limits.into_iter().fold(Hello::v5("sub").lasting(100), Hello::with);
    let c = rig.hello(hello);
    rig.check(c, &["CONNACK present=1 0x00", "PUBLISH q1 #1 t=small", "PUBLISH q2 #4 t=after"]);
    assert_eq!(rig.metric(Metric::DroppedTooLarge), 2);
    assert_eq!(rig.broker.session("sub").unwrap().inflight, 2);
}

/// [MQTT-3.1.2-25] A client that comes back and takes less than before still holds the identifier of what it was
/// sent: it is told to let go of it, or it would take the next message under it for a duplicate.
#[test]
fn an_oversize_message_in_flight_is_skipped_and_released() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("c").lasting(100));
    rig.subscribed(c, "t", Q2);
    let p = rig.client("pub");
    rig.publish(p, "t", &"x".repeat(100), Q1, 1);
    rig.publish(p, "t", &"x".repeat(100), Q2, 2);
    rig.check(c, &["PUBLISH q1 #1 t=<100 bytes>", "PUBLISH q2 #2 t=<100 bytes>"]);
    rig.lose(c);
    let c = rig.hello(Hello::v5("c").lasting(100).with(Property::MaximumPacketSize(50)));
    rig.publish(p, "t", "next", Q2, 3);
    rig.check(c, &["CONNACK present=1 0x00", "PUBREL #2 0x00", "PUBLISH q2 #3 t=next"]);
    rig.pubcomp(c, 2);
    rig.pubrec(c, 3);
    rig.pubcomp(c, 3);
    assert_eq!(rig.broker.session("c").unwrap().inflight, 0);
}

/// Attack case 40; [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[test]
fn expiry_runs_while_the_client_is_away_and_is_passed_on_counted_down() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("sub").lasting(1000));
    rig.subscribed(c, "t", Q1);
    rig.lose(c);
    let p = rig.client("pub");
    for (payload, seconds, id) in [("short", 5, 1), ("long", 60, 2)] {
        let expiry = [Property::MessageExpiryInterval(seconds)];
        rig.publish_with(p, message("t", payload, Q1, id), &expiry);
    }
    rig.pass_s(10);
    let c = rig.hello(Hello::v5("sub").lasting(1000));
    rig.check(c, &["CONNACK present=1 0x00", "PUBLISH q1 #1 t=long expiry=50"]);
    assert_eq!(rig.metric(Metric::MessagesExpired), 1);
}

/// Attack case 40: expiry never kills a QoS 2 message whose exchange has begun.
#[test]
fn an_expired_qos_2_exchange_goes_on() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("sub").lasting(1000));
    rig.subscribed(c, "t", Q2);
    let p = rig.client("pub");
    for id in 1..=2 {
        let expiry = [Property::MessageExpiryInterval(5)];
        rig.publish_with(p, message("t", "x", Q2, id), &expiry);
    }
    rig.pubrec(c, 1);
    rig.lose(c);
    rig.pass_s(10);
    let c = rig.hello(Hello::v5("sub").lasting(1000));
    rig.check(c, &["CONNACK present=1 0x00", "PUBREL #1 0x00", "PUBLISH dup q2 #2 t=x expiry=0"]);
}

/// Attack case 42: options and identifiers of subscriptions survive the offline queue.
#[test]
fn options_and_identifiers_survive_the_offline_queue() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("sub").lasting(1000));
    let options = |qos, retain_as_published| SubscriptionOptions {
        qos,
        retain_as_published,
        retain_handling: RetainHandling::DoNotSend,
        ..SubscriptionOptions::default()
    };
    rig.subscribe_with(c, "t/+", options(Q1, true), 5);
    rig.subscribe_with(c, "t/#", options(Q2, false), 6);
    rig.lose(c);
    let p = rig.client("pub");
    let mut retained = message("t/1", "x", Q2, 1);
    retained.retain = true;
    let expiry = [Property::UserProperty("k", "v"), Property::ContentType("text")];
    rig.publish_with(p, retained, &expiry);
    let c = rig.hello(Hello::v5("sub").lasting(1000));
    let lines = rig.out(c);
    assert!(lines[1].starts_with("PUBLISH retain q2 #1 t/1=x k:v ContentType(\"text\")"));
    assert!(lines[1].contains("sub=5") && lines[1].contains("sub=6"), "{lines:?}");
    // The options still hold for the resumed connection.
    rig.publish(p, "t/1", "y", Q2, 2);
    assert!(rig.out(c)[0].contains("sub=6"));
}

/// Attack case 42; [MQTT-3.3.1-10]: a subscription that was there gets no retained messages again.
#[test]
fn retain_handling_one_sends_nothing_for_a_resumed_subscription() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    rig.retain(p, "t", "kept");
    let options = SubscriptionOptions {
        retain_handling: RetainHandling::SendIfNew,
        ..SubscriptionOptions::default()
    };
    let c = rig.join(Hello::v5("sub").lasting(1000));
    rig.subscribe_with(c, "t", options, 0);
    rig.check(c, &["SUBACK #77 00", "PUBLISH retain q0 t=kept"]);
    rig.lose(c);
    let c = rig.join(Hello::v5("sub").lasting(1000));
    rig.subscribe_with(c, "t", options, 0);
    rig.check(c, &["SUBACK #77 00"]);
    // [MQTT-3.3.1-9]
    rig.subscribe(c, "t", Q0);
    rig.check(c, &["SUBACK #77 00", "PUBLISH retain q0 t=kept"]);
}

/// Retained messages that were owed when the connection ended follow in the next one.
#[test]
fn retained_messages_still_owed_follow_after_resume() {
    let mut rig = Rig::new();
    let p = rig.client("pub");
    for n in 0..4 {
        let topic = format!("t/{n}");
        let mut kept = message(&topic, "kept", Q1, 1);
        kept.retain = true;
        rig.send(p, &Packet::Publish(kept));
    }
    let hello = || Hello::v5("sub").lasting(1000).with(Property::ReceiveMaximum(2));
    let c = rig.join(hello());
    rig.subscribe(c, "t/#", Q1);
    rig.check(
        c,
        &["SUBACK #77 01", "PUBLISH retain q1 #1 t/0=kept", "PUBLISH retain q1 #2 t/1=kept"],
    );
    rig.lose(c);
    let c = rig.hello(hello());
    rig.out(c);
    rig.puback(c, 1);
    rig.puback(c, 2);
    rig.check(c, &["PUBLISH retain q1 #3 t/2=kept", "PUBLISH retain q1 #4 t/3=kept"]);
}

/// Attack case 43; [MQTT-3.1.4-3]
#[test]
fn the_old_connection_is_told_that_it_was_taken_over() {
    let mut rig = Rig::new();
    for clean in [false, true] {
        let old = rig.join(Hello::v5("c").lasting(100));
        let old_v3 = rig.join(Hello::v3("c3").lasting(100));
        let mut hello = Hello::v5("c").lasting(100);
        hello.clean = clean;
        let new = rig.hello(hello);
        rig.join(Hello::v3("c3").lasting(100));
        rig.check(old, &["DISCONNECT 0x8e"]);
        rig.check(old_v3, &[]);
        assert_eq!(rig.cause(old), Some(CloseCause::TakenOver));
        assert_eq!(rig.cause(old_v3), Some(CloseCause::TakenOver));
        rig.check(new, &[&format!("CONNACK present={} 0x00", u8::from(!clean))]);
        rig.lose(new);
    }
}

/// What a connection that was taken over had still unread has no effect on the session.
#[test]
fn packets_of_a_connection_that_was_taken_over_are_not_handled() {
    let mut rig = Rig::new();
    let old = rig.join(Hello::v5("c").lasting(100));
    rig.subscribed(old, "t", Q1);
    let p = rig.client("pub");
    rig.publish(p, "t", "x", Q1, 1);
    rig.check(old, &["PUBLISH q1 #1 t=x"]);
    rig.post(old, &Packet::PubAck(ack(1)));
    rig.post(old, &publish("t", "late", Q1, 5));
    let new = rig.hello_before(old, Hello::v5("c").lasting(100));
    rig.check(new, &["CONNACK present=1 0x00", "PUBLISH dup q1 #1 t=x"]);
    assert_eq!(rig.broker.session("c").unwrap().inflight, 1);
    rig.puback(new, 1);
    assert_eq!(rig.broker.session("c").unwrap().inflight, 0);
}

/// [MQTT-3.1.2-4] [MQTT-3.2.2-2]
#[test]
fn clean_start_forgets_everything() {
    let mut rig = Rig::new();
    three_in_flight(&mut rig);
    let c = rig.hello(Hello::v5("sub").lasting(100).clean());
    rig.check(c, &["CONNACK present=0 0x00"]);
    let p = rig.client("pub");
    rig.publish(p, "t", "x", Q1, 1);
    rig.check(c, &[]);
    rig.check(p, &["PUBACK #1 0x10"]);
}

/// [MQTT-3.8.4-3] Subscribing again replaces the options, and is no second subscription.
#[test]
fn subscribing_again_replaces_the_subscription() {
    let mut rig = Rig::new();
    let c = rig.client("c");
    rig.subscribed(c, "t", Q2);
    rig.subscribed(c, "t", Q0);
    let p = rig.client("pub");
    rig.publish(p, "t", "x", Q2, 1);
    rig.check(c, &["PUBLISH q0 t=x"]);
    rig.unsubscribe(c, "t");
    rig.unsubscribe(c, "t");
    rig.publish(p, "t", "x", Q2, 2);
    rig.check(c, &["UNSUBACK #78 00", "UNSUBACK #78 11"]);
}

/// [MQTT-4.3.3-4]: PUBREC with an error ends the exchange and frees the identifier and the quota.
#[test]
fn pubrec_with_an_error_ends_the_exchange() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("sub").with(Property::ReceiveMaximum(1)));
    rig.subscribed(c, "t", Q2);
    let p = rig.client("pub");
    rig.publish(p, "t", "1", Q2, 1);
    rig.publish(p, "t", "2", Q2, 2);
    rig.check(c, &["PUBLISH q2 #1 t=1"]);
    let mut refused = ack(1);
    refused.reason_code = ReasonCode::QuotaExceeded;
    rig.send(c, &Packet::PubRec(refused));
    rig.check(c, &["PUBLISH q2 #2 t=2"]);
}

/// Attack case 11: acknowledgements for identifiers never sent change nothing.
#[test]
fn acknowledgements_for_unknown_identifiers_are_counted_and_harmless() {
    let mut rig = Rig::new();
    let c = rig.join(Hello::v5("sub").with(Property::ReceiveMaximum(1)));
    rig.subscribed(c, "t", Q2);
    let p = rig.client("pub");
    rig.publish(p, "t", "1", Q2, 1);
    rig.publish(p, "t", "2", Q2, 2);
    rig.check(c, &["PUBLISH q2 #1 t=1"]);
    rig.puback(c, 1); // of a QoS 2 message
    rig.pubcomp(c, 1); // before PUBREC
    rig.puback(c, 500);
    rig.pubcomp(c, 500);
    rig.check(c, &[]);
    rig.pubrec(c, 500);
    rig.check(c, &["PUBREL #500 0x92"]);
    rig.pubrec(c, 1);
    rig.pubcomp(c, 1);
    rig.check(c, &["PUBREL #1 0x00", "PUBLISH q2 #2 t=2"]);
    assert_eq!(rig.metric(Metric::PacketsPubAckMissed), 2);
    assert_eq!(rig.metric(Metric::PacketsPubCompMissed), 2);
    assert_eq!(rig.metric(Metric::PacketsPubRecMissed), 1);
}
