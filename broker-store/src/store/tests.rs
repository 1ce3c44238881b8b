//! Tests of the store as a whole, on files in memory, with a broker that knows delayed messages only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use broker_core::QoS;
use broker_core::record::{Body, BodyAt, Record, Records};
use broker_core::store::TurnsUnderWay;

use super::*;
use crate::inspect::{Inspection, Verified};
use crate::repair;
use crate::sim::{Keep, SimFiles};

mod crash;
mod disk;
mod life;
mod room;

const SEGMENT: u64 = 4096;

/// A broker of delayed messages, which are named by their step.
#[derive(Default)]
struct Broker {
    bodies: Mutex<BTreeMap<u64, BodyPlace>>,
}

impl State for Broker {
    fn write_snapshot(&self, block: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for (step, place) in &*self.bodies.lock() {
            let body = BodyAt::Log { at: place.at, len: place.len };
            let mut payload = Vec::new();
            Record::Delayed { step: *step, body, due_at_ms: 1 }.encode(&mut payload);
            block(&payload)?;
        }
        Ok(())
    }

    fn turns_under_way(&self) -> TurnsUnderWay {
        TurnsUnderWay::default()
    }

    fn visit_bodies(&self, visit: &mut dyn FnMut(&mut BodyPlace)) {
        self.bodies.lock().values_mut().for_each(visit);
    }
}

/// What replay leads to.
#[derive(Default)]
struct Replayed {
    delayed: BTreeMap<u64, (Lsn, u32)>,
    moved: HashMap<Lsn, (Lsn, u32)>,
}

impl Replay for Replayed {
    fn block(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        self.frame(0, payload)
    }

    fn frame(&mut self, base: Lsn, payload: &[u8]) -> Result<(), RecordError> {
        let (mut from, mut last_len) = (None, 0);
        for record in Records::new(payload) {
            let (offset, len, record) = record?;
            let at = base + Lsn::from(offset);
            match record {
                Record::Moved { from: was } => from = Some(was),
                Record::Body(_) => {
                    last_len = len;
                    if let Some(from) = from.take() {
                        self.moved.insert(from, (at, len));
                    }
                }
                Record::Delayed { step, body, .. } => {
                    let place = match body {
                        BodyAt::Here(offset) => (base + Lsn::from(offset), last_len),
                        BodyAt::Log { at, len } => (at, len),
                    };
                    self.delayed.insert(step, place);
                }
                Record::DelayedDone { of, .. } => drop(self.delayed.remove(&of)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A store, its broker and its keeper, driven by hand.
struct World {
    files: SimFiles,
    store: Arc<EmbeddedStore>,
    broker: Arc<Broker>,
    keeper: Keeper,
    opened: Opened,
    /// Messages that the log does not hold any more.
    lost: Vec<u64>,
    now_ms: u64,
    next: u64,
}

fn options() -> StoreOptions {
    StoreOptions {
        segment_bytes: SEGMENT,
        spare_segments: 2,
        snapshot_log_bytes: 3 * SEGMENT,
        log_min_bytes: 4 * SEGMENT,
        min_free_bytes: 0,
        ..StoreOptions::new("/data")
    }
}

impl World {
    fn open(files: &SimFiles) -> Result<Self, Failure> {
        Self::open_with(files, options())
    }

    fn open_with(files: &SimFiles, options: StoreOptions) -> Result<Self, Failure> {
        let shared = Arc::new(files.clone());
        let store = EmbeddedStore::open_on(shared, options, Level::Fsync, Threads::None)?;
        let mut replayed = Replayed::default();
        let opened = store.replay(&mut replayed)?;
        let (broker, bodies) = (Arc::<Broker>::default(), store.bodies());
        let mut lost = Vec::new();
        for (step, mut place) in replayed.delayed {
            while let Some(next) = replayed.moved.get(&place.0) {
                place = *next;
            }
            match bodies.pin(place.0) {
                Some(pin) => {
                    let place = BodyPlace { at: place.0, len: place.1, pin };
                    broker.bodies.lock().insert(step, place);
                }
                None => lost.push(step),
            }
        }
        let weak: Weak<Broker> = Arc::downgrade(&broker);
        let keeper = store.keeper(weak)?;
        let next = broker.bodies.lock().keys().max().map_or(0, |step| step + 1_000);
        Ok(Self { files: files.clone(), store, broker, keeper, opened, lost, now_ms: 0, next })
    }

    fn publish(&mut self, bytes: usize) -> u64 {
        self.next += 1;
        let mut payload = Vec::new();
        let body = Body {
            qos: QoS::AtLeastOnce,
            retain: false,
            published_at_ms: self.next,
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
        let appended = self.store.append(&payload);
        let place = BodyPlace { at: appended.base, len, pin: appended.pin };
        self.broker.bodies.lock().insert(self.next, place);
        self.next
    }

    fn done(&mut self, of: u64) {
        self.broker.bodies.lock().remove(&of);
        self.next += 1;
        let mut payload = Vec::new();
        Record::DelayedDone { step: self.next, of }.encode(&mut payload);
        self.store.append(&payload);
    }

    fn commit(&self) -> bool {
        self.store.started().commit_now()
    }

    /// So many messages pass through.
    fn pass(&mut self, n: usize) {
        for _ in 0..n {
            let id = self.publish(300);
            self.done(id);
        }
        self.commit();
    }

    /// Lets the keeper come to rest.
    fn settle(&mut self) {
        self.now_ms += 20_000;
        for _ in 0..1000 {
            self.commit();
            let wait = self.keeper.step(self.now_ms);
            if wait >= 1000 {
                return;
            }
            self.now_ms += wait;
        }
        panic!("the keeper does not come to rest");
    }

    fn snapshot(&mut self) -> crate::keeper::Taken {
        let (reply, taken) = std::sync::mpsc::sync_channel(1);
        self.keeper.order(reply);
        self.settle();
        taken.recv().unwrap().unwrap()
    }

    /// Every message, with its body checked.
    fn messages(&self) -> BTreeSet<u64> {
        let bodies = self.broker.bodies.lock();
        for (id, place) in &*bodies {
            let body = self.store.started().read(place).unwrap();
            let Ok((_, Some(Record::Body(body)))) = Record::decode(&body) else {
                panic!("message {id} is not at {place:?}")
            };
            assert_eq!(body.published_at_ms, *id);
            assert!(body.payload.iter().all(|byte| *byte == *id as u8));
        }
        bodies.keys().copied().collect()
    }

    fn segments(&self) -> usize {
        self.store.started().segments().len()
    }

    fn verify(files: &SimFiles, root: &str) -> Verified {
        Inspection::open(Arc::new(files.clone()), Path::new(root)).unwrap().verify().unwrap()
    }
}
