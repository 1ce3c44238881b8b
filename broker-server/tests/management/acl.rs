//! `acl/reload`: the rules of a file decide what real clients may do, and change while they are connected.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::broker::{Broker, Folder, NODE, eventually};
use crate::client::{Will, v5};
use crate::http::Api;
use crate::wire::publish;

const NOT_AUTHORIZED: u8 = 0x87;
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

/// A broker with these rules, and their file.
fn start(rules: &str) -> (Broker, PathBuf) {
    let folder = Folder::new();
    let file = folder.path().join("acl.conf");
    fs::write(&file, rules).unwrap();
    let broker =
        Broker::start_in(folder, &[("acl_file", &format!("{:?}", file.to_str().unwrap()))]);
    (broker, file)
}

fn reload(api: &Api) -> Value {
    api.put(&format!("nodes/{NODE}/acl/reload"), &Value::Null)["data"].clone()
}

fn refused(api: &Api) -> (u16, u64, String) {
    api.refused("PUT", &format!("nodes/{NODE}/acl/reload"), &Value::Null)
}

#[test]
fn rules_change_for_clients_that_are_connected() {
    let rules = "{allow, {user, \"ops\"}, pubsub, [\"#\"]}.\n{deny, all, pubsub, [\"shut/#\"]}.\n";
    let (broker, file) = start(rules);
    let api = broker.api();
    let mut client = v5().id("c").open();
    let mut ops = v5().id("ops").username("ops").open();
    assert_eq!(client.publish(publish("shut/a", 1, "x")), NOT_AUTHORIZED);
    assert_eq!(client.publish(publish("open", 1, "x")), NO_MATCHING_SUBSCRIBERS);
    assert_eq!(client.subscribe_many(&[("shut/+", 0)], &[]), [NOT_AUTHORIZED]);
    assert_eq!(ops.publish(publish("shut/a", 1, "x")), NO_MATCHING_SUBSCRIBERS);
    let why = api.data("why?from=c&to=ops&topic=shut%2Fa");
    assert_eq!(why["verdict"], "acl_denied", "{why:#}");
    assert_eq!(why["explanation"], "\"c\" may not publish to \"shut/a\": a rule says so");

    fs::write(&file, "{deny, all, publish, [\"open\"]}.\n").unwrap();
    // Nothing changes by itself.
    assert_eq!(client.publish(publish("shut/a", 1, "x")), NOT_AUTHORIZED);
    assert_eq!(reload(&api), json!({"rules": 1}));
    // What was remembered of the old rules is forgotten, here and there.
    assert_eq!(client.publish(publish("shut/a", 1, "x")), NO_MATCHING_SUBSCRIBERS);
    assert_eq!(client.publish(publish("open", 1, "x")), NOT_AUTHORIZED);
    client.subscribe("shut/+", 0);
}

#[test]
fn a_file_with_an_error_changes_nothing_and_the_line_is_told() {
    let (broker, file) = start("{deny, all, publish, [\"shut\"]}.\n");
    let api = broker.api();
    let mut client = v5().open();
    fs::write(&file, "{allow, all}.\n\n{deny, all, publish, [\"a/#/b\"]}.\n").unwrap();
    let problem = format!("{}:3: \"a/#/b\" is no Topic Filter", file.display());
    assert_eq!(refused(&api), (200, 102, problem));
    assert_eq!(client.publish(publish("shut", 1, "x")), NOT_AUTHORIZED, "the old rules stand");
    fs::remove_file(&file).unwrap();
    let (_, code, message) = refused(&api);
    assert_eq!(code, 102);
    assert!(message.starts_with(&format!("{}: ", file.display())), "{message}");
    assert_eq!(client.publish(publish("shut", 1, "x")), NOT_AUTHORIZED);
}

#[test]
fn sighup_reads_the_rules_too() {
    let (broker, file) = start("{deny, all, publish, [\"a\"]}.\n");
    let mut client = v5().open();
    assert_eq!(client.publish(publish("a", 1, "x")), NOT_AUTHORIZED);
    fs::write(&file, "{allow, all}.\n").unwrap();
    broker.reload("access rules read again rules=1");
    eventually(|| (client.publish(publish("a", 1, "x")) == NO_MATCHING_SUBSCRIBERS).then_some(()));
    fs::write(&file, "{allow all}.\n").unwrap();
    broker.reload("acl.conf:1: a comma or } is expected, not 'a'");
}

#[test]
fn without_a_file_there_is_nothing_to_read() {
    let broker = Broker::start();
    let refused = refused(&broker.api());
    assert_eq!(refused, (200, 102, "no acl_file is configured".to_owned()));
}

#[test]
fn a_broker_does_not_start_with_a_wrong_file() {
    let folder = Folder::new();
    let file = folder.path().join("acl.conf");
    fs::write(&file, "{allow, all}.\n{dény, all}.\n").unwrap();
    let keys = [("acl_file", format!("{:?}", file.to_str().unwrap()))];
    let keys = keys.each_ref().map(|(key, value)| (*key, value.as_str()));
    let said = Broker::try_start(folder, &keys).map(drop).unwrap_err();
    let expected = format!("acl_file: {}:2: ", file.display());
    assert!(said.contains(&expected), "{said}");
}

fn set(api: &Api, key: &str, value: &str) {
    let app = key.split('.').next().unwrap();
    let answer = api.put(&format!("configs/{app}"), &json!({"key": key, "value": value}));
    assert_eq!(answer, json!({"code": 0}));
}

/// Published by the operator, whom no rule is about.
fn order(api: &Api, topic: &str, text: &str) {
    let message = json!({"topic": topic, "payload": text, "qos": 1, "client_id": "operator"});
    assert_eq!(api.post("mqtt/publish", &message)["code"], 0);
}

/// Attack case 23, by the two keys that rights hang on beside their sources: who is connected, and who is away.
#[test]
fn c23_rights_follow_what_a_zone_says_of_them_at_run_time() {
    let shut = "{allow, all, pubsub, [\"free/#\"]}.\n";
    let (broker, _file) = start(shut);
    let denying = ["acl_nomatch", "zone.external.acl_nomatch"].map(|key| (key, "deny", "allow"));
    check_rights_follow(&broker, "other", &denying);
    let (broker, _file) = start("{deny, all, pubsub, [\"other/#\"]}.\n");
    set(&broker.api(), "mqtt.enable_acl", "false");
    let keys = ["mqtt.enable_acl", "zone.external.enable_acl"].map(|key| (key, "true", "false"));
    check_rights_follow(&broker, "other", &keys);
}

/// `keys` have a value that takes the right to `topic` away, and one that gives it.
fn check_rights_follow(broker: &Broker, topic: &str, keys: &[(&str, &str, &str)]) {
    let api = broker.api();
    let (inner, filter) = (format!("{topic}/a"), format!("{topic}/#"));
    for (key, taken, given) in keys {
        let away = || v5().id("away").expiry(1_000).resume();
        let mut sleeper = away().open();
        sleeper.subscribe(&filter, 1);
        sleeper.subscribe("free/#", 1);
        sleeper.disconnect();
        let mut connected = v5().id("connected").open();
        connected.subscribe(&filter, 1);
        connected.subscribe("free/#", 1);
        order(&api, &inner, "while it was allowed");
        assert_eq!(connected.take().text(), "while it was allowed");

        set(&api, key, taken);
        eventually(|| {
            let code = connected.publish(publish(&inner, 1, "x"));
            (code == NOT_AUTHORIZED).then_some(())
        });
        let routed = |filter: &str| {
            let routes = api.rows("routes");
            routes.iter().filter(|route| route["topic"] == filter).count()
        };
        assert_eq!(connected.subscribe_many(&[(&inner, 1)], &[]), [NOT_AUTHORIZED], "{key}");
        // The sweep comes over those that are connected within a moment.
        eventually(|| {
            let held = api.rows("subscriptions/connected");
            (!held.iter().any(|it| it["topic"] == filter.as_str())).then_some(())
        });
        while connected.recv_within(100).is_some() {}
        order(&api, &inner, "secret");
        order(&api, "free/a", "free");
        assert_eq!(connected.take().text(), "free", "{key}");
        let mut sleeper = away().open();
        assert!(sleeper.session_present);
        assert_eq!(sleeper.take().text(), "free", "{key}");
        sleeper.expect_nothing();
        assert_eq!(routed(&filter), 0, "{key}");

        set(&api, key, given);
        eventually(|| (connected.publish(publish(&inner, 1, "x")) < 0x80).then_some(()));
        sleeper.subscribe(&filter, 1);
        order(&api, &inner, "again");
        assert_eq!(sleeper.take().text(), "again", "{key}");
        v5().id("away").open().disconnect();
    }
}

/// Attack case 23 over a crash: what waits in the store for a right that was taken away meanwhile comes to nobody, be the
/// rules changed while the broker ran, while it was down, or by a key that is kept.
#[test]
fn c23_what_was_stored_for_rights_that_are_gone_is_not_delivered_after_a_crash() {
    let revoking = "{deny, all, pubsub, [\"secret/#\"]}.\n{allow, all, pubsub, [\"open/#\"]}.\n";
    let allowing = "{allow, all, pubsub, [\"open/#\", \"rules/#\"]}.\n";
    for how in ["while it runs", "while it is down", "by acl_nomatch"] {
        let folder = Folder::new();
        let file = folder.path().join("acl.conf");
        fs::write(&file, allowing).unwrap();
        let acl_file = format!("{:?}", file.to_str().unwrap());
        let keys = [("acl_file", acl_file.as_str())];
        let broker = Broker::start_in(folder, &keys);
        let away = || v5().id("away").expiry(1_000).resume();
        let mut sleeper = away().open();
        for filter in ["secret/#", "open/#", "$share/g/secret/#"] {
            sleeper.subscribe(filter, 2);
        }
        sleeper.disconnect();
        let will = Will::new("secret/will", "will").qos(1);
        let _vanishing = v5().id("vanishing").expiry(1_000).will(will).open();
        let mut publisher = v5().open();
        for n in 0..10 {
            let topic = if n % 2 == 0 { "secret/a" } else { "open/a" };
            assert_eq!(publisher.publish(publish(topic, 1 + n / 5, n.to_string())), 0);
        }
        match how {
            "while it runs" => {
                fs::write(&file, revoking).unwrap();
                reload(&broker.api());
            }
            "by acl_nomatch" => set(&broker.api(), "acl_nomatch", "deny"),
            _ => {}
        }
        let folder = broker.kill();
        if how == "while it is down" {
            fs::write(&file, revoking).unwrap();
        }
        let broker = Broker::start_in(folder, &keys);
        let mut sleeper = away().open();
        assert!(sleeper.session_present);
        let mut got: Vec<_> = (0..5).map(|_| sleeper.take().text()).collect();
        got.sort();
        assert_eq!(got, ["1", "3", "5", "7", "9"], "{how}");
        sleeper.expect_nothing();
        order(&broker.api(), "secret/a", "after");
        sleeper.expect_nothing();
        let held = broker.api().rows("subscriptions/away");
        assert_eq!(held.len(), 1, "{how}: {held:?}");
    }
}
