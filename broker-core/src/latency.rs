//! Latency: how long things take, in buckets of which each thread has its own, summed on reading.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// From the arrival of a client's PUBLISH to the moment it is in the outboxes and queues of its receivers.
    ///
    /// A thread looks at the clock once for all it has read in a pass: each PUBLISH of it counts with the time
    /// of the whole pass up to there. One that waited for an extension counts with that wait, in whole
    /// milliseconds. What is delayed or refused is not counted.
    Routing,
    /// From the first PUBLISH of QoS 1 or 2 to a client to its PUBACK or PUBREC, within one connection.
    Acknowledgement,
}

impl Latency {
    /// Everything that is measured.
    pub const ALL: [Self; 2] = [Self::Routing, Self::Acknowledgement];

    /// Upper bounds of the buckets in microseconds, each included; what is above the last has a bucket of its
    /// own.
    pub const BOUNDS_US: [u64; 21] = [
        10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
        500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ];
}

/// Buckets: those of [`Latency::BOUNDS_US`], and the one above.
pub(crate) const BUCKETS: usize = Latency::BOUNDS_US.len() + 1;

/// Latencies as they were read at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Distribution {
    /// How many fell into each bucket of [`Latency::BOUNDS_US`], and into the one above.
    pub buckets: [u64; BUCKETS],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Distribution {
    /// How many were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// The same, in the making. One thread writes.
#[derive(Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Adds `n` that took `us` each. For the one thread that writes.
    pub(crate) fn add(&self, us: u64, n: u64) {
        let at = Latency::BOUNDS_US.partition_point(|bound| *bound < us);
        grow(&self.buckets[at], n);
        grow(&self.sum_us, us.saturating_mul(n));
    }

    /// Adds what was measured so far to `sum`.
    pub(crate) fn add_to(&self, sum: &mut Distribution) {
        for (sum, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        sum.sum_us = sum.sum_us.wrapping_add(self.sum_us.load(Ordering::Relaxed));
    }
}

/// A load and a store: with one writer nothing is lost between them, and no other processor need be asked.
fn grow(number: &AtomicU64, by: u64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_part_of_its_bucket() {
        let histogram = Histogram::default();
        let all = [(0, 0), (10, 0), (11, 1), (1_000, 6), (1_001, 7), (60_000_000, 20)];
        for (us, bucket) in all.into_iter().chain([(60_000_001, 21), (u64::MAX, 21)]) {
            let mut before = Distribution::default();
            histogram.add_to(&mut before);
            histogram.add(us, 2);
            let mut after = Distribution::default();
            histogram.add_to(&mut after);
            before.buckets[bucket] += 2;
            assert_eq!(after.buckets, before.buckets, "{us}");
        }
    }

    #[test]
    fn sums_are_of_all() {
        let histogram = Histogram::default();
        histogram.add(3, 2);
        histogram.add(100, 1);
        let mut sum = Distribution { sum_us: 1, ..Distribution::default() };
        histogram.add_to(&mut sum);
        assert_eq!((sum.count(), sum.sum_us), (3, 107));
    }

    #[test]
    fn bounds_rise() {
        assert!(Latency::BOUNDS_US.is_sorted_by(|a, b| a < b));
    }
}
