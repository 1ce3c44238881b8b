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
