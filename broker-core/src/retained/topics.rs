//! Topics: those that have a retained message, in order, any page of which is found without counting up to it.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::directory::{Directory, Entry, Start};

/// All topics. Its lock is taken last, when a topic comes or goes; a message in place of another needs it not.
#[derive(Default)]
pub(super) struct Topics(RwLock<Directory<Topic>>);

struct Topic(Arc<str>);

impl Entry for Topic {
    type Key = str;

    fn key(&self) -> &str {
        &self.0
    }
}

impl Topics {
    pub(super) fn add(&self, topic: &Arc<str>) {
        self.0.write().insert(Topic(Arc::clone(topic)));
    }

    pub(super) fn remove(&self, topic: &str) {
        self.0.write().remove(topic);
    }

    /// At most `n` topics in order.
    pub(super) fn page(&self, start: Start<'_, str>, n: usize) -> Vec<Arc<str>> {
        self.0.read().from(start).take(n).map(|Topic(topic)| Arc::clone(topic)).collect()
    }
}
