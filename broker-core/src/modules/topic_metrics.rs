//! Topic metrics: counts of single topics an operator registered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_codec::QoS;

use crate::message::Publication;

/// Registered topics with their counts. A topic is counted where its messages are published, so the cost
/// for the others is one lookup.
pub(crate) struct TopicMetrics {
    topics: HashMap<Box<str>, Counts>,
}

#[derive(Default)]
struct Counts {
    messages_in: AtomicU64,
    by_qos: [AtomicU64; 3],
    dropped: AtomicU64,
}

/// Counts of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicCounts {
    /// Messages published to it.
    pub messages_in: u64,
    /// The same by QoS.
    pub qos_in: [u64; 3],
    /// Messages nobody received.
    pub dropped: u64,
}

impl TopicMetrics {
    pub(crate) fn new(topics: &[String]) -> Option<Self> {
        if topics.is_empty() {
            return None;
        }
        Some(Self {
            topics: topics.iter().map(|t| (t.as_str().into(), Counts::default())).collect(),
        })
    }

    pub(crate) fn count_in(&self, publication: &Publication<'_>) {
        if let Some(counts) = self.topics.get(publication.topic) {
            counts.messages_in.fetch_add(1, Ordering::Relaxed);
            counts.by_qos[publication.qos as usize % 3].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_dropped(&self, publication: &Publication<'_>) {
        if let Some(counts) = self.topics.get(publication.topic) {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn list(&self) -> Vec<(String, TopicCounts)> {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let counts = |c: &Counts| TopicCounts {
            messages_in: load(&c.messages_in),
            qos_in: [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
                .map(|qos| load(&c.by_qos[qos as usize])),
            dropped: load(&c.dropped),
        };
        let mut list: Vec<_> =
            self.topics.iter().map(|(topic, c)| (topic.to_string(), counts(c))).collect();
        list.sort_by(|(a, _), (b, _)| a.cmp(b));
        list
    }
}
