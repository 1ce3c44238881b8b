//! Snapshot: the state of the broker as records, written beside the traffic.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use broker_codec::QoS;

use crate::broker::Broker;
use crate::message::{Message, Publication};
use crate::record::{self, BodyAt, Record};
use crate::recorder::Recorder;
use crate::session::inflight::Phase;
use crate::session::queue::{Delivery, Kept};
use crate::session::{Session, State as SessionState};
use crate::store::{BodyPlace, State, TurnsUnderWay};

/// Bytes of a block after which it is handed on.
const BLOCK_BYTES: usize = 256 * 1024;
/// Queued messages that are written while a session is locked: some 200 us.
const SLICE: u64 = 2000;

impl State for Broker {
    fn prepare_snapshot(&self) {
        self.gone.hold();
    }

    fn forget_snapshot(&self) {
        self.gone.release();
    }

    fn write_snapshot(&self, block: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let gone = self.gone.list();
        self.gone.release();
        let mut snapshot =
            Snapshot { records: Vec::new(), entry: Vec::new(), recorder: self.recorder() };
        // Read first: what is changed from here on has a higher step, and stands in the log.
        let step = self.kept_steps.load(Ordering::SeqCst);
        let session = self.sessions.last_number();
        Record::KeptUntil { step, session }.encode(&mut snapshot.records);
        // First: one may have begun anew since, under its number, and what it is by then counts.
        for (session, step) in gone {
            Record::StepsUntil { session, step }.encode(&mut snapshot.records);
        }
        for shard in 0.. {
            let Some(sessions) = self.sessions.snapshot(shard) else { break };
            for session in sessions {
                let mut rest = snapshot.session(self, &session);
                snapshot.hand_on(BLOCK_BYTES, block)?;
                while let Some(place) = rest {
                    rest = snapshot.rest(&session, place);
                    snapshot.hand_on(BLOCK_BYTES, block)?;
                }
            }
        }
        let mut result = Ok(());
        self.retained.for_each(|message| {
            if result.is_ok() && !message.topic.starts_with("$SYS/") {
                let body = snapshot.body(message);
                let (topic, expires_at_ms) = (&*message.topic, message.expires_at_ms.unwrap_or(0));
                let retained = Record::Retained { step: 0, body, expires_at_ms, topic };
                retained.encode(&mut snapshot.records);
                result = snapshot.hand_on(BLOCK_BYTES, block);
            }
        });
        result?;
        self.delayed.for_each(|due_at_ms, step, message| {
            let body = snapshot.body(message);
            Record::Delayed { step, body, due_at_ms }.encode(&mut snapshot.records);
        });
        snapshot.hand_on(BLOCK_BYTES, block)?;
        for ((kind, key), value) in self.settings.all() {
            let (kind, key, value) = (&*kind, &*key, Some(&*value));
            Record::Setting { step: 0, kind, key, value }.encode(&mut snapshot.records);
            snapshot.hand_on(BLOCK_BYTES, block)?;
        }
        snapshot.hand_on(0, block)
    }

    fn turns_under_way(&self) -> TurnsUnderWay {
        self.gates()
    }

    fn visit_bodies(&self, visit: &mut dyn FnMut(&mut BodyPlace)) {
        for shard in 0.. {
            let Some(sessions) = self.sessions.snapshot(shard) else { break };
            for session in sessions {
                let mut state = session.lock();
                let SessionState { inflight, queue, .. } = &mut *state;
                inflight.deliveries_mut().chain(queue.iter_mut()).for_each(|delivery| {
                    match &mut delivery.message {
                        Kept::Here(message) => message.stored.visit(visit),
                        Kept::Stored(place) => visit(place),
                        Kept::Lost => {}
                    }
                });
            }
        }
        self.retained.for_each(|message| message.stored.visit(visit));
        self.delayed.for_each(|_, _, message| message.stored.visit(visit));
    }
}

/// How far a session has been written.
#[derive(Clone, Copy)]
struct Place {
    /// Messages up to this step were in flight when it was begun, and stand in the snapshot as that.
    sent: u64,
    /// Those after this one stand in the log.
    until: u64,
    /// Number in the queue of the next message.
    at: u64,
}

/// A snapshot under construction.
struct Snapshot {
    records: Vec<u8>,
    /// A buffer for one reference: a session is locked while its queue is written.
    entry: Vec<u8>,
    recorder: Recorder,
}

impl Snapshot {
    /// Hands the block on if it has grown to `least_bytes`.
    fn hand_on(
        &mut self,
        least_bytes: usize,
        block: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.records.len() >= least_bytes.max(1) {
            block(&self.records)?;
            self.records.clear();
        }
        Ok(())
    }

    /// Where a message stands.
    ///
    /// Another thread may be about to append it. It is appended here then too: the snapshot must name a
    /// place, and the record that would name the other one is passed over when it is replayed.
    fn body(&mut self, message: &Arc<Message>) -> BodyAt {
        if message.stored.place().is_none() {
            self.recorder.begin_message();
            self.recorder.message(&Publication::of(message));
            self.recorder.hand_over();
        }
        match message.stored.place() {
            Some(BodyPlace { at, len, .. }) => BodyAt::Log { at, len },
            // Larger than the store takes: it was never promised.
            None => BodyAt::Log { at: 0, len: 0 },
        }
    }

    /// Writes a session, but of a long queue only the beginning. Returns where the rest begins.
    fn session(&mut self, broker: &Broker, session: &Arc<Session>) -> Option<Place> {
        let mut state = session.lock();
        if state.ended || !(state.is_durable || state.is_will_recorded) {
            return None;
        }
        let (number, until) = (session.number(), state.steps);
        let peer = state.client.peer.map(|peer| peer.to_string());
        let keeps_will = broker.keeps_will(&state);
        let start = state.start_record(0, peer.as_deref(), keeps_will);
        Record::SessionStart(start).encode(&mut self.records);
        if !state.is_durable {
            // Its Will is all that survives.
            Record::StepsUntil { session: number, step: until }.encode(&mut self.records);
            return None;
        }
        for subscription in state.subscriptions.iter() {
            subscription.record(number, 0).encode(&mut self.records);
        }
        state.shown_until = until;
        let mut sent = 0;
        for entry in state.inflight.iter() {
            let packet_id = entry.packet_id;
            match &entry.phase {
                Phase::Released => {
                    Record::Released { session: number, step: 0, packet_id }
                        .encode(&mut self.records);
                }
                Phase::Published(delivery) if delivery.step > 0 => {
                    self.delivery(number, delivery);
                    let of = delivery.step;
                    sent = sent.max(of);
                    Record::Sent { session: number, step: 0, of, packet_id }
                        .encode(&mut self.records);
                }
                Phase::Published(_) => {}
            }
        }
        let rest = self.queue(number, &state, Place { sent, until, at: 0 });
        for (packet_id, _) in state.received.ids().filter(|(_, entry)| entry.is_recorded) {
            Record::Received { session: number, step: 0, packet_id }.encode(&mut self.records);
        }
        if state.connection.is_none() {
            let (at_ms, keeps_will) = (state.disconnected_wall_ms, keeps_will);
            let inflight = record::Inflight::of(&[]);
            Record::Detached { session: number, step: 0, at_ms, keeps_will, inflight }
                .encode(&mut self.records);
        }
        Record::StepsUntil { session: number, step: until }.encode(&mut self.records);
        rest
    }

    /// Writes more of a queue, as it was when the session was begun: the log tells what has become of a message since.
    fn rest(&mut self, session: &Session, place: Place) -> Option<Place> {
        let state = session.lock();
        if state.ended || !state.is_durable {
            return None;
        }
        // What has left the queue meanwhile, and is not acknowledged.
        let steps = place.sent + 1..=place.until;
        for entry in state.inflight.iter() {
            if let Phase::Published(delivery) = &entry.phase
                && steps.contains(&delivery.step)
            {
                self.delivery(session.number(), delivery);
            }
        }
        self.queue(session.number(), &state, place)
    }

    /// Writes what is queued from a place on. Returns where the rest begins.
    fn queue(&mut self, session: u64, state: &SessionState, place: Place) -> Option<Place> {
        let (at, queued) = state.queue.from(place.at);
        // With priorities they are in no order, and the queue is written as a whole.
        let is_in_order = state.queue.is_in_order();
        for (number, delivery) in (at..).zip(queued) {
            if is_in_order && delivery.step > place.until {
                return None;
            }
            if is_in_order && number - at == SLICE {
                return Some(Place { at: number, ..place });
            }
            let is_recorded = (1..=place.until).contains(&delivery.step);
            if is_recorded && delivery.qos > QoS::AtMostOnce {
                self.delivery(session, delivery);
            }
        }
        None
    }

    fn delivery(&mut self, session: u64, delivery: &Delivery) {
        let body = match &delivery.message {
            Kept::Here(message) => self.body(message),
            Kept::Stored(place) => BodyAt::Log { at: place.at, len: place.len },
            Kept::Lost => return,
        };
        self.entry.clear();
        record::put_ref(&mut self.entry, (session, delivery.step), &delivery.terms());
        record::put_refs(&mut self.records, body, &self.entry);
    }
}
