//! The plugins with the broker, configuration and management API of this program.

use std::sync::Arc;

use broker_core::Broker;
use broker_mgmt::ports::{self, PluginInfo};
use broker_plugins::{
    AccountError, Accounts, ConfigSource, DelayedPublish, HeapFigures, HttpAuth, Jwt, Plugin,
    PluginError, PluginHost, PluginsConfig, PskFile, Recon, Retainer, ServedElsewhere, State,
    Statsd, Subject, WebHook, Workers, catalogue,
};

use broker_rules::engine::RuleEngine;

use crate::live_config::{LiveConfig, Orders};
use crate::process::Process;
use crate::rules::{RuleEnginePlugin, Rules};

/// Plugins that this program has.
pub(crate) const BUILT_IN: &[&str] = &[
    "emqx_auth_clientid",
    "emqx_auth_http",
    "emqx_auth_jwt",
    "emqx_auth_username",
    "emqx_delayed_publish",
    "emqx_management",
    #[cfg(feature = "psk")]
    "emqx_psk_file",
    "emqx_recon",
    "emqx_reloader",
    "emqx_retainer",
    "emqx_rule_engine",
    "emqx_statsd",
    "emqx_web_hook",
];

/// The plugins at work, and what the management API does with them beside loading and unloading.
pub(crate) struct Plugins {
    host: Arc<PluginHost>,
    config: Arc<LiveConfig>,
    client_ids: Accounts,
    usernames: Accounts,
    statsd: Arc<Statsd>,
    recon: Arc<Recon>,
}

impl Plugins {
    /// Starts those that are to be loaded.
    pub(crate) fn start(
        broker: &Arc<Broker>,
        config: &Arc<LiveConfig>,
        rules: &Rules,
        psk_file: &PskFile,
    ) -> anyhow::Result<Self> {
        let workers = Arc::new(Workers::new());
        let client_ids = Accounts::new(Subject::ClientId, broker, &workers)?;
        let usernames = Accounts::new(Subject::Username, broker, &workers)?;
        let web_hook = rules.web_hook(broker);
        let node = &config.server_config().node.name;
        let statsd = Arc::new(Statsd::new(broker, Arc::new(Process), node));
        let recon = Arc::new(Recon::new(broker, Arc::new(Process)));
        let mine = Mine {
            client_ids: &client_ids,
            usernames: &usernames,
            rules: &rules.engine(),
            statsd: &statsd,
            recon: &recon,
            psk_file,
        };
        let built_in = built_in(broker, &mine, web_hook);
        let source = Box::new(Source(Arc::clone(config)));
        let wanted = config.server_config().plugins;
        let host = Arc::new(PluginHost::start(broker, built_in, &wanted, source)?);
        Ok(Self { host, config: Arc::clone(config), client_ids, usernames, statsd, recon })
    }

    /// As the management API sees them.
    pub(crate) fn for_api(&self) -> Arc<dyn ports::Plugins> {
        Arc::new(HostForApi { host: Arc::clone(&self.host), config: Arc::clone(&self.config) })
    }

    /// The configuration, which they are part of.
    pub(crate) fn configuration(&self, broker: &Arc<Broker>) -> Arc<dyn ports::Configuration> {
        Arc::new(Orders {
            config: Arc::clone(&self.config),
            broker: Arc::clone(broker),
            plugins: Arc::clone(&self.host),
        })
    }

    /// Accounts by client id.
    pub(crate) fn client_ids(&self) -> Arc<dyn ports::Accounts> {
        Arc::new(AccountsForApi(self.client_ids.clone()))
    }

    /// Accounts by user name.
    pub(crate) fn usernames(&self) -> Arc<dyn ports::Accounts> {
        Arc::new(AccountsForApi(self.usernames.clone()))
    }

    /// What `emqx_statsd` pushes.
    pub(crate) fn pushed_metrics(&self) -> Arc<dyn ports::PushedMetrics> {
        Arc::new(StatsdForApi(Arc::clone(&self.statsd)))
    }

    /// What `emqx_recon` shows.
    pub(crate) fn inspection(&self) -> Arc<dyn ports::Inspection> {
        Arc::new(ReconForApi(Arc::clone(&self.recon)))
    }
}

/// What is there beside the plugins, or is theirs and asked by others too.
struct Mine<'a> {
    client_ids: &'a Accounts,
    usernames: &'a Accounts,
    rules: &'a Arc<RuleEngine>,
    statsd: &'a Arc<Statsd>,
    recon: &'a Arc<Recon>,
    psk_file: &'a PskFile,
}

fn built_in(broker: &Arc<Broker>, mine: &Mine<'_>, web_hook: WebHook) -> Vec<Box<dyn Plugin>> {
    let all: Vec<Box<dyn Plugin>> = vec![
        Box::new(mine.client_ids.clone()),
        Box::new(HttpAuth::new()),
        Box::new(Jwt::new()),
        Box::new(mine.usernames.clone()),
        Box::new(DelayedPublish::new(broker)),
        Box::new(ServedElsewhere { name: "emqx_management", is_fixed: true }),
        Box::new(mine.psk_file.clone()),
        Box::new(Arc::clone(mine.recon)),
        // There are no modules whose files could change; it stands for the command that reloads plugins.
        Box::new(ServedElsewhere { name: "emqx_reloader", is_fixed: false }),
        Box::new(Retainer::new(broker)),
        Box::new(RuleEnginePlugin(Arc::clone(mine.rules))),
        Box::new(Arc::clone(mine.statsd)),
        Box::new(web_hook),
    ];
    // Without openssl there is nobody who would ask for its keys.
    all.into_iter().filter(|plugin| BUILT_IN.contains(&plugin.name())).collect()
}

struct Source(Arc<LiveConfig>);

impl ConfigSource for Source {
    fn read(&self) -> Result<PluginsConfig, String> {
        self.0.read_again()
    }
}

struct HostForApi {
    host: Arc<PluginHost>,
    config: Arc<LiveConfig>,
}

impl HostForApi {
    fn order(
        &self,
        name: &str,
        order: fn(&PluginHost, &str) -> Result<(), PluginError>,
    ) -> Result<(), String> {
        let result = self.config.while_reading(name, || order(&self.host, name));
        result.map_err(|error| error.to_string())
    }
}

impl ports::Plugins for HostForApi {
    fn list(&self) -> Vec<PluginInfo> {
        let info = |it: broker_plugins::PluginStatus| PluginInfo {
            name: it.entry.name,
            version: catalogue::VERSION,
            description: it.entry.description,
            is_active: it.state == State::Active,
        };
        self.host.list().into_iter().map(info).collect()
    }

    fn is_active(&self, name: &str) -> bool {
        self.host.is_active(name)
    }

    fn load(&self, name: &str) -> Result<(), String> {
        self.order(name, PluginHost::load)
    }

    fn unload(&self, name: &str) -> Result<(), String> {
        self.order(name, PluginHost::unload)
    }

    fn reload(&self, name: &str) -> Result<(), String> {
        self.order(name, PluginHost::reload)
    }
}

struct AccountsForApi(Accounts);

impl ports::Accounts for AccountsForApi {
    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }

    fn add(&self, name: &str, password: &str) -> Result<(), ports::AccountError> {
        self.0.add(name, password).map_err(|error| for_api(&error))
    }

    fn set_password(&self, name: &str, password: &str) -> Result<(), ports::AccountError> {
        self.0.set_password(name, password).map_err(|error| for_api(&error))
    }

    fn remove(&self, name: &str) -> Result<(), ports::AccountError> {
        self.0.remove(name).map_err(|error| for_api(&error))
    }
}

struct StatsdForApi(Arc<Statsd>);

impl ports::PushedMetrics for StatsdForApi {
    fn text(&self) -> Option<String> {
        self.0.text()
    }
}

struct ReconForApi(Arc<Recon>);

impl ports::Inspection for ReconForApi {
    fn heap(&self) -> Option<ports::HeapUse> {
        let figures = |it: HeapFigures| ports::HeapFigures {
            usage: it.usage(),
            used: it.used,
            allocated: it.allocated,
            unused: it.unused,
            arenas: it.arenas,
            blocks: it.blocks,
        };
        let heap = self.0.heap()?;
        Some(ports::HeapUse { current: figures(heap.current), max: figures(heap.max) })
    }

    fn sample(&self) -> Option<ports::NodeSample> {
        let it = self.0.sample()?;
        Some(ports::NodeSample {
            run_queue: it.run_queue,
            memory_bytes: it.memory_bytes,
            queued_messages: it.queued_messages,
            bytes_in: it.bytes_in,
            bytes_out: it.bytes_out,
            cpu_seconds: it.cpu_seconds,
        })
    }
}

fn for_api(error: &AccountError) -> ports::AccountError {
    let text = error.to_string();
    match error {
        AccountError::Name(_) | AccountError::Password(_) => ports::AccountError::Parameter(text),
        _ => ports::AccountError::Other(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_configuration_takes_for_built_in_is() {
        let broker = Broker::builder().build().unwrap();
        let workers = Arc::new(Workers::new());
        let accounts = |subject| Accounts::new(subject, &broker, &workers).unwrap();
        let [client_ids, usernames] = [Subject::ClientId, Subject::Username].map(accounts);
        let rules = crate::rules::tests::engine(&broker);
        let web_hook = crate::rules::tests::web_hook(&broker);
        let statsd = Arc::new(Statsd::new(&broker, Arc::new(Process), "n@h"));
        let recon = Arc::new(Recon::new(&broker, Arc::new(Process)));
        let mine = Mine {
            client_ids: &client_ids,
            usernames: &usernames,
            rules: &rules,
            statsd: &statsd,
            recon: &recon,
            psk_file: &PskFile::default(),
        };
        let plugins = built_in(&broker, &mine, web_hook);
        let names: Vec<_> = plugins.iter().map(|plugin| plugin.name()).collect();
        assert_eq!(names, BUILT_IN);
    }
}
