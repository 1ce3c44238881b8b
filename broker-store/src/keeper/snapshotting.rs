//! Snapshotting: a snapshot beside the traffic.
//!
//! The log's end is read (P), then the state is walked, one lock at a time. What the walk saw of a turn that was
//! under way may not be in the log yet, so the turns are let end; then everything appended so far (up to Q) is
//! let become safe. Only then is the snapshot put in place: it shows nothing that a crash could still undo.

use std::sync::Arc;

use broker_core::record::Record;
use broker_core::store::{Lsn, TurnsUnderWay};

use super::{Job as KeeperJob, Keeper, POLL_MS, Segment, Taken};
use crate::alarm::STORE_SNAPSHOT_FAILED;
use crate::snapshot::SnapshotWriter;

/// A snapshot that waits to be put in place.
pub(crate) struct Job {
    writer: SnapshotWriter,
    until: Until,
    /// Segments with bodies that the walk may have seen.
    pinned: Vec<u64>,
    from: Lsn,
    began_ms: u64,
}

enum Until {
    Over(TurnsUnderWay),
    /// Q
    Safe(Lsn),
}

impl Keeper {
    /// The log has grown enough, or somebody asks.
    pub(super) fn is_snapshot_due(&self, now_ms: u64) -> bool {
        if !self.orders.is_empty() {
            return true;
        }
        if now_ms < self.snapshot_retry_ms {
            return false;
        }
        if self.is_stopping {
            return self.is_snapshot_news();
        }
        let newest = self.kept.first().map(|kept| &kept.snapshot);
        let grown = self.log.end().saturating_sub(newest.map_or(0, |it| it.from));
        let last = newest.map_or(0, |it| it.file_bytes);
        let most = if self.is_room_short() {
            // Old segments are worth a snapshot, though not one that writes more than it frees.
            last
        } else {
            self.options.snapshot_log_bytes.max(3 * last).min(self.options.max_log_bytes / 4)
        };
        grown > most.max(self.folder.identity().segment_bytes)
    }

    /// There is little room, and another snapshot or two would give more back than they take. Without one the log
    /// would be full for ever: it is refused what it would have to grow by for the next. Or a segment is to be
    /// given up that the disk has failed on.
    pub(super) fn would_snapshot_free(&self, now_ms: u64) -> bool {
        if now_ms < self.snapshot_retry_ms || self.is_stopping {
            return false;
        }
        let horizon = self.horizon();
        let segments = self.log.segments();
        if segments.iter().any(|it| it.end > horizon && self.is_to_leave(now_ms, it)) {
            return true;
        }
        if !self.is_room_short() {
            return false;
        }
        let closed = segments.split_last().map_or(&[][..], |(_, closed)| closed);
        // Also one that is held by the few bodies in it: they are moved only from behind the horizon.
        let free = closed.iter().filter(|it| it.end > horizon).count() as u64;
        let last = self.kept.first().map_or(0, |kept| kept.snapshot.file_bytes);
        free * self.folder.identity().segment_bytes > 2 * last
    }

    /// Makes sure that the log leads on behind the last snapshot, so that there may be another, and not in a
    /// segment that is to be given up.
    pub(super) fn make_news(&self, now_ms: u64) {
        if self.log.segments().last().is_some_and(|open| self.is_to_leave(now_ms, open)) {
            self.log.roll();
        }
        if !self.is_snapshot_news() {
            let mut nothing = Vec::new();
            Record::KeptUntil { step: 0, session: 0 }.encode(&mut nothing);
            self.log.append(&nothing);
        }
    }

    /// Something was appended since the last one began.
    pub(super) fn is_snapshot_news(&self) -> bool {
        self.kept.first().is_none_or(|kept| self.log.end() > kept.snapshot.from)
    }

    pub(super) fn begin_snapshot(&mut self, now_ms: u64) -> u64 {
        if !self.is_snapshot_news() {
            self.answer_orders(&[]);
            return 0;
        }
        let Some(state) = self.state.upgrade() else {
            self.snapshot_retry_ms = now_ms + RETRY_MS;
            self.refuse_orders("the broker is gone");
            return RETRY_MS;
        };
        state.prepare_snapshot();
        let from = self.log.end();
        let pinned =
            self.log.segments().iter().filter(|it| it.is_pinned).map(|it| it.number).collect();
        let created = SnapshotWriter::create(&self.folder, from);
        let created = created.inspect_err(|_| state.forget_snapshot());
        let written = created.and_then(|mut writer| {
            state.write_snapshot(&mut |block| writer.block(block))?;
            Ok(writer)
        });
        match written {
            Ok(writer) => {
                let until = Until::Over(state.turns_under_way());
                let job = Job { writer, until, pinned, from, began_ms: now_ms };
                self.job = KeeperJob::Snapshot(Box::new(job));
                0
            }
            Err(error) => self.snapshot_failed(&error, now_ms),
        }
    }

    pub(super) fn snapshot_on(&mut self, mut job: Box<Job>, now_ms: u64) -> u64 {
        if let Until::Over(turns) = &job.until
            && turns.are_over()
        {
            job.until = Until::Safe(self.log.end());
        }
        match job.until {
            Until::Safe(to) if to <= self.log.durable() => self.put_in_place(*job, to, now_ms),
            Until::Safe(_) if self.log.is_failed() => {
                let error = std::io::Error::other("the log cannot be written");
                self.snapshot_failed(&error, now_ms)
            }
            _ => {
                self.job = KeeperJob::Snapshot(job);
                POLL_MS
            }
        }
    }

    fn put_in_place(&mut self, job: Job, to: Lsn, now_ms: u64) -> u64 {
        let (pinned, from) = (job.pinned, job.from);
        let snapshot = match job.writer.finish(to) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.snapshot_failed(&error, now_ms),
        };
        log::debug!(
            "snapshot written from={from} to={to} bytes={} blocks={}",
            snapshot.file_bytes,
            snapshot.blocks
        );
        self.keep(snapshot);
        self.alarms.clear(STORE_SNAPSHOT_FAILED);
        let mut stats = self.stats.lock();
        stats.snapshots += 1;
        stats.snapshot_ms = now_ms.saturating_sub(job.began_ms);
        stats.snapshot_done_ms = now_ms;
        drop(stats);
        self.remove_old_snapshots();
        self.answer_orders(&pinned);
        self.recycle.now();
        0
    }

    /// All but the newest two and those that somebody holds.
    fn remove_old_snapshots(&mut self) {
        let mut at = 2;
        while at < self.kept.len() {
            if Arc::strong_count(&self.kept[at].hold) > 1 {
                at += 1;
                continue;
            }
            // Its log goes next, so what cannot be removed now is of no use to anybody.
            let old = self.kept.remove(at).snapshot.path;
            if let Err(error) = self.folder.files().remove(&old) {
                log::warn!("removing snapshot {}: {error}", old.display());
            }
        }
    }

    fn answer_orders(&mut self, pinned: &[u64]) {
        let orders = std::mem::take(&mut self.orders);
        let Some(kept) = self.kept.first().filter(|_| !orders.is_empty()) else { return };
        let snapshot = &kept.snapshot;
        let is_needed = |segment: &Segment| {
            let is_body_home = segment.is_pinned || pinned.contains(&segment.number);
            segment.end > snapshot.from || is_body_home
        };
        let segments: Vec<_> = self
            .log
            .segments()
            .into_iter()
            .filter(|segment| segment.start < snapshot.to.max(snapshot.from + 1))
            .filter(is_needed)
            .filter_map(|segment| Some((segment, self.log.pin(segment.number)?)))
            .collect();
        for order in orders {
            let snapshot = snapshot.clone();
            let taken = Taken { snapshot, segments: segments.clone(), _hold: kept.hold.clone() };
            // Who asked may have gone away.
            let _ = order.send(Ok(taken));
        }
    }

    fn refuse_orders(&mut self, why: &str) {
        for order in self.orders.drain(..) {
            let _ = order.send(Err(why.to_owned()));
        }
    }

    fn snapshot_failed(&mut self, error: &std::io::Error, now_ms: u64) -> u64 {
        // By now nothing of it is left, and a snapshot is what frees space.
        if is_out_of_space(error) && self.log.give_up_spare() {
            return 0;
        }
        let why = format!("writing a snapshot: {error}");
        self.refuse_orders(&why);
        self.alarms.raise(STORE_SNAPSHOT_FAILED, why);
        self.snapshot_retry_ms = now_ms + RETRY_MS;
        POLL_MS
    }
}

pub(crate) fn is_out_of_space(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// Milliseconds from a snapshot that failed to the next.
const RETRY_MS: u64 = 10_000;
