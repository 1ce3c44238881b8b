//! Tests of the buffer: single rules, and a model with crashes at every write.

mod heirs;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::folder::RealFolder;
use super::super::folder::sim::{SharedDisk, SimFolder};
use super::*;
use crate::action::ActionCounts;

const T0: u64 = 1_700_000_000_000;

fn config() -> SinkConfig {
    SinkConfig {
        folder: Some("sim".into()),
        memory_bytes_max: 64 * 1024,
        disk_bytes_max: 256 * 1024,
        segment_bytes: 32 * 1024,
        batch_items_max: 4,
        batch_bytes_max: 64 * 1024,
        ..SinkConfig::default()
    }
}

fn open(config: SinkConfig, disk: &SharedDisk) -> Buffer {
    let buffer = Buffer::new(config, Some(Box::new(SimFolder(Arc::clone(disk)))));
    buffer.open_spool().unwrap();
    buffer
}

fn bytes(id: u64, len: usize) -> Bytes {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.resize(8 + len, b'x');
    bytes.into()
}

fn push(buffer: &Buffer, ids: std::ops::Range<u64>, len: usize) {
    ids.for_each(|id| buffer.push(Owner(0), bytes(id, len), T0 + id).unwrap());
}

fn id(item: &Item) -> u64 {
    u64::from_le_bytes(*item.bytes.first_chunk().unwrap())
}

fn take(buffer: &Buffer, wall_ms: u64) -> Vec<u64> {
    match buffer.take(wall_ms) {
        Taken::Batch(items) => items.iter().map(id).collect(),
        _ => Vec::new(),
    }
}

/// Takes and delivers all there is.
fn drain(buffer: &Buffer) -> Vec<u64> {
    let mut ids = Vec::new();
    loop {
        let batch = take(buffer, T0);
        if batch.is_empty() {
            return ids;
        }
        buffer.settle(batch.len(), Outcome::Delivered);
        ids.extend(batch);
    }
}

fn spill(buffer: &Buffer) {
    while buffer.spill(T0).unwrap() {}
}

fn dropped(buffer: &Buffer) -> Vec<(DropReason, u64)> {
    let counts = DropReason::ALL.map(|reason| (reason, buffer.counters.dropped(reason)));
    counts.into_iter().filter(|(_, n)| *n > 0).collect()
}

#[test]
fn items_come_out_in_order_from_memory_and_from_disk() {
    let disk = SharedDisk::default();
    let buffer = open(config(), &disk);
    push(&buffer, 0..10, 100);
    assert_eq!(take(&buffer, T0), [0, 1, 2, 3]);
    assert!(disk.lock().segments.is_empty(), "memory comes first");
    push(&buffer, 10..60, 1000);
    spill(&buffer);
    assert!(buffer.held().disk_items > 0);
    push(&buffer, 60..70, 10);
    assert_eq!(drain(&buffer), (0..70).collect::<Vec<_>>());
    assert_eq!(dropped(&buffer), []);
    assert!(disk.lock().segments.is_empty(), "what is done is removed");
}

#[test]
fn what_was_not_reported_comes_again_first() {
    let buffer = open(config(), &SharedDisk::default());
    push(&buffer, 0..6, 1);
    assert_eq!(take(&buffer, T0), [0, 1, 2, 3]);
    buffer.settle(1, Outcome::Delivered);
    assert_eq!(take(&buffer, T0), [1, 2, 3, 4]);
    buffer.settle(1, Outcome::Dropped(DropReason::Refused));
    assert_eq!(take(&buffer, T0), [2, 3, 4, 5]);
    assert_eq!(dropped(&buffer), [(DropReason::Refused, 1)]);
}

#[test]
fn without_a_folder_the_oldest_in_memory_go_when_it_is_full() {
    let buffer = Buffer::new(SinkConfig { folder: None, ..config() }, None);
    push(&buffer, 0..100, 1000);
    let held = buffer.held();
    assert!(held.memory_bytes <= 64 * 1024, "{held:?}");
    let n = 100 - held.memory_items;
    assert_eq!(dropped(&buffer), [(DropReason::Full, n)]);
    assert_eq!(drain(&buffer), (n..100).collect::<Vec<_>>());
}

#[test]
fn the_oldest_file_goes_when_the_disk_s_share_is_full() {
    let disk = SharedDisk::default();
    let buffer = open(config(), &disk);
    for id in 0..1000 {
        push(&buffer, id..id + 1, 1000);
        spill(&buffer);
        assert!(buffer.held().disk_bytes <= 256 * 1024);
    }
    let ids = drain(&buffer);
    let first = ids[0];
    assert!(first > 500 && ids.len() > 200, "{first}");
    assert_eq!(ids, (first..1000).collect::<Vec<_>>());
    assert_eq!(dropped(&buffer), [(DropReason::Full, first)]);
}

#[test]
fn a_disk_that_takes_nothing_costs_the_oldest_in_memory() {
    let disk = SharedDisk::default();
    let buffer = open(config(), &disk);
    disk.lock().is_full = true;
    push(&buffer, 0..50, 1000);
    assert!(buffer.spill(T0).is_err());
    push(&buffer, 50..100, 1000);
    let n = 100 - buffer.held().memory_items;
    assert_eq!(dropped(&buffer), [(DropReason::Disk, n)]);
    disk.lock().is_full = false;
    spill(&buffer);
    assert_eq!(drain(&buffer), (n..100).collect::<Vec<_>>());
}

#[test]
fn old_items_are_dropped_wherever_they_are() {
    let buffer =
        open(SinkConfig { age_max: Duration::from_secs(1), ..config() }, &SharedDisk::default());
    push(&buffer, 0..60, 1000);
    assert_eq!(take(&buffer, T0), [0, 1, 2, 3]);
    spill(&buffer);
    assert_eq!(take(&buffer, T0 + 1_049)[0], 49);
    assert_eq!(dropped(&buffer), [(DropReason::Expired, 49)]);
    assert_eq!(take(&buffer, T0 + 10_000), [] as [u64; 0]);
    assert_eq!(dropped(&buffer), [(DropReason::Expired, 60)]);
}

#[test]
fn while_the_remote_side_is_gone_nothing_stays_in_memory_alone() {
    let disk = SharedDisk::default();
    let buffer = open(config(), &disk);
    push(&buffer, 0..10, 1);
    assert_eq!(take(&buffer, T0), [0, 1, 2, 3]);
    assert!(!buffer.spill(T0 + 2_000).unwrap(), "memory comes first");
    buffer.set_failing(true);
    assert!(!buffer.spill(T0 + 500).unwrap());
    assert!(buffer.spill(T0 + 2_000).unwrap());
    assert_eq!(buffer.held().disk_items, 6);
    buffer.secure().unwrap();
    drop(buffer);
    let buffer = open(config(), &disk);
    assert_eq!(drain(&buffer), (0..10).collect::<Vec<_>>());
    drop(buffer);
    assert_eq!(drain(&open(config(), &disk)), [] as [u64; 0], "what is done is done");
}

#[test]
fn a_clean_restart_loses_nothing() {
    let disk = SharedDisk::default();
    let buffer = open(config(), &disk);
    push(&buffer, 0..60, 1000);
    assert_eq!(take(&buffer, T0), [0, 1, 2, 3]);
    spill(&buffer);
    buffer.settle(1, Outcome::Delivered);
    assert_eq!(take(&buffer, T0), [1, 2, 3, 4]);
    buffer.close().unwrap();
    assert_eq!(buffer.push(Owner(0), bytes(99, 1), T0), Err(PushError::Closed));
    // A report that comes too late changes nothing any more.
    buffer.settle(4, Outcome::Delivered);

    let buffer = open(config(), &disk);
    assert_eq!(take(&buffer, T0), [1, 2, 3, 4]);
    buffer.settle(2, Outcome::Delivered);
    buffer.close().unwrap();

    let buffer = open(config(), &disk);
    assert_eq!(drain(&buffer), (3..60).collect::<Vec<_>>());
    buffer.close().unwrap();
    assert_eq!(drain(&open(config(), &disk)), [] as [u64; 0]);
}

#[test]
fn a_kill_delivers_at_most_a_batch_twice() {
    let disk = SharedDisk::default();
    let buffer = open(config(), &disk);
    push(&buffer, 0..60, 1000);
    spill(&buffer);
    for _ in 0..3 {
        take(&buffer, T0);
        buffer.settle(4, Outcome::Delivered);
    }
    take(&buffer, T0);
    let n_on_disk = 60 - buffer.held().memory_items + 4;
    drop(buffer);
    assert_eq!(drain(&open(config(), &disk)), (12..n_on_disk).collect::<Vec<_>>());
}

#[test]
fn a_torn_end_is_cut_and_damage_in_the_middle_is_counted() {
    let disk = SharedDisk::default();
    let buffer = open(config(), &disk);
    push(&buffer, 0..30, 1000);
    buffer.close().unwrap();
    {
        let mut disk = disk.lock();
        let first = disk.segments.values_mut().next().unwrap();
        let at = 16 + (24 + 1008) * 2 + 100;
        first[at] ^= 1;
        let len = first.len() - 10;
        first.truncate(len);
    }
    let buffer = open(config(), &disk);
    let ids = drain(&buffer);
    assert_eq!(dropped(&buffer), [(DropReason::Damaged, 1)]);
    let whole: Vec<_> = (0..30).filter(|id| ids.contains(id)).collect();
    assert_eq!(ids, whole);
    // The damaged one, and the one whose end is missing.
    assert_eq!(30 - ids.len(), 2);
    assert!(!ids.contains(&2));
}

/// Its thread would not rest otherwise.
#[test]
fn without_a_disk_that_can_be_read_memory_is_all_there_is() {
    let disk = SharedDisk::default();
    disk.lock().segments.insert(1, b"mqSk".to_vec());
    disk.lock().is_dead = true;
    let buffer = Buffer::new(config(), Some(Box::new(SimFolder(disk))));
    assert!(buffer.open_spool().is_err());
    push(&buffer, 0..100, 1000);
    assert!(!buffer.wants_spill(&buffer.memory.lock(), T0));
    assert!(!buffer.spill(T0).unwrap());
    let n = 100 - buffer.held().memory_items;
    assert_eq!(dropped(&buffer), [(DropReason::Full, n)]);
    assert_eq!(drain(&buffer), (n..100).collect::<Vec<_>>());
}

#[test]
fn too_large_is_refused_and_counted() {
    let buffer = open(config(), &SharedDisk::default());
    assert_eq!(buffer.push(Owner(0), bytes(0, 16 * 1024), T0), Err(PushError::TooLarge));
    assert_eq!(dropped(&buffer), [(DropReason::Refused, 1)]);
}

/// An action of an earlier run counts nothing; those of this run count what becomes of their items.
#[test]
fn each_action_counts_its_own() {
    let disk = SharedDisk::default();
    let buffer = open(SinkConfig { age_max: Duration::from_secs(1), ..config() }, &disk);
    let counters = [(); 2].map(|()| Arc::new(crate::action::ActionCounters::default()));
    let owners = counters.each_ref().map(|it| buffer.counters.add_owner(it));
    for id in 0..600_u64 {
        buffer.push(owners[usize::from(id >= 400)], bytes(id, 1000), T0).unwrap();
        spill(&buffer);
    }
    let n_full = buffer.counters.dropped(DropReason::Full);
    assert!(0 < n_full && n_full < 400, "{n_full}");
    assert_eq!(take(&buffer, T0).len(), 4);
    buffer.settle(2, Outcome::Delivered);
    buffer.note_retry();
    buffer.settle(1, Outcome::Dropped(DropReason::Refused));
    assert_eq!(
        counters[0].counts(),
        ActionCounts { success: 2, failed: 1, retried: 1, dropped: n_full, waiting: 0 }
    );
    assert_eq!(take(&buffer, T0 + 5_000), [] as [u64; 0]);
    assert_eq!(counters[0].counts().dropped, 400 - 3);
    assert_eq!(counters[1].counts(), ActionCounts { dropped: 200, ..ActionCounts::default() });
}

#[test]
fn a_batch_waits_for_more_no_longer_than_asked() {
    let linger = Duration::from_millis(50);
    let buffer = Buffer::new(SinkConfig { folder: None, linger, ..config() }, None);
    push(&buffer, 0..1, 1);
    assert_eq!(buffer.take(T0), Taken::Lingers(T0 + 50, 1));
    assert_eq!(take(&buffer, T0 + 50), [0]);
    push(&buffer, 1..4, 1);
    assert_eq!(take(&buffer, T0 + 1), [0, 1, 2, 3], "it is full");
}

#[test]
fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("broker-rules-buffer-{}", std::process::id()));
    let config = SinkConfig { folder: Some(path.clone()), ..config() };
    let buffer = Buffer::new(config.clone(), Some(Box::new(RealFolder::open(&path).unwrap())));
    buffer.open_spool().unwrap();
    push(&buffer, 0..60, 1000);
    take(&buffer, T0);
    buffer.close().unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600));
    let buffer = Buffer::new(config, Some(Box::new(RealFolder::open(&path).unwrap())));
    buffer.open_spool().unwrap();
    assert_eq!(drain(&buffer), (0..60).collect::<Vec<_>>());
    assert!(std::fs::read_dir(&path).unwrap().count() <= 1, "the cursor is left");
    std::fs::remove_dir_all(path).unwrap();
}

/// The property below has found it.
#[test]
fn what_is_in_delivery_when_its_file_goes_at_a_close_is_kept() {
    let disk = SharedDisk::default();
    let buffer = open(config(), &disk);
    let mut n = 0;
    while buffer.held().disk_bytes < 200 * 1024 {
        push(&buffer, n..n + 1, 6_000);
        spill(&buffer);
        n += 1;
    }
    assert_eq!(take(&buffer, T0), [0, 1, 2, 3]);
    while buffer.held().memory_bytes < 80 * 1024 {
        push(&buffer, n..n + 1, 6_000);
        n += 1;
    }
    buffer.close().unwrap();
    let n_full = buffer.counters.dropped(DropReason::Full);
    assert!(n_full > 0, "the file is still there");
    let ids = drain(&open(config(), &disk));
    assert_eq!(ids[..4], [0, 1, 2, 3]);
    assert_eq!(ids.len() as u64, n - n_full);
}

#[derive(Debug, Clone)]
enum Op {
    Push {
        n: u8,
        len: u16,
    },
    Spill,
    Deliver {
        n: u8,
    },
    Refuse,
    FailingFor {
        ms: u64,
    },
    /// The process dies in the n-th change of a file from here on.
    KillAt {
        n_changes: u8,
    },
    Kill,
    Restart,
    DiskFull(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..20_u8, 0..8_000_u16).prop_map(|(n, len)| Op::Push { n, len }),
        4 => Just(Op::Spill),
        6 => (0..=6_u8).prop_map(|n| Op::Deliver { n }),
        1 => Just(Op::Refuse),
        1 => (0..3_000_u64).prop_map(|ms| Op::FailingFor { ms }),
        2 => (0..12_u8).prop_map(|n_changes| Op::KillAt { n_changes }),
        1 => Just(Op::Kill),
        2 => Just(Op::Restart),
        1 => any::<bool>().prop_map(Op::DiskFull),
    ]
}

/// What must hold of all lives of a buffer together.
struct World {
    disk: SharedDisk,
    buffer: Buffer,
    now_ms: u64,
    n_pushed: u64,
    delivered: BTreeSet<u64>,
    /// Settled last in this life.
    last: Option<u64>,
    /// Items that were in memory alone when the process died.
    lost: BTreeSet<u64>,
    n_dropped: u64,
    n_twice: usize,
    n_kills: usize,
}

impl World {
    fn new() -> Self {
        let disk = SharedDisk::default();
        Self {
            buffer: open(config(), &disk),
            disk,
            now_ms: T0,
            n_pushed: 0,
            delivered: BTreeSet::new(),
            last: None,
            lost: BTreeSet::new(),
            n_dropped: 0,
            n_twice: 0,
            n_kills: 0,
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Push { n, len } => {
                for _ in 0..n {
                    let _ =
                        self.buffer.push(Owner(0), bytes(self.n_pushed, len.into()), self.now_ms);
                    self.n_pushed += 1;
                }
            }
            Op::Spill => while let Ok(true) = self.buffer.spill(self.now_ms) {},
            Op::Deliver { n } => self.deliver(n.into(), Outcome::Delivered),
            Op::Refuse => self.deliver(1, Outcome::Dropped(DropReason::Refused)),
            Op::FailingFor { ms } => {
                self.now_ms += ms;
                self.buffer.set_failing(true);
                let _ = self.buffer.secure();
            }
            Op::KillAt { n_changes } => {
                self.disk.lock().n_changes_left = Some(n_changes.into());
            }
            Op::Kill => self.die(),
            Op::Restart => {
                let in_memory = self.in_memory();
                let result = self.buffer.close();
                if result.is_err() {
                    // As good as a kill: what could not be written stands as it stood.
                    self.n_kills += 1;
                    self.lost.extend(in_memory);
                }
                self.start_again();
            }
            Op::DiskFull(is_full) => self.disk.lock().is_full = is_full,
        }
        if self.disk.lock().is_dead {
            self.die();
        }
        self.check_bounds();
    }

    fn deliver(&mut self, n: usize, outcome: Outcome) {
        let batch = take(&self.buffer, self.now_ms);
        assert!(batch.is_sorted_by(|a, b| a < b), "{batch:?}");
        assert!(batch.first().is_none_or(|first| self.last.is_none_or(|last| last < *first)));
        let n = n.min(batch.len());
        self.buffer.settle(n, outcome);
        for id in &batch[..n] {
            self.last = Some(*id);
            if outcome == Outcome::Delivered && !self.delivered.insert(*id) {
                self.n_twice += 1;
            }
        }
    }

    fn in_memory(&self) -> Vec<u64> {
        let stage = self.buffer.stage.lock();
        let memory = self.buffer.memory.lock();
        let spool = stage.spool.as_ref().unwrap();
        let ahead = stage.in_flight.iter().filter(|(_, origin)| match origin {
            Origin::Memory => true,
            Origin::Front => false,
            Origin::Spool(place) => !spool.holds(*place),
        });
        ahead.map(|(item, _)| id(item)).chain(memory.items.iter().map(id)).collect()
    }

    fn die(&mut self) {
        self.n_kills += 1;
        let in_memory = self.in_memory();
        self.lost.extend(in_memory);
        self.start_again();
    }

    fn start_again(&mut self) {
        {
            let mut disk = self.disk.lock();
            (disk.is_dead, disk.is_full, disk.n_changes_left) = (false, false, None);
        }
        self.n_dropped += dropped(&self.buffer).iter().map(|(_, n)| n).sum::<u64>();
        self.buffer = open(config(), &self.disk);
        self.last = None;
    }

    fn check_bounds(&self) {
        let held = self.buffer.held();
        let ahead: usize =
            self.buffer.stage.lock().in_flight.iter().map(|(item, _)| item.weight()).sum();
        assert!(held.memory_bytes - ahead as u64 <= 64 * 1024 + 64 * 1024, "{held:?}");
        assert!(self.buffer.memory.lock().bytes <= 64 * 1024);
        assert!(held.disk_bytes <= 256 * 1024, "{held:?}");
    }

    fn check_end(mut self) {
        self.disk.lock().n_changes_left = None;
        self.disk.lock().is_full = false;
        loop {
            let n_before = self.delivered.len() + self.n_twice;
            self.deliver(usize::MAX, Outcome::Delivered);
            if self.delivered.len() + self.n_twice == n_before {
                break;
            }
        }
        assert_eq!(take(&self.buffer, self.now_ms), [] as [u64; 0]);
        let n_dropped = self.n_dropped + dropped(&self.buffer).iter().map(|it| it.1).sum::<u64>();
        let n_missing = self.n_pushed - self.delivered.len() as u64;
        let n_lost = self.lost.difference(&self.delivered).count() as u64;
        assert!(n_missing <= n_dropped + n_lost, "{n_missing} > {n_dropped} + {n_lost}");
        if self.lost.is_empty() && self.n_kills == 0 {
            assert_eq!(n_missing, n_dropped);
            assert_eq!(self.n_twice, 0);
        }
        // A kill can come behind a delivery and ahead of the cursor; a front is no more than a batch.
        assert!(self.n_twice <= self.n_kills * 2 * config().batch_items_max, "{}", self.n_twice);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_is_lost_but_what_was_counted_or_in_memory_at_a_kill(
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.apply(op));
        world.check_end();
    }
}
