//! Broker: the parts that every connection shares.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use crate::access::banned::Banned;
use crate::access::flapping::Flapping;
use crate::access::recheck::{RightsSweep, may_still_publish};
use crate::alarms::Alarms;
use crate::alarms::clients::ClientAlarms;
use crate::channel::{CloseCause, SessionEnd};
use crate::client::ClientInfo;
use crate::config::{BrokerConfig, DurabilityConfig, SharedStrategy, WillsKeep};
use crate::control::Listeners;
use crate::control::cursors::Cursors;
use crate::control::publishing::PublishBounds;
use crate::delayed::Delayed;
use crate::ends::Ends;
use crate::extension::Extensions;
use crate::gone::Gone;
use crate::limits::Groups;
use crate::memory::Memory;
use crate::message::{Publication, Publisher};
use crate::metrics::{Metric, Metrics};
use crate::modules::rewrite::Rewrite;
use crate::modules::topic_metrics::TopicMetrics;
use crate::record::{Record, Removal};
use crate::recorder::Recorder;
use crate::retained::Retained;
use crate::router::Router;
use crate::router::share_group::ShareGroup;
use crate::session::queue::{Delivery, Kept};
use crate::session::subscriptions::Subscription;
use crate::session::{Connection, Session, State};
use crate::sessions::{NotInserted, Sessions};
use crate::settings::{Settings, SettingsBack};
use crate::slow_subscribers::SlowSubscribers;
use crate::store::{BodyPlace, Condition, Dependency, Store, TurnsUnderWay};
use crate::sys_topics::SysTopics;
use crate::traces::{Happening, TraceEventKind, Traces};
use crate::turn::Turn;
use crate::will::Will;

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

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, on the monotonic clock.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let scheduled = self.schedule.lock().first_key_value().map(|((due_ms, _), _)| *due_ms);
        let (delayed, sys) = (self.delayed.next_due_ms(), self.sys.next_due_ms());
        let queues =
            self.wants_queues_stored().then(|| self.queue_sweep_ms.load(Ordering::Relaxed));
        let (retained, bans) = (self.retained.next_sweep_ms(), self.next_ban_sweep_ms());
        let looks = self.client_alarms.next_look_ms();
        let alarms = if self.alarms.has_news() { Some(0) } else { looks };
        let (traces, rights) = (self.traces.next_due_ms(), self.rights.next_due_ms());
        let due = [scheduled, delayed, sys, queues, retained, bans, alarms, traces, rights];
        due.into_iter().flatten().min()
    }

    /// Does what is due: ends sessions, fires Wills and delayed messages, publishes `$SYS` topics.
    pub fn handle_timeout(self: &Arc<Self>, turn: &mut Turn) {
        while let Some(session) = self.next_scheduled(turn.now.mono_ms) {
            self.look_at(&session, turn);
        }
        for _ in 0..DELAYED_PER_PASS {
            let Some((of, message)) = self.delayed.pop_due(turn.now) else { break };
            turn.out.memory -= message.weight() as isize;
            turn.out.records.begin_message();
            let step = self.next_kept_step();
            turn.out.records.put(&Record::DelayedDone { step, of });
            if message.is_expired(turn.now) {
                turn.out.counters.inc(Metric::MessagesExpired);
            } else {
                turn.publish_message(&message);
            }
        }
        let n_expired = self.retained.sweep(turn.now);
        turn.out.counters.add(Metric::MessagesExpired, n_expired as u64);
        self.sweep_bans(turn.now);
        self.sweep_rights(turn);
        self.traces.sweep(turn.now);
        self.sweep_queues(turn.now.mono_ms);
        self.look_at_clients(turn.now);
        SysTopics::publish_due(turn);
        SysTopics::publish_alarms(turn);
    }

    fn next_scheduled(&self, now_ms: u64) -> Option<Arc<Session>> {
        let mut schedule = self.schedule.lock();
        while let Some(first) = schedule.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let session = first.remove().upgrade();
            if session.is_some() {
                return session;
            }
        }
        None
    }

    /// Fires the Will of an offline session, ends it, or looks again when that is due.
    fn look_at(&self, session: &Arc<Session>, turn: &mut Turn) {
        let mut state = session.lock();
        state.scheduled_ms = u64::MAX;
        if state.ended || state.connection.is_some() {
            return;
        }
        let now_ms = turn.now.mono_ms;
        let is_over = state.is_expired(now_ms);
        let will = if is_over || state.will_due_ms().is_some_and(|due| due <= now_ms) {
            state.will.take()
        } else {
            None
        };
        let client = Arc::clone(&state.client);
        self.schedule(session, &mut state);
        if will.is_some() {
            state.record_will_done(&mut turn.out);
        }
        drop(state);
        if let Some(will) = will {
            route_will(&client, &will, turn);
        }
        if is_over {
            self.end_session(session, SessionEnd::Expired, turn);
        }
    }

    /// Puts an offline session on the schedule for what it waits for next.
    ///
    /// Where an earlier entry stands already, it will do.
    pub(crate) fn schedule(&self, session: &Arc<Session>, state: &mut State) {
        let due = [state.will_due_ms(), state.expires_at_ms()].into_iter().flatten().min();
        if let Some(due_ms) = due.filter(|due_ms| *due_ms < state.scheduled_ms) {
            let mut schedule = self.schedule.lock();
            schedule.remove(&(state.scheduled_ms, session.number()));
            schedule.insert((due_ms, session.number()), Arc::downgrade(session));
            state.scheduled_ms = due_ms;
        }
    }

    fn unschedule(&self, session: &Session, state: &mut State) {
        let scheduled_ms = std::mem::replace(&mut state.scheduled_ms, u64::MAX);
        if scheduled_ms < u64::MAX {
            self.schedule.lock().remove(&(scheduled_ms, session.number()));
        }
    }

    /// The client that a session of that identifier is connected to.
    pub(crate) fn connected_client(&self, client_id: &str) -> Option<Arc<ClientInfo>> {
        let session = self.sessions.get(client_id).filter(|session| session.is_connected())?;
        let state = session.lock();
        state.connection.is_some().then(|| Arc::clone(&state.client))
    }

    /// True if there is a session of this Client Identifier that the client does not get.
    pub(crate) fn is_session_of_another(&self, client: &ClientInfo, now_ms: u64) -> bool {
        let session = self.sessions.get(client.client_id.as_str());
        session.is_some_and(|session| check_user(&session.lock(), client, now_ms).is_err())
    }

    /// Opens a session for a client that was let in. Returns it and whether it was there before.
    ///
    /// `connack` writes the CONNACK once Session Present is known: it must precede everything else.
    pub(crate) fn open_session(
        &self,
        client: &Arc<ClientInfo>,
        asked: &SessionRequest,
        mut connection: impl FnMut() -> Box<Connection>,
        connack: &mut dyn FnMut(bool) -> Vec<u8>,
        will: Option<&Will>,
        turn: &mut Turn,
    ) -> Result<(Arc<Session>, bool), NoSession> {
        // Whoever gives up a session of his own may have another in its place, even if he has too many by now.
        let mut gives_one_up = false;
        loop {
            if let Some(session) = self.sessions.get(client.client_id.as_str()) {
                if client.clean_start {
                    // [MQTT-3.1.2-4]: what there was is discarded, its connection told.
                    let now_ms = turn.now.mono_ms;
                    let mut old_client = None;
                    self.end_session_if(&session, SessionEnd::Discarded, turn, |state| {
                        old_client = state.connection.as_ref().map(|_| Arc::clone(&state.client));
                        gives_one_up |= !state.ended && state.client.username == client.username;
                        check_user(state, client, now_ms)
                    })?;
                    if let Some(old_client) = old_client {
                        turn.trace_takeover(&old_client, client);
                    }
                    continue;
                }
                let mut state = session.lock();
                if state.ended {
                    let owner = Arc::clone(&state.client);
                    drop(state);
                    self.sessions.remove(&session, owner.username.as_deref());
                    continue;
                }
                if state.is_expired(turn.now.mono_ms) {
                    drop(state);
                    self.end_session(&session, SessionEnd::Expired, turn);
                    continue;
                }
                check_user(&state, client, turn.now.mono_ms)?;
                let old_client = Arc::clone(&state.client);
                let taken_over = state.connection.is_some();
                // A Will that waits is cancelled by the new connection [MQTT-3.1.3-9]; one without delay
                // belongs to the connection that ends here.
                let is_due = state.will_due_ms().is_some_and(|due_ms| due_ms <= turn.now.mono_ms);
                let old_will =
                    state.will.take().filter(|w| is_due || (taken_over && w.delay_s == 0));
                session.expel(&mut state, CloseCause::TakenOver, &mut turn.out);
                state.expiry_s = asked.expiry_s;
                state.client = Arc::clone(client);
                if old_will.is_some() {
                    state.record_will_done(&mut turn.out);
                }
                state.will = will.cloned().map(Box::new);
                state.close_to_rights(client, turn);
                self.record_connect(&mut state, turn);
                let (connack, held) = (connack(true), self.ends_of(client));
                let out = &mut turn.out;
                if taken_over {
                    self.sessions.note_disconnected(session.number(), &old_client);
                }
                self.sessions.note_connected(session.number(), client);
                session.attach(&mut state, Arc::clone(client), connection(), &connack, held, out);
                let shared: Vec<_> =
                    state.subscriptions.iter().filter(|s| s.share().is_some()).cloned().collect();
                drop(state);
                self.wake_member(&session, &shared);
                if taken_over {
                    turn.trace_takeover(&old_client, client);
                    turn.client_disconnected(&old_client, "takeovered");
                }
                if let Some(old_will) = old_will {
                    route_will(&old_client, &old_will, turn);
                }
                return Ok((session, true));
            }
            let (max_sessions, max_of_user) = {
                let config = self.config.read();
                (config.max_sessions, config.user_max_sessions)
            };
            if self.sessions.len() >= max_sessions {
                return Err(NoSession::TooMany);
            }
            let max_of_user = if gives_one_up { 0 } else { max_of_user };
            let number = self.sessions.next_number();
            let now_ms = turn.now.wall_ms;
            let session =
                Arc::new(Session::new(number, Arc::clone(client), asked.expiry_s, now_ms));
            let mut state = session.lock();
            match self.sessions.insert(&session, &state, max_of_user) {
                Ok(()) => {}
                Err(NotInserted::Exists) => continue,
                Err(NotInserted::TooManyOfUser) => return Err(NoSession::TooMany),
            }
            state.will = will.cloned().map(Box::new);
            state.rights_generation = turn.rights_generation;
            self.record_connect(&mut state, turn);
            let (connack, held) = (connack(false), self.ends_of(client));
            let out = &mut turn.out;
            self.sessions.note_connected(number, client);
            session.attach(&mut state, Arc::clone(client), connection(), &connack, held, out);
            drop(state);
            turn.session_created(client);
            return Ok((session, false));
        }
    }

    /// Ends a session: its connection is told why, its Will published, its subscriptions removed. Returns false if
    /// somebody else has.
    pub(crate) fn end_session(
        &self,
        session: &Arc<Session>,
        why: SessionEnd,
        turn: &mut Turn,
    ) -> bool {
        let Ok(ended) = self.end_session_if(session, why, turn, |_| Ok::<(), Infallible>(()));
        ended
    }

    /// The same for a session that `may_end`.
    pub(crate) fn end_session_if<E>(
        &self,
        session: &Arc<Session>,
        why: SessionEnd,
        turn: &mut Turn,
        may_end: impl FnOnce(&State) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut state = session.lock();
        may_end(&state)?;
        if std::mem::replace(&mut state.ended, true) {
            let owner = Arc::clone(&state.client);
            drop(state);
            self.sessions.remove(session, owner.username.as_deref());
            return Ok(false);
        }
        let end = self.announce_end(&state, turn);
        self.unschedule(session, &mut state);
        let was_connected = state.connection.is_some();
        if was_connected {
            self.sessions.note_disconnected(session.number(), &state.client);
        }
        session.expel(&mut state, why.cause(), &mut turn.out);
        let will = state.will.take();
        if will.is_some() {
            state.record_will_done(&mut turn.out);
        }
        let client = Arc::clone(&state.client);
        let subscriptions: Vec<_> = state.subscriptions.iter().cloned().collect();
        let back = state.give_back(|_| true);
        state.discard(self);
        drop(state);
        self.sessions.remove(session, client.username.as_deref());
        for subscription in &subscriptions {
            self.unroute(session, subscription);
        }
        turn.trace(&Happening::to(&client, TraceEventKind::Session), format_args!("ended"));
        if was_connected {
            turn.client_disconnected(&client, "discarded");
        }
        // Of one that ends with its connection the end of that is told first.
        if !matches!(why, SessionEnd::Closed(_)) {
            turn.session_terminated(&client, why);
        }
        if let Some(will) = will {
            route_will(&client, &will, turn);
        }
        self.deal_out_again(back, session, turn);
        // Last, so that a crash in between leaves its messages with it.
        session.lock().record_end(&mut turn.out);
        end.into_iter().for_each(|end| turn.out.records.bind(end));
        Ok(true)
    }

    /// A durable session is about to end, or to be no longer durable: until the store has the record of that,
    /// its client is told nothing.
    fn announce_end(&self, state: &State, turn: &Turn) -> Option<Dependency> {
        let store = self.store.as_ref().filter(|_| state.is_durable)?;
        let end = turn.out.records.dependency_to_come()?;
        self.ends.add(&state.client.client_id, end.clone(), &**store);
        Some(end)
    }

    /// What a CONNACK must wait for: else a session might come back that its client knows to be gone.
    fn ends_of(&self, client: &ClientInfo) -> Vec<Dependency> {
        let ends = |store: &Arc<dyn Store>| self.ends.of(&client.client_id, &**store);
        self.store.as_ref().map(ends).unwrap_or_default()
    }

    /// True if the Will of a session is recorded.
    pub(crate) fn keeps_will(&self, state: &State) -> bool {
        let is_durable = state.expiry_s > 0;
        state.will.as_ref().is_some_and(|will| match self.durability.wills_keep {
            WillsKeep::Nobody => false,
            WillsKeep::Durable => is_durable,
            WillsKeep::Retained => is_durable || will.retain,
            WillsKeep::All => true,
        })
    }

    /// Records that a client connects to a session, as far as anything of it survives.
    fn record_connect(&self, state: &mut State, turn: &mut Turn) {
        if self.store.is_none() {
            return;
        }
        let was_durable = state.is_durable;
        let is_durable = state.expiry_s > 0;
        let keeps_will = self.keeps_will(state);
        if !is_durable {
            // Its connection is all that keeps it: a crash ends it.
            let end = self.announce_end(state, turn);
            if was_durable || !keeps_will {
                state.record_end(&mut turn.out);
            }
            end.into_iter().for_each(|end| turn.out.records.bind(end));
            if !keeps_will {
                return;
            }
        }
        state.is_durable = is_durable;
        state.is_will_recorded = !is_durable;
        state.record_start(keeps_will, &mut turn.out);
        if is_durable && !was_durable {
            state.record_contents(&mut turn.out);
        }
    }

    /// Tells the groups of a session that it has a connection again.
    fn wake_member(&self, session: &Session, shared: &[Subscription]) {
        for subscription in shared {
            let name = subscription.share().unwrap_or_default();
            self.router.wake(subscription.route(), name, session.number());
        }
    }

    /// Removes a subscription from the router.
    pub(crate) fn unroute(
        &self,
        session: &Arc<Session>,
        subscription: &Subscription,
    ) -> Option<Arc<ShareGroup>> {
        match subscription.share() {
            Some(name) => self.router.leave(subscription.route(), name, session.number()),
            None => {
                self.router.unsubscribe(subscription.route(), session.number());
                None
            }
        }
    }

    /// A connection of the session has ended.
    pub(crate) fn connection_closed(
        &self,
        session: &Arc<Session>,
        connection: u64,
        cause: CloseCause,
        turn: &mut Turn,
    ) -> Left {
        let mut state = session.lock();
        let Some(_connection) = session.detach(&mut state, connection) else {
            return Left::AnothersSession;
        };
        self.sessions.note_disconnected(session.number(), &state.client);
        state.disconnected_at_ms = turn.now.mono_ms as i64;
        state.disconnected_wall_ms = turn.now.wall_ms;
        if !cause.publishes_will() {
            state.will = None;
        }
        session.charge(&mut state, &mut turn.out);
        let ends = state.expiry_s == 0;
        let will_now = state.will.take_if(|will| will.delay_s == 0 || ends);
        let client = Arc::clone(&state.client);
        // Will and its end in one frame.
        turn.out.records.begin_message();
        if !ends {
            state.record_detached(&mut turn.out);
        } else if will_now.is_some() {
            state.record_will_done(&mut turn.out);
        }
        let back = if !ends && self.config.read().shared_dispatch_ack {
            state.give_back(|group| group.has_others_than(session.number()))
        } else {
            Vec::new()
        };
        if !ends {
            self.schedule(session, &mut state);
            let happening = Happening::to(&client, TraceEventKind::Session);
            let expiry_s = state.expiry_s;
            turn.trace(&happening, format_args!("stays without connection expiry_s={expiry_s}"));
        }
        drop(state);
        if let Some(will) = will_now {
            route_will(&client, &will, turn);
        }
        let has_ended = ends && self.end_session(session, SessionEnd::Closed(cause), turn);
        self.deal_out_again(back, session, turn);
        if has_ended { Left::Nothing } else { Left::Session }
    }

    /// Gives messages of a member that went to the others of its group.
    pub(crate) fn deal_out_again(
        &self,
        messages: Vec<Delivery>,
        from: &Arc<Session>,
        turn: &mut Turn,
    ) {
        for delivery in messages {
            let Some(group) = delivery.group.clone() else { continue };
            // Taken from one and given to the other in one frame.
            turn.out.records.begin_message();
            // Nothing is begun with it any more [MQTT-3.3.2-5].
            if delivery.message.is_expired(turn.now) {
                turn.out.counters.inc(Metric::MessagesExpired);
                from.lock().record_removed(delivery.step, Removal::Expired, &mut turn.out);
                continue;
            }
            from.lock().record_removed(delivery.step, Removal::HandedOver, &mut turn.out);
            match &delivery.message {
                Kept::Here(message) => {
                    turn.deal_out(&group, &Publication::of(message), Some(from.number()));
                }
                Kept::Stored(place) => {
                    let place = BodyPlace::clone(place);
                    turn.deal_out_stored(&group, &delivery, &place, from.number());
                }
                Kept::Lost => turn.out.counters.inc(Metric::DroppedDamaged),
            }
        }
        turn.out.records.begin_message();
    }

    /// True while nothing can be recorded, and what would have to be is refused.
    pub(crate) fn refuses_records(&self) -> bool {
        self.durability.refuse_when_unavailable
            && self.store.as_ref().is_some_and(|s| s.condition() == Condition::Unavailable)
    }

    /// Queues hold `by` bytes more in memory. Returns true if they should leave what they can to the store.
    pub(crate) fn queues_grew(&self, by: isize) -> bool {
        let max = self.durability.queue_memory_bytes;
        let held = self.queue_bytes.fetch_add(by, Ordering::Relaxed) + by;
        max > 0 && held > max as isize
    }

    /// True while memory is short and queues can go to the store.
    fn wants_queues_stored(&self) -> bool {
        self.queues_grew(0) || (self.store.is_some() && self.pressure().is_near())
    }

    /// Bytes of queued messages in memory.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        self.queue_bytes.load(Ordering::Relaxed).max(0) as usize
    }

    /// Has sessions without a connection leave what they can to the store, if memory is short.
    fn sweep_queues(&self, now_ms: u64) {
        if !self.wants_queues_stored() || self.queue_sweep_ms.load(Ordering::Relaxed) > now_ms {
            return;
        }
        self.queue_sweep_ms.store(now_ms + QUEUE_SWEEP_MS, Ordering::Relaxed);
        let shard = self.queue_sweep_shard.fetch_add(1, Ordering::Relaxed);
        let Some(sessions) = self.sessions.snapshot(shard) else {
            self.queue_sweep_shard.store(0, Ordering::Relaxed);
            return;
        };
        for session in sessions.iter().filter(|session| !session.is_connected()) {
            let mut state = session.lock();
            if state.is_durable {
                state.queue.let_go_newest();
                let growth = state.queue.growth();
                self.queues_grew(growth);
            }
        }
    }
}

/// What a connection that has ended leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Its session, or what somebody else makes of it.
    Session,
    /// Nothing: its session has ended with it.
    Nothing,
    /// A session that was another connection's already.
    AnothersSession,
}

fn route_will(client: &Arc<ClientInfo>, will: &Will, turn: &mut Turn) {
    if will.rights_generation != turn.rights_generation
        && !may_still_publish(&turn.extensions.authorizers, client, &will.topic)
    {
        turn.out.counters.inc(Metric::PublishDenied);
        log::debug!("will not published: its right is gone client_id={:?}", client.client_id);
        return;
    }
    let publisher = Publisher::Client(Arc::clone(client));
    let now = turn.now;
    let publication =
        Publication::new(&will.topic, &will.payload, will.qos, will.retain, &publisher, now)
            .with_properties(will.properties.as_properties(), will.message_expiry_s, now);
    turn.publish(&publication);
}

/// What CONNECT asks of the session.
pub(crate) struct SessionRequest {
    pub(crate) expiry_s: u32,
}

/// Why a client that was let in gets no session.
pub(crate) enum NoSession {
    /// `broker.max_sessions` is reached, or `limits.user.max_sessions`.
    TooMany,
    /// Its Client Identifier has a session that another user has made.
    OfAnotherUser,
}

/// A session is its user's: whoever else knows the Client Identifier neither gets nor ends it.
fn check_user(state: &State, client: &ClientInfo, now_ms: u64) -> Result<(), NoSession> {
    let is_over = state.ended || state.is_expired(now_ms);
    if is_over || state.client.username == client.username {
        return Ok(());
    }
    log::debug!("refused: another user has the session client_id={:?}", client.client_id);
    Err(NoSession::OfAnotherUser)
}

/// Pause between two shards whose sessions leave their queues to the store.
const QUEUE_SWEEP_MS: u64 = 50;

/// Delayed messages published in one pass.
const DELAYED_PER_PASS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ZoneConfig;
    use broker_codec::ProtocolVersion;

    fn offline(broker: &Broker, expiry_s: u32) -> Arc<Session> {
        let client = ClientInfo {
            client_id: "c".into(),
            username: None,
            peer: None,
            version: ProtocolVersion::V5,
            zone: Arc::new(ZoneConfig::default()),
            listener: "test".into(),
            clean_start: false,
            keep_alive_s: 0,
            connected_at_ms: 0,
            is_superuser: false,
            mountpoint: "".into(),
            is_bridge: false,
            certificate: None,
            local_addr: None,
            ws_cookies: None,
            told: Default::default(),
        };
        let number = broker.sessions.next_number();
        let session = Arc::new(Session::new(number, Arc::new(client), expiry_s, 0));
        let mut state = session.lock();
        state.disconnected_at_ms = 1;
        broker.schedule(&session, &mut state);
        drop(state);
        session
    }

    #[test]
    fn the_schedule_holds_a_session_once_and_lets_go_of_it_when_it_ends() {
        let broker = Broker::builder().build().unwrap();
        let mut turn = broker.turn();
        let session = offline(&broker, 1_000_000);
        for expiry_s in (1..1_000).rev() {
            let mut state = session.lock();
            state.expiry_s = expiry_s;
            broker.schedule(&session, &mut state);
        }
        let due: Vec<_> = broker.schedule.lock().keys().map(|(due_ms, _)| *due_ms).collect();
        assert_eq!(due, [1_001], "only the earliest counts");
        broker.end_session(&session, SessionEnd::Expired, &mut turn);
        assert!(broker.schedule.lock().is_empty());
        assert_eq!(Arc::weak_count(&session), 0, "nothing keeps its memory");
    }
}
