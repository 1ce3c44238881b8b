//! Timer wheel of one loop: deadlines of its connections, coarse and cheap.

/// Width of a slot in milliseconds; deadlines are met at most so much late.
const TICK_MS: u64 = 64;
/// Slots of one round, some 65 seconds. What is due later waits in its slot for its round.
const SLOTS: usize = 1024;

/// A deadline of the connection `key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) due_ms: u64,
    pub(crate) key: u64,
}

/// Timers are never taken out: one whose deadline has moved is recognised and dropped when it comes up.
pub(crate) struct Timers {
    slots: Box<[Vec<Timer>]>,
    /// The next tick to be looked at.
    tick: u64,
    len: usize,
    /// No timer is due before this tick.
    earliest: u64,
}

impl Timers {
    pub(crate) fn new(now_ms: u64) -> Self {
        let tick = now_ms / TICK_MS;
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), tick, len: 0, earliest: u64::MAX }
    }

    pub(crate) fn insert(&mut self, timer: Timer) {
        // Rounded up, so that a timer never comes early.
        let tick = (timer.due_ms.div_ceil(TICK_MS)).max(self.tick);
        self.slots[tick as usize % SLOTS].push(timer);
        self.len += 1;
        self.earliest = self.earliest.min(tick);
    }

    /// Milliseconds until something may be due; `None` if there is no timer.
    pub(crate) fn wait_ms(&self, now_ms: u64) -> Option<u64> {
        (self.len > 0).then(|| (self.earliest.saturating_mul(TICK_MS)).saturating_sub(now_ms))
    }

    /// Moves the timers that are due to `due`.
    pub(crate) fn expire(&mut self, now_ms: u64, due: &mut Vec<Timer>) {
        let now_tick = now_ms / TICK_MS;
        if now_tick < self.earliest {
            self.tick = self.tick.max(now_tick);
            return;
        }
        // Past a whole round every slot has been seen.
        let first = self.tick.max(now_tick.saturating_sub(SLOTS as u64 - 1));
        for tick in first..=now_tick {
            let slot = &mut self.slots[tick as usize % SLOTS];
            let before = slot.len();
            slot.retain(|timer| {
                let is_due = timer.due_ms <= now_ms;
                if is_due {
                    due.push(*timer);
                }
                !is_due
            });
            self.len -= before - slot.len();
            if slot.is_empty() && slot.capacity() > 64 {
                *slot = Vec::new();
            }
        }
        self.tick = now_tick + 1;
        self.earliest = self.next_occupied();
    }

    /// The first tick from here on whose slot holds anything, be it for a later round.
    fn next_occupied(&self) -> u64 {
        if self.len == 0 {
            return u64::MAX;
        }
        let ticks = self.tick..self.tick + SLOTS as u64;
        ticks.into_iter().find(|t| !self.slots[*t as usize % SLOTS].is_empty()).unwrap_or(self.tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_timer_comes_once_and_never_early(
            delays in prop::collection::vec(0u64..200_000, 1..100),
            steps in prop::collection::vec(1u64..5_000, 1..200),
        ) {
            let mut now = 1_000_000;
            let mut timers = Timers::new(now);
            for (key, delay) in delays.iter().enumerate() {
                timers.insert(Timer { due_ms: now + delay, key: key as u64 });
            }
            let mut seen = Vec::new();
            for step in steps {
                let wait = timers.wait_ms(now);
                now += step;
                let mut due = Vec::new();
                timers.expire(now, &mut due);
                for timer in &due {
                    prop_assert!(timer.due_ms <= now);
                    prop_assert!(wait.is_some());
                }
                seen.extend(due);
                let late = delays.iter().enumerate().filter(|(key, delay)| {
                    1_000_000 + **delay + TICK_MS <= now && !seen.iter().any(|t| t.key == *key as u64)
                });
                prop_assert_eq!(late.count(), 0, "none is late by more than a tick");
            }
            let mut keys: Vec<_> = seen.iter().map(|t| t.key).collect();
            keys.sort_unstable();
            keys.dedup();
            prop_assert_eq!(keys.len(), seen.len(), "none comes twice");
        }
    }
}
