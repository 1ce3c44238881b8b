//! Spool: the items of a sink that are on disk, oldest first, in numbered segments.
//!
//! A cursor says up to where they are done. What was taken from memory and not done when the sink was closed stands in
//! front of all segments.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use bytes::{Buf, Bytes};

use super::folder::Folder;
use super::item::{Item, Record};
use super::segment::{
    Next, Owners, Place, Reader, SEGMENT_HEADER_BYTES, Segment, Tail, scan, segment_header,
};

/// What a spool may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpoolLimits {
    /// Bytes of all segments.
    pub(super) bytes_max: u64,
    /// Bytes after which a new segment is begun.
    pub(super) segment_bytes: u64,
}

/// What was found when a spool was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What stands in front of the segments; it stays on disk until [`Spool::forget_front`].
    pub(super) front: VecDeque<Item>,
    /// Items that cannot be read any more, as far as they can be counted.
    pub(super) n_damaged: u64,
}

/// Items that are gone, in all and by owner.
#[derive(Debug, Default)]
pub(super) struct Lost {
    pub(super) n: u64,
    pub(super) owners: Owners,
}

impl Lost {
    fn add(&mut self, n: u64, owners: Owners) {
        self.n += n;
        for (owner, n) in owners {
            *self.owners.entry(owner).or_default() += n;
        }
    }
}

/// The segments of one sink.
pub(super) struct Spool {
    folder: Box<dyn Folder>,
    limits: SpoolLimits,
    /// Oldest first.
    segments: VecDeque<Segment>,
    next_number: u64,
    /// Whether the last segment takes more.
    is_writing: bool,
    /// Segments of this run that are not known to be on the disk itself.
    unsynced: BTreeSet<u64>,
    reader: Option<Reader>,
    /// Everything before it is done.
    cursor: Place,
    has_front: bool,
    /// Records on their way into a file; kept for its memory.
    records: Vec<u8>,
}

impl Spool {
    /// Reads what an earlier run has left.
    pub(super) fn open(
        mut folder: Box<dyn Folder>,
        limits: SpoolLimits,
    ) -> io::Result<(Self, Found)> {
        let cursor = decode_cursor(&folder.read_cursor()?);
        let cursor = cursor.unwrap_or(Place { segment: 0, offset: 0 });
        let mut found = Found::default();
        let front = folder.read_front()?;
        let has_front = !front.is_empty();
        read_front(front.into(), &mut found);

        let mut numbers = folder.segments()?;
        numbers.sort_unstable();
        let next_number = numbers.last().map_or(0, |it| *it).max(cursor.segment) + 1;
        let mut segments = VecDeque::with_capacity(numbers.len());
        for number in numbers {
            if number < cursor.segment {
                folder.remove(number)?;
                continue;
            }
            let offset = if number == cursor.segment { cursor.offset } else { 0 };
            let (segment, tail) = scan(&mut *folder, Place { segment: number, offset })?;
            found.n_damaged += u64::from(tail == Tail::Damaged);
            if segment.n_unread == 0 {
                folder.remove(number)?;
                continue;
            }
            if tail != Tail::Clean {
                folder.truncate(number, segment.end)?;
            }
            segments.push_back(segment);
        }
        let spool = Self {
            folder,
            limits,
            segments,
            next_number,
            // A new segment: what an earlier run has written is not touched again.
            is_writing: false,
            unsynced: BTreeSet::new(),
            reader: None,
            cursor,
            has_front,
            records: Vec::new(),
        };
        Ok((spool, found))
    }

    /// Items that nobody has read yet.
    pub(super) fn n_unread(&self) -> u64 {
        self.segments.iter().map(|it| it.n_unread).sum()
    }

    /// Bytes of the segments.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|it| it.end).sum()
    }

    /// Writes items behind all others. The oldest that have to go for them are added to `lost`.
    ///
    /// # Errors
    /// Then none of them is written.
    pub(super) fn append(&mut self, items: &[Item], lost: &mut Lost) -> io::Result<()> {
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        items.iter().for_each(|item| item.put_record(&mut records));
        self.make_room(records.len() as u64, lost);
        let result = self.write(&records, items);
        if records.capacity() <= RECORDS_KEPT_BYTES {
            self.records = records;
        }
        result
    }

    fn make_room(&mut self, n_bytes: u64, lost: &mut Lost) {
        while self.bytes() + n_bytes + SEGMENT_HEADER_BYTES > self.limits.bytes_max
            && let Some(oldest) = self.segments.pop_front()
        {
            lost.add(oldest.n_unread, oldest.owners);
            self.is_writing &= !self.segments.is_empty();
            let behind = Place { segment: oldest.number + 1, offset: 0 };
            self.cursor = self.cursor.max(behind);
            self.discard(oldest.number);
        }
    }

    fn write(&mut self, records: &[u8], items: &[Item]) -> io::Result<()> {
        let is_full = self
            .segments
            .back()
            .is_none_or(|it| it.end + records.len() as u64 > self.limits.segment_bytes);
        if !self.is_writing || is_full {
            self.begin_segment()?;
        }
        let segment = self.segments.back_mut().expect("one was begun, or is being written");
        let written = self.folder.write_at(segment.number, records, segment.end);
        if let Err(error) = written {
            // What got there is cut off, or is behind the end of a segment that takes no more.
            let _ = self.folder.truncate(segment.number, segment.end);
            self.is_writing = false;
            return Err(error);
        }
        segment.end += records.len() as u64;
        segment.n_unread += items.len() as u64;
        for item in items {
            *segment.owners.entry(item.owner).or_default() += 1;
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        // The full one is not synced: while a disk takes its time, memory would fill up and the oldest be dropped. A
        // process can be killed without that; what a power cut may take is bounded by the system.
        self.is_writing = false;
        let number = self.next_number;
        self.next_number += 1;
        self.folder.create(number)?;
        if let Err(error) = self.folder.write_at(number, &segment_header(number), 0) {
            let _ = self.folder.remove(number);
            return Err(error);
        }
        self.segments.push_back(Segment::new(number));
        self.unsynced.insert(number);
        self.is_writing = true;
        Ok(())
    }

    /// The next item that was not read yet and where it ends. Damaged ones that are passed over are added to `lost`.
    pub(super) fn next(&mut self, lost: &mut Lost) -> Option<(Item, Place)> {
        loop {
            let segment = self.segments.iter_mut().find(|it| it.n_unread > 0)?;
            let first = Place { segment: segment.number, offset: 0 };
            let from = if self.cursor.segment == segment.number { self.cursor } else { first };
            let reader = match &mut self.reader {
                Some(reader) if reader.place().segment == segment.number => reader,
                reader => reader.insert(Reader::new(from)),
            };
            match reader.next(&mut *self.folder, segment.end) {
                Ok(Next::Item(item)) => {
                    segment.forget(item.owner);
                    return Some((item, reader.place()));
                }
                Ok(Next::Damaged) => {
                    // Whose it was cannot be read; it stays with the owners until the segment is gone.
                    segment.n_unread -= 1;
                    lost.add(1, Owners::new());
                }
                // There is more by our count, and it cannot be read.
                Ok(Next::End(_)) | Err(_) => {
                    let owners = std::mem::take(&mut segment.owners);
                    lost.add(std::mem::take(&mut segment.n_unread), owners);
                    self.is_writing &= self.segments.back().is_some_and(|it| it.n_unread > 0);
                }
            }
        }
    }

    /// Whether an item that ends at `place` is still on disk, to be found by the next run.
    pub(super) fn holds(&self, place: Place) -> bool {
        place > self.cursor
    }

    /// Everything up to `place` is done: segments that end before it are removed.
    ///
    /// # Errors
    /// The cursor could not be written: after a crash more is delivered again.
    pub(super) fn advance(&mut self, place: Place) -> io::Result<()> {
        self.cursor = self.cursor.max(place);
        while let Some(first) = self.segments.front() {
            let is_read = first.n_unread == 0 && self.cursor.offset >= first.end;
            if first.number > self.cursor.segment
                || (first.number == self.cursor.segment && !is_read)
            {
                break;
            }
            let number = first.number;
            self.segments.pop_front();
            self.is_writing &= !self.segments.is_empty();
            self.discard(number);
        }
        self.folder.write_cursor(&encode_cursor(self.cursor))
    }

    /// Puts items in front of all segments, in place of what stands there.
    ///
    /// # Errors
    /// Those of the file system; what stood there before is still there.
    pub(super) fn replace_front<'a>(
        &mut self,
        items: impl Iterator<Item = &'a Item>,
    ) -> io::Result<()> {
        let mut records = Vec::new();
        items.for_each(|item| item.put_record(&mut records));
        if records.is_empty() && !self.has_front {
            return Ok(());
        }
        self.folder.replace_front(&records)?;
        self.has_front = !records.is_empty();
        Ok(())
    }

    /// What stood in front is done.
    ///
    /// # Errors
    /// It could not be removed: after a restart it is delivered again.
    pub(super) fn forget_front(&mut self) -> io::Result<()> {
        if self.has_front {
            self.folder.replace_front(&[])?;
            self.has_front = false;
        }
        Ok(())
    }

    /// Makes all of it survive a power cut.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.folder.write_cursor(&encode_cursor(self.cursor))?;
        self.folder.sync_front()?;
        while let Some(number) = self.unsynced.first() {
            self.folder.sync(*number)?;
            self.unsynced.pop_first();
        }
        Ok(())
    }

    /// A segment that cannot be removed is found again at the next start, behind the cursor.
    fn discard(&mut self, number: u64) {
        if self.reader.as_ref().is_some_and(|it| it.place().segment == number) {
            self.reader = None;
        }
        self.unsynced.remove(&number);
        let _ = self.folder.remove(number);
    }
}

/// Reads records up to the first that is none.
fn read_front(mut bytes: Bytes, found: &mut Found) {
    while !bytes.is_empty() {
        match Item::read_record(&bytes) {
            Record::Item(item, len) => {
                found.front.push_back(item);
                bytes.advance(len);
            }
            Record::Damaged(len) => {
                found.n_damaged += 1;
                bytes.advance(len);
            }
            Record::Short(_) | Record::Void => {
                found.n_damaged += 1;
                return;
            }
        }
    }
}

fn encode_cursor(place: Place) -> [u8; CURSOR_BYTES] {
    let mut bytes = [0; CURSOR_BYTES];
    bytes[..8].copy_from_slice(&place.segment.to_le_bytes());
    bytes[8..16].copy_from_slice(&place.offset.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// `None` for a cursor that is torn or not there: everything is delivered again then.
fn decode_cursor(bytes: &[u8]) -> Option<Place> {
    let bytes: &[u8; CURSOR_BYTES] = bytes.try_into().ok()?;
    let (mut place, checksum) = (&bytes[..16], u32::from_le_bytes(*bytes.last_chunk()?));
    (crc32fast::hash(place) == checksum)
        .then(|| Place { segment: place.get_u64_le(), offset: place.get_u64_le() })
}

const CURSOR_BYTES: usize = 20;
/// An item may be large; its memory is not kept for the next.
const RECORDS_KEPT_BYTES: usize = 2 * 1024 * 1024;
