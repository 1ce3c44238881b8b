//! A disk that fails: no write succeeds any more, from one moment on.
//!
//! The broker may not make files any longer (`prlimit --fsize`), and ignores the signal that comes with that: each of its
//! writes fails then, and not for want of space.

use std::process::Command;

use crate::broker::{Broker, Keys, eventually};
use crate::client::{Client, v5};
use crate::wire::publish;

/// A client that is away, and messages for it that were acknowledged.
fn with_messages(keys: Keys<'_>) -> (Broker, Client, usize) {
    let broker = Broker::new(keys);
    let mut sleeper = v5().id("sleeper").expiry(1_000).open();
    sleeper.subscribe("kept", 1);
    sleeper.disconnect();
    let mut publisher = v5().open();
    for n in 0..20 {
        assert_eq!(publisher.publish(publish("kept", 1, n.to_string())), 0);
    }
    (broker, publisher, 20)
}

fn break_disk(broker: &Broker) {
    let pid = broker.pid().to_string();
    let limited = Command::new("prlimit").args(["--fsize=0:", "--pid", &pid]).status().unwrap();
    assert!(limited.success());
}

/// What was acknowledged, in order, and at most what was not behind it.
fn assert_kept(n_acknowledged: usize) {
    let mut sleeper = v5().id("sleeper").resume().expiry(1_000).open();
    assert!(sleeper.session_present);
    let got = crate::retained::drain(&mut sleeper);
    assert!(got.len() >= n_acknowledged, "{} of {n_acknowledged}", got.len());
    for (n, message) in got.iter().take(n_acknowledged).enumerate() {
        assert_eq!(message.text(), n.to_string());
    }
}

#[test]
fn a_disk_that_fails_ends_acknowledgements_and_nothing_else() {
    let (mut broker, mut publisher, n_kept) = with_messages(&[]);
    let mut bystander = v5().open();
    bystander.subscribe("free", 1);
    break_disk(&broker);
    // What came in at that very moment stays unanswered, and what its client sends behind it.
    publisher.send_publish(&publish("kept", 1, "more").id(1_000));
    eventually(|| broker.log().contains("store_failed").then_some(()));
    assert!(publisher.recv_within(100).is_none());
    let mut publisher = v5().open();
    assert_eq!(publisher.publish(publish("kept", 1, "and more")), 0x97);
    // Nobody has to be waited for who keeps nothing.
    assert!(publisher.publish(publish("free", 1, "on")) < 0x80);
    assert_eq!(bystander.take().text(), "on");
    broker.crash();
    assert_kept(n_kept);
    broker.assert_serves();
}

#[test]
fn a_broker_that_is_to_end_when_its_disk_fails_does() {
    let (mut broker, mut publisher, n_kept) =
        with_messages(&[("durability.on_failure", "\"exit\"")]);
    break_disk(&broker);
    let id = publisher.packet_id();
    publisher.send_publish(&publish("kept", 1, "more").id(id));
    let status = broker.wait_for_end();
    assert_eq!(status.code(), Some(1), "{status}");
    eventually(|| broker.log().contains("durability.on_failure is exit").then_some(()));
    broker.restart();
    assert_kept(n_kept);
}
