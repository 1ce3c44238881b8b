//! `traces`: real clients are followed, in memory and in a file, and no password is told.

use std::fs;

use serde_json::{Value, json};

use crate::broker::{Broker, eventually, wait_until};
use crate::client::{v5, v311};
use crate::http::{Api, keys};
use crate::wire::publish;

/// The events of a trace so far: `client event text`.
fn told(api: &Api, path: &str) -> Vec<String> {
    let word = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let rows = api.rows(&format!("traces/{path}/events?_limit=10000"));
    let line = |row: &Value| ["client_id", "event", "text"].map(|key| word(row, key)).join(" ");
    rows.iter().map(line).collect()
}

#[test]
fn a_client_is_followed_by_its_id() {
    let broker = Broker::start();
    let api = broker.api();
    let trace = api.post("traces", &json!({"kind": "client_id", "value": "a/b"}))["data"].clone();
    assert_eq!(
        keys(&trace),
        [
            "destination",
            "dropped",
            "events",
            "expires_at",
            "kind",
            "level",
            "payload",
            "rate",
            "running",
            "started_at",
            "value"
        ]
    );
    for (key, value) in [
        ("kind", json!("client_id")),
        ("value", json!("a/b")),
        ("level", json!("debug")),
        ("rate", json!(1000)),
        ("payload", json!(false)),
        ("events", json!(0)),
        ("dropped", json!(0)),
        ("destination", json!("memory")),
        ("running", json!(true)),
    ] {
        assert_eq!(trace[key], value, "{key}");
    }
    let mut client = v5().id("a/b").username("bob").password(b"topsecret").open();
    client.subscribe("t", 1);
    client.publish(publish("t", 1, "hello"));
    client.disconnect();
    let lines = eventually(|| {
        let lines = told(&api, "client_id/a%2Fb");
        lines.iter().any(|line| line.contains(" disconnected ")).then_some(lines)
    });
    for part in [
        "a/b connect CONNECT proto_ver=5 ",
        "username=\"bob\" has_password=true",
        "a/b connected listener=mqtt:tcp:external ",
        "a/b session created ",
        "a/b subscribed filter=\"t\" qos=1",
        "a/b received PUBLISH topic=\"t\" qos=1 ",
        "a/b delivered topic=\"t\" qos=1 ",
        "a/b routed topic=\"t\" receivers=1",
        "a/b sent PUBACK ",
        "a/b disconnected reason=normal",
    ] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part} in {lines:#?}");
    }
    let all = lines.join("\n");
    assert!(!all.contains("topsecret") && !all.contains("hello"), "{all}");

    // Page by page, nothing twice and nothing missing.
    let (mut after, mut paged) = (0, Vec::new());
    loop {
        let page = api.get(&format!("traces/client_id/a%2Fb/events?after={after}&_limit=3"));
        assert_eq!(page["meta"]["running"], true);
        assert_eq!(page["meta"]["dropped"], 0);
        let rows = page["data"].as_array().unwrap().clone();
        if rows.is_empty() {
            assert_eq!(page["meta"]["next"], after);
            break;
        }
        after = page["meta"]["next"].as_u64().unwrap();
        paged.extend(rows);
    }
    let seqs: Vec<_> = paged.iter().map(|row| row["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=lines.len() as u64).collect::<Vec<_>>());
    assert_eq!(keys(&paged[0]), ["at", "client_id", "event", "peer", "seq", "text"]);
    assert_eq!(paged[0]["at"].as_str().unwrap().len(), "2019-04-29 10:56:41.007".len());
    assert!(paged[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{}", paged[0]);
}

#[test]
fn a_topic_and_an_address_are_followed() {
    let broker = Broker::start();
    let api = broker.api();
    api.post("traces", &json!({"kind": "topic", "value": "t/#", "payload": true}));
    api.post("traces", &json!({"kind": "ip_address", "value": "127.0.0.0/8", "level": "info"}));
    let mut away = v311().id("away").resume().open();
    away.subscribe("t/1", 1);
    away.disconnect();
    api.post("mqtt/publish", &json!({"topic": "t/1", "payload": "21.5", "qos": 1}));
    api.post("mqtt/publish", &json!({"topic": "t/2", "payload": "x"}));
    api.post("mqtt/publish", &json!({"topic": "u", "payload": "x"}));
    let lines = told(&api, "topic/t%2F%23");
    assert_eq!(
        lines.iter().map(|line| line.split_once(' ').unwrap().1).collect::<Vec<_>>(),
        [
            "subscribed filter=\"t/1\" qos=1",
            "publish topic=\"t/1\" qos=1 retain=false bytes=4 payload=\"21.5\"",
            "queued topic=\"t/1\" qos=1 bytes=4 queued=1 inflight=0 payload=\"21.5\"",
            "routed topic=\"t/1\" receivers=1",
            "publish topic=\"t/2\" qos=0 retain=false bytes=1 payload=\"x\"",
            "dropped no_subscribers topic=\"t/2\"",
        ]
    );
    let lives = told(&api, "ip_address/127.0.0.0%2F8");
    assert!(lives.iter().any(|line| line.starts_with("away connected ")), "{lines:?}");
    assert!(!lives.iter().any(|line| line.contains(" received ")), "that is debug: {lives:?}");
    let kinds: Vec<_> = api.rows("traces").iter().map(|row| row["kind"].clone()).collect();
    assert_eq!(kinds, ["topic", "ip_address"]);
    assert_eq!(api.delete("traces/topic/t%2F%23"), json!({"code": 0}));
    let gone = (200, 102, "not_found".to_owned());
    assert_eq!(api.refused("DELETE", "traces/topic/t%2F%23", &Value::Null), gone);
    assert_eq!(api.refused("GET", "traces/topic/t%2F%23/events", &Value::Null), gone);
}

#[test]
fn a_file_has_what_the_trace_tells() {
    let broker = Broker::start();
    let api = broker.api();
    let new = json!({"kind": "topic", "value": "t", "file": "t.log"});
    let trace = api.post("traces", &new)["data"].clone();
    let path = trace["destination"].as_str().unwrap().to_owned();
    assert!(path.ends_with("/trace/t.log"), "{path}");
    api.post("mqtt/publish", &json!({"topic": "t", "payload": "x", "client_id": "api"}));
    let text = eventually(|| {
        let text = fs::read_to_string(&path).unwrap();
        (text.lines().count() == 2).then_some(text)
    });
    let end = " publish client_id=\"api\" peer=undefined topic=\"t\" qos=0 retain=false bytes=1";
    assert!(text.lines().next().unwrap().ends_with(end), "{text}");
    // One file has one writer.
    let other = json!({"kind": "topic", "value": "u", "file": "t.log"});
    let refused = api.refused("POST", "traces", &other);
    assert_eq!(refused, (200, 102, "another trace writes the file t.log".to_owned()));
    assert_eq!(api.rows("traces").len(), 1, "nothing is left of it");
}

#[test]
fn what_is_over_the_rate_is_counted_and_a_trace_ends_by_itself() {
    let broker = Broker::start();
    let api = broker.api();
    api.post("traces", &json!({"kind": "topic", "value": "t", "rate": 1}));
    for _ in 0..5 {
        api.post("mqtt/publish", &json!({"topic": "t", "payload": "x"}));
    }
    let row = || api.rows("traces")[0].clone();
    let many = row();
    let kept = many["events"].as_u64().unwrap();
    assert!((1..10).contains(&kept), "{many}");
    assert_eq!(kept + many["dropped"].as_u64().unwrap(), 10, "{many}");
    api.delete("traces/topic/t");

    api.post("traces", &json!({"kind": "topic", "value": "t", "duration": 1}));
    api.post("mqtt/publish", &json!({"topic": "t", "payload": "x"}));
    wait_until(|| row()["running"] == false);
    let page = api.get("traces/topic/t/events");
    assert_eq!(page["meta"]["running"], false);
    assert_eq!(page["data"].as_array().unwrap().len(), 2, "what it has told can be read");
    // Another of the same may begin now.
    let new = json!({"kind": "topic", "value": "t"});
    api.post("traces", &new);
    assert_eq!(api.refused("POST", "traces", &new), (200, 102, "already_exists".to_owned()));
    assert_eq!(row()["events"], 0);
}

#[test]
fn what_is_wrong_is_named_and_there_are_no_more_than_sixteen() {
    let broker = Broker::start();
    let api = broker.api();
    let check = |body: Value, code: u64, message: &str| {
        assert_eq!(api.refused("POST", "traces", &body), (200, code, message.to_owned()));
    };
    check(json!({"kind": "topic"}), 107, "value: must be there");
    check(json!({"value": "x"}), 107, "kind: must be there");
    check(json!({"kind": "x", "value": "x"}), 108, "kind: must be client_id, topic or ip_address");
    check(json!({"kind": "topic", "value": "a/#/b"}), 108, "value: must be a Topic Filter");
    let client = |key: &str, value: Value| {
        let mut body = json!({"kind": "client_id", "value": "c"});
        body[key] = value;
        body
    };
    check(client("level", json!("all")), 108, "level: must be info or debug");
    check(client("rate", json!(0)), 108, "rate: must be from 1 to 10000");
    check(client("rate", json!(10_001)), 108, "rate: must be from 1 to 10000");
    check(client("duration", json!(86_401)), 108, "duration: must be from 1 to 86400");
    let name = "file: must be a name of letters, digits, `.`, `_` and `-`, of at most 128";
    for file in ["../x", "/etc/passwd", "a/b", "", ".."] {
        check(client("file", json!(file)), 108, name);
    }
    for n in 0..16 {
        api.post("traces", &json!({"kind": "client_id", "value": n.to_string()}));
    }
    check(client("level", json!("info")), 102, "too many traces");
    api.delete("traces/client_id/3");
    api.post("traces", &client("level", json!("info")));
    let path = "traces/client_id/c/events?after=x";
    let refused = api.refused("GET", path, &Value::Null);
    assert_eq!(refused, (400, 108, "after: must be a whole number from 0".to_owned()));
}

#[test]
fn a_viewer_reads_traces_and_starts_none() {
    let broker = Broker::start();
    let api = broker.api();
    let made = api.post("apps", &json!({"app_id": "eye", "name": "eye", "role": "viewer"}));
    let viewer = broker.api_as("eye", made["data"]["secret"].as_str().unwrap());
    api.post("traces", &json!({"kind": "client_id", "value": "c"}));
    assert_eq!(viewer.rows("traces").len(), 1);
    assert!(viewer.rows("traces/client_id/c/events").is_empty());
    let read_only = (403, 102, "application eye may only read".to_owned());
    let new = json!({"kind": "client_id", "value": "d"});
    assert_eq!(viewer.refused("POST", "traces", &new), read_only);
    assert_eq!(viewer.refused("DELETE", "traces/client_id/c", &Value::Null), read_only);
}
