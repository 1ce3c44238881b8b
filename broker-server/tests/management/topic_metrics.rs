//! `topic-metrics`: topics that are counted, from when an operator says so and over a restart.

use serde_json::{Value, json};

use crate::broker::{Broker, eventually};
use crate::client::{v5, v311};
use crate::http::{Api, keys};
use crate::wire::publish;

fn metrics(api: &Api, topic: &str) -> Value {
    api.data(&format!("topic-metrics/{topic}"))["metrics"].take()
}

fn topics(api: &Api) -> Vec<String> {
    let rows = api.rows("topic-metrics");
    rows.iter().map(|row| row["topic"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn a_topic_is_counted_from_when_it_is_registered() {
    let broker = Broker::start();
    let api = broker.api();
    assert_eq!(api.data("topic-metrics"), json!([]));
    let mut publisher = v5().open();
    publisher.publish(publish("plant/温", 1, b"before"));
    let body = json!({"topic": "plant/温"}).to_string();
    let answer = api.curl(&["-X", "POST", "-d", &body], "topic-metrics");
    assert_eq!(answer, r#"{"code":0}"#);
    publisher.publish(publish("plant/温", 1, b"nobody"));
    let (mut first, mut second) = (v5().open(), v311().open());
    first.subscribe("plant/+", 2);
    second.subscribe("#", 0);
    publisher.publish(publish("plant/温", 0, b"12345"));
    publisher.publish(publish("plant/温", 2, b"1234567"));
    publisher.publish(publish("plant/other", 1, b"not counted"));
    for client in [&mut first, &mut second] {
        (0..3).for_each(|_| drop(client.take()));
    }
    // What a thread has written is told at the end of its pass.
    let counted = eventually(|| {
        let metrics = metrics(&api, "plant%2F%E6%B8%A9");
        (metrics["messages/out/count"] == 4).then_some(metrics)
    });
    let expected = json!({
        "messages/in/count": 3, "messages/out/count": 4, "messages/dropped/count": 1,
        "messages/qos0/in/count": 1, "messages/qos1/in/count": 1, "messages/qos2/in/count": 1,
        "messages/qos0/out/count": 3, "messages/qos1/out/count": 0, "messages/qos2/out/count": 1,
        "bytes/in": 18, "bytes/out": 24,
    });
    assert_eq!(counted, expected);
    let listed = api.rows("topic-metrics");
    assert_eq!(keys(&listed[0]), ["metrics", "topic"]);
    assert_eq!((listed.len(), &listed[0]["metrics"]), (1, &expected));

    assert_eq!(api.delete("topic-metrics/plant%2F%E6%B8%A9"), json!({"code": 0}));
    assert_eq!(topics(&api), [""; 0]);
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let broker = Broker::start();
    let api = broker.api();
    let refused = |body: Value| api.refused("POST", "topic-metrics", &body);
    let bad = |message: &str| (200, 108, message.to_owned());
    assert_eq!(refused(json!({})), (200, 107, "topic: must be there".into()));
    assert_eq!(refused(json!({"topic": 1})).1, 108);
    assert_eq!(refused(json!({"topic": "a/+"})), bad("topic: wildcard in a topic name at byte 2"));
    assert_eq!(refused(json!({"topic": ""})).1, 108);
    api.post("topic-metrics", &json!({"topic": "t/0"}));
    assert_eq!(refused(json!({"topic": "t/0"})), (200, 102, "already_exists".into()));
    for n in 1..512 {
        api.post("topic-metrics", &json!({"topic": format!("t/{n}")}));
    }
    assert_eq!(refused(json!({"topic": "one more"})), (200, 102, "too many topics".into()));
    let none = (200, 102, "not_found".to_owned());
    assert_eq!(api.refused("GET", "topic-metrics/one%20more", &Value::Null), none);
    assert_eq!(api.refused("DELETE", "topic-metrics/one%20more", &Value::Null), none);

    let viewer = json!({"app_id": "look", "name": "look", "secret": "abcdefgh", "role": "viewer"});
    api.post("apps", &viewer);
    let viewer = broker.api_as("look", "abcdefgh");
    assert_eq!(topics(&viewer).len(), 512);
    let no = (403, 102, "application look may only read".to_owned());
    assert_eq!(viewer.refused("POST", "topic-metrics", &json!({"topic": "x"})), no);
    assert_eq!(viewer.refused("DELETE", "topic-metrics/t%2F0", &Value::Null), no);
}

#[test]
fn topics_are_registered_after_a_restart_and_a_crash() {
    let configured = &[("module.topic_metrics.topic", r#"["configured"]"#)];
    let broker = Broker::start_with(configured);
    let api = broker.api();
    api.post("topic-metrics", &json!({"topic": "kept"}));
    api.post("topic-metrics", &json!({"topic": "gone"}));
    api.delete("topic-metrics/gone");
    api.delete("topic-metrics/configured");
    assert_eq!(topics(&api), ["kept"]);
    let broker = Broker::start_in(broker.kill(), configured);
    assert_eq!(topics(&broker.api()), ["configured", "kept"]);
    let (folder, _) = broker.stop();
    let broker = Broker::start_in(folder, &[]);
    let api = broker.api();
    assert_eq!(topics(&api), ["kept"]);
    v5().open().publish(publish("kept", 1, b"x"));
    assert_eq!(metrics(&api, "kept")["messages/qos1/in/count"], 1);
}
