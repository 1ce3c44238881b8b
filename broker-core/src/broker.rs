//! Broker: the parts that every connection shares.

mod builder;
mod ending;
mod opening;
mod queues;
mod timers;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use crate::access::banned::Banned;
use crate::access::flapping::Flapping;
use crate::access::recheck::RightsSweep;
use crate::alarms::Alarms;
use crate::alarms::clients::ClientAlarms;
use crate::config::{BrokerConfig, DurabilityConfig, SharedStrategy};
use crate::control::Listeners;
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
use crate::recorder::Recorder;
use crate::retained::Retained;
use crate::router::Router;
use crate::session::Session;
use crate::sessions::Sessions;
use crate::settings::{Settings, SettingsBack};
use crate::slow_subscribers::SlowSubscribers;
use crate::store::{Store, TurnsUnderWay};
use crate::sys_topics::SysTopics;
use crate::traces::Traces;
use crate::turn::Turn;

pub use builder::{BrokerBuilder, BuildError};
pub(crate) use ending::Left;
pub(crate) use opening::{NoSession, SessionRequest};

/// One broker. Everything in it may be used by many threads at once.
pub struct Broker {
    pub(crate) config: RwLock<Arc<BrokerConfig>>,
    /// Rises when settings change that turns hold.
    config_generation: AtomicU64,
    pub(crate) sessions: Sessions,
    ends: Ends,
    pub(crate) gone: Gone,
    pub(crate) router: Router,
    pub(crate) retained: Retained,
    pub(crate) delayed: Delayed,
    pub(crate) banned: Banned,
    pub(crate) flapping: Flapping,
    pub(crate) limits: Groups,
    rewrite: RwLock<Option<Arc<Rewrite>>>,
    pub(crate) topic_metrics: TopicMetrics,
    pub(crate) slow_subscribers: SlowSubscribers,
    pub(crate) sys: SysTopics,
    metrics: Metrics,
    alarms: Alarms,
    traces: Traces,
    pub(crate) client_alarms: ClientAlarms,
    extensions: RwLock<Arc<Extensions>>,
    extensions_generation: AtomicU64,
    /// Rises when answers about rights may have become others; only together with the one above.
    rights_generation: AtomicU64,
    pub(crate) rights: RightsSweep,
    store: Option<Arc<dyn Store>>,
    durability: Arc<DurabilityConfig>,
    /// One for each thread that runs turns.
    gates: Mutex<Vec<Arc<AtomicU64>>>,
    /// Steps of what is kept beside sessions: retained and delayed messages, settings.
    pub(crate) kept_steps: AtomicU64,
    pub(crate) settings: Settings,
    pub(crate) settings_back: Mutex<Option<SettingsBack>>,
    pub(crate) memory: Memory,
    /// Bytes of queued messages in memory, told in steps; a sum of differences, so for a moment below 0.
    queue_bytes: AtomicIsize,
    /// When a shard of sessions is next asked to leave what they can to the store, and which.
    queue_sweep_ms: AtomicU64,
    queue_sweep_shard: AtomicUsize,
    pub(crate) shared_strategy: AtomicU8,
    pub(crate) publish_bounds: PublishBounds,
    /// It stops: nobody is let in any more.
    pub(crate) is_closing: AtomicBool,
    /// Sessions to be looked at, by monotonic time and session number: expiry and Will Delay. Each stands
    /// here once at most, so that who connects again and again leaves nothing behind.
    schedule: Mutex<BTreeMap<(u64, u64), Weak<Session>>>,
    connection_ids: AtomicU64,
    /// Ends of the pages that operators have fetched.
    pub(crate) cursors: Cursors,
    /// When bans are next looked at for those that are over, on the monotonic clock.
    pub(crate) ban_sweep_ms: AtomicU64,
    /// Filled by the shell; not held, for it holds the broker.
    pub(crate) listeners: RwLock<Option<Weak<dyn Listeners>>>,
    /// Makes assigned Client Identifiers unguessable from each other.
    pub(crate) id_seed: std::hash::RandomState,
}

impl Drop for Broker {
    /// Lets go of what sessions hold: a group has its members, and their messages remember the group they were
    /// dealt out by, so that neither would ever be freed.
    fn drop(&mut self) {
        for shard in 0.. {
            let Some(sessions) = self.sessions.snapshot(shard) else { break };
            sessions.iter().for_each(|session| session.lock().discard(self));
        }
    }
}

impl Broker {
    /// Starts to make a broker.
    #[must_use]
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// The working state for one thread that drives channels.
    #[must_use]
    pub fn turn(self: &Arc<Self>) -> Turn {
        Turn::new(self)
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.config.read())
    }

    /// Counters of everything that happened.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What an operator should know.
    #[must_use]
    pub const fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Traces of clients, topics and addresses.
    #[must_use]
    pub const fn traces(&self) -> &Traces {
        &self.traces
    }

    pub(crate) fn store(&self) -> Option<&Arc<dyn Store>> {
        self.store.as_ref()
    }

    pub(crate) fn durability(&self) -> &DurabilityConfig {
        &self.durability
    }

    pub(crate) fn recorder(&self) -> Recorder {
        Recorder::new(self.store.clone(), Arc::clone(&self.durability))
    }

    /// A gate for a thread that begins to run turns. Those of threads that are gone are let go.
    pub(crate) fn new_gate(&self) -> Arc<AtomicU64> {
        let gate = Arc::new(AtomicU64::new(0));
        let mut gates = self.gates.lock();
        gates.retain(|gate| Arc::strong_count(gate) > 1);
        gates.push(Arc::clone(&gate));
        gate
    }

    pub(crate) fn gates(&self) -> TurnsUnderWay {
        TurnsUnderWay::of(self.gates.lock().iter().cloned())
    }

    /// The step of a change of what is kept, taken under the lock of what changes.
    pub(crate) fn next_kept_step(&self) -> u64 {
        self.kept_steps.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn next_connection_id(&self) -> u64 {
        self.connection_ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn extensions_generation(&self) -> u64 {
        self.extensions_generation.load(Ordering::Acquire)
    }

    pub(crate) fn rights_generation(&self) -> u64 {
        self.rights_generation.load(Ordering::Acquire)
    }

    /// The extensions, the generation they are of, and that of rights.
    pub(crate) fn extensions(&self) -> (Arc<Extensions>, u64, u64) {
        let extensions = self.extensions.read();
        (Arc::clone(&extensions), self.extensions_generation(), self.rights_generation())
    }

    /// Swaps the extensions for a changed copy; every thread uses them from its next turn on.
    pub fn change_extensions(&self, change: impl FnOnce(&mut Extensions)) {
        let mut extensions = self.extensions.write();
        let authorizers = extensions.authorizers.clone();
        change(Arc::make_mut(&mut extensions));
        let is_same = |(old, new)| Arc::ptr_eq(old, new);
        let are_same = authorizers.len() == extensions.authorizers.len()
            && authorizers.iter().zip(&extensions.authorizers).all(is_same);
        if !are_same {
            self.change_rights();
        }
        self.extensions_generation.fetch_add(1, Ordering::Release);
    }

    /// A source of rights gives other answers than before: what was remembered of them is forgotten, and what clients
    /// have been granted is asked about again. A change of the [sources](Self::change_extensions) does that by itself.
    pub fn forget_rights(&self) {
        let _extensions = self.extensions.write();
        self.change_rights();
        self.extensions_generation.fetch_add(1, Ordering::Release);
    }

    fn change_rights(&self) {
        self.rights_generation.fetch_add(1, Ordering::Release);
        self.rights.begin();
    }

    pub(crate) fn config_generation(&self) -> u64 {
        self.config_generation.load(Ordering::Acquire)
    }

    /// The rules of `module.rewrite`. Who drives channels has them in its turn.
    pub(crate) fn rewrite(&self) -> (Option<Arc<Rewrite>>, u64) {
        let rewrite = self.rewrite.read();
        (rewrite.clone(), self.config_generation())
    }

    /// Every thread uses them from its next turn on.
    pub(crate) fn set_rewrite(&self, rewrite: Option<Arc<Rewrite>>) {
        let mut current = self.rewrite.write();
        *current = rewrite;
        self.config_generation.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn shared_strategy(&self) -> SharedStrategy {
        const ALL: [SharedStrategy; 5] = [
            SharedStrategy::Random,
            SharedStrategy::RoundRobin,
            SharedStrategy::Sticky,
            SharedStrategy::Hash,
            SharedStrategy::HashTopic,
        ];
        ALL[usize::from(self.shared_strategy.load(Ordering::Relaxed))]
    }
}
