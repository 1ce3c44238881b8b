//! Scenarios: one rule of the protocol or of the broker's limits each, over real channels on a made-up clock.

#![allow(unreachable_pub, reason = "a test crate exports nothing")]

#[path = "../rig/mod.rs"]
mod rig;

mod access;
mod ahead;
mod alarms;
mod bans;
mod control;
mod counters;
mod crowd;
mod each_metric;
mod gathered;
mod latency;
mod limits;
mod memory;
mod metrics;
mod observers;
mod publishing;
mod queue;
mod rates;
mod restart;
mod resume;
mod retained;
mod rights;
mod rights_change;
mod session_end;
mod shared;
mod store;
mod switches;
mod topic_metrics;
mod topics;
mod traces;
mod why;
