//! Exchanges of QoS 1 and 2: acknowledgements of what was sent, and identifiers of what was received.

use std::sync::Arc;

use broker_codec::{PacketId, QoS};

use super::inflight::Phase;
use super::queue::Delivery;
use super::received::Routed;
use super::{Session, State};
use crate::latency::Latency;
use crate::record::{Record, Removal};
use crate::slow_subscribers::LateAck;
use crate::store::Dependency;
use crate::turn::Out;

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

impl Session {
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

impl State {
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

    /// A QoS 2 message that was received and not yet released, if there is one under that identifier.
    pub(crate) fn received_before(&self, id: PacketId) -> Option<Receipt> {
        let entry = self.received.get(id)?;
        Some(match &entry.routed {
            Some(routed) => Receipt::Duplicate(routed.dependency.clone()),
            None => Receipt::UnderWay,
        })
    }
}
