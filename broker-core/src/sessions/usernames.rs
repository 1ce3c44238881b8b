//! User names of connected clients, to find them by.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::ops::Bound;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// Hashes of user names, each with the number of a session. That is 16 bytes where a table of names would take
/// 50, and a million clients of one name are a million entries in order; whoever asks has to compare the name.
/// In shards by name.
pub(super) struct Usernames {
    shards: Box<[Mutex<BTreeSet<(u64, u64)>>]>,
    hasher: RandomState,
}

const SHARDS: usize = 16;

impl Default for Usernames {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
        }
    }
}

impl Usernames {
    pub(super) fn insert(&self, name: &str, session: u64) {
        let hash = self.hasher.hash_one(name);
        self.shard(hash).lock().insert((hash, session));
    }

    pub(super) fn remove(&self, name: &str, session: u64) {
        let hash = self.hasher.hash_one(name);
        self.shard(hash).lock().remove(&(hash, session));
    }

    /// At most `n` sessions in order, behind `behind`, most likely of this name.
    pub(super) fn page(&self, name: &str, behind: u64, n: usize) -> Vec<u64> {
        let hash = self.hasher.hash_one(name);
        let range = (Bound::Excluded((hash, behind)), Bound::Included((hash, u64::MAX)));
        self.shard(hash).lock().range(range).take(n).map(|(_, session)| *session).collect()
    }

    fn shard(&self, hash: u64) -> &Mutex<BTreeSet<(u64, u64)>> {
        &self.shards[hash as usize % SHARDS]
    }
}
