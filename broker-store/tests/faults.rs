//! Faults: calls that fail, disks that fill up, syncs that lie.

#![forbid(unsafe_code)]

mod rig;

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_core::Sink;
use broker_core::store::{BodyPlace, Condition, Level, Lsn, Store};
use broker_store::RetireError;
use broker_store::log::{Log, Threads};
use broker_store::recover::{DamageKind, ReplayFrom};
use broker_store::sim::{Call, Fault, Keep, Random, SimFiles};
use broker_store::stats::State;

use rig::{Rig, payload, seed};

/// Appends and commits, and remembers what the log said was safe.
struct Writer {
    log: Log,
    ends: Vec<Lsn>,
    n_safe: usize,
}

impl Writer {
    fn new(rig: &Rig) -> Self {
        Self { log: rig.start(0).0, ends: Vec::new(), n_safe: 0 }
    }

    fn append(&mut self, len: usize) {
        let number = self.ends.len() as u64 + 1;
        self.ends.push(self.log.append(&payload(number, len)).end);
    }

    fn look(&mut self) {
        let safe = self.log.safe(Level::Fsync);
        self.n_safe = self.n_safe.max(self.ends.partition_point(|end| *end <= safe));
    }

    fn work(&mut self, random: &mut Random, steps: u64) {
        for _ in 0..steps {
            match random.below(10) {
                0..=5 => self.append(8 + random.below(500) as usize),
                6 => self.append(3000),
                7 => drop(self.log.write_now()),
                _ => drop(self.log.commit_now()),
            }
            self.look();
        }
    }
}

/// What a power cut leaves begins as it was written and has all that was safe.
fn check(rig: &Rig, keep: Keep, n_safe: usize, what: &str) {
    let rig = rig.on(rig.files.crash(keep, 7));
    let (_, found) = rig.start(0);
    let n = found.numbers.len() as u64;
    assert!(found.numbers.iter().copied().eq(1..=n), "{what}: {:?}", found.numbers);
    assert!(n >= n_safe as u64, "{what}: {n} of {n_safe}, {:?}", found.recovery);
    assert!(found.recovery.damaged.is_empty(), "{what}: {:?}", found.recovery);
}

#[test]
fn one_failure_anywhere_loses_nothing_and_is_got_over() {
    let calls = [Call::Write, Call::Sync, Call::SyncDir, Call::Create, Call::Rename, Call::Open];
    let faults = [Fault::Short, Fault::Interrupted, Fault::NoSpace, Fault::Quota, Fault::Io];
    for round in 0..2 {
        let seed = seed().wrapping_mul(1000) + round;
        for (call, fault) in calls.iter().flat_map(|call| faults.map(|fault| (*call, fault))) {
            for nth in 1..40 {
                let what = format!("seed {seed} {call:?} {fault:?} {nth}");
                let rig = Rig::new(SimFiles::new(seed));
                let mut writer = Writer::new(&rig);
                let before = rig.files.calls(call);
                rig.files.fail(call, nth, 1, fault);
                writer.work(&mut Random::new(seed), 60);
                let is_struck = rig.files.calls(call) - before >= nth;
                // A full disk is tried again later; anything else is over.
                writer.log.commit_now();
                assert!(writer.log.commit_now(), "{what}");
                writer.look();
                assert_eq!(writer.n_safe, writer.ends.len(), "{what}");
                assert_eq!(writer.log.health().state, State::Working, "{what}");
                assert_eq!(writer.log.condition(), Condition::Ready, "{what}");
                for keep in [Keep::Synced, Keep::Some, Keep::All] {
                    check(&rig, keep, writer.n_safe, &what);
                }
                if !is_struck {
                    break;
                }
            }
        }
    }
}

#[test]
fn failures_in_a_row_end_in_unavailable_and_nothing_safe_is_lost() {
    for call in [Call::Write, Call::Sync, Call::SyncDir] {
        for nth in 1..25 {
            let what = format!("{call:?} from {nth} on");
            let rig = Rig::new(SimFiles::new(nth));
            let mut writer = Writer::new(&rig);
            rig.files.fail(call, nth, u64::MAX, Fault::Io);
            writer.work(&mut Random::new(nth), 120);
            writer.log.commit_now();
            writer.look();
            if writer.log.health().state == State::Failed {
                assert_eq!(writer.log.condition(), Condition::Unavailable, "{what}");
                assert!(writer.n_safe < writer.ends.len() || call == Call::SyncDir, "{what}");
                assert!(writer.log.sync_to(writer.log.end()).is_err(), "{what}");
            } else {
                assert_eq!(call, Call::SyncDir, "{what}");
            }
            for keep in [Keep::Synced, Keep::Some, Keep::All] {
                check(&rig, keep, writer.n_safe, &what);
            }
        }
    }
}

#[test]
fn a_failed_log_serves_from_memory_and_wakes_those_who_wait() {
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start(0);
    rig.files.fail(Call::Sync, 1, u64::MAX, Fault::Io);
    let sent = payload(1, 300);
    let appended = log.append(&sent);
    let waiting = Arc::new(Counting::default());
    log.wake_at(appended.end, Level::Fsync, &mut vec![waiting.clone()]);
    assert!(!log.commit_now());
    assert_eq!(waiting.count(), 1);
    assert!(log.safe(Level::Fsync) < appended.end);

    let body = BodyPlace { at: appended.base, len: 300, pin: appended.pin };
    assert_eq!(log.read(&body).unwrap(), sent);
    // Asked again, they are left alone: it never will be safe.
    let again = log.append(&payload(2, 300)).end;
    log.wake_at(again, Level::Fsync, &mut vec![waiting.clone()]);
    assert_eq!(waiting.count(), 1);
    assert!(log.health().last_error.is_some());
    assert!(log.close(true).is_err());
}

#[test]
fn what_only_the_page_cache_held_is_written_again_at_the_next_start() {
    // A sync fails, the process ends, and the kernel takes the pages it could not write for written.
    for seed in 0..20 {
        let rig = Rig::new(SimFiles::new(seed));
        let mut writer = Writer::new(&rig);
        for _ in 0..3 {
            writer.append(700);
            writer.log.commit_now();
            writer.look();
        }
        rig.files.fail(Call::Sync, 1, u64::MAX, Fault::Io);
        writer.append(300);
        writer.append(300);
        assert!(!writer.log.commit_now());
        rig.files.heal();
        let (_, found) = rig.start(0);
        assert_eq!(found.numbers.len(), 5);
        check(&rig, Keep::Synced, 5, &format!("seed {seed}"));
    }
}

#[test]
fn a_file_that_failed_is_left_behind_from_the_last_durable_place_on() {
    for call in [Call::Write, Call::Sync] {
        let rig = Rig::new(SimFiles::new(1));
        let (log, _) = rig.start(0);
        let first = log.append(&payload(1, 300));
        assert!(log.commit_now());
        rig.files.fail(call, 1, 1, Fault::Io);
        let second = log.append(&payload(2, 300));
        assert!(log.commit_now());
        assert_eq!(log.health().rescues, 1);
        let paths = &log.segments()[0].paths;
        assert_eq!(paths.len(), 2, "{paths:?}");
        let old = rig.files.contents(&paths[0]).unwrap();

        let third = log.append(&payload(3, 300));
        assert!(log.commit_now());
        assert_eq!(rig.files.contents(&paths[0]).unwrap(), old);
        for (number, appended) in (1..).zip([first, second, third]) {
            let body = BodyPlace { at: appended.base, len: 300, pin: appended.pin };
            assert_eq!(log.read(&body).unwrap(), payload(number, 300));
        }
        let (log, found) = rig.start(0);
        assert_eq!(found.numbers, [1, 2, 3]);

        // Neither of its files is used again.
        log.append(&payload(4, 300));
        assert!(log.commit_now());
        let n_spares = log.stats().spares;
        log.retire(1).unwrap();
        assert_eq!(log.stats().spares, n_spares);
        assert!(rig.files.contents(&paths[0]).is_none() && rig.files.contents(&paths[1]).is_none());
    }
}

#[test]
fn a_sync_that_fails_at_the_start_stops_it() {
    let rig = Rig::new(SimFiles::new(1));
    let mut writer = Writer::new(&rig);
    writer.append(700);
    writer.log.commit_now();
    drop(writer);
    rig.files.fail(Call::Sync, 1, 1, Fault::Io);
    assert!(rig.try_start(0).is_err());
    rig.files.heal();
    assert_eq!(rig.start(0).1.numbers, [1]);
}

#[test]
fn a_failure_at_any_call_of_a_start_loses_nothing() {
    let calls = [Call::Write, Call::Sync, Call::SyncDir, Call::Create, Call::Rename, Call::Remove];
    for (call, fault) in
        calls.iter().flat_map(|call| [Fault::Io, Fault::NoSpace].map(|f| (*call, f)))
    {
        for nth in 1..20 {
            let what = format!("{call:?} {fault:?} {nth}");
            let rig = Rig::new(SimFiles::new(nth));
            let mut writer = Writer::new(&rig);
            writer.work(&mut Random::new(nth), 60);
            let rig = rig.on(rig.files.crash(Keep::Some, nth));
            rig.files.fail(call, nth, 1, fault);
            let started = rig.try_start(0);
            if let Ok((log, found)) = &started {
                assert!(found.numbers.len() >= writer.n_safe, "{what}");
                assert!(log.commit_now(), "{what}");
            }
            drop(started);
            rig.files.heal();
            check(&rig, Keep::Synced, writer.n_safe, &what);
        }
    }
}

#[test]
fn a_full_disk_is_waited_out() {
    for limit in (6_000..36_000).step_by(1_500) {
        let what = format!("limit {limit}");
        let rig = Rig::new(SimFiles::new(limit));
        rig.files.limit_space(limit);
        let mut writer = Writer::new(&rig);
        for _ in 0..40 {
            writer.append(900);
            writer.log.commit_now();
            writer.look();
        }
        assert_eq!(writer.log.health().state, State::Full, "{what}");
        assert_eq!(writer.log.condition(), Condition::Unavailable, "{what}");
        check(&rig, Keep::Synced, writer.n_safe, &what);

        // The next start works without space too.
        let files = rig.files.crash(Keep::All, 1);
        files.limit_space(0);
        let (log, found) = rig.on(files.clone()).start(0);
        assert!(found.numbers.len() >= writer.n_safe, "{what}");
        log.append(&payload(1000, 100));
        files.heal();
        assert!(log.commit_now(), "{what}");
        assert_eq!(rig.on(files).start(0).1.numbers.last(), Some(&1000), "{what}");

        rig.files.heal();
        assert!(writer.log.commit_now(), "{what}");
        writer.look();
        assert_eq!(writer.n_safe, 40, "{what}");
        assert_eq!(writer.log.health().state, State::Working, "{what}");
        check(&rig, Keep::Synced, 40, &what);
    }
}

#[test]
fn a_lying_sync_is_seen_if_a_later_frame_says_so() {
    let mut n_lost = 0;
    for nth in 1..30 {
        for keep in [Keep::Synced, Keep::Some] {
            let what = format!("lies from {nth} on, {keep:?}");
            let rig = Rig::new(SimFiles::new(nth));
            let mut writer = Writer::new(&rig);
            rig.files.fail(Call::Sync, nth, u64::MAX, Fault::Lie);
            writer.work(&mut Random::new(nth), 120);
            let rig = rig.on(rig.files.crash(keep, nth));
            let (log, found) = rig.start(0);
            let last = found.numbers.last().copied().unwrap_or(0);
            let has_gap = found.numbers.len() as u64 != last;
            assert!(!has_gap || !found.recovery.damaged.is_empty(), "{what}");
            n_lost += u64::from(has_gap);
            log.append(&payload(1000, 100));
            assert!(log.commit_now());
            assert_eq!(rig.start(0).1.numbers.last(), Some(&1000), "{what}");
        }
    }
    assert!(n_lost > 0);
}

#[test]
fn what_cannot_be_read_is_reported() {
    let rig = Rig::new(SimFiles::new(1));
    let mut writer = Writer::new(&rig);
    for _ in 0..10 {
        writer.append(700);
        writer.log.commit_now();
    }
    drop(writer);
    // The large read fails, and then one of the small ones.
    rig.files.fail(Call::Read, 3, 2, Fault::Io);
    let found = rig.replay(ReplayFrom::default());
    let is_unreadable = |kind| kind == DamageKind::Unreadable;
    assert!(found.recovery.damaged.iter().any(|damage| is_unreadable(damage.what)));
    rig.files.heal();
    assert_eq!(rig.start(0).1.numbers.len(), 10);
}

#[test]
fn waiters_are_woken_when_their_level_is_reached() {
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start(0);
    let end = log.append(&payload(1, 100)).end;
    let sinks: [Arc<Counting>; 3] = Default::default();
    for (sink, level) in sinks.iter().zip([Level::Memory, Level::Written, Level::Fsync]) {
        log.wake_at(end, level, &mut vec![sink.clone()]);
    }
    let check = |counts: [u64; 3]| assert_eq!(sinks.each_ref().map(|s| s.count()), counts);
    check([1, 0, 0]);
    log.write_now();
    check([1, 1, 0]);
    log.commit_now();
    check([1, 1, 1]);
    log.wake_at(end, Level::Fsync, &mut vec![sinks[2].clone()]);
    check([1, 1, 2]);
}

#[test]
fn too_much_unsynced_is_congestion() {
    let mut rig = Rig::new(SimFiles::new(1));
    rig.options.max_unsynced_bytes = 1000;
    let (log, _) = rig.start(0);
    log.append(&payload(1, 600));
    assert_eq!(log.condition(), Condition::Ready);
    log.append(&payload(2, 600));
    assert_eq!(log.condition(), Condition::Congested);
    log.write_now();
    assert_eq!(log.condition(), Condition::Congested);
    log.commit_now();
    assert_eq!(log.condition(), Condition::Ready);
}

#[test]
fn a_pinned_segment_is_not_given_up() {
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start(0);
    let appended = log.append(&payload(1, 600));
    log.roll();
    assert!(matches!(log.retire(1), Err(RetireError::Current(1))));
    log.append(&payload(2, 600));
    assert!(matches!(log.retire(1), Err(RetireError::Current(1))));
    log.commit_now();
    let pin = log.pin(appended.base).unwrap();
    drop(appended);
    assert!(matches!(log.retire(1), Err(RetireError::Pinned { pins: 1, .. })));
    drop(pin);
    log.retire(1).unwrap();
    assert!(log.pin(4096).is_none());
    assert!(log.retire(1).is_err());
}

#[test]
fn threads_append_and_wait_on_real_files() {
    let dir = std::env::temp_dir().join(format!("broker-store-{}", std::process::id()));
    let mut options = broker_store::log::LogOptions::new(&dir, [5; 16]);
    options.segment_bytes = 64 << 10;
    let start = || {
        let files = Arc::new(broker_store::files::RealFiles);
        let stopped = broker_store::recover::StoppedLog::open(files, options.clone()).unwrap();
        let mut numbers = Vec::new();
        let receive = |_: Lsn, bytes: &[u8]| {
            numbers.push(rig::number_of(bytes));
            Ok::<(), io::Error>(())
        };
        let recovery = stopped.replay(ReplayFrom::default(), receive).unwrap();
        (stopped.start(&recovery, Threads::Own).unwrap(), numbers)
    };
    let (log, _) = start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..200 {
                    let appended = log.append(&payload(thread * 1000 + n, 300));
                    if n % 20 == 19 {
                        log.sync_to(appended.end).unwrap();
                        assert!(log.durable() >= appended.end);
                    }
                }
            });
        }
    });
    let read = Arc::new(AtomicU64::new(0));
    let appended = log.append(&payload(9999, 300));
    let body = BodyPlace { at: appended.base, len: 300, pin: appended.pin };
    let (sent, done) = std::sync::mpsc::channel();
    log.fetch(vec![body.clone(), body], Box::new(move |bodies| drop(sent.send(bodies))));
    for body in done.recv().unwrap() {
        assert_eq!(body.unwrap(), payload(9999, 300));
        read.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(read.load(Ordering::Relaxed), 2);
    log.close(true).unwrap();
    drop(log);

    let (log, mut numbers) = start();
    for thread in 0..4 {
        let of_thread: Vec<u64> = numbers.iter().copied().filter(|n| n / 1000 == thread).collect();
        assert!(of_thread.is_sorted());
    }
    numbers.sort_unstable();
    assert_eq!(numbers.len(), 801);
    drop(log);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[derive(Default)]
struct Counting(AtomicU64);

impl Counting {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Sink for Counting {
    fn try_write(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(0)
    }

    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
