//! Sessions by Client Identifier, in shards so that connecting clients do not queue for one lock.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::{FixedState, RandomState};
use parking_lot::RwLock;

use crate::client::ClientId;
use crate::session::Session;

type Shard = RwLock<HashMap<ClientId, Arc<Session>, RandomState>>;

const SHARDS: usize = 64;

pub(crate) struct Sessions {
    shards: Box<[Shard]>,
    len: AtomicUsize,
    connected: AtomicUsize,
    numbers: AtomicU64,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            len: AtomicUsize::new(0),
            connected: AtomicUsize::new(0),
            numbers: AtomicU64::new(1),
        }
    }

    fn shard(&self, client_id: &str) -> &Shard {
        &self.shards[FixedState::with_seed(0).hash_one(client_id.as_bytes()) as usize % SHARDS]
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn get(&self, client_id: &str) -> Option<Arc<Session>> {
        self.shard(client_id).read().get(client_id).cloned()
    }

    /// Adds a session unless its Client Identifier has one. Returns false then.
    pub(crate) fn insert(&self, session: &Arc<Session>) -> bool {
        let mut shard = self.shard(session.client_id().as_str()).write();
        if shard.contains_key(session.client_id()) {
            return false;
        }
        shard.insert(session.client_id().clone(), Arc::clone(session));
        self.len.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Removes exactly this session.
    pub(crate) fn remove(&self, session: &Arc<Session>) {
        let mut shard = self.shard(session.client_id().as_str()).write();
        if shard.get(session.client_id()).is_some_and(|s| Arc::ptr_eq(s, session)) {
            shard.remove(session.client_id());
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Sessions held, connected or not.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    pub(crate) fn count_connected(&self, by: isize) {
        self.connected.fetch_add(by as usize, Ordering::Relaxed);
    }

    /// A copy of the sessions of one shard; `None` past the last. No lock is held while they are used.
    pub(crate) fn snapshot(&self, shard: usize) -> Option<Vec<Arc<Session>>> {
        Some(self.shards.get(shard)?.read().values().cloned().collect())
    }
}
