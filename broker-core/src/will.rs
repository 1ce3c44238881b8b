//! Will Message of a connection (MQTT 5.0, 3.1.2.5).

use broker_codec::{Properties, PropertiesBuf, QoS};

use crate::message::is_forwarded;
use crate::record::WillRecord;

/// What is published if the connection ends without a farewell.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Box<[u8]>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) properties: PropertiesBuf,
    pub(crate) message_expiry_s: Option<u32>,
    /// Will Delay Interval in seconds.
    pub(crate) delay_s: u32,
    /// The rights by which it was found to be allowed; of an earlier run of the broker 0.
    pub(crate) rights_generation: u64,
}

impl Will {
    /// The Will as it is recorded.
    pub(crate) fn record(&self) -> WillRecord<'_> {
        WillRecord {
            topic: &self.topic,
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
            properties: self.properties.as_properties().as_bytes(),
            message_expiry_s: self.message_expiry_s,
            delay_s: self.delay_s,
        }
    }

    /// A Will that was recorded.
    pub(crate) fn restored(record: &WillRecord<'_>) -> Self {
        Self {
            topic: record.topic.into(),
            payload: record.payload.into(),
            qos: record.qos,
            retain: record.retain,
            properties: PropertiesBuf::from_bytes(record.properties.to_vec()).unwrap_or_default(),
            message_expiry_s: record.message_expiry_s,
            delay_s: record.delay_s,
            rights_generation: 0,
        }
    }

    /// The Will of a CONNECT, its topic behind the client's mountpoint.
    pub(crate) fn new(
        will: &broker_codec::Will<'_>,
        mountpoint: &str,
        rights_generation: u64,
    ) -> Self {
        let mut properties = PropertiesBuf::new();
        let asked: Properties<'_> = will.properties;
        properties.extend_filtered(asked, is_forwarded);
        Self {
            topic: format!("{mountpoint}{}", will.topic).into(),
            payload: will.payload.into(),
            qos: will.qos,
            retain: will.retain,
            properties,
            message_expiry_s: asked.message_expiry_interval(),
            delay_s: asked.will_delay_interval().unwrap_or(0),
            rights_generation,
        }
    }
}
