//! Counts: what the store counts, and words and values for those who ask on the command line.

use crate::keeper::KeeperStats;
use crate::manifest::Manifest;
use crate::snapshot::Snapshot;
use crate::stats::Stats;

/// What the store counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStats {
    /// Of the log.
    pub log: Stats,
    /// Of the housekeeping.
    pub keeper: KeeperStats,
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
        let (log, keeper) = (&self.log, &self.keeper);
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
