//! Control plane: what an operator asks and orders, beside the data path.
//!
//! Queries copy what they show, one session's lock at a time. Orders end in the same calls that packets do.

use std::sync::{Arc, Weak};

use broker_codec::{QoS, ReasonCode, SubscriptionOptions};

use crate::access::banned::{Ban, Who};
use crate::broker::Broker;
use crate::channel::{CloseCause, Wish, subscribe_one, unsubscribe_one};
use crate::client::{ClientId, ClientInfo};
use crate::modules::topic_metrics::TopicCounts;
use crate::session::Session;
use crate::session::subscriptions::Subscription;
use crate::session::view::{ConnectionView, SessionCounts};
use crate::turn::Turn;

/// One session as it stood when it was looked at.
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

/// One listener as the control plane sees it.
#[derive(Debug, Clone)]
pub struct ListenerInfo {
    /// `mqtt:tcp:external`.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: String,
    /// The same as it was configured: a port alone stays one.
    pub listen_on: String,
    /// True while it accepts.
    pub is_running: bool,
    /// `acceptors`.
    pub acceptors: usize,
    /// `max_connections`.
    pub max_connections: usize,
    /// Connections it has now.
    pub connections: usize,
    /// How many connections ended for which reason; an orderly end is not counted.
    pub shutdown_counts: Vec<(String, u64)>,
}

/// What the control plane may do with listeners; filled by the shell, which has them.
pub trait Listeners: Send + Sync {
    /// All listeners, running or stopped.
    fn list(&self) -> Vec<ListenerInfo>;

    /// Stops accepting at a listener and closes its connections with 0x98 Administrative action. Waits for that.
    ///
    /// # Errors
    /// There is none of that name, or it is stopped.
    fn stop(&self, name: &str) -> Result<(), ListenerError>;

    /// Opens a stopped listener again.
    ///
    /// # Errors
    /// There is none of that name, it runs, or cannot be opened.
    fn start(&self, name: &str) -> Result<(), ListenerError>;

    /// Stops a listener if it runs, and opens it with what its certificates are now.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be opened: it runs on if that shows before it is stopped.
    fn restart(&self, name: &str) -> Result<(), ListenerError>;
}

/// Why nothing was done with a listener.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenerError {
    /// There is none of that name.
    #[error("there is no such listener")]
    Unknown,
    /// It was to be started.
    #[error("the listener runs already")]
    Running,
    /// It was to be stopped.
    #[error("the listener does not run")]
    Stopped,
    /// It cannot be opened; the text says why.
    #[error("{0}")]
    Failed(String),
}

impl Broker {
    /// Makes the shell's listeners known.
    pub fn set_listeners(&self, listeners: Weak<dyn Listeners>) {
        *self.listeners.write() = Some(listeners);
    }

    /// The listeners, if a shell with listeners runs.
    #[must_use]
    pub fn listeners(&self) -> Option<Arc<dyn Listeners>> {
        self.listeners.read().as_ref()?.upgrade()
    }

    /// Sessions, page by page: the views of shard `page`, or `None` past the last.
    ///
    /// Cost: one short lock per session of the page, none that all share.
    #[must_use]
    pub fn sessions(&self, page: usize) -> Option<Vec<SessionView>> {
        Some(self.sessions.snapshot(page)?.iter().map(view).collect())
    }

    /// The session of a client.
    #[must_use]
    pub fn session(&self, client_id: &str) -> Option<SessionView> {
        self.sessions.get(client_id).map(|session| view(&session))
    }

    /// The subscriptions of a client.
    #[must_use]
    pub fn subscriptions(&self, client_id: &str) -> Option<Vec<Subscription>> {
        let session = self.sessions.get(client_id)?;
        let state = session.lock();
        Some(state.subscriptions.iter().cloned().collect())
    }

    /// All distinct Topic Filters that are subscribed to.
    #[must_use]
    pub fn routes(&self) -> Vec<String> {
        let mut routes = Vec::new();
        self.router.for_each_route(|filter| routes.push(filter.to_owned()));
        routes.sort();
        routes
    }

    /// Closes a client's connection with 0x98 Administrative action. Returns false if it has none.
    #[must_use]
    pub fn kick(&self, client_id: &str) -> bool {
        self.sessions.get(client_id).is_some_and(|session| session.close(CloseCause::Kicked))
    }

    /// Bans a client, a user or an address; whoever is connected and concerned is closed.
    pub fn ban(&self, who: Who, ban: Ban, now_ms: u64) {
        self.add_ban(who.clone(), ban, now_ms);
        let concerned = move |client: &ClientInfo| match &who {
            Who::ClientId(id) => client.client_id.as_str() == &**id,
            Who::Username(name) => client.username.as_deref() == Some(name),
            Who::Address(address) => client.peer.map(|peer| peer.ip()) == Some(*address),
        };
        for shard in 0.. {
            let Some(sessions) = self.sessions.snapshot(shard) else { break };
            for session in sessions.iter().filter(|session| session.is_connected()) {
                let client = Arc::clone(&session.lock().client);
                if concerned(&client) {
                    session.close(CloseCause::Banned);
                }
            }
        }
    }

    /// Lifts a ban. Returns false if there is none.
    pub fn unban(&self, who: &Who) -> bool {
        self.lift_ban(who)
    }

    /// All bans.
    #[must_use]
    pub fn bans(&self) -> Vec<(Who, Ban)> {
        self.banned.list()
    }

    /// Ends a session that no connection serves, or whose connection is closed by this.
    pub fn discard_session(&self, client_id: &str, turn: &mut Turn) -> bool {
        let Some(session) = self.sessions.get(client_id) else { return false };
        self.end_session(&session, CloseCause::Kicked, turn);
        true
    }

    /// Counts of the topics registered in `module.topic_metrics`.
    #[must_use]
    pub fn topic_metrics(&self) -> Vec<(String, TopicCounts)> {
        self.topic_metrics.as_ref().map(|metrics| metrics.list()).unwrap_or_default()
    }

    /// Bytes of retained messages.
    #[must_use]
    pub fn retained_bytes(&self) -> usize {
        self.retained.bytes()
    }

    /// Delayed messages that wait.
    #[must_use]
    pub fn delayed_len(&self) -> usize {
        self.delayed.len()
    }

    /// Subscribes a client on its behalf, as if it had sent SUBSCRIBE.
    ///
    /// # Errors
    /// The Reason Code that SUBACK would have carried; `PacketIdentifierNotFound` for an unknown client.
    pub fn subscribe_client(
        &self,
        client_id: &str,
        filter: &str,
        qos: QoS,
        turn: &mut Turn,
    ) -> Result<QoS, ReasonCode> {
        let session = self.sessions.get(client_id).ok_or(ReasonCode::PacketIdentifierNotFound)?;
        let client = Arc::clone(&session.lock().client);
        let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let wish = Wish { filter, options, identifier: 0 };
        let (granted, replay) = subscribe_one(&session, &client, &wish, turn)?;
        session.start_replays(replay.into_iter().collect(), &mut turn.out);
        Ok(granted)
    }

    /// Ends a client's subscription on its behalf.
    ///
    /// # Errors
    /// The Reason Code that UNSUBACK would have carried; `PacketIdentifierNotFound` for an unknown client.
    pub fn unsubscribe_client(
        &self,
        client_id: &str,
        filter: &str,
        turn: &mut Turn,
    ) -> Result<(), ReasonCode> {
        let session = self.sessions.get(client_id).ok_or(ReasonCode::PacketIdentifierNotFound)?;
        let client = Arc::clone(&session.lock().client);
        match unsubscribe_one(&session, &client, filter, turn) {
            ReasonCode::Success => Ok(()),
            reason_code => Err(reason_code),
        }
    }

    /// Asks every connection to close because the broker stops [MQTT-3.14.4-1].
    pub fn close_all(&self) {
        for shard in 0.. {
            let Some(sessions) = self.sessions.snapshot(shard) else { break };
            for session in sessions {
                session.close(CloseCause::ServerShuttingDown);
            }
        }
    }

    pub(crate) fn new_client_id(&self) -> ClientId {
        let mut hasher = std::hash::BuildHasher::build_hasher(&self.id_seed);
        std::hash::Hasher::write_u64(&mut hasher, self.next_connection_id());
        let hash = std::hash::Hasher::finish(&hasher);
        ClientId::from(format!("auto-{:016X}", hash).as_str())
    }
}

fn view(session: &Arc<Session>) -> SessionView {
    let state = session.lock();
    SessionView {
        client: Arc::clone(&state.client),
        is_connected: state.connection.is_some(),
        subscriptions: state.subscriptions.len(),
        inflight: state.inflight.len(),
        queued: state.queue.len(),
        awaiting_rel: state.received.len(),
        dropped: state.dropped,
        expiry_s: state.expiry_s,
        outbox_bytes: state.connection.as_ref().map_or(0, |c| c.outbox.len()),
        created_at_ms: state.created_at_ms,
        counts: state.counts(),
        connection: session.connection_view(&state),
    }
}
