//! Logins that failed, by address: each makes the next one from there wait longer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Who failed lately.
#[derive(Default)]
pub(crate) struct Attempts {
    failed: Mutex<HashMap<IpAddr, Failed>>,
    failures: AtomicU64,
}

struct Failed {
    times: u32,
    last: Instant,
    /// When the next attempt may be looked at.
    free: Instant,
}

impl Attempts {
    /// How long the next attempt from there waits; as an error the seconds after which to come again.
    pub(crate) fn wait(&self, from: IpAddr, now: Instant) -> Result<Duration, u64> {
        let mut failed = self.failed.lock();
        let Some(entry) = failed.get_mut(&network(from)).filter(|entry| entry.counts(now)) else {
            return Ok(Duration::ZERO);
        };
        let wait = entry.free.saturating_duration_since(now);
        if wait > WAIT_MAX {
            return Err(wait.as_secs() + 1);
        }
        // Attempts at the same time stand in line.
        entry.free = entry.free.max(now) + delay(entry.times);
        Ok(wait)
    }

    /// Seconds after which to come again if an attempt from there may not be looked at now.
    pub(crate) fn refuses(&self, from: IpAddr, now: Instant) -> Option<u64> {
        let failed = self.failed.lock();
        let entry = failed.get(&network(from)).filter(|entry| entry.counts(now))?;
        let wait = entry.free.saturating_duration_since(now);
        (wait > Duration::ZERO).then(|| wait.as_secs() + 1)
    }

    /// Notes a failure. True if it is worth a line in the log.
    pub(crate) fn failed(&self, from: IpAddr, now: Instant) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut failed = self.failed.lock();
        let from = network(from);
        if failed.len() >= ADDRESSES && !failed.contains_key(&from) {
            failed.retain(|_, entry| entry.counts(now));
            if failed.len() >= ADDRESSES {
                let oldest = failed.iter().min_by_key(|(_, entry)| entry.last);
                let oldest = oldest.map(|(address, _)| *address);
                oldest.and_then(|address| failed.remove(&address));
            }
        }
        let entry = failed.entry(from).or_insert(Failed { times: 0, last: now, free: now });
        if !entry.counts(now) {
            entry.times = 0;
        }
        entry.times = entry.times.saturating_add(1);
        entry.last = now;
        entry.free = entry.free.max(now + delay(entry.times));
        entry.times.is_power_of_two()
    }

    /// All since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

impl Failed {
    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < FORGET
    }
}

/// One host may have all addresses of an IPv6 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(bits).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A person who mistypes does not notice it; a guesser gets one try in five seconds.
fn delay(times: u32) -> Duration {
    match times {
        0..3 => Duration::ZERO,
        _ => Duration::from_millis(100 << (times - 3).min(6)).min(WAIT_MAX),
    }
}

const WAIT_MAX: Duration = Duration::from_secs(5);
const FORGET: Duration = Duration::from_mins(10);
const ADDRESSES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn failures_slow_their_own_address_down() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for _ in 0..2 {
            attempts.failed(HERE, now);
            assert_eq!(attempts.wait(HERE, now), Ok(Duration::ZERO));
        }
        attempts.failed(HERE, now);
        assert_eq!(attempts.refuses(HERE, now), Some(1));
        assert_eq!(attempts.refuses(HERE, now + Duration::from_millis(100)), None);
        assert_eq!(attempts.wait(HERE, now), Ok(Duration::from_millis(100)));
        assert_eq!(attempts.wait(HERE, now), Ok(Duration::from_millis(200)), "in line");
        for _ in 0..20 {
            attempts.failed(HERE, now);
        }
        assert_eq!(attempts.wait(HERE, now), Ok(WAIT_MAX));
        assert_eq!(attempts.wait(HERE, now), Err(11));
        assert_eq!(attempts.wait([192, 0, 2, 1].into(), now), Ok(Duration::ZERO));
        assert_eq!(attempts.wait(HERE, now + FORGET), Ok(Duration::ZERO));
        assert_eq!(attempts.failures(), 23);
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for host in 0..10_u16 {
            attempts.failed([0x2001, 0xdb8, 0, 0, 0, 0, 0, host].into(), now);
        }
        assert!(
            attempts.wait([0x2001, 0xdb8, 0, 0, 9, 9, 9, 9].into(), now).unwrap() > Duration::ZERO
        );
        assert_eq!(
            attempts.wait([0x2001, 0xdb8, 0, 1, 0, 0, 0, 1].into(), now),
            Ok(Duration::ZERO)
        );
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_oldest() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for n in 0..ADDRESSES as u32 + 20 {
            let from = IpAddr::from(n.to_be_bytes());
            for _ in 0..3 {
                attempts.failed(from, now + Duration::from_millis(n.into()));
            }
        }
        assert_eq!(attempts.failed.lock().len(), ADDRESSES);
        let later = now + Duration::from_secs(8);
        assert_eq!(attempts.wait([0, 0, 0, 1].into(), later), Ok(Duration::ZERO));
    }
}
