//! The rule engine with the broker, configuration and clock of this program.

mod drops;

use std::sync::{Arc, OnceLock, Weak};

use anyhow::anyhow;
use broker_core::{Broker, Now};
use broker_mgmt::Management;
use broker_net::clock;
use broker_plugins::{Parts, Plugin, PluginsConfig, Ready, WebHook};
use broker_rules::action::Catalogue;
use broker_rules::engine::RuleEngine;
use broker_rules::{AddressRules, OpenSinks, RemoteHost};
use ring::rand::{SecureRandom, SystemRandom};

use self::drops::DropAlarms;
use crate::config::{HttpListener, ManagementConfig, RulesConfig, ServerConfig};

/// The rule engine, until the broker stops.
pub(crate) struct Rules {
    engine: Arc<RuleEngine>,
    sinks: OpenSinks,
    drops: Arc<DropAlarms>,
    addresses: Arc<AddressRules>,
    management: Arc<OnceLock<Weak<Management>>>,
}

impl Rules {
    /// Brings back the rules and resources that were kept. Resources connect in the background.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn start(broker: &Arc<Broker>, config: &ServerConfig) -> anyhow::Result<Self> {
        let drops = Arc::new(DropAlarms::new(broker));
        let sinks = OpenSinks::default();
        let management = Arc::<OnceLock<Weak<Management>>>::default();
        let addresses = Arc::new(addresses(&config.rules, &config.management, &management));
        let host = RemoteHost {
            // Without a store nothing survives, and what somebody else has left is not ours.
            folder: config.store.enabled.then(|| config.node.data_dir.join(FOLDER)),
            clock: Arc::new(clock::now),
            listener: Arc::clone(&drops) as _,
            node: config.node.name.clone(),
            addresses: Arc::clone(&addresses),
            open: sinks.clone(),
        };
        let mut catalogue = Catalogue::built_in();
        host.register(&mut catalogue);
        let options = config.rules.engine_options();
        let compile = broker_rules::compiler(Arc::clone(&options.limits), random()?);
        let engine = Arc::new(RuleEngine::new(broker, catalogue, compile, options));
        engine.load();
        log::info!("rules loaded rules={}", engine.n_rules());
        Ok(Self { engine, sinks, drops, addresses, management })
    }

    /// For the management API.
    pub(crate) fn engine(&self) -> Arc<RuleEngine> {
        Arc::clone(&self.engine)
    }

    /// Where resources may connect to, and whatever else follows a URL that is not the operator's.
    pub(crate) const fn addresses(&self) -> &Arc<AddressRules> {
        &self.addresses
    }

    /// `emqx_web_hook`, which connects where resources may, and whose losses are alarms as theirs are.
    pub(crate) fn web_hook(&self, broker: &Arc<Broker>) -> WebHook {
        let (addresses, drops) = (Arc::clone(&self.addresses), Arc::clone(&self.drops));
        WebHook::new(broker, Arc::new(clock::now), addresses, drops)
    }

    /// Keeps resources away from the listeners of the management API, whatever ports the system has chosen.
    pub(crate) fn spare(&self, management: &Arc<Management>) {
        // Nobody else sets it.
        let _ = self.management.set(Arc::downgrade(management));
    }

    /// To be called every ten seconds.
    pub(crate) fn tick(&self, now: Now) {
        self.engine.tick(now);
        self.drops.tick(now);
    }

    /// Writes to disk what has not been delivered, after the last message.
    pub(crate) fn close(&self) {
        self.sinks.close();
    }
}

/// `emqx_rule_engine`: without it no rule runs.
pub(crate) struct RuleEnginePlugin(pub(crate) Arc<RuleEngine>);

impl Plugin for RuleEnginePlugin {
    fn name(&self) -> &'static str {
        "emqx_rule_engine"
    }

    fn prepare<'a>(&'a self, _: &PluginsConfig) -> Result<Ready<'a>, String> {
        Ok(Box::new(|| {
            self.0.resume();
            Parts::default()
        }))
    }

    fn stop(&self) {
        self.0.pause();
    }
}

/// Where resources may connect to. Until the management API listens, its configured ports are spared.
fn addresses(
    config: &RulesConfig,
    management: &ManagementConfig,
    listening: &Arc<OnceLock<Weak<Management>>>,
) -> AddressRules {
    let enabled = |listener: &HttpListener| {
        let port = listener.bind.socket_addr().port();
        (listener.enabled && port != 0).then_some(port)
    };
    let of = [&management.http, &management.https.listener];
    let configured: Vec<_> = of.into_iter().filter_map(enabled).collect();
    let listening = Arc::clone(listening);
    let own_ports = move || {
        let mut ports = configured.clone();
        if let Some(management) = listening.get().and_then(Weak::upgrade) {
            ports.extend(management.listeners().iter().map(|bound| bound.address.port()));
        }
        ports
    };
    AddressRules {
        allow_private: config.allow_private_addresses,
        allowed: config.allowed_addresses.iter().map(|allowed| allowed.range).collect(),
        own_ports: Arc::new(own_ports),
    }
}

/// What `random()` of statements is made of.
fn random() -> anyhow::Result<Box<dyn Fn(&mut [u8]) + Send + Sync>> {
    let system = SystemRandom::new();
    system.fill(&mut [0; 8]).map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(Box::new(move |bytes| {
        if system.fill(bytes).is_err() {
            log::error!("the system gives no random numbers any more");
        }
    }))
}

/// Below `node.data_dir`: what is on its way to resources.
const FOLDER: &str = "resources";

#[cfg(test)]
pub(crate) mod tests {
    use broker_rules::engine::EngineOptions;

    use super::*;

    /// An engine without resources that reach out.
    pub(crate) fn engine(broker: &Arc<Broker>) -> Arc<RuleEngine> {
        let options = EngineOptions::default();
        let compile = broker_rules::compiler(Arc::clone(&options.limits), random().unwrap());
        Arc::new(RuleEngine::new(broker, Catalogue::built_in(), compile, options))
    }

    pub(crate) fn web_hook(broker: &Arc<Broker>) -> WebHook {
        let drops = Arc::new(DropAlarms::new(broker));
        WebHook::new(broker, Arc::new(clock::now), Arc::default(), drops)
    }

    #[test]
    fn the_ports_of_the_management_api_are_spared_before_it_listens() {
        let mut management = ManagementConfig::default();
        management.https.listener.enabled = true;
        let rules = addresses(&RulesConfig::default(), &management, &Arc::default());
        assert_eq!((rules.own_ports)(), [8_080, 8_081]);
        management.http.enabled = false;
        let rules = addresses(&RulesConfig::default(), &management, &Arc::default());
        assert_eq!((rules.own_ports)(), [8_081]);
    }
}
