//! Totals: what has happened in worlds, to know that enough has.

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Totals {
    pub steps: u64,
    pub routed: u64,
    pub received: u64,
    pub connections: u64,
    pub take_overs: u64,
    pub resumed: u64,
    pub wills: u64,
    pub delayed: u64,
    pub waited_for_disk: u64,
    pub queue_full: u64,
    pub outbox_full: u64,
    pub too_large: u64,
    pub expired: u64,
    pub crashes: u64,
    /// Passes that were under way at a crash, and ended with it.
    pub cut_short: u64,
    /// Restarts from a snapshot.
    pub snapshots: u64,
    /// Sessions that came through a crash.
    pub restored: u64,
    /// Exchanges that went on after a crash.
    pub went_on: u64,
    /// Changes that were not synced at a crash, and are undone.
    pub lost: u64,
    pub digest: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        let digest = self.digest ^ other.digest;
        for (sum, n) in self.counts().into_iter().zip(other.clone().counts()) {
            *sum += *n;
        }
        self.digest = digest;
    }

    pub fn has_seen_everything(&self) -> bool {
        self.clone().counts().into_iter().all(|n| *n > 0)
    }

    fn counts(&mut self) -> [&mut u64; 19] {
        [
            &mut self.steps,
            &mut self.routed,
            &mut self.received,
            &mut self.connections,
            &mut self.take_overs,
            &mut self.resumed,
            &mut self.wills,
            &mut self.delayed,
            &mut self.waited_for_disk,
            &mut self.queue_full,
            &mut self.outbox_full,
            &mut self.too_large,
            &mut self.expired,
            &mut self.crashes,
            &mut self.cut_short,
            &mut self.snapshots,
            &mut self.restored,
            &mut self.went_on,
            &mut self.lost,
        ]
    }
}
