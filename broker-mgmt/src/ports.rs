//! What the API needs and neither it nor the core can know: the program around the broker fills it in.

use std::collections::BTreeMap;
use std::path::Path;
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
    /// Levels of its log.
    pub log: Arc<dyn LogLevels>,
    /// The store; `None` if the broker has none.
    pub store: Option<Arc<dyn StoreAdmin>>,
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

/// Levels of the log, changed while the process runs.
pub trait LogLevels: Send + Sync {
    /// Those in force.
    fn levels(&self) -> Levels;

    /// Sets the level, or that of one part of the broker. The level is a word of `log.level`; of a part also
    /// `default`, what the configuration says of it.
    ///
    /// # Errors
    /// One of the two is wrong.
    fn set_level(&self, level: &str, target: Option<&str>) -> Result<(), LevelRefused>;
}

/// Levels by their words: off, error, warn, info, debug, trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    /// Of what is not in `targets`.
    pub level: &'static str,
    /// By part of the broker, such as `broker_net`.
    pub targets: BTreeMap<String, &'static str>,
}

/// Why a level is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelRefused {
    /// `level` or `target`.
    pub field: &'static str,
    /// What is wrong with it, `must be one of …`.
    pub problem: String,
}

/// What operators ask of the store.
pub trait StoreAdmin: Send + Sync {
    /// What it counts: words, named like the metrics, and numbers.
    fn stats(&self) -> Vec<(String, String)>;

    /// Copies it to a folder that is empty or not there, beside the traffic. Takes as long as the disk does. Returns
    /// words and values of what was copied.
    ///
    /// # Errors
    /// The folder is not empty or cannot be written to, or another backup is at work.
    fn backup(&self, target: &Path) -> Result<Vec<(String, String)>, String>;
}
