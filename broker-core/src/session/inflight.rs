//! Inflight window: QoS 1 and 2 messages sent and not yet acknowledged.

use std::collections::VecDeque;

use broker_codec::PacketId;

use super::packet_id::PacketIds;
use super::queue::Delivery;

/// Messages in the order they were first sent.
#[derive(Default)]
pub(crate) struct Inflight {
    entries: VecDeque<Entry>,
    ids: PacketIds,
    /// Entries from here on were sent in an earlier connection and not yet again in this one.
    resend_at: usize,
    /// Entries that still have to be sent again.
    resend_left: usize,
}

pub(crate) struct Entry {
    pub(crate) packet_id: PacketId,
    step: u32,
    pub(crate) phase: Phase,
    pub(crate) sent_at_ms: u64,
    /// It was sent in the present connection and so takes up one of the client's Receive Maximum.
    pub(crate) in_window: bool,
}

/// How far the exchange has come.
pub(crate) enum Phase {
    /// PUBLISH sent; PUBACK or PUBREC is owed by the client.
    Published(Delivery),
    /// PUBREC came, PUBREL sent; the message is the client's, PUBCOMP is owed by it.
    Released,
}

impl Inflight {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut()
    }

    /// An identifier for a message that is sent now, and its place among those handed out.
    pub(crate) fn reserve(&mut self) -> (PacketId, u32) {
        let Self { entries, ids, .. } = self;
        let oldest = entries.front().map(|entry| entry.step);
        ids.next(oldest, |id| entries.iter().any(|entry| entry.packet_id == id))
    }

    /// Keeps a message that was sent until it is acknowledged.
    pub(crate) fn push(
        &mut self,
        (packet_id, step): (PacketId, u32),
        delivery: Delivery,
        now_ms: u64,
    ) {
        let phase = Phase::Published(delivery);
        self.entries.push_back(Entry {
            packet_id,
            step,
            phase,
            sent_at_ms: now_ms,
            in_window: true,
        });
    }

    fn position(&self, packet_id: PacketId) -> Option<usize> {
        self.entries.iter().position(|entry| entry.packet_id == packet_id)
    }

    pub(crate) fn find_mut(&mut self, packet_id: PacketId) -> Option<&mut Entry> {
        let at = self.position(packet_id)?;
        self.entries.get_mut(at)
    }

    pub(crate) fn remove(&mut self, packet_id: PacketId) -> Option<Entry> {
        self.remove_if(packet_id, |_| true)
    }

    /// Removes the entry of an identifier if its exchange has come so far.
    pub(crate) fn remove_if(
        &mut self,
        packet_id: PacketId,
        is_due: impl FnOnce(&Phase) -> bool,
    ) -> Option<Entry> {
        let at = self.position(packet_id)?;
        if !is_due(&self.entries[at].phase) {
            return None;
        }
        if self.resend_left > 0 {
            if at < self.resend_at {
                self.resend_at -= 1;
            } else {
                self.resend_left -= 1;
            }
        }
        self.entries.remove(at)
    }

    /// Removes all messages that `filter` picks, in order. Not while some are still to be resent: where the
    /// next one stands is forgotten, until [`start_over`](Self::start_over).
    pub(crate) fn extract(&mut self, filter: impl Fn(&Entry) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        self.resend_left = 0;
        for entry in std::mem::take(&mut self.entries) {
            if filter(&entry) {
                if let Phase::Published(delivery) = entry.phase {
                    taken.push(delivery);
                }
            } else {
                self.entries.push_back(entry);
            }
        }
        taken
    }

    /// A new connection: everything is owed once more [MQTT-4.4.0-1].
    pub(crate) fn start_over(&mut self) {
        self.resend_at = 0;
        self.resend_left = self.entries.len();
        self.entries.iter_mut().for_each(|entry| entry.in_window = false);
    }

    /// The next entry to send again, if there is one.
    pub(crate) fn next_resend(&self) -> Option<&Entry> {
        (self.resend_left > 0).then(|| &self.entries[self.resend_at])
    }

    /// The entry of [`next_resend`](Self::next_resend) was sent.
    pub(crate) fn resent(&mut self, now_ms: u64) {
        let entry = &mut self.entries[self.resend_at];
        (entry.sent_at_ms, entry.in_window) = (now_ms, true);
        self.resend_at += 1;
        self.resend_left -= 1;
    }

    /// True while messages of an earlier connection must go first.
    pub(crate) fn is_resending(&self) -> bool {
        self.resend_left > 0
    }
}
