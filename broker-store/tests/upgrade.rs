//! Stores that earlier versions have written: each is opened as it was left, and what is in it is looked at.
//!
//! A version that changes the format keeps these stores and these tests, opens them with them, and adds a store
//! of its own. `fixtures/format-1` is one of format 1, made by
//! `cargo test -p broker-store --test upgrade -- --ignored make_format_1`. It is not made again: what a
//! released version has written must be read as it is, and a test that has to be changed for a change of the
//! code has found a fault.

#![forbid(unsafe_code)]

#[path = "../../broker-core/tests/rig/mod.rs"]
mod rig;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use broker_codec::{Packet, Property, Publish};
use broker_core::extension::Extensions;
use broker_core::record::Record;
use broker_core::restore::Restored;
use broker_core::store::{Level, State, Store};
use broker_core::{Ban, Broker, SubscriptionOptions, Who};
use broker_store::{EmbeddedStore, Opened, StoreOptions};
use rig::*;

/// A broker on a data folder, from its start on.
struct Running {
    store: Arc<EmbeddedStore>,
    rig: Rig,
    opened: Opened,
    restored: Restored,
}

fn start(dir: &Path, down_ms: u64) -> Running {
    let options = StoreOptions {
        segment_bytes: SEGMENT_BYTES,
        spare_segments: 0,
        min_free_bytes: 0,
        ..StoreOptions::new(dir)
    };
    // What waits for a disk is for other tests.
    let store = EmbeddedStore::open(options, Level::Memory).unwrap();
    let port = Arc::clone(&store) as Arc<dyn Store>;
    let change = |config: &mut broker_core::config::BrokerConfig, _: &mut _| {
        config.durability.level = Level::Memory;
    };
    let mut rig = Rig::build(change, Extensions::default(), Some(port));
    rig.now = rig.now.plus_ms(down_ms);
    let (opened, restored) = store.restore(&rig.broker, rig.now).unwrap();
    rig.settle();
    let state: Arc<dyn State> = Arc::clone(&rig.broker) as Arc<dyn State>;
    let weak: Weak<dyn State> = Arc::downgrade(&state);
    store.start(weak, Box::new(|_| {})).unwrap();
    Running { store, rig, opened, restored }
}

const SEGMENT_BYTES: u64 = 16 * 1024;

#[test]
fn a_store_of_format_1_is_read() {
    let folder = TestFolder::new("format-1");
    copy_store(&fixture("format-1"), &folder.0);
    let running = start(&folder.0, 10_000);
    assert!(running.opened.snapshot.is_some() && running.opened.recovery.frames > 10);
    assert!(running.opened.faults.is_empty() && running.opened.recovery.damaged.is_empty());
    check_format_1_as_found(&running);
    running.store.close().unwrap();
    drop(running);
    // And from what this version makes of it.
    let running = start(&folder.0, 20_000);
    assert_eq!(running.opened.recovery.frames, 0);
    check_format_1_as_found(&running);
    check_format_1_by_its_clients(running);
}

/// What the control plane shows.
fn check_format_1_as_found(running: &Running) {
    let broker = &running.rig.broker;
    let expected = Restored {
        sessions: 5,
        subscriptions: 7,
        queued: 21,
        retained: 2,
        delayed: 1,
        settings: 3,
        lost: 0,
    };
    assert_eq!(running.restored, expected);
    let subscriptions: Vec<_> = ["away", "flight", "old", "sender", "willing", "ended"]
        .iter()
        .map(|id| (*id, subscriptions(broker, id)))
        .collect();
    let expected = [
        (
            "away",
            vec![
                "$share/group/shared/# 1 id 0 group Some(\"group\")",
                "a/# 2 id 5 group None",
                "a/+ 45 id 77 group None",
            ],
        ),
        ("flight", vec!["f/# 2 id 0 group None"]),
        ("old", vec!["a/b 2 id 0 group None", "big 1 id 0 group None"]),
        ("sender", vec![]),
        ("willing", vec!["w 1 id 0 group None"]),
        ("ended", vec![]),
    ];
    let expected = expected.map(|(id, list)| (id, list.into_iter().map(String::from).collect()));
    assert_eq!(subscriptions, expected);
    assert!(broker.session("ended").is_none());
    let bans = rig.bans();
    assert!(bans.iter().all(|(_, ban)| ban.by.as_deref() == Some("operator")));
    let reasons: BTreeSet<_> = bans.iter().filter_map(|(_, ban)| ban.reason.as_deref()).collect();
    assert_eq!(reasons, BTreeSet::from(["before the snapshot", "behind it"]));
    assert_eq!(broker.setting("colour", "roof").as_deref(), Some(&b"red"[..]));
    assert_eq!(broker.setting("colour", "door"), None);
    let old = broker.session("old").unwrap();
    assert_eq!(old.client.username.as_deref(), Some("user"));
    assert_eq!(old.client.version, V3);
    assert_eq!(broker.session("away").unwrap().expiry_s, 1_000_000);
    assert_eq!(broker.session("sender").unwrap().awaiting_rel, 1);
}

/// What its clients get when they come back.
fn check_format_1_by_its_clients(running: Running) {
    let Running { store, mut rig, .. } = running;
    let c = rig.hello(Hello::v5("away").lasting(1_000_000));
    check_lines(
        &received(&mut rig, c, 7),
        &[
            "CONNACK present=1 0x00",
            "PUBLISH retain q1 #1 a/x=first k:v expiry=999980 sub=5 sub=77",
            "PUBLISH q2 #2 a/b=second sub=5 sub=77",
            "PUBLISH q1 #3 shared/x=third",
            "PUBLISH q2 #4 a/sent=sent sub=5 sub=77",
            "PUBLISH q1 #5 a/y=behind the snapshot sub=5 sub=77",
            "PUBLISH q2 #6 a/sent=released sub=5 sub=77",
        ],
    );
    let c = rig.hello(Hello::v5("flight").lasting(1_000_000));
    check_lines(
        &received(&mut rig, c, 4),
        &[
            "CONNACK present=1 0x00",
            "PUBREL #4 0x00",
            "PUBLISH dup q1 #1 f/1=not acknowledged",
            "PUBLISH dup q2 #3 f/3=not received",
        ],
    );
    let c = rig.hello(Hello::v3("old").user("user").lasting(0));
    let out = received(&mut rig, c, 14);
    assert_eq!(out[..2], ["CONNACK present=1 0x00", "PUBLISH dup q2 #1 a/b=second"]);
    assert_eq!(out[2..].len(), 12);
    assert!(out[2..].iter().all(|line| line.ends_with("big=<1000 bytes>")), "{out:?}");
    // Identifier 9 was not released: a duplicate of it reaches nobody. 10 was.
    let c = rig.client("looks");
    rig.subscribed(c, "nobody/knows", Q1);
    let sender = rig.hello(Hello::v5("sender").lasting(1_000_000));
    let mut again = message("nobody/knows", "sent", Q2, 9);
    again.dup = true;
    rig.send(sender, &Packet::Publish(again));
    rig.publish(sender, "nobody/knows", "new", Q2, 10);
    check_lines(&rig.out(c), &["PUBLISH q1 #1 nobody/knows=new"]);
    rig.puback(c, 1);
    rig.subscribe(c, "r/#", Q1);
    let mut retained = rig.out(c);
    retained.sort();
    check_lines(
        &retained,
        &["PUBLISH retain q0 r/kept=kept", "PUBLISH retain q0 r/late=late", "SUBACK #77 01"],
    );
    rig.subscribed(c, "will/#", Q1);
    rig.subscribed(c, "later", Q1);
    rig.pass_s(120);
    check_lines(&rig.out(c), &["PUBLISH q1 #2 will/topic=will"]);
    rig.pass_s(3600);
    check_lines(&rig.out(c), &["PUBLISH q1 #3 later=delayed"]);
    store.close().unwrap();
}

/// Packets of a client; bodies are read back by another thread.
fn received(rig: &mut Rig, c: C, packets: usize) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut lines = rig.out(c);
    while lines.len() < packets && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
        rig.turn.begin(rig.now);
        rig.settle();
        lines.extend(rig.out(c));
    }
    lines
}

#[track_caller]
fn check_lines(lines: &[String], expected: &[&str]) {
    assert_eq!(lines, expected);
}

/// Filters in order, with the bits of their options.
fn subscriptions(broker: &Broker, id: &str) -> Vec<String> {
    let line = |s: &broker_core::Subscription| {
        format!("{} {} id {} group {:?}", s.filter, s.options.bits(), s.identifier, s.share())
    };
    let mut lines: Vec<_> = broker.subscriptions(id).unwrap_or_default().iter().map(line).collect();
    lines.sort();
    lines
}

#[test]
#[ignore = "writes the store that the other test reads; done once for each format"]
fn make_format_1() {
    let target = fixture("format-1");
    assert!(!target.exists(), "{} is there and stays as it is", target.display());
    let folder = TestFolder::new("make-format-1");
    let mut running = start(&folder.0, 0);
    fill_before_a_stop(&mut running.rig);
    running.store.close().unwrap();
    drop(running);
    let mut running = start(&folder.0, 1000);
    fill_before_the_snapshot(&mut running.rig);
    running.store.snapshot().unwrap();
    fill_behind_the_snapshot(&mut running);
    copy_store(&folder.0, &target);
}

fn fill_before_a_stop(rig: &mut Rig) {
    let away = rig.join(Hello::v5("away").lasting(1_000_000));
    let options = SubscriptionOptions {
        qos: Q1,
        no_local: true,
        retain_as_published: true,
        retain_handling: broker_codec::RetainHandling::DoNotSend,
    };
    rig.subscribe_with(away, "a/+", options, 77);
    rig.subscribe_with(away, "a/#", SubscriptionOptions { qos: Q2, ..Default::default() }, 5);
    rig.subscribe(away, "$share/group/shared/#", Q1);
    rig.subscribe(away, "given/up", Q1);
    rig.unsubscribe(away, "given/up");
    rig.lose(away);
    let old = rig.join(Hello::v3("old").user("user").lasting(0));
    rig.subscribe(old, "a/b", Q2);
    rig.lose(old);
    let ended = rig.join(Hello::v5("ended").lasting(1000).will("will/done", "done"));
    rig.subscribe(ended, "a/#", Q1);
    rig.lose(ended);
    let p = rig.client("p");
    let first = Publish { retain: true, ..message("a/x", "first", Q1, 1) };
    rig.publish_with(
        p,
        first,
        &[Property::UserProperty("k", "v"), Property::MessageExpiryInterval(1_000_000)],
    );
    rig.retain(p, "a/x", "");
    rig.retain(p, "r/kept", "kept");
    rig.retain(p, "r/cleared", "cleared");
}

fn fill_before_the_snapshot(rig: &mut Rig) {
    let p = rig.client("p");
    rig.publish(p, "a/b", "second", Q2, 2);
    rig.publish(p, "shared/x", "third", Q1, 3);
    rig.publish(p, "$delayed/3600/later", "delayed", Q1, 4);
    ban(rig, Who::ClientId("banned".into()), "before the snapshot");
    let _ = rig.broker.put_setting("colour", "door", b"green");
    let flight = rig.join(Hello::v5("flight").lasting(1_000_000));
    rig.subscribe(flight, "f/#", Q2);
    rig.publish(p, "f/1", "not acknowledged", Q1, 5);
    rig.publish(p, "f/2", "acknowledged", Q1, 6);
    rig.publish(p, "f/3", "not received", Q2, 7);
    rig.publish(p, "f/4", "received", Q2, 8);
    rig.pubrel(p, 7);
    rig.puback(flight, 2);
    rig.pubrec(flight, 4);
    let sender = rig.join(Hello::v5("sender").lasting(1_000_000));
    rig.publish(sender, "a/sent", "sent", Q2, 9);
    rig.publish(p, "$delayed/1/soon", "soon", Q1, 12);
    rig.pass_s(2);
}

fn fill_behind_the_snapshot(running: &mut Running) {
    let Running { store, rig, .. } = running;
    let p = rig.client("p");
    // One turn with more than a segment takes in one piece.
    let old = rig.join(Hello::v3("old").user("user").lasting(0));
    rig.subscribe(old, "big", Q1);
    rig.lose(old);
    let big = "x".repeat(1000);
    (20..32).for_each(|id| rig.post(p, &publish("big", &big, Q1, id)));
    rig.feed_all();
    rig.publish(p, "a/y", "behind the snapshot", Q1, 10);
    rig.retain(p, "r/cleared", "");
    rig.retain(p, "r/late", "late");
    let flight = rig.join(Hello::v5("flight").lasting(1_000_000));
    rig.publish(p, "f/5", "completed", Q2, 11);
    rig.pubrec(flight, 5);
    rig.pubcomp(flight, 5);
    rig.lose(flight);
    let sender = rig.join(Hello::v5("sender").lasting(1_000_000));
    rig.publish(sender, "a/sent", "released", Q2, 10);
    rig.pubrel(sender, 10);
    let away = rig.join(Hello::v5("away").lasting(1_000_000));
    rig.lose(away);
    let ended = rig.join(Hello::v5("ended").lasting(1000).clean());
    rig.disconnect(ended, broker_core::ReasonCode::Success, &[Property::SessionExpiryInterval(0)]);
    let late =
        rig.join(Hello::v5("willing").lasting(1000).will("will/topic", "will").will_delay(60));
    rig.subscribe(late, "w", Q1);
    ban(rig, Who::Address([192, 0, 2, 77].into()), "behind it");
    let _ = rig.broker.put_setting("colour", "roof", b"red");
    // A record that may be skipped, too large for one piece.
    let mut payload = vec![200, 0x90, 0x4e];
    payload.resize(3 + 10_000, b'?');
    store.append(&payload);
    // A body moves as compaction moves it.
    let mut moved = None;
    rig.broker.visit_bodies(&mut |place| moved = moved.take().or_else(|| Some(place.clone())));
    let place = moved.unwrap();
    let mut payload = Vec::new();
    Record::Moved { from: place.at }.encode(&mut payload);
    payload.extend_from_slice(&store.bodies().read(&place).unwrap());
    store.append(&payload);
    let saved = rig.broker.remove_setting("colour", "door");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !rig.broker.is_saved(saved) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn ban(rig: &Rig, who: Who, reason: &str) {
    let (reason, by) = (Some(reason.into()), Some("operator".into()));
    let ban = Ban { reason, by, ..Ban::until(u64::MAX) };
    let _ = rig.broker.ban(&who, ban, rig.now.wall_ms);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// What of a data folder is the store.
fn copy_store(from: &Path, to: &Path) {
    for part in ["log", "snap"] {
        fs::create_dir_all(to.join(part)).unwrap();
        for entry in fs::read_dir(from.join(part)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(part).join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::copy(from.join("IDENTITY"), to.join("IDENTITY")).unwrap();
}

struct TestFolder(PathBuf);

impl TestFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("upgrade-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
