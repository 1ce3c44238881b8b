//! Replay: records in the order of the log, put back into the order of the changes they speak of.

mod owed;
mod start;

use std::collections::{BTreeMap, HashMap, HashSet};

use broker_codec::{PacketId, QoS, topic};
use foldhash::fast::RandomState;

use crate::record::{BodyAt, Record, RecordError, Records};
use crate::session::subscriptions::{Subscription, Subscriptions};
use crate::store::Lsn;
use crate::will::Will;
pub(super) use owed::{Owed, RefState};
use start::Names;
pub(super) use start::Start;

/// Position and length of a body's record.
pub(super) type Place = (Lsn, u32);

type Table<K, V> = HashMap<K, V, RandomState>;

/// The state as far as the records have led.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) sessions: Table<u64, SessionLog>,
    /// By topic: step, and what is retained unless it was cleared.
    pub(super) retained: Table<Box<str>, (u64, Option<(Place, u64)>)>,
    /// By step: place and due time.
    pub(super) delayed: Table<u64, (Place, u64)>,
    /// Steps of delayed messages whose end was read before their beginning.
    delayed_done: HashSet<u64, RandomState>,
    pub(super) settings: Table<(Box<str>, Box<str>), (u64, Option<Box<[u8]>>)>,
    pub(super) moved: Moved,
    /// What is kept up to this step stands in the snapshot.
    kept_until: u64,
    pub(super) last_kept_step: u64,
    pub(super) last_session: u64,
    /// Sessions with changes that wait for earlier ones.
    unordered: HashSet<u64, RandomState>,
    names: Names,
}

/// Bodies that were copied within the log.
#[derive(Default)]
pub(super) struct Moved(Table<Lsn, Place>);

impl Moved {
    /// Where a body stands now.
    pub(super) fn resolve(&self, mut place: Place) -> Place {
        // Copies go forward only.
        while let Some(next) = self.0.get(&place.0).filter(|next| next.0 > place.0) {
            place = *next;
        }
        place
    }
}

/// The changes of one session number.
#[derive(Default)]
pub(super) struct SessionLog {
    /// Changes up to here have been made.
    pub(super) steps: u64,
    /// `None` before the session's beginning and after its end.
    pub(super) live: Option<Box<Live>>,
    /// Changes that came before their turn.
    waiting: BTreeMap<u64, Change>,
}

/// A session as it was left.
pub(super) struct Live {
    pub(super) start: Start,
    pub(super) will: Option<Will>,
    pub(super) subscriptions: Subscriptions,
    pub(super) owed: Owed,
    /// Packet Identifiers whose PUBREL is owed, in the order of their PUBRECs.
    pub(super) released: Vec<PacketId>,
    /// Messages of QoS 1 that were in flight, by step.
    sent_qos1: Vec<u64>,
    /// Packet Identifiers of the client's QoS 2 messages.
    pub(super) received: Vec<PacketId>,
    /// When its connection ended; `None` if it was connected to the last.
    pub(super) detached_at_ms: Option<u64>,
}

/// One change of a session. Nearly all are made as they are read, and live no longer.
enum Change {
    Start(Box<Start>, Option<Box<Will>>),
    End,
    Subscribed(Subscription),
    Unsubscribed(Box<str>),
    Ref(RefState),
    Removed(Box<[u64]>),
    Sent(u64, PacketId),
    Released(PacketId),
    Completed(PacketId),
    Received(PacketId),
    ReceivedDone(PacketId),
    Detached { at_ms: u64, keeps_will: bool, inflight: Box<[(u64, PacketId)]> },
    WillDone,
    Expiry(u32),
}

impl Replay {
    /// Takes a record of the snapshot: it holds whatever its step says.
    pub(super) fn apply_snapshot(&mut self, record: Record<'_>) -> Result<(), RecordError> {
        match record {
            Record::KeptUntil { step, session } => {
                self.kept_until = step;
                self.last_kept_step = self.last_kept_step.max(step);
                self.last_session = self.last_session.max(session);
            }
            Record::StepsUntil { session, step } => self.log(session).steps = step,
            Record::Refs { body: BodyAt::Log { at, len }, refs } => {
                for entry in refs.iter() {
                    let change = Change::Ref(RefState::of(&entry, (at, len)));
                    self.log(entry.session).make(entry.step, change);
                }
            }
            Record::Retained { body: BodyAt::Log { at, len }, expires_at_ms, topic, .. } => {
                self.retained.insert(topic.into(), (0, Some(((at, len), expires_at_ms))));
            }
            Record::Delayed { step, body: BodyAt::Log { at, len }, due_at_ms } => {
                self.delayed.insert(step, ((at, len), due_at_ms));
            }
            Record::Setting { kind, key, value, .. } => {
                self.settings.insert((kind.into(), key.into()), (0, value.map(Into::into)));
            }
            Record::Body(_) | Record::Moved { .. } | Record::Opened { .. } => {
                return Err(RecordError::Malformed("record has no place in a snapshot"));
            }
            other => {
                if let Some((session, step, change)) = self.change_of(&other) {
                    self.log(session).make(step, change);
                }
            }
        }
        Ok(())
    }

    /// Takes a frame of the log.
    pub(super) fn apply_frame(&mut self, base: Lsn, payload: &[u8]) -> Result<(), RecordError> {
        let mut bodies: Vec<(u32, u32)> = Vec::new();
        let mut moved_from = None;
        for record in Records::new(payload) {
            let (offset, len, record) = record?;
            let place_of = |body: BodyAt| match body {
                BodyAt::Log { at, len } => Ok((at, len)),
                BodyAt::Here(offset) => bodies
                    .iter()
                    .rev()
                    .find(|(at, _)| *at == offset)
                    .map(|(at, len)| (base + u64::from(*at), *len))
                    .ok_or(RecordError::Malformed("reference to a body that is not there")),
            };
            match record {
                Record::Body(_) => {
                    bodies.push((offset, len));
                    if let Some(from) = moved_from.take() {
                        self.moved.0.insert(from, (base + u64::from(offset), len));
                    }
                }
                Record::Moved { from } => moved_from = Some(from),
                Record::Opened { .. } => self.make_unordered(),
                Record::Refs { body, refs } => {
                    let place = place_of(body)?;
                    for entry in refs.iter() {
                        let change = Change::Ref(RefState::of(&entry, place));
                        self.take_change(entry.session, entry.step, change);
                    }
                }
                Record::Retained { step, body, expires_at_ms, topic } => {
                    let kept = Some((place_of(body)?, expires_at_ms));
                    self.retain(step, topic, kept);
                }
                Record::RetainedClear { step, topic } => self.retain(step, topic, None),
                Record::Delayed { step, body, due_at_ms } => {
                    let place = place_of(body)?;
                    if self.is_kept_step(step) && !self.delayed_done.remove(&step) {
                        self.delayed.insert(step, (place, due_at_ms));
                    }
                }
                Record::DelayedDone { step, of } => {
                    if self.is_kept_step(step) && self.delayed.remove(&of).is_none() {
                        self.delayed_done.insert(of);
                    }
                }
                Record::Setting { step, kind, key, value } => {
                    if self.is_kept_step(step) {
                        let slot = self.settings.entry((kind.into(), key.into())).or_default();
                        if step > slot.0 {
                            *slot = (step, value.map(Into::into));
                        }
                    }
                }
                // Of snapshots.
                Record::KeptUntil { .. } | Record::StepsUntil { .. } => {}
                other => {
                    if let Some((session, step, change)) = self.change_of(&other) {
                        self.take_change(session, step, change);
                    }
                }
            }
        }
        Ok(())
    }

    /// The log has ended: what still waits for earlier changes waits in vain, for they were not kept.
    pub(super) fn finish(&mut self) {
        self.make_unordered();
    }

    fn log(&mut self, session: u64) -> &mut SessionLog {
        self.last_session = self.last_session.max(session);
        self.sessions.entry(session).or_default()
    }

    /// False if the snapshot knows of it.
    fn is_kept_step(&mut self, step: u64) -> bool {
        self.last_kept_step = self.last_kept_step.max(step);
        step > self.kept_until
    }

    fn retain(&mut self, step: u64, topic: &str, kept: Option<(Place, u64)>) {
        if !self.is_kept_step(step) {
            return;
        }
        match self.retained.get_mut(topic) {
            Some(slot) if step > slot.0 => *slot = (step, kept),
            Some(_) => {}
            None => {
                self.retained.insert(topic.into(), (step, kept));
            }
        }
    }

    /// Makes a change once those before it are made.
    fn take_change(&mut self, session: u64, step: u64, change: Change) {
        let log = self.log(session);
        if step <= log.steps {
            return;
        }
        if step - log.steps > 1 {
            log.waiting.insert(step, change);
            self.unordered.insert(session);
            return;
        }
        log.steps = step;
        log.make(step, change);
        while let Some(next) = log.waiting.first_entry().filter(|e| *e.key() - log.steps == 1) {
            let (step, change) = next.remove_entry();
            log.steps = step;
            log.make(step, change);
        }
        if log.waiting.is_empty() && !self.unordered.is_empty() {
            self.unordered.remove(&session);
        }
    }

    fn make_unordered(&mut self) {
        for session in std::mem::take(&mut self.unordered) {
            let log = self.log(session);
            for (step, change) in std::mem::take(&mut log.waiting) {
                log.steps = step;
                log.make(step, change);
            }
        }
    }

    /// The change of one session that a record speaks of.
    fn change_of(&mut self, record: &Record<'_>) -> Option<(u64, u64, Change)> {
        Some(match record {
            Record::SessionStart(start) => {
                let will = start.will.as_ref().map(|will| Box::new(Will::restored(will)));
                (
                    start.session,
                    start.step,
                    Change::Start(Box::new(Start::of(start, &mut self.names)), will),
                )
            }
            Record::SessionEnd { session, step } => (*session, *step, Change::End),
            Record::Subscribed { session, step, filter, route, options, identifier } => {
                let share = topic::parse_share(filter).map(|(share, _)| match share {
                    topic::Share::Group(name) => name,
                    topic::Share::Queue => "",
                });
                let plain = topic::parse_share(filter).map_or(*filter, |(_, plain)| plain);
                let route = route.unwrap_or(plain);
                let subscription =
                    Subscription::new((*filter).into(), route, share, *options, *identifier);
                (*session, *step, Change::Subscribed(subscription))
            }
            Record::Unsubscribed { session, step, filter } => {
                (*session, *step, Change::Unsubscribed((*filter).into()))
            }
            Record::Removed { session, step, refs, .. } => {
                (*session, *step, Change::Removed(refs.iter().collect()))
            }
            Record::Sent { session, step, of, packet_id } => {
                (*session, *step, Change::Sent(*of, *packet_id))
            }
            Record::Released { session, step, packet_id } => {
                (*session, *step, Change::Released(*packet_id))
            }
            Record::Completed { session, step, packet_id } => {
                (*session, *step, Change::Completed(*packet_id))
            }
            Record::Received { session, step, packet_id } => {
                (*session, *step, Change::Received(*packet_id))
            }
            Record::ReceivedDone { session, step, packet_id } => {
                (*session, *step, Change::ReceivedDone(*packet_id))
            }
            Record::Detached { session, step, at_ms, keeps_will, inflight } => {
                let (at_ms, keeps_will) = (*at_ms, *keeps_will);
                let inflight = inflight.iter().collect();
                (*session, *step, Change::Detached { at_ms, keeps_will, inflight })
            }
            Record::WillDone { session, step } => (*session, *step, Change::WillDone),
            Record::Expiry { session, step, expiry_s } => {
                (*session, *step, Change::Expiry(*expiry_s))
            }
            _ => return None,
        })
    }
}

impl SessionLog {
    fn make(&mut self, step: u64, change: Change) {
        match (change, &mut self.live) {
            (Change::Start(start, will), live) => {
                let will = will.map(|will| *will);
                match live {
                    Some(live) => {
                        (live.start, live.will, live.detached_at_ms) = (*start, will, None);
                    }
                    None => *live = Some(Box::new(Live::new(*start, will))),
                }
            }
            (Change::End, live) => *live = None,
            (change, Some(live)) => live.make(step, change),
            // Of a session whose beginning was not kept, or that is over.
            (_, None) => {}
        }
    }
}

impl Live {
    fn new(start: Start, will: Option<Will>) -> Self {
        Self {
            start,
            will,
            subscriptions: Subscriptions::default(),
            owed: Owed::default(),
            released: Vec::new(),
            sent_qos1: Vec::new(),
            received: Vec::new(),
            detached_at_ms: None,
        }
    }

    fn make(&mut self, step: u64, change: Change) {
        match change {
            Change::Start(..) | Change::End => {}
            Change::Subscribed(subscription) => drop(self.subscriptions.insert(subscription)),
            Change::Unsubscribed(filter) => drop(self.subscriptions.remove(&filter)),
            Change::Ref(entry) => self.owed.insert(step, entry),
            Change::Removed(steps) => steps.iter().for_each(|of| self.owed.remove(*of)),
            Change::Sent(of, packet_id) => self.sent(of, packet_id),
            Change::Released(packet_id) => {
                self.owed.remove_sent(packet_id);
                self.released.push(packet_id);
            }
            Change::Completed(packet_id) => self.released.retain(|id| *id != packet_id),
            Change::Received(packet_id) => self.received.push(packet_id),
            Change::ReceivedDone(packet_id) => self.received.retain(|id| *id != packet_id),
            Change::Detached { at_ms, keeps_will, inflight } => {
                self.detached_at_ms = Some(at_ms);
                if !keeps_will {
                    self.will = None;
                }
                if step > 0 {
                    self.take_back_qos1();
                }
                inflight.iter().for_each(|(of, packet_id)| self.sent(*of, *packet_id));
            }
            Change::WillDone => self.will = None,
            Change::Expiry(expiry_s) => self.start.expiry_s = expiry_s,
        }
    }

    /// What was in flight at QoS 1 is what the end of the connection says, and no more: a snapshot may be from
    /// before an earlier crash, after which it went out under other identifiers.
    fn take_back_qos1(&mut self) {
        for of in std::mem::take(&mut self.sent_qos1) {
            if let Some(entry) = self.owed.get_mut(of) {
                (entry.packet_id, entry.was_sent) = (None, false);
            }
        }
    }

    fn sent(&mut self, of: u64, packet_id: PacketId) {
        if let Some(entry) = self.owed.get_mut(of) {
            (entry.packet_id, entry.was_sent) = (Some(packet_id), true);
            if entry.qos == QoS::AtLeastOnce {
                self.sent_qos1.push(of);
            }
        }
    }
}
