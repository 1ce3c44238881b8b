//! `trace` of the real broker: started, followed, shown, listed, stopped.

use serde_json::json;

use crate::broker::{Broker, Follower, Subscriber, eventually};

#[test]
fn a_client_is_traced_from_start_to_stop() {
    let broker = Broker::start();
    let said = broker.cli("trace start client pub --duration 60");
    assert_eq!(said, "tracing client_id 'pub' for 60 s\n");
    broker.fails("trace start client pub", 1, "already_exists");
    broker.mqtt("pub -i pub -t a/b -m hello -q 1 -u bob -P topsecret");
    let shown = eventually(|| {
        let shown = broker.cli("trace show client pub");
        shown.contains("  disconnected  ").then_some(shown)
    });
    for part in [
        "  connect       pub@127.0.0.1:",
        "  CONNECT proto_ver=4 clean_start=true ",
        "username=\"bob\" has_password=true",
        "  publish       pub@127.0.0.1:",
        "  topic=\"a/b\" qos=1 retain=false bytes=5\n",
        "  no_subscribers topic=\"a/b\"\n",
        "  PUBACK packet_id=1 reason=0x10\n",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    assert!(!shown.contains("topsecret") && !shown.contains("hello"), "{shown}");
    let listed = broker.json("trace list");
    let row = &listed[0];
    assert_eq!(
        (&row["kind"], &row["value"], &row["level"], &row["rate"], &row["destination"]),
        (&"client_id".into(), &"pub".into(), &"debug".into(), &1000.into(), &"memory".into())
    );
    assert_eq!(
        broker.cli("trace list --format emqx"),
        "Trace(client_id=pub, level=debug, destination=\"memory\")\n"
    );
    assert_eq!(broker.cli("trace stop client pub"), "stopped tracing client_id 'pub'\n");
    assert_eq!(broker.json("trace list"), json!([]));
    broker.fails("trace show client pub", 1, "not_found");
    broker.fails("trace stop client pub", 1, "not_found");
}

#[test]
fn a_topic_is_followed_while_it_happens() {
    let broker = Broker::start();
    let mut dash = Subscriber::start(&broker, "-i dash -q 1 -t site/+");
    eventually(|| (broker.json("stats")["subscriptions/count"] == 1).then_some(()));
    let mut follower = Follower::start(&broker, "trace start topic site/# --payload --follow");
    eventually(|| (broker.json("trace list") != json!([])).then_some(()));
    broker.mqtt("pub -i pub -t site/1 -m 21.5 -q 1");
    assert_eq!(dash.line(), "21.5");
    let lines = [(); 3].map(|()| follower.line());
    let ends = [
        "topic=\"site/1\" qos=1 retain=false bytes=4 payload=\"21.5\"",
        "topic=\"site/1\" qos=1 retain=false dup=false bytes=4 payload=\"21.5\"",
        "topic=\"site/1\" receivers=1",
    ];
    for ((line, kind), end) in lines.iter().zip(["publish", "delivered", "routed"]).zip(ends) {
        assert!(line.contains(&format!("  {kind} ")) && line.ends_with(end), "{line}");
    }
    // An interrupt ends the trace with its reader.
    follower.interrupt();
    eventually(|| (broker.json("trace list") == json!([])).then_some(()));
}

#[test]
fn following_ends_with_the_trace() {
    let broker = Broker::start();
    broker.cli("trace start ip 127.0.0.0/8 lives.log info --duration 2");
    broker.mqtt("pub -i pub -t a -m x");
    let listed = broker.json("trace list");
    let file = listed[0]["destination"].as_str().unwrap().to_owned();
    assert!(file.ends_with("/data/trace/lives.log"), "{file}");
    let told = broker.cli("trace follow ip 127.0.0.0/8");
    assert!(told.contains("  connected ") && told.contains("  disconnected "), "{told}");
    assert!(!told.contains("  publish "), "that is debug: {told}");
    let written = eventually(|| {
        let text = std::fs::read_to_string(&file).unwrap();
        (text.lines().count() == told.lines().count()).then_some(text)
    });
    assert!(written.contains(" connected client_id=\"pub\" peer=127.0.0.1:"), "{written}");
    broker.fails("trace start ip 10.0.0 --rate 5", 1, "value: \"10.0.0\" is no IP address");
    broker.fails("trace start topic a/#/b", 1, "value: must be a Topic Filter");
}
