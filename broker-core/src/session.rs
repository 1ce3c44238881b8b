//! Session: Session State of MQTT 5.0, 4.1, and the outbox of its connection, behind one lock.
//!
//! A session outlives its connections. Any thread may deliver to it; a thread holds one session's lock at a
//! time, never two, and nothing that waits happens under it.

mod connection;
use connection::SendPace;
pub(crate) use connection::{Connection, ConnectionLimits};
mod deliver;
pub(crate) use deliver::unmounted;
pub(crate) mod drops;
pub(crate) mod inflight;
pub(crate) mod outlook;
mod packet_id;
pub(crate) mod queue;
mod received;
mod recording;
pub(crate) mod replay;
mod rights;
mod sending;
pub(crate) mod subscriptions;
pub(crate) mod view;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use broker_codec::{PacketId, QoS};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use crate::broker::Broker;
use crate::channel::{Close, CloseCause};
use crate::client::{ClientId, ClientInfo};
use crate::latency::Latency;
use crate::memory::SESSION_BYTES;
use crate::message::Message;
use crate::metrics::Metric;
use crate::outbox::Flushed;
use crate::record::{Record, Removal};
use crate::slow_subscribers::LateAck;
use crate::store::{BodyPlace, Dependency, FetchError};
use crate::turn::{Out, Reply};
use crate::will::Will;
use drops::Drops;
use inflight::{Inflight, Phase};
use queue::{Delivery, Kept, Queue};
use received::{Received, Routed};
use replay::Replay;
use subscriptions::Subscriptions;

/// Session State of one client.
pub(crate) struct Session {
    number: u64,
    /// It was created without Clean Start.
    is_persistent: bool,
    /// Bytes of memory that the channel and its shell hold; here because here is room.
    channel_bytes: AtomicU32,
    client_id: ClientId,
    /// Mirrors the number of `state.connection`, 0 without one, for those who look without locking.
    served_by: AtomicU64,
    state: Mutex<State>,
}

/// In this order: what each delivery looks at lies together, behind the lock.
#[repr(C)]
pub(crate) struct State {
    /// Apart: sessions that nobody serves, and there may be many, do without its bytes.
    pub(crate) connection: Option<Box<Connection>>,
    pub(crate) queue: Queue,
    pub(crate) inflight: Inflight,
    /// The client of the present or last connection.
    pub(crate) client: Arc<ClientInfo>,
    /// The session is over: it receives nothing and is in no table.
    pub(crate) ended: bool,
    /// Nothing is sent to a client that has come back until that is by the rights in force.
    pub(crate) is_unchecked: bool,
    /// `upgrade_qos` of the client's zone, here because each delivery asks.
    upgrades_qos: bool,
    /// It has a Session Expiry Interval and the broker a store: what it holds survives the process.
    pub(crate) is_durable: bool,
    /// Replays go on in the next pass: this one has looked at enough topics.
    replays_rest: bool,
    /// Bodies are needed that only the store has.
    wants_bodies: bool,
    /// They are being read.
    is_fetching: bool,
    /// Clean Start of the CONNECT that created the session.
    pub(crate) created_clean: bool,
    /// Number of the session, for its records.
    number: u64,
    /// Changes of the session that were recorded.
    pub(crate) steps: u64,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) received: Received,
    /// Retained messages still to be sent for new subscriptions.
    #[expect(clippy::box_collection, reason = "most sessions have none, and pay a pointer")]
    pub(crate) replays: Option<Box<VecDeque<Replay>>>,
    pub(crate) will: Option<Box<Will>>,
    /// Session Expiry Interval in seconds; `u32::MAX` never ends [MQTT-3.1.2-23].
    pub(crate) expiry_s: u32,
    /// The store knows its Will, though the session itself is not durable.
    pub(crate) is_will_recorded: bool,
    /// That it loses messages is looked after, for an alarm.
    pub(crate) is_overflow_noted: bool,
    pub(crate) created_at_ms: u64,
    /// Monotonic time at which the last connection ended, before 0 if that was long before the clock's zero;
    /// `i64::MAX` while there is one.
    pub(crate) disconnected_at_ms: i64,
    /// The same in milliseconds since the Unix epoch.
    pub(crate) disconnected_wall_ms: u64,
    /// When the broker's schedule looks at the session next; `u64::MAX` if it does not.
    pub(crate) scheduled_ms: u64,
    /// What its subscriptions are accounted with.
    pub(crate) subscription_bytes: usize,
    /// What it is accounted with, but for its queue.
    charged: usize,
    /// What it has lost, for all reasons.
    pub(crate) drops: Drops,
    /// PUBLISH packets written for connections that have ended.
    pub(crate) delivered: u64,
    /// Messages that had to wait in the queue.
    pub(crate) enqueued: u64,
    /// The step that the last snapshot of the session stands for.
    pub(crate) shown_until: u64,
    /// The rights by which all it was granted has been found to be allowed.
    pub(crate) rights_generation: u64,
    /// The oldest rights by which anything was granted since the session was last begun to be asked about.
    pub(crate) oldest_grant: u64,
    /// What the router knew subscriptions by whose right is gone, while messages wait whose topics only the store knows.
    #[expect(clippy::box_collection, reason = "nearly all sessions have none, and pay a pointer")]
    revoked: Option<Box<Vec<Arc<str>>>>,
}

/// How an acknowledgement met the inflight window.
pub(crate) enum Acked {
    /// It ended (or moved on) an exchange.
    Known(Option<Delivery>),
    /// It moved an exchange on, and the session answers it once the store has that.
    Held(Delivery),
    /// The same, said again.
    HeldBefore,
    /// No such Packet Identifier in that state.
    Unknown,
}

impl Session {
    pub(crate) fn new(number: u64, client: Arc<ClientInfo>, expiry_s: u32, now_ms: u64) -> Self {
        let client_id = client.client_id.clone();
        let created_clean = client.clean_start;
        let state = State {
            connection: None,
            subscriptions: Subscriptions::default(),
            inflight: Inflight::default(),
            received: Received::default(),
            queue: Queue::default(),
            replays: None,
            replays_rest: false,
            will: None,
            expiry_s,
            created_at_ms: now_ms,
            disconnected_at_ms: i64::MAX,
            disconnected_wall_ms: 0,
            scheduled_ms: u64::MAX,
            subscription_bytes: 0,
            charged: 0,
            drops: Drops::default(),
            is_overflow_noted: false,
            delivered: 0,
            enqueued: 0,
            number,
            steps: 0,
            is_durable: false,
            is_will_recorded: false,
            wants_bodies: false,
            shown_until: 0,
            is_fetching: false,
            created_clean,
            upgrades_qos: client.zone.upgrade_qos,
            ended: false,
            rights_generation: 0,
            oldest_grant: u64::MAX,
            is_unchecked: false,
            revoked: None,
            client,
        };
        Self {
            number,
            is_persistent: !created_clean,
            channel_bytes: AtomicU32::new(0),
            client_id,
            served_by: AtomicU64::new(0),
            state: Mutex::new(state),
        }
    }

    /// A number no other session of this process has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// True if it was created without Clean Start.
    pub(crate) const fn is_persistent(&self) -> bool {
        self.is_persistent
    }

    /// The channel and its shell hold so many bytes at the end of a turn.
    pub(crate) fn note_channel_bytes(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // Mostly as many as before, and others have this line in their caches.
        if self.channel_bytes.load(Ordering::Relaxed) != bytes {
            self.channel_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// Accounts for what the session and its connection have come to hold.
    pub(crate) fn charge(&self, state: &mut State, out: &mut Out) {
        let channel_bytes = self.channel_bytes.load(Ordering::Relaxed) as usize;
        out.memory += state.charge(channel_bytes);
    }

    /// The same after a flush, which mostly leaves the outbox and the window as they were.
    fn charge_flushed(&self, state: &mut State, out: &mut Out) {
        let moved = state.connection.as_ref().is_some_and(|connection| {
            connection.outbox.len() + state.inflight.charged() != connection.charged
        });
        if moved {
            self.charge(state, out);
        }
    }

    /// Client Identifier.
    pub(crate) fn client_id(&self) -> &ClientId {
        &self.client_id
    }

    /// True while a Network Connection serves the session.
    pub(crate) fn is_connected(&self) -> bool {
        self.served_by.load(Ordering::Relaxed) != 0
    }

    /// True while the Network Connection of that number serves the session.
    pub(crate) fn is_served_by(&self, connection: u64) -> bool {
        self.served_by.load(Ordering::Relaxed) == connection
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

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
        if let Some(pace) = &mut connection.pace {
            pace.bring_subscriptions(state.subscriptions.len());
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
    fn pump(self: &Arc<Self>, state: &mut State, out: &mut Out) {
        state.pump(out);
        if std::mem::take(&mut state.wants_bodies) && !state.is_fetching {
            self.fetch(state, out);
        }
    }

    /// Asks the store for the next messages that only it has.
    fn fetch(self: &Arc<Self>, state: &mut State, out: &Out) {
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
    fn touch(self: &Arc<Self>, state: &mut State, out: &mut Out) {
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
        let until_ms = current.pace.as_ref()?.until_ms;
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

    /// PUBACK came in.
    pub(crate) fn handle_puback(&self, id: PacketId, out: &mut Out) -> Acked {
        let is_due =
            |phase: &Phase| matches!(phase, Phase::Published(d) if d.qos == QoS::AtLeastOnce);
        let mut state = self.lock();
        let acked = state.finish_exchange(id, is_due, out);
        if let Acked::Known(Some(delivery)) = &acked {
            state.record_removed(delivery.step, Removal::Acked, out);
        }
        acked
    }

    /// PUBREC came in. With an error it ends the exchange [MQTT-4.3.3-4]; else PUBREL is owed, which leaves
    /// by itself once the store has it that the message is the client's.
    pub(crate) fn handle_pubrec(&self, id: PacketId, is_error: bool, out: &mut Out) -> Acked {
        let mut state = self.lock();
        let is_durable = state.is_durable;
        let Some(entry) = state.inflight.find_mut(id) else { return Acked::Unknown };
        match &entry.phase {
            // Not sent yet: the client means another message.
            Phase::Published(_) if !entry.was_sent => Acked::Unknown,
            Phase::Published(delivery) if delivery.qos == QoS::ExactlyOnce && is_error => {
                let step = delivery.step;
                let acked = state.finish_exchange(id, |_| true, out);
                state.record_removed(step, Removal::Acked, out);
                acked
            }
            Phase::Published(delivery) if delivery.qos == QoS::ExactlyOnce => {
                entry.sent_at_ms = out.now.mono_ms;
                let is_recorded = is_durable && delivery.step > 0;
                let first_sent_us = entry.first_sent_us;
                let old = std::mem::replace(&mut entry.phase, Phase::Released);
                if is_recorded {
                    state.hold_pubrel(id, out);
                }
                let Phase::Published(delivery) = old else { return Acked::Known(None) };
                state.note_acknowledged(&delivery, first_sent_us, out);
                if is_recorded { Acked::Held(delivery) } else { Acked::Known(Some(delivery)) }
            }
            // A second PUBREC: PUBREL is owed again, unless it has yet to leave.
            Phase::Released if entry.held.is_some() => Acked::HeldBefore,
            Phase::Released => Acked::Known(None),
            Phase::Published(_) => Acked::Unknown,
        }
    }

    /// PUBCOMP came in.
    pub(crate) fn handle_pubcomp(&self, id: PacketId, out: &mut Out) -> Acked {
        let mut state = self.lock();
        let acked = state.finish_exchange(id, |phase| matches!(phase, Phase::Released), out);
        if matches!(acked, Acked::Known(_)) && state.is_durable {
            let (session, step) = (state.number, state.next_step());
            out.records.put(&Record::Completed { session, step, packet_id: id });
        }
        acked
    }

    /// Sends what has been unacknowledged for `interval_ms` once more, to a client older than MQTT 5.0.
    pub(crate) fn retry(self: &Arc<Self>, interval_ms: u64, out: &mut Out) {
        let mut state = self.lock();
        state.resend_older_than(interval_ms, out);
        self.touch(&mut state, out);
    }

    /// Gives back what a burst of messages has left behind.
    pub(crate) fn trim(&self) {
        self.lock().queue.trim();
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

    /// Forgets QoS 2 messages that were not released in time. Returns how many.
    pub(crate) fn expire_received(&self, before_ms: u64, out: &mut Out) -> usize {
        let mut state = self.lock();
        let (recorded, n_expired) = state.received.expire(before_ms);
        for packet_id in recorded {
            let (session, step) = (state.number, state.next_step());
            out.records.put(&Record::ReceivedDone { session, step, packet_id });
        }
        n_expired
    }

    /// Changes the Session Expiry Interval.
    pub(crate) fn set_expiry(&self, expiry_s: u32, out: &mut Out) {
        let mut state = self.lock();
        state.expiry_s = expiry_s;
        if state.is_durable {
            let (session, step) = (state.number, state.next_step());
            out.records.put(&Record::Expiry { session, step, expiry_s });
        }
    }

    /// A QoS 2 message is about to be routed: takes its Packet Identifier, unless it is a duplicate of one
    /// that was and is not yet released.
    pub(crate) fn receive(&self, id: PacketId, connection: u64, now_ms: u64) -> Receipt {
        let mut state = self.lock();
        if state.connection.as_ref().is_none_or(|current| current.id != connection) {
            // Taken over this very moment: the message comes again in the new connection.
            return Receipt::TakenOver;
        }
        if let Some(known) = state.received_before(id) {
            return known;
        }
        state.received.insert(id, now_ms);
        Receipt::New
    }

    /// The message was routed and, if `is_recorded`, stands in the frame at work.
    pub(crate) fn routed(&self, id: PacketId, is_recorded: bool, out: &mut Out) {
        let mut state = self.lock();
        let is_recorded = is_recorded && state.is_durable;
        if is_recorded {
            let (session, step) = (state.number, state.next_step());
            out.records.put(&Record::Received { session, step, packet_id: id });
        }
        let routed = Routed { frame: out.records.frame(), dependency: out.records.dependency() };
        if let Some(entry) = state.received.get_mut(id) {
            (entry.is_recorded, entry.routed) = (is_recorded, Some(routed));
        }
    }

    /// PUBREL came in: the identifier is free. Returns whether it was in use.
    pub(crate) fn release(&self, id: PacketId, out: &mut Out) -> bool {
        let mut state = self.lock();
        let entry = state.received.remove(id);
        // Of one that is not in use the record of its release may not be safe yet, if that was asked for in an
        // earlier connection: told that it is free, the client may use it for another message.
        if state.is_durable && entry.as_ref().is_none_or(|entry| entry.is_recorded) {
            let (session, step) = (state.number, state.next_step());
            out.records.put_awaited(&Record::ReceivedDone { session, step, packet_id: id });
        }
        entry.is_some()
    }
}

/// What becomes of a QoS 2 message that came in.
pub(crate) enum Receipt {
    /// It is to be routed.
    New,
    /// It was; what its PUBREC waits for.
    Duplicate(Option<Dependency>),
    /// It is being routed at this moment, for an earlier connection by another thread.
    UnderWay,
    /// The connection it came in serves the session no more.
    TakenOver,
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

impl State {
    /// Counts one more subscription in the groups of the connection. Returns false if one of them is full.
    pub(crate) fn take_subscription(&mut self) -> bool {
        self.pace_mut().is_none_or(SendPace::take_subscription)
    }

    /// One subscription is over.
    pub(crate) fn give_subscription(&mut self) {
        if let Some(pace) = self.pace_mut() {
            pace.give_subscription();
        }
    }

    /// How many more subscriptions the groups of the connection have room for.
    pub(crate) fn room_for_subscriptions(&self) -> usize {
        let pace = self.connection.as_ref().and_then(|connection| connection.pace.as_ref());
        pace.map_or(usize::MAX, |pace| pace.allowance.room_for_subscriptions() as usize)
    }

    /// Tells the groups of the connection what its queue takes. Returns true if that is more than they may have together.
    fn tell_queue(&mut self) -> bool {
        let bytes = self.queue.here_bytes();
        self.pace_mut().is_some_and(|pace| pace.tell_queue(bytes))
    }

    fn pace_mut(&mut self) -> Option<&mut SendPace> {
        self.connection.as_mut()?.pace.as_deref_mut()
    }

    /// Ends the exchange of an identifier if it has come so far; the window has room for another.
    fn finish_exchange(
        &mut self,
        id: PacketId,
        is_due: impl FnOnce(&Phase) -> bool,
        out: &mut Out,
    ) -> Acked {
        let Some(entry) = self.inflight.remove_if(id, is_due) else { return Acked::Unknown };
        if let Some(connection) = self.connection.as_mut().filter(|_| entry.in_window) {
            connection.grant();
        }
        match entry.phase {
            Phase::Published(delivery) => {
                self.note_acknowledged(&delivery, entry.first_sent_us, out);
                Acked::Known(Some(delivery))
            }
            Phase::Released => Acked::Known(None),
        }
    }

    /// Measures how long the client has taken to acknowledge a message that was first sent to it then.
    fn note_acknowledged(&self, delivery: &Delivery, first_sent_us: u64, out: &mut Out) {
        // It has not been sent in this connection: what was acknowledged is not known.
        if first_sent_us == 0 {
            return;
        }
        let acknowledged_us = out.now.mono_us().saturating_sub(first_sent_us);
        out.counters.took(Latency::Acknowledgement, acknowledged_us, 1);
        // That it has waited while the client was away is nobody's fault.
        let connected_ms = out.now.wall_ms.saturating_sub(self.client.connected_at_ms);
        let waited_us = delivery.waited_ms(first_sent_us / 1000) * 1000;
        let latency_us = (waited_us + acknowledged_us).min(connected_ms * 1000);
        if out.broker.slow_subscribers.is_slow(latency_us)
            && let Some(message) = delivery.message.here()
        {
            let (client_id, topic) = (self.client.client_id.clone(), Arc::clone(&message.topic));
            out.late.push(LateAck { session: self.number, client_id, topic, latency_us });
        }
    }

    /// By how many bytes more it is to be accounted with than before, with what its channel holds.
    pub(crate) fn charge(&mut self, channel_bytes: usize) -> isize {
        let inflight = self.inflight.charged();
        let connection = self.connection.as_mut().map_or(0, |connection| {
            connection.charged = connection.outbox.len() + inflight;
            size_of::<Connection>() + channel_bytes + connection.outbox.len()
        });
        let bytes = if self.ended {
            0
        } else {
            SESSION_BYTES + self.subscription_bytes + inflight + connection
        };
        let before = std::mem::replace(&mut self.charged, bytes);
        bytes as isize - before as isize
    }

    fn is_congested(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        connection.wants_room = connection.outbox.len() >= connection.max_outbox_bytes;
        connection.wants_room
    }

    /// True if something waits for room in the window or the outbox.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.queue.is_empty()
            || self.inflight.is_resending()
            || self.replays.is_some()
            || self.inflight.has_held()
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// A QoS 2 message that was received and not yet released, if there is one under that identifier.
    pub(crate) fn received_before(&self, id: PacketId) -> Option<Receipt> {
        let entry = self.received.get(id)?;
        Some(match &entry.routed {
            Some(routed) => Receipt::Duplicate(routed.dependency.clone()),
            None => Receipt::UnderWay,
        })
    }

    /// The step of a change of the session that is recorded now.
    pub(crate) fn next_step(&mut self) -> u64 {
        self.steps += 1;
        self.steps
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

    /// True if the session is offline and its Session Expiry Interval has passed.
    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        self.connection.is_none() && self.expires_at_ms().is_some_and(|at| at <= now_ms)
    }

    /// When the Will of the offline session is due: its delay is over, or the session [MQTT-3.1.3-9].
    pub(crate) fn will_due_ms(&self) -> Option<u64> {
        let delay_s = self.will.as_ref()?.delay_s.min(self.expiry_s);
        self.offline_until_ms(delay_s)
    }

    /// Monotonic time at which the offline session ends; `None` while connected or if it never does.
    pub(crate) fn expires_at_ms(&self) -> Option<u64> {
        if self.expiry_s == u32::MAX {
            return None;
        }
        self.offline_until_ms(self.expiry_s)
    }

    /// Monotonic time at which the session has been offline for `duration_s`; `None` while connected.
    fn offline_until_ms(&self, duration_s: u32) -> Option<u64> {
        let since_ms = self.disconnected_at_ms;
        (since_ms < i64::MAX).then(|| (since_ms + i64::from(duration_s) * 1000).max(0) as u64)
    }

    /// Lets go of everything an ended session held.
    pub(crate) fn discard(&mut self, broker: &Broker) {
        broker.queues_grew(-(self.queue.told_bytes() as isize));
        broker.memory.add(-(std::mem::take(&mut self.charged) as isize));
        self.subscriptions = Subscriptions::default();
        self.inflight = Inflight::default();
        self.received = Received::default();
        self.queue = Queue::default();
        self.replays = None;
    }
}
