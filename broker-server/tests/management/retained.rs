//! `retained`: what is kept for later subscribers, and cleared.

use serde_json::{Value, json};

use crate::broker::{Broker, NODE};
use crate::client::{v5, v311};
use crate::http::{Api, keys};
use crate::wire::{Prop, publish};

fn retain(api: &Api, topic: &str, payload: &str) {
    api.post("mqtt/publish", &json!({"topic": topic, "payload": payload, "retain": true}));
}

fn topics(rows: &Value) -> Vec<&str> {
    let rows = rows.as_array().unwrap().iter().map(|row| row["topic"].as_str().unwrap());
    rows.filter(|topic| !topic.starts_with("$SYS/")).collect()
}

/// A broker that has nothing of its own to retain.
fn start() -> Broker {
    Broker::start_with(&[("broker.sys_interval", "\"0s\"")])
}

#[test]
fn a_retained_message_is_listed_with_its_publisher_and_times() {
    let broker = start();
    let api = broker.api();
    let mut client = v5().id("pub/1").open();
    let message = publish("温/a", 1, [0xFF, 0]).retain().prop(Prop::MessageExpiryInterval(3_600));
    client.publish(message);
    retain(&api, "b", "21 °C");
    let list = api.get("retained?_page=1&_limit=10");
    assert_eq!(list["meta"], json!({"page": 1, "limit": 10, "count": 2}));
    let rows = list["data"].as_array().unwrap();
    assert_eq!(topics(&list["data"]), ["b", "温/a"]);
    let fields = ["client_id", "expires_at", "payload_bytes", "qos", "stored_at", "topic"];
    assert_eq!(keys(&rows[0]), fields);
    let shown =
        |row: &Value| [&row["client_id"], &row["qos"], &row["payload_bytes"]].map(Value::clone);
    assert_eq!(shown(&rows[0]), [json!("undefined"), json!(0), json!(6)]);
    assert_eq!(shown(&rows[1]), [json!("pub/1"), json!(1), json!(2)]);
    assert_eq!(rows[0]["expires_at"], "undefined");
    let (stored, expires) =
        (rows[1]["stored_at"].as_str().unwrap(), rows[1]["expires_at"].as_str().unwrap());
    assert_eq!((stored.len(), expires.len()), (19, 19));
    assert!(stored < expires, "{stored} {expires}");

    let one = &api.data("retained/b")[0];
    assert_eq!((&one["payload"], &one["encoding"]), (&json!("21 °C"), &json!("plain")));
    let other = &api.data("retained/%E6%B8%A9%2Fa")[0];
    assert_eq!((&other["payload"], &other["encoding"]), (&json!("/wA="), &json!("base64")));
    let mut row = other.clone();
    row.as_object_mut().unwrap().retain(|name, _| fields.contains(&name.as_str()));
    assert_eq!(row, rows[1]);
    assert_eq!(api.data("retained/nothing"), json!([]));
}

#[test]
fn what_has_expired_is_not_there() {
    let broker = start();
    let api = broker.api();
    let mut client = v5().open();
    client.publish(publish("a", 1, "x").retain().prop(Prop::MessageExpiryInterval(1)));
    retain(&api, "b", "y");
    crate::broker::wait_until(|| topics(&api.data("retained")) == ["b"]);
    assert_eq!(api.get("retained")["meta"]["count"], 1);
    assert_eq!(api.data("retained/a"), json!([]));
}

#[test]
fn pages_are_in_the_order_of_topics_and_hold_each_once() {
    let broker = start();
    let api = broker.api();
    let names: Vec<_> = (0..25).map(|n| format!("{}/{n:02}", ["a", "b", "c"][n % 3])).collect();
    names.iter().for_each(|name| retain(&api, name, "x"));
    let mut seen = Vec::new();
    for page in 1..=4 {
        let answer = api.get(&format!("retained?_page={page}&_limit=10"));
        seen.extend(topics(&answer["data"]).into_iter().map(str::to_owned));
        // What comes and goes before the place where the reader is changes nothing for it.
        retain(&api, &seen[0], "");
        retain(&api, &format!("A/{page}"), "new");
    }
    let mut expected = names;
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn what_is_deleted_is_gone_for_good() {
    let broker = start();
    let api = broker.api();
    for topic in ["a/b", "c", "d"] {
        retain(&api, topic, "x");
    }
    assert_eq!(api.delete("retained/a%2Fb"), json!({"code": 0}));
    assert_eq!(
        api.refused("DELETE", "retained/a%2Fb", &Value::Null),
        (200, 102, "not_found".into())
    );
    let broker = Broker::start_in(broker.kill(), &[("broker.sys_interval", "\"0s\"")]);
    let api = broker.api();
    assert_eq!(topics(&api.data("retained")), ["c", "d"]);
    let mut client = v311().open();
    client.subscribe("a/#", 0);
    client.expect_nothing();
    // Who is subscribed is not told of it.
    client.subscribe("c", 0);
    assert!(client.take().retain);
    assert_eq!(api.delete("retained"), json!({"code": 0, "data": {"cleaned": 2}}));
    client.expect_nothing();
    assert_eq!(api.delete("retained"), json!({"code": 0, "data": {"cleaned": 0}}));
    let broker = Broker::start_in(broker.kill(), &[]);
    assert_eq!(topics(&broker.api().data("retained")), [""; 0]);
}

#[test]
fn what_the_broker_itself_retains_stays() {
    let broker = Broker::start_with(&[("broker.sys_interval", "\"1h\"")]);
    let api = broker.api();
    retain(&api, "a", "x");
    let mut client = v5().open();
    client.subscribe("$SYS/brokers", 0);
    client.take();
    assert_eq!(api.delete("retained")["data"]["cleaned"], 1);
    assert_eq!(api.data("retained/%24SYS%2Fbrokers")[0]["payload"], "emqx@127.0.0.1");
}

#[test]
fn a_viewer_looks_and_deletes_nothing() {
    let broker = start();
    let api = broker.api();
    retain(&api, "a", "x");
    api.post("apps", &json!({"app_id": "v", "name": "", "secret": "s", "role": "viewer"}));
    let viewer = broker.api_as("v", "s");
    assert_eq!(topics(&viewer.data("retained")), ["a"]);
    for path in ["retained", "retained/a"] {
        assert_eq!(viewer.call("DELETE", path, "").failure().0, 403);
    }
    assert_eq!(topics(&api.data("retained")), ["a"]);
}

#[test]
fn without_the_retainer_nothing_is_kept_and_nothing_to_be_seen_of_what_was() {
    let broker = Broker::start_with(&[
        ("broker.sys_interval", "\"0s\""),
        ("retainer.max_payload_size", "\"10B\""),
    ]);
    let api = broker.api();
    retain(&api, "a", "kept");
    let mut client = v5().open();
    client.subscribe("b", 0);
    let long = json!({"topic": "b", "payload": "x".repeat(11), "retain": true});
    let refused = api.refused("POST", "mqtt/publish", &long);
    assert_eq!(refused, (200, 102, "no room for what is to be retained".into()));
    api.put(&format!("nodes/{NODE}/plugins/emqx_retainer/unload"), &json!({}));
    for (method, path) in [("GET", "retained"), ("GET", "retained/a"), ("DELETE", "retained")] {
        let answer = api.call(method, path, "");
        assert_eq!((answer.status, answer.body.as_str()), (404, "Not found."), "{method} {path}");
    }
    // It is a message as any other now.
    api.post("mqtt/publish", &long);
    assert_eq!(client.take().payload.len(), 11);
    api.put(&format!("nodes/{NODE}/plugins/emqx_retainer/load"), &json!({}));
    assert_eq!(topics(&api.data("retained")), ["a"]);
}
