//! Memory: one budget for all that the broker keeps for its clients, and how near to its end it is.
//!
//! What sessions and connections hold is told by the turns that change it, in one sum for each turn. It is an
//! estimate that is rather too high: a message that waits in several queues counts in each of them, for any of them
//! may be the last to hold it. What the allocator adds is not in it.

use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

use crate::alarms::{Report, Severity};
use crate::broker::Broker;
use crate::clock::Now;

/// The budget, `node.memory_limit`.
pub(crate) struct Memory {
    /// In bytes; 0 for none.
    limit: usize,
    /// Below so many bytes there is nothing to be done.
    near: usize,
    /// What sessions and connections hold, but for the queues. A sum of differences, so for a moment below 0.
    held: AtomicIsize,
    /// The alarm is up.
    is_over: AtomicBool,
}

/// How much of the budget is used, in percent; 0 where that is little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pressure(u8);

/// From here on publishers are paced, QoS 0 for slow readers is dropped, and queues go to the store.
const NEAR: u8 = 80;
const OVER: u8 = 100;

/// What a publisher may send in a second as the budget comes near its end, and when it is used up.
const NEAR_BYTES_PER_S: u64 = 1 << 20;
const OVER_BYTES_PER_S: u64 = 16 << 10;
/// A pause does not outlast its cause by more than this.
const PAUSE_MAX_MS: u64 = 5_000;

/// What a session takes whatever it holds: itself, its client, its places in tables and lists.
pub(crate) const SESSION_BYTES: usize = 2 * 1024;
/// What a subscription takes beside its text, and each level of it in the trie.
const SUBSCRIPTION_BYTES: usize = 400;
const LEVEL_BYTES: usize = 160;
/// What a retained message takes beside its weight: its places in the table and the list.
const RETAINED_BYTES: usize = 320;

/// Bytes that a subscription to `filter` is accounted with.
pub(crate) fn subscription_bytes(filter: &str) -> usize {
    SUBSCRIPTION_BYTES + 2 * filter.len() + LEVEL_BYTES * broker_codec::topic::levels(filter)
}

impl Pressure {
    pub(crate) const fn is_near(self) -> bool {
        self.0 >= NEAR
    }

    pub(crate) const fn is_over(self) -> bool {
        self.0 >= OVER
    }

    /// How long a client is not read from that has just published so many bytes: the more, the longer, so that
    /// the heaviest publishers wait and the small messages of the others pass.
    pub(crate) fn pause_ms(self, bytes: u64) -> u64 {
        let left = u64::from(OVER.saturating_sub(self.0)).min(u64::from(OVER - NEAR));
        let span = NEAR_BYTES_PER_S - OVER_BYTES_PER_S;
        let bytes_per_s = OVER_BYTES_PER_S + span * left / u64::from(OVER - NEAR);
        (bytes * 1000 / bytes_per_s).min(PAUSE_MAX_MS)
    }
}

impl Memory {
    pub(crate) const fn new(limit: usize) -> Self {
        let near = limit / 100 * NEAR as usize;
        Self { limit, near, held: AtomicIsize::new(0), is_over: AtomicBool::new(false) }
    }

    /// Sessions and connections hold so many bytes more.
    pub(crate) fn add(&self, bytes: isize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Broker {
    /// Bytes of memory that sessions, connections, queues and retained messages are accounted with.
    ///
    /// Cost: a few loads.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        let held = self.memory.held.load(Ordering::Relaxed).max(0) as usize;
        let retained = self.retained.bytes() + self.retained.len() * RETAINED_BYTES;
        held + self.queue_bytes() + retained
    }

    /// `node.memory_limit` in bytes; 0 for none.
    #[must_use]
    pub const fn memory_limit(&self) -> usize {
        self.memory.limit
    }

    pub(crate) fn pressure(&self) -> Pressure {
        if self.memory.limit == 0 {
            return Pressure::default();
        }
        let used = self.memory_used();
        if used < self.memory.near {
            return Pressure::default();
        }
        let percent = used.saturating_mul(100) / self.memory.limit;
        Pressure(u8::try_from(percent).unwrap_or(u8::MAX))
    }

    /// Raises or clears the alarm. It stays up until there is room again, not just for a moment.
    pub(crate) fn watch_memory(&self, pressure: Pressure, now: Now) {
        let is_over = self.memory.is_over.load(Ordering::Relaxed);
        if is_over == if is_over { pressure.is_near() } else { pressure.is_over() } {
            return;
        }
        if self.memory.is_over.swap(!is_over, Ordering::Relaxed) != is_over {
            // Another thread has found it too.
            return;
        }
        if is_over {
            self.alarms().clear(ALARM, now.wall_ms);
            return;
        }
        let (used, limit) = (self.memory_used().to_string(), self.memory.limit.to_string());
        let summary = format!("{used} bytes are used of {limit}: new connections are refused");
        let report = Report::new(Severity::Error, "memory limit reached", summary);
        let report = report.with_detail("used_bytes", used).with_detail("limit_bytes", limit);
        self.alarms().raise(ALARM, report, now.wall_ms);
    }
}

const ALARM: &str = "memory_limit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_publishers_wait_longest_and_longer_as_the_end_comes_near() {
        let (near, nearer, over) = (Pressure(80), Pressure(90), Pressure(130));
        assert_eq!(near.pause_ms(100), 0, "a small message passes");
        assert_eq!([near, nearer, over].map(|p| p.pause_ms(64 << 10)), [62, 123, 4_000]);
        assert_eq!([near, nearer, over].map(|p| p.pause_ms(256 << 10)), [250, 492, 5_000]);
        assert_eq!(over.pause_ms(u64::from(u32::MAX)), PAUSE_MAX_MS);
    }

    #[test]
    fn a_deep_filter_counts_for_its_levels() {
        assert!(subscription_bytes(&"+/".repeat(1_000)) > 160_000);
        assert!(subscription_bytes("a") < 1_000);
    }
}
