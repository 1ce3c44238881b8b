//! What a broker is like that nobody has configured: whom it lets in, and who can read what it writes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::broker::{Broker, DEADLINE, Folder};

/// Reachable from elsewhere, and with a proxy in front, so that a test on one machine can come from another.
const OPEN: (&str, &str) = ("listener.tcp.external.bind", "\"0.0.0.0:0\"");
const PROXIED: (&str, &str) = ("listener.tcp.external.proxy_protocol", "true");
const PROXY: (&str, &str) = ("listener.tcp.external.proxy_protocol_peers", "[\"127.0.0.1\"]");

const LOCAL_ONLY: &str = "clients without a user are let in from this machine only";
const FROM_EVERYWHERE: &str = "clients without a user are let in from everywhere";

/// The return code of CONNACK for an MQTT 3.1.1 client; `from` is what a proxy says of its address.
fn connect(broker: &Broker, from: Option<&str>, login: Option<(&str, &str)>) -> u8 {
    let port = broker.address("mqtt:tcp:external").rsplit_once(':').unwrap().1;
    let mut socket = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    if let Some(from) = from {
        let family = if from.contains(':') { ("TCP6", "::1") } else { ("TCP4", "127.0.0.1") };
        write!(socket, "PROXY {} {from} {} 50000 1883\r\n", family.0, family.1).unwrap();
    }
    let text = |text: &str| [&[0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let flags = if login.is_some() { 0xc2 } else { 0x02 };
    let mut body = [text("MQTT"), vec![4, flags, 0, 60], text("c")].concat();
    if let Some((name, password)) = login {
        body.extend([text(name), text(password)].concat());
    }
    let header = [0x10, u8::try_from(body.len()).unwrap()];
    socket.write_all(&[&header, &body[..]].concat()).unwrap();
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).unwrap();
    assert_eq!(connack[..3], [0x20, 2, 0]);
    connack[3]
}

#[test]
fn without_a_word_only_this_machine_gets_in_without_a_user() {
    let broker = Broker::start_with(&[OPEN, PROXIED, PROXY]);
    for (from, code) in [("127.0.0.1", 0), ("::1", 0), ("192.0.2.7", 5), ("2001:db8::7", 5)] {
        assert_eq!(connect(&broker, Some(from), None), code, "{from}");
    }
    // A user is all it takes, while nothing is restarted.
    let api = broker.api();
    api.put("nodes/emqx@127.0.0.1/plugins/emqx_auth_username/load", &json!({}));
    api.post("auth_username", &json!({"username": "bob", "password": "secret"}));
    assert_eq!(connect(&broker, Some("192.0.2.7"), Some(("bob", "secret"))), 0);
    assert_eq!(connect(&broker, Some("192.0.2.7"), Some(("bob", "wrong"))), 4);
    assert_eq!(connect(&broker, Some("192.0.2.7"), Some(("eve", "secret"))), 4);
    let (_, log) = broker.stop();
    assert_eq!(log.matches(LOCAL_ONLY).count(), 1, "{log}");
    assert!(log.contains("'broker-cli users add NAME' makes a user"), "{log}");
}

#[test]
fn who_wants_it_open_says_so() {
    for key in [("allow_anonymous", "true"), ("compat.emqx31", "true")] {
        let broker = Broker::start_with(&[OPEN, PROXIED, PROXY, key]);
        assert_eq!(connect(&broker, Some("192.0.2.7"), None), 0, "{key:?}");
        let (_, log) = broker.stop();
        assert_eq!(log.matches(FROM_EVERYWHERE).count(), 1, "{log}");
        assert!(!log.contains(LOCAL_ONLY), "{log}");
    }
    let broker = Broker::start_with(&[OPEN, ("allow_anonymous", "false")]);
    assert_eq!(connect(&broker, None, None), 5);
    let (_, log) = broker.stop();
    assert!(!log.contains("clients without a user"), "{log}");
}

/// Nobody else can reach it, so there is nothing to say.
#[test]
fn a_broker_of_this_machine_alone_says_nothing() {
    let broker = Broker::start();
    assert_eq!(connect(&broker, None, None), 0);
    let (_, log) = broker.stop();
    assert!(!log.contains("clients without a user"), "{log}");
}

/// The usual umask lets everybody read; what the broker writes is for its own eyes all the same.
#[test]
fn nobody_else_can_read_what_it_writes() {
    let folder = Folder::new();
    let data = folder.data();
    let keys = [
        ("listener.ssl.external.enabled", "true"),
        ("listener.ssl.external.bind", "\"127.0.0.1:0\""),
    ];
    let broker = Broker::start_in(folder, &keys);
    let api = broker.api();
    api.put("nodes/emqx@127.0.0.1/plugins/emqx_auth_username/load", &json!({}));
    api.post("auth_username", &json!({"username": "bob", "password": "secret"}));
    let hook = json!({"name": "hook", "type": "web_hook", "config": {
        "url": "http://127.0.0.1:1/", "headers": {"authorization": "Bearer abc"}}});
    api.post("resources", &hook);
    let trace = json!({"kind": "client_id", "value": "c", "file": "c.log"});
    api.post("traces", &trace);
    let backup = broker.folder().join("backup");
    api.post("nodes/emqx@127.0.0.1/store/backup", &json!({"target": backup}));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", broker.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let (folder, _) = broker.stop();
    let written = entries(&data);
    assert!(written.len() > 5, "{written:?}");
    for path in written.into_iter().chain(entries(&backup)) {
        let metadata = path.metadata().unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{mode:o} {}", path.display());
    }
    drop(folder);
}

/// A folder and all that is in it.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(path) = all.get(next).cloned() {
        next += 1;
        if path.is_dir() {
            all.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all
}
