//! Counters of one sink: what came, what became of it, and why something was dropped; and for each action the same.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use super::item::Owner;
use crate::action::ActionCounters;

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
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) pushed: AtomicU64,
    delivered: AtomicU64,
    retried: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    /// In the upper half of an owner: items of an earlier run are nobody's.
    run: u32,
    /// In the lower half: how many owners there have been.
    n_owners: AtomicU32,
    owners: RwLock<HashMap<Owner, Weak<ActionCounters>>>,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            pushed: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            dropped: Default::default(),
            run: RandomState::new().hash_one(0) as u32,
            n_owners: AtomicU32::new(0),
            owners: RwLock::default(),
        }
    }

    /// From now on the items of this owner are counted there too.
    pub(super) fn add_owner(&self, counters: &Arc<ActionCounters>) -> Owner {
        // An operator would have to make more actions than a process can number.
        let slot = self.n_owners.fetch_add(1, Ordering::Relaxed);
        let owner = Owner(u64::from(self.run) << 32 | u64::from(slot));
        let mut owners = self.owners.write();
        owners.retain(|_, counters| counters.strong_count() > 0);
        owners.insert(owner, Arc::downgrade(counters));
        owner
    }

    /// Takes over the owners of what another sink held.
    pub(super) fn adopt(&self, former: &Self) {
        let owners = former.owners.read();
        self.owners.write().extend(owners.iter().map(|(owner, it)| (*owner, Weak::clone(it))));
    }

    fn owner(&self, owner: Owner) -> Option<Arc<ActionCounters>> {
        self.owners.read().get(&owner)?.upgrade()
    }

    pub(super) fn add_delivered(&self, owner: Owner) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        if let Some(counters) = self.owner(owner) {
            counters.add_success(1);
        }
    }

    pub(super) fn add_retried(&self, owner: Owner) {
        self.retried.fetch_add(1, Ordering::Relaxed);
        if let Some(counters) = self.owner(owner) {
            counters.add_retried(1);
        }
    }

    /// `n` items of an owner are dropped.
    pub(super) fn add_dropped(&self, reason: DropReason, owner: Owner, n: u64) {
        self.add_dropped_of_nobody(reason, n);
        if let Some(counters) = self.owner(owner) {
            if reason == DropReason::Refused {
                counters.add_failed(n)
            } else {
                counters.add_dropped(n)
            }
        }
    }

    /// The same without anybody else to count it.
    pub(super) fn add_dropped_of_nobody(&self, reason: DropReason, n: u64) {
        self.dropped[reason as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(super) fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
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
