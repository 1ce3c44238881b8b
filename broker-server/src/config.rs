//! Configuration: one table of keys, a TOML file and the environment become checked settings.
//!
//! The way of a value: [`raw`] reads text and keeps places, [`given`] finds the key of the table that each
//! value is for, [`settings`] writes it to its field, [`validate`] looks at the fields together.

mod accounts;
mod dashboard;
mod error;
mod field;
mod given;
mod layers;
mod management;
mod monitors;
mod plugins;
mod print;
mod raw;
mod rows;
mod rules;
mod settings;
mod store;
mod suggest;
mod table;
mod validate;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use broker_core::config::BrokerConfig;
use broker_net::config::ListenerConfig;
use broker_plugins::PluginsConfig;
use log::LevelFilter;

use self::error::Origin;
use self::field::Word;
use self::given::Given;

pub(crate) use self::dashboard::DashboardConfig;
pub(crate) use self::error::{ConfigError, ConfigErrors};
pub(crate) use self::layers::{Changes, Layers};
pub(crate) use self::management::{HttpListener, HttpsListener, ManagementConfig};
pub(crate) use self::monitors::{Marks, MonitorConfig};
pub(crate) use self::plugins::{plugin_of, prefix_of};
pub(crate) use self::print::markdown;
pub(crate) use self::rows::rows;
pub(crate) use self::rules::RulesConfig;
pub(crate) use self::settings::Settings;
pub(crate) use self::store::{OnDamage, OnFailure, StoreConfig};
use crate::auth::scram::{Sha256, Sha512, Verifier};

/// Everything a start of the server needs.
#[derive(Debug)]
pub(crate) struct ServerConfig {
    /// `node.*`.
    pub(crate) node: NodeConfig,
    /// `log.*`.
    pub(crate) log: LogConfig,
    /// What the core obeys.
    pub(crate) broker: BrokerConfig,
    /// `store.*`, and of `durability.*` what the core does not obey.
    pub(crate) store: StoreConfig,
    /// The enabled listeners.
    pub(crate) listeners: Vec<ListenerConfig>,
    /// `management.*`.
    pub(crate) management: ManagementConfig,
    /// `dashboard.*`.
    pub(crate) dashboard: DashboardConfig,
    /// `plugins.*` and the keys of the plugins.
    pub(crate) plugins: PluginsConfig,
    /// `rules.*` and `rule_engine.*`.
    pub(crate) rules: RulesConfig,
    /// `acl_file`.
    pub(crate) acl_file: Option<PathBuf>,
    /// `auth.mosquitto.password_file`.
    pub(crate) password_file: Option<PathBuf>,
    /// `auth.scram_sha_256.users`.
    pub(crate) scram_users: BTreeMap<String, Verifier<Sha256>>,
    /// `auth.scram_sha_512.users`.
    pub(crate) scram_512_users: BTreeMap<String, Verifier<Sha512>>,
    /// What the operator should know though it stops nothing; to be logged as warnings.
    pub(crate) notes: Vec<String>,
}

/// `node.*`, but for the name, which the core has as well.
#[derive(Debug, Clone)]
pub(crate) struct NodeConfig {
    /// `node.name`.
    pub(crate) name: String,
    /// `node.data_dir`.
    pub(crate) data_dir: PathBuf,
    /// `node.shutdown_timeout` in milliseconds.
    pub(crate) shutdown_timeout_ms: u64,
    /// `node.io_threads`; 0 for one per core.
    pub(crate) io_threads: usize,
    /// `node.memory_limit`.
    pub(crate) memory_limit: MemoryLimit,
}

/// What the broker may keep in memory for its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryLimit {
    /// So many bytes; 0 for no limit.
    Bytes(u64),
    /// So much of what the machine has, or of what its control group may use.
    Percent(u8),
}

/// `log.*`.
#[derive(Debug, Clone)]
pub(crate) struct LogConfig {
    /// `log.to`.
    pub(crate) to: LogTarget,
    /// `log.level`.
    pub(crate) level: LevelFilter,
    /// `log.format`.
    pub(crate) format: LogFormat,
    /// `log.targets`: levels by module path, which go before `level`.
    pub(crate) targets: BTreeMap<String, LevelFilter>,
}

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogTarget {
    /// Standard error.
    Console,
    /// Nowhere.
    Off,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Reads the file, if any, and what `env` overrides; the environment is passed in so that tests have their own.
///
/// # Errors
///
/// All that is wrong, not the first error only.
pub(crate) fn load(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<ServerConfig, ConfigErrors> {
    read(file, env).map(|(_, settings)| settings.into_server_config())
}

/// A level of the log by a word that `log.level` takes.
pub(crate) fn log_level(word: &str) -> Option<LevelFilter> {
    LevelFilter::from_word(word).ok()
}

/// A value that was set, as a log can have it: quoted, and cut off where it would fill the screen.
pub(crate) fn shown(text: &str) -> String {
    raw::Raw::Bare(text.to_owned()).shown()
}

/// The same configuration as a TOML file that holds every key, with its help and default.
///
/// # Errors
///
/// As [`load`].
pub(crate) fn print(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<String, ConfigErrors> {
    read(file, env).map(|(_, settings)| print::toml(&settings))
}

fn read(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<(Given, Settings), ConfigErrors> {
    let Some(path) = file else { return read_text("", "", env) };
    let name = path.display().to_string();
    let unreadable = |problem| {
        let origin = Origin::File(name.as_str().into());
        ConfigErrors(vec![ConfigError { origin, key: String::new(), value: None, problem }])
    };
    let bytes = std::fs::read(path).map_err(|error| unreadable(format!("reading: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        unreadable(format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
    })?;
    read_text(&name, &text, env)
}

fn read_text(
    name: &str,
    text: &str,
    env: impl Iterator<Item = (String, String)>,
) -> Result<(Given, Settings), ConfigErrors> {
    let mut errors = Vec::new();
    let tree = raw::read_toml(name, text, &mut errors);
    let variables = raw::read_env(env);
    let given = Given::collect(tree, variables, &mut errors);
    let settings = build(&given, errors)?;
    Ok((given, settings))
}

/// Settings of what was given, checked; `errors` are those of reading it.
fn build(given: &Given, mut errors: Vec<ConfigError>) -> Result<Settings, ConfigErrors> {
    let settings = Settings::build(given, &mut errors);
    // Wrong values left their defaults in place, so that what depends on them is still checked.
    validate::check(&settings, &mut errors);
    if errors.is_empty() {
        return Ok(settings);
    }
    errors.sort();
    errors.dedup();
    Err(ConfigErrors(errors))
}
