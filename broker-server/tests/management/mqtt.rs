//! `mqtt`: what is published and subscribed through the API, as clients see it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::broker::{Broker, Keys, NODE, wait_until};
use crate::client::{Client, v5, v31, v311};
use crate::http::Api;
use crate::wire::publish;

fn publish_refused(api: &Api, body: &Value) -> (u64, String) {
    let (status, code, message) = api.refused("POST", "mqtt/publish", body);
    assert_eq!(status, 200, "{body}");
    (code, message)
}

/// A persistent session whose client has gone.
fn away(id: &str, filters: &[&str]) {
    let mut client = v311().id(id).resume().open();
    filters.iter().for_each(|filter| client.subscribe(filter, 1));
    client.disconnect();
}

fn back(id: &str) -> Client {
    v311().id(id).resume().open()
}

#[test]
fn a_published_message_reaches_clients_of_every_version() {
    let broker = Broker::start();
    let api = broker.api();
    let mut clients = [v31().open(), v311().open(), v5().open()];
    for (qos, client) in (0..3).cycle().zip(clients.iter_mut()) {
        client.subscribe("a/#", qos);
    }
    for (n, qos) in (0..3).enumerate() {
        let payload = format!("温度 {n}");
        let answer = api.post(
            "mqtt/publish",
            &json!({"topic": "a/b", "payload": payload, "qos": qos, "client_id": "nobody"}),
        );
        assert_eq!(answer, json!({"code": 0}));
        for (granted, client) in clients.iter_mut().enumerate() {
            let message = client.take();
            assert_eq!((message.topic.as_str(), message.text()), ("a/b", payload.clone()));
            assert_eq!((usize::from(message.qos), message.retain), (granted.min(n), false));
        }
    }
}

#[test]
fn what_is_left_out_has_defaults_and_the_query_says_nothing() {
    let broker = Broker::start();
    let api = broker.api();
    let mut client = v5().open();
    client.subscribe("#", 2);
    api.post("mqtt/publish?qos=2&topic=b&retain=true", &json!({"topic": "a,b"}));
    let message = client.take();
    assert_eq!((message.topic.as_str(), message.text()), ("a,b", String::new()));
    assert_eq!((message.qos, message.retain), (0, false));
    client.expect_nothing();
}

#[test]
fn several_topics_get_the_message_or_none() {
    let broker = Broker::start();
    let api = broker.api();
    let mut client = v5().open();
    client.subscribe("#", 1);
    for topics in [json!("a,b/c"), json!(["a", "b/c"])] {
        api.post("mqtt/publish", &json!({"topics": topics, "payload": "x", "qos": 1}));
        assert_eq!([client.take().topic, client.take().topic], ["a", "b/c"]);
    }
    for topics in [json!("a,b/#"), json!(["a", ""]), json!(["a", "b\0"]), json!("a,"), json!([])] {
        let body = json!({"topics": topics, "payload": "x", "retain": true});
        assert_eq!(publish_refused(&api, &body), (115, "bad_topic".into()));
    }
    client.expect_nothing();
    let mut late = v5().open();
    late.subscribe("#", 1);
    late.expect_nothing();
}

#[test]
fn base64_carries_any_bytes() {
    let broker = Broker::start();
    let api = broker.api();
    let mut client = v5().open();
    client.subscribe("a", 0);
    let bytes: Vec<u8> = (0..=255).collect();
    let text = BASE64_STANDARD.encode(&bytes);
    api.post("mqtt/publish", &json!({"topic": "a", "payload": text, "encoding": "base64"}));
    assert_eq!(client.take().payload, bytes);
    api.post("mqtt/publish", &json!({"topic": "a", "payload": text, "encoding": "plain"}));
    assert_eq!(client.take().text(), text);
}

#[test]
fn what_is_wrong_with_a_message_is_named() {
    let broker = Broker::start_with(&[("mqtt.max_packet_size", "\"100KB\"")]);
    let api = broker.api();
    let long = "x".repeat(65_536);
    for topic in ["", "a/#", "a/+/b", "a\0b", "$delayed/x/a", &long] {
        let body = json!({"topic": topic, "payload": "x"});
        assert_eq!(publish_refused(&api, &body), (115, "bad_topic".into()), "{topic:.20}");
    }
    assert_eq!(publish_refused(&api, &json!({})), (115, "bad_topic".into()));
    let check = |field: Value, message: &str| {
        let mut body = json!({"topic": "a"});
        body.as_object_mut().unwrap().extend(field.as_object().unwrap().clone());
        assert_eq!(publish_refused(&api, &body), (108, message.into()), "{field}");
    };
    for qos in [json!(3), json!(-1), json!("1"), json!(1.5), json!([])] {
        check(json!({"qos": qos}), "qos: must be 0, 1 or 2");
    }
    check(json!({"topic": 1}), "topic: invalid type: integer `1`, expected a string");
    check(json!({"topics": ["a", 1]}), "topics[1]: invalid type: integer `1`, expected a string");
    check(json!({"payload": {}}), "payload: invalid type: map, expected a string");
    check(json!({"retain": "true"}), "retain: invalid type: string \"true\", expected a boolean");
    check(json!({"client_id": 7}), "client_id: invalid type: integer `7`, expected a string");
    check(
        json!({"encoding": "rot13"}),
        "encoding: unknown variant `rot13`, expected `plain` or `base64`",
    );
    check(
        json!({"encoding": "base64", "payload": "!"}),
        "payload: is not base64: Invalid symbol 33, offset 0.",
    );
    check(
        json!({"payload": "x".repeat(102_400)}),
        "payload: larger than the 102400 bytes that a packet may have",
    );
}

#[test]
fn a_message_that_nobody_gets_is_counted_and_no_packet_is() {
    let broker = Broker::start_with(&[("broker.sys_interval", "\"1s\"")]);
    let api = broker.api();
    let mut client = v5().open();
    client.subscribe("a", 0);
    api.post("mqtt/publish", &json!({"topics": "nobody/1,a,nobody/2"}));
    client.take();
    let name = |metric: &str| format!("$SYS/brokers/{NODE}/metrics/messages/{metric}");
    client.subscribe(&name("dropped"), 0);
    client.subscribe(&name("received"), 0);
    let (one, other) = (client.take(), client.take());
    let mut told = [(one.topic.clone(), one.text()), (other.topic.clone(), other.text())];
    told.sort();
    assert_eq!(told, [(name("dropped"), "2".into()), (name("received"), "0".into())]);
}

#[test]
fn a_retained_message_is_on_disk_when_the_answer_comes() {
    let broker = Broker::start();
    let api = broker.api();
    for n in 0..20 {
        let body = json!({"topic": format!("kept/{n}"), "payload": n.to_string(), "qos": n % 3, "retain": true});
        api.post("mqtt/publish", &body);
    }
    api.post("mqtt/publish", &json!({"topic": "kept/7", "retain": true}));
    let folder = broker.kill();

    let _broker = Broker::start_in(folder, &[]);
    let mut client = v5().open();
    client.subscribe("kept/#", 2);
    let mut kept: Vec<_> = (0..19).map(|_| client.take()).collect();
    kept.sort_by_key(|message| message.text().parse::<u8>().unwrap());
    let numbers = (0..20).filter(|n| *n != 7);
    for (message, n) in kept.iter().zip(numbers) {
        let expected = (format!("kept/{n}"), n.to_string(), n % 3, true);
        assert_eq!((message.topic.clone(), message.text(), message.qos, message.retain), expected);
    }
    client.expect_nothing();
}

#[test]
fn what_is_not_to_wait_for_the_disk_does_not() {
    let keys: Keys<'_> =
        &[("durability.level", "\"memory\""), ("durability.sync_interval", "\"1h\"")];
    let broker = Broker::start_with(keys);
    let api = broker.api();
    let started = std::time::Instant::now();
    for n in 0..10 {
        let body = json!({"topic": format!("{n}"), "payload": "x", "retain": true});
        api.post("mqtt/publish", &body);
    }
    assert!(started.elapsed().as_secs() < 5, "that is how long it waits for a disk");
}

#[test]
fn a_client_that_is_away_gets_the_message_when_it_comes() {
    let broker = Broker::start();
    let api = broker.api();
    away("c", &["a"]);
    api.post("mqtt/publish", &json!({"topic": "a", "payload": "late", "qos": 1}));
    let folder = broker.kill();
    let _broker = Broker::start_in(folder, &[]);
    assert_eq!(back("c").take().text(), "late");
}

#[test]
fn a_client_is_subscribed_and_unsubscribed_without_a_word() {
    let broker = Broker::start();
    let api = broker.api();
    for connect in [v31(), v311(), v5()] {
        let mut client = connect.id("c").open();
        let answer =
            api.post("mqtt/subscribe", &json!({"client_id": "c", "topic": "a/#", "qos": 1}));
        assert_eq!(answer, json!({"code": 0}));
        let mut publisher = v5().open();
        publisher.publish(publish("a/b", 2, "x"));
        let message = client.take();
        assert_eq!((message.text(), message.qos), ("x".into(), 1));
        api.post("mqtt/unsubscribe", &json!({"client_id": "c", "topic": "a/#"}));
        publisher.publish(publish("a/b", 1, "y"));
        client.expect_nothing();
        // It is none the worse for it a second time.
        api.post("mqtt/unsubscribe", &json!({"client_id": "c", "topic": "a/#"}));
        client.disconnect();
    }
}

#[test]
fn a_subscription_brings_what_is_retained() {
    let broker = Broker::start();
    let api = broker.api();
    api.post("mqtt/publish", &json!({"topic": "a", "payload": "kept", "qos": 1, "retain": true}));
    let mut client = v5().id("c").open();
    api.post("mqtt/subscribe", &json!({"client_id": "c", "topics": "a,b", "qos": 1}));
    let message = client.take();
    assert_eq!((message.text(), message.qos, message.retain), ("kept".into(), 1, true));
    away("gone", &[]);
    api.post("mqtt/subscribe", &json!({"client_id": "gone", "topic": "a", "qos": 1}));
    assert_eq!(back("gone").take().text(), "kept");
}

#[test]
fn a_shared_subscription_deals_out() {
    let broker = Broker::start();
    let api = broker.api();
    for prefix in ["$share/g/", "$queue/"] {
        let mut clients = ["one", "two"].map(|id| v5().id(id).open());
        for id in ["one", "two"] {
            let body = json!({"client_id": id, "topic": format!("{prefix}a"), "qos": 1});
            api.post("mqtt/subscribe", &body);
        }
        for n in 0..20 {
            api.post("mqtt/publish", &json!({"topic": "a", "payload": n.to_string(), "qos": 1}));
        }
        let mut got: Vec<u8> = Vec::new();
        for client in &mut clients {
            let shared = std::iter::from_fn(|| client.recv_within(200));
            got.extend(shared.map(|packet| match packet {
                crate::wire::Packet::Publish(message) => message.text().parse::<u8>().unwrap(),
                other => panic!("{other:?}"),
            }));
        }
        got.sort_unstable();
        assert_eq!(got, (0..20).collect::<Vec<_>>(), "{prefix}: each once");
        clients.into_iter().for_each(Client::disconnect);
    }
}

#[test]
fn a_subscription_outlives_a_crash_with_its_session() {
    let broker = Broker::start();
    let api = broker.api();
    away("c", &["mine"]);
    api.post("mqtt/subscribe", &json!({"client_id": "c", "topics": ["a/+", "b"], "qos": 1}));
    api.post("mqtt/unsubscribe", &json!({"client_id": "c", "topic": "mine"}));
    let folder = broker.kill();

    let broker = Broker::start_in(folder, &[]);
    let api = broker.api();
    for topic in ["mine", "a/b", "b"] {
        api.post("mqtt/publish", &json!({"topic": topic, "payload": topic, "qos": 1}));
    }
    let mut client = back("c");
    assert_eq!([client.take().text(), client.take().text()], ["a/b", "b"]);
    client.expect_nothing();
}

#[test]
fn what_is_wrong_with_a_subscription_is_named_and_changes_nothing() {
    let broker = Broker::start_with(&[("zone.external.max_subscriptions", "2")]);
    let api = broker.api();
    let mut client = v5().id("here").open();
    let check = |verb: &str, body: Value, code: u64, message: &str| {
        let refused = api.refused("POST", &format!("mqtt/{verb}"), &body);
        assert_eq!(refused, (200, code, message.into()), "{verb} {body}");
    };
    for verb in ["subscribe", "unsubscribe"] {
        for topic in ["", "a/#/b", "a#", "$share/g", "$share//a", "$share/+/a"] {
            check(verb, json!({"client_id": "here", "topic": topic}), 115, "bad_topic");
        }
        check(verb, json!({"client_id": "here"}), 115, "bad_topic");
        // The topic comes first.
        check(verb, json!({"client_id": "nobody", "topic": "a#"}), 115, "bad_topic");
        check(verb, json!({"client_id": "nobody", "topic": "a"}), 112, "session_not_found");
        check(verb, json!({"topic": "a"}), 107, "client_id: must be there");
        let message = "client_id: invalid type: integer `1`, expected a string";
        check(verb, json!({"client_id": 1, "topic": "a"}), 108, message);
    }
    let here =
        |topics: Value, qos: Value| json!({"client_id": "here", "topics": topics, "qos": qos});
    check("subscribe", here(json!(["a", "b/#/c"]), json!(0)), 115, "bad_topic");
    check("subscribe", here(json!("a,b"), json!(3)), 108, "qos: must be 0, 1 or 2");
    check(
        "subscribe",
        here(json!("a,b,c"), json!(0)),
        102,
        "the session takes no more subscriptions",
    );
    let mut publisher = v5().open();
    publisher.publish(publish("a", 1, "x"));
    client.expect_nothing();
    // Twice the same is one, so that there is room for another.
    api.post("mqtt/subscribe", &here(json!("a,a,b"), json!(0)));
    wait_until(|| api.rows("subscriptions/here").len() == 2);
}
