//! Growth: how far the log may grow before somebody looks at its disk again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Set by those who look, and compared with at the beginning of each segment: a log that grows fast must not run
/// past its bounds between two looks.
pub(crate) struct Growth {
    /// Segments in use that there may be.
    max_segments: AtomicU64,
    /// Number of the last segment that the disk has space for.
    last_segment: AtomicU64,
    is_full: AtomicBool,
}

impl Default for Growth {
    fn default() -> Self {
        Self {
            max_segments: AtomicU64::new(u64::MAX),
            last_segment: AtomicU64::new(u64::MAX),
            is_full: AtomicBool::new(false),
        }
    }
}

impl Growth {
    /// Somebody has looked.
    pub(crate) fn set(&self, max_segments: u64, last_segment: u64, is_full: bool) {
        self.max_segments.store(max_segments, Ordering::Relaxed);
        self.last_segment.store(last_segment, Ordering::Relaxed);
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Segment `number` is begun, and so many are in use with it.
    pub(super) fn began(&self, number: u64, in_use: usize) {
        let is_beyond = in_use as u64 > self.max_segments.load(Ordering::Relaxed)
            || number > self.last_segment.load(Ordering::Relaxed);
        if is_beyond {
            self.is_full.store(true, Ordering::Relaxed);
        }
    }

    /// There is no room, whatever was seen last.
    pub(super) fn fill(&self) {
        self.is_full.store(true, Ordering::Relaxed);
    }

    /// What must be kept is to be refused.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }
}

/// Bytes that are to be left, as spares or as free space, when a segment is begun; else what must be kept is refused.
///
/// The new segment is then for what makes room, such as acknowledgements, and another can be given up for a snapshot.
pub(super) fn reserve_bytes(min_free_bytes: u64, segment_bytes: u64) -> u64 {
    min_free_bytes.max(2 * segment_bytes)
}

/// The same for the rest of the time: where nobody else gives space back, snapshots take a little of the reserve.
pub(crate) fn floor_bytes(min_free_bytes: u64, segment_bytes: u64) -> u64 {
    min_free_bytes.max(segment_bytes + segment_bytes / 2)
}
