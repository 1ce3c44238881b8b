//! Wills across a crash.

use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::client::{Client, Will, elapse, v5};
use crate::retained::drain;
use crate::wire::publish;

fn watcher() -> Client {
    v5().id("watcher").resume().expiry(100).open()
}

fn texts(client: &mut Client) -> Vec<String> {
    drain(client).iter().map(|message| message.text()).collect()
}

/// Will Delay Interval goes on [MQTT-3.1.3-9].
#[test]
fn a_delayed_will_is_published_once_after_the_start() {
    let mut broker = Broker::new(&[]);
    watcher().subscribe("will/#", 1);
    let will = Will::new("will/a", "lost").qos(1).delay(2);
    let began = Instant::now();
    v5().id("lost").expiry(100).will(will).open().lose();
    broker.settle();
    broker.crash();
    let mut client = watcher();
    assert!(client.session_present);
    let message = client.take();
    assert_eq!(message.text(), "lost");
    assert!(began.elapsed() > Duration::from_millis(1_900), "{:?}", began.elapsed());
    broker.settle();
    broker.crash();
    elapse(300);
    assert!(texts(&mut watcher()).is_empty(), "it came twice");
}

/// A crash is no DISCONNECT: the Wills of those who were connected come, unless they are back in time.
#[test]
fn wills_of_connected_clients_are_published_after_a_crash() {
    let mut broker = Broker::new(&[]);
    watcher().subscribe("will/#", 1);
    let connect = |id: &str, delay| {
        let will = Will::new(&format!("will/{id}"), id).qos(1).delay(delay);
        v5().id(id).expiry(100).will(will)
    };
    let at_once = connect("at-once", 0).open();
    let late = connect("late", 1).open();
    let back = connect("back", 3).open();
    connect("polite", 0).open().disconnect();
    broker.settle();
    broker.kill();
    drop((at_once, late, back));
    broker.restart();
    let back = connect("back", 3).resume().open();
    assert!(back.session_present);
    elapse(3_500);
    let mut got = texts(&mut watcher());
    got.sort();
    assert_eq!(got, ["at-once", "late"]);
    broker.settle();
    back.disconnect();
    broker.settle();
    broker.crash();
    elapse(300);
    assert!(texts(&mut watcher()).is_empty());
}

/// Presence: "online" must not stay retained for ever, though the session is not kept.
#[test]
fn retained_wills_of_sessions_that_are_not_kept_are_published() {
    let mut broker = Broker::new(&[]);
    watcher().subscribe("will/plain", 1);
    let will = Will::new("presence/x", "offline").qos(1).retain();
    let mut present = v5().id("present").will(will).open();
    present.publish(publish("presence/x", 1, "online").retain());
    let plain = v5().id("plain").will(Will::new("will/plain", "plain").qos(1)).open();
    broker.settle();
    broker.kill();
    drop((present, plain));
    broker.restart();
    let mut client = v5().open();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        client.subscribe("presence/#", 1);
        let message = client.take();
        if message.text() == "offline" {
            assert!(message.retain);
            break;
        }
        assert!(Instant::now() < deadline, "it stays {:?}", message.text());
    }
    // wills.keep = "retained" is the default: this one is not among them.
    assert!(texts(&mut watcher()).is_empty());
}

#[test]
fn wills_can_be_dropped_after_a_crash_or_not_be_kept() {
    for (key, value) in [("wills.after_crash", "\"drop\""), ("wills.keep", "\"none\"")] {
        let mut broker = Broker::new(&[(key, value)]);
        watcher().subscribe("will", 1);
        let will = Will::new("will", "will").qos(1).retain();
        let client = v5().id("client").expiry(100).will(will).open();
        broker.settle();
        broker.kill();
        drop(client);
        broker.restart();
        elapse(500);
        assert!(texts(&mut watcher()).is_empty(), "{key}");
        assert!(v5().id("client").resume().open().session_present);
    }
}

#[test]
fn wills_of_all_can_be_kept() {
    let mut broker = Broker::new(&[("wills.keep", "\"all\"")]);
    watcher().subscribe("will", 1);
    let client = v5().id("client").will(Will::new("will", "will").qos(1)).open();
    broker.settle();
    broker.kill();
    drop(client);
    broker.restart();
    assert_eq!(watcher().take().text(), "will");
}
