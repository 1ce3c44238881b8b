//! Run: messages of QoS 0 that one client sends to one topic, one behind the other, on their way to many.
//!
//! A message for a thousand clients looks at a thousand sessions, whose memory lies anywhere. What follows it mostly
//! has the same receivers: so such messages are gathered while the packets of their publisher are handled, and each
//! receiver is looked at once for all of them. Their bytes are made once, and shared by the outboxes. A run ends with
//! the turn of its channel at the latest, and before anything else that the channel brings.

use std::ops::Range;
use std::sync::Arc;

use broker_codec::{ProtocolVersion, PublishHeader, QoS, encode_publish};
use bytes::Bytes;

use crate::clock::Now;
use crate::message::{Publication, Publisher};
use crate::router::fan_out::FanOut;

/// Receivers from which on messages are gathered: for fewer the bytes are as well made where they are to go.
const RECEIVERS_MIN: usize = 4;
/// Bytes of a run.
const BYTES_MAX: usize = 64 * 1024;
/// Larger messages go alone: there is nothing to be gained for them.
const PAYLOAD_MAX: usize = 16 * 1024;

/// The run at work, if there is one.
#[derive(Default)]
pub(crate) struct Run {
    at_work: Option<Gathered>,
    /// Bytes of the run before.
    before: usize,
}

/// Messages that were gathered.
pub(crate) struct Gathered {
    pub(crate) fan_out: Arc<FanOut>,
    publisher: Publisher,
    /// Their packets, as MQTT 3.1 and 3.1.1 have them.
    older: Vec<u8>,
    /// Where the payloads stand there.
    payloads: Vec<Range<usize>>,
}

/// Gathered messages on their way to each receiver.
pub(crate) struct Packets {
    gathered: Gathered,
    /// Of MQTT 3.1 and 3.1.1.
    older: Bytes,
    /// Of MQTT 5.0, once somebody needs them.
    v5: Option<Bytes>,
}

impl Run {
    /// True if a message to such receivers may begin a run.
    pub(crate) fn may_begin(publication: &Publication<'_>, fan_out: &FanOut) -> bool {
        fan_out.targets.len() >= RECEIVERS_MIN
            && fan_out.groups.is_empty()
            && fan_out.consumers.is_empty()
            && fan_out.observers.is_empty()
            && is_plain(publication)
            && !publication.topic.starts_with('$')
    }

    pub(crate) fn begin(&mut self, publication: &Publication<'_>, fan_out: Arc<FanOut>) {
        let mut gathered = Gathered {
            fan_out,
            publisher: publication.publisher.clone(),
            older: Vec::with_capacity(self.before),
            payloads: Vec::new(),
        };
        gathered.add(publication.payload);
        self.at_work = Some(gathered);
    }

    /// Adds a message if it belongs to the run. Returns its receivers.
    #[inline]
    pub(crate) fn add(&mut self, publication: &Publication<'_>) -> Option<usize> {
        let gathered = self.at_work.as_mut()?;
        let belongs = is_plain(publication)
            && *publication.topic == *gathered.fan_out.topic
            && publication.publisher.is_same(&gathered.publisher)
            && gathered.older.len() + publication.payload.len() <= BYTES_MAX;
        belongs.then(|| {
            gathered.add(publication.payload);
            gathered.fan_out.targets.len()
        })
    }

    /// Ends the run.
    pub(crate) fn take(&mut self) -> Option<Gathered> {
        let gathered = self.at_work.take()?;
        self.before = gathered.older.len();
        Some(gathered)
    }
}

/// True if nothing but topic and payload is to be said of it.
fn is_plain(publication: &Publication<'_>) -> bool {
    publication.qos == QoS::AtMostOnce
        && !publication.retain
        && publication.properties.is_empty()
        && publication.expires_at_ms.is_none()
        && publication.payload.len() <= PAYLOAD_MAX
}

impl Gathered {
    fn add(&mut self, payload: &[u8]) {
        let begin = append(&mut self.older, ProtocolVersion::V3_1_1, &self.fan_out.topic, payload);
        self.payloads.push(begin..self.older.len());
    }
}

/// Appends a packet. Returns where its payload begins.
fn append(to: &mut Vec<u8>, version: ProtocolVersion, topic: &str, payload: &[u8]) -> usize {
    encode_publish(to, version, &PublishHeader::default(), topic, payload.len());
    let begin = to.len();
    to.extend_from_slice(payload);
    begin
}

impl From<Gathered> for Packets {
    fn from(mut gathered: Gathered) -> Self {
        // A client that reads slowly keeps them for long, and no more than they are.
        let mut older = std::mem::take(&mut gathered.older);
        older.shrink_to_fit();
        Self { gathered, older: older.into(), v5: None }
    }
}

impl Packets {
    pub(crate) fn publisher(&self) -> &Publisher {
        &self.gathered.publisher
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.gathered.payloads.len()
    }

    /// No packet is longer than this, of whatever version.
    pub(crate) fn longest(&self) -> usize {
        self.older.len() + self.count()
    }

    /// Their bytes.
    pub(crate) fn bytes(&mut self, version: ProtocolVersion) -> &Bytes {
        let Self { gathered, older, v5 } = self;
        if !version.is_v5() {
            return older;
        }
        v5.get_or_insert_with(|| {
            // Each has one byte more, for the length of no properties, and perhaps one in its Remaining Length.
            let mut bytes = Vec::with_capacity(older.len() + 2 * gathered.payloads.len());
            for payload in &gathered.payloads {
                append(&mut bytes, version, &gathered.fan_out.topic, &older[payload.clone()]);
            }
            bytes.into()
        })
    }

    /// The messages, for a receiver that gets each by itself.
    pub(crate) fn publications(&self, now: Now) -> impl Iterator<Item = Publication<'_>> {
        self.gathered.payloads.iter().map(move |payload| {
            let (topic, payload) = (&*self.gathered.fan_out.topic, &self.older[payload.clone()]);
            let qos = QoS::AtMostOnce;
            Publication::new(topic, payload, qos, false, &self.gathered.publisher, now)
        })
    }
}
