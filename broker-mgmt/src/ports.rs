//! What the API needs and neither it nor the core can know: the program around the broker fills it in.

use std::sync::Arc;
use std::time::Duration;

use broker_core::{Broker, Now};

/// What the API stands on.
#[derive(Clone)]
pub struct Ports {
    /// The broker that is managed.
    pub broker: Arc<Broker>,
    /// Facts of the process.
    pub node: Arc<dyn NodeFacts>,
}

/// What the process knows of itself and its machine. All are read anew at each call.
pub trait NodeFacts: Send + Sync {
    /// `node.name`.
    fn name(&self) -> &str;

    /// Version of the program, `v0.1.0`.
    fn version(&self) -> &str;

    /// What it runs on, in the place of the original's `otp_release`: `rustc 1.95.0`.
    fn runtime(&self) -> &str;

    /// The clock that the broker's connections live by.
    fn now(&self) -> Now;

    /// Since the start.
    fn uptime(&self) -> Duration;

    /// Load averages of the machine over 1, 5 and 15 minutes; `None` where the system has none.
    fn load_averages(&self) -> Option<[f64; 3]>;

    /// Files the process may have open.
    fn max_fds(&self) -> u64;

    /// Memory of the process.
    fn memory(&self) -> Memory;

    /// Threads of the process.
    fn threads(&self) -> usize;
}

/// Memory of the process in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Resident, code and files included.
    pub resident: u64,
    /// Of that what was allocated: heap and stacks.
    pub allocated: u64,
}
