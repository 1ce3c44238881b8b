//! What survives a crash: brokers that are killed, stopped, denied their disk, and started again.
//!
//! Each test has a broker process and a data folder of its own. `kill_loop` takes `KILL_ROUNDS` and
//! `KILL_SEED`; a failure prints its seed and keeps the folder.

mod broker;
#[path = "../conformance/client.rs"]
#[expect(dead_code, reason = "shared with the conformance suite, which uses all of it")]
mod client;
#[path = "../process/mod.rs"]
#[expect(dead_code, reason = "shared by suites, each of which uses a part of it")]
mod process;
#[path = "../conformance/wire.rs"]
#[expect(dead_code, reason = "shared with the conformance suite, which uses all of it")]
mod wire;

mod delayed;
mod exactly_once;
mod failing_disk;
mod folder;
mod full_disk;
mod kill_loop;
mod levels;
mod queues;
mod retained;
mod sessions;
mod snapshots;
mod stop;
mod wills;
