//! `store`: what it counts, and a backup that is restored.

use std::process::Command;

use serde_json::json;

use crate::broker::{Broker, Folder, NODE};
use crate::http::keys;

fn path(what: &str) -> String {
    format!("nodes/{NODE}/store/{what}")
}

/// Publishes a retained message that the broker has acknowledged.
fn publish(broker: &Broker, topic: &str, payload: &str) {
    let (host, port) = broker.address("mqtt:tcp:external").rsplit_once(':').unwrap();
    let status = Command::new("mosquitto_pub")
        .args(["-h", host, "-p", port, "-q", "1", "-r", "-t", topic, "-m", payload])
        .status();
    assert!(status.expect("mosquitto_pub is there").success());
}

fn retained(broker: &Broker, topic: &str) -> String {
    let (host, port) = broker.address("mqtt:tcp:external").rsplit_once(':').unwrap();
    let output = Command::new("mosquitto_sub")
        .args(["-h", host, "-p", port, "-C", "1", "-W", "20", "-t", topic])
        .output()
        .expect("mosquitto_sub is there");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_the_store_counts_moves_with_what_is_kept() {
    let broker = Broker::start();
    let api = broker.api();
    let before = api.data(&path("stats"));
    publish(&broker, "a", "b");
    let after = api.data(&path("stats"));
    for name in ["frames", "bytes", "syncs", "durable_lsn", "end_lsn"] {
        assert!(after[name].as_u64() > before[name].as_u64(), "{name}: {before} {after}");
    }
    assert!(after["write_amplification"].is_f64(), "{after}");
    assert_eq!(after["bodies_in_memory_bytes"], 0, "nothing is queued");
    let found = ["replayed_frames", "cut_bytes", "damaged"].map(|name| after[name].as_u64());
    assert_eq!(found, [Some(0); 3], "it was new: {after}");
    let all = api.data("store/stats");
    assert_eq!(keys(&all[0]), ["node", "stats"]);
    assert_eq!(all[0]["node"], NODE);
    assert_eq!(keys(&all[0]["stats"]), keys(&after));
    drop(api);
    let again = Broker::start_in(broker.kill(), &[]).api().data(&path("stats"));
    assert!(again["replayed_frames"].as_u64() > Some(0), "{again}");
    assert!(again["start_ms"].as_u64() < Some(60_000), "{again}");
    assert!(after.as_object().unwrap().values().all(|value| value.is_number()), "{after}");
}

#[test]
fn a_backup_is_whole_and_comes_back_to_life() {
    let broker = Broker::start();
    let api = broker.api();
    publish(&broker, "kept", "in the backup");
    let target = broker.folder().join("backup");
    let made = api.post(&path("backup"), &json!({"target": target}));
    assert_eq!(keys(&made["data"]), ["bytes", "files", "from", "to"]);
    assert!(made["data"]["files"].as_u64() >= Some(2), "{made}");
    publish(&broker, "kept", "after the backup");
    assert_eq!(retained(&broker, "kept"), "after the backup\n");

    // A copy of a store is a store.
    let config = broker.folder().join("check.toml");
    std::fs::write(&config, format!("node.data_dir = {target:?}\n")).unwrap();
    let checked = Command::new(env!("CARGO_BIN_EXE_broker-server"))
        .args(["--check-store", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let folder = Folder::new();
    std::fs::rename(&target, folder.data()).unwrap();
    let restored = Broker::start_in(folder, &[]);
    assert_eq!(retained(&restored, "kept"), "in the backup\n");
    // The settings came along.
    restored.api().get("brokers");
}

#[test]
fn a_backup_goes_where_nothing_is() {
    let broker = Broker::start();
    let api = broker.api();
    let check = |body: serde_json::Value, code: u64, message: &str| {
        let failure = api.call("POST", &path("backup"), &body.to_string()).failure();
        assert_eq!(failure, (200, code, message.to_owned()), "{body}");
    };
    check(json!({}), 107, "target: must be there");
    check(json!({"target": "backup"}), 108, "target: must be an absolute path");
    check(json!({"target": ""}), 108, "target: must be an absolute path");
    let full = broker.folder().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("file"), "precious").unwrap();
    check(json!({"target": full}), 102, &format!("{} is not empty", full.display()));
    assert_eq!(std::fs::read_to_string(full.join("file")).unwrap(), "precious");
    let failure = api.call("POST", &path("backup"), r#"{"target":"/proc/nowhere"}"#).failure();
    assert_eq!((failure.0, failure.1), (200, 102));
    assert!(failure.2.contains("/proc/nowhere"), "{failure:?}");
    api.get("brokers");
}

#[test]
fn without_a_store_there_is_nothing_to_tell_or_copy() {
    let broker = Broker::start_with(&[("store.enabled", "false")]);
    let api = broker.api();
    let off = (200, 102, "the store is off".to_owned());
    assert_eq!(api.call("GET", "store/stats", "").failure(), off);
    assert_eq!(api.call("GET", &path("stats"), "").failure(), off);
    let backup = api.call("POST", &path("backup"), r#"{"target":"/nowhere/x"}"#);
    assert_eq!(backup.failure(), off);
}
