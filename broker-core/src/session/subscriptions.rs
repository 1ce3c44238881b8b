//! Subscriptions of one session, by Topic Filter as the client wrote it.

use std::collections::HashMap;
use std::sync::Arc;

use broker_codec::SubscriptionOptions;
use foldhash::fast::RandomState;

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Topic Filter as the client wrote it, `$share/…` prefix and all.
    pub filter: Arc<str>,
    /// What the router knows it by: without share prefix, behind the mountpoint, rewritten.
    pub(crate) route: Arc<str>,
    /// Group of a shared subscription; empty for `$queue/…`.
    pub share: Option<Arc<str>>,
    /// Subscription Options.
    pub options: SubscriptionOptions,
    /// Subscription Identifier; 0 for none.
    pub identifier: u32,
}

/// Mostly a handful, sometimes thousands.
pub(crate) enum Subscriptions {
    Few(Vec<Subscription>),
    Many(HashMap<Arc<str>, Subscription, RandomState>),
}

const FEW: usize = 8;

impl Default for Subscriptions {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(table) => table.len(),
        }
    }

    pub(crate) fn get(&self, filter: &str) -> Option<&Subscription> {
        match self {
            Self::Few(list) => list.iter().find(|s| &*s.filter == filter),
            Self::Many(table) => table.get(filter),
        }
    }

    /// Adds a subscription. Returns the one it replaces [MQTT-3.8.4-3].
    pub(crate) fn insert(&mut self, subscription: Subscription) -> Option<Subscription> {
        match self {
            Self::Few(list) => {
                if let Some(old) = list.iter_mut().find(|s| s.filter == subscription.filter) {
                    return Some(std::mem::replace(old, subscription));
                }
                if list.is_empty() {
                    list.reserve_exact(1);
                }
                list.push(subscription);
                if list.len() > FEW {
                    *self =
                        Self::Many(list.drain(..).map(|s| (Arc::clone(&s.filter), s)).collect());
                }
                None
            }
            Self::Many(table) => table.insert(Arc::clone(&subscription.filter), subscription),
        }
    }

    pub(crate) fn remove(&mut self, filter: &str) -> Option<Subscription> {
        match self {
            Self::Few(list) => {
                let at = list.iter().position(|s| &*s.filter == filter)?;
                Some(list.remove(at))
            }
            Self::Many(table) => table.remove(filter),
        }
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = &Subscription> + '_> {
        match self {
            Self::Few(list) => Box::new(list.iter()),
            Self::Many(table) => Box::new(table.values()),
        }
    }
}
