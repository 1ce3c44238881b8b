//! Journal: what the housekeeping asks of the log.

use std::io;

use broker_core::store::{Appended, BodyPlace, FetchError, Lsn, Pin};
use bytes::Bytes;

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

    /// It has stopped writing for good.
    fn is_failed(&self) -> bool;

    /// It is behind: no time for work that can wait.
    fn is_congested(&self) -> bool;
}
