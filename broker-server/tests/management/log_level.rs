//! `log/level`: the log of the running program says more and less.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, NODE};
use crate::http::Api;

fn path() -> String {
    format!("nodes/{NODE}/log/level")
}

fn set(api: &Api, body: &Value) -> Value {
    api.put(&path(), body)["data"].clone()
}

#[test]
fn a_level_is_set_while_the_broker_runs() {
    let broker = Broker::start();
    let api = broker.api();
    assert_eq!(api.data(&path()), json!({"level": "info", "targets": {}}));
    connect(&broker);
    assert_eq!(set(&api, &json!({"level": "debug"})), json!({"level": "debug", "targets": {}}));
    connect(&broker);
    let quiet = json!({"level": "debug", "targets": {"broker_net": "error"}});
    assert_eq!(set(&api, &json!({"level": "error", "target": "broker_net"})), quiet);
    connect(&broker);
    assert_eq!(api.data(&path()), quiet);
    // Words of the original.
    assert_eq!(set(&api, &json!({"level": "critical"}))["level"], "error");
    assert_eq!(set(&api, &json!({"level": "warning"}))["level"], "warn");
    let taken_back = set(&api, &json!({"level": "default", "target": "broker_net"}));
    assert_eq!(taken_back, json!({"level": "warn", "targets": {}}));

    // What the configuration says comes back.
    set(&api, &json!({"level": "debug"}));
    broker.reload("certificates read again");
    assert_eq!(api.data(&path()), json!({"level": "info", "targets": {}}));
    connect(&broker);
    assert_eq!(told(broker), 1, "the one at debug");
}

#[test]
fn a_part_goes_back_to_what_is_configured() {
    let broker = Broker::start_with(&[("log.targets.broker_net", "\"debug\"")]);
    let api = broker.api();
    connect(&broker);
    set(&api, &json!({"level": "off", "target": "broker_net"}));
    connect(&broker);
    let back = set(&api, &json!({"level": "default", "target": "broker_net"}));
    assert_eq!(back["targets"], json!({"broker_net": "debug"}));
    connect(&broker);
    assert_eq!(told(broker), 2, "not the one while it was off");
}

#[test]
fn what_is_wrong_is_named() {
    let broker = Broker::start();
    let api = broker.api();
    let check = |body: Value, code: u64, message: &str| {
        let failure = api.call("PUT", &path(), &body.to_string()).failure();
        assert_eq!(failure, (200, code, message.to_owned()), "{body}");
    };
    check(json!({}), 107, "level: must be there");
    let words = "level: must be one of off, error, warn, info, debug, trace";
    check(json!({"level": "loud"}), 108, words);
    check(json!({"level": "default"}), 108, words);
    check(json!({"level": "loud", "target": "broker_net"}), 108, &format!("{words}, or default"));
    check(json!({"level": 1}), 108, "level: invalid type: integer `1`, expected a string");
    let name = "target: must be the name of a module, 1 to 128 letters, digits and _ - : .";
    for target in ["", "a b", "a=debug,b", &"x".repeat(129)] {
        check(json!({"level": "debug", "target": target}), 108, name);
    }
    for n in 0..64 {
        set(&api, &json!({"level": "warn", "target": format!("t{n}")}));
    }
    check(json!({"level": "warn", "target": "t64"}), 108, "target: there are 64 already");
    set(&api, &json!({"level": "info", "target": "t63"}));
    let other = api.call("GET", "nodes/other@host/log/level", "");
    assert_eq!(other.failure(), (404, 102, "node other@host not found".into()));
    api.post("apps", &json!({"app_id": "eye", "name": "", "secret": "s", "role": "viewer"}));
    let viewer = broker.api_as("eye", "s");
    assert_eq!(viewer.data(&path())["level"], "info");
    assert_eq!(viewer.call("PUT", &path(), r#"{"level":"debug"}"#).status, 403);
}

/// A connection whose end broker_net logs at the level debug.
fn connect(broker: &Broker) {
    let mut stream = TcpStream::connect(broker.address("mqtt:tcp:external")).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // No packet of MQTT: the broker closes, and has logged by then what it will.
    stream.write_all(&[0, 0]).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

/// How many of them were logged.
fn told(broker: Broker) -> usize {
    broker.stop().1.matches(" connection closed: ").count()
}
