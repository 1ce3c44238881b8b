//! Wakers: who waits for which position, in order of position.

use std::collections::VecDeque;
use std::sync::Arc;

use broker_core::Sink;
use broker_core::store::Lsn;

/// Those who wait for one level.
#[derive(Default)]
pub(crate) struct Wakers(VecDeque<(Lsn, Arc<dyn Sink>)>);

impl Wakers {
    /// Enters each of `sinks`. Positions mostly come in order, so that this is mostly an append.
    pub(crate) fn add(&mut self, lsn: Lsn, sinks: &mut Vec<Arc<dyn Sink>>) {
        let new = sinks.drain(..).map(|sink| (lsn, sink));
        if self.0.back().is_none_or(|(last, _)| *last <= lsn) {
            self.0.extend(new);
            return;
        }
        let behind = self.0.partition_point(|(at, _)| *at <= lsn);
        let later = self.0.split_off(behind);
        self.0.extend(new);
        self.0.extend(later);
    }

    /// Moves those who have waited long enough to `ready`.
    pub(crate) fn take(&mut self, safe: Lsn, ready: &mut Vec<Arc<dyn Sink>>) {
        let n = self.0.partition_point(|(lsn, _)| *lsn <= safe);
        ready.extend(self.0.drain(..n).map(|(_, sink)| sink));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicU64);

    impl Sink for Counting {
        fn try_write(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
            Ok(0)
        }

        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_is_taken_at_its_position() {
        let sinks: Vec<Arc<Counting>> = (0..5).map(|_| Arc::default()).collect();
        let mut wakers = Wakers::default();
        for (sink, lsn) in sinks.iter().zip([10, 30, 20, 20, 40]) {
            wakers.add(lsn, &mut vec![sink.clone()]);
        }
        let mut check = |safe, woken: [u64; 5]| {
            let mut ready = Vec::new();
            wakers.take(safe, &mut ready);
            ready.iter().for_each(|sink| sink.wake());
            let counts: Vec<u64> = sinks.iter().map(|s| s.0.load(Ordering::Relaxed)).collect();
            assert_eq!(counts, woken, "safe {safe}");
        };
        check(9, [0, 0, 0, 0, 0]);
        check(20, [1, 0, 1, 1, 0]);
        check(39, [1, 1, 1, 1, 0]);
        check(u64::MAX, [1, 1, 1, 1, 1]);
    }
}
