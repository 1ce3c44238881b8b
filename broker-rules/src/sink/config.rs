//! SinkConfig: what a sink may keep and how it delivers.

use std::path::PathBuf;
use std::time::Duration;

use super::spool::SpoolLimits;

/// What a sink may keep and how it delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkConfig {
    /// Folder for what memory has no room for; `None` keeps everything in memory.
    pub folder: Option<PathBuf>,
    /// Whether the folder is written to; else what lies there already is delivered, and no more.
    pub spills: bool,
    /// Bytes in memory, at least 64 KiB.
    pub memory_bytes_max: usize,
    /// Bytes on disk, at least 256 KiB.
    pub disk_bytes_max: u64,
    /// Bytes of one file; the oldest file goes as a whole when the disk's share is full.
    pub segment_bytes: u64,
    /// After this time an item is dropped.
    pub age_max: Duration,
    /// Items handed to the remote side at once.
    pub batch_items_max: usize,
    /// Bytes handed to it at once; a larger item goes alone.
    pub batch_bytes_max: usize,
    /// How long a batch that is not full waits for more.
    pub linger: Duration,
    /// First pause after a failure; it doubles each time.
    pub retry_min: Duration,
    /// Longest pause after a failure.
    pub retry_max: Duration,
}

impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            folder: None,
            spills: true,
            memory_bytes_max: 4 << 20,
            disk_bytes_max: 1000 << 20,
            segment_bytes: 10 << 20,
            age_max: Duration::from_secs(24 * 60 * 60),
            batch_items_max: 32,
            batch_bytes_max: 1 << 20,
            linger: Duration::ZERO,
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
        }
    }
}

impl SinkConfig {
    pub(super) fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max.max(MEMORY_BYTES_MIN)
    }

    pub(super) fn spool_limits(&self) -> SpoolLimits {
        let bytes_max = self.disk_bytes_max.max(4 * MEMORY_BYTES_MIN as u64);
        // With few segments the oldest one would be most of what is kept.
        SpoolLimits { bytes_max, segment_bytes: self.segment_bytes.clamp(4096, bytes_max / 4) }
    }

    /// Bytes of the largest item. It fits into memory and into a segment, beside others.
    pub(super) fn item_bytes_max(&self) -> usize {
        let in_memory = self.memory_bytes_max() / 4;
        if self.folder.is_none() || !self.spills {
            return in_memory;
        }
        in_memory.min(usize::try_from(self.spool_limits().bytes_max / 4).unwrap_or(in_memory))
    }
}

/// Below this a batch and a few messages would not fit.
const MEMORY_BYTES_MIN: usize = 64 * 1024;
