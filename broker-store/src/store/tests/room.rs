//! How much of the disk a store takes, and what it does when there is no more.

use super::*;

fn is_full(world: &World) -> bool {
    world.store.condition() == Condition::Unavailable
}

/// Publishes until that is refused, faster than the housekeeping looks. Returns the messages taken.
fn fill(world: &mut World) -> Vec<u64> {
    let mut taken = Vec::new();
    while !is_full(world) {
        taken.push(world.publish(700));
        world.commit();
        assert!(taken.len() < 1000, "it takes no end of messages");
    }
    taken
}

fn log_files(files: &SimFiles) -> u64 {
    files.list(Path::new("/data/log")).unwrap().len() as u64
}

#[test]
fn a_log_is_full_with_the_segment_that_reaches_its_limit() {
    let files = SimFiles::new(1);
    let max_log_bytes = 20 * SEGMENT;
    let mut world = World::open_with(&files, StoreOptions { max_log_bytes, ..options() }).unwrap();
    world.settle();
    let taken = fill(&mut world);
    assert_eq!(world.segments(), 20, "95 % are 19 of 20 segments");
    assert!(log_files(&files) <= 20, "spares count too");
    // What makes room is still written, and makes room.
    taken.into_iter().for_each(|id| world.done(id));
    world.commit();
    (0..4).for_each(|_| world.settle());
    assert!(!is_full(&world));
}

#[test]
fn a_disk_is_full_with_the_segment_that_leaves_less_than_it_should() {
    let files = SimFiles::new(1);
    let min_free_bytes = 10 * SEGMENT;
    let mut world = World::open_with(&files, StoreOptions { min_free_bytes, ..options() }).unwrap();
    files.limit_space(60 * SEGMENT);
    world.settle();
    let taken = fill(&mut world);
    let free = files.free_bytes(Path::new("/data")).unwrap();
    assert!(free >= 9 * SEGMENT, "{} of 10 segments are left", free / SEGMENT);
    assert!(world.segments() > 40);
    taken.into_iter().for_each(|id| world.done(id));
    world.commit();
    (0..4).for_each(|_| world.settle());
    assert!(!is_full(&world));
}

/// Whoever has taken it: not a byte is free, but for what the log has in its spares.
fn take_all_space(files: &SimFiles) {
    files.limit_space(files.used_bytes());
}

#[test]
fn on_a_full_disk_a_spare_makes_room_for_the_snapshots_that_free_the_rest() {
    for n_spares in [1, 2] {
        let files = SimFiles::new(1);
        let mut world = World::open(&files).unwrap();
        world.settle();
        let first: Vec<_> = (0..40).map(|_| world.publish(700)).collect();
        world.commit();
        while world.store.stats().unwrap().log.spares < n_spares {
            assert!(world.store.started().prepare_spare().unwrap());
        }
        take_all_space(&files);
        world.settle();
        let taken = fill(&mut world);
        assert!(files.free_bytes(Path::new("/data")).unwrap() < SEGMENT);
        assert!(is_full(&world));
        // Somebody takes all of it. Nobody gives space back but the store.
        first.into_iter().chain(taken).for_each(|id| world.done(id));
        assert!(world.commit(), "there is room for what makes room");
        (0..4).for_each(|_| world.settle());
        assert!(!is_full(&world), "{n_spares} spares: {:?}", world.store.alarms());
        assert!(world.segments() < 4);
        let id = world.publish(700);
        assert!(world.commit());
        drop(world);
        let world = World::open(&files).unwrap();
        assert_eq!(world.messages().into_iter().collect::<Vec<_>>(), [id]);
    }
}

/// It is compacted only once two snapshots lead on behind it, and the log, which takes nothing, does not grow to
/// the next one by itself. The bodies are more than the log takes as one frame.
#[test]
fn on_a_full_disk_a_few_bodies_do_not_hold_the_segment_that_makes_room() {
    let files = SimFiles::new(1);
    let mut world = World::open(&files).unwrap();
    // Both segments have been spares: they have taken their space.
    while world.store.started().prepare_spare().unwrap() {}
    world.store.started().roll();
    let ids: Vec<_> = (0..4).map(|_| world.publish(700)).collect();
    world.commit();
    world.snapshot();
    world.store.started().roll();
    world.pass(1);
    world.snapshot();
    assert_eq!(world.segments(), 2);
    while world.store.started().give_up_spare() {}
    files.limit_space(files.used_bytes() + SEGMENT + SEGMENT / 4);
    for _ in 0..20 {
        world.settle();
    }
    assert!(!is_full(&world), "{:?}", world.store.alarms());
    assert_eq!(world.segments(), 1);
    assert_eq!(Vec::from_iter(world.messages()), ids);
    drop(world);
    let world = World::open(&files).unwrap();
    assert_eq!(Vec::from_iter(world.messages()), ids);
}

#[test]
fn a_write_that_finds_no_space_gets_that_of_a_spare() {
    let files = SimFiles::new(1);
    let mut world = World::open(&files).unwrap();
    // Without spares segments are made in a hurry, and take their space only as they are written.
    while world.store.stats().unwrap().log.spares > 0 {
        world.pass(4);
    }
    world.store.started().roll();
    world.pass(1);
    assert!(world.store.started().prepare_spare().unwrap());
    take_all_space(&files);
    let ids: Vec<_> = (0..4).map(|_| world.publish(700)).collect();
    assert!(world.commit(), "{:?}", world.store.health());
    assert_eq!(world.store.stats().unwrap().log.spares, 0);
    drop(world);
    files.heal();
    let world = World::open(&files).unwrap();
    assert!(ids.iter().all(|id| world.messages().contains(id)));
}

#[test]
fn the_reserve_is_kept_whoever_fills_the_disk() {
    let files = SimFiles::new(1);
    let mut world = World::open(&files).unwrap();
    for _ in 0..2 {
        while world.store.started().prepare_spare().unwrap() {}
        // The open segment has been a spare: it has taken its space.
        world.store.started().roll();
        world.pass(1);
    }
    while world.store.started().prepare_spare().unwrap() {}
    world.settle();
    assert_eq!(world.store.stats().unwrap().log.spares, 2);
    // Between two looks.
    take_all_space(&files);
    let taken = fill(&mut world);
    assert_eq!(world.store.stats().unwrap().log.spares, 1);
    taken.into_iter().for_each(|id| world.done(id));
    assert!(world.commit());
    (0..4).for_each(|_| world.settle());
    assert!(!is_full(&world), "{:?}", world.store.alarms());
}
