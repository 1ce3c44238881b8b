//! Gauge: a number that goes up and down, and the highest it has been.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of things there are, with its high-water mark: kept at every change, not when somebody looks.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    now: AtomicUsize,
    max: AtomicUsize,
}

impl Gauge {
    /// There are `n` more.
    pub(crate) fn add(&self, n: usize) {
        let now = self.now.fetch_add(n, Ordering::Relaxed) + n;
        if now > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// There are `n` fewer.
    pub(crate) fn sub(&self, n: usize) {
        self.now.fetch_sub(n, Ordering::Relaxed);
    }

    /// How many there are.
    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// How many there have been at most.
    pub(crate) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_value_stays() {
        let gauge = Gauge::default();
        gauge.add(2);
        gauge.sub(1);
        gauge.add(1);
        assert_eq!((gauge.now(), gauge.max()), (2, 2));
        gauge.add(3);
        gauge.sub(5);
        assert_eq!((gauge.now(), gauge.max()), (0, 5));
    }
}
