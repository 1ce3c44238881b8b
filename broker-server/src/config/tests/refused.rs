//! What is said of a wrong configuration.

use super::*;

#[test]
fn wrong_values_are_refused_with_place_and_range() {
    check_errors(
        r#"
allow_anonymous = "maybe"
[node]
name = "broker"
[mqtt]
max_packet_size = "300MB"
max_qos_allowed = 3
idle_timeout = 15
max_clientid_len = 65_536
keepalive_backoff = 0.1
session_expiry_interval = "1500ms"
mqueue_priorities = "a=1,b=256"
max_mqueue_len = [1]
retry_interval = 2024-01-01
[zone.external]
flapping_threshold = "10"
mountpoint = "a/#"
[broker]
shared_subscription_strategy = "best"
[os_mon]
cpu_high_watermark = "80"
"#,
        &[
            r#"broker.toml:2:19: allow_anonymous = "maybe": must be true or false (or "on" or "off"), or "local""#,
            r#"broker.toml:4:8: node.name = "broker": is no name@host; must be a name and a host, such as "emqx@127.0.0.1""#,
            r#"broker.toml:6:19: mqtt.max_packet_size = "300MB": must be a size from 1B to 268435460B, such as "1MB" (units B, KB, MB, GB)"#,
            r#"broker.toml:7:19: mqtt.max_qos_allowed = 3: must be a whole number from 0 to 2"#,
            r#"broker.toml:8:16: mqtt.idle_timeout = 15: must be a duration from 1ms to 1d, such as "15s" (units ms, s, m, h, d)"#,
            r#"broker.toml:9:20: mqtt.max_clientid_len = 65536: must be a whole number from 1 to 65535"#,
            r#"broker.toml:10:21: mqtt.keepalive_backoff = 0.1: must be a number from 0.5 to 10"#,
            r#"broker.toml:11:27: mqtt.session_expiry_interval = "1500ms": must be a duration from 0s to 4294967294s in whole seconds, such as "2h", or "infinity""#,
            r#"broker.toml:12:21: mqtt.mqueue_priorities = "a=1,b=256": the priority of b is not 1 to 255; must be topics with a priority from 1 to 255, such as "a/b=10,c=8", or "none""#,
            r#"broker.toml:13:18: mqtt.max_mqueue_len = [1]: must be a whole number from 0 to 4294967295"#,
            r#"broker.toml:14:18: mqtt.retry_interval = 2024-01-01: must be a duration from 0s to 1d, such as "15s" (units ms, s, m, h, d)"#,
            r#"broker.toml:16:22: zone.external.flapping_threshold = "10": has no comma; must be a count and an interval, such as "10,1m""#,
            r#"broker.toml:17:14: zone.external.mountpoint = "a/#": "a/#": wildcard in a topic name at byte 2; must be a topic without wildcards, %c for the client id, %u for the user name, or "none""#,
            r#"broker.toml:19:32: broker.shared_subscription_strategy = "best": must be one of random, round_robin, sticky, hash, hash_topic"#,
            r#"broker.toml:21:22: os_mon.cpu_high_watermark = "80": must be a percentage from "0%" to "100%""#,
        ],
    );
}

#[test]
fn unknown_keys_are_refused_with_a_hint() {
    check_errors(
        r#"
max_packet_size = "1MB"
[mqtt]
max_paket_size = "1MB"
colour = "red"
[mqqt]
a = 1
[listener.tpc.x]
bind = 1
[listener.tcp.external]
certfile = "c.pem"
[zone."a b"]
max_inflight = 1
max_mqueue_len = 1
[module.presence.qos]
x = 1
"#,
        &[
            "broker.toml:2:1: max_packet_size: unknown key; did you mean mqtt.max_packet_size?",
            "broker.toml:4:1: mqtt.max_paket_size: unknown key; did you mean mqtt.max_packet_size?",
            "broker.toml:5:1: mqtt.colour: unknown key; --print-config shows all keys",
            "broker.toml:6:2: mqqt: unknown table; did you mean [mqtt]?",
            "broker.toml:8:11: listener.tpc: unknown table; did you mean [listener.tcp]?",
            "broker.toml:11:1: listener.tcp.external.certfile: only ssl, wss listeners have this key",
            "broker.toml:12:7: zone.\"a b\": a name is 1 to 64 letters, digits, _ and -",
            "broker.toml:15:18: module.presence.qos: a table, but must be a whole number from 0 to 2",
        ],
    );
}

#[test]
fn lists_are_refused_item_by_item() {
    check_errors(
        r#"
[listener.tcp.external]
access = ["allow all", "permit 10.0.0.0/8", 3]
[module.rewrite.rule]
1 = "x/# ^x$"
[module.topic_metrics]
topic = ["a/+"]
[log.targets]
broker_net = "loud"
"#,
        &[
            r#"broker.toml:3:24: listener.tcp.external.access = "permit 10.0.0.0/8": starts with neither "allow" nor "deny"; must be "allow" or "deny" and "all", an address or a block, such as "deny 10.0.0.0/8""#,
            r#"broker.toml:3:45: listener.tcp.external.access = 3: must be "allow" or "deny" and "all", an address or a block, such as "deny 10.0.0.0/8""#,
            r#"broker.toml:5:5: module.rewrite.rule = "x/# ^x$": has 2 parts instead of 3; must be "<topic filter> <regular expression> <new topic>" with $1 to $9 for the groups"#,
            r#"broker.toml:7:10: module.topic_metrics.topic = "a/+": "a/+": wildcard in a topic name at byte 2; must be a topic name"#,
            r#"broker.toml:9:14: log.targets.broker_net = "loud": is no level; must be one of off, error, warn, info, debug, trace"#,
        ],
    );
}

#[test]
fn settings_must_fit_each_other() {
    check_errors(
        r#"
[listener.tcp.external]
zone = "lan"
[listener.tcp.lan]
bind = "127.0.0.1:8883"
[listener.tcp.nowhere]
[listener.ssl.external]
certfile = "c.pem"
verify = "verify_peer"
[listener.wss.external]
keyfile = "k.pem"
[listener.ws.external]
proxy_protocol = true
[listener.unix.local]
backlog = 1
[module.subscription.1]
qos = 1
"#,
        &[
            r#"broker.toml:3:8: listener.tcp.external.zone = "lan": no such zone; must be one of external, internal"#,
            r#"broker.toml:5:8: listener.tcp.lan.bind = "127.0.0.1:8883": 127.0.0.1:8883 is taken by listener.ssl.external.bind (8883)"#,
            r#"broker.toml:6:15: listener.tcp.nowhere.bind: must be there: this listener has no address of its own"#,
            r#"broker.toml:8:12: listener.ssl.external.certfile = "c.pem": needs listener.ssl.external.keyfile"#,
            r#"broker.toml:9:10: listener.ssl.external.verify = "verify_peer": needs listener.ssl.external.cacertfile to check against"#,
            r#"broker.toml:11:11: listener.wss.external.keyfile = "k.pem": needs listener.wss.external.certfile"#,
            r#"broker.toml:13:18: listener.ws.external.proxy_protocol = true: without listener.ws.external.proxy_protocol_peers every connection would be refused; name the proxies there"#,
            r#"broker.toml:14:16: listener.unix.local.bind: must be there: this listener has no address of its own"#,
            r#"broker.toml:16:22: module.subscription.1.topic: must be there"#,
        ],
    );
}

#[test]
fn levels_of_topics_are_refused_one_by_one() {
    check_errors(
        r#"
[durability]
topics = ["a/# fsync", "a/#/b written", "c", "d disk", "a/# memory", "$share/g/a fsync"]
level = "sync"
[store]
segment_bytes = 67_000_001
[wills]
keep = "some"
"#,
        &[
            r##"broker.toml:3:24: durability.topics = "a/#/b written": "a/#/b": '#' is not alone in the last level at byte 2; must be "<topic filter> <level>", the level being fsync, written or memory"##,
            r#"broker.toml:3:41: durability.topics = "c": names no level; must be "<topic filter> <level>", the level being fsync, written or memory"#,
            r#"broker.toml:3:46: durability.topics = "d disk": "disk" is no level; must be "<topic filter> <level>", the level being fsync, written or memory"#,
            r#"broker.toml:3:70: durability.topics = "$share/g/a fsync": "$share/g/a": messages are published to topics, not to groups; must be "<topic filter> <level>", the level being fsync, written or memory"#,
            r#"broker.toml:4:9: durability.level = "sync": must be one of fsync, written, memory"#,
            r#"broker.toml:6:17: store.segment_bytes = 67000001: is no multiple of 4KB; must be a size from 1MB to 4GB, such as "1MB" (units B, KB, MB, GB)"#,
            r#"broker.toml:8:8: wills.keep = "some": must be one of none, durable, retained, all"#,
        ],
    );
    check_errors_with(
        "",
        &[("BROKER__DURABILITY__TOPICS", "a/# fsync, b memory, a/# written")],
        &[
            r##"BROKER__DURABILITY__TOPICS: durability.topics = "a/# written": "a/#" is there twice; must be "<topic filter> <level>", the level being fsync, written or memory"##,
        ],
    );
}

#[test]
fn a_low_mark_above_its_high_one_is_refused() {
    check_errors(
        r#"
        [os_mon]
        cpu_low_watermark = "81%"
        fd_high_watermark = "59%"
        [vm_mon]
        process_high_watermark = "10%"
        process_low_watermark = "11%"
        "#,
        &[
            r#"broker.toml:3:29: os_mon.cpu_low_watermark = "81%": above os_mon.cpu_high_watermark (80%)"#,
            r#"broker.toml:4:29: os_mon.fd_high_watermark = "59%": below os_mon.fd_low_watermark (60%)"#,
            r#"broker.toml:7:33: vm_mon.process_low_watermark = "11%": above vm_mon.process_high_watermark (10%)"#,
        ],
    );
    let text = "[os_mon]\ncpu_high_watermark = \"1%\"\ncpu_low_watermark = \"1%\"";
    let monitor = settings(text, &[]).unwrap().monitor;
    assert_eq!(monitor.cpu, Marks { high: 1, low: 1 });
    assert_eq!(monitor.descriptors, Marks { high: 80, low: 60 });
}

#[test]
fn errors_of_the_environment_name_the_variable() {
    check_errors_with(
        "[mqtt]\nmax_inflight = 1",
        &[
            ("BROKER__MQTT__MAX_INFLIGHT", "many"),
            ("BROKER__MQTT__MAX_INFLIHT", "1"),
            ("BROKER__LISTENER__TCP__EXTERNAL", "1883"),
            ("Broker__Listener__Tcp__External__Bind", "1884"),
            ("BROKER__", "1"),
        ],
        &[
            "BROKER__: \"\": unknown key; --print-config shows all keys",
            "BROKER__MQTT__MAX_INFLIGHT: mqtt.max_inflight = \"many\": must be a whole number from 0 to 65535",
            "BROKER__MQTT__MAX_INFLIHT: mqtt.max_infliht: unknown key; did you mean mqtt.max_inflight?",
            "Broker__Listener__Tcp__External__Bind: listener.tcp.external.bind: BROKER__LISTENER__TCP__EXTERNAL sets it too",
        ],
    );
}

#[test]
fn malformed_files_are_refused_with_all_else_that_is_wrong() {
    check_errors(
        "[mqtt\n[node]\nnam = \"a@b\"\n",
        &[
            "broker.toml:1:6: unclosed table, expected `]`",
            "broker.toml:3:1: node.nam: unknown key; did you mean node.name?",
        ],
    );
    check_errors(
        "a = 1\na = 2\n",
        &[
            "broker.toml:1:1: a: unknown key; --print-config shows all keys",
            "broker.toml:2:1: duplicate key",
        ],
    );
    let missing = load(Some(Path::new("/nowhere/broker.toml")), std::iter::empty()).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "/nowhere/broker.toml: reading: No such file or directory (os error 2)"
    );
}

#[test]
fn columns_count_characters() {
    check_errors(
        "node = { name = \"ü\", nam = 1 }",
        &[
            r#"broker.toml:1:17: node.name = "ü": is no name@host; must be a name and a host, such as "emqx@127.0.0.1""#,
            "broker.toml:1:22: node.nam: unknown key; did you mean node.name?",
        ],
    );
}

/// A password that was written wrongly is a password still.
#[test]
fn errors_do_not_repeat_secrets() {
    for (text, env) in [
        ("[auth.scram_sha_256]\nusers = \"pencil\"", None),
        ("[auth.scram_sha_256]\nusers = [\"pencil\"]", None),
        ("[auth.scram_sha_512.users]\nalice = \"SCRAM-SHA-512$pencil\"", None),
        ("[auth.scram_sha_256.users]\nalice = [\"pencil\"]", None),
        ("[auth.scram_sha_256.users]\nalice = { password = \"pencil\" }", None),
        ("[auth.scram_sha_256.users]\nalice = \"SCRAM-SHA-256$pencil\"", None),
        ("[auth.scram_sha_256.user]\nalice = \"pencil\"", None),
        ("[auth.scram_sha_256.users]\nalice = \"pencil", None),
        ("", Some(("BROKER__AUTH__SCRAM_SHA_256__USERS", "pencil"))),
        ("", Some(("BROKER__AUTH__SCRAM_SHA_256__USERS__BOB", "SCRAM-SHA-256$pencil"))),
    ] {
        let env: Vec<_> = env.into_iter().collect();
        let errors = settings(text, &env).expect_err(text).to_string();
        assert!(!errors.contains("pencil"), "{errors}");
    }
    check_errors(
        "[auth.scram_sha_256.users]\nalice = 4711",
        &[
            "broker.toml:2:9: auth.scram_sha_256.users.alice = ***: must be a password, or the stored form \
           \"SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>\"",
        ],
    );
}
