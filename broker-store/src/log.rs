//! Log: the store's one file of record, cut into segments; implements the core's port.
//!
//! Appending is a copy under one short lock. The committer, one thread, takes what has been collected, writes
//! and syncs it, and tells those who wait. Bytes stay in memory until a sync that covers them has returned, so
//! that a disk that fails can be given up for another file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use broker_core::Sink;
use broker_core::store::{
    Appended, BodyPlace, Condition, FetchDone, FetchError, Level, Lsn, Pin, Store,
};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::commit::Committer;
use crate::frame::{Flags, HEADER_BYTES};
use crate::pace::{CommitPolicy, Load, Pace, Plan};
use crate::read::Reader;
use crate::segments::{RetireError, SegmentInfo, Segments};
use crate::stats::{Counters, Health, State, Stats};
use crate::tail::{Run, Tail};
use crate::wakers::Wakers;

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The data folder: segments are in `log`, what recovery cut in `quarantine`.
    pub dir: PathBuf,
    /// Salt of the checksums; a file of another store is not read.
    pub store_id: [u8; 16],
    /// Length of a segment; a multiple of 4,096, the same for the life of a store.
    pub segment_bytes: u64,
    /// Retired segments that are kept for reuse.
    pub spare_segments: usize,
    /// With more than this appended and not durable the log is [`Condition::Congested`].
    pub max_unsynced_bytes: usize,
    /// When it is written and synced.
    pub policy: CommitPolicy,
    /// A sync that takes longer is reported.
    pub slow_sync: Duration,
}

impl LogOptions {
    /// The defaults, for a data folder and a store.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, store_id: [u8; 16]) -> Self {
        Self {
            dir: dir.into(),
            store_id,
            segment_bytes: 64 << 20,
            spare_segments: 8,
            max_unsynced_bytes: 64 << 20,
            policy: CommitPolicy::default(),
            slow_sync: Duration::from_millis(100),
        }
    }
}

/// Whether the log has threads of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// It has.
    Own,
    /// Everything happens in [`Log::commit_now`] and [`Log::fetch_now`]: for tests that repeat.
    None,
}

/// Why a position cannot become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log is not written any more: {0:?}")]
pub struct NotDurable(pub State);

/// What append, committer and readers share.
pub(crate) struct Shared {
    pub(crate) options: LogOptions,
    pub(crate) segments: Arc<Segments>,
    pub(crate) end: Inbox,
    /// Taken from the tail and not yet durable; readers look here.
    pub(crate) in_flight: Mutex<Vec<Arc<Run>>>,
    pub(crate) written: AtomicU64,
    pub(crate) durable: AtomicU64,
    end_lsn: AtomicU64,
    state: AtomicU8,
    wakers: [Mutex<Wakers>; 2],
    /// For those who wait for the log itself, one by one.
    passed: (Mutex<()>, Condvar),
    pub(crate) health: Mutex<Health>,
    pub(crate) counters: Counters,
}

/// The tail and what the committer is told through it.
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    work: Condvar,
}

pub(crate) struct InboxState {
    pub(crate) tail: Tail,
    pub(crate) pace: Pace,
    /// Bytes that the committer holds unsynced.
    pub(crate) held_bytes: usize,
    wants_sync: Lsn,
    wants_write: Lsn,
    /// The committer sleeps until so many bytes are pending; `usize::MAX`: it does not sleep, or not for
    /// bytes.
    sleeps_until_bytes: usize,
    is_closing: bool,
}

impl Inbox {
    pub(crate) fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock()
    }
}

impl Shared {
    pub(crate) fn new(
        options: LogOptions,
        segments: Arc<Segments>,
        number: u64,
        durable: Lsn,
    ) -> Self {
        let pace = Pace::new(options.policy, options.max_unsynced_bytes);
        let tail = Tail::new(segments.clone(), number);
        Self {
            options,
            segments,
            written: AtomicU64::new(durable),
            durable: AtomicU64::new(durable),
            end_lsn: AtomicU64::new(tail.position()),
            end: Inbox {
                state: Mutex::new(InboxState {
                    tail,
                    pace,
                    held_bytes: 0,
                    wants_sync: 0,
                    wants_write: 0,
                    sleeps_until_bytes: usize::MAX,
                    is_closing: false,
                }),
                work: Condvar::new(),
            },
            in_flight: Mutex::default(),
            state: AtomicU8::new(0),
            wakers: Default::default(),
            passed: Default::default(),
            health: Mutex::default(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn durable(&self) -> Lsn {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Working,
            1 => State::Full,
            2 => State::Failed,
            _ => State::Closed,
        }
    }

    pub(crate) fn set_state(&self, state: State) {
        let code = match state {
            State::Working => 0,
            State::Full => 1,
            State::Failed => 2,
            State::Closed => 3,
        };
        self.state.store(code, Ordering::Release);
        self.health.lock().state = state;
    }

    fn safe(&self, level: Level) -> Lsn {
        match level {
            Level::Memory => Lsn::MAX,
            Level::Written => self.written.load(Ordering::Acquire),
            Level::Fsync => self.durable(),
        }
    }

    fn wakers(&self, level: Level) -> Option<&Mutex<Wakers>> {
        match level {
            Level::Memory => None,
            Level::Written => Some(&self.wakers[0]),
            Level::Fsync => Some(&self.wakers[1]),
        }
    }

    /// Wakes whoever has waited for what is safe now. `ready` is a buffer, empty before and after.
    pub(crate) fn wake(&self, ready: &mut Vec<Arc<dyn Sink>>) {
        for level in [Level::Written, Level::Fsync] {
            if let Some(wakers) = self.wakers(level) {
                wakers.lock().take(self.safe(level), ready);
            }
        }
        self.wake_ready(ready);
    }

    /// Wakes everybody: nothing more will become safe.
    pub(crate) fn wake_all(&self) {
        let mut ready = Vec::new();
        for wakers in &self.wakers {
            wakers.lock().take(Lsn::MAX, &mut ready);
        }
        self.wake_ready(&mut ready);
    }

    fn wake_ready(&self, ready: &mut Vec<Arc<dyn Sink>>) {
        for sink in ready.drain(..) {
            sink.wake();
        }
        drop(self.passed.0.lock());
        self.passed.1.notify_all();
    }

    /// Appends one payload under one lock, in pieces if it is large.
    pub(crate) fn append(&self, payload: &[u8], piece_bytes: usize) -> Appended {
        if payload.len() > piece_bytes {
            return self.append_chain(payload, piece_bytes);
        }
        let checksum = crc32fast::hash(payload);
        let mut inbox = self.end.lock();
        let place = inbox.tail.push(Flags::WHOLE, payload, checksum, self.durable());
        self.appended(inbox, place.base, place.pin)
    }

    fn append_chain(&self, payload: &[u8], piece_bytes: usize) -> Appended {
        let pieces: Vec<(&[u8], u32)> =
            payload.chunks(piece_bytes).map(|piece| (piece, crc32fast::hash(piece))).collect();
        let mut first = None;
        let mut inbox = self.end.lock();
        for (at, (piece, checksum)) in pieces.iter().enumerate() {
            let mut flags = Flags::WHOLE;
            if at > 0 {
                flags = flags.with(Flags::FOLLOWS);
            }
            if at + 1 < pieces.len() {
                flags = flags.with(Flags::CONTINUES);
            }
            let place = inbox.tail.push(flags, piece, *checksum, self.durable());
            first.get_or_insert(place);
        }
        let first = first.expect("a payload larger than a piece has pieces");
        self.appended(inbox, first.base, first.pin)
    }

    fn appended(&self, mut inbox: MutexGuard<'_, InboxState>, base: Lsn, pin: Pin) -> Appended {
        let end = inbox.tail.position();
        self.end_lsn.store(end, Ordering::Release);
        let pending = inbox.tail.pending_bytes();
        if pending > self.options.max_unsynced_bytes && self.is_over() {
            // Nobody will write it.
            inbox.tail.forget_pending();
        }
        let wakes = pending >= inbox.sleeps_until_bytes;
        if wakes {
            inbox.sleeps_until_bytes = usize::MAX;
        }
        drop(inbox);
        if wakes {
            self.end.work.notify_one();
        }
        Appended { base, end, pin }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state(), State::Failed | State::Closed)
    }

    /// Appends a frame of the log's own.
    pub(crate) fn mark(&self, flags: Flags, payload: &[u8]) -> Lsn {
        let mut inbox = self.end.lock();
        inbox.tail.push(flags, payload, crc32fast::hash(payload), self.durable());
        let end = inbox.tail.position();
        self.end_lsn.store(end, Ordering::Release);
        end
    }

    /// Asks for a sync, or a write, up to `lsn`, whatever the policy.
    fn want(&self, lsn: Lsn, level: Level) {
        let mut inbox = self.end.lock();
        let lsn = lsn.min(inbox.tail.position());
        match level {
            Level::Memory => return,
            Level::Written => inbox.wants_write = inbox.wants_write.max(lsn),
            Level::Fsync => inbox.wants_sync = inbox.wants_sync.max(lsn),
        }
        inbox.sleeps_until_bytes = usize::MAX;
        drop(inbox);
        self.end.work.notify_one();
    }

    /// Waits until a commit is due; `None` once the log is being closed.
    pub(crate) fn next_commit(&self) -> Option<bool> {
        let mut inbox = self.end.lock();
        loop {
            if inbox.is_closing || self.is_over() {
                return None;
            }
            let load = Load {
                pending_bytes: inbox.tail.pending_bytes(),
                held_bytes: inbox.held_bytes,
                wants_sync: inbox.wants_sync > self.durable(),
                wants_write: inbox.wants_write > self.safe(Level::Written),
            };
            match inbox.pace.plan(Instant::now(), load) {
                Plan::Commit { sync } => return Some(sync),
                Plan::Wait { until, bytes } => {
                    inbox.sleeps_until_bytes = bytes;
                    match until {
                        Some(until) => {
                            self.end.work.wait_until(&mut inbox, until);
                        }
                        None => self.end.work.wait(&mut inbox),
                    }
                    inbox.sleeps_until_bytes = usize::MAX;
                }
            }
        }
    }
}

/// The log. Everything but closing may be called by any thread at any time.
pub struct Log {
    pub(crate) shared: Arc<Shared>,
    committer: Arc<Mutex<Committer>>,
    reader: Reader,
    threads: Mutex<Vec<JoinHandle<()>>>,
    has_threads: bool,
}

impl Log {
    /// Starts what was put together by recovery.
    pub(crate) fn start(
        shared: Arc<Shared>,
        committer: Committer,
        threads: Threads,
    ) -> io::Result<Self> {
        let log = Self {
            reader: Reader::new(shared.clone(), threads),
            committer: Arc::new(Mutex::new(committer)),
            shared,
            threads: Mutex::default(),
            has_threads: threads == Threads::Own,
        };
        if log.has_threads {
            let (shared, committer) = (log.shared.clone(), log.committer.clone());
            log.spawn("store-commit", move || {
                while let Some(sync) = shared.next_commit() {
                    committer.lock().commit(sync);
                }
            })?;
            let segments = log.shared.segments.clone();
            log.spawn("store-spares", move || segments.keep_spares())?;
        }
        Ok(log)
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// The position behind the last frame: where a replay that is to bring in all later frames begins.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.shared.end.lock().tail.position()
    }

    /// Everything before it survives a power cut.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.shared.durable()
    }

    /// Waits until everything before `lsn`, which was appended, is durable. Without threads it commits.
    ///
    /// # Errors
    /// If that can no longer come. A full disk is waited for.
    pub fn sync_to(&self, lsn: Lsn) -> Result<(), NotDurable> {
        if self.has_threads {
            self.shared.want(lsn, Level::Fsync);
        } else {
            self.commit_now();
        }
        let mut gate = self.shared.passed.0.lock();
        loop {
            if self.durable() >= lsn {
                return Ok(());
            }
            if self.shared.is_over() || !self.has_threads {
                return Err(NotDurable(self.shared.state()));
            }
            self.shared.passed.1.wait(&mut gate);
        }
    }

    /// Writes and syncs what is there, now. True if all of it is durable.
    pub fn commit_now(&self) -> bool {
        self.commit(true)
    }

    /// Writes what is there, now, and leaves the sync for later.
    #[doc(hidden)]
    pub fn write_now(&self) -> bool {
        self.commit(false)
    }

    fn commit(&self, sync: bool) -> bool {
        !self.shared.is_over() && self.committer.lock().commit(sync)
    }

    /// Reads the bodies that were asked for, on this thread.
    #[doc(hidden)]
    pub fn fetch_now(&self) {
        self.reader.fetch_now();
    }

    /// Reads a body back, on this thread.
    ///
    /// # Errors
    /// If it is not there.
    pub fn read(&self, body: &BodyPlace) -> Result<Bytes, FetchError> {
        self.shared.read(body)
    }

    /// Holds the segment that a position lies in; `None` if there is none.
    #[must_use]
    pub fn pin(&self, lsn: Lsn) -> Option<Pin> {
        self.shared.segments.pin(lsn)
    }

    /// The segments, oldest first; the last is the one that is written to.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.segments.list()
    }

    /// Closes the segment that is written to; the next frame begins another. Gives the position up to which
    /// to sync, if the closed one is to be read as a file.
    pub fn roll(&self) -> Lsn {
        let mut inbox = self.shared.end.lock();
        inbox.tail.roll(self.shared.durable());
        let end = inbox.tail.position();
        self.shared.end_lsn.store(end, Ordering::Release);
        end
    }

    /// Gives up a segment: its file becomes a spare or goes. For the one who knows that no replay needs it.
    ///
    /// # Errors
    /// If it is written to, held by a pin, or unknown; or if the file system refuses.
    pub fn retire(&self, number: u64) -> Result<(), RetireError> {
        let segments = &self.shared.segments;
        // With a durable frame in a later one, so that there always is a segment to tell the number from.
        if segments.contains(number) && self.durable() <= segments.start_of(number + 1) {
            return Err(RetireError::Current(number));
        }
        segments.retire(number)
    }

    /// Makes a spare file if there are too few.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn prepare_spare(&self) -> io::Result<()> {
        self.shared.segments.prepare_spare()
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.health.lock().clone()
    }

    /// What it has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (frames, bytes, end_lsn, unsynced) = {
            let inbox = self.shared.end.lock();
            let tail = &inbox.tail;
            let unsynced = tail.pending_bytes() + inbox.held_bytes;
            (tail.n_frames, tail.n_bytes, tail.position(), unsynced)
        };
        let counters = &self.shared.counters;
        let segments = self.shared.segments.numbers().len();
        let spares = self.shared.segments.n_spares();
        Stats {
            frames,
            bytes,
            syncs: counters.syncs.load(Ordering::Relaxed),
            sync_us: counters.sync_us.read(),
            commit_wait_us: counters.commit_wait_us.read(),
            unsynced_bytes: unsynced as u64,
            write_failures: counters.write_failures.load(Ordering::Relaxed),
            sync_failures: counters.sync_failures.load(Ordering::Relaxed),
            bodies_read_back: counters.bodies_read_back.load(Ordering::Relaxed),
            end_lsn,
            durable_lsn: self.durable(),
            segments,
            spares,
            log_bytes: (segments + spares) as u64 * self.shared.segments.segment_bytes(),
        }
    }

    /// Commits what is there and ends the threads. `is_clean`: with a mark that everything was durable.
    ///
    /// # Errors
    /// If not everything could be made durable.
    pub fn close(&self, is_clean: bool) -> Result<(), NotDurable> {
        if self.shared.state() == State::Closed {
            return Ok(());
        }
        self.stop_threads();
        let mut done = self.commit_now();
        if done && is_clean {
            self.shared.mark(Flags::CLEAN_SHUTDOWN, &[]);
            done = self.commit_now();
        }
        let state = self.shared.state();
        self.shared.set_state(State::Closed);
        self.shared.wake_all();
        if done { Ok(()) } else { Err(NotDurable(state)) }
    }

    fn stop_threads(&self) {
        self.shared.end.lock().is_closing = true;
        self.shared.end.work.notify_all();
        self.shared.segments.close();
        self.reader.stop();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                ::log::error!("a thread of the store has panicked");
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Without threads it is a test's, which may mean to lose what is pending.
        if self.has_threads && self.close(false).is_err() {
            ::log::error!("the log was closed with frames that are not durable");
        }
    }
}

impl Store for Log {
    fn append(&self, payload: &[u8]) -> Appended {
        self.shared.append(payload, self.piece_bytes())
    }

    fn piece_bytes(&self) -> usize {
        let half = self.shared.segments.segment_bytes() / 2;
        usize::try_from(half).unwrap_or(usize::MAX) - HEADER_BYTES
    }

    fn safe(&self, level: Level) -> Lsn {
        self.shared.safe(level)
    }

    fn wake_at(&self, lsn: Lsn, level: Level, sinks: &mut Vec<Arc<dyn Sink>>) {
        let Some(wakers) = self.shared.wakers(level) else {
            sinks.drain(..).for_each(|sink| sink.wake());
            return;
        };
        let mut locked = wakers.lock();
        // Looked at under the lock: the committer publishes first and takes the lock then.
        if self.shared.is_over() {
            // It never will be. Waking would make them ask again, and again.
            sinks.clear();
            return;
        }
        if self.shared.safe(level) >= lsn {
            drop(locked);
            sinks.drain(..).for_each(|sink| sink.wake());
            return;
        }
        locked.add(lsn, sinks);
        drop(locked);
        if level > self.shared.options.policy.level {
            self.shared.want(lsn, level);
        }
    }

    fn fetch(&self, bodies: Vec<BodyPlace>, done: FetchDone) {
        self.reader.fetch(bodies, done);
    }

    fn condition(&self) -> Condition {
        if self.shared.state.load(Ordering::Relaxed) != 0 {
            return Condition::Unavailable;
        }
        let end = self.shared.end_lsn.load(Ordering::Relaxed);
        let unsynced = end.saturating_sub(self.shared.durable.load(Ordering::Relaxed));
        if unsynced > self.shared.options.max_unsynced_bytes as u64 {
            return Condition::Congested;
        }
        Condition::Ready
    }
}
