//! `emqx_statsd`: what is counted, pushed to a gateway of Prometheus at intervals. It does not speak StatsD.

mod exposition;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker_core::Broker;
use broker_rules::http::{ANSWER_BYTES_MAX, EndpointOptions, HttpEndpoint, percent_encode};
use parking_lot::Mutex;

use self::exposition::Exposition;
use crate::config::PluginsConfig;
use crate::every::Every;
use crate::machine::Machine;
use crate::plugin::{Parts, Plugin, Ready};

/// `statsd.*`.
#[derive(Clone, PartialEq, Eq)]
pub struct StatsdConfig {
    /// `push.gateway.server`: where the gateway is.
    pub server: String,
    /// `interval`, in milliseconds.
    pub interval_ms: u64,
    /// `api.enabled`: the management API shows the same text.
    pub is_shown: bool,
}

impl Default for StatsdConfig {
    fn default() -> Self {
        Self { server: "http://127.0.0.1:9091".into(), interval_ms: 15_000, is_shown: false }
    }
}

impl std::fmt::Debug for StatsdConfig {
    /// Leaves the URL out: there may be a password in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatsdConfig")
            .field("interval_ms", &self.interval_ms)
            .field("is_shown", &self.is_shown)
            .finish_non_exhaustive()
    }
}

/// The plugin.
pub struct Statsd {
    exposition: Arc<Exposition>,
    /// `name@host`.
    node: String,
    every: Every,
    is_shown: Mutex<bool>,
}

/// Where it is pushed to, and whether that worked the last time.
struct Gateway {
    endpoint: HttpEndpoint,
    exposition: Arc<Exposition>,
    is_failing: AtomicBool,
}

impl Statsd {
    /// The plugin, not yet at work. `node` is the name of the node.
    #[must_use]
    pub fn new(broker: &Arc<Broker>, machine: Arc<dyn Machine>, node: &str) -> Self {
        Self {
            exposition: Arc::new(Exposition::new(broker, machine)),
            node: node.to_owned(),
            every: Every::new("broker-statsd"),
            is_shown: Mutex::new(false),
        }
    }

    /// What is pushed, as of now; `None` unless the plugin is at work and the configuration lets it be seen.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let is_shown = *self.is_shown.lock();
        is_shown.then(|| self.exposition.text())
    }
}

impl Plugin for Statsd {
    fn name(&self) -> &'static str {
        "emqx_statsd"
    }

    fn prepare<'a>(&'a self, config: &PluginsConfig) -> Result<Ready<'a>, String> {
        let config = config.statsd.clone();
        let interval = Duration::from_millis(config.interval_ms);
        let url = push_url(&config.server, &self.node)?;
        let endpoint =
            HttpEndpoint::new(&url, [("content-type", "text/plain")], &options(interval))
                .map_err(|why| wrong(why.strip_prefix("url: ").unwrap_or(&why)))?;
        self.every.prepare().map_err(|error| format!("no thread for emqx_statsd: {error}"))?;
        Ok(Box::new(move || {
            let exposition = Arc::clone(&self.exposition);
            let gateway = Gateway { endpoint, exposition, is_failing: AtomicBool::new(false) };
            self.every.begin(interval, move || gateway.push());
            *self.is_shown.lock() = config.is_shown;
            Parts::default()
        }))
    }

    fn stop(&self) {
        *self.is_shown.lock() = false;
        self.every.end();
    }
}

impl Gateway {
    fn push(&self) {
        let result = match self.endpoint.post(self.exposition.text().as_bytes()) {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(format!("it answers {}", answer.status)),
            Err(error) => Err(error.to_string()),
        };
        let was_failing = self.is_failing.swap(result.is_err(), Ordering::Relaxed);
        let origin = self.endpoint.origin();
        match result {
            Err(why) if !was_failing => {
                log::warn!("push gateway does not take the metrics server={origin}: {why}");
            }
            Ok(()) if was_failing => {
                log::info!("push gateway takes the metrics again server={origin}");
            }
            _ => {}
        }
    }
}

/// The original's path: `/metrics/job/<name>/instance/<name>~<host>`.
fn push_url(server: &str, node: &str) -> Result<String, String> {
    if server.contains(['?', '#']) {
        return Err(wrong("must have no query"));
    }
    let (name, host) = node.split_once('@').unwrap_or((node, ""));
    let mut url = format!("{}/metrics/job/", server.trim_end_matches('/'));
    percent_encode(&mut url, name.as_bytes());
    url += "/instance/";
    percent_encode(&mut url, name.as_bytes());
    url.push('~');
    percent_encode(&mut url, host.as_bytes());
    Ok(url)
}

/// The URL is in no error: there may be a password in it.
fn wrong(why: &str) -> String {
    format!("statsd.push.gateway.server: {why}")
}

/// A request takes no longer than an interval, and ten seconds at most.
fn options(interval: Duration) -> EndpointOptions {
    let half = interval.min(REQUEST_TIME_MAX) / 2;
    EndpointOptions {
        connect_timeout: half,
        request_timeout: half,
        pool_size: 1,
        answer_bytes_max: ANSWER_BYTES_MAX,
        cacertfile: None,
        certfile: None,
        keyfile: None,
    }
}

const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
