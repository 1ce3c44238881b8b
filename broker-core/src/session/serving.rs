//! Serving: a connection that comes to a session and goes, and what is written for it meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::queue::Kept;
use super::replay::Replay;
use super::{Connection, Session, State};
use crate::channel::{Close, CloseCause};
use crate::client::ClientInfo;
use crate::message::Message;
use crate::metrics::Metric;
use crate::outbox::Flushed;
use crate::record::Record;
use crate::store::{BodyPlace, Dependency, FetchError};
use crate::turn::{Out, Reply};

impl Session {
    /// Puts a connection in place, its CONNACK first, and sends what is owed.
    pub(crate) fn attach(
        self: &Arc<Self>,
        state: &mut State,
        client: Arc<ClientInfo>,
        mut connection: Box<Connection>,
        connack: &[u8],
        held: Vec<Dependency>,
        out: &mut Out,
    ) {
        connection.outbox.append(connack, &mut out.pool);
        connection.sent.packets += 1;
        if let (Some(store), false) = (out.records.store(), held.is_empty()) {
            // Everything else comes after the CONNACK, and so waits with it.
            connection.outbox.hold();
            held.iter().for_each(|held| held.wake(&connection.sink, &**store));
            connection.held = Some(Box::new(held));
        }
        if let Some(holdings) = &mut connection.holdings {
            holdings.bring_subscriptions(state.subscriptions.len());
        }
        state.upgrades_qos = client.zone.upgrade_qos;
        self.served_by.store(connection.id, Ordering::Relaxed);
        state.client = client;
        state.connection = Some(connection);
        state.disconnected_at_ms = i64::MAX;
        state.inflight.start_over();
        state.wake_for_held(out);
        if let (true, Some(connection)) = (state.is_unchecked, &state.connection) {
            connection.sink.wake();
        }
        self.pump(state, out);
        self.touch(state, out);
    }

    /// Sends what may be sent, and has bodies read back that only the store holds.
    pub(super) fn pump(self: &Arc<Self>, state: &mut State, out: &mut Out) {
        state.pump(out);
        if std::mem::take(&mut state.wants_bodies) && !state.is_fetching {
            self.fetch(state, out);
        }
    }

    /// Asks the store for the next messages that only it has.
    pub(super) fn fetch(self: &Arc<Self>, state: &mut State, out: &Out) {
        let (steps, places) = state.bodies_wanted();
        let Some(store) = out.records.store().filter(|_| !steps.is_empty()) else { return };
        state.is_fetching = true;
        let session = Arc::clone(self);
        let fill_in = move |bodies: Vec<Result<Bytes, FetchError>>| {
            let mut state = session.lock();
            state.is_fetching = false;
            for ((step, place), body) in steps.into_iter().zip(bodies) {
                let message = read_back(&place, body);
                state.fill_in(step, message);
            }
            if let Some(connection) = &state.connection {
                connection.sink.wake();
            }
        };
        store.fetch(places, Box::new(fill_in));
    }

    /// Takes the connection away, if it is still the one of that number.
    pub(crate) fn detach(&self, state: &mut State, connection: u64) -> Option<Box<Connection>> {
        let ended = state.connection.take_if(|c| c.id == connection)?;
        self.served_by.store(0, Ordering::Relaxed);
        state.delivered += ended.sent.messages;
        Some(ended)
    }

    /// Asks the connection to close. Returns false if there is none.
    pub(crate) fn close(&self, cause: CloseCause) -> bool {
        self.close_if(cause, |_| true)
    }

    /// The same, if its client is one that `is_it`.
    pub(crate) fn close_if(
        &self,
        cause: CloseCause,
        is_it: impl FnOnce(&ClientInfo) -> bool,
    ) -> bool {
        let mut state = self.lock();
        if !is_it(&state.client) {
            return false;
        }
        let Some(connection) = &mut state.connection else { return false };
        connection.close.get_or_insert(cause);
        connection.sink.wake();
        true
    }

    /// Replaces the connection by nothing and tells the old one why [MQTT-3.1.4-3].
    pub(crate) fn expel(&self, state: &mut State, cause: CloseCause, out: &mut Out) {
        let Some(mut old) = state.connection.take() else { return };
        self.served_by.store(0, Ordering::Relaxed);
        state.delivered += old.sent.messages;
        let close = Close::from(cause);
        if old.version.is_v5() {
            let mut packet = Vec::new();
            close.disconnect().encode(old.version, &mut packet);
            old.outbox.append(&packet, &mut out.pool);
        }
        if let Some(mut batch) = old.outbox.begin_flush() {
            // Non-blocking, once: a client that reads nothing learns nothing.
            let (outcome, written) = batch.write(&*old.sink);
            out.counters.add(Metric::BytesSent, written as u64);
            if old.version.is_v5() && matches!(outcome, Flushed::Done) {
                out.counters.inc(Metric::PacketsDisconnectSent);
            }
        }
        // Its channel finds the session in other hands and closes the socket.
        old.sink.wake();
    }

    /// Puts the session on the list of those to flush at the end of the turn.
    pub(super) fn touch(self: &Arc<Self>, state: &mut State, out: &mut Out) {
        if let Some(connection) = &mut state.connection
            && !connection.outbox.dirty
            && (!connection.outbox.is_empty()
                || (state.replays_rest && !connection.outbox.is_blocked()))
        {
            connection.outbox.dirty = true;
            out.dirty.push(Arc::clone(self));
        }
    }

    /// Ends the part of the channel `connection` in a turn: its packets join the outbox, and what its
    /// acknowledgements made room for is sent.
    ///
    /// Returns whether reading must wait for the socket, as [`is_congested`](Self::is_congested) does.
    pub(crate) fn reply(
        self: &Arc<Self>,
        connection: u64,
        reply: &Reply,
        out: &mut Out,
    ) -> Option<bool> {
        let mut state = self.lock();
        let current = state.connection.as_mut().filter(|c| c.id == connection)?;
        current.open(out);
        if !reply.is_empty() {
            current.outbox.append(&reply.bytes, &mut out.pool);
            current.sent.packets += reply.packets;
            out.dirty_bytes += reply.bytes.len();
        }
        if state.has_waiting() {
            self.pump(&mut state, out);
        }
        self.touch(&mut state, out);
        self.charge(&mut state, out);
        Some(state.is_congested())
    }

    /// True while the outbox is at its bound. Whoever empties it wakes the channel then.
    pub(crate) fn is_congested(&self) -> bool {
        self.lock().is_congested()
    }

    /// Until when, on the monotonic clock, what waits for the connection does so for its limits; `None` if for
    /// something else.
    pub(crate) fn paced_until_ms(&self, connection: u64, now_ms: u64) -> Option<u64> {
        let state = self.lock();
        let current = state.connection.as_ref().filter(|c| c.id == connection)?;
        let until_ms = current.holdings.as_ref()?.until_ms;
        (until_ms > now_ms && state.has_waiting()).then_some(until_ms)
    }

    /// Since when, on the monotonic clock, the socket of the connection has taken no byte.
    ///
    /// `None` if it takes them; then the shell is woken when it refuses the next time.
    pub(crate) fn stalled_since_ms(&self, connection: u64) -> Option<u64> {
        let mut state = self.lock();
        let current = state.connection.as_mut().filter(|c| c.id == connection)?;
        current.is_watched = current.outbox.is_blocked();
        current.is_watched.then_some(current.stalled_at_ms)
    }

    /// Whether the socket of the connection refuses bytes, how many wait for it, and the User Name; `None` if the
    /// connection is gone. The shell is woken when it refuses the next time.
    pub(crate) fn look_at_outbox(
        &self,
        connection: u64,
    ) -> Option<(bool, usize, Option<Arc<str>>)> {
        let mut state = self.lock();
        let username = state.client.username.clone();
        let current = state.connection.as_mut().filter(|c| c.id == connection)?;
        current.is_watched = current.outbox.is_blocked();
        Some((current.is_watched, current.outbox.len(), username))
    }

    /// The socket took bytes, though not yet all that was encoded for it.
    pub(crate) fn note_progress(&self, connection: u64, now_ms: u64) {
        if let Some(current) = self.lock().connection.as_mut().filter(|c| c.id == connection) {
            current.stalled_at_ms = now_ms;
        }
    }

    /// Somebody has woken the connection: the rights by which the session was looked at last, or why it is to close.
    pub(crate) fn look_at_wake(&self, connection: u64) -> Result<u64, Close> {
        let state = self.lock();
        match state.connection.as_deref() {
            Some(Connection { id, close: None, .. }) if *id == connection => {
                Ok(state.rights_generation)
            }
            // What is ready is delivered before the broker stops; who has taken the last of it wakes it again.
            Some(Connection {
                id, close: Some(CloseCause::ServerShuttingDown), outbox, ..
            }) if *id == connection && outbox.is_blocked() => Ok(state.rights_generation),
            Some(Connection { id, close: Some(cause), .. }) if *id == connection => {
                Err(Close::from(*cause))
            }
            _ => Err(Close::from(CloseCause::TakenOver)),
        }
    }

    /// Begins to send the retained messages of new subscriptions.
    pub(crate) fn start_replays(self: &Arc<Self>, replays: Vec<Replay>, out: &mut Out) {
        let mut state = self.lock();
        state.add_replays(replays);
        self.pump(&mut state, out);
        self.touch(&mut state, out);
    }

    /// The socket takes bytes again.
    pub(crate) fn handle_writable(self: &Arc<Self>, connection: u64, out: &mut Out) {
        {
            let mut state = self.lock();
            let Some(current) = state.connection.as_mut().filter(|c| c.id == connection) else {
                return;
            };
            current.outbox.set_writable();
        }
        self.flush(out);
    }

    /// Writes the outbox to the socket, without holding the lock while the system copies.
    pub(crate) fn flush(self: &Arc<Self>, out: &mut Out) {
        let mut state = self.lock();
        let Some(connection) = &mut state.connection else { return };
        let id = connection.id;
        let mut next = connection.outbox.begin_flush();
        let is_blocked = connection.outbox.is_blocked();
        if next.is_none() && !is_blocked && state.replays_rest {
            // Nothing was found for the outbox so far; the search goes on.
            self.pump(&mut state, out);
            next = state.connection.as_mut().and_then(|c| c.outbox.begin_flush());
            self.touch(&mut state, out);
        }
        let (Some(mut batch), Some(connection)) = (next, &state.connection) else {
            return self.charge_flushed(&mut state, out);
        };
        let sink = Arc::clone(&connection.sink);
        drop(state);
        for pass in 0.. {
            let (outcome, written) = batch.write(&*sink);
            out.counters.add(Metric::BytesSent, written as u64);
            let mut state = self.lock();
            // Taken over meanwhile: what is left belongs to nobody.
            let Some(connection) = state.connection.as_mut().filter(|c| c.id == id) else { return };
            connection.sent.bytes += written as u64;
            connection.sent.calls += batch.calls();
            let next = connection.outbox.end_flush(batch, &outcome, written, &mut out.pool);
            if connection.wants_room && connection.outbox.len() < connection.max_outbox_bytes {
                connection.wants_room = false;
                connection.sink.wake();
            }
            if let Some(next) = next {
                batch = next;
                continue;
            }
            if connection.outbox.is_blocked() {
                connection.stall(out.now.mono_ms);
            } else if connection.close.is_some() {
                connection.sink.wake();
            }
            self.charge_flushed(&mut state, out);
            if !state.has_waiting() {
                return;
            }
            // There is room again for what waited behind the outbox's bound.
            self.pump(&mut state, out);
            if pass >= FLUSH_PASSES {
                self.touch(&mut state, out);
                return;
            }
            let Some(connection) = &mut state.connection else { return };
            let next = connection.outbox.begin_flush();
            if state.replays_rest {
                self.touch(&mut state, out);
            }
            let Some(next) = next else { return };
            batch = next;
        }
    }

    /// The same after a flush, which mostly leaves the outbox and the window as they were.
    pub(super) fn charge_flushed(&self, state: &mut State, out: &mut Out) {
        let moved = state.connection.as_ref().is_some_and(|connection| {
            connection.outbox.len() + state.inflight.charged() != connection.charged
        });
        if moved {
            self.charge(state, out);
        }
    }
}

impl State {
    fn is_congested(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        connection.wants_room = connection.outbox.len() >= connection.max_outbox_bytes;
        connection.wants_room
    }

    /// Has the new connection woken for packets that its predecessor was still kept from sending.
    fn wake_for_held(&self, out: &Out) {
        if let (Some(connection), Some(store)) = (&self.connection, out.records.store()) {
            for held in self.inflight.iter().filter_map(|entry| entry.held.as_ref()) {
                held.wake(&connection.sink, &**store);
            }
        }
    }

    /// The next messages that only the store has: their steps with their places, and the places once more.
    fn bodies_wanted(&self) -> (Vec<(u64, BodyPlace)>, Vec<BodyPlace>) {
        let mut wanted = Vec::new();
        let mut bytes = 0;
        for delivery in self.inflight.deliveries().chain(self.queue.iter()) {
            if let Kept::Stored(place) = &delivery.message {
                wanted.push((delivery.step, BodyPlace::clone(place)));
                bytes += place.len as usize;
            }
            if wanted.len() >= FETCH_MESSAGES || bytes >= FETCH_BYTES {
                break;
            }
        }
        let places = wanted.iter().map(|(_, place)| place.clone()).collect();
        (wanted, places)
    }

    fn fill_in(&mut self, step: u64, message: Kept) {
        if let Some(message) = self.queue.fill_in(step, message) {
            self.inflight.fill_in(step, message);
        }
    }
}

/// A message that was read back.
fn read_back(place: &BodyPlace, body: Result<Bytes, FetchError>) -> Kept {
    let decoded =
        body.map_err(|error| error.to_string()).and_then(|bytes| match Record::decode(&bytes) {
            Ok((_, Some(Record::Body(body)))) => Ok(Message::restored(&body, place.clone())),
            Ok(_) => Err("another record".into()),
            Err(error) => Err(error.to_string()),
        });
    match decoded {
        Ok(message) => Kept::Here(Arc::new(message)),
        Err(error) => {
            log::error!("queued message is lost: cannot be read back at={} {error}", place.at);
            Kept::Lost
        }
    }
}

/// Messages read back at a time, and their bytes.
const FETCH_MESSAGES: usize = 64;
const FETCH_BYTES: usize = 256 * 1024;
/// Refills of an outbox within one flush; beyond it the session waits for the next pass.
const FLUSH_PASSES: u32 = 4;
