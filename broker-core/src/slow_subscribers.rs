//! Slow subscribers: the clients that are longest in taking what is theirs, and its topics.
//!
//! A message of QoS 1 or 2 takes the time it waits in the queue of a client that is there, and from when it is sent
//! until it is acknowledged. What is acknowledged in time costs a comparison. What is not is noted by its thread and told at the end of the
//! pass, so that the table is locked once for all of them.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::client::ClientId;
use crate::clock::Now;
use crate::config::SlowSubscribersConfig;

/// An acknowledgement that took longer than it should.
pub(crate) struct LateAck {
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
    config: SlowSubscribersConfig,
    /// What is slow, in microseconds; `u64::MAX` if nothing is.
    from_us: u64,
    by_client: Mutex<HashMap<Key, Entry, RandomState>>,
}

type Key = (ClientId, Arc<str>);

struct Entry {
    latency_us: u64,
    count: u64,
    last: Now,
}

impl SlowSubscribers {
    pub(crate) fn new(config: SlowSubscribersConfig) -> Self {
        let is_on = config.enabled && config.top_k > 0;
        let from_us = if is_on { config.threshold_ms.saturating_mul(1000) } else { u64::MAX };
        Self { config, from_us, by_client: Mutex::default() }
    }

    /// Whether so long is worth a note.
    pub(crate) const fn is_slow(&self, latency_us: u64) -> bool {
        latency_us >= self.from_us
    }

    /// Takes the notes of one pass. Cost for a client that is not known, once the table is full: a look at all
    /// that is in it.
    pub(crate) fn tell(&self, notes: impl IntoIterator<Item = LateAck>, now: Now) {
        let mut by_client = self.by_client.lock();
        for LateAck { client_id, topic, latency_us } in notes {
            let key = (client_id, topic);
            if let Some(entry) = by_client.get_mut(&key) {
                // Who was slow long ago and is again begins anew.
                if self.is_over(entry, now) {
                    (entry.latency_us, entry.count) = (0, 0);
                }
                entry.latency_us = entry.latency_us.max(latency_us);
                entry.count += 1;
                entry.last = now;
                continue;
            }
            if by_client.len() >= self.config.top_k {
                by_client.retain(|_, entry| !self.is_over(entry, now));
            }
            if by_client.len() >= self.config.top_k {
                let quickest = by_client.iter().min_by_key(|(_, entry)| entry.latency_us);
                let Some((quickest, entry)) = quickest else { return };
                if entry.latency_us >= latency_us {
                    continue;
                }
                let quickest = quickest.clone();
                by_client.remove(&quickest);
            }
            by_client.insert(key, Entry { latency_us, count: 1, last: now });
        }
    }

    fn is_over(&self, entry: &Entry, now: Now) -> bool {
        entry.last.mono_ms + self.config.expire_interval_ms <= now.mono_ms
    }

    /// Those of the last `expire_interval_ms`, the slowest first.
    pub(crate) fn list(&self, now: Now) -> Vec<SlowSubscription> {
        let by_client = self.by_client.lock();
        let mut list: Vec<_> = by_client
            .iter()
            .filter(|(_, entry)| !self.is_over(entry, now))
            .map(|((client_id, topic), entry)| SlowSubscription {
                client_id: client_id.clone(),
                topic: Arc::clone(topic),
                latency_us: entry.latency_us,
                count: entry.count,
                last_at_ms: entry.last.wall_ms,
            })
            .collect();
        drop(by_client);
        list.sort_by(|a, b| {
            let slower = b.latency_us.cmp(&a.latency_us);
            slower.then_with(|| (&a.client_id, &a.topic).cmp(&(&b.client_id, &b.topic)))
        });
        list
    }

    /// Starts anew.
    pub(crate) fn clear(&self) {
        self.by_client.lock().clear();
    }
}

#[cfg(test)]
mod tests;
