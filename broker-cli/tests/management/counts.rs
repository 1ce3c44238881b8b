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
    assert!(ctl.contains("Alarm(store_disk_low, desc=warning: store disk low: "), "{ctl}");
    assert_eq!(broker.cli("alarms clear store_disk_low"), "cleared store_disk_low\n");
    broker.fails("alarms clear nothing", 1, "not_found (code 102)");
    let history = broker.cli("alarms history");
    assert!(history.starts_with("ALARM ") && history.contains("store_disk_low"), "{history}");
    broker.cli("alarms forget-history");
    assert!(!broker.cli("alarms history").contains("store_disk_low"));
}

#[test]
fn what_was_measured_is_the_description_and_a_client_is_named() {
    let broker = Broker::start_with(
        "[os_mon]\ncpu_check_interval = \"100ms\"\ncpu_high_watermark = \"0%\"\n\
         cpu_low_watermark = \"0%\"\n[mqtt]\nmax_mqueue_len = 1\n",
    );
    // A session that waits for its client.
    broker.mqtt("sub -i a/way -c -q 1 -t t -E");
    for _ in 0..2 {
        broker.mqtt("pub -q 1 -t t -m x");
    }
    let table = eventually(|| {
        let table = broker.cli("alarms");
        ["cpu_high_watermark", "queue_overflow/a/way"]
            .iter()
            .all(|id| table.contains(id))
            .then_some(table)
    });
    let line = |id: &str| table.lines().find_map(|line| line.strip_prefix(id)).unwrap().trim();
    assert!(line("cpu_high_watermark").parse::<f64>().is_ok(), "{table}");
    assert!(line("queue_overflow/a/way").starts_with("warning: queue overflow: "), "{table}");
    let details = &broker.json("alarms")[0]["alarms"][1]["details"];
    assert_eq!(details["client_id"], "a/way");
    assert_eq!(broker.cli("alarms clear queue_overflow/a/way"), "cleared queue_overflow/a/way\n");
    assert!(broker.cli("alarms history").contains("queue_overflow/a/way"));
}
