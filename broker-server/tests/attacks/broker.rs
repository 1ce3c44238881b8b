//! A broker process for one test, and the bystanders whose messages must go on.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::client::{self, unique_topic, v5};
use crate::wire::publish;

/// How late a bystander's message may be, in a debug build on a busy machine.
const LATENCY_MAX: Duration = Duration::from_secs(2);
/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const MB: u64 = 1 << 20;

/// Where the broker of this test listens.
#[derive(Debug)]
pub(crate) struct Broker {
    /// HOST:PORT.
    pub(crate) address: String,
}

thread_local! {
    static BROKER: Cell<Option<&'static Broker>> = const { Cell::new(None) };
}

/// The broker that the clients of this thread connect to.
pub(crate) fn broker() -> &'static Broker {
    BROKER.get().expect("the test has started one")
}

pub(crate) fn is_ours() -> bool {
    true
}

/// A broker process with a data folder of its own; both go when it is dropped.
pub(crate) struct Process {
    child: Child,
    dir: PathBuf,
    /// The rest of the log is taken off the pipe, so that the broker never waits for us.
    log: Arc<Mutex<String>>,
    listeners: Vec<(String, String)>,
    broker: &'static Broker,
    /// Held for the whole test.
    _turn: MutexGuard<'static, ()>,
}

/// Starts a broker. `tables` are keys that are in no table, then tables of its configuration but for `listener`; `listener`
/// are keys of the tcp listener.
pub(crate) fn start(tables: &str, listener: &str) -> Process {
    Process::start("", tables, listener, None)
}

/// The same under this limit of open files.
pub(crate) fn start_with_files(n_files: u32, tables: &str, listener: &str) -> Process {
    Process::start("", tables, listener, Some(n_files))
}

impl Process {
    /// The same with keys of `[node]`.
    pub(crate) fn with_node_keys(node: &str, tables: &str, listener: &str) -> Self {
        Self::start(node, tables, listener, None)
    }

    fn start(node: &str, tables: &str, listener: &str, n_files: Option<u32>) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let turn = TURN.lock();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("attack-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the temporary folder is writable");
        let off: String = ["tcp.internal", "ssl.external", "ws.external", "wss.external"]
            .iter()
            .filter(|name| !tables.contains(&format!("[listener.{name}]")))
            .map(|name| format!("[listener.{name}]\nenabled = false\n"))
            .collect();
        let management = if tables.contains("[management.listener.http]") {
            ""
        } else {
            "[management.listener.http]\nenabled = false\n"
        };
        let config = dir.join("broker.toml");
        let (root, tables) = tables.split_at(tables.find('[').unwrap_or(tables.len()));
        let text = format!(
            "{root}[node]\ndata_dir = {:?}\n{node}\n{tables}\n\
             [listener.tcp.external]\nbind = \"127.0.0.1:0\"\n{listener}\n{off}\n{management}",
            dir.join("data")
        );
        std::fs::write(&config, text).unwrap();
        let program = env!("CARGO_BIN_EXE_broker-server");
        let mut command = match n_files {
            None => Command::new(program),
            Some(n_files) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\""]);
                shell.arg(n_files.to_string()).arg(program);
                shell
            }
        };
        let child = command.arg("--config").arg(&config);
        let child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("the broker starts");
        let log = BufReader::new(child.stderr.take().unwrap());
        let (listeners, log) = read_addresses(log);
        let address = address_of(&listeners, "mqtt:tcp:external").to_owned();
        let broker = Box::leak(Box::new(Broker { address }));
        BROKER.set(Some(broker));
        Self { child, dir, log, listeners, broker, _turn: turn }
    }

    /// HOST:PORT of a listener, `mqtt:ws:external`.
    pub(crate) fn address(&self, listener: &str) -> &str {
        address_of(&self.listeners, listener)
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it has logged since it was ready.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// Runs `work` on another thread, with clients that connect to this broker.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let broker = self.broker;
        std::thread::spawn(move || {
            BROKER.set(Some(broker));
            work()
        })
    }

    /// Two clients that exchange messages of QoS 1 until they are asked how it went.
    pub(crate) fn bystanders(&self) -> Bystanders {
        let stop = Arc::new(AtomicBool::new(false));
        let topic = unique_topic();
        let mut subscriber = v5().open();
        subscriber.subscribe(&topic, 1);
        let mut publisher = v5().open();
        let stopped = Arc::clone(&stop);
        let thread = self.spawn(move || {
            let (mut n, mut slowest) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) || n < 10 {
                n += 1;
                let began = Instant::now();
                let text = format!("bystander {n}");
                publisher.publish(publish(&topic, 1, &text));
                assert_eq!(subscriber.take().text(), text);
                slowest = slowest.max(began.elapsed());
            }
            slowest
        });
        Bystanders { stop, thread }
    }

    /// Most memory it ever had resident.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Memory it has resident now.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Address space it has for data, used or not: heap, and stacks of threads.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.status("VmData:")
    }

    /// Lets it have no more of that from now on: what it asks for beyond is refused by the system, which ends it.
    pub(crate) fn limit_data(&self, bytes: u64) {
        let pid = self.child.id().to_string();
        let limit = format!("--data={bytes}");
        let limited = Command::new("prlimit").args([&limit, "--pid", &pid]).status().unwrap();
        assert!(limited.success());
    }

    /// True if a line of its log, after those of its start, has this in it.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        self.log.lock().contains(text)
    }

    fn status(&self, name: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it is running");
        let kb: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kb * 1024
    }

    /// CPU time it has used.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // The kernel counts in hundredths for whoever asks here.
        Duration::from_millis(ticks * 10)
    }

    /// Files it has open.
    pub(crate) fn n_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// Asserts that the broker has never had more than this above what it had at `before`.
    #[track_caller]
    pub(crate) fn assert_grown_less(&self, before: u64, bytes: u64) {
        let grown = self.peak_bytes().saturating_sub(before);
        assert!(grown < bytes, "{} MB more than before, {} allowed", grown / MB, bytes / MB);
    }

    /// Sends SIGHUP, and waits until the log has said this once more.
    pub(crate) fn hang_up(&self, answer: &str) {
        let said = || self.log.lock().matches(answer).count();
        let before = said();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        eventually(|| (said() > before).then_some(()));
    }

    /// Sends SIGTERM. True if it then ends with success before the deadline.
    pub(crate) fn terminate(&mut self) -> bool {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        eventually(|| self.child.try_wait().unwrap()).success()
    }

    /// A new client can connect and use the broker.
    #[track_caller]
    pub(crate) fn assert_serves(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the broker ended: {ended:?}");
        let topic = unique_topic();
        let mut client = v5().open();
        client.subscribe(&topic, 1);
        client.publish(publish(&topic, 1, "still here"));
        assert_eq!(client.take().text(), "still here");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log.lock();
            let from = log.char_indices().rev().nth(4_000).map_or(0, |(at, _)| at);
            eprintln!("end of the broker's log:\n{}", &log[from..]);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Two clients at work.
pub(crate) struct Bystanders {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Bystanders {
    /// Asserts that all their messages came, and in time.
    #[track_caller]
    pub(crate) fn assert_fine(self) {
        self.stop.store(true, Ordering::Relaxed);
        let slowest = self.thread.join().expect("the bystanders' messages go on");
        assert!(slowest < LATENCY_MAX, "a bystander's message took {slowest:?}");
    }
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
        std::thread::yield_now();
    }
}

/// The peer's end of the connection, or `None` if nothing but silence comes within `patience`.
pub(crate) fn end_of(stream: &mut TcpStream, patience: Duration) -> Option<()> {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut scratch = [0; 4096];
    loop {
        match stream.read(&mut scratch) {
            Ok(0) => return Some(()),
            Ok(_) => {}
            Err(e) if is_silence(&e) => return None,
            Err(_) => return Some(()),
        }
    }
}

pub(crate) fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// A bare connection to the broker of this thread.
pub(crate) fn socket() -> TcpStream {
    client::tcp_to(&broker().address)
}

fn address_of<'a>(listeners: &'a [(String, String)], name: &str) -> &'a str {
    let found = listeners.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("no listener {name} in {listeners:?}")).1
}

/// The addresses that the readiness lines name, and the log to come.
fn read_addresses(mut log: BufReader<ChildStderr>) -> (Vec<(String, String)>, Arc<Mutex<String>>) {
    let mut listeners = Vec::new();
    let mut text = String::new();
    loop {
        let mut line = String::new();
        let n = log.read_line(&mut line).unwrap();
        assert!(n > 0, "the broker did not start:\n{text}");
        text.push_str(&line);
        let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
        if line.contains("broker is ready") {
            break;
        }
        if let (true, Some(name), Some(address)) =
            (line.contains("listening"), field("name="), field("address="))
        {
            listeners.push((name.to_owned(), address.to_owned()));
        }
    }
    let text = Arc::new(Mutex::new(text));
    let kept = Arc::clone(&text);
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let mut text = kept.lock();
            text.push_str(&line);
            text.push('\n');
        }
    });
    (listeners, text)
}
