//! Slow subscribers: the clients that are longest in taking what is theirs, and its topics.
//!
//! A message of QoS 1 or 2 takes the time it waits in the queue of a client that is there, and from when it is sent
//! until it is acknowledged. What is acknowledged in time costs a comparison. What is not is noted by its thread and
//! told at the end of the pass, so that the table is locked once for all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::client::ClientId;
use crate::clock::Now;
use crate::config::SlowSubscribersConfig;

/// An acknowledgement that took longer than it should.
pub(crate) struct LateAck {
    /// Number of the session.
    pub(crate) session: u64,
    pub(crate) client_id: ClientId,
    pub(crate) topic: Arc<str>,
    pub(crate) latency_us: u64,
}

/// A client that was slow to take messages of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowSubscription {
    /// The client.
    pub client_id: ClientId,
    /// The topic of the messages, not the filter they came by.
    pub topic: Arc<str>,
    /// Its slowest: the time in its queue while it was connected, and from the first send to the acknowledgement.
    pub latency_us: u64,
    /// How many were slow.
    pub count: u64,
    /// When the last of them came, in milliseconds since the Unix epoch.
    pub last_at_ms: u64,
}

/// The slowest of them.
pub(crate) struct SlowSubscribers {
    /// What is slow, in microseconds; `u64::MAX` if nothing is.
    from_us: AtomicU64,
    table: Mutex<Table>,
}

struct Table {
    config: SlowSubscribersConfig,
    by_client: HashMap<Key, Entry, RandomState>,
}

type Key = (ClientId, Arc<str>);

struct Entry {
    latency_us: u64,
    count: u64,
    last: Now,
}

impl SlowSubscribers {
    pub(crate) fn new(config: SlowSubscribersConfig) -> Self {
        let from_us = AtomicU64::new(from_us(&config));
        Self { from_us, table: Mutex::new(Table { config, by_client: HashMap::default() }) }
    }

    /// Puts other settings in force. Who is kept stays, unless it is more than there may be.
    pub(crate) fn configure(&self, config: &SlowSubscribersConfig) {
        let mut table = self.table.lock();
        table.config = config.clone();
        self.from_us.store(from_us(config), Ordering::Relaxed);
        let top_k = if config.enabled { config.top_k } else { 0 };
        while table.by_client.len() > top_k && table.remove_quickest() {}
    }

    /// Whether so long is worth a note.
    pub(crate) fn is_slow(&self, latency_us: u64) -> bool {
        latency_us >= self.from_us.load(Ordering::Relaxed)
    }

    /// Takes the notes of one pass. Cost for a client that is not known, once the table is full: a look at all
    /// that is in it. `kept` hears of each that is kept: session and client.
    pub(crate) fn tell(
        &self,
        notes: impl IntoIterator<Item = LateAck>,
        now: Now,
        kept: impl Fn(u64, &ClientId),
    ) {
        let mut table = self.table.lock();
        // It may have been switched off meanwhile.
        if !table.config.enabled {
            return;
        }
        for note in notes {
            let (session, client_id) = (note.session, note.client_id.clone());
            if table.take(note, now) {
                kept(session, &client_id);
            }
        }
    }

    /// The slowest of one client, with the count of all; `None` if it is not kept.
    pub(crate) fn slowest_of(&self, client_id: &ClientId, now: Now) -> Option<SlowSubscription> {
        let table = self.table.lock();
        let own = table.by_client.iter().filter(|((id, _), _)| id == client_id);
        let own = own.filter(|(_, entry)| !entry.is_over(&table.config, now)).map(row);
        own.reduce(|a, b| {
            let count = a.count + b.count;
            let slowest = if a.latency_us >= b.latency_us { a } else { b };
            SlowSubscription { count, ..slowest }
        })
    }

    /// Those of the last `expire_interval_ms`, the slowest first.
    pub(crate) fn list(&self, now: Now) -> Vec<SlowSubscription> {
        let table = self.table.lock();
        let mut list: Vec<_> = table
            .by_client
            .iter()
            .filter(|(_, entry)| !entry.is_over(&table.config, now))
            .map(row)
            .collect();
        drop(table);
        list.sort_by(|a, b| {
            let slower = b.latency_us.cmp(&a.latency_us);
            slower.then_with(|| (&a.client_id, &a.topic).cmp(&(&b.client_id, &b.topic)))
        });
        list
    }

    /// Starts anew.
    pub(crate) fn clear(&self) {
        self.table.lock().by_client.clear();
    }
}

fn row(((client_id, topic), entry): (&Key, &Entry)) -> SlowSubscription {
    SlowSubscription {
        client_id: client_id.clone(),
        topic: Arc::clone(topic),
        latency_us: entry.latency_us,
        count: entry.count,
        last_at_ms: entry.last.wall_ms,
    }
}

/// What is slow by these settings, in microseconds.
const fn from_us(config: &SlowSubscribersConfig) -> u64 {
    let is_on = config.enabled && config.top_k > 0;
    if is_on { config.threshold_ms.saturating_mul(1000) } else { u64::MAX }
}

impl Table {
    /// Returns whether it is kept.
    fn take(&mut self, note: LateAck, now: Now) -> bool {
        let LateAck { client_id, topic, latency_us, .. } = note;
        let key = (client_id, topic);
        if let Some(entry) = self.by_client.get_mut(&key) {
            // Who was slow long ago and is again begins anew.
            if entry.is_over(&self.config, now) {
                (entry.latency_us, entry.count) = (0, 0);
            }
            entry.latency_us = entry.latency_us.max(latency_us);
            entry.count += 1;
            entry.last = now;
            return true;
        }
        if self.by_client.len() >= self.config.top_k {
            self.by_client.retain(|_, entry| !entry.is_over(&self.config, now));
        }
        if self.by_client.len() >= self.config.top_k {
            let quickest_us = self.by_client.values().map(|entry| entry.latency_us).min();
            if quickest_us.is_none_or(|us| us >= latency_us) {
                return false;
            }
            self.remove_quickest();
        }
        self.by_client.insert(key, Entry { latency_us, count: 1, last: now });
        true
    }

    /// Returns false if there is none.
    fn remove_quickest(&mut self) -> bool {
        let quickest = self.by_client.iter().min_by_key(|(_, entry)| entry.latency_us);
        let Some(quickest) = quickest.map(|(key, _)| key.clone()) else { return false };
        self.by_client.remove(&quickest).is_some()
    }
}

impl Entry {
    fn is_over(&self, config: &SlowSubscribersConfig, now: Now) -> bool {
        self.last.mono_ms + config.expire_interval_ms <= now.mono_ms
    }
}

#[cfg(test)]
mod tests;
