//! `connections`: who is connected, from where, and what it has sent and got.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::broker::{Broker, Folder, NODE, eventually, wait_until};
use crate::client::{Client, Will, v5, v31, v311};
use crate::http::{Api, keys};
use crate::wire::{Prop, publish};

const KEYS: [&str; 26] = [
    "clean_start",
    "client_id",
    "conn_mod",
    "connected_at",
    "heap_size",
    "ipaddress",
    "is_bridge",
    "keepalive",
    "mailbox_len",
    "node",
    "peercert",
    "port",
    "proto_name",
    "proto_ver",
    "recv_cnt",
    "recv_msg",
    "recv_oct",
    "recv_pkt",
    "reductions",
    "send_cnt",
    "send_msg",
    "send_oct",
    "send_pend",
    "send_pkt",
    "username",
    "zone",
];

/// The one connection of a client.
#[track_caller]
fn one(api: &Api, escaped_id: &str) -> Value {
    let mut rows = api.rows(&format!("connections/{escaped_id}"));
    assert_eq!(rows.len(), 1, "{escaped_id}");
    rows.remove(0)
}

#[track_caller]
fn check(row: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(row[name], *value, "{name} of {row}");
    }
}

#[test]
fn a_connection_shows_what_its_connect_said() {
    let broker = Broker::start();
    let api = broker.api();
    let _old = v31().id("old").keep_alive(60).open();
    let _named = v311().id("named").username("").resume().open();
    let _new = v5().id("new").username("五").keep_alive(7).open();
    let usual = json!({
        "conn_mod": "emqx_connection", "ipaddress": "127.0.0.1", "is_bridge": false, "node": NODE,
        "peercert": "nossl", "zone": "external", "send_pend": 0, "mailbox_len": 0,
    });
    let own = [
        (
            "old",
            json!({"proto_name": "MQIsdp", "proto_ver": 3, "username": "undefined", "keepalive": 60, "clean_start": true}),
        ),
        (
            "named",
            json!({"proto_name": "MQTT", "proto_ver": 4, "username": "", "keepalive": 0, "clean_start": false}),
        ),
        (
            "new",
            json!({"proto_name": "MQTT", "proto_ver": 5, "username": "五", "keepalive": 7, "clean_start": true}),
        ),
    ];
    for (id, own) in own {
        let row = one(&api, id);
        assert_eq!(keys(&row), KEYS);
        check(&row, &usual);
        check(&row, &own);
        assert_eq!(row["client_id"], id);
        assert!(row["port"].as_u64().unwrap() > 0);
        assert_eq!(row["connected_at"].as_str().unwrap().len(), "2019-04-29 11:05:01".len());
        for number in ["heap_size", "reductions"] {
            assert!(row[number].as_u64().unwrap() > 0, "{number} of {row}");
        }
        let on_node = api.data(&format!("nodes/{NODE}/connections/{id}"));
        check(&on_node[0], &own);
    }
}

#[test]
fn a_bridge_is_told_by_its_protocol_level() {
    let broker = Broker::start();
    let api = broker.api();
    let mut packet = v311().id("bridge").encode();
    packet[8] |= 0x80;
    let mut client = v311().id("waits").begin();
    client.expect_connack(0);
    let mut stream = TcpStream::connect(broker.address("mqtt:tcp:external")).unwrap();
    stream.write_all(&packet).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    check(&one(&api, "bridge"), &json!({"is_bridge": true, "proto_ver": 4, "proto_name": "MQTT"}));
    check(&one(&api, "waits"), &json!({"is_bridge": false}));
}

#[test]
fn an_assigned_client_id_is_shown() {
    let broker = Broker::start();
    let client = v5().id("").open();
    let assigned = client.props.assigned_client_id().unwrap();
    check(&one(&broker.api(), &assigned), &json!({"client_id": assigned}));
}

/// Waits until a connection shows these values: what has been written is counted a moment after the client has it.
#[track_caller]
fn wait_for(api: &Api, id: &str, expected: &Value) -> Value {
    let shown =
        |row: &Value| expected.as_object().unwrap().iter().all(|(name, value)| row[name] == *value);
    let mut last = Value::Null;
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        last = one(api, id);
        if shown(&last) {
            return last;
        }
    }
    check(&last, expected);
    last
}

/// As the document's examples show it: three PINGREQs are 6 bytes in 3 packets.
#[test]
fn counters_are_exact_and_move_at_once() {
    let broker = Broker::start();
    let api = broker.api();
    let size = v311().id("c").encode().len();
    let mut client = v311().id("c").open();
    let counters = |received: [usize; 4], sent: [usize; 4]| {
        let [recv_pkt, recv_cnt, recv_oct, recv_msg] = received;
        let [send_pkt, send_cnt, send_oct, send_msg] = sent;
        json!({
            "recv_pkt": recv_pkt, "recv_cnt": recv_cnt, "recv_oct": recv_oct, "recv_msg": recv_msg,
            "send_pkt": send_pkt, "send_cnt": send_cnt, "send_oct": send_oct, "send_msg": send_msg,
        })
    };
    let first = wait_for(&api, "c", &counters([1, 1, size, 0], [1, 1, 4, 0]));
    (0..3).for_each(|_| client.ping());
    let second = wait_for(&api, "c", &counters([4, 4, size + 6, 0], [4, 4, 10, 0]));
    assert!(second["reductions"].as_u64() > first["reductions"].as_u64());
    client.subscribe("a", 0);
    client.send_publish(&publish("a", 0, "xy"));
    client.take();
    client.ping();
    // SUBSCRIBE 8, PUBLISH 7, PINGREQ 2; SUBACK 5, PUBLISH 7, PINGRESP 2.
    let (received, sent) = ([7, 7, size + 6 + 17, 1], [7, 7, 10 + 14, 1]);
    wait_for(&api, "c", &counters(received, sent));
}

#[test]
fn what_a_slow_reader_does_not_take_is_pending() {
    let broker = Broker::start();
    let api = broker.api();
    let mut slow = v311().id("slow").open();
    slow.subscribe("a", 0);
    let payload = "x".repeat(100_000);
    let pending = eventually(|| {
        api.post("mqtt/publish", &json!({"topic": "a", "payload": payload}));
        Some(one(&api, "slow")).filter(|row| row["send_pend"].as_u64() > Some(0))
    });
    assert!(pending["heap_size"].as_u64() >= pending["send_pend"].as_u64(), "{pending}");
}

#[test]
fn a_websocket_is_a_connection_of_its_own_kind() {
    let keys = [
        ("listener.ws.external.enabled", "true"),
        ("listener.ws.external.bind", "\"127.0.0.1:0\""),
    ];
    let broker = Broker::start_with(&keys);
    let api = broker.api();
    let host = broker.address("mqtt:ws:external");
    let mut stream = TcpStream::connect(host).unwrap();
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let packet = v311().id("ws").encode();
    // One binary frame, masked with zeros.
    let mut frame = vec![0x82, 0x80 | packet.len() as u8, 0, 0, 0, 0];
    frame.extend(&packet);
    stream.write_all(&frame).unwrap();
    let mut connack = [0; 6];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x82, 4, 0x20, 2, 0, 0]);
    let row = one(&api, "ws");
    assert_eq!(super::http::keys(&row), KEYS);
    check(&row, &json!({"conn_mod": "emqx_ws_connection", "peercert": "undefined"}));
    check(&row, &json!({"recv_oct": packet.len(), "recv_pkt": 1, "send_oct": 4, "send_pkt": 1}));
}

/// Ends mosquitto's client when the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(folder).output();
    let output = output.expect("openssl is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_owner_of_a_clients_certificate_is_shown() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("names"), "subjectAltName = IP:127.0.0.1\n").unwrap();
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder.path(), &format!("req -x509 {new_key} -keyout ca.key -out ca.crt -subj /CN=ca"));
    for (name, subject) in [("server", "/CN=localhost"), ("client", "/O=Test/OU=Devices/CN=alice")]
    {
        openssl(
            folder.path(),
            &format!("req {new_key} -keyout {name}.key -out {name}.csr -subj {subject}"),
        );
        let ca = "-CA ca.crt -CAkey ca.key -CAcreateserial";
        let signed = format!("x509 -req -in {name}.csr {ca} -extfile names -out {name}.crt");
        openssl(folder.path(), &signed);
    }
    let path = |name: &str| format!("{:?}", folder.path().join(name));
    let (ca, cert, key) = (path("ca.crt"), path("server.crt"), path("server.key"));
    let keys = [
        ("listener.ssl.external.enabled", "true"),
        ("listener.ssl.external.bind", "\"127.0.0.1:0\""),
        ("listener.ssl.external.certfile", &cert),
        ("listener.ssl.external.keyfile", &key),
        ("listener.ssl.external.cacertfile", &ca),
        ("listener.ssl.external.verify", "\"verify_peer\""),
    ];
    let broker = Broker::start_with(&keys);
    let api = broker.api();
    let (host, port) = broker.address("mqtt:ssl:external").rsplit_once(':').unwrap();
    let connect = |id: &str, more: &[&str]| {
        let mut command = Command::new("mosquitto_sub");
        command.current_dir(folder.path()).args(["-h", host, "-p", port, "-i", id, "-t", "a"]);
        command.args(["--cafile", "ca.crt"]).args(more);
        Running(command.spawn().expect("mosquitto_sub is there"))
    };
    let _shows_it = connect("shows", &["--cert", "client.crt", "--key", "client.key"]);
    let _shows_none = connect("none", &[]);
    for (id, subject) in [("shows", "CN=alice,OU=Devices,O=Test"), ("none", "undefined")] {
        let row = eventually(|| api.rows(&format!("connections/{id}")).pop());
        check(&row, &json!({"peercert": subject, "conn_mod": "emqx_connection"}));
    }
}

#[test]
fn ids_and_user_names_of_any_characters_are_found() {
    let broker = Broker::start();
    let api = broker.api();
    for (name, escaped) in [
        ("a/b", "a%2Fb"),
        ("+", "+"),
        ("#", "%23"),
        ("50%", "50%25"),
        ("%2F", "%252F"),
        ("with blank", "with%20blank"),
        ("温度", "%E6%B8%A9%e5%ba%a6"),
        ("..", ".."),
        ("';--\"", "';--%22"),
    ] {
        let mut client = v5().id(name).username(name).open();
        check(&one(&api, escaped), &json!({"client_id": name}));
        for base in ["", "nodes/emqx%40127.0.0.1/"] {
            let rows = api.rows(&format!("{base}connection/username/{escaped}/"));
            assert_eq!(rows.len(), 1, "{name}");
            check(&rows[0], &json!({"client_id": name, "username": name}));
        }
        api.delete(&format!("connections/{escaped}"));
        client.expect_disconnect(&[0x98]);
    }
}

#[test]
fn one_user_may_have_many_connections() {
    let broker = Broker::start();
    let api = broker.api();
    let mut clients: Vec<_> = ["one", "two"].map(|id| v5().id(id).username("u").open()).into();
    clients.push(v5().id("three").username("other").open());
    let ids = || -> Vec<_> {
        let rows = api.rows("connection/username/u");
        rows.iter().map(|row| row["client_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(), ["one", "two"]);
    clients.remove(0).disconnect();
    wait_until(|| ids() == ["two"]);
    assert_eq!(api.data("connection/username/nobody"), json!([]));
}

#[test]
fn a_kicked_client_is_told_its_will_published_and_its_session_kept() {
    let broker = Broker::start();
    let api = broker.api();
    let mut watcher = v5().open();
    watcher.subscribe("will", 0);
    let mut client =
        v5().id("c").prop(Prop::SessionExpiryInterval(100)).will(Will::new("will", "gone")).open();
    client.subscribe("a", 1);
    assert_eq!(api.delete("connections/c"), json!({"code": 0}));
    client.expect_disconnect(&[0x98]);
    assert_eq!(watcher.take().text(), "gone");
    wait_until(|| api.rows("connections/c").is_empty());
    assert_eq!(
        api.refused("DELETE", "connections/c", &Value::Null),
        (200, 112, "not_found".into())
    );
    assert_eq!(api.rows("subscriptions/c").len(), 1);
    assert!(v5().id("c").resume().open().session_present);

    let mut old = v311().id("old").open();
    api.delete("connections/old");
    old.expect_closed();
    assert_eq!(
        api.refused("DELETE", "connections/nobody", &Value::Null),
        (200, 112, "not_found".into())
    );
}

#[test]
fn of_an_unknown_client_there_is_nothing_and_other_nodes_are_refused() {
    let broker = Broker::start();
    let api = broker.api();
    assert_eq!(api.data("connections/nobody"), json!([]));
    assert_eq!(api.data(&format!("nodes/{NODE}/connections/nobody")), json!([]));
    let missing = (404, 102, "node other@host not found".to_owned());
    for path in ["connections", "connections/c", "connection/username/u"] {
        let path = format!("nodes/other@host/{path}");
        assert_eq!(api.call("GET", &path, "").failure(), missing, "{path}");
    }
}

#[test]
fn pages_hold_each_once_while_clients_come_and_go() {
    let broker = Broker::start();
    let api = broker.api();
    let mut goes = Vec::new();
    let mut stays = Vec::new();
    for n in 0..23 {
        goes.push(v5().id(&format!("goes{n}")).open());
        stays.push(v5().id(&format!("stays{n:02}")).open());
    }
    let mut seen = Vec::new();
    for page in 1.. {
        let answer = api.get(&format!("nodes/{NODE}/connections?_page={page}&_limit=5"));
        let rows = answer["data"].as_array().unwrap();
        assert_eq!(answer["meta"]["count"], 46, "one goes, one comes");
        seen.extend(rows.iter().map(|row| row["client_id"].as_str().unwrap().to_owned()));
        if rows.len() < 5 {
            break;
        }
        goes.remove(0).disconnect();
        wait_until(|| api.get("connections?_limit=1")["meta"]["count"] == 45);
        goes.push(v5().id(&format!("new{page}")).open());
    }
    seen.retain(|id| id.starts_with("stays"));
    let expected: Vec<_> = (0..23).map(|n| format!("stays{n:02}")).collect();
    assert_eq!(seen, expected);
    stays.into_iter().chain(goes).for_each(Client::disconnect);
    wait_until(|| api.data("connections") == json!([]));
}

#[test]
fn of_paging_what_is_no_number_from_1_is_refused_and_too_much_is_cut() {
    let broker = Broker::start();
    let api = broker.api();
    let _client = v5().open();
    for path in ["connections", "sessions", "subscriptions", "routes", "banned", "retained"] {
        for parameter in ["_page", "_limit"] {
            for value in ["0", "-1", "x", "1.5", "", "1e3", "%20"] {
                let refused = api.call("GET", &format!("{path}?{parameter}={value}"), "").failure();
                let message = format!("{parameter}: must be a whole number from 1");
                assert_eq!(refused, (400, 108, message));
            }
        }
        let count = api.get(path)["meta"]["count"].clone();
        let answer = api.get(&format!("{path}?_page=3&_limit=1000000"));
        assert_eq!(answer["meta"], json!({"page": 3, "limit": 10_000, "count": count}));
        assert_eq!(answer["data"], json!([]));
    }
}
