//! Giving back: memory that is held for what is gone, after a burst of messages or clients.

use crate::broker::Broker;

impl Broker {
    /// Gives to the allocator what queues and tables still have of their largest size, where that is much more than
    /// they need. Returns how many bytes that were.
    ///
    /// Cost: the lock of each session for a moment, and that of a table's shard for as long as its entries take to be
    /// moved, which are few for the room they leave. For threads that serve no clients, every few minutes.
    pub fn give_back(&self) -> usize {
        let shards = (0..).map_while(|shard| self.sessions.snapshot(shard));
        let queues: usize = shards.flatten().map(|session| session.lock().queue.shrink()).sum();
        queues + self.sessions.shrink() + self.router.shrink()
    }
}

/// What a collection should have room for, if it has far too much.
pub(crate) fn fitting(len: usize, capacity: usize) -> Option<usize> {
    (capacity > len * 4 && capacity > SMALL).then_some(len * 2)
}

/// Entries that are not worth the trouble.
const SMALL: usize = 64;
