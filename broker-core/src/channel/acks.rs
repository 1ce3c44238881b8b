//! PUBACK, PUBREC, PUBREL and PUBCOMP: the client's half of an exchange, and ours.

use std::sync::Arc;

use broker_codec::{Ack, Packet, PacketId, Properties, ReasonCode};

use super::{AckKind, Channel, Close, Flow, PendingAck};
use crate::extension::Lsn;
use crate::metrics::Metric;
use crate::session::Acked;
use crate::turn::Turn;

impl Channel {
    pub(super) fn handle_puback(&mut self, ack: &Ack<'_>, turn: &mut Turn) -> Result<Flow, Close> {
        let connected = self.connected()?;
        turn.out.counters.inc(Metric::PacketsPubAckReceived);
        match connected.session.handle_puback(ack.packet_id) {
            Acked::Known(delivery) => {
                self.owes_pump = true;
                if let Some(delivery) = delivery.filter(|_| turn.has_event_listeners()) {
                    let client = Arc::clone(&self.connected()?.client);
                    turn.message_acked(&client, &delivery.message);
                }
            }
            Acked::Unknown => turn.out.counters.inc(Metric::PacketsPubAckMissed),
        }
        Ok(Flow::Next)
    }

    pub(super) fn handle_pubrec(&mut self, ack: &Ack<'_>, turn: &mut Turn) -> Result<Flow, Close> {
        let connected = self.connected()?;
        turn.out.counters.inc(Metric::PacketsPubRecReceived);
        let is_error = ack.reason_code.is_error();
        let now_ms = turn.now.mono_ms;
        let acked = connected.session.handle_pubrec(ack.packet_id, is_error, now_ms);
        let reason_code = match acked {
            Acked::Known(Some(delivery)) => {
                if turn.has_event_listeners() {
                    let client = Arc::clone(&connected.client);
                    turn.message_acked(&client, &delivery.message);
                }
                ReasonCode::Success
            }
            Acked::Known(None) => ReasonCode::Success,
            Acked::Unknown => {
                turn.out.counters.inc(Metric::PacketsPubRecMissed);
                ReasonCode::PacketIdentifierNotFound
            }
        };
        if is_error {
            self.owes_pump = true;
        } else {
            turn.out.counters.inc(Metric::PacketsPubRelSent);
            let packet_id = ack.packet_id;
            let properties = Properties::EMPTY;
            self.reply(&Packet::PubRel(Ack { packet_id, reason_code, properties }), turn);
        }
        Ok(Flow::Next)
    }

    pub(super) fn handle_pubrel(&mut self, ack: &Ack<'_>, turn: &mut Turn) -> Result<Flow, Close> {
        let connected = self.connected()?;
        turn.out.counters.inc(Metric::PacketsPubRelReceived);
        let was_received = connected.session.lock().received.remove(ack.packet_id);
        let reason_code = if was_received {
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
        turn.out.counters.inc(Metric::PacketsPubCompReceived);
        match connected.session.handle_pubcomp(ack.packet_id) {
            Acked::Known(_) => self.owes_pump = true,
            Acked::Unknown => turn.out.counters.inc(Metric::PacketsPubCompMissed),
        }
        Ok(Flow::Next)
    }

    /// Owes the client an acknowledgement: it leaves at once, or when the store has this turn's records.
    pub(super) fn acknowledge(
        &mut self,
        kind: AckKind,
        packet_id: PacketId,
        reason_code: ReasonCode,
        turn: &mut Turn,
    ) {
        self.acknowledge_at(0, kind, packet_id, reason_code, turn);
    }

    /// The same for what also depends on the records up to `lsn`.
    pub(super) fn acknowledge_at(
        &mut self,
        lsn: Lsn,
        kind: AckKind,
        packet_id: PacketId,
        reason_code: ReasonCode,
        turn: &mut Turn,
    ) {
        let has_records = !turn.out.records.frame.is_empty();
        if has_records || lsn > 0 || self.pending_acks.as_ref().is_some_and(|acks| !acks.is_empty())
        {
            // What is recorded in this turn gets its position when the turn is sealed.
            let lsn = if has_records { UNSEALED } else { lsn };
            let ack = PendingAck { lsn, kind, packet_id, reason_code };
            self.pending_acks.get_or_insert_default().push_back(ack);
        } else {
            self.send_ack(kind, packet_id, reason_code, turn);
        }
    }

    /// Sends the acknowledgements whose records survive by now, in order, up to the first that must wait.
    pub(super) fn release_acks(&mut self, turn: &mut Turn) {
        let Some(mut acks) = self.pending_acks.take_if(|acks| !acks.is_empty()) else { return };
        turn.seal();
        let last = turn.out.records.last;
        // Those of this turn stand at the end: once one depends on its records, all after it do.
        for ack in acks.iter_mut().rev().take_while(|ack| ack.lsn == UNSEALED) {
            ack.lsn = last;
        }
        if let Some(store) = turn.broker.store().cloned() {
            let durable = store.durable();
            while let Some(ack) = acks.pop_front_if(|ack| ack.lsn <= durable) {
                self.send_ack(ack.kind, ack.packet_id, ack.reason_code, turn);
            }
            if let Some(first) = acks.front() {
                let sink = Arc::clone(&self.sink);
                store.wake_at(first.lsn, Box::new(move || sink.wake()));
            }
        }
        self.pending_acks = Some(acks);
    }

    fn send_ack(
        &self,
        kind: AckKind,
        packet_id: PacketId,
        reason_code: ReasonCode,
        turn: &mut Turn,
    ) {
        let ack = Ack { packet_id, reason_code, properties: Properties::EMPTY };
        let (packet, metric) = match kind {
            AckKind::PubAck => (Packet::PubAck(ack), Metric::PacketsPubAckSent),
            AckKind::PubRec => (Packet::PubRec(ack), Metric::PacketsPubRecSent),
            AckKind::PubComp => (Packet::PubComp(ack), Metric::PacketsPubCompSent),
        };
        turn.out.counters.inc(metric);
        self.reply(&packet, turn);
    }
}

/// Position of an acknowledgement whose records are not yet appended.
const UNSEALED: u64 = u64::MAX;
