//! Subscribers of one Topic Filter.

use std::collections::HashMap;
use std::sync::Arc;

use broker_codec::SubscriptionOptions;
use foldhash::fast::RandomState;

use super::destinations::Destinations;
use super::share_group::ShareGroup;
use crate::extension::Consumer;
use crate::observer::MessageObserver;
use crate::session::Session;

/// A session that subscribed to a filter.
#[derive(Clone)]
pub(crate) struct Subscriber {
    pub(crate) session: Arc<Session>,
    pub(crate) options: SubscriptionOptions,
    /// Subscription Identifier; 0 if the client gave none.
    pub(crate) identifier: u32,
}

/// Most filters have one subscriber, some have a hundred thousand.
#[derive(Default)]
pub(super) struct Subscribers {
    list: List,
    rare: Option<Box<Rare>>,
    /// The filter's place on the list of destinations; 0 while nobody has subscribed to it by itself.
    number: u64,
}

#[derive(Default)]
enum List {
    #[default]
    None,
    One(Subscriber),
    // Boxed, or every entry of the router would be larger for the few that have several.
    #[expect(
        clippy::box_collection,
        reason = "the other variants, and there are many, are smaller"
    )]
    Few(Box<Vec<Subscriber>>),
    #[expect(
        clippy::box_collection,
        reason = "the other variants, and there are many, are smaller"
    )]
    Many(Box<HashMap<u64, Subscriber, RandomState>>),
}

/// What most filters lack.
#[derive(Default)]
struct Rare {
    /// By name: a filter may have a hundred thousand groups.
    groups: Vec<Arc<ShareGroup>>,
    consumers: Vec<(u64, Arc<dyn Consumer>)>,
    observers: Vec<Observer>,
}

/// Who sees messages of a filter without being their receiver.
#[derive(Clone)]
pub(crate) struct Observer {
    /// Those with a lower place are first, and of one place only the latest counts.
    pub(crate) place: u64,
    /// Later ones have higher numbers.
    pub(crate) number: u64,
    pub(crate) observer: Arc<dyn MessageObserver>,
}

/// Above it a list becomes a table, so that a hundred thousand clients can leave in linear time.
const FEW: usize = 16;

impl Subscribers {
    pub(super) fn is_empty(&self) -> bool {
        self.n_subscribers() == 0 && self.rare.is_none()
    }

    /// True while somebody has subscribed to the filter by itself.
    pub(super) const fn is_listed(&self) -> bool {
        self.number > 0
    }

    /// Puts the filter on the list of destinations once somebody has subscribed to it by itself, and takes it
    /// off when nobody has any more.
    pub(super) fn list_in(
        &mut self,
        destinations: &Destinations,
        filter: impl FnOnce() -> Arc<str>,
    ) {
        let is_one = self.n_subscribers() > 0;
        if is_one && self.number == 0 {
            self.number = destinations.add(&filter());
        } else if !is_one && self.number > 0 {
            destinations.remove(std::mem::take(&mut self.number));
        }
    }

    /// Adds or replaces a subscriber. Returns true if it is new.
    pub(super) fn insert(&mut self, subscriber: Subscriber) -> bool {
        match &mut self.list {
            List::None => self.list = List::One(subscriber),
            List::One(one) if one.number() == subscriber.number() => {
                *one = subscriber;
                return false;
            }
            List::One(one) => self.list = List::Few(Box::new(vec![one.clone(), subscriber])),
            List::Few(list) => {
                if let Some(old) = list.iter_mut().find(|s| s.number() == subscriber.number()) {
                    *old = subscriber;
                    return false;
                }
                list.push(subscriber);
                if list.len() > FEW {
                    let table = list.drain(..).map(|s| (s.number(), s)).collect();
                    self.list = List::Many(Box::new(table));
                }
            }
            List::Many(table) => return table.insert(subscriber.number(), subscriber).is_none(),
        }
        true
    }

    pub(super) fn remove(&mut self, session: u64) -> bool {
        match &mut self.list {
            List::None => false,
            List::One(one) => {
                let found = one.number() == session;
                if found {
                    self.list = List::None;
                }
                found
            }
            List::Few(list) => match list.iter().position(|s| s.number() == session) {
                Some(at) => {
                    list.swap_remove(at);
                    true
                }
                None => false,
            },
            List::Many(table) => table.remove(&session).is_some(),
        }
    }

    /// Ways that messages of the filter go: one to all its sessions, one to each group.
    pub(super) fn n_routes(&self) -> usize {
        usize::from(self.n_subscribers() > 0) + self.groups().len()
    }

    pub(super) fn n_subscribers(&self) -> usize {
        match &self.list {
            List::None => 0,
            List::One(_) => 1,
            List::Few(list) => list.len(),
            List::Many(table) => table.len(),
        }
    }

    pub(super) fn for_each<'a>(&'a self, mut visit: impl FnMut(&'a Subscriber)) {
        match &self.list {
            List::None => {}
            List::One(one) => visit(one),
            List::Few(list) => list.iter().for_each(visit),
            List::Many(table) => table.values().for_each(visit),
        }
    }

    pub(super) fn groups(&self) -> &[Arc<ShareGroup>] {
        self.rare.as_ref().map_or(&[], |rare| &rare.groups)
    }

    pub(super) fn consumers(&self) -> &[(u64, Arc<dyn Consumer>)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.consumers)
    }

    pub(super) fn observers(&self) -> &[Observer] {
        self.rare.as_ref().map_or(&[], |rare| &rare.observers)
    }

    /// The group of that name, made if need be.
    pub(super) fn group(
        &mut self,
        name: &str,
        route: &Arc<str>,
        destinations: &Destinations,
    ) -> &Arc<ShareGroup> {
        let groups = &mut self.rare.get_or_insert_default().groups;
        let at = groups.binary_search_by(|group| group.name().cmp(name)).unwrap_or_else(|at| {
            groups.insert(at, destinations.add_group(name, route));
            at
        });
        &groups[at]
    }

    /// See [`ShareGroup::wake`].
    pub(super) fn wake(&self, name: &str, session: u64) {
        let groups = self.groups();
        if let Ok(at) = groups.binary_search_by(|group| group.name().cmp(name)) {
            groups[at].wake(session);
        }
    }

    pub(super) fn leave(
        &mut self,
        name: &str,
        session: u64,
        destinations: &Destinations,
    ) -> Option<Arc<ShareGroup>> {
        let groups = &mut self.rare.as_mut()?.groups;
        let at = groups.binary_search_by(|group| group.name().cmp(name)).ok()?;
        let group = Arc::clone(&groups[at]);
        if !group.leave(session) {
            return None;
        }
        if group.is_empty() {
            groups.remove(at);
            destinations.remove(group.number());
            self.drop_rare_if_empty();
        }
        Some(group)
    }

    pub(super) fn attach(&mut self, number: u64, consumer: Arc<dyn Consumer>) {
        self.rare.get_or_insert_default().consumers.push((number, consumer));
    }

    pub(super) fn detach(&mut self, number: u64) -> bool {
        let Some(rare) = &mut self.rare else { return false };
        let before = rare.consumers.len();
        rare.consumers.retain(|(n, _)| *n != number);
        let removed = rare.consumers.len() < before;
        self.drop_rare_if_empty();
        removed
    }

    pub(super) fn observe(&mut self, observer: Observer) {
        self.rare.get_or_insert_default().observers.push(observer);
    }

    pub(super) fn forget_observer(&mut self, number: u64) -> bool {
        let Some(rare) = &mut self.rare else { return false };
        let Some(at) = rare.observers.iter().position(|observer| observer.number == number) else {
            return false;
        };
        rare.observers.remove(at);
        self.drop_rare_if_empty();
        true
    }

    fn drop_rare_if_empty(&mut self) {
        let is_empty = |rare: &Rare| {
            rare.groups.is_empty() && rare.consumers.is_empty() && rare.observers.is_empty()
        };
        if self.rare.as_deref().is_some_and(is_empty) {
            self.rare = None;
        }
    }
}
