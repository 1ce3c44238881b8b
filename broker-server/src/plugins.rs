//! The plugins with the broker, configuration and management API of this program.

use std::path::PathBuf;
use std::sync::Arc;

use broker_core::Broker;
use broker_mgmt::ports::{self, PluginInfo};
use broker_plugins::{
    AccountError, Accounts, ConfigSource, DelayedPublish, Plugin, PluginHost, PluginsConfig,
    Retainer, ServedElsewhere, State, Subject, Workers, catalogue,
};

use crate::config;

/// Plugins that this program has.
pub(crate) const BUILT_IN: [&str; 6] = [
    "emqx_auth_clientid",
    "emqx_auth_username",
    "emqx_dashboard",
    "emqx_delayed_publish",
    "emqx_management",
    "emqx_retainer",
];

/// The plugins at work, and what the management API does with them beside loading and unloading.
pub(crate) struct Plugins {
    host: Arc<PluginHost>,
    client_ids: Accounts,
    usernames: Accounts,
}

impl Plugins {
    /// Starts those that are to be loaded.
    pub(crate) fn start(
        broker: &Arc<Broker>,
        config: &PluginsConfig,
        file: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let workers = Arc::new(Workers::new());
        let client_ids = Accounts::new(Subject::ClientId, broker, &workers)?;
        let usernames = Accounts::new(Subject::Username, broker, &workers)?;
        let built_in = built_in(broker, &client_ids, &usernames);
        let host = PluginHost::start(broker, built_in, config, Box::new(File(file)))?;
        Ok(Self { host: Arc::new(host), client_ids, usernames })
    }

    /// As the management API sees them.
    pub(crate) fn for_api(&self) -> Arc<dyn ports::Plugins> {
        Arc::new(HostForApi(Arc::clone(&self.host)))
    }

    /// Accounts by client id.
    pub(crate) fn client_ids(&self) -> Arc<dyn ports::Accounts> {
        Arc::new(AccountsForApi(self.client_ids.clone()))
    }

    /// Accounts by user name.
    pub(crate) fn usernames(&self) -> Arc<dyn ports::Accounts> {
        Arc::new(AccountsForApi(self.usernames.clone()))
    }
}

fn built_in(
    broker: &Arc<Broker>,
    client_ids: &Accounts,
    usernames: &Accounts,
) -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(client_ids.clone()),
        Box::new(usernames.clone()),
        Box::new(ServedElsewhere { name: "emqx_dashboard", is_fixed: false }),
        Box::new(DelayedPublish::new(broker)),
        Box::new(ServedElsewhere { name: "emqx_management", is_fixed: true }),
        Box::new(Retainer::new(broker)),
    ]
}

/// The configuration file that the program was started with.
struct File(Option<PathBuf>);

impl ConfigSource for File {
    fn read(&self) -> Result<PluginsConfig, String> {
        match config::load(self.0.as_deref(), crate::environment()) {
            Ok(config) => Ok(config.plugins),
            Err(errors) => Err(errors.to_string()),
        }
    }
}

struct HostForApi(Arc<PluginHost>);

impl ports::Plugins for HostForApi {
    fn list(&self) -> Vec<PluginInfo> {
        let info = |it: broker_plugins::PluginStatus| PluginInfo {
            name: it.entry.name,
            version: catalogue::VERSION,
            description: it.entry.description,
            is_active: it.state == State::Active,
        };
        self.0.list().into_iter().map(info).collect()
    }

    fn is_active(&self, name: &str) -> bool {
        self.0.is_active(name)
    }

    fn load(&self, name: &str) -> Result<(), String> {
        self.0.load(name).map_err(|error| error.to_string())
    }

    fn unload(&self, name: &str) -> Result<(), String> {
        self.0.unload(name).map_err(|error| error.to_string())
    }

    fn reload(&self, name: &str) -> Result<(), String> {
        self.0.reload(name).map_err(|error| error.to_string())
    }
}

struct AccountsForApi(Accounts);

impl ports::Accounts for AccountsForApi {
    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }

    fn add(&self, name: &str, password: &str) -> Result<(), ports::AccountError> {
        self.0.add(name, password).map_err(|error| for_api(&error))
    }

    fn set_password(&self, name: &str, password: &str) -> Result<(), ports::AccountError> {
        self.0.set_password(name, password).map_err(|error| for_api(&error))
    }

    fn remove(&self, name: &str) -> Result<(), ports::AccountError> {
        self.0.remove(name).map_err(|error| for_api(&error))
    }
}

fn for_api(error: &AccountError) -> ports::AccountError {
    let text = error.to_string();
    match error {
        AccountError::Name(_) | AccountError::Password(_) => ports::AccountError::Parameter(text),
        _ => ports::AccountError::Other(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_takes_for_built_in_is() {
        let broker = Broker::builder().build().unwrap();
        let workers = Arc::new(Workers::new());
        let accounts = |subject| Accounts::new(subject, &broker, &workers).unwrap();
        let [client_ids, usernames] = [Subject::ClientId, Subject::Username].map(accounts);
        let plugins = built_in(&broker, &client_ids, &usernames);
        let names: Vec<_> = plugins.iter().map(|plugin| plugin.name()).collect();
        assert_eq!(names, BUILT_IN);
    }
}
