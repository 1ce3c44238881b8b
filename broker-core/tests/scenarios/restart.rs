//! What comes back after a crash of the process (docs/durability.md).

use std::net::IpAddr;
use std::sync::Arc;

use broker_codec::{Packet, Properties, Property, Publish, SubscriptionOptions, Unsubscribe};
use broker_core::config::{BrokerConfig, WillsKeep, ZoneConfig};
use broker_core::restore::Restored;
use broker_core::store::Level;
use broker_core::{Ban, Metric, Who};

use crate::rig::*;

const NONE: Properties<'_> = Properties::EMPTY;

fn rig() -> Rig {
    Rig::durable(|_, _| {})
}

fn rig_with(change: impl FnOnce(&mut BrokerConfig, &mut ZoneConfig)) -> Rig {
    Rig::durable(change)
}

impl Rig {
    /// A session that lasts, subscribed, with all of that on the disk.
    fn lasting(&mut self, id: &str, filter: &str, qos: broker_core::QoS) -> C {
        let c = self.join(Hello::v5(id).lasting(1000));
        self.subscribe(c, filter, qos);
        self.sync();
        self.out(c);
        c
    }

    fn back(&mut self, id: &str) -> C {
        let c = self.hello(Hello::v5(id).lasting(1000));
        self.sync();
        c
    }
}

/// Attack case 17: a restart gives nobody room for more.
#[test]
fn the_sessions_of_a_user_are_counted_after_a_restart() {
    let mut rig = rig_with(|config, _| config.user_max_sessions = 2);
    let hello = |id| Hello::v5(id).user("u").lasting(1000);
    for id in ["a", "b"] {
        rig.hello(hello(id));
    }
    rig.sync();
    // More than there may be by now come back all the same.
    for max in [2, 1] {
        rig.config.user_max_sessions = max;
        rig.crash();
        let c = rig.hello(hello("c"));
        rig.check(c, &["CONNACK present=0 0x97"]);
        let a = rig.hello(hello("a"));
        rig.check(a, &["CONNACK present=1 0x00"]);
        rig.sync();
    }
}

#[test]
fn a_session_comes_back_with_its_subscriptions_and_its_queue() {
    let mut rig = rig();
    let s = rig.join(Hello::v5("s").lasting(1000));
    let options = SubscriptionOptions {
        qos: Q1,
        no_local: true,
        retain_as_published: true,
        ..SubscriptionOptions::default()
    };
    rig.subscribe_with(s, "a/+", options, 77);
    rig.subscribe_with(s, "a/#", SubscriptionOptions { qos: Q2, ..options }, 5);
    rig.subscribe(s, "gone", Q1);
    rig.unsubscribe(s, "gone");
    rig.lose(s);
    let p = rig.client("p");
    let mut first = message("a/x", "one", Q1, 1);
    first.retain = true;
    let list = [Property::UserProperty("k", "v"), Property::MessageExpiryInterval(100)];
    rig.publish_with(p, first, &list);
    rig.publish(p, "a/b/c", "two", Q2, 2);
    rig.sync();
    let restored = rig.crash();
    let expected =
        Restored { sessions: 1, subscriptions: 2, queued: 2, retained: 1, ..Restored::default() };
    assert_eq!(restored, expected);
    // Publishes that arrive before their subscribers reach them.
    let p = rig.client("p");
    rig.publish(p, "a/x", "three", Q1, 1);
    rig.sync();
    rig.check(p, &["PUBACK #1 0x00"]);
    let s = rig.back("s");
    rig.check(
        s,
        &[
            "CONNACK present=1 0x00",
            "PUBLISH retain q1 #1 a/x=one k:v expiry=100 sub=5 sub=77",
            "PUBLISH q2 #2 a/b/c=two sub=5",
            "PUBLISH q1 #3 a/x=three sub=5 sub=77",
        ],
    );
}

/// The same from a snapshot, and from a snapshot with a log behind it.
#[test]
fn a_snapshot_stands_for_the_log_before_it() {
    let mut rig = rig();
    let s = rig.lasting("s", "#", Q2);
    rig.lose(s);
    let p = rig.client("p");
    for n in 1..=3 {
        rig.publish(p, "a", &format!("before {n}"), Q1, n);
    }
    let mut kept = message("r", "kept", Q1, 4);
    kept.retain = true;
    rig.send(p, &Packet::Publish(kept));
    rig.publish(p, "$delayed/60/later", "later", Q1, 5);
    let _ = rig.broker.ban(
        &Who::Address(IpAddr::from([10, 0, 0, 1])),
        Ban::until(u64::MAX),
        rig.now.wall_ms,
    );
    rig.settle();
    rig.disk().snapshot(&rig.broker);
    rig.publish(p, "a", "after", Q1, 6);
    rig.sync();
    for _ in 0..2 {
        let restored = rig.crash();
        assert_eq!((restored.sessions, restored.queued), (1, 5));
        assert_eq!((restored.retained, restored.delayed, restored.settings), (1, 1, 1));
        assert_eq!(restored.lost, 0);
        assert_eq!(rig.bans().len(), 1);
    }
    let s = rig.back("s");
    let out = rig.out(s);
    let payloads: Vec<_> = out[1..].iter().map(|line| line.split('=').nth(1).unwrap()).collect();
    assert_eq!(payloads, ["before 1", "before 2", "before 3", "kept", "after"]);
    rig.pass_s(60);
    rig.check(s, &["PUBLISH q1 #6 later=later"]);
}

/// A long queue is written in slices, between which its session lives on: what has left it meanwhile without an
/// acknowledgement is there after a crash, what was acknowledged is not, and what came is in the log.
#[test]
fn a_session_goes_on_while_its_queue_is_written() {
    let mut rig = rig_with(|_, zone| {
        (zone.max_mqueue_len, zone.max_mqueue_bytes, zone.max_inflight) = (0, 0, 0);
    });
    let s = rig.lasting("s", "#", Q1);
    rig.lose(s);
    let p = rig.client("p");
    // References for more than one block.
    let queued = 30_000;
    for n in 1..=queued {
        rig.publish(p, "t", &n.to_string(), Q1, n);
        if n % 50 == 0 {
            rig.settle();
            rig.sync();
        }
    }
    let (disk, broker) = (rig.disk(), Arc::clone(&rig.broker));
    let acknowledged = 25_000;
    let mut blocks = 0;
    let snapshot = disk.write_snapshot_beside(&broker, || {
        blocks += 1;
        if blocks == 1 {
            let s = rig.back("s");
            // CONNACK, and all of them.
            let mut packets = rig.out(s).len();
            for _ in 0..queued {
                rig.writable(s);
                packets += rig.out(s).len();
            }
            assert_eq!(packets, 1 + usize::from(queued));
            (1..=acknowledged).for_each(|id| rig.puback(s, id));
            rig.publish(p, "t", "after", Q1, 1);
        }
    });
    rig.sync();
    disk.publish(snapshot);
    let restored = rig.crash();
    assert_eq!((restored.lost, restored.queued), (0, usize::from(queued - acknowledged) + 1));
    assert!(blocks > 1, "it was written as a whole");
    let s = rig.back("s");
    let out = rig.out(s);
    let payloads = out[1..].iter().map(|line| line.rsplit('=').next().unwrap());
    let left = (acknowledged + 1..=queued).map(|n| n.to_string());
    assert!(payloads.eq(left.chain(["after".to_owned()])));
}

/// What was in flight when a session was begun is in the snapshot once, with its identifier.
#[test]
fn what_is_in_flight_keeps_its_identifier_beside_a_long_queue() {
    let mut rig = rig_with(|_, zone| (zone.max_mqueue_len, zone.max_mqueue_bytes) = (0, 0));
    let s = rig.lasting("s", "#", Q2);
    let p = rig.client("p");
    rig.publish(p, "a", "lost", Q2, 1);
    rig.publish(p, "a", "begun", Q2, 2);
    rig.settle();
    rig.sync();
    rig.check(s, &["PUBLISH q2 #1 a=lost", "PUBLISH q2 #2 a=begun"]);
    // The queue is longer than what is written of it at once, and nothing of it recorded.
    rig.lose(s);
    (0..2_001).for_each(|n| rig.publish(p, "b", &n.to_string(), Q0, 0));
    rig.settle();
    rig.disk().snapshot(&rig.broker);
    rig.sync();
    rig.crash();
    let s = rig.back("s");
    let out = ["PUBLISH dup q2 #1 a=lost", "PUBLISH dup q2 #2 a=begun"];
    assert_eq!(rig.out(s)[1..], out);
}

/// A snapshot comes between two acknowledgements that one record tells of.
#[test]
fn an_acknowledgement_after_a_snapshot_stands_behind_it() {
    let mut rig = rig();
    let s = rig.lasting("s", "#", Q1);
    let p = rig.client("p");
    (1..=3).for_each(|id| rig.publish(p, "a", &id.to_string(), Q1, id));
    rig.settle();
    rig.sync();
    let mut turn = rig.broker.turn();
    for id in [1, 2] {
        rig.post(s, &Packet::PubAck(ack(id)));
        rig.feed_in(&mut turn, s);
        if id == 1 {
            rig.disk().snapshot(&rig.broker);
        }
    }
    turn.finish();
    rig.sync();
    rig.crash();
    let s = rig.back("s");
    rig.check(s, &["CONNACK present=1 0x00", "PUBLISH dup q1 #3 a=3"]);
}

/// The queue is in the store alone when its session ends, and who is left of its group is a session without expiry.
#[test]
fn a_fleeting_member_of_a_group_takes_over_what_only_the_store_has() {
    let mut rig = rig();
    let d = rig.lasting("d", "$share/g/t", Q1);
    rig.lose(d);
    let p = rig.client("p");
    (1..=3).for_each(|id| rig.publish(p, "t", &id.to_string(), Q1, id));
    rig.settle();
    rig.sync();
    rig.crash();
    let m = rig.client("m");
    rig.subscribe(m, "$share/g/t", Q1);
    rig.sync();
    rig.out(m);
    rig.hello(Hello::v5("d"));
    rig.sync();
    rig.check(m, &["PUBLISH q1 #1 t=1", "PUBLISH q1 #2 t=2", "PUBLISH q1 #3 t=3"]);
    // It becomes a session that lasts, and loses none of that.
    let m = rig.hello(Hello::v5("m").lasting(1000));
    rig.sync();
    rig.lose(m);
    rig.sync();
    rig.crash();
    let m = rig.back("m");
    assert_eq!(rig.out(m).len(), 4);
}

/// A queue that only the store has is recorded anew with its session, which had become one without expiry.
#[test]
fn a_session_that_becomes_lasting_again_keeps_what_only_the_store_has() {
    let mut rig = rig();
    let s = rig.lasting("s", "#", Q1);
    rig.lose(s);
    let p = rig.client("p");
    (1..=3).for_each(|id| rig.publish(p, "a", &id.to_string(), Q1, id));
    rig.settle();
    rig.sync();
    rig.crash();
    // In one pass, so that nothing has been read back yet.
    let fleeting = rig.open(V5);
    rig.post_hello(fleeting, &Hello { clean: false, ..Hello::v5("s") });
    let lasting = rig.open(V5);
    rig.post_hello(lasting, &Hello::v5("s").lasting(1000));
    rig.feed_all();
    rig.lose(lasting);
    rig.sync();
    rig.crash();
    let s = rig.back("s");
    let out = rig.out(s);
    assert_eq!(out[0], "CONNACK present=1 0x00");
    let payloads: Vec<_> = out[1..].iter().map(|line| line.split('=').nth(1).unwrap()).collect();
    assert_eq!(payloads, ["1", "2", "3"]);
}

/// [MQTT-4.4.0-1] What is in flight comes again under its identifier, if the connection had ended before.
#[test]
fn what_is_in_flight_comes_again() {
    let mut rig = rig();
    let s = rig.lasting("s", "#", Q2);
    let p = rig.client("p");
    rig.publish(p, "a", "one", Q1, 1);
    rig.publish(p, "a", "acked", Q1, 2);
    rig.publish(p, "a", "two", Q2, 3);
    rig.publish(p, "a", "begun", Q2, 4);
    rig.publish(p, "a", "done", Q2, 5);
    rig.sync();
    rig.out(s);
    rig.puback(s, 2);
    rig.pubrec(s, 4);
    rig.pubrec(s, 5);
    rig.sync();
    rig.pubcomp(s, 5);
    rig.lose(s);
    rig.sync();
    rig.crash();
    let s = rig.back("s");
    rig.check(
        s,
        &[
            "CONNACK present=1 0x00",
            "PUBREL #4 0x00",
            "PUBLISH dup q1 #1 a=one",
            "PUBLISH dup q2 #3 a=two",
        ],
    );
    rig.pubcomp(s, 4);
    rig.puback(s, 1);
    rig.pubrec(s, 3);
    rig.sync();
    rig.check(s, &["PUBREL #3 0x00"]);
    // An identifier is free once its exchange is over, and not before.
    let p = rig.client("p");
    (1..=5).for_each(|n| rig.publish(p, "a", "new", Q1, n));
    let out = rig.out(s);
    assert_eq!(out.len(), 5);
    assert!(!out.iter().any(|line| line.contains("#3 ")), "{out:?}");
}

/// Of a connection that was there to the last, only QoS 2 identifiers are known; the order is kept.
#[test]
fn what_was_in_flight_at_the_crash_comes_again() {
    let mut rig = rig();
    let s = rig.lasting("s", "#", Q2);
    let p = rig.client("p");
    rig.publish(p, "a", "one", Q1, 1);
    rig.publish(p, "a", "two", Q2, 2);
    rig.sync();
    rig.out(s);
    rig.crash();
    let s = rig.back("s");
    rig.check(s, &["CONNACK present=1 0x00", "PUBLISH q1 #1 a=one", "PUBLISH dup q2 #2 a=two"]);
}

/// [MQTT-3.1.2-25] What cannot be sent again is let go of by PUBREL, once that is on the disk.
#[test]
fn what_has_become_too_large_is_released_over_a_crash() {
    let mut rig = rig();
    let s = rig.lasting("s", "#", Q2);
    let p = rig.client("p");
    rig.publish(p, "a", &"x".repeat(100), Q2, 1);
    rig.sync();
    rig.check(s, &["PUBLISH q2 #1 a=<100 bytes>"]);
    rig.crash();
    let small = || Hello::v5("s").lasting(1000).with(Property::MaximumPacketSize(50));
    let s = rig.hello(small());
    rig.check(s, &["CONNACK present=1 0x00"]);
    rig.crash();
    let s = rig.hello(small());
    rig.sync();
    rig.check(s, &["CONNACK present=1 0x00", "PUBREL #1 0x00"]);
    for _ in 0..2 {
        rig.crash();
        // However much it takes: the message does not come back.
        let s = rig.back("s");
        rig.check(s, &["CONNACK present=1 0x00", "PUBREL #1 0x00"]);
    }
    let s = rig.back("s");
    rig.pubcomp(s, 1);
    rig.sync();
    rig.crash();
    let s = rig.back("s");
    assert_eq!(rig.broker.session("s").unwrap().inflight, 0);
    rig.check(s, &["CONNACK present=1 0x00"]);
}

/// [MQTT-2.2.1-3] An identifier is of one message, though the snapshot that is used is from before an earlier crash,
/// after which another was given.
#[test]
fn an_older_snapshot_brings_no_identifier_back_that_is_another_message_s() {
    let mut rig = rig();
    let s = rig.lasting("s", "#", Q2);
    let p = rig.client("p");
    rig.publish(p, "a", "zero", Q1, 1);
    rig.publish(p, "a", "one", Q1, 2);
    rig.puback(s, 1);
    rig.disk().snapshot(&rig.broker);
    rig.sync();
    rig.check(s, &["PUBLISH q1 #1 a=zero", "PUBLISH q1 #2 a=one"]);
    let frames = rig.disk().frames();
    rig.crash_to(None, frames, 0);
    let s = rig.back("s");
    let p = rig.client("p");
    rig.publish(p, "a", "two", Q2, 3);
    rig.sync();
    rig.check(s, &["CONNACK present=1 0x00", "PUBLISH q1 #1 a=one", "PUBLISH q2 #2 a=two"]);
    let frames = rig.disk().frames();
    rig.crash_to(Some(0), frames, 0);
    let s = rig.back("s");
    let again = ["CONNACK present=1 0x00", "PUBLISH q1 #1 a=one", "PUBLISH dup q2 #2 a=two"];
    rig.check(s, &again);
}

/// Nothing acknowledged is lost, and nothing that was not is owed.
#[test]
fn what_was_not_synced_was_not_acknowledged() {
    let mut rig = rig();
    let s = rig.lasting("s", "#", Q2);
    rig.lose(s);
    rig.sync();
    let p = rig.client("p");
    rig.publish(p, "a", "safe", Q1, 1);
    rig.sync();
    rig.check(p, &["PUBACK #1 0x00"]);
    rig.publish(p, "a", "not", Q1, 2);
    rig.check(p, &[]);
    rig.crash();
    let s = rig.back("s");
    rig.check(s, &["CONNACK present=1 0x00", "PUBLISH q1 #1 a=safe"]);
}

/// [MQTT-4.3.3-10] A publisher's identifier survives until it is released.
#[test]
fn a_qos_2_message_is_routed_once_over_a_crash() {
    [Level::Memory, Level::Written, Level::Fsync].into_iter().for_each(routed_once_over_a_crash);
}

/// Whatever the acknowledgements wait for: what was written is written.
fn routed_once_over_a_crash(level: Level) {
    let mut rig = rig_with(|config, _| config.durability.level = level);
    let s = rig.lasting("s", "#", Q2);
    rig.lose(s);
    let p = rig.join(Hello::v5("p").lasting(1000));
    rig.publish(p, "a", "once", Q2, 9);
    rig.sync();
    rig.check(p, &["PUBREC #9 0x00"]);
    rig.crash();
    let p = rig.back("p");
    let mut again = message("a", "once", Q2, 9);
    again.dup = true;
    rig.send(p, &Packet::Publish(again));
    rig.check(p, &["CONNACK present=1 0x00", "PUBREC #9 0x00"]);
    rig.pubrel(p, 9);
    rig.sync();
    rig.check(p, &["PUBCOMP #9 0x00"]);
    rig.crash();
    // Released: the identifier means another message now.
    let p = rig.back("p");
    rig.publish(p, "a", "another", Q2, 9);
    rig.sync();
    rig.out(p);
    let s = rig.back("s");
    rig.check(s, &["CONNACK present=1 0x00", "PUBLISH q2 #1 a=once", "PUBLISH q2 #2 a=another"]);
}

/// A session that only now is to last is recorded while another thread has yet to end the pass in which it took a
/// message of it: the identifier must not come back without the message.
#[test]
fn an_identifier_does_not_outlive_its_message() {
    for level in [Level::Memory, Level::Written, Level::Fsync] {
        let mut rig = rig_with(|config, _| config.durability.level = level);
        let s = rig.lasting("s", "#", Q2);
        rig.lose(s);
        let p = rig.client("p");
        let mut other = rig.broker.turn();
        rig.post(p, &publish("a", "once", Q2, 9));
        rig.feed_in(&mut other, p);
        // Taken over by a connection in another thread, whose frame stands in the log first.
        rig.hello(Hello::v5("p").lasting(1000));
        let frames = rig.disk().frames();
        rig.crash_keeping(frames, 0);
        drop(other);
        let p = rig.back("p");
        let mut again = message("a", "once", Q2, 9);
        again.dup = true;
        rig.send(p, &Packet::Publish(again));
        rig.sync();
        rig.check(p, &["CONNACK present=1 0x00", "PUBREC #9 0x00"]);
        let s = rig.back("s");
        rig.check(s, &["CONNACK present=1 0x00", "PUBLISH q2 #1 a=once"]);
    }
}

/// What has changed nothing is answered when what had changed it before is safe, in whatever thread that was.
#[test]
fn who_is_told_that_there_is_nothing_is_told_the_truth() {
    let mut rig = rig();
    let p = rig.lasting("p", "a", Q1);
    let kept = Publish { retain: true, ..message("r", "kept", Q1, 1) };
    rig.send(p, &Packet::Publish(kept));
    rig.publish(p, "a", "once", Q2, 2);
    rig.sync();
    rig.out(p);
    // One thread has read it all, and not come to the end of its pass.
    let mut other = rig.broker.turn();
    let filters = || Unsubscribe { packet_id: packet_id(7), properties: NONE, filters: vec!["a"] };
    let clear = || Packet::Publish(Publish { retain: true, ..message("r", "", Q1, 3) });
    rig.post(p, &clear());
    rig.post(p, &Packet::Unsubscribe(filters()));
    rig.post(p, &Packet::PubRel(ack(2)));
    rig.feed_in(&mut other, p);
    // The client comes back, and asks for it all again.
    let p = rig.back("p");
    rig.out(p);
    for packet in [clear(), Packet::Unsubscribe(filters()), Packet::PubRel(ack(2))] {
        rig.send(p, &packet);
        rig.check(p, &[]);
    }
    rig.sync();
    rig.check(p, &["PUBACK #3 0x10", "UNSUBACK #7 11", "PUBCOMP #2 0x92"]);
    let frames = rig.disk().frames();
    rig.crash_keeping(frames, 0);
    drop(other);
    let p = rig.back("p");
    rig.publish(p, "a", "another", Q2, 2);
    rig.sync();
    let expected = ["CONNACK present=1 0x00", "PUBLISH q1 #1 a=once", "PUBREC #2 0x10"];
    rig.check(p, &expected);
    assert_eq!(rig.broker.subscriptions("p").map(|list| list.len()), Some(0));
    let s = rig.client("s");
    rig.subscribed(s, "r", Q1);
    rig.check(s, &[]);
}

/// The same within one pass, and when the other thread's frame comes first: the identifier is known.
#[test]
fn an_identifier_comes_back_with_its_message() {
    let mut rig = rig();
    let s = rig.lasting("s", "#", Q2);
    rig.lose(s);
    for (id, is_one_pass) in [("p", true), ("q", false)] {
        let p = rig.client(id);
        rig.post(p, &publish("a", id, Q2, 9));
        if is_one_pass {
            let mut turn = rig.broker.turn();
            rig.feed_in(&mut turn, p);
            std::mem::swap(&mut rig.turn, &mut turn);
            rig.hello(Hello::v5(id).lasting(1000));
        } else {
            rig.feed_all();
            rig.hello(Hello::v5(id).lasting(1000));
        }
        let frames = rig.disk().frames();
        rig.crash_keeping(frames, 0);
        let p = rig.back(id);
        let mut again = message("a", id, Q2, 9);
        again.dup = true;
        rig.send(p, &Packet::Publish(again));
        rig.sync();
        rig.check(p, &["CONNACK present=1 0x00", "PUBREC #9 0x00"]);
    }
    let s = rig.back("s");
    rig.check(s, &["CONNACK present=1 0x00", "PUBLISH q2 #1 a=p", "PUBLISH q2 #2 a=q"]);
}

/// A retained message that was on its way for a new subscription at the crash is not sent once it was replaced; one
/// that stands still is.
#[test]
fn a_retained_message_on_its_way_comes_back_unless_it_was_replaced() {
    for with_snapshot in [false, true] {
        let mut rig = rig();
        let p = rig.client("p");
        for topic in ["a", "b"] {
            let old = Publish { retain: true, ..message(topic, "old", Q1, 1) };
            rig.send(p, &Packet::Publish(old));
        }
        rig.sync();
        rig.lasting("s", "#", Q1);
        rig.sync();
        rig.crash();
        if with_snapshot {
            rig.disk().snapshot(&rig.broker);
            rig.crash();
        }
        let p = rig.client("p");
        rig.retain(p, "a", "new");
        let s = rig.back("s");
        let expected = ["CONNACK present=1 0x00", "PUBLISH retain q1 #1 b=old", "PUBLISH q0 a=new"];
        rig.check(s, &expected);
        assert_eq!(rig.broker.session("s").unwrap().inflight, 1);
    }
}

/// The session expiry interval counts through the time that the broker was down.
#[test]
fn a_session_expires_while_the_broker_is_down() {
    let mut rig = rig();
    let s = rig.lasting("s", "#", Q1);
    rig.lasting("connected", "#", Q1);
    rig.lose(s);
    rig.pass_s(400);
    rig.sync();
    let frames = rig.disk().frames();
    rig.crash_keeping(frames, 599_000);
    rig.run_timers();
    assert!(rig.broker.session("s").is_some());
    rig.pass_s(1);
    assert!(rig.broker.session("s").is_none(), "1,000 seconds after its connection ended");
    // Nobody knows when the process died: its time is reckoned from the start.
    assert!(rig.broker.session("connected").is_some());
    rig.sync();
    // Its end is kept too.
    let restored = rig.crash();
    assert_eq!(restored.sessions, 1);
    rig.pass_s(998);
    assert!(rig.broker.session("connected").is_some());
    rig.pass_s(1);
    assert!(rig.broker.session("connected").is_none());
}

#[test]
fn an_ended_or_discarded_session_does_not_come_back() {
    let mut rig = rig();
    let s = rig.lasting("ended", "#", Q1);
    rig.disconnect(s, broker_core::ReasonCode::Success, &[Property::SessionExpiryInterval(0)]);
    let s = rig.lasting("discarded", "#", Q1);
    rig.lose(s);
    let s = rig.hello(Hello::v5("discarded").clean());
    let t = rig.lasting("no more", "#", Q1);
    rig.lose(t);
    // Goes on without expiry: the connection is all that keeps it.
    rig.hello(Hello { clean: false, ..Hello::v5("no more") });
    rig.sync();
    rig.out(s);
    let restored = rig.crash();
    assert_eq!(restored.sessions, 0);
    assert!(rig.routes().is_empty());
}

/// A thread ends a session, and dies before it can say so: the one that has followed stays.
#[test]
fn the_newest_session_of_a_client_comes_back() {
    let mut rig = rig();
    let s = rig.lasting("s", "old", Q1);
    rig.lose(s);
    rig.sync();
    let mut other = rig.broker.turn();
    other.begin(rig.now);
    assert!(rig.broker.discard_session("s", &mut other));
    let s = rig.hello(Hello::v5("s").lasting(1000));
    rig.subscribe(s, "new", Q1);
    rig.sync();
    // It learns of nothing before the end of the other is safe.
    rig.check(s, &[]);
    for _ in 0..2 {
        let restored = rig.crash();
        assert_eq!((restored.sessions, restored.subscriptions), (1, 1));
        assert_eq!(rig.routes(), ["new"]);
    }
    drop(other);
}

/// A thread begins a session, another one ends it, and a snapshot comes between their frames: what the log says of its
/// beginning behind the snapshot is of a session that is over.
#[test]
fn an_ended_session_does_not_begin_anew_behind_a_snapshot() {
    let mut rig = rig();
    let mut other = rig.broker.turn();
    let first = rig.open(V5);
    rig.post_hello(first, &Hello::v5("s").lasting(1000));
    rig.feed_in(&mut other, first);
    rig.hello(Hello::v5("s").clean());
    rig.sync();
    rig.disk().snapshot(&rig.broker);
    other.finish();
    rig.sync();
    for _ in 0..2 {
        let restored = rig.crash();
        assert_eq!(restored.sessions, 0);
    }
    // What is over before a snapshot is no concern of it.
    let s = rig.lasting("s", "#", Q1);
    rig.lose(s);
    rig.hello(Hello::v5("s").clean());
    rig.sync();
    rig.disk().snapshot(&rig.broker);
    let names_it = |text: &String| text.contains("StepsUntil");
    assert!(!rig.disk().snapshot_records().iter().any(names_it));
}

/// Of a session that does not last, a snapshot keeps the Will and nothing else.
#[test]
fn a_snapshot_keeps_only_the_will_of_a_session_that_does_not_last() {
    let mut rig = rig();
    let mut hello = Hello::v5("f");
    hello.will = Some(("will/f", "presence", Q1, true));
    let f = rig.join(hello);
    rig.subscribe(f, "#", Q1);
    rig.disk().snapshot(&rig.broker);
    rig.sync();
    let restored = rig.crash();
    assert_eq!((restored.sessions, restored.subscriptions), (1, 0));
}

/// [MQTT-3.8.3-3] A client is known by its Client Identifier, in whatever session it has published.
#[test]
fn a_delayed_message_of_its_own_stays_away_from_a_client_that_wants_none() {
    let mut rig = rig();
    let s = rig.join(Hello::v5("s").lasting(1000));
    rig.publish(s, "$delayed/5/a", "mine", Q1, 1);
    let options = SubscriptionOptions { qos: Q1, no_local: true, ..Default::default() };
    rig.subscribe_with(s, "a", options, 0);
    rig.sync();
    rig.crash();
    let s = rig.back("s");
    rig.pass_s(5);
    rig.check(s, &["CONNACK present=1 0x00"]);
}

/// A session that only now is to last is recorded whole.
#[test]
fn a_session_that_becomes_lasting_survives_with_all_it_holds() {
    let mut rig = rig();
    let s = rig.client("s");
    rig.subscribed(s, "#", Q2);
    let p = rig.client("p");
    rig.publish(p, "a", "one", Q1, 1);
    rig.publish(p, "a", "two", Q2, 2);
    rig.publish(p, "a", "begun", Q2, 3);
    rig.pubrec(s, 3);
    rig.publish(s, "b", "mine", Q2, 7);
    rig.out(s);
    let s = rig.hello(Hello::v5("s").lasting(1000));
    rig.sync();
    rig.lose(s);
    rig.sync();
    rig.crash();
    let s = rig.back("s");
    let out = rig.out(s);
    assert_eq!(out[..2], ["CONNACK present=1 0x00", "PUBREL #3 0x00"]);
    assert_eq!(out.len(), 5, "{out:?}");
    let mut again = message("b", "mine", Q2, 7);
    again.dup = true;
    rig.send(s, &Packet::Publish(again));
    rig.check(s, &["PUBREC #7 0x00"]);
}

#[test]
fn the_will_of_a_client_that_was_connected_at_the_crash_is_published() {
    let mut rig = rig();
    rig.lasting("watcher", "will/#", Q1);
    rig.join(Hello::v5("c").lasting(100).will("will/c", "durable"));
    rig.join(Hello::v5("d").lasting(100).will("will/d", "delayed").will_delay(30));
    let mut fleeting = Hello::v5("f");
    fleeting.will = Some(("will/f", "presence", Q1, true));
    rig.join(fleeting);
    rig.join(Hello::v5("g").will("will/g", "not kept"));
    rig.sync();
    let frames = rig.disk().frames();
    rig.crash_keeping(frames, 20_000);
    rig.run_timers();
    rig.sync();
    let w = rig.back("watcher");
    let mut topics: Vec<_> = rig.out(w)[1..].iter().map(|line| line[14..].to_owned()).collect();
    topics.sort();
    assert_eq!(topics, ["will/c=durable", "will/f=presence"]);
    // It may come back within its delay, reckoned from the start.
    rig.pass_s(29);
    rig.check(w, &[]);
    rig.pass_s(1);
    rig.check(w, &["PUBLISH q1 #3 will/d=delayed"]);
    (1..=3).for_each(|id| rig.puback(w, id));
    rig.sync();
    // Each once, over further crashes too.
    rig.crash();
    rig.pass_s(60);
    let w = rig.back("watcher");
    let out = rig.out(w);
    assert!(out.iter().all(|line| !line.contains("PUBLISH q1")), "{out:?}");
}

#[test]
fn wills_after_a_crash_can_be_dropped_and_their_keeping_be_chosen() {
    let mut rig = rig_with(|config, _| config.durability.publish_wills_after_crash = false);
    rig.lasting("watcher", "will/#", Q1);
    rig.join(Hello::v5("c").lasting(100).will("will/c", "x"));
    rig.sync();
    rig.crash();
    rig.run_timers();
    let w = rig.back("watcher");
    rig.check(w, &["CONNACK present=1 0x00"]);

    for (keep, expected) in [(WillsKeep::Nobody, 0), (WillsKeep::Durable, 1), (WillsKeep::All, 2)] {
        let mut rig = rig_with(|config, _| config.durability.wills_keep = keep);
        rig.lasting("watcher", "will/#", Q1);
        rig.join(Hello::v5("c").lasting(100).will("will/c", "x"));
        rig.join(Hello::v5("f").will("will/f", "x"));
        rig.sync();
        rig.crash();
        rig.run_timers();
        rig.sync();
        let w = rig.back("watcher");
        assert_eq!(rig.out(w).len(), 1 + expected, "{keep:?}");
    }
}

/// A Will that waits for its delay waits on, and fires once.
#[test]
fn a_will_that_waits_survives() {
    let mut rig = rig();
    rig.lasting("watcher", "will/#", Q1);
    let c = rig.join(Hello::v5("c").lasting(100).will("will/c", "x").will_delay(50));
    let d = rig.join(Hello::v5("d").lasting(100).will("will/d", "x").will_delay(50));
    rig.lose(c);
    rig.disconnect(d, broker_core::ReasonCode::Success, &[]);
    rig.pass_s(20);
    rig.sync();
    let frames = rig.disk().frames();
    rig.crash_keeping(frames, 20_000);
    let w = rig.back("watcher");
    rig.out(w);
    rig.pass_s(9);
    rig.check(w, &[]);
    rig.pass_s(1);
    rig.check(w, &["PUBLISH q1 #1 will/c=x"]);
    rig.pass_s(60);
    rig.check(w, &[]);
}

#[test]
fn a_delayed_message_comes_once_and_at_its_time() {
    let mut rig = rig();
    rig.lasting("s", "#", Q1);
    let p = rig.client("p");
    rig.publish(p, "$delayed/50/a", "late", Q1, 1);
    rig.publish(p, "$delayed/5/a", "soon", Q1, 2);
    rig.sync();
    rig.pass_s(5);
    rig.sync();
    let frames = rig.disk().frames();
    let restored = rig.crash_keeping(frames, 20_000);
    assert_eq!(restored.delayed, 1);
    let s = rig.back("s");
    rig.check(s, &["CONNACK present=1 0x00", "PUBLISH q1 #1 a=soon"]);
    rig.pass_s(24);
    rig.check(s, &[]);
    rig.pass_s(1);
    rig.check(s, &["PUBLISH q1 #2 a=late"]);
}

#[test]
fn the_last_retained_message_of_a_topic_comes_back_or_none() {
    let mut rig = rig();
    let p = rig.client("p");
    for (topic, payload) in [("a", "1"), ("a", "2"), ("b", "1"), ("b", ""), ("c", "x")] {
        rig.retain(p, topic, payload);
    }
    rig.publish_with(
        p,
        Publish { retain: true, ..message("e", "expires", Q0, 0) },
        &[Property::MessageExpiryInterval(10)],
    );
    rig.sync();
    let frames = rig.disk().frames();
    rig.crash_keeping(frames, 10_000);
    rig.disk().snapshot(&rig.broker);
    rig.settle();
    rig.sync();
    rig.crash();
    let s = rig.client("s");
    rig.subscribe(s, "#", Q0);
    let mut out = rig.out(s);
    out.sort();
    assert_eq!(out, ["PUBLISH retain q0 a=2", "PUBLISH retain q0 c=x", "SUBACK #77 00"]);
}

/// A shared subscription's message is with one member, before and after.
#[test]
fn an_unacknowledged_shared_message_goes_to_another_member_after_a_crash() {
    let mut rig = rig_with(|config, _| config.shared_dispatch_ack = true);
    let a = rig.lasting("a", "$share/g/t", Q1);
    let p = rig.client("p");
    rig.publish(p, "t", "x", Q1, 1);
    rig.sync();
    rig.check(a, &["PUBLISH q1 #1 t=x"]);
    let b = rig.lasting("b", "$share/g/t", Q1);
    rig.lose(b);
    rig.sync();
    rig.crash();
    // `a` is offline since the crash and ends; only the log has the message.
    assert!(rig.broker.discard_session("a", &mut rig.turn));
    rig.settle();
    rig.sync();
    rig.crash();
    let b = rig.back("b");
    rig.check(b, &["CONNACK present=1 0x00", "PUBLISH q1 #1 t=x"]);
    assert!(rig.broker.session("a").is_none());
}

/// A message whose bytes are damaged is dropped and counted; the others arrive.
#[test]
fn a_damaged_body_costs_its_message_and_no_other() {
    let mut rig = rig();
    let s = rig.lasting("s", "#", Q1);
    rig.lose(s);
    let p = rig.client("p");
    for (n, payload) in ["good", "BROKEN", "fine"].iter().enumerate() {
        rig.publish(p, "a", payload, Q1, n as u16 + 1);
    }
    rig.sync();
    rig.crash();
    rig.disk().damage("BROKEN");
    let s = rig.back("s");
    rig.check(s, &["CONNACK present=1 0x00", "PUBLISH q1 #1 a=good", "PUBLISH q1 #2 a=fine"]);
    assert_eq!(rig.metric(Metric::DroppedDamaged), 1);
}

/// A queue larger than the memory for queues is delivered in order.
#[test]
fn a_long_queue_is_left_to_the_store_and_delivered_in_order() {
    let mut rig = rig_with(|config, zone| {
        config.durability.queue_memory_bytes = 50_000;
        zone.max_mqueue_len = 0;
        zone.max_mqueue_bytes = 0;
    });
    let s = rig.lasting("s", "#", Q1);
    rig.lose(s);
    let p = rig.join(Hello::v3("p"));
    let filler = "x".repeat(500);
    for n in 0..5_000u32 {
        rig.publish(p, "a", &format!("{n:05}{filler}"), Q1, (n % 60_000) as u16 + 1);
        if n % 100 == 0 {
            rig.sync();
            assert!(rig.broker.queue_bytes() < 80_000, "{}", rig.broker.queue_bytes());
        }
    }
    rig.sync();
    let s = rig.back("s");
    let mut next = 0;
    let mut out = rig.out(s);
    out.remove(0);
    while !out.is_empty() {
        for line in &out {
            let id: u16 = line.split(['#', ' ']).nth(3).unwrap().parse().unwrap();
            assert!(line.contains("<505 bytes>"));
            rig.puback(s, id);
            next += 1;
        }
        out = rig.out(s);
    }
    assert_eq!(next, 5_000);
    rig.lose(s);
    assert!(rig.broker.queue_bytes() < 5_000);
}

/// Settings are there before the first connection.
#[test]
fn bans_and_settings_survive() {
    let mut rig = rig();
    let ban = |until_ms| Ban { reason: Some("loud".into()), ..Ban::until(until_ms) };
    let now_ms = rig.now.wall_ms;
    for (who, until_ms) in [
        (Who::ClientId("bad".into()), u64::MAX),
        (Who::Username("gone".into()), u64::MAX),
        (Who::Username("short".into()), now_ms + 5_000),
        (Who::at("10.0.0.0/8").unwrap(), u64::MAX),
    ] {
        let saved = rig.broker.ban(&who, ban(until_ms), now_ms);
        assert!(!rig.broker.is_saved(saved));
    }
    assert!(rig.broker.unban(&Who::Username("gone".into())).is_some());
    let saved = rig.broker.put_setting("rule", "r1", b"SELECT 1");
    assert!(!rig.broker.is_saved(saved));
    rig.sync();
    assert!(rig.broker.is_saved(saved));
    let frames = rig.disk().frames();
    rig.crash_keeping(frames, 6_000);
    let c = rig.hello(Hello::v5("bad"));
    rig.check(c, &["CONNACK present=0 0x8a ReasonString(\"banned\")"]);
    let bans = rig.bans();
    assert_eq!(bans.len(), 2);
    assert!(bans.contains(&(Who::at("10.0.0.0/8").unwrap(), ban(u64::MAX))));
    assert_eq!(rig.broker.setting("rule", "r1").as_deref(), Some(&b"SELECT 1"[..]));
    assert_eq!(rig.broker.settings("rule").len(), 1);
}
