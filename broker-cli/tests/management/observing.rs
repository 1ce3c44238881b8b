//! Who is slow, and what becomes of single topics.

use std::time::Duration;

use serde_json::json;

use crate::broker::{Broker, Subscriber, eventually};

#[test]
fn a_subscriber_that_acknowledges_late_is_listed() {
    let broker = Broker::start_with("[module.slow_subs]\nthreshold = \"100ms\"\n");
    assert_eq!(broker.run(&["slow-subscriptions"]).stderr, "broker-cli: no slow subscriptions\n");
    let subscriber = Subscriber::start(&broker, "-i sleepy -q 1 -t t/#");
    eventually(|| (broker.json("stats")["subscriptions/count"] == 1).then_some(()));
    subscriber.pause();
    broker.mqtt("pub -q 1 -t t/1 -m x");
    std::thread::sleep(Duration::from_millis(150));
    subscriber.go_on();
    let list = || broker.json("slow-subscriptions")[0]["slow_subscriptions"].take();
    let rows = eventually(|| Some(list()).filter(|rows| *rows != json!([])));
    assert_eq!((&rows[0]["client_id"], &rows[0]["topic"]), (&json!("sleepy"), &json!("t/1")));
    let latency_ms = rows[0]["latency_ms"].as_u64().unwrap();
    assert!(latency_ms >= 150, "{rows}");
    let table = broker.cli("slow-subscriptions");
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap()[..3], ["CLIENT", "ID", "TOPIC"]);
    let cells = lines.next().unwrap();
    assert_eq!(cells[..4], ["sleepy", "t/1", &latency_ms.to_string(), "1"]);
    let ctl = broker.cli("slow-subscriptions list --format emqx");
    assert_eq!(ctl, format!("sleepy -> t/1: {latency_ms} ms\n"));
    broker.cli("slow-subscriptions clear");
    assert_eq!(list(), json!([]));
}

#[test]
fn topics_are_counted_when_they_are_added() {
    let broker = Broker::start();
    assert_eq!(broker.run(&["topic-metrics"]).stderr, "broker-cli: no topics that are counted\n");
    assert_eq!(broker.cli("topic-metrics add plant/1"), "'plant/1' is counted\n");
    broker.fails("topic-metrics add plant/1", 1, "already_exists (code 102)");
    broker.fails("topic-metrics add plant/+", 1, "topic: wildcard in a topic name at byte 6");
    broker.mqtt("pub -q 1 -t plant/1 -m nobody");
    let mut subscriber = Subscriber::start(&broker, "-q 1 -t plant/#");
    eventually(|| (broker.json("stats")["subscriptions/count"] == 1).then_some(()));
    broker.mqtt("pub -q 1 -t plant/1 -m somebody");
    broker.mqtt("pub -q 1 -t plant/2 -m elsewhere");
    assert_eq!(subscriber.line(), "somebody");
    let table = eventually(|| {
        let table = broker.cli("topic-metrics list");
        let row: Vec<_> = table.lines().nth(1)?.split_whitespace().collect();
        (row == ["plant/1", "2", "1", "1"]).then_some(table)
    });
    assert!(table.starts_with("TOPIC "), "{table}");
    let shown = broker.cli("topic-metrics show plant/1 --format emqx");
    assert!(shown.lines().any(|line| line == "bytes/in                      : 14"), "{shown}");
    let one = broker.json("topic-metrics show plant/1");
    assert_eq!(one["metrics"]["messages/qos1/in/count"], 2);
    broker.fails("topic-metrics show plant/2", 1, "not_found (code 102)");
    assert_eq!(broker.cli("topic-metrics del plant/1"), "'plant/1' is not counted any more\n");
    broker.fails("topic-metrics del plant/1", 1, "not_found (code 102)");
    assert_eq!(broker.json("topic-metrics"), json!([]));
}
