//! `emqx_retainer` and `emqx_delayed_publish`: what they do is part of the core, they switch it.

use std::sync::Arc;

use broker_core::Broker;
use broker_core::config::{DelayedConfig, RetainedConfig};

use crate::config::PluginsConfig;
use crate::plugin::{Parts, Plugin, Ready};

/// `emqx_retainer`: retained messages.
pub struct Retainer(Arc<Broker>);

/// `emqx_delayed_publish`: `$delayed/<seconds>/<topic>`.
pub struct DelayedPublish(Arc<Broker>);

impl Retainer {
    /// The one of this broker.
    #[must_use]
    pub fn new(broker: &Arc<Broker>) -> Self {
        Self(Arc::clone(broker))
    }
}

impl Plugin for Retainer {
    fn name(&self) -> &'static str {
        "emqx_retainer"
    }

    fn prepare<'a>(&'a self, config: &PluginsConfig) -> Result<Ready<'a>, String> {
        let config = RetainedConfig { enabled: true, ..config.retained.clone() };
        Ok(Box::new(move || {
            self.0.configure_retained(config);
            Parts::default()
        }))
    }

    fn stop(&self) {
        let limits = self.0.config().retained.clone();
        self.0.configure_retained(RetainedConfig { enabled: false, ..limits });
    }
}

impl DelayedPublish {
    /// The one of this broker.
    #[must_use]
    pub fn new(broker: &Arc<Broker>) -> Self {
        Self(Arc::clone(broker))
    }
}

impl Plugin for DelayedPublish {
    fn name(&self) -> &'static str {
        "emqx_delayed_publish"
    }

    fn prepare<'a>(&'a self, config: &PluginsConfig) -> Result<Ready<'a>, String> {
        let config = DelayedConfig { enabled: true, ..config.delayed.clone() };
        Ok(Box::new(move || {
            self.0.configure_delayed(config);
            Parts::default()
        }))
    }

    fn stop(&self) {
        let limits = self.0.config().delayed.clone();
        self.0.configure_delayed(DelayedConfig { enabled: false, ..limits });
    }
}
