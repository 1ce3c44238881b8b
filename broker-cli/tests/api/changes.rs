//! What the commands that change something send.

use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::server::{Request, Server, data, ok};
use crate::{program, run, succeed};

/// A broker called n that does everything, and knows what the changes have to look up first.
fn obedient() -> Server {
    Server::start(|request: &Request| match request.line.as_str() {
        "GET /api/v3/brokers" => data(&json!([{"node": "n"}])),
        "GET /api/v3/apps/a" => data(&json!({
            "app_id": "a", "secret": "******", "name": "old", "desc": "undefined", "status": true, "expired": 9,
        })),
        "GET /api/v3/nodes/n/listeners" => data(&json!([
            {"protocol": "mqtt:tcp", "listen_on": "0.0.0.0:1883", "id": "mqtt:tcp:external"},
            {"protocol": "mqtt:ssl", "listen_on": "8883"},
        ])),
        "GET /api/v3/nodes/n/plugin_configs/p" => data(&json!([
            {"key": "a.set", "value": "1", "desc": "", "required": true},
            {"key": "a.other", "value": "2", "desc": "", "required": true},
            {"key": "a.unset", "value": "", "desc": "", "required": false},
        ])),
        "DELETE /api/v3/retained" => data(&json!({"cleaned": 5})),
        "PUT /api/v3/nodes/n/acl/reload" => data(&json!({"rules": 4})),
        "POST /api/v3/nodes/n/store/backup" => data(&json!({"snapshot_bytes": 7})),
        line if line.starts_with("GET ") => panic!("{line} is not expected"),
        _ => ok(r#"{"code":0}"#),
    })
}

#[test]
fn changes_are_the_requests_of_the_document() {
    let server = obedient();
    for (line, expected, body, said) in [
        ("clients kick c/1", "DELETE /api/v3/connections/c%2F1", Value::Null, "kicked 'c/1'"),
        (
            "sessions clean-persistent c",
            "DELETE /api/v3/sessions/persistent/c",
            Value::Null,
            "removed the session of 'c'",
        ),
        (
            "subscriptions add c t/# 2",
            "POST /api/v3/mqtt/subscribe",
            json!({"client_id": "c", "topic": "t/#", "qos": 2}),
            "'c' subscribes to 't/#' with QoS 2",
        ),
        (
            "subscriptions del c t/#",
            "POST /api/v3/mqtt/unsubscribe",
            json!({"client_id": "c", "topic": "t/#"}),
            "'c' does not subscribe to 't/#' any more",
        ),
        ("plugins load p", "PUT /api/v3/nodes/n/plugins/p/load", Value::Null, "loaded p"),
        ("plugins unload p", "PUT /api/v3/nodes/n/plugins/p/unload", Value::Null, "unloaded p"),
        ("plugins reload p", "PUT /api/v3/nodes/n/plugins/p/reload", Value::Null, "reloaded p"),
        // The configuration goes as a whole.
        (
            "plugins set p a.set=x=y a.unset=3",
            "PUT /api/v3/nodes/n/plugin_configs/p",
            json!({"a.set": "x=y", "a.other": "2", "a.unset": "3"}),
            "set a.set, a.unset of p",
        ),
        (
            "listeners stop mqtt:tcp 1883",
            "PUT /api/v3/nodes/n/listeners/mqtt:tcp:external/stop",
            Value::Null,
            "stopped mqtt:tcp on 0.0.0.0:1883",
        ),
        (
            "listeners restart 8883",
            "PUT /api/v3/nodes/n/listeners/mqtt:ssl:8883/restart",
            Value::Null,
            "restarted mqtt:ssl on 8883",
        ),
        (
            "banned add 10.0.0.0/8 --as ip_address --reason r --desc d --by me --until 77",
            "POST /api/v3/banned",
            json!({"who": "10.0.0.0/8", "as": "ip_address", "reason": "r", "desc": "d", "by": "me", "until": 77}),
            "banned ip_address '10.0.0.0/8' until 1970-01-01T00:01:17Z",
        ),
        (
            "banned add c",
            "POST /api/v3/banned",
            json!({"who": "c", "as": "client_id"}),
            "banned client_id 'c' for ever",
        ),
        (
            "banned del 10.0.0.0/8 --as ip_address",
            "DELETE /api/v3/banned/10.0.0.0%2F8?as=ip_address",
            Value::Null,
            "ip_address '10.0.0.0/8' is not banned any more",
        ),
        // What is not given stays.
        (
            "apps update a off --role viewer",
            "PUT /api/v3/apps/a",
            json!({"name": "old", "status": false, "expired": 9, "role": "viewer"}),
            "changed a",
        ),
        ("mgmt delete a", "DELETE /api/v3/apps/a", Value::Null, "deleted a"),
        (
            "admins add u p viewer",
            "POST /api/v3/users",
            json!({"username": "u", "password": "p", "tags": "viewer"}),
            "added user 'u'",
        ),
        (
            "admins passwd u p",
            "PUT /api/v3/users/u",
            json!({"password": "p"}),
            "set the password of 'u'",
        ),
        ("admins tags u t", "PUT /api/v3/users/u", json!({"tags": "t"}), "set the tags of 'u'"),
        ("admins del u", "DELETE /api/v3/users/u", Value::Null, "deleted user 'u'"),
        (
            "clientid add c p",
            "POST /api/v3/auth_clientid",
            json!({"clientid": "c", "password": "p"}),
            "added clientid 'c'",
        ),
        (
            "users add u p",
            "POST /api/v3/auth_username",
            json!({"username": "u", "password": "p"}),
            "added username 'u'",
        ),
        (
            "auth-username update u p",
            "PUT /api/v3/auth_username/u",
            json!({"password": "p"}),
            "set the password of username 'u'",
        ),
        ("acl reload", "PUT /api/v3/nodes/n/acl/reload", Value::Null, "read the ACL file: 4 rules"),
        (
            "acl cache-clean",
            "DELETE /api/v3/nodes/n/acl-cache",
            Value::Null,
            "rights are asked about anew",
        ),
        (
            "config set mqtt.max_packet_size 2MB",
            "PUT /api/v3/configs/mqtt",
            json!({"key": "mqtt.max_packet_size", "value": "2MB"}),
            "set mqtt.max_packet_size = 2MB",
        ),
        (
            "config reset mqtt.max_packet_size",
            "DELETE /api/v3/configs/mqtt?key=mqtt.max_packet_size",
            Value::Null,
            "reset mqtt.max_packet_size",
        ),
        (
            "trace start topic t/# log/t.log info --rate 5 --duration 60 --payload",
            "POST /api/v3/traces",
            json!({"kind": "topic", "value": "t/#", "level": "info", "rate": 5, "duration": 60, "payload": true,
                   "file": "t.log"}),
            "tracing topic 't/#' for 60 s",
        ),
        (
            "trace start ip 10.0.0.0/8",
            "POST /api/v3/traces",
            json!({"kind": "ip_address", "value": "10.0.0.0/8", "level": "debug", "rate": 1000, "duration": 600,
                   "payload": false}),
            "tracing ip_address '10.0.0.0/8' for 600 s",
        ),
        (
            "trace stop topic t/#",
            "DELETE /api/v3/traces/topic/t%2F%23",
            Value::Null,
            "stopped tracing topic 't/#'",
        ),
        ("alarms clear a/b", "DELETE /api/v3/alarms/present/n/a%2Fb", Value::Null, "cleared a/b"),
        (
            "alarms forget-history",
            "DELETE /api/v3/alarms/history/n",
            Value::Null,
            "forgot the alarms that were cleared",
        ),
        ("retainer clean", "DELETE /api/v3/retained", Value::Null, "Cleaned 5 retained messages"),
        (
            "retainer clean t/1",
            "DELETE /api/v3/retained/t%2F1",
            Value::Null,
            "deleted the message of 't/1'",
        ),
        (
            "slow-subscriptions clear",
            "DELETE /api/v3/slow_subscriptions",
            Value::Null,
            "started anew",
        ),
        (
            "topic-metrics add t",
            "POST /api/v3/topic-metrics",
            json!({"topic": "t"}),
            "'t' is counted",
        ),
        (
            "topic-metrics del t",
            "DELETE /api/v3/topic-metrics/t",
            Value::Null,
            "'t' is not counted any more",
        ),
    ] {
        assert_eq!(succeed(&server, line), format!("{said}\n"));
        let change = server.take_change();
        assert_eq!(change.line, expected, "{line}");
        let sent = if change.body.is_empty() { Value::Null } else { change.json() };
        assert_eq!(sent, body, "{line}");
    }
}

#[test]
fn payloads_are_text_if_they_can_be() {
    let server = obedient();
    let published = |words: &[&str], stdin: &[u8]| {
        use std::io::Write;
        let mut child = program(env!("CARGO_BIN_EXE_broker-cli"))
            .arg("publish")
            .args(words)
            .env("BROKER_API", server.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        assert!(child.wait().unwrap().success());
        server.take_change().json()
    };
    let expected = json!({"topic": "t", "payload": "-1 ä", "encoding": "plain", "qos": 1, "retain": true, "client_id": "me"});
    assert_eq!(published(&["-t", "t", "-m", "-1 ä", "-q", "1", "-r", "-i", "me"], b""), expected);
    let expected = json!({"topics": ["t", "u"], "payload": "/wA=", "encoding": "base64", "qos": 0, "retain": false});
    assert_eq!(published(&["-t", "t", "-t", "u", "-f", "-"], &[0xFF, 0]), expected);
    let expected =
        json!({"topic": "t", "payload": "", "encoding": "plain", "qos": 0, "retain": true});
    assert_eq!(published(&["-t", "t", "-n", "-r"], b""), expected);
}

#[test]
fn a_ban_for_a_time_ends_then() {
    let server = obedient();
    succeed(&server, "banned add c --for 2h");
    let until = server.take_change().json()["until"].as_u64().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!((now + 7190..=now + 7200).contains(&until), "{until} {now}");
}

#[test]
fn secrets_are_read_from_stdin_where_none_is_given() {
    let server = obedient();
    for (words, key) in [
        (&["users", "add", "u"][..], "password"),
        (&["admins", "passwd", "u", "-"], "password"),
        (&["clientid", "update", "c"], "password"),
        (&["apps", "insert", "a", "name", "--app-secret", "-"], "secret"),
    ] {
        use std::io::Write;
        let mut child = program(env!("CARGO_BIN_EXE_broker-cli"))
            .args(words)
            .env("BROKER_API", server.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"typed in\n").unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(server.take_change().json()[key], "typed in", "{words:?}");
    }
    let outcome = run(&server, &["users", "add", "u"]);
    assert_eq!(outcome.status, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("the password is missing"), "{outcome:?}");
}

#[test]
fn a_plugin_key_that_does_not_exist_changes_nothing() {
    let server = obedient();
    let outcome = run(&server, &["plugins", "set", "p", "a.typo=1"]);
    assert_eq!(outcome.status, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("plugin p has no key 'a.typo'"), "{outcome:?}");
    assert!(server.take_lines().iter().all(|line| line.starts_with("GET ")));
}

#[test]
fn an_application_shows_its_secret_once() {
    let server = Server::with(data(&json!({"secret": "0aB"})));
    assert_eq!(succeed(&server, "apps insert a name"), "app_id  a\nsecret  0aB\n");
    let expected = json!({"app_id": "a", "name": "name", "status": true});
    assert_eq!(server.take_change().json(), expected);
    assert_eq!(succeed(&server, "apps insert a name --json"), "{\"secret\":\"0aB\"}\n");
}
