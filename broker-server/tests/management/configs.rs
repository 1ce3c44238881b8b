//! `configs` and `plugin_configs`: shown, changed while clients are connected, kept over a restart.

use std::process::Command;

use serde_json::{Value, json};

use crate::broker::{Broker, NODE, wait_until};
use crate::client::{Client, v5, v311};
use crate::http::{Api, keys};
use crate::mosquitto::Mosquitto;
use crate::wire::{Packet, Prop, publish};

fn set(api: &Api, key: &str, value: &str) {
    let app = key.split('.').next().unwrap();
    let answer = api.put(&format!("configs/{app}"), &json!({"key": key, "value": value}));
    assert_eq!(answer, json!({"code": 0}));
}

#[track_caller]
fn check_refused(api: &Api, key: &str, value: &str, expected: &str) {
    let app = key.split('.').next().unwrap();
    let body = json!({"key": key, "value": value});
    let failure = api.refused("PUT", &format!("configs/{app}"), &body);
    assert_eq!(failure, (200, 108, format!("{key}: {expected}")), "{value}");
}

fn row(api: &Api, key: &str) -> Value {
    let rows = api.rows(&format!("nodes/{NODE}/configs"));
    rows.into_iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key}"))
}

fn value(api: &Api, key: &str) -> String {
    row(api, key)["value"].as_str().unwrap().to_owned()
}

fn of_plugin(api: &Api, plugin: &str, key: &str) -> Value {
    let rows = api.rows(&format!("nodes/{NODE}/plugin_configs/{plugin}"));
    rows.into_iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key}"))
}

/// What CONNACK announces.
fn limits(client: &Client) -> (Option<u32>, Option<u8>, Option<u8>, Option<u16>) {
    let number = |prop: &Prop| match prop {
        Prop::MaximumPacketSize(bytes) => Some(*bytes),
        _ => None,
    };
    let keep_alive = |prop: &Prop| match prop {
        Prop::ServerKeepAlive(seconds) => Some(*seconds),
        _ => None,
    };
    let qos = |prop: &Prop| if let Prop::MaximumQoS(qos) = prop { Some(*qos) } else { None };
    let retain = |prop: &Prop| if let Prop::RetainAvailable(is) = prop { Some(*is) } else { None };
    let props = &client.props;
    (props.find(number), props.find(qos), props.find(retain), props.find(keep_alive))
}

const DEFAULT_LIMITS: (Option<u32>, Option<u8>, Option<u8>, Option<u16>) =
    (Some(1 << 20), None, None, None);

#[test]
fn every_key_is_shown_with_its_value_and_secrets_are_not() {
    let broker = Broker::start_with(&[
        ("auth.user.1.username", "\"bob\""),
        ("auth.user.1.password", "\"builder\""),
        ("auth.scram_sha_256.users.eve", "\"adam\""),
        ("mqtt.max_inflight", "7"),
    ]);
    let api = broker.api();
    let all = api.rows("configs");
    assert_eq!(all.len(), 1);
    assert_eq!((keys(&all[0]), &all[0]["node"]), (vec!["config", "node"], &json!(NODE)));
    let rows = api.rows(&format!("nodes/{NODE}/configs/"));
    assert_eq!(all[0]["config"], json!(rows));
    let expected = ["app", "changeable", "datatpye", "descr", "kept", "key", "value"];
    assert!(rows.iter().all(|row| keys(row) == expected));
    assert_eq!(
        row(&api, "zone.external.max_inflight"),
        json!({
            "key": "zone.external.max_inflight", "value": "7", "datatpye": "integer", "app": "zone",
            "descr": "QoS 1 and 2 messages sent to a client and not yet acknowledged; 0 for no limit.",
            "changeable": true, "kept": false,
        })
    );
    for (key, shown, kind, changeable) in [
        ("node.name", NODE, "string", false),
        ("allow_anonymous", "local", "flag", true),
        ("mqtt.max_packet_size", "1MB", "bytesize", true),
        ("mqtt.mountpoint", "none", "string", true),
        ("zone.internal.enable_acl", "false", "flag", true),
        ("broker.sys_interval", "1m", "duration", true),
        ("log.level", "info", "enum", true),
        ("log.targets", "{}", "table", true),
        ("store.segment_bytes", "4MB", "bytesize", false),
        ("listener.tcp.external.access", "[\"allow all\"]", "list", false),
        ("listener.tcp.external.bind", "127.0.0.1:0", "ip", false),
        ("auth.user.1.username", "bob", "string", false),
        ("auth.user.1.password", "******", "string", false),
        ("auth.scram_sha_256.users", "******", "table", false),
        ("dashboard.default_user.password", "******", "string", false),
        ("module.rewrite.rule", "[]", "list", true),
    ] {
        let row = row(&api, key);
        assert_eq!((&row["value"], &row["datatpye"]), (&json!(shown), &json!(kind)), "{key}");
        assert_eq!(row["changeable"], changeable, "{key}");
    }
    let text = api.get("configs").to_string();
    assert!(!text.contains("builder") && !text.contains("adam"));

    let log = api.rows(&format!("nodes/{NODE}/configs/log"));
    assert!(log.len() == 4 && log.iter().all(|row| row["app"] == "log"), "{log:?}");
    assert_eq!(api.rows("configs/log")[0]["config"], json!(log));
    for path in ["nodes/other@host/configs", "nodes/other@host/plugin_configs/emqx_retainer"] {
        let failure = api.call("GET", path, "").failure();
        assert_eq!(failure, (404, 102, "node other@host not found".into()));
    }
}

/// Who is connected keeps what he was told; who comes next is told otherwise, after a restart as well.
#[test]
fn limits_of_a_zone_change_for_the_clients_to_come() {
    let broker = Broker::start_with(&[("zone.internal.max_qos_allowed", "0")]);
    let api = broker.api();
    let mut old = v5().open();
    assert_eq!(limits(&old), DEFAULT_LIMITS);
    let before = std::fs::read_to_string(broker.config()).unwrap();
    set(&api, "mqtt.max_packet_size", "64KB");
    set(&api, "mqtt.max_qos_allowed", "1");
    set(&api, "zone.external.retain_available", "off");
    api.put(
        &format!("nodes/{NODE}/configs/zone"),
        &json!({"key": "zone.external.server_keepalive", "value": "77"}),
    );
    let changed = (Some(64 << 10), Some(1), Some(0), Some(77));
    assert_eq!(limits(&v5().open()), changed);
    // More than 64 KB, QoS 2, retained.
    assert_eq!(old.publish(publish("a", 2, "x".repeat(70_000)).retain()), 0x10);
    assert_eq!(value(&api, "zone.external.max_packet_size"), "64KB");
    assert_eq!(value(&api, "zone.internal.max_qos_allowed"), "0", "as its own key says");
    let shown = row(&api, "zone.external.retain_available");
    assert_eq!((&shown["value"], &shown["kept"]), (&json!("false"), &json!(true)));
    assert_eq!(row(&api, "zone.external.max_packet_size")["kept"], false, "it follows mqtt's");

    // The process dies; the file is what it was.
    let folder = broker.kill();
    assert_eq!(std::fs::read_to_string(folder.path().join("broker.toml")).unwrap(), before);
    let broker = Broker::start_in(folder, &[("zone.internal.max_qos_allowed", "0")]);
    let api = broker.api();
    assert_eq!(limits(&v5().open()), changed);
    assert!(print_config(&broker).contains("max_packet_size = \"1MB\""));
    assert!(!print_config(&broker).contains("max_packet_size = \"64KB\""));

    // Taken back, now and for good.
    api.delete("configs/mqtt?key=mqtt.max_packet_size");
    api.delete(&format!("nodes/{NODE}/configs/zone?key=zone.external.server_keepalive"));
    assert_eq!(limits(&v5().open()), (Some(1 << 20), Some(1), Some(0), None));
    api.delete("configs/mqtt?key=mqtt.max_qos_allowed");
    api.delete("configs/zone?key=zone.external.retain_available");
    let (folder, log) = broker.stop();
    for (key, times) in [
        ("mqtt.max_packet_size = \"64KB\"", 1),
        ("mqtt.max_qos_allowed = \"1\"", 1),
        ("zone.external.retain_available = \"false\"", 1),
        ("zone.external.server_keepalive = \"77\"", 1),
    ] {
        let line = format!("set at run time, not by the configuration file: {key}");
        assert_eq!(log.matches(&line).count(), times, "{key}\n{log}");
    }
    let broker = Broker::start_in(folder, &[]);
    assert_eq!(limits(&v5().open()), DEFAULT_LIMITS);
    assert!(!broker.stop().1.contains("set at run time"));
}

fn print_config(broker: &Broker) -> String {
    let program = env!("CARGO_BIN_EXE_broker-server");
    let mut command = Command::new(program);
    let output = command.arg("--print-config").arg("--config").arg(broker.config()).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn what_is_wrong_is_named_and_changes_nothing() {
    let broker = Broker::start();
    let api = broker.api();
    let before = api.get("configs");
    let restart = "takes effect with a restart; set it in the configuration file";
    for (key, value, expected) in [
        ("mqtt.max_qos_allowed", "3", "must be a whole number from 0 to 2"),
        ("mqtt.retain_available", "maybe", "must be true or false (or \"on\" or \"off\")"),
        ("acl_nomatch", "perhaps", "must be one of allow, deny"),
        (
            "mqtt.mountpoint",
            "a/#",
            "\"a/#\": wildcard in a topic name at byte 2; must be a topic without wildcards, %c for the client id, %u for the user name, or \"none\"",
        ),
        (
            "zone.external.flapping_threshold",
            "10",
            "has no comma; must be a count and an interval, such as \"10,1m\"",
        ),
        ("mqtt.max_inflght", "3", "unknown key; did you mean mqtt.max_inflight?"),
        ("zone.lan.max_inflight", "3", "there is no zone.lan in the configuration file"),
        (
            "log.level",
            "loud",
            "must be one of off, error, warn, info, debug, trace, warning, notice, critical, alert, emergency",
        ),
        (
            "module.rewrite.rule",
            "[\"a ( b\"]",
            "( is no regular expression: found open group without closing",
        ),
        ("node.cookie", "x", "has no meaning for this broker"),
        ("node.name", "a@b", restart),
        ("node.data_dir", "/", restart),
        ("listener.tcp.external.bind", "1883", restart),
        ("listener.tcp.external", "1883", restart),
        ("durability.level", "memory", restart),
        ("store.enabled", "false", restart),
        ("plugins.loaded", "emqx_coap", restart),
        ("management.max_row_limit", "1", restart),
        ("dashboard.default_user.password", "x", restart),
        ("auth.scram_sha_256.users", "{ a = \"b\" }", restart),
    ] {
        if let Some(begin) = expected.strip_suffix(" without closing") {
            let app = key.split('.').next().unwrap();
            let body = json!({"key": key, "value": value});
            let (_, code, message) = api.refused("PUT", &format!("configs/{app}"), &body);
            assert!(code == 108 && message.starts_with(&format!("{key}: {begin}")), "{message}");
        } else {
            check_refused(&api, key, value, expected);
        }
    }
    // More than the store takes, which is another key's business.
    let body = json!({"key": "mqtt.max_packet_size", "value": "3MB"});
    let (_, code, message) = api.refused("PUT", "configs/mqtt", &body);
    assert!(
        code == 108
            && message
                .starts_with("mqtt.max_packet_size: more than a quarter of store.segment_bytes"),
        "{message}"
    );
    let body = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for (method, path, body, expected) in [
        (
            "PUT",
            "configs/mqtt",
            body(r#"{"key": "mqtt.max_inflight"}"#),
            (107, "value: must be there"),
        ),
        ("PUT", "configs/mqtt", body(r#"{"value": "1"}"#), (107, "key: must be there")),
        (
            "PUT",
            "configs/mqtt",
            body(r#"{"key": "mqtt.max_inflight", "value": 1}"#),
            (108, "value: invalid type: integer `1`, expected a string"),
        ),
        (
            "PUT",
            "configs/log",
            body(r#"{"key": "mqtt.max_inflight", "value": "1"}"#),
            (108, "key: mqtt.max_inflight does not belong to log"),
        ),
        ("DELETE", "configs/mqtt", Value::Null, (107, "key: must be there")),
        (
            "DELETE",
            "configs/mqtt?key=mqtt.x",
            Value::Null,
            (108, "mqtt.x: unknown key; --print-config shows all keys"),
        ),
    ] {
        let failure = api.refused(method, path, &body);
        assert_eq!(failure, (200, expected.0, expected.1.to_owned()), "{method} {path} {body}");
    }
    let long = format!("{}=1", "x".repeat(65_000));
    check_refused(
        &api,
        "mqtt.mqueue_priorities",
        &[long.as_str(), &long.replace('x', "y")].join(","),
        "too long: all that is set takes 65536 bytes at most",
    );
    assert_eq!(api.get("configs"), before);
    assert_eq!(limits(&v5().open()), DEFAULT_LIMITS);
    // What was the default may be taken back, which is nothing.
    api.delete("configs/mqtt?key=mqtt.max_inflight");

    api.post("apps", &json!({"app_id": "eye", "name": "", "secret": "s", "role": "viewer"}));
    let viewer = broker.api_as("eye", "s");
    assert_eq!(viewer.get("configs"), before);
    let body = r#"{"key":"mqtt.max_inflight","value":"1"}"#;
    assert_eq!(viewer.call("PUT", "configs/mqtt", body).status, 403);
    assert_eq!(viewer.call("DELETE", "configs/mqtt?key=mqtt.max_inflight", "").status, 403);
}

/// A session that waits for its client is restored with the limits that were set, not with those of the file.
#[test]
fn what_was_set_holds_for_sessions_that_are_restored() {
    let broker = Broker::start();
    set(&broker.api(), "mqtt.max_mqueue_len", "2");
    let mut away = v311().id("away").resume().open();
    away.subscribe("a", 1);
    away.disconnect();
    let broker = Broker::start_in(broker.kill(), &[]);
    let mut client = v5().open();
    for n in 0..5 {
        assert!(client.publish(publish("a", 1, n.to_string())) < 0x80);
    }
    let mut away = v311().id("away").resume().open();
    assert_eq!([away.take().text(), away.take().text()], ["3", "4"]);
    away.expect_nothing();
    drop(broker);
}

/// A new file may be at odds with what was set; the broker starts with the file then.
#[test]
fn what_does_not_fit_the_file_any_more_is_left_out() {
    let broker = Broker::start();
    set(&broker.api(), "mqtt.max_packet_size", "900KB");
    set(&broker.api(), "mqtt.max_inflight", "9");
    let (folder, _) = broker.stop();
    let keys = [("store.segment_bytes", "\"1MB\""), ("mqtt.max_packet_size", "\"100KB\"")];
    let broker = Broker::start_in(folder, &keys);
    let api = broker.api();
    assert_eq!(limits(&v5().open()).0, Some(100 << 10));
    assert_eq!(value(&api, "mqtt.max_packet_size"), "100KB");
    assert_eq!(value(&api, "mqtt.max_inflight"), "9");
    let (_, log) = broker.stop();
    assert!(log.contains("what was set at run time and does not fit is left out"), "{log}");
    assert!(log.contains("mqtt.max_packet_size = \"900KB\": more than a quarter"), "{log}");
}

#[test]
fn settings_of_the_whole_broker_change() {
    let broker = Broker::start_with(&[("broker.sys_interval", "0")]);
    let api = broker.api();
    let mut client = v5().open();
    client.subscribe(&format!("$SYS/brokers/{NODE}/uptime"), 0);
    set(&api, "broker.sys_interval", "1s");
    assert!(client.take().text().ends_with(" seconds"));

    let presence = format!("$SYS/brokers/{NODE}/clients/+/connected");
    let mut watcher = v5().open();
    watcher.subscribe(&presence, 0);
    v5().id("seen").open();
    assert!(watcher.take().topic.contains("/seen/"));
    set(&api, "module.presence.enabled", "false");
    v5().id("unseen").open();
    set(&api, "module.presence.enabled", "true");
    v5().id("seen2").open();
    assert!(watcher.take().topic.contains("/seen2/"));

    // A topic of a regular expression with a comma in it.
    set(&api, "module.rewrite.rule", r#"["x/# ^x/(.{1,3})$ y/$1"]"#);
    let mut receiver = v5().open();
    receiver.subscribe("y/#", 1);
    client.publish(publish("x/1234", 1, "x"));
    client.publish(publish("x/123", 1, "x"));
    assert_eq!(receiver.take().topic, "y/123");
    set(&api, "module.rewrite.rule", "[]");
    client.publish(publish("x/123", 1, "x"));
    receiver.expect_nothing();

    set(&api, "broker.max_sessions", "1");
    let mut refused = v5().begin();
    refused.expect_connack(0x97);
    api.delete("configs/broker?key=broker.max_sessions");
    v5().open();

    let _of_u = v5().username("u").open();
    set(&api, "limits.user.max_sessions", "1");
    v5().username("u").begin().expect_connack(0x97);
    assert_eq!(value(&api, "limits.user.max_sessions"), "1");

    set(&api, "zone.external.flapping_threshold", "1,1m");
    set(&api, "zone.external.enable_flapping_detect", "on");
    v5().id("flaps").open();
    v5().id("flaps").begin().expect_connack(0x8A);
}

#[test]
fn the_log_follows_and_keeps_to_it() {
    let broker = Broker::start();
    let api = broker.api();
    let level = |api: &Api| api.data(&format!("nodes/{NODE}/log/level"))["level"].clone();
    set(&api, "log.level", "debug");
    assert_eq!(level(&api), "debug");
    // What is set for now is in effect, and shown; the key brings back what it says.
    api.put(&format!("nodes/{NODE}/log/level"), &json!({"level": "error"}));
    assert_eq!(value(&api, "log.level"), "error");
    set(&api, "log.level", "debug");
    assert_eq!((level(&api), value(&api, "log.level").as_str()), (json!("debug"), "debug"));
    set(&api, "log.targets", r#"{ broker_net = "warn" }"#);
    let targets = api.data(&format!("nodes/{NODE}/log/level"))["targets"].clone();
    assert_eq!(targets, json!({"broker_net": "warn"}));
    // The file is read again, and what was set goes before it.
    let config = broker.config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + "log.level = \"warn\"\nlog.format = \"json\"\n").unwrap();
    broker.reload("log levels read again");
    assert_eq!(level(&api), "debug");
    assert_eq!(value(&api, "log.format"), "json");
    api.delete("configs/log?key=log.level");
    assert_eq!(level(&api), "warn", "as the file has it by now");
}

#[test]
fn keys_of_a_plugin_are_set_all_at_once() {
    let broker = Broker::start_with(&[("retainer.expiry_interval", "\"1h\"")]);
    let (api, clients) = (broker.api(), Mosquitto::of(&broker));
    let path = format!("nodes/{NODE}/plugin_configs/emqx_retainer");
    let rows = api.rows(&path);
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert_eq!(
        of_plugin(&api, "emqx_retainer", "retainer.expiry_interval"),
        json!({
            "key": "retainer.expiry_interval", "value": "1h", "required": true, "changeable": true,
            "desc": "How long messages without an expiry of their own are retained; 0 for ever.",
        })
    );
    let size = "retainer.max_payload_size";
    assert_eq!(of_plugin(&api, "emqx_retainer", size)["required"], false);

    // One is wrong: none is taken.
    let wrong = json!({size: "4B", "retainer.max_retained_messages": "many"});
    let (_, code, message) = api.refused("PUT", &path, &wrong);
    assert_eq!(code, 108);
    assert!(
        message.starts_with("retainer.max_retained_messages: must be a whole number"),
        "{message}"
    );
    clients.publish("a", "12345", &["-r"]);
    api.put(&path, &json!({size: "4B"}));
    clients.publish("b", "12345", &["-r"]);
    clients.publish("c", "1234", &["-r"]);
    assert_eq!(clients.retained("+"), "a 12345\nc 1234\n");
    assert_eq!(of_plugin(&api, "emqx_retainer", size)["required"], true);
    assert_eq!(row(&api, size)["kept"], true);

    // Over a restart, an unload and a reload.
    let (folder, _) = broker.stop();
    let broker = Broker::start_in(folder, &[("retainer.expiry_interval", "\"1h\"")]);
    let (api, clients) = (broker.api(), Mosquitto::of(&broker));
    for order in ["unload", "load", "reload"] {
        api.put(&format!("nodes/{NODE}/plugins/emqx_retainer/{order}"), &json!({}));
    }
    clients.publish("d", "12345", &["-r"]);
    assert_eq!(clients.retained("d"), "");

    // What a plugin reads again is shown, and what is not named goes back to it.
    let config = broker.config();
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("\"1h\"", "\"2h\"") + "retainer.max_payload_size = \"5B\"\n";
    std::fs::write(&config, text).unwrap();
    assert_eq!(value(&api, "retainer.expiry_interval"), "1h", "not read yet");
    api.put(&format!("nodes/{NODE}/plugins/emqx_retainer/reload"), &json!({}));
    assert_eq!(value(&api, "retainer.expiry_interval"), "2h");
    assert_eq!(value(&api, size), "4B");
    api.put(&path, &json!({"retainer.expiry_interval": "2h"}));
    assert_eq!((value(&api, size).as_str(), &row(&api, size)["kept"]), ("5B", &json!(false)));
    assert_eq!(row(&api, "retainer.expiry_interval")["kept"], false, "the file has it so");
    clients.publish("e", "12345", &["-r"]);
    assert_eq!(clients.retained("e"), "e 12345\n");
}

#[test]
fn a_plugin_that_is_not_loaded_is_configured_for_when_it_is() {
    let broker = Broker::start();
    let (api, clients) = (broker.api(), Mosquitto::of(&broker));
    let order = |order: &str| {
        api.put(&format!("nodes/{NODE}/plugins/emqx_retainer/{order}"), &json!({}));
    };
    order("unload");
    set(&api, "retainer.max_payload_size", "4B");
    clients.publish("a", "1234", &["-r"]);
    assert_eq!(clients.retained("a"), "", "still unloaded");
    order("load");
    clients.publish("b", "12345", &["-r"]);
    clients.publish("c", "1234", &["-r"]);
    assert_eq!(clients.retained("+"), "c 1234\n");
}

#[test]
fn plugins_and_keys_that_are_not_there_say_so() {
    let broker = Broker::start_with(&[
        ("auth.user.1.username", "\"bob\""),
        ("auth.user.1.password", "\"builder\""),
    ]);
    let api = broker.api();
    let path = |plugin: &str| format!("nodes/{NODE}/plugin_configs/{plugin}");
    for (plugin, said) in
        [("no_such", "not_found"), ("emqx_coap", "emqx_coap is not in this build of the broker")]
    {
        for (method, body) in [("GET", Value::Null), ("PUT", json!({}))] {
            let failure = api.refused(method, &path(plugin), &body);
            assert_eq!(failure, (200, 102, said.into()));
        }
    }
    for (body, expected) in [
        (
            json!({"retainer.no_such": "1"}),
            "retainer.no_such: unknown key; --print-config shows all keys",
        ),
        (
            json!({"mqtt.max_inflight": "1"}),
            "mqtt.max_inflight: is no key of this plugin, which begin with retainer.",
        ),
        (
            json!({"retainer.expiry_interval": 1}),
            "retainer.expiry_interval: invalid type: integer `1`, expected a string",
        ),
    ] {
        assert_eq!(api.refused("PUT", &path("emqx_retainer"), &body), (200, 108, expected.into()));
    }
    // A client that sends back what it was shown changes what it changes, and no secret.
    let accounts = path("emqx_auth_username");
    let mut all = json!({});
    for row in api.rows(&accounts).iter().filter(|row| row["required"] == true) {
        all[row["key"].as_str().unwrap()] = row["value"].clone();
    }
    assert_eq!(all["auth.user.1.password"], "******");
    all["auth.user.password_hash"] = json!("bcrypt");
    api.put(&accounts, &all);
    api.put(&format!("nodes/{NODE}/plugins/emqx_auth_username/load"), &json!({}));
    let long = "x".repeat(100);
    let body = json!({"username": "u", "password": long});
    let (_, code, message) = api.refused("POST", "auth_username", &body);
    assert!(code == 108 && message.starts_with("password"), "bcrypt takes 72 bytes: {message}");
    set(&api, "auth.user.password_hash", "sha256");
    api.post("auth_username", &body);
    assert_eq!(Mosquitto::of(&broker).login(&["-u", "u", "-P", &long]), 0);
    assert_eq!(Mosquitto::of(&broker).login(&["-u", "bob", "-P", "builder"]), 0);
    all["auth.user.1.password"] = json!("other");
    let restart =
        "auth.user.1.password: takes effect with a restart; set it in the configuration file";
    assert_eq!(api.refused("PUT", &accounts, &all), (200, 108, restart.into()));
}

/// Subscriptions that clients get without asking; nothing is lost on a connection while keys change.
#[test]
fn connections_go_on_while_keys_change() {
    let broker = Broker::start_with(&[("module.subscription.1.topic", "\"in/%c\"")]);
    let api = broker.api();
    let mut client = v5().id("me").open();
    set(&api, "module.subscription.1.topic", "out/%c");
    let mut next = v5().id("you").open();
    for n in 0..50 {
        set(&api, "mqtt.max_inflight", &(n % 7 + 1).to_string());
        assert!(client.publish(publish("out/you", 1, n.to_string())) < 0x80);
        assert_eq!(next.take().text(), n.to_string());
    }
    client.publish(publish("in/me", 1, "x"));
    assert!(matches!(client.recv(), Packet::Publish(message) if message.topic == "in/me"));
    wait_until(|| value(&api, "mqtt.max_inflight") == "1");
}
