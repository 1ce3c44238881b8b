//! `web_hook`: events and messages as HTTP requests, one each and in their order.

mod actions;
mod client;
mod config;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map as Object, Value as Json, json};

use crate::action::{Catalogue, Resource, ResourceType};
use crate::http::target::Target;
use crate::params::ParamSpec;
use crate::remote::{AddressRules, RemoteHost, probe, seal};
use crate::sink::{Remote, RemoteSink, SinkStatus};

use client::Client;
use config::WebHookConfig;

/// What the original calls the plugin.
const APP: &str = "emqx_web_hook";
/// The resource type.
const WEB_HOOK: &str = "web_hook";

/// Puts type and actions into the catalogue.
pub(crate) fn register(host: &RemoteHost, catalogue: &mut Catalogue) {
    let params = config::params();
    catalogue.add_resource(Arc::new(WebHookType { host: host.clone(), params }));
    actions::register(catalogue);
}

/// Posts items made by [`post_item`] to a URL, as a web hook that is not configured further: the broker's own.
///
/// # Errors
/// What is wrong with the URL, behind the word `url`. No part of it is in there: it may have a secret in it.
pub fn post_to(url: &str, addresses: Arc<AddressRules>) -> Result<Box<dyn Remote>, String> {
    Target::parse(url)?;
    let config = json!({ "url": url });
    let config = config.as_object().expect("an object was made");
    let config = WebHookConfig::new(&config::params(), config, None)?;
    Ok(Box::new(Client::new(config, addresses)?))
}

/// An item for [`post_to`].
#[must_use]
pub fn post_item(body: Vec<u8>) -> Bytes {
    seal(body, "", false)
}

struct WebHookType {
    host: RemoteHost,
    params: Vec<ParamSpec>,
}

/// An HTTP server that requests go to.
pub struct WebHook {
    sink: Arc<RemoteSink>,
    target: Target,
    addresses: Arc<AddressRules>,
    /// When it was tried last whether the server is there, and whether it was.
    probed: Mutex<Option<(Instant, bool)>>,
}

impl ResourceType for WebHookType {
    fn name(&self) -> &'static str {
        WEB_HOOK
    }

    fn provider(&self) -> &'static str {
        APP
    }

    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn description(&self) -> &'static str {
        "WebHook Resource"
    }

    fn create(&self, id: &str, config: &Object<String, Json>) -> Result<Arc<dyn Resource>, String> {
        let folder = self.host.folder_of(id);
        let config = WebHookConfig::new(&self.params, config, folder)?;
        let target = config.target.clone();
        let sink_config = config.sink.clone();
        let client = Client::new(config, Arc::clone(&self.host.addresses))?;
        let sink = self.host.open_sink(id, sink_config, Box::new(client))?;
        let addresses = Arc::clone(&self.host.addresses);
        Ok(Arc::new(WebHook { sink, target, addresses, probed: Mutex::default() }))
    }

    fn test(&self, config: &Object<String, Json>) -> Result<(), String> {
        let config = WebHookConfig::new(&self.params, config, None)?;
        let target = config.target.clone();
        // Finds out too whether the files of TLS can be read.
        Client::new(config, Arc::clone(&self.host.addresses))?;
        target.probe(&self.host.addresses)
    }
}

impl WebHook {
    fn probe(&self) -> Result<(), String> {
        let result = self.target.probe(&self.addresses);
        *self.probed.lock() = Some((Instant::now(), result.is_ok()));
        result
    }
}

impl Resource for WebHook {
    /// Whether the server takes a connection; it is asked once in ten seconds, and has three to answer.
    fn is_alive(&self) -> bool {
        let last = *self.probed.lock();
        match last {
            Some((at, is_alive)) if at.elapsed() < PROBE_EVERY => is_alive,
            _ => self.probe().is_ok(),
        }
    }

    fn start(&self) -> Result<(), String> {
        self.sink.retry_now();
        self.probe()
    }

    fn stop(&self) {
        self.sink.close();
    }

    fn status(&self) -> Option<SinkStatus> {
        Some(self.sink.status())
    }

    fn discard(&self) {
        self.sink.discard();
    }
}

impl Target {
    fn probe(&self, addresses: &AddressRules) -> Result<(), String> {
        probe(addresses, &self.host, self.port)
    }
}

const PROBE_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
