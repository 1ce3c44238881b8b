//! Journal: what the housekeeping asks of the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker_core::store::{Appended, BodyPlace, Condition, FetchError, Lsn, Pin, Store};
use bytes::Bytes;

use crate::log::Log;
use crate::segments::RetireError;
use crate::stats::{Health, State};

/// A segment of the log that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Position of its first byte.
    pub(crate) start: Lsn,
    /// Position behind its last one; of the open segment, behind what it may yet hold.
    pub(crate) end: Lsn,
    /// Somebody may still read in it.
    pub(crate) is_pinned: bool,
}

/// The log.
pub(crate) trait Journal: Send + Sync {
    /// Appends records as one frame.
    fn append(&self, payload: &[u8]) -> Appended;

    /// Reads the record of a body; the caller may wait for the disk.
    fn read(&self, place: &BodyPlace) -> Result<Bytes, FetchError>;

    /// Everything appended so far stands before this.
    fn end(&self) -> Lsn;

    /// Everything before this is on the disk.
    fn durable(&self) -> Lsn;

    /// The segments in use, oldest first, the open one last.
    fn segments(&self) -> Vec<Segment>;

    /// Keeps a segment from being retired.
    fn pin(&self, number: u64) -> Option<Pin>;

    /// Gives a segment back that nobody needs: it becomes a spare, or is removed. False if it is pinned or
    /// open.
    fn retire(&self, number: u64) -> io::Result<bool>;

    /// Segments that lie ready for use.
    fn spares(&self) -> usize;

    /// There is no room, or there is again: what must be kept is to be refused.
    fn set_full(&self, is_full: bool);

    /// How it is.
    fn health(&self) -> Health;

    /// It is behind: no time for work that can wait.
    fn is_congested(&self) -> bool;

    /// It has stopped writing for good.
    fn is_failed(&self) -> bool {
        matches!(self.health().state, State::Failed | State::Closed)
    }
}

/// The log, and whether there is room for it to grow.
pub(crate) struct RealJournal {
    pub(crate) log: Arc<Log>,
    pub(crate) is_full: Arc<AtomicBool>,
    pub(crate) segment_bytes: u64,
}

impl Journal for RealJournal {
    fn append(&self, payload: &[u8]) -> Appended {
        Store::append(self.log.as_ref(), payload)
    }

    fn read(&self, place: &BodyPlace) -> Result<Bytes, FetchError> {
        self.log.read(place)
    }

    fn end(&self) -> Lsn {
        self.log.end()
    }

    fn durable(&self) -> Lsn {
        self.log.durable()
    }

    fn segments(&self) -> Vec<Segment> {
        let segment = |info: crate::segments::SegmentInfo| Segment {
            number: info.number,
            start: info.start,
            end: info.end,
            is_pinned: info.pins > 0,
        };
        self.log.segments().into_iter().map(segment).collect()
    }

    fn pin(&self, number: u64) -> Option<Pin> {
        self.log.pin(number.saturating_mul(self.segment_bytes))
    }

    fn retire(&self, number: u64) -> io::Result<bool> {
        match self.log.retire(number) {
            Ok(()) => Ok(true),
            Err(RetireError::Io { error, .. }) => Err(error),
            Err(_) => Ok(false),
        }
    }

    fn spares(&self) -> usize {
        self.log.stats().spares
    }

    fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    fn health(&self) -> Health {
        self.log.health()
    }

    fn is_congested(&self) -> bool {
        self.log.condition() == Condition::Congested
    }
}
