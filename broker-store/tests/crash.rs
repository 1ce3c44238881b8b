//! Crashes: a seeded workload, cut off at every call that changes something, several times in a row.
//!
//! After each crash the log must hold a beginning of what was appended, with everything that had been reported
//! safe, and must not speak of damage. `SIM_SEED` chooses the row of workloads.

#![forbid(unsafe_code)]

mod rig;

use broker_core::store::{BodyPlace, Level, Lsn, Store};
use broker_store::log::{Log, Threads};
use broker_store::recover::ReplayFrom;
use broker_store::sim::{Keep, Random, SimFiles};

use rig::{Rig, payload, seed};

const KEEPS: [Keep; 3] = [Keep::Synced, Keep::Some, Keep::All];

/// What a test knows of the log beside the log.
#[derive(Clone, Default)]
struct Model {
    /// Numbers of all payloads that may be in the log, in order.
    all: Vec<u64>,
    /// How many of them must be, after a power cut, and after one that kept everything.
    n_synced: usize,
    n_written: usize,
    /// Where a snapshot lets the replay begin, and how many payloads lie before.
    from: Lsn,
    n_skipped: usize,
    /// The same of the snapshot before, which is kept as well.
    older: (Lsn, usize),
    next: u64,
    /// Ends of the payloads of this life, the last ones of `all`.
    ends: Vec<Lsn>,
    /// Where the small payloads of this life stand.
    places: Vec<(u64, BodyPlace)>,
    /// Bodies that a session still refers to, from before the snapshot.
    kept: Vec<(u64, BodyPlace)>,
}

impl Model {
    fn append(&mut self, log: &Log, len: usize) {
        let appended = log.append(&payload(self.next, len));
        if len < 500 {
            let body = BodyPlace { at: appended.base, len: len as u32, pin: appended.pin };
            self.places.push((self.next, body));
        }
        self.all.push(self.next);
        self.ends.push(appended.end);
        self.next += 1;
    }

    /// Believes what the log says.
    fn look(&mut self, log: &Log) {
        let n_before = self.all.len() - self.ends.len();
        let count = |safe: Lsn| n_before + self.ends.partition_point(|end| *end <= safe);
        self.n_synced = self.n_synced.max(count(log.safe(Level::Fsync)));
        self.n_written = self.n_written.max(count(log.safe(Level::Written)));
    }

    /// As the keeper does it: remembers the end, waits for it, gives up what lies before.
    fn snapshot(&mut self, log: &Log) {
        let end = log.end();
        if log.sync_to(end).is_err() {
            return;
        }
        self.look(log);
        self.older = (self.from, self.n_skipped);
        self.from = end;
        self.n_skipped = self.all.len();
        self.kept.extend(self.places.drain(..).step_by(7));
        if self.kept.len() > 3 {
            self.kept.drain(..2);
        }
        for segment in log.segments() {
            if segment.end <= self.older.0 {
                let _ = log.retire(segment.number);
            }
        }
    }
}

/// A store after the power was cut.
struct Dead {
    files: SimFiles,
    model: Model,
    /// For messages.
    story: String,
}

impl Dead {
    /// Switches the power on and lives on until it is cut again in call `at`; `None` if all is done before.
    fn live(&self, keep: Keep, seed: u64, at: Option<u64>) -> Option<Self> {
        let story = format!("{} {keep:?} seed {seed} at {at:?}", self.story);
        let mut model = self.model.clone();
        model.ends.clear();
        model.places.clear();
        if keep == Keep::All {
            model.n_synced = model.n_synced.max(model.n_written);
        }
        model.n_written = model.n_synced;

        let files = self.files.crash(keep, seed);
        if let Some(at) = at {
            files.halt_at(at);
        }
        let rig = Rig::new(files.clone());
        let newest =
            ReplayFrom { from: model.from, known_durable: model.from, ..ReplayFrom::default() };
        let stopped = rig.stopped();
        for (number, body) in &mut model.kept {
            let pin = stopped.pin(body.at);
            body.pin = pin.unwrap_or_else(|| panic!("{story}: segment of body {number}"));
            let sent = payload(*number, body.len as usize);
            assert_eq!(stopped.read(body).as_deref(), Ok(&sent[..]), "{story}: body {number}");
        }
        // The log must serve the snapshot before the newest just as well.
        let (from, n_skipped) = model.older;
        let found = rig.replay(ReplayFrom { from, ..ReplayFrom::default() });
        let all = &model.all[n_skipped..];
        assert!(all.starts_with(&found.numbers), "{story}: {:?} of {all:?}", found.numbers);
        assert!(n_skipped + found.numbers.len() >= model.n_synced, "{story}: older snapshot");

        let found = rig.replay(newest);
        let all = &model.all[model.n_skipped..];
        let n_synced = model.n_synced.saturating_sub(model.n_skipped);
        let n_found = found.numbers.len();
        assert!(all.starts_with(&found.numbers), "{story}: {:?} of {all:?}", found.numbers);
        assert!(n_found >= n_synced, "{story}: {n_found} of {n_synced} in {all:?}");
        assert!(found.recovery.damaged.is_empty(), "{story}: {:?}", found.recovery);

        match stopped.start(&found.recovery, Threads::None) {
            Err(_) if files.is_halted() => {}
            Err(error) => panic!("{story}: {error}"),
            Ok(log) => {
                model.all.truncate(model.n_skipped + n_found);
                model.n_synced = model.all.len();
                model.n_written = model.n_synced;
                work(&log, &mut model, &files, &mut Random::new(seed));
            }
        }
        files.is_halted().then_some(Self { files, model, story })
    }
}

/// Does things to a log until the power goes.
fn work(log: &Log, model: &mut Model, files: &SimFiles, random: &mut Random) {
    for _ in 0..40 {
        match random.below(20) {
            0..=9 => model.append(log, 8 + random.below(400) as usize),
            10 => model.append(log, 1500 + random.below(9000) as usize),
            11..=14 => drop(log.commit_now()),
            15..=16 => drop(log.write_now()),
            17 => drop(log.prepare_spare()),
            18 => drop(log.roll()),
            _ => model.snapshot(log),
        }
        model.look(log);
        if files.is_halted() {
            return;
        }
    }
}

fn new_store(seed: u64) -> Dead {
    Dead {
        files: SimFiles::new(seed),
        model: Model { next: 1, ..Model::default() },
        story: String::new(),
    }
}

#[test]
fn what_was_safe_survives_a_crash_at_every_call() {
    let mut n_points = 0;
    for round in 0..8 {
        let seed = seed().wrapping_mul(1000) + round;
        for at in 1.. {
            let Some(dead) = new_store(seed).live(Keep::All, seed, Some(at)) else { break };
            for keep in KEEPS {
                assert!(dead.live(keep, seed + at, None).is_none());
                n_points += 1;
            }
        }
    }
    assert!(n_points > 1500, "{n_points}");
}

#[test]
fn what_was_safe_survives_crash_after_crash() {
    let mut random = Random::new(seed());
    for _ in 0..1500 {
        let seed = random.next();
        let mut dead = new_store(seed);
        for _ in 0..4 {
            let keep = KEEPS[random.below(3) as usize];
            let at = 1 + random.below(120);
            match dead.live(keep, random.next(), Some(at)) {
                Some(next) => dead = next,
                None => break,
            }
        }
        let keep = KEEPS[random.below(3) as usize];
        assert!(dead.live(keep, random.next(), None).is_none());
    }
}
