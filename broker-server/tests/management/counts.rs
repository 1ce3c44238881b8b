//! `metrics`, `stats`, `drops`, and what Prometheus gets.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::broker::{Broker, NODE, eventually};
use crate::http::keys;

/// The names of a table in the spec: 43 metrics; and those of rules, which came with 3.2.
const METRICS: usize = 43 + 3;

fn publish(broker: &Broker, flags: &[&str]) {
    let address = broker.address("mqtt:tcp:external");
    let (host, port) = address.rsplit_once(':').unwrap();
    let status = Command::new("mosquitto_pub").args(["-h", host, "-p", port]).args(flags).status();
    assert!(status.expect("mosquitto_pub is there").success());
}

#[test]
fn metrics_are_wrapped_and_stats_are_flat() {
    let broker = Broker::start();
    let api = broker.api();
    // The broker itself retains some below $SYS.
    let retained = api.data("stats")[0]["retained/count"].as_u64().unwrap();
    publish(&broker, &["-t", "a/b", "-m", "hello", "-q", "1"]);
    // The publisher does not wait until its DISCONNECT is read.
    let disconnects = || api.data("metrics")[0]["metrics"]["packets/disconnect/received"].as_u64();
    eventually(|| disconnects().filter(|n| *n == 1));
    let listed = api.data("metrics/");
    assert_eq!(keys(&listed[0]), ["metrics", "node"]);
    assert_eq!(listed[0]["node"], NODE);
    let metrics = api.data(&format!("nodes/{NODE}/metrics/"));
    assert_eq!(metrics.as_object().unwrap().len(), METRICS);
    for (name, value) in [
        ("packets/connect", 1),
        ("packets/connack", 1),
        ("packets/publish/received", 1),
        ("packets/puback/sent", 1),
        ("packets/disconnect/received", 1),
        ("packets/received", 3),
        ("messages/qos1/received", 1),
        ("messages/received", 1),
        ("messages/dropped", 1),
        ("messages/retained", retained),
    ] {
        assert_eq!(metrics[name], value, "{name}");
    }
    publish(&broker, &["-t", "a/b", "-m", "hello", "-r"]);
    eventually(|| disconnects().filter(|n| *n == 2));
    let stats = &api.data("stats")[0];
    assert_eq!(stats["node"], NODE);
    assert_eq!(stats["retained/count"], retained + 1);
    assert_eq!(stats["connections/count"], 0);
    assert_eq!(stats["connections/max"], 1);
    let stats = api.data(&format!("nodes/{NODE}/stats"));
    assert_eq!(stats["node"], Value::Null);
    assert_eq!(stats["retained/max"], retained + 1);
    assert_eq!(api.data("drops")[0]["drops"]["queue_full"], 0);
    assert_eq!(api.data(&format!("nodes/{NODE}/drops"))["no_local"], 0);
}

#[test]
fn another_node_has_no_counts() {
    let broker = Broker::start();
    let api = broker.api();
    for path in ["nodes/x/metrics", "nodes/x/stats"] {
        let answer = api.call("GET", path, "");
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json(), json!({ "code": 102, "message": "node x not found" }));
    }
}

/// Names, with their labels, and values.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

#[test]
fn prometheus_gets_every_count() {
    let broker = Broker::start();
    let api = broker.api();
    assert_eq!(api.raw("GET", "/metrics", "", "").status, 401);
    publish(&broker, &["-t", "a/b", "-m", "hello", "-q", "2", "-r"]);
    let connected = || api.data("stats")[0]["connections/count"].as_u64();
    eventually(|| connected().filter(|n| *n == 0));
    let text = api.curl(&[], "/metrics");
    let samples = samples(&text);
    for (name, value) in [
        ("mqtt_packets_received_total{type=\"publish\"}", 1.0),
        ("mqtt_packets_received_total{type=\"pubrel\"}", 1.0),
        ("mqtt_packets_sent_total{type=\"pubcomp\"}", 1.0),
        ("mqtt_messages_received_total{qos=\"2\"}", 1.0),
        ("mqtt_messages_dropped_total{reason=\"no_subscriber\"}", 1.0),
        ("mqtt_connections", 0.0),
        ("mqtt_connections_max", 1.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}\n{text}");
    }
    assert_eq!(samples["mqtt_retained_messages"], samples["mqtt_retained_messages_max"]);
    assert!(samples["process_resident_memory_bytes"] > 1e6);
    assert!(text.ends_with('\n'));
}

#[test]
fn prometheus_gets_what_the_store_counts_and_measures() {
    let broker = Broker::start();
    let api = broker.api();
    publish(&broker, &["-t", "a/b", "-m", "hello", "-q", "1", "-r"]);
    let told = samples(&api.curl(&[], "/metrics"));
    let stats = api.data("store/stats")[0]["stats"].take();
    let stats = stats.as_object().unwrap();
    let told_of_store = told.keys().filter(|name| name.starts_with("mqtt_store_"));
    let words = told_of_store.filter(|name| !name.contains("_seconds_")).count();
    assert_eq!(words, stats.len(), "each once: {stats:?}");
    for word in ["frames", "bytes", "syncs"] {
        let value = told[&format!("mqtt_store_{word}_total")];
        assert!(value > 0.0 && value <= stats[word].as_f64().unwrap(), "{word}");
    }
    assert!(told["mqtt_store_durable_lsn"] > 0.0);
    for name in ["sync", "commit_wait"] {
        let of = |what: &str| told[&format!("mqtt_store_{name}_seconds_{what}")];
        assert!(of("count") > 0.0 && of("sum") > 0.0, "{name}");
        assert_eq!(of("bucket{le=\"+Inf\"}"), of("count"), "{name}");
    }
}

#[test]
fn other_origins_are_not_let_in() {
    let broker = Broker::start();
    for method in ["OPTIONS", "GET"] {
        let arguments = ["-i", "-X", method, "-H", "Origin: http://elsewhere.example"];
        let answer = broker.api().curl(&arguments, "/api/v3/brokers/").to_lowercase();
        assert!(answer.starts_with("http/1.1 "), "{answer}");
        assert!(!answer.contains("access-control"), "{answer}");
    }
}
