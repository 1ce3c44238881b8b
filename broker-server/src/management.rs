//! The management API with the configuration and the facts of this program.

use std::sync::Arc;
use std::time::Duration;

use broker_core::Broker;
use broker_mgmt::ports::Ports;
use broker_mgmt::{ListenerOptions, Management, ManagementOptions, Secret, StartError};

use crate::config::{HttpListener, ManagementConfig};
use crate::facts::Facts;

/// Starts it, unless none of its listeners is enabled.
pub(crate) fn start(
    config: ManagementConfig,
    broker: &Arc<Broker>,
    facts: Facts,
) -> Result<Option<Management>, StartError> {
    let listeners: Vec<_> = listener("http:management", &config.http).into_iter().collect();
    if listeners.is_empty() {
        return Ok(None);
    }
    let options = ManagementOptions {
        max_row_limit: config.max_row_limit,
        default_secret: config.default_secret.map(|secret| Secret::new(secret.0)),
        listeners,
    };
    let ports = Ports { broker: Arc::clone(broker), node: Arc::new(facts) };
    let management = Management::start(options, ports)?;
    for listener in management.listeners() {
        log::info!("listening name={} address={}", listener.name, listener.address);
    }
    Ok(Some(management))
}

fn listener(name: &str, config: &HttpListener) -> Option<ListenerOptions> {
    config.enabled.then(|| ListenerOptions {
        name: name.to_owned(),
        bind: config.bind.0,
        acceptors: config.acceptors,
        max_clients: config.max_clients,
        backlog: config.backlog,
        send_timeout: Duration::from_millis(config.send_timeout_ms),
        nodelay: config.nodelay,
        tls: None,
    })
}
