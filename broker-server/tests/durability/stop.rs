//! A stop that was asked for, and the start after it.

use crate::broker::Broker;
use crate::client::v5;
use crate::retained::drain;
use crate::wire::publish;

#[test]
fn a_stop_keeps_everything_and_the_next_start_is_quick() {
    let mut broker = Broker::new(&[]);
    let mut client = v5().id("sub").expiry(1_000).open();
    client.subscribe("t/#", 1);
    client.disconnect();
    let mut publisher = v5().open();
    for n in 0..1_000 {
        publisher.publish(publish("t/queued", 1, n.to_string()));
    }
    publisher.publish(publish("r", 1, "retained").retain());
    // Nothing waits for these, but a stop is no crash.
    publisher.publish(publish("r/quick", 0, "retained").retain());
    publisher.publish(publish("t/quick", 0, "queued"));
    drop(publisher);
    broker.stop();
    broker.restart();
    // Two seconds would be slow even for a debug build beside other tests.
    assert!(broker.start_ms() < 2_000, "{} ms", broker.start_ms());
    let mut client = v5().id("sub").resume().expiry(1_000).open();
    assert!(client.session_present);
    // The first is dropped if the quick one is queued as well: the queue holds 1,000.
    let messages = drain(&mut client);
    let numbers: Vec<u32> =
        messages.iter().filter(|m| m.qos == 1).map(|m| m.text().parse().unwrap()).collect();
    assert!(numbers == (0..1_000).collect::<Vec<_>>() || numbers == (1..1_000).collect::<Vec<_>>());
    let mut client = v5().open();
    client.subscribe("r/#", 1);
    let mut topics: Vec<_> = drain(&mut client).into_iter().map(|m| m.topic).collect();
    topics.sort();
    assert_eq!(topics, ["r", "r/quick"]);
}

/// Started and stopped again and again, with a little work in between.
#[test]
fn many_short_lives_lose_nothing() {
    let mut broker = Broker::new(&[]);
    v5().id("sub").expiry(1_000).open().subscribe("t", 1);
    for n in 0..8 {
        v5().open().publish(publish("t", 1, n.to_string()));
        if n % 3 == 0 {
            broker.kill()
        } else {
            broker.stop()
        }
        broker.restart();
    }
    let mut client = v5().id("sub").resume().expiry(1_000).open();
    let texts: Vec<_> = drain(&mut client).iter().map(|m| m.text()).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

/// With other limits than before the data is still there.
#[test]
fn a_store_opens_under_another_configuration() {
    let mut broker = Broker::new(&[]);
    v5().id("sub").expiry(1_000).open().subscribe("t", 1);
    v5().open().publish(publish("t", 1, "kept"));
    broker.stop();
    // A store keeps the size of its files, whatever is asked for.
    broker.restart_with(&[
        ("store.segment_bytes", "\"2MB\""),
        ("durability.level", "\"memory\""),
        ("node.io_threads", "1"),
    ]);
    assert_eq!(v5().id("sub").resume().expiry(1_000).open().take().text(), "kept");
}

#[test]
fn without_a_store_nothing_is_kept_and_nothing_is_written() {
    let mut broker = Broker::new(&[("store.enabled", "false")]);
    let mut client = v5().id("sub").expiry(1_000).open();
    client.subscribe("t", 1);
    assert_eq!(v5().open().publish(publish("t", 1, "x")), 0);
    broker.stop();
    let left: Vec<_> = std::fs::read_dir(broker.data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| ["LOCK", "IDENTITY", "log", "snap"].iter().any(|file| name == file))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    broker.restart();
    assert!(!v5().id("sub").resume().open().session_present);
}
