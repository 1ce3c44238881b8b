//! Time as an argument: the core never asks for it.

use std::time::Duration;

/// A reading of both clocks, taken by the shell once per turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; its zero is the shell's choice.
    pub mono_ms: u64,
    /// Microseconds beyond `mono_ms`, below 1,000: for what is measured, not for what is due.
    pub us: u16,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

impl Now {
    /// A reading of two clocks of the embedding program: the time since a moment it has chosen, mostly its
    /// start, and the time since the Unix epoch.
    ///
    /// ```
    /// use std::time::{Instant, SystemTime, UNIX_EPOCH};
    ///
    /// use broker_core::Now;
    ///
    /// let start = Instant::now();
    /// let now = || Now::new(start.elapsed(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    /// assert!(now().wall_ms > 0);
    /// ```
    #[must_use]
    pub const fn new(since_start: Duration, since_epoch: Duration) -> Self {
        Self {
            mono_ms: since_start.as_millis() as u64,
            us: (since_start.subsec_micros() % 1000) as u16,
            wall_ms: since_epoch.as_millis() as u64,
        }
    }

    /// The monotonic clock in microseconds.
    #[must_use]
    pub const fn mono_us(self) -> u64 {
        self.mono_ms * 1000 + self.us as u64
    }

    /// The same moment, later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self { mono_ms: self.mono_ms + ms, wall_ms: self.wall_ms + ms, ..self }
    }
}
