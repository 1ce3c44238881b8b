//! Sending: packets on their way into the outbox of a connection, within what its client takes.

use broker_codec::{
    Ack, Packet, PacketId, Properties, PublishHeader, ReasonCode, encode_publish, publish_len,
};
use bytes::Bytes;

use super::connection::{Aliases, Connection};
use crate::client::ClientInfo;
use crate::metrics::Metric;
use crate::traces::{Happening, TraceEventKind, describe};
use crate::turn::Out;

/// An outgoing PUBLISH before it is encoded.
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    /// The payload again, if it may be sent from where it lies.
    pub(super) shared: Option<&'a Bytes>,
    pub(super) header: PublishHeader<'a>,
}

/// What became of an attempt to send.
pub(super) enum Sent {
    /// It is in the outbox.
    Yes,
    /// It is larger than the client takes [MQTT-3.1.2-24]: as if it had been sent [MQTT-3.1.2-25].
    TooLarge,
}

impl Connection {
    /// True if a packet is not larger than the client takes [MQTT-3.1.2-24]; else it is counted.
    pub(super) fn takes(&self, outgoing: &Outgoing<'_>, out: &mut Out) -> bool {
        let (topic, payload) = (outgoing.topic.len(), outgoing.payload.len());
        let takes = self.fits(publish_len(self.version, &outgoing.header, topic, payload));
        if !takes {
            out.counters.inc(Metric::DroppedTooLarge);
        }
        takes
    }

    /// True if the client takes a packet of so many bytes [MQTT-3.1.2-24].
    pub(super) const fn fits(&self, len: usize) -> bool {
        len <= self.max_packet_size as usize
    }

    /// True if nothing more is put into the outbox: what can wait does.
    pub(super) fn is_outbox_full(&self) -> bool {
        self.outbox.len() >= self.max_outbox_bytes
    }

    pub(super) fn send(&mut self, mut outgoing: Outgoing<'_>, out: &mut Out) -> Sent {
        let mut topic = outgoing.topic;
        let len = publish_len(self.version, &outgoing.header, topic.len(), outgoing.payload.len());
        if !self.fits(len) {
            out.counters.inc(Metric::DroppedTooLarge);
            return Sent::TooLarge;
        }
        if let Some(aliases) = &mut self.aliases {
            match aliases.alias(topic) {
                Some((alias, Known::Yes)) => {
                    outgoing.header.topic_alias = Some(alias);
                    topic = "";
                }
                // Naming the alias beside the topic takes three bytes more, which must fit too.
                Some((alias, Known::No)) if len + 3 + 8 <= self.max_packet_size as usize => {
                    aliases.remember(topic, alias);
                    outgoing.header.topic_alias = Some(alias);
                }
                _ => {}
            }
        }
        let share = outgoing.shared.filter(|payload| payload.len() >= SHARE_FROM_BYTES);
        let buffer = self.outbox.buffer(&mut out.pool);
        let before = buffer.len();
        encode_publish(buffer, self.version, &outgoing.header, topic, outgoing.payload.len());
        if share.is_none() {
            buffer.extend_from_slice(outgoing.payload);
        }
        let grown = buffer.len() - before;
        self.outbox.grown(grown);
        if let Some(payload) = share {
            self.outbox.append_shared(payload.clone());
        }
        self.count_sent(&outgoing.header, outgoing.topic, len, out);
        Sent::Yes
    }

    /// Like `send` for a message that many get alike: its frame is encoded once and copied.
    pub(super) fn send_frame(&mut self, outgoing: &Outgoing<'_>, out: &mut Out) -> Sent {
        let Outgoing { topic, payload, shared, header } = outgoing;
        let (frame, _) = if shared.is_some() {
            out.frames.get_head(self.version, header, topic, payload.len())
        } else {
            out.frames.get(self.version, header, topic, payload)
        };
        let len = frame.len() + shared.map_or(0, |payload| payload.len());
        if !self.fits(len) {
            out.counters.inc(Metric::DroppedTooLarge);
            return Sent::TooLarge;
        }
        let buffer = self.outbox.buffer(&mut out.pool);
        let first = buffer.len();
        buffer.extend_from_slice(frame);
        // The frame may come from a subscriber with other RETAIN terms.
        buffer[first] = (buffer[first] & !1) | u8::from(header.retain);
        let grown = frame.len();
        self.outbox.grown(grown);
        if let Some(payload) = shared {
            self.outbox.append_shared((*payload).clone());
        }
        self.count_sent(header, topic, len, out);
        Sent::Yes
    }

    pub(super) fn send_pubrel(&mut self, packet_id: PacketId, client: &ClientInfo, out: &mut Out) {
        let ack =
            Ack { packet_id, reason_code: ReasonCode::Success, properties: Properties::EMPTY };
        let buffer = self.outbox.buffer(&mut out.pool);
        let before = buffer.len();
        let pubrel = Packet::PubRel(ack);
        pubrel.encode(self.version, buffer);
        let grown = buffer.len() - before;
        self.outbox.grown(grown);
        self.sent.packets += 1;
        out.counters.inc(Metric::PacketsPubRelSent);
        if out.tracer.is_on() {
            let happening = Happening::to(client, TraceEventKind::Sent);
            out.tracer.tell(out.now, &happening, format_args!("{}", describe(&pubrel)));
        }
    }

    fn count_sent(&mut self, header: &PublishHeader<'_>, topic: &str, len: usize, out: &mut Out) {
        self.sent.packets += 1;
        self.sent.messages += 1;
        out.dirty_bytes += len;
        if let Some(holdings) = &self.holdings {
            holdings.allowance.take_sent(len as u64, out.now.mono_ms);
        }
        if !is_sys(topic) {
            out.counters.inc(Metric::message_sent(header.qos));
        }
    }
}

/// `$SYS/…` is not counted as sent. The first byte decides for nearly all topics.
fn is_sys(topic: &str) -> bool {
    topic.as_bytes().first() == Some(&b'$') && topic.starts_with("$SYS/")
}

enum Known {
    Yes,
    No,
}

impl Aliases {
    /// The alias of a topic, or one that is free.
    fn alias(&self, topic: &str) -> Option<(u16, Known)> {
        // The property may take four bytes: for less it is no gain, and the packet could grow too large.
        if topic.len() < 4 {
            return None;
        }
        match self.by_topic.get(topic) {
            Some(alias) => Some((*alias, Known::Yes)),
            None if self.by_topic.len() < usize::from(self.maximum)
                && self.bytes + topic.len() <= ALIAS_BYTES_MAX =>
            {
                Some((self.by_topic.len() as u16 + 1, Known::No))
            }
            None => None,
        }
    }

    fn remember(&mut self, topic: &str, alias: u16) {
        self.bytes += topic.len();
        self.by_topic.insert(topic.into(), alias);
    }
}

/// Payloads from here on are shared with their message instead of copied into each outbox.
pub(super) const SHARE_FROM_BYTES: usize = 2 * 1024;

/// Bytes of topics that one client is given aliases for.
const ALIAS_BYTES_MAX: usize = 1 << 20;
