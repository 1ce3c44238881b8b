//! `why`: what the API says of messages between real clients.

use serde_json::{Value, json};

use crate::broker::{Broker, wait_until};
use crate::client::{v5, v311};
use crate::http::{Api, keys};
use crate::wire::{Prop, publish};

fn why(api: &Api, topic: &str, more: &str) -> Value {
    api.data(&format!("why?from=pub&to=sub&topic={topic}{more}"))
}

#[track_caller]
fn verdict(api: &Api, topic: &str, more: &str, expected: &str) -> Value {
    let answer = why(api, topic, more);
    assert_eq!(answer["verdict"], expected, "{answer:#}");
    answer
}

#[test]
fn the_way_of_a_message_is_told_place_by_place() {
    let broker = Broker::start();
    let api = broker.api();
    let _publisher = v5().id("pub").open();
    let mut sub = v5().id("sub").open();
    sub.subscribe("a/+", 1);
    let answer = verdict(&api, "a%2Fb", "&qos=1", "would_deliver");
    assert_eq!(
        keys(&answer),
        ["checks", "counts", "explanation", "from", "to", "topic", "verdict"]
    );
    assert_eq!(answer["explanation"], r#"nothing keeps a message of "pub" on "a/b" from "sub""#);
    let checks = answer["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["check"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "publisher",
            "topic",
            "publish_acl",
            "receiver",
            "subscription",
            "subscribe_acl",
            "no_local",
            "expiry",
            "size",
            "queue",
            "window",
            "outbox"
        ]
    );
    for check in checks {
        assert_eq!(keys(check), ["check", "detail", "result"]);
        assert_eq!(check["result"], "pass", "{check}");
    }
    assert_eq!(
        answer["counts"],
        json!({
            "damaged": 0, "delivered": 0, "expired": 0, "memory": 0, "no_local": 0, "outbox_full": 0,
            "qos0_offline": 0, "queue_full": 0, "queued": 0, "revoked": 0, "too_large": 0,
            "unacknowledged": 0
        })
    );
}

#[test]
fn verdicts_follow_what_real_clients_do() {
    let broker = Broker::start_with(&[("mqtt.max_mqueue_len", "2")]);
    let api = broker.api();
    let mut publisher = v5().id("pub").open();
    verdict(&api, "a", "", "no_session");
    let mut sub = v5().id("sub").resume().expiry(1000).prop(Prop::MaximumPacketSize(100)).open();
    verdict(&api, "a", "", "no_subscription");
    sub.subscribe("a", 1);
    verdict(&api, "a", "&size=200", "too_large");
    verdict(&api, "$SYS%2Fx", "", "topic_refused");
    publisher.publish(publish("a", 1, "x"));
    let unacknowledged = verdict(&api, "a", "&qos=1", "delivered_unacknowledged");
    assert_eq!(unacknowledged["counts"]["unacknowledged"], 1);
    // Acknowledges it.
    sub.take();
    wait_until(|| why(&api, "a", "&qos=1")["verdict"] == "would_deliver");
    sub.disconnect();
    for n in 0..4 {
        verdict(&api, "a", "&qos=1", if n < 2 { "queued" } else { "queue_full" });
        publisher.publish(publish("a", 1, "x"));
    }
    let full = verdict(&api, "b", "&qos=1", "no_subscription");
    assert_eq!((&full["counts"]["queue_full"], &full["counts"]["queued"]), (&2.into(), &2.into()));
}

#[test]
fn a_group_and_a_clients_own_messages_have_verdicts() {
    let broker = Broker::start();
    let api = broker.api();
    let mut members = [v311().id("sub").open(), v311().id("other").open()];
    members.iter_mut().for_each(|member| member.subscribe("$share/g/a", 1));
    verdict(&api, "a", "", "shared_other_member");
    let mut own = v5().id("own").open();
    own.subscribe("b", 0x04);
    let answer = api.data("why?from=own&to=own&topic=b");
    assert_eq!(answer["verdict"], "no_local", "{answer:#}");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let broker = Broker::start();
    let api = broker.api();
    let check = |query: &str, code: u64, message: &str| {
        let refused = api.refused("GET", &format!("why?{query}"), &Value::Null);
        assert_eq!(refused, (200, code, message.to_owned()), "{query}");
    };
    check("topic=a&to=b", 107, "from: must be there");
    check("from=a&topic=a", 107, "to: must be there");
    check("from=a&to=b", 107, "topic: must be there");
    check("from=a&to=b&topic=a%2F%23", 108, "topic: must be a Topic Name");
    check("from=a&to=b&topic=a&qos=3", 108, "qos: must be 0, 1 or 2");
    check("from=a&to=b&topic=a&size=-1", 108, "size: must be a number of bytes up to 268435455");
}
