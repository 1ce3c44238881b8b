//! Counters of one sink: what came, what became of it, and why something was dropped.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why an item was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The buffer had no room; the oldest ones went.
    Full,
    /// It had waited too long.
    Expired,
    /// The remote side does not want it, or it is too large to be kept.
    Refused,
    /// Its file was damaged.
    Damaged,
    /// The buffer had no room because the disk took nothing.
    Disk,
    /// The sink was closed and keeps nothing on disk.
    Closed,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Full, Self::Expired, Self::Refused, Self::Damaged, Self::Disk, Self::Closed];

    /// Its name in lists of counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Damaged => "damaged",
            Self::Disk => "disk",
            Self::Closed => "closed",
        }
    }
}

/// Counts since the sink was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) pushed: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) retried: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Counters {
    pub(super) fn drop_items(&self, reason: DropReason, n: u64) {
        if n > 0 {
            self.dropped[reason as usize].fetch_add(n, Ordering::Relaxed);
        }
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }
}

/// Drops that a listener has been told of.
#[derive(Debug, Default)]
pub(super) struct Told([u64; DropReason::ALL.len()]);

impl Told {
    /// What came since the last call, reason by reason.
    pub(super) fn news(&mut self, counters: &Counters) -> Vec<(DropReason, u64)> {
        let mut news = Vec::new();
        for reason in DropReason::ALL {
            let now = counters.dropped(reason);
            let told = std::mem::replace(&mut self.0[reason as usize], now);
            if now > told {
                news.push((reason, now - told));
            }
        }
        news
    }
}
