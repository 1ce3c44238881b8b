//! Inflight window: QoS 1 and 2 messages sent and not yet acknowledged.

use std::collections::VecDeque;

use broker_codec::PacketId;

use super::packet_id::PacketIds;
use super::queue::Delivery;

/// Messages in the order they were first sent.
#[derive(Default)]
pub(crate) struct Inflight {
    /// Made for the first message: most sessions never have one.
    window: Option<Box<Window>>,
}

#[derive(Default)]
struct Window {
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
        self.window.as_ref().map_or(0, |window| window.entries.len())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.window.iter_mut().flat_map(|window| window.entries.iter_mut())
    }

    /// An identifier for a message that is sent now, and its place among those handed out.
    pub(crate) fn reserve(&mut self) -> (PacketId, u32) {
        let Window { entries, ids, .. } = &mut **self.window.get_or_insert_default();
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
        let entry = Entry { packet_id, step, phase, sent_at_ms: now_ms, in_window: true };
        self.window.get_or_insert_default().entries.push_back(entry);
    }

    pub(crate) fn find_mut(&mut self, packet_id: PacketId) -> Option<&mut Entry> {
        self.window.as_mut()?.entries.iter_mut().find(|entry| entry.packet_id == packet_id)
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
        let window = self.window.as_mut()?;
        let at = window.entries.iter().position(|entry| entry.packet_id == packet_id)?;
        if !is_due(&window.entries[at].phase) {
            return None;
        }
        if window.resend_left > 0 {
            if at < window.resend_at {
                window.resend_at -= 1;
            } else {
                window.resend_left -= 1;
            }
        }
        window.entries.remove(at)
    }

    /// Removes all messages that `filter` picks, in order. Not while some are still to be resent: where the
    /// next one stands is forgotten, until [`start_over`](Self::start_over).
    pub(crate) fn extract(&mut self, filter: impl Fn(&Entry) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let Some(window) = &mut self.window else { return taken };
        window.resend_left = 0;
        for entry in std::mem::take(&mut window.entries) {
            if filter(&entry) {
                if let Phase::Published(delivery) = entry.phase {
                    taken.push(delivery);
                }
            } else {
                window.entries.push_back(entry);
            }
        }
        taken
    }

    /// A new connection: everything is owed once more [MQTT-4.4.0-1].
    pub(crate) fn start_over(&mut self) {
        if let Some(window) = &mut self.window {
            window.resend_at = 0;
            window.resend_left = window.entries.len();
            window.entries.iter_mut().for_each(|entry| entry.in_window = false);
        }
    }

    /// The next entry to send again, if there is one.
    pub(crate) fn next_resend(&self) -> Option<&Entry> {
        let window = self.window.as_ref().filter(|window| window.resend_left > 0)?;
        window.entries.get(window.resend_at)
    }

    /// The entry of [`next_resend`](Self::next_resend) was sent.
    pub(crate) fn resent(&mut self, now_ms: u64) {
        if let Some(window) = &mut self.window {
            let entry = &mut window.entries[window.resend_at];
            (entry.sent_at_ms, entry.in_window) = (now_ms, true);
            window.resend_at += 1;
            window.resend_left -= 1;
        }
    }

    /// True while messages of an earlier connection must go first.
    pub(crate) fn is_resending(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.resend_left > 0)
    }
}
