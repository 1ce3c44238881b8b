//! Crashes at every boundary, while snapshots are written, segments reused, bodies moved.

use super::*;
use crate::sim::Random;

/// What may and what must be there after a crash.
#[derive(Default)]
struct Promise {
    /// Published, and safe.
    kept: BTreeSet<u64>,
    /// Published or done, and not safe yet.
    open: BTreeSet<u64>,
    /// Done, and safe.
    gone: BTreeSet<u64>,
}

impl Promise {
    fn check(&self, found: &BTreeSet<u64>, what: &str) {
        let missing: Vec<_> = self.kept.difference(found).collect();
        assert!(missing.is_empty(), "{what}: lost {missing:?}");
        let back: Vec<_> = self.gone.intersection(found).collect();
        assert!(back.is_empty(), "{what}: came back {back:?}");
    }
}

/// A workload of publishing, ending, committing and housekeeping, the same for the same seed. Ends early once
/// the power has gone.
fn work(world: &mut World, seed: u64, rounds: usize) -> Promise {
    let mut random = Random::new(seed);
    let mut promise = Promise { kept: world.messages(), ..Promise::default() };
    let mut live: Vec<u64> = promise.kept.iter().copied().collect();
    let mut done = Vec::new();
    for _ in 0..rounds {
        for _ in 0..=random.below(4) {
            let id = world.publish(random.below(700) as usize);
            promise.open.insert(id);
            live.push(id);
        }
        // Most leave soon, some stay for long.
        while live.len() > 6 {
            let at = live.len() - 1 - random.below(5) as usize;
            let id = live.remove(at);
            world.done(id);
            promise.kept.remove(&id);
            promise.open.insert(id);
            done.push(id);
        }
        // Much of what the housekeeping sees is not safe yet.
        for _ in 0..random.below(8) {
            world.now_ms += 1 + world.keeper.step(world.now_ms);
        }
        if random.below(4) > 0 && world.commit() {
            promise.gone.extend(done.drain(..));
            let open = std::mem::take(&mut promise.open);
            promise.kept.extend(open.iter().filter(|id| !promise.gone.contains(id)));
        }
        for _ in 0..random.below(12) {
            world.now_ms += 1 + world.keeper.step(world.now_ms);
        }
        world.now_ms += 3_000;
        if world.files.is_halted() {
            break;
        }
    }
    promise
}

#[test]
fn no_crash_loses_what_was_safe_or_brings_back_what_was_over() {
    // More by hand: STORE_CRASH_SEEDS=100.
    let seeds = std::env::var("STORE_CRASH_SEEDS").map_or(2, |n| n.parse().unwrap());
    (0..seeds).for_each(crash_everywhere);
}

fn crash_everywhere(seed: u64) {
    let rounds = 80;
    let files = SimFiles::new(seed);
    let mut world = World::open(&files).unwrap();
    work(&mut world, seed, rounds);
    let stats = world.store.stats().unwrap();
    let counts = (stats.keeper.snapshots, stats.keeper.retired_segments);
    assert!(counts.0 > 2 && counts.1 > 2 && stats.keeper.compacted_bytes > 0, "{stats:?}");
    let last = files.changes();
    drop(world);

    let mut deaths = 0;
    for at in 1..last {
        let files = SimFiles::new(seed);
        files.halt_at(at);
        let promise = match World::open(&files) {
            Ok(mut world) => work(&mut world, seed, rounds),
            // It was being made.
            Err(_) => Promise::default(),
        };
        assert!(files.is_halted());
        for keep in [Keep::Synced, Keep::Some, Keep::All] {
            let after = files.crash(keep, at);
            let what = format!("seed {seed}, halted at {at}, kept {keep:?}");
            let mut world = World::open(&after).unwrap_or_else(|it| panic!("{what}: {it}"));
            promise.check(&world.messages(), &what);
            assert!(world.lost.is_empty(), "{what}: without a body {:?}", world.lost);
            let alarms = world.store.alarms().list();
            assert!(alarms.iter().all(|it| it.0 == STORE_TAIL_CUT), "{what}: {alarms:?}");
            // Life goes on, and ends again, somewhere.
            if at % 7 == 0 {
                deaths += 1;
                after.halt_at(after.changes() + 1 + at % 60);
                let promise = work(&mut world, at, 20);
                drop(world);
                let after = after.crash(Keep::Some, at);
                let world = World::open(&after).unwrap_or_else(|it| panic!("{what}, again: {it}"));
                promise.check(&world.messages(), &format!("{what}, and again"));
                assert!(world.lost.is_empty(), "{what}, again: without a body {:?}", world.lost);
            }
        }
    }
    assert!(deaths > 20);
}

#[test]
fn a_killed_process_finds_everything_it_wrote() {
    let files = SimFiles::new(3);
    for seed in 0..10 {
        let mut world = World::open(&files).unwrap();
        let promise = work(&mut world, seed, 30);
        let there = world.messages();
        drop(world);
        let world = World::open(&files).unwrap();
        promise.check(&world.messages(), "killed");
        assert!(world.messages().is_superset(&promise.kept) && there.is_superset(&promise.kept));
    }
}
