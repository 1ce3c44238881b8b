//! EmbeddedStore: the store of a broker in one data folder, from opening it to closing it.
//!
//! In this order: [`EmbeddedStore::open`]; the broker is built with it; [`EmbeddedStore::replay`] hands out what
//! is kept and starts the log; the broker puts the state together, reading through [`Bodies`];
//! [`EmbeddedStore::start`] begins the housekeeping; [`EmbeddedStore::close`] ends it all when the broker has
//! stopped.

mod by_hand;
mod counts;
mod failure;
mod restore;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker_core::Sink;
use broker_core::record::RecordError;
use broker_core::store::{
    Appended, BodyPlace, Condition, FetchDone, FetchError, Level, Lsn, Pin, State, Store,
};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::alarm::{Alarms, OnAlarm, STORE_DAMAGED, STORE_TAIL_CUT};
use crate::backup::{self, BackupError, Copying};
use crate::control::Control;
use crate::files::{Files, RealFiles};
use crate::folder::{Folder, Identity};
use crate::keeper::{Keeper, KeeperStats, KeeperThread, RealJournal};
use crate::lock::{FolderLock, network_file_system};
use crate::log::{Log, LogOptions, Threads};
use crate::manifest::Manifest;
use crate::options::StoreOptions;
use crate::pace::CommitPolicy;
use crate::recover::{Recovery, ReplayError, ReplayFrom, StoppedLog};
use crate::segments::SegmentInfo;
use crate::snapshot::{self, Snapshot, SnapshotFault};

#[doc(hidden)]
pub use by_hand::ByHand;
pub use counts::{Found, StoreStats};
pub use failure::Failure;

/// Takes what is kept, in order: the blocks of a snapshot, then the frames of the log behind it.
pub trait Replay {
    /// A block of the snapshot.
    ///
    /// # Errors
    /// It holds records that cannot be taken.
    fn block(&mut self, payload: &[u8]) -> Result<(), RecordError>;

    /// A frame of the log, whose payload stands at `base`.
    ///
    /// # Errors
    /// It holds records that cannot be taken.
    fn frame(&mut self, base: Lsn, payload: &[u8]) -> Result<(), RecordError>;
}

/// What was found when the store was opened and replayed.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// The snapshot it began with.
    pub snapshot: Option<Snapshot>,
    /// Newer ones that are damaged.
    pub faults: Vec<SnapshotFault>,
    /// What the log held.
    pub recovery: Recovery,
    /// How long it took.
    pub took: Duration,
}

/// The store of a broker.
pub struct EmbeddedStore {
    folder: Folder,
    options: StoreOptions,
    alarms: Alarms,
    newest: Option<Snapshot>,
    faults: Vec<SnapshotFault>,
    stopped: Mutex<Option<StoppedLog>>,
    log: OnceLock<Arc<Log>>,
    found: OnceLock<Found>,
    threads: Threads,
    keeper: OnceLock<KeeperThread>,
    keeper_stats: Mutex<Arc<Mutex<KeeperStats>>>,
    control: Mutex<Option<Control>>,
    is_closing: AtomicBool,
    lock: Mutex<Option<FolderLock>>,
}

impl EmbeddedStore {
    /// Opens the store in `options.dir`, or makes one. `level` is what is promised where no topic says
    /// otherwise.
    ///
    /// # Errors
    /// The folder is somebody else's, cannot be written to, or holds what this version does not understand.
    pub fn open(options: StoreOptions, level: Level) -> Result<Arc<Self>, Failure> {
        let lock = FolderLock::take(&options.dir)?;
        if let Some(kind) = network_file_system(&options.dir) {
            log::warn!(
                "{} is on {kind}: what a network file system has synced may still be lost",
                options.dir.display()
            );
        }
        let store = Self::open_on(Arc::new(RealFiles), options, level, Threads::Own)?;
        *store.lock.lock() = Some(lock);
        Ok(store)
    }

    /// The same on other files, and without a lock.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[doc(hidden)]
    pub fn open_on(
        files: Arc<dyn Files>,
        options: StoreOptions,
        level: Level,
        threads: Threads,
    ) -> Result<Arc<Self>, Failure> {
        let made = || Identity::random(options.segment_bytes, unix_ms());
        let folder = Folder::open_or_create(files, &options.dir, made)?;
        let io = |source| Failure::Io { path: folder.snap_dir(), source };
        snapshot::remove_leftovers(&folder).map_err(io)?;
        let (newest, faults) = snapshot::newest(&folder).map_err(io)?;
        let stopped =
            StoppedLog::open(folder.files().clone(), log_options(&folder, &options, level))?;
        Ok(Arc::new(Self {
            options,
            alarms: Alarms::default(),
            newest,
            faults,
            stopped: Mutex::new(Some(stopped)),
            log: OnceLock::new(),
            found: OnceLock::new(),
            threads,
            keeper: OnceLock::new(),
            keeper_stats: Mutex::default(),
            control: Mutex::default(),
            is_closing: AtomicBool::new(false),
            lock: Mutex::default(),
            folder,
        }))
    }

    /// Hands out what is kept, makes firm what was replayed, and lets the log go on: from now on it takes
    /// records. Damage is reported and got over, unless the options say otherwise.
    ///
    /// # Errors
    /// Something is missing that must not be, or the disk does not work.
    pub fn replay(&self, to: &mut dyn Replay) -> Result<Opened, Failure> {
        let began = std::time::Instant::now();
        let stopped = self.stopped.lock().take().ok_or(Failure::AlreadyReplayed)?;
        let mut from = ReplayFrom::default();
        check_beginning(&self.folder, &stopped, self.newest.as_ref(), &self.faults)?;
        if let Some(snapshot) = &self.newest {
            let mut bad_record = None;
            let visited = snapshot.visit(&self.folder, &mut |block| {
                to.block(block).map_err(|error| {
                    let text = error.to_string();
                    bad_record = Some(error);
                    text
                })
            });
            match (visited, bad_record) {
                (_, Some(error)) => return Err(Failure::Record(error)),
                (Err(fault), None) => return Err(Failure::Snapshot(fault)),
                (Ok(()), None) => {}
            }
            (from.from, from.known_durable) = (snapshot.from, snapshot.to);
        }
        let replayed = stopped.replay(from, |base, payload| to.frame(base, payload));
        let recovery = replayed.map_err(|error| match error {
            ReplayError::Missing(number) => Failure::missing(&self.folder, number, &self.faults),
            ReplayError::NewerVersion(format) => {
                Failure::Newer { path: self.folder.root().to_owned(), format }
            }
            ReplayError::Receiver(error) => Failure::Record(error),
        })?;
        self.report(&recovery, &stopped.segments())?;
        self.put_aside()?;
        let log = stopped.start(&recovery, self.threads)?;
        let _ = self.log.set(Arc::new(log));
        let (snapshot, faults) = (self.newest.clone(), self.faults.clone());
        let opened = Opened { snapshot, faults, recovery, took: began.elapsed() };
        let _ = self.found.set(Found::of(&opened));
        Ok(opened)
    }

    fn report(&self, recovery: &Recovery, segments: &[SegmentInfo]) -> Result<(), Failure> {
        let faults = self.faults.iter().map(ToString::to_string);
        let lost = recovery.damaged.iter().map(|damage| damage.describe(segments));
        let damage: Vec<_> = faults.chain(lost).collect();
        if !damage.is_empty() {
            let damage = damage.join("; ");
            if self.options.stop_on_damage {
                return Err(Failure::Damaged(damage));
            }
            self.alarms.raise(STORE_DAMAGED, damage);
        }
        if !recovery.cut.is_empty() {
            let cut = recovery.cut.iter().map(|cut| {
                format!("segment {} offset {} bytes {}", cut.segment, cut.offset, cut.bytes)
            });
            let cut: Vec<_> = cut.collect();
            self.alarms.raise(
                STORE_TAIL_CUT,
                format!("the end of the log was not whole and was put aside: {}", cut.join("; ")),
            );
        }
        Ok(())
    }

    /// Snapshots that cannot be read go where nobody takes them for newer than the ones to come.
    fn put_aside(&self) -> Result<(), Failure> {
        for fault in &self.faults {
            let moved = self.folder.set_aside(&fault.path);
            moved.map_err(|source| Failure::Io { path: fault.path.clone(), source })?;
        }
        Ok(())
    }

    /// Reads bodies while the state is put together.
    #[must_use]
    pub fn bodies(self: &Arc<Self>) -> Bodies {
        Bodies(self.clone())
    }

    /// Begins the housekeeping for `broker`, and answers the command line. `on_alarm` is told of alarms.
    ///
    /// # Errors
    /// A thread cannot be started, or the log is not.
    pub fn start(
        self: &Arc<Self>,
        broker: Weak<dyn State>,
        on_alarm: OnAlarm,
    ) -> Result<(), Failure> {
        self.alarms.listen(on_alarm);
        let keeper = self.keeper(broker)?;
        let io = |source| Failure::Io { path: self.folder.root().to_owned(), source };
        let keeper = KeeperThread::start(keeper).map_err(io)?;
        if self.keeper.set(keeper).is_err() {
            return Err(Failure::AlreadyReplayed);
        }
        let weak = Arc::downgrade(self);
        let answer = move |line: &str| match weak.upgrade() {
            Some(store) => store.answer(line),
            None => Err("the store is closed".to_owned()),
        };
        match Control::start(self.folder.root(), Arc::new(answer)) {
            Ok(control) => *self.control.lock() = Some(control),
            // The broker is of use without it.
            Err(error) => log::warn!("control socket of {}: {error}", self.folder.root().display()),
        }
        Ok(())
    }

    /// The housekeeping, to be done by hand.
    pub(crate) fn keeper(&self, broker: Weak<dyn State>) -> Result<Keeper, Failure> {
        let journal = RealJournal {
            log: self.log.get().ok_or(Failure::NotReplayed)?.clone(),
            segment_bytes: self.folder.identity().segment_bytes,
        };
        let keeper = Keeper::new(
            self.folder.clone(),
            Arc::new(journal),
            broker,
            self.options.clone(),
            self.alarms.clone(),
            self.newest.as_ref(),
        );
        *self.keeper_stats.lock() = keeper.stats();
        Ok(keeper)
    }

    /// Writes a snapshot now.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn snapshot(&self) -> Result<Snapshot, String> {
        let keeper = self.keeper.get().ok_or("the store has not been started")?;
        let taken = keeper.order().recv().map_err(|_| "the store is closed".to_owned())??;
        Ok(taken.snapshot)
    }

    /// Copies the store as it is now to the empty folder `target`, beside the traffic.
    ///
    /// # Errors
    /// The snapshot it begins with cannot be written, or `target` cannot.
    pub fn backup(&self, target: &Path) -> Result<Manifest, BackupError> {
        let keeper = self.keeper.get();
        let order = keeper.map(|keeper| keeper.order().recv());
        let taken = match order {
            Some(Ok(Ok(taken))) => taken,
            Some(Ok(Err(why))) => return Err(BackupError::NoSnapshot(why)),
            _ => return Err(BackupError::NoSnapshot("the store does not run".to_owned())),
        };
        let infos = self.log.get().map(|log| log.segments()).unwrap_or_default();
        let needed = |number: u64| taken.segments.iter().any(|(it, _)| it.number == number);
        let segments =
            infos.into_iter().filter(|it| needed(it.number)).map(|it| (it.start, it.paths));
        let sources = backup::of_snapshot(&taken.snapshot, segments);
        let range = (taken.snapshot.from, taken.snapshot.to);
        let copying = Copying { range, created_ms: unix_ms(), cancel: &self.is_closing };
        backup::write(&self.folder, target, &sources, &copying)
    }

    /// Ends backups at work, for the store is to be closed: there are none from now on.
    pub fn cancel_backups(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// Alarms that are up.
    #[must_use]
    pub const fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// The data folder.
    #[must_use]
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Whether the log can write, and how its disk is; `None` before the replay.
    #[must_use]
    pub fn health(&self) -> Option<crate::stats::Health> {
        Some(self.log.get()?.health())
    }

    /// What it counts; `None` before the replay.
    #[must_use]
    pub fn stats(&self) -> Option<StoreStats> {
        let keeper = *self.keeper_stats.lock().lock();
        let snapshot_age_ms = self.keeper.get().and_then(|thread| {
            (keeper.snapshots > 0).then(|| thread.now_ms().saturating_sub(keeper.snapshot_done_ms))
        });
        let found = *self.found.get()?;
        Some(StoreStats { log: self.log.get()?.stats(), keeper, found, snapshot_age_ms })
    }

    /// Writes a last snapshot, lets everything become safe, and gives the folder up. For when the broker has
    /// stopped: what comes later is lost.
    ///
    /// # Errors
    /// Not everything could be made safe.
    pub fn close(&self) -> Result<(), Failure> {
        // Its thread may be at a backup, which ends by this, or wait for the keeper, which answers.
        self.cancel_backups();
        let control = self.control.lock().take();
        if let Some(keeper) = self.keeper.get() {
            keeper.stop();
        }
        drop(control);
        let closed = self.log.get().map_or(Ok(()), |log| log.close(true));
        self.lock.lock().take();
        closed.map_err(|_| {
            let error = self.health().and_then(|health| health.last_error);
            Failure::NotSafe(error.unwrap_or_else(|| "the log does not write".to_owned()))
        })
    }

    fn answer(&self, line: &str) -> Result<Vec<(String, String)>, String> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("stats", "") => Ok(self.stats().map(|stats| stats.values()).unwrap_or_default()),
            ("snapshot", "") => self.snapshot().map(|it| counts::snapshot_values(&it)),
            ("backup", target) if Path::new(target).is_absolute() => {
                let manifest = self.backup(Path::new(target)).map_err(|error| error.to_string())?;
                Ok(manifest.values())
            }
            ("backup", _) => Err("the path of a backup must begin with /".to_owned()),
            _ => Err(format!("stats, snapshot or backup is expected, not {line:?}")),
        }
    }

    /// The log.
    ///
    /// # Panics
    /// Before [`replay`](Self::replay): nobody can have anything to keep by then.
    fn started(&self) -> &Log {
        self.log.get().expect("a store takes records when it has been replayed")
    }
}

impl Store for EmbeddedStore {
    fn append(&self, payload: &[u8]) -> Appended {
        self.started().append(payload)
    }

    fn piece_bytes(&self) -> usize {
        let half = self.folder.identity().segment_bytes / 2;
        self.log.get().map_or_else(
            || usize::try_from(half).unwrap_or(usize::MAX) - crate::frame::HEADER_BYTES,
            |log| log.piece_bytes(),
        )
    }

    fn safe(&self, level: Level) -> Lsn {
        // At least 1: what depends on nothing.
        self.log.get().map_or(1, |log| log.safe(level))
    }

    fn wake_at(&self, lsn: Lsn, level: Level, sinks: &mut Vec<Arc<dyn Sink>>) {
        self.started().wake_at(lsn, level, sinks);
    }

    fn fetch(&self, bodies: Vec<BodyPlace>, done: FetchDone) {
        self.started().fetch(bodies, done);
    }

    fn condition(&self) -> Condition {
        match self.log.get() {
            Some(log) if !log.is_full() => log.condition(),
            _ => Condition::Unavailable,
        }
    }
}

/// Reads bodies while the state is put together, when waiting is no harm.
pub struct Bodies(Arc<EmbeddedStore>);

impl Bodies {
    /// What keeps the place of a body from being reused; `None` if the log does not hold it.
    #[must_use]
    pub fn pin(&self, at: Lsn) -> Option<Pin> {
        self.0.log.get()?.pin(at)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, place: &BodyPlace) -> Result<Bytes, FetchError> {
        self.0.started().read(place)
    }
}

/// Where snapshots are that cannot be read, there was a log: one without segments is no new store.
pub(crate) fn check_beginning(
    folder: &Folder,
    log: &StoppedLog,
    newest: Option<&Snapshot>,
    faults: &[SnapshotFault],
) -> Result<(), Failure> {
    if newest.is_none() && !faults.is_empty() && log.segments().is_empty() {
        return Err(Failure::missing(folder, FIRST_SEGMENT, faults));
    }
    Ok(())
}

const FIRST_SEGMENT: u64 = 1;

pub(crate) fn log_options(folder: &Folder, options: &StoreOptions, level: Level) -> LogOptions {
    LogOptions {
        segment_bytes: folder.identity().segment_bytes,
        spare_segments: options.spare_segments,
        max_bytes: options.max_log_bytes,
        min_free_bytes: options.min_free_bytes,
        max_unsynced_bytes: options.max_unsynced_bytes,
        policy: CommitPolicy {
            level,
            sync_interval: Duration::from_millis(options.sync_interval_ms),
            pace: Duration::from_micros(options.commit_pace_us),
        },
        slow_sync: Duration::from_millis(options.slow_sync_ms),
        ..LogOptions::new(folder.root(), folder.identity().store_id)
    }
}

pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
