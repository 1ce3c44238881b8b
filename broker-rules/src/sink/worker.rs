//! Worker: hands batches to the remote side, one after the other, and pauses after failures.
//!
//! It decides what is next from times it is given; the thread that runs it does the waiting.

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use broker_core::Now;
use parking_lot::Mutex;

use super::buffer::{Buffer, Outcome, Taken};
use super::counters::DropReason;
use super::item::Item;

/// The far end of a sink: an HTTP server, a broker.
pub trait Remote: Send {
    /// Delivers items, the first one first, and reports each as soon as its fate is known. Those that were not
    /// reported come again, together with later ones.
    ///
    /// Whatever it waits for needs an end of its own; [`Report::is_stopping`] tells when to give up early.
    ///
    /// # Errors
    /// The remote side takes nothing at the moment; after a pause it is tried again.
    fn deliver(&mut self, items: &[Item], report: &mut Report<'_>) -> Result<(), Trouble>;

    /// Called while there is nothing to deliver, to keep a connection. Returns when to call it again, `None` for not
    /// before the next item.
    ///
    /// # Errors
    /// The connection is gone; after a pause it is called again.
    fn handle_idle(&mut self) -> Result<Option<Duration>, Trouble> {
        Ok(None)
    }

    /// Called once, when nothing is to be delivered any more.
    fn close(&mut self) {}
}

/// Why the remote side takes nothing. The text goes to logs and to the API: no password, header or payload in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

/// What became of the items of one batch, in their order.
pub struct Report<'a> {
    buffer: &'a Buffer,
    fate: &'a Fate,
    n_settled: usize,
}

impl Report<'_> {
    /// The next `n` items were taken by the remote side.
    pub fn delivered(&mut self, n: usize) {
        self.n_settled += n;
        self.buffer.settle(n, Outcome::Delivered);
    }

    /// The remote side does not want the next item and will not want it later either.
    pub fn refused(&mut self, why: String) {
        self.n_settled += 1;
        self.fate.note(why);
        self.buffer.settle(1, Outcome::Dropped(DropReason::Refused));
    }

    /// Whether the sink is being closed.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.buffer.is_closed()
    }

    /// A report of a batch that goes to `buffer`.
    pub(super) const fn new<'a>(buffer: &'a Buffer, fate: &'a Fate) -> Report<'a> {
        Report { buffer, fate, n_settled: 0 }
    }
}

/// Whether the remote side takes anything, as far as it was tried.
#[derive(Debug, Default)]
pub(super) struct Fate(Mutex<FateNow>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FateNow {
    /// `None` before the first attempt.
    pub(super) is_up: Option<bool>,
    pub(super) last_error: Option<String>,
}

impl Fate {
    fn note(&self, why: String) {
        self.0.lock().last_error = Some(why);
    }

    /// Returns whether that is a change.
    fn set(&self, trouble: Option<&Trouble>) -> bool {
        let mut now = self.0.lock();
        let is_up = trouble.is_none();
        if let Some(trouble) = trouble {
            now.last_error = Some(trouble.0.clone());
        }
        now.is_up.replace(is_up) != Some(is_up)
    }

    pub(super) fn now(&self) -> FateNow {
        self.0.lock().clone()
    }
}

/// What the worker's thread does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Another step at once.
    Again,
    /// Waits for a push after the number given, at most so long.
    Arrival(u64, Option<Duration>),
    /// Waits so long.
    Pause(Duration),
    /// It is over.
    End,
}

/// Delivers the items of one buffer.
pub(super) struct Worker {
    name: Arc<str>,
    buffer: Arc<Buffer>,
    fate: Arc<Fate>,
    remote: Box<dyn Remote>,
    backoff: Backoff,
}

impl Worker {
    pub(super) fn new(
        name: Arc<str>,
        buffer: Arc<Buffer>,
        fate: Arc<Fate>,
        remote: Box<dyn Remote>,
    ) -> Self {
        let backoff = Backoff::new(buffer.config.retry_min, buffer.config.retry_max);
        Self { name, buffer, fate, remote, backoff }
    }

    /// Delivers one batch, if there is one and it is time.
    pub(super) fn step(&mut self, now: Now) -> Next {
        if self.buffer.is_closed() {
            self.remote.close();
            return Next::End;
        }
        if self.buffer.take_hurry() {
            self.backoff.end_pause();
        }
        if let Some(left_ms) = self.backoff.left_ms(now.mono_ms) {
            return Next::Pause(Duration::from_millis(left_ms));
        }
        match self.buffer.take(now.wall_ms) {
            Taken::Batch(items) => self.deliver(&items, now),
            // Not a pause: one that is full goes at once.
            Taken::Lingers(until_ms, n_pushed) => {
                let left_ms = until_ms.saturating_sub(now.wall_ms);
                Next::Arrival(n_pushed, Some(Duration::from_millis(left_ms)))
            }
            Taken::Unknown => Next::Again,
            Taken::Nothing(n_pushed) => match guarded(|| self.remote.handle_idle()) {
                Ok(at_most) => Next::Arrival(n_pushed, at_most),
                Err(trouble) => self.fail(&trouble, now),
            },
            Taken::Closed => Next::End,
        }
    }

    fn deliver(&mut self, items: &[Item], now: Now) -> Next {
        let mut report = Report::new(&self.buffer, &self.fate);
        let remote = &mut self.remote;
        let result = guarded(|| remote.deliver(items, &mut report));
        let n_settled = report.n_settled;
        if n_settled > 0 {
            self.backoff.reset();
        }
        match result {
            Ok(()) if n_settled > 0 => {
                self.succeed();
                Next::Again
            }
            // Else it would be tried without an end, and without a pause.
            Ok(()) => self.fail(&Trouble("nothing was delivered".to_owned()), now),
            Err(_) if self.buffer.is_closed() => Next::Again,
            Err(trouble) => {
                self.buffer.note_retry();
                self.fail(&trouble, now)
            }
        }
    }

    fn succeed(&self) {
        if self.fate.set(None) {
            log::info!("sink delivers sink={}", self.name);
            self.buffer.set_failing(false);
        }
    }

    fn fail(&mut self, trouble: &Trouble, now: Now) -> Next {
        if self.fate.set(Some(trouble)) {
            log::warn!("sink does not deliver: {trouble} sink={}", self.name);
            self.buffer.set_failing(true);
        }
        if let Err(error) = self.buffer.secure() {
            log::debug!("sink cannot write to its folder: {error} sink={}", self.name);
        }
        let pause_ms = self.backoff.fail(now.mono_ms);
        Next::Pause(Duration::from_millis(pause_ms))
    }
}

/// A fault of ours must not end the thread, and with it every delivery.
fn guarded<T>(run: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(Trouble("the resource has a fault".to_owned())))
}

/// The pauses after failures: each twice as long as the one before, less up to a half by chance, so that many sinks
/// do not come back at the same moment.
#[derive(Debug)]
struct Backoff {
    min_ms: u64,
    max_ms: u64,
    n_failures: u32,
    until_ms: u64,
    chance: RandomState,
}

impl Backoff {
    fn new(min: Duration, max: Duration) -> Self {
        let (min_ms, max_ms) = (min.as_millis() as u64, max.as_millis() as u64);
        let min_ms = min_ms.max(1);
        Self {
            min_ms,
            max_ms: max_ms.max(min_ms),
            n_failures: 0,
            until_ms: 0,
            chance: RandomState::new(),
        }
    }

    /// What is left of a pause.
    fn left_ms(&self, mono_ms: u64) -> Option<u64> {
        (self.n_failures > 0 && mono_ms < self.until_ms).then(|| self.until_ms - mono_ms)
    }

    fn fail(&mut self, mono_ms: u64) -> u64 {
        let factor = 1_u64.checked_shl(self.n_failures).unwrap_or(u64::MAX);
        let whole_ms = self.min_ms.saturating_mul(factor).min(self.max_ms);
        self.n_failures = (self.n_failures + 1).min(63);
        let part_ms = self.chance.hash_one((mono_ms, self.n_failures)) % (whole_ms / 2 + 1);
        let pause_ms = whole_ms - part_ms;
        self.until_ms = mono_ms.saturating_add(pause_ms);
        pause_ms
    }

    const fn end_pause(&mut self) {
        self.until_ms = 0;
    }

    const fn reset(&mut self) {
        self.n_failures = 0;
    }
}

#[cfg(test)]
mod tests;
