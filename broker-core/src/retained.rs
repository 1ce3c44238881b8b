//! Retained Messages: the last message of each topic that was published with RETAIN (MQTT 5.0, 3.3.1.3).

mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use broker_codec::topic;
use foldhash::fast::FixedState;
use parking_lot::RwLock;

use self::topics::Topics;
use crate::clock::Now;
use crate::config::RetainedConfig;
use crate::directory::Start;
use crate::gauge::Gauge;
use crate::message::{Message, weight};

/// Topics in order, cut into shards by their first level.
///
/// Order makes one table do for single topics and for wildcards: the topics a filter can match lie together
/// behind its plain levels, and a replay goes on behind the topic where it stopped.
pub(crate) struct Retained {
    shards: Box<[RwLock<Shard>]>,
    topics: Topics,
    config: RwLock<RetainedConfig>,
    /// Shared with the metrics, which show it.
    len: Arc<Gauge>,
    bytes: AtomicUsize,
    sweep_at_ms: AtomicU64,
}

#[derive(Default)]
struct Shard {
    /// Messages by topic.
    messages: BTreeMap<Arc<str>, Arc<Message>>,
    /// When those expire that do, so that the first need not be searched for.
    ends: BTreeSet<(u64, Arc<str>)>,
}

const SHARDS: usize = 16;
/// Messages of one page of a replay, and topics looked at for it.
const PAGE: usize = 64;
const PAGE_TOPICS: usize = 4096;
/// Expired messages that are dropped under one lock.
const DROPPED_AT_ONCE: usize = 256;
/// Pause between two looks at what has expired.
const SWEEP_EVERY_MS: u64 = 60_000;

/// How far a replay has come.
#[derive(Default)]
pub(crate) struct Cursor {
    shard: usize,
    after: Option<Arc<str>>,
    done: bool,
    looked_at: usize,
}

impl Cursor {
    pub(crate) fn is_at_end(&self) -> bool {
        self.done
    }

    /// Topics that were looked at for the last page.
    pub(crate) fn looked_at(&self) -> usize {
        self.looked_at
    }
}

/// A message that was kept.
pub(crate) struct Set {
    /// As it is kept: perhaps with an expiry of the broker's.
    pub(crate) message: Arc<Message>,
    pub(crate) step: u64,
    /// It has taken the place of one that had expired.
    pub(crate) outlived: bool,
}

/// What became of a topic that has no retained message any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Removed {
    /// The step of that.
    pub(crate) step: u64,
    /// It had one until now.
    pub(crate) was_there: bool,
    /// That one had expired.
    pub(crate) has_expired: bool,
}

/// The store of retained messages is full, or the message too large for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

impl Retained {
    pub(crate) fn new(config: RetainedConfig) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            topics: Topics::default(),
            config: RwLock::new(config),
            len: Arc::default(),
            bytes: AtomicUsize::new(0),
            sweep_at_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn configure(&self, config: RetainedConfig) {
        *self.config.write() = config;
    }

    /// False while nothing is kept and nothing of what is kept is shown.
    pub(crate) fn is_enabled(&self) -> bool {
        self.config.read().enabled
    }

    pub(crate) fn len(&self) -> usize {
        self.len.now()
    }

    /// Number of messages, and the highest it has been.
    pub(crate) const fn gauge(&self) -> &Arc<Gauge> {
        &self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Keeps `message` as the retained one of its topic [MQTT-3.3.1-5]. Returns what is kept, with the step
    /// that `next_step` gave it.
    pub(crate) fn set(
        &self,
        message: &Arc<Message>,
        now: Now,
        next_step: impl FnOnce() -> u64,
    ) -> Result<Set, Refused> {
        let config = self.config.read();
        if config.max_payload_bytes > 0 && message.payload.len() > config.max_payload_bytes {
            return Err(Refused);
        }
        let mut shard = self.shards[shard_of(&message.topic)].write();
        let (old, outlived) = shard
            .messages
            .get(&message.topic)
            .map_or((0, false), |old| (old.weight(), old.is_expired(now)));
        let bytes = self.bytes() + message.weight() - old;
        let is_full = (config.max_messages > 0 && old == 0 && self.len() >= config.max_messages)
            || (config.max_bytes > 0 && bytes > config.max_bytes);
        if is_full {
            return Err(Refused);
        }
        let mut kept = Arc::clone(message);
        if kept.expires_at_ms.is_none() && config.expiry_interval_s > 0 {
            let expires_at_ms =
                Some(kept.published_at_ms + u64::from(config.expiry_interval_s) * 1000);
            kept = Arc::new(Message { expires_at_ms, ..Message::clone(message) });
        }
        self.put(&mut shard, Arc::clone(&kept));
        Ok(Set { message: kept, step: next_step(), outlived })
    }

    /// True if there is room for these messages, each given by its topic and the bytes of its payload.
    pub(crate) fn takes<'a>(&self, messages: impl Iterator<Item = (&'a str, usize)>) -> bool {
        let config = self.config.read();
        let (mut n_new, mut new_bytes, mut old_bytes) = (0, 0, 0);
        for (topic, payload_bytes) in messages {
            if config.max_payload_bytes > 0 && payload_bytes > config.max_payload_bytes {
                return false;
            }
            let old = self.get(topic);
            n_new += usize::from(old.is_none());
            new_bytes += weight(topic, payload_bytes, 0);
            old_bytes += old.map_or(0, |old| old.weight());
        }
        let fits = |max, sum| max == 0 || sum <= max;
        (n_new == 0 || fits(config.max_messages, self.len() + n_new))
            && (new_bytes == 0
                || fits(config.max_bytes, (self.bytes() + new_bytes).saturating_sub(old_bytes)))
    }

    /// Puts a message back that the store had, whatever the limits are now.
    pub(crate) fn restore(&self, message: Message) {
        let mut shard = self.shards[shard_of(&message.topic)].write();
        self.put(&mut shard, Arc::new(message));
    }

    fn put(&self, shard: &mut Shard, message: Arc<Message>) {
        self.bytes.fetch_add(message.weight(), Ordering::Relaxed);
        let topic = Arc::clone(&message.topic);
        if let Some(at_ms) = message.expires_at_ms {
            shard.ends.insert((at_ms, Arc::clone(&topic)));
        }
        let end_ms = message.expires_at_ms;
        match shard.messages.insert(Arc::clone(&topic), message) {
            None => {
                self.len.add(1);
                self.topics.add(&topic);
            }
            Some(old) => {
                self.bytes.fetch_sub(old.weight(), Ordering::Relaxed);
                if let Some(at_ms) = old.expires_at_ms.filter(|_| old.expires_at_ms != end_ms) {
                    shard.ends.remove(&(at_ms, topic));
                }
            }
        }
    }

    fn take(&self, shard: &mut Shard, topic: &str) -> Option<Arc<Message>> {
        let message = shard.messages.remove(topic)?;
        if let Some(at_ms) = message.expires_at_ms {
            shard.ends.remove(&(at_ms, Arc::clone(&message.topic)));
        }
        self.len.sub(1);
        self.bytes.fetch_sub(message.weight(), Ordering::Relaxed);
        self.topics.remove(topic);
        Some(message)
    }

    /// Calls `visit` with every message, a page under one lock at a time.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Arc<Message>)) {
        for shard in &self.shards {
            let mut after: Option<Arc<str>> = None;
            loop {
                let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let page: Vec<_> = {
                    let messages = &shard.read().messages;
                    let page =
                        messages.range::<str, _>((start, Bound::Unbounded)).take(PAGE_TOPICS);
                    page.map(|(_, message)| Arc::clone(message)).collect()
                };
                page.iter().for_each(&mut visit);
                match page.last() {
                    Some(last) => after = Some(Arc::clone(&last.topic)),
                    None => break,
                }
            }
        }
    }

    /// Forgets the retained message of a topic [MQTT-3.3.1-6]. `next_step` is told whether there is one.
    pub(crate) fn remove(
        &self,
        topic: &str,
        now: Now,
        next_step: impl FnOnce(bool) -> u64,
    ) -> Removed {
        let mut shard = self.shards[shard_of(topic)].write();
        let old = self.take(&mut shard, topic);
        let was_there = old.is_some();
        let has_expired = old.is_some_and(|message| message.is_expired(now));
        Removed { step: next_step(was_there), was_there, has_expired }
    }

    pub(crate) fn get(&self, topic: &str) -> Option<Arc<Message>> {
        self.shards[shard_of(topic)].read().messages.get(topic).cloned()
    }

    /// At most `n` topics in order.
    pub(crate) fn topics(&self, start: Start<'_, str>, n: usize) -> Vec<Arc<str>> {
        self.topics.page(start, n)
    }

    /// True if `message` is still the retained one of its topic, or says the same.
    ///
    /// One that was read back from the store is another copy.
    pub(crate) fn is_current(&self, message: &Arc<Message>) -> bool {
        if !self.is_enabled() {
            return false;
        }
        let shard = self.shards[shard_of(&message.topic)].read();
        shard.messages.get(&message.topic).is_some_and(|kept| {
            Arc::ptr_eq(kept, message)
                || (kept.published_at_ms == message.published_at_ms
                    && kept.qos == message.qos
                    && kept.payload == message.payload)
        })
    }

    /// The next messages whose topic matches `filter`, in the order of their topics.
    pub(crate) fn page(&self, filter: &str, cursor: &mut Cursor, now: Now) -> Vec<Arc<Message>> {
        if !self.is_enabled() {
            cursor.done = true;
            return Vec::new();
        }
        if !topic::has_wildcard(filter) {
            cursor.done = true;
            cursor.looked_at = 1;
            return self.get(filter).into_iter().filter(|m| !m.is_expired(now)).collect();
        }
        let prefix = plain_prefix(filter);
        let has_own_shard = !filter.starts_with(['+', '#']);
        if has_own_shard {
            cursor.shard = shard_of(filter);
        }
        let mut page = Vec::new();
        cursor.looked_at = 1;
        let shard = self.shards[cursor.shard].read();
        let start = match &cursor.after {
            Some(after) => Bound::Excluded(&**after),
            None => Bound::Included(prefix),
        };
        for (topic, message) in shard.messages.range::<str, _>((start, Bound::Unbounded)) {
            if !topic.starts_with(prefix) {
                break;
            }
            if topic::matches(filter, topic) && !message.is_expired(now) {
                page.push(Arc::clone(message));
            }
            cursor.looked_at += 1;
            if page.len() >= PAGE || cursor.looked_at > PAGE_TOPICS {
                cursor.after = Some(Arc::clone(topic));
                return page;
            }
        }
        cursor.after = None;
        cursor.shard += 1;
        cursor.done = has_own_shard || cursor.shard >= SHARDS;
        page
    }

    /// When [`sweep`](Self::sweep) has something to do, on the monotonic clock.
    pub(crate) fn next_sweep_ms(&self) -> Option<u64> {
        (self.len() > 0).then(|| self.sweep_at_ms.load(Ordering::Relaxed))
    }

    /// Drops the expired messages if that is due. Returns how many.
    pub(crate) fn sweep(&self, now: Now) -> usize {
        if self.next_sweep_ms().is_none_or(|at_ms| at_ms > now.mono_ms) {
            return 0;
        }
        self.sweep_at_ms.store(now.mono_ms + SWEEP_EVERY_MS, Ordering::Relaxed);
        self.drop_expired(now)
    }

    /// Drops the expired messages. Returns how many.
    ///
    /// Some at a time: publishers and subscribers wait for no more than them.
    pub(crate) fn drop_expired(&self, now: Now) -> usize {
        self.shards.iter().map(|shard| self.drop_expired_of(shard, now)).sum()
    }

    fn drop_expired_of(&self, shard: &RwLock<Shard>, now: Now) -> usize {
        let has_expired =
            |shard: &Shard| shard.ends.first().is_some_and(|(at_ms, _)| *at_ms <= now.wall_ms);
        let mut n_dropped = 0;
        while has_expired(&shard.read()) {
            let mut shard = shard.write();
            for _ in 0..DROPPED_AT_ONCE {
                let Some((_, topic)) = shard.ends.first().filter(|_| has_expired(&shard)) else {
                    break;
                };
                let topic = Arc::clone(topic);
                n_dropped += usize::from(self.take(&mut shard, &topic).is_some());
            }
        }
        n_dropped
    }
}

fn shard_of(topic: &str) -> usize {
    let first = topic.split('/').next().unwrap_or_default();
    (FixedState::with_seed(0).hash_one(first.as_bytes()) as usize) % SHARDS
}

/// What every topic matched by `filter` begins with: `a/` of `a/+/b`; nothing of `a/#`'s last slash, for
/// that matches `a` too.
fn plain_prefix(filter: &str) -> &str {
    let at = filter.find(['+', '#']).unwrap_or(filter.len());
    let prefix = &filter[..at];
    if filter[at..].starts_with('#') { prefix.strip_suffix('/').unwrap_or(prefix) } else { prefix }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Publisher;
    use broker_codec::QoS;
    use bytes::Bytes;
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    fn message(topic: &str, payload: &'static [u8]) -> Arc<Message> {
        Arc::new(Message {
            topic: topic.into(),
            payload: Bytes::from_static(payload),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: broker_codec::PropertiesBuf::new(),
            expires_at_ms: None,
            published_at_ms: 0,
            number: Default::default(),
            publisher: Publisher::Broker("test".into()),
            stored: Default::default(),
        })
    }

    fn config() -> RetainedConfig {
        RetainedConfig {
            enabled: true,
            max_messages: 0,
            max_bytes: 0,
            max_payload_bytes: 0,
            expiry_interval_s: 0,
        }
    }

    fn all(retained: &Retained, filter: &str, now: Now) -> Vec<String> {
        let mut cursor = Cursor::default();
        let mut found = Vec::new();
        while !cursor.is_at_end() {
            let page = retained.page(filter, &mut cursor, now);
            found.extend(page.iter().map(|m| m.topic.to_string()));
        }
        found
    }

    proptest! {
        #[test]
        fn pages_find_what_the_plain_matcher_finds(
            names in prop::collection::btree_set("([ab$]|c{2})(/([ab-]|)){0,3}", 0..200),
            filter in "([ab+]|c{2})(/([ab+]|)){0,3}(/#)?",
        ) {
            let retained = Retained::new(config());
            for name in &names {
                retained.set(&message(name, b"x"), Now::default(), || 0).unwrap();
            }
            let found = all(&retained, &filter, Now::default());
            let unique: BTreeSet<_> = found.iter().cloned().collect();
            prop_assert_eq!(found.len(), unique.len(), "none twice");
            let expected: BTreeSet<_> =
                names.iter().filter(|name| topic::matches(&filter, name)).cloned().collect();
            prop_assert_eq!(unique, expected);
        }

        #[test]
        fn what_is_listed_is_what_is_kept(
            steps in prop::collection::vec(("[a-e]/[a-c]", 0_u64..8, 0..3_u8), 0..50),
        ) {
            let retained = Retained::new(config());
            // By topic, when it expires.
            let mut kept = BTreeMap::new();
            for (n, (topic, end_s, what)) in steps.into_iter().enumerate() {
                let now = Now::default().plus_ms(n as u64 * 50);
                if what == 0 {
                    retained.remove(&topic, now, |_| 0);
                    kept.remove(&topic);
                } else {
                    let expires_at_ms = Some(end_s * 1_000).filter(|_| what == 1);
                    let message = Message::clone(&message(&topic, b"x"));
                    let message = Message { expires_at_ms, ..message };
                    retained.set(&Arc::new(message), now, || 0).unwrap();
                    kept.insert(topic, expires_at_ms);
                }
                let before = kept.len();
                kept.retain(|_, end_ms| end_ms.is_none_or(|end_ms| end_ms > now.wall_ms));
                prop_assert_eq!(retained.drop_expired(now), before - kept.len());
                check_lists(&retained, &kept)?;
            }
        }
    }

    fn check_lists(
        retained: &Retained,
        kept: &BTreeMap<String, Option<u64>>,
    ) -> Result<(), TestCaseError> {
        let topics = |start, n| -> Vec<String> {
            retained.topics(start, n).iter().map(|topic| topic.to_string()).collect()
        };
        prop_assert_eq!(topics(Start::Rank(0), 100), kept.keys().cloned().collect::<Vec<_>>());
        let behind_c = kept.keys().filter(|topic| topic.as_str() > "c").take(3);
        prop_assert_eq!(topics(Start::Behind("c"), 3), behind_c.cloned().collect::<Vec<_>>());
        prop_assert_eq!(retained.len(), kept.len());
        let n_ends: usize = retained.shards.iter().map(|shard| shard.read().ends.len()).sum();
        prop_assert_eq!(n_ends, kept.values().flatten().count());
        Ok(())
    }

    #[test]
    fn a_full_store_refuses_new_topics_but_replaces_and_removes() {
        let retained = Retained::new(RetainedConfig { max_messages: 1, ..config() });
        assert!(retained.set(&message("a", b"1"), Now::default(), || 0).is_ok());
        assert!(retained.set(&message("b", b"1"), Now::default(), || 0).is_err());
        assert!(retained.set(&message("a", b"22"), Now::default(), || 0).is_ok());
        assert_eq!(&retained.get("a").unwrap().payload[..], b"22");
        for was_there in [true, false] {
            let removed = retained.remove("a", Now::default(), u64::from);
            assert_eq!(removed, Removed { step: was_there.into(), was_there, has_expired: false });
        }
        assert_eq!((retained.len(), retained.bytes()), (0, 0));
        assert!(retained.set(&message("b", b"1"), Now::default(), || 0).is_ok());
    }

    #[test]
    fn an_expired_message_is_not_found_and_swept() {
        let retained = Retained::new(RetainedConfig { expiry_interval_s: 2, ..config() });
        retained.set(&message("a/b", b"1"), Now::default(), || 0).unwrap();
        let later = Now::default().plus_ms(2000);
        assert_eq!(all(&retained, "a/+", Now::default()).len(), 1);
        assert_eq!(all(&retained, "a/+", later).len(), 0);
        assert_eq!(retained.sweep(later), 1);
        assert_eq!((retained.len(), retained.bytes()), (0, 0));
    }
}
