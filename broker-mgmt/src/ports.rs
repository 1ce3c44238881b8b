//! What the API needs and neither it nor the core can know: the program around the broker fills it in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broker_core::{Broker, Now, Saved, Trace, TraceEvent};
use broker_rules::engine::RuleEngine;

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
    /// The file of access rules; `None` if there is none.
    pub acl: Option<Arc<dyn AclRules>>,
    /// Files of traces.
    pub trace_files: Arc<dyn TraceFiles>,
    /// Keys of the configuration.
    pub configuration: Arc<dyn Configuration>,
    /// The plugins.
    pub plugins: Arc<dyn Plugins>,
    /// Accounts by client id, of `emqx_auth_clientid`.
    pub client_ids: Arc<dyn Accounts>,
    /// Accounts by user name, of `emqx_auth_username`.
    pub usernames: Arc<dyn Accounts>,
    /// What `emqx_statsd` pushes.
    pub pushed_metrics: Arc<dyn PushedMetrics>,
    /// What `emqx_recon` shows.
    pub inspection: Arc<dyn Inspection>,
    /// Rules and resources, of `emqx_rule_engine`.
    pub rules: Arc<RuleEngine>,
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

/// The keys of the configuration. What is changed outlives the process.
pub trait Configuration: Send + Sync {
    /// All keys with the values in effect, by key.
    fn keys(&self) -> Vec<ConfigKey>;

    /// Sets a key, from now on.
    ///
    /// # Errors
    /// There is no such key, it takes effect with a restart only, or it does not take this value. Nothing has
    /// changed then.
    fn set(&self, key: &str, value: &str) -> Result<Saved, ConfigRefused>;

    /// Takes back what was set: what the configuration file says is in effect again.
    ///
    /// # Errors
    /// There is no such key, or the file's value does not fit what else is set.
    fn reset(&self, key: &str) -> Result<Saved, ConfigRefused>;

    /// The keys of a plugin, by key.
    ///
    /// # Errors
    /// There is no such plugin.
    fn keys_of_plugin(&self, plugin: &str) -> Result<Vec<ConfigKey>, ConfigRefused>;

    /// Sets all keys of a plugin; those that `values` does not name are reset.
    ///
    /// # Errors
    /// As for [`set`](Self::set), of any of them; or there is no such plugin.
    fn set_plugin(
        &self,
        plugin: &str,
        values: BTreeMap<String, String>,
    ) -> Result<Saved, ConfigRefused>;
}

/// A key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigKey {
    /// The dotted key.
    pub key: String,
    /// Its value as it can be set; six asterisks if it is a secret.
    pub value: String,
    /// What a value is: `integer`, `bytesize`, `enum` and so on.
    pub kind: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Whether it can change while the broker runs.
    pub is_changeable: bool,
    /// Whether somebody gave it a value; else it has its default.
    pub is_given: bool,
    /// Whether it was set while a broker ran, and goes before the configuration file.
    pub is_kept: bool,
}

/// Why the configuration stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigRefused {
    /// A key is wrong, or cannot have this value.
    Key {
        /// Which.
        key: String,
        /// `must be …`.
        problem: String,
    },
    /// Something else; of plugins the words are the original's.
    Other(String),
}

/// The plugins of EMQ X, as far as this broker has them. Orders outlive the process.
pub trait Plugins: Send + Sync {
    /// All, by name.
    fn list(&self) -> Vec<PluginInfo>;

    /// Whether one is at work.
    fn is_active(&self, name: &str) -> bool;

    /// Puts one to work.
    ///
    /// # Errors
    /// `not_found`, `already_started`, or what keeps it from working.
    fn load(&self, name: &str) -> Result<(), String>;

    /// Takes one out of work.
    ///
    /// # Errors
    /// `not_found`, `not_started`, or why it stays.
    fn unload(&self, name: &str) -> Result<(), String>;

    /// Has one read its configuration again; puts it to work if it was not.
    ///
    /// # Errors
    /// `not_found`, or what is wrong with the configuration: then nothing has changed.
    fn reload(&self, name: &str) -> Result<(), String>;
}

/// Names and passwords of clients. Changes outlive the process.
pub trait Accounts: Send + Sync {
    /// All names, sorted.
    fn names(&self) -> Vec<String>;

    /// Whether there is an account of this name.
    fn has(&self, name: &str) -> bool;

    /// Makes an account.
    ///
    /// # Errors
    /// There is one of this name, or one of the texts cannot be kept.
    fn add(&self, name: &str, password: &str) -> Result<(), AccountError>;

    /// Gives an account another password.
    ///
    /// # Errors
    /// There is none of this name, or the password cannot be kept.
    fn set_password(&self, name: &str, password: &str) -> Result<(), AccountError>;

    /// Removes an account, if there is one.
    ///
    /// # Errors
    /// The change is not safe yet.
    fn remove(&self, name: &str) -> Result<(), AccountError>;
}

/// What `emqx_statsd` pushes to a gateway.
pub trait PushedMetrics: Send + Sync {
    /// The text, as of now; `None` unless the configuration lets it be seen.
    fn text(&self) -> Option<String>;
}

/// What `emqx_recon` shows of the process.
pub trait Inspection: Send + Sync {
    /// What its allocator holds; `None` if that does not tell.
    fn heap(&self) -> Option<HeapUse>;

    /// How it is now; `None` if the system does not tell.
    fn sample(&self) -> Option<NodeSample>;
}

/// What the allocator holds: now, and at most as far as somebody has looked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeapUse {
    /// Now.
    pub current: HeapFigures,
    /// At most.
    pub max: HeapFigures,
}

/// Bytes of the allocator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeapFigures {
    /// Which part of `allocated` is handed out.
    pub usage: f64,
    /// Handed out.
    pub used: u64,
    /// Taken from the system.
    pub allocated: u64,
    /// Kept for what will be asked for.
    pub unused: u64,
    /// Of `allocated`, in arenas.
    pub arenas: u64,
    /// Of `allocated`, in blocks that are too large for those.
    pub blocks: u64,
}

/// The process at a moment. What is counted is counted since the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeSample {
    /// Threads that run or wait for a processor.
    pub run_queue: u64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// Messages that wait in the queues of sessions.
    pub queued_messages: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Time of processors, in seconds.
    pub cpu_seconds: f64,
}

/// Why accounts stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountError {
    /// A parameter is wrong; the text names it.
    Parameter(String),
    /// Something else.
    Other(String),
}

/// One plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginInfo {
    /// `emqx_retainer`.
    pub name: &'static str,
    /// As the original's list has it.
    pub version: &'static str,
    /// As the original's list has it.
    pub description: &'static str,
    /// Whether it is at work.
    pub is_active: bool,
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

/// How long the store has taken for one thing, each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDurations {
    /// A word for it, as in the names of metrics: `sync`.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// How often it took no longer than so many microseconds and longer than the bucket before; `None` is the rest.
    pub buckets: Vec<(Option<u64>, u64)>,
    /// Microseconds in all.
    pub sum_us: u64,
}

/// What operators ask of the store.
pub trait StoreAdmin: Send + Sync {
    /// What it counts: words, named like the metrics, and numbers.
    fn stats(&self) -> Vec<(String, String)>;

    /// What it measures.
    fn durations(&self) -> Vec<StoreDurations>;

    /// Copies it to a folder that is empty or not there, beside the traffic. Takes as long as the disk does. Returns
    /// words and values of what was copied.
    ///
    /// # Errors
    /// The folder is not empty or cannot be written to, or another backup is at work.
    fn backup(&self, target: &Path) -> Result<Vec<(String, String)>, String>;
}

/// Files that traces are written to, all in one folder.
pub trait TraceFiles: Send + Sync {
    /// Where the file of this name lies, which is a bare one.
    fn path(&self, name: &str) -> PathBuf;

    /// Writes what a trace has and gets into a file, made anew, until the trace ends or the file is full. `line`
    /// makes the lines, ends included.
    ///
    /// # Errors
    /// The file cannot be made, or another trace writes it.
    fn write(
        &self,
        name: &str,
        trace: Arc<Trace>,
        line: fn(&TraceEvent) -> String,
    ) -> Result<(), String>;
}

/// The file of access rules.
pub trait AclRules: Send + Sync {
    /// Reads it again, as a whole or not at all, and has verdicts of the old rules forgotten. Returns how many rules
    /// there are.
    ///
    /// # Errors
    /// `<file>:<line>: <what>`, and the old rules stay.
    fn reload(&self) -> Result<usize, String>;
}
