//! The disk of a world: frames in memory. In the worlds of broker-store it is that crate's store, on files.

use std::sync::Arc;

use broker_core::{Broker, Now};

pub use crate::rig::disk::{Disk, Snapshot};

/// Worlds in a hundred that have one.
pub const CHANCE: usize = 60;

/// One with nothing on it.
pub fn new(_seed: u64) -> Arc<Disk> {
    Arc::default()
}

/// The first broker of a world has it.
pub fn begin(_disk: &Disk, _broker: &Arc<Broker>, _now: Now) {}

/// True if it has lost its power in the middle of something.
pub fn is_cut(_disk: &Disk) -> bool {
    false
}
