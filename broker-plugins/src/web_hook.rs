//! `emqx_web_hook`: what happens to clients and messages, as JSON to a web server of the operator's.

mod base62;
mod body;
mod config;
mod hooks;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use broker_core::observer::EventWatch;
use broker_core::{Broker, Observation};
use broker_rules::{AddressRules, Clock, RemoteSink, SinkConfig, SinkListener, post_to};
use parking_lot::Mutex;

pub use self::config::{HookEvent, HookRule, PayloadEncoding, WebHookConfig};
use self::hooks::Hooks;
use crate::config::PluginsConfig;
use crate::plugin::{Parts, Plugin, Ready};

/// The plugin.
pub struct WebHook {
    broker: Arc<Broker>,
    clock: Clock,
    addresses: Arc<AddressRules>,
    listener: Arc<dyn SinkListener>,
    running: Mutex<Option<Running>>,
}

/// What is at work; its threads end with it.
struct Running {
    hooks: Arc<Hooks>,
    sink: Arc<RemoteSink>,
    _observations: Vec<Observation>,
}

impl WebHook {
    /// The plugin, not yet at work. `addresses` are where it may connect to, `listener` hears of what is dropped.
    #[must_use]
    pub fn new(
        broker: &Arc<Broker>,
        clock: Clock,
        addresses: Arc<AddressRules>,
        listener: Arc<dyn SinkListener>,
    ) -> Self {
        Self { broker: Arc::clone(broker), clock, addresses, listener, running: Mutex::default() }
    }

    /// Puts `next` in the place of what is at work.
    fn replace(&self, next: Option<Running>) {
        let mut running = self.running.lock();
        let old = std::mem::replace(&mut *running, next);
        let new = running.as_ref().map(|it| Arc::clone(&it.hooks));
        if old.is_none() && new.is_none() {
            return;
        }
        if let Some(next) = &*running {
            // Behind what the old one has not delivered. Nothing is pushed to it yet.
            next.sink.begin(old.as_ref().map(|it| &*it.sink));
        }
        self.broker.change_extensions(|extensions| {
            if let Some(old) = &old {
                let old: *const () = Arc::as_ptr(&old.hooks).cast();
                let is_other = |it: &EventWatch| Arc::as_ptr(&it.observer).cast::<()>() != old;
                extensions.event_watches.retain(is_other);
            }
            if let Some(hooks) = new {
                let kinds = hooks.kinds();
                extensions.event_watches.push(EventWatch { kinds, observer: hooks });
            }
        });
        drop(running);
        if let Some(old) = old {
            // A connection in a pass that began before may hold its observer a little longer.
            old.sink.close();
        }
    }
}

impl Plugin for WebHook {
    fn name(&self) -> &'static str {
        "emqx_web_hook"
    }

    fn prepare<'a>(&'a self, config: &PluginsConfig) -> Result<Ready<'a>, String> {
        let config = config.web_hook.clone();
        config.check()?;
        let Some(url) = &config.url else {
            return Err("web.hook.api.url: must be given".to_owned());
        };
        let remote = post_to(url, Arc::clone(&self.addresses))
            .map_err(|why| format!("web.hook.api.{why}"))?;
        let (clock, listener) = (Arc::clone(&self.clock), Arc::clone(&self.listener));
        let sink = RemoteSink::prepare(self.name(), SinkConfig::default(), remote, clock, listener)
            .map_err(|error| format!("no thread for emqx_web_hook: {error}"))?;
        let sink = Arc::new(sink);
        Ok(Box::new(move || {
            let hooks = Arc::new(Hooks::new(config, Arc::clone(&sink)));
            let observations = hooks::observe(&hooks, &self.broker);
            self.replace(Some(Running { hooks, sink, _observations: observations }));
            Parts::default()
        }))
    }

    fn stop(&self) {
        self.replace(None);
    }
}
