//! Closing a buffer: everything goes to disk, and nobody waits for the remote side.

use std::io;

use super::{Buffer, DropReason, Item, Lost, Origin, Stage, chunk_of};

impl Buffer {
    /// Takes nothing more and writes everything to disk, what is in delivery too: nobody waits for the remote side.
    ///
    /// # Errors
    /// Those of the file system; what could not be written is counted as dropped.
    pub(in crate::sink) fn close(&self) -> io::Result<()> {
        let mut stage = self.stage.lock();
        if std::mem::replace(&mut stage.is_closed, true) {
            return Ok(());
        }
        let opened = self.open_in(&mut stage);
        let mut memory = self.memory.lock();
        memory.is_closed = true;
        let mut items = std::mem::take(&mut memory.items);
        memory.bytes = 0;
        drop(memory);
        self.arrived.notify_all();
        self.crowded.notify_all();
        self.closing.notify_all();
        let Stage { spool, front, in_flight, .. } = &mut *stage;
        let drop_all = |reason, items: &mut dyn Iterator<Item = &Item>| {
            items.for_each(|item| self.counters.add_dropped(reason, item.owner, 1));
        };
        let Some(spool) = spool else {
            let ahead = in_flight.iter().map(|(item, _)| item);
            drop_all(DropReason::Closed, &mut ahead.chain(&items));
            return opened;
        };
        let mut result = Ok(());
        while !items.is_empty() {
            let (chunk, _) = chunk_of(&mut items);
            let mut lost = Lost::default();
            if let Err(error) = spool.append(&chunk, &mut lost) {
                drop_all(DropReason::Disk, &mut chunk.iter());
                result = Err(error);
            }
            self.drop_lost(DropReason::Full, lost);
        }
        // The oldest file may have gone while some of it was in delivery, just now too.
        let in_memory: Vec<_> = in_flight
            .iter()
            .filter(|(_, origin)| !matches!(origin, Origin::Spool(place) if spool.holds(*place)))
            .collect();
        let ahead = in_memory.iter().map(|(item, _)| item);
        if let Err(error) = spool.replace_front(ahead.chain(front.iter())) {
            let lost = in_memory.iter().filter(|(_, origin)| *origin != Origin::Front);
            drop_all(DropReason::Disk, &mut lost.map(|(item, _)| item));
            result = Err(error);
        }
        let synced = spool.sync();
        result.and(synced)
    }
}
