//! Simulation: the worlds of broker-core's simulation, with this store under the broker, on files that lose their power.
//!
//! The power goes between two calls, or in the middle of one: of a write, a sync, the making, renaming or removal of a
//! file. `SIM_SEED`, `SIM_RUNS`, `SIM_TRACE` and `SIM_GO_ON` as in broker-core/tests/simulation.

#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "a test crate exports nothing")]

#[path = "../../../broker-core/tests/simulation/client.rs"]
mod client;
mod disk;
#[path = "../../../broker-core/tests/simulation/model/mod.rs"]
mod model;
#[path = "../../../broker-core/tests/rig/mod.rs"]
mod rig;
#[path = "../../../broker-core/tests/simulation/rng.rs"]
mod rng;
#[path = "../../../broker-core/tests/simulation/runs.rs"]
mod runs;
#[path = "../../../broker-core/tests/simulation/totals.rs"]
mod totals;
#[path = "../../../broker-core/tests/simulation/world/mod.rs"]
mod world;

/// Worlds of a plain test run.
const RUNS: u64 = 300;

#[test]
fn every_world_keeps_the_promises() {
    runs::run(RUNS);
    assert!(disk::has_seen_everything(), "{:?}", disk::SEEN);
    eprintln!("{:?}", disk::SEEN);
}
