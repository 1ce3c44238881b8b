//! Resting: connections whose clients send faster than their receivers take, and are read a little later.
//!
//! What such a client sends next would only lengthen the queues of its receivers. Read a millisecond after the last
//! time, it has sent more: the same messages, and their acknowledgements, take fewer calls of the system. Nobody rests
//! while the loop has nothing else to do.

use std::collections::VecDeque;

/// How long after it was read a connection may rest.
pub(crate) const REST_US: u64 = 1000;

/// Connections that have something to read, and when each is read at the latest.
#[derive(Default)]
pub(crate) struct Resting(VecDeque<(u64, u64)>);

impl Resting {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The connection of that key rests until then.
    pub(crate) fn add(&mut self, key: u64, until_us: u64) {
        self.0.push_back((key, until_us));
    }

    /// The next one whose rest is over; all are if the loop is idle.
    ///
    /// They end in the order they began in: one that was read later and rests for no longer waits for it, for less than
    /// [`REST_US`].
    pub(crate) fn next_due(&mut self, now_us: u64, is_idle: bool) -> Option<u64> {
        let due = self.0.pop_front_if(|(_, until_us)| is_idle || *until_us <= now_us);
        due.map(|(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_ends_when_it_is_over_or_there_is_nothing_else_to_do() {
        let mut resting = Resting::default();
        resting.add(1, 500);
        resting.add(2, 700);
        assert_eq!(resting.next_due(499, false), None);
        assert_eq!(resting.next_due(500, false), Some(1));
        assert_eq!(resting.next_due(500, false), None);
        assert!(!resting.is_empty());
        assert_eq!(resting.next_due(500, true), Some(2));
        assert_eq!(resting.next_due(500, true), None);
        assert!(resting.is_empty());
    }
}
