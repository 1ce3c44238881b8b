//! The clocks of the machine, which the core takes as an argument.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker_core::Now;

/// What time it is. The monotonic clock starts with the process.
#[must_use]
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now::new(mono(Instant::now()), wall)
}

/// The monotonic clock as [`Now::mono_us`] has it, at a moment that was read already.
pub(crate) fn mono_us(at: Instant) -> u64 {
    mono(at).as_micros() as u64
}

fn mono(at: Instant) -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    // Not from zero: a monotonic 0 means "never" nowhere, but differences must not run below it.
    Duration::from_secs(1000) + at.saturating_duration_since(*START.get_or_init(|| at))
}
