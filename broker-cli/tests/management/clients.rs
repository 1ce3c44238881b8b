//! Clients, sessions, subscriptions and routes of real MQTT clients.

use serde_json::json;

use crate::broker::{Broker, Subscriber, eventually};

/// A client `dash` of user `alice` that subscribes to two filters, which the broker has.
fn dashboard(broker: &Broker) -> Subscriber {
    let subscriber = Subscriber::start(broker, "-i dash -u alice -q 1 -t site/+/temp -t alerts/#");
    eventually(|| {
        let rows = broker.json("subscriptions list");
        let own = rows.as_array().unwrap().iter().filter(|row| row["client_id"] == "dash");
        (own.count() == 2).then_some(())
    });
    subscriber
}

/// A session whose client is away.
fn away(broker: &Broker) {
    broker.mqtt("sub -i away -c -q 1 -t kept/# -E");
    eventually(|| (broker.json("stats")["connections/count"] == 0).then_some(()));
}

#[test]
fn clients_are_listed_shown_and_kicked() {
    let broker = Broker::start();
    assert_eq!(broker.json("clients"), json!([]));
    let mut dash = dashboard(&broker);
    let listed = broker.json("clients");
    let row = &listed[0];
    assert_eq!(
        (&row["client_id"], &row["username"], &row["ipaddress"], &row["keepalive"]),
        (&"dash".into(), &"alice".into(), &"127.0.0.1".into(), &60.into())
    );
    assert_eq!(broker.json("clients list --username alice"), listed);
    assert_eq!(broker.json("clients list --username bob"), json!([]));
    let table = broker.cli("clients list");
    let cells: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!((cells[0], cells[1], cells[3], cells[4]), ("dash", "alice", "MQTT", "4"), "{table}");
    let shown = broker.cli("clients show dash");
    assert!(shown.lines().any(|line| line == "proto_ver     4"), "{shown}");
    let ctl = broker.cli("clients show dash --format emqx");
    let first = "Connection(dash, clean_start=true, username=alice, peername=127.0.0.1:";
    assert!(ctl.starts_with(first), "{ctl}");

    assert_eq!(broker.cli("clients kick dash"), "kicked 'dash'\n");
    // The socket is closed: there is nothing more to read.
    assert_eq!(dash.line(), "");
    eventually(|| (broker.json("clients") == json!([])).then_some(()));
    broker.fails("clients kick dash", 1, "not_found");
    broker.fails("clients show dash", 1, "no client 'dash' is connected");
}

#[test]
fn sessions_outlive_their_clients_until_they_are_removed() {
    let broker = Broker::start();
    away(&broker);
    let _dash = dashboard(&broker);
    broker.mqtt("pub -t kept/1 -m one -q 1");
    let session = &broker.json("sessions show away")[0];
    assert_eq!(
        (&session["clean_start"], &session["mqueue_len"], &session["subscriptions_count"]),
        (&false.into(), &1.into(), &1.into())
    );
    assert_eq!(broker.json("sessions list").as_array().unwrap().len(), 2);
    let ids = |kind: &str| {
        let rows = broker.json(&format!("sessions list {kind}"));
        rows.as_array().unwrap().iter().map(|row| row["client_id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((ids("persistent"), ids("transient")), (vec!["away".into()], vec!["dash".into()]));
    let table = broker.cli("sessions");
    let line = table.lines().find(|line| line.starts_with("away ")).unwrap();
    assert!(line.contains(" no ") && line.contains(" 1/1000 "), "{table}");
    let ctl = broker.cli("sessions show away --format emqx");
    assert!(ctl.starts_with("Session(away, clean_start=false, expiry_interval=7200, "), "{ctl}");

    broker.fails("sessions clean-persistent dash", 1, "running_session");
    assert_eq!(broker.cli("sessions clean-persistent away"), "removed the session of 'away'\n");
    broker.fails("sessions clean-persistent away", 1, "not_found");
    broker.fails("sessions show away", 1, "client 'away' has no session");
}

#[test]
fn subscriptions_are_made_and_ended_for_a_client() {
    let broker = Broker::start();
    let mut dash = dashboard(&broker);
    let made = broker.cli("subscriptions add dash cmd/# 2");
    assert_eq!(made, "'dash' subscribes to 'cmd/#' with QoS 2\n");
    assert_eq!(
        broker.cli("subscriptions show dash --format emqx"),
        "dash -> alerts/#\ndash -> cmd/#\ndash -> site/+/temp\n"
    );
    let rows = broker.json("subscriptions list");
    let row = rows.as_array().unwrap().iter().find(|row| row["topic"] == "cmd/#").unwrap();
    assert_eq!((&row["client_id"], &row["qos"]), (&"dash".into(), &2.into()));
    // It is one that counts.
    broker.cli("publish -t cmd/go -m now -q 1");
    assert_eq!(dash.line(), "now");
    let ended = broker.cli("subscriptions del dash cmd/#");
    assert_eq!(ended, "'dash' does not subscribe to 'cmd/#' any more\n");
    broker.cli("publish -t cmd/go -m again");
    broker.cli("publish -t alerts/fire -m smoke");
    assert_eq!(dash.line(), "smoke");
    broker.fails("subscriptions add nobody a/b 0", 1, "session_not_found (code 112)");
    broker.fails("subscriptions add dash a/#/b 0", 1, "code 115");
}

#[test]
fn routes_come_and_go_with_subscriptions() {
    let broker = Broker::start();
    let dash = dashboard(&broker);
    let ctl = broker.cli("routes list --format emqx");
    let mut lines: Vec<&str> = ctl.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["alerts/# -> emqx@127.0.0.1", "site/+/temp -> emqx@127.0.0.1"]);
    // Filters have what a path must encode.
    for command in ["routes show alerts/#", "topics show alerts/#"] {
        let shown = broker.json(command);
        assert_eq!(shown, json!([{"topic": "alerts/#", "node": "emqx@127.0.0.1"}]), "{command}");
    }
    assert_eq!(broker.json("routes list --limit 1").as_array().unwrap().len(), 1);
    drop(dash);
    eventually(|| (broker.json("routes") == json!([])).then_some(()));
}

#[test]
fn messages_are_published_to_several_topics() {
    let broker = Broker::start();
    let mut dash = dashboard(&broker);
    let said = broker.cli("publish -t site/1/temp -t site/2/temp -m 21.5 -q 1");
    assert_eq!(said, "published to 'site/1/temp', 'site/2/temp'\n");
    assert_eq!((dash.line(), dash.line()), ("21.5".to_owned(), "21.5".to_owned()));
    broker.fails("publish -t site/+/temp -m x", 1, "code 115");
}
