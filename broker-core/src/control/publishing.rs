//! Publishing by order of an operator, in the name of a client that need not be there.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use broker_codec::{QoS, topic};

use crate::broker::Broker;
use crate::client::ClientId;
use crate::config::{BrokerConfig, ZoneConfig};
use crate::delayed::Delayed;
use crate::extension::PublishDraft;
use crate::message::{Message, Publication, Publisher, weight};
use crate::turn::Turn;

/// Why messages are not published; all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No Topic Name, or one that begins with `$delayed/` and says no time.
    #[error("{0:?} is no topic name")]
    Topic(String),
    /// `retainer.max_retained_messages`, `retainer.max_payload_size` or the bytes of all are exceeded.
    #[error("no room for what is to be retained")]
    RetainedFull,
    /// `delayed.max_delayed_messages` or the bytes of all are exceeded.
    #[error("no room for what is to be delayed")]
    DelayedFull,
    /// No client of any zone could publish it, so nothing is made for it: neither store nor receivers.
    #[error("larger than the {0} bytes that a packet may have")]
    TooLarge(usize),
    /// A message would have to be recorded.
    #[error("the store takes nothing now")]
    StoreUnavailable,
}

/// What a PUBLISH without properties has beside topic and payload: fixed header, length of the topic, Packet
/// Identifier, length of the properties.
const HEADER_BYTES_MAX: usize = 5 + 2 + 2 + 1;

/// What a client of the most generous zone could publish: read for each message of an observer, so kept at hand.
#[derive(Default)]
pub(crate) struct PublishBounds {
    packet_bytes: AtomicUsize,
    topic_levels: AtomicUsize,
}

impl PublishBounds {
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        let bounds = Self::default();
        bounds.follow(config);
        bounds
    }

    /// Has them be those of other settings.
    pub(crate) fn follow(&self, config: &BrokerConfig) {
        let zones = || config.zones.values();
        let bytes = zones().map(|zone| zone.max_packet_size).max();
        let bytes = bytes.unwrap_or_else(|| ZoneConfig::default().max_packet_size);
        let levels = zones().map(|zone| match zone.max_topic_levels {
            0 => usize::MAX,
            levels => levels.into(),
        });
        self.packet_bytes.store(bytes as usize, Ordering::Relaxed);
        self.topic_levels.store(levels.max().unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Bytes of a packet.
    pub(crate) fn packet_bytes(&self) -> usize {
        self.packet_bytes.load(Ordering::Relaxed)
    }

    /// Levels of a topic.
    pub(crate) fn topic_levels(&self) -> usize {
        self.topic_levels.load(Ordering::Relaxed)
    }

    /// True if topic, properties and payload of that many bytes make a packet.
    pub(crate) fn fit(&self, bytes: usize) -> bool {
        bytes + HEADER_BYTES_MAX <= self.packet_bytes()
    }
}

/// Where a message goes, and when: on the monotonic clock, `None` for now.
struct Place<'a> {
    topic: Cow<'a, str>,
    due_ms: Option<u64>,
}

impl Broker {
    /// Publishes messages, all of them or none. Returns how many receivers they had; one that is delayed counts
    /// for one.
    ///
    /// They are delayed and rewritten as those of clients are, but ask for no rights, pass no interceptor and
    /// stand behind no mountpoint.
    ///
    /// # Errors
    /// A topic is none, or something that a message needs is not to be had now.
    pub fn publish(
        &self,
        publisher: &ClientId,
        drafts: &[PublishDraft<'_>],
        turn: &mut Turn,
    ) -> Result<usize, PublishError> {
        let places = drafts.iter().map(|draft| self.place(&draft.topic, turn));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        self.check_size(drafts)?;
        self.check_room(drafts, &places, turn)?;
        let publisher = Publisher::Broker(publisher.clone());
        let mut receivers = 0;
        for (PublishDraft { payload, qos, retain, .. }, place) in drafts.iter().zip(&places) {
            let topic = &place.topic;
            let publication = Publication::new(topic, payload, *qos, *retain, &publisher, turn.now);
            receivers += match place.due_ms {
                None => turn.publish(&publication),
                Some(due_ms) => {
                    // Others may have taken the room that there was.
                    turn.delay(&publication, due_ms).map_err(|_| PublishError::DelayedFull)?;
                    1
                }
            };
        }
        Ok(receivers)
    }

    /// Publishes a message where its topic says that it goes: later, or to another one. Returns how many receivers
    /// it had; one that is delayed counts for one.
    pub(crate) fn publish_in_place(
        &self,
        message: &Arc<Message>,
        turn: &mut Turn,
    ) -> Result<usize, PublishError> {
        let place = self.place(&message.topic, turn)?;
        if message.qos > QoS::AtMostOnce
            && self.refuses_records()
            && (message.retain || place.due_ms.is_some() || turn.is_durable_topic(&place.topic))
        {
            return Err(PublishError::StoreUnavailable);
        }
        let publication = match &place.topic {
            Cow::Borrowed(topic) if topic.len() == message.topic.len() => Publication::of(message),
            topic => Publication::moved(message, topic),
        };
        match place.due_ms {
            None => Ok(turn.publish(&publication)),
            Some(due_ms) => {
                turn.delay(&publication, due_ms).map_err(|_| PublishError::DelayedFull)?;
                Ok(1)
            }
        }
    }

    fn place<'a>(&self, name: &'a str, turn: &Turn) -> Result<Place<'a>, PublishError> {
        let refused = || PublishError::Topic(name.to_owned());
        topic::validate_name(name).map_err(|_| refused())?;
        let mut place = Place { topic: Cow::Borrowed(name), due_ms: None };
        if name.starts_with("$delayed/") && self.delayed.is_enabled() {
            let (due_ms, inner) = Delayed::parse(name, turn.now).map_err(|_| refused())?;
            place = Place { topic: Cow::Borrowed(inner), due_ms: Some(due_ms) };
        }
        if let Some(rewritten) =
            turn.rewrite.as_ref().and_then(|rewrite| rewrite.apply(&place.topic))
        {
            place.topic = Cow::Owned(rewritten);
        }
        Ok(place)
    }

    fn check_size(&self, drafts: &[PublishDraft<'_>]) -> Result<(), PublishError> {
        let max = self.publish_bounds.packet_bytes();
        let bytes = |draft: &PublishDraft<'_>| draft.topic.len() + draft.payload.len();
        let is_too_large = drafts.iter().any(|draft| !self.publish_bounds.fit(bytes(draft)));
        if is_too_large { Err(PublishError::TooLarge(max)) } else { Ok(()) }
    }

    fn check_room(
        &self,
        drafts: &[PublishDraft<'_>],
        places: &[Place<'_>],
        turn: &mut Turn,
    ) -> Result<(), PublishError> {
        let is_retained = self.retained.is_enabled();
        let retained = drafts.iter().zip(places).filter(|(draft, place)| {
            is_retained && draft.retain && !draft.payload.is_empty() && place.due_ms.is_none()
        });
        let retained = retained.map(|(draft, place)| (&*place.topic, draft.payload.len()));
        if !self.retained.takes(retained) {
            return Err(PublishError::RetainedFull);
        }
        let delayed = drafts.iter().zip(places).filter(|(_, place)| place.due_ms.is_some());
        let delayed = delayed.map(|(draft, place)| weight(&place.topic, draft.payload.len(), 0));
        if !self.delayed.takes(delayed) {
            return Err(PublishError::DelayedFull);
        }
        let needs_store = |(draft, place): (&PublishDraft<'_>, &Place<'_>)| {
            draft.qos > QoS::AtMostOnce
                && ((is_retained && draft.retain)
                    || place.due_ms.is_some()
                    || turn.is_durable_topic(&place.topic))
        };
        if self.refuses_records() && drafts.iter().zip(places).any(needs_store) {
            return Err(PublishError::StoreUnavailable);
        }
        Ok(())
    }
}
