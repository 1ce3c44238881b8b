//! Metrics: plain counters of each thread, published once per turn and summed on reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

macro_rules! metrics {
    ($($variant:ident => $name:literal,)*) => {
        /// A counter, named as EMQ X 3.1 names it; those below `bytes` that it lacks are ours.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names say it")]
        pub enum Metric { $($variant,)* }

        impl Metric {
            /// Every metric, in the order of its declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name, `packets/publish/received`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

metrics! {
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
    DroppedQueueFull => "deliveries/dropped/queue_full",
    DroppedOutboxFull => "deliveries/dropped/outbox_full",
    DroppedTooLarge => "deliveries/dropped/too_large",
    DroppedNoLocal => "deliveries/dropped/no_local",
    DroppedOffline => "deliveries/dropped/qos0_offline",
    DroppedDamaged => "deliveries/dropped/damaged",
    DroppedRetainedFull => "retained/refused",
    PublishDenied => "publishes/denied",
}

const N: usize = Metric::ALL.len();

/// Counters of one thread between two publications.
pub(crate) struct Counters {
    values: [u64; N],
    shared: Arc<[AtomicU64; N]>,
    changed: bool,
}

impl Counters {
    pub(crate) fn add(&mut self, metric: Metric, by: u64) {
        self.values[metric as usize] += by;
        self.changed = true;
    }

    pub(crate) fn inc(&mut self, metric: Metric) {
        self.add(metric, 1);
    }

    /// Makes the counts visible to readers: plain stores into memory only this thread writes.
    pub(crate) fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            for (shared, value) in self.shared.iter().zip(&self.values) {
                shared.store(*value, Ordering::Relaxed);
            }
        }
    }
}

/// The counters of all threads.
#[derive(Default)]
pub struct Metrics {
    threads: Mutex<Vec<Arc<[AtomicU64; N]>>>,
}

impl Metrics {
    pub(crate) fn counters(&self) -> Counters {
        let shared = Arc::new([const { AtomicU64::new(0) }; N]);
        self.threads.lock().push(Arc::clone(&shared));
        Counters { values: [0; N], shared, changed: false }
    }

    /// The sum over all threads, exact up to their last finished turns.
    #[must_use]
    pub fn value(&self, metric: Metric) -> u64 {
        self.threads.lock().iter().map(|t| t[metric as usize].load(Ordering::Relaxed)).sum()
    }
}
