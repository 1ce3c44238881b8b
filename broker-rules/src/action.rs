//! What rules do with their output: the traits of actions and of the resources they are bound to.
//!
//! A further back end is one file: a [`ResourceType`] whose [`Resource`] is a connection to something outside, and
//! an [`ActionType`] whose [`Action`] hands the output of a rule over to it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_core::Message;
use broker_core::Publisher;
use broker_core::observer::Reactions;
use serde_json::{Map as Object, Value as Json};
use thiserror::Error;

use crate::params::ParamSpec;
use crate::row::Row;
use crate::sink::SinkStatus;
use crate::value::Map;

/// A kind of action, by a name that rules give.
pub trait ActionType: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// The plugin of the original that has it.
    fn app(&self) -> &'static str;
    /// The events it is for: a hook, `$messages`, `$events` or `$any`. Only lists of actions go by it.
    fn hook(&self) -> &'static str;
    /// The resource type it belongs to.
    fn resource_type(&self) -> &'static str;
    /// Its parameters. One named `$resource` binds it to a resource, which must be of its type.
    fn params(&self) -> &[ParamSpec];
    /// What it does.
    fn description(&self) -> &'static str;
    /// Whether its actions only hand over what they are given ([`Progress::Queued`]): whether that fails is known when
    /// the row is long gone, so that nothing can stand in for them, and rules that say otherwise are refused.
    fn is_queued(&self) -> bool {
        false
    }
    /// Makes an action of it. The parameters are those that [`params`](Self::params) asks for.
    ///
    /// # Errors
    /// What is wrong with the parameters or the resource, in words for an operator.
    fn create(&self, setup: Setup<'_>) -> Result<Box<dyn Action>, String>;
}

/// What an action is made from.
pub struct Setup<'a> {
    /// Identifier of the rule.
    pub rule: &'a Arc<str>,
    /// The parameters.
    pub params: &'a Object<String, Json>,
    /// The resource it is bound to, if it is.
    pub resource: Option<&'a Arc<dyn Resource>>,
    /// Where it counts what becomes known later than [`Action::run`].
    pub counters: &'a Arc<ActionCounters>,
    /// Rules that a message may go through.
    pub max_hops: usize,
}

/// One action of one rule.
pub trait Action: Send + Sync {
    /// Does it. Called on a thread of the data path: what takes its time is handed over to the resource.
    ///
    /// # Errors
    /// Why it could not be done.
    fn run(&self, run: &mut Run<'_, '_>) -> Result<Progress, ActionError>;
}

/// What an action may look at and use.
pub struct Run<'a, 'b> {
    /// Identifier of the rule.
    pub rule: &'a Arc<str>,
    /// What the rule has selected.
    pub output: &'a Map,
    /// The columns of the event.
    pub row: &'a dyn Row,
    /// The message of the event, if it has one.
    pub message: Option<&'a Arc<Message>>,
    /// In whose name a message is published because of the event.
    pub publisher: &'a Publisher,
    /// Takes what is to be published.
    pub reactions: &'a mut Reactions<'b>,
}

/// How far an action has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is done.
    Done,
    /// It is somebody else's now, who counts what becomes of it in the action's [`ActionCounters`].
    Queued,
}

/// Why an action failed; goes into the log, so never with a payload or a parameter in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ActionError(pub String);

/// What has become of the runs of an action.
#[derive(Debug, Default)]
pub struct ActionCounters {
    queued: AtomicU64,
    success: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    dropped: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActionCounts {
    /// Done.
    pub success: u64,
    /// Not done, and not to be done any more.
    pub failed: u64,
    /// Tried once more.
    pub retried: u64,
    /// Given up because too much waited, or for too long; not among those that failed.
    pub dropped: u64,
    /// Handed over to the resource, which has yet to do them.
    pub waiting: u64,
}

impl ActionCounters {
    /// One was handed over; what becomes of it is counted below.
    pub(crate) fn add_queued(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// `n` are done.
    pub fn add_success(&self, n: u64) {
        self.success.fetch_add(n, Ordering::Relaxed);
    }

    /// `n` have failed for good.
    pub fn add_failed(&self, n: u64) {
        self.failed.fetch_add(n, Ordering::Relaxed);
    }

    /// `n` are tried once more.
    pub fn add_retried(&self, n: u64) {
        self.retried.fetch_add(n, Ordering::Relaxed);
    }

    /// `n` were given up.
    pub fn add_dropped(&self, n: u64) {
        self.dropped.fetch_add(n, Ordering::Relaxed);
    }

    /// How many of each.
    #[must_use]
    pub fn counts(&self) -> ActionCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Done may be counted before handed over.
        let (success, failed, dropped) =
            (read(&self.success), read(&self.failed), read(&self.dropped));
        let waiting = read(&self.queued).saturating_sub(success + failed + dropped);
        ActionCounts { success, failed, retried: read(&self.retried), dropped, waiting }
    }
}

/// A kind of resource.
pub trait ResourceType: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// The plugin of the original that has it.
    fn provider(&self) -> &'static str;
    /// What its configuration may have.
    fn params(&self) -> &[ParamSpec];
    /// What it is.
    fn description(&self) -> &'static str;
    /// Makes a resource, which connects in the background, again and again.
    ///
    /// # Errors
    /// What is wrong with the configuration, in words for an operator.
    fn create(&self, id: &str, config: &Object<String, Json>) -> Result<Arc<dyn Resource>, String>;
    /// Tries whether a resource of that configuration could be reached. May take seconds.
    ///
    /// # Errors
    /// Why it could not.
    fn test(&self, config: &Object<String, Json>) -> Result<(), String>;
}

/// A configured connection to something outside. Actions of its type find out what it is by way of [`Any`].
pub trait Resource: Any + Send + Sync {
    /// True while it could do its work.
    fn is_alive(&self) -> bool;
    /// Connects anew, now. May take seconds.
    ///
    /// # Errors
    /// Why it could not.
    fn start(&self) -> Result<(), String>;
    /// Lets go of its connections, for good. What waits for them is kept for a resource of the same identifier.
    fn stop(&self);
    /// The same for one that is deleted: what waits is forgotten.
    fn discard(&self) {
        self.stop();
    }
    /// What its buffer has done and holds, if it has one.
    fn status(&self) -> Option<SinkStatus> {
        None
    }
}

impl dyn Resource {
    /// The resource as what it is, if it is a `T`.
    #[must_use]
    pub fn as_a<T: Resource>(self: &Arc<Self>) -> Option<Arc<T>> {
        let any: Arc<dyn Any + Send + Sync> = Arc::<Self>::clone(self);
        any.downcast().ok()
    }
}

/// The types of actions and resources there are.
#[derive(Default, Clone)]
pub struct Catalogue {
    actions: Vec<Arc<dyn ActionType>>,
    resources: Vec<Arc<dyn ResourceType>>,
}

impl Catalogue {
    /// The types that need nothing from outside.
    #[must_use]
    pub fn built_in() -> Self {
        let mut catalogue = Self::default();
        crate::actions::register(&mut catalogue);
        catalogue
    }

    /// Adds a type of actions, in place of one of that name.
    pub fn add_action(&mut self, action: Arc<dyn ActionType>) {
        self.actions.retain(|other| other.name() != action.name());
        let at = self.actions.partition_point(|other| other.name() < action.name());
        self.actions.insert(at, action);
    }

    /// Adds a type of resources, in place of one of that name.
    pub fn add_resource(&mut self, resource: Arc<dyn ResourceType>) {
        self.resources.retain(|other| other.name() != resource.name());
        let at = self.resources.partition_point(|other| other.name() < resource.name());
        self.resources.insert(at, resource);
    }

    /// Types of actions, by name.
    #[must_use]
    pub fn actions(&self) -> &[Arc<dyn ActionType>] {
        &self.actions
    }

    /// Types of resources, by name.
    #[must_use]
    pub fn resources(&self) -> &[Arc<dyn ResourceType>] {
        &self.resources
    }

    /// The type of actions of that name.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<&Arc<dyn ActionType>> {
        self.actions.iter().find(|action| action.name() == name)
    }

    /// The type of resources of that name.
    #[must_use]
    pub fn resource(&self, name: &str) -> Option<&Arc<dyn ResourceType>> {
        self.resources.iter().find(|resource| resource.name() == name)
    }
}
