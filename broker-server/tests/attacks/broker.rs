//! A broker process for one test, and the bystanders whose messages must go on.

use std::cell::Cell;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::client::{self, unique_topic, v5};
pub(crate) use crate::process::eventually;
use crate::process::{Folder, PROGRAM, Process};
use crate::wire::publish;

/// How late a bystander's message may be, in a debug build on a busy machine.
const LATENCY_MAX: Duration = Duration::from_secs(2);
/// How long an attack may go on, or its answer take.
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
pub(crate) struct Target {
    process: Process,
    folder: Folder,
    broker: &'static Broker,
    /// Held for the whole test.
    _turn: MutexGuard<'static, ()>,
}

/// Starts a broker. `tables` are keys that are in no table, then tables of its configuration but for `listener`; `listener`
/// are keys of the tcp listener.
pub(crate) fn start(tables: &str, listener: &str) -> Target {
    Target::start("", tables, listener, None)
}

/// The same under this limit of open files.
pub(crate) fn start_with_files(n_files: u32, tables: &str, listener: &str) -> Target {
    Target::start("", tables, listener, Some(n_files))
}

impl Target {
    /// The same with keys of `[node]`.
    pub(crate) fn with_node_keys(node: &str, tables: &str, listener: &str) -> Self {
        Self::start(node, tables, listener, None)
    }

    fn start(node: &str, tables: &str, listener: &str, n_files: Option<u32>) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock();
        let folder = Folder::new();
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
        let config = folder.path().join("broker.toml");
        let (root, tables) = tables.split_at(tables.find('[').unwrap_or(tables.len()));
        let text = format!(
            "{root}[node]\ndata_dir = {:?}\n{node}\n{tables}\n\
             [listener.tcp.external]\nbind = \"127.0.0.1:0\"\n{listener}\n{off}\n{management}",
            folder.data()
        );
        std::fs::write(&config, text).unwrap();
        let process = match n_files {
            None => Process::start(&config),
            Some(n_files) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\""]).arg(n_files.to_string());
                shell.args([PROGRAM, "--config"]).arg(&config);
                Process::try_start(&mut shell).expect("the broker starts")
            }
        };
        let address = process.address("mqtt:tcp:external").to_owned();
        let broker = Box::leak(Box::new(Broker { address }));
        BROKER.set(Some(broker));
        Self { process, folder, broker, _turn: turn }
    }

    /// HOST:PORT of a listener, `mqtt:ws:external`.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> &str {
        self.process.address(listener)
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// True if it has logged this by now.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        self.process.has_logged(text)
    }

    /// Sends SIGHUP, and waits until it has logged this once more.
    #[track_caller]
    pub(crate) fn reload(&self, answer: &str) {
        self.process.reload(answer);
    }

    /// Sends SIGTERM. True if it then ends with success.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> bool {
        self.process.stop().success()
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
        let pid = self.process.pid().to_string();
        let limit = format!("--data={bytes}");
        let limited = Command::new("prlimit").args([&limit, "--pid", &pid]).status().unwrap();
        assert!(limited.success());
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
        std::fs::read_dir(format!("/proc/{}/fd", self.process.pid())).unwrap().count()
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.process.pid())).unwrap()
    }

    /// Asserts that the broker has never had more than this above what it had at `before`.
    #[track_caller]
    pub(crate) fn assert_grown_less(&self, before: u64, bytes: u64) {
        let grown = self.peak_bytes().saturating_sub(before);
        assert!(grown < bytes, "{} MB more than before, {} allowed", grown / MB, bytes / MB);
    }

    /// A new client can connect and use the broker.
    #[track_caller]
    pub(crate) fn assert_serves(&mut self) {
        let ended = self.process.ended();
        assert!(ended.is_none(), "the broker ended: {ended:?}");
        let topic = unique_topic();
        let mut client = v5().open();
        client.subscribe(&topic, 1);
        client.publish(publish(&topic, 1, "still here"));
        assert_eq!(client.take().text(), "still here");
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
