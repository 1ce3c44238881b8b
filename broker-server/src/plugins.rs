//! The plugins with the broker, configuration and management API of this program.

use std::path::PathBuf;
use std::sync::Arc;

use broker_core::Broker;
use broker_mgmt::ports::{self, PluginInfo};
use broker_plugins::{
    ConfigSource, DelayedPublish, Plugin, PluginError, PluginHost, PluginsConfig, Retainer,
    ServedElsewhere, State, catalogue,
};

use crate::config;

/// Plugins that this program has.
pub(crate) const BUILT_IN: [&str; 3] = ["emqx_delayed_publish", "emqx_management", "emqx_retainer"];

/// Starts those that are to be loaded.
pub(crate) fn start(
    broker: &Arc<Broker>,
    config: &PluginsConfig,
    file: Option<PathBuf>,
) -> Result<PluginHost, PluginError> {
    PluginHost::start(broker, built_in(broker), config, Box::new(File(file)))
}

fn built_in(broker: &Arc<Broker>) -> Vec<Box<dyn Plugin>> {
    vec![
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

/// The plugins as the management API sees them.
pub(crate) struct ForApi(pub(crate) Arc<PluginHost>);

impl ports::Plugins for ForApi {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_takes_for_built_in_is() {
        let broker = Broker::builder().build().unwrap();
        let names: Vec<_> = built_in(&broker).iter().map(|plugin| plugin.name()).collect();
        assert_eq!(names, BUILT_IN);
    }
}
