//! What of a session is recorded, so that it survives the process.

use broker_codec::{PacketId, QoS};

use super::State;
use super::inflight::Phase;
use super::queue::{Delivery, Kept};
use super::subscriptions::Subscription;
use crate::message::Publication;
use crate::record::{self, Record, Removal, SessionStart};
use crate::recorder::Recorder;
use crate::store::Dependency;
use crate::turn::Out;

impl State {
    /// Records who connects, and with what Will.
    pub(crate) fn record_start(&mut self, keeps_will: bool, out: &mut Out) {
        let step = self.next_step();
        let peer = self.client.peer.map(|peer| peer.to_string());
        let start = self.start_record(step, peer.as_deref(), keeps_will);
        out.records.put(&Record::SessionStart(start));
    }

    /// The session's beginning as it is recorded.
    pub(crate) fn start_record<'a>(
        &'a self,
        step: u64,
        peer: Option<&'a str>,
        keeps_will: bool,
    ) -> SessionStart<'a> {
        let client = &self.client;
        SessionStart {
            session: self.number,
            step,
            client_id: client.client_id.as_str(),
            username: client.username.as_deref(),
            peer,
            version: client.version.level(),
            listener: &client.listener,
            zone: &client.zone.name,
            mountpoint: &client.mountpoint,
            keep_alive_s: client.keep_alive_s,
            clean_start: self.created_clean,
            is_superuser: client.is_superuser,
            is_bridge: client.is_bridge,
            expiry_s: self.expiry_s,
            created_at_ms: self.created_at_ms,
            connected_at_ms: client.connected_at_ms,
            will: self.will.as_ref().filter(|_| keeps_will).map(|will| will.record()),
        }
    }

    /// Records all that a session holds which was not durable so far.
    pub(crate) fn record_contents(&mut self, out: &mut Out) {
        let number = self.number;
        let mut steps = self.steps;
        let mut next_step = || {
            steps += 1;
            steps
        };
        for subscription in self.subscriptions.iter() {
            out.records.put(&subscription.record(number, next_step()));
        }
        let mut record = |delivery: &mut Delivery, out: &mut Out| {
            if delivery.qos == QoS::AtMostOnce {
                return;
            }
            let step = next_step();
            out.records.begin_message();
            let (at, terms) = ((number, step), delivery.terms());
            let is_recorded = match &delivery.message {
                Kept::Here(message) => out.records.reference(&Publication::of(message), at, &terms),
                Kept::Stored(place) => {
                    out.records.reference_stored(place, at, &terms);
                    true
                }
                Kept::Lost => false,
            };
            // A body that is only stored is known by its step, whether that is recorded or not.
            delivery.step = if is_recorded { step } else { 0 };
            delivery.frame = out.records.frame_of(delivery.qos).filter(|_| is_recorded);
        };
        let mut begun = Vec::new();
        for entry in self.inflight.iter_mut() {
            match &mut entry.phase {
                Phase::Published(delivery) => {
                    record(delivery, out);
                    if delivery.qos == QoS::ExactlyOnce {
                        begun.push((entry.packet_id, Some(delivery.step)));
                    }
                }
                Phase::Released => begun.push((entry.packet_id, None)),
            }
        }
        self.queue.iter_mut().for_each(|delivery| record(delivery, out));
        for (packet_id, of) in begun {
            let (session, step) = (number, next_step());
            out.records.put(&match of {
                Some(of) => Record::Sent { session, step, of, packet_id },
                None => Record::Released { session, step, packet_id },
            });
        }
        // Without its message an identifier must not come back: the message would be taken for a duplicate.
        for packet_id in self.received.record_all(|frame| out.records.is_ahead(frame)) {
            out.records.put(&Record::Received { session: number, step: next_step(), packet_id });
        }
        self.steps = steps;
    }

    /// Records that the connection has ended, and what it left in flight.
    pub(crate) fn record_detached(&mut self, out: &mut Out) {
        if self.is_durable {
            self.record_detached_at(out.now.wall_ms, &mut out.records);
        }
    }

    /// The same for another moment.
    pub(crate) fn record_detached_at(&mut self, at_ms: u64, records: &mut Recorder) {
        let mut inflight = Vec::new();
        for entry in self.inflight.iter() {
            // Those of QoS 2 were recorded before they left.
            if let Phase::Published(delivery) = &entry.phase
                && delivery.qos == QoS::AtLeastOnce
                && delivery.step > 0
            {
                record::put_inflight(&mut inflight, delivery.step, entry.packet_id);
            }
        }
        let (session, step) = (self.number, self.next_step());
        let keeps_will = self.will.is_some();
        let inflight = record::Inflight::of(&inflight);
        records.put(&Record::Detached { session, step, at_ms, keeps_will, inflight });
    }

    /// Records that the Will is published, or has no business any more.
    pub(crate) fn record_will_done(&mut self, out: &mut Out) {
        if self.is_durable || self.is_will_recorded {
            // In one frame with what is published.
            out.records.begin_message();
            let (session, step) = (self.number, self.next_step());
            out.records.put(&Record::WillDone { session, step });
        }
    }

    /// Records that nothing of the session survives any more, if something did.
    pub(crate) fn record_end(&mut self, out: &mut Out) {
        if std::mem::take(&mut self.is_durable) | std::mem::take(&mut self.is_will_recorded) {
            let (session, step) = (self.number, self.next_step());
            out.records.put(&Record::SessionEnd { session, step });
            if out.records.is_on() {
                out.broker.gone.add(session, step, out.broker.gates());
            }
        }
    }

    pub(crate) fn record_subscription(&mut self, subscription: &Subscription, out: &mut Out) {
        let (session, step) = (self.number, self.next_step());
        out.records.put_awaited(&subscription.record(session, step));
    }

    /// The session is through with a message, if that is recorded at all.
    pub(crate) fn record_removed(&mut self, message: u64, why: Removal, out: &mut Out) {
        if message > 0 && self.is_durable {
            let (number, shown_until) = (self.number, self.shown_until);
            out.records.removed(number, shown_until, || self.next_step(), why, message);
        }
    }

    /// PUBREL waits until it is safe that the message is the client's: else a crash would bring PUBLISH
    /// back to a client that has forgotten it.
    pub(super) fn hold_pubrel(&mut self, packet_id: PacketId, out: &mut Out) {
        match (self.put_released(packet_id, out), &self.connection) {
            (Some(dependency), Some(_)) => drop(self.inflight.hold(packet_id, dependency)),
            (_, Some(_)) => self.send_pubrel(packet_id, out),
            (_, None) => {}
        }
    }

    /// The same for one that is to be sent when its turn comes, among those that are sent again.
    pub(super) fn hold_pubrel_in_turn(&mut self, packet_id: PacketId, out: &mut Out) {
        let held = self.put_released(packet_id, out);
        if let Some(entry) = self.inflight.find_mut(packet_id) {
            entry.held = held.map(Box::new);
        }
    }

    /// Returns what PUBREL has to wait for; the connection is woken then.
    fn put_released(&mut self, packet_id: PacketId, out: &mut Out) -> Option<Dependency> {
        let (session, step) = (self.number, self.next_step());
        out.records.put(&Record::Released { session, step, packet_id });
        let dependency = out.records.session_dependency()?;
        if let (Some(store), Some(connection)) = (out.records.store(), &self.connection) {
            dependency.wake(&connection.sink, &**store);
        }
        Some(dependency)
    }
}
