//! A broker process that can be killed and started again on its data folder.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::client::{unique_topic, v5};
use crate::wire::publish;

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

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

/// A folder that goes when it is dropped, unless the test fails.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("durability-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the temporary folder is writable");
        Self(dir)
    }

    /// `node.data_dir` of the brokers in it.
    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for a look: {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A broker process, and how to start it again.
pub(crate) struct Broker {
    data_dir: PathBuf,
    config: PathBuf,
    process: Process,
    /// What earlier starts have logged.
    earlier_log: String,
    folder: Option<Folder>,
}

/// A broker that did not start.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
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
        let process = Process::start(&config)?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            config,
            process,
            earlier_log: String::new(),
            folder: None,
        })
    }

    /// HOST:PORT of this start.
    pub(crate) fn address(&self) -> &'static str {
        &self.process.address.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let ended = self.process.child.try_wait().unwrap();
        assert!(ended.is_none(), "it had ended before: {ended:?}\n{}", self.log());
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        let status = eventually(|| self.process.child.try_wait().unwrap());
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        eventually(|| self.process.child.try_wait().unwrap())
    }

    /// Starts it again on the same folder and another port, from this thread on.
    pub(crate) fn restart(&mut self) {
        let before = self.log();
        match Process::start(&self.config) {
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
        self.process.log.lock().clone()
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
        let ended = self.process.child.try_wait().unwrap();
        assert!(ended.is_none(), "the broker ended: {ended:?}\n{}", self.log());
        self.settle();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = format!("{}-- started again\n{}", self.earlier_log, self.log());
            let from = log.char_indices().rev().nth(8_000).map_or(0, |(at, _)| at);
            eprintln!("end of the broker's log:\n{}", &log[from..]);
        }
    }
}

/// One start.
struct Process {
    child: Child,
    address: &'static Address,
    /// The rest of the log is taken off the pipe, so that the broker never waits for us.
    log: Arc<Mutex<String>>,
}

impl Process {
    fn start(config: &Path) -> Result<Self, Refusal> {
        // A test may limit its files: it is to be told by errors, not by a signal.
        let child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", PROGRAM, "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (mut log, mut address) = (String::new(), None);
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).unwrap() == 0 {
                return Err(Refusal { status: child.wait().unwrap(), log });
            }
            log.push_str(&line);
            if line.contains("broker is ready") {
                break;
            }
            let field =
                |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
            if line.contains("listening")
                && let Some(found) = field("address=")
            {
                address = Some(found.to_owned());
            }
        }
        let address = address.expect("it has one listener");
        let address: &'static Address = Box::leak(Box::new(Address { address }));
        ADDRESS.set(Some(address));
        let log = Arc::new(Mutex::new(log));
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut text = kept.lock();
                text.push_str(&line);
                text.push('\n');
            }
        });
        Ok(Self { child, address, log })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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

/// Asks again until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_broker-server");

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
