//! RemoteSink: the one way to a remote side: a bounded buffer in memory and on disk, and a thread that delivers.
//!
//! Whoever pushes never waits. Order is kept, and each item is delivered at least once unless it is dropped: then it
//! is counted with the reason, and a [`SinkListener`] is told.

mod buffer;
mod config;
mod counters;
mod folder;
mod item;
mod segment;
mod spool;
mod worker;

pub use buffer::{Held, PushError};
pub use config::SinkConfig;
pub use counters::DropReason;
pub use item::{Item, Owner};
pub use worker::{Remote, Report, Trouble};

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use broker_core::Now;
use bytes::Bytes;
use parking_lot::Mutex;

use buffer::Buffer;
use counters::Told;
use folder::{Folder, RealFolder};
use worker::{Fate, Next, Worker};

use crate::action::ActionCounters;

/// Where the threads of a sink read the time.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Who hears what happens to a sink. Called by the threads of the sink, never by who pushes.
pub trait SinkListener: Send + Sync {
    /// So many items were dropped since the last call with this reason; at most a call a second.
    fn handle_dropped(&self, sink: &str, reason: DropReason, n: u64);
}

/// What a sink has done and is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkStatus {
    /// Items pushed since it was opened.
    pub pushed: u64,
    /// Items that the remote side took.
    pub delivered: u64,
    /// Attempts that failed and were or will be repeated.
    pub retried: u64,
    /// Items dropped, by reason.
    pub dropped: Vec<(DropReason, u64)>,
    /// What it holds.
    pub held: Held,
    /// Whether the last attempt to deliver succeeded; `None` before the first.
    pub is_up: Option<bool>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

impl SinkStatus {
    /// Adds what another one has done and holds.
    pub(crate) fn add(&mut self, other: &Self) {
        self.pushed += other.pushed;
        self.delivered += other.delivered;
        self.retried += other.retried;
        if self.dropped.is_empty() {
            self.dropped = DropReason::ALL.map(|reason| (reason, 0)).into();
        }
        self.dropped.iter_mut().zip(&other.dropped).for_each(|((_, n), (_, more))| *n += more);
        self.held.memory_items += other.held.memory_items;
        self.held.memory_bytes += other.held.memory_bytes;
        self.held.disk_items += other.held.disk_items;
        self.held.disk_bytes += other.held.disk_bytes;
    }
}

/// A bounded buffer in front of something remote, with two threads: one delivers, one writes to disk.
pub struct RemoteSink {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    name: Arc<str>,
    buffer: Arc<Buffer>,
    fate: Arc<Fate>,
    clock: Clock,
    listener: Arc<dyn SinkListener>,
    told: Mutex<Telling>,
}

#[derive(Default)]
struct Telling {
    told: Told,
    at_ms: Option<u64>,
}

impl RemoteSink {
    /// Opens a sink; what an earlier one has left in the folder is delivered first.
    ///
    /// `name` is for logs, the listener and the names of threads.
    ///
    /// # Errors
    /// The folder cannot be made, or a thread.
    pub fn open(
        name: &str,
        config: SinkConfig,
        remote: Box<dyn Remote>,
        clock: Clock,
        listener: Arc<dyn SinkListener>,
    ) -> io::Result<Self> {
        let sink = Self::prepare(name, config, remote, clock, listener)?;
        sink.begin(None);
        Ok(sink)
    }

    /// The same, but nothing is delivered, and nothing in the folder touched, before [`begin`](Self::begin).
    ///
    /// # Errors
    /// The folder cannot be made, or a thread.
    pub fn prepare(
        name: &str,
        config: SinkConfig,
        remote: Box<dyn Remote>,
        clock: Clock,
        listener: Arc<dyn SinkListener>,
    ) -> io::Result<Self> {
        let folder = match &config.folder {
            Some(path) => Some(Box::new(RealFolder::open(path)?) as Box<dyn Folder>),
            None => None,
        };
        let name: Arc<str> = name.into();
        let buffer = Arc::new(Buffer::new(config, folder));
        let fate = Arc::new(Fate::default());
        let worker = Worker::new(Arc::clone(&name), Arc::clone(&buffer), Arc::clone(&fate), remote);
        let told = Mutex::default();
        let shared = Arc::new(Shared { name, buffer, fate, clock, listener, told });
        let sink = Self { shared: Arc::clone(&shared), threads: Mutex::default() };
        sink.start("deliver", move || run_worker(&shared, worker))?;
        let shared = Arc::clone(&sink.shared);
        sink.start("spill", move || run_spill(&shared))?;
        Ok(sink)
    }

    /// Begins to deliver, in the place of `former`, which is closed: what that one holds is delivered first, and what
    /// somebody still pushes to it comes here.
    pub fn begin(&self, former: Option<&Self>) {
        if let Some(former) = former {
            // Two at once would write to the same files.
            if let Err(error) = former.shared.buffer.hand_over(&self.shared.buffer) {
                let sink = &self.shared.name;
                log::warn!("sink cannot write to its folder at a change: {error} sink={sink}");
            }
            former.end_close(Instant::now() + CLOSE_WAIT);
        }
        self.shared.buffer.begin();
    }

    fn start(&self, what: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let name = format!("{what} {}", self.shared.name).replace('\0', "");
        let thread = thread::Builder::new().name(name).spawn(run)?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Keeps an item for delivery, at the cost of the oldest if there is no room.
    ///
    /// `wall_ms` is the time, in milliseconds since the Unix epoch. Takes a short lock and waits for nothing else.
    ///
    /// # Errors
    /// The item is too large, or the sink closed; it is counted as dropped.
    pub fn push(&self, owner: Owner, bytes: Bytes, wall_ms: u64) -> Result<(), PushError> {
        self.shared.buffer.push(owner, bytes, wall_ms)
    }

    /// Whether an item of so many bytes would be taken, to be asked before it is made; if not, it counts as dropped.
    #[must_use]
    pub fn has_room_for(&self, len: usize) -> bool {
        self.shared.buffer.has_room_for(len)
    }

    /// An owner of items to be pushed; what becomes of them is counted in `counters`, as long as those are kept.
    #[must_use]
    pub fn add_owner(&self, counters: &Arc<ActionCounters>) -> Owner {
        self.shared.buffer.counters.add_owner(counters)
    }

    /// Tries again now, if it is pausing after a failure.
    pub fn retry_now(&self) {
        self.shared.buffer.hurry();
    }

    /// What it has done and is doing. Takes the locks of the sink.
    #[must_use]
    pub fn status(&self) -> SinkStatus {
        let Shared { buffer, fate, .. } = &*self.shared;
        let counters = &buffer.counters;
        let fate = fate.now();
        SinkStatus {
            pushed: counters.pushed.load(Ordering::Relaxed),
            delivered: counters.delivered(),
            retried: counters.retried(),
            dropped: DropReason::ALL.map(|reason| (reason, counters.dropped(reason))).into(),
            held: buffer.held(),
            is_up: fate.is_up,
            last_error: fate.last_error,
        }
    }

    /// Takes nothing more, writes what it holds to disk and ends the threads.
    ///
    /// An attempt under way gets half a second; then its thread is left to itself, and what it was delivering is
    /// delivered again by the next sink of the folder.
    pub fn close(&self) {
        self.begin_close();
        self.end_close(Instant::now() + CLOSE_WAIT);
    }

    /// Closes many at once: the half second is for all of them together.
    pub(crate) fn close_all(sinks: &[Arc<Self>]) {
        sinks.iter().for_each(|sink| sink.begin_close());
        let until = Instant::now() + CLOSE_WAIT;
        sinks.iter().for_each(|sink| sink.end_close(until));
    }

    fn begin_close(&self) {
        if let Err(error) = self.shared.buffer.close() {
            log::warn!("what a sink held is lost: {error} sink={}", self.shared.name);
        }
    }

    fn end_close(&self, until: Instant) {
        for thread in std::mem::take(&mut *self.threads.lock()) {
            while !thread.is_finished() && Instant::now() < until {
                thread::sleep(Duration::from_millis(2));
            }
            if thread.is_finished() && thread.join().is_err() {
                log::error!("a thread of a sink panicked sink={}", self.shared.name);
            }
        }
        self.shared.tell(None);
    }

    /// Closes it and removes its folder, with all that waits there.
    pub fn discard(&self) {
        self.close();
        let Some(folder) = &self.shared.buffer.config.folder else { return };
        if let Err(error) = std::fs::remove_dir_all(folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("what a sink held cannot be removed: {error} sink={}", self.shared.name);
        }
    }
}

impl Drop for RemoteSink {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Tells the listener of drops, not before a second has passed since the last time unless no time is given.
    fn tell(&self, mono_ms: Option<u64>) {
        let mut telling = self.told.lock();
        if let (Some(now), Some(at)) = (mono_ms, telling.at_ms)
            && now < at.saturating_add(TELL_EVERY_MS)
        {
            return;
        }
        self.buffer.forget_drops();
        let news = telling.told.news(&self.buffer.counters);
        if !news.is_empty() {
            telling.at_ms = mono_ms;
        }
        for (reason, n) in news {
            log::warn!("sink has dropped items reason={} n={n} sink={}", reason.name(), self.name);
            self.listener.handle_dropped(&self.name, reason, n);
        }
    }
}

fn run_worker(shared: &Shared, mut worker: Worker) {
    shared.buffer.wait_begin();
    if let Err(error) = shared.buffer.open_spool() {
        log::error!("sink cannot read its folder: {error} sink={}", shared.name);
    }
    loop {
        let now = (shared.clock)();
        let next = worker.step(now);
        shared.tell(Some(now.mono_ms));
        match next {
            Next::Again => {}
            Next::Arrival(n_pushed, at_most) => shared.buffer.wait_arrival(n_pushed, at_most),
            Next::Pause(pause) => shared.buffer.pause(pause),
            Next::End => return,
        }
    }
}

fn run_spill(shared: &Shared) {
    shared.buffer.wait_begin();
    let mut was_failing = false;
    loop {
        let now = (shared.clock)();
        let spilled = shared.buffer.spill(now.wall_ms);
        shared.tell(Some(now.mono_ms));
        match spilled {
            Ok(true) => was_failing = false,
            Ok(false) if shared.buffer.wait_crowded(now.wall_ms) => {}
            Ok(false) => return,
            Err(error) => {
                if !std::mem::replace(&mut was_failing, true) {
                    log::error!("sink cannot write to its folder: {error} sink={}", shared.name);
                }
                shared.buffer.pause(DISK_RETRY);
                if shared.buffer.is_closed() {
                    return;
                }
            }
        }
    }
}

/// What an attempt under way gets when the sink is closed.
const CLOSE_WAIT: Duration = Duration::from_millis(500);
const TELL_EVERY_MS: u64 = 1_000;
/// A full disk is asked again after this time.
const DISK_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
