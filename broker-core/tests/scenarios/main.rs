//! Scenarios: one rule of the protocol or of the broker's limits each, over real channels on a made-up clock.

#[path = "../rig/mod.rs"]
mod rig;

mod access;
mod limits;
mod queue;
mod resume;
mod retained;
mod session_end;
mod shared;
mod store;
mod topics;
