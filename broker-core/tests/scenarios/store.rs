//! Acknowledgements that wait for a disk, and everything else, which does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_codec::Packet;
use broker_core::extension::{Lsn, Store};
use parking_lot::Mutex;

use crate::rig::*;

type Waker = Box<dyn FnOnce() + Send>;

/// A store whose syncs the test orders.
#[derive(Default)]
struct Disk {
    end: AtomicU64,
    durable: AtomicU64,
    wakers: Mutex<Vec<(Lsn, Waker)>>,
}

impl Store for Disk {
    fn append(&self, frame: &[u8]) -> Lsn {
        assert!(!frame.is_empty());
        self.end.fetch_add(1, Ordering::Relaxed) + 1
    }
    fn durable(&self) -> Lsn {
        self.durable.load(Ordering::Relaxed)
    }
    fn wake_at(&self, lsn: Lsn, waker: Box<dyn FnOnce() + Send>) {
        self.wakers.lock().push((lsn, waker));
    }
}

impl Disk {
    fn frames(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    fn sync_to(&self, rig: &mut Rig, lsn: Lsn) {
        self.durable.store(lsn, Ordering::Relaxed);
        let due: Vec<_> = self.wakers.lock().extract_if(.., |(at, _)| *at <= lsn).collect();
        due.into_iter().for_each(|(_, wake)| wake());
        rig.settle();
    }

    fn sync(&self, rig: &mut Rig) {
        self.sync_to(rig, self.frames());
    }
}

fn rig() -> (Rig, Arc<Disk>) {
    let disk = Arc::new(Disk::default());
    let store = Arc::clone(&disk) as Arc<dyn Store>;
    (Rig::build(|_, _| {}, Default::default(), Some(store)), disk)
}

fn lasting_subscriber(rig: &mut Rig) -> C {
    let s = rig.join(Hello::v5("sub").lasting(100));
    rig.subscribed(s, "d/#", Q2);
    s
}

/// Storage, section 1: acknowledged means on disk.
#[test]
fn an_acknowledgement_for_a_lasting_receiver_waits_for_the_disk() {
    let (mut rig, disk) = rig();
    let s = lasting_subscriber(&mut rig);
    let p = rig.client("pub");
    rig.publish(p, "d/1", "one", Q1, 1);
    rig.publish(p, "d/1", "two", Q2, 2);
    // Delivered before the sync: at least once permits it.
    assert_eq!(rig.out(s).len(), 2);
    rig.check(p, &[]);
    assert_eq!(disk.frames(), 2);
    disk.sync_to(&mut rig, 1);
    rig.check(p, &["PUBACK #1 0x00"]);
    disk.sync_to(&mut rig, 2);
    rig.check(p, &["PUBREC #2 0x00"]);
}

#[test]
fn an_acknowledgement_for_a_retained_message_waits_for_the_disk() {
    let (mut rig, disk) = rig();
    let p = rig.client("pub");
    let mut kept = message("r", "x", Q1, 1);
    kept.retain = true;
    rig.send(p, &Packet::Publish(kept));
    rig.check(p, &[]);
    disk.sync(&mut rig);
    rig.check(p, &["PUBACK #1 0x10"]);
}

/// Nothing to record, nothing to wait for.
#[test]
fn nothing_waits_when_nothing_is_recorded() {
    let (mut rig, disk) = rig();
    let s = rig.client("fleeting");
    rig.subscribed(s, "#", Q2);
    lasting_subscriber(&mut rig);
    let p = rig.client("pub");
    rig.publish(p, "e/1", "x", Q1, 1);
    rig.publish(p, "e/1", "x", Q2, 2);
    rig.check(p, &["PUBACK #1 0x00", "PUBREC #2 0x00"]);
    // QoS 0 to a lasting session is nobody's promise.
    rig.publish(p, "d/1", "x", Q0, 0);
    assert_eq!(disk.frames(), 0);
}

/// [MQTT-4.6.0-2] Order of acknowledgements; everything else goes on meanwhile.
#[test]
fn acknowledgements_keep_their_order_and_nothing_else_waits() {
    let (mut rig, disk) = rig();
    let s = lasting_subscriber(&mut rig);
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
    disk.sync(&mut rig);
    rig.check(p, &["PUBACK #1 0x00", "PUBACK #2 0x10", "PUBREC #3 0x10", "PUBCOMP #3 0x00"]);
}

/// Storage, section 2: a duplicate that comes in before the sync waits for the same record.
#[test]
fn a_repeated_publish_waits_for_the_record_of_the_first() {
    let (mut rig, disk) = rig();
    lasting_subscriber(&mut rig);
    let p = rig.join(Hello::v5("pub").lasting(100));
    rig.publish(p, "d/1", "x", Q2, 5);
    rig.lose(p);
    let p = rig.join(Hello::v5("pub").lasting(100));
    let mut again = message("d/1", "x", Q2, 5);
    again.dup = true;
    rig.send(p, &Packet::Publish(again));
    rig.check(p, &[]);
    disk.sync(&mut rig);
    rig.check(p, &["PUBREC #5 0x00"]);
}

/// One turn, one frame; what several clients sent in it waits together.
#[test]
fn a_turn_is_one_frame_for_each_channel_that_waits() {
    let (mut rig, disk) = rig();
    lasting_subscriber(&mut rig);
    let p = rig.client("pub");
    for n in 1..=10 {
        rig.post(p, &publish("d/1", "x", Q1, n));
    }
    rig.feed_all();
    assert_eq!(disk.frames(), 1);
    disk.sync(&mut rig);
    assert_eq!(rig.out(p).len(), 10);
}

/// Storage, section 7, 5: reading stops at the bound, and goes on after the sync.
#[test]
fn reading_stops_when_too_many_acknowledgements_wait() {
    let (mut rig, disk) = rig();
    let s = lasting_subscriber(&mut rig);
    rig.lose(s);
    let p = rig.client("pub");
    // The bound is on acknowledgements owed, whatever their identifiers.
    for _ in 0..66_000 {
        rig.post(p, &publish("d/1", "x", Q1, 1));
    }
    rig.feed_all();
    assert!(!rig.wants_input(p));
    rig.pass_s(1000);
    assert_eq!(rig.cause(p), None);
    rig.check(p, &[]);
    disk.sync(&mut rig);
    disk.sync(&mut rig);
    assert!(rig.wants_input(p));
    assert_eq!(rig.out(p).len(), 66_000);
}

/// A connection that ends takes its waiting acknowledgements along; the wake finds nobody and harms nobody.
#[test]
fn a_wake_for_a_connection_that_is_gone_is_harmless() {
    let (mut rig, disk) = rig();
    lasting_subscriber(&mut rig);
    let p = rig.client("pub");
    rig.publish(p, "d/1", "x", Q1, 1);
    rig.lose(p);
    disk.sync(&mut rig);
    rig.check(p, &[]);
}

/// Records for several threads: each acknowledgement waits for the frame of its own turn.
#[test]
fn a_will_for_a_lasting_session_is_recorded() {
    let (mut rig, disk) = rig();
    lasting_subscriber(&mut rig);
    let c = rig.join(Hello::v5("c").will("d/will", "x"));
    rig.lose(c);
    assert_eq!(disk.frames(), 1);
}
