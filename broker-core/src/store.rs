//! Store: the port through which the broker keeps what must survive the process.
//!
//! The core fills frames with records (`record.rs`) and hands each to a [`Store`], which gives it a place in
//! its log. Nothing here waits for a disk: what depends on a frame is kept back until the store says that the
//! frame is safe, and everything else goes on.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::outbox::Sink;

/// A position in the store's log; larger is later. The first byte of the log is never at 0.
pub type Lsn = u64;

/// Keeps a part of the log from being reused: whoever may still read there holds one.
///
/// What is inside is the store's; the core clones and drops it.
pub type Pin = Arc<dyn Any + Send + Sync>;

/// What an acknowledgement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Level {
    /// Nothing. The records are written all the same, a moment later.
    Memory,
    /// The operating system has them: they survive the process, not a power cut.
    Written,
    /// The disk has them.
    #[default]
    Fsync,
}

/// Where a frame went.
pub struct Appended {
    /// Position of the payload's first byte. What lies in the first [`Store::piece_bytes`] of the payload
    /// lies behind it at the same distance.
    pub base: Lsn,
    /// The position that covers the whole frame.
    pub end: Lsn,
    /// Keeps the first [`Store::piece_bytes`] of the payload readable.
    pub pin: Pin,
}

/// Where the record of a message body stands.
#[derive(Clone)]
pub struct BodyPlace {
    /// Position of the record's first byte.
    pub at: Lsn,
    /// Length of the record in bytes.
    pub len: u32,
    /// Keeps it readable.
    pub pin: Pin,
}

impl fmt::Debug for BodyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.at, self.len)
    }
}

/// A body that cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message body at {at} cannot be read: {reason}")]
pub struct FetchError {
    /// Where it should stand.
    pub at: Lsn,
    /// What is wrong.
    pub reason: String,
}

/// Takes the bodies that were asked for, in the order they were asked for.
pub type FetchDone = Box<dyn FnOnce(Vec<Result<Bytes, FetchError>>) + Send>;

/// Whether a store takes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// It does.
    #[default]
    Ready,
    /// It is behind: who waits for it should send no more until it has caught up.
    Congested,
    /// It cannot write now: no disk space, or the disk fails. What needs it is to be refused.
    Unavailable,
}

/// Keeps what must survive the process. The core works without one: then nothing waits.
///
/// All calls come from threads that serve connections: none may wait for the disk.
pub trait Store: Send + Sync {
    /// Appends the records of one turn as one atomic frame: after a crash all of it is there or nothing.
    fn append(&self, payload: &[u8]) -> Appended;

    /// Bytes of a payload that stay in one piece; the core puts no message body beyond them. A larger payload
    /// may be cut, but is still one frame. At least four times the largest packet.
    fn piece_bytes(&self) -> usize;

    /// Everything up to here is safe in the sense of `level`: at least 1, `Lsn::MAX` for [`Level::Memory`].
    fn safe(&self, level: Level) -> Lsn;

    /// Wakes each of `sinks` once [`safe`](Self::safe) has reached `lsn`, at once if it has. Leaves the list
    /// empty.
    fn wake_at(&self, lsn: Lsn, level: Level, sinks: &mut Vec<Arc<dyn Sink>>);

    /// Reads bodies back and hands them to `done`, on another thread: never within this call, for the caller
    /// holds locks that `done` takes.
    fn fetch(&self, bodies: Vec<BodyPlace>, done: FetchDone);

    /// Whether more is welcome. Asked for each turn: one atomic load.
    fn condition(&self) -> Condition;
}

/// What a store asks of the broker whose state it keeps; [`Broker`](crate::Broker) implements it.
pub trait State: Send + Sync {
    /// A snapshot is to be written: called before the position is read from which the log is to lead on from it.
    /// [`write_snapshot`](Self::write_snapshot) follows, or [`forget_snapshot`](Self::forget_snapshot).
    fn prepare_snapshot(&self) {}

    /// The snapshot that was prepared will not be written.
    fn forget_snapshot(&self) {}

    /// Writes the state as blocks of records, each to be kept whole: a snapshot. Bodies are not among them,
    /// only where they stand.
    ///
    /// Runs beside the traffic, one session's lock at a time. What changes meanwhile may or may not be in it;
    /// the log from before the call on, and behind [`prepare_snapshot`](Self::prepare_snapshot), brings it in,
    /// once the turns that were under way at the end of the call are over and everything appended by then is safe.
    ///
    /// # Errors
    /// Those of `block`, which end it.
    fn write_snapshot(
        &self,
        block: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> std::io::Result<()>;

    /// The turns under way now: memory may already show changes whose records they have yet to append.
    fn turns_under_way(&self) -> TurnsUnderWay;

    /// Shows where each body stands that the state refers to, one lock at a time; a place may be changed to
    /// where the body has been copied to. The same body may be shown more than once.
    fn visit_bodies(&self, visit: &mut dyn FnMut(&mut BodyPlace));
}

/// Turns that were under way at some moment.
#[derive(Default)]
pub struct TurnsUnderWay(Vec<(Arc<AtomicU64>, u64)>);

impl TurnsUnderWay {
    /// `gates` count the beginnings and ends of each thread's turns: odd within one.
    pub fn of(gates: impl Iterator<Item = Arc<AtomicU64>>) -> Self {
        let at = |gate: Arc<AtomicU64>| {
            let count = gate.load(Ordering::SeqCst);
            (count % 2 == 1).then_some((gate, count))
        };
        Self(gates.filter_map(at).collect())
    }

    /// True once all of them have ended.
    #[must_use]
    pub fn are_over(&self) -> bool {
        self.0.iter().all(|(gate, count)| gate.load(Ordering::SeqCst) != *count)
    }
}

/// A promise of the position that a frame under construction will get.
///
/// Whatever depends on the records of a turn holds the turn's seal; the end of the turn fills it in.
#[derive(Default)]
pub(crate) struct Seal {
    end: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// Who is to be woken once the frame is safe, by level.
#[derive(Default)]
struct Waiting {
    written: Vec<Arc<dyn Sink>>,
    synced: Vec<Arc<dyn Sink>>,
}

impl Seal {
    /// The frame was appended, and `end` covers it: whoever waits for it waits for the store from now on.
    pub(crate) fn fill(&self, end: Lsn, store: &dyn Store) {
        let Waiting { mut written, mut synced } = {
            let mut waiting = self.waiting.lock();
            self.end.store(end, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        if !written.is_empty() {
            store.wake_at(end, Level::Written, &mut written);
        }
        if !synced.is_empty() {
            store.wake_at(end, Level::Fsync, &mut synced);
        }
    }

    /// True if the frame was appended.
    pub(crate) fn is_filled(&self) -> bool {
        self.end.load(Ordering::Acquire) > 0
    }

    /// True if everything up to `safe` is safe and the frame belongs to it.
    pub(crate) fn is_safe(&self, safe: Lsn) -> bool {
        let end = self.end.load(Ordering::Acquire);
        end > 0 && end <= safe
    }

    /// Wakes `sink` once the frame is safe in the sense of `level`.
    pub(crate) fn wake(&self, sink: &Arc<dyn Sink>, level: Level, store: &dyn Store) {
        let mut waiting = self.waiting.lock();
        let end = self.end.load(Ordering::Acquire);
        if end > 0 {
            drop(waiting);
            store.wake_at(end, level, &mut vec![Arc::clone(sink)]);
            return;
        }
        match level {
            Level::Memory => {}
            Level::Written => waiting.written.push(Arc::clone(sink)),
            Level::Fsync => waiting.synced.push(Arc::clone(sink)),
        }
    }
}

/// What must be safe before something may leave.
#[derive(Clone)]
pub(crate) struct Dependency {
    pub(crate) seal: Arc<Seal>,
    pub(crate) level: Level,
}

impl Dependency {
    pub(crate) fn is_safe(&self, store: &dyn Store) -> bool {
        self.seal.is_safe(store.safe(self.level))
    }

    pub(crate) fn wake(&self, sink: &Arc<dyn Sink>, store: &dyn Store) {
        self.seal.wake(sink, self.level, store);
    }
}
