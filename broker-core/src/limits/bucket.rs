//! Bucket: how much of a rate is left at this moment; shared by all who take from it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Rate;

/// A rate with what may be taken of it at once.
///
/// Kept as one number, the moment at which it is full again; taking moves that moment on. Whoever takes more than
/// there is leaves a debt, which those who come after wait for.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    /// On the monotonic clock, in nanoseconds.
    full_at_ns: AtomicU64,
}

const NS_PER_MS: u64 = 1_000_000;
/// No time is longer: a few of them have a sum.
const NS_MAX: u64 = u64::MAX / 4;

impl Bucket {
    /// One that is full.
    #[must_use]
    pub const fn full(rate: Rate) -> Self {
        Self { rate, full_at_ns: AtomicU64::new(0) }
    }

    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one, if there is one at `now_ms` of a clock that does not step back.
    pub fn take_one(&self, now_ms: u64) -> bool {
        let is_there = self.wait_for(1, now_ms).is_none();
        if is_there {
            self.take(1, now_ms);
        }
        is_there
    }

    /// When there will be `amount`, or as much as there can be, if that is not now.
    pub(crate) fn wait_for(&self, amount: u64, now_ms: u64) -> Option<u64> {
        let full_at_ns = self.full_at_ns.load(Ordering::Relaxed).max(ns(now_ms));
        let due_ns = full_at_ns.saturating_add(self.time_of(amount.min(self.rate.amount)));
        let due_ms = due_ns.saturating_sub(self.interval_ns()).div_ceil(NS_PER_MS);
        (due_ms > now_ms).then_some(due_ms)
    }

    /// How much there is.
    pub(crate) fn available(&self, now_ms: u64) -> u64 {
        let full_at_ns = self.full_at_ns.load(Ordering::Relaxed);
        let missing_ns = full_at_ns.saturating_sub(ns(now_ms));
        let left_ns = u128::from(self.interval_ns().saturating_sub(missing_ns));
        let left = left_ns * u128::from(self.rate.amount) / u128::from(self.interval_ns());
        left as u64
    }

    /// Takes so much, there or not.
    pub(crate) fn take(&self, amount: u64, now_ms: u64) {
        let (now_ns, cost_ns) = (ns(now_ms), self.time_of(amount));
        let taken = |full_at_ns: u64| Some(full_at_ns.max(now_ns).saturating_add(cost_ns));
        let _ = self.full_at_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
    }

    /// True if nothing has been taken that has not come back.
    pub(crate) fn is_full(&self, now_ms: u64) -> bool {
        self.full_at_ns.load(Ordering::Relaxed) <= ns(now_ms)
    }

    /// How long it takes until so much has come back.
    fn time_of(&self, amount: u64) -> u64 {
        let all_ns = u128::from(self.interval_ns());
        let time_ns = (u128::from(amount) * all_ns).div_ceil(u128::from(self.rate.amount));
        // A debt of centuries is as good as any longer one.
        u64::try_from(time_ns).unwrap_or(u64::MAX).min(NS_MAX)
    }

    fn interval_ns(&self) -> u64 {
        self.rate.interval_ns.min(NS_MAX)
    }
}

fn ns(ms: u64) -> u64 {
    ms.saturating_mul(NS_PER_MS).min(NS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 5_000_000;

    fn bucket(amount: u64, interval_ms: u64) -> Bucket {
        Bucket::full(Rate::in_ms(amount, interval_ms))
    }

    fn taken(bucket: &Bucket, now_ms: u64, n: usize) -> usize {
        (0..n).filter(|_| bucket.take_one(now_ms)).count()
    }

    #[test]
    fn all_of_it_at_once_and_then_its_share() {
        let bucket = bucket(10, 1_000);
        assert_eq!(taken(&bucket, T, 50), 10);
        assert_eq!(bucket.wait_for(1, T), Some(T + 100));
        assert_eq!(taken(&bucket, T + 99, 50), 0);
        assert_eq!(taken(&bucket, T + 100, 50), 1);
        assert_eq!(taken(&bucket, T, 50), 0, "a clock that steps back gives nothing");
        assert_eq!(taken(&bucket, T + 400, 50), 3);
        assert_eq!(taken(&bucket, T + 3_600_000, 50), 10, "never more than it holds");
    }

    /// One byte at once and a million in a second: of a clock of milliseconds a thousandth would come.
    #[test]
    fn an_interval_below_a_millisecond_is_kept() {
        let bucket = Bucket::full(Rate { amount: 1, interval_ns: 1_000 });
        bucket.take(1_000_000, T);
        assert_eq!(bucket.wait_for(1, T), Some(T + 1_000));
        assert!(!bucket.is_full(T + 999) && bucket.is_full(T + 1_000));
    }

    #[test]
    fn a_debt_is_waited_for() {
        let bucket = bucket(1_000, 1_000);
        bucket.take(3_000, T);
        assert_eq!(bucket.available(T), 0);
        assert_eq!(bucket.wait_for(1, T), Some(T + 2_001));
        assert_eq!(bucket.wait_for(5_000, T), Some(T + 3_000), "more than it holds never comes");
        assert_eq!(bucket.available(T + 2_500), 500);
        assert!(!bucket.is_full(T + 2_999) && bucket.is_full(T + 3_000));
    }

    #[test]
    fn rates_at_both_ends_neither_overflow_nor_stand_still() {
        let (slow, fast) = (bucket(1, 365 * 86_400_000), bucket(u64::from(u32::MAX), 1));
        assert_eq!((taken(&slow, T, 9), taken(&fast, T, 9)), (1, 9));
        for bucket in [&slow, &fast] {
            bucket.take(u64::MAX, T);
            bucket.take(u64::MAX, T);
            assert!(bucket.wait_for(1, T).is_some());
            assert_eq!(bucket.available(T), 0);
        }
        assert_eq!(taken(&bucket(1, 1), u64::MAX, 1), 1);
    }
}
