//! Shared: what those who append, the committer and the readers have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use broker_core::Sink;
use broker_core::store::{Appended, Condition, Level, Lsn, Pin};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::frame::Flags;
use crate::log::LogOptions;
use crate::pace::{Load, Pace, Plan};
use crate::segments::Segments;
use crate::stats::{Counters, Health, State};
use crate::tail::{Run, Tail};
use crate::wakers::Wakers;

/// What append, committer and readers share.
pub(crate) struct Shared {
    pub(crate) options: LogOptions,
    pub(crate) segments: Arc<Segments>,
    pub(crate) end: Inbox,
    /// Taken from the tail and not yet durable; readers look here.
    pub(crate) in_flight: Mutex<Vec<Arc<Run>>>,
    pub(crate) written: AtomicU64,
    pub(crate) durable: AtomicU64,
    end_lsn: AtomicU64,
    state: AtomicU8,
    wakers: [Mutex<Wakers>; 2],
    /// The highest position that anybody waits for, and whether the committer sleeps until there is a higher
    /// one. Each side writes its own before it reads the other's, so that one of them sees both.
    awaited: AtomicU64,
    sleeps_unawaited: AtomicBool,
    /// For those who wait for the log itself, one by one.
    passed: (Mutex<()>, Condvar),
    pub(crate) health: Mutex<Health>,
    pub(crate) counters: Counters,
}

/// The tail and what the committer is told through it.
pub(crate) struct Inbox {
    state: Mutex<InboxState>,
    work: Condvar,
}

pub(crate) struct InboxState {
    pub(crate) tail: Tail,
    pub(crate) pace: Pace,
    /// Bytes that the committer holds unsynced.
    pub(crate) held_bytes: usize,
    wants_sync: Lsn,
    wants_write: Lsn,
    /// The committer sleeps until so many bytes are pending; `usize::MAX`: it does not sleep, or not for
    /// bytes.
    sleeps_until_bytes: usize,
    is_closing: bool,
}

impl Inbox {
    pub(crate) fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock()
    }
}

impl Shared {
    pub(crate) fn new(
        options: LogOptions,
        segments: Arc<Segments>,
        number: u64,
        durable: Lsn,
    ) -> Self {
        let pace = Pace::new(options.policy, options.max_unsynced_bytes);
        let tail = Tail::new(segments.clone(), number);
        Self {
            options,
            segments,
            written: AtomicU64::new(durable),
            durable: AtomicU64::new(durable),
            end_lsn: AtomicU64::new(tail.position()),
            end: Inbox {
                state: Mutex::new(InboxState {
                    tail,
                    pace,
                    held_bytes: 0,
                    wants_sync: 0,
                    wants_write: 0,
                    sleeps_until_bytes: usize::MAX,
                    is_closing: false,
                }),
                work: Condvar::new(),
            },
            in_flight: Mutex::default(),
            state: AtomicU8::new(0),
            wakers: Default::default(),
            awaited: AtomicU64::new(0),
            sleeps_unawaited: AtomicBool::new(false),
            passed: Default::default(),
            health: Mutex::default(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn durable(&self) -> Lsn {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Working,
            1 => State::Full,
            2 => State::Failed,
            _ => State::Closed,
        }
    }

    pub(crate) fn set_state(&self, state: State) {
        let code = match state {
            State::Working => 0,
            State::Full => 1,
            State::Failed => 2,
            State::Closed => 3,
        };
        self.state.store(code, Ordering::Release);
        self.health.lock().state = state;
    }

    pub(crate) fn safe(&self, level: Level) -> Lsn {
        match level {
            Level::Memory => Lsn::MAX,
            Level::Written => self.written.load(Ordering::Acquire),
            Level::Fsync => self.durable(),
        }
    }

    fn wakers(&self, level: Level) -> Option<&Mutex<Wakers>> {
        match level {
            Level::Memory => None,
            Level::Written => Some(&self.wakers[0]),
            Level::Fsync => Some(&self.wakers[1]),
        }
    }

    /// Wakes each of `sinks` once `lsn` is safe, at once if it is.
    pub(crate) fn wake_at(&self, lsn: Lsn, level: Level, sinks: &mut Vec<Arc<dyn Sink>>) {
        let Some(wakers) = self.wakers(level) else {
            sinks.drain(..).for_each(|sink| sink.wake());
            return;
        };
        let mut locked = wakers.lock();
        // Looked at under the lock: the committer publishes first and takes the lock then.
        if self.is_over() {
            // It never will be. Waking would make them ask again, and again.
            sinks.clear();
            return;
        }
        if self.safe(level) >= lsn {
            drop(locked);
            sinks.drain(..).for_each(|sink| sink.wake());
            return;
        }
        locked.add(lsn, sinks);
        drop(locked);
        if level > self.options.policy.level {
            self.want(lsn, level);
        } else {
            self.await_committer(lsn);
        }
    }

    /// Somebody waits for `lsn` at the level of the policy.
    fn await_committer(&self, lsn: Lsn) {
        self.awaited.fetch_max(lsn, Ordering::SeqCst);
        if self.sleeps_unawaited.load(Ordering::SeqCst) {
            // Under the lock, or it could be about to sleep and not hear it.
            drop(self.end.lock());
            self.end.work.notify_one();
        }
    }

    fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::SeqCst) > self.safe(self.options.policy.level)
    }

    /// Wakes whoever has waited for what is safe now. `ready` is a buffer, empty before and after.
    pub(crate) fn wake(&self, ready: &mut Vec<Arc<dyn Sink>>) {
        for level in [Level::Written, Level::Fsync] {
            if let Some(wakers) = self.wakers(level) {
                wakers.lock().take(self.safe(level), ready);
            }
        }
        self.wake_ready(ready);
    }

    /// Wakes everybody: nothing more will become safe.
    pub(crate) fn wake_all(&self) {
        let mut ready = Vec::new();
        for wakers in &self.wakers {
            wakers.lock().take(Lsn::MAX, &mut ready);
        }
        self.wake_ready(&mut ready);
    }

    fn wake_ready(&self, ready: &mut Vec<Arc<dyn Sink>>) {
        for sink in ready.drain(..) {
            sink.wake();
        }
        drop(self.passed.0.lock());
        self.passed.1.notify_all();
    }

    /// Waits until everything before `lsn` is durable; false if it never will be.
    pub(crate) fn wait_until_durable(&self, lsn: Lsn) -> bool {
        let mut gate = self.passed.0.lock();
        loop {
            if self.durable() >= lsn {
                return true;
            }
            if self.is_over() {
                return false;
            }
            self.passed.1.wait(&mut gate);
        }
    }

    /// Appends one payload under one lock, in pieces if it is large.
    pub(crate) fn append(&self, payload: &[u8], piece_bytes: usize) -> Appended {
        if payload.len() > piece_bytes {
            return self.append_chain(payload, piece_bytes);
        }
        let checksum = crc32fast::hash(payload);
        let mut inbox = self.end.lock();
        let place = inbox.tail.push(Flags::WHOLE, payload, checksum, self.durable());
        self.appended(inbox, place.base, place.pin)
    }

    fn append_chain(&self, payload: &[u8], piece_bytes: usize) -> Appended {
        let pieces: Vec<(&[u8], u32)> =
            payload.chunks(piece_bytes).map(|piece| (piece, crc32fast::hash(piece))).collect();
        let mut first = None;
        let mut inbox = self.end.lock();
        for (at, (piece, checksum)) in pieces.iter().enumerate() {
            let mut flags = Flags::WHOLE;
            if at > 0 {
                flags = flags.with(Flags::FOLLOWS);
            }
            if at + 1 < pieces.len() {
                flags = flags.with(Flags::CONTINUES);
            }
            let place = inbox.tail.push(flags, piece, *checksum, self.durable());
            first.get_or_insert(place);
        }
        let first = first.expect("a payload larger than a piece has pieces");
        self.appended(inbox, first.base, first.pin)
    }

    fn appended(&self, mut inbox: MutexGuard<'_, InboxState>, base: Lsn, pin: Pin) -> Appended {
        let end = inbox.tail.position();
        self.end_lsn.store(end, Ordering::Release);
        let pending = inbox.tail.pending_bytes();
        if pending > self.options.max_unsynced_bytes && self.is_over() {
            // Nobody will write it.
            inbox.tail.forget_pending();
        }
        let wakes = pending >= inbox.sleeps_until_bytes;
        if wakes {
            inbox.sleeps_until_bytes = usize::MAX;
        }
        drop(inbox);
        if wakes {
            self.end.work.notify_one();
        }
        Appended { base, end, pin }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state(), State::Failed | State::Closed)
    }

    /// Appends a frame of the log's own.
    pub(crate) fn mark(&self, flags: Flags, payload: &[u8]) -> Lsn {
        let mut inbox = self.end.lock();
        inbox.tail.push(flags, payload, crc32fast::hash(payload), self.durable());
        let end = inbox.tail.position();
        self.end_lsn.store(end, Ordering::Release);
        end
    }

    /// Closes the segment; gives the position at which the next begins.
    pub(crate) fn roll(&self) -> Lsn {
        let mut inbox = self.end.lock();
        inbox.tail.roll(self.durable());
        let end = inbox.tail.position();
        self.end_lsn.store(end, Ordering::Release);
        end
    }

    /// Asks for a sync, or a write, up to `lsn`, whatever the policy.
    pub(crate) fn want(&self, lsn: Lsn, level: Level) {
        let mut inbox = self.end.lock();
        let lsn = lsn.min(inbox.tail.position());
        match level {
            Level::Memory => return,
            Level::Written => inbox.wants_write = inbox.wants_write.max(lsn),
            Level::Fsync => inbox.wants_sync = inbox.wants_sync.max(lsn),
        }
        inbox.sleeps_until_bytes = usize::MAX;
        drop(inbox);
        self.end.work.notify_one();
    }

    /// Ends the committer's waiting for good.
    pub(crate) fn stop_committing(&self) {
        self.end.lock().is_closing = true;
        self.end.work.notify_all();
    }

    pub(crate) fn condition(&self) -> Condition {
        if self.state.load(Ordering::Relaxed) != 0 {
            return Condition::Unavailable;
        }
        let end = self.end_lsn.load(Ordering::Relaxed);
        let unsynced = end.saturating_sub(self.durable.load(Ordering::Relaxed));
        if unsynced > self.options.max_unsynced_bytes as u64 {
            return Condition::Congested;
        }
        Condition::Ready
    }

    /// Waits until a commit is due; `None` once the log is being closed.
    pub(crate) fn next_commit(&self) -> Option<bool> {
        let mut inbox = self.end.lock();
        loop {
            if inbox.is_closing || self.is_over() {
                return None;
            }
            let load = Load {
                pending_bytes: inbox.tail.pending_bytes(),
                held_bytes: inbox.held_bytes,
                pending_since: inbox.tail.since(),
                is_awaited: self.is_awaited(),
                wants_sync: inbox.wants_sync > self.durable(),
                wants_write: inbox.wants_write > self.safe(Level::Written),
            };
            match inbox.pace.plan(Instant::now(), load) {
                Plan::Commit { sync } => return Some(sync),
                Plan::Wait { until, bytes } => {
                    if !load.is_awaited {
                        self.sleeps_unawaited.store(true, Ordering::SeqCst);
                        if self.is_awaited() {
                            self.sleeps_unawaited.store(false, Ordering::SeqCst);
                            continue;
                        }
                    }
                    inbox.sleeps_until_bytes = bytes;
                    match until {
                        Some(until) => {
                            self.end.work.wait_until(&mut inbox, until);
                        }
                        None => self.end.work.wait(&mut inbox),
                    }
                    inbox.sleeps_until_bytes = usize::MAX;
                    self.sleeps_unawaited.store(false, Ordering::SeqCst);
                }
            }
        }
    }
}
