//! The fuzz targets on a stable toolchain: seeds of `fuzz/corpus`, mutated for `FUZZ_SECS` seconds each.

#[path = "../../fuzz/store_checks.rs"]
mod store_checks;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker_store::sim::Random;

#[test]
fn store_frame() {
    fuzz("store_frame", store_checks::store_frame);
}

#[test]
fn record() {
    fuzz("record", store_checks::record);
}

#[test]
fn snapshot() {
    fuzz("snapshot", store_checks::snapshot);
}

/// Every seed as it is, then mutations until the time is up. A failure prints the input.
fn fuzz(target: &str, check: fn(&[u8])) {
    let seeds = seeds(target);
    seeds.iter().for_each(|seed| check(seed));
    let seconds = std::env::var("FUZZ_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    let mut random = Random::new(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        for _ in 0..50 {
            let input = mutate(&seeds, &mut random);
            let outcome = catch_unwind(AssertUnwindSafe(|| check(&input)));
            assert!(outcome.is_ok(), "{target}: seed {seed}, input {input:?}");
        }
    }
}

fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut below = |end: usize| random.below(end.max(1) as u64) as usize;
    let mut input = seeds[below(seeds.len())].clone();
    for _ in 0..below(8) {
        let at = below(input.len());
        match below(6) {
            0 => input[at..].iter_mut().take(1).for_each(|byte| *byte ^= 1 << below(8)),
            1 => input[at..].iter_mut().take(1).for_each(|byte| *byte = below(256) as u8),
            2 => input.truncate(at),
            3 => input.insert(at, [0, 1, 0x7f, 0x80, 0xff][below(5)]),
            4 => {
                let other = &seeds[below(seeds.len())];
                input.truncate(at);
                input.extend_from_slice(&other[below(other.len())..]);
            }
            _ => drop(input.drain(at..input.len().min(at + below(8)))),
        }
    }
    input
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {}", folder.display());
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}
