//! Committer: writes what was appended, syncs it, and says so; and what it does when the disk fails.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use broker_core::Sink;
use broker_core::store::Lsn;

use crate::segments::retry;
use crate::shared::Shared;
use crate::stats::State;
use crate::tail::Run;

/// How often in a row what is held is written again, into another file, before the log gives up.
const RESCUES: u32 = 2;
/// Bytes that may gather while the disk is full, as a multiple of `max_unsynced_bytes`.
const FULL_FACTOR: usize = 4;

/// What keeps a commit from being done.
enum Fault {
    /// No space: the same again later.
    Full(io::Error),
    /// The file of that segment is not to be trusted any more.
    Broken(u64, io::Error),
}

pub(crate) struct Committer {
    shared: Arc<Shared>,
    /// What was taken from the tail and is not yet durable, in order.
    held: Vec<Held>,
    /// The position behind it.
    end: Lsn,
    /// When the oldest of it was appended.
    since: Option<Instant>,
    /// Failures since the last sync that succeeded.
    failures: u32,
    ready: Vec<Arc<dyn Sink>>,
}

struct Held {
    run: Arc<Run>,
    written: usize,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let end = shared.durable();
        Self { shared, held: Vec::new(), end, since: None, failures: 0, ready: Vec::new() }
    }

    /// Writes everything that was appended, and syncs it if `sync`. True if that is done.
    pub(crate) fn commit(&mut self, sync: bool) -> bool {
        self.take(sync);
        let is_done = self.try_until_over(sync);
        let held_bytes = self.held.iter().map(|held| held.run.bytes.len()).sum();
        self.shared.end.lock().held_bytes = held_bytes;
        let mut ready = std::mem::take(&mut self.ready);
        self.shared.wake(&mut ready);
        self.ready = ready;
        is_done
    }

    /// Takes what was appended out of the tail. Whoever reads finds it in flight from then on.
    fn take(&mut self, sync: bool) {
        let mut inbox = self.shared.end.lock();
        let bytes = inbox.tail.pending_bytes();
        inbox.pace.start(Instant::now(), bytes, sync);
        let collected = inbox.tail.collect();
        self.end = collected.end;
        if self.since.is_none() {
            self.since = collected.since;
        }
        let mut in_flight = self.shared.in_flight.lock();
        for run in collected.runs {
            let run = Arc::new(run);
            in_flight.push(run.clone());
            self.held.push(Held { run, written: 0 });
        }
    }

    fn try_until_over(&mut self, sync: bool) -> bool {
        loop {
            match self.write().and_then(|()| if sync { self.sync() } else { Ok(()) }) {
                Ok(()) => {
                    if self.shared.state() == State::Full {
                        ::log::info!("the log has space again");
                        self.shared.set_state(State::Working);
                    }
                    return true;
                }
                // A segment made in a hurry takes its space only as it is written.
                Err(Fault::Full(_)) if self.shared.segments.give_up_spare() => {}
                Err(Fault::Full(error)) => return self.wait_for_space(&error),
                Err(Fault::Broken(number, error)) => {
                    self.failures += 1;
                    self.shared.health.lock().last_error = Some(error.to_string());
                    self.shared.segments.distrust(number);
                    if self.failures > RESCUES {
                        return self.give_up(&error);
                    }
                    ::log::error!(
                        "writing the log failed, once more into another file \
                         segment={number} error={error}"
                    );
                    self.unwrite(number);
                    self.shared.health.lock().rescues += 1;
                }
            }
        }
    }

    /// Writes what is held and not yet written.
    fn write(&mut self) -> Result<(), Fault> {
        for at in 0..self.held.len() {
            let start = self.held[at].run.start;
            let (number, offset) = self.shared.segments.place_of(start);
            while self.held[at].written < self.held[at].run.bytes.len() {
                let file = self
                    .shared
                    .segments
                    .writable(number, self.first_held_offset(number))
                    .map_err(|error| self.fault(number, error))?;
                let held = &mut self.held[at];
                let rest = &held.run.bytes[held.written..];
                let place = offset + held.written as u64;
                match retry(|| file.write_at(rest, place)) {
                    Ok(0) => return Err(Fault::Broken(number, io::ErrorKind::WriteZero.into())),
                    Ok(n) => held.written += n,
                    Err(error) => return Err(self.fault(number, error)),
                }
            }
            let end = offset + self.held[at].run.bytes.len() as u64;
            self.shared.segments.written_to(end);
        }
        self.shared.written.store(self.end, Ordering::Release);
        Ok(())
    }

    /// Syncs every file that holds what is not yet durable; then it is.
    fn sync(&mut self) -> Result<(), Fault> {
        let started = Instant::now();
        self.shared.health.lock().syncing_since = Some(started).filter(|_| !self.held.is_empty());
        let synced = self.sync_files();
        self.shared.health.lock().syncing_since = None;
        synced?;
        self.shared.durable.store(self.end, Ordering::Release);
        self.failures = 0;
        self.synced(started);
        self.release();
        Ok(())
    }

    fn sync_files(&self) -> Result<(), Fault> {
        let mut numbers: Vec<u64> =
            self.held.iter().map(|held| self.shared.segments.place_of(held.run.start).0).collect();
        numbers.dedup();
        for number in numbers {
            let file = self
                .shared
                .segments
                .writable(number, self.first_held_offset(number))
                .map_err(|error| self.fault(number, error))?;
            if let Err(error) = retry(|| file.sync_data()) {
                self.shared.counters.sync_failures.fetch_add(1, Ordering::Relaxed);
                // Of no kind is a failed sync harmless, not even for want of space.
                return Err(Fault::Broken(number, error));
            }
        }
        Ok(())
    }

    fn synced(&mut self, started: Instant) {
        if self.held.is_empty() {
            return;
        }
        let now = Instant::now();
        let took = now - started;
        let counters = &self.shared.counters;
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        counters.sync_us.add(took);
        if let Some(since) = self.since.take() {
            counters.commit_wait_us.add(now - since);
        }
        let mut health = self.shared.health.lock();
        health.last_sync = took;
        if took > self.shared.options.slow_sync {
            health.slow_syncs += 1;
            health.last_slow_sync = took;
        }
        health.slowest_sync = health.slowest_sync.max(took);
    }

    /// Lets go of what is durable.
    fn release(&mut self) {
        self.shared.in_flight.lock().clear();
        let mut inbox = self.shared.end.lock();
        for held in self.held.drain(..) {
            if let Ok(run) = Arc::try_unwrap(held.run) {
                inbox.tail.recycle(run.bytes);
            }
        }
    }

    fn fault(&self, number: u64, error: io::Error) -> Fault {
        self.shared.counters.write_failures.fetch_add(1, Ordering::Relaxed);
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full(error),
            _ => Fault::Broken(number, error),
        }
    }

    /// Where in a segment begins what is held of it: from there on a new file would count.
    fn first_held_offset(&self, number: u64) -> u64 {
        let segments = &self.shared.segments;
        let place = |held: &Held| segments.place_of(held.run.start);
        let mut of_segment = self.held.iter().map(place).filter(|(of, _)| *of == number);
        of_segment.next().map_or(0, |(_, offset)| offset)
    }

    /// What is held of a segment has to be written again.
    fn unwrite(&mut self, number: u64) {
        for held in &mut self.held {
            if self.shared.segments.place_of(held.run.start).0 == number {
                held.written = 0;
            }
        }
    }

    fn wait_for_space(&mut self, error: &io::Error) -> bool {
        if self.shared.state() != State::Full {
            ::log::error!("the log has no space left; tried again every second error={error}");
            self.shared.health.lock().last_error = Some(error.to_string());
            self.shared.set_state(State::Full);
        }
        let held: usize = self.held.iter().map(|held| held.run.bytes.len()).sum();
        if held > self.shared.options.max_unsynced_bytes.saturating_mul(FULL_FACTOR) {
            return self.give_up(error);
        }
        self.shared.end.lock().pace.retry_later(Instant::now());
        false
    }

    /// Nothing more is written until the next start. What is held stays readable.
    fn give_up(&self, error: &io::Error) -> bool {
        ::log::error!("the log is given up, nothing becomes durable any more error={error}");
        self.shared.set_state(State::Failed);
        self.shared.wake_all();
        false
    }
}
