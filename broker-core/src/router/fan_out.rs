//! Fan-out of a topic: its receivers, each once, with what their subscriptions ask for.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use broker_codec::QoS;
use foldhash::fast::RandomState;

use super::share_group::ShareGroup;
use super::subscribers::{Observer, Subscribers};
use crate::extension::Consumer;
use crate::observer::MessageObserver;
use crate::session::Session;

/// Everyone who gets a message of one topic.
pub(crate) struct FanOut {
    /// The topic itself, for messages that are kept.
    pub(crate) topic: Arc<str>,
    pub(crate) targets: Box<[Target]>,
    pub(crate) groups: Box<[Arc<ShareGroup>]>,
    pub(crate) consumers: Box<[Arc<dyn Consumer>]>,
    /// Who sees its messages first, and is no receiver of them.
    pub(crate) observers: Box<[Arc<dyn MessageObserver>]>,
}

/// A receiving session and the sum of its matching subscriptions.
pub(crate) struct Target {
    pub(crate) session: Arc<Session>,
    pub(crate) terms: Terms,
}

/// What a delivery must look like.
#[derive(Clone, Default)]
pub(crate) struct Terms {
    /// Highest QoS of the matching subscriptions [MQTT-3.3.4-2].
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// Subscription Identifiers of all of them [MQTT-3.3.4-4].
    pub(crate) identifiers: Option<Arc<[u32]>>,
}

impl FanOut {
    /// True if nobody gets messages of the topic, whoever sees them.
    pub(crate) fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.groups.is_empty() && self.consumers.is_empty()
    }

    /// About the bytes it takes, with those of its topic as key of a table.
    pub(super) fn weight(&self) -> usize {
        2 * self.topic.len()
            + size_of_val(&*self.targets)
            + size_of_val(&*self.groups)
            + size_of_val(&*self.consumers)
            + size_of_val(&*self.observers)
    }
}

#[derive(Default)]
pub(super) struct FanOutBuilder {
    targets: Vec<Target>,
    groups: Vec<Arc<ShareGroup>>,
    consumers: Vec<Arc<dyn Consumer>>,
    observers: Vec<Observer>,
    /// Session number to its place in `targets`, once more than one filter matched.
    places: HashMap<u64, usize, RandomState>,
    /// Further Subscription Identifiers by place in `targets`; put together at the end, for a session may
    /// have ten thousand overlapping subscriptions.
    identifiers: HashMap<usize, Vec<u32>, RandomState>,
    filters: usize,
}

impl FanOutBuilder {
    pub(super) fn add(&mut self, entry: &Subscribers) {
        self.groups.extend(entry.groups().iter().cloned());
        self.consumers.extend(entry.consumers().iter().map(|(_, consumer)| Arc::clone(consumer)));
        self.observers.extend(entry.observers().iter().cloned());
        if entry.n_subscribers() == 0 {
            return;
        }
        self.filters += 1;
        if self.filters == 2 {
            self.places = self.targets.iter().map(|t| t.session.number()).zip(0..).collect();
        }
        self.targets.reserve(entry.n_subscribers());
        entry.for_each(|subscriber| {
            let terms = Terms {
                qos: subscriber.options.qos,
                no_local: subscriber.options.no_local,
                retain_as_published: subscriber.options.retain_as_published,
                identifiers: (subscriber.identifier > 0).then(|| [subscriber.identifier].into()),
            };
            if self.filters > 1 {
                let place = *self.places.entry(subscriber.number()).or_insert(self.targets.len());
                if let Some(target) = self.targets.get_mut(place) {
                    target.terms.merge(&terms);
                    if subscriber.identifier > 0 {
                        self.identifiers.entry(place).or_default().push(subscriber.identifier);
                    }
                    return;
                }
            }
            self.targets.push(Target { session: Arc::clone(&subscriber.session), terms });
        });
    }

    pub(super) fn build(mut self, topic: &str) -> FanOut {
        for (place, more) in self.identifiers {
            let terms = &mut self.targets[place].terms;
            let first = terms.identifiers.as_deref().unwrap_or_default();
            terms.identifiers = Some(first.iter().chain(&more).copied().collect());
        }
        // The latest of a place comes first, and the others of that place go.
        self.observers.sort_by_key(|observer| (observer.place, Reverse(observer.number)));
        self.observers.dedup_by_key(|observer| observer.place);
        FanOut {
            topic: topic.into(),
            targets: self.targets.into(),
            groups: self.groups.into(),
            consumers: self.consumers.into(),
            observers: self.observers.into_iter().map(|observer| observer.observer).collect(),
        }
    }
}

impl Terms {
    /// Adds another matching subscription of the same session, but for its identifier.
    fn merge(&mut self, other: &Self) {
        self.qos = self.qos.max(other.qos);
        // A message of one's own is kept back only if every matching subscription says so.
        self.no_local &= other.no_local;
        self.retain_as_published |= other.retain_as_published;
    }
}
