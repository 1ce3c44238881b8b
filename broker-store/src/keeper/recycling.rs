//! Recycling: segments that nobody needs are given back.
//!
//! A segment may go when it ends before the older snapshot and nobody holds a pin on it. That is not enough: the
//! last owner of a body may have dropped it in memory while the record that says so is not yet safe, and after a
//! crash the body would be owed again. So the turns that were under way when the segment was seen free are let
//! end, and what was appended by then is let become safe.

use broker_core::store::{Lsn, TurnsUnderWay};

use super::{IDLE_MS, Job as KeeperJob, Keeper, POLL_MS};

/// Segments that were seen free.
pub(crate) struct Job {
    numbers: Vec<u64>,
    until: Until,
}

enum Until {
    Over(TurnsUnderWay),
    Safe(Lsn),
}

/// When to look for free segments next.
#[derive(Default)]
pub(super) struct Due {
    at_ms: u64,
}

impl Due {
    /// There may be some.
    pub(super) const fn now(&mut self) {
        self.at_ms = 0;
    }
}

impl Keeper {
    pub(super) fn begin_recycling(&mut self, now_ms: u64) -> bool {
        if now_ms < self.recycle.at_ms {
            return false;
        }
        self.recycle.at_ms = now_ms + IDLE_MS;
        let horizon = self.horizon();
        let segments = self.log.segments().into_iter();
        let is_free = |it: &super::Segment| it.end <= horizon && !it.is_pinned;
        let numbers: Vec<_> = segments.filter(is_free).map(|it| it.number).collect();
        // Without a broker no turn is under way, but neither is anybody there to need the room.
        let Some(state) = self.state.upgrade().filter(|_| !numbers.is_empty()) else {
            return false;
        };
        let until = Until::Over(state.turns_under_way());
        self.job = KeeperJob::Recycle(Job { numbers, until });
        true
    }

    pub(super) fn recycle_on(&mut self, mut job: Job) -> u64 {
        if let Until::Over(turns) = &job.until
            && turns.are_over()
        {
            job.until = Until::Safe(self.log.end());
        }
        match job.until {
            Until::Safe(end) if end <= self.log.durable() => {
                self.retire(&job.numbers);
                0
            }
            Until::Safe(_) if self.log.is_failed() => IDLE_MS,
            _ if !self.orders.is_empty() => 0,
            _ => {
                self.job = KeeperJob::Recycle(job);
                POLL_MS
            }
        }
    }

    fn retire(&mut self, numbers: &[u64]) {
        for number in numbers {
            match self.log.retire(*number) {
                Ok(true) => self.stats.lock().retired_segments += 1,
                // Pinned again by a backup: its time comes.
                Ok(false) => {}
                Err(error) => log::warn!("giving segment {number} back: {error}"),
            }
        }
        self.watch_room_next();
    }
}
