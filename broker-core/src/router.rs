//! Router: who gets a message of a topic.
//!
//! Filters without wildcards sit in a hash table, the others in a trie. Both are cut into shards by the
//! first level of the filter, so that subscribing in one corner neither locks nor invalidates another.
//! A publishing thread asks its own [`MatchCache`] first and comes here only when a filter that could
//! concern the topic has come or gone since.

pub(crate) mod destinations;
mod exact;
pub(crate) mod fan_out;
pub(crate) mod match_cache;
pub(crate) mod share_group;
mod subscribers;
mod trie;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::FixedState;
use parking_lot::RwLock;

use crate::control::give_back::fitting;
use crate::extension::Consumer;
use crate::gauge::Gauge;
use crate::session::Session;
use destinations::{Destinations, To};
use exact::Exact;
use fan_out::{FanOut, FanOutBuilder};
use share_group::ShareGroup;
use subscribers::Subscribers;
pub(crate) use subscribers::{Observer, Subscriber};
use trie::Trie;

/// Shards for filters that begin with a plain level; one more holds those that begin with a wildcard.
const SHARDS: usize = 32;
const WILD: usize = SHARDS;

pub(crate) struct Router {
    shards: Box<[Shard]>,
    pub(crate) destinations: Destinations,
    counts: Counts,
}

#[derive(Default)]
struct Shard {
    routes: RwLock<Routes>,
    /// Rises with every change of `routes`; a cached match of another generation is void.
    generation: AtomicU64,
}

#[derive(Default)]
struct Routes {
    exact: Exact<Subscribers>,
    wild: Trie<Subscribers>,
}

/// Live totals, for statistics.
#[derive(Default)]
pub(crate) struct Counts {
    /// Distinct pairs of a filter and where it leads: to sessions, and to each group. Consumers have none.
    pub(crate) routes: Gauge,
    /// Pairs of a filter and a session.
    pub(crate) subscriptions: Gauge,
    /// Those among them that are not shared.
    pub(crate) subscribers: Gauge,
    /// Those that are.
    pub(crate) shared: Gauge,
    /// Subscriptions to `$events/…`: while zero, no event is built.
    pub(crate) events: AtomicUsize,
    /// Those among them that see deliveries, the one event that every message would cause several of.
    pub(crate) deliveries: AtomicUsize,
}

/// The state of the shards a topic is matched against.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation {
    own: u64,
    wild: u64,
}

impl Router {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..=SHARDS).map(|_| Shard::default()).collect(),
            destinations: Destinations::default(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Gives back the room that filters without wildcards have left which are gone. Returns how many bytes.
    pub(crate) fn shrink(&self) -> usize {
        let shrink = |shard: &Shard| {
            let is_spacious = {
                let exact = &shard.routes.read().exact;
                fitting(exact.len(), exact.capacity()).is_some()
            };
            if is_spacious { shard.routes.write().exact.shrink() } else { 0 }
        };
        self.shards.iter().map(shrink).sum()
    }

    /// Adds or replaces the subscription of a session. Returns true if it is new.
    pub(crate) fn subscribe(&self, filter: &Arc<str>, subscriber: Subscriber) -> bool {
        self.change(filter, |entry| {
            let is_new = entry.insert(subscriber);
            if is_new {
                self.count(&self.counts.subscribers, filter);
            }
            is_new
        })
    }

    /// Removes the subscription of a session. Returns true if there was one.
    pub(crate) fn unsubscribe(&self, filter: &str, session: u64) -> bool {
        self.remove(filter, |entry| {
            let removed = entry.remove(session);
            if removed {
                self.discount(&self.counts.subscribers, filter);
            }
            removed
        })
    }

    /// Joins the group `name` of a filter. Returns true if the session was no member of it.
    pub(crate) fn join(&self, filter: &Arc<str>, name: &str, member: Subscriber) -> bool {
        self.change(filter, |entry| {
            let is_new = entry.group(name, filter, &self.destinations).join(member);
            if is_new {
                self.count(&self.counts.shared, filter);
            }
            is_new
        })
    }

    /// Leaves a group. Returns the group if the session was a member, for its unfinished messages.
    pub(crate) fn leave(&self, filter: &str, name: &str, session: u64) -> Option<Arc<ShareGroup>> {
        let mut left = None;
        self.remove(filter, |entry| {
            left = entry.leave(name, session, &self.destinations);
            if left.is_some() {
                self.discount(&self.counts.shared, filter);
            }
            left.is_some()
        });
        left
    }

    /// The group `name` of a filter, if it has a member.
    pub(crate) fn find_group(&self, filter: &str, name: &str) -> Option<Arc<ShareGroup>> {
        let routes = self.shards[shard_of_filter(filter)].routes.read();
        routes.get(filter)?.groups().iter().find(|group| group.name() == name).cloned()
    }

    /// The session, a member of the group, has a connection again.
    pub(crate) fn wake(&self, filter: &str, name: &str, session: u64) {
        let routes = self.shards[shard_of_filter(filter)].routes.read();
        if let Some(entry) = routes.get(filter) {
            entry.wake(name, session);
        }
    }

    /// Adds an in-process consumer.
    pub(crate) fn attach(&self, filter: &Arc<str>, number: u64, consumer: Arc<dyn Consumer>) {
        self.change(filter, |entry| {
            entry.attach(number, consumer);
            self.count_event_filter(filter, 1);
        });
    }

    /// Removes an in-process consumer.
    pub(crate) fn detach(&self, filter: &str, number: u64) {
        self.remove(filter, |entry| {
            let removed = entry.detach(number);
            if removed {
                self.count_event_filter(filter, usize::MAX);
            }
            removed
        });
    }

    /// Adds an observer. It is none of those who get messages, and nothing counts it.
    pub(crate) fn observe(&self, filter: &Arc<str>, observer: Observer) {
        self.change(filter, |entry| entry.observe(observer));
    }

    /// Removes an observer.
    pub(crate) fn forget_observer(&self, filter: &str, number: u64) {
        self.remove(filter, |entry| entry.forget_observer(number));
    }

    /// There is one subscription more, of this kind. Like [`discount`](Self::discount) within the shard's lock: who
    /// takes it back at once must find it counted.
    fn count(&self, kind: &Gauge, filter: &str) {
        self.counts.subscriptions.add(1);
        kind.add(1);
        self.count_event_filter(filter, 1);
    }

    /// There is one fewer.
    fn discount(&self, kind: &Gauge, filter: &str) {
        self.counts.subscriptions.sub(1);
        kind.sub(1);
        self.count_event_filter(filter, usize::MAX);
    }

    fn count_event_filter(&self, filter: &str, by: usize) {
        if filter.starts_with("$events/") {
            // `usize::MAX` is minus one: the addition wraps.
            self.counts.events.fetch_add(by, Ordering::Relaxed);
            if broker_codec::topic::matches(filter, "$events/message_delivered") {
                self.counts.deliveries.fetch_add(by, Ordering::Relaxed);
            }
        }
    }

    fn change<T>(&self, filter: &Arc<str>, edit: impl FnOnce(&mut Subscribers) -> T) -> T {
        let shard = &self.shards[shard_of_filter(filter)];
        let mut routes = shard.routes.write();
        let entry = if broker_codec::topic::has_wildcard(filter) {
            routes.wild.entry(filter)
        } else {
            routes.exact.entry(filter)
        };
        let before = entry.n_routes();
        let result = edit(entry);
        self.counts.routes.add(entry.n_routes().saturating_sub(before));
        entry.list_in(&self.destinations, || Arc::clone(filter));
        shard.generation.fetch_add(1, Ordering::Release);
        result
    }

    /// Edits an entry if it is there and drops it when nobody is left.
    fn remove(&self, filter: &str, edit: impl FnOnce(&mut Subscribers) -> bool) -> bool {
        let shard = &self.shards[shard_of_filter(filter)];
        let mut routes = shard.routes.write();
        let is_wild = broker_codec::topic::has_wildcard(filter);
        let entry =
            if is_wild { routes.wild.find_mut(filter) } else { routes.exact.get_mut(filter) };
        let Some(entry) = entry else { return false };
        let before = entry.n_routes();
        let removed = edit(entry);
        self.counts.routes.sub(before.saturating_sub(entry.n_routes()));
        entry.list_in(&self.destinations, || filter.into());
        if entry.is_empty() {
            if is_wild {
                routes.wild.remove(filter);
            } else {
                routes.exact.remove(filter);
            }
        }
        shard.generation.fetch_add(1, Ordering::Release);
        removed
    }

    /// The generation a cached match of `topic` must have to be valid.
    pub(crate) fn generation(&self, topic: &str) -> Generation {
        Generation {
            own: self.shards[shard_of_level(first_level(topic))].generation.load(Ordering::Acquire),
            wild: self.shards[WILD].generation.load(Ordering::Acquire),
        }
    }

    /// Everyone who gets a message of `topic`, with the generation this was true for.
    pub(crate) fn matches(&self, topic: &str) -> (FanOut, Generation) {
        let mut builder = FanOutBuilder::default();
        let own = {
            let shard = &self.shards[shard_of_level(first_level(topic))];
            let routes = shard.routes.read();
            if let Some(entry) = routes.exact.get(topic) {
                builder.add(entry);
            }
            routes.wild.matches(topic, &mut |entry| builder.add(entry));
            shard.generation.load(Ordering::Acquire)
        };
        let wild = {
            let shard = &self.shards[WILD];
            let routes = shard.routes.read();
            // A wildcard at the first level does not match `$…` topics [MQTT-4.7.2-1].
            if !topic.starts_with('$') {
                routes.wild.matches(topic, &mut |entry| builder.add(entry));
            }
            shard.generation.load(Ordering::Acquire)
        };
        (builder.build(topic), Generation { own, wild })
    }

    /// True if anybody at all gets messages of `topic`.
    pub(crate) fn has_receivers(&self, topic: &str) -> bool {
        let own = self.shards[shard_of_level(first_level(topic))].routes.read();
        if own.exact.contains(topic) || own.wild.has_match(topic) {
            return true;
        }
        drop(own);
        !topic.starts_with('$') && self.shards[WILD].routes.read().wild.has_match(topic)
    }

    /// The destinations of exactly this filter, at most `n`.
    pub(crate) fn destinations_of(&self, filter: &str, n: usize) -> Vec<To> {
        let routes = self.shards[shard_of_filter(filter)].routes.read();
        let Some(entry) = routes.get(filter) else { return Vec::new() };
        let all = entry.is_listed().then(|| To::Subscribers(filter.into()));
        let groups = entry.groups().iter().map(|group| To::Group(Arc::clone(group)));
        all.into_iter().chain(groups).take(n).collect()
    }
}

impl Routes {
    fn get(&self, filter: &str) -> Option<&Subscribers> {
        if broker_codec::topic::has_wildcard(filter) {
            self.wild.get(filter)
        } else {
            self.exact.get(filter)
        }
    }
}

/// A subscriber's session, as the router keeps it.
impl Subscriber {
    pub(crate) fn number(&self) -> u64 {
        self.session.number()
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

fn first_level(text: &str) -> &str {
    text.split('/').next().unwrap_or_default()
}

fn shard_of_filter(filter: &str) -> usize {
    match first_level(filter) {
        "+" | "#" => WILD,
        level => shard_of_level(level),
    }
}

fn shard_of_level(level: &str) -> usize {
    // Which shard a level falls into is no secret worth a random seed: a shard is only a lock.
    (FixedState::with_seed(0).hash_one(level.as_bytes()) as usize) % SHARDS
}

#[cfg(test)]
mod tests;
