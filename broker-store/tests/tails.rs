//! Damage: bits flipped, files cut short, sectors zeroed and swapped, frames of an earlier life.
//!
//! Never a panic, never a refusal, and never silence about a payload that is not there any more.

#![forbid(unsafe_code)]

mod rig;

use std::path::{Path, PathBuf};

use broker_core::store::{Lsn, Store};
use broker_store::log::Threads;
use broker_store::recover::{DamageKind, ReplayFrom};
use broker_store::sim::{Keep, Random, SimFiles};

use rig::{Found, Rig, SEGMENT_BYTES, payload, seed};

const SECTOR: usize = 512;

/// A log that was left without closing it, and what is in it.
struct Sample {
    rig: Rig,
    /// Number, first position and end of each payload; all of them durable.
    frames: Vec<(u64, Lsn, Lsn)>,
    /// The segments and the bytes of each that are used.
    segments: Vec<(PathBuf, usize)>,
}

impl Sample {
    /// Two segments with some small frames, and one in pieces in between.
    fn new(with_chain: bool) -> Self {
        let rig = Rig::new(SimFiles::new(1));
        let (log, _) = rig.start(0);
        let mut frames = Vec::new();
        let mut lens = vec![20, 8, 77, 150, 0];
        if with_chain {
            lens.push(6000);
        }
        lens.extend([33, 200, 64]);
        for (number, len) in (1..).zip(lens) {
            let appended = log.append(&payload(number, len));
            assert!(log.commit_now());
            frames.push((number, appended.base - 32, appended.end));
            if number == 5 {
                log.roll();
                assert!(log.commit_now());
            }
        }
        // With the frame that ends a segment; with a chain there are three, the second of them full.
        let used = |number: u64| {
            let of_segment = frames.iter().filter(|frame| frame.1 / SEGMENT_BYTES == number);
            let end = of_segment.map(|frame| frame.2 - number * SEGMENT_BYTES + 32).max();
            end.map_or(SEGMENT_BYTES, |end| end.min(SEGMENT_BYTES)) as usize
        };
        let all = log.segments().into_iter();
        let segments: Vec<_> =
            all.map(|segment| (segment.paths[0].clone(), used(segment.number))).collect();
        assert_eq!(segments.len(), if with_chain { 3 } else { 2 });
        drop(log);
        Self { rig, frames, segments }
    }

    fn damaged(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Rig {
        let rig = self.rig.on(self.rig.files.crash(Keep::All, 1));
        let mut bytes = rig.files.contents(path).unwrap();
        change(&mut bytes);
        rig.files.set_contents(path, bytes);
        rig
    }

    /// Everything is there, or what is missing was reported; and the log goes on.
    fn check(&self, rig: &Rig, what: &str) -> Found {
        let found = rig.replay(ReplayFrom::default());
        assert!(found.numbers.is_sorted(), "{what}: {:?}", found.numbers);
        let report = &found.recovery;
        let cut = report.cut.iter().map(|cut| {
            let from = cut.segment * SEGMENT_BYTES + cut.offset;
            (from, from + cut.bytes)
        });
        let damaged =
            report.damaged.iter().map(|damage| (damage.from, damage.to.max(damage.from + 1)));
        let reported: Vec<(Lsn, Lsn)> = cut.chain(damaged).collect();
        for (number, from, to) in &self.frames {
            let is_there = found.numbers.contains(number);
            let is_reported = reported.iter().any(|(a, b)| a < to && from < b);
            assert!(is_there || is_reported, "{what}: {number} at {from}: {report:?}");
        }
        found
    }

    fn check_and_go_on(&self, rig: &Rig, what: &str) -> Found {
        let found = self.check(rig, what);
        let log = rig.stopped().start(&found.recovery, Threads::None);
        let log = log.unwrap_or_else(|error| panic!("{what}: {error}"));
        log.append(&payload(1000, 50));
        assert!(log.commit_now(), "{what}");
        let again = rig.replay(ReplayFrom::default());
        let mut expected = found.numbers.clone();
        expected.push(1000);
        assert_eq!(again.numbers, expected, "{what}: {:?}", again.recovery);
        assert!(again.recovery.cut.is_empty(), "{what}: {:?}", again.recovery);
        found
    }
}

#[test]
fn every_flipped_bit_costs_one_frame_at_most_and_is_reported() {
    let sample = Sample::new(false);
    for (path, used) in &sample.segments {
        for bit in 0..used * 8 {
            let rig = sample.damaged(path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let what = format!("{path:?} bit {bit}");
            let found = if bit % 64 == 7 {
                sample.check_and_go_on(&rig, &what)
            } else {
                sample.check(&rig, &what)
            };
            assert!(found.numbers.len() + 1 >= sample.frames.len(), "{what}");
        }
    }
}

#[test]
fn flipped_bytes_in_and_around_a_chain_are_reported() {
    let sample = Sample::new(true);
    for (path, used) in &sample.segments {
        for at in (0..*used).step_by(3) {
            let rig = sample.damaged(path, |bytes| bytes[at] ^= 0x55);
            sample.check_and_go_on(&rig, &format!("{path:?} byte {at}"));
        }
    }
}

#[test]
fn a_file_cut_anywhere_opens_with_all_before_the_cut() {
    for with_chain in [false, true] {
        let sample = Sample::new(with_chain);
        for (number, (path, used)) in (1..).zip(&sample.segments) {
            for len in 0..*used {
                let rig = sample.damaged(path, |bytes| bytes.truncate(len));
                let what = format!("{path:?} cut at {len}");
                let found = sample.check_and_go_on(&rig, &what);
                assert!(!found.recovery.damaged.is_empty(), "{what}");
                let cut_at = number * SEGMENT_BYTES + len as u64;
                for (number, _, end) in &sample.frames {
                    assert!(*end > cut_at || found.numbers.contains(number), "{what}: {number}");
                }
            }
        }
    }
}

#[test]
fn a_missing_segment_in_between_is_reported_and_one_at_the_beginning_refused() {
    use broker_store::files::Files;
    let sample = Sample::new(true);
    let rig = sample.rig.on(sample.rig.files.crash(Keep::All, 1));
    rig.files.remove(&sample.segments[1].0).unwrap();
    let found = sample.check_and_go_on(&rig, "second segment removed");
    assert_eq!(found.recovery.damaged[0].what, DamageKind::Missing);

    let rig = sample.rig.on(sample.rig.files.crash(Keep::All, 1));
    rig.files.remove(&sample.segments[0].0).unwrap();
    let refused = rig.stopped().replay(ReplayFrom::default(), |_, _| Ok::<(), ()>(()));
    assert!(matches!(refused, Err(broker_store::recover::ReplayError::Missing(1))));
    let accept = ReplayFrom { accept_missing: true, ..ReplayFrom::default() };
    assert!(!rig.replay(accept).recovery.damaged.is_empty());
}

#[test]
fn a_missing_last_segment_is_seen_by_what_is_known_from_elsewhere() {
    use broker_store::files::Files;
    let sample = Sample::new(true);
    let rig = sample.rig.on(sample.rig.files.crash(Keep::All, 1));
    let (last, _) = sample.segments.last().unwrap();
    rig.files.remove(last).unwrap();
    let known_durable = sample.frames.last().unwrap().2 + 5 * SEGMENT_BYTES;
    let found = rig.replay(ReplayFrom { known_durable, ..ReplayFrom::default() });
    assert_eq!(found.recovery.damaged.len(), 1, "{:?}", found.recovery);
    // Numbers that were in use are not used again: somebody may still refer to what was there.
    let log = rig.stopped().start(&found.recovery, Threads::None).unwrap();
    assert!(log.append(&payload(1000, 8)).base > known_durable);
}

#[test]
fn zeroed_and_swapped_sectors_are_reported() {
    let mut random = Random::new(seed());
    for with_chain in [false, true] {
        let sample = Sample::new(with_chain);
        for (path, used) in &sample.segments {
            let n_sectors = used.div_ceil(SECTOR);
            for sector in 0..n_sectors {
                // With nothing behind it, zeros look like a place that was never written.
                let (last, used) = sample.segments.last().unwrap();
                if path != last || (sector + 1) * SECTOR < used - 300 {
                    let at = sector * SECTOR;
                    let rig = sample.damaged(path, |bytes| bytes[at..at + SECTOR].fill(0));
                    sample.check_and_go_on(&rig, &format!("{path:?} sector {sector} zeroed"));
                }
                let other = random.below(n_sectors as u64) as usize;
                if other != sector && path != last {
                    let rig = sample.damaged(path, |bytes| {
                        for at in 0..SECTOR {
                            bytes.swap(sector * SECTOR + at, other * SECTOR + at);
                        }
                    });
                    sample.check_and_go_on(&rig, &format!("{path:?} {sector} and {other} swapped"));
                }
            }
        }
    }
}

#[test]
fn files_full_of_anything_open() {
    let mut random = Random::new(seed());
    let sample = Sample::new(true);
    for round in 0..200 {
        let (path, _) = &sample.segments[random.below(sample.segments.len() as u64) as usize];
        let from = random.below(SEGMENT_BYTES) as usize;
        let rig = sample.damaged(path, |bytes| {
            bytes[from..].iter_mut().for_each(|byte| *byte = random.next() as u8);
        });
        let found = rig.replay(ReplayFrom::default());
        let log = rig.stopped().start(&found.recovery, Threads::None);
        assert!(log.is_ok(), "round {round}");
    }
}

#[test]
fn frames_of_an_earlier_life_of_a_file_are_never_replayed() {
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start(0);
    let mut number = 0;
    let mut from = 0;
    for _ in 0..200 {
        number += 1;
        log.append(&payload(number, 224));
        if number % 40 == 0 {
            assert!(log.commit_now());
            from = log.end();
            for segment in log.segments() {
                if segment.end <= from {
                    log.retire(segment.number).unwrap();
                }
            }
        }
    }
    log.append(&payload(1000, 224));
    log.commit_now();
    assert!(log.stats().spares > 0);
    let found = rig.replay(ReplayFrom { from, ..ReplayFrom::default() });
    assert_eq!(found.numbers, [1000]);
    assert!(found.recovery.cut.is_empty() && found.recovery.damaged.is_empty());
}

#[test]
fn starts_that_lead_to_nothing_do_not_fill_the_disk() {
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start(0);
    log.append(&payload(1, 100));
    log.commit_now();
    drop(log);
    for _ in 0..10 {
        let (log, found) = rig.start(0);
        assert_eq!(found.numbers, [1]);
        assert!(log.segments().len() <= 2, "{:?}", log.segments());
    }
    assert!(rig.files.paths().len() <= 6, "{:?}", rig.files.paths());
}

#[test]
fn an_unfinished_chain_is_cut_from_its_beginning() {
    let sample = Sample::new(false);
    let (log, _) = sample.rig.start(0);
    let start = log.end();
    log.append(&payload(100, 5000));
    log.commit_now();
    let path = log.segments().last().unwrap().paths[0].clone();
    drop(log);
    let rig = sample.damaged(&path, |bytes| bytes[60] ^= 1);
    let found = sample.check_and_go_on(&rig, "chain");
    assert!(!found.numbers.contains(&100));
    assert_eq!(found.recovery.end, start);
    assert!(found.recovery.damaged.is_empty());
    let cut: u64 = found.recovery.cut.iter().map(|cut| cut.bytes).sum();
    assert!(cut > 5000, "{:?}", found.recovery);
    let kept = rig.files.paths().iter().filter(|path| path.starts_with("data/quarantine")).count();
    assert_eq!(kept, found.recovery.cut.len());
}

#[test]
fn a_number_is_never_used_twice_not_even_on_a_full_disk() {
    let mut rig = Sample::new(false).rig;
    rig.options.spare_segments = 0;
    let (log, _) = rig.start(0);
    log.append(&payload(100, 500));
    log.write_now();
    log.roll();
    log.append(&payload(101, 500));
    log.write_now();
    let [.., first, last] = &log.segments()[..] else { panic!() };
    // Torn, with a whole frame behind it in another segment, which is void by that.
    let mut bytes = rig.files.contents(&first.paths[0]).unwrap();
    bytes[200] ^= 1;
    rig.files.set_contents(&first.paths[0], bytes);
    rig.files.limit_space(0);
    let (log, found) = rig.start(0);
    assert_eq!(found.recovery.cut.len(), 2);
    assert!(log.end() > last.end);
    drop(log);
    rig.files.heal();
    let (log, _) = rig.start(0);
    assert!(log.end() > last.end);
}

#[test]
fn a_newer_format_is_not_guessed_at() {
    // The only refusal: told apart from damage by a checksum that fits.
    let rig = Rig::new(SimFiles::new(1));
    let (log, _) = rig.start(0);
    log.append(&payload(1, 100));
    log.commit_now();
    let path = log.segments()[0].paths[0].clone();
    let mut bytes = rig.files.contents(&path).unwrap();
    // Behind the two frames that say where the log before ended.
    let at = 80;
    bytes[at + 4] = 2;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[3; 16]);
    hasher.update(&1u64.to_le_bytes());
    hasher.update(&bytes[at..at + 28]);
    bytes[at + 28..at + 32].copy_from_slice(&hasher.finalize().to_le_bytes());
    rig.files.set_contents(&path, bytes);
    let refused = rig.stopped().replay(ReplayFrom::default(), |_, _| Ok::<(), ()>(()));
    assert!(matches!(refused, Err(broker_store::recover::ReplayError::NewerVersion(2))));
}
