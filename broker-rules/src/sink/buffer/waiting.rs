//! What the threads of a sink wait for.

use std::time::Duration;

use super::{Buffer, SPILL_AGE_MS};

impl Buffer {
    /// Waits until something was pushed since `n_pushed` was seen, the buffer is closed, or the time is over.
    pub(in crate::sink) fn wait_arrival(&self, n_pushed: u64, at_most: Option<Duration>) {
        let mut memory = self.memory.lock();
        if memory.is_closed || memory.n_pushed != n_pushed {
            return;
        }
        match at_most {
            Some(at_most) => {
                self.arrived.wait_for(&mut memory, at_most);
            }
            None => self.arrived.wait(&mut memory),
        }
    }

    /// Waits until there is something to spill or to tell; false when it is closed.
    pub(in crate::sink) fn wait_crowded(&self, wall_ms: u64) -> bool {
        let mut memory = self.memory.lock();
        if !memory.is_closed && !self.wants_spill(&memory, wall_ms) {
            if memory.is_failing || memory.has_dropped {
                self.crowded.wait_for(&mut memory, Duration::from_millis(SPILL_AGE_MS));
            } else {
                self.crowded.wait(&mut memory);
            }
        }
        !memory.is_closed
    }

    /// Lets the threads go to work.
    pub(in crate::sink) fn begin(&self) {
        self.memory.lock().has_begun = true;
        self.closing.notify_all();
    }

    /// Waits until the sink begins or is closed.
    pub(in crate::sink) fn wait_begin(&self) {
        let mut memory = self.memory.lock();
        while !memory.has_begun && !memory.is_closed {
            self.closing.wait(&mut memory);
        }
    }

    /// Waits, unless the buffer is closed or somebody is in a hurry.
    pub(in crate::sink) fn pause(&self, at_most: Duration) {
        let mut memory = self.memory.lock();
        if !memory.is_closed && !memory.is_hurried {
            self.closing.wait_for(&mut memory, at_most);
        }
    }

    /// Ends the pause after a failure.
    pub(in crate::sink) fn hurry(&self) {
        self.memory.lock().is_hurried = true;
        self.closing.notify_all();
    }

    /// Whether somebody was in a hurry since the last call.
    pub(in crate::sink) fn take_hurry(&self) -> bool {
        std::mem::take(&mut self.memory.lock().is_hurried)
    }
}
