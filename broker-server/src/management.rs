//! The management API with the configuration and the facts of this program.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker_mgmt::ports::Ports;
use broker_mgmt::{
    DefaultUser, ListenerOptions, Management, ManagementOptions, Secret, TlsOptions,
};
use broker_net::config::Bind;
use broker_net::{ReloadableTls, TlsSetupError};

use crate::config::{DashboardConfig, HttpListener, HttpsListener, ManagementConfig};

/// Starts it, unless none of its listeners is enabled. `data_dir` is where a certificate is made if it needs one.
pub(crate) fn start(
    config: ManagementConfig,
    dashboard: DashboardConfig,
    ports: Ports,
    data_dir: &Path,
) -> anyhow::Result<Option<Management>> {
    let mut listeners = Vec::new();
    if config.http.enabled {
        listeners.push(listener("http:management", &config.http, None));
    }
    let HttpsListener { listener: https, tls } = config.https;
    if https.enabled {
        let tls = ReloadableTls::load(tls, "management.listener.https", data_dir)?;
        listeners.push(listener("https:management", &https, Some(tls)));
    }
    if listeners.is_empty() {
        return Ok(None);
    }
    let options = ManagementOptions {
        max_row_limit: config.max_row_limit,
        default_secret: config.default_secret.map(|secret| Secret::new(secret.0)),
        listeners,
        default_user: DefaultUser {
            login: dashboard.login,
            password: Secret::new(dashboard.password.0),
        },
    };
    let management = Management::start(options, ports)?;
    for listener in management.listeners() {
        log::info!("listening name={} address={}", listener.name, listener.address);
    }
    Ok(Some(management))
}

fn listener(name: &str, config: &HttpListener, tls: Option<ReloadableTls>) -> ListenerOptions {
    ListenerOptions {
        name: name.to_owned(),
        bind: config.bind.socket_addr(),
        is_port_alone: matches!(config.bind.0, Bind::Port(_)),
        acceptors: config.acceptors,
        max_clients: config.max_clients,
        backlog: config.backlog,
        send_timeout: Duration::from_millis(config.send_timeout_ms),
        nodelay: config.nodelay,
        tls: tls.map(|tls| TlsOptions {
            server: Arc::clone(tls.server_config()),
            reload: Arc::new(move || {
                tls.reload().map_err(|error: TlsSetupError| error.to_string())
            }),
        }),
    }
}
