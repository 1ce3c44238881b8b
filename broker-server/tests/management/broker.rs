//! A broker process with its management API on a free port.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::http::Api;
pub(crate) use crate::process::{DEADLINE, Folder, eventually, wait_until};
use crate::process::{PROGRAM, Process};

/// `node.name` of all brokers here.
pub(crate) const NODE: &str = "emqx@127.0.0.1";

/// Keys of the configuration and their values as TOML.
pub(crate) type Keys<'a> = &'a [(&'a str, &'a str)];

/// Where a broker listens for MQTT.
pub(crate) struct Address {
    /// HOST:PORT.
    pub(crate) address: String,
}

thread_local! {
    static ADDRESS: Cell<Option<&'static Address>> = const { Cell::new(None) };
}

/// The broker that the clients of this thread connect to: the one started last.
pub(crate) fn broker() -> &'static Address {
    ADDRESS.get().expect("the test has started one")
}

pub(crate) const fn is_ours() -> bool {
    true
}

/// A broker process; it ends and its folder goes when it is dropped.
pub(crate) struct Broker {
    process: Process,
    folder: Folder,
}

impl Broker {
    /// A broker with one listener for MQTT and one for the API.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with these keys as well.
    pub(crate) fn start_with(keys: Keys<'_>) -> Self {
        Self::start_in(Folder::new(), keys)
    }

    /// The same on a folder that a broker may have left.
    pub(crate) fn start_in(folder: Folder, keys: Keys<'_>) -> Self {
        match Self::try_start(folder, keys) {
            Ok(broker) => broker,
            Err(log) => panic!("the broker does not start:\n{log}"),
        }
    }

    /// The same, or what it said before it ended.
    pub(crate) fn try_start(folder: Folder, keys: Keys<'_>) -> Result<Self, String> {
        let process =
            Process::try_start(&mut command(&folder, keys)).map_err(|refusal| refusal.log)?;
        if process.has_listener("mqtt:tcp:external") {
            let address = Address { address: process.address("mqtt:tcp:external").to_owned() };
            ADDRESS.set(Some(Box::leak(Box::new(address))));
        }
        Ok(Self { process, folder })
    }

    /// HOST:PORT of a listener.
    #[track_caller]
    pub(crate) fn address(&self, name: &str) -> &str {
        self.process.address(name)
    }

    /// The API as the application `admin` sees it.
    pub(crate) fn api(&self) -> Api {
        Api::new(self.address("http:management"), "admin", "public")
    }

    /// The API as another application sees it.
    pub(crate) fn api_as(&self, app_id: &str, secret: &str) -> Api {
        Api::new(self.address("http:management"), app_id, secret)
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("broker.toml")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// SIGHUP, and waits until it has logged this.
    #[track_caller]
    pub(crate) fn reload(&self, expected: &str) {
        self.process.reload(expected);
    }

    /// SIGKILL; returns its folder.
    pub(crate) fn kill(mut self) -> Folder {
        self.process.kill();
        self.folder
    }

    /// SIGTERM; returns its folder and all that it logged once it has ended.
    pub(crate) fn stop(mut self) -> (Folder, String) {
        self.process.stop();
        (self.folder, self.process.whole_log())
    }
}

fn command(folder: &Folder, keys: Keys<'_>) -> Command {
    let data = format!("{:?}", folder.data());
    let mut all = BTreeMap::from(DEFAULTS);
    all.insert("node.data_dir", &data);
    all.extend(keys.iter().copied());
    let text: String = all.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let config = folder.path().join("broker.toml");
    std::fs::write(&config, text).unwrap();
    // Whatever the umask of the tests: the usual one lets everybody read.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 022; exec \"$0\" \"$@\"", PROGRAM, "--config"]).arg(config);
    command
}

const DEFAULTS: [(&str, &str); 11] = [
    ("node.name", "\"emqx@127.0.0.1\""),
    ("listener.tcp.external.bind", "\"127.0.0.1:0\""),
    ("listener.tcp.internal.enabled", "false"),
    ("listener.ssl.external.enabled", "false"),
    ("listener.ws.external.enabled", "false"),
    ("listener.wss.external.enabled", "false"),
    ("management.listener.http.bind", "\"127.0.0.1:0\""),
    ("broker.max_sessions", "20_000"),
    ("store.segment_bytes", "\"4MB\""),
    ("store.spare_segments", "2"),
    ("store.min_free_bytes", "0"),
];
