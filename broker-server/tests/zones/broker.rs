//! A broker process with a listener for each zone.

use std::cell::Cell;
use std::thread::{Builder, JoinHandle};

use crate::client::{Transport, tcp_to};
use crate::process::{Folder, Process};

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
pub(crate) struct Zones {
    process: Process,
    _folder: Folder,
}

impl Zones {
    /// Starts a broker with these tables beside the listener `tcp.external`.
    pub(crate) fn start(tables: &str) -> Self {
        let folder = Folder::new();
        let config = folder.path().join("broker.toml");
        let off: String = ["tcp.internal", "ssl.external", "ws.external", "wss.external"]
            .map(|name| format!("[listener.{name}]\nenabled = false\n"))
            .concat();
        // Without any rule there is none that does not match.
        let rules = folder.path().join("acl.conf");
        std::fs::write(&rules, "{allow, {user, \"nobody\"}, pubsub, [\"none\"]}.\n").unwrap();
        let text = format!(
            "acl_file = {rules:?}\n[node]\ndata_dir = {:?}\n[listener.tcp.external]\nbind = \"127.0.0.1:0\"\n{off}\
             [management.listener.http]\nenabled = false\n\
             [store]\nenabled = false\n{tables}",
            folder.data(),
        );
        std::fs::write(&config, text).unwrap();
        Self { process: Process::start(&config), _folder: folder }
    }

    /// Runs a test on a thread whose clients come by this listener.
    pub(crate) fn spawn(&self, name: String, listener: &str, test: fn()) -> JoinHandle<()> {
        let address = |name: &str| self.process.address(name).to_owned();
        let broker = Broker { address: address(listener), elsewhere: address("mqtt:tcp:external") };
        let broker: &Broker = Box::leak(Box::new(broker));
        let run = move || {
            BROKER.set(Some(broker));
            test();
        };
        Builder::new().name(name).spawn(run).expect("a thread")
    }
}
