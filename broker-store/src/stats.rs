//! Stats: what the log counts, and how it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use broker_core::store::Lsn;

/// Buckets of a histogram: 1, 2, 4 … microseconds, the last from about half a minute on.
pub const BUCKETS: usize = 26;

/// Counts durations by powers of two of a microsecond.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

/// What a histogram has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    /// How many took less than 1, 2, 4 … microseconds and not less than the one before.
    pub buckets: [u64; BUCKETS],
    /// Microseconds in all.
    pub sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_us: AtomicU64::new(0) }
    }
}

impl Histogram {
    pub(crate) fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Durations {
        Durations {
            buckets: std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

/// Counted by the committer and the readers.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) syncs: AtomicU64,
    pub(crate) write_failures: AtomicU64,
    pub(crate) sync_failures: AtomicU64,
    pub(crate) bodies_read_back: AtomicU64,
    pub(crate) sync_us: Histogram,
    pub(crate) commit_wait_us: Histogram,
}

/// What the log has done since it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Frames appended.
    pub frames: u64,
    /// Bytes appended, with headers.
    pub bytes: u64,
    /// Syncs that have succeeded.
    pub syncs: u64,
    /// Time of each sync.
    pub sync_us: Durations,
    /// For each sync, how long the oldest frame had waited for it since it was appended.
    pub commit_wait_us: Durations,
    /// Bytes appended and not yet durable.
    pub unsynced_bytes: u64,
    /// Writes that have failed.
    pub write_failures: u64,
    /// Syncs that have failed.
    pub sync_failures: u64,
    /// Bodies read back.
    pub bodies_read_back: u64,
    /// The position behind the last frame.
    pub end_lsn: Lsn,
    /// Everything before is durable.
    pub durable_lsn: Lsn,
    /// Segments in use.
    pub segments: usize,
    /// Spare files.
    pub spares: usize,
    /// Bytes of segments and spares.
    pub log_bytes: u64,
}

/// Whether the log can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// It can.
    #[default]
    Working,
    /// There is no space; tried again every second.
    Full,
    /// The disk has failed more often than there are second chances. It stays so until the next start.
    Failed,
    /// It was closed.
    Closed,
}

/// How the log is: what alarms are made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    /// Whether it can write.
    pub state: State,
    /// Failures to write or sync that were got over by writing everything again, into another file.
    pub rescues: u64,
    /// What failed last.
    pub last_error: Option<String>,
    /// How long the last sync took.
    pub last_sync: Duration,
    /// Syncs that took longer than [`slow_sync`](crate::log::LogOptions::slow_sync).
    pub slow_syncs: u64,
    /// How long the last of those took.
    pub last_slow_sync: Duration,
    /// When the sync began that is under way, if one is.
    pub syncing_since: Option<Instant>,
    /// How long the slowest took.
    pub slowest_sync: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_by_powers_of_two() {
        let histogram = Histogram::default();
        for us in [0, 1, 3, 1_000, u64::MAX] {
            histogram.add(Duration::from_micros(us));
        }
        let read = histogram.read();
        for (bucket, count) in [(0, 1), (1, 1), (2, 1), (10, 1), (BUCKETS - 1, 1)] {
            assert_eq!(read.buckets[bucket], count, "{bucket}");
        }
    }
}
