//! The clocks of the machine, which the core takes as an argument.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use broker_core::Now;

/// What time it is. The monotonic clock starts with the process.
#[must_use]
pub fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let mono = START.get_or_init(Instant::now).elapsed();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Not from zero: a monotonic 0 means "never" nowhere, but differences must not run below it.
    Now { mono_ms: 1_000_000 + mono.as_millis() as u64, wall_ms: wall.as_millis() as u64 }
}
