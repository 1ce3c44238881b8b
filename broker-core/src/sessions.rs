//! Sessions by Client Identifier, in shards so that connecting clients do not queue for one lock; and as a list
//! in the order of their numbers, from which those who page through them read.

mod usernames;

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::{FixedState, RandomState};
use parking_lot::{Mutex, RwLock};

use crate::client::ClientInfo;
use crate::control::give_back::fitting;
use crate::directory::{self, Directory, Rows, Start};
use crate::gauge::Gauge;
use crate::session::{Session, State};
use usernames::Usernames;

type Shard = RwLock<HashSet<Entry, RandomState>>;

const SHARDS: usize = 64;

pub(crate) struct Sessions {
    shards: Box<[Shard]>,
    /// Locked for the moment in which something changes that it shows, inside the lock of the session concerned
    /// or of its shard, so that both say the same; nothing is locked inside.
    order: Mutex<Directory<Listed>>,
    /// Those that are connected under a user name, and how many there are of each. Changed likewise.
    usernames: Usernames,
    len: Gauge,
    connected: Gauge,
    persistent: Gauge,
    numbers: AtomicU64,
}

/// Why a session is not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotInserted {
    /// Its Client Identifier has one already.
    Exists,
    /// `limits.user.max_sessions` is reached.
    TooManyOfUser,
}

/// A session that is found by its Client Identifier: beside a key of its own it would cost three times as much.
struct Entry(Arc<Session>);

/// A session in the order of numbers: 24 bytes for the lists of sessions, connections and subscriptions.
struct Listed {
    number: u64,
    session: Arc<Session>,
    subscriptions: u32,
    is_connected: bool,
}

/// What is listed beside sessions, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Those that a connection serves.
    Connections,
    /// Subscriptions, of which a session may have many.
    Subscriptions,
}

impl directory::Entry for Listed {
    type Key = u64;

    fn key(&self) -> &u64 {
        &self.number
    }

    fn rows(&self) -> Rows {
        let mut rows = [0; 2];
        rows[Of::Connections as usize] = usize::from(self.is_connected);
        rows[Of::Subscriptions as usize] = self.subscriptions as usize;
        rows
    }
}

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
            order: Mutex::default(),
            usernames: Usernames::default(),
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

    /// Adds a session. `state` is the session's; its user has `max_of_user` at most, 0 for no limit.
    ///
    /// # Errors
    /// Its Client Identifier has one, or its user has as many as it may.
    pub(crate) fn insert(
        &self,
        session: &Arc<Session>,
        state: &State,
        max_of_user: u32,
    ) -> Result<(), NotInserted> {
        let client_id = session.client_id().as_str();
        let mut shard = self.shard(client_id).write();
        if shard.contains(client_id) {
            return Err(NotInserted::Exists);
        }
        if let Some(username) = &state.client.username
            && !self.usernames.count_in(username, max_of_user)
        {
            return Err(NotInserted::TooManyOfUser);
        }
        shard.insert(Entry(Arc::clone(session)));
        self.len.add(1);
        self.persistent.add(usize::from(session.is_persistent()));
        // Within the shard's lock: who removes the session finds it in both.
        self.order.lock().insert(Listed {
            number: session.number(),
            session: Arc::clone(session),
            subscriptions: state.subscriptions.len() as u32,
            is_connected: false,
        });
        Ok(())
    }

    /// Removes exactly this session, which is of this user.
    pub(crate) fn remove(&self, session: &Arc<Session>, username: Option<&str>) {
        let client_id = session.client_id().as_str();
        let mut shard = self.shard(client_id).write();
        if shard.get(client_id).is_some_and(|entry| Arc::ptr_eq(&entry.0, session)) {
            shard.remove(client_id);
            if let Some(username) = username {
                self.usernames.count_out(username);
            }
            self.len.sub(1);
            self.persistent.sub(usize::from(session.is_persistent()));
            self.order.lock().remove(&session.number());
        }
    }

    /// A session has another number of subscriptions. `state` is the session's, locked.
    pub(crate) fn note_subscriptions(&self, state: &State) {
        let n = state.subscriptions.len() as u32;
        self.order.lock().change(&state.number(), |listed| listed.subscriptions = n);
    }

    /// The connection of a client serves a session from now on, and its lock is held.
    pub(crate) fn note_connected(&self, session: u64, client: &ClientInfo) {
        self.connected.add(1);
        self.order.lock().change(&session, |listed| listed.is_connected = true);
        if let Some(username) = &client.username {
            self.usernames.insert(username, session);
        }
    }

    /// It does so no more.
    pub(crate) fn note_disconnected(&self, session: u64, client: &ClientInfo) {
        self.connected.sub(1);
        self.order.lock().change(&session, |listed| listed.is_connected = false);
        if let Some(username) = &client.username {
            self.usernames.remove(username, session);
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

    /// Connections or subscriptions of all sessions.
    pub(crate) fn count(&self, of: Of) -> usize {
        self.order.lock().rows(of as usize)
    }

    /// At most `n` sessions in the order of their numbers.
    pub(crate) fn page(&self, start: Start<'_, u64>, n: usize) -> Vec<Arc<Session>> {
        let order = self.order.lock();
        order.from(start).take(n).map(|listed| Arc::clone(&listed.session)).collect()
    }

    /// At most `n` of those that have such.
    pub(crate) fn page_of(&self, of: Of, start: Start<'_, u64>, n: usize) -> Vec<Arc<Session>> {
        let order = self.order.lock();
        let listed = order.with_rows_from(of as usize, start).take(n);
        listed.map(|listed| Arc::clone(&listed.session)).collect()
    }

    /// The number of the session that the connection or subscription behind `n` others belongs to, and how many
    /// of its own are among them.
    pub(crate) fn at(&self, of: Of, n: usize) -> Option<(u64, usize)> {
        self.order.lock().at_row(of as usize, n).map(|(listed, row)| (listed.number, row))
    }

    /// At most `n` sessions, in order, behind the one of number `behind`, that are likely to be connected under
    /// a user name.
    pub(crate) fn of_username(&self, name: &str, mut behind: u64, n: usize) -> Vec<Arc<Session>> {
        loop {
            let found = self.usernames.page(name, behind, n);
            let Some(last) = found.last() else { return Vec::new() };
            behind = *last;
            let order = self.order.lock();
            let listed = found.iter().filter_map(|number| order.get(number));
            let sessions: Vec<_> = listed.map(|listed| Arc::clone(&listed.session)).collect();
            // Unless all of them have just gone.
            if !sessions.is_empty() {
                return sessions;
            }
        }
    }

    /// Gives back the room that sessions have left which are gone. Returns how many bytes.
    pub(crate) fn shrink(&self) -> usize {
        let shrink = |shard: &Shard| {
            let (len, before) = {
                let entries = shard.read();
                (entries.len(), entries.capacity())
            };
            let Some(room) = fitting(len, before) else { return 0 };
            let mut entries = shard.write();
            entries.shrink_to(room);
            before.saturating_sub(entries.capacity()) * size_of::<Entry>()
        };
        self.shards.iter().map(shrink).sum()
    }

    /// A copy of the sessions of one shard; `None` past the last. No lock is held while they are used.
    pub(crate) fn snapshot(&self, shard: usize) -> Option<Vec<Arc<Session>>> {
        Some(self.shards.get(shard)?.read().iter().map(|entry| Arc::clone(&entry.0)).collect())
    }
}
