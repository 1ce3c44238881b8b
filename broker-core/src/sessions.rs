//! Sessions by Client Identifier, in shards so that connecting clients do not queue for one lock.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::{FixedState, RandomState};
use parking_lot::RwLock;

use crate::gauge::Gauge;
use crate::session::Session;

type Shard = RwLock<HashSet<Entry, RandomState>>;

const SHARDS: usize = 64;

pub(crate) struct Sessions {
    shards: Box<[Shard]>,
    len: Gauge,
    connected: Gauge,
    persistent: Gauge,
    numbers: AtomicU64,
}

/// A session that is found by its Client Identifier: beside a key of its own it would cost three times as much.
struct Entry(Arc<Session>);

impl Borrow<str> for Entry {
    fn borrow(&self) -> &str {
        self.0.client_id().as_str()
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<str>::borrow(self).hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.client_id() == other.0.client_id()
    }
}

impl Eq for Entry {}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            len: Gauge::default(),
            connected: Gauge::default(),
            persistent: Gauge::default(),
            numbers: AtomicU64::new(1),
        }
    }

    fn shard(&self, client_id: &str) -> &Shard {
        &self.shards[FixedState::with_seed(0).hash_one(client_id.as_bytes()) as usize % SHARDS]
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// The highest number that was given so far.
    pub(crate) fn last_number(&self) -> u64 {
        self.numbers.load(Ordering::SeqCst) - 1
    }

    /// Gives no number up to this one any more.
    pub(crate) fn reserve(&self, number: u64) {
        self.numbers.fetch_max(number + 1, Ordering::SeqCst);
    }

    pub(crate) fn get(&self, client_id: &str) -> Option<Arc<Session>> {
        self.shard(client_id).read().get(client_id).map(|entry| Arc::clone(&entry.0))
    }

    /// Adds a session unless its Client Identifier has one. Returns false then.
    pub(crate) fn insert(&self, session: &Arc<Session>) -> bool {
        let mut shard = self.shard(session.client_id().as_str()).write();
        let is_new = shard.insert(Entry(Arc::clone(session)));
        if is_new {
            self.len.add(1);
            self.persistent.add(usize::from(session.is_persistent()));
        }
        is_new
    }

    /// Removes exactly this session.
    pub(crate) fn remove(&self, session: &Arc<Session>) {
        let client_id = session.client_id().as_str();
        let mut shard = self.shard(client_id).write();
        if shard.get(client_id).is_some_and(|entry| Arc::ptr_eq(&entry.0, session)) {
            shard.remove(client_id);
            self.len.sub(1);
            self.persistent.sub(usize::from(session.is_persistent()));
        }
    }

    /// Sessions held, connected or not.
    pub(crate) fn len(&self) -> usize {
        self.len.now()
    }

    /// The same, with the highest it has been.
    pub(crate) const fn gauge(&self) -> &Gauge {
        &self.len
    }

    /// Sessions that a connection serves.
    pub(crate) const fn connected(&self) -> &Gauge {
        &self.connected
    }

    /// Sessions that were created without Clean Start.
    pub(crate) const fn persistent(&self) -> &Gauge {
        &self.persistent
    }

    /// A copy of the sessions of one shard; `None` past the last. No lock is held while they are used.
    pub(crate) fn snapshot(&self, shard: usize) -> Option<Vec<Arc<Session>>> {
        Some(self.shards.get(shard)?.read().iter().map(|entry| Arc::clone(&entry.0)).collect())
    }
}
