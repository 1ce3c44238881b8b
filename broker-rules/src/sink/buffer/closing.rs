//! Closing a buffer: everything goes to disk, and nobody waits for the remote side. While that takes nothing, the same
//! is done for what is in delivery.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::{Buffer, DropReason, Item, Lost, Origin, Spool, Stage, chunk_of};

impl Buffer {
    /// Takes nothing more and writes everything to disk, what is in delivery too: nobody waits for the remote side.
    ///
    /// # Errors
    /// Those of the file system; what could not be written is counted as dropped.
    pub(in crate::sink) fn close(&self) -> io::Result<()> {
        self.close_for(None)
    }

    /// The same, and what could not be written, or is pushed from now on, is `heir`'s, which has not begun.
    ///
    /// # Errors
    /// Those of the file system; nothing is lost by them.
    pub(in crate::sink) fn hand_over(&self, heir: &Arc<Self>) -> io::Result<()> {
        heir.counters.adopt(&self.counters);
        self.close_for(Some(heir))
    }

    fn close_for(&self, heir: Option<&Arc<Self>>) -> io::Result<()> {
        let mut stage = self.stage.lock();
        let mut memory = self.memory.lock();
        memory.heir = memory.heir.take().or_else(|| heir.cloned());
        if std::mem::replace(&mut stage.is_closed, true) {
            return Ok(());
        }
        memory.is_closed = true;
        let items = std::mem::take(&mut memory.items);
        memory.bytes = 0;
        drop(memory);
        self.arrived.notify_all();
        self.crowded.notify_all();
        self.closing.notify_all();
        let (left, reason, result) = self.put_away(&mut stage, items);
        match heir {
            Some(heir) => heir.prepend(left),
            None => left.iter().for_each(|it| self.counters.add_dropped(reason, it.owner, 1)),
        }
        result
    }

    /// Writes to disk what is in delivery and what was in memory. Returns what could not be, in its order, and why.
    fn put_away(
        &self,
        stage: &mut Stage,
        mut items: VecDeque<Item>,
    ) -> (Vec<Item>, DropReason, io::Result<()>) {
        // Who has nothing to add leaves the files alone.
        let opened = if items.is_empty() { Ok(()) } else { self.open_in(stage) };
        stage.unopened = None;
        let Stage { spool, front, in_flight, .. } = stage;
        let mut left = Vec::new();
        let Some(spool) = spool.as_mut().filter(|_| self.config.spills) else {
            let ahead = in_flight.iter().filter(|(_, origin)| *origin == Origin::Memory);
            left.extend(ahead.map(|(item, _)| item.clone()));
            left.extend(items);
            let synced = spool.as_mut().map_or(Ok(()), Spool::sync);
            return (left, DropReason::Closed, opened.and(synced));
        };
        let mut result = Ok(());
        while !items.is_empty() {
            let (chunk, _) = chunk_of(&mut items);
            let mut lost = Lost::default();
            if let Err(error) = spool.append(&chunk, &mut lost) {
                left.extend(chunk);
                result = Err(error);
            }
            self.drop_lost(DropReason::Full, lost);
        }
        if let Err(error) = write_front(spool, front, in_flight) {
            let lost = in_flight.iter().filter(|(_, origin)| is_in_memory(spool, *origin));
            left.splice(0..0, lost.map(|(item, _)| item.clone()));
            result = Err(error);
        }
        let synced = spool.sync();
        (left, DropReason::Disk, result.and(synced))
    }

    /// Writes what is in delivery to disk, if there is one: the remote side takes nothing, and the process may be
    /// killed before it does.
    ///
    /// # Errors
    /// Those of the file system; nothing is lost by them yet.
    pub(in crate::sink) fn secure(&self) -> io::Result<()> {
        let mut stage = self.stage.lock();
        let Stage { spool: Some(spool), front, in_flight, is_closed: false, .. } = &mut *stage
        else {
            return Ok(());
        };
        if !self.config.spills {
            return Ok(());
        }
        if in_flight.iter().all(|(_, origin)| !is_in_memory(spool, *origin)) {
            return Ok(());
        }
        write_front(spool, front, in_flight)
    }
}

/// Puts what is in delivery and nowhere on disk in front of all segments, together with what stands there.
fn write_front(
    spool: &mut Spool,
    front: &VecDeque<Item>,
    in_flight: &mut VecDeque<(Item, Origin)>,
) -> io::Result<()> {
    let is_ahead: Vec<_> = in_flight
        .iter()
        .map(|(_, origin)| *origin == Origin::Front || is_in_memory(spool, *origin))
        .collect();
    let ahead = in_flight.iter().zip(&is_ahead).filter(|(_, is_ahead)| **is_ahead);
    spool.replace_front(ahead.map(|((item, _), _)| item).chain(front))?;
    for ((_, origin), _) in in_flight.iter_mut().zip(is_ahead).filter(|(_, is_ahead)| *is_ahead) {
        *origin = Origin::Front;
    }
    Ok(())
}

/// The oldest file may have gone while some of it was in delivery.
fn is_in_memory(spool: &Spool, origin: Origin) -> bool {
    match origin {
        Origin::Memory => true,
        Origin::Front => false,
        Origin::Spool(place) => !spool.holds(place),
    }
}
