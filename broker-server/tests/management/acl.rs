//! `acl/reload`: the rules of a file decide what real clients may do, and change while they are connected.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::broker::{Broker, Folder, NODE, eventually};
use crate::client::v5;
use crate::http::Api;
use crate::wire::publish;

const NOT_AUTHORIZED: u8 = 0x87;
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

/// A broker with these rules, and their file.
fn start(rules: &str) -> (Broker, PathBuf) {
    let folder = Folder::new();
    let file = folder.0.join("acl.conf");
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
    let file = folder.0.join("acl.conf");
    fs::write(&file, "{allow, all}.\n{dény, all}.\n").unwrap();
    let keys = [("acl_file", format!("{:?}", file.to_str().unwrap()))];
    let keys = keys.each_ref().map(|(key, value)| (*key, value.as_str()));
    let said = Broker::try_start(folder, &keys).map(drop).unwrap_err();
    let expected = format!("acl_file: {}:2: ", file.display());
    assert!(said.contains(&expected), "{said}");
}
