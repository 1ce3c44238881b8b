//! Tail: the end of the log, where frames get their place and wait in memory to be written.

use std::sync::Arc;
use std::time::Instant;

use broker_core::store::{Lsn, Pin};

use crate::frame::{ALIGN, Flags, HEADER_BYTES, Header, Salt, frame_bytes};
use crate::segments::Segments;

/// A run of frames grows to about this size, then another begins: no long copy under the lock.
const RUN_BYTES: usize = 1 << 20;
/// Buffers that are kept for reuse.
const BUFFERS_KEPT: usize = 4;

/// Frames one behind the other in one segment.
pub(crate) struct Run {
    pub(crate) start: Lsn,
    pub(crate) bytes: Vec<u8>,
}

impl Run {
    /// The bytes at a place, if they are all here.
    pub(crate) fn slice(&self, at: Lsn, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(len)?)
    }
}

/// What the tail has collected since it was last emptied.
pub(crate) struct Collected {
    pub(crate) runs: Vec<Run>,
    /// The position behind the last frame.
    pub(crate) end: Lsn,
    /// When the first frame came.
    pub(crate) since: Option<Instant>,
}

/// Where a frame went.
pub(crate) struct Place {
    pub(crate) base: Lsn,
    pub(crate) pin: Pin,
}

pub(crate) struct Tail {
    /// Where the next header goes.
    position: Lsn,
    segment: u64,
    salt: Salt,
    pin: Pin,
    segments: Arc<Segments>,
    runs: Vec<Run>,
    pending_bytes: usize,
    since: Option<Instant>,
    buffers: Vec<Vec<u8>>,
    /// Frames and bytes ever appended.
    pub(crate) n_frames: u64,
    pub(crate) n_bytes: u64,
}

impl Tail {
    /// A tail that begins with segment `number`.
    pub(crate) fn new(segments: Arc<Segments>, number: u64) -> Self {
        Self {
            position: segments.start_of(number),
            segment: number,
            salt: segments.salt(number),
            pin: segments.enter(number),
            segments,
            runs: Vec::new(),
            pending_bytes: 0,
            since: None,
            buffers: Vec::new(),
            n_frames: 0,
            n_bytes: 0,
        }
    }

    pub(crate) fn position(&self) -> Lsn {
        self.position
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// When the first pending frame came.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Appends one frame. `durable` is what is durable now.
    pub(crate) fn push(
        &mut self,
        flags: Flags,
        payload: &[u8],
        payload_checksum: u32,
        durable: Lsn,
    ) -> Place {
        let bytes = frame_bytes(payload.len());
        if self.room() < bytes {
            self.roll(durable);
        }
        let header = Header {
            flags,
            payload_bytes: payload.len() as u32,
            payload_checksum,
            lsn: self.position,
            durable,
        };
        let place = Place { base: self.position + HEADER_BYTES as u64, pin: self.pin.clone() };
        self.write(&header, payload);
        self.n_frames += 1;
        place
    }

    /// Closes the segment; the next frame goes to another.
    pub(crate) fn roll(&mut self, durable: Lsn) {
        if self.room() >= HEADER_BYTES as u64 {
            let end = Header {
                flags: Flags::END,
                payload_bytes: 0,
                payload_checksum: 0,
                lsn: self.position,
                durable,
            };
            self.write(&end, &[]);
        }
        self.segment += 1;
        self.position = self.segments.start_of(self.segment);
        self.salt = self.segments.salt(self.segment);
        self.pin = self.segments.enter(self.segment);
    }

    fn room(&self) -> u64 {
        self.segments.start_of(self.segment + 1) - self.position
    }

    fn write(&mut self, header: &Header, payload: &[u8]) {
        let frame = frame_bytes(payload.len()) as usize;
        // A run is of one segment, even where the next follows without a gap.
        let start = self.segments.start_of(self.segment);
        let goes_on = self
            .runs
            .last()
            .is_some_and(|run| run.start >= start && run.bytes.len() + frame <= RUN_BYTES);
        if !goes_on {
            let bytes = self.buffers.pop().unwrap_or_default();
            self.runs.push(Run { start: self.position, bytes });
        }
        if let Some(run) = self.runs.last_mut() {
            run.bytes.extend_from_slice(&header.encode(self.salt));
            run.bytes.extend_from_slice(payload);
            let padding = payload.len().next_multiple_of(ALIGN) - payload.len();
            run.bytes.extend_from_slice(&[0; ALIGN][..padding]);
        }
        self.pending_bytes += frame;
        self.n_bytes += frame as u64;
        self.position += frame as u64;
        if self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    /// Hands over what has been collected.
    pub(crate) fn collect(&mut self) -> Collected {
        self.pending_bytes = 0;
        Collected {
            runs: std::mem::take(&mut self.runs),
            end: self.position,
            since: self.since.take(),
        }
    }

    /// Takes a buffer back.
    pub(crate) fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.buffers.len() < BUFFERS_KEPT && bytes.capacity() <= 2 * RUN_BYTES {
            bytes.clear();
            self.buffers.push(bytes);
        }
    }

    /// Gives up a frame's bytes: it keeps its place, but will never be written.
    pub(crate) fn forget_pending(&mut self) {
        self.runs.clear();
        self.pending_bytes = 0;
    }

    pub(crate) fn slice(&self, at: Lsn, len: usize) -> Option<&[u8]> {
        self.runs.iter().find_map(|run| run.slice(at, len))
    }
}
