//! User names: of connected clients, to find them by; of all sessions, to count them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::ops::Bound;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// What is known of user names by their hashes, in shards.
pub(super) struct Usernames {
    shards: Box<[Mutex<Names>]>,
    hasher: RandomState,
}

#[derive(Default)]
struct Names {
    /// Each with the number of a session. That is 16 bytes where a table of names would take 50, and a million clients
    /// of one name are a million entries in order; whoever asks has to compare the name.
    connected: BTreeSet<(u64, u64)>,
    /// How many sessions each has. Two names of one hash would count together; it is keyed, so that nobody finds them.
    sessions: HashMap<u64, u32, RandomState>,
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
        self.shard(hash).lock().connected.insert((hash, session));
    }

    pub(super) fn remove(&self, name: &str, session: u64) {
        let hash = self.hasher.hash_one(name);
        self.shard(hash).lock().connected.remove(&(hash, session));
    }

    /// Counts one more session of this name, unless it has `max`; 0 for no limit. Returns whether it did.
    pub(super) fn count_in(&self, name: &str, max: u32) -> bool {
        let hash = self.hasher.hash_one(name);
        let mut names = self.shard(hash).lock();
        let count = names.sessions.entry(hash).or_default();
        let has_room = max == 0 || *count < max;
        *count += u32::from(has_room);
        has_room
    }

    /// One of them is gone.
    pub(super) fn count_out(&self, name: &str) {
        let hash = self.hasher.hash_one(name);
        let mut names = self.shard(hash).lock();
        if let Entry::Occupied(mut count) = names.sessions.entry(hash) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// At most `n` sessions in order, behind `behind`, most likely of this name.
    pub(super) fn page(&self, name: &str, behind: u64, n: usize) -> Vec<u64> {
        let hash = self.hasher.hash_one(name);
        let range = (Bound::Excluded((hash, behind)), Bound::Included((hash, u64::MAX)));
        let names = self.shard(hash).lock();
        names.connected.range(range).take(n).map(|(_, session)| *session).collect()
    }

    fn shard(&self, hash: u64) -> &Mutex<Names> {
        &self.shards[hash as usize % SHARDS]
    }
}
