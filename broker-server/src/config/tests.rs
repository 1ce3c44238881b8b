//! Whole configurations: what comes out of a text, and what is said of a wrong one.

use std::path::Path;

use broker_codec::QoS;
use broker_core::config::{
    Anonymous, BrokerConfig, GroupLimits, Rate, SharedStrategy, SlowSubscribersConfig, WillsKeep,
};
use broker_core::store::Level;
use broker_net::config::{Bind, CrlCheck, OcspResponder, PeerCertField, Protocol, TcpOptions};
use log::LevelFilter;
use proptest::prelude::*;

use super::store::{OnDamage, OnFailure};
use super::*;

fn settings(text: &str, env: &[(&str, &str)]) -> Result<Settings, ConfigErrors> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    read_text("broker.toml", text, env).map(|(_, settings)| settings)
}

fn config(text: &str) -> ServerConfig {
    config_with(text, &[])
}

fn config_with(text: &str, env: &[(&str, &str)]) -> ServerConfig {
    match settings(text, env) {
        Ok(settings) => settings.into_server_config(),
        Err(errors) => panic!("{errors}"),
    }
}

/// The errors of a text, one a line.
fn check_errors(text: &str, expected: &[&str]) {
    check_errors_with(text, &[], expected);
}

fn check_errors_with(text: &str, env: &[(&str, &str)], expected: &[&str]) {
    let errors = settings(text, env).expect_err("this configuration is wrong").to_string();
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);
}

fn listener<'a>(config: &'a ServerConfig, protocol: Protocol, name: &str) -> &'a ListenerConfig {
    let this = |listener: &&ListenerConfig| listener.protocol == protocol && listener.name == name;
    config.listeners.iter().find(this).expect("the listener is enabled")
}

#[test]
fn without_a_file_the_defaults_serve() {
    let config = load(None, std::iter::empty()).unwrap();
    assert_eq!(format!("{:?}", config.broker), format!("{:?}", BrokerConfig::default()));
    assert_eq!(config.node.name, "emqx@127.0.0.1");
    assert_eq!(config.node.data_dir, Path::new("./data"));
    assert_eq!(config.node.shutdown_timeout_ms, 15_000);
    assert!(config.store.enabled);
    assert_eq!(config.store.dir, Path::new("./data"));
    assert_eq!(config.log.level, LevelFilter::Info);
    assert_eq!(config.notes, [""; 0]);
    let listeners: Vec<_> = config
        .listeners
        .iter()
        .map(|l| (l.protocol, l.name.as_str(), l.bind.to_string(), l.zone.as_str()))
        .collect();
    assert_eq!(
        listeners,
        [
            (Protocol::Tcp, "external", "0.0.0.0:1883".into(), "external"),
            (Protocol::Tcp, "internal", "127.0.0.1:11883".into(), "internal"),
            (Protocol::Ssl, "external", "8883".into(), "external"),
            (Protocol::Ws, "external", "8083".into(), "external"),
            (Protocol::Wss, "external", "8084".into(), "external"),
        ]
    );
    let wss = listener(&config, Protocol::Wss, "external");
    assert_eq!(wss.max_connections, 1_024);
    assert_eq!(wss.websocket.as_ref().unwrap().mqtt_path, "/mqtt");
    assert!(config.listeners.iter().all(|l| l.tcp.nodelay && l.max_conn_rate == 0));
}

#[test]
fn a_test_server_needs_a_few_lines() {
    let config = config(
        r#"
        [node]
        data_dir = "/tmp/broker"
        [listener.tcp.external]
        bind = "127.0.0.1:18840"
        [listener]
        tcp.internal.enabled = false
        ssl.external.enabled = false
        ws.external.enabled = "off"
        wss.external.enabled = false
        "#,
    );
    assert_eq!(config.node.data_dir, Path::new("/tmp/broker"));
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:18840");
}

#[test]
fn a_file_of_the_original_loads() {
    let text = include_str!("../../tests/emqx-3.1.toml");
    let config = config(text);
    assert_eq!(config.log.level, LevelFilter::Error);
    assert_eq!(config.broker.retained.max_messages, 0);
    assert!(config.broker.auto_subscriptions.is_empty());
    assert_eq!(config.broker.zones["external"].await_rel_timeout_ms, 300_000);
    assert!(!config.broker.zones["internal"].enable_acl);
    let internal = listener(&config, Protocol::Tcp, "internal");
    assert_eq!(internal.tcp.recbuf, Some(65_536));
    assert!(!internal.tcp.nodelay);
    assert_eq!(listener(&config, Protocol::Wss, "external").max_connections, 16);

    let [meaningless, later, log_to] = &config.notes[..] else { panic!("{:?}", config.notes) };
    assert!(
        meaningless.starts_with("these keys have no meaning for this broker and are ignored: ")
    );
    assert!(meaningless.contains("node.cookie, "));
    assert!(meaningless.contains("listener.tcp.external.active_n, "));
    assert!(!meaningless.contains("emqxsecretcookie"));
    let zone = &config.broker.zones["external"];
    assert_eq!((zone.acl_cache_max_size, zone.acl_cache_ttl_ms), (32, 60_000));
    assert_eq!(config.acl_file.as_deref(), Some(Path::new("etc/acl.conf")));
    assert!(later.contains("dashboard.listener.http.bind, "));
    assert!(log_to.ends_with("log.to = \"both\": no file is written, lines go to the console"));
}

/// What is decided stays decided; the rest is as open as in EMQ X 3.1.
#[test]
fn the_originals_defaults_are_one_switch() {
    use Anonymous::{All, Local, Nobody};
    for (file, external, internal) in [
        ("", Local, Local),
        ("compat.emqx31 = true", All, All),
        ("compat.emqx31 = true\nallow_anonymous = false", Nobody, Nobody),
        ("compat.emqx31 = true\nallow_anonymous = \"local\"", Local, Local),
        ("compat.emqx31 = true\nzone.internal.allow_anonymous = false", All, Nobody),
        ("allow_anonymous = true", All, All),
        ("zone.external.allow_anonymous = \"on\"", All, Local),
    ] {
        let zones = config(file).broker.zones;
        let of = |name: &str| zones[name].allow_anonymous;
        assert_eq!((of("external"), of("internal")), (external, internal), "{file}");
    }
}

#[test]
fn zones_override_mqtt() {
    let config = config(
        r#"
        allow_anonymous = false
        [mqtt]
        max_packet_size = "2MB"
        max_inflight = 5
        [zone.external]
        max_inflight = 7
        [zone.iot]
        allow_anonymous = true
        max_packet_size = 1000
        server_keepalive = 60
        max_session_expiry_interval = "1d"
        mqueue_priorities = "a/b=10, c=2"
        mqueue_default_priority = "lowest"
        enable_flapping_detect = true
        flapping_threshold = "3,10s"
        publish_limit = "10,1m"
        acl_nomatch = "deny"
        acl_deny_action = "disconnect"
        mountpoint = "dev/%c/"
        [zone.plain]
        "#,
    );
    let zones = &config.broker.zones;
    let packets: Vec<_> =
        zones.iter().map(|(name, zone)| (name.as_str(), zone.max_packet_size)).collect();
    let two = 2 << 20;
    assert_eq!(packets, [("external", two), ("internal", two), ("iot", 1_000), ("plain", two)]);
    assert_eq!(zones["external"].max_inflight, 7);
    assert_eq!(zones["internal"].max_inflight, 5);
    assert_eq!(zones["external"].allow_anonymous, Anonymous::Nobody);
    assert!(!zones["internal"].enable_acl, "the zone's own default stays");
    let iot = &zones["iot"];
    assert_eq!(iot.name, "iot");
    assert_eq!(iot.allow_anonymous, Anonymous::All);
    assert!(!iot.acl_nomatch_allow && iot.acl_deny_disconnect);
    assert_eq!(iot.server_keep_alive_s, Some(60));
    assert_eq!(iot.max_session_expiry_interval_s, 86_400);
    assert_eq!(iot.mqueue_priorities, [("a/b".into(), 10), ("c".into(), 2)].into());
    assert_eq!(iot.mqueue_default_priority, 0);
    let flapping = iot.flapping.unwrap();
    assert_eq!((flapping.count, flapping.window_ms, flapping.banned_ms), (3, 10_000, 3_600_000));
    assert_eq!(iot.publish_limit, Some(Rate::in_ms(10, 60_000)));
    assert_eq!(iot.mountpoint.as_deref(), Some("dev/%c/"));
}

#[test]
fn what_mqtt_says_of_acl_holds_for_the_internal_zone_too() {
    let config = config("[mqtt]\nenable_acl = true");
    assert!(config.broker.zones["internal"].enable_acl);
}

#[test]
fn listeners_take_their_protocols_keys() {
    let config = config(
        r#"
        [listener.tcp]
        lan = 1884
        [listener.tcp.tuned]
        bind = 1885
        backlog = 77
        nodelay = false
        reuseaddr = false
        sndbuf = "10KB"
        recbuf = "20KB"
        send_timeout = "3s"
        [listener.ssl.mutual]
        bind = "[::1]:8884"
        zone = "internal"
        certfile = "c.pem"
        keyfile = "k.pem"
        cacertfile = "ca.pem"
        verify = "verify_peer"
        fail_if_no_peer_cert = true
        peer_cert_as_username = "cn"
        tls_versions = "tlsv1.3"
        access = ["deny 10.0.0.1", "allow 10.0.0.0/8", "deny all"]
        [listener.ws.external]
        proxy_protocol = true
        proxy_protocol_peers = ["127.0.0.1", "fd00::/8"]
        proxy_address_header = "X-Forwarded-For"
        max_frame_size = "64KB"
        [listener.unix.local]
        bind = "/run/broker.sock"
        "#,
    );
    let lan = listener(&config, Protocol::Tcp, "lan");
    assert_eq!(lan.bind, Bind::Port(1_884));
    assert_eq!(lan.zone, "external");
    let tuned = TcpOptions {
        backlog: 77,
        nodelay: false,
        reuseaddr: false,
        recbuf: Some(20_480),
        sndbuf: Some(10_240),
        send_timeout_ms: 3_000,
    };
    assert_eq!(listener(&config, Protocol::Tcp, "tuned").tcp, tuned);
    let mutual = listener(&config, Protocol::Ssl, "mutual");
    assert_eq!(mutual.access.len(), 3);
    assert!(!mutual.access[0].allow && mutual.access[2].peer.is_none());
    let tls = mutual.tls.as_ref().unwrap();
    assert_eq!(tls.peer_cert_as_username, Some(PeerCertField::Cn));
    assert!(tls.verify_peer && tls.tls13 && !tls.tls12);
    let ws = listener(&config, Protocol::Ws, "external");
    assert_eq!(ws.proxy_protocol_peers.len(), 2);
    assert_eq!(ws.websocket.as_ref().unwrap().max_frame_size, 65_536);
    let unix = listener(&config, Protocol::Unix, "local");
    assert_eq!(unix.bind, Bind::Unix("/run/broker.sock".into()));
    assert!(unix.tls.is_none() && unix.websocket.is_none());
}

#[test]
fn modules_are_on_where_something_is_listed() {
    let text = r#"
        [module.subscription.2]
        topic = "b/%u"
        qos = 2
        [module.subscription.10]
        topic = "c"
        [module.subscription.1]
        topic = "a/%c"
        [module.rewrite.rule]
        10 = "c/# ^c/(.+)$ d/$1"
        9 = "a/# ^a/(.+)$ b/$1"
        [module.topic_metrics]
        topic = ["x", "y"]
        [module.slow_subs]
        threshold = "2s"
        top_k_num = 1_000
        expire_interval = "1h"
    "#;
    let broker = config(text).broker;
    let subscriptions: Vec<_> =
        broker.auto_subscriptions.iter().map(|s| (s.filter.as_str(), s.qos)).collect();
    assert_eq!(
        subscriptions,
        [("a/%c", QoS::AtLeastOnce), ("b/%u", QoS::ExactlyOnce), ("c", QoS::AtLeastOnce)]
    );
    let targets: Vec<_> = broker.rewrite_rules.iter().map(|rule| rule.target.as_str()).collect();
    assert_eq!(targets, ["b/$1", "d/$1"]);
    assert_eq!(broker.topic_metrics, ["x", "y"]);
    let expected = SlowSubscribersConfig {
        enabled: true,
        threshold_ms: 2_000,
        top_k: 1_000,
        expire_interval_ms: 3_600_000,
    };
    assert_eq!(broker.slow_subscribers, expected);

    let off = [
        ("BROKER__MODULE__SUBSCRIPTION", "off"),
        ("BROKER__MODULE__REWRITE__ENABLED", "off"),
        ("BROKER__MODULE__TOPIC_METRICS__ENABLED", "false"),
        ("BROKER__MODULE__PRESENCE", "off"),
        ("BROKER__MODULE__SLOW_SUBS__ENABLED", "off"),
    ];
    let broker = config_with(text, &off).broker;
    assert!(!broker.slow_subscribers.enabled);
    assert!(broker.auto_subscriptions.is_empty() && broker.rewrite_rules.is_empty());
    assert!(broker.topic_metrics.is_empty() && broker.presence.is_none());
}

#[test]
fn the_environment_goes_before_the_file() {
    let text = r#"
        [listener.tcp.external]
        bind = 1885
        access = ["allow all"]
        [listener.tcp.Lan]
        bind = 1886
        [log.targets]
        broker_net = "debug"
    "#;
    let env = [
        ("BROKER__LISTENER__TCP__EXTERNAL__BIND", "127.0.0.1:1883"),
        ("broker__listener__tcp__lan__max_connections", "5"),
        ("BROKER__LISTENER__TCP__EXTERNAL__ACCESS", "allow 10.0.0.0/8, deny all"),
        ("BROKER__LISTENER__SSL__EXTERNAL__ACCESS__2", "deny 10.0.0.1"),
        ("BROKER__ZONE__IOT__MAX_INFLIGHT", "0"),
        ("BROKER__BROKER__SHARED_SUBSCRIPTION_STRATEGY", "hash_topic"),
        ("BROKER__ZONE__EXTERNAL__KEEPALIVE_BACKOFF", "1.5"),
        ("BROKER__LOG__TARGETS__BROKER_NET", "trace"),
        ("BROKER__LOG__FORMAT", "json"),
        ("BROKER_SERVICE_HOST", "not ours"),
        ("PATH", "/bin"),
    ];
    let config = config_with(text, &env);
    let external = listener(&config, Protocol::Tcp, "external");
    assert_eq!(external.bind.to_string(), "127.0.0.1:1883");
    assert_eq!(external.access.len(), 2);
    assert_eq!(listener(&config, Protocol::Tcp, "Lan").max_connections, 5);
    assert!(!listener(&config, Protocol::Ssl, "external").access[0].allow);
    assert_eq!(config.broker.zones["iot"].max_inflight, 0);
    assert_eq!(config.broker.zones["external"].keep_alive_backoff, 1.5);
    assert_eq!(config.broker.shared_strategy, SharedStrategy::HashTopic);
    assert_eq!(config.log.targets, [("broker_net".into(), LevelFilter::Trace)].into());
    assert_eq!(config.log.format, LogFormat::Json);
}

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
fn what_survives_has_keys() {
    let config = config(
        r#"
        [node]
        data_dir = "/var/lib/broker"
        [durability]
        level = "written"
        topics = ["alarms/# fsync", "a b/+ memory"]
        sync_interval = "200ms"
        when_unavailable = "wait"
        on_failure = "exit"
        on_damage = "stop"
        [store]
        segment_bytes = "16MB"
        spare_segments = 2
        snapshot_log_bytes = "32MB"
        log_min_bytes = "64MB"
        max_log_bytes = "1GB"
        min_free_bytes = 0
        compact_bytes_per_s = "8MB"
        memory_bytes = "128MB"
        max_unsynced_bytes = "4MB"
        commit_pace = 0
        slow_sync = "1s"
        [wills]
        keep = "all"
        after_crash = "drop"
        [broker]
        max_sessions = 300_000
        "#,
    );
    let durability = &config.broker.durability;
    assert_eq!(durability.level, Level::Written);
    let topics = [("alarms/#".into(), Level::Fsync), ("a b/+".into(), Level::Memory)];
    assert_eq!(durability.topics, topics);
    assert!(!durability.refuse_when_unavailable && !durability.publish_wills_after_crash);
    assert_eq!(durability.wills_keep, WillsKeep::All);
    let store = &config.store;
    assert!(store.enabled);
    assert_eq!(store.dir, Path::new("/var/lib/broker"));
    assert_eq!((store.on_failure, store.on_damage), (OnFailure::Exit, OnDamage::Stop));
    assert_eq!((store.segment_bytes, store.spare_segments), (16 << 20, 2));
    assert_eq!((store.snapshot_log_bytes, store.log_min_bytes), (32 << 20, 64 << 20));
    assert_eq!((store.max_log_bytes, store.min_free_bytes), (1 << 30, 0));
    assert_eq!((store.compact_bytes_per_s, store.memory_bytes), (8 << 20, 128 << 20));
    assert_eq!((store.max_unsynced_bytes, store.commit_pace_ms), (4 << 20, 0));
    assert_eq!((store.sync_interval_ms, store.slow_sync_ms), (200, 1_000));
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
fn what_is_kept_fits_into_the_files_of_the_store() {
    check_errors(
        r#"
[mqtt]
max_packet_size = "17MB"
[zone.internal]
max_packet_size = "16MB"
[zone.big]
max_packet_size = "20MB"
[broker]
max_sessions = 2_000_000
[store]
max_log_bytes = "200MB"
"#,
        &[
            r#"broker.toml:3:19: mqtt.max_packet_size = "17MB": more than a quarter of store.segment_bytes (64MB), which would have to be 68MB at least"#,
            r#"broker.toml:7:19: zone.big.max_packet_size = "20MB": more than a quarter of store.segment_bytes (64MB), which would have to be 80MB at least"#,
            r#"broker.toml:9:16: broker.max_sessions = 2000000: store.segment_bytes (64MB) would have to be 92MB at least for so many"#,
            r#"broker.toml:11:17: store.max_log_bytes = "200MB": less than 4 x store.segment_bytes (256MB)"#,
            r#"broker.toml:11:17: store.max_log_bytes = "200MB": less than store.log_min_bytes (1GB)"#,
        ],
    );
    check_errors(
        "store.segment_bytes = \"2MB\"",
        &[
            r#"broker.toml:1:23: store.segment_bytes = "2MB": less than 4 x zone.external.max_packet_size (1MB)"#,
            r#"broker.toml:1:23: store.segment_bytes = "2MB": less than 4 x zone.internal.max_packet_size (1MB)"#,
            r#"broker.toml:1:23: store.segment_bytes = "2MB": too small for the 1000000 sessions of broker.max_sessions; must be 46MB at least"#,
        ],
    );
    let off = config(
        "store = false\nmqtt.max_packet_size = \"200MB\"\nwills.keep = \"all\"\ndurability.level = \"written\"",
    );
    assert!(!off.store.enabled);
    assert_eq!(
        off.notes,
        ["store.enabled = false: these do nothing: durability.level, wills.keep"]
    );
}

#[test]
fn addresses_of_listeners_that_are_off_are_free() {
    let text = r#"
        [listener.tcp.external]
        enabled = false
        [listener.tcp.lan]
        bind = "127.0.0.1:1883"
        [listener.tcp.any]
        bind = "127.0.0.1:0"
        [listener.tcp.other]
        bind = "127.0.0.1:0"
    "#;
    assert_eq!(config(text).listeners.len(), 7);
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

#[test]
fn revocation_lists_are_named_where_certificates_are_checked() {
    let tls = |text: &str| {
        let config = config(text);
        listener(&config, Protocol::Wss, "external").tls.clone().unwrap()
    };
    let plain = tls("");
    assert!(!plain.has_crls() && plain.crl_check == CrlCheck::Chain);
    let checked = tls(r#"
        [listener.wss.external]
        verify = "verify_peer"
        cacertfile = "ca.pem"
        crlfile = "ca.crl"
        crl_url = ["http://crl.example/ca.crl", "https://crl.example/ca.crl"]
        crl_refresh = "10m"
        crl_check = "peer"
        "#);
    assert!(checked.has_crls() && checked.crl_check == CrlCheck::Peer);
    assert_eq!((checked.crl_url.len(), checked.crl_refresh_ms), (2, 600_000));
    check_errors(
        r#"[listener.ssl.external]
crlfile = "ca.crl"
[listener.wss.external]
crl_url = ["http://crl.example/", "ftp://crl.example/", "http://bob:secret@crl.example/a@b"]
[management.listener.https]
crl_url = ["http://crl.example/"]
"#,
        &[
            r#"broker.toml:2:1: listener.ssl.external.crlfile = ["ca.crl"]: needs listener.ssl.external.verify = "verify_peer""#,
            r#"broker.toml:4:35: listener.wss.external.crl_url = "ftp://crl.example/": is no URL to fetch; must be an http or https URL"#,
            r#"broker.toml:4:57: listener.wss.external.crl_url = "http://***@crl.example/a@b": has a user name or password; must be an http or https URL"#,
            r#"broker.toml:6:1: management.listener.https.crl_url = ["http://crl.example/"]: needs management.listener.https.verify = "verify_peer""#,
        ],
    );
}

#[test]
fn a_responder_is_named_where_certificates_are_asked_about() {
    let tls = |text: &str| {
        let config = config(text);
        listener(&config, Protocol::Ssl, "external").tls.clone().unwrap()
    };
    let plain = tls("");
    assert!(!plain.asks_ocsp());
    assert_eq!((plain.ocsp_refresh_ms, plain.ocsp_timeout_ms), (3_600_000, 5_000));
    let asked = |responder: &str| {
        tls(&format!(
            "[listener.ssl.external]\nverify = \"verify_peer\"\ncacertfile = \"ca.pem\"\n\
             ocsp_check = \"hard\"\nocsp_responder = \"{responder}\"\nocsp_refresh = \"10m\"\n"
        ))
    };
    let by_certificate = asked("certificate");
    assert!(by_certificate.asks_ocsp() && by_certificate.ocsp_refresh_ms == 600_000);
    assert_eq!(by_certificate.ocsp_responder, Some(OcspResponder::Certificate));
    let url = "http://ocsp.example:8080/a";
    assert_eq!(asked(url).ocsp_responder, Some(OcspResponder::Url(url.into())));
    check_errors(
        r#"[listener.ssl.external]
ocsp_check = "soft"
ocsp_responder = "certificate"
[listener.wss.external]
ocsp_responder = "http://bob:secret@ocsp.example/"
[management.listener.https]
verify = "verify_peer"
cacertfile = "ca.pem"
ocsp_check = "hard"
"#,
        &[
            r#"broker.toml:2:14: listener.ssl.external.ocsp_check = "soft": needs listener.ssl.external.verify = "verify_peer""#,
            r#"broker.toml:5:18: listener.wss.external.ocsp_responder = "http://***@ocsp.example/": has a user name or password; must be "certificate" or an http or https URL, or "none""#,
            r#"broker.toml:9:14: management.listener.https.ocsp_check = "hard": needs management.listener.https.ocsp_responder, to know whom to ask"#,
        ],
    );
}

#[test]
fn pre_shared_keys_take_the_place_of_certificates() {
    let errors = |text: &str| settings(text, &[]).err().map(|it| it.to_string());
    let known =
        "[listener.ssl.external]\npsk_ciphers = [\"PSK-AES128-GCM-SHA256\", \"PSK-RC4-SHA\"]\n";
    if cfg!(feature = "psk") {
        let config = config(known);
        let tls = listener(&config, Protocol::Ssl, "external").tls.clone().unwrap();
        assert_eq!(tls.psk_ciphers.len(), 2);
        assert!(config.notes.iter().any(|note| note.contains("PSK-RC4-SHA is not offered")));
    } else {
        let told = errors(known).unwrap();
        assert!(told.contains("listener.ssl.external.psk_ciphers = "), "{told}");
        assert!(told.contains("TLS-PSK is not in this build"), "{told}");
    }
    let unknown = "[listener.wss.external]\npsk_ciphers = [\"AES128-SHA\"]\n";
    let told = errors(unknown).unwrap();
    assert!(told.contains("is no cipher suite with a pre-shared key"), "{told}");
    let told = errors("[psk.file]\ndelimiter = \"\"\n").unwrap();
    assert!(told.contains("psk.file.delimiter"), "{told}");
}

#[test]
fn notes_tell_what_has_no_effect() {
    let text = r#"
        [listener.ssl.external]
        fail_if_no_peer_cert = true
        peer_cert_as_username = "cn"
        tls_versions = ["tlsv1.2", "tlsv1.1"]
        [listener.ws.external]
        proxy_port_header = "X-Port"
    "#;
    assert_eq!(
        config(text).notes,
        [
            "listener.ssl.external.fail_if_no_peer_cert does nothing without verify_peer",
            "listener.ssl.external.peer_cert_as_username does nothing without verify_peer",
            "broker.toml:5:9: listener.ssl.external.tls_versions = [\"tlsv1.2\", \"tlsv1.1\"]: tlsv1 and tlsv1.1 are not offered",
            "listener.ws.external.proxy_address_header and proxy_port_header do nothing without proxy_protocol_peers",
        ]
    );
}

/// What is printed reads back to the same, and prints the same but for where values come from.
fn check_round_trip(text: &str, env: &[(&str, &str)]) {
    let first = settings(text, env).unwrap();
    let printed = print::toml(&first);
    let second = match settings(&printed, &[]) {
        Ok(second) => second,
        Err(errors) => panic!("{errors}\n{printed}"),
    };
    let sourceless = |text: &str| {
        let lines = text.lines().map(|line| line.split(" Set by ").next().unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(sourceless(&print::toml(&second)), sourceless(&printed));
    let shown = |settings: Settings| {
        let monitor = settings.monitor.clone();
        let config = settings.into_server_config();
        let ServerConfig {
            node,
            log,
            broker,
            store,
            listeners,
            management,
            dashboard,
            plugins,
            rules,
            acl_file,
            password_file,
            scram_users,
            scram_512_users,
            notes: _,
        } = config;
        let users = scram_users.iter().map(|(name, user)| (name, user.to_text()));
        let users_512 = scram_512_users.iter().map(|(name, user)| (name, user.to_text()));
        let users: Vec<_> = users.chain(users_512).collect();
        let rest = format!(
            "{listeners:#?}{management:#?}{dashboard:#?}{plugins:#?}{rules:#?}{acl_file:?}{password_file:?}{users:#?}"
        );
        format!("{node:#?}{log:#?}{broker:#?}{store:#?}{monitor:#?}{rest}")
    };
    assert_eq!(shown(first), shown(second));
}

#[test]
fn limits_are_those_of_listener_zone_user_and_address() {
    let config = config(
        r#"
        [listener.tcp.external]
        rate_limit = "1024,4096"
        messages_in = "100,1s"
        max_subscriptions_total = 7
        [listener.tcp.internal]
        rate_limit = "100KB,10s"
        [listener.tcp.exact]
        bind = 11884
        rate_limit = "1000000,1"
        [listener.ws.external]
        rate_limit = "3,4096"
        [zone.external]
        bytes_in = "1MB,1m"
        [limits.user]
        max_connections = 3
        max_conn_rate = 2
        max_subscriptions_total = 9
        [limits.ip]
        messages_out = "5,1s"
        retained_in = "6,1s"
        "#,
    );
    let rate = |amount, interval_ms| Some(Rate::in_ms(amount, interval_ms));
    let (external, internal) = (
        listener(&config, Protocol::Tcp, "external"),
        listener(&config, Protocol::Tcp, "internal"),
    );
    let exact = listener(&config, Protocol::Tcp, "exact");
    let ws = listener(&config, Protocol::Ws, "external");
    assert_eq!(external.rate_limit, rate(4_096, 4_000));
    assert_eq!(external.limits.messages_in, rate(100, 1_000));
    assert_eq!(external.limits.max_subscriptions_total, 7);
    assert_eq!(exact.rate_limit, Some(Rate { amount: 1, interval_ns: 1_000 }));
    assert_eq!(ws.rate_limit, Some(Rate { amount: 4_096, interval_ns: 1_365_333_333_333 }));
    assert_eq!(internal.rate_limit, rate(102_400, 10_000));
    assert_eq!(config.broker.zones["external"].limits.bytes_in, rate(1 << 20, 60_000));
    let user = GroupLimits {
        max_connections: 3,
        max_conn_rate: 2,
        max_subscriptions_total: 9,
        ..GroupLimits::default()
    };
    assert_eq!(config.broker.user_limits, user);
    let address = GroupLimits {
        messages_out: rate(5, 1_000),
        retained_in: rate(6, 1_000),
        ..GroupLimits::default()
    };
    assert_eq!(config.broker.address_limits, address);
    check_errors(
        "[listener.tcp.external]\nrate_limit = \"0,5\"\n[limits.ip]\nbytes_in = \"fast\"\n",
        &[
            "broker.toml:2:14: listener.tcp.external.rate_limit = \"0,5\": the amount is no whole number above 0; must be a size and an interval, such as \"100KB,10s\", or bytes per second and at once, such as \"1024,4096\", or \"none\"",
            "broker.toml:4:12: limits.ip.bytes_in = \"fast\": has no comma; must be a size and an interval, such as \"1MB,10s\", or \"none\"",
        ],
    );
}

#[test]
fn a_printed_configuration_reads_back_to_the_same() {
    check_round_trip("", &[]);
    // But for its secret, which is not printed.
    let original = include_str!("../../tests/emqx-3.1.toml");
    check_round_trip(&original.replace("application.default_secret", "# application"), &[]);
    check_round_trip(
        r#"
        acl_nomatch = "deny"
        [mqtt]
        enable_acl = true
        server_keepalive = 5
        [zone.internal]
        server_keepalive = "none"
        response_information = "reply/%c \"quoted\" \\ ü"
        mqueue_priorities = "a=1,b=2"
        [zone.1]
        publish_limit = "10, 90s"
        rate_limit_action = "disconnect"
        max_connections = 7
        bytes_out = "1MB,10s"
        [listener.unix.1]
        bind = "/run/a \"b\".sock"
        [listener.ssl.x]
        enabled = false
        bind = "[::1]:0"
        rate_limit = "3,4096"
        access = []
        tls_versions = ["tlsv1.3"]
        certfile = "c"
        keyfile = "k"
        proxy_protocol_peers = ["10.0.0.0/8"]
        [plugins]
        loaded = ["emqx_retainer", "emqx_coap"]
        [module.rewrite]
        enabled = false
        rule = ["a/# ^a/(.*)\\d\"$ b/$1"]
        [module.subscription.a]
        topic = "$share/g/%c/+"
        [log.targets]
        "broker_net::tls" = "warning"
        plain = "off"
        [durability]
        topics = ["a b/#  written", "c memory"]
        on_failure = "exit"
        [store]
        segment_bytes = 67_112_960
        "#,
        &[("BROKER__NODE__DATA_DIR", "C:\\data\n")],
    );
}

#[test]
fn passwords_are_not_printed() {
    let text = r#"
        [management.application]
        default_secret = "pencil"
        [auth.scram_sha_256.users]
        alice = "pencil"
        [auth.scram_sha_512.users]
        alice = "pencil"
        [auth.user.1]
        username = "bob"
        password = "pencil"
        [auth.jwt]
        secret = "pencil"
        [auth.http.auth_req]
        url = "http://127.0.0.1/?key=pencil"
        [auth.http.headers]
        authorization = "pencil"
        [dashboard.default_user]
        password = "pencil"
        "#;
    let all = settings(text, &[]).unwrap();
    let printed = print::toml(&all);
    for name in ["default_secret", "users", "password", "secret", "url", "headers"] {
        assert!(
            printed.contains(&format!("\n# {name} is set, and a secret: put it here.\n")),
            "{name}"
        );
    }
    assert!(!printed.contains("pencil") && !printed.contains("$4096"), "{printed}");
    assert!(printed.contains("username = \"bob\""));
    // Nor is it in what a log line or a panic may say of them.
    let debug = format!("{all:?}{:?}", all.clone().into_server_config());
    assert!(!debug.contains("pencil"), "{debug}");
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

#[test]
fn printed_values_name_their_source() {
    let settings = settings("[mqtt]\nmax_inflight = 1", &[("BROKER__NODE__NAME", "a@b")]).unwrap();
    let printed = print::toml(&settings);
    assert!(printed.contains("Default: 32. Set by broker.toml:2:16.\nmax_inflight = 1\n"));
    assert!(printed.contains("Set by BROKER__NODE__NAME.\nname = \"a@b\"\n"));
}

#[test]
fn the_page_of_all_keys_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == markdown(),
        "docs/configuration.md is not what the table of keys says; run \
         `cargo run -p broker-server -- --print-config=markdown > docs/configuration.md`"
    );
}

#[test]
fn the_example_of_the_page_loads() {
    let page = markdown();
    let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let config = config(example.unwrap());
    assert_eq!(config.broker.auto_subscriptions.len(), 1);
    assert_eq!(config.listeners.len(), 5);
}

/// Bits of configurations, so that random texts get further than their first character.
fn fragment() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(FRAGMENTS), 0..24)
        .prop_map(|words| words.concat())
}

#[rustfmt::skip]
const FRAGMENTS: &[&str] = &[
    "[", "]", "=", ".", "\n", "\"", "{", "}", ",", "'", "[[", "]]", "1", "true", "\"15s\"", "\"none\"", "-1",
    "0.5", "zone", "external", "listener", "tcp", "ssl", "unix", "bind", "access", "mqtt", "max_inflight",
    "module", "subscription", "rewrite", "rule", "topic", "log", "targets", "node", "name",
    "mqueue_priorities", "[zone.x]\n", "bind = 1\n", "[listener.tcp.x]\n", "access.1 = \"allow all\"\n",
    "\u{0}", "ü", "#",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![any::<String>(), fragment()]) {
        let _ = settings(&text, &[]);
    }

    /// Every key with any value is taken or refused, and what is taken prints and reads back.
    #[test]
    fn no_value_makes_it_panic(
        key in proptest::sample::select(table::forms().iter().collect::<Vec<_>>()),
        value in prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| format!("{n:?}").replace("NaN", "nan")),
            any::<String>().prop_map(|text| value::quote(&text)),
            "[a-z0-9=,:/%.]{0,12}".prop_map(|text| value::quote(&text)),
            Just("true".to_owned()),
            Just("[\"allow all\", 1, [2], {a = 1}]".to_owned()),
            Just("{ a = \"debug\", 1 = \"info\" }".to_owned()),
        ],
    ) {
        let parts = key.parts.iter().map(|part| match part.as_str() {
            "<protocol>" => "ssl",
            part if table::is_name(part) => "x",
            part => part,
        });
        let text = format!("{} = {value}", parts.collect::<Vec<_>>().join("."));
        if let Ok(first) = settings(&text, &[]) {
            let printed = print::toml(&first);
            prop_assert!(settings(&printed, &[]).is_ok(), "{printed}");
        }
    }

    #[test]
    fn no_variable_makes_it_panic(name in "(?i)BROKER__[A-Z_]{0,20}", value in any::<String>()) {
        let _ = settings("", &[(&name, &value)]);
    }
}

/// What is nested is walked through by calls that are nested: a number that would need more stack than there is must not
/// get through.
#[test]
fn limits_of_rules_have_limits() {
    check_errors(
        "rules = { max_depth = 257, json_max_depth = 0, max_sql_bytes = \"1MB\", max_hops = 0 }",
        &[
            "broker.toml:1:23: rules.max_depth = 257: must be a whole number from 1 to 256",
            "broker.toml:1:45: rules.json_max_depth = 0: must be a whole number from 1 to 256",
            "broker.toml:1:64: rules.max_sql_bytes = \"1MB\": must be a size from 64B to 128KB, such as \"1MB\" (units B, KB, MB, GB)",
            "broker.toml:1:82: rules.max_hops = 0: must be a whole number from 1 to 64",
        ],
    );
    check_errors(
        "rules.allowed_addresses = [\"10.0.0.0/8\", \"somewhere\", \"[fe80::1]:80\"]",
        &[
            "broker.toml:1:42: rules.allowed_addresses = \"somewhere\": \"somewhere\" is none of IP, IP:port and network/prefix; must be <IP>, <IP>:<port> or <network>/<prefix>",
        ],
    );
    let rules = config("rule_engine.ignore_sys_message = \"off\"\nrules.max_steps = 1000").rules;
    let options = rules.engine_options();
    assert!(!options.ignore_sys_message);
    assert_eq!(options.limits.max_steps, 1_000);
    let options = config("").rules.engine_options();
    assert_eq!(options, broker_rules::engine::EngineOptions::default());
}
