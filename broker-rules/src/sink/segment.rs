//! Segment: one file of items, and reading through it.
//!
//! It begins with 16 bytes: `mqSk`, the version of the format, three zeros, the number of the segment. Records follow
//! (`item.rs`).

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use super::folder::Folder;
use super::item::{Item, Owner, RECORD_HEADER_BYTES, Record};

/// Bytes ahead of the first record.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 16;
/// What is read at once, unless a record is larger.
const CHUNK_BYTES: u64 = 64 * 1024;
const MAGIC: [u8; 4] = *b"mqSk";
const VERSION: u8 = 1;

/// A segment as far as the spool has to know it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    /// Where its last whole record ends.
    pub(super) end: u64,
    /// Items that nobody has read yet.
    pub(super) n_unread: u64,
    /// The same by owner, those of this run.
    pub(super) owners: Owners,
}

/// Numbers of items by owner; few have any.
pub(super) type Owners = BTreeMap<Owner, u64>;

impl Segment {
    /// One without records.
    pub(super) const fn new(number: u64) -> Self {
        Self { number, end: SEGMENT_HEADER_BYTES, n_unread: 0, owners: BTreeMap::new() }
    }

    /// An item was read.
    pub(super) fn forget(&mut self, owner: Owner) {
        self.n_unread -= 1;
        if let Some(n) = self.owners.get_mut(&owner) {
            *n -= 1;
            if *n == 0 {
                self.owners.remove(&owner);
            }
        }
    }
}

/// Where a record begins, or the one before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// What a segment has next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// An item; the reader stands behind it.
    Item(Item),
    /// A damaged record was passed over.
    Damaged,
    /// Here the records end, and the file with them or in something that is none.
    End(Tail),
}

/// What lies behind the last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Clean,
    /// A write that was cut off.
    Torn,
    /// Something that was whole once.
    Damaged,
}

/// Reads the records of a segment one after the other.
#[derive(Debug)]
pub(super) struct Reader {
    at: Place,
    /// What was read from the file and begins at `at`.
    chunk: Bytes,
}

/// The first bytes of a segment.
pub(super) fn segment_header(number: u64) -> [u8; SEGMENT_HEADER_BYTES as usize] {
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4] = VERSION;
    bytes[8..].copy_from_slice(&number.to_le_bytes());
    bytes
}

impl Reader {
    /// A reader from a place on. A place inside the header stands for the first record.
    pub(super) fn new(at: Place) -> Self {
        let offset = at.offset.max(SEGMENT_HEADER_BYTES);
        Self { at: Place { offset, ..at }, chunk: Bytes::new() }
    }

    /// Where the next record begins.
    pub(super) const fn place(&self) -> Place {
        self.at
    }

    /// The next record of the segment, whose records end at `end`.
    pub(super) fn next(&mut self, folder: &mut dyn Folder, end: u64) -> io::Result<Next> {
        match self.record(folder, end)? {
            Record::Item(item, len) => {
                self.skip(len);
                Ok(Next::Item(item))
            }
            Record::Damaged(len) => {
                // The length may be what is damaged: it is believed if a record follows, or the end.
                self.skip(len);
                let is_believed =
                    self.at.offset == end || matches!(self.record(folder, end)?, Record::Item(..));
                if is_believed {
                    return Ok(Next::Damaged);
                }
                self.at.offset -= len as u64;
                self.chunk = Bytes::new();
                Ok(Next::End(Tail::Damaged))
            }
            Record::Short(_) | Record::Void => {
                let is_clean = self.at.offset >= end;
                Ok(Next::End(if is_clean { Tail::Clean } else { Tail::Torn }))
            }
        }
    }

    fn record(&mut self, folder: &mut dyn Folder, end: u64) -> io::Result<Record> {
        let left = end.saturating_sub(self.at.offset);
        let mut wanted = (RECORD_HEADER_BYTES as u64).min(left);
        loop {
            if (self.chunk.len() as u64) < wanted {
                let mut bytes = vec![0; wanted.max(CHUNK_BYTES).min(left) as usize];
                let n = folder.read_at(self.at.segment, &mut bytes, self.at.offset)?;
                bytes.truncate(n);
                self.chunk = bytes.into();
            }
            // What was appended since is not in the chunk, what is behind the end is none of it.
            let known = self.chunk.slice(..self.chunk.len().min(left as usize));
            match Item::read_record(&known) {
                Record::Short(len) if wanted < len as u64 && len as u64 <= left => {
                    wanted = len as u64;
                }
                record => return Ok(record),
            }
        }
    }

    fn skip(&mut self, len: usize) {
        self.at.offset += len as u64;
        self.chunk = self.chunk.slice(len..);
    }
}

/// Looks through a segment from `from` on: what it holds and how it ends. Damaged records count as unread.
pub(super) fn scan(folder: &mut dyn Folder, from: Place) -> io::Result<(Segment, Tail)> {
    let number = from.segment;
    let len = folder.len(number)?;
    let mut header = [0; SEGMENT_HEADER_BYTES as usize];
    let n = folder.read_at(number, &mut header, 0)?;
    let mut segment = Segment::new(number);
    if header != segment_header(number) {
        let is_cut = n < header.len() || header == [0; SEGMENT_HEADER_BYTES as usize];
        return Ok((segment, if is_cut { Tail::Torn } else { Tail::Damaged }));
    }
    let mut reader = Reader::new(from);
    let tail = loop {
        match reader.next(folder, len)? {
            Next::Item(_) | Next::Damaged => segment.n_unread += 1,
            Next::End(tail) => break tail,
        }
    };
    segment.end = reader.place().offset;
    Ok((segment, tail))
}
