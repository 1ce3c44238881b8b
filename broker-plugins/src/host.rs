//! The host: loads, unloads and reloads plugins while the broker runs.

use std::sync::Arc;

use broker_core::Broker;
use broker_core::config::{Anonymous, ZoneConfig};
use broker_core::extension::{Authenticator, Authorizer};
use parking_lot::{Mutex, RwLock};

use crate::catalogue::{self, Entry, Kind};
use crate::config::{ConfigSource, PluginsConfig};
use crate::plugin::{Parts, Plugin};
use crate::states;

#[cfg(test)]
mod tests;

/// The plugins of one broker.
pub struct PluginHost {
    broker: Arc<Broker>,
    source: Box<dyn ConfigSource>,
    plugins: Vec<Box<dyn Plugin>>,
    /// Those at work, in the order in which they were loaded.
    running: RwLock<Vec<Running>>,
    /// Changes come one after the other; beside it what of ours stands in the broker's chains.
    change: Mutex<Chained>,
}

struct Running {
    name: &'static str,
    parts: Parts,
}

#[derive(Default)]
struct Chained {
    authenticators: Vec<Arc<dyn Authenticator>>,
    authorizers: Vec<Arc<dyn Authorizer>>,
}

/// One plugin of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginStatus {
    /// Which.
    pub entry: &'static Entry,
    /// How it is.
    pub state: State,
}

/// How a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// At work.
    Active,
    /// There, and not loaded.
    Inactive,
    /// Not in this build.
    Absent,
}

/// Why an order was not carried out. The words are the original's where it has them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// There is no plugin of this name.
    #[error("not_found")]
    NotFound,
    /// It is loaded already.
    #[error("already_started")]
    AlreadyStarted,
    /// It is not loaded.
    #[error("not_started")]
    NotStarted,
    /// The broker cannot be without it.
    #[error("{0} can not be unloaded")]
    Fixed(&'static str),
    /// EMQ X has it, this build has not.
    #[error("{0} is not in this build of the broker")]
    Absent(&'static str),
    /// Its configuration is wrong; nothing was changed.
    #[error("parse_config_file_failed: {0}")]
    Config(String),
    /// The store does not keep up.
    #[error("in force, but not on disk after {:?}; a restart may undo it", states::SAVE_TIMEOUT)]
    NotSaved,
}

impl PluginHost {
    /// Puts those of `plugins` to work that the configuration or an earlier order wants loaded.
    ///
    /// # Errors
    /// One of them cannot be: a broker that lacks a check of its clients must not run.
    pub fn start(
        broker: &Arc<Broker>,
        plugins: Vec<Box<dyn Plugin>>,
        config: &PluginsConfig,
        source: Box<dyn ConfigSource>,
    ) -> Result<Self, PluginError> {
        let host = Self {
            broker: Arc::clone(broker),
            source,
            plugins,
            running: RwLock::default(),
            change: Mutex::default(),
        };
        let wanted = host.wanted(&states::loaded(broker, &config.loaded))?;
        let mut ready = Vec::new();
        for plugin in &wanted {
            ready.push((plugin.name(), plugin.prepare(config).map_err(PluginError::Config)?));
        }
        for plugin in &host.plugins {
            if !wanted.iter().any(|wanted| wanted.name() == plugin.name()) {
                plugin.stop();
            }
        }
        for (name, ready) in ready {
            host.running.write().push(Running { name, parts: ready() });
            host.warn_of_anonymous(name);
        }
        host.chain(&mut host.change.lock());
        Ok(host)
    }

    /// All plugins of EMQ X, by name.
    #[must_use]
    pub fn list(&self) -> Vec<PluginStatus> {
        let status = |entry| PluginStatus { entry, state: self.state(entry) };
        catalogue::ALL.iter().map(status).collect()
    }

    /// Whether a plugin is at work.
    #[must_use]
    pub fn is_active(&self, name: &str) -> bool {
        self.running.read().iter().any(|running| running.name == name)
    }

    /// Loads a plugin.
    ///
    /// # Errors
    /// It is unknown, not in this build, or loaded already, or its configuration is wrong.
    pub fn load(&self, name: &str) -> Result<(), PluginError> {
        let mut chained = self.change.lock();
        let plugin = self.find(name)?;
        if self.is_active(name) {
            return Err(PluginError::AlreadyStarted);
        }
        self.put_to_work(plugin, &mut chained)
    }

    /// Unloads a plugin.
    ///
    /// # Errors
    /// It is unknown, not loaded, or one that stays.
    pub fn unload(&self, name: &str) -> Result<(), PluginError> {
        let mut chained = self.change.lock();
        let entry = catalogue::find(name).ok_or(PluginError::NotFound)?;
        if !self.is_active(name) {
            return Err(PluginError::NotStarted);
        }
        let plugin = self.find(name)?;
        if plugin.is_fixed() {
            return Err(PluginError::Fixed(entry.name));
        }
        self.running.write().retain(|running| running.name != name);
        self.chain(&mut chained);
        plugin.stop();
        log::info!("plugin unloaded name={name}");
        self.save(name, false)
    }

    /// Reads a plugin's configuration again and puts it in force; loads one that is not loaded.
    ///
    /// # Errors
    /// It is unknown or not in this build, or its configuration is wrong: then it goes on with the old one.
    pub fn reload(&self, name: &str) -> Result<(), PluginError> {
        let mut chained = self.change.lock();
        let plugin = self.find(name)?;
        if !self.is_active(name) {
            return self.put_to_work(plugin, &mut chained);
        }
        let config = self.source.read().map_err(PluginError::Config)?;
        self.renew(plugin, &config, &mut chained)
    }

    /// Puts another configuration in force for a plugin that is at work; another one gets it when it is loaded.
    ///
    /// # Errors
    /// It is unknown or not in this build, or the configuration is wrong: then it goes on with the old one.
    pub fn configure(&self, name: &str, config: &PluginsConfig) -> Result<(), PluginError> {
        let mut chained = self.change.lock();
        let plugin = self.find(name)?;
        if !self.is_active(name) {
            return Ok(());
        }
        self.renew(plugin, config, &mut chained)
    }

    /// The plugins of these names, and those that are always there.
    fn wanted(&self, names: &[String]) -> Result<Vec<&dyn Plugin>, PluginError> {
        let mut wanted: Vec<&dyn Plugin> = Vec::new();
        for name in names {
            let is_auth = catalogue::find(name).is_some_and(|entry| entry.kind == Kind::Auth);
            match self.find(name) {
                Ok(plugin) => wanted.push(plugin),
                // Its clients would come in unchecked.
                Err(error) if is_auth => return Err(error),
                Err(error) => log::warn!("plugin not loaded name={name}: {error}"),
            }
        }
        for plugin in self.plugins.iter().filter(|plugin| plugin.is_fixed()) {
            if !names.iter().any(|name| name == plugin.name()) {
                wanted.push(&**plugin);
            }
        }
        Ok(wanted)
    }

    fn put_to_work(&self, plugin: &dyn Plugin, chained: &mut Chained) -> Result<(), PluginError> {
        let config = self.source.read().map_err(PluginError::Config)?;
        let ready = plugin.prepare(&config).map_err(PluginError::Config)?;
        let name = plugin.name();
        let parts = ready();
        self.running.write().push(Running { name, parts });
        self.chain(chained);
        log::info!("plugin loaded name={name}");
        self.warn_of_anonymous(name);
        self.save(name, true)
    }

    fn renew(
        &self,
        plugin: &dyn Plugin,
        config: &PluginsConfig,
        chained: &mut Chained,
    ) -> Result<(), PluginError> {
        let ready = plugin.prepare(config).map_err(PluginError::Config)?;
        let name = plugin.name();
        let parts = ready();
        if let Some(running) = self.running.write().iter_mut().find(|it| it.name == name) {
            running.parts = parts;
        }
        self.chain(chained);
        log::info!("plugin reloaded name={name}");
        Ok(())
    }

    fn save(&self, name: &str, is_loaded: bool) -> Result<(), PluginError> {
        let saved = states::decide(&self.broker, name, is_loaded);
        if states::wait(&self.broker, saved) { Ok(()) } else { Err(PluginError::NotSaved) }
    }

    /// Brings the broker's chains in line with what runs: ours in the order of loading, then what stood there
    /// before any plugin.
    fn chain(&self, chained: &mut Chained) {
        let running = self.running.read();
        if running.iter().all(|it| it.parts.is_empty()) && chained.is_empty() {
            // Without a change nobody's verdicts need be forgotten.
            return;
        }
        let parts = || running.iter().map(|running| &running.parts);
        let authenticators: Vec<_> = parts().filter_map(|it| it.authenticator.clone()).collect();
        let authorizers: Vec<_> = parts().filter_map(|it| it.authorizer.clone()).collect();
        self.broker.change_extensions(|extensions| {
            replace(&mut extensions.authenticators, &chained.authenticators, &authenticators);
            replace(&mut extensions.authorizers, &chained.authorizers, &authorizers);
        });
        *chained = Chained { authenticators, authorizers };
    }

    fn find(&self, name: &str) -> Result<&dyn Plugin, PluginError> {
        let entry = catalogue::find(name).ok_or(PluginError::NotFound)?;
        let found = self.plugins.iter().find(|plugin| plugin.name() == name);
        found.map(|plugin| &**plugin).ok_or(PluginError::Absent(entry.name))
    }

    fn state(&self, entry: &Entry) -> State {
        match self.find(entry.name) {
            Ok(_) if self.is_active(entry.name) => State::Active,
            Ok(_) => State::Inactive,
            Err(_) => State::Absent,
        }
    }

    /// Who checks his clients may not know that those without a name pass unchecked.
    fn warn_of_anonymous(&self, name: &str) {
        let is_auth = catalogue::find(name).is_some_and(|entry| entry.kind == Kind::Auth);
        if !is_auth {
            return;
        }
        let config = self.broker.config();
        let is_open = |zone: &&Arc<ZoneConfig>| zone.allow_anonymous == Anonymous::All;
        let open = config.zones.values().filter(is_open);
        let open: Vec<_> = open.map(|zone| zone.name.as_str()).collect();
        if !open.is_empty() {
            log::warn!(
                "clients that no plugin knows are let in: allow_anonymous = true plugin={name} zones={}",
                open.join(",")
            );
        }
    }
}

impl Chained {
    fn is_empty(&self) -> bool {
        self.authenticators.is_empty() && self.authorizers.is_empty()
    }
}

fn replace<T: ?Sized>(chain: &mut Vec<Arc<T>>, old: &[Arc<T>], new: &[Arc<T>]) {
    chain.retain(|link| !old.iter().any(|old| Arc::ptr_eq(old, link)));
    chain.splice(0..0, new.iter().cloned());
}
