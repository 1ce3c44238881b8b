//! A start with 100,000 sessions whose clients are away: time, processor time and memory, by where it begins.
//!
//! Stores are made in a temporary folder, and each is opened in a process of its own. Allocations are counted,
//! which costs a few per cent of the time; resident memory includes what the start itself has used and freed.
//! Run with `cargo bench -p broker-benches --bench restart`. To look at one start with a profiler:
//! `RESTART_KEEP=1` keeps the stores and prints the commands.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::alloc::System;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use broker_benches::filters::{filter, topic};
use broker_benches::{NOW, World, is_smoke};
use broker_codec::QoS;
use broker_core::Broker;
use broker_core::restore::Restored;
use broker_core::store::{Condition, Level, State, Store};
use broker_store::{EmbeddedStore, Opened, StoreOptions};
use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SUBSCRIPTIONS: u64 = 5;
const PAYLOAD: &[u8] = &[b'x'; 256];

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if let [task, dir, sessions] = &args[..]
        && let Ok(sessions) = sessions.parse()
    {
        match task.as_str() {
            "fill" => fill(Path::new(dir), sessions, 1),
            "fill-empty" => fill(Path::new(dir), sessions, 0),
            "snapshot" => snapshot(Path::new(dir)),
            _ => measure(Path::new(dir), sessions, task),
        }
        return;
    }
    let sessions: u64 = if is_smoke() { 1_000 } else { 100_000 };
    let folder = Folder::new();
    println!(
        "{sessions} sessions of {SUBSCRIPTIONS} subscriptions{:<11} {:>8} {:>8} {:>8} {:>11} {:>11}",
        "", "messages", "wall", "CPU", "heap each", "RSS each"
    );
    for (kind, queue) in [("fill", "five messages for each"), ("fill-empty", "empty queues")] {
        let dir = folder.0.join(kind);
        run(kind, &dir, sessions);
        run(&format!("{queue}, from the log"), &dir, sessions);
        run("snapshot", &dir, sessions);
        run(&format!("{queue}, from a snapshot"), &dir, sessions);
    }
}

/// Does one task in a process of its own.
fn run(task: &str, dir: &Path, sessions: u64) {
    let program = std::env::current_exe().expect("a program has a file");
    if std::env::var_os("RESTART_KEEP").is_some() {
        println!("{} '{task}' {} {sessions}", program.display(), dir.display());
    }
    let mut command = Command::new(program);
    command.arg(task).arg(dir).arg(sessions.to_string()).stdin(Stdio::null());
    assert!(command.status().expect("it can be started").success(), "{task} has failed");
}

fn open(dir: &Path) -> (Arc<EmbeddedStore>, Arc<Broker>, Opened, Restored) {
    let store = EmbeddedStore::open(StoreOptions::new(dir), Level::Memory).expect("it opens");
    let broker = Broker::builder().store(store.clone()).build().expect("the settings are valid");
    let (opened, restored) = store.restore(&broker, NOW).expect("it is restored");
    (store, broker, opened, restored)
}

/// Makes a store without a snapshot: sessions, and as many messages for each subscription.
fn fill(dir: &Path, sessions: u64, messages: u64) {
    let (store, broker, ..) = open(dir);
    let mut world = World::of(broker.clone());
    for session in 0..sessions {
        let mut client = world.connect(&client_id(session));
        let filters: Vec<_> = numbers(session).map(filter).collect();
        world.subscribe(&mut client, filters.iter().map(String::as_str), QoS::AtLeastOnce);
        world.close(client);
    }
    let mut publisher = broker.local_client("publisher");
    // As they come in: the messages of one session do not stand side by side.
    for k in 0..SUBSCRIPTIONS * messages {
        for session in 0..sessions {
            let topic = topic(session * SUBSCRIPTIONS + k % SUBSCRIPTIONS);
            let receivers = publisher.publish(&topic, PAYLOAD, QoS::AtLeastOnce, NOW);
            assert_eq!(receivers.ok(), Some(1));
        }
        while store.condition() != Condition::Ready {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    store.close().expect("all of it is safe");
}

/// Lets a stop in order write a snapshot.
fn snapshot(dir: &Path) {
    let (store, broker, ..) = open(dir);
    let state: Arc<dyn State> = broker;
    let weak: Weak<dyn State> = Arc::downgrade(&state);
    store.start(weak, Box::new(|_| {})).expect("the housekeeping starts");
    store.close().expect("all of it is safe");
}

/// Opens a store, prints what that took, and looks at what is there.
fn measure(dir: &Path, sessions: u64, name: &str) {
    let rss_before = resident_bytes();
    let region = Region::new(GLOBAL);
    let (began, cpu_began) = (Instant::now(), cpu());
    let (store, broker, opened, restored) = open(dir);
    let (wall, cpu) = (began.elapsed(), cpu().saturating_sub(cpu_began));
    let change = region.change();
    let heap = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    let rss = resident_bytes().saturating_sub(rss_before);
    println!(
        "{name:<50} {:>8} {:>6}ms {:>6}ms {:>11.0} {:>11.0}",
        restored.queued,
        wall.as_millis(),
        cpu.as_millis(),
        heap as f64 / sessions as f64,
        rss as f64 / sessions as f64,
    );
    assert_eq!(opened.snapshot.is_some(), name.ends_with("a snapshot"));
    assert_eq!((restored.sessions as u64, restored.lost), (sessions, 0));
    assert_eq!(restored.subscriptions as u64, sessions * SUBSCRIPTIONS);
    // What is restored is at work.
    let session = sessions / 2;
    let queued = |broker: &Broker| broker.session(&client_id(session)).map(|view| view.queued);
    let before = queued(&broker).expect("the session is there");
    let mut publisher = broker.local_client("publisher");
    for n in numbers(session) {
        let receivers = publisher.publish(&topic(n), PAYLOAD, QoS::AtLeastOnce, NOW);
        assert_eq!(receivers.ok(), Some(1));
    }
    assert_eq!(queued(&broker), Some(before + SUBSCRIPTIONS as usize));
    store.close().expect("all of it is safe");
}

fn client_id(session: u64) -> String {
    format!("client-{session}")
}

/// Numbers of a session's subscriptions.
fn numbers(session: u64) -> impl Iterator<Item = u64> {
    session * SUBSCRIPTIONS..(session + 1) * SUBSCRIPTIONS
}

/// Processor time of all threads of this process.
fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// A temporary folder.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("bench-restart-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder can be made");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::env::var_os("RESTART_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
