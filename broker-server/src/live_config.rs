//! The configuration of a broker that runs: read again, changed by order, and kept in the broker's settings.

mod orders;

use std::collections::BTreeMap;
use std::path::PathBuf;

use broker_core::Broker;
use broker_mgmt::ports::ConfigKey;
use broker_plugins::PluginsConfig;
use parking_lot::{Mutex, RwLock};

pub(crate) use self::orders::Orders;
use crate::config::{self, ConfigErrors, Layers, MonitorConfig, ServerConfig, Settings};
use crate::logging;

/// The configuration in effect. What was set by order goes before the file, here and after a restart.
pub(crate) struct LiveConfig {
    file: Option<PathBuf>,
    /// Changes come one after the other.
    change: Mutex<()>,
    state: RwLock<State>,
    /// The file as plugins have read it last.
    read_again: Mutex<Option<Layers>>,
}

struct State {
    layers: Layers,
    settings: Settings,
}

impl LiveConfig {
    /// Reads the file, if any, and the environment.
    ///
    /// # Errors
    /// All that is wrong.
    pub(crate) fn read(file: Option<PathBuf>) -> Result<Self, ConfigErrors> {
        let (layers, settings) = Layers::read(file.as_deref(), crate::environment())?;
        Ok(Self {
            file,
            change: Mutex::new(()),
            state: RwLock::new(State { layers, settings }),
            read_again: Mutex::default(),
        })
    }

    /// All of it, as it is now.
    pub(crate) fn server_config(&self) -> ServerConfig {
        self.state.read().settings.clone().into_server_config()
    }

    /// `os_mon.*` and `vm_mon.*`, as they are now.
    pub(crate) fn monitor_config(&self) -> MonitorConfig {
        self.state.read().settings.monitor.clone()
    }

    /// Puts in force what orders have set before this start. What does not fit the file any more is left out: a
    /// broker is to start with the file that it has started with before.
    pub(crate) fn restore(&self, broker: &Broker) {
        let Some(kept) = broker.setting(KIND, KEY) else { return };
        let mut set: BTreeMap<String, String> = match serde_json::from_slice(&kept) {
            Ok(set) => set,
            Err(error) => {
                log::error!("what was set at run time is unreadable and left out: {error}");
                return;
            }
        };
        let mut state = self.state.write();
        let (layers, settings) = loop {
            let errors = match state.layers.with_set(set.clone()) {
                Ok(fitting) => break fitting,
                Err(errors) => errors,
            };
            log::error!("what was set at run time and does not fit is left out: {errors}");
            let before = set.len();
            set.retain(|key, _| !errors.0.iter().any(|error| is_of(&error.key, key)));
            if set.len() == before {
                set.clear();
            }
        };
        let rows = config::rows(&settings, layers.set());
        *state = State { layers, settings };
        let config = state.settings.clone().into_server_config();
        drop(state);
        logging::set_up(&config.log);
        for ConfigKey { key, value, .. } in rows.iter().filter(|row| row.is_kept) {
            let value = config::shown(value);
            log::info!("set at run time, not by the configuration file: {key} = {value}");
        }
        if let Err(error) = broker.reconfigure(config.broker) {
            log::error!("what was set at run time is not in force: {error}");
        }
    }

    /// Reads levels and form of the log again.
    ///
    /// # Errors
    /// All that is wrong with the file.
    pub(crate) fn reload_log(&self) -> Result<(), ConfigErrors> {
        let _change = self.change.lock();
        let (newer, _) = Layers::read(self.file.as_deref(), crate::environment())?;
        self.adopt(&newer, "log.");
        logging::set_up(&self.state.read().settings.log);
        Ok(())
    }

    /// Gives `order` to plugins, which may read the configuration again. What they have read of the plugin's keys is
    /// in effect when it has succeeded.
    pub(crate) fn while_reading<E>(
        &self,
        plugin: &str,
        order: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let _change = self.change.lock();
        *self.read_again.lock() = None;
        order()?;
        let newer = self.read_again.lock().take();
        if let (Some(newer), Some(prefix)) = (newer, config::prefix_of(plugin)) {
            self.adopt(&newer, prefix);
        }
        Ok(())
    }

    fn adopt(&self, newer: &Layers, prefix: &str) {
        let mut state = self.state.write();
        match state.layers.adopting(newer, prefix) {
            Ok((layers, settings)) => *state = State { layers, settings },
            Err(errors) => log::error!("read again and not taken over: {errors}"),
        }
    }

    /// Reads the file again, for plugins.
    ///
    /// # Errors
    /// All that is wrong.
    pub(crate) fn read_again(&self) -> Result<PluginsConfig, String> {
        let text = |errors: ConfigErrors| errors.to_string();
        let (newer, _) = Layers::read(self.file.as_deref(), crate::environment()).map_err(text)?;
        let set = self.state.read().layers.set().clone();
        let (newer, settings) = newer.with_set(set).map_err(text)?;
        *self.read_again.lock() = Some(newer);
        Ok(settings.into_server_config().plugins)
    }

    fn rows(&self) -> Vec<ConfigKey> {
        let state = self.state.read();
        let mut settings = state.settings.clone();
        if let Some(log) = logging::in_force() {
            settings.log = log;
        }
        config::rows(&settings, state.layers.set())
    }
}

/// Whether an error's key is this one or an entry of it.
fn is_of(error: &str, key: &str) -> bool {
    error.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Of the one setting that has all that was set, so that it is kept whole.
const KIND: &str = "config";
const KEY: &str = "set";
