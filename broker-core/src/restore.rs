//! Restore: from a snapshot and the log behind it back to the state they lead to.

mod replay;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use broker_codec::{PacketId, ProtocolVersion};
use bytes::Bytes;
use foldhash::fast::RandomState;

use crate::broker::Broker;
use crate::channel::route;
use crate::client::ClientInfo;
use crate::clock::Now;
use crate::config::{BrokerConfig, ZoneConfig};
use crate::memory::subscription_bytes;
use crate::message::Message;
use crate::record::{Record, RecordError, Records, Removal};
use crate::recorder::Recorder;
use crate::session::inflight::Phase;
use crate::session::queue::{Delivery, Kept};
use crate::session::{Session, State};
use crate::store::{BodyPlace, FetchError, Lsn, Pin};
use replay::{Live, Owed, RefState, Replay, Start};

/// Gives a broker back what its store has kept. Made by [`Broker::restorer`], fed in order, before the broker
/// has a connection.
pub struct Restorer {
    broker: Arc<Broker>,
    replay: Replay,
}

/// Reads bodies at start, when waiting is no harm.
pub trait BodySource {
    /// What keeps the place of a body from being reused; `None` if the log does not hold it.
    fn pin(&mut self, at: Lsn) -> Option<Pin>;

    /// Reads a body.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    fn read(&mut self, place: &BodyPlace) -> Result<Bytes, FetchError>;
}

/// What was restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Sessions.
    pub sessions: usize,
    /// Their subscriptions.
    pub subscriptions: usize,
    /// Messages queued for them or in flight.
    pub queued: usize,
    /// Retained messages.
    pub retained: usize,
    /// Delayed messages.
    pub delayed: usize,
    /// Settings of the control plane.
    pub settings: usize,
    /// Messages that the records name and the log no longer holds.
    pub lost: usize,
}

impl Broker {
    /// Begins to give the broker back what its store has kept.
    #[must_use]
    pub fn restorer(self: &Arc<Self>) -> Restorer {
        Restorer { broker: Arc::clone(self), replay: Replay::default() }
    }
}

impl Restorer {
    /// Takes a block of the snapshot.
    ///
    /// # Errors
    /// Its records are malformed, or of a newer version.
    pub fn block(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        for record in Records::new(payload) {
            self.replay.apply_snapshot(record?.2)?;
        }
        Ok(())
    }

    /// Takes a frame of the log, whose payload stands at `base`.
    ///
    /// # Errors
    /// As for [`block`](Self::block). A frame is checked whole before any of it counts.
    pub fn frame(&mut self, base: Lsn, payload: &[u8]) -> Result<(), RecordError> {
        Records::new(payload).try_for_each(|record| record.map(drop))?;
        self.replay.apply_frame(base, payload)
    }

    /// Puts everything in place. The store takes records by now.
    pub fn finish(self, now: Now, source: &mut dyn BodySource) -> Restored {
        let Self { broker, mut replay } = self;
        replay.finish();
        let recorder = broker.recorder();
        let mut restored = Restored::default();
        for ((kind, key), (_, value)) in replay.settings.drain() {
            if let Some(value) = value {
                broker.settings.restore(&kind, &key, &value);
                restored.settings += 1;
            }
        }
        // What settings say of the limits of zones holds for the sessions to come.
        broker.settings_are_back();
        let shared = Shared::of(&broker);
        let mut restoring = Restoring { broker, now, source, recorder, shared, restored };
        restoring.recorder.put(&Record::Opened { at_ms: now.wall_ms });
        restoring.kept(&mut replay);
        let moved = replay.moved;
        let mut sessions: Vec<_> = replay
            .sessions
            .into_iter()
            .filter_map(|(number, log)| Some((number, log.steps, log.live?)))
            .collect();
        sessions.sort_unstable_by_key(|(number, ..)| *number);
        let followed = followed(&sessions);
        for (number, steps, live) in sessions {
            if !followed.contains(&number) {
                restoring.session(number, steps, *live, &moved);
            } else {
                // It had ended, and the thread that ended it had yet to say so.
                let (session, step) = (number, steps + 1);
                restoring.recorder.put(&Record::SessionEnd { session, step });
            }
        }
        restoring.recorder.hand_over();
        restoring.restored
    }
}

/// Sessions whose client has a later one, of those in the order of their numbers.
fn followed(sessions: &[(u64, u64, Box<Live>)]) -> HashSet<u64> {
    let mut newest = HashMap::<_, _, RandomState>::default();
    let numbers = sessions.iter().map(|(number, _, live)| (&live.start.client_id, *number));
    numbers.filter_map(|(client_id, number)| newest.insert(client_id, number)).collect()
}

struct Restoring<'a> {
    broker: Arc<Broker>,
    now: Now,
    source: &'a mut dyn BodySource,
    recorder: Recorder,
    shared: Shared,
    restored: Restored,
}

/// What sessions have in common, so that it is held once.
struct Shared {
    config: Arc<BrokerConfig>,
    default_zone: Arc<ZoneConfig>,
}

impl Restoring<'_> {
    /// What is kept beside sessions.
    fn kept(&mut self, replay: &mut Replay) {
        let broker = Arc::clone(&self.broker);
        broker.kept_steps.store(replay.last_kept_step, std::sync::atomic::Ordering::SeqCst);
        broker.sessions.reserve(replay.last_session);
        broker.restore_bans(self.now);
        broker.restore_topic_metrics();
        broker.restore_alarms(self.now);
        let retained = replay.retained.drain().filter_map(|(_, (_, kept))| kept);
        // In the order they lie on the disk.
        let mut retained: Vec<_> =
            retained.map(|(place, expires)| (replay.moved.resolve(place), expires)).collect();
        retained.sort_unstable_by_key(|(place, _)| place.0);
        for (place, expires_at_ms) in retained {
            let Some(mut message) = self.read(place) else { continue };
            message.expires_at_ms = Some(expires_at_ms).filter(|at| *at > 0);
            if !message.is_expired(self.now) {
                broker.retained.restore(message);
                self.restored.retained += 1;
            }
        }
        for (step, (place, due_at_ms)) in replay.delayed.drain() {
            if let Some(message) = self.read(replay.moved.resolve(place)) {
                let wait_ms = due_at_ms.saturating_sub(self.now.wall_ms);
                broker.memory.add(message.weight() as isize);
                broker.delayed.restore(self.now.mono_ms + wait_ms, due_at_ms, step, message);
                self.restored.delayed += 1;
            }
        }
    }

    fn place(&mut self, (at, len): (Lsn, u32)) -> Option<BodyPlace> {
        let pin = self.source.pin(at).filter(|_| len > 0);
        if pin.is_none() {
            self.restored.lost += 1;
            log::error!("message is lost: the log does not hold it any more at={at}");
        }
        Some(BodyPlace { at, len, pin: pin? })
    }

    fn read(&mut self, place: (Lsn, u32)) -> Option<Message> {
        let place = self.place(place)?;
        let bytes = self.source.read(&place).map_err(|error| error.to_string());
        let message = bytes.and_then(|bytes| match Record::decode(&bytes) {
            Ok((_, Some(Record::Body(body)))) => Ok(Message::restored(&body, place)),
            Ok(_) => Err("another record".into()),
            Err(error) => Err(error.to_string()),
        });
        match message {
            Ok(message) => Some(message),
            Err(error) => {
                self.restored.lost += 1;
                log::error!("message is lost: cannot be read back {error}");
                None
            }
        }
    }

    fn session(&mut self, number: u64, steps: u64, live: Live, moved: &replay::Moved) {
        let broker = Arc::clone(&self.broker);
        let Live { start, mut subscriptions, mut owed, released, received, .. } = live;
        let client = Arc::new(self.shared.client_of(&start));
        let session = Arc::new(Session::new(number, client, start.expiry_s, start.created_at_ms));
        let mut state = session.lock();
        state.steps = steps;
        state.is_durable = start.expiry_s > 0;
        state.is_will_recorded = !state.is_durable;
        let was_connected = live.detached_at_ms.is_none();
        // Nobody knows when the process died: a session must not end early for that, so its time begins now.
        let detached_at_ms = live.detached_at_ms.unwrap_or(u64::MAX).min(self.now.wall_ms);
        state.will = live.will.map(Box::new);
        if was_connected && !broker.durability().publish_wills_after_crash {
            state.will = None;
        }
        let offline_ms = (self.now.wall_ms - detached_at_ms) as i64;
        state.disconnected_at_ms = self.now.mono_ms as i64 - offline_ms;
        state.disconnected_wall_ms = detached_at_ms;
        for packet_id in released {
            state.inflight.restore(packet_id, Phase::Released, true);
        }
        for packet_id in received {
            state.received.restore(packet_id, self.now.mono_ms);
        }
        self.restored.subscriptions += subscriptions.len();
        subscriptions.shrink();
        state.subscriptions = subscriptions;
        let routed: Vec<_> = state.subscriptions.iter().cloned().collect();
        state.subscription_bytes = routed.iter().map(|s| subscription_bytes(&s.filter)).sum();
        // What was acknowledged comes back, whatever the limits are by now.
        let inserted = broker.sessions.insert(&session, &state, 0);
        drop(state);
        if inserted.is_err() {
            log::error!("session is not restored: another has its client id {:?}", start.client_id);
            return;
        }
        for subscription in &routed {
            route(&session, subscription, &broker);
        }
        let mut state = session.lock();
        let has_priorities = !state.client.zone.mqueue_priorities.is_empty();
        if !has_priorities {
            give_identifiers(&mut owed, &state);
        }
        state.queue.reserve(owed.iter().filter(|(_, entry)| entry.packet_id.is_none()).count());
        for (step, entry) in owed {
            self.delivery(&mut state, step, entry, has_priorities, moved);
        }
        if was_connected && state.is_durable {
            state.record_detached_at(detached_at_ms, &mut self.recorder);
        }
        broker.memory.add(state.charge(0));
        broker.schedule(&session, &mut state);
        self.restored.sessions += 1;
    }

    fn delivery(
        &mut self,
        state: &mut State,
        step: u64,
        entry: RefState,
        has_priorities: bool,
        moved: &replay::Moved,
    ) {
        let place = moved.resolve(entry.body);
        let message = if has_priorities {
            // Its topic decides where it stands.
            self.read(place).map(|message| Kept::Here(Arc::new(message)))
        } else {
            self.place(place).map(|place| Kept::Stored(Box::new(place)))
        };
        let Some(message) = message else {
            let (number, next) = (state.number(), state.next_step());
            self.recorder.removed(number, 0, || next, Removal::Damaged, step);
            return;
        };
        let group = entry
            .group
            .as_deref()
            .and_then(|(name, route)| self.broker.router.find_group(route, name));
        let delivery = Delivery {
            message,
            qos: entry.qos,
            retain: entry.retain,
            identifiers: entry.identifiers,
            group,
            step,
            is_copy: entry.is_copy,
            frame: None,
            // Long ago: it has waited for as long as its client is there.
            queued_ms: 1,
        };
        self.restored.queued += 1;
        match entry.packet_id {
            Some(packet_id) => {
                let was_sent = entry.was_sent;
                state.inflight.restore(packet_id, Phase::Published(delivery), was_sent);
            }
            None => state.queue.restore(delivery, &state.client.zone),
        }
    }
}

/// What came before a message that had been sent must have been sent as well, under identifiers that nobody
/// recorded: it keeps its place, under new ones.
fn give_identifiers(owed: &mut Owed, state: &State) {
    let Some(last_sent) = owed.iter().rposition(|(_, entry)| entry.packet_id.is_some()) else {
        return;
    };
    let known = owed.iter().filter_map(|(_, entry)| entry.packet_id);
    let used: HashSet<_> =
        known.chain(state.inflight.iter().map(|entry| entry.packet_id)).collect();
    let mut free = (1..=u16::MAX).filter_map(PacketId::new).filter(|id| !used.contains(id));
    for (_, entry) in owed.iter_mut().take(last_sent) {
        if entry.packet_id.is_none() {
            entry.packet_id = free.next();
        }
    }
}

impl Shared {
    fn of(broker: &Broker) -> Self {
        Self { config: broker.config(), default_zone: Arc::new(ZoneConfig::default()) }
    }

    /// The client of a session's last connection, as far as it is known.
    fn client_of(&self, start: &Start) -> ClientInfo {
        let zones = &self.config.zones;
        let zone = zones.get(&*start.zone).or_else(|| zones.get("external"));
        ClientInfo {
            client_id: start.client_id.clone(),
            username: start.username.clone(),
            peer: start.peer,
            version: ProtocolVersion::from_level(start.version).unwrap_or(ProtocolVersion::V5),
            zone: Arc::clone(zone.unwrap_or(&self.default_zone)),
            listener: Arc::clone(&start.listener),
            clean_start: start.clean_start,
            keep_alive_s: start.keep_alive_s,
            connected_at_ms: start.connected_at_ms,
            is_superuser: start.is_superuser,
            mountpoint: start.mountpoint.clone(),
            is_bridge: start.is_bridge,
            certificate: None,
            local_addr: None,
            ws_cookies: None,
            told: Default::default(),
        }
    }
}
