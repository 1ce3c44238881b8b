//! The traits outsiders implement: authentication, authorisation, interception, consumption, storage.
//!
//! All of them may be called by many threads at once, and none may block: what must wait answers
//! [`Answer::Later`] with a future, which the shell polls while the connection, and only it, stands still.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use broker_codec::{ProtocolVersion, QoS, ReasonCode, SubscriptionOptions};

use crate::client::{ClientId, ClientInfo, Peer};
use crate::message::Message;
use crate::observer::{EventKinds, EventWatch};

/// What brings an answer; the shell polls it.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A decision, at once or later.
pub enum Answer<T> {
    /// It is made.
    Now(T),
    /// It needs somebody else; polled by the shell.
    Later(Later<T>),
}

impl<T> Answer<T> {
    /// An answer that `future` will bring.
    pub fn later(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Later(Box::pin(future))
    }
}

/// Whom a CONNECT claims to be.
#[derive(Clone)]
pub struct Credentials {
    /// Client Identifier.
    pub client_id: ClientId,
    /// User Name, or the name from the client's certificate.
    pub username: Option<Arc<str>>,
    /// Password.
    pub password: Option<Arc<[u8]>>,
    /// Protocol level.
    pub version: ProtocolVersion,
    /// What is known of the connection.
    pub peer: Peer,
}

impl fmt::Debug for Credentials {
    /// Leaves the password out, so that no log can hold it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What an [`Authenticator`] says of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Let in; a superuser is not asked for rights.
    Allow {
        /// True if no access rule applies to the client.
        superuser: bool,
    },
    /// Let in for as long as its credentials hold: then its connection ends.
    AllowUntil {
        /// As above.
        superuser: bool,
        /// Wall clock, milliseconds since 1970.
        until_ms: u64,
    },
    /// The same, under the name that the credentials prove: the User Name was not one, or another.
    AllowAs {
        /// Who it is; the name that rights are about, and that a session belongs to.
        username: Arc<str>,
        /// As above.
        superuser: bool,
        /// As above.
        until_ms: u64,
    },
    /// Refused with this Reason Code (0x80 or above).
    Deny(ReasonCode),
    /// What this source goes by was not sent: refused with this Reason Code unless a later source lets the
    /// client in.
    Missing(ReasonCode),
    /// Unknown here: the next source is asked. Who is refused in the end gets this Reason Code, that of a wrong password, or
    /// the answer would tell which names there are.
    Unknown(ReasonCode),
    /// Nothing that this source goes by: the next one is asked.
    Ignore,
}

/// Checks who connects.
///
/// A client that sends neither User Name nor Password is not asked about where `allow_anonymous` lets it in.
pub trait Authenticator: Send + Sync {
    /// Decides on a CONNECT. An implementation that fails must deny.
    fn authenticate(&self, credentials: &Arc<Credentials>) -> Answer<Authentication>;
}

/// One step of an enhanced authentication exchange (MQTT 5.0, 4.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthStep {
    /// Send this data to the client and wait for its next AUTH.
    Continue(Vec<u8>),
    /// The client is who it claims to be; the data goes with CONNACK or the last AUTH.
    Success {
        /// Authentication Data for the client; empty for none.
        data: Vec<u8>,
        /// The user the client proved to be; replaces the User Name.
        username: Option<Arc<str>>,
        /// True if no access rule applies to the client.
        superuser: bool,
    },
    /// Refused with this Reason Code.
    Deny(ReasonCode),
}

/// One side of one running exchange.
pub trait AuthExchange: Send {
    /// Takes the client's Authentication Data (empty if it sent none) and answers it.
    fn handle(&mut self, data: &[u8]) -> AuthStep;
}

/// An authentication method of MQTT 5.0's enhanced authentication.
pub trait AuthMethod: Send + Sync {
    /// Authentication Method as clients name it, `SCRAM-SHA-256`.
    fn name(&self) -> &str;
    /// Begins an exchange with a client that connects, or that authenticates again.
    fn begin(&self, credentials: &Credentials) -> Box<dyn AuthExchange>;
}

/// What a client wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Publish to a Topic Name.
    Publish,
    /// Subscribe to a Topic Filter.
    Subscribe,
}

/// What an [`Authorizer`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
    /// This source cannot tell now: denied, and asked again the next time.
    Failed,
    /// No rule of this source applies: the next one is asked.
    Ignore,
}

/// Checks what a client may do.
pub trait Authorizer: Send + Sync {
    /// Decides on one topic. An implementation that fails must say so or deny.
    fn authorize(&self, client: &Arc<ClientInfo>, action: Action, topic: &str) -> Answer<Verdict>;

    /// True if it asks somebody else, a server for instance: it is left alone where its answer could not be waited for.
    fn asks_others(&self) -> bool {
        false
    }
}

/// A PUBLISH that an [`Interceptor`] may change.
#[derive(Debug, Clone)]
pub struct PublishDraft<'a> {
    /// Topic Name; must stay a valid one.
    pub topic: Cow<'a, str>,
    /// Application payload.
    pub payload: Cow<'a, [u8]>,
    /// QoS the message is routed with; the client is acknowledged by what it sent.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
}

/// One filter of a SUBSCRIBE that an [`Interceptor`] may change.
#[derive(Debug, Clone)]
pub struct SubscribeDraft<'a> {
    /// Topic Filter; must stay a valid one.
    pub filter: Cow<'a, str>,
    /// Subscription Options.
    pub options: SubscriptionOptions,
}

/// Sees, changes or refuses what clients do. Called after the client's rights were checked.
///
/// Interceptors run on the data path, one after the other in the order they were added: they must be quick.
pub trait Interceptor: Send + Sync {
    /// Called for each PUBLISH.
    ///
    /// # Errors
    /// The Reason Code refuses the message; the client learns it from PUBACK or PUBREC.
    fn publish(
        &self,
        _client: &ClientInfo,
        _draft: &mut PublishDraft<'_>,
    ) -> Result<(), ReasonCode> {
        Ok(())
    }

    /// Called for each Topic Filter of a SUBSCRIBE.
    ///
    /// # Errors
    /// The Reason Code refuses the subscription; the client learns it from SUBACK.
    fn subscribe(
        &self,
        _client: &ClientInfo,
        _draft: &mut SubscribeDraft<'_>,
    ) -> Result<(), ReasonCode> {
        Ok(())
    }

    /// Called after a client has connected.
    fn connected(&self, _client: &ClientInfo) {}

    /// Called after a connection has ended; `reason` is a word for logs and events.
    fn disconnected(&self, _client: &ClientInfo, _reason: &str) {}
}

/// Receives messages inside the process: an embedding program, a bridge. It is one of those who subscribed; who only
/// looks on is a [`MessageObserver`](crate::observer::MessageObserver).
pub trait Consumer: Send + Sync {
    /// Called on the publisher's thread, within its turn: must not block and should be quick.
    fn consume(&self, message: &Arc<Message>);
}

pub use crate::store::Store;

/// The extensions of a broker, swapped whole when one comes or goes.
#[derive(Default, Clone)]
pub struct Extensions {
    /// Sources of authentication, in order; the first that does not ignore decides.
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    /// Methods of enhanced authentication.
    pub auth_methods: Vec<Arc<dyn AuthMethod>>,
    /// Sources of authorisation, in order; the first that does not ignore decides.
    pub authorizers: Vec<Arc<dyn Authorizer>>,
    /// Interceptors, in order.
    pub interceptors: Vec<Arc<dyn Interceptor>>,
    /// Observers of events, in order.
    pub event_watches: Vec<EventWatch>,
}

impl Extensions {
    /// Events that somebody observes.
    pub(crate) fn observed(&self) -> EventKinds {
        self.event_watches.iter().fold(EventKinds::NONE, |all, watch| all.union(watch.kinds))
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extensions")
            .field("authenticators", &self.authenticators.len())
            .field("auth_methods", &self.auth_methods.len())
            .field("authorizers", &self.authorizers.len())
            .field("interceptors", &self.interceptors.len())
            .field("event_watches", &self.event_watches.len())
            .finish()
    }
}
