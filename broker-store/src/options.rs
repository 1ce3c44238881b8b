//! StoreOptions: the keys of the configuration that the store follows, and their defaults.

use std::path::PathBuf;

/// What `durability.*` and `store.*` say, as far as the store itself is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// `node.data_dir`
    pub dir: PathBuf,
    /// `store.segment_bytes`; counts when a store is made, later what IDENTITY says.
    pub segment_bytes: u64,
    /// `store.spare_segments`
    pub spare_segments: usize,
    /// `store.snapshot_log_bytes`: a snapshot is due once the log has grown by this, or by three times the
    /// last snapshot.
    pub snapshot_log_bytes: u64,
    /// `store.log_min_bytes`: a smaller log is not compacted.
    pub log_min_bytes: u64,
    /// `store.max_log_bytes`
    pub max_log_bytes: u64,
    /// `store.min_free_bytes`: of the file system.
    pub min_free_bytes: u64,
    /// `store.compact_bytes_per_s`
    pub compact_bytes_per_s: u64,
    /// `store.max_unsynced_bytes`
    pub max_unsynced_bytes: usize,
    /// `store.commit_pace_us`
    pub commit_pace_us: u64,
    /// `store.slow_sync_ms`
    pub slow_sync_ms: u64,
    /// `durability.sync_interval_ms`
    pub sync_interval_ms: u64,
    /// `durability.on_damage` is `stop`.
    pub stop_on_damage: bool,
}

impl StoreOptions {
    /// The defaults, for a store in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 64 * MIB,
            spare_segments: 8,
            snapshot_log_bytes: 256 * MIB,
            log_min_bytes: 1024 * MIB,
            max_log_bytes: 16 * 1024 * MIB,
            min_free_bytes: 1024 * MIB,
            compact_bytes_per_s: 32 * MIB,
            max_unsynced_bytes: 64 * MIB as usize,
            commit_pace_us: 1000,
            slow_sync_ms: 100,
            sync_interval_ms: 1000,
            stop_on_damage: false,
        }
    }
}

const MIB: u64 = 1024 * 1024;
