//! Builder: a broker from its settings, its extensions and its store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU8, AtomicU64, AtomicUsize};

use parking_lot::{Mutex, RwLock};

use super::Broker;
use crate::access::banned::Banned;
use crate::access::flapping::Flapping;
use crate::access::recheck::RightsSweep;
use crate::alarms::Alarms;
use crate::alarms::clients::ClientAlarms;
use crate::config::BrokerConfig;
use crate::control::cursors::Cursors;
use crate::control::publishing::PublishBounds;
use crate::delayed::Delayed;
use crate::ends::Ends;
use crate::extension::Extensions;
use crate::gone::Gone;
use crate::limits::Groups;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::modules::rewrite::Rewrite;
use crate::modules::topic_metrics::TopicMetrics;
use crate::retained::Retained;
use crate::router::Router;
use crate::sessions::Sessions;
use crate::settings::Settings;
use crate::slow_subscribers::SlowSubscribers;
use crate::store::Store;
use crate::sys_topics::SysTopics;
use crate::traces::Traces;

/// Makes a [`Broker`].
#[derive(Default)]
pub struct BrokerBuilder {
    config: BrokerConfig,
    extensions: Extensions,
    store: Option<Arc<dyn Store>>,
}

impl BrokerBuilder {
    /// Replaces the default settings.
    #[must_use]
    pub fn config(mut self, config: BrokerConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the extensions the broker starts with.
    #[must_use]
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Sets the store; without one, nothing survives the process and nothing waits for a disk.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Makes the broker.
    ///
    /// # Errors
    /// A rewrite rule whose pattern is no regular expression.
    pub fn build(self) -> Result<Arc<Broker>, BuildError> {
        let Self { config, extensions, store } = self;
        let retained = Retained::new(config.retained.clone());
        Ok(Arc::new(Broker {
            sessions: Sessions::new(),
            ends: Ends::default(),
            gone: Gone::default(),
            router: Router::new(),
            metrics: Metrics::new(Arc::clone(retained.gauge())),
            retained,
            delayed: Delayed::new(config.delayed.clone()),
            banned: Banned::default(),
            flapping: Flapping::default(),
            limits: Groups::default(),
            rewrite: RwLock::new(Rewrite::new(&config.rewrite_rules)?),
            topic_metrics: TopicMetrics::new(&config.topic_metrics),
            slow_subscribers: SlowSubscribers::new(config.slow_subscribers.clone()),
            sys: SysTopics::new(&config),
            alarms: Alarms::new(config.alarms.history_max),
            client_alarms: ClientAlarms::new(&config.alarms),
            traces: Traces::default(),
            extensions: RwLock::new(Arc::new(extensions)),
            extensions_generation: AtomicU64::new(0),
            // Above that of sessions that the store gives back: rights may have changed meanwhile.
            rights_generation: AtomicU64::new(1),
            rights: RightsSweep::default(),
            store,
            durability: Arc::new(config.durability.clone()),
            gates: Mutex::default(),
            kept_steps: AtomicU64::new(0),
            settings: Settings::default(),
            memory: Memory::new(config.memory_limit_bytes),
            queue_bytes: AtomicIsize::new(0),
            queue_sweep_ms: AtomicU64::new(0),
            queue_sweep_shard: AtomicUsize::new(0),
            publish_bounds: PublishBounds::new(&config),
            shared_strategy: AtomicU8::new(config.shared_strategy as u8),
            is_closing: AtomicBool::new(false),
            schedule: Mutex::default(),
            connection_ids: AtomicU64::new(1),
            cursors: Cursors::default(),
            ban_sweep_ms: AtomicU64::new(0),
            listeners: RwLock::new(None),
            id_seed: std::hash::RandomState::new(),
            config: RwLock::new(Arc::new(config)),
            config_generation: AtomicU64::new(0),
            settings_back: Mutex::default(),
        }))
    }
}

/// Settings that make no broker.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// `module.rewrite.rule.<n>` has no valid pattern.
    #[error("rewrite rule for {filter:?}: {reason}")]
    RewriteRule {
        /// Filter of the rule.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
}
