//! The engine: rules and resources as an operator has them, and rules in force where the broker finds them.
//!
//! A rule in force is never changed. The router holds it for its topic filters, the broker's extensions hold those of
//! all other events; another version takes its place in one step, and no thread waits for that.

mod counters;
mod fault;
mod kept;
mod resources;
mod running;
mod secrets;
mod spec;
mod totals;
mod trial;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;

use broker_core::observer::{EventKinds, EventWatch};
use broker_core::{Broker, Now, Observation, Saved};
use parking_lot::Mutex;
use serde_json::Value as Json;

use crate::action::{ActionCounters, Catalogue, Setup};
use crate::event::Sources;
use crate::limits::Limits;
use crate::params;
use crate::select::{Compile, Select};
use crate::sink::SinkStatus;
pub use counters::{LastError, RuleCounts};
use counters::{RuleCounters, SAMPLE_MS};
pub use fault::EngineError;
use kept::Keep;
use resources::Resources;
use running::{Bound, OnEvents, OnTopics, Running, run_caught};
use spec::check_name;
pub use spec::{ActionSpec, OnActionFailed, ResourceSpec, RuleChange, RuleSpec};
use totals::Most;
pub use totals::Totals;

/// Bounds and switches of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineOptions {
    /// `rules.max_rules`.
    pub max_rules: usize,
    /// `rules.max_resources`.
    pub max_resources: usize,
    /// `rules.max_actions`: of one rule, with those that stand in for others.
    pub max_actions: usize,
    /// `rules.max_hops`: rules that a message may go through by being republished.
    pub max_hops: usize,
    /// What statements and their events may cost.
    pub limits: Arc<Limits>,
    /// `rule_engine.ignore_sys_message`: rules do not see `$SYS/…`.
    pub ignore_sys_message: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            max_rules: 10_000,
            max_resources: 1_000,
            max_actions: 16,
            max_hops: 8,
            limits: Arc::default(),
            ignore_sys_message: true,
        }
    }
}

/// Rules and resources of one broker.
pub struct RuleEngine {
    broker: Arc<Broker>,
    catalogue: Catalogue,
    compile: Box<Compile>,
    options: EngineOptions,
    node: Arc<str>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the nanosecond of their creation, of which each has its own.
    rules: BTreeMap<u64, Entry>,
    resources: Resources,
    /// What the extensions have of the rules of events.
    on_events: Option<Arc<OnEvents>>,
    /// When speeds were last sampled, on the monotonic clock.
    sampled_ms: Option<u64>,
    /// What rules have counted that are gone.
    retired: Totals,
    /// What buffers have done whose resources are gone, or were made again.
    retired_sinks: SinkStatus,
    /// The most there have been.
    most: Most,
    /// No rule is in force.
    is_paused: bool,
}

/// One rule, in force or not.
struct Entry {
    id: Arc<str>,
    spec: RuleSpec,
    counters: Arc<RuleCounters>,
    /// The rule, or why there is none.
    made: Result<Made, String>,
}

/// A rule that could be in force.
struct Made {
    running: Arc<Running>,
    sources: Sources,
    /// Its places in the router, while it is in force.
    observations: Vec<Observation>,
}

impl RuleEngine {
    /// An engine without rules; [`load`](Self::load) brings back those that were kept.
    #[must_use]
    pub fn new(
        broker: &Arc<Broker>,
        catalogue: Catalogue,
        compile: Box<Compile>,
        options: EngineOptions,
    ) -> Self {
        let node = broker.config().node_name.as_str().into();
        let (broker, state) = (Arc::clone(broker), Mutex::default());
        Self { broker, catalogue, compile, options, node, state }
    }

    /// Types of actions and resources.
    #[must_use]
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Creates a rule. `now_ns` is the time since the Unix epoch in nanoseconds. Returns its identifier.
    ///
    /// # Errors
    /// Something about it is not in order, or there are too many.
    pub fn create_rule(
        &self,
        spec: RuleSpec,
        now_ns: u64,
    ) -> Result<(Arc<str>, Saved), EngineError> {
        check_name(&spec.name)?;
        let mut state = self.state.lock();
        if state.rules.len() >= self.options.max_rules {
            return Err(EngineError::bad("too many rules"));
        }
        let place = (now_ns..).find(|ns| !state.rules.contains_key(ns)).unwrap_or(now_ns);
        let id: Arc<str> = format!("{}:{place}", spec.name).into();
        let counters = Arc::default();
        let keep = Keep::rule(place, &spec)?;
        let made = self.make(&state, &id, &spec, &counters, &[])?;
        let saved = keep.put(&self.broker, &id);
        let mut entry = Entry { id: Arc::clone(&id), spec, counters, made: Ok(made) };
        self.bring_into_force(&state, place, &mut entry);
        let has_events = entry.has_events();
        state.rules.insert(place, entry);
        state.note_most();
        self.follow_events(&mut state, has_events);
        Ok((id, saved))
    }

    /// Changes a rule; its counters begin anew.
    ///
    /// # Errors
    /// There is no such rule, or something about the change is not in order; then nothing is changed.
    pub fn change_rule(&self, id: &str, change: RuleChange) -> Result<Saved, EngineError> {
        let mut state = self.state.lock();
        let (place, old) = state.find(id).ok_or(EngineError::NoRule)?;
        let mut spec = change.applied_to(&old.spec);
        secrets::restore_actions(&mut spec.actions, &old.spec.actions);
        let (id, had_events) = (Arc::clone(&old.id), old.has_events());
        let counters = Arc::default();
        let keep = Keep::rule(place, &spec)?;
        let made = self.make(&state, &id, &spec, &counters, &[])?;
        let saved = keep.put(&self.broker, &id);
        let mut entry = Entry { id, spec, counters, made: Ok(made) };
        // The new one is there before the old one goes, and counts alone while both are.
        self.bring_into_force(&state, place, &mut entry);
        let has_events = entry.has_events();
        let old = state.rules.insert(place, entry);
        state.retire(old);
        self.follow_events(&mut state, had_events || has_events);
        Ok(saved)
    }

    /// Deletes a rule; `None` if there is none.
    pub fn delete_rule(&self, id: &str) -> Option<Saved> {
        let mut state = self.state.lock();
        let (place, old) = state.find(id)?;
        let had_events = old.has_events();
        let saved = kept::remove_rule(&self.broker, &old.id);
        let old = state.rules.remove(&place);
        state.retire(old);
        self.follow_events(&mut state, had_events);
        Some(saved)
    }

    /// Brings back the rules and resources that were kept. What cannot be is there, disabled, and says why.
    pub fn load(&self) {
        let mut state = self.state.lock();
        for (created_ns, spec) in kept::resources(&self.broker) {
            state.resources.restore(&self.catalogue, spec, created_ns);
        }
        for (place, spec) in kept::rules(&self.broker) {
            let id: Arc<str> = format!("{}:{place}", spec.name).into();
            let counters = Arc::default();
            let made =
                self.make(&state, &id, &spec, &counters, &[]).map_err(|error| error.to_string());
            if let Err(reason) = &made {
                log::warn!("rule disabled rule={id} {reason}");
            }
            let mut entry = Entry { id, spec, counters, made };
            entry.spec.enabled &= entry.made.is_ok();
            self.bring_into_force(&state, place, &mut entry);
            state.rules.insert(place, entry);
        }
        state.note_most();
        let have_events = state.rules.values().any(Entry::has_events);
        self.follow_events(&mut state, have_events);
    }

    /// Takes the speeds of all rules, every 10 s; to be called at least that often.
    pub fn tick(&self, now: Now) {
        let mut state = self.state.lock();
        let Some(sampled_ms) = state.sampled_ms else {
            state.sampled_ms = Some(now.mono_ms);
            return;
        };
        let elapsed_ms = now.mono_ms.saturating_sub(sampled_ms);
        if elapsed_ms >= SAMPLE_MS {
            state.sampled_ms = Some(now.mono_ms);
            state.rules.values().for_each(|entry| entry.counters.sample(elapsed_ms));
        }
    }

    /// Takes all rules out of force until [`resume`](Self::resume); what they are stays as it is. Resources go on: what
    /// they were given is delivered.
    pub fn pause(&self) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_paused, true) {
            return;
        }
        for made in state.rules.values_mut().filter_map(|entry| entry.made.as_mut().ok()) {
            made.observations.clear();
        }
        let have_events = state.rules.values().any(Entry::has_events);
        self.follow_events(&mut state, have_events);
    }

    /// Brings the rules back into force that are enabled.
    pub fn resume(&self) {
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.is_paused) {
            return;
        }
        let mut rules = std::mem::take(&mut state.rules);
        for (place, entry) in &mut rules {
            self.bring_into_force(&state, *place, entry);
        }
        state.rules = rules;
        let have_events = state.rules.values().any(Entry::has_events);
        self.follow_events(&mut state, have_events);
    }

    /// Makes a rule that could be in force. Its actions go on with the counters of `former` ones.
    fn make(
        &self,
        state: &State,
        id: &Arc<str>,
        spec: &RuleSpec,
        counters: &Arc<RuleCounters>,
        former: &[Bound],
    ) -> Result<Made, EngineError> {
        let (select, sources) = self.compile(spec.hook.as_deref(), &spec.rawsql)?;
        let unknown = sources.unknown(select.columns());
        if !unknown.is_empty() {
            // 3.1 read such a name as a text.
            let names = unknown.join(" ");
            log::warn!(
                "rule reads what is no column, and always undefined rule={id} names={names:?}"
            );
        }
        let n_actions: usize = spec.actions.iter().map(n_with_fallbacks).sum();
        if n_actions > self.options.max_actions {
            return Err(EngineError::bad("too many actions"));
        }
        let actions = self.bind_all(state, id, &spec.actions, former)?;
        let running = Arc::new(Running {
            id: Arc::clone(id),
            select,
            actions,
            on_action_failed: spec.on_action_failed,
            counters: Arc::clone(counters),
            node: Arc::clone(&self.node),
            node_hash: hash(&self.node),
            limits: Arc::clone(&self.options.limits),
            ignores_sys: self.options.ignore_sys_message,
        });
        Ok(Made { running, sources, observations: Vec::new() })
    }

    fn compile(
        &self,
        hook: Option<&str>,
        rawsql: &str,
    ) -> Result<(Box<dyn Select>, Sources), EngineError> {
        let compiled = (self.compile)(rawsql);
        let select = compiled.map_err(|error| EngineError::bad(format!("SQL: {error}")))?;
        let sources = Sources::resolve(hook, select.sources())?;
        Ok((select, sources))
    }

    fn bind_all(
        &self,
        state: &State,
        rule: &Arc<str>,
        specs: &[ActionSpec],
        former: &[Bound],
    ) -> Result<Vec<Bound>, EngineError> {
        let bind = |(at, spec)| self.bind(state, rule, spec, former.get(at));
        specs.iter().enumerate().map(bind).collect()
    }

    fn bind(
        &self,
        state: &State,
        rule: &Arc<str>,
        spec: &ActionSpec,
        former: Option<&Bound>,
    ) -> Result<Bound, EngineError> {
        let kind = self.catalogue.action(&spec.name);
        let kind = kind.ok_or_else(|| EngineError::NoAction(spec.name.clone()))?;
        params::check(kind.params(), &spec.params)?;
        if kind.is_queued() && !spec.fallbacks.is_empty() {
            return Err(EngineError::bad(format!(
                "fallbacks: nothing can stand in for {}, which waits in the buffer of its resource until it is done",
                spec.name
            )));
        }
        let resource = match spec.params.get(RESOURCE) {
            None => None,
            Some(Json::String(id)) => Some(state.resources.running(id)?),
            Some(_) => return Err(EngineError::bad("{invalid_data_type,{string,$resource}}")),
        };
        let counters: Arc<ActionCounters> =
            former.map(|former| Arc::clone(&former.counters)).unwrap_or_default();
        let setup = Setup {
            rule,
            params: &spec.params,
            resource: resource.as_ref(),
            counters: &counters,
            max_hops: self.options.max_hops,
        };
        let action = kind.create(setup);
        let action = action.map_err(|error| EngineError::bad(format!("{}: {error}", spec.name)))?;
        let former = former.map_or(&[][..], |former| &former.fallbacks);
        let fallbacks = self.bind_all(state, rule, &spec.fallbacks, former)?;
        Ok(Bound { name: kind.name(), action, counters, fallbacks })
    }

    /// Puts a rule into the router, unless it is disabled or all are paused.
    fn bring_into_force(&self, state: &State, place: u64, entry: &mut Entry) {
        let is_wanted = entry.spec.enabled && !state.is_paused;
        let (true, Ok(made)) = (is_wanted, &mut entry.made) else { return };
        let Some((_, dialect)) = made.sources.topics.first() else { return };
        let observer = Arc::new(OnTopics { rule: Arc::clone(&made.running), dialect: *dialect });
        for (filter, _) in &made.sources.topics {
            match self.broker.observe(filter, place, Arc::clone(&observer) as _) {
                Ok(observation) => made.observations.push(observation),
                Err(error) => log::error!("rule without topic filter rule={}: {error}", entry.id),
            }
        }
    }

    /// Has the broker tell of the events that rules are about now, if those of a rule have changed. Not without need:
    /// connections forget what they know of their rights when extensions change.
    fn follow_events(&self, state: &mut State, have_changed: bool) {
        if !have_changed {
            return;
        }
        let is_paused = state.is_paused;
        let in_force = state.rules.values().filter(|entry| entry.spec.enabled && !is_paused);
        let made = in_force.filter_map(|entry| entry.made.as_ref().ok());
        let rules = made.flat_map(|made| {
            let events = made.sources.events.iter();
            events.map(|(hook, dialect)| (*hook, *dialect, Arc::clone(&made.running)))
        });
        let on_events = Arc::new(OnEvents(rules.collect()));
        let kinds = on_events.kinds();
        let old = state.on_events.replace(Arc::clone(&on_events));
        self.broker.change_extensions(|extensions| {
            forget(&mut extensions.event_watches, old.as_ref());
            if kinds != EventKinds::NONE {
                extensions.event_watches.push(EventWatch { kinds, observer: on_events });
            }
        });
    }
}

impl Drop for RuleEngine {
    fn drop(&mut self) {
        let on_events = self.state.get_mut().on_events.take();
        if on_events.as_ref().is_some_and(|on_events| !on_events.0.is_empty()) {
            self.broker.change_extensions(|extensions| {
                forget(&mut extensions.event_watches, on_events.as_ref())
            });
        }
    }
}

fn forget(watches: &mut Vec<EventWatch>, old: Option<&Arc<OnEvents>>) {
    let Some(old) = old else { return };
    let old: *const () = Arc::as_ptr(old).cast();
    watches.retain(|watch| Arc::as_ptr(&watch.observer).cast::<()>() != old);
}

impl OnEvents {
    fn kinds(&self) -> EventKinds {
        let kinds = self.0.iter().flat_map(|(hook, dialect, _)| hook.kinds(*dialect));
        kinds.fold(EventKinds::NONE, |all, kind| all.with(*kind))
    }
}

impl State {
    fn find(&self, id: &str) -> Option<(u64, &Entry)> {
        // A rule has its place in its identifier.
        let place = id.rsplit(':').next()?.parse().ok()?;
        let entry = self.rules.get(&place).filter(|entry| &*entry.id == id)?;
        Some((place, entry))
    }

    fn retire(&mut self, old: Option<Entry>) {
        if let Some(old) = old {
            self.retired = self.retired.with(&old);
        }
    }
}

impl Entry {
    fn has_events(&self) -> bool {
        self.spec.enabled && self.made.as_ref().is_ok_and(|made| !made.sources.events.is_empty())
    }
}

fn n_with_fallbacks(action: &ActionSpec) -> usize {
    1 + action.fallbacks.iter().map(n_with_fallbacks).sum::<usize>()
}

/// FNV-1a, of the name of a node.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The parameter that binds an action to a resource.
const RESOURCE: &str = "$resource";
