//! Scenarios: rules over real channels and sessions on a made-up clock.

#![allow(unreachable_pub, reason = "a test crate exports nothing")]
#![allow(clippy::needless_pass_by_value, reason = "a test reads better with values")]

#[path = "../../../broker-core/tests/rig/mod.rs"]
mod rig;

mod events;
mod kept;
mod operator;
mod remote;
mod republish;
mod world;
