//! Flapping: clients that connect too often within a while are banned for a while.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::client::ClientId;
use crate::config::FlappingConfig;

#[derive(Default)]
pub(crate) struct Flapping {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Connects since the start of a window.
    clients: HashMap<ClientId, (u32, u64)>,
    /// When those of past windows may be looked for again.
    next_sweep_ms: u64,
}

/// Clients watched at a time; when it is reached those of past windows are forgotten.
const WATCHED_MAX: usize = 100_000;
/// Who floods with new Client Identifiers makes one sweep in so long, not one with each connect.
const SWEEP_MS: u64 = 1_000;

impl Flapping {
    /// Counts a connect. Returns true if it makes the client a flapping one.
    pub(crate) fn count(&self, client_id: &ClientId, limits: &FlappingConfig, now_ms: u64) -> bool {
        let mut seen = self.seen.lock();
        if seen.clients.len() >= WATCHED_MAX
            && !seen.clients.contains_key(client_id)
            && !seen.sweep(limits.window_ms, now_ms)
        {
            return false;
        }
        let (count, since_ms) = seen.clients.entry(client_id.clone()).or_insert((0, now_ms));
        if *since_ms + limits.window_ms <= now_ms {
            (*count, *since_ms) = (0, now_ms);
        }
        *count += 1;
        let is_flapping = *count > limits.count;
        if is_flapping {
            seen.clients.remove(client_id);
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
        let id = ClientId::from("c");
        let seen: Vec<_> =
            [0, 10, 1010, 1020, 1030].map(|at| flapping.count(&id, &limits, at)).to_vec();
        assert_eq!(seen, [false, false, false, false, true]);
    }
    /// A full table costs a connect one look, not a walk over a hundred thousand clients.
    #[test]
    fn a_full_table_is_swept_now_and_then() {
        let limits = FlappingConfig { count: 1, window_ms: 60_000, banned_ms: 1 };
        let flapping = Flapping::default();
        let watched = |id: &str| flapping.seen.lock().clients.contains_key(id);
        for n in 0..WATCHED_MAX {
            flapping.count(&ClientId::from(n.to_string().as_str()), &limits, n as u64 % 60_000);
        }
        for n in 0..WATCHED_MAX {
            let id = ClientId::from(format!("new{n}").as_str());
            assert!(!flapping.count(&id, &limits, 59_999), "nobody is watched in excess");
        }
        // Known ones are counted, and after a sweep there is room.
        assert!(flapping.count(&ClientId::from("7"), &limits, 59_999));
        assert!(!flapping.count(&ClientId::from("7"), &limits, 59_999), "full again");
        flapping.count(&ClientId::from("late"), &limits, 70_000);
        assert!(watched("late") && !watched("8"));
    }
}
