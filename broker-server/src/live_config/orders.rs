//! Orders of the management API to the configuration: checked whole, put in force, kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_core::{Broker, Saved};
use broker_mgmt::ports::{self, ConfigKey, ConfigRefused};
use broker_plugins::{PluginHost, catalogue};

use super::{KEY, KIND, LiveConfig, State, is_of};
use crate::config::{self, Changes, ConfigError, ConfigErrors, Layers, Settings};
use crate::logging;
use crate::plugins::BUILT_IN;

/// Takes orders for one broker.
pub(crate) struct Orders {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) broker: Arc<Broker>,
    pub(crate) plugins: Arc<PluginHost>,
}

impl Orders {
    /// Makes changes that are checked already: each of them concerns the broker, its log, or one plugin.
    fn change(&self, changes: &Changes) -> Result<Saved, ConfigRefused> {
        let state = self.config.state.read();
        let (layers, settings) =
            state.layers.with(changes).map_err(|errors| refused(errors, changes))?;
        drop(state);
        // A level of the log may have been changed otherwise since it was set.
        let is_same = layers.set() == self.config.state.read().layers.set();
        if is_same && !changes.keys().any(|key| key.starts_with(LOG)) {
            return Ok(Saved::default());
        }
        let kept = serde_json::to_vec(layers.set()).expect("texts are JSON");
        if kept.len() > KEPT_MAX {
            let key = changes.keys().next().cloned().unwrap_or_default();
            let problem = format!("too long: all that is set takes {KEPT_MAX} bytes at most");
            return Err(ConfigRefused::Key { key, problem });
        }
        // What may fail comes first, and one of them does for all changes.
        self.put_in_force(changes, &settings)?;
        for (key, text) in changes {
            match text {
                Some(text) => {
                    let value = config::shown(text);
                    log::info!("configuration changed by order: {key} = {value}");
                }
                None => log::info!("configuration changed by order: {key} as in the file"),
            }
        }
        let saved = if layers.set().is_empty() {
            self.broker.remove_setting(KIND, KEY)
        } else {
            self.broker.put_setting(KIND, KEY, &kept)
        };
        *self.config.state.write() = State { layers, settings };
        Ok(saved)
    }

    fn put_in_force(&self, changes: &Changes, settings: &Settings) -> Result<(), ConfigRefused> {
        let Some(first) = changes.keys().next() else { return Ok(()) };
        let config = settings.clone().into_server_config();
        let failed = |problem: String| ConfigRefused::Key { key: first.clone(), problem };
        if let Some(plugin) = config::plugin_of(first) {
            let configured = self.plugins.configure(plugin, &config.plugins);
            return configured.map_err(|error| failed(error.to_string()));
        }
        self.broker.reconfigure(config.broker).map_err(|error| failed(error.to_string()))?;
        for key in changes.keys().filter(|key| key.starts_with(LOG)) {
            logging::change(&config.log, key);
        }
        Ok(())
    }

    fn check_plugin(&self, plugin: &str) -> Result<(), ConfigRefused> {
        if BUILT_IN.contains(&plugin) {
            return Ok(());
        }
        Err(ConfigRefused::Other(match catalogue::find(plugin) {
            Some(_) => format!("{plugin} is not in this build of the broker"),
            None => "not_found".to_owned(),
        }))
    }

    /// What makes the plugin's keys be as in `values`: those that the file has so are left to it.
    fn changes_of_plugin(
        &self,
        prefix: &str,
        values: BTreeMap<String, String>,
    ) -> Result<Changes, ConfigRefused> {
        let layers = self.config.state.read().layers.clone();
        let shown = text_by_key(&self.config.rows());
        let of_file = text_by_key(&config::rows(&layers.base_settings(), &BTreeMap::new()));
        let set = layers.set().keys().filter(|key| key.starts_with(prefix));
        let mut changes: Changes = set.map(|key| (key.clone(), None)).collect();
        for (key, value) in values {
            if !key.starts_with(prefix) {
                let problem = format!("is no key of this plugin, which begin with {prefix}");
                return Err(ConfigRefused::Key { key, problem });
            }
            let path = match layers.path(&key) {
                Ok(path) => path,
                // Whoever sends all that he was shown changes nothing by that.
                Err(_) if shown.get(&key) == Some(&value) => continue,
                Err(error) => return Err(one(error)),
            };
            let wanted = (of_file.get(&path) != Some(&value)).then_some(value);
            changes.insert(path, wanted);
        }
        Ok(changes)
    }
}

impl ports::Configuration for Orders {
    fn keys(&self) -> Vec<ConfigKey> {
        self.config.rows()
    }

    fn set(&self, key: &str, value: &str) -> Result<Saved, ConfigRefused> {
        let _change = self.config.change.lock();
        let path = path(&self.config.state.read().layers, key)?;
        self.change(&Changes::from([(path, Some(value.to_owned()))]))
    }

    fn reset(&self, key: &str) -> Result<Saved, ConfigRefused> {
        let _change = self.config.change.lock();
        let path = path(&self.config.state.read().layers, key)?;
        self.change(&Changes::from([(path, None)]))
    }

    fn keys_of_plugin(&self, plugin: &str) -> Result<Vec<ConfigKey>, ConfigRefused> {
        self.check_plugin(plugin)?;
        let Some(prefix) = config::prefix_of(plugin) else { return Ok(Vec::new()) };
        Ok(self.config.rows().into_iter().filter(|row| row.key.starts_with(prefix)).collect())
    }

    fn set_plugin(
        &self,
        plugin: &str,
        values: BTreeMap<String, String>,
    ) -> Result<Saved, ConfigRefused> {
        self.check_plugin(plugin)?;
        let _change = self.config.change.lock();
        // Of a plugin without keys every key is wrong.
        let prefix = config::prefix_of(plugin).unwrap_or(plugin);
        let changes = self.changes_of_plugin(prefix, values)?;
        self.change(&changes)
    }
}

fn text_by_key(rows: &[ConfigKey]) -> BTreeMap<String, String> {
    rows.iter().map(|row| (row.key.clone(), row.value.clone())).collect()
}

fn path(layers: &Layers, key: &str) -> Result<String, ConfigRefused> {
    layers.path(key).map_err(one)
}

fn one(error: ConfigError) -> ConfigRefused {
    ConfigRefused::Key { key: error.key, problem: error.problem }
}

/// The error of a key that was to change, or another that the change has brought.
fn refused(errors: ConfigErrors, changes: &Changes) -> ConfigRefused {
    let is_changed = |error: &ConfigError| changes.keys().any(|key| is_of(&error.key, key));
    let at = errors.0.iter().position(is_changed).unwrap_or(0);
    match errors.0.into_iter().nth(at) {
        Some(error) => one(error),
        None => ConfigRefused::Other("the configuration would be wrong".to_owned()),
    }
}

const LOG: &str = "log.";
/// Far below what the store takes as one record.
const KEPT_MAX: usize = 64 << 10;
