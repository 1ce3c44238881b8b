//! What a plugin is to its host.

use std::sync::Arc;

use broker_core::extension::{Authenticator, Authorizer};

use crate::config::PluginsConfig;

/// A plugin that this broker has.
pub trait Plugin: Send + Sync {
    /// Its name in the [`catalogue`](crate::catalogue).
    fn name(&self) -> &'static str;

    /// Makes everything that may fail, and changes nothing: what is at work goes on as it is.
    ///
    /// # Errors
    /// What is wrong with its configuration, naming the key.
    fn prepare<'a>(&'a self, config: &PluginsConfig) -> Result<Ready<'a>, String>;

    /// It is not at work: at the start of a broker that does not load it, or from now on.
    fn stop(&self) {}

    /// True if it cannot be unloaded.
    fn is_fixed(&self) -> bool {
        false
    }
}

impl<P: Plugin> Plugin for Arc<P> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn prepare<'a>(&'a self, config: &PluginsConfig) -> Result<Ready<'a>, String> {
        (**self).prepare(config)
    }

    fn stop(&self) {
        (**self).stop();
    }

    fn is_fixed(&self) -> bool {
        (**self).is_fixed()
    }
}

/// Puts a plugin to work, or what was prepared of it in the place of what is at work.
pub type Ready<'a> = Box<dyn FnOnce() -> Parts + 'a>;

/// What a plugin adds to the chains of the broker.
#[derive(Default, Clone)]
pub struct Parts {
    /// Asked when a client connects.
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// Asked what a client may do.
    pub authorizer: Option<Arc<dyn Authorizer>>,
}

impl Parts {
    pub(crate) fn is_empty(&self) -> bool {
        self.authenticator.is_none() && self.authorizer.is_none()
    }
}

/// A plugin whose work is done by another part of the program, which asks the host whether it is loaded.
#[derive(Debug, Clone, Copy)]
pub struct ServedElsewhere {
    /// Its name.
    pub name: &'static str,
    /// True if it cannot be unloaded.
    pub is_fixed: bool,
}

impl Plugin for ServedElsewhere {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare<'a>(&'a self, _: &PluginsConfig) -> Result<Ready<'a>, String> {
        Ok(Box::new(Parts::default))
    }

    fn is_fixed(&self) -> bool {
        self.is_fixed
    }
}
