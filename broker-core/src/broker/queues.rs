//! Queues: the memory that all of them take, and when they leave what they can to the store.

use std::sync::atomic::Ordering;

use super::Broker;
use crate::store::Condition;

impl Broker {
    /// True while nothing can be recorded, and what would have to be is refused.
    pub(crate) fn refuses_records(&self) -> bool {
        self.durability.refuse_when_unavailable
            && self.store.as_ref().is_some_and(|s| s.condition() == Condition::Unavailable)
    }

    /// Queues hold `by` bytes more in memory. Returns true if they should leave what they can to the store.
    pub(crate) fn queues_grew(&self, by: isize) -> bool {
        let max = self.durability.queue_memory_bytes;
        let held = self.queue_bytes.fetch_add(by, Ordering::Relaxed) + by;
        max > 0 && held > max as isize
    }

    /// True while memory is short and queues can go to the store.
    pub(super) fn wants_queues_stored(&self) -> bool {
        self.queues_grew(0) || (self.store.is_some() && self.pressure().is_near())
    }

    /// Bytes of queued messages in memory.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        self.queue_bytes.load(Ordering::Relaxed).max(0) as usize
    }

    /// Has sessions without a connection leave what they can to the store, if memory is short.
    pub(super) fn sweep_queues(&self, now_ms: u64) {
        if !self.wants_queues_stored() || self.queue_sweep_ms.load(Ordering::Relaxed) > now_ms {
            return;
        }
        self.queue_sweep_ms.store(now_ms + QUEUE_SWEEP_MS, Ordering::Relaxed);
        let shard = self.queue_sweep_shard.fetch_add(1, Ordering::Relaxed);
        let Some(sessions) = self.sessions.snapshot(shard) else {
            self.queue_sweep_shard.store(0, Ordering::Relaxed);
            return;
        };
        for session in sessions.iter().filter(|session| !session.is_connected()) {
            let mut state = session.lock();
            if state.is_durable {
                state.queue.let_go_newest();
                let growth = state.queue.growth();
                self.queues_grew(growth);
            }
        }
    }
}

/// Pause between two shards whose sessions leave their queues to the store.
const QUEUE_SWEEP_MS: u64 = 50;
