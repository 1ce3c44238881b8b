//! Log: the store's one file of record, cut into segments; implements the core's port.
//!
//! Appending is a copy under one short lock. The committer, one thread, takes what has been collected, writes
//! and syncs it, and tells those who wait. Bytes stay in memory until a sync that covers them has returned, so
//! that a disk that fails can be given up for another file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use broker_core::Sink;
use broker_core::store::{
    Appended, BodyPlace, Condition, FetchDone, FetchError, Level, Lsn, Pin, Store,
};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::commit::Committer;
use crate::frame::{Flags, HEADER_BYTES};
use crate::pace::CommitPolicy;
use crate::read::Reader;
use crate::segments::{RetireError, SegmentInfo};
use crate::shared::Shared;
use crate::stats::{Health, State, Stats};

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
    /// Spares are kept and made only as long as the log takes no more than this with them.
    pub max_bytes: u64,
    /// They are kept and made only as long as so much of the disk is free besides.
    pub min_free_bytes: u64,
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
            max_bytes: u64::MAX,
            min_free_bytes: 0,
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
            let shared = log.shared.clone();
            log.spawn("store-spares", move || {
                shared.segments.keep_spares(|| {
                    shared.roll();
                });
            })?;
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
        let is_durable = if self.has_threads {
            self.shared.wait_until_durable(lsn)
        } else {
            self.durable() >= lsn
        };
        if is_durable { Ok(()) } else { Err(NotDurable(self.shared.state())) }
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
        self.shared.roll()
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

    /// Says how far the log may grow: with more than `max_segments` in use, or with a segment behind number
    /// `last_segment`, it [is full](Self::is_full). So it is from now on if `is_full`.
    pub(crate) fn set_growth(&self, max_segments: u64, last_segment: u64, is_full: bool) {
        self.shared.segments.growth.set(max_segments, last_segment, is_full);
    }

    /// There is no room for what would have to be kept.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.segments.growth.is_full()
    }

    /// Bytes that segments in use have yet to take from the disk.
    pub(crate) fn untaken_bytes(&self) -> u64 {
        self.shared.segments.untaken_bytes()
    }

    /// Makes a spare file if there are too few and the disk has space. Returns whether it has.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn prepare_spare(&self) -> io::Result<bool> {
        self.shared.segments.prepare_spare()
    }

    /// Gives the space of a spare back to the disk; false if there is none.
    pub(crate) fn give_up_spare(&self) -> bool {
        self.shared.segments.give_up_spare()
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
        self.shared.stop_committing();
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
        self.shared.wake_at(lsn, level, sinks);
    }

    fn fetch(&self, bodies: Vec<BodyPlace>, done: FetchDone) {
        self.reader.fetch(bodies, done);
    }

    fn condition(&self) -> Condition {
        self.shared.condition()
    }
}
