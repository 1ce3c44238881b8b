//! Flapping: clients that connect too often within a while are banned for a while.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;

use crate::client::ClientInfo;
use crate::config::FlappingConfig;

#[derive(Default)]
pub(crate) struct Flapping {
    seen: Mutex<Seen>,
    /// Stands for a client: as many identifiers of 64 KB would be too much to keep.
    hasher: RandomState,
}

#[derive(Default)]
struct Seen {
    /// Connects since the start of a window.
    clients: HashMap<u64, (u32, u64)>,
    /// When those of past windows may be looked for again.
    next_sweep_ms: u64,
}

/// Clients watched at a time; when it is reached those of past windows are forgotten.
const WATCHED_MAX: usize = 100_000;
/// Who floods with new Client Identifiers makes one sweep in so long, not one with each connect.
const SWEEP_MS: u64 = 1_000;

impl Flapping {
    /// Counts that a client was let in; one is who has its Client Identifier, user and address. Returns true if that
    /// makes it a flapping one.
    pub(crate) fn count(&self, client: &ClientInfo, limits: &FlappingConfig, now_ms: u64) -> bool {
        let address = client.peer.map(|peer| peer.ip());
        let who = (client.client_id.as_str(), client.username.as_deref(), address);
        self.count_one(self.hasher.hash_one(who), limits, now_ms)
    }

    fn count_one(&self, who: u64, limits: &FlappingConfig, now_ms: u64) -> bool {
        let mut seen = self.seen.lock();
        if seen.clients.len() >= WATCHED_MAX
            && !seen.clients.contains_key(&who)
            && !seen.sweep(limits.window_ms, now_ms)
        {
            return false;
        }
        let (count, since_ms) = seen.clients.entry(who).or_insert((0, now_ms));
        if *since_ms + limits.window_ms <= now_ms {
            (*count, *since_ms) = (0, now_ms);
        }
        *count += 1;
        let is_flapping = *count > limits.count;
        if is_flapping {
            seen.clients.remove(&who);
        }
        is_flapping
    }
}

impl Seen {
    /// Forgets clients of past windows, if that was not just tried. Returns whether there is room.
    fn sweep(&mut self, window_ms: u64, now_ms: u64) -> bool {
        if now_ms >= self.next_sweep_ms {
            self.next_sweep_ms = now_ms + SWEEP_MS;
            self.clients.retain(|_, (_, since_ms)| *since_ms + window_ms > now_ms);
        }
        self.clients.len() < WATCHED_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connect_beyond_the_threshold_within_the_window_is_flapping() {
        let limits = FlappingConfig { count: 2, window_ms: 1000, banned_ms: 1 };
        let flapping = Flapping::default();
        let seen = [0, 10, 1010, 1020, 1030].map(|at| flapping.count_one(1, &limits, at));
        assert_eq!(seen, [false, false, false, false, true]);
    }
    /// A full table costs a connect one look, not a walk over a hundred thousand clients.
    #[test]
    fn a_full_table_is_swept_now_and_then() {
        let limits = FlappingConfig { count: 1, window_ms: 60_000, banned_ms: 1 };
        let flapping = Flapping::default();
        let watched = |who| flapping.seen.lock().clients.contains_key(&who);
        let full = WATCHED_MAX as u64;
        for n in 0..full {
            flapping.count_one(n, &limits, n % 60_000);
        }
        for n in full..2 * full {
            assert!(!flapping.count_one(n, &limits, 59_999), "nobody is watched in excess");
        }
        // Known ones are counted, and after a sweep there is room.
        assert!(flapping.count_one(7, &limits, 59_999));
        assert!(!flapping.count_one(7, &limits, 59_999), "full again");
        flapping.count_one(3 * full, &limits, 70_000);
        assert!(watched(3 * full) && !watched(8));
    }
}
