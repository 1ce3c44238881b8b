//! Orders that change the broker itself: its listeners, its log, what it keeps, a copy of its store.

use std::path::Path;

use crate::broker::{Broker, program};

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
