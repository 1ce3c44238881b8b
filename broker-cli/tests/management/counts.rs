//! Counters, statistics and alarms, as real clients move them.

use crate::broker::{Broker, Subscriber, eventually};

#[test]
fn metrics_and_stats_count_real_clients() {
    let broker = Broker::start();
    let mut subscriber = Subscriber::start(&broker, "-i sub -q 1 -t t/#");
    eventually(|| (broker.json("stats")["subscriptions/count"] == 1).then_some(()));
    broker.mqtt("pub -i pub -q 1 -t t/1 -m hello");
    assert_eq!(subscriber.line(), "hello");
    // The PUBACK of the subscriber comes after what it prints.
    eventually(|| (broker.json("metrics")["packets/puback/received"] == 1).then_some(()));
    let metrics = broker.json("metrics");
    for (name, value) in [
        ("packets/connect", 2),
        ("messages/received", 1),
        ("messages/qos1/received", 1),
        ("messages/qos1/sent", 1),
        ("packets/subscribe", 1),
    ] {
        assert_eq!(metrics[name], value, "{name}");
    }
    let table = broker.cli("broker metrics");
    assert!(table.lines().any(|line| line == "packets/connect              2"), "{table}");
    let ctl = broker.cli("broker metrics --format emqx");
    assert!(ctl.lines().any(|line| line == "packets/connect         : 2"), "{ctl}");
    let stats = broker.cli("broker stats --format emqx");
    assert!(stats.lines().any(|line| line == "sessions/count                : 1"), "{stats}");
    assert!(stats.lines().any(|line| line == "connections/max               : 2"), "{stats}");
}

#[test]
fn drops_are_counted_by_reason() {
    let broker = Broker::start_with("[mqtt]\nmax_mqueue_len = 1\n");
    // A session that waits for its client.
    broker.mqtt("sub -i away -c -q 1 -t t -E");
    for _ in 0..3 {
        broker.mqtt("pub -q 1 -t t -m x");
    }
    assert_eq!(broker.json("drops")["queue_full"], 2);
    assert!(
        broker
            .cli("drops")
            .lines()
            .any(|line| line.starts_with("queue_full ") && line.ends_with(" 2"))
    );
}

#[test]
fn retained_messages_are_counted() {
    let broker = Broker::start();
    let total = || -> u64 {
        let line = broker.cli("retainer info --format emqx");
        line.strip_prefix("retained/total: ").unwrap().trim_end().parse().unwrap()
    };
    // What the broker says of itself is retained too.
    let before = total();
    broker.mqtt("pub -q 1 -r -t kept -m x");
    assert_eq!(total(), before + 1);
}

#[test]
fn an_alarm_is_present_until_it_is_history() {
    // More than any disk has.
    let broker = Broker::start_with("[store]\nmin_free_bytes = \"1048576GB\"\n");
    eventually(|| broker.cli("alarms").contains("store_disk_low").then_some(()));
    let ctl = broker.cli("alarms --format emqx");
    assert!(ctl.contains("Alarm(store_disk_low, desc="), "{ctl}");
    assert_eq!(broker.cli("alarms clear store_disk_low"), "cleared store_disk_low\n");
    broker.fails("alarms clear nothing", 1, "not_found (code 102)");
    let history = broker.cli("alarms history");
    assert!(history.starts_with("ALARM ") && history.contains("store_disk_low"), "{history}");
    broker.cli("alarms forget-history");
    assert!(!broker.cli("alarms history").contains("store_disk_low"));
}
