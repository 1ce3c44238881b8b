//! Destinations: what the router knows as a list, in the order in which it came. A filter stands there for its
//! subscribers, and once more for each of its groups.

use std::sync::Arc;

use parking_lot::Mutex;

use super::share_group::ShareGroup;
use crate::directory::{Directory, Entry, Start};

/// One filter, and one kind of receivers that its messages go to.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) number: u64,
    pub(crate) to: To,
}

#[derive(Clone)]
pub(crate) enum To {
    /// All who subscribed to the filter by itself.
    Subscribers(Arc<str>),
    /// One of the group.
    Group(Arc<ShareGroup>),
}

/// Locked when a filter or a group comes or goes, inside the lock of its shard; nothing is locked inside.
#[derive(Default)]
pub(crate) struct Destinations(Mutex<List>);

#[derive(Default)]
struct List {
    listed: Directory<Destination>,
    last: u64,
}

impl Entry for Destination {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.number
    }
}

impl Destinations {
    /// Adds a filter that has got a subscriber. Returns its number on the list.
    pub(super) fn add(&self, filter: &Arc<str>) -> u64 {
        self.0.lock().add(To::Subscribers(Arc::clone(filter)))
    }

    /// Makes a group.
    pub(super) fn add_group(&self, name: &str, route: &Arc<str>) -> Arc<ShareGroup> {
        let mut list = self.0.lock();
        let group = Arc::new(ShareGroup::new(name, route, list.last + 1));
        list.add(To::Group(Arc::clone(&group)));
        group
    }

    pub(super) fn remove(&self, number: u64) {
        self.0.lock().listed.remove(&number);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().listed.len()
    }

    /// At most `n` destinations in order.
    pub(crate) fn page(&self, start: Start<'_, u64>, n: usize) -> Vec<Destination> {
        self.0.lock().listed.from(start).take(n).cloned().collect()
    }
}

impl List {
    fn add(&mut self, to: To) -> u64 {
        self.last += 1;
        self.listed.insert(Destination { number: self.last, to });
        self.last
    }
}
