//! Simulation: seeded worlds of clients on a virtual clock, against a model of what MQTT promises.
//!
//! `SIM_SEED=<n>` runs one world, `SIM_RUNS=<n>` that many. A failure prints the seed that repeats it, and
//! `SIM_TRACE=1` what the broker handles. `SIM_GO_ON=1` goes on behind a failure, to see how many there are.

#![allow(unreachable_pub, reason = "a test crate exports nothing")]

mod client;
mod model;
mod pages;
#[path = "../rig/mod.rs"]
mod rig;
mod rng;
mod totals;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Worlds of a plain test run: a few seconds without optimisation.
const RUNS: u64 = 400;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let digits = text.trim_start_matches("0x");
    let radix = if digits.len() < text.len() { 16 } else { 10 };
    Some(u64::from_str_radix(digits, radix).expect("SIM_SEED and SIM_RUNS are numbers"))
}

#[test]
fn every_world_keeps_the_promises() {
    let first = number("SIM_SEED");
    let runs = number("SIM_RUNS").unwrap_or_else(|| if first.is_some() { 1 } else { RUNS });
    let mut totals = totals::Totals::default();
    let mut failed = Vec::new();
    for seed in (first.unwrap_or(1)..).take(runs as usize) {
        match catch_unwind(AssertUnwindSafe(|| world::run(seed))) {
            Ok(world) => totals.add(&world),
            Err(panic) => {
                eprintln!("failed with SIM_SEED={seed}");
                failed.push(seed);
                if std::env::var_os("SIM_GO_ON").is_none() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    if first.is_none() {
        // A simulation in which nothing happens proves nothing.
        assert!(totals.has_seen_everything(), "{totals:?}");
    }
    eprintln!("{runs} worlds: {totals:?}");
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// The same seed, the same world.
#[test]
fn a_seed_repeats_its_world() {
    assert_eq!(world::run(7).digest, world::run(7).digest);
}
