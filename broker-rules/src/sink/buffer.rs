//! Buffer: the items of one sink in their order: in delivery, in front of the disk, on disk, in memory.
//!
//! It has no thread and no clock. Whoever pushes takes the lock of the memory alone, which nobody holds while a file is
//! written. Lock order: stage, then memory.

mod closing;
mod held;
mod waiting;

pub use held::Held;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::config::SinkConfig;
use super::counters::{Counters, DropReason};
use super::folder::Folder;
use super::item::{Item, Owner};
use super::segment::Place;
use super::spool::{Lost, Spool};

/// The items of one sink.
pub(super) struct Buffer {
    pub(super) config: SinkConfig,
    pub(super) counters: Counters,
    memory: Mutex<Memory>,
    stage: Mutex<Stage>,
    /// Somebody should look: something came, or the sink is being closed.
    arrived: Condvar,
    /// There is something to write or to tell.
    crowded: Condvar,
    /// The sink begins, is being closed, or somebody is in a hurry.
    closing: Condvar,
}

#[derive(Default)]
struct Memory {
    items: VecDeque<Item>,
    /// Of the items, and of those that are just being written to a file.
    bytes: usize,
    /// Counts pushes, so that none is overslept.
    n_pushed: u64,
    has_dropped: bool,
    /// Its threads are at work.
    has_begun: bool,
    is_closed: bool,
    /// Takes what is pushed after the close.
    heir: Option<Arc<Buffer>>,
    /// There is a disk to write to.
    has_spool: bool,
    /// Somebody wants it to be tried again now.
    is_hurried: bool,
    /// The remote side takes nothing at the moment.
    is_failing: bool,
    /// The disk takes nothing at the moment.
    is_disk_failing: bool,
}

/// What lies ahead of the memory.
#[derive(Default)]
struct Stage {
    spool: Option<Spool>,
    /// What an earlier run had in delivery.
    front: VecDeque<Item>,
    in_flight: VecDeque<(Item, Origin)>,
    /// Where the spool is, until it was opened.
    unopened: Option<Box<dyn Folder>>,
    is_closed: bool,
}

/// Where an item in delivery was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Memory,
    Front,
    /// The disk; it ends here.
    Spool(Place),
}

/// What becomes of items that were in delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    Dropped(DropReason),
}

/// What there is to deliver.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// These, in this order.
    Batch(Vec<Item>),
    /// A batch that is not full waits for more, until this time since the Unix epoch, in milliseconds. The number goes
    /// to [`Buffer::wait_arrival`].
    Lingers(u64, u64),
    /// Nothing. The number is the same.
    Nothing(u64),
    /// Nothing yet, there may be more.
    Unknown,
    /// The buffer is closed.
    Closed,
}

/// Why nothing was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The item is larger than the sink takes.
    #[error("too large for the buffer")]
    TooLarge,
    /// The sink is closed.
    #[error("the buffer is closed")]
    Closed,
}

impl Buffer {
    /// An empty buffer. What lies in `folder` is taken up by [`open_spool`](Self::open_spool).
    pub(super) fn new(config: SinkConfig, folder: Option<Box<dyn Folder>>) -> Self {
        Self {
            config,
            counters: Counters::new(),
            memory: Mutex::default(),
            stage: Mutex::new(Stage { unopened: folder, ..Stage::default() }),
            arrived: Condvar::new(),
            crowded: Condvar::new(),
            closing: Condvar::new(),
        }
    }

    /// Takes up what an earlier run has left; what comes meanwhile waits behind it.
    ///
    /// # Errors
    /// Those of the file system. Memory is all there is then.
    pub(super) fn open_spool(&self) -> io::Result<()> {
        self.open_in(&mut self.stage.lock())
    }

    fn open_in(&self, stage: &mut Stage) -> io::Result<()> {
        let Some(folder) = stage.unopened.take() else { return Ok(()) };
        let (spool, found) = Spool::open(folder, self.config.spool_limits())?;
        self.drop_nobodys(DropReason::Damaged, found.n_damaged);
        stage.front = found.front;
        stage.spool = Some(spool);
        self.memory.lock().has_spool = self.config.spills;
        self.arrived.notify_one();
        self.crowded.notify_one();
        Ok(())
    }

    /// Keeps an item, at the cost of the oldest in memory if there is no room. Never waits for disk or remote side.
    pub(super) fn push(&self, owner: Owner, bytes: Bytes, wall_ms: u64) -> Result<(), PushError> {
        if !self.has_room_for(bytes.len()) {
            return Err(PushError::TooLarge);
        }
        self.counters.pushed.fetch_add(1, Ordering::Relaxed);
        let item = Item { pushed_ms: wall_ms, owner, bytes };
        let mut memory = self.memory.lock();
        if memory.is_closed {
            let heir = memory.heir.clone();
            drop(memory);
            return match heir {
                Some(heir) => heir.push(item.owner, item.bytes, wall_ms),
                None => {
                    self.counters.add_dropped_of_nobody(DropReason::Closed, 1);
                    Err(PushError::Closed)
                }
            };
        }
        let had_room = memory.bytes <= self.high_bytes();
        let had_dropped = memory.has_dropped;
        memory.bytes += item.weight();
        memory.items.push_back(item);
        memory.n_pushed += 1;
        if memory.bytes > self.config.memory_bytes_max() {
            self.drop_oldest(&mut memory);
        }
        let is_crowded =
            (memory.has_dropped && !had_dropped) || (had_room && memory.bytes > self.high_bytes());
        let is_news = memory.items.len() == 1 || memory.items.len() == self.config.batch_items_max;
        drop(memory);
        if is_news {
            self.arrived.notify_one();
        }
        if is_crowded {
            self.crowded.notify_one();
        }
        Ok(())
    }

    /// Whether an item of so many bytes is taken at all; if not, it counts as one that was pushed and dropped.
    pub(super) fn has_room_for(&self, len: usize) -> bool {
        let has_room = len <= self.config.item_bytes_max();
        if !has_room {
            self.counters.pushed.fetch_add(1, Ordering::Relaxed);
            self.drop_nobodys(DropReason::Refused, 1);
        }
        has_room
    }

    /// Puts what its predecessor could not write to disk in front of what it holds, at the cost of the oldest.
    fn prepend(&self, items: Vec<Item>) {
        let mut memory = self.memory.lock();
        for item in items.into_iter().rev() {
            memory.bytes += item.weight();
            memory.items.push_front(item);
        }
        self.drop_oldest(&mut memory);
    }

    /// Counts items that are dropped and that no action counts, where the memory is not locked.
    fn drop_nobodys(&self, reason: DropReason, n: u64) {
        if n > 0 {
            self.counters.add_dropped_of_nobody(reason, n);
            self.announce_drops();
        }
    }

    fn drop_lost(&self, reason: DropReason, lost: Lost) {
        let Lost { n, owners } = lost;
        let n_owned: u64 = owners.values().sum();
        for (owner, n) in owners {
            self.counters.add_dropped(reason, owner, n);
        }
        self.counters.add_dropped_of_nobody(reason, n.saturating_sub(n_owned));
        if n > 0 {
            self.announce_drops();
        }
    }

    fn announce_drops(&self) {
        if !std::mem::replace(&mut self.memory.lock().has_dropped, true) {
            self.crowded.notify_one();
        }
    }

    fn drop_oldest(&self, memory: &mut Memory) {
        let reason = if memory.is_disk_failing { DropReason::Disk } else { DropReason::Full };
        while memory.bytes > self.config.memory_bytes_max()
            && let Some(oldest) = memory.items.pop_front()
        {
            memory.bytes -= oldest.weight();
            memory.has_dropped = true;
            self.counters.add_dropped(reason, oldest.owner, 1);
        }
    }

    /// Above this the disk is written to.
    fn high_bytes(&self) -> usize {
        self.config.memory_bytes_max() / 2
    }

    /// What is to be delivered now: what was in delivery already, then the oldest. Expired ones are dropped.
    pub(super) fn take(&self, wall_ms: u64) -> Taken {
        let mut stage = self.stage.lock();
        if stage.is_closed {
            return Taken::Closed;
        }
        let filled = self.fill(&mut stage, wall_ms);
        let mut bytes = 0;
        let batch: Vec<_> = stage
            .in_flight
            .iter()
            .map(|(item, _)| item)
            .take_while(|item| {
                bytes += item.weight();
                bytes <= self.config.batch_bytes_max || bytes == item.weight()
            })
            .take(self.config.batch_items_max.max(1))
            .cloned()
            .collect();
        let Some(first) = batch.first() else { return filled };
        let linger_ms = self.config.linger.as_millis() as u64;
        let until = first.pushed_ms.saturating_add(linger_ms);
        let is_full =
            batch.len() >= self.config.batch_items_max || bytes >= self.config.batch_bytes_max;
        // A clock that was set back must not make it wait for long.
        if let Taken::Nothing(n_pushed) = filled
            && !is_full
            && wall_ms < until
            && first.pushed_ms <= wall_ms
        {
            return Taken::Lingers(until, n_pushed);
        }
        Taken::Batch(batch)
    }

    /// Moves items into delivery until a batch is full or nothing is left. Returns what to answer if there is none.
    fn fill(&self, stage: &mut Stage, wall_ms: u64) -> Taken {
        let age_max_ms = self.config.age_max.as_millis() as u64;
        let is_expired = |item: &Item| wall_ms.saturating_sub(item.pushed_ms) > age_max_ms;
        while stage.in_flight.front().is_some_and(|(item, _)| is_expired(item)) {
            self.settle_in(stage, 1, Outcome::Dropped(DropReason::Expired));
        }
        let mut bytes: usize = stage.in_flight.iter().map(|(item, _)| item.weight()).sum();
        let mut n_expired = 0;
        while stage.in_flight.len() < self.config.batch_items_max.max(1)
            && bytes < self.config.batch_bytes_max.max(1)
        {
            let (item, origin) = match self.next(stage) {
                Ok(next) => next,
                Err(n_pushed) => return Taken::Nothing(n_pushed),
            };
            let is_expired = is_expired(&item);
            bytes += item.weight();
            stage.in_flight.push_back((item, origin));
            if is_expired && stage.in_flight.len() == 1 {
                self.settle_in(stage, 1, Outcome::Dropped(DropReason::Expired));
                bytes = 0;
                n_expired += 1;
                if n_expired == EXPIRED_AT_ONCE_MAX {
                    // Who writes to the disk waits for the same lock.
                    break;
                }
            }
        }
        Taken::Unknown
    }

    /// The oldest item that is not in delivery; if there is none, how many had been pushed by then.
    fn next(&self, stage: &mut Stage) -> Result<(Item, Origin), u64> {
        if let Some(item) = stage.front.pop_front() {
            return Ok((item, Origin::Front));
        }
        // Before the disk is read, so that what is spilled afterwards counts as news.
        let n_pushed = self.memory.lock().n_pushed;
        if let Some(spool) = &mut stage.spool {
            let mut lost = Lost::default();
            let next = spool.next(&mut lost);
            self.drop_lost(DropReason::Damaged, lost);
            if let Some((item, place)) = next {
                return Ok((item, Origin::Spool(place)));
            }
        }
        // Items of the memory in delivery behind some of the disk would have no place at a close: only the front is
        // before all segments. And while the spool is not open, nobody knows what comes before.
        let is_behind_disk = matches!(stage.in_flight.back(), Some((_, Origin::Spool(_))));
        if is_behind_disk || stage.unopened.is_some() {
            return Err(n_pushed);
        }
        let mut memory = self.memory.lock();
        let item = memory.items.pop_front().ok_or(memory.n_pushed)?;
        memory.bytes -= item.weight();
        Ok((item, Origin::Memory))
    }

    /// The oldest `n` in delivery have come to an end.
    pub(super) fn settle(&self, n: usize, outcome: Outcome) {
        let mut stage = self.stage.lock();
        // Closed meanwhile: they are kept for the next run, and delivered twice.
        if !stage.is_closed {
            self.settle_in(&mut stage, n, outcome);
        }
    }

    fn settle_in(&self, stage: &mut Stage, n: usize, outcome: Outcome) {
        let settled: Vec<_> = stage.in_flight.drain(..n.min(stage.in_flight.len())).collect();
        for (item, _) in &settled {
            match outcome {
                Outcome::Delivered => self.counters.add_delivered(item.owner),
                Outcome::Dropped(reason) => self.counters.add_dropped(reason, item.owner, 1),
            }
        }
        if matches!(outcome, Outcome::Dropped(_)) && !settled.is_empty() {
            self.announce_drops();
        }
        let is_front = |(_, origin): &(Item, Origin)| *origin == Origin::Front;
        let had_front = settled.iter().any(is_front);
        let has_front = !stage.front.is_empty() || stage.in_flight.iter().any(is_front);
        let Some(spool) = &mut stage.spool else { return };
        // Neither failure loses anything: more is delivered twice after a restart.
        if had_front && !has_front {
            let _ = spool.forget_front();
        }
        let last = settled.iter().rev().find_map(|(_, origin)| match origin {
            Origin::Spool(place) => Some(*place),
            _ => None,
        });
        if let Some(place) = last {
            let _ = spool.advance(place);
        }
    }

    /// Whether some of the memory should go to disk.
    fn wants_spill(&self, memory: &Memory, wall_ms: u64) -> bool {
        let is_old = |item: &Item| wall_ms.saturating_sub(item.pushed_ms) >= SPILL_AGE_MS;
        memory.has_spool
            && !memory.items.is_empty()
            && (memory.bytes > self.high_bytes()
                || (memory.is_failing && memory.items.front().is_some_and(is_old)))
    }

    /// Writes some of the memory to disk if there is reason to; true if there may be more to write.
    ///
    /// # Errors
    /// Those of the file system; nothing is lost by them yet.
    pub(super) fn spill(&self, wall_ms: u64) -> io::Result<bool> {
        let mut stage = self.stage.lock();
        let Some(spool) = &mut stage.spool else { return Ok(false) };
        let mut memory = self.memory.lock();
        if !self.wants_spill(&memory, wall_ms) {
            return Ok(false);
        }
        let (chunk, weight) = chunk_of(&mut memory.items);
        drop(memory);
        // The stage stays locked, so that nobody takes what comes behind the chunk.
        let mut lost = Lost::default();
        let result = spool.append(&chunk, &mut lost);
        let mut memory = self.memory.lock();
        memory.is_disk_failing = result.is_err();
        if result.is_ok() {
            memory.bytes -= weight;
        } else {
            chunk.into_iter().rev().for_each(|item| memory.items.push_front(item));
        }
        drop(memory);
        self.drop_lost(DropReason::Full, lost);
        result.map(|()| true)
    }

    /// The first item in delivery has to be tried again.
    pub(super) fn note_retry(&self) {
        if let Some((item, _)) = self.stage.lock().in_flight.front() {
            self.counters.add_retried(item.owner);
        }
    }

    /// Whether the remote side takes something at the moment. While it does not, items do not stay in memory alone.
    pub(super) fn set_failing(&self, is_failing: bool) {
        let mut memory = self.memory.lock();
        if memory.is_failing != is_failing {
            memory.is_failing = is_failing;
            drop(memory);
            self.crowded.notify_one();
        }
    }

    /// What was dropped is told of: the next drop is news again.
    pub(super) fn forget_drops(&self) {
        self.memory.lock().has_dropped = false;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.memory.lock().is_closed
    }
}

/// Takes a bounded number of the oldest items, and says what they weigh.
fn chunk_of(items: &mut VecDeque<Item>) -> (Vec<Item>, usize) {
    let (mut chunk, mut weight) = (Vec::new(), 0);
    while let Some(item) = items.front() {
        if !chunk.is_empty() && weight + item.weight() > CHUNK_BYTES_MAX {
            break;
        }
        weight += item.weight();
        chunk.extend(items.pop_front());
    }
    (chunk, weight)
}

/// What is written at once.
const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// Bounds how long the lock of the stage is held.
const EXPIRED_AT_ONCE_MAX: usize = 1_000;
/// While the remote side takes nothing, items go to disk at this age.
const SPILL_AGE_MS: u64 = 1_000;

#[cfg(test)]
mod tests;
