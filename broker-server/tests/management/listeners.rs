//! `listeners`: what is listed of them, and stopping and starting them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::broker::{Broker, DEADLINE, NODE};
use crate::http::{Api, keys};

const TCP: &str = "mqtt:tcp:external";

#[test]
fn listeners_are_listed_as_the_document_shows_them() {
    let broker = Broker::start_with(&[
        ("listener.ws.external.enabled", "true"),
        ("listener.ws.external.bind", "0"),
        ("listener.ssl.external.enabled", "true"),
        ("listener.ssl.external.bind", "\"127.0.0.1:0\""),
        ("listener.tcp.external.max_connections", "1234"),
        ("listener.tcp.external.acceptors", "3"),
        ("management.listener.https.bind", "\"127.0.0.1:0\""),
    ]);
    let api = broker.api();
    let listed = api.data(&format!("nodes/{NODE}/listeners"));
    let ids: Vec<_> = listed.as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(
        ids,
        ["mqtt:ssl:external", TCP, "http:management", "https:management", "mqtt:ws:external"]
    );
    let all = api.data("listeners/");
    assert_eq!(keys(&all[0]), ["listeners", "node"]);
    assert_eq!(all[0]["node"], NODE);
    assert_eq!(all[0]["listeners"].as_array().unwrap().len(), ids.len());

    let mut tcp = row(&api, TCP);
    assert_eq!(tcp["listen_on"], broker.address(TCP));
    tcp["listen_on"] = json!("");
    assert_eq!(
        tcp,
        json!({
            "id": TCP, "protocol": "mqtt:tcp", "listen_on": "", "acceptors": 3, "max_conns": 1234,
            "current_conns": 0, "running": true, "shutdown_count": [],
        })
    );
    // A port alone stays one.
    let port = |name| broker.address(name).rsplit_once(':').unwrap().1;
    assert_eq!(row(&api, "mqtt:ws:external")["listen_on"], port("mqtt:ws:external"));
    let http = row(&api, "http:management");
    assert_eq!(http["protocol"], "http:management");
    assert_eq!(http["listen_on"], broker.address("http:management"));
    assert_eq!((&http["max_conns"], &http["acceptors"]), (&json!(512), &json!(2)));
}

#[test]
fn connections_and_their_ends_are_counted() {
    let broker = Broker::start();
    let api = broker.api();
    let (mut polite, rude) = (connect(&broker, "polite"), connect(&broker, "rude"));
    let silent = TcpStream::connect(broker.address(TCP)).unwrap();
    wait(|| row(&api, TCP)["current_conns"] == 3);
    polite.write_all(&[0xE0, 0]).unwrap();
    wait(|| row(&api, TCP)["current_conns"] == 2);
    assert_eq!(row(&api, TCP)["shutdown_count"], json!([]), "a DISCONNECT is no trouble");
    drop((rude, silent));
    wait(|| row(&api, TCP)["current_conns"] == 0);
    assert_eq!(row(&api, TCP)["shutdown_count"], json!({"closed": 2}));
    let mut wrong = connect(&broker, "wrong");
    wrong.write_all(&[0xF7, 0]).unwrap();
    assert_eq!(wrong.read_to_end(&mut Vec::new()).unwrap(), 3, "DISCONNECT with a Reason Code");
    let _first = connect(&broker, "twice");
    let _second = connect(&broker, "twice");
    let expected = json!({"closed": 2, "conflict": 1, "malformed_packet": 1});
    wait(|| row(&api, TCP)["shutdown_count"] == expected);

    // The connection that asks, and one more as long as it is there.
    let http = || row(&api, "http:management")["current_conns"].clone();
    wait(|| http() == 1);
    let idle = TcpStream::connect(broker.address("http:management")).unwrap();
    wait(|| http() == 2);
    drop(idle);
    wait(|| http() == 1);
}

#[test]
fn a_stopped_listener_takes_nobody_until_it_is_started() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bind = format!("\"{free}\"");
    let broker = Broker::start_with(&[("listener.tcp.external.bind", &bind)]);
    let api = broker.api();
    let order = |id: &str, order: &str| {
        api.call("PUT", &format!("nodes/{NODE}/listeners/{id}/{order}"), "")
    };
    let refused = |id: &str, verb: &str, message: &str| {
        assert_eq!(order(id, verb).failure(), (200, 102, message.to_owned()), "{id} {verb}");
    };
    let mut client = connect(&broker, "client");
    order(TCP, "stop").success();
    let mut told = Vec::new();
    client.read_to_end(&mut told).unwrap();
    assert_eq!(told, [0xE0, 1, 0x98], "Administrative action");
    assert!(TcpStream::connect(free).is_err());
    let stopped = row(&api, TCP);
    assert_eq!((&stopped["running"], &stopped["current_conns"]), (&json!(false), &json!(0)));
    assert_eq!(stopped["shutdown_count"], json!({"kicked": 1}));
    refused(TCP, "stop", "not_started");

    let taken = TcpListener::bind(free).unwrap();
    let said = format!("listener.tcp.external.bind = {free}: address already in use");
    refused(TCP, "start", &said);
    assert_eq!(row(&api, TCP)["running"], false);
    drop(taken);
    // By protocol and address as well.
    order(&format!("mqtt:tcp:{free}"), "start").success();
    refused(TCP, "start", "already_started");
    assert_eq!(row(&api, TCP)["running"], true);
    let mut client = connect(&broker, "client");
    order(TCP, "restart").success();
    assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 3);
    let _client = connect(&broker, "client");

    for verb in ["stop", "start", "restart"] {
        refused("mqtt:tcp:nowhere", verb, "not_found");
        let other = api.call("PUT", &format!("nodes/other@host/listeners/{TCP}/{verb}"), "");
        assert_eq!(other.failure(), (404, 102, "node other@host not found".into()));
    }
    api.post("apps", &json!({"app_id": "eye", "name": "", "secret": "s", "role": "viewer"}));
    let viewer = broker.api_as("eye", "s");
    let path = format!("nodes/{NODE}/listeners/{TCP}/stop");
    assert_eq!(viewer.call("PUT", &path, "").status, 403);
    assert_eq!(row(&viewer, TCP)["running"], true);
}

#[test]
fn listeners_of_the_api_stop_and_start_each_other() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bind = format!("\"{free}\"");
    let broker = Broker::start_with(&[("management.listener.https.bind", &bind)]);
    let api = broker.api();
    let path = |id, verb| format!("nodes/{NODE}/listeners/{id}/{verb}");
    let refused = |id, verb, message: &str| {
        let failure = api.call("PUT", &path(id, verb), "").failure();
        assert_eq!(failure, (200, 102, message.to_owned()), "{id} {verb}");
    };
    for verb in ["stop", "restart"] {
        refused("http:management", verb, "listener in use by this request");
    }
    refused("http:management", "start", "already_started");
    let certificate = broker.folder().join("data/certs/server.crt");
    let over_tls = |arguments: &[&str], path: &str| {
        let url = format!("https://{free}/api/v3/{path}");
        let output = std::process::Command::new("curl")
            .args(["--silent", "-u", "admin:public", "--cacert"])
            .arg(&certificate)
            .args(arguments)
            .arg(url)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(over_tls(&[], "brokers").contains("Running"));
    api.call("PUT", &path("https:management", "stop"), "").success();
    assert!(TcpStream::connect(free).is_err());
    let stopped = row(&api, "https:management");
    assert_eq!((&stopped["running"], &stopped["current_conns"]), (&json!(false), &json!(0)));
    refused("https:management", "stop", "not_started");
    api.call("PUT", &path("https:management", "start"), "").success();
    assert!(over_tls(&[], "brokers").contains("Running"));

    // The other way round, and with another certificate.
    for file in ["server.crt", "server.key"] {
        fs::remove_file(broker.folder().join("data/certs").join(file)).unwrap();
    }
    api.call("PUT", &path("https:management", "restart"), "").success();
    assert_eq!(over_tls(&["-X", "PUT"], &path("http:management", "stop")), "{\"code\":0}");
    assert!(TcpStream::connect(&api.address).is_err());
    assert_eq!(over_tls(&["-X", "PUT"], &path("http:management", "start")), "{\"code\":0}");
    // Its port was any: it has another now.
    let listed: Value = serde_json::from_str(&over_tls(&[], "listeners")).unwrap();
    let listed = listed["data"][0]["listeners"].as_array().unwrap().clone();
    let http = listed.iter().find(|row| row["id"] == "http:management").unwrap();
    Api::new(http["listen_on"].as_str().unwrap(), "admin", "public").get("brokers");
}

#[test]
fn a_restart_with_a_bad_certificate_leaves_the_listener_running() {
    let broker = Broker::start_with(&[
        ("listener.ssl.external.enabled", "true"),
        ("listener.ssl.external.bind", "\"127.0.0.1:0\""),
    ]);
    let api = broker.api();
    let certificate = broker.folder().join("data/certs/server.crt");
    fs::write(&certificate, "none").unwrap();
    let path = format!("nodes/{NODE}/listeners/mqtt:ssl:external/restart");
    let (status, code, message) = api.call("PUT", &path, "").failure();
    assert_eq!((status, code), (200, 102));
    let said =
        format!("listener.ssl.external.certfile = {}: holds no certificate", shown(&certificate));
    assert_eq!(message, said);
    assert_eq!(row(&api, "mqtt:ssl:external")["running"], true);
    TcpStream::connect(broker.address("mqtt:ssl:external")).unwrap();
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// What is listed of a listener.
fn row(api: &Api, id: &str) -> Value {
    let listed = api.data(&format!("nodes/{NODE}/listeners"));
    let found = listed.as_array().unwrap().iter().find(|row| row["id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {listed}")).clone()
}

/// A client of MQTT 5.0 that is connected.
fn connect(broker: &Broker, client_id: &str) -> TcpStream {
    let address = row(&broker.api(), TCP)["listen_on"].as_str().unwrap().to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let length = client_id.len() as u8;
    let mut packet = vec![0x10, 13 + length, 0, 4];
    packet.extend(b"MQTT");
    packet.extend([5, 2, 0, 60, 0, 0, length]);
    packet.extend(client_id.as_bytes());
    stream.write_all(&packet).unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 0x20);
    stream.read_exact(&mut vec![0; head[1].into()]).unwrap();
    stream
}

fn wait(condition: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < until, "it does not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}
