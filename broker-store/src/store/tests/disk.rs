//! Alarms about the disk: when they begin, and when they are over.

use super::*;
use crate::alarm::{STORE_FAILED, STORE_IO_ERROR, STORE_SLOW};
use crate::sim::{Call, Fault};

impl World {
    /// Time passes, and the housekeeping looks.
    fn look_after(&mut self, ms: u64) {
        self.now_ms += ms;
        self.keeper.step(self.now_ms);
    }

    fn is_up(&self, name: &str) -> bool {
        self.store.alarms().is_up(name)
    }
}

#[test]
fn a_disk_is_slow_until_it_was_not_for_a_while() {
    // Every sync takes longer than that.
    let slow = StoreOptions { slow_sync_ms: 0, ..options() };
    let mut world = World::open_with(&SimFiles::new(1), slow).unwrap();
    world.pass(1);
    world.look_after(0);
    assert!(world.is_up(STORE_SLOW));
    world.look_after(8_000);
    world.pass(1);
    world.look_after(1_000);
    world.look_after(9_999);
    assert!(world.is_up(STORE_SLOW), "it was slow less than ten seconds ago");
    world.look_after(1_000);
    assert!(!world.is_up(STORE_SLOW), "who does nothing is not slow");
    world.pass(1);
    world.look_after(1_000);
    assert!(world.is_up(STORE_SLOW));
}

#[test]
fn a_disk_that_failed_is_trusted_again_when_what_failed_is_given_up() {
    for (call, live) in [(Call::Sync, 0), (Call::Write, 0), (Call::Sync, 3)] {
        let files = SimFiles::new(1);
        let mut world = World::open(&files).unwrap();
        let kept: Vec<_> = (0..live).map(|_| world.publish(100)).collect();
        world.pass(2);
        files.fail(call, 1, 1, Fault::Io);
        world.pass(1);
        world.look_after(0);
        assert!(world.is_up(STORE_IO_ERROR), "{call:?}");
        let damaged = world.store.started().segments().last().unwrap().clone();
        assert!(damaged.is_damaged && damaged.paths.len() == 2, "{damaged:?}");

        // It fails once more a while later.
        world.look_after(50_000);
        files.fail(call, 1, 1, Fault::Io);
        world.pass(1);
        world.look_after(1_000);
        world.look_after(50_000);
        world.pass(1);
        assert!(world.is_up(STORE_IO_ERROR), "{call:?}: less than a minute ago");

        for _ in 0..6 {
            world.settle();
        }
        assert!(!world.is_up(STORE_IO_ERROR), "{call:?} with {live} that stay");
        let left = world.store.started().segments();
        assert!(left.iter().all(|it| it.number > damaged.number && !it.is_damaged), "{left:?}");
        let there = files.paths();
        assert!(damaged.paths.iter().all(|path| !there.contains(path)), "{there:?}");
        let snapshots = world.store.stats().unwrap().keeper.snapshots;
        (0..10).for_each(|_| world.settle());
        let again = world.store.stats().unwrap().keeper.snapshots - snapshots;
        assert_eq!(again, 0, "nothing is left to do");
        drop(world);
        let world = World::open(&files).unwrap();
        assert_eq!(world.messages().into_iter().collect::<Vec<_>>(), kept);
        assert!(!world.is_up(STORE_IO_ERROR));
    }
}

#[test]
fn a_log_that_was_given_up_stays_so() {
    let files = SimFiles::new(1);
    let mut world = World::open(&files).unwrap();
    files.fail(Call::Sync, 1, u64::MAX, Fault::Io);
    world.pass(1);
    world.look_after(0);
    files.heal();
    for _ in 0..10 {
        world.look_after(100_000);
        assert!(world.is_up(STORE_FAILED) && world.is_up(STORE_IO_ERROR));
    }
}
