//! PUBACK, PUBREC, PUBREL and PUBCOMP: the client's half of an exchange, and ours.

use std::collections::VecDeque;
use std::sync::Arc;

use broker_codec::{Ack, Packet, PacketId, Properties, ReasonCode};

use super::{Channel, Close, Flow};
use crate::metrics::Metric;
use crate::session::Acked;
use crate::session::queue::{Delivery, Kept};
use crate::session::replay::Replay;
use crate::store::{Condition, Dependency};
use crate::turn::Turn;

/// Answers that wait for the store, in the order they are owed [MQTT-4.6.0-2].
#[derive(Default)]
pub(super) struct PendingAcks {
    answers: VecDeque<Answer>,
    /// What they wait for: each concerns so many answers from the last one's on.
    waits: VecDeque<(Dependency, usize)>,
    n_pubacks: usize,
}

/// One answer.
pub(super) enum Answer {
    /// To a PUBLISH or PUBREL.
    Ack(AckKind, PacketId, ReasonCode),
    /// To a SUBSCRIBE or UNSUBSCRIBE.
    Packet(Box<WaitingPacket>),
}

/// A whole packet.
pub(super) struct WaitingPacket {
    pub(super) bytes: Vec<u8>,
    /// What it is counted as when it leaves.
    pub(super) metric: Option<Metric>,
    /// The retained messages that come after it.
    pub(super) replays: Vec<Replay>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the specification's names")]
pub(super) enum AckKind {
    PubAck,
    PubRec,
    PubComp,
}

impl PendingAcks {
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.answers.capacity() * size_of::<Answer>()
            + self.waits.capacity() * size_of::<(Dependency, usize)>()
    }

    /// PUBLISH packets of QoS 1 that wait for their PUBACK.
    pub(super) const fn n_pubacks(&self) -> usize {
        self.n_pubacks
    }
}

impl Channel {
    pub(super) fn handle_puback(&mut self, ack: &Ack<'_>, turn: &mut Turn) -> Result<Flow, Close> {
        let connected = self.connected()?;
        match connected.session.handle_puback(ack.packet_id, &mut turn.out) {
            Acked::Known(delivery) => {
                self.owes_pump = true;
                if let Some(delivery) = delivery {
                    self.end_delivery(delivery, ack, turn)?;
                }
            }
            Acked::Held(_) | Acked::HeldBefore | Acked::Unknown => {
                turn.out.counters.inc(Metric::PacketsPubAckMissed);
            }
        }
        Ok(Flow::Next)
    }

    /// The client has a message.
    fn end_delivery(
        &self,
        delivery: Delivery,
        ack: &Ack<'_>,
        turn: &mut Turn,
    ) -> Result<(), Close> {
        if turn.tells_acked() {
            let client = Arc::clone(&self.connected()?.client);
            turn.delivery_acked(&client, &delivery, ack.properties);
        }
        if let Kept::Here(message) = delivery.message {
            turn.out.spares.give(message);
        }
        Ok(())
    }

    pub(super) fn handle_pubrec(&mut self, ack: &Ack<'_>, turn: &mut Turn) -> Result<Flow, Close> {
        let connected = self.connected()?;
        let is_error = ack.reason_code.is_error();
        let acked = connected.session.handle_pubrec(ack.packet_id, is_error, &mut turn.out);
        let (delivery, reason_code) = match acked {
            Acked::Known(delivery) => (delivery, Some(ReasonCode::Success)),
            Acked::Held(delivery) => (Some(delivery), None),
            Acked::HeldBefore => (None, None),
            Acked::Unknown => {
                turn.out.counters.inc(Metric::PacketsPubRecMissed);
                (None, Some(ReasonCode::PacketIdentifierNotFound))
            }
        };
        if let Some(delivery) = delivery {
            self.end_delivery(delivery, ack, turn)?;
        }
        if is_error || reason_code.is_none() {
            self.owes_pump = true;
        } else if let Some(reason_code) = reason_code {
            let packet_id = ack.packet_id;
            let properties = Properties::EMPTY;
            self.reply(&Packet::PubRel(Ack { packet_id, reason_code, properties }), turn);
        }
        Ok(Flow::Next)
    }

    pub(super) fn handle_pubrel(&mut self, ack: &Ack<'_>, turn: &mut Turn) -> Result<Flow, Close> {
        let connected = self.connected()?;
        let reason_code = if connected.session.release(ack.packet_id, &mut turn.out) {
            ReasonCode::Success
        } else {
            turn.out.counters.inc(Metric::PacketsPubRelMissed);
            ReasonCode::PacketIdentifierNotFound
        };
        self.acknowledge(AckKind::PubComp, ack.packet_id, reason_code, turn);
        Ok(Flow::Next)
    }

    pub(super) fn handle_pubcomp(&mut self, ack: &Ack<'_>, turn: &mut Turn) -> Result<Flow, Close> {
        let connected = self.connected()?;
        match connected.session.handle_pubcomp(ack.packet_id, &mut turn.out) {
            Acked::Unknown => turn.out.counters.inc(Metric::PacketsPubCompMissed),
            _ => self.owes_pump = true,
        }
        Ok(Flow::Next)
    }

    /// Owes the client an acknowledgement: it leaves at once, or when the store has what was recorded for
    /// the packet at work.
    pub(super) fn acknowledge(
        &mut self,
        kind: AckKind,
        packet_id: PacketId,
        reason_code: ReasonCode,
        turn: &mut Turn,
    ) {
        let dependency = turn.out.records.dependency();
        self.acknowledge_after(dependency, kind, packet_id, reason_code, turn);
    }

    /// The same for what depends on something else.
    pub(super) fn acknowledge_after(
        &mut self,
        dependency: Option<Dependency>,
        kind: AckKind,
        packet_id: PacketId,
        reason_code: ReasonCode,
        turn: &mut Turn,
    ) {
        if dependency.is_none() && self.pending_acks.as_ref().is_none_or(|acks| acks.len() == 0) {
            self.send_ack(kind, packet_id, reason_code, turn);
        } else {
            self.owe(Answer::Ack(kind, packet_id, reason_code), dependency, turn);
        }
    }

    /// Owes the client an answer that waits.
    pub(super) fn owe(&mut self, answer: Answer, dependency: Option<Dependency>, turn: &Turn) {
        let pending = self.pending_acks.get_or_insert_default();
        pending.n_pubacks += usize::from(matches!(answer, Answer::Ack(AckKind::PubAck, ..)));
        pending.answers.push_back(answer);
        match (dependency, pending.waits.back_mut()) {
            (None, Some((_, count))) => *count += 1,
            (Some(next), Some((last, count)))
                if Arc::ptr_eq(&next.seal, &last.seal) && next.level <= last.level =>
            {
                *count += 1;
            }
            (Some(next), _) => {
                if let Some(store) = turn.broker.store() {
                    next.wake(&self.sink, &**store);
                }
                pending.waits.push_back((next, 1));
            }
            // Nothing is waited for: not called like this.
            (None, None) => {}
        }
    }

    /// Sends the answers whose records are safe by now, in order, up to the first that must wait.
    pub(super) fn release_acks(&mut self, turn: &mut Turn) -> Result<(), Close> {
        let Some(store) = turn.broker.store() else { return Ok(()) };
        let Some(mut acks) = self.pending_acks.take_if(|acks| acks.len() > 0) else {
            return Ok(());
        };
        let store = Arc::clone(store);
        let mut result = Ok(());
        while let Some((_, count)) = acks.waits.pop_front_if(|(wait, _)| wait.is_safe(&*store)) {
            for answer in acks.answers.drain(..count) {
                match answer {
                    Answer::Ack(kind, id, reason_code) => {
                        acks.n_pubacks -= usize::from(kind == AckKind::PubAck);
                        self.send_ack(kind, id, reason_code, turn);
                    }
                    Answer::Packet(packet) => {
                        let WaitingPacket { bytes, metric, replays } = *packet;
                        turn.reply.append(&bytes);
                        if turn.out.tracer.is_on() {
                            self.trace_sent_bytes(&bytes, turn);
                        }
                        metric.into_iter().for_each(|metric| turn.out.counters.inc(metric));
                        if result.is_ok() {
                            result = self.start_replays(replays, turn);
                        }
                    }
                }
            }
        }
        self.waits_for_store = acks.len() > 0
            && match store.condition() {
                Condition::Ready => false,
                Condition::Congested => true,
                // What is refused need not be slowed down.
                Condition::Unavailable => !turn.broker.durability().refuse_when_unavailable,
            };
        self.pending_acks = Some(acks);
        if result.is_err() {
            // The session is in other hands, and what was written for it nobody's.
            turn.reply.clear();
        }
        result
    }

    fn send_ack(
        &self,
        kind: AckKind,
        packet_id: PacketId,
        reason_code: ReasonCode,
        turn: &mut Turn,
    ) {
        let ack = Ack { packet_id, reason_code, properties: Properties::EMPTY };
        let packet = match kind {
            AckKind::PubAck => Packet::PubAck(ack),
            AckKind::PubRec => Packet::PubRec(ack),
            AckKind::PubComp => Packet::PubComp(ack),
        };
        self.reply(&packet, turn);
    }
}
