//! A broker process that can be killed and started again on its data folder.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::client::{unique_topic, v5};
pub(crate) use crate::process::{DEADLINE, Folder, eventually};
use crate::process::{PROGRAM, Process, Refusal};
use crate::wire::publish;

/// Where the broker of this test listens.
#[derive(Debug)]
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

/// Has the clients of this thread connect to that one.
pub(crate) fn use_broker(address: &'static Address) {
    ADDRESS.set(Some(address));
}

pub(crate) fn is_ours() -> bool {
    true
}

/// Keys of the configuration and their values as TOML.
pub(crate) type Keys<'a> = &'a [(&'a str, &'a str)];

/// A broker process, and how to start it again.
pub(crate) struct Broker {
    data_dir: PathBuf,
    config: PathBuf,
    process: Process,
    /// What earlier starts have logged.
    earlier_log: String,
    folder: Option<Folder>,
}

impl Broker {
    /// A broker with a data folder of its own.
    pub(crate) fn new(keys: Keys<'_>) -> Self {
        let folder = Folder::new();
        let mut broker = Self::start(&folder.data(), keys);
        broker.folder = Some(folder);
        broker
    }

    /// A broker on this data folder.
    pub(crate) fn start(data_dir: &Path, keys: Keys<'_>) -> Self {
        match Self::try_start(data_dir, keys) {
            Ok(broker) => broker,
            Err(Refusal { status, log }) => panic!("the broker does not start, {status}:\n{log}"),
        }
    }

    /// The same, or why it does not start.
    pub(crate) fn try_start(data_dir: &Path, keys: Keys<'_>) -> Result<Self, Refusal> {
        let config = write_config(data_dir, keys);
        let process = launch(&config)?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            config,
            process,
            earlier_log: String::new(),
            folder: None,
        })
    }

    /// HOST:PORT of this start.
    pub(crate) fn address(&self) -> &str {
        self.process.address("mqtt:tcp:external")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// SIGKILL.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        let ended = self.process.ended();
        assert!(ended.is_none(), "it had ended before: {ended:?}");
        self.process.kill();
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let status = self.process.stop();
        assert!(status.success(), "{status}");
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Starts it again on the same folder and another port, from this thread on.
    pub(crate) fn restart(&mut self) {
        let before = self.log();
        match launch(&self.config) {
            Ok(process) => {
                self.process = process;
                self.earlier_log.push_str(&before);
            }
            Err(Refusal { status, log }) => {
                panic!("the broker does not start again, {status}:\n{log}")
            }
        }
    }

    /// The same with other keys.
    pub(crate) fn restart_with(&mut self, keys: Keys<'_>) {
        write_config(&self.data_dir, keys);
        self.restart();
    }

    /// SIGKILL, and a start.
    pub(crate) fn crash(&mut self) {
        self.kill();
        self.restart();
    }

    /// What this start has logged so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Milliseconds from start to readiness, as the broker says.
    pub(crate) fn start_ms(&self) -> u64 {
        let log = self.log();
        let ready = log.lines().find(|line| line.contains("broker is ready")).unwrap();
        let field = ready.split_whitespace().find_map(|word| word.strip_prefix("time_ms="));
        field.unwrap().parse().unwrap()
    }

    /// Runs the program on this broker's configuration with another argument, to its end.
    pub(crate) fn run(&self, argument: &str) -> (ExitStatus, String) {
        let output = Command::new(PROGRAM)
            .arg(argument)
            .arg("--config")
            .arg(&self.config)
            .output()
            .expect("the program starts");
        let text = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&text).into_owned())
    }

    /// Returns once all that was recorded before is safe.
    #[track_caller]
    pub(crate) fn settle(&self) {
        settle();
    }

    /// A new client can connect and use the broker.
    #[track_caller]
    pub(crate) fn assert_serves(&mut self) {
        let ended = self.process.ended();
        assert!(ended.is_none(), "the broker ended: {ended:?}");
        self.settle();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of earlier starts:\n{}", self.earlier_log);
        }
    }
}

/// One start; from now on the clients of this thread connect to it.
fn launch(config: &Path) -> Result<Process, Refusal> {
    // A test may limit its files: it is to be told by errors, not by a signal.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", PROGRAM, "--config"]).arg(config);
    let process = Process::try_start(&mut command)?;
    let address = process.address("mqtt:tcp:external").to_owned();
    ADDRESS.set(Some(Box::leak(Box::new(Address { address }))));
    Ok(process)
}

/// Writes the configuration beside the data folder.
fn write_config(data_dir: &Path, keys: Keys<'_>) -> PathBuf {
    let data = format!("{data_dir:?}");
    let mut all = BTreeMap::from(DEFAULTS);
    all.insert("node.data_dir", &data);
    all.extend(keys.iter().copied());
    let text: String = all.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let path = data_dir.with_extension("toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Returns once all that the broker of this thread had recorded is safe.
#[track_caller]
pub(crate) fn settle() {
    let topic = unique_topic();
    // Nobody's message waits for nothing: a durable session has to want it.
    let mut client = v5().expiry(60).open();
    client.subscribe(&topic, 1);
    assert_eq!(client.publish(publish(&topic, 1, "settled")), 0);
    client.take();
}

/// One listener, and a log of small files, so that every test makes some of them.
const DEFAULTS: [(&str, &str); 12] = [
    ("listener.tcp.external.bind", "\"127.0.0.1:0\""),
    ("listener.tcp.internal.enabled", "false"),
    ("listener.ssl.external.enabled", "false"),
    ("listener.ws.external.enabled", "false"),
    ("listener.wss.external.enabled", "false"),
    ("management.listener.http.enabled", "false"),
    ("broker.max_sessions", "20_000"),
    ("mqtt.max_packet_size", "\"200KB\""),
    ("store.segment_bytes", "\"1MB\""),
    ("store.spare_segments", "2"),
    ("store.snapshot_log_bytes", "\"2MB\""),
    ("store.min_free_bytes", "0"),
];
