//! Held: how much a buffer holds, and where.

use super::{Buffer, Spool};

/// What a sink holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Items in memory, those in delivery among them.
    pub memory_items: u64,
    /// Their bytes.
    pub memory_bytes: u64,
    /// Items on disk that are not in delivery.
    pub disk_items: u64,
    /// Bytes of the files.
    pub disk_bytes: u64,
}

impl Buffer {
    /// Items in memory and their bytes; items on disk and their bytes. In delivery counts as memory.
    pub(in crate::sink) fn held(&self) -> Held {
        let stage = self.stage.lock();
        let memory = self.memory.lock();
        let ahead = stage.in_flight.iter().map(|(item, _)| item).chain(&stage.front);
        let (n_ahead, ahead_bytes) =
            ahead.fold((0, 0), |(n, bytes), item| (n + 1, bytes + item.weight()));
        Held {
            memory_items: memory.items.len() as u64 + n_ahead,
            memory_bytes: (memory.bytes + ahead_bytes) as u64,
            disk_items: stage.spool.as_ref().map_or(0, Spool::n_unread),
            disk_bytes: stage.spool.as_ref().map_or(0, Spool::bytes),
        }
    }
}
