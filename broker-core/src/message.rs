//! Application Messages: borrowed while they are routed, shared once somebody must keep them.

mod spares;

use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use broker_codec::{Properties, PropertiesBuf, PropertyId, QoS};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::client::{ClientId, ClientInfo};
use crate::clock::Now;
use crate::record::Body;
use crate::store::BodyPlace;

pub(crate) use spares::Spares;

/// An Application Message that is kept: queued, in flight, retained, delayed, or handed to an extension.
#[derive(Debug, Clone)]
pub struct Message {
    /// Topic Name.
    pub topic: Arc<str>,
    /// Application payload.
    pub payload: Bytes,
    /// QoS it was published with.
    pub qos: QoS,
    /// RETAIN flag it was published with.
    pub retain: bool,
    /// Properties that are forwarded unaltered, in their encoded form.
    pub properties: PropertiesBuf,
    /// When it expires, milliseconds since the Unix epoch; `None` never.
    pub expires_at_ms: Option<u64>,
    /// When it was published, milliseconds since the Unix epoch.
    pub published_at_ms: u64,
    /// Who published it.
    pub publisher: Publisher,
    /// Where the store has it.
    pub stored: Stored,
    /// What tells it from other messages, once somebody has asked.
    pub number: MessageNumber,
}

/// A number that tells a message from others of the same millisecond; given when it is asked for, for most messages
/// live and end without.
#[derive(Debug, Default)]
pub struct MessageNumber(AtomicU32);

impl Clone for MessageNumber {
    fn clone(&self) -> Self {
        Self(AtomicU32::new(self.0.load(Ordering::Relaxed)))
    }
}

impl MessageNumber {
    /// The number, the same each time.
    #[must_use]
    pub fn get(&self) -> u32 {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let given = self.0.load(Ordering::Relaxed);
        if given != 0 {
            return given;
        }
        // 0 stands for none.
        let next = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        match self.0.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => next,
            Err(other) => other,
        }
    }
}

/// Where the store has a message, if it does. Boxed, for most messages are never recorded.
#[derive(Debug, Default)]
pub struct Stored(Mutex<Option<Box<BodyPlace>>>);

impl Clone for Stored {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.0.lock().clone()))
    }
}

impl From<BodyPlace> for Stored {
    fn from(place: BodyPlace) -> Self {
        Self(Mutex::new(Some(Box::new(place))))
    }
}

impl Stored {
    /// Where the record of the message stands, once it has been appended.
    #[must_use]
    pub fn place(&self) -> Option<BodyPlace> {
        self.0.lock().as_deref().cloned()
    }

    pub(crate) fn set(&self, place: BodyPlace) {
        *self.0.lock() = Some(Box::new(place));
    }

    /// Lets `visit` see the place, and change it.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&mut BodyPlace)) {
        if let Some(place) = &mut *self.0.lock() {
            visit(place);
        }
    }
}

/// Where a message comes from.
#[derive(Debug, Clone)]
pub enum Publisher {
    /// A connected client, or its Will.
    Client(Arc<ClientInfo>),
    /// The broker itself, an embedding program or the management API, under a name of its own.
    Broker(ClientId),
    /// A client of an earlier run of the broker, or what published in its place then.
    Former(ClientId),
    /// An observer, because of another message or event.
    Relayed(Arc<Relay>),
}

/// Where a message comes from that an observer has published.
#[derive(Debug)]
pub struct Relay {
    /// Who published the first message, or caused the event.
    pub origin: Publisher,
    /// Name of the observer. A store does not keep it.
    pub name: Arc<str>,
    /// Where the message comes from that the observer has seen, if another observer made that.
    pub before: Option<Arc<Self>>,
}

impl Publisher {
    /// Client Identifier of the publisher.
    #[must_use]
    pub fn client_id(&self) -> &ClientId {
        match self {
            Self::Client(client) => &client.client_id,
            Self::Broker(name) | Self::Former(name) => name,
            Self::Relayed(relay) => relay.origin.client_id(),
        }
    }

    /// The client that published it, or the first message of those that led to it, if that is known.
    #[must_use]
    pub fn client(&self) -> Option<&Arc<ClientInfo>> {
        match self {
            Self::Client(client) => Some(client),
            Self::Broker(_) | Self::Former(_) => None,
            Self::Relayed(relay) => relay.origin.client(),
        }
    }

    /// Names of the observers the message has gone through, the last of them first.
    pub fn trail(&self) -> impl Iterator<Item = &Arc<str>> {
        let relays = std::iter::successors(self.relay(), |relay| relay.before.as_ref());
        relays.map(|relay| &relay.name)
    }

    const fn relay(&self) -> Option<&Arc<Relay>> {
        match self {
            Self::Relayed(relay) => Some(relay),
            Self::Client(_) | Self::Broker(_) | Self::Former(_) => None,
        }
    }

    /// The publisher of what the observer of that name makes of a message of this one.
    #[must_use]
    pub fn relayed_by(&self, name: &Arc<str>) -> Self {
        let origin = match self {
            Self::Relayed(relay) => relay.origin.clone(),
            other => other.clone(),
        };
        let before = self.relay().cloned();
        Self::Relayed(Arc::new(Relay { origin, name: Arc::clone(name), before }))
    }

    /// User Name of the publisher, if it is a client that has one.
    #[must_use]
    pub fn username(&self) -> Option<&str> {
        self.client()?.username.as_deref()
    }

    /// True if it is the same connection of a client.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Client(a), Self::Client(b)) if Arc::ptr_eq(a, b))
    }

    /// True if it is the client of that Client Identifier, in whatever session.
    pub(crate) fn is_client(&self, client_id: &ClientId) -> bool {
        match self {
            Self::Client(client) => client.client_id == *client_id,
            Self::Former(name) => name == client_id,
            // What an observer makes of it is not the client's any more.
            Self::Broker(_) | Self::Relayed(_) => false,
        }
    }
}

impl Message {
    /// True if the message's expiry interval has passed.
    #[must_use]
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires_at_ms.is_some_and(|at| at <= now.wall_ms)
    }

    /// Seconds left of the Message Expiry Interval [MQTT-3.3.2-6], begun ones counted whole.
    pub(crate) fn remaining_expiry_s(&self, now: Now) -> Option<u32> {
        remaining_expiry_s(self.expires_at_ms, self.published_at_ms, now)
    }

    /// Bytes the message is accounted with in queues and stores.
    #[must_use]
    pub fn weight(&self) -> usize {
        weight(&self.topic, self.payload.len(), self.properties.len())
    }
}

/// Bytes a message is accounted with in queues and stores.
pub(crate) const fn weight(topic: &str, payload_bytes: usize, properties_bytes: usize) -> usize {
    topic.len() + payload_bytes + properties_bytes + 128
}

fn remaining_expiry_s(expires_at_ms: Option<u64>, published_at_ms: u64, now: Now) -> Option<u32> {
    // A clock that was set back since gives a message no more than it came with.
    let now_ms = now.wall_ms.max(published_at_ms);
    let left_s = expires_at_ms?.saturating_sub(now_ms).div_ceil(1000);
    Some(u32::try_from(left_s).unwrap_or(u32::MAX))
}

/// A message on its way through the router: everything borrowed from the publisher's packet.
///
/// Most messages end here: they are copied into the outboxes of connected subscribers and forgotten. Only
/// when one must be kept is it turned into a [`Message`], once for all who keep it.
pub(crate) struct Publication<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// What of the publisher's properties is forwarded unaltered.
    pub(crate) properties: Properties<'a>,
    pub(crate) expires_at_ms: Option<u64>,
    pub(crate) published_at_ms: u64,
    pub(crate) publisher: &'a Publisher,
    /// The topic as the router's cache holds it, so that a kept message need not copy it.
    interned: OnceCell<Arc<str>>,
    shared: OnceCell<Arc<Message>>,
    /// A message that nobody keeps any more, whose place can be used for this one.
    spare: Cell<Option<Arc<Message>>>,
}

impl<'a> Publication<'a> {
    /// A message that a packet or a Will brings now.
    pub(crate) fn new(
        topic: &'a str,
        payload: &'a [u8],
        qos: QoS,
        retain: bool,
        publisher: &'a Publisher,
        now: Now,
    ) -> Self {
        Self {
            topic,
            payload,
            qos,
            retain,
            properties: Properties::EMPTY,
            expires_at_ms: None,
            published_at_ms: now.wall_ms,
            publisher,
            interned: OnceCell::new(),
            shared: OnceCell::new(),
            spare: Cell::new(None),
        }
    }

    /// The same with properties, and the expiry they ask for.
    pub(crate) fn with_properties(
        mut self,
        forwarded: Properties<'a>,
        message_expiry_s: Option<u32>,
        now: Now,
    ) -> Self {
        self.properties = forwarded;
        self.expires_at_ms = message_expiry_s.map(|s| now.wall_ms + u64::from(s) * 1000);
        self
    }

    /// A kept message that is routed again.
    pub(crate) fn of(message: &'a Arc<Message>) -> Self {
        let publication = Self::borrowed(message);
        let _ = publication.shared.set(Arc::clone(message));
        publication
    }

    /// The same under another topic.
    pub(crate) fn moved(message: &'a Message, topic: &'a str) -> Self {
        Self { topic, ..Self::borrowed(message) }
    }

    fn borrowed(message: &'a Message) -> Self {
        Self {
            topic: &message.topic,
            payload: &message.payload,
            qos: message.qos,
            retain: message.retain,
            properties: message.properties.as_properties(),
            expires_at_ms: message.expires_at_ms,
            published_at_ms: message.published_at_ms,
            publisher: &message.publisher,
            interned: OnceCell::new(),
            shared: OnceCell::new(),
            spare: Cell::new(None),
        }
    }

    /// Lends the topic in a form that can be shared.
    pub(crate) fn intern(&self, topic: &Arc<str>) {
        let _ = self.interned.set(Arc::clone(topic));
    }

    /// The message in a form that is kept, if somebody keeps it already.
    pub(crate) fn kept(&self) -> Option<&Arc<Message>> {
        self.shared.get()
    }

    /// Lends the place of a message that nobody keeps any more.
    pub(crate) fn lend(&self, spare: Option<Arc<Message>>) {
        self.spare.set(spare);
    }

    /// The message in a form that can be kept.
    pub(crate) fn shared(&self) -> &Arc<Message> {
        self.shared.get_or_init(|| {
            if let Some(mut spare) = self.spare.take()
                && let Some(message) = Arc::get_mut(&mut spare)
            {
                self.make_anew(message);
                return spare;
            }
            let mut properties = PropertiesBuf::new();
            properties.extend_filtered(self.properties, |_| true);
            Arc::new(Message {
                topic: self.interned.get().cloned().unwrap_or_else(|| self.topic.into()),
                payload: Bytes::copy_from_slice(self.payload),
                qos: self.qos,
                retain: self.retain,
                properties,
                expires_at_ms: self.expires_at_ms,
                published_at_ms: self.published_at_ms,
                publisher: self.publisher.clone(),
                stored: Stored::default(),
                number: MessageNumber::default(),
            })
        })
    }

    /// Makes this message of another one.
    fn make_anew(&self, message: &mut Message) {
        let Message { topic, payload, properties, .. } = message;
        match self.interned.get() {
            // That of the message before, mostly.
            Some(interned) if Arc::ptr_eq(interned, topic) => {}
            Some(interned) => *topic = Arc::clone(interned),
            None => *topic = self.topic.into(),
        }
        // Its buffer, if nobody has a part of it.
        let mut buffer = std::mem::take(payload).try_into_mut().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(self.payload);
        *payload = buffer.freeze();
        properties.clear();
        properties.extend_filtered(self.properties, |_| true);
        message.qos = self.qos;
        message.retain = self.retain;
        message.expires_at_ms = self.expires_at_ms;
        message.published_at_ms = self.published_at_ms;
        if !message.publisher.is_same(self.publisher) {
            message.publisher = self.publisher.clone();
        }
        message.stored = Stored::default();
        message.number = MessageNumber::default();
    }

    /// The message as it is recorded.
    pub(crate) fn body(&self) -> Body<'_> {
        Body {
            qos: self.qos,
            retain: self.retain,
            published_at_ms: self.published_at_ms,
            expires_at_ms: self.expires_at_ms.unwrap_or(0),
            publisher: self.publisher.client_id().as_str(),
            topic: self.topic,
            properties: self.properties.as_bytes(),
            payload: self.payload,
        }
    }

    pub(crate) fn remaining_expiry_s(&self, now: Now) -> Option<u32> {
        remaining_expiry_s(self.expires_at_ms, self.published_at_ms, now)
    }
}

impl Message {
    /// The message that a record holds, read back from where it stands.
    pub(crate) fn restored(body: &Body<'_>, place: BodyPlace) -> Self {
        // What was recorded had been checked; what has been damaged since is found by its checksum.
        let properties = PropertiesBuf::from_bytes(body.properties.to_vec()).unwrap_or_default();
        Self {
            topic: body.topic.into(),
            payload: Bytes::copy_from_slice(body.payload),
            qos: body.qos,
            retain: body.retain,
            properties,
            expires_at_ms: Some(body.expires_at_ms).filter(|at| *at > 0),
            published_at_ms: body.published_at_ms,
            publisher: Publisher::Former(ClientId::from(body.publisher)),
            stored: Stored::from(place),
            number: MessageNumber::default(),
        }
    }
}

/// True for the properties of a PUBLISH (or of a Will) that the server forwards unaltered
/// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-20].
pub(crate) fn is_forwarded(id: PropertyId) -> bool {
    matches!(
        id,
        PropertyId::PayloadFormatIndicator
            | PropertyId::ContentType
            | PropertyId::ResponseTopic
            | PropertyId::CorrelationData
            | PropertyId::UserProperty
    )
}
