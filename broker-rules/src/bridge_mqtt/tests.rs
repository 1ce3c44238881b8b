//! Tests of bridges against mosquitto, which is killed and comes back.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::remote::fixture::{Process, TestFolder, free_port, host, wait_until, wall_ms};
use crate::remote::{AddressRules, seal};
use crate::sink::{DropReason, Owner};

/// A broker that is not ours.
struct Mosquitto {
    process: Process,
    port: u16,
}

impl Mosquitto {
    fn start(folder: &Path, port: u16, more: &str) -> Self {
        let config = folder.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\npersistence true\npersistence_location {}/\n\
             max_queued_messages 0\nmax_inflight_messages 1000\nuser root\n{more}\n",
            folder.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process(command.spawn().unwrap());
        wait_until("mosquitto", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { process, port }
    }

    fn anonymous(folder: &Path, port: u16) -> Self {
        Self::start(folder, port, "allow_anonymous true")
    }

    /// In order: what it has acknowledged, it has saved.
    fn stop(mut self) {
        let pid = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.process.0.wait().unwrap();
    }
}

/// A subscriber to everything.
struct Subscriber {
    _process: Process,
    lines: Receiver<String>,
}

impl Subscriber {
    /// `session` makes it one whose session outlives its connections.
    fn start(port: u16, session: &[&str]) -> Self {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        command.args(["-q", "1", "-t", "#", "-F", "%r %t %p"]).args(session);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (line, lines) = mpsc::channel();
        thread::spawn(move || {
            for text in output.lines().map_while(Result::ok) {
                if line.send(text).is_err() {
                    return;
                }
            }
        });
        Self { _process: Process(child), lines }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(30)).expect("a message has not come")
    }

    /// Publishes until it hears something: then it has subscribed.
    fn wait_subscribed(&self, bridge: &Bridge) {
        push(bridge, "begin", "begin", false);
        wait_until("the subscription", || {
            push(bridge, "begin", "begin", false);
            self.lines.recv_timeout(Duration::from_millis(50)).is_ok()
        });
    }

    /// The next message that is not of the beginning.
    fn next_message(&self) -> String {
        loop {
            let line = self.next();
            if !line.ends_with("begin") {
                return line;
            }
        }
    }
}

fn config(port: u16) -> Json {
    json!({
        "bridge_name": "b", "address": format!("127.0.0.1:{port}"), "client_id": "the-bridge",
        "mountpoint": "from/${node}/", "reconnect_interval": "200ms", "keepalive": "10s",
    })
}

fn try_create(config: &Json, folder: Option<&Path>) -> Result<Arc<Bridge>, String> {
    let (host, _) = host(folder, AddressRules::default());
    let kind = BridgeType { params: config::params(), host };
    let resource = kind.create("bridge_mqtt:b", config.as_object().unwrap())?;
    Ok(resource.as_a::<Bridge>().unwrap())
}

fn push(bridge: &Bridge, topic: &str, payload: &str, retain: bool) {
    let item = seal(payload.as_bytes().to_vec(), topic, retain);
    bridge.sink.push(Owner::nobody(), item, wall_ms()).unwrap();
}

fn dropped(bridge: &Bridge) -> Vec<(DropReason, u64)> {
    bridge.sink.status().dropped.into_iter().filter(|(_, n)| *n > 0).collect()
}

#[test]
fn a_broker_that_goes_and_comes_back_gets_everything_in_order() {
    let port = free_port();
    for version in ["mqttv4", "mqttv5"] {
        let folder = TestFolder::new();
        let mosquitto = Mosquitto::anonymous(folder.path(), port);
        let mut config = config(port);
        config["proto_ver"] = version.into();
        config["clean_start"] = (version == "mqttv4").into();
        let bridge = try_create(&config, Some(folder.path())).unwrap();
        let subscriber = Subscriber::start(port, &["-c", "-i", "watcher"]);
        subscriber.wait_subscribed(&bridge);
        let body = |n: usize| format!("{version}-{n}");
        (0..500).for_each(|n| push(&bridge, "t", &body(n), false));
        mosquitto.stop();
        wait_until("the loss", || !bridge.is_alive());
        (500..1000).for_each(|n| push(&bridge, "t", &body(n), false));
        let mosquitto = Mosquitto::anonymous(folder.path(), port);
        (1000..1500).for_each(|n| push(&bridge, "t", &body(n), false));
        let mut seen = Vec::new();
        while seen.last() != Some(&1499) {
            let line = subscriber.next_message();
            let rest = line.strip_prefix("0 from/node1/t ").unwrap();
            let n: usize = rest.strip_prefix(version).unwrap()[1..].parse().unwrap();
            // Twice is fine, out of order is not.
            if seen.last().is_none_or(|last| *last < n) {
                seen.push(n);
            }
        }
        assert_eq!(seen, (0..1500).collect::<Vec<_>>(), "{version}");
        assert!(bridge.is_alive());
        assert_eq!(dropped(&bridge), []);
        wait_until("all acknowledgements", || bridge.sink.status().held.memory_items == 0);
        bridge.stop();
        assert!(!bridge.is_alive());
        drop(subscriber);
        mosquitto.stop();
    }
}

#[test]
fn each_version_forwards_and_keeps_retain() {
    let folder = TestFolder::new();
    let mosquitto = Mosquitto::anonymous(folder.path(), free_port());
    for version in ["mqttv3", "mqttv4", "mqttv5"] {
        let mut config = config(mosquitto.port);
        config["proto_ver"] = version.into();
        let bridge = try_create(&config, None).unwrap();
        push(&bridge, "kept", version, true);
        wait_until("it", || bridge.sink.status().delivered == 1);
        let subscriber = Subscriber::start(mosquitto.port, &[]);
        assert_eq!(subscriber.next(), format!("1 from/node1/kept {version}"));
    }
}

#[test]
fn a_bridge_connects_without_a_message_and_notices_the_end() {
    let folder = TestFolder::new();
    let port = free_port();
    let bridge = try_create(&config(port), None).unwrap();
    wait_until("a failure", || bridge.sink.status().is_up == Some(false));
    assert!(!bridge.is_alive());
    assert!(bridge.start().is_err());
    let mosquitto = Mosquitto::anonymous(folder.path(), port);
    wait_until("a connection", || bridge.is_alive());
    assert_eq!(bridge.start(), Ok(()));
    mosquitto.stop();
    wait_until("its end", || !bridge.is_alive());
}

#[test]
fn user_and_password_are_sent_and_never_told() {
    let folder = TestFolder::new();
    let passwords = folder.path().join("passwords");
    let mut command = Command::new("mosquitto_passwd");
    command.args(["-b", "-c"]).arg(&passwords).args(["me", "hidden"]);
    assert!(command.status().unwrap().success());
    let more = format!("allow_anonymous false\npassword_file {}", passwords.display());
    let mosquitto = Mosquitto::start(folder.path(), free_port(), &more);
    let mut config = config(mosquitto.port);
    config["username"] = "me".into();
    config["password"] = "hidden".into();
    let bridge = try_create(&config, None).unwrap();
    wait_until("a connection", || bridge.is_alive());
    assert!(!format!("{:?}", bridge.config).contains("hidden"));
    drop(bridge);
    config["password"] = "hidden-too".into();
    let bridge = try_create(&config, None).unwrap();
    wait_until("a failure", || bridge.sink.status().is_up == Some(false));
    let error = bridge.sink.status().last_error.unwrap();
    assert!(error.contains("refuses") && !error.contains("hidden"), "{error}");
}

#[test]
fn tls_checks_the_certificate() {
    let folder = TestFolder::new();
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("cert.pem"), key.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), key.signing_key.serialize_pem()).unwrap();
    let more =
        format!("allow_anonymous true\ncertfile {}\nkeyfile {}", path("cert.pem"), path("key.pem"));
    let mosquitto = Mosquitto::start(folder.path(), free_port(), &more);
    let mut config = config(mosquitto.port);
    config["ssl"] = true.into();
    config["cacertfile"] = path("cert.pem").into();
    let bridge = try_create(&config, None).unwrap();
    wait_until("a failure", || bridge.sink.status().is_up == Some(false));
    let error = bridge.sink.status().last_error.unwrap();
    assert!(error.contains("certificate"), "{error}");
    drop(bridge);
    config["address"] = format!("localhost:{}", mosquitto.port).into();
    config["ssl"] = "on".into();
    let bridge = try_create(&config, None).unwrap();
    push(&bridge, "t", "x", false);
    wait_until("it", || bridge.sink.status().delivered == 1);
}

#[test]
fn what_can_never_be_sent_is_refused_and_the_rest_goes_on() {
    let folder = TestFolder::new();
    let more = "allow_anonymous true\nmax_packet_size 2000";
    let mosquitto = Mosquitto::start(folder.path(), free_port(), more);
    let mut config = config(mosquitto.port);
    config["proto_ver"] = "mqttv5".into();
    let bridge = try_create(&config, None).unwrap();
    push(&bridge, "t", "first", false);
    push(&bridge, "t", &"x".repeat(3000), false);
    push(&bridge, "t/#", "no topic", false);
    push(&bridge, "t", "last", false);
    wait_until("the end", || bridge.sink.status().delivered == 2);
    assert_eq!(dropped(&bridge), [(DropReason::Refused, 2)]);
}

#[test]
fn addresses_are_checked() {
    let closed = AddressRules { allow_private: false, ..AddressRules::default() };
    let (host, _) = host(None, closed);
    let kind = BridgeType { params: config::params(), host };
    let error = kind.test(config(1883).as_object().unwrap()).unwrap_err();
    assert!(error.contains("rules.allow_private_addresses"), "{error}");
}

#[test]
fn faults_are_named() {
    for (key, value, expected) in [
        ("address", json!("h:x"), "address"),
        ("address", json!("h/p:1"), "address"),
        ("address", json!("[::1"), "address"),
        ("proto_ver", json!("mqttv6"), "proto_ver"),
        ("mountpoint", json!("a/#/"), "mountpoint"),
        ("ssl", json!("maybe"), "ssl"),
        ("keepalive", json!("soon"), "keepalive"),
        ("max_inflight_batches", json!(0), "max_inflight_batches"),
        ("queue_batch_bytes_limit", json!("much"), "queue_batch_bytes_limit: a size"),
        ("queue_linger", json!("2h"), "queue_linger: a duration"),
        ("connect_timeout", json!(0), "connect_timeout"),
        ("keyfile", json!("k.pem"), "keyfile needs certfile"),
    ] {
        let mut config = config(1);
        config[key] = value;
        let error = try_create(&config, None).err().unwrap();
        assert!(error.contains(expected), "{key}: {error}");
    }
}

#[test]
fn what_is_said_of_batches_and_waiting_is_taken() {
    let mut config = config(1);
    config["queue_batch_bytes_limit"] = json!("64KB");
    config["queue_linger"] = json!("20ms");
    config["reconnect_interval"] = json!("7s");
    let sink = |config: &Json| {
        let (host, _) = host(None, AddressRules::default());
        BridgeConfig::new(&config::params(), config.as_object().unwrap(), &host, None).unwrap().sink
    };
    let read = sink(&config);
    assert_eq!((read.batch_bytes_max, read.linger), (64 << 10, Duration::from_millis(20)));
    assert_eq!(read.retry_max, Duration::from_secs(7));
    // More would not be a bound of memory.
    config["queue_batch_bytes_limit"] = json!("1000MB");
    assert_eq!(sink(&config).batch_bytes_max, 1 << 20);
}

#[test]
fn a_broker_that_never_answers_is_not_waited_for_longer_than_said() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(silent.local_addr().unwrap().port());
    config["connect_timeout"] = json!(0.2);
    let (host, _) = host(None, AddressRules::default());
    let kind = BridgeType { params: config::params(), host };
    let error = kind.test(config.as_object().unwrap()).unwrap_err();
    assert_eq!(error, "no CONNACK within 0.2 s");
}
