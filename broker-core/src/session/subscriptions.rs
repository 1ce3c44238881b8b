//! Subscriptions of one session, by Topic Filter as the client wrote it.

use std::sync::Arc;

use broker_codec::{SubscriptionOptions, topic};

use crate::directory::{Directory, Entry, Start};
use crate::record::Record;

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Topic Filter as the client wrote it, `$share/…` prefix and all.
    pub filter: Arc<str>,
    /// `None` while the router knows it by its filter, as nearly always.
    detour: Option<Box<Detour>>,
    /// Subscription Options.
    pub options: SubscriptionOptions,
    /// Subscription Identifier; 0 for none.
    pub identifier: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Detour {
    route: Arc<str>,
    share: Option<Box<str>>,
}

impl Subscription {
    /// `route` is what the router knows it by: without share prefix, behind the mountpoint, rewritten.
    pub(crate) fn new(
        filter: Arc<str>,
        route: &str,
        share: Option<&str>,
        options: SubscriptionOptions,
        identifier: u32,
    ) -> Self {
        let detour = (*filter != *route || share.is_some())
            .then(|| Box::new(Detour { route: route.into(), share: share.map(Into::into) }));
        Self { filter, detour, options, identifier }
    }

    /// The subscription as it is recorded.
    pub(crate) fn record(&self, session: u64, step: u64) -> Record<'_> {
        let route = self.detour.as_ref().map(|detour| &*detour.route);
        let (filter, options, identifier) = (&*self.filter, self.options, self.identifier);
        Record::Subscribed { session, step, filter, route, options, identifier }
    }

    pub(crate) fn route(&self) -> &Arc<str> {
        self.detour.as_ref().map_or(&self.filter, |detour| &detour.route)
    }

    /// True if the router knows it under the same filter and group as the other.
    pub(crate) fn has_route_of(&self, other: &Self) -> bool {
        self.route() == other.route() && self.share() == other.share()
    }

    /// The filter without the prefix of a shared subscription.
    #[must_use]
    pub fn topic_filter(&self) -> &str {
        topic::parse_share(&self.filter).map_or(&*self.filter, |(_, plain)| plain)
    }

    /// Group of a shared subscription; empty for `$queue/…`.
    #[must_use]
    pub fn share(&self) -> Option<&str> {
        self.detour.as_ref()?.share.as_deref()
    }
}

impl Entry for Subscription {
    type Key = str;

    fn key(&self) -> &str {
        &self.filter
    }
}

/// Mostly one, sometimes thousands; in the order of their filters.
#[derive(Default)]
pub(crate) enum Subscriptions {
    #[default]
    None,
    One(Subscription),
    Few(Vec<Subscription>),
    Many(Box<Directory<Subscription>>),
}

const FEW: usize = 8;

impl Subscriptions {
    /// Gives back the memory that more of them would need.
    pub(crate) fn shrink(&mut self) {
        if let Self::Few(list) = self {
            list.shrink_to_fit();
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Many(table) => table.len(),
            _ => self.as_slice().len(),
        }
    }

    /// Bytes beside itself, but for the texts of filters, which the router shares.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::None | Self::One(_) => 0,
            Self::Few(list) => list.capacity() * size_of::<Subscription>(),
            Self::Many(table) => size_of::<Directory<Subscription>>() + table.heap_bytes(),
        }
    }

    /// All of them, unless they are many.
    fn as_slice(&self) -> &[Subscription] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Few(list) => list,
            Self::None | Self::Many(_) => &[],
        }
    }

    pub(crate) fn get(&self, filter: &str) -> Option<&Subscription> {
        match self {
            Self::Many(table) => table.get(filter),
            _ => self.as_slice().iter().find(|s| &*s.filter == filter),
        }
    }

    /// Those from `start` on.
    pub(crate) fn from<'a>(
        &'a self,
        start: Start<'_, str>,
    ) -> Box<dyn Iterator<Item = &'a Subscription> + 'a> {
        let list = match self {
            Self::Many(table) => return Box::new(table.from(start)),
            _ => self.as_slice(),
        };
        let begin = match start {
            Start::Rank(n) => n.min(list.len()),
            Start::At(filter) => list.partition_point(|s| *s.filter < *filter),
            Start::Behind(filter) => list.partition_point(|s| *s.filter <= *filter),
        };
        Box::new(list[begin..].iter())
    }

    /// Adds a subscription. Returns the one it replaces [MQTT-3.8.4-3].
    pub(crate) fn insert(&mut self, subscription: Subscription) -> Option<Subscription> {
        match self {
            Self::None => *self = Self::One(subscription),
            Self::One(old) if old.filter == subscription.filter => {
                return Some(std::mem::replace(old, subscription));
            }
            Self::One(_) => {
                if let Self::One(first) = std::mem::take(self) {
                    let is_first = first.filter < subscription.filter;
                    let both = if is_first { [first, subscription] } else { [subscription, first] };
                    *self = Self::Few(Vec::from(both));
                }
            }
            Self::Few(list) => {
                match list.binary_search_by(|s| s.filter.cmp(&subscription.filter)) {
                    Ok(at) => return Some(std::mem::replace(&mut list[at], subscription)),
                    Err(at) => list.insert(at, subscription),
                }
                if list.len() > FEW {
                    let mut table = Box::<Directory<_>>::default();
                    list.drain(..).for_each(|s| drop(table.insert(s)));
                    *self = Self::Many(table);
                }
            }
            Self::Many(table) => return table.insert(subscription),
        }
        None
    }

    pub(crate) fn remove(&mut self, filter: &str) -> Option<Subscription> {
        match self {
            Self::None => None,
            Self::One(one) if &*one.filter == filter => match std::mem::take(self) {
                Self::One(one) => Some(one),
                _ => None,
            },
            Self::One(_) => None,
            Self::Few(list) => {
                let at = list.iter().position(|s| &*s.filter == filter)?;
                Some(list.remove(at))
            }
            Self::Many(table) => table.remove(filter),
        }
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = &Subscription> + '_> {
        match self {
            Self::Many(table) => Box::new(table.iter()),
            _ => Box::new(self.as_slice().iter()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn subscription(filter: &str, identifier: u32) -> Subscription {
        let options = SubscriptionOptions::default();
        Subscription::new(filter.into(), filter, None, options, identifier)
    }

    #[test]
    fn those_that_stay_take_as_much_memory_as_they_need() {
        for n in [0, 1, 2, 5, 8, 9, 40] {
            let mut all = Subscriptions::default();
            (0..n).for_each(|n| drop(all.insert(subscription(&format!("f/{n}"), n))));
            all.shrink();
            assert_eq!(all.len(), n as usize);
            assert!((0..n).all(|n| all.get(&format!("f/{n}")).is_some_and(|s| s.identifier == n)));
            if let Subscriptions::Few(list) = &all {
                assert_eq!(list.capacity(), list.len());
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_whatever_its_size(
            steps in prop::collection::vec(("[a-m]", prop::option::weighted(0.7, 0u32..5)), 0..60),
        ) {
            let mut subscriptions = Subscriptions::default();
            let mut model = BTreeMap::new();
            for (filter, identifier) in steps {
                let (old, expected) = match identifier {
                    Some(n) => (
                        subscriptions.insert(subscription(&filter, n)),
                        model.insert(filter.clone(), n),
                    ),
                    None => (subscriptions.remove(&filter), model.remove(&filter)),
                };
                prop_assert_eq!(old.map(|s| s.identifier), expected);
                prop_assert_eq!(subscriptions.get(&filter).map(|s| s.identifier), identifier);
                prop_assert_eq!(subscriptions.len(), model.len());
                let listed = |start: Start<'_, str>| -> Vec<_> {
                    subscriptions.from(start).map(|s| (s.filter.to_string(), s.identifier)).collect()
                };
                let all: Vec<_> = model.clone().into_iter().collect();
                prop_assert_eq!(subscriptions.iter().count(), all.len());
                for n in 0..=all.len() {
                    prop_assert_eq!(&listed(Start::Rank(n))[..], &all[n..]);
                }
                prop_assert_eq!(&listed(Start::Rank(all.len() + 1)), &[]);
                for filter in ["", "a", "g", "gg", "m", "n"] {
                    let at = all.iter().filter(|(f, _)| &**f >= filter).cloned().collect::<Vec<_>>();
                    prop_assert_eq!(listed(Start::At(filter)), at);
                    let behind = all.iter().filter(|(f, _)| &**f > filter).cloned().collect::<Vec<_>>();
                    prop_assert_eq!(listed(Start::Behind(filter)), behind);
                }
            }
        }
    }
}
