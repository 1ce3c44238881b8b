//! Keeper: the housekeeping of a store: snapshots, segments to be used again, compaction, and room.
//!
//! One job runs at a time, cut into steps that never wait: what has to be waited for, turns to end or the log
//! to be safe, is looked at again in the next step. That jobs do not overlap is part of why they are right: no
//! snapshot begins while bodies are on the move.

mod compaction;
mod disk;
mod journal;
mod recycling;
mod room;
mod snapshotting;
#[cfg(test)]
mod tests;
mod thread;

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Weak};

use broker_core::store::{Lsn, Pin, State};
use parking_lot::Mutex;

use crate::alarm::Alarms;
use crate::folder::Folder;
use crate::options::StoreOptions;
use crate::snapshot::{self, Snapshot};

pub(crate) use journal::{Journal, RealJournal, Segment};
pub(crate) use thread::KeeperThread;

/// Does the housekeeping, step by step.
pub(crate) struct Keeper {
    folder: Folder,
    log: Arc<dyn Journal>,
    state: Weak<dyn State>,
    options: StoreOptions,
    alarms: Alarms,
    /// The snapshots in the folder, newest first.
    kept: Vec<Kept>,
    /// Older ones have not been looked at yet: that takes reading them.
    is_older_unknown: bool,
    job: Job,
    orders: Vec<Reply>,
    is_stopping: bool,
    /// Not before: a snapshot after one that failed.
    snapshot_retry_ms: u64,
    recycle: recycling::Due,
    compact: compaction::Due,
    room: room::Room,
    disk: disk::Disk,
    stats: Arc<Mutex<KeeperStats>>,
}

/// What the keeper is at.
enum Job {
    None,
    Snapshot(Box<snapshotting::Job>),
    Recycle(recycling::Job),
    Compact(Box<compaction::Job>),
}

/// A snapshot in the folder; older ones go only when nobody holds them.
struct Kept {
    snapshot: Snapshot,
    hold: Arc<()>,
}

/// What came of an order for a snapshot.
pub(crate) type Reply = SyncSender<Result<Taken, String>>;

/// A snapshot, and the segments that belong to it. They stay as they are until this is dropped.
pub(crate) struct Taken {
    pub(crate) snapshot: Snapshot,
    pub(crate) segments: Vec<(Segment, Pin)>,
    _hold: Arc<()>,
}

/// What the keeper has done, and what it knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeeperStats {
    /// Snapshots since the start.
    pub snapshots: u64,
    /// Bytes of the last one.
    pub snapshot_bytes: u64,
    /// Where the log goes on from it.
    pub snapshot_from: Lsn,
    /// Milliseconds the last one took, since the start of the process none if 0.
    pub snapshot_ms: u64,
    /// When it was done, on the keeper's clock.
    pub snapshot_done_ms: u64,
    /// Bytes of bodies that are referred to, when they were last counted.
    pub live_bytes: u64,
    /// Bytes of bodies that were copied to the end of the log.
    pub compacted_bytes: u64,
    /// Segments that were given back.
    pub retired_segments: u64,
    /// Bytes of segments in use.
    pub log_bytes: u64,
}

/// Milliseconds until the next look at what was waited for.
const POLL_MS: u64 = 2;
/// Milliseconds until the next look when there is nothing to do.
const IDLE_MS: u64 = 1000;

impl Keeper {
    /// The keeper of `folder`, which begins with `newest` of its snapshots and those that are older.
    pub(crate) fn new(
        folder: Folder,
        log: Arc<dyn Journal>,
        state: Weak<dyn State>,
        options: StoreOptions,
        alarms: Alarms,
        newest: Option<&Snapshot>,
    ) -> Self {
        let mut keeper = Self {
            log,
            state,
            options,
            alarms,
            kept: Vec::new(),
            is_older_unknown: newest.is_some(),
            job: Job::None,
            orders: Vec::new(),
            is_stopping: false,
            snapshot_retry_ms: 0,
            recycle: recycling::Due::default(),
            compact: compaction::Due::default(),
            room: room::Room::default(),
            disk: disk::Disk::default(),
            stats: Arc::default(),
            folder,
        };
        if let Some(newest) = newest {
            keeper.keep(newest.clone());
        }
        keeper
    }

    /// Takes in the snapshot before the newest, if it can be used. What cannot is no reason to keep a log for.
    fn keep_older(&mut self) {
        let from = self.kept.last().map_or(0, |kept| kept.snapshot.from);
        let older = snapshot::list(&self.folder).unwrap_or_default().into_iter();
        for (_, path) in older.filter(|(lsn, _)| *lsn < from) {
            let done = match Snapshot::open(&self.folder, &path) {
                // A crash came before it was removed.
                Ok(_) if self.kept.len() > 1 => self.folder.files().remove(&path),
                Ok(snapshot) => {
                    self.kept.push(Kept { snapshot, hold: Arc::default() });
                    Ok(())
                }
                Err(fault) => {
                    log::warn!("put aside: {fault}");
                    self.folder.set_aside(&path)
                }
            };
            if let Err(error) = done {
                log::warn!("old snapshot {}: {error}", path.display());
            }
        }
    }

    fn keep(&mut self, snapshot: Snapshot) {
        let mut stats = self.stats.lock();
        stats.snapshot_bytes = snapshot.file_bytes;
        stats.snapshot_from = snapshot.from;
        drop(stats);
        self.kept.insert(0, Kept { snapshot, hold: Arc::default() });
    }

    pub(crate) fn stats(&self) -> Arc<Mutex<KeeperStats>> {
        self.stats.clone()
    }

    /// A snapshot is wanted.
    pub(crate) fn order(&mut self, reply: Reply) {
        self.orders.push(reply);
    }

    /// One last snapshot, and nothing more. What was begun and can be left is left.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
        if let Job::Compact(_) | Job::Recycle(_) = self.job {
            self.job = Job::None;
        }
    }

    /// True when nothing is left to do after [`stop`](Self::stop).
    pub(crate) fn is_stopped(&self, now_ms: u64) -> bool {
        self.is_stopping
            && matches!(self.job, Job::None)
            && (!self.is_snapshot_news() || self.snapshot_retry_ms > now_ms)
    }

    /// Does what can be done at once; returns after how many milliseconds to come again.
    pub(crate) fn step(&mut self, now_ms: u64) -> u64 {
        self.watch_room(now_ms);
        if std::mem::take(&mut self.is_older_unknown) {
            self.keep_older();
        }
        match std::mem::replace(&mut self.job, Job::None) {
            Job::None => self.begin(now_ms),
            Job::Snapshot(job) => self.snapshot_on(job, now_ms),
            Job::Recycle(job) => self.recycle_on(job),
            Job::Compact(job) => self.compact_on(job, now_ms),
        }
    }

    fn begin(&mut self, now_ms: u64) -> u64 {
        if self.is_snapshot_due(now_ms) {
            return self.begin_snapshot(now_ms);
        }
        if self.would_snapshot_free(now_ms) {
            self.make_news(now_ms);
            return self.begin_snapshot(now_ms);
        }
        if self.is_stopping {
            return IDLE_MS;
        }
        if self.begin_recycling(now_ms) || self.begin_compaction(now_ms) {
            return 0;
        }
        IDLE_MS
    }

    /// Segments that end here or before are of no use to any snapshot.
    ///
    /// Two are kept so that one may be found damaged; with a single one, the log before it is what there is to
    /// fall back on.
    fn horizon(&self) -> Lsn {
        match &self.kept[..] {
            [_, older, ..] => older.snapshot.from,
            _ => 0,
        }
    }
}
