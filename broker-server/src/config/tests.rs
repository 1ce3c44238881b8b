//! Whole configurations: what comes out of a text, and what is said of a wrong one.

mod printed;
mod random;
mod refused;
mod tls;

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
