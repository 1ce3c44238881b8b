//! A broker process: its folder, where it listens, what it logs and how it ends. All suites beside this have theirs of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_broker-server");

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A folder that goes when it is dropped, unless the test fails.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// An empty one, whose name begins with that of the suite.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{number}", env!("CARGO_CRATE_NAME"), std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
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

/// A broker that runs; it is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// HOST:PORT by name: `mqtt:tcp:external`, `http:management`.
    addresses: BTreeMap<String, String>,
    log: Arc<Mutex<String>>,
    /// Takes the log off the pipe, so that the broker never waits for us.
    reader: Option<JoinHandle<()>>,
}

/// A broker that did not start.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

impl Process {
    /// Starts one with this configuration file, and returns when it is ready.
    #[track_caller]
    pub(crate) fn start(config: &Path) -> Self {
        match Self::try_start(Command::new(PROGRAM).arg("--config").arg(config)) {
            Ok(process) => process,
            Err(Refusal { status, log }) => panic!("the broker does not start, {status}:\n{log}"),
        }
    }

    /// The same by a command that becomes the program, or why it does not start.
    pub(crate) fn try_start(command: &mut Command) -> Result<Self, Refusal> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
        let (mut log, mut addresses) = (String::new(), BTreeMap::new());
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
            if let (Some(name), Some(address)) = (field("name="), field("address=")) {
                addresses.insert(name.to_owned(), address.to_owned());
            }
        }
        let log = Arc::new(Mutex::new(log));
        let kept = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                *kept.lock() += &(line + "\n");
            }
        });
        Ok(Self { child, addresses, log, reader: Some(reader) })
    }

    /// HOST:PORT of a listener, `mqtt:ws:external`.
    #[track_caller]
    pub(crate) fn address(&self, name: &str) -> &str {
        let found = self.addresses.get(name);
        found.unwrap_or_else(|| panic!("no listener {name}: {:?}", self.addresses))
    }

    /// True if it has opened a listener of that name at its start.
    pub(crate) fn has_listener(&self, name: &str) -> bool {
        self.addresses.contains_key(name)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// True if it has logged this by now.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        self.log.lock().contains(text)
    }

    /// Sends it a signal, `HUP`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success(), "SIG{name}");
    }

    /// Sends SIGHUP, and waits until it has logged this once more.
    #[track_caller]
    pub(crate) fn reload(&self, answer: &str) {
        let said = || self.log.lock().matches(answer).count();
        let before = said();
        self.signal("HUP");
        wait_until(|| said() > before);
    }

    /// How it has ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually(|| self.ended())
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// All that it logged, once it has ended.
    pub(crate) fn whole_log(mut self) -> String {
        self.wait();
        self.reader.take().expect("it has not been asked before").join().unwrap();
        self.log()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log.lock();
            let from = log.char_indices().rev().nth(8_000).map_or(0, |(at, _)| at);
            eprintln!("end of the broker's log:\n{}", &log[from..]);
        }
    }
}

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "it does not come about within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for what is to come about.
#[track_caller]
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    eventually(|| is_so().then_some(()));
}
