//! Flow: the QoS 1 and 2 exchanges of one client, in both directions (MQTT 5.0, 4.3).

use std::collections::{HashSet, VecDeque};

use broker_codec::{Ack, Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, ReasonCode};

/// Exchanges under way.
#[derive(Debug)]
pub(super) struct Flow {
    /// Oldest first; servers acknowledge in that order, so a search ends at once.
    outgoing: VecDeque<Outgoing>,
    outgoing_max: usize,
    /// QoS 2 messages received but not released.
    incoming: HashSet<PacketId>,
    last_packet_id: u16,
    is_receiving: bool,
}

#[derive(Debug)]
struct Outgoing {
    packet_id: PacketId,
    tag: u64,
    awaits: Awaits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// PUBACK.
    Acknowledgement,
    /// PUBREC.
    Receipt,
    /// PUBCOMP.
    Completion,
}

/// How the exchange of a published message ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Acknowledged<'a> {
    pub(super) tag: u64,
    pub(super) code: ReasonCode,
    pub(super) text: Option<&'a str>,
}

impl Flow {
    pub(super) fn new(outgoing_max: usize) -> Self {
        Self {
            outgoing: VecDeque::new(),
            outgoing_max: outgoing_max.clamp(1, usize::from(u16::MAX)),
            incoming: HashSet::new(),
            last_packet_id: 0,
            is_receiving: true,
        }
    }

    /// The server's Receive Maximum [MQTT-3.3.4-9].
    pub(super) fn apply_receive_maximum(&mut self, receive_maximum: Option<u16>) {
        let max = receive_maximum.unwrap_or(u16::MAX);
        self.outgoing_max = self.outgoing_max.min(usize::from(max));
    }

    pub(super) fn has_quota(&self) -> bool {
        self.outgoing.len() < self.outgoing_max
    }

    pub(super) fn n_outgoing(&self) -> usize {
        self.outgoing.len()
    }

    pub(super) fn n_incoming(&self) -> usize {
        self.incoming.len()
    }

    pub(super) fn stop_receiving(&mut self) {
        self.is_receiving = false;
    }

    /// A Packet Identifier that is not in use.
    pub(super) fn next_packet_id(&mut self) -> PacketId {
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            let Some(id) = PacketId::new(self.last_packet_id) else { continue };
            // As many comparisons as there are exchanges under way, which -M keeps few.
            if self.outgoing.iter().all(|it| it.packet_id != id) {
                return id;
            }
        }
    }

    /// Starts the exchange of a message.
    pub(super) fn start(&mut self, qos: QoS, tag: u64) -> PacketId {
        let packet_id = self.next_packet_id();
        let awaits =
            if qos == QoS::ExactlyOnce { Awaits::Receipt } else { Awaits::Acknowledgement };
        self.outgoing.push_back(Outgoing { packet_id, tag, awaits });
        packet_id
    }

    /// Acknowledges a message; false if the user must not see it (again).
    pub(super) fn handle_publish(
        &mut self,
        publish: &Publish<'_>,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) -> bool {
        if !self.is_receiving {
            return false;
        }
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => Packet::PubAck(success(id)).encode(version, out),
            (QoS::ExactlyOnce, Some(id)) => {
                Packet::PubRec(success(id)).encode(version, out);
                // Until PUBREL the same identifier is the same message [MQTT-4.3.3-10].
                return self.incoming.insert(id);
            }
            _ => {}
        }
        true
    }

    pub(super) fn handle_puback<'a>(&mut self, ack: &Ack<'a>) -> Option<Acknowledged<'a>> {
        self.finish(ack, Awaits::Acknowledgement)
    }

    pub(super) fn handle_pubrec<'a>(
        &mut self,
        ack: &Ack<'a>,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) -> Option<Acknowledged<'a>> {
        if ack.reason_code.is_error() {
            return self.finish(ack, Awaits::Receipt);
        }
        let mut release = success(ack.packet_id);
        match self.outgoing.iter_mut().find(|it| it.packet_id == ack.packet_id) {
            Some(outgoing) => outgoing.awaits = Awaits::Completion,
            None => release.reason_code = ReasonCode::PacketIdentifierNotFound,
        }
        Packet::PubRel(release).encode(version, out);
        None
    }

    pub(super) fn handle_pubcomp<'a>(&mut self, ack: &Ack<'a>) -> Option<Acknowledged<'a>> {
        self.finish(ack, Awaits::Completion)
    }

    pub(super) fn handle_pubrel(
        &mut self,
        ack: &Ack<'_>,
        version: ProtocolVersion,
        out: &mut Vec<u8>,
    ) {
        // A session may hold exchanges that an earlier run of this client began: 3.1.1 has no way to say no.
        let mut complete = success(ack.packet_id);
        if !self.incoming.remove(&ack.packet_id) {
            complete.reason_code = ReasonCode::PacketIdentifierNotFound;
        }
        Packet::PubComp(complete).encode(version, out);
    }

    fn finish<'a>(&mut self, ack: &Ack<'a>, awaits: Awaits) -> Option<Acknowledged<'a>> {
        let is_it = |it: &Outgoing| it.packet_id == ack.packet_id && it.awaits == awaits;
        let at = self.outgoing.iter().position(is_it)?;
        let tag = self.outgoing.remove(at)?.tag;
        Some(Acknowledged { tag, code: ack.reason_code, text: ack.properties.reason_string() })
    }
}

fn success<'a>(packet_id: PacketId) -> Ack<'a> {
    Ack { packet_id, reason_code: ReasonCode::Success, properties: Properties::EMPTY }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V5: ProtocolVersion = ProtocolVersion::V5;

    fn id(id: u16) -> PacketId {
        PacketId::new(id).unwrap()
    }

    fn publish(qos: QoS, packet_id: u16) -> Publish<'static> {
        Publish {
            dup: false,
            qos,
            retain: false,
            topic: "a",
            packet_id: PacketId::new(packet_id),
            properties: Properties::EMPTY,
            payload: b"",
        }
    }

    /// [MQTT-4.3.3-2] [MQTT-4.3.3-4]
    #[test]
    fn qos_2_message_is_done_at_pubcomp() {
        let mut flow = Flow::new(1);
        let mut out = Vec::new();
        let packet_id = flow.start(QoS::ExactlyOnce, 7);
        assert!(!flow.has_quota());
        assert_eq!(flow.handle_pubcomp(&success(packet_id)), None);
        assert_eq!(flow.handle_pubrec(&success(packet_id), V5, &mut out), None);
        assert_eq!(out, [0x62, 2, 0, 1]);
        let done = Acknowledged { tag: 7, code: ReasonCode::Success, text: None };
        assert_eq!(flow.handle_pubcomp(&success(packet_id)), Some(done));
        assert!(flow.has_quota());
    }

    /// [MQTT-4.3.3-4]: no PUBREL after an error
    #[test]
    fn pubrec_with_error_ends_the_exchange() {
        let mut flow = Flow::new(1);
        let mut out = Vec::new();
        let mut ack = success(flow.start(QoS::ExactlyOnce, 7));
        ack.reason_code = ReasonCode::QuotaExceeded;
        let done = Acknowledged { tag: 7, code: ReasonCode::QuotaExceeded, text: None };
        assert_eq!(flow.handle_pubrec(&ack, V5, &mut out), Some(done));
        assert!(out.is_empty());
    }

    /// [MQTT-4.3.3-10]
    #[test]
    fn qos_2_duplicate_is_acknowledged_but_not_shown() {
        let mut flow = Flow::new(1);
        let mut out = Vec::new();
        assert!(flow.handle_publish(&publish(QoS::ExactlyOnce, 9), V5, &mut out));
        assert!(!flow.handle_publish(&publish(QoS::ExactlyOnce, 9), V5, &mut out));
        assert_eq!(out, [0x50, 2, 0, 9, 0x50, 2, 0, 9]);
        flow.handle_pubrel(&success(id(9)), V5, &mut out);
        assert!(flow.handle_publish(&publish(QoS::ExactlyOnce, 9), V5, &mut out));
    }

    #[test]
    fn message_after_stop_is_left_to_the_server() {
        let mut flow = Flow::new(1);
        let mut out = Vec::new();
        flow.stop_receiving();
        assert!(!flow.handle_publish(&publish(QoS::AtLeastOnce, 9), V5, &mut out));
        assert!(out.is_empty());
    }

    /// [MQTT-2.2.1-3]
    #[test]
    fn packet_ids_skip_zero_and_those_in_use() {
        let mut flow = Flow::new(2);
        assert_eq!(flow.start(QoS::AtLeastOnce, 0), id(1));
        flow.last_packet_id = u16::MAX - 1;
        assert_eq!(flow.start(QoS::AtLeastOnce, 0), id(u16::MAX));
        assert_eq!(flow.next_packet_id(), id(2));
    }
}
