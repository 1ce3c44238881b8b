//! Metrics: plain counters of each thread, published twice per turn, each that moved, and summed on reading.
//!
//! What is the sum of other metrics is not counted but added up when somebody asks: it costs the data path
//! nothing, and it is that sum in every snapshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_codec::{Packet, QoS};
use parking_lot::Mutex;

use crate::gauge::Gauge;
use crate::latency::{Distribution, Histogram, Latency};

macro_rules! metrics {
    (
        original { $($variant:ident => $name:literal,)* }
        ours { $($our_variant:ident => $our_name:literal,)* }
    ) => {
        /// A counter, or the one gauge among them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names say it")]
        pub enum Metric { $($variant,)* $($our_variant,)* }

        impl Metric {
            /// Every metric, in the order of its declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)* $(Self::$our_variant,)*];

            /// Those that EMQ X 3.1 has.
            pub const ORIGINAL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name, `packets/publish/received`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    $(Self::$our_variant => $our_name,)*
                }
            }
        }
    };
}

metrics! {
    original {
        BytesReceived => "bytes/received",
        BytesSent => "bytes/sent",
        PacketsReceived => "packets/received",
        PacketsSent => "packets/sent",
        PacketsConnect => "packets/connect",
        PacketsConnAck => "packets/connack",
        PacketsPublishReceived => "packets/publish/received",
        PacketsPublishSent => "packets/publish/sent",
        PacketsPubAckReceived => "packets/puback/received",
        PacketsPubAckSent => "packets/puback/sent",
        PacketsPubAckMissed => "packets/puback/missed",
        PacketsPubRecReceived => "packets/pubrec/received",
        PacketsPubRecSent => "packets/pubrec/sent",
        PacketsPubRecMissed => "packets/pubrec/missed",
        PacketsPubRelReceived => "packets/pubrel/received",
        PacketsPubRelSent => "packets/pubrel/sent",
        PacketsPubRelMissed => "packets/pubrel/missed",
        PacketsPubCompReceived => "packets/pubcomp/received",
        PacketsPubCompSent => "packets/pubcomp/sent",
        PacketsPubCompMissed => "packets/pubcomp/missed",
        PacketsSubscribe => "packets/subscribe",
        PacketsSubAck => "packets/suback",
        PacketsUnsubscribe => "packets/unsubscribe",
        PacketsUnsubAck => "packets/unsuback",
        PacketsPingReq => "packets/pingreq",
        PacketsPingResp => "packets/pingresp",
        PacketsDisconnectReceived => "packets/disconnect/received",
        PacketsDisconnectSent => "packets/disconnect/sent",
        PacketsAuth => "packets/auth",
        MessagesReceived => "messages/received",
        MessagesSent => "messages/sent",
        MessagesQos0Received => "messages/qos0/received",
        MessagesQos0Sent => "messages/qos0/sent",
        MessagesQos1Received => "messages/qos1/received",
        MessagesQos1Sent => "messages/qos1/sent",
        MessagesQos2Received => "messages/qos2/received",
        MessagesQos2Sent => "messages/qos2/sent",
        MessagesQos2Dropped => "messages/qos2/dropped",
        MessagesQos2Expired => "messages/qos2/expired",
        MessagesDropped => "messages/dropped",
        MessagesExpired => "messages/expired",
        MessagesForward => "messages/forward",
        MessagesRetained => "messages/retained",
    }
    ours {
        PacketsAuthSent => "packets/auth/sent",
        DroppedQueueFull => "deliveries/dropped/queue_full",
        DroppedMemory => "deliveries/dropped/memory",
        DroppedOutboxFull => "deliveries/dropped/outbox_full",
        DroppedTooLarge => "deliveries/dropped/too_large",
        DroppedNoLocal => "deliveries/dropped/no_local",
        DroppedOffline => "deliveries/dropped/qos0_offline",
        DroppedDamaged => "deliveries/dropped/damaged",
        DroppedRevoked => "deliveries/dropped/revoked",
        DroppedRetainedFull => "retained/refused",
        PublishDenied => "publishes/denied",
        PublishUnrecorded => "publishes/unrecorded",
        SubscriptionsRevoked => "subscriptions/revoked",
        MessagesRecorded => "messages/recorded",
    }
}

impl Metric {
    /// True if it goes up and down; all others only ever grow.
    #[must_use]
    pub const fn is_gauge(self) -> bool {
        matches!(self, Self::MessagesRetained)
    }

    /// The metrics it is the sum of; none if it is counted itself.
    #[must_use]
    pub const fn parts(self) -> &'static [Self] {
        match self {
            Self::PacketsReceived => &[
                Self::PacketsConnect,
                Self::PacketsPublishReceived,
                Self::PacketsPubAckReceived,
                Self::PacketsPubRecReceived,
                Self::PacketsPubRelReceived,
                Self::PacketsPubCompReceived,
                Self::PacketsSubscribe,
                Self::PacketsUnsubscribe,
                Self::PacketsPingReq,
                Self::PacketsDisconnectReceived,
                Self::PacketsAuth,
            ],
            Self::PacketsSent => &[
                Self::PacketsConnAck,
                Self::PacketsPublishSent,
                Self::PacketsPubAckSent,
                Self::PacketsPubRecSent,
                Self::PacketsPubRelSent,
                Self::PacketsPubCompSent,
                Self::PacketsSubAck,
                Self::PacketsUnsubAck,
                Self::PacketsPingResp,
                Self::PacketsDisconnectSent,
                Self::PacketsAuthSent,
            ],
            Self::PacketsPublishReceived | Self::MessagesReceived => &[
                Self::MessagesQos0Received,
                Self::MessagesQos1Received,
                Self::MessagesQos2Received,
            ],
            Self::PacketsPublishSent | Self::MessagesSent => {
                &[Self::MessagesQos0Sent, Self::MessagesQos1Sent, Self::MessagesQos2Sent]
            }
            _ => &[],
        }
    }

    /// What a packet of a client is counted as.
    ///
    /// `None` for those that only a server sends, which no decoder of a server lets through.
    pub(crate) const fn received(packet: &Packet<'_>) -> Option<Self> {
        Some(match packet {
            Packet::Publish(publish) => match publish.qos {
                QoS::AtMostOnce => Self::MessagesQos0Received,
                QoS::AtLeastOnce => Self::MessagesQos1Received,
                QoS::ExactlyOnce => Self::MessagesQos2Received,
            },
            Packet::PubAck(_) => Self::PacketsPubAckReceived,
            Packet::PubRec(_) => Self::PacketsPubRecReceived,
            Packet::PubRel(_) => Self::PacketsPubRelReceived,
            Packet::PubComp(_) => Self::PacketsPubCompReceived,
            Packet::PingReq => Self::PacketsPingReq,
            Packet::Connect(_) => Self::PacketsConnect,
            Packet::Subscribe(_) => Self::PacketsSubscribe,
            Packet::Unsubscribe(_) => Self::PacketsUnsubscribe,
            Packet::Disconnect(_) => Self::PacketsDisconnectReceived,
            Packet::Auth(_) => Self::PacketsAuth,
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return None;
            }
        })
    }

    /// What a packet to a client is counted as. `None` for those that only a client sends.
    pub(crate) const fn sent(packet: &Packet<'_>) -> Option<Self> {
        Some(match packet {
            Packet::Publish(publish) => Self::message_sent(publish.qos),
            Packet::PubAck(_) => Self::PacketsPubAckSent,
            Packet::PubRec(_) => Self::PacketsPubRecSent,
            Packet::PubRel(_) => Self::PacketsPubRelSent,
            Packet::PubComp(_) => Self::PacketsPubCompSent,
            Packet::PingResp => Self::PacketsPingResp,
            Packet::ConnAck(_) => Self::PacketsConnAck,
            Packet::SubAck(_) => Self::PacketsSubAck,
            Packet::UnsubAck(_) => Self::PacketsUnsubAck,
            Packet::Disconnect(_) => Self::PacketsDisconnectSent,
            Packet::Auth(_) => Self::PacketsAuthSent,
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq => {
                return None;
            }
        })
    }

    /// What a PUBLISH to a client is counted as.
    pub(crate) const fn message_sent(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::MessagesQos0Sent,
            QoS::AtLeastOnce => Self::MessagesQos1Sent,
            QoS::ExactlyOnce => Self::MessagesQos2Sent,
        }
    }
}

const N: usize = Metric::ALL.len();

const _: () = assert!(N <= u64::BITS as usize, "`Counters::changed` has a bit for each");

/// What one thread has counted and measured, for all to read.
struct Published {
    counts: [AtomicU64; N],
    latencies: [Histogram; Latency::ALL.len()],
}

/// Counters of one thread between two publications.
pub(crate) struct Counters {
    values: [u64; N],
    shared: Arc<Published>,
    /// A bit for each metric that was not published since it moved.
    changed: u64,
    all: Arc<Mutex<Threads>>,
}

/// The counts of threads at work, and the sums of those that are gone.
struct Threads {
    at_work: Vec<Arc<Published>>,
    gone: [u64; N],
    latencies_gone: [Distribution; Latency::ALL.len()],
}

impl Counters {
    pub(crate) fn add(&mut self, metric: Metric, by: u64) {
        debug_assert!(metric.parts().is_empty() && !metric.is_gauge(), "{}", metric.name());
        self.values[metric as usize] += by;
        self.changed |= 1 << metric as u32;
    }

    pub(crate) fn inc(&mut self, metric: Metric) {
        self.add(metric, 1);
    }

    /// `n` things have taken `us` microseconds each. Visible at once.
    pub(crate) fn took(&self, latency: Latency, us: u64, n: u64) {
        self.shared.latencies[latency as usize].add(us, n);
    }

    /// Makes the counts visible to readers: plain stores into memory only this thread writes.
    pub(crate) fn publish(&mut self) {
        while self.changed != 0 {
            let at = self.changed.trailing_zeros() as usize;
            self.shared.counts[at].store(self.values[at], Ordering::Relaxed);
            self.changed &= self.changed - 1;
        }
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        all.at_work.retain(|published| !Arc::ptr_eq(published, &self.shared));
        all.gone.iter_mut().zip(&self.values).for_each(|(sum, value)| *sum += value);
        for (sum, histogram) in all.latencies_gone.iter_mut().zip(&self.shared.latencies) {
            histogram.add_to(sum);
        }
    }
}

/// The counters of all threads.
pub struct Metrics {
    threads: Arc<Mutex<Threads>>,
    retained: Arc<Gauge>,
}

/// The values of all metrics as they were read at one moment.
#[derive(Clone)]
pub struct Snapshot([u64; N]);

impl Metrics {
    pub(crate) fn new(retained: Arc<Gauge>) -> Self {
        let threads =
            Threads { at_work: Vec::new(), gone: [0; N], latencies_gone: Default::default() };
        Self { threads: Arc::new(Mutex::new(threads)), retained }
    }

    pub(crate) fn counters(&self) -> Counters {
        let counts = [const { AtomicU64::new(0) }; N];
        let shared = Arc::new(Published { counts, latencies: Default::default() });
        self.threads.lock().at_work.push(Arc::clone(&shared));
        Counters { values: [0; N], shared, changed: 0, all: Arc::clone(&self.threads) }
    }

    /// All values: sums over all threads, exact up to their last finished turns.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let threads = self.threads.lock();
        let mut values = threads.gone;
        for published in &threads.at_work {
            for (sum, value) in values.iter_mut().zip(&published.counts) {
                *sum += value.load(Ordering::Relaxed);
            }
        }
        values[Metric::MessagesRetained as usize] = self.retained.now() as u64;
        Snapshot(values)
    }

    /// How long something has taken, over all threads.
    #[must_use]
    pub fn latency(&self, latency: Latency) -> Distribution {
        let threads = self.threads.lock();
        let mut sum = threads.latencies_gone[latency as usize];
        threads.at_work.iter().for_each(|it| it.latencies[latency as usize].add_to(&mut sum));
        sum
    }

    /// One value. Who wants several takes a [`snapshot`](Self::snapshot), in which sums agree with their parts.
    #[must_use]
    pub fn value(&self, metric: Metric) -> u64 {
        self.snapshot().value(metric)
    }
}

impl Snapshot {
    /// The value of a metric.
    #[must_use]
    pub fn value(&self, metric: Metric) -> u64 {
        match metric.parts() {
            [] => self.0[metric as usize],
            parts => parts.iter().map(|part| self.value(*part)).sum(),
        }
    }

    /// Every metric with its value, in the order of [`Metric::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Metric, u64)> + '_ {
        Metric::ALL.iter().map(|metric| (*metric, self.value(*metric)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_the_original_has_43() {
        let names: HashSet<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names.len(), N);
        assert_eq!(Metric::ORIGINAL.len(), 43);
    }

    /// Which packet is counted as what is written once for each direction; a sum that leaves one out would be
    /// wrong for good.
    #[test]
    fn sums_of_packets_take_in_every_kind() {
        let received = "connect publish/received puback/received pubrec/received pubrel/received \
            pubcomp/received subscribe unsubscribe pingreq disconnect/received auth";
        let sent = "connack publish/sent puback/sent pubrec/sent pubrel/sent pubcomp/sent suback \
            unsuback pingresp disconnect/sent auth/sent";
        for (sum, parts) in [(Metric::PacketsReceived, received), (Metric::PacketsSent, sent)] {
            let names: HashSet<_> = sum.parts().iter().map(|part| part.name()).collect();
            let expected: Vec<_> =
                parts.split_whitespace().map(|part| format!("packets/{part}")).collect();
            assert_eq!(names, expected.iter().map(String::as_str).collect());
        }
    }

    #[test]
    fn a_thread_that_ends_leaves_its_counts_and_nothing_else() {
        let metrics = Metrics::new(Arc::default());
        let mut counters = metrics.counters();
        counters.add(Metric::BytesSent, 3);
        assert_eq!(metrics.value(Metric::BytesSent), 0, "the turn has not ended");
        counters.publish();
        assert_eq!(metrics.value(Metric::BytesSent), 3);
        counters.inc(Metric::MessagesQos1Sent);
        counters.took(Latency::Routing, 7, 2);
        let measured = metrics.latency(Latency::Routing);
        assert_eq!((measured.count(), measured.sum_us), (2, 14));
        drop(counters);
        assert_eq!(metrics.latency(Latency::Routing), measured);
        assert_eq!(metrics.latency(Latency::Acknowledgement), Distribution::default());
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.value(Metric::BytesSent), 3);
        assert_eq!(snapshot.value(Metric::PacketsSent), 1);
        assert!(metrics.threads.lock().at_work.is_empty());
    }
}
