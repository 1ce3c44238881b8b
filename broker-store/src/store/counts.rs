//! Counts: what the store counts, and words and values for those who ask on the command line.

use super::Opened;
use crate::keeper::KeeperStats;
use crate::manifest::Manifest;
use crate::snapshot::Snapshot;
use crate::stats::Stats;

/// What the start has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// Frames replayed.
    pub frames: u64,
    /// Bytes of the torn tail that was cut off: what had not been acknowledged.
    pub cut_bytes: u64,
    /// Parts of the log, and snapshots, that had been durable and could not be read.
    pub damaged: u64,
    /// Milliseconds that the replay took.
    pub start_ms: u64,
}

impl Found {
    pub(super) fn of(opened: &Opened) -> Self {
        let recovery = &opened.recovery;
        Self {
            frames: recovery.frames,
            cut_bytes: recovery.cut.iter().map(|cut| cut.bytes).sum(),
            damaged: (recovery.damaged.len() + opened.faults.len()) as u64,
            start_ms: opened.took.as_millis() as u64,
        }
    }
}

/// What the store counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStats {
    /// Of the log.
    pub log: Stats,
    /// Of the housekeeping.
    pub keeper: KeeperStats,
    /// Of the start.
    pub found: Found,
    /// Milliseconds since the last snapshot of this process; `None` if there was none.
    pub snapshot_age_ms: Option<u64>,
}

impl Manifest {
    /// Words and values, for people.
    #[must_use]
    pub fn values(&self) -> Vec<(String, String)> {
        let pair = |word: &str, value: u64| (word.to_owned(), value.to_string());
        vec![
            pair("files", self.entries.len() as u64),
            pair("bytes", self.bytes()),
            pair("from", self.from),
            pair("to", self.to),
        ]
    }
}

pub(super) fn snapshot_values(snapshot: &Snapshot) -> Vec<(String, String)> {
    let pair = |word: &str, value: u64| (word.to_owned(), value.to_string());
    vec![
        ("path".to_owned(), snapshot.path.display().to_string()),
        pair("from", snapshot.from),
        pair("to", snapshot.to),
        pair("bytes", snapshot.file_bytes),
    ]
}

impl StoreStats {
    /// Words and values, named like the metrics.
    #[must_use]
    pub fn values(&self) -> Vec<(String, String)> {
        let (log, keeper, found) = (&self.log, &self.keeper, &self.found);
        let amplification = if log.bytes > 0 {
            (log.bytes + keeper.compacted_bytes) as f64 / log.bytes as f64
        } else {
            1.0
        };
        let mut values: Vec<(String, String)> = [
            ("frames", log.frames),
            ("bytes", log.bytes),
            ("syncs", log.syncs),
            ("unsynced_bytes", log.unsynced_bytes),
            ("log_bytes", log.log_bytes),
            ("live_bytes", keeper.live_bytes),
            ("segments", log.segments as u64),
            ("spares", log.spares as u64),
            ("snapshots", keeper.snapshots),
            ("snapshot_bytes", keeper.snapshot_bytes),
            ("snapshot_ms", keeper.snapshot_ms),
            ("compacted_bytes", keeper.compacted_bytes),
            ("retired_segments", keeper.retired_segments),
            ("bodies_read_back", log.bodies_read_back),
            ("sync_failures", log.sync_failures),
            ("write_failures", log.write_failures),
            ("replayed_frames", found.frames),
            ("cut_bytes", found.cut_bytes),
            ("damaged", found.damaged),
            ("start_ms", found.start_ms),
            ("durable_lsn", log.durable_lsn),
            ("end_lsn", log.end_lsn),
        ]
        .into_iter()
        .map(|(word, value)| (word.to_owned(), value.to_string()))
        .collect();
        if let Some(age) = self.snapshot_age_ms {
            values.push(("snapshot_age_s".to_owned(), (age / 1000).to_string()));
        }
        values.push(("write_amplification".to_owned(), format!("{amplification:.2}")));
        values
    }
}
