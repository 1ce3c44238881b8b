//! Topic aliases that a client has set (MQTT 5.0, 3.3.2.3.4); they end with the connection.

use broker_codec::{Publish, ReasonCode};

use super::{Channel, Close};

pub(super) struct TopicAliases {
    maximum: u16,
    /// Topic of alias n at n - 1; empty if not set. Grows to the highest alias used.
    topics: Vec<Box<str>>,
    bytes: usize,
}

/// Bytes of topics one connection may keep as aliases.
const BYTES_MAX: usize = 1 << 20;

impl TopicAliases {
    pub(super) fn new(maximum: u16) -> Self {
        Self { maximum, topics: Vec::new(), bytes: 0 }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.topics.capacity() * size_of::<Box<str>>() + self.bytes
    }

    fn set(&mut self, alias: u16, topic: &str) -> Result<(), Close> {
        let at = usize::from(alias) - 1;
        if self.topics.len() <= at {
            self.topics.resize(at + 1, Box::default());
        }
        self.bytes = self.bytes + topic.len() - self.topics[at].len();
        if self.bytes > BYTES_MAX {
            return Err(Close::violation(ReasonCode::QuotaExceeded, "topic aliases take too much"));
        }
        if *self.topics[at] != *topic {
            self.topics[at] = topic.into();
        }
        Ok(())
    }

    fn get(&self, alias: u16) -> Option<&str> {
        let topic = self.topics.get(usize::from(alias) - 1)?;
        (!topic.is_empty()).then_some(topic)
    }
}

impl Channel {
    /// The topic of a PUBLISH, its Topic Alias set or looked up.
    ///
    /// Returns `None` if the topic stands in the packet itself.
    pub(super) fn resolve_alias(&mut self, publish: &Publish<'_>) -> Result<Option<String>, Close> {
        let Some(alias) = publish.properties.topic_alias() else { return Ok(None) };
        let invalid = |detail| Err(Close::violation(ReasonCode::TopicAliasInvalid, detail));
        // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
        let Some(aliases) = self.aliases.as_mut().filter(|a| alias > 0 && alias <= a.maximum)
        else {
            return invalid("topic alias beyond the Topic Alias Maximum");
        };
        if publish.topic.is_empty() {
            return match aliases.get(alias) {
                Some(topic) => Ok(Some(topic.to_owned())),
                None => Err(Close::protocol_error("topic alias that was never set")),
            };
        }
        aliases.set(alias, publish.topic)?;
        Ok(None)
    }
}
