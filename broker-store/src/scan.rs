//! Scan: walks the frames of a stopped log, whatever state they are in.

use std::sync::Arc;

use broker_core::store::Lsn;

use crate::frame::{
    ALIGN, Flags, HEADER_BYTES, Header, NoHeader, announced_bytes, find_header, frame_bytes,
    is_torn_header,
};
use crate::segments::Segments;

/// Bytes read at a time.
const WINDOW_BYTES: usize = 1 << 20;
/// What is tried one by one after a read has failed.
const SMALL_READ_BYTES: usize = 4096;
/// Payload of a frame that says where the log before it ended.
pub(crate) const RESUME_BYTES: usize = 8;
/// Such frames at the beginning of a segment: more than one, as there is no other trace of what they say.
pub(crate) const RESUME_COPIES: usize = 2;

/// What stands at a position.
#[derive(Debug)]
pub(crate) enum Found {
    /// A frame, whose payload has not been looked at.
    Frame(Header),
    /// No frame fits there.
    SegmentIsOver,
    /// There is no such segment.
    NoSegment,
    /// The file ends there, which no file of ours does.
    FileIsShort,
    /// No frame.
    Nothing {
        /// What is there looks like one that is damaged or was not finished; so many bytes long, as it says.
        torn_bytes: Option<u64>,
    },
    /// A frame of a version that this build does not know.
    Version(u8),
}

pub(crate) struct Scan {
    segments: Arc<Segments>,
    /// Ranges of which a later start has said that nothing is there, and where the log goes on instead.
    pub(crate) voids: Vec<(Lsn, Lsn)>,
    /// What the file system could not read, as it was come upon.
    pub(crate) unreadable: Vec<(Lsn, Lsn)>,
    window: Window,
}

#[derive(Default)]
struct Window {
    number: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl Scan {
    /// A scan of what lies behind `from`.
    pub(crate) fn new(segments: Arc<Segments>, from: Lsn) -> Self {
        let mut scan =
            Self { segments, voids: Vec::new(), unreadable: Vec::new(), window: Window::default() };
        let first = from / scan.segments.segment_bytes();
        for number in scan.segments.numbers() {
            if number >= first
                && let Some(end) = scan.resumes_after(number)
            {
                scan.voids.push((end, scan.segments.start_of(number)));
            }
        }
        scan
    }

    /// Where the log had ended, if a segment says so.
    fn resumes_after(&mut self, number: u64) -> Option<Lsn> {
        let copy_bytes = frame_bytes(RESUME_BYTES);
        let start = self.segments.start_of(number);
        (0..RESUME_COPIES as u64).find_map(|copy| {
            let Found::Frame(header) = self.at(start + copy * copy_bytes) else { return None };
            if !header.flags.has(Flags::RESUME) {
                return None;
            }
            let end = Lsn::from_le_bytes(self.payload(&header)?.try_into().ok()?);
            (end <= start).then_some(end)
        })
    }

    /// The position, or where the log goes on if it is void.
    pub(crate) fn skip_void(&self, mut at: Lsn) -> Lsn {
        while let Some(end) = self
            .voids
            .iter()
            .filter(|(from, to)| (*from..*to).contains(&at))
            .map(|(_, to)| *to)
            .max()
        {
            at = end;
        }
        at
    }

    pub(crate) fn at(&mut self, at: Lsn) -> Found {
        let (number, offset) = self.segments.place_of(at);
        if !self.segments.contains(number) {
            return Found::NoSegment;
        }
        if offset + HEADER_BYTES as u64 > self.segments.segment_bytes() {
            return Found::SegmentIsOver;
        }
        let salt = self.segments.salt(number);
        let (store_id, segment_bytes) = (*self.segments.store_id(), self.segments.segment_bytes());
        let Some(bytes) = self.bytes(number, offset, HEADER_BYTES).first_chunk() else {
            return Found::FileIsShort;
        };
        match Header::parse(bytes, salt, at) {
            Ok(header) if offset + header.frame_bytes() <= segment_bytes => Found::Frame(header),
            Err(NoHeader::Version(version)) => Found::Version(version),
            _ => {
                let torn_bytes = is_torn_header(bytes, &store_id, segment_bytes, at)
                    .then(|| announced_bytes(bytes).min(segment_bytes - offset));
                Found::Nothing { torn_bytes }
            }
        }
    }

    /// The payload of a frame, if it is what was written.
    pub(crate) fn payload(&mut self, header: &Header) -> Option<&[u8]> {
        let (number, offset) = self.segments.place_of(header.lsn);
        let len = header.payload_bytes as usize;
        let bytes = self.bytes(number, offset + HEADER_BYTES as u64, len);
        header.fits(bytes).then_some(bytes)
    }

    /// True if the file ends within a frame.
    pub(crate) fn is_short(&mut self, header: &Header) -> bool {
        let (number, offset) = self.segments.place_of(header.lsn);
        let len = header.payload_bytes as usize;
        self.bytes(number, offset + HEADER_BYTES as u64, len).len() < len
    }

    /// The first header at or behind a position, by its own checksum alone.
    pub(crate) fn next_header(&mut self, from: Lsn) -> Option<Header> {
        let mut at = self.skip_void(from.next_multiple_of(ALIGN as u64));
        loop {
            let (number, offset) = self.segments.place_of(at);
            if self.segments.contains(number)
                && let Some(header) = self.next_header_in(number, offset)
            {
                // A range that was given up may begin between the two.
                let valid_at = self.skip_void(header.lsn);
                if valid_at == header.lsn {
                    return Some(header);
                }
                at = valid_at;
                continue;
            }
            let next = self.segments.first_from(number + 1)?;
            at = self.skip_void(self.segments.start_of(next));
        }
    }

    fn next_header_in(&mut self, number: u64, mut offset: u64) -> Option<Header> {
        let salt = self.segments.salt(number);
        let start = self.segments.start_of(number);
        let segment_bytes = self.segments.segment_bytes();
        while offset + HEADER_BYTES as u64 <= segment_bytes {
            let rest = usize::try_from(segment_bytes - offset).unwrap_or(usize::MAX);
            let bytes = self.bytes(number, offset, rest.min(WINDOW_BYTES));
            if bytes.len() < HEADER_BYTES {
                return None;
            }
            if let Some((_, header)) = find_header(bytes, 0, salt, start + offset) {
                return Some(header);
            }
            // The last bytes again: a header may begin in them.
            let searched = bytes.len() - (HEADER_BYTES - ALIGN);
            offset += (searched / ALIGN * ALIGN) as u64;
        }
        None
    }

    /// The headers from one on: the highest position that they say was durable, and where they end.
    pub(crate) fn look_ahead(&mut self, mut header: Header) -> (Lsn, Lsn) {
        let mut durable = header.durable;
        loop {
            let end = header.lsn + header.frame_bytes();
            match self.next_header(end) {
                Some(next) => header = next,
                None => return (durable, end),
            }
            durable = durable.max(header.durable);
        }
    }

    /// What lies at a place; less than asked for where the file ends.
    fn bytes(&mut self, number: u64, offset: u64, len: usize) -> &[u8] {
        let window = &self.window;
        let reaches = |bytes: u64| bytes <= window.offset + window.bytes.len() as u64;
        let is_there =
            window.number == number && offset >= window.offset && reaches(offset + len as u64);
        if !is_there {
            self.fill(number, offset, len);
        }
        let from = usize::try_from(offset - self.window.offset).unwrap_or(usize::MAX);
        let rest = self.window.bytes.get(from..).unwrap_or_default();
        &rest[..rest.len().min(len)]
    }

    fn fill(&mut self, number: u64, offset: u64, len: usize) {
        let rest = self.segments.segment_bytes().saturating_sub(offset);
        let len = len.max(WINDOW_BYTES).min(usize::try_from(rest).unwrap_or(usize::MAX));
        let window = &mut self.window;
        window.number = number;
        window.offset = offset;
        window.bytes.resize(len, 0);
        match self.segments.read(number, offset, &mut window.bytes) {
            Ok(n) => window.bytes.truncate(n),
            Err(error) => {
                ::log::error!("the log cannot be read segment={number} error={error}");
                self.fill_what_can_be_read();
            }
        }
    }

    /// Reads in small steps; what cannot be read is left as zeros.
    fn fill_what_can_be_read(&mut self) {
        let Window { number, offset, ref mut bytes } = self.window;
        let start = self.segments.start_of(number);
        for (at, piece) in
            (offset..).step_by(SMALL_READ_BYTES).zip(bytes.chunks_mut(SMALL_READ_BYTES))
        {
            if self.segments.read(number, at, piece).is_err() {
                piece.fill(0);
                let range = (start + at, start + at + piece.len() as u64);
                match self.unreadable.last_mut() {
                    Some(last) if last.1 == range.0 => last.1 = range.1,
                    Some(last) if *last == range => {}
                    _ => self.unreadable.push(range),
                }
            }
        }
    }
}
