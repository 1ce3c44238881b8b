//! What the weaker levels promise when the process is killed; kill_loop has the strong ones under load.

use crate::broker::Broker;
use crate::client::{elapse, v5};
use crate::queues::by_qos;
use crate::retained::drain;
use crate::wire::publish;

/// The operating system has what was acknowledged, and outlives the process.
#[test]
fn written_loses_nothing_with_the_process() {
    let mut broker = Broker::new(&[("durability.level", "\"written\"")]);
    v5().id("sub").expiry(100).open().subscribe("t", 2);
    let mut publisher = v5().open();
    for n in 0..50 {
        publisher.publish(publish("t", 1 + n % 2, n.to_string()));
    }
    broker.crash();
    let mut client = v5().id("sub").resume().expiry(100).open();
    let all = [0, 1].map(|first| (first..50).step_by(2).collect::<Vec<_>>());
    assert_eq!(by_qos(&drain(&mut client)), all);
}

/// What is older than the interval is there.
#[test]
fn memory_loses_no_more_than_the_interval() {
    let mut broker = Broker::new(&[
        ("durability.level", "\"memory\""),
        ("durability.sync_interval", "\"100ms\""),
    ]);
    v5().id("sub").expiry(100).open().subscribe("t", 1);
    let mut publisher = v5().open();
    for n in 0..50 {
        publisher.publish(publish("t", 1, n.to_string()));
    }
    elapse(1_000);
    publisher.publish(publish("t", 1, "50"));
    broker.crash();
    let mut client = v5().id("sub").resume().expiry(100).open();
    assert!(client.session_present);
    let texts: Vec<_> = drain(&mut client).iter().map(|m| m.text()).collect();
    let all: Vec<_> = (0..51).map(|n| n.to_string()).collect();
    assert!(texts.len() >= 50 && texts == all[..texts.len()], "{texts:?}");
}

/// A topic may have a level of its own, and the strictest counts.
#[test]
fn topics_have_levels_of_their_own() {
    let mut broker = Broker::new(&[
        ("durability.level", "\"memory\""),
        ("durability.sync_interval", "\"1h\""),
        ("durability.topics", "[\"alarm/# fsync\", \"alarm/+/x memory\", \"log/# written\"]"),
    ]);
    let filters = [("plain", 1), ("alarm/#", 1), ("log/#", 1)];
    v5().id("sub").expiry(100).open().subscribe_many(&filters, &[]);
    let mut publisher = v5().open();
    for n in 0..20 {
        publisher.publish(publish("plain", 1, "plain"));
        publisher.publish(publish(["alarm/a", "alarm/a/x", "log/x"][n % 3], 1, n.to_string()));
    }
    broker.crash();
    let mut client = v5().id("sub").resume().expiry(100).open();
    assert!(client.session_present);
    let messages = drain(&mut client);
    let kept = messages.iter().filter(|m| m.topic != "plain").map(|m| m.text());
    assert_eq!(kept.collect::<Vec<_>>(), (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// A session whose SUBACK waited for nothing may be gone; the broker then says so.
#[test]
fn a_session_is_there_with_its_subscriptions_or_not_at_all() {
    let mut broker =
        Broker::new(&[("durability.level", "\"memory\""), ("durability.sync_interval", "\"1h\"")]);
    let mut client = v5().id("sub").expiry(100).open();
    client.subscribe("t", 1);
    broker.crash();
    let mut client = v5().id("sub").resume().expiry(100).open();
    if !client.session_present {
        client.subscribe("t", 1);
    }
    v5().open().publish(publish("t", 1, "x"));
    assert_eq!(client.take().text(), "x");
}
