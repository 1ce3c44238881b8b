//! `sessions`: Session States, with or without a connection, and clearing them.

use serde_json::{Value, json};

use crate::broker::{Broker, NODE, wait_until};
use crate::client::{Client, v5, v311};
use crate::http::{Api, keys};
use crate::wire::{self, Prop, publish};

const KEYS: [&str; 21] = [
    "awaiting_rel_len",
    "binding",
    "clean_start",
    "client_id",
    "created_at",
    "deliver_msg",
    "enqueue_msg",
    "expiry_interval",
    "heap_size",
    "inflight_len",
    "mailbox_len",
    "max_awaiting_rel",
    "max_inflight",
    "max_mqueue",
    "max_subscriptions",
    "mqueue_dropped",
    "mqueue_len",
    "node",
    "reductions",
    "subscriptions_count",
    "username",
];

#[track_caller]
fn one(api: &Api, id: &str) -> Value {
    let mut rows = api.rows(&format!("sessions/{id}"));
    assert_eq!(rows.len(), 1, "{id}");
    rows.remove(0)
}

#[track_caller]
fn check(row: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(row[name], *value, "{name} of {row}");
    }
}

fn is_away(api: &Api, id: &str) -> bool {
    one(api, id)["binding"] == "undefined"
}

#[test]
fn a_session_shows_its_state_and_its_limits() {
    let broker = Broker::start();
    let api = broker.api();
    let _clean = v311().id("clean").open();
    let _kept = v311().id("kept").username("u").resume().open();
    let _new = v5()
        .id("new")
        .username("")
        .prop(Prop::SessionExpiryInterval(300))
        .prop(Prop::ReceiveMaximum(5))
        .open();
    let usual = json!({
        "awaiting_rel_len": 0, "binding": "local", "deliver_msg": 0, "enqueue_msg": 0,
        "inflight_len": 0, "mailbox_len": 0, "max_awaiting_rel": 100, "max_mqueue": 1_000,
        "max_subscriptions": 0, "mqueue_dropped": 0, "mqueue_len": 0, "node": NODE,
        "subscriptions_count": 0,
    });
    for (id, own) in [
        (
            "clean",
            json!({"clean_start": true, "expiry_interval": 0, "username": "undefined", "max_inflight": 32}),
        ),
        (
            "kept",
            json!({"clean_start": false, "expiry_interval": 7_200, "username": "u", "max_inflight": 32}),
        ),
        (
            "new",
            json!({"clean_start": true, "expiry_interval": 300, "username": "", "max_inflight": 5}),
        ),
    ] {
        let row = one(&api, id);
        assert_eq!(keys(&row), KEYS);
        check(&row, &usual);
        check(&row, &own);
        assert_eq!(row["client_id"], id);
        assert_eq!(row["created_at"].as_str().unwrap().len(), "2019-04-29 11:28:04".len());
        assert!(row["heap_size"].as_u64().unwrap() > 0, "{row}");
        assert!(row["reductions"].is_u64(), "{row}");
        check(&api.data(&format!("nodes/{NODE}/sessions/{id}"))[0], &own);
    }
}

#[test]
fn limits_are_those_of_the_zone() {
    let keys = [
        ("zone.external.max_subscriptions", "7"),
        ("zone.external.max_mqueue_len", "9"),
        ("zone.external.max_inflight", "3"),
        ("zone.external.max_awaiting_rel", "11"),
    ];
    let broker = Broker::start_with(&keys);
    let _client = v311().id("c").open();
    let expected = json!({
        "max_subscriptions": 7, "max_mqueue": 9, "max_inflight": 3, "max_awaiting_rel": 11,
    });
    check(&one(&broker.api(), "c"), &expected);
}

#[test]
fn what_waits_for_a_client_that_is_away_is_counted() {
    let broker = Broker::start_with(&[("zone.external.max_mqueue_len", "3")]);
    let api = broker.api();
    let mut client = v311().id("c").resume().open();
    client.subscribe_many(&[("a", 1), ("b", 1)], &[]);
    client.disconnect();
    wait_until(|| is_away(&api, "c"));
    let before = one(&api, "c")["heap_size"].as_u64().unwrap();
    for n in 0..5 {
        api.post("mqtt/publish", &json!({"topic": "a", "payload": n.to_string(), "qos": 1}));
    }
    let row = one(&api, "c");
    check(&row, &json!({"mqueue_len": 3, "mqueue_dropped": 2, "subscriptions_count": 2}));
    check(&row, &json!({"enqueue_msg": 5, "deliver_msg": 0, "inflight_len": 0}));
    assert!(row["heap_size"].as_u64().unwrap() > before, "{row}");
    let mut client = v311().id("c").resume().open();
    let messages: Vec<_> = (0..3).map(|_| client.expect_publish()).collect();
    check(&one(&api, "c"), &json!({"mqueue_len": 0, "inflight_len": 3, "deliver_msg": 3}));
    messages.iter().for_each(|message| client.acknowledge(message));
    client.ping();
    let row = one(&api, "c");
    check(&row, &json!({"inflight_len": 0, "deliver_msg": 3, "binding": "local"}));
    assert_eq!(messages.iter().map(|m| m.text()).collect::<Vec<_>>(), ["2", "3", "4"]);
}

#[test]
fn a_qos_2_message_awaits_its_release() {
    let broker = Broker::start();
    let api = broker.api();
    let mut client = v5().id("c").open();
    client.send_publish(&publish("a", 2, "x").id(1));
    client.expect_pubrec(1);
    check(&one(&api, "c"), &json!({"awaiting_rel_len": 1}));
    client.send(&wire::ack(wire::PUBREL, 1));
    client.expect_pubcomp(1);
    check(&one(&api, "c"), &json!({"awaiting_rel_len": 0}));
}

#[test]
fn a_persistent_session_is_cleared_for_good() {
    let broker = Broker::start();
    let api = broker.api();
    for base in ["", "nodes/emqx%40127.0.0.1/"] {
        let mut client = v311().id("c/1").resume().open();
        assert!(!client.session_present);
        client.subscribe("a", 1);
        let path = format!("{base}sessions/persistent/c%2F1");
        let running = (200, 102, "running_session".to_owned());
        assert_eq!(api.refused("DELETE", &path, &Value::Null), running);
        client.ping();
        client.disconnect();
        wait_until(|| is_away(&api, "c%2F1"));
        api.post("mqtt/publish", &json!({"topic": "a", "payload": "lost", "qos": 1}));
        assert_eq!(api.delete(&path), json!({"code": 0}));
        assert_eq!(api.data("sessions/c%2F1"), json!([]));
        assert_eq!(api.data("subscriptions/c%2F1"), json!([]));
        assert_eq!(api.data("routes/a"), json!([]));
        let gone = (200, 102, "not_found".to_owned());
        assert_eq!(api.refused("DELETE", &path, &Value::Null), gone);
    }
    let _broker = Broker::start_in(broker.kill(), &[]);
    let mut client = v311().id("c/1").resume().open();
    assert!(!client.session_present);
    client.expect_nothing();
}

#[test]
fn sessions_are_listed_after_a_restart_and_bound_when_their_clients_come() {
    let broker = Broker::start();
    let mut client = v5().id("c").username("u").prop(Prop::SessionExpiryInterval(u32::MAX)).open();
    client.subscribe("a", 1);
    let created_at = one(&broker.api(), "c")["created_at"].clone();
    let broker = Broker::start_in(broker.kill(), &[]);
    let api = broker.api();
    let list = api.get("sessions");
    assert_eq!(list["meta"], json!({"page": 1, "limit": 10_000, "count": 1}));
    let row = &list["data"][0];
    assert_eq!(keys(row), KEYS);
    check(row, &json!({"binding": "undefined", "clean_start": true, "subscriptions_count": 1}));
    check(row, &json!({"expiry_interval": u32::MAX, "created_at": created_at}));
    assert_eq!(api.data("connections"), json!([]));
    // Another user would not get it.
    let _client = v5().id("c").username("u").resume().open();
    let row = one(&api, "c");
    check(&row, &json!({"binding": "local", "clean_start": true, "username": "u"}));
}

#[test]
fn of_an_unknown_client_there_is_nothing_and_other_nodes_are_refused() {
    let broker = Broker::start();
    let api = broker.api();
    assert_eq!(api.data("sessions/nobody"), json!([]));
    // A client may have that name.
    assert_eq!(api.data("sessions/persistent"), json!([]));
    let missing = (404, 102, "node other@host not found".to_owned());
    for (method, path) in
        [("GET", "sessions"), ("GET", "sessions/c"), ("DELETE", "sessions/persistent/c")]
    {
        let path = format!("nodes/other@host/{path}");
        assert_eq!(api.call(method, &path, "").failure(), missing, "{path}");
    }
}

#[test]
fn pages_hold_each_once_while_sessions_come_and_go() {
    let broker = Broker::start();
    let api = broker.api();
    let mut goes = Vec::new();
    for n in 0..23 {
        goes.push(v311().id(&format!("goes{n}")).open());
        v311().id(&format!("stays{n:02}")).resume().open().disconnect();
    }
    let mut seen = Vec::new();
    for page in 1.. {
        let answer = api.get(&format!("nodes/{NODE}/sessions?_page={page}&_limit=5"));
        let rows = answer["data"].as_array().unwrap();
        assert_eq!(answer["meta"]["count"], 46, "one goes, one comes");
        seen.extend(rows.iter().map(|row| row["client_id"].as_str().unwrap().to_owned()));
        if rows.len() < 5 {
            break;
        }
        goes.remove(0).disconnect();
        wait_until(|| api.get("sessions?_limit=1")["meta"]["count"] == 45);
        goes.push(v311().id(&format!("new{page}")).open());
    }
    seen.retain(|id| id.starts_with("stays"));
    let expected: Vec<_> = (0..23).map(|n| format!("stays{n:02}")).collect();
    assert_eq!(seen, expected);
    goes.into_iter().for_each(Client::disconnect);
}
