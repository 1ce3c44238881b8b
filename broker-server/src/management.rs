//! The management API with the configuration and the facts of this program.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker_mgmt::ports::Ports;
use broker_mgmt::{
    DefaultUser, ListenerOptions, Management, ManagementOptions, Secret, TlsOptions,
};
use broker_net::config::Bind;
use broker_net::{Fetched, ReloadableTls, TlsSetupError};

use crate::config::{DashboardConfig, HttpListener, ManagementConfig};

/// The TLS of its HTTPS listener, if that is enabled. `data_dir` is where a certificate is made if it needs one.
pub(crate) fn load_tls(
    config: &ManagementConfig,
    data_dir: &Path,
    fetched: &Fetched,
) -> Result<Option<Arc<ReloadableTls>>, TlsSetupError> {
    if !config.https.listener.enabled {
        return Ok(None);
    }
    let tls = config.https.tls.clone();
    ReloadableTls::load(tls, "management.listener.https", data_dir, fetched).map(Arc::new).map(Some)
}

/// Starts it, unless none of its listeners is enabled.
pub(crate) fn start(
    config: ManagementConfig,
    dashboard: DashboardConfig,
    ports: Ports,
    https: Option<&Arc<ReloadableTls>>,
) -> anyhow::Result<Option<Management>> {
    let mut listeners = Vec::new();
    if config.http.enabled {
        listeners.push(listener("http", &config.http, None));
    }
    if let Some(tls) = https {
        listeners.push(listener("https", &config.https.listener, Some(tls)));
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
    Ok(Some(Management::start(options, ports)?))
}

fn listener(
    scheme: &str,
    config: &HttpListener,
    tls: Option<&Arc<ReloadableTls>>,
) -> ListenerOptions {
    ListenerOptions {
        name: format!("{scheme}:management"),
        key: format!("management.listener.{scheme}"),
        bind: config.bind.socket_addr(),
        is_port_alone: matches!(config.bind.0, Bind::Port(_)),
        acceptors: config.acceptors,
        max_clients: config.max_clients,
        backlog: config.backlog,
        send_timeout: Duration::from_millis(config.send_timeout_ms),
        nodelay: config.nodelay,
        tls: tls.map(|tls| {
            let (read, looked_up, asked) = (Arc::clone(tls), Arc::clone(tls), Arc::clone(tls));
            TlsOptions {
                server: Arc::clone(tls.server_config()),
                reload: Arc::new(move || read.reload().map_err(|error| error.to_string())),
                is_revoked: Arc::new(move |chain| looked_up.is_revoked(chain)),
                vouch: Arc::new(move |chain| asked.vouch(chain)),
            }
        }),
    }
}
