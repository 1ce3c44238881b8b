//! Journal: what the housekeeping asks of the log.

use std::io;
use std::sync::Arc;

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
    /// Its disk has failed: it is to be left behind.
    pub(crate) is_damaged: bool,
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

    /// Bytes of an appended payload that lie behind each other from its base on.
    fn piece_bytes(&self) -> usize;

    /// Closes the open segment; what is appended next begins another.
    fn roll(&self);

    /// Segments that lie ready for use.
    fn spares(&self) -> usize;

    /// Gives the space of one of those back to the disk, which has none left. False if there is none.
    fn give_up_spare(&self) -> bool;

    /// Bytes that the segments in use have yet to take from the disk.
    fn untaken_bytes(&self) -> u64;

    /// Sets how many segments there may be, and the number of the last one there is space for: with the next one
    /// what must be kept is refused. At once if `is_full`.
    fn set_growth(&self, max_segments: u64, last_segment: u64, is_full: bool);

    /// How it is.
    fn health(&self) -> Health;

    /// It is behind: no time for work that can wait.
    fn is_congested(&self) -> bool;

    /// It has stopped writing for good.
    fn is_failed(&self) -> bool {
        matches!(self.health().state, State::Failed | State::Closed)
    }
}

/// The log.
pub(crate) struct RealJournal {
    pub(crate) log: Arc<Log>,
    pub(crate) segment_bytes: u64,
}

impl Journal for RealJournal {
    fn append(&self, payload: &[u8]) -> Appended {
        Store::append(self.log.as_ref(), payload)
    }

    fn piece_bytes(&self) -> usize {
        Store::piece_bytes(self.log.as_ref())
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
            is_damaged: info.is_damaged,
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

    fn roll(&self) {
        self.log.roll();
    }

    fn spares(&self) -> usize {
        self.log.stats().spares
    }

    fn give_up_spare(&self) -> bool {
        self.log.give_up_spare()
    }

    fn untaken_bytes(&self) -> u64 {
        self.log.untaken_bytes()
    }

    fn set_growth(&self, max_segments: u64, last_segment: u64, is_full: bool) {
        self.log.set_growth(max_segments, last_segment, is_full);
    }

    fn health(&self) -> Health {
        self.log.health()
    }

    fn is_congested(&self) -> bool {
        self.log.condition() == Condition::Congested
    }
}
