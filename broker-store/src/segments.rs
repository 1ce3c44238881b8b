//! Segments: the files of the log, who still reads in them, and the spare files that the next ones are made of.
//!
//! A segment is one file, `log/<number>.seg`, unless writing to it has failed: then it goes on from the last
//! durable place in another, `log/<number>-<part>-<offset>.seg`. Addresses do not change by that.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker_core::store::{Lsn, Pin};
use parking_lot::{Condvar, Mutex};

use crate::files::{File, Files};
use crate::frame::Salt;
use crate::log::LogOptions;

mod growth;
mod names;
mod spares;

use growth::reserve_bytes;
pub(crate) use growth::{Growth, floor_bytes};
pub(crate) use names::Name;
use spares::Fill;

/// A segment, as one may look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number; they rise by time.
    pub number: u64,
    /// The position of its first byte.
    pub start: Lsn,
    /// The position behind its last byte.
    pub end: Lsn,
    /// How many still hold a pin on it.
    pub pins: usize,
    /// Its files in order; more than one after a failure to write.
    pub paths: Vec<PathBuf>,
    /// Writing or syncing one of them has failed since the start.
    pub is_damaged: bool,
}

/// A segment that cannot be given up.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// There is none of that number.
    #[error("no segment {0}")]
    Unknown(u64),
    /// It is being written to, or nothing behind it is durable yet.
    #[error("segment {0} is in use")]
    Current(u64),
    /// Somebody holds a pin.
    #[error("segment {number} is held by {pins} pins")]
    Pinned {
        /// Its number.
        number: u64,
        /// How many.
        pins: usize,
    },
    /// Its file cannot be renamed or removed; it is out of the table all the same.
    #[error("giving up segment {number}: {error}")]
    Io {
        /// Its number.
        number: u64,
        /// Why.
        error: io::Error,
    },
}

/// What a [`Pin`] holds.
struct SegmentPin;

struct Segment {
    parts: Vec<Part>,
    pin: Arc<SegmentPin>,
    is_damaged: bool,
}

#[derive(Clone)]
struct Part {
    /// Offset in the segment from which on this file counts.
    offset: u64,
    path: PathBuf,
    file: Option<Arc<dyn File>>,
    /// Writing or syncing it has failed once: it is never trusted again.
    is_broken: bool,
}

#[derive(Default)]
struct Table {
    segments: BTreeMap<u64, Segment>,
    spares: Vec<PathBuf>,
    next_spare: u64,
    /// So much is written to this log that spares are worth their space.
    is_grown: bool,
    /// The newest file was made in a hurry: it has its length and no blocks.
    is_newest_sparse: bool,
    is_closing: bool,
}

pub(crate) struct Segments {
    files: Arc<dyn Files>,
    folder: PathBuf,
    store_id: [u8; 16],
    segment_bytes: u64,
    spares_max: usize,
    /// No spare is kept or made that would let the log take more than so many files.
    files_max: u64,
    /// Nor one that would leave less than this of the disk.
    spares_leave_bytes: u64,
    /// With less than this left there is no room for what must be kept.
    reserve_bytes: u64,
    pub(crate) growth: Growth,
    table: Mutex<Table>,
    /// A copy of what the table says, to be read at each commit.
    is_grown: AtomicBool,
    /// There may be a spare to make.
    spare_wanted: Condvar,
}

impl Segments {
    /// Looks at a folder; changes nothing.
    pub(crate) fn open(files: Arc<dyn Files>, options: &LogOptions) -> io::Result<Self> {
        let LogOptions { store_id, segment_bytes, spare_segments, .. } = *options;
        let folder = options.dir.join("log");
        let mut table = Table::default();
        let listed = match files.list(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        for path in listed {
            match Name::of(&path) {
                Some(Name::Segment { number, offset, .. }) => {
                    let segment = table.segments.entry(number).or_insert_with(Segment::new);
                    let new = Part { offset, path, file: None, is_broken: false };
                    segment.parts.push(new);
                    // In order of their number; few, so that sorting each time does not matter.
                    segment.parts.sort_by_key(|part| match Name::of(&part.path) {
                        Some(Name::Segment { part, .. }) => part,
                        _ => part.offset,
                    });
                }
                Some(Name::Spare(number)) => {
                    table.next_spare = table.next_spare.max(number + 1);
                    table.spares.push(path);
                }
                Some(Name::Unfinished) | None => {}
            }
        }
        Ok(Self {
            files,
            folder,
            store_id,
            segment_bytes,
            spares_max: spare_segments,
            files_max: options.max_bytes / segment_bytes,
            // Something must be left for snapshots, without which no segment is ever given back.
            spares_leave_bytes: options.min_free_bytes.max(segment_bytes),
            reserve_bytes: reserve_bytes(options.min_free_bytes, segment_bytes),
            growth: Growth::default(),
            table: Mutex::new(table),
            is_grown: AtomicBool::new(false),
            spare_wanted: Condvar::new(),
        })
    }

    /// Removes what an earlier process did not finish, and spares of another size.
    pub(crate) fn tidy(&self) -> io::Result<()> {
        self.files.create_dir(&self.folder)?;
        for path in self.files.list(&self.folder)? {
            if Name::of(&path) == Some(Name::Unfinished) {
                self.files.remove(&path)?;
            }
        }
        let spares = std::mem::take(&mut self.table.lock().spares);
        let in_use = self.numbers().len() as u64;
        let most = self.files_max.saturating_sub(in_use).min(self.spares_max as u64);
        let mut good = Vec::new();
        for path in spares {
            if self.is_whole(&path) && (good.len() as u64) < most {
                good.push(path);
            } else {
                self.files.remove(&path)?;
            }
        }
        self.table.lock().spares = good;
        Ok(())
    }

    pub(crate) fn files(&self) -> &Arc<dyn Files> {
        &self.files
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    pub(crate) fn store_id(&self) -> &[u8; 16] {
        &self.store_id
    }

    pub(crate) fn salt(&self, number: u64) -> Salt {
        Salt::new(&self.store_id, number)
    }

    pub(crate) fn start_of(&self, number: u64) -> Lsn {
        number.saturating_mul(self.segment_bytes)
    }

    /// Segment number and offset of a position.
    pub(crate) fn place_of(&self, lsn: Lsn) -> (u64, u64) {
        (lsn / self.segment_bytes, lsn % self.segment_bytes)
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.table.lock().segments.contains_key(&number)
    }

    /// Number of the first segment from `number` on.
    pub(crate) fn first_from(&self, number: u64) -> Option<u64> {
        self.table.lock().segments.range(number..).next().map(|(number, _)| *number)
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.table.lock().segments.keys().next_back().copied()
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.table.lock().segments.keys().copied().collect()
    }

    pub(crate) fn n_spares(&self) -> usize {
        self.table.lock().spares.len()
    }

    pub(crate) fn list(&self) -> Vec<SegmentInfo> {
        let table = self.table.lock();
        let info = |(&number, segment): (&u64, &Segment)| SegmentInfo {
            number,
            start: self.start_of(number),
            end: self.start_of(number + 1),
            pins: segment.pins(),
            paths: segment.parts.iter().map(|part| part.path.clone()).collect(),
            is_damaged: segment.is_damaged,
        };
        table.segments.iter().map(info).collect()
    }

    /// Holds the segment of a position.
    pub(crate) fn pin(&self, lsn: Lsn) -> Option<Pin> {
        let table = self.table.lock();
        let segment = table.segments.get(&(lsn / self.segment_bytes))?;
        Some(segment.pin.clone())
    }

    /// Enters a segment that has no file yet.
    pub(crate) fn enter(&self, number: u64) -> Pin {
        let mut table = self.table.lock();
        let pin = table.segments.entry(number).or_insert_with(Segment::new).pin.clone();
        self.growth.began(number, table.segments.len());
        pin
    }

    /// Bytes that the files of the segments in use have yet to take from the disk.
    pub(crate) fn untaken_bytes(&self) -> u64 {
        let last: Vec<_> = {
            let table = self.table.lock();
            // All before were written to their end.
            table
                .segments
                .values()
                .rev()
                .take(UNTAKEN_LOOK)
                .map(|it| it.parts.last().cloned())
                .collect()
        };
        let untaken = |part: Option<Part>| {
            let taken = part.and_then(|part| part.file).and_then(|file| file.allocated().ok());
            self.segment_bytes.saturating_sub(taken.unwrap_or(0))
        };
        last.into_iter().map(untaken).sum()
    }

    /// Reads what lies at a place of a segment; less than asked for where its files end.
    pub(crate) fn read(&self, number: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (file, end) = self.file_at(number, at)?;
            let n = (bytes.len() - done).min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let read = file.read_at(&mut bytes[done..done + n], at)?;
            done += read;
            if read < n {
                break;
            }
            if end == self.segment_bytes {
                break;
            }
        }
        Ok(done)
    }

    /// The file that counts at an offset, and the offset up to which it does.
    pub(crate) fn file_at(&self, number: u64, offset: u64) -> io::Result<(Arc<dyn File>, u64)> {
        let (part, end) = {
            let table = self.table.lock();
            let segment = table.segments.get(&number).ok_or(io::ErrorKind::NotFound)?;
            segment.part_at(offset, self.segment_bytes).ok_or(io::ErrorKind::NotFound)?
        };
        if let Some(file) = part.file {
            return Ok((file, end));
        }
        let file = self.files.open(&part.path)?;
        let mut table = self.table.lock();
        if let Some(segment) = table.segments.get_mut(&number)
            && let Some(kept) = segment.parts.iter_mut().find(|kept| kept.path == part.path)
        {
            kept.file = Some(file.clone());
        }
        Ok((file, end))
    }

    /// The file to write a segment's new bytes to. Where there is none to be trusted, one is made that
    /// counts from `offset` on. For one thread at a time.
    pub(crate) fn writable(&self, number: u64, offset: u64) -> io::Result<Arc<dyn File>> {
        let spare = {
            let mut table = self.table.lock();
            let segment = table.segments.entry(number).or_insert_with(Segment::new);
            if let Some(Part { file: Some(file), is_broken: false, .. }) = segment.parts.last() {
                return Ok(file.clone());
            }
            table.spares.pop()
        };
        self.spare_wanted.notify_one();
        self.check_reserve();
        self.table.lock().is_newest_sparse = spare.is_none();
        let from = match spare {
            Some(path) => path,
            None => self.make_spare(Fill::Sparse)?,
        };
        let part = self.next_part(number);
        let to = self.folder.join(Name::Segment { number, part, offset }.to_string());
        if let Err(error) = self.files.rename(&from, &to) {
            self.table.lock().spares.push(from);
            return Err(error);
        }
        let opened = self.files.open(&to);
        let synced = self.files.sync_dir(&self.folder);
        let file = opened?;
        let mut table = self.table.lock();
        let segment = table.segments.entry(number).or_insert_with(Segment::new);
        segment.parts.push(Part {
            offset,
            path: to,
            file: Some(file.clone()),
            is_broken: synced.is_err(),
        });
        synced?;
        // What begins no earlier than the new part holds nothing that counts.
        let n_parts = segment.parts.len();
        let useless = |at: usize, part: &Part| at + 1 < n_parts && part.offset >= offset;
        let mut dropped = Vec::new();
        let mut at = 0;
        segment.parts.retain(|part| {
            let drop = useless(at, part);
            at += 1;
            if drop {
                dropped.push(part.path.clone());
            }
            !drop
        });
        drop(table);
        for path in dropped {
            // It is superseded whether it is gone or not.
            let _ = self.files.remove(&path);
        }
        Ok(file)
    }

    fn next_part(&self, number: u64) -> u64 {
        let table = self.table.lock();
        let last = table.segments.get(&number).and_then(|segment| segment.parts.last());
        match last.and_then(|part| Name::of(&part.path)) {
            Some(Name::Segment { part, .. }) => part + 1,
            _ => 0,
        }
    }

    /// The file written to is never to be trusted again.
    pub(crate) fn distrust(&self, number: u64) {
        let mut table = self.table.lock();
        if let Some(segment) = table.segments.get_mut(&number) {
            segment.is_damaged = true;
            if let Some(part) = segment.parts.last_mut() {
                part.is_broken = true;
            }
        }
    }

    /// Gives up a segment that nobody holds: its file becomes a spare or goes.
    pub(crate) fn retire(&self, number: u64) -> Result<(), RetireError> {
        let is_disk_short = !self.is_free(self.spares_leave_bytes);
        let (segment, wants_spare) = {
            let mut table = self.table.lock();
            let segment = table.segments.get(&number).ok_or(RetireError::Unknown(number))?;
            if segment.pins() > 0 {
                return Err(RetireError::Pinned { number, pins: segment.pins() });
            }
            let wants_spare =
                !is_disk_short && table.has_room_for_spare(self.spares_max, self.files_max);
            (table.segments.remove(&number).ok_or(RetireError::Unknown(number))?, wants_spare)
        };
        let io = |error| RetireError::Io { number, error };
        let reusable = match segment.parts.as_slice() {
            [only] if wants_spare && !only.is_broken && only.offset == 0 => {
                self.is_whole(&only.path).then_some(&only.path)
            }
            _ => None,
        };
        if let Some(path) = reusable {
            let spare = self.folder.join(self.new_spare().to_string());
            self.files.rename(path, &spare).map_err(io)?;
            self.files.sync_dir(&self.folder).map_err(io)?;
            self.table.lock().spares.push(spare);
            return Ok(());
        }
        for part in &segment.parts {
            self.files.remove(&part.path).map_err(io)?;
        }
        // There may be room for a spare now.
        self.spare_wanted.notify_one();
        self.files.sync_dir(&self.folder).map_err(io)
    }

    /// A spare was taken. Others may have used up the disk since somebody looked.
    fn check_reserve(&self) {
        let Ok(free) = self.files.free_bytes(&self.folder) else { return };
        let spares = self.n_spares() as u64 * self.segment_bytes;
        if free.saturating_add(spares) < self.reserve_bytes {
            self.growth.fill();
        }
    }

    /// True if so much of the disk is free, or the system does not say.
    fn is_free(&self, bytes: u64) -> bool {
        self.files.free_bytes(&self.folder).map_or(true, |free| free >= bytes)
    }

    /// Whether a file has the length of a segment, and all its blocks.
    fn is_whole(&self, path: &Path) -> bool {
        let Ok(file) = self.files.open(path) else { return false };
        file.len().is_ok_and(|len| len == self.segment_bytes)
            && file.allocated().is_ok_and(|taken| taken >= self.segment_bytes)
    }

    /// The log is written up to this offset of a segment.
    pub(crate) fn written_to(&self, offset: u64) {
        let is_worth_it = offset >= self.segment_bytes / GROWN;
        if is_worth_it && !self.is_grown.load(Ordering::Relaxed) {
            self.is_grown.store(true, Ordering::Relaxed);
            self.table.lock().is_grown = true;
            self.spare_wanted.notify_one();
        }
    }

    pub(crate) fn close(&self) {
        self.table.lock().is_closing = true;
        self.spare_wanted.notify_all();
    }
}

impl Table {
    /// True if there are fewer than `most` spares, and the log with them takes fewer than `files_max` files.
    fn has_room_for_spare(&self, most: usize, files_max: u64) -> bool {
        let files = (self.segments.len() + self.spares.len()) as u64;
        self.spares.len() < most && files < files_max
    }
}

impl Segment {
    fn new() -> Self {
        Self { parts: Vec::new(), pin: Arc::new(SegmentPin), is_damaged: false }
    }

    fn pins(&self) -> usize {
        Arc::strong_count(&self.pin) - 1
    }

    fn part_at(&self, offset: u64, segment_bytes: u64) -> Option<(Part, u64)> {
        let at = self.parts.iter().rposition(|part| part.offset <= offset)?;
        let later = self.parts[at + 1..].iter().map(|part| part.offset).min();
        Some((self.parts[at].clone(), later.unwrap_or(segment_bytes)))
    }
}

/// The part of its first segment, one in so many, that a log is written to before spares are made: one that is
/// hardly used takes hardly any space.
const GROWN: u64 = 64;

/// Segments from the end that may have files with something to take.
const UNTAKEN_LOOK: usize = 64;

/// Writes all of `bytes`, however often the system takes less.
pub(crate) fn write_all(file: &dyn File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let n = retry(|| file.write_at(bytes, offset))?;
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[n..];
        offset += n as u64;
    }
    Ok(())
}

/// Repeats what a signal has interrupted.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    // A signal now and then, not one each time.
    for _ in 0..100 {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
    call()
}
