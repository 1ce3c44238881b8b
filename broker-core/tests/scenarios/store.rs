//! What waits for a disk, and everything else, which does not (docs/durability.md).

use std::sync::Arc;

use broker_codec::{Packet, Property};
use broker_core::config::{BrokerConfig, ZoneConfig};
use broker_core::extension::Consumer;
use broker_core::store::{Condition, Level};
use broker_core::{CloseCause, Message, ReasonCode};
use parking_lot::Mutex;

use crate::rig::*;

/// A broker whose disk holds all that has happened so far, and a session that lasts.
fn rig() -> (Rig, C, usize) {
    rig_with(|_, _| {})
}

fn rig_with(change: impl FnOnce(&mut BrokerConfig, &mut ZoneConfig)) -> (Rig, C, usize) {
    let mut rig = Rig::durable(change);
    let s = rig.join(Hello::v5("sub").lasting(100));
    rig.subscribe(s, "d/#", Q2);
    rig.sync();
    rig.out(s);
    let frames = rig.disk().frames();
    (rig, s, frames)
}

impl Rig {
    fn sync_frames(&mut self, frames: usize) {
        self.disk().sync_frames(frames);
        self.settle();
    }
}

/// Acknowledged means on disk; at least once permits to deliver before.
#[test]
fn an_acknowledgement_for_a_lasting_receiver_waits_for_the_disk() {
    let (mut rig, s, before) = rig();
    let p = rig.client("pub");
    rig.publish(p, "d/1", "one", Q1, 1);
    rig.check(s, &["PUBLISH q1 #1 d/1=one"]);
    rig.publish(p, "d/1", "two", Q1, 2);
    rig.check(p, &[]);
    assert_eq!(rig.disk().frames(), before + 2);
    rig.sync_frames(before + 1);
    rig.check(p, &["PUBACK #1 0x00"]);
    rig.sync_frames(before + 2);
    rig.check(p, &["PUBACK #2 0x00"]);
}

/// Exactly once does not: a crash would bring PUBLISH back under another identifier.
#[test]
fn a_qos_2_delivery_and_its_release_wait_for_the_disk() {
    let (mut rig, s, _) = rig();
    let p = rig.client("pub");
    rig.publish(p, "d/1", "two", Q2, 5);
    rig.check(s, &[]);
    rig.check(p, &[]);
    rig.sync();
    rig.check(p, &["PUBREC #5 0x00"]);
    rig.check(s, &["PUBLISH q2 #1 d/1=two"]);
    rig.pubrec(s, 1);
    rig.check(s, &[]);
    // Said again before its time, it changes nothing.
    rig.pubrec(s, 1);
    rig.check(s, &[]);
    rig.sync();
    rig.check(s, &["PUBREL #1 0x00"]);
    rig.pubrec(s, 1);
    rig.check(s, &["PUBREL #1 0x00"]);
    rig.pubcomp(s, 1);
    rig.pubrec(s, 1);
    rig.check(s, &["PUBREL #1 0x92"]);
}

/// QoS 1 overtakes what waits, QoS 2 keeps its order, and the window counts what is kept back.
#[test]
fn deliveries_kept_back_keep_their_order_and_their_place_in_the_window() {
    let (mut rig, s, before) = rig_with(|_, zone| zone.max_inflight = 3);
    let p = rig.client("pub");
    rig.publish(p, "d/1", "a", Q2, 1);
    rig.publish(p, "d/1", "b", Q2, 2);
    rig.publish(p, "d/1", "c", Q1, 3);
    rig.publish(p, "d/1", "d", Q1, 4);
    rig.check(s, &["PUBLISH q1 #3 d/1=c"]);
    rig.sync_frames(before + 1);
    rig.check(s, &["PUBLISH q2 #1 d/1=a"]);
    rig.sync_frames(before + 2);
    rig.check(s, &["PUBLISH q2 #2 d/1=b"]);
    rig.puback(s, 3);
    rig.check(s, &["PUBLISH q1 #4 d/1=d"]);
}

#[test]
fn a_delivery_kept_back_goes_to_the_next_connection_once_it_is_safe() {
    let (mut rig, s, _) = rig();
    let p = rig.client("pub");
    rig.publish(p, "d/1", "a", Q2, 1);
    rig.lose(s);
    let s = rig.join(Hello::v5("sub").lasting(100));
    rig.check(s, &[]);
    rig.sync();
    // Never sent before: no duplicate.
    rig.check(s, &["PUBLISH q2 #1 d/1=a"]);
    rig.pubrec(s, 1);
    rig.lose(s);
    let s = rig.join(Hello::v5("sub").lasting(100));
    rig.check(s, &[]);
    rig.sync();
    rig.check(s, &["PUBREL #1 0x00"]);
}

#[test]
fn an_acknowledgement_for_a_retained_message_waits_for_the_disk() {
    let (mut rig, _, _) = rig();
    let p = rig.client("pub");
    // The last clears nothing, which is true only when the record of why is safe.
    for payload in ["x", "", ""] {
        let mut kept = message("r", payload, Q1, 1);
        kept.retain = true;
        rig.send(p, &Packet::Publish(kept));
        rig.check(p, &[]);
        rig.sync();
        rig.check(p, &["PUBACK #1 0x10"]);
    }
}

#[test]
fn an_acknowledgement_for_a_delayed_message_waits_for_the_disk() {
    let (mut rig, _, _) = rig();
    let p = rig.client("pub");
    rig.publish(p, "$delayed/5/x", "x", Q1, 1);
    rig.check(p, &[]);
    rig.sync();
    rig.check(p, &["PUBACK #1 0x00"]);
}

#[test]
fn suback_and_unsuback_of_a_lasting_session_wait_for_the_disk() {
    let (mut rig, s, _) = rig();
    let p = rig.client("pub");
    rig.retain(p, "r", "kept");
    rig.sync();
    rig.subscribe(s, "r", Q1);
    // Not even what follows the SUBACK comes before it.
    rig.check(s, &[]);
    rig.sync();
    rig.check(s, &["SUBACK #77 01", "PUBLISH retain q0 r=kept"]);
    rig.unsubscribe(s, "r");
    rig.check(s, &[]);
    rig.sync();
    rig.check(s, &["UNSUBACK #78 00"]);
}

/// Else the old session would come back after a crash, and with it what the client has been told is gone.
#[test]
fn connack_waits_when_a_lasting_session_is_discarded() {
    let (mut rig, s, _) = rig();
    rig.lose(s);
    let s = rig.hello(Hello::v5("sub").clean());
    rig.subscribe(s, "x", Q1);
    rig.publish(s, "x", "mine", Q0, 0);
    rig.check(s, &[]);
    rig.sync();
    rig.check(s, &["CONNACK present=0 0x00", "SUBACK #77 01", "PUBLISH q0 x=mine"]);
    // A session that nobody had waits for nothing.
    let c = rig.hello(Hello::v5("new").lasting(10));
    rig.check(c, &["CONNACK present=0 0x00"]);
    let c = rig.hello(Hello::v5("new").lasting(10));
    rig.check(c, &["CONNACK present=1 0x00"]);
}

/// The same however it ended: what a client knows to be gone must not come back.
#[test]
fn connack_waits_while_the_end_of_an_earlier_session_is_not_safe() {
    let (mut rig, s, _) = rig();
    let end = [Property::SessionExpiryInterval(0)];
    rig.disconnect(s, ReasonCode::Success, &end);
    let s = rig.hello(Hello { clean: false, ..Hello::v5("sub") });
    rig.check(s, &[]);
    rig.sync();
    rig.check(s, &["CONNACK present=0 0x00"]);
    rig.lose(s);
    // Its time was up.
    let s = rig.join(Hello::v5("sub").lasting(5));
    rig.sync();
    rig.lose(s);
    rig.pass_s(5);
    let s = rig.hello(Hello::v5("sub").lasting(5));
    rig.check(s, &[]);
    rig.sync();
    rig.check(s, &["CONNACK present=0 0x00"]);
    // It goes on, but will not survive its connection: nor may it survive a crash.
    let s = rig.hello(Hello { clean: false, ..Hello::v5("sub") });
    rig.check(s, &[]);
    rig.sync();
    rig.check(s, &["CONNACK present=1 0x00"]);
}

/// Nothing to record, nothing to wait for.
#[test]
fn nothing_waits_when_nothing_is_recorded() {
    let (mut rig, _, before) = rig();
    let s = rig.client("fleeting");
    rig.subscribed(s, "#", Q2);
    let p = rig.client("pub");
    rig.publish(p, "e/1", "x", Q1, 1);
    rig.publish(p, "e/1", "x", Q2, 2);
    rig.check(p, &["PUBACK #1 0x00", "PUBREC #2 0x00"]);
    assert_eq!(rig.out(s).len(), 2);
    rig.pubrec(s, 2);
    rig.check(s, &["PUBREL #2 0x00"]);
    // QoS 0 to a lasting session is nobody's promise.
    rig.publish(p, "d/1", "x", Q0, 0);
    assert_eq!(rig.disk().frames(), before);
}

/// [MQTT-4.6.0-2] Order of acknowledgements; everything else goes on meanwhile.
#[test]
fn acknowledgements_keep_their_order_and_nothing_else_waits() {
    let (mut rig, s, _) = rig();
    let p = rig.client("pub");
    let other = rig.client("other");
    rig.publish(p, "d/1", "x", Q1, 1);
    rig.publish(p, "e/1", "x", Q1, 2);
    rig.publish(p, "e/1", "x", Q2, 3);
    rig.pubrel(p, 3);
    rig.send(p, &Packet::PingReq);
    rig.subscribe(p, "e/#", Q0);
    rig.check(p, &["PINGRESP", "SUBACK #77 00"]);
    rig.publish(other, "e/1", "x", Q1, 1);
    rig.check(other, &["PUBACK #1 0x00"]);
    rig.check(p, &["PUBLISH q0 e/1=x"]);
    rig.puback(s, 1);
    rig.sync();
    rig.check(p, &["PUBACK #1 0x00", "PUBACK #2 0x10", "PUBREC #3 0x10", "PUBCOMP #3 0x00"]);
}

/// A duplicate that comes in before the sync waits for the record of the first.
#[test]
fn a_repeated_publish_waits_for_the_record_of_the_first() {
    let (mut rig, _, _) = rig();
    let p = rig.join(Hello::v5("pub").lasting(100));
    rig.publish(p, "d/1", "x", Q2, 5);
    rig.lose(p);
    let p = rig.join(Hello::v5("pub").lasting(100));
    let mut again = message("d/1", "x", Q2, 5);
    again.dup = true;
    rig.send(p, &Packet::Publish(again));
    rig.check(p, &[]);
    rig.sync();
    rig.check(p, &["PUBREC #5 0x00"]);
    rig.pubrel(p, 5);
    // Without the wait a crash brings the identifier back, and the next message is taken for a duplicate.
    rig.check(p, &[]);
    rig.sync();
    rig.check(p, &["PUBCOMP #5 0x00"]);
}

/// One turn, one frame; what several clients sent in it waits together.
#[test]
fn a_turn_is_one_frame_whoever_sent_in_it() {
    let (mut rig, _, before) = rig();
    let publishers = [rig.client("p1"), rig.client("p2"), rig.client("p3")];
    for p in publishers {
        for n in 1..=10 {
            rig.post(p, &publish("d/1", "x", Q1, n));
        }
    }
    rig.feed_all();
    assert_eq!(rig.disk().frames(), before + 1);
    rig.sync();
    for p in publishers {
        assert_eq!(rig.out(p).len(), 10);
    }
}

/// A body is recorded once, whoever gets it; acknowledgements of a turn are one record.
#[test]
fn one_body_for_all_receivers_and_one_record_for_a_run_of_acknowledgements() {
    let (mut rig, s, _) = rig();
    let others = [rig.join(Hello::v5("s2").lasting(9)), rig.join(Hello::v5("s3").lasting(9))];
    for other in others {
        rig.subscribe(other, "d/#", Q1);
    }
    rig.sync();
    let before = rig.disk().frames();
    let p = rig.client("pub");
    (1..=3).for_each(|n| rig.post(p, &publish("d/1", "x", Q1, n)));
    rig.feed_all();
    let kinds = |frame: usize, rig: &Rig| {
        rig.disk().frame(frame, |records| {
            let kind = |record: &broker_core::record::Record<'_>| {
                let text = format!("{record:?}");
                text.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
            };
            records.iter().map(kind).collect::<Vec<_>>()
        })
    };
    assert_eq!(kinds(before, &rig), ["Body", "Refs", "Body", "Refs", "Body", "Refs"]);
    (1..=3).for_each(|n| rig.post(s, &Packet::PubAck(ack(n))));
    rig.feed_all();
    assert_eq!(kinds(before + 1, &rig), ["Removed"]);
}

/// Reading stops at the bound, and goes on after the sync.
#[test]
fn reading_stops_when_too_many_acknowledgements_wait() {
    let mut rig = Rig::durable(|_, _| {});
    let s = rig.join(Hello::v5("sub").lasting(10_000));
    rig.subscribe(s, "d/#", Q2);
    rig.lose(s);
    let p = rig.join(Hello::v3("pub"));
    rig.sync();
    // The bound is on acknowledgements owed, whatever their identifiers.
    for _ in 0..66_000 {
        rig.post(p, &publish("d/1", "x", Q1, 1));
    }
    rig.feed_all();
    assert!(!rig.wants_input(p));
    rig.pass_s(1000);
    assert_eq!(rig.cause(p), None);
    rig.check(p, &[]);
    rig.sync();
    rig.sync();
    assert!(rig.wants_input(p));
    assert_eq!(rig.out(p).len(), 66_000);
}

/// [MQTT-3.3.4-9] An MQTT 5.0 client was told how many may be unacknowledged.
#[test]
fn unacknowledged_messages_of_qos_1_count_for_the_receive_maximum() {
    let (mut rig, _, _) = rig_with(|_, zone| zone.max_awaiting_rel = 3);
    let p = rig.client("pub");
    rig.publish(p, "d/1", "x", Q1, 1);
    rig.publish(p, "d/1", "x", Q2, 2);
    rig.publish(p, "d/1", "x", Q1, 3);
    rig.sync();
    assert_eq!(rig.out(p).len(), 3);
    // The second is not yet released.
    rig.publish(p, "d/1", "x", Q1, 4);
    rig.publish(p, "d/1", "x", Q1, 5);
    rig.check(p, &[]);
    rig.publish(p, "d/1", "x", Q1, 6);
    rig.check(p, &["DISCONNECT 0x93"]);
}

/// A store that is behind stops those who wait for it, and nobody else.
#[test]
fn a_store_that_is_behind_slows_down_those_who_wait_for_it() {
    let (mut rig, _, _) = rig();
    let (p, q) = (rig.client("pub"), rig.client("other"));
    rig.disk().set_condition(Condition::Congested);
    rig.publish(p, "d/1", "x", Q1, 1);
    rig.publish(q, "e/1", "x", Q1, 1);
    assert!(!rig.wants_input(p));
    assert!(rig.wants_input(q));
    rig.disk().set_condition(Condition::Ready);
    rig.sync();
    rig.check(p, &["PUBACK #1 0x00"]);
    assert!(rig.wants_input(p));
}

/// A connection that ends takes its waiting acknowledgements along; the wake finds nobody and harms nobody.
#[test]
fn a_wake_for_a_connection_that_is_gone_is_harmless() {
    let (mut rig, _, _) = rig();
    let p = rig.client("pub");
    rig.publish(p, "d/1", "x", Q1, 1);
    rig.lose(p);
    rig.sync();
    rig.check(p, &[]);
}

#[test]
fn a_will_for_a_lasting_session_is_recorded() {
    let (mut rig, _, before) = rig();
    let c = rig.join(Hello::v5("c").will("d/will", "x"));
    rig.lose(c);
    assert_eq!(rig.disk().frames(), before + 1);
}

/// What cannot be recorded is refused; what need not be goes on.
#[test]
fn while_the_store_is_unavailable_only_what_needs_it_is_refused() {
    let (mut rig, s, _) = rig();
    let fleeting = rig.client("fleeting");
    rig.subscribed(fleeting, "#", Q2);
    let (p, old) = (rig.client("pub"), rig.join(Hello::v3("old")));
    rig.disk().set_condition(Condition::Unavailable);
    rig.publish(p, "d/1", "lost", Q1, 1);
    rig.publish(p, "d/1", "lost", Q2, 2);
    rig.publish(p, "$delayed/1/x", "lost", Q1, 3);
    let mut kept = message("r", "lost", Q1, 4);
    kept.retain = true;
    rig.send(p, &Packet::Publish(kept));
    rig.check(p, &["PUBACK #1 0x97", "PUBREC #2 0x97", "PUBACK #3 0x97", "PUBACK #4 0x97"]);
    // It cannot be told, and keeps its message.
    rig.publish(old, "d/1", "lost", Q1, 1);
    rig.check(old, &[]);
    rig.check(s, &[]);
    rig.check(fleeting, &[]);
    rig.subscribe(s, "more", Q1);
    rig.check(s, &["SUBACK #77 97"]);
    rig.publish(p, "d/1", "now", Q0, 0);
    rig.publish(p, "e/1", "now", Q1, 5);
    rig.check(p, &["PUBACK #5 0x00"]);
    rig.check(s, &["PUBLISH q0 d/1=now"]);
    assert_eq!(rig.out(fleeting).len(), 2);
    rig.disk().set_condition(Condition::Ready);
    rig.publish(p, "d/1", "again", Q2, 2);
    rig.sync();
    rig.check(p, &["PUBREC #2 0x00"]);
}

/// [MQTT311-4.8.0-2] It sends its message again in the next connection, and then it is new.
#[test]
fn an_older_client_that_cannot_be_told_of_a_refusal_is_closed_after_a_while() {
    let (mut rig, s, _) = rig();
    let old = rig.join(Hello::v3("old").lasting(60));
    rig.disk().set_condition(Condition::Unavailable);
    rig.publish(old, "d/1", "kept by its client", Q2, 1);
    rig.pass_ms(5_000);
    rig.publish(old, "e/1", "needs no store", Q0, 0);
    rig.publish(old, "d/1", "as well", Q1, 2);
    rig.pass_ms(4_999);
    assert_eq!(rig.cause(old), None);
    rig.pass_ms(1);
    assert_eq!(rig.cause(old), Some(CloseCause::Violation(ReasonCode::QuotaExceeded)));
    rig.check(old, &[]);
    rig.disk().set_condition(Condition::Ready);
    let old = rig.join(Hello::v3("old").lasting(60));
    let mut again = message("d/1", "kept by its client", Q2, 1);
    again.dup = true;
    rig.send(old, &Packet::Publish(again));
    rig.sync();
    rig.check(old, &["PUBREC #1 0x00"]);
    assert_eq!(rig.out(s).len(), 1);
}

#[test]
fn while_the_store_is_unavailable_publishes_may_stay_unanswered_instead() {
    let (mut rig, _, _) = rig_with(|config, _| config.durability.refuse_when_unavailable = false);
    let p = rig.client("pub");
    rig.disk().set_condition(Condition::Unavailable);
    rig.publish(p, "d/1", "x", Q1, 1);
    rig.check(p, &[]);
    rig.disk().set_condition(Condition::Ready);
    rig.sync();
    rig.check(p, &["PUBACK #1 0x00"]);
}

/// Levels: the strictest that matches a topic, or the general one.
#[test]
fn a_level_says_what_is_waited_for() {
    let (mut rig, s, _) = rig_with(|config, _| {
        config.durability.level = Level::Written;
        config.durability.topics = vec![
            ("d/fast/#".into(), Level::Memory),
            ("d/+/safe".into(), Level::Fsync),
            ("d/fast/safe".into(), Level::Written),
        ];
    });
    let p = rig.client("pub");
    // Written as soon as it is appended, with this disk.
    rig.publish(p, "d/x", "x", Q1, 1);
    rig.check(p, &["PUBACK #1 0x00"]);
    rig.publish(p, "d/fast/x", "x", Q2, 2);
    rig.check(p, &["PUBREC #2 0x00"]);
    rig.out(s);
    rig.publish(p, "d/fast/safe", "x", Q2, 3);
    // Behind it, in order.
    rig.publish(p, "d/fast/x", "x", Q1, 4);
    rig.check(p, &[]);
    assert_eq!(rig.out(s).len(), 1);
    rig.sync();
    rig.check(p, &["PUBREC #3 0x00", "PUBACK #4 0x00"]);
    assert_eq!(rig.out(s).len(), 1);
}

/// Two connections of one session in the same pass: one QoS 2 message is routed once.
#[test]
fn a_message_of_a_connection_that_is_being_taken_over_is_routed_once() {
    let mut rig = Rig::new();
    let s = rig.client("s");
    rig.subscribed(s, "#", Q2);
    let p = rig.join(Hello::v5("p").lasting(100));
    rig.post(p, &publish("t", "x", Q2, 9));
    let q = rig.hello_before(p, Hello::v5("p").lasting(100));
    let mut again = message("t", "x", Q2, 9);
    again.dup = true;
    rig.send(q, &Packet::Publish(again));
    assert_eq!(rig.out(s).len(), 1);
}

/// Does something in the middle of routing a message.
struct InBetween(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Consumer for InBetween {
    fn consume(&self, _: &Arc<Message>) {
        if let Some(act) = self.0.lock().take() {
            act();
        }
    }
}

/// A client is taken over while another thread routes its message, and repeats it: what the answer depends on is
/// not known before the routing is through.
#[test]
fn a_duplicate_of_what_is_being_routed_is_not_acknowledged_before_it() {
    let (mut rig, s, _) = rig();
    let p = rig.join(Hello::v5("pub").lasting(100));
    rig.sync();
    let mut other = rig.beside();
    let second = other.open(V5);
    let other = Arc::new(Mutex::new(other));
    let within = Arc::clone(&other);
    let act = move || {
        let mut rig = within.lock();
        rig.say_hello(second, &Hello::v5("pub").lasting(100));
        let mut again = message("d/1", "once", Q2, 9);
        again.dup = true;
        rig.send(second, &Packet::Publish(again));
        rig.sync();
        rig.check(second, &["CONNACK present=1 0x00"]);
    };
    let in_between = Arc::new(InBetween(Mutex::new(Some(Box::new(act)))));
    let attachment = rig.broker.attach("d/1", in_between).unwrap();
    rig.publish(p, "d/1", "once", Q2, 9);
    drop(attachment);
    let mut other = other.lock();
    other.pass_ms(10);
    other.check(second, &[]);
    other.sync();
    other.check(second, &["PUBREC #9 0x00"]);
    rig.settle();
    rig.check(s, &["PUBLISH q2 #1 d/1=once"]);
}

/// A client comes back and finds in its queue what another thread has routed and not yet recorded: that must be safe
/// too before it may leave, or a crash would bring it again from its publisher.
#[test]
fn a_qos_2_delivery_waits_for_the_record_of_another_thread() {
    let (mut rig, s, _) = rig();
    rig.lose(s);
    let p = rig.client("pub");
    let mut other = rig.broker.turn();
    rig.post(p, &publish("d/1", "one", Q2, 5));
    rig.post(p, &publish("d/1", "two", Q1, 6));
    rig.feed_in(&mut other, p);
    let s = rig.hello(Hello::v5("sub").lasting(100));
    for _ in 0..3 {
        rig.sync();
        rig.feed_all();
    }
    rig.check(s, &["CONNACK present=1 0x00"]);
    other.finish();
    rig.settle();
    rig.check(s, &[]);
    rig.sync();
    rig.sync();
    rig.check(s, &["PUBLISH q2 #1 d/1=one", "PUBLISH q1 #2 d/1=two"]);
    rig.check(p, &["PUBREC #5 0x00", "PUBACK #6 0x00"]);
}
