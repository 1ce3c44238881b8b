//! The disk of a world: the embedded store on files in memory, without threads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use broker_core::record::RecordError;
use broker_core::restore::Restored;
use broker_core::store::{Appended, BodyPlace, Condition, FetchDone, Level, Lsn, State, Store};
use broker_core::{Broker, Now, Sink};
use broker_store::log::Threads;
use broker_store::sim::{Keep, Random, SimFiles};
use broker_store::{ByHand, EmbeddedStore, Replay, StoreOptions};
use parking_lot::Mutex;

use crate::rig::disk::note_bodies;

/// Worlds in a hundred that have one.
pub const CHANCE: usize = 100;

/// Half of it takes what one pass records: the model knows of passes, not of their pieces.
const SEGMENT_BYTES: u64 = 32 * 1024;

/// What has happened to the disks of all worlds.
pub static SEEN: Seen = Seen {
    cut_in_a_call: AtomicU64::new(0),
    killed: AtomicU64::new(0),
    kept_between: AtomicU64::new(0),
    snapshots: AtomicU64::new(0),
    retired: AtomicU64::new(0),
    moved: AtomicU64::new(0),
};

#[derive(Debug)]
pub struct Seen {
    /// The power went in the middle of a call.
    cut_in_a_call: AtomicU64,
    /// Only the process died.
    killed: AtomicU64,
    /// More was kept than was synced, and less than was written.
    kept_between: AtomicU64,
    /// Snapshots that were written to their end.
    snapshots: AtomicU64,
    /// Segments that were given up.
    retired: AtomicU64,
    /// Bytes of bodies that were moved.
    moved: AtomicU64,
}

pub fn has_seen_everything() -> bool {
    let Seen { cut_in_a_call, killed, kept_between, snapshots, retired, moved } = &SEEN;
    let counts = [cut_in_a_call, killed, kept_between, snapshots, retired, moved];
    counts.iter().all(|count| count.load(Ordering::Relaxed) > 0)
}

/// One with nothing on it.
pub fn new(seed: u64) -> Arc<Disk> {
    Disk::on(SimFiles::new(seed), Log::default(), Random::new(seed))
}

/// The first broker of a world has it.
pub fn begin(disk: &Disk, broker: &Arc<Broker>, now: Now) {
    disk.restore_from(None, broker, now);
}

/// True if it has lost its power in the middle of something.
pub fn is_cut(disk: &Disk) -> bool {
    disk.files.is_halted()
}

pub struct Disk {
    files: SimFiles,
    store: Arc<EmbeddedStore>,
    by_hand: Mutex<Option<ByHand>>,
    log: Mutex<Log>,
    random: Mutex<Random>,
}

/// What the broker has appended.
#[derive(Default, Clone)]
struct Log {
    /// Where frames begin and end.
    frames: Vec<(Lsn, Lsn)>,
    /// Payload to the end of the first frame that holds it.
    bodies: BTreeMap<String, Lsn>,
}

/// Nothing: the keeper has its own.
pub struct Snapshot;

impl Store for Disk {
    fn append(&self, payload: &[u8]) -> Appended {
        let appended = self.store.append(payload);
        let mut log = self.log.lock();
        note_bodies(&mut log.bodies, payload, appended.end);
        log.frames.push((appended.base, appended.end));
        appended
    }

    fn piece_bytes(&self) -> usize {
        self.store.piece_bytes()
    }

    fn safe(&self, level: Level) -> Lsn {
        self.store.safe(level)
    }

    fn wake_at(&self, lsn: Lsn, level: Level, sinks: &mut Vec<Arc<dyn Sink>>) {
        self.store.wake_at(lsn, level, sinks);
    }

    fn fetch(&self, bodies: Vec<BodyPlace>, done: FetchDone) {
        self.store.fetch(bodies, done);
    }

    fn condition(&self) -> Condition {
        self.store.condition()
    }
}

impl Disk {
    fn on(files: SimFiles, log: Log, random: Random) -> Arc<Self> {
        let store = open(&files);
        let (by_hand, log, random) = (Mutex::default(), Mutex::new(log), Mutex::new(random));
        Arc::new(Self { files, store, by_hand, log, random })
    }

    /// Frames appended so far, of those that are left.
    pub fn frames(&self) -> usize {
        self.log.lock().frames.len()
    }

    /// Everything up to here is synced.
    pub fn durable(&self) -> Lsn {
        self.store.safe(Level::Fsync)
    }

    /// The end of the first frame that holds a message with this payload.
    pub fn first_end_of(&self, payload: &str) -> Option<Lsn> {
        self.log.lock().bodies.get(payload).copied()
    }

    /// Frames that are synced.
    pub fn synced(&self) -> usize {
        let durable = self.durable();
        self.log.lock().frames.partition_point(|(_, end)| *end <= durable)
    }

    /// Syncs, or only writes if no more than so many frames are to be synced; now and then the power goes meanwhile.
    pub fn sync_frames(&self, frames: usize) {
        {
            let mut random = self.random.lock();
            if random.below(12) == 0 {
                self.files.halt_at(self.files.changes() + 1 + random.below(8));
            }
        }
        self.work(frames > self.synced());
    }

    /// For good: there are no more crashes.
    pub fn sync_all(&self) {
        self.files.heal();
        self.work(true);
    }

    fn work(&self, syncs: bool) {
        let mut by_hand = self.by_hand.lock();
        let by_hand = by_hand.as_mut().expect("it has begun");
        if syncs {
            by_hand.commit();
        } else {
            by_hand.write();
        }
        let mut random = self.random.lock();
        if random.below(3) == 0 {
            by_hand.prepare_spare();
        }
        for _ in 0..random.below(4) {
            by_hand.keep_house();
        }
    }

    /// Answers what was asked for. Returns how many requests that were, which is not known here.
    pub fn serve(&self) -> usize {
        self.by_hand.lock().as_ref().expect("it has begun").fetch();
        0
    }

    /// Has a snapshot written beside the traffic.
    pub fn write_snapshot(&self, _: &Broker) -> Snapshot {
        self.by_hand.lock().as_mut().expect("it has begun").order_snapshot();
        Snapshot
    }

    /// The keeper does that by itself.
    pub fn publish(&self, _: Snapshot) {}

    /// 1 if there is one to begin with.
    pub fn snapshots(&self) -> usize {
        let mut snapshots = self.files.paths();
        snapshots.retain(|path| path.starts_with(Path::new(ROOT).join("snap")));
        usize::from(!snapshots.is_empty())
    }

    /// What is left after a crash: all that was written, what was synced, or that and some of what was written.
    pub fn crash(&self, frames: usize) -> Arc<Self> {
        let (synced, all) = (self.synced(), self.frames());
        self.count();
        let mut random = Random::new(self.random.lock().next());
        let keep = match frames {
            _ if frames == synced => Keep::Synced,
            _ if frames == all => Keep::All,
            _ => Keep::Some,
        };
        let seed = random.next();
        let mut log = self.log.lock().clone();
        let n_left = frames_left(&self.files.crash(keep, seed), &log.frames);
        assert!(n_left >= synced, "{n_left} of {all} frames are left, and {synced} were synced");
        if n_left > synced && n_left < all {
            SEEN.kept_between.fetch_add(1, Ordering::Relaxed);
        }
        log.frames.truncate(n_left);
        let end = log.frames.last().map_or(0, |(_, end)| *end);
        log.bodies.retain(|_, at| *at <= end);
        Self::on(self.files.crash(keep, seed), log, random)
    }

    fn count(&self) {
        let of = if self.files.is_halted() { &SEEN.cut_in_a_call } else { &SEEN.killed };
        of.fetch_add(1, Ordering::Relaxed);
        let Some(stats) = self.store.stats() else { return };
        SEEN.snapshots.fetch_add(stats.keeper.snapshots, Ordering::Relaxed);
        SEEN.retired.fetch_add(stats.keeper.retired_segments, Ordering::Relaxed);
        SEEN.moved.fetch_add(stats.keeper.compacted_bytes, Ordering::Relaxed);
    }

    /// Gives a new broker what is on the files.
    pub fn restore_from(&self, _: Option<usize>, broker: &Arc<Broker>, now: Now) -> Restored {
        let (opened, restored) = self.store.restore(broker, now).expect("a store that was cut off");
        assert!(opened.faults.is_empty(), "{:?}", opened.faults);
        assert!(opened.recovery.damaged.is_empty(), "{:?}", opened.recovery);
        let state: Arc<dyn State> = broker.clone();
        let weak: Weak<dyn State> = Arc::downgrade(&state);
        *self.by_hand.lock() = Some(self.store.by_hand(weak).expect("it was replayed"));
        restored
    }
}

const ROOT: &str = "data";

fn open(files: &SimFiles) -> Arc<EmbeddedStore> {
    let options = StoreOptions {
        segment_bytes: SEGMENT_BYTES,
        spare_segments: 2,
        snapshot_log_bytes: 4 * SEGMENT_BYTES,
        log_min_bytes: 4 * SEGMENT_BYTES,
        min_free_bytes: 0,
        ..StoreOptions::new(ROOT)
    };
    EmbeddedStore::open_on(Arc::new(files.clone()), options, Level::Fsync, Threads::None)
        .expect("a store that was cut off")
}

/// How many of these frames a start on those files would find.
fn frames_left(files: &SimFiles, frames: &[(Lsn, Lsn)]) -> usize {
    let mut last = Last::default();
    let opened = open(files).replay(&mut last).expect("a store that was cut off");
    // What a snapshot shows was synced before it counted.
    let shown = opened.snapshot.map_or(0, |snapshot| snapshot.to);
    let by_snapshot = frames.partition_point(|(_, end)| *end <= shown);
    by_snapshot.max(frames.partition_point(|(base, _)| *base <= last.base))
}

/// Where the last frame begins.
#[derive(Default)]
struct Last {
    base: Lsn,
}

impl Replay for Last {
    fn block(&mut self, _: &[u8]) -> Result<(), RecordError> {
        Ok(())
    }

    fn frame(&mut self, base: Lsn, _: &[u8]) -> Result<(), RecordError> {
        self.base = self.base.max(base);
        Ok(())
    }
}
