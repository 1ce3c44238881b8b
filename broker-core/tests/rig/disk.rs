//! Disk: a store in memory whose syncs the test orders, and which can lose what was not synced.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use broker_core::record::{Record, Records};
use broker_core::restore::{BodySource, Restored};
use broker_core::store::{
    Appended, BodyPlace, Condition, FetchDone, FetchError, Level, Lsn, Pin, State, Store,
};
use broker_core::{Broker, Now, Sink};
use bytes::Bytes;
use parking_lot::Mutex;

/// A log in memory.
pub struct Disk(Mutex<Log>);

struct Log {
    frames: Vec<Frame>,
    end: Lsn,
    durable: Lsn,
    waiting: Vec<(Lsn, Arc<dyn Sink>)>,
    /// Payload to the end of the first frame that holds it.
    bodies: BTreeMap<String, Lsn>,
    fetches: VecDeque<(Vec<BodyPlace>, FetchDone)>,
    /// The newest last.
    snapshots: Vec<Snapshot>,
    condition: Condition,
    piece_bytes: usize,
    pin: Pin,
}

#[derive(Clone)]
struct Frame {
    base: Lsn,
    end: Lsn,
    payload: Vec<u8>,
}

/// The state as it was written beside the traffic; it counts from when [`Disk::publish`] has it.
#[derive(Clone)]
pub struct Snapshot {
    blocks: Vec<Vec<u8>>,
    /// The end of the log when it was begun: what comes behind it is replayed.
    from: Lsn,
}

/// What a real log puts before each frame.
const HEADER: u64 = 32;

impl Default for Disk {
    fn default() -> Self {
        Self(Mutex::new(Log {
            frames: Vec::new(),
            end: 64,
            durable: 64,
            waiting: Vec::new(),
            bodies: BTreeMap::new(),
            fetches: VecDeque::new(),
            snapshots: Vec::new(),
            condition: Condition::Ready,
            piece_bytes: 4 << 20,
            pin: Arc::new(()),
        }))
    }
}

impl Store for Disk {
    fn append(&self, payload: &[u8]) -> Appended {
        assert!(!payload.is_empty());
        let mut log = self.0.lock();
        let base = log.end + HEADER;
        let end = base + payload.len() as u64;
        note_bodies(&mut log.bodies, payload, end);
        log.frames.push(Frame { base, end, payload: payload.to_vec() });
        log.end = end;
        Appended { base, end, pin: Arc::clone(&log.pin) }
    }

    fn piece_bytes(&self) -> usize {
        self.0.lock().piece_bytes
    }

    fn safe(&self, level: Level) -> Lsn {
        let log = self.0.lock();
        match level {
            Level::Memory => Lsn::MAX,
            Level::Written => log.end,
            Level::Fsync => log.durable,
        }
    }

    fn wake_at(&self, lsn: Lsn, level: Level, sinks: &mut Vec<Arc<dyn Sink>>) {
        let is_safe = lsn <= self.safe(level);
        for sink in sinks.drain(..) {
            if is_safe {
                sink.wake();
            } else {
                self.0.lock().waiting.push((lsn, sink));
            }
        }
    }

    fn fetch(&self, bodies: Vec<BodyPlace>, done: FetchDone) {
        self.0.lock().fetches.push_back((bodies, done));
    }

    fn condition(&self) -> Condition {
        self.0.lock().condition
    }
}

impl Disk {
    /// Frames appended so far.
    pub fn frames(&self) -> usize {
        self.0.lock().frames.len()
    }

    /// Everything up to here is synced.
    pub fn durable(&self) -> Lsn {
        self.0.lock().durable
    }

    /// The end of the first frame that holds a message with this payload.
    pub fn first_end_of(&self, payload: &str) -> Option<Lsn> {
        self.0.lock().bodies.get(payload).copied()
    }

    /// All records, as text.
    pub fn records(&self) -> Vec<String> {
        let log = self.0.lock();
        let records = log.frames.iter().flat_map(|frame| Records::new(&frame.payload));
        records.map(|record| format!("{:?}", record.expect("checked").2)).collect()
    }

    pub fn set_condition(&self, condition: Condition) {
        self.0.lock().condition = condition;
    }

    /// Syncs the first `frames` frames and wakes whoever waits for them.
    pub fn sync_frames(&self, frames: usize) {
        let due: Vec<_> = {
            let mut log = self.0.lock();
            let end = frames.checked_sub(1).map_or(0, |last| log.frames[last].end);
            log.durable = log.durable.max(end);
            let durable = log.durable;
            log.waiting.extract_if(.., |(at, _)| *at <= durable).collect()
        };
        due.into_iter().for_each(|(_, sink)| sink.wake());
    }

    pub fn sync_all(&self) {
        self.sync_frames(self.frames());
    }

    /// How many hold a place in the log.
    pub fn pins(&self) -> usize {
        Arc::strong_count(&self.0.lock().pin) - 1
    }

    /// Frames that are synced.
    pub fn synced(&self) -> usize {
        let log = self.0.lock();
        log.frames.iter().take_while(|frame| frame.end <= log.durable).count()
    }

    /// Answers what was asked for. Returns how many requests there were.
    pub fn serve(&self) -> usize {
        let mut served = 0;
        loop {
            let Some((places, done)) = self.0.lock().fetches.pop_front() else { return served };
            let bodies = places.iter().map(|place| self.read_at(place)).collect();
            done(bodies);
            served += 1;
        }
    }

    fn read_at(&self, place: &BodyPlace) -> Result<Bytes, FetchError> {
        let log = self.0.lock();
        let at = log.frames.partition_point(|frame| frame.end <= place.at);
        let body = log.frames.get(at).filter(|frame| frame.base <= place.at).and_then(|frame| {
            let start = (place.at - frame.base) as usize;
            frame.payload.get(start..start + place.len as usize)
        });
        body.map(Bytes::copy_from_slice)
            .ok_or_else(|| FetchError { at: place.at, reason: "nothing is there".into() })
    }

    /// Damages the bodies of all messages with this payload.
    pub fn damage(&self, payload: &str) {
        let mut log = self.0.lock();
        for frame in &mut log.frames {
            let hits: Vec<usize> = frame
                .payload
                .windows(payload.len())
                .enumerate()
                .filter_map(|(at, window)| (window == payload.as_bytes()).then_some(at))
                .collect();
            hits.into_iter().for_each(|at| frame.payload[at] ^= 1);
        }
    }

    /// Takes a snapshot of the broker, as the housekeeping of a real store does.
    pub fn snapshot(&self, broker: &Broker) {
        let snapshot = self.write_snapshot(broker);
        self.publish(snapshot);
    }

    /// Writes one. It may count only once the turns that are under way now are over, and everything they
    /// have appended is synced.
    pub fn write_snapshot(&self, broker: &Broker) -> Snapshot {
        self.write_snapshot_beside(broker, || {})
    }

    /// The same, and something else happens whenever a block has been written.
    pub fn write_snapshot_beside(&self, broker: &Broker, mut beside: impl FnMut()) -> Snapshot {
        broker.prepare_snapshot();
        let from = self.0.lock().end;
        let mut blocks = Vec::new();
        broker
            .write_snapshot(&mut |block| {
                blocks.push(block.to_vec());
                beside();
                Ok(())
            })
            .expect("memory takes all");
        Snapshot { blocks, from }
    }

    /// The records of the newest snapshot, as text.
    pub fn snapshot_records(&self) -> Vec<String> {
        let log = self.0.lock();
        let blocks = log.snapshots.last().into_iter().flat_map(|snapshot| &snapshot.blocks);
        let records = blocks.flat_map(|block| Records::new(block));
        records.map(|record| format!("{:?}", record.expect("checked").2)).collect()
    }

    pub fn publish(&self, snapshot: Snapshot) {
        self.0.lock().snapshots.push(snapshot);
    }

    /// Snapshots that count.
    pub fn snapshots(&self) -> usize {
        self.0.lock().snapshots.len()
    }

    /// What is left after a crash that kept the first `frames` frames: at least those that were synced.
    pub fn crash(&self, frames: usize) -> Arc<Self> {
        let log = self.0.lock();
        let kept: Vec<_> = log.frames[..frames].to_vec();
        let end = kept.last().map_or(64, |frame| frame.end);
        assert!(end >= log.durable, "a crash loses nothing that was synced");
        let after = Self::default();
        {
            let mut state = after.0.lock();
            for frame in &kept {
                note_bodies(&mut state.bodies, &frame.payload, frame.end);
            }
            state.frames = kept;
            (state.end, state.durable) = (end, end);
            state.snapshots.clone_from(&log.snapshots);
            state.piece_bytes = log.piece_bytes;
        }
        Arc::new(after)
    }

    /// Gives a new broker what this disk has, from the snapshot of that number or from the log alone.
    pub fn restore_from(
        &self,
        snapshot: Option<usize>,
        broker: &Arc<Broker>,
        now: Now,
    ) -> Restored {
        let mut restorer = broker.restorer();
        let (snapshot, frames) = {
            let log = self.0.lock();
            (snapshot.map(|number| log.snapshots[number].clone()), log.frames.clone())
        };
        let from = snapshot.as_ref().map_or(0, |snapshot| snapshot.from);
        for block in snapshot.iter().flat_map(|snapshot| &snapshot.blocks) {
            restorer.block(block).expect("our own snapshot");
        }
        for frame in frames.iter().filter(|frame| frame.base > from) {
            restorer.frame(frame.base, &frame.payload).expect("our own frame");
        }
        restorer.finish(now, &mut Source(self))
    }

    /// The records of one frame, decoded.
    pub fn frame<T>(&self, frame: usize, look: impl FnOnce(Vec<Record<'_>>) -> T) -> T {
        let log = self.0.lock();
        let records = Records::new(&log.frames[frame].payload);
        look(records.map(|record| record.expect("checked").2).collect())
    }
}

/// Notes which payloads a frame holds that ends there.
pub fn note_bodies(bodies: &mut BTreeMap<String, Lsn>, payload: &[u8], end: Lsn) {
    for record in Records::new(payload) {
        if let (_, _, Record::Body(body)) = record.expect("a frame is made of records") {
            bodies.entry(String::from_utf8_lossy(body.payload).into_owned()).or_insert(end);
        }
    }
}

struct Source<'a>(&'a Disk);

impl BodySource for Source<'_> {
    fn pin(&mut self, _at: Lsn) -> Option<Pin> {
        Some(Arc::clone(&self.0.0.lock().pin))
    }

    fn read(&mut self, place: &BodyPlace) -> Result<Bytes, FetchError> {
        self.0.read_at(place)
    }
}
