//! Topic metrics: counts of single topics an operator registered.
//!
//! Each thread counts for itself and tells at the end of its pass, so that a topic many publish to is no line of
//! memory that their processors fight for. While no topic is registered, nothing is looked up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_codec::{QoS, topic};
use foldhash::fast::RandomState;
use parking_lot::RwLock;

use crate::broker::Broker;
use crate::message::Publication;
use crate::settings::Saved;

/// Topics that may be registered at once.
pub const TOPIC_METRICS_MAX: usize = 512;

/// What is counted of a topic, in the order of [`TopicCounts`]' fields.
const N: usize = 9;
const OUT: usize = 3;
const DROPPED: usize = 6;
const BYTES_IN: usize = 7;
const BYTES_OUT: usize = 8;

/// Counts of one topic since it was registered, exact up to the last finished passes of all threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicCounts {
    /// Messages published to it, by their QoS.
    pub qos_in: [u64; 3],
    /// PUBLISH packets with it that were written for clients, by their QoS; those sent again too.
    pub qos_out: [u64; 3],
    /// Messages published to it that nobody had subscribed to.
    pub dropped: u64,
    /// Payload bytes of the messages published to it.
    pub bytes_in: u64,
    /// Payload bytes of the PUBLISH packets with it that were written for clients.
    pub bytes_out: u64,
}

impl TopicCounts {
    /// Messages published to the topic.
    #[must_use]
    pub fn messages_in(&self) -> u64 {
        self.qos_in.iter().sum()
    }

    /// PUBLISH packets with the topic that were written for clients.
    #[must_use]
    pub fn messages_out(&self) -> u64 {
        self.qos_out.iter().sum()
    }
}

/// Why a topic is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddTopicError {
    /// It is no Topic Name.
    #[error("topic: {0}")]
    Malformed(topic::TopicError),
    /// It is counted already.
    #[error("already_exists")]
    AlreadyExists,
    /// There are [`TOPIC_METRICS_MAX`].
    #[error("too many topics")]
    TooMany,
}

/// Registered topics with their counts.
pub(crate) struct TopicMetrics {
    topics: RwLock<BTreeMap<Arc<str>, Arc<Counts>>>,
    /// Rises whenever a topic comes or goes.
    generation: AtomicU64,
}

#[derive(Default)]
struct Counts([AtomicU64; N]);

impl Counts {
    fn read(&self) -> TopicCounts {
        let [q0_in, q1_in, q2_in, q0_out, q1_out, q2_out, dropped, bytes_in, bytes_out] =
            self.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        TopicCounts {
            qos_in: [q0_in, q1_in, q2_in],
            qos_out: [q0_out, q1_out, q2_out],
            dropped,
            bytes_in,
            bytes_out,
        }
    }
}

impl TopicMetrics {
    /// The topics of the configuration; more than there may be are left out.
    pub(crate) fn new(topics: &[String]) -> Self {
        let counted = |topic: &String| (Arc::from(topic.as_str()), Arc::default());
        let topics = topics.iter().take(TOPIC_METRICS_MAX).map(counted).collect();
        Self { topics: RwLock::new(topics), generation: AtomicU64::new(1) }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// What a thread counts from now on; `None` if no topic is registered.
    pub(crate) fn tally(&self) -> (Option<Box<TopicTally>>, u64) {
        let topics = self.topics.read();
        let generation = self.generation();
        if topics.is_empty() {
            return (None, generation);
        }
        let places = topics.keys().enumerate().map(|(at, topic)| (Arc::clone(topic), at)).collect();
        let rows = topics.values().map(|shared| Row { shared: Arc::clone(shared), own: [0; N] });
        (
            Some(Box::new(TopicTally { places, rows: rows.collect(), touched: Vec::new() })),
            generation,
        )
    }
}

/// What one thread has counted in its pass.
pub(crate) struct TopicTally {
    places: HashMap<Arc<str>, usize, RandomState>,
    rows: Vec<Row>,
    /// Rows that are not all zero.
    touched: Vec<usize>,
}

struct Row {
    shared: Arc<Counts>,
    own: [u64; N],
}

impl TopicTally {
    /// A message is published.
    pub(crate) fn count_in(&mut self, publication: &Publication<'_>) {
        if let Some(own) = self.row(publication.topic) {
            own[publication.qos as usize] += 1;
            own[BYTES_IN] += publication.payload.len() as u64;
        }
    }

    /// A message has found nobody.
    pub(crate) fn count_dropped(&mut self, publication: &Publication<'_>) {
        if let Some(own) = self.row(publication.topic) {
            own[DROPPED] += 1;
        }
    }

    /// A message was written for a client.
    pub(crate) fn count_out(&mut self, topic: &str, qos: QoS, payload_bytes: usize) {
        if let Some(own) = self.row(topic) {
            own[OUT + qos as usize] += 1;
            own[BYTES_OUT] += payload_bytes as u64;
        }
    }

    fn row(&mut self, topic: &str) -> Option<&mut [u64; N]> {
        let at = *self.places.get(topic)?;
        let own = &mut self.rows.get_mut(at)?.own;
        if own.iter().all(|count| *count == 0) {
            self.touched.push(at);
        }
        Some(own)
    }

    /// Makes what was counted visible to readers.
    pub(crate) fn tell(&mut self) {
        for at in self.touched.drain(..) {
            let Row { shared, own } = &mut self.rows[at];
            for (shared, own) in shared.0.iter().zip(own.iter_mut()).filter(|(_, own)| **own > 0) {
                shared.fetch_add(std::mem::take(own), Ordering::Relaxed);
            }
        }
    }
}

impl Drop for TopicTally {
    fn drop(&mut self) {
        self.tell();
    }
}

const KIND: &str = "topic_metrics";

impl Broker {
    /// Counts of the topics that are registered, by topic: those of `module.topic_metrics`, and those of
    /// [`add_topic_metrics`](Self::add_topic_metrics).
    #[must_use]
    pub fn topic_metrics(&self) -> Vec<(Arc<str>, TopicCounts)> {
        let topics = self.topic_metrics.topics.read();
        topics.iter().map(|(topic, counts)| (Arc::clone(topic), counts.read())).collect()
    }

    /// Counts of one of them.
    #[must_use]
    pub fn topic_metrics_of(&self, topic: &str) -> Option<TopicCounts> {
        self.topic_metrics.topics.read().get(topic).map(|counts| counts.read())
    }

    /// Counts a topic from now on, and from its start after each restart.
    ///
    /// # Errors
    /// It is no Topic Name, it is counted already, or as many are as may be.
    pub fn add_topic_metrics(&self, topic: &str) -> Result<Saved, AddTopicError> {
        topic::validate_name(topic).map_err(AddTopicError::Malformed)?;
        let mut topics = self.topic_metrics.topics.write();
        if topics.contains_key(topic) {
            return Err(AddTopicError::AlreadyExists);
        }
        if topics.len() >= TOPIC_METRICS_MAX {
            return Err(AddTopicError::TooMany);
        }
        // Under the lock, so that the store has the last word of those who give orders at once.
        let saved = self.put_setting(KIND, topic, b"on");
        topics.insert(topic.into(), Arc::default());
        self.topic_metrics.generation.fetch_add(1, Ordering::Relaxed);
        Ok(saved)
    }

    /// Counts a topic no more; `None` if it was not counted. One of the configuration is back after a restart.
    pub fn remove_topic_metrics(&self, topic: &str) -> Option<Saved> {
        let mut topics = self.topic_metrics.topics.write();
        topics.remove(topic)?;
        self.topic_metrics.generation.fetch_add(1, Ordering::Relaxed);
        Some(self.remove_setting(KIND, topic))
    }

    /// Registers the topics that the store had.
    pub(crate) fn restore_topic_metrics(&self) {
        let mut topics = self.topic_metrics.topics.write();
        for (topic, _) in self.settings(KIND) {
            if topics.len() >= TOPIC_METRICS_MAX {
                log::warn!("topic is not counted: too many are topic={topic:?}");
            } else if topic::validate_name(&topic).is_ok() {
                topics.entry(topic.into()).or_default();
            }
        }
        self.topic_metrics.generation.fetch_add(1, Ordering::Relaxed);
    }
}
