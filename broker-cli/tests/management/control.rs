//! Orders that change the broker itself: its listeners, its log, what it keeps, a copy of its store.

use std::path::Path;

use crate::broker::{Broker, Subscriber, program};

#[test]
fn listeners_stop_and_start() {
    let broker = Broker::start();
    let listed = broker.json("listeners");
    let listed = listed[0]["listeners"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let port = listed[0]["listen_on"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let stopped = broker.cli(&format!("listeners stop mqtt:tcp {port}"));
    assert!(stopped.starts_with("stopped mqtt:tcp on "), "{stopped}");
    broker.fails("listeners stop mqtt:tcp:external", 1, "not_started");
    assert!(broker.cli("listeners").contains(" no "), "it is listed as one that does not run");
    broker.cli("listeners start mqtt:tcp:external");
    broker.cli("listeners restart mqtt:tcp:external");
    broker.fails("listeners stop http:management", 1, "listener in use by this request");
    let ctl = broker.cli("listeners --format emqx");
    assert!(ctl.contains("listener on mqtt:tcp:127.0.0.1:"), "{ctl}");
}

#[test]
fn the_log_says_more_or_less() {
    let broker = Broker::start();
    assert_eq!(broker.json("log level")["level"], "info");
    broker.cli("log set-level debug");
    broker.cli("log set-level error --target broker_net");
    let levels = broker.json("log level");
    assert_eq!(
        (&levels["level"], &levels["targets"]["broker_net"]),
        (&"debug".into(), &"error".into())
    );
    broker.cli("log set-level default --target broker_net");
    assert!(broker.json("log level")["targets"]["broker_net"].is_null());
    broker.fails("log set-level loud", 1, "must be one of off, error, warn, info, debug, trace");
    broker.cli("log primary-level warning");
    assert_eq!(broker.cli("log primary-level --format emqx"), "warn\n");
}

#[test]
fn retained_messages_are_shown_and_deleted() {
    let broker = Broker::start();
    for word in ["one", "two"] {
        broker.mqtt(&format!("pub -i p -q 1 -r -t kept/{word} -m {word}"));
    }
    let topics = broker.cli("retainer topics --format emqx");
    assert!(topics.lines().any(|line| line == "kept/one"), "{topics}");
    let shown = broker.json("retainer show kept/one");
    assert_eq!(
        (&shown[0]["payload"], &shown[0]["qos"], &shown[0]["client_id"]),
        (&"one".into(), &1.into(), &"p".into())
    );
    assert_eq!(broker.cli("retainer clean kept/one"), "deleted the message of 'kept/one'\n");
    broker.fails("retainer clean kept/one", 1, "not_found");
    // Who subscribes now gets what is left.
    assert_eq!(broker.mqtt("sub -t kept/# -C 1"), "two\n");
    let cleaned = broker.json("retainer clean")["cleaned"].as_u64().unwrap();
    assert!(cleaned >= 1, "{cleaned}");
    broker.fails("retainer show kept/two", 1, "no message is retained for 'kept/two'");
}

#[test]
fn keys_of_the_configuration_are_shown_and_changed() {
    let broker = Broker::start_with("[mqtt]\nmax_inflight = 7\n");
    assert_eq!(
        broker.cli("config show mqtt.max_inflight"),
        "KEY                VALUE\nmqtt.max_inflight  7\n"
    );
    let ctl = broker.cli("config show zone.external --format emqx");
    assert!(ctl.contains("zone.external.max_inflight = 7\n"), "{ctl}");
    assert_eq!(
        broker.cli("config set mqtt.max_packet_size 1KB"),
        "set mqtt.max_packet_size = 1KB\n"
    );
    let shown = broker.json("config show mqtt.max_packet_size");
    assert_eq!((&shown[0]["value"], &shown[0]["kept"]), (&"1KB".into(), &true.into()));
    // A client that comes now is told, and does not send more.
    let long = "x".repeat(2_000);
    let sent = broker.mqtt_client(&format!("pub -V 5 -q 1 -t a -m {long}")).output().unwrap();
    assert!(!sent.status.success(), "{sent:?}");
    broker.cli("config reset mqtt.max_packet_size");
    broker.mqtt(&format!("pub -V 5 -q 1 -t a -m {long}"));
    assert_eq!(broker.json("config show mqtt.max_packet_size")[0]["kept"], false);

    broker.fails(
        "config set mqtt.max_inflight many",
        1,
        "mqtt.max_inflight: must be a whole number",
    );
    broker.fails("config set node.name a@b", 1, "node.name: takes effect with a restart");
    broker.fails("config set mqtt.max_inflght 1", 1, "did you mean mqtt.max_inflight?");
    broker.fails("config set mqtt.max_inflght 1 --node x@y", 1, "node x@y not found");
}

#[test]
fn keys_of_a_plugin_are_shown_and_changed() {
    let broker = Broker::start();
    let shown = broker.cli("plugins config emqx_retainer");
    assert!(shown.contains("retainer.max_payload_size       1MB      no"), "{shown}");
    broker.cli("plugins set emqx_retainer retainer.max_payload_size=4B");
    // What is set stays when another key is.
    broker.cli("plugins set emqx_retainer retainer.expiry_interval=1h");
    broker.mqtt("pub -q 1 -r -t a -m 12345");
    broker.mqtt("pub -q 1 -r -t b -m 1234");
    let mut subscriber = Subscriber::start(&broker, "-t + -v -C 1");
    assert_eq!(subscriber.line(), "b 1234");
    let shown = broker.cli("plugins config emqx_retainer");
    assert!(shown.contains("retainer.max_payload_size       4B       yes"), "{shown}");
    broker.fails("plugins set emqx_retainer retainer.no=1", 2, "has no key 'retainer.no'");
    broker.fails("plugins config emqx_nothing", 1, "not_found");
}

#[test]
fn a_backup_of_a_running_broker_is_verified_and_restored() {
    let broker = Broker::start();
    broker.mqtt("pub -t kept -m it -r -q 1");
    assert!(broker.json("store stats")["durable_lsn"].as_u64() > Some(1));
    let (target, restored) = (broker.path("backup"), broker.path("restored"));
    let made = broker.cli(&format!("store backup {}", target.display()));
    assert!(made.contains("files "), "{made}");
    let verified = store(&["verify", "--data-dir"], &[&target]);
    assert!(verified.contains("snapshots 1\n"), "{verified}");
    store(&["restore"], &[&target, "--data-dir".as_ref(), &restored]);
    let verified = store(&["verify", "--data-dir"], &[&restored]);
    assert!(verified.contains("snapshots 1\n"), "{verified}");
    broker.fails(&format!("store backup {}", target.display()), 1, "is not empty");
}

#[track_caller]
fn store(words: &[&str], paths: &[&Path]) -> String {
    let output = program().arg("store").args(words).args(paths).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
