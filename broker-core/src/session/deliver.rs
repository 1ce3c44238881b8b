//! Delivery: from a message and a subscription's terms to bytes in the outbox, a place in the queue, or a
//! counted drop.

use std::sync::Arc;

use broker_codec::{PacketId, PublishHeader, QoS};

use super::drops::DropReason;
use super::inflight::{Entry, Phase};
use super::queue::{Delivery, Kept};
use super::sending::{Outgoing, SHARE_FROM_BYTES, Sent};
use super::{Connection, Session, State};
use crate::client::ClientInfo;
use crate::clock::Now;
use crate::events::DeliveredFlags;
use crate::message::{Message, Publication};
use crate::metrics::Metric;
use crate::record::{Record, Removal};
use crate::router::fan_out::Terms;
use crate::router::share_group::ShareGroup;
use crate::store::{BodyPlace, Level};
use crate::turn::Out;

impl Session {
    /// Gives the session a message. Returns false if it was not taken.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        terms: &Terms,
        publication: &Publication<'_>,
        group: Option<&Arc<ShareGroup>>,
        out: &mut Out,
    ) -> bool {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.ended {
            return false;
        }
        if state.skips_own(terms) && publication.publisher.is_client(self.client_id()) {
            out.counters.inc(Metric::DroppedNoLocal);
            state.note_refused(publication, DropReason::NoLocal, out);
            return false;
        }
        let qos = state.effective_qos(terms, publication.qos);
        let retain = terms.retain_as_published && publication.retain;
        let is_paced = state.is_paced(out.now);
        if state.is_passed_on(qos) && !is_paced {
            return self.deliver_now(state, terms, publication, retain, out);
        }
        if !state.keeps(qos) {
            let (metric, reason) = if is_paced {
                (Metric::DroppedOutboxFull, DropReason::OutboxFull)
            } else {
                (Metric::DroppedOffline, DropReason::Offline)
            };
            out.counters.inc(metric);
            state.note_refused(publication, reason, out);
            return false;
        }
        if qos == QoS::AtMostOnce && out.pressure.is_near() {
            out.counters.inc(Metric::DroppedMemory);
            state.note_refused(publication, DropReason::Memory, out);
            return false;
        }
        let mut delivery = Delivery {
            message: Kept::Here(Arc::clone(publication.shared())),
            qos,
            retain,
            identifiers: terms.identifiers.clone(),
            group: group.cloned(),
            step: 0,
            is_copy: false,
            frame: None,
            queued_ms: 0,
        };
        state.record_ref(&mut delivery, publication, out);
        state.accept(delivery, out);
        self.touch(state, out);
        true
    }

    /// Gives the session a message of another one that only the store has. Returns false if it has ended.
    pub(crate) fn deliver_stored(
        self: &Arc<Self>,
        mut delivery: Delivery,
        place: &BodyPlace,
        out: &mut Out,
    ) -> bool {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.ended {
            return false;
        }
        // What is read back is known by its step, in a session that is not recorded too.
        delivery.step = state.next_step();
        if state.is_durable {
            let at = (state.number, delivery.step);
            out.records.reference_stored(place, at, &delivery.terms());
            delivery.frame = out.records.frame_of(delivery.qos);
        }
        state.accept(delivery, out);
        self.pump(state, out);
        self.touch(state, out);
        true
    }

    /// QoS 0 to a connected client: straight into the outbox, or dropped if that is full.
    fn deliver_now(
        self: &Arc<Self>,
        state: &mut State,
        terms: &Terms,
        publication: &Publication<'_>,
        retain: bool,
        out: &mut Out,
    ) -> bool {
        let Some(connection) = &mut state.connection else { return false };
        if connection.is_outbox_full() {
            out.counters.inc(Metric::DroppedOutboxFull);
            state.note_refused(publication, DropReason::OutboxFull, out);
            return false;
        }
        if out.pressure.is_near() && connection.outbox.is_blocked() {
            out.counters.inc(Metric::DroppedMemory);
            state.note_refused(publication, DropReason::Memory, out);
            return false;
        }
        let topic = if connection.has_mountpoint {
            unmounted(publication.topic, &state.client.mountpoint)
        } else {
            publication.topic
        };
        let outgoing = Outgoing {
            topic,
            payload: publication.payload,
            shared: (out.share_frames && publication.payload.len() >= SHARE_FROM_BYTES)
                .then(|| &publication.shared().payload),
            header: PublishHeader {
                retain,
                message_expiry_interval: publication.remaining_expiry_s(out.now),
                subscription_identifiers: terms.identifiers.as_deref().unwrap_or_default(),
                properties: publication.properties,
                ..PublishHeader::default()
            },
        };
        let may_share = out.share_frames
            && connection.aliases.is_none()
            && terms.identifiers.is_none()
            && !connection.has_mountpoint;
        let sent = if may_share {
            connection.send_frame(&outgoing, out)
        } else {
            connection.send(outgoing, out)
        };
        let sent = matches!(sent, Sent::Yes);
        if sent {
            out.fates.one_has_left = true;
            let flags = DeliveredFlags { dup: false, qos: QoS::AtMostOnce, retain };
            let what = (publication.topic, publication.payload.len());
            out.note_delivered(&state.client, flags, what, || publication.shared());
            if out.tracer.is_on() {
                out.trace_delivered(&state.client, flags, publication.topic, publication.payload);
            }
        } else {
            state.note_refused(publication, DropReason::TooLarge, out);
        }
        self.touch(state, out);
        sent
    }
}

impl Delivery {
    /// True for a retained message that another has replaced meanwhile: what has replaced it went out when it
    /// was published.
    pub(super) fn is_outdated_copy(&self, out: &Out) -> bool {
        let is_current = |message: &Arc<Message>| out.broker.retained.is_current(message);
        self.is_copy && self.message.here().is_some_and(|message| !is_current(message))
    }

    /// False while the frame that says that it is owed is still to be appended by another thread: the one that
    /// says that it was sent would stand in the log before it, and a crash between the two would lose the message
    /// its client has. The connection is woken then.
    fn may_be_recorded_as_sent(&self, connection: &Connection, out: &Out) -> bool {
        let (Some(frame), Some(store)) = (&self.frame, out.records.store()) else { return true };
        if out.records.is_ahead(frame) {
            return true;
        }
        frame.wake(&connection.sink, Level::Written, &**store);
        false
    }
}

impl State {
    /// No Local, or its counterpart for older clients.
    pub(super) fn skips_own(&self, terms: &Terms) -> bool {
        terms.no_local || (self.client.zone.ignore_loop_deliver && !self.client.version.is_v5())
    }

    /// True if its client has been sent as much as it may be for now.
    fn is_paced(&mut self, now: Now) -> bool {
        self.connection.as_mut().is_some_and(|connection| connection.is_paced(now.mono_ms))
    }

    /// The QoS that a message which was published with another goes on with.
    pub(super) fn effective_qos(&self, terms: &Terms, published: QoS) -> QoS {
        if self.upgrades_qos { terms.qos } else { terms.qos.min(published) }
    }

    /// True if a message of that QoS goes straight into the outbox, or nowhere.
    pub(super) fn is_passed_on(&self, qos: QoS) -> bool {
        qos == QoS::AtMostOnce
            && self.connection.is_some()
            && !self.queue.holds_qos0()
            && !self.is_unchecked
    }

    /// True if a message of that QoS may wait.
    pub(super) fn keeps(&self, qos: QoS) -> bool {
        qos > QoS::AtMostOnce || self.client.zone.mqueue_store_qos0
    }

    /// True if a message of that QoS may be sent at once, ahead of none.
    pub(super) fn has_room(&self, qos: QoS) -> bool {
        !self.inflight.is_resending()
            && self.queue.is_empty()
            && !self.is_unchecked
            && self.connection.as_ref().is_some_and(|connection| {
                !connection.is_outbox_full() && (connection.quota > 0 || qos == QoS::AtMostOnce)
            })
    }

    /// Records that the session owes a message, if both are durable.
    pub(super) fn record_ref(
        &mut self,
        delivery: &mut Delivery,
        publication: &Publication<'_>,
        out: &mut Out,
    ) {
        if !self.is_durable || delivery.qos == QoS::AtMostOnce {
            return;
        }
        let step = self.steps + 1;
        let at = (self.number, step);
        if out.records.reference(publication, at, &delivery.terms()) {
            (self.steps, delivery.step) = (step, step);
            delivery.frame = out.records.frame_of(delivery.qos);
        }
    }

    /// Sends a message if its turn has come, else queues it.
    pub(crate) fn accept(&mut self, mut delivery: Delivery, out: &mut Out) {
        // What another session gives back has waited there.
        delivery.queued_ms = 0;
        if delivery.message.here().is_some()
            && self.has_room(delivery.qos)
            && !self.is_paced(out.now)
        {
            out.fates.one_has_left = true;
            self.send(delivery, Order::Free, out);
            return;
        }
        out.fates.one_waits |= self.connection.is_some();
        self.enqueued += 1;
        if out.tracer.is_on() {
            self.trace_queued(&delivery, out);
        }
        delivery.queued_ms = (out.now.mono_ms as u32).max(1);
        let is_recorded = delivery.step > 0;
        let before = self.queue.here_bytes();
        let dropped = self.queue.push(delivery, &self.client.zone).unwrap_or_default();
        self.lose(dropped, Metric::DroppedQueueFull, DropReason::QueueFull, out);
        let growth = self.queue.growth();
        let is_short = growth != 0 && out.broker.queues_grew(growth);
        if growth != 0 {
            out.pressure = out.broker.pressure();
        }
        let is_too_much = self.tell_queue();
        if is_recorded && self.is_durable && (is_short || is_too_much || out.pressure.is_near()) {
            self.queue.let_go_newest();
        } else if out.pressure.is_over() || is_too_much {
            // What came makes room for itself.
            let dropped = self.queue.shed(before);
            let (metric, reason) = if is_too_much {
                (Metric::DroppedQueueFull, DropReason::QueueFull)
            } else {
                (Metric::DroppedMemory, DropReason::Memory)
            };
            self.lose(dropped, metric, reason, out);
        }
        if is_too_much {
            self.tell_queue();
        }
    }

    /// Counts messages that had to leave the queue.
    fn lose(&mut self, dropped: Vec<Delivery>, metric: Metric, reason: DropReason, out: &mut Out) {
        for dropped in dropped {
            self.drops.note_driven_out();
            out.counters.inc(metric);
            self.note_loss(&dropped, reason, out);
            self.record_removed(dropped.step, Removal::QueueFull, out);
            if !self.is_overflow_noted {
                self.is_overflow_noted = out.broker.client_alarms.note_dropped(
                    self.number,
                    &self.client.client_id,
                    out.now,
                );
            }
        }
    }

    /// Sends one message that has its turn, and is here. Of `Order::Kept`, it does not overtake what is kept
    /// back for the store.
    pub(super) fn send(&mut self, delivery: Delivery, order: Order, out: &mut Out) {
        let Some(message) = delivery.message.here() else { return };
        let Some(connection) = &mut self.connection else { return };
        let mountpoint = &self.client.mountpoint;
        if delivery.qos == QoS::AtMostOnce {
            let outgoing = outgoing(&delivery, message, mountpoint, None, Dup::No, out.now);
            if let Sent::Yes = connection.send(outgoing, out) {
                note_delivered(&delivery, Dup::No, &self.client, out);
            } else {
                self.note_loss(&delivery, DropReason::TooLarge, out);
            }
            return;
        }
        let place = self.inflight.reserve();
        let outgoing = outgoing(&delivery, message, mountpoint, Some(place.0), Dup::No, out.now);
        let mut held = None;
        // What is too large for the client is as good as sent: it takes no place.
        let is_recorded = self.is_durable && delivery.step > 0;
        let is_sent = if is_recorded && delivery.qos == QoS::ExactlyOnce {
            let takes = connection.takes(&outgoing, out);
            if takes {
                // Exactly once: the identifier must survive a crash before the client can have seen it.
                self.steps += 1;
                let (session, step, of) = (self.number, self.steps, delivery.step);
                out.records.put(&Record::Sent { session, step, of, packet_id: place.0 });
                held = out.records.dependency_of(&message.topic);
                match (&held, out.records.store()) {
                    (Some(held), Some(store)) => held.wake(&connection.sink, &**store),
                    _ => drop(connection.send(outgoing, out)),
                }
            }
            takes
        } else if self.inflight.has_held()
            && let Some(last) = self.inflight.last_held(order == Order::Free)
        {
            let takes = connection.takes(&outgoing, out);
            held = Some(last);
            takes
        } else {
            matches!(connection.send(outgoing, out), Sent::Yes)
        };
        if is_sent {
            connection.quota -= 1;
            if held.is_none() {
                note_delivered(&delivery, Dup::No, &self.client, out);
            }
            self.inflight.push(place, delivery, held, out.now);
        } else {
            self.note_loss(&delivery, DropReason::TooLarge, out);
            self.record_removed(delivery.step, Removal::TooLarge, out);
        }
    }

    /// Sends what was kept back until the store had its record.
    fn send_held(&mut self, out: &mut Out) {
        let Some(store) = out.records.store().cloned() else { return };
        while let Some(connection) = &mut self.connection
            && connection.outbox.len() < connection.max_outbox_bytes
            && let Some(entry) = self.inflight.next_safe(&*store)
        {
            if let Some(step) = entry.outdated_copy(out) {
                let id = entry.packet_id;
                self.inflight.remove(id);
                connection.grant();
                self.record_removed(step, Removal::Expired, out);
                continue;
            }
            entry.sent_at_ms = out.now.mono_ms;
            match &entry.phase {
                Phase::Released => connection.send_pubrel(entry.packet_id, &self.client, out),
                Phase::Published(delivery) => {
                    let (id, mountpoint) = (Some(entry.packet_id), &self.client.mountpoint);
                    let dup = Dup::from(entry.was_sent);
                    entry.first_sent_us = out.now.mono_us();
                    if let Some(message) = delivery.message.here() {
                        connection
                            .send(outgoing(delivery, message, mountpoint, id, dup, out.now), out);
                        note_delivered(delivery, dup, &self.client, out);
                    }
                    entry.was_sent = true;
                }
            }
        }
    }

    /// Sends PUBREL.
    pub(super) fn send_pubrel(&mut self, packet_id: PacketId, out: &mut Out) {
        if let Some(connection) = &mut self.connection {
            connection.send_pubrel(packet_id, &self.client, out);
        }
    }

    /// Sends all that may be sent now: first again what an earlier connection left open [MQTT-4.4.0-1],
    /// then the queue, then retained messages of new subscriptions.
    pub(crate) fn pump(&mut self, out: &mut Out) {
        self.send_waiting(out);
        self.tell_queue();
        let growth = self.queue.growth();
        if growth != 0 {
            out.broker.queues_grew(growth);
        }
    }

    fn send_waiting(&mut self, out: &mut Out) {
        self.replays_rest = false;
        if self.is_unchecked {
            return;
        }
        if self.inflight.has_held() {
            self.send_held(out);
        }
        loop {
            let Some(connection) = &mut self.connection else { return };
            if connection.outbox.len() >= connection.max_outbox_bytes.min(PUMP_BYTES)
                || connection.is_paced(out.now.mono_ms)
            {
                return;
            }
            let has_quota = connection.quota > 0;
            if self.inflight.is_resending() {
                if !self.resend_next(has_quota, out) {
                    return;
                }
            } else if let Some(next) = self.queue.front() {
                if next.message.is_expired(out.now) {
                    self.drop_next(Removal::Expired, Some(EXPIRED), out);
                } else if next.is_outdated_copy(out) {
                    self.drop_next(Removal::Expired, None, out);
                } else if matches!(next.message, Kept::Lost) {
                    self.drop_next(Removal::Damaged, Some(DAMAGED), out);
                } else if next.message.here().is_none() {
                    self.wants_bodies = true;
                    return;
                } else if self.revoked.as_ref().is_some_and(|it| self.is_revoked(next, it)) {
                    self.drop_next(Removal::Revoked, Some(REVOKED), out);
                } else if let Some(connection) = &self.connection
                    && !next.may_be_recorded_as_sent(connection, out)
                {
                    return;
                } else if has_quota || next.qos == QoS::AtMostOnce {
                    if let Some(mut delivery) = self.queue.pop() {
                        delivery.frame = None;
                        self.send(delivery, Order::Kept, out);
                    }
                } else {
                    return;
                }
            } else {
                self.revoked = None;
                if !self.send_retained(has_quota, out) {
                    return;
                }
            }
        }
    }

    /// Drops the first message of the queue.
    fn drop_next(&mut self, why: Removal, loss: Option<(Metric, DropReason)>, out: &mut Out) {
        if let Some(delivery) = self.queue.pop() {
            if let Some((metric, reason)) = loss {
                out.counters.inc(metric);
                self.note_loss(&delivery, reason, out);
            }
            self.record_removed(delivery.step, why, out);
        }
    }

    /// Sends the next unfinished message of an earlier connection again. Returns false if it must wait.
    fn resend_next(&mut self, has_quota: bool, out: &mut Out) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let Some(entry) = self.inflight.next_resend() else { return false };
        if let (Some(held), Some(store)) = (&entry.held, out.records.store())
            && !held.is_safe(&**store)
        {
            return false;
        }
        let id = entry.packet_id;
        if let Some(step) = entry.outdated_copy(out) {
            self.inflight.remove(id);
            self.record_removed(step, Removal::Expired, out);
            return true;
        }
        let lost = match &entry.phase {
            // PUBCOMP gives back what an entry took, so PUBREL takes it too [MQTT-3.3.4-9].
            _ if !has_quota => return false,
            Phase::Released => {
                connection.send_pubrel(id, &self.client, out);
                connection.quota -= 1;
                None
            }
            Phase::Published(delivery) => {
                let of = delivery.step;
                match &delivery.message {
                    // Nobody waits for it any more. A QoS 2 message must go on: the client may hold its
                    // identifier.
                    Kept::Here(message)
                        if delivery.qos == QoS::AtLeastOnce && message.is_expired(out.now) =>
                    {
                        Some((of, Removal::Expired, Some(EXPIRED)))
                    }
                    Kept::Here(message) => {
                        let (mountpoint, dup) =
                            (&self.client.mountpoint, Dup::from(entry.was_sent));
                        let outgoing =
                            outgoing(delivery, message, mountpoint, Some(id), dup, out.now);
                        match connection.send(outgoing, out) {
                            Sent::Yes => {
                                connection.quota -= 1;
                                note_delivered(delivery, dup, &self.client, out);
                                None
                            }
                            Sent::TooLarge => {
                                // Counted already.
                                Some((of, Removal::TooLarge, None))
                            }
                        }
                    }
                    Kept::Stored(_) => {
                        self.wants_bodies = true;
                        return false;
                    }
                    Kept::Lost => Some((of, Removal::Damaged, Some(DAMAGED))),
                }
            }
        };
        match lost {
            None => self.inflight.resent(out.now),
            Some((of, why, loss)) => {
                if let Some((metric, _)) = loss {
                    out.counters.inc(metric);
                }
                self.note_unsent(why, out);
                if entry_holds_id(self.inflight.next_resend()) {
                    self.release_unsent(id, of, out);
                } else {
                    self.inflight.remove(id);
                    self.record_removed(of, why, out);
                }
            }
        }
        true
    }

    /// A QoS 2 message has reached the client once, perhaps, and cannot be sent again: the exchange goes on
    /// with PUBREL, as if PUBREC had come [MQTT-3.1.2-25]. Were the identifier just free, a client that has it
    /// would take the next message under it for a duplicate.
    fn release_unsent(&mut self, id: PacketId, of: u64, out: &mut Out) {
        let is_recorded = self.is_durable && of > 0;
        if let Some(entry) = self.inflight.find_mut(id) {
            entry.phase = Phase::Released;
        }
        if is_recorded {
            self.hold_pubrel_in_turn(id, out);
        }
    }

    /// Sends again what was sent `interval_ms` ago or earlier and is still unacknowledged.
    pub(super) fn resend_older_than(&mut self, interval_ms: u64, out: &mut Out) {
        let Some(connection) = &mut self.connection else { return };
        let max_outbox_bytes = connection.max_outbox_bytes;
        for entry in self.inflight.iter_mut() {
            let is_due = entry.sent_at_ms + interval_ms <= out.now.mono_ms;
            if !entry.in_window || !is_due || entry.held.is_some() {
                continue;
            }
            if connection.outbox.len() >= max_outbox_bytes {
                return;
            }
            entry.sent_at_ms = out.now.mono_ms;
            match &entry.phase {
                Phase::Released => connection.send_pubrel(entry.packet_id, &self.client, out),
                Phase::Published(delivery) => {
                    let (id, mountpoint) = (Some(entry.packet_id), &self.client.mountpoint);
                    if let Some(message) = delivery.message.here() {
                        let outgoing =
                            outgoing(delivery, message, mountpoint, id, Dup::Yes, out.now);
                        connection.send(outgoing, out);
                        note_delivered(delivery, Dup::Yes, &self.client, out);
                    }
                }
            }
        }
    }

    /// Takes the messages of shared subscriptions from a session without a connection, to be given to other
    /// members: those unsent, and those unacknowledged at QoS 1. What was begun at QoS 2 stays
    /// [MQTT-4.8.2-4] [MQTT-4.8.2-5], and so does what `has_other_members` says nobody else can take.
    pub(crate) fn give_back(
        &mut self,
        has_other_members: impl Fn(&ShareGroup) -> bool,
    ) -> Vec<Delivery> {
        let may_go =
            |delivery: &Delivery| delivery.group.as_deref().is_some_and(&has_other_members);
        let mut back = self.inflight.extract(|entry| match &entry.phase {
            Phase::Published(d) => d.qos == QoS::AtLeastOnce && may_go(d),
            Phase::Released => false,
        });
        back.extend(self.take_unsent(may_go));
        back
    }

    /// Takes the unsent messages of a group that the session leaves. What was begun is completed by it
    /// [MQTT-3.10.4-3].
    pub(crate) fn give_back_unsent(&mut self, left: &Arc<ShareGroup>) -> Vec<Delivery> {
        self.take_unsent(|delivery| delivery.group.as_ref().is_some_and(|g| Arc::ptr_eq(g, left)))
    }

    fn take_unsent(&mut self, filter: impl Fn(&Delivery) -> bool) -> Vec<Delivery> {
        if self.queue.is_empty() {
            return Vec::new();
        }
        let zone = Arc::clone(&self.client.zone);
        self.queue.extract(filter, &zone)
    }
}

/// True if the client may hold the identifier of an entry that is to be sent again.
fn entry_holds_id(entry: Option<&Entry>) -> bool {
    entry.is_some_and(|entry| {
        entry.was_sent && matches!(&entry.phase, Phase::Published(d) if d.qos == QoS::ExactlyOnce)
    })
}

/// Whether a message of QoS 1 waits behind those of QoS 2 that are kept back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It does: both lay in the queue.
    Kept,
    /// It goes at once, unless others of QoS 1 wait already.
    Free,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dup {
    Yes,
    No,
}

impl From<bool> for Dup {
    fn from(was_sent: bool) -> Self {
        if was_sent { Self::Yes } else { Self::No }
    }
}

/// A kept message as it leaves.
fn outgoing<'a>(
    delivery: &'a Delivery,
    message: &'a Message,
    mountpoint: &str,
    packet_id: Option<PacketId>,
    dup: Dup,
    now: Now,
) -> Outgoing<'a> {
    Outgoing {
        topic: unmounted(&message.topic, mountpoint),
        payload: &message.payload,
        shared: Some(&message.payload),
        header: PublishHeader {
            dup: dup == Dup::Yes,
            qos: delivery.qos,
            retain: delivery.retain,
            packet_id,
            message_expiry_interval: message.remaining_expiry_s(now),
            subscription_identifiers: delivery.identifiers.as_deref().unwrap_or_default(),
            properties: message.properties.as_properties(),
            ..PublishHeader::default()
        },
    }
}

/// Notes that a kept message has left.
fn note_delivered(delivery: &Delivery, dup: Dup, client: &Arc<ClientInfo>, out: &mut Out) {
    let Delivery { message, qos, retain, .. } = delivery;
    let Some(message) = message.here() else { return };
    let flags = DeliveredFlags { dup: dup == Dup::Yes, qos: *qos, retain: *retain };
    out.note_delivered(client, flags, (&message.topic, message.payload.len()), || message);
    if out.tracer.is_on() {
        out.trace_delivered(client, flags, &message.topic, &message.payload);
    }
}

/// How these losses are counted.
const EXPIRED: (Metric, DropReason) = (Metric::MessagesExpired, DropReason::Expired);
const DAMAGED: (Metric, DropReason) = (Metric::DroppedDamaged, DropReason::Damaged);
const REVOKED: (Metric, DropReason) = (Metric::DroppedRevoked, DropReason::Revoked);

/// The topic as the client knows it, without the prefix its zone puts before it.
pub(crate) fn unmounted<'a>(topic: &'a str, mountpoint: &str) -> &'a str {
    if mountpoint.is_empty() { topic } else { topic.strip_prefix(mountpoint).unwrap_or(topic) }
}

/// Bytes one pump puts into an outbox at most; the flush that empties it pumps again.
const PUMP_BYTES: usize = 256 * 1024;
