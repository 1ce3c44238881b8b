//! Recovery: reads the log of a process that is gone, and tells a torn tail from a damaged disk.
//!
//! Each frame carries what was durable when it was appended. If a place cannot be read, but a later frame says
//! that it had been durable, the disk has lost what it had promised to keep: that is reported, and the rest is
//! replayed. If none says so, it is the tail that was being written when the power went: it is cut off.

use std::path::PathBuf;
use std::sync::Arc;

use broker_core::store::{BodyPlace, FetchError, Lsn, Pin};
use bytes::Bytes;

use crate::files::Files;
use crate::frame::{Flags, HEADER_BYTES, Header};
use crate::log::LogOptions;
use crate::scan::{Found, Scan};
use crate::segments::{Name, SegmentInfo, Segments};

mod start;

pub use start::StartError;

/// A log that nobody writes to. Looking at it changes nothing.
pub struct StoppedLog {
    options: LogOptions,
    segments: Arc<Segments>,
}

/// A log that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options contradict each other.
    #[error("segment size {0} is not a multiple of 4096")]
    SegmentBytes(u64),
    /// The folder cannot be listed.
    #[error("reading {0}: {1}")]
    Io(PathBuf, std::io::Error),
}

/// Where a replay begins, and what is known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayFrom {
    /// The first position: [`Log::end`](crate::log::Log::end) of some moment; 0 for the beginning.
    pub from: Lsn,
    /// Everything before was durable, as a snapshot knows; 0 if nothing is known.
    pub known_durable: Lsn,
    /// Go on without the segments that are missing at the beginning, instead of refusing.
    pub accept_missing: bool,
}

/// A log that cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError<E> {
    /// The replay has to begin in a segment that is not there.
    #[error("segment {0} of the log is missing")]
    Missing(u64),
    /// Written by a later release.
    #[error("log format {0}: written by a newer version")]
    NewerVersion(u8),
    /// The receiver of the payloads has given up.
    #[error(transparent)]
    Receiver(E),
}

/// What recovery found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Payloads replayed; one in pieces counts once.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The position at which the log ends.
    pub end: Lsn,
    /// It was closed in order.
    pub is_clean: bool,
    /// The torn tail: nothing that had been durable.
    pub cut: Vec<Cut>,
    /// What had been durable and is not there any more.
    pub damaged: Vec<Damage>,
    /// The first segment looked at.
    first: u64,
    /// Everything before was durable, as the frames say.
    durable: Lsn,
    /// Number for the segment that the log goes on in.
    next: u64,
    /// What the next segment gives as the end of the log before it.
    resume_at: Lsn,
}

/// A part of the log that was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Segment.
    pub segment: u64,
    /// Offset of the first byte.
    pub offset: u64,
    /// Length.
    pub bytes: u64,
}

/// A part of the log that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// First position.
    pub from: Lsn,
    /// Position behind the last.
    pub to: Lsn,
    /// What has happened to it.
    pub what: DamageKind,
}

/// Kinds of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DamageKind {
    /// A checksum does not fit.
    Checksum,
    /// The file is shorter than it was.
    Short,
    /// The file is not there.
    Missing,
    /// The file system reports an error.
    Unreadable,
}

impl Damage {
    /// In which file it begins and where, as an operator can look it up.
    pub(crate) fn describe(&self, segments: &[SegmentInfo]) -> String {
        let Self { from, to, what } = *self;
        let why = match what {
            DamageKind::Checksum => "their checksum is wrong",
            DamageKind::Short => "the file is shorter than it was",
            DamageKind::Missing => "the file is not there",
            DamageKind::Unreadable => "they cannot be read",
        };
        let lost = format!("{} bytes are lost ({from} to {to} of the log): {why}", to - from);
        let Some(segment) = segments.iter().find(|it| (it.start..it.end).contains(&from)) else {
            return lost;
        };
        let offset = from - segment.start;
        let begins = |path: &&PathBuf| matches!(Name::of(path), Some(Name::Segment { offset: first, .. }) if first <= offset);
        match segment.paths.iter().rfind(begins) {
            Some(path) => format!("{} offset {offset}: {lost}", path.display()),
            None => lost,
        }
    }
}

impl StoppedLog {
    /// Looks at the log's folder.
    ///
    /// # Errors
    /// If it cannot be listed. One that is not there is a log without segments.
    pub fn open(files: Arc<dyn Files>, options: LogOptions) -> Result<Self, OpenError> {
        if options.segment_bytes < 4096 || !options.segment_bytes.is_multiple_of(4096) {
            return Err(OpenError::SegmentBytes(options.segment_bytes));
        }
        let segments = Segments::open(files, &options)
            .map_err(|error| OpenError::Io(options.dir.join("log"), error))?;
        Ok(Self { options, segments: Arc::new(segments) })
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.segments.list()
    }

    /// Holds the segment that a position lies in; `None` if there is none. The pin outlasts the start.
    #[must_use]
    pub fn pin(&self, lsn: Lsn) -> Option<Pin> {
        self.segments.pin(lsn)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// If it is not there.
    pub fn read(&self, body: &BodyPlace) -> Result<Bytes, FetchError> {
        crate::read::read_body(&self.segments, body)
    }

    /// Gives each payload to `receive`, in order, with its position. Changes nothing.
    ///
    /// # Errors
    /// If the log cannot be followed from there, or those of `receive`. Damage is no error: it is reported.
    pub fn replay<E>(
        &self,
        from: ReplayFrom,
        receive: impl FnMut(Lsn, &[u8]) -> Result<(), E>,
    ) -> Result<Recovery, ReplayError<E>> {
        Replay::new(self.segments.clone(), from, receive).run()
    }

    /// As [`Self::replay`], of the payloads that begin in one segment.
    ///
    /// # Errors
    /// As [`Self::replay`].
    pub fn replay_segment<E>(
        &self,
        number: u64,
        receive: impl FnMut(Lsn, &[u8]) -> Result<(), E>,
    ) -> Result<Recovery, ReplayError<E>> {
        let from = self.segments.start_of(number);
        let from = ReplayFrom { from, ..ReplayFrom::default() };
        let mut replay = Replay::new(self.segments.clone(), from, receive);
        replay.until = Some(self.segments.start_of(number + 1));
        replay.run()
    }
}

/// A payload in pieces, as far as it has come.
struct Chain {
    /// Position of the first frame.
    start: Lsn,
    payload: Vec<u8>,
}

struct Replay<R> {
    segments: Arc<Segments>,
    scan: Scan,
    from: ReplayFrom,
    /// No payload that begins there or behind is asked for.
    until: Option<Lsn>,
    receive: R,
    /// Everything before was durable, as far as is known.
    durable: Lsn,
    has_looked_ahead: bool,
    chain: Option<Chain>,
    found: Recovery,
    /// Segment of the last frame that is more than a beginning.
    last_used: Option<u64>,
    /// Where what looks like frames ends.
    torn_end: Lsn,
}

/// Whether the replay goes on, and where.
enum Step {
    At(Lsn),
    End(Lsn),
}

impl<E, R: FnMut(Lsn, &[u8]) -> Result<(), E>> Replay<R> {
    fn new(segments: Arc<Segments>, from: ReplayFrom, receive: R) -> Self {
        Self {
            scan: Scan::new(segments.clone(), from.from),
            segments,
            from,
            until: None,
            receive,
            durable: from.known_durable,
            has_looked_ahead: false,
            chain: None,
            found: Recovery::default(),
            last_used: None,
            torn_end: 0,
        }
    }

    fn run(mut self) -> Result<Recovery, ReplayError<E>> {
        // There is no segment 0, so that no position is 0.
        let mut at = self.from.from.max(self.segments.segment_bytes());
        at = self.scan.skip_void(at);
        let (first, _) = self.segments.place_of(at);
        self.found.first = first;
        let is_new = at == self.segments.start_of(self.last_segment() + 1);
        if !self.segments.contains(first) && !is_new && !self.from.accept_missing {
            return Err(ReplayError::Missing(first));
        }
        let end = loop {
            let valid_at = self.scan.skip_void(at);
            if valid_at != at {
                self.chain = None;
                at = valid_at;
            }
            if self.is_past(at) {
                break at;
            }
            match self.step(at)? {
                Step::At(next) => at = next,
                Step::End(end) => break end,
            }
        };
        Ok(self.finish(end))
    }

    /// True if what was asked for is complete.
    fn is_past(&self, at: Lsn) -> bool {
        self.until.is_some_and(|until| at >= until) && self.chain.is_none()
    }

    fn last_segment(&self) -> u64 {
        self.segments.last().unwrap_or(0)
    }

    fn step(&mut self, at: Lsn) -> Result<Step, ReplayError<E>> {
        match self.scan.at(at) {
            Found::Frame(header) => self.frame(header),
            Found::SegmentIsOver => Ok(Step::At(self.next_segment(at))),
            Found::NoSegment => Ok(self.broken(at, at, DamageKind::Missing)),
            Found::FileIsShort => Ok(self.broken(at, at, DamageKind::Short)),
            Found::Nothing { torn_bytes } => {
                if let Some(torn_bytes) = torn_bytes {
                    self.torn_end = self.torn_end.max(at + torn_bytes);
                }
                Ok(self.broken(at, at + 1, DamageKind::Checksum))
            }
            Found::Version(version) => Err(ReplayError::NewerVersion(version)),
        }
    }

    fn next_segment(&self, at: Lsn) -> Lsn {
        self.segments.start_of(self.segments.place_of(at).0 + 1)
    }

    fn frame(&mut self, header: Header) -> Result<Step, ReplayError<E>> {
        let next = header.lsn + header.frame_bytes();
        let Some(payload) = self.scan.payload(&header) else {
            self.torn_end = self.torn_end.max(next);
            let is_short = self.scan.is_short(&header);
            let what = if is_short { DamageKind::Short } else { DamageKind::Checksum };
            return Ok(self.broken(header.lsn, next, what));
        };
        self.durable = self.durable.max(header.durable);
        self.found.is_clean = header.flags.has(Flags::CLEAN_SHUTDOWN);
        if header.flags.has(Flags::RESUME) {
            self.chain = None;
            return Ok(Step::At(next));
        }
        self.last_used = Some(self.segments.place_of(header.lsn).0);
        if header.flags.has(Flags::END) {
            return Ok(Step::At(self.next_segment(header.lsn)));
        }
        if header.flags.has(Flags::CLEAN_SHUTDOWN) {
            return Ok(Step::At(next));
        }

        let base = header.lsn + HEADER_BYTES as u64;
        if header.flags.has(Flags::FOLLOWS) {
            // Without its beginning it is of no use; that has been reported.
            if let Some(chain) = &mut self.chain {
                chain.payload.extend_from_slice(payload);
            }
        } else if header.flags.has(Flags::CONTINUES) {
            self.chain = Some(Chain { start: header.lsn, payload: payload.to_vec() });
        } else {
            (self.receive)(base, payload).map_err(ReplayError::Receiver)?;
            self.found.frames += 1;
            self.found.bytes += payload.len() as u64;
        }
        if !header.flags.has(Flags::CONTINUES)
            && let Some(chain) = self.chain.take()
            && header.flags.has(Flags::FOLLOWS)
        {
            let base = chain.start + HEADER_BYTES as u64;
            (self.receive)(base, &chain.payload).map_err(ReplayError::Receiver)?;
            self.found.frames += 1;
            self.found.bytes += chain.payload.len() as u64;
        }
        Ok(Step::At(next))
    }

    /// What should stand at a position does not. `search_from` is where the next frame may begin.
    fn broken(&mut self, at: Lsn, search_from: Lsn, what: DamageKind) -> Step {
        let next = self.scan.next_header(search_from);
        if let Some(next) = next
            && !self.has_looked_ahead
        {
            self.has_looked_ahead = true;
            let (durable, end) = self.scan.look_ahead(next);
            self.durable = self.durable.max(durable);
            self.torn_end = self.torn_end.max(end);
        }
        // A file of ours has its whole length before the first frame is written.
        let is_lost = self.durable > at || what == DamageKind::Short;
        if !is_lost {
            return Step::End(at);
        }
        let from = self.chain.take().map_or(at, |chain| chain.start);
        let to = match next {
            Some(next) => next.lsn,
            // What a file of ours would have held behind its end is not known.
            None if what == DamageKind::Short => self.durable.max(self.next_segment(at)),
            None => self.durable,
        };
        self.found.damaged.push(Damage { from, to, what });
        self.found.is_clean = false;
        match next {
            Some(next) => Step::At(next.lsn),
            None => Step::End(at),
        }
    }

    fn finish(mut self, at: Lsn) -> Recovery {
        // A payload whose last piece is not there is not there at all.
        let end = self.chain.take().map_or(at, |chain| chain.start);
        let mut found = std::mem::take(&mut self.found);
        let torn_end = if end < at { self.torn_end.max(at) } else { self.torn_end };
        found.cut = cuts(&self.segments, end, torn_end);
        found.end = end;
        found.is_clean &= found.cut.is_empty() && found.damaged.is_empty();
        let unreadable = self.scan.unreadable.iter();
        found.damaged.extend(unreadable.map(|&(from, to)| Damage {
            from,
            to,
            what: DamageKind::Unreadable,
        }));
        found.durable = self.durable.min(end);
        let (number, _) = self.segments.place_of(end);
        // Behind all positions ever given out; without a gap, as one could not be told from a loss.
        let given_out = end.max(self.durable).div_ceil(self.segments.segment_bytes());
        found.next = given_out.max(self.last_segment() + 1);
        // A segment that holds no more than its beginning is given up: starts that lead to nothing
        // must not fill the disk.
        let start = self.segments.start_of(number);
        let resumes = self.scan.voids.iter().find(|(_, to)| *to == start).map(|(from, _)| *from);
        found.resume_at = match resumes {
            // What lies before the beginning of the replay was not looked at: a snapshot may need it.
            Some(from)
                if self.from.from <= start && self.last_used.is_none_or(|used| used < number) =>
            {
                from
            }
            _ => end,
        };
        found
    }
}

/// What of each segment lies between two positions.
fn cuts(segments: &Segments, from: Lsn, to: Lsn) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut at = from;
    while at < to {
        let (segment, offset) = segments.place_of(at);
        let end = to.min(segments.start_of(segment + 1));
        if segments.contains(segment) {
            cuts.push(Cut { segment, offset, bytes: end - at });
        }
        at = end;
    }
    cuts
}
