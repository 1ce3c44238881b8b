//! Broker: the real server on free ports, and how to run the program and MQTT clients on it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

/// A broker process with a folder of its own.
pub(crate) struct Broker {
    process: Child,
    folder: PathBuf,
    /// Of the management API.
    pub(crate) api: String,
    /// HOST and PORT for MQTT over TCP.
    tcp: (String, String),
}

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Broker {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With more keys, in tables of their own: those of the usual ones go.
    pub(crate) fn start_with(keys: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let config = folder.join("broker.toml");
        fs::write(&config, config_in(&folder, keys)).unwrap();
        let mut process = Command::new(server_program())
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("broker is ready") {
            let len = log.read_line(&mut said).unwrap();
            assert!(len > 0, "the broker does not start:\n{said}");
        }
        // Else the pipe fills up, and the broker waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let address = |name: &str| {
            let line = said
                .lines()
                .find(|line| line.contains(name))
                .unwrap_or_else(|| panic!("{name}:\n{said}"));
            line.rsplit("address=").next().unwrap().to_owned()
        };
        let tcp = address("name=mqtt:tcp:external");
        let (host, port) = tcp.rsplit_once(':').unwrap();
        Self {
            process,
            api: format!("http://{}", address("name=http:management")),
            tcp: (host.to_owned(), port.to_owned()),
            folder,
        }
    }

    /// A path in the folder of the broker.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs `broker-cli` on these words.
    pub(crate) fn run(&self, words: &[&str]) -> Outcome {
        let mut command = program();
        let output = command.args(words).env("BROKER_API", &self.api).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome {
            status: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// The same, split at blanks; it has to succeed. Returns stdout.
    #[track_caller]
    pub(crate) fn cli(&self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = self.run(&words);
        assert_eq!(outcome.status, 0, "{line}: {outcome:?}");
        outcome.stdout
    }

    /// The same with `--json`.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        let stdout = self.cli(&format!("{line} --json"));
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{line}: {error}: {stdout}"))
    }

    /// It has to fail so.
    #[track_caller]
    pub(crate) fn fails(&self, line: &str, status: i32, said: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = self.run(&words);
        assert_eq!(outcome.status, status, "{line}: {outcome:?}");
        assert!(outcome.stderr.contains(said), "{line}: {outcome:?}");
    }

    /// Runs `broker-cli pub` or `sub` to its end.
    #[track_caller]
    pub(crate) fn mqtt(&self, line: &str) -> String {
        let output = self.mqtt_client(line).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, which the broker has to refuse.
    #[track_caller]
    pub(crate) fn mqtt_fails(&self, line: &str) {
        let output = self.mqtt_client(line).output().unwrap();
        assert!(!output.status.success(), "{line}: {output:?}");
    }

    /// The command that runs it.
    pub(crate) fn mqtt_client(&self, line: &str) -> Command {
        let (host, port) = &self.tcp;
        let mut words = line.split(' ');
        let mut command = program();
        command.arg(words.next().unwrap()).args(["-h", host, "-p", port]).args(words);
        command
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The program, without the variables that would steer it.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_broker-cli"));
    for name in ["API", "APP", "SECRET", "SECRET_FILE", "CA_FILE"] {
        command.env_remove(format!("BROKER_{name}"));
    }
    command.stdin(Stdio::null());
    command
}

fn config_in(folder: &Path, keys: &str) -> String {
    let off = |name: &str| format!("[listener.{name}]\nenabled = false\n");
    [
        format!("node.data_dir = \"{}\"\n", folder.join("data").display()),
        keys.to_owned(),
        if keys.contains("[store]") { "" } else { "[store]\nmin_free_bytes = 0\n" }.to_owned(),
        "[listener.tcp.external]\nbind = \"127.0.0.1:0\"\n".to_owned(),
        "[management.listener.http]\nbind = \"127.0.0.1:0\"\n".to_owned(),
        off("tcp.internal"),
        off("ssl.external"),
        off("ws.external"),
        off("wss.external"),
    ]
    .concat()
}

/// `BROKER_SERVER`, or the one beside this program, built if it is not there or older than its source: `cargo test -p
/// broker-cli` alone does not.
fn server_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("BROKER_SERVER") {
            return path.into();
        }
        let path = Path::new(env!("CARGO_BIN_EXE_broker-cli")).with_file_name("broker-server");
        let built =
            fs::metadata(&path).and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        if newest_source(workspace, 3) > built {
            let profile = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
            let profile = if profile == "debug" { "dev" } else { profile };
            let status = Command::new(env!("CARGO"))
                .args(["build", "--locked", "-p", "broker-server", "--profile", profile])
                .current_dir(workspace)
                .status();
            assert!(status.unwrap().success(), "broker-server does not build");
        }
        path
    })
}

/// When something below `src` of a crate was changed last; folders are looked into `depth` levels deep.
fn newest_source(folder: &Path, depth: u32) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name();
        if !entry.file_type().unwrap().is_dir() {
            if path.extension().is_some_and(|it| it == "rs") {
                newest = newest.max(entry.metadata().unwrap().modified().unwrap());
            }
            continue;
        }
        // Only `*/src`, and not this crate.
        let is_wanted = match depth {
            3 => name.to_string_lossy().starts_with("broker-") && name != "broker-cli",
            2 => name == "src",
            _ => true,
        };
        if is_wanted {
            newest = newest.max(newest_source(&path, depth.saturating_sub(1)));
        }
    }
    newest
}

/// Waits until `look` has something to say.
#[track_caller]
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it has not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `broker-cli sub`, a real MQTT client in a process of its own.
pub(crate) struct Subscriber {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Subscriber {
    /// Connects with these flags, which takes its time.
    pub(crate) fn start(broker: &Broker, flags: &str) -> Self {
        let mut command = broker.mqtt_client(&format!("sub {flags}"));
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    /// It reads nothing and acknowledges nothing, until it goes on.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success(), "{name}");
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `broker-cli` at a command that goes on.
pub(crate) struct Follower {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Follower {
    pub(crate) fn start(broker: &Broker, line: &str) -> Self {
        let mut command = program();
        command.args(line.split(' ')).env("BROKER_API", &broker.api).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sends SIGINT, after which it has to end well.
    #[track_caller]
    pub(crate) fn interrupt(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
