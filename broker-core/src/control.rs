//! Control plane: what an operator asks and orders, beside the data path.
//!
//! Queries copy what they show, one session's lock at a time. Orders end in the same calls that packets do.

pub(crate) mod bans;
pub(crate) mod cursors;
pub(crate) mod give_back;
pub(crate) mod pages;
pub(crate) mod publishing;
mod reconfigure;
mod retained;
pub(crate) mod views;
pub(crate) mod why;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use broker_codec::{QoS, ReasonCode, SubscriptionOptions};

use crate::broker::Broker;
use crate::channel::{
    CloseCause, SessionEnd, Wish, check_subscriptions, subscribe_one, unsubscribe_one,
};
use crate::client::ClientId;
use crate::clock::Now;
use crate::config::{DelayedConfig, RetainedConfig};
use crate::slow_subscribers::SlowSubscription;
use crate::turn::Turn;

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

/// A listener to be added. For the rest, its protocol and certificates included, it is like one that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewListener {
    /// Name of the one that it is like: `mqtt:tcp:external`.
    pub like: String,
    /// Its own, without the protocol; letters, digits, `_` and `-`.
    pub name: String,
    /// Where it listens: a port, `ip:port` or `[ip6]:port`; a path where the other has one.
    pub listen_on: String,
    /// The zone that its clients get, if that is another.
    pub zone: Option<String>,
}

/// What the control plane may do with listeners; filled by the shell, which has them.
pub trait Listeners: Send + Sync {
    /// All listeners, running or stopped.
    fn list(&self) -> Vec<ListenerInfo>;

    /// Opens a further listener, which lasts as long as the process does.
    ///
    /// # Errors
    /// There is none that it could be like, one of its name is there, or it cannot be opened.
    fn add(&self, listener: &NewListener) -> Result<(), ListenerError>;

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

/// Why a session is not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoveSessionError {
    /// A connection serves it.
    #[error("the session is running")]
    Running,
    /// The client has none.
    #[error("no such session")]
    NotFound,
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

    /// Closes a client's connection with 0x98 Administrative action. Returns false if it has none.
    #[must_use]
    pub fn kick(&self, client_id: &str) -> bool {
        self.sessions.get(client_id).is_some_and(|session| session.close(CloseCause::Kicked))
    }

    /// Ends a session that no connection serves, or whose connection is closed by this.
    pub fn discard_session(&self, client_id: &str, turn: &mut Turn) -> bool {
        let Some(session) = self.sessions.get(client_id) else { return false };
        self.end_session(&session, SessionEnd::Kicked, turn);
        true
    }

    /// Ends the session of a client that is away.
    ///
    /// # Errors
    /// The client is connected, or has no session.
    pub fn remove_session(
        &self,
        client_id: &str,
        turn: &mut Turn,
    ) -> Result<(), RemoveSessionError> {
        let session = self.sessions.get(client_id).ok_or(RemoveSessionError::NotFound)?;
        let ended = self.end_session_if(&session, SessionEnd::Kicked, turn, |state| {
            match (state.ended, &state.connection) {
                (true, _) => Err(RemoveSessionError::NotFound),
                (false, Some(_)) => Err(RemoveSessionError::Running),
                (false, None) => Ok(()),
            }
        });
        ended.map(|_| ())
    }

    /// Clients that were slow of late, the slowest first.
    #[must_use]
    pub fn slow_subscriptions(&self, now: Now) -> Vec<SlowSubscription> {
        self.slow_subscribers.list(now)
    }

    /// Forgets them.
    pub fn clear_slow_subscriptions(&self) {
        self.slow_subscribers.clear();
    }

    /// Changes the limits of retained messages, or switches them off or on. What is kept already stays.
    pub fn configure_retained(&self, config: RetainedConfig) {
        self.retained.configure(config);
    }

    /// Changes the limits of delayed messages, or switches them off or on. What waits already stays.
    pub fn configure_delayed(&self, config: DelayedConfig) {
        self.delayed.configure(config);
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

    /// Subscribes a client on its behalf, as if it had sent SUBSCRIBE: connected or away, with retained
    /// messages, which a client that is away gets when it comes. It is not told.
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
        let wish = Wish { filter, options: client.adapt(options), identifier: 0 };
        let (granted, replay) = subscribe_one(&session, &client, &wish, turn)?;
        session.start_replays(replay.into_iter().collect(), &mut turn.out);
        Ok(granted)
    }

    /// The same for several filters, of which no two are the same: all of them or none. Only an interceptor that
    /// takes some and not others leaves the client with those that stand before the first it does not take.
    ///
    /// # Errors
    /// As [`subscribe_client`](Self::subscribe_client).
    pub fn subscribe_client_to(
        &self,
        client_id: &str,
        filters: &[&str],
        qos: QoS,
        turn: &mut Turn,
    ) -> Result<(), ReasonCode> {
        let session = self.sessions.get(client_id).ok_or(ReasonCode::PacketIdentifierNotFound)?;
        let client = Arc::clone(&session.lock().client);
        check_subscriptions(&session, &client, filters, self)?;
        filters
            .iter()
            .try_for_each(|filter| self.subscribe_client(client_id, filter, qos, turn).map(drop))
    }

    /// Ends a client's subscription on its behalf, as if it had sent UNSUBSCRIBE. It is not told.
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

    /// Asks every connection to close because the broker stops [MQTT-3.14.4-1], once its socket has taken what is ready for
    /// it; from now on nobody is let in.
    pub fn close_all(&self) {
        // Who misses it is in the lists below by now: a session is put there under the lock that they are read under.
        self.is_closing.store(true, Ordering::Relaxed);
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
