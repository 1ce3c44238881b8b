//! Disk: how the log's disk does, what is said about it, and leaving behind what it has failed on.
//!
//! An alarm is over when there was nothing of the kind for a while: one that comes and goes is of use to nobody.

use super::{Keeper, Segment};
use crate::alarm::{STORE_FAILED, STORE_IO_ERROR, STORE_SLOW};
use crate::stats::{Health, State};

/// What was seen last.
#[derive(Default)]
pub(super) struct Disk {
    slow_syncs: u64,
    /// Until then the disk counts as slow.
    slow_until_ms: u64,
    rescues: u64,
    /// Until then the disk is not trusted again.
    failed_until_ms: u64,
}

impl Keeper {
    pub(super) fn watch_disk(&mut self, now_ms: u64, segments: &[Segment]) {
        let health = self.log.health();
        let error = || health.last_error.clone().unwrap_or_default();
        self.tell(health.state == State::Failed, STORE_FAILED, || {
            format!("nothing more is kept: {}", error())
        });
        self.watch_slowness(now_ms, &health);
        if health.rescues > self.disk.rescues {
            self.disk.rescues = health.rescues;
            self.disk.failed_until_ms = now_ms + FAILED_MS;
        }
        // A file that was given up for another one is done with only when its segment is.
        let has_failed = self.disk.rescues > 0
            && (now_ms < self.disk.failed_until_ms || segments.iter().any(|it| it.is_damaged));
        self.tell(has_failed, STORE_IO_ERROR, || {
            format!("the disk has failed, the log went on in another file: {}", error())
        });
    }

    fn watch_slowness(&mut self, now_ms: u64, health: &Health) {
        let under_way = health.syncing_since.map(|since| since.elapsed().as_millis());
        let stuck = under_way.filter(|ms| *ms > u128::from(self.options.slow_sync_ms));
        if health.slow_syncs > self.disk.slow_syncs || stuck.is_some() {
            self.disk.slow_syncs = health.slow_syncs;
            self.disk.slow_until_ms = now_ms + SLOW_MS;
        }
        self.tell(now_ms < self.disk.slow_until_ms, STORE_SLOW, || match stuck {
            Some(ms) => format!("a sync has been under way for {ms} ms"),
            None => format!("a sync has taken {} ms", health.last_slow_sync.as_millis()),
        });
    }

    /// A segment that the disk has failed on is to be given up, and it works again.
    pub(super) fn is_to_leave(&self, now_ms: u64, segment: &Segment) -> bool {
        segment.is_damaged && now_ms >= self.disk.failed_until_ms && !self.log.is_failed()
    }
}

/// Milliseconds for which the disk counts as slow after a slow sync.
const SLOW_MS: u64 = 10_000;
/// Milliseconds without a failure after which it is trusted again.
const FAILED_MS: u64 = 60_000;
