//! Views: what is shown of a client, a session, a subscription and a route, as it stood when it was looked at.

use std::sync::Arc;

use crate::client::{ClientId, ClientInfo};
use crate::router::destinations::To;
use crate::session::Session;
use crate::session::subscriptions::Subscription;
use crate::session::view::{ConnectionView, SessionCounts};

/// One client that is connected.
#[derive(Debug, Clone)]
pub struct ConnectedClient {
    /// Who it is, where it comes from, what it asked for, its zone and listener.
    pub client: Arc<ClientInfo>,
    /// What its connection has done.
    pub connection: ConnectionView,
}

/// One session.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// The client of the present or last connection.
    pub client: Arc<ClientInfo>,
    /// True while a connection serves it.
    pub is_connected: bool,
    /// Number of subscriptions.
    pub subscriptions: usize,
    /// Messages in flight to the client.
    pub inflight: usize,
    /// Messages in the queue.
    pub queued: usize,
    /// QoS 2 messages received and not yet released.
    pub awaiting_rel: usize,
    /// Messages the queue had no room for.
    pub dropped: u64,
    /// Session Expiry Interval in seconds.
    pub expiry_s: u32,
    /// Bytes that wait for the socket.
    pub outbox_bytes: usize,
    /// When the session was created, milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// What is counted of it, and its limits.
    pub counts: SessionCounts,
    /// The connection that serves it.
    pub connection: Option<ConnectionView>,
}

/// One subscription of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionView {
    /// Whose it is.
    pub client_id: ClientId,
    /// Its filter, `$share/…` prefix and all, and its options with the QoS that was granted.
    pub subscription: Subscription,
}

/// One Topic Filter, and one kind of receivers that its messages go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    /// The filter, behind mountpoints and rewritten, without a `$share/…` prefix.
    pub filter: Arc<str>,
    /// The group that it is a route to, empty for `$queue/…`; `None` if it is one to all who subscribed.
    pub share: Option<Box<str>>,
}

impl ConnectedClient {
    /// `None` if no connection serves the session.
    pub(super) fn of(session: &Session) -> Option<Self> {
        let state = session.lock();
        let connection = session.connection_view(&state)?;
        Some(Self { client: Arc::clone(&state.client), connection })
    }
}

impl SessionView {
    /// `None` if the session is over.
    pub(super) fn of(session: &Session) -> Option<Self> {
        let state = session.lock();
        (!state.ended).then(|| Self {
            client: Arc::clone(&state.client),
            is_connected: state.connection.is_some(),
            subscriptions: state.subscriptions.len(),
            inflight: state.inflight.len(),
            queued: state.queue.len(),
            awaiting_rel: state.received.len(),
            dropped: state.drops.driven_out(),
            expiry_s: state.expiry_s,
            outbox_bytes: state.connection.as_ref().map_or(0, |c| c.outbox.len()),
            created_at_ms: state.created_at_ms,
            counts: state.counts(),
            connection: session.connection_view(&state),
        })
    }
}

impl RouteView {
    pub(super) fn of(to: To) -> Self {
        match to {
            To::Subscribers(filter) => Self { filter, share: None },
            To::Group(group) => {
                Self { filter: Arc::clone(group.route()), share: Some(group.name().into()) }
            }
        }
    }
}
