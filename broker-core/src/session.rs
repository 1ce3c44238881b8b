//! Session: Session State of MQTT 5.0, 4.1, and the outbox of its connection, behind one lock.
//!
//! A session outlives its connections. Any thread may deliver to it; a thread holds one session's lock at a
//! time, never two, and nothing that waits happens under it.

mod connection;
use connection::Holdings;
pub(crate) use connection::{Connection, ConnectionLimits};
mod deliver;
pub(crate) use deliver::unmounted;
mod deliver_run;
pub(crate) mod drops;
mod exchanges;
pub(crate) use exchanges::{Acked, Receipt};
pub(crate) mod inflight;
pub(crate) mod outlook;
mod packet_id;
pub(crate) mod queue;
mod received;
mod recording;
pub(crate) mod replay;
mod rights;
mod sending;
mod serving;
pub(crate) mod subscriptions;
pub(crate) mod view;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::broker::Broker;
use crate::client::{ClientId, ClientInfo};
use crate::memory::SESSION_BYTES;
use crate::record::Record;
use crate::turn::Out;
use crate::will::Will;
use drops::Drops;
use inflight::Inflight;
use queue::Queue;
use received::Received;
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

    /// Gives back what a burst of messages has left behind.
    pub(crate) fn trim(&self) {
        self.lock().queue.trim();
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
}

impl State {
    /// Counts one more subscription in the groups of the connection. Returns false if one of them is full.
    pub(crate) fn take_subscription(&mut self) -> bool {
        self.holdings_mut().is_none_or(Holdings::take_subscription)
    }

    /// One subscription is over.
    pub(crate) fn give_subscription(&mut self) {
        if let Some(holdings) = self.holdings_mut() {
            holdings.give_subscription();
        }
    }

    /// How many more subscriptions the groups of the connection have room for.
    pub(crate) fn room_for_subscriptions(&self) -> usize {
        let holdings = self.connection.as_ref().and_then(|connection| connection.holdings.as_ref());
        holdings.map_or(usize::MAX, |holdings| holdings.allowance.room_for_subscriptions() as usize)
    }

    /// Tells the groups of the connection what its queue takes. Returns true if that is more than they may have together.
    fn tell_queue(&mut self) -> bool {
        let bytes = self.queue.here_bytes();
        self.holdings_mut().is_some_and(|holdings| holdings.tell_queue(bytes))
    }

    fn holdings_mut(&mut self) -> Option<&mut Holdings> {
        self.connection.as_mut()?.holdings.as_deref_mut()
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

    /// The step of a change of the session that is recorded now.
    pub(crate) fn next_step(&mut self) -> u64 {
        self.steps += 1;
        self.steps
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
