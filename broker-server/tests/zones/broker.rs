//! A broker process with a listener for each zone.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{Builder, JoinHandle};

use crate::client::{Transport, tcp_to};

/// Where the clients of a thread connect to.
pub(crate) struct Broker {
    /// HOST:PORT of the zone that is tested.
    pub(crate) address: String,
    /// The same of a zone without limits.
    elsewhere: String,
}

thread_local! {
    static BROKER: Cell<Option<&'static Broker>> = const { Cell::new(None) };
}

/// The broker that the clients of this thread connect to.
pub(crate) fn broker() -> &'static Broker {
    BROKER.get().expect("the thread is one of a zone")
}

/// A connection that another zone takes.
pub(crate) fn elsewhere() -> Box<dyn Transport> {
    Box::new(tcp_to(&broker().elsewhere))
}

pub(crate) const fn is_ours() -> bool {
    true
}

/// A broker process with a data folder of its own; both go when it is dropped.
pub(crate) struct Process {
    child: Child,
    folder: PathBuf,
    /// HOST:PORT by name: `mqtt:tcp:external`.
    addresses: BTreeMap<String, String>,
}

impl Process {
    /// Starts a broker with these tables beside the listener `tcp.external`.
    pub(crate) fn start(tables: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("zones-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        let config = folder.join("broker.toml");
        let off: String = ["tcp.internal", "ssl.external", "ws.external", "wss.external"]
            .map(|name| format!("[listener.{name}]\nenabled = false\n"))
            .concat();
        // Without any rule there is none that does not match.
        let rules = folder.join("acl.conf");
        std::fs::write(&rules, "{allow, {user, \"nobody\"}, pubsub, [\"none\"]}.\n").unwrap();
        let text = format!(
            "acl_file = {rules:?}\n[node]\ndata_dir = {:?}\n[listener.tcp.external]\nbind = \"127.0.0.1:0\"\n{off}\
             [management.listener.http]\nenabled = false\n\
             [store]\nenabled = false\n{tables}",
            folder.join("data"),
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_broker-server"));
        command.arg("--config").arg(config).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut addresses, mut text) = (BTreeMap::new(), String::new());
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it does not start:\n{text}");
            let field =
                |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
            if line.contains("broker is ready") {
                break;
            }
            if let (Some(name), Some(address)) = (field("name="), field("address=")) {
                addresses.insert(name.to_owned(), address.to_owned());
            }
            text.push_str(&line);
        }
        // Taken off the pipe, so that the broker never waits for us.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self { child, folder, addresses }
    }

    /// Runs a test on a thread whose clients come by this listener.
    pub(crate) fn spawn(&self, name: String, listener: &str, test: fn()) -> JoinHandle<()> {
        let address = |name: &str| self.addresses[name].clone();
        let broker = Broker { address: address(listener), elsewhere: address("mqtt:tcp:external") };
        let broker: &Broker = Box::leak(Box::new(broker));
        let run = move || {
            BROKER.set(Some(broker));
            test();
        };
        Builder::new().name(name).spawn(run).expect("a thread")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
