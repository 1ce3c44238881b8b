//! Observers: who sees messages and events pass without being a receiver of them, and may publish in answer.
//!
//! They run within the turn of the thread that has the message or event at hand, ahead of its receivers, so
//! they must be quick and never block. Nobody pays for what nobody observes: messages are matched by the router,
//! and an event is put together only if its kind is in the set that an observer has asked for.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use broker_codec::{Properties, ProtocolVersion, QoS, ReasonCode, SubscriptionRequest};

use crate::broker::Broker;
use crate::client::{ClientId, ClientInfo, Peer};
use crate::clock::Now;
use crate::follow_ups::{FollowUpError, FollowUps};
use crate::message::Message;
use crate::session::subscriptions::Subscription;

/// Sees messages of the topics it was put into the router for. It counts as nobody's receiver.
pub trait MessageObserver: Send + Sync {
    /// Called once for each message that is published, however many of its filters match, before anybody gets it.
    fn observe(&self, message: &Arc<Message>, reactions: &mut Reactions<'_>);
}

/// Sees what happens to clients, sessions and messages.
pub trait EventObserver: Send + Sync {
    /// Called for each event of the kinds that were asked for.
    fn observe(&self, event: &Event<'_>, reactions: &mut Reactions<'_>);
}

/// An observer of events and the kinds it sees.
#[derive(Clone)]
pub struct EventWatch {
    /// Its kinds: what is in no set costs nothing.
    pub kinds: EventKinds,
    /// Who is told.
    pub observer: Arc<dyn EventObserver>,
}

/// What has happened, borrowed from where it did.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A client was let in.
    Connected {
        /// The client.
        client: &'a Arc<ClientInfo>,
        /// Properties of its CONNECT.
        properties: Properties<'a>,
        /// Session Expiry Interval in force, in seconds.
        expiry_s: u32,
    },
    /// A client was not let in.
    Refused {
        /// Who it claimed to be.
        client: &'a Claim<'a>,
        /// What its CONNACK says.
        reason_code: ReasonCode,
    },
    /// A client that had been let in is gone.
    Disconnected {
        /// The client.
        client: &'a Arc<ClientInfo>,
        /// A word for why.
        reason: &'a str,
        /// Properties of its DISCONNECT, if it has sent one.
        properties: Properties<'a>,
    },
    /// A session was made for a client that is about to be let in. One that was there before is none.
    SessionCreated {
        /// The client.
        client: &'a Arc<ClientInfo>,
    },
    /// A session is over, with all that was kept in it. A restart of the broker ends none.
    SessionTerminated {
        /// The client, as it was connected last.
        client: &'a Arc<ClientInfo>,
        /// A word for why.
        reason: &'a str,
    },
    /// A SUBSCRIBE, before anything is done about it: the filters that the client has a right to.
    Subscribing {
        /// The client.
        client: &'a Arc<ClientInfo>,
        /// The filters as they are asked for.
        filters: &'a [SubscriptionRequest<'a>],
    },
    /// An UNSUBSCRIBE, before anything is done about it.
    Unsubscribing {
        /// The client.
        client: &'a Arc<ClientInfo>,
        /// The filters as the client wrote them.
        filters: &'a [&'a str],
    },
    /// A subscription was made or replaced.
    Subscribed {
        /// The client.
        client: &'a Arc<ClientInfo>,
        /// The subscription.
        subscription: &'a Subscription,
        /// Properties of the SUBSCRIBE, if a client has sent one.
        properties: Properties<'a>,
    },
    /// A subscription has ended.
    Unsubscribed {
        /// The client.
        client: &'a Arc<ClientInfo>,
        /// The subscription.
        subscription: &'a Subscription,
        /// Properties of the UNSUBSCRIBE, if a client has sent one.
        properties: Properties<'a>,
    },
    /// A message was written for a client.
    Delivered {
        /// The receiver.
        client: &'a Arc<ClientInfo>,
        /// The message.
        message: &'a Arc<Message>,
        /// DUP flag it went out with.
        dup: bool,
        /// QoS it went out with.
        qos: QoS,
        /// RETAIN flag it went out with.
        retain: bool,
    },
    /// A client has acknowledged a message: PUBACK, or the first PUBREC.
    Acked {
        /// The receiver.
        client: &'a Arc<ClientInfo>,
        /// The message.
        message: &'a Arc<Message>,
        /// QoS it went out with.
        qos: QoS,
        /// Properties of the acknowledgement.
        properties: Properties<'a>,
    },
    /// A message had no receiver, or one of its receivers will not get it.
    Dropped {
        /// The receiver; `None` if the message had none.
        client: Option<&'a Arc<ClientInfo>>,
        /// The message.
        message: &'a Arc<Message>,
        /// A word for why.
        reason: &'a str,
    },
}

/// Who a refused CONNECT claimed to be.
#[derive(Debug)]
pub struct Claim<'a> {
    /// Client Identifier as it was sent.
    pub client_id: &'a str,
    /// User Name as it was sent.
    pub username: Option<&'a str>,
    /// What is known of the connection.
    pub peer: &'a Peer,
    /// Protocol level.
    pub version: ProtocolVersion,
    /// Clean Start.
    pub clean_start: bool,
    /// Keep Alive in seconds.
    pub keep_alive_s: u16,
    /// The client says that it is a bridge.
    pub is_bridge: bool,
}

/// Kinds of [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the event of its name")]
pub enum EventKind {
    Connected,
    Refused,
    Disconnected,
    SessionCreated,
    SessionTerminated,
    Subscribing,
    Unsubscribing,
    Subscribed,
    Unsubscribed,
    Delivered,
    Acked,
    Dropped,
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventKinds(u16);

impl EventKinds {
    /// No kind.
    pub const NONE: Self = Self(0);

    /// The set and one more.
    #[must_use]
    pub const fn with(self, kind: EventKind) -> Self {
        Self(self.0 | 1 << kind as u16)
    }

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if the kind is one of them.
    #[must_use]
    #[inline]
    pub const fn contains(self, kind: EventKind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }
}

impl Event<'_> {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Connected { .. } => EventKind::Connected,
            Self::Refused { .. } => EventKind::Refused,
            Self::Disconnected { .. } => EventKind::Disconnected,
            Self::SessionCreated { .. } => EventKind::SessionCreated,
            Self::SessionTerminated { .. } => EventKind::SessionTerminated,
            Self::Subscribing { .. } => EventKind::Subscribing,
            Self::Unsubscribing { .. } => EventKind::Unsubscribing,
            Self::Subscribed { .. } => EventKind::Subscribed,
            Self::Unsubscribed { .. } => EventKind::Unsubscribed,
            Self::Delivered { .. } => EventKind::Delivered,
            Self::Acked { .. } => EventKind::Acked,
            Self::Dropped { .. } => EventKind::Dropped,
        }
    }
}

/// What an observer can do about what it sees.
pub struct Reactions<'a> {
    pub(crate) now: Now,
    pub(crate) broker: &'a Broker,
    pub(crate) follow_ups: &'a mut FollowUps,
    pub(crate) notes: Option<Rc<dyn Any>>,
}

impl Reactions<'_> {
    /// The clock reading of the turn.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// The broker.
    #[must_use]
    pub const fn broker(&self) -> &Broker {
        self.broker
    }

    /// Hands a message to the turn, which publishes it once the one at hand has its receivers. It is delayed and
    /// rewritten as those of clients are, but asks for no rights and stands behind no mountpoint.
    ///
    /// # Errors
    /// No client could publish it, or what is waiting already is too much.
    pub fn publish(&mut self, message: Message) -> Result<(), FollowUpError> {
        self.follow_ups.add(message, self.broker)
    }

    /// What observers of this one message or event have found out about it together: a payload that is read
    /// but once. Who asks first makes it; another type takes its place.
    pub fn notes<T: Default + 'static>(&mut self) -> Rc<T> {
        let kept = self.notes.clone().and_then(|notes| notes.downcast().ok());
        kept.unwrap_or_else(|| {
            let notes = Rc::<T>::default();
            self.notes = Some(Rc::clone(&notes) as Rc<dyn Any>);
            notes
        })
    }

    /// Name of the node.
    #[must_use]
    pub fn node(&self) -> &str {
        self.broker.sys.node()
    }
}

impl Claim<'_> {
    /// Client Identifier as it was sent.
    #[must_use]
    pub fn client_id(&self) -> ClientId {
        ClientId::from(self.client_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_kinds_has_what_was_put_in() {
        let kinds = EventKinds::NONE.with(EventKind::Acked).with(EventKind::Connected);
        assert!(kinds.contains(EventKind::Acked) && kinds.contains(EventKind::Connected));
        assert!(
            !kinds.contains(EventKind::Dropped) && !EventKinds::NONE.contains(EventKind::Acked)
        );
        assert_eq!(kinds.union(EventKinds::NONE), kinds);
    }
}
