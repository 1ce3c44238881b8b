//! Stamp: the moment at which a message was due, in the first bytes of its payload.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes that a payload needs to carry a stamp.
pub(super) const STAMP_BYTES: usize = 12;

const MAGIC: [u8; 4] = *b"bCl1";

/// Nanoseconds since 1970 that never jump within a run, and agree between runs on one machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
    start_ns: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_ns: nanos(since) }
    }

    pub(super) fn ns(self, at: Instant) -> u64 {
        self.start_ns + nanos(at.saturating_duration_since(self.start))
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes the moment into `payload`, which has [`STAMP_BYTES`] at least.
pub(super) fn put(payload: &mut [u8], ns: u64) {
    payload[..4].copy_from_slice(&MAGIC);
    payload[4..STAMP_BYTES].copy_from_slice(&ns.to_be_bytes());
}

/// The moment in `payload`, if it is one of ours.
pub(super) fn read(payload: &[u8]) -> Option<u64> {
    let ns = payload.strip_prefix(&MAGIC)?.first_chunk()?;
    Some(u64::from_be_bytes(*ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_is_read_back() {
        let mut payload = [0; STAMP_BYTES];
        put(&mut payload, 42);
        assert_eq!(read(&payload), Some(42));
        assert_eq!(read(&payload[..11]), None);
        assert_eq!(read(b"something else"), None);
    }
}
