//! `bridge_mqtt`: messages to another broker, at QoS 1 and in their order.

mod actions;
mod config;
mod connection;
mod forwarder;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map as Object, Value as Json};

use crate::action::{Catalogue, Resource, ResourceType};
use crate::params::ParamSpec;
use crate::remote::RemoteHost;
use crate::sink::{RemoteSink, SinkStatus};

use config::BridgeConfig;
use connection::Connection;
use forwarder::Forwarder;

/// What the original calls the plugin.
const APP: &str = "emqx_bridge_mqtt";
/// The resource type.
const BRIDGE_MQTT: &str = "bridge_mqtt";

/// Puts type and action into the catalogue.
pub(crate) fn register(host: &RemoteHost, catalogue: &mut Catalogue) {
    let params = config::params();
    catalogue.add_resource(Arc::new(BridgeType { host: host.clone(), params }));
    actions::register(catalogue);
}

struct BridgeType {
    host: RemoteHost,
    params: Vec<ParamSpec>,
}

/// Another broker that messages go to.
pub struct Bridge {
    sink: Arc<RemoteSink>,
    config: Arc<BridgeConfig>,
    is_connected: Arc<AtomicBool>,
}

impl ResourceType for BridgeType {
    fn name(&self) -> &'static str {
        BRIDGE_MQTT
    }

    fn provider(&self) -> &'static str {
        APP
    }

    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn description(&self) -> &'static str {
        "MQTT Message Bridge"
    }

    fn create(&self, id: &str, config: &Object<String, Json>) -> Result<Arc<dyn Resource>, String> {
        let folder = self.host.folder_of(id);
        let config = Arc::new(BridgeConfig::new(&self.params, config, &self.host, folder)?);
        let is_connected = Arc::new(AtomicBool::new(false));
        let forwarder = Forwarder::new(Arc::clone(&config), Arc::clone(&is_connected));
        let sink = self.host.open_sink(id, config.sink.clone(), Box::new(forwarder))?;
        Ok(Arc::new(Bridge { sink, config, is_connected }))
    }

    fn test(&self, config: &Object<String, Json>) -> Result<(), String> {
        let config = BridgeConfig::new(&self.params, config, &self.host, None)?;
        config.try_connect()
    }
}

impl Resource for Bridge {
    fn is_alive(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    fn start(&self) -> Result<(), String> {
        if self.is_alive() {
            return Ok(());
        }
        self.sink.retry_now();
        // The sink connects on its own; this says why it does not.
        self.config.try_connect()
    }

    fn stop(&self) {
        self.sink.close();
        self.is_connected.store(false, Ordering::Relaxed);
    }

    fn status(&self) -> Option<SinkStatus> {
        Some(self.sink.status())
    }

    fn discard(&self) {
        self.stop();
        self.sink.discard();
    }
}

impl BridgeConfig {
    /// Connects under another name, so that a bridge that is connected stays so, and lets go at once.
    fn try_connect(&self) -> Result<(), String> {
        let mut config = self.clone();
        config.client_id = format!("{}-{}", config.client_id, config::random_suffix());
        config.clean_start = true;
        let connection = Connection::open(&config).map_err(|error| error.to_string())?;
        connection.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
