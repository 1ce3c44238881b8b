//! Flapping: clients that connect too often within a while are banned for a while.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::client::ClientId;
use crate::config::FlappingConfig;

#[derive(Default)]
pub(crate) struct Flapping {
    /// Connects since the start of a window.
    seen: Mutex<HashMap<ClientId, (u32, u64)>>,
}

/// Clients watched at a time; when it is reached those of past windows are forgotten.
const WATCHED_MAX: usize = 100_000;

impl Flapping {
    /// Counts a connect. Returns true if it makes the client a flapping one.
    pub(crate) fn count(&self, client_id: &ClientId, limits: &FlappingConfig, now_ms: u64) -> bool {
        let mut seen = self.seen.lock();
        if seen.len() >= WATCHED_MAX && !seen.contains_key(client_id) {
            seen.retain(|_, (_, since_ms)| *since_ms + limits.window_ms > now_ms);
            if seen.len() >= WATCHED_MAX {
                return false;
            }
        }
        let (count, since_ms) = seen.entry(client_id.clone()).or_insert((0, now_ms));
        if *since_ms + limits.window_ms <= now_ms {
            (*count, *since_ms) = (0, now_ms);
        }
        *count += 1;
        let is_flapping = *count > limits.count;
        if is_flapping {
            seen.remove(client_id);
        }
        is_flapping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connect_beyond_the_threshold_within_the_window_is_flapping() {
        let limits = FlappingConfig { count: 2, window_ms: 1000, banned_ms: 1 };
        let flapping = Flapping::default();
        let id = ClientId::from("c");
        let seen: Vec<_> =
            [0, 10, 1010, 1020, 1030].map(|at| flapping.count(&id, &limits, at)).to_vec();
        assert_eq!(seen, [false, false, false, false, true]);
    }
}
