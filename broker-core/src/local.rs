//! Publish and subscribe inside the process, without a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker_codec::topic::{self, TopicError};
use broker_codec::{PropertiesBuf, QoS};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::broker::Broker;
use crate::client::ClientId;
use crate::clock::Now;
use crate::extension::Consumer;
use crate::message::{Message, Publisher};
use crate::observer::MessageObserver;
use crate::retained::Cursor;
use crate::router::Observer;
use crate::turn::Turn;

/// A publisher inside the process. One per thread: it carries that thread's working state.
pub struct LocalClient {
    name: ClientId,
    turn: Turn,
}

/// A subscription inside the process; it ends when it is dropped.
pub struct LocalSubscription {
    broker: Arc<Broker>,
    route: Arc<str>,
    number: u64,
    receiver: Receiver<Arc<Message>>,
    dropped: Arc<AtomicU64>,
}

/// A [`Consumer`] in the router; it is taken out when this is dropped.
pub struct Attachment {
    broker: Arc<Broker>,
    route: Arc<str>,
    number: u64,
}

/// A [`MessageObserver`] in the router; it is taken out when this is dropped.
pub struct Observation {
    broker: Arc<Broker>,
    route: Arc<str>,
    number: u64,
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.broker.router.forget_observer(&self.route, self.number);
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.broker.router.detach(&self.route, self.number);
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
        self.broker.router.detach(&self.route, self.number);
    }
}

impl Broker {
    /// A publisher inside the process, known by `name`.
    #[must_use]
    pub fn local_client(self: &Arc<Self>, name: &str) -> LocalClient {
        LocalClient { name: name.into(), turn: self.turn() }
    }

    /// Subscribes inside the process. At most `capacity` messages wait; further ones are dropped and counted.
    ///
    /// Retained messages that match come first.
    ///
    /// # Errors
    /// The filter is malformed.
    pub fn subscribe_local(
        self: &Arc<Self>,
        filter: &str,
        capacity: usize,
        now: Now,
    ) -> Result<LocalSubscription, TopicError> {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        let dropped = Arc::new(AtomicU64::new(0));
        let inbox = Inbox { sender, dropped: Arc::clone(&dropped) };
        topic::validate_filter(filter)?;
        let mut cursor = Cursor::default();
        while !cursor.is_at_end() {
            self.retained.page(filter, &mut cursor, now).iter().for_each(|m| inbox.consume(m));
        }
        let number = self.next_connection_id();
        let route: Arc<str> = filter.into();
        self.router.attach(&route, number, Arc::new(inbox));
        Ok(LocalSubscription { broker: Arc::clone(self), route, number, receiver, dropped })
    }

    /// Puts a consumer into the router: it sees every message whose topic matches `filter`.
    ///
    /// # Errors
    /// The filter is malformed.
    pub fn attach(
        self: &Arc<Self>,
        filter: &str,
        consumer: Arc<dyn Consumer>,
    ) -> Result<Attachment, TopicError> {
        topic::validate_filter(filter)?;
        let number = self.next_connection_id();
        let route: Arc<str> = filter.into();
        self.router.attach(&route, number, consumer);
        Ok(Attachment { broker: Arc::clone(self), route, number })
    }

    /// Puts an observer into the router: it sees every message whose topic matches `filter` before anybody gets
    /// it, and is no receiver. Of those that see a message the one with the lowest `place` is first; those of
    /// one place count as one, which is the latest.
    ///
    /// # Errors
    /// The filter is malformed.
    pub fn observe(
        self: &Arc<Self>,
        filter: &str,
        place: u64,
        observer: Arc<dyn MessageObserver>,
    ) -> Result<Observation, TopicError> {
        topic::validate_filter(filter)?;
        let number = self.next_connection_id();
        let route: Arc<str> = filter.into();
        self.router.observe(&route, Observer { place, number, observer });
        Ok(Observation { broker: Arc::clone(self), route, number })
    }
}

impl LocalClient {
    /// Publishes a message. Returns the number of its receivers.
    ///
    /// # Errors
    /// The topic is malformed.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: QoS,
        now: Now,
    ) -> Result<usize, TopicError> {
        topic::validate_name(topic)?;
        let message = self.message(topic, payload.into(), qos, now);
        Ok(self.publish_message(&Arc::new(message), now))
    }

    /// Publishes a message that stays for later subscribers, in place of the one its topic had. An empty
    /// payload only takes that one away. Returns the number of its receivers.
    ///
    /// # Errors
    /// The topic is malformed.
    pub fn publish_retained(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: QoS,
        now: Now,
    ) -> Result<usize, TopicError> {
        topic::validate_name(topic)?;
        let message = Message { retain: true, ..self.message(topic, payload.into(), qos, now) };
        Ok(self.publish_message(&Arc::new(message), now))
    }

    fn message(&self, topic: &str, payload: Bytes, qos: QoS, now: Now) -> Message {
        Message {
            topic: topic.into(),
            payload,
            qos,
            retain: false,
            properties: PropertiesBuf::new(),
            expires_at_ms: None,
            published_at_ms: now.wall_ms,
            publisher: Publisher::Broker(self.name.clone()),
            stored: Default::default(),
            number: Default::default(),
        }
    }

    /// Publishes a message with everything it may carry; its topic must be a valid Topic Name.
    pub fn publish_message(&mut self, message: &Arc<Message>, now: Now) -> usize {
        self.turn.begin(now);
        let receivers = self.turn.publish_message(message);
        self.turn.finish();
        // No loop comes back to this turn: an outbox with more than one pass takes is emptied here.
        while self.turn.has_work() {
            self.turn.finish();
        }
        receivers
    }
}

impl LocalSubscription {
    /// Where the messages arrive.
    #[must_use]
    pub const fn receiver(&self) -> &Receiver<Arc<Message>> {
        &self.receiver
    }

    /// Messages for which there was no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

struct Inbox {
    sender: Sender<Arc<Message>>,
    dropped: Arc<AtomicU64>,
}

impl Consumer for Inbox {
    fn consume(&self, message: &Arc<Message>) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Arc::clone(message)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
