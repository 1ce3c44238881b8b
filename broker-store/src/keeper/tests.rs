//! Tests of the keeper: against a log in memory, and a broker that knows delayed messages only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use broker_core::QoS;
use broker_core::record::{Body, BodyAt, Record};
use broker_core::store::{Appended, BodyPlace, FetchError, TurnsUnderWay};
use bytes::Bytes;

use super::*;
use crate::alarm::{STORE_DISK_LOW, STORE_FULL, STORE_SNAPSHOT_FAILED};
use crate::folder::Identity;
use crate::sim::{Call, Fault, SimFiles};
use crate::stats::Health;

const SEGMENT: u64 = 4096;

/// A log whose syncs the test makes.
struct FakeLog {
    inner: Mutex<Inner>,
    spares: AtomicU64,
    is_full: AtomicU64,
}

struct Inner {
    end: Lsn,
    durable: Lsn,
    /// By number: what it holds, and who may read it.
    segments: BTreeMap<u64, (BTreeMap<Lsn, Vec<u8>>, Arc<()>)>,
    damaged: BTreeSet<u64>,
    health: Health,
}

impl FakeLog {
    fn new() -> Arc<Self> {
        let segments = BTreeMap::from([(1, Default::default())]);
        let (damaged, health) = (BTreeSet::new(), Health::default());
        let inner = Inner { end: SEGMENT, durable: SEGMENT, segments, damaged, health };
        Arc::new(Self {
            inner: Mutex::new(inner),
            spares: AtomicU64::new(0),
            is_full: AtomicU64::new(0),
        })
    }

    fn sync(&self) {
        let mut inner = self.inner.lock();
        inner.durable = inner.end;
    }

    fn numbers(&self) -> Vec<u64> {
        self.inner.lock().segments.keys().copied().collect()
    }
}

impl Journal for FakeLog {
    fn piece_bytes(&self) -> usize {
        SEGMENT as usize
    }

    fn append(&self, payload: &[u8]) -> Appended {
        let mut inner = self.inner.lock();
        let bytes = payload.len() as u64;
        assert!(bytes <= SEGMENT);
        let number = inner.end / SEGMENT;
        if inner.end + bytes > (number + 1) * SEGMENT || inner.end == (number + 1) * SEGMENT {
            inner.end = (number + 1) * SEGMENT;
        }
        let base = inner.end;
        inner.end += bytes;
        let end = inner.end;
        let (frames, pin) = inner.segments.entry(base / SEGMENT).or_default();
        frames.insert(base, payload.to_vec());
        Appended { base, end, pin: pin.clone() }
    }

    fn read(&self, place: &BodyPlace) -> Result<Bytes, FetchError> {
        let inner = self.inner.lock();
        let found = inner.segments.get(&(place.at / SEGMENT)).and_then(|(frames, _)| {
            let (base, payload) = frames.range(..=place.at).next_back()?;
            let offset = (place.at - base) as usize;
            payload.get(offset..offset + place.len as usize)
        });
        let reason = "it is not there".to_owned();
        found.map(Bytes::copy_from_slice).ok_or(FetchError { at: place.at, reason })
    }

    fn end(&self) -> Lsn {
        self.inner.lock().end
    }

    fn durable(&self) -> Lsn {
        self.inner.lock().durable
    }

    fn segments(&self) -> Vec<Segment> {
        let inner = self.inner.lock();
        let segment = |(number, (_, pin)): (&u64, &(_, Arc<()>))| Segment {
            number: *number,
            start: number * SEGMENT,
            end: (number + 1) * SEGMENT,
            is_pinned: Arc::strong_count(pin) > 1,
            is_damaged: inner.damaged.contains(number),
        };
        inner.segments.iter().map(segment).collect()
    }

    fn pin(&self, number: u64) -> Option<Pin> {
        let inner = self.inner.lock();
        inner.segments.get(&number).map(|(_, pin)| pin.clone() as Pin)
    }

    fn retire(&self, number: u64) -> io::Result<bool> {
        let mut inner = self.inner.lock();
        let (_, pin) = inner.segments.get(&number).expect("a segment that is there");
        if Arc::strong_count(pin) > 1 || inner.end / SEGMENT == number {
            return Ok(false);
        }
        inner.segments.remove(&number);
        Ok(true)
    }

    fn roll(&self) {
        let mut inner = self.inner.lock();
        let number = inner.end / SEGMENT + 1;
        inner.end = number * SEGMENT;
        inner.segments.entry(number).or_default();
    }

    fn spares(&self) -> usize {
        self.spares.load(Ordering::Relaxed) as usize
    }

    fn give_up_spare(&self) -> bool {
        let less = |n: u64| n.checked_sub(1);
        self.spares.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn untaken_bytes(&self) -> u64 {
        0
    }

    fn set_growth(&self, _: u64, _: u64, is_full: bool) {
        self.is_full.store(u64::from(is_full), Ordering::Relaxed);
    }

    fn health(&self) -> Health {
        self.inner.lock().health.clone()
    }

    fn is_congested(&self) -> bool {
        false
    }
}

/// A broker of delayed messages.
#[derive(Default)]
struct FakeState {
    bodies: Mutex<BTreeMap<u64, BodyPlace>>,
    /// Odd: a turn is under way.
    gate: Arc<AtomicU64>,
    /// A snapshot was prepared, and neither written nor forgotten.
    is_prepared: AtomicBool,
}

impl State for FakeState {
    fn prepare_snapshot(&self) {
        assert!(!self.is_prepared.swap(true, Ordering::SeqCst));
    }

    fn forget_snapshot(&self) {
        assert!(self.is_prepared.swap(false, Ordering::SeqCst));
    }

    fn write_snapshot(&self, block: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        assert!(self.is_prepared.swap(false, Ordering::SeqCst));
        for (step, place) in &*self.bodies.lock() {
            let body = BodyAt::Log { at: place.at, len: place.len };
            let mut payload = Vec::new();
            Record::Delayed { step: *step, body, due_at_ms: 1 }.encode(&mut payload);
            block(&payload)?;
        }
        Ok(())
    }

    fn turns_under_way(&self) -> TurnsUnderWay {
        TurnsUnderWay::of(std::iter::once(self.gate.clone()))
    }

    fn visit_bodies(&self, visit: &mut dyn FnMut(&mut BodyPlace)) {
        self.bodies.lock().values_mut().for_each(visit);
    }
}

struct World {
    files: SimFiles,
    log: Arc<FakeLog>,
    state: Arc<FakeState>,
    keeper: Keeper,
    now_ms: u64,
    next: u64,
}

impl World {
    fn new(change: impl FnOnce(&mut StoreOptions)) -> Self {
        let files = SimFiles::new(1);
        let made = || Ok(Identity { store_id: [7; 16], segment_bytes: SEGMENT, created_ms: 1 });
        let folder = Folder::open_or_create(Arc::new(files.clone()), Path::new("/data"), made);
        let mut options = StoreOptions::new("/data");
        options.snapshot_log_bytes = 4 * SEGMENT;
        options.log_min_bytes = 8 * SEGMENT;
        options.min_free_bytes = 0;
        change(&mut options);
        let (log, state) = (FakeLog::new(), Arc::<FakeState>::default());
        let weak: Weak<FakeState> = Arc::downgrade(&state);
        let alarms = Alarms::default();
        let keeper = Keeper::new(folder.unwrap(), log.clone(), weak, options, alarms, None);
        Self { files, log, state, keeper, now_ms: 0, next: 0 }
    }

    /// A message of so many bytes comes in.
    fn publish(&mut self, bytes: usize) -> u64 {
        self.next += 1;
        let mut payload = Vec::new();
        let body = Body {
            qos: QoS::AtLeastOnce,
            retain: false,
            published_at_ms: 1,
            expires_at_ms: 0,
            publisher: "",
            topic: "t",
            properties: &[],
            payload: &vec![self.next as u8; bytes],
        };
        Record::Body(body).encode(&mut payload);
        let len = payload.len() as u32;
        let body = BodyAt::Here(0);
        Record::Delayed { step: self.next, body, due_at_ms: 1 }.encode(&mut payload);
        let appended = self.log.append(&payload);
        let place = BodyPlace { at: appended.base, len, pin: appended.pin };
        self.state.bodies.lock().insert(self.next, place);
        self.next
    }

    /// It leaves.
    fn done(&mut self, of: u64) {
        self.state.bodies.lock().remove(&of).unwrap();
        self.next += 1;
        let mut payload = Vec::new();
        Record::DelayedDone { step: self.next, of }.encode(&mut payload);
        self.log.append(&payload);
    }

    /// So many messages pass through.
    fn pass(&mut self, n: usize) {
        for _ in 0..n {
            let id = self.publish(300);
            self.done(id);
        }
    }

    /// Steps for a while; returns false if the keeper never came to rest.
    fn settle(&mut self) -> bool {
        for _ in 0..300 {
            let wait = self.keeper.step(self.now_ms);
            if wait >= IDLE_MS && matches!(self.keeper.job, Job::None) {
                return true;
            }
            self.now_ms += wait;
        }
        false
    }

    fn settle_synced(&mut self) {
        self.now_ms += IDLE_MS;
        for _ in 0..300 {
            self.log.sync();
            let wait = self.keeper.step(self.now_ms);
            if wait >= IDLE_MS && matches!(self.keeper.job, Job::None) {
                return;
            }
            self.now_ms += wait;
        }
        panic!("the keeper does not come to rest");
    }

    fn order(&mut self) -> Receiver<Result<Taken, String>> {
        let (reply, receiver) = sync_channel(1);
        self.keeper.order(reply);
        receiver
    }

    fn snapshot_now(&mut self) -> Snapshot {
        let taken = self.order();
        self.settle_synced();
        taken.recv().unwrap().unwrap().snapshot
    }

    fn snapshots(&self) -> Vec<Lsn> {
        let found = snapshot::list(&self.keeper.folder).unwrap();
        found.into_iter().map(|(from, _)| from).collect()
    }

    /// Every body can be read where the state says that it stands.
    fn check_bodies(&self) {
        for (id, place) in &*self.state.bodies.lock() {
            let body = self.log.read(place).unwrap();
            let Ok((_, Some(Record::Body(body)))) = Record::decode(&body) else { panic!() };
            assert!(body.payload.iter().all(|byte| *byte == *id as u8));
        }
    }
}

#[test]
fn a_snapshot_waits_for_turns_and_for_the_disk() {
    let mut world = World::new(|_| {});
    world.publish(100);
    world.log.sync();
    let from = world.log.end();
    world.state.gate.store(1, Ordering::SeqCst);
    let taken = world.order();
    assert!(!world.settle(), "a turn is under way");
    // The turn appends what the walk has seen, and ends.
    world.publish(100);
    world.state.gate.store(2, Ordering::SeqCst);
    assert!(!world.settle(), "what the turn appended is not safe");
    assert_eq!(world.snapshots(), []);
    let to = world.log.end();
    world.log.sync();
    assert!(world.settle());
    let snapshot = taken.recv().unwrap().unwrap().snapshot;
    assert_eq!((snapshot.from, snapshot.to), (from, to));
    assert_eq!(world.snapshots(), [from]);
}

#[test]
fn the_newest_two_snapshots_stay_and_one_that_is_held() {
    let mut world = World::new(|_| {});
    world.pass(1);
    let held = world.order();
    world.settle_synced();
    let held = held.recv().unwrap().unwrap();
    let mut froms = vec![held.snapshot.from];
    for _ in 0..3 {
        world.pass(1);
        froms.insert(0, world.snapshot_now().from);
    }
    assert_eq!(world.snapshots(), [froms[0], froms[1], froms[3]]);
    drop(held);
    world.pass(1);
    let newest = world.snapshot_now().from;
    assert_eq!(world.snapshots(), [newest, froms[0]]);
}

#[test]
fn without_news_the_last_snapshot_is_the_answer() {
    let mut world = World::new(|_| {});
    world.pass(1);
    let first = world.snapshot_now();
    assert_eq!(world.snapshot_now(), first);
}

#[test]
fn a_growing_log_is_snapshot_and_its_segments_go() {
    let mut world = World::new(|_| {});
    for _ in 0..200 {
        world.pass(5);
        world.settle_synced();
        assert!(world.log.numbers().len() < 14, "{:?}", world.log.numbers());
    }
    assert!(world.snapshots().len() == 2);
    assert!(world.keeper.stats.lock().retired_segments > 50);
}

#[test]
fn a_segment_before_the_newest_snapshot_only_stays() {
    let mut world = World::new(|_| {});
    world.pass(40);
    world.snapshot_now();
    assert_eq!(world.log.numbers()[0], 1, "there is nothing else to fall back on");
    world.pass(40);
    let second = world.snapshot_now();
    let oldest = world.log.numbers()[0];
    assert!(oldest > 1 && oldest * SEGMENT < second.from);
    assert_eq!(oldest, world.keeper.kept[1].snapshot.from / SEGMENT);
}

#[test]
fn a_dropped_body_stays_until_the_record_that_drops_it_is_safe() {
    let mut world = World::new(|_| {});
    let id = world.publish(100);
    world.pass(20);
    world.snapshot_now();
    world.pass(20);
    world.snapshot_now();
    assert_eq!(world.log.numbers()[0], 1, "it holds a live body");
    // The turn has dropped the body, and has not yet appended the record.
    world.state.gate.store(1, Ordering::SeqCst);
    let body = world.state.bodies.lock().remove(&id).unwrap();
    world.now_ms += IDLE_MS;
    drop(body);
    assert!(!world.settle());
    assert_eq!(world.log.numbers()[0], 1, "the turn is under way");
    let mut record = Vec::new();
    Record::DelayedDone { step: 99, of: id }.encode(&mut record);
    world.log.append(&record);
    world.state.gate.store(2, Ordering::SeqCst);
    assert!(!world.settle());
    assert_eq!(world.log.numbers()[0], 1, "the record is not safe");
    world.settle_synced();
    assert!(world.log.numbers()[0] > 1);
}

#[test]
fn compaction_moves_the_few_that_live_long() {
    let mut world = World::new(|_| {});
    let mut kept = Vec::new();
    for round in 0..100 {
        if round % 10 == 0 {
            kept.push(world.publish(200));
        }
        world.pass(5);
        world.settle_synced();
    }
    // One live body in each of ten segments would hold them all.
    world.now_ms += 60_000;
    for _ in 0..20 {
        world.pass(8);
        world.now_ms += 10_000;
        world.settle_synced();
    }
    world.check_bodies();
    assert_eq!(world.state.bodies.lock().len(), kept.len());
    assert!(world.log.numbers().len() < 16, "{:?}", world.log.numbers());
    assert!(world.keeper.stats.lock().compacted_bytes > 0);
}

#[test]
fn owners_are_told_only_when_the_copies_are_safe() {
    let mut world = World::new(|options| options.log_min_bytes = 0);
    let id = world.publish(100);
    world.pass(30);
    world.snapshot_now();
    world.pass(30);
    let order = world.order();
    while order.try_recv().is_err() {
        world.log.sync();
        world.now_ms += world.keeper.step(world.now_ms);
    }
    let place = |world: &World| world.state.bodies.lock()[&id].at;
    let before = place(&world);
    world.now_ms += 10_000;
    // Recycling is through with a sync; the copies are appended and wait for one.
    for _ in 0..20 {
        if !matches!(world.keeper.job, Job::Compact(_)) {
            world.log.sync();
        }
        world.now_ms += world.keeper.step(world.now_ms);
    }
    assert!(matches!(world.keeper.job, Job::Compact(_)));
    assert_eq!(place(&world), before);
    world.settle_synced();
    assert!(place(&world) > before);
    assert!(world.log.numbers()[0] > before / SEGMENT);
    world.check_bodies();
}

#[test]
fn a_place_that_was_held_meanwhile_keeps_its_segment() {
    let mut world = World::new(|options| options.log_min_bytes = 0);
    let id = world.publish(100);
    world.pass(30);
    world.snapshot_now();
    // A message under way to its client, say.
    let held = world.state.bodies.lock()[&id].clone();
    world.pass(30);
    world.snapshot_now();
    world.now_ms += 10_000;
    world.settle_synced();
    assert!(world.state.bodies.lock()[&id].at > held.at);
    assert_eq!(world.log.numbers()[0], 1);
    assert!(world.log.read(&held).is_ok());
    drop(held);
    world.settle_synced();
    assert!(world.log.numbers()[0] > 1);
}

#[test]
fn a_snapshot_that_cannot_be_begun_is_forgotten() {
    let mut world = World::new(|_| {});
    world.pass(1);
    world.files.fail(Call::Create, 1, 1, Fault::Io);
    let taken = world.order();
    world.keeper.step(world.now_ms);
    assert!(taken.recv().unwrap().is_err());
    assert!(!world.state.is_prepared.load(Ordering::SeqCst));
    world.now_ms += 10_000;
    world.snapshot_now();
    assert_eq!(world.snapshots().len(), 1);
}

#[test]
fn a_snapshot_that_fails_is_told_and_tried_again() {
    let mut world = World::new(|_| {});
    world.pass(1);
    world.files.fail(Call::Sync, 1, 1, Fault::NoSpace);
    let taken = world.order();
    world.log.sync();
    for _ in 0..5 {
        world.now_ms += world.keeper.step(world.now_ms);
    }
    assert!(taken.recv().unwrap().is_err());
    assert!(world.keeper.alarms.is_up(STORE_SNAPSHOT_FAILED));
    assert!(world.files.paths().iter().all(|path| path.extension().is_none_or(|it| it != "tmp")));
    world.pass(60);
    world.now_ms += 10_000;
    world.settle_synced();
    assert!(!world.keeper.alarms.is_up(STORE_SNAPSHOT_FAILED));
    assert_eq!(world.snapshots().len(), 1);
}

#[test]
fn a_full_log_is_refused_and_resumes() {
    let mut world = World::new(|options| options.max_log_bytes = 20 * SEGMENT);
    let mut ids = Vec::new();
    while world.log.is_full.load(Ordering::Relaxed) == 0 {
        (0..10).for_each(|_| ids.push(world.publish(300)));
        world.settle_synced();
        assert!(world.log.numbers().len() < 25);
    }
    assert!(world.keeper.alarms.is_up(STORE_FULL) && world.keeper.alarms.is_up(STORE_DISK_LOW));
    ids.into_iter().for_each(|id| world.done(id));
    for _ in 0..4 {
        world.pass(15);
        world.settle_synced();
    }
    assert_eq!(world.log.is_full.load(Ordering::Relaxed), 0);
    assert!(!world.keeper.alarms.is_up(STORE_FULL) && !world.keeper.alarms.is_up(STORE_DISK_LOW));
}

/// What is refused does not let the log grow, so the snapshots that free it must not wait for that.
#[test]
fn a_log_that_filled_before_its_first_snapshot_resumes_when_it_is_drained() {
    let mut world = World::new(|options| options.max_log_bytes = 20 * SEGMENT);
    let ids: Vec<_> = (0..240).map(|_| world.publish(300)).collect();
    world.settle_synced();
    assert_eq!(world.log.is_full.load(Ordering::Relaxed), 1);
    ids.into_iter().for_each(|id| world.done(id));
    (0..4).for_each(|_| world.settle_synced());
    assert_eq!(world.log.is_full.load(Ordering::Relaxed), 0);
}

/// The same with snapshots from before, and when nothing more is appended at all.
#[test]
fn a_log_that_filled_after_its_snapshots_resumes_when_it_is_drained() {
    let mut world = World::new(|options| options.max_log_bytes = 20 * SEGMENT);
    for _ in 0..2 {
        world.pass(1);
        world.snapshot_now();
    }
    let ids: Vec<_> = (0..240).map(|_| world.publish(300)).collect();
    ids.into_iter().for_each(|id| world.done(id));
    (0..4).for_each(|_| world.settle_synced());
    assert_eq!(world.log.is_full.load(Ordering::Relaxed), 0);
    assert!(!world.keeper.alarms.is_up(STORE_FULL));
    let n_snapshots = world.keeper.stats.lock().snapshots;
    (0..10).for_each(|_| world.settle_synced());
    assert_eq!(world.keeper.stats.lock().snapshots, n_snapshots, "no more than needed");
}

#[test]
fn stopping_writes_one_last_snapshot() {
    let mut world = World::new(|_| {});
    world.pass(1);
    world.keeper.stop();
    assert!(!world.keeper.is_stopped(world.now_ms));
    world.settle_synced();
    assert!(world.keeper.is_stopped(world.now_ms));
    assert_eq!(world.snapshots(), [world.log.end()]);
}
