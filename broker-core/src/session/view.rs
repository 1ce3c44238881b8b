//! View: what of a session and its connection is counted and measured, for an operator to see.

use std::sync::atomic::Ordering;

use super::connection::Aliases;
use super::replay::Replay;
use super::{Connection, Session, State};
use crate::client::ClientInfo;
use crate::store::Dependency;
use crate::traffic::Tally;

/// The connection of a session as it stood when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionView {
    /// What was read from the client, up to the last turn of its connection that has ended.
    pub received: Tally,
    /// What was written for the client: packets when they were encoded, bytes when the socket took them.
    pub sent: Tally,
    /// Bytes that wait for the socket.
    pub pending_bytes: usize,
    /// Messages that wait for the connection: for its window, for room before its socket, or for the store.
    pub waiting: usize,
    /// Turns in which it had something to do.
    pub turns: u64,
    /// Bytes of memory held for it: its state in core and shell, and its buffers; not what the system's socket
    /// or TLS takes.
    pub heap_bytes: usize,
}

/// What is counted of a session since it was created, or since the broker was started, and its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionCounts {
    /// Clean Start of the CONNECT that created it.
    pub created_clean: bool,
    /// PUBLISH packets written for its connections, repeated ones included.
    pub delivered: u64,
    /// Messages that went through the queue.
    pub enqueued: u64,
    /// New subscriptions whose retained messages are still to be sent.
    pub waiting: usize,
    /// Bytes of memory held for it: its state, and the messages it keeps, whoever else keeps them too.
    pub heap_bytes: usize,
    /// Most subscriptions it may have; 0 for no limit.
    pub max_subscriptions: u32,
    /// Most messages in flight to the client; 0 for no limit.
    pub max_inflight: u16,
    /// Most messages in the queue; 0 for no limit.
    pub max_queued: u32,
    /// Most QoS 2 messages of the client that may wait for their release; 0 for no limit.
    pub max_awaiting_rel: u16,
}

impl SessionCounts {
    /// Units of work it has caused so far: a PUBLISH written, a message put into the queue.
    #[must_use]
    pub const fn work(&self) -> u64 {
        self.delivered + self.enqueued
    }
}

impl Session {
    /// The connection that serves it. `state` is its own.
    pub(crate) fn connection_view(&self, state: &State) -> Option<ConnectionView> {
        let connection = state.connection.as_ref()?;
        let told = &state.client.told;
        let channel_bytes = self.channel_bytes.load(Ordering::Relaxed) as usize;
        Some(ConnectionView {
            received: told.received(),
            sent: connection.sent,
            pending_bytes: connection.outbox.len(),
            waiting: state.queue.len() + state.inflight.unsent(),
            turns: told.turns(),
            heap_bytes: connection.bytes() + client_bytes(&state.client) + channel_bytes,
        })
    }
}

impl State {
    /// Cost: a look at each message in flight.
    pub(crate) fn counts(&self) -> SessionCounts {
        let zone = &self.client.zone;
        let connection = self.connection.as_ref();
        let delivered = self.total_delivered();
        SessionCounts {
            created_clean: self.created_clean,
            delivered,
            enqueued: self.enqueued,
            waiting: self.replays.as_ref().map_or(0, |replays| replays.len()),
            heap_bytes: self.bytes(),
            max_subscriptions: zone.max_subscriptions,
            max_inflight: connection.map_or(zone.max_inflight, |c| c.window),
            max_queued: zone.max_mqueue_len,
            max_awaiting_rel: zone.max_awaiting_rel,
        }
    }

    /// PUBLISH packets written for all of its connections.
    pub(super) fn total_delivered(&self) -> u64 {
        self.delivered + self.connection.as_ref().map_or(0, |c| c.sent.messages)
    }

    fn bytes(&self) -> usize {
        let will = self.will.as_ref().map_or(0, |will| {
            size_of_val(&**will) + will.topic.len() + will.payload.len() + will.properties.len()
        });
        size_of::<Session>()
            + self.client.client_id.as_str().len()
            + self.subscriptions.heap_bytes()
            + self.inflight.heap_bytes()
            + self.received.heap_bytes()
            + self.queue.heap_bytes()
            + self.drops.heap_bytes()
            + self.replays.as_ref().map_or(0, |replays| replays.capacity() * size_of::<Replay>())
            + will
    }
}

impl Connection {
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.outbox.heap_bytes()
            + self.held.as_ref().map_or(0, |held| held.capacity() * size_of::<Dependency>())
            + self.aliases.as_ref().map_or(0, |aliases| aliases.heap_bytes())
    }
}

impl Aliases {
    fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.by_topic.capacity() * size_of::<(Box<str>, u16)>() + self.bytes
    }
}

fn client_bytes(client: &ClientInfo) -> usize {
    size_of::<ClientInfo>()
        + client.client_id.as_str().len()
        + client.username.as_ref().map_or(0, |name| name.len())
        + client.mountpoint.len()
}
