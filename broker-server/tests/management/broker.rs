//! A broker process with its management API on a free port.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::http::Api;

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

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

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "it does not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for what is to come about.
#[track_caller]
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    eventually(|| is_so().then_some(()));
}

/// A broker process; it ends and its folder goes when it is dropped.
pub(crate) struct Broker {
    child: Child,
    folder: Folder,
    /// HOST:PORT by name: `mqtt:tcp:external`, `http:management`.
    addresses: BTreeMap<String, String>,
    log: Arc<Mutex<String>>,
    /// Reads on, so that the broker never writes into a full pipe.
    reader: Option<std::thread::JoinHandle<()>>,
}

/// A folder that goes when it is dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

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
        let mut child = command(&folder.0, keys).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (mut log, mut addresses) = (String::new(), BTreeMap::new());
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                child.wait().unwrap();
                return Err(log);
            }
            log.push_str(&line);
            if line.contains("broker is ready") {
                break;
            }
            let field =
                |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
            if let (Some(name), Some(address)) = (field("name="), field("address=")) {
                addresses.insert(name.to_owned(), address.to_owned());
            }
        }
        let log = Arc::new(Mutex::new(log));
        let written = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                *written.lock() += &(line + "\n");
            }
        });
        if let Some(address) = addresses.get("mqtt:tcp:external") {
            let address = Address { address: String::clone(address) };
            ADDRESS.set(Some(Box::leak(Box::new(address))));
        }
        Ok(Self { child, folder, addresses, log, reader: Some(reader) })
    }

    /// HOST:PORT of a listener.
    #[track_caller]
    pub(crate) fn address(&self, name: &str) -> &str {
        self.addresses
            .get(name)
            .unwrap_or_else(|| panic!("no listener {name}: {:?}", self.addresses))
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
        self.folder.0.join("broker.toml")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// SIGHUP, and waits until it has logged this.
    pub(crate) fn reload(&self, expected: &str) {
        let before = self.log.lock().len();
        self.signal("HUP");
        let until = Instant::now() + DEADLINE;
        while !self.log.lock()[before..].contains(expected) {
            assert!(Instant::now() < until, "not logged: {expected}\n{}", self.log.lock());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// SIGKILL; returns its folder.
    pub(crate) fn kill(mut self) -> Folder {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.folder, Folder(PathBuf::new()))
    }

    /// SIGTERM; returns its folder and all that it logged once it has ended.
    pub(crate) fn stop(mut self) -> (Folder, String) {
        self.signal("TERM");
        eventually(|| self.child.try_wait().unwrap());
        let folder = std::mem::replace(&mut self.folder, Folder(PathBuf::new()));
        self.reader.take().unwrap().join().unwrap();
        let log = std::mem::take(&mut *self.log.lock());
        (folder, log)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("management-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn command(folder: &Path, keys: Keys<'_>) -> Command {
    let data = format!("{:?}", folder.join("data"));
    let mut all = BTreeMap::from(DEFAULTS);
    all.insert("node.data_dir", &data);
    all.extend(keys.iter().copied());
    let text: String = all.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let config = folder.join("broker.toml");
    std::fs::write(&config, text).unwrap();
    // Whatever the umask of the tests: the usual one lets everybody read.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 022; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_broker-server")]);
    command.arg("--config").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
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
