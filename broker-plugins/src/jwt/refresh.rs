//! The keys of a set whose file or URL is looked at again and again, on a thread of its own.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use super::key_set::KeySet;
use super::source::Source;
use crate::workers::{Filler, Outcome, outcome};

/// The keys as they were read last. The thread ends when this is stopped or dropped.
pub(super) struct Jwks {
    shared: Arc<Shared>,
    /// `None` when it is stopped.
    orders: Mutex<Option<Sender<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// How long after a reading nobody can make it begin another.
    pause: Duration,
}

#[derive(Default)]
struct State {
    /// `None` until they could be read for the first time.
    keys: Option<Arc<KeySet>>,
    is_running: bool,
    ended: Option<Instant>,
    is_failing: bool,
    /// Of those that wait for the reading that runs.
    waiting: Vec<Filler<()>>,
}

/// What became of the wish for newer keys.
pub(super) enum Renewal {
    /// They are being read; the outcome comes when they are, or cannot be.
    Begun(Outcome<()>),
    /// They have just been.
    TooSoon,
    /// Too many wait for them.
    Busy,
}

impl Jwks {
    /// Reads a file at once; a URL is waited for by those who need it.
    ///
    /// # Errors
    /// The file has no keys, or there is no thread.
    pub(super) fn begin(source: Source, interval: Duration) -> Result<Self, String> {
        let is_remote = matches!(source, Source::Url { .. });
        let first = if is_remote { None } else { Some(KeySet::parse(&source.read()?)?) };
        let state = State {
            keys: first.map(Arc::new),
            is_running: is_remote,
            ended: (!is_remote).then(Instant::now),
            ..State::default()
        };
        let pause = interval.min(PAUSE);
        let shared = Arc::new(Shared { state: Mutex::new(state), pause });
        let (orders, ordered) = bounded(1);
        let work = {
            let shared = Arc::clone(&shared);
            move || shared.keep_reading(&source, interval, &ordered)
        };
        let thread = thread::Builder::new().name("broker-jwks".into());
        thread.spawn(work).map_err(|error| format!("no thread to read it: {error}"))?;
        Ok(Self { shared, orders: Mutex::new(Some(orders)) })
    }

    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        self.shared.state.lock().keys.clone()
    }

    /// Ends the thread: an idle connection loop may keep the rest for a while.
    pub(super) fn stop(&self) {
        *self.orders.lock() = None;
    }

    /// Whoever has it, the thread among them.
    #[cfg(test)]
    pub(super) fn weak(&self) -> std::sync::Weak<impl Sized + use<>> {
        Arc::downgrade(&self.shared)
    }

    /// Has them read again, for a token whose key is not there.
    pub(super) fn renew(&self) -> Renewal {
        let mut state = self.shared.state.lock();
        if !state.is_running {
            if state.ended.is_some_and(|ended| ended.elapsed() < self.shared.pause) {
                return Renewal::TooSoon;
            }
            let orders = self.orders.lock();
            let Some(orders) = &*orders else { return Renewal::TooSoon };
            state.is_running = true;
            // Full: one stands there already.
            let _ = orders.try_send(());
        }
        if state.waiting.len() >= WAITING_MAX {
            return Renewal::Busy;
        }
        let (filler, outcome) = outcome();
        state.waiting.push(filler);
        Renewal::Begun(outcome)
    }
}

impl Shared {
    fn keep_reading(&self, source: &Source, interval: Duration, ordered: &Receiver<()>) {
        let mut is_due = self.state.lock().is_running;
        let mut wait = interval;
        loop {
            if is_due {
                self.state.lock().is_running = true;
                let read = source.read().and_then(|document| KeySet::parse(&document));
                wait = if read.is_ok() { interval } else { self.pause };
                // It was given before this reading was over, so it is carried out.
                let _ = ordered.try_recv();
                self.end_reading(source, read);
            }
            match ordered.recv_timeout(wait) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => is_due = true,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Keys that could not be read again stay as they are.
    fn end_reading(&self, source: &Source, read: Result<KeySet, String>) {
        let mut state = self.state.lock();
        match read {
            Ok(keys) => {
                if state.is_failing || state.keys.is_none() {
                    log::info!("keys of tokens read from={source} n={}", keys.len());
                }
                state.keys = Some(Arc::new(keys));
                state.is_failing = false;
            }
            Err(why) => {
                // Said once, until it is better again.
                if !state.is_failing {
                    let before = if state.keys.is_some() {
                        "those of before count"
                    } else {
                        "there are none"
                    };
                    log::warn!("keys of tokens cannot be read, {before} from={source}: {why}");
                }
                state.is_failing = true;
            }
        }
        state.is_running = false;
        state.ended = Some(Instant::now());
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|filler| filler.fill(()));
    }
}

/// A key that was never there must not have the server of the keys asked at will.
const PAUSE: Duration = Duration::from_secs(10);
/// Some 2 MB.
const WAITING_MAX: usize = 20_000;
