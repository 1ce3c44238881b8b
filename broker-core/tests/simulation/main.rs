//! Simulation: seeded worlds of clients on a virtual clock, against a model of what MQTT promises.
//!
//! `SIM_SEED=<n>` runs one world, `SIM_RUNS=<n>` that many. A failure prints the seed that repeats it, and
//! `SIM_TRACE=1` what the broker handles. `SIM_GO_ON=1` goes on behind a failure, to see how many there are.

#![allow(unreachable_pub, reason = "a test crate exports nothing")]

mod client;
mod disk;
mod model;
mod pages;
#[path = "../rig/mod.rs"]
mod rig;
mod rng;
mod runs;
mod totals;
mod world;

/// Worlds of a plain test run: a few seconds without optimisation.
const RUNS: u64 = 400;

#[test]
fn every_world_keeps_the_promises() {
    runs::run(RUNS);
}

/// The same seed, the same world.
#[test]
fn a_seed_repeats_its_world() {
    assert_eq!(world::run(7).digest, world::run(7).digest);
}
