//! Inflight window: QoS 1 and 2 messages sent and not yet acknowledged.

use std::collections::VecDeque;
use std::sync::Arc;

use broker_codec::{PacketId, QoS};

use super::packet_id::PacketIds;
use super::queue::{Delivery, Kept};
use crate::clock::Now;
use crate::message::Message;
use crate::store::{Dependency, Store};
use crate::turn::Out;

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
    /// Packets kept back until the store has their records, in the order they are to leave in.
    held: VecDeque<PacketId>,
    /// What the entries are accounted with.
    charged: usize,
}

pub(crate) struct Entry {
    pub(crate) packet_id: PacketId,
    step: u32,
    /// What it is accounted with until it goes: its share of the message when it came.
    charged: u32,
    pub(crate) phase: Phase,
    pub(crate) sent_at_ms: u64,
    /// When the PUBLISH first left in the present connection, in microseconds; 0 if it has not.
    pub(crate) first_sent_us: u64,
    /// It was sent in the present connection and so takes up one of the client's Receive Maximum.
    pub(crate) in_window: bool,
    /// The PUBLISH has left at least once: the next one is a duplicate.
    pub(crate) was_sent: bool,
    /// What the next packet of the exchange must wait for (docs/durability.md: exactly once).
    pub(crate) held: Option<Box<Dependency>>,
}

/// How far the exchange has come.
pub(crate) enum Phase {
    /// PUBLISH sent; PUBACK or PUBREC is owed by the client.
    Published(Delivery),
    /// PUBREC came, PUBREL sent; the message is the client's, PUBCOMP is owed by it.
    Released,
}

impl Entry {
    /// The step of a retained message that has yet to leave for the first time, and that another has replaced
    /// meanwhile.
    pub(crate) fn outdated_copy(&self, out: &Out) -> Option<u64> {
        match &self.phase {
            Phase::Published(delivery) if !self.was_sent => {
                delivery.is_outdated_copy(out).then_some(delivery.step)
            }
            _ => None,
        }
    }
}

/// A message that many hold counts little for each of them.
fn charge_of(delivery: &Delivery) -> u32 {
    // Whoever routes it holds it too, for a moment.
    let holders = |message: &Arc<Message>| (Arc::strong_count(message) - 1).max(1);
    let share = |message: &Arc<Message>| message.weight() / holders(message);
    let bytes = size_of::<Entry>() + delivery.message.here().map_or(0, share);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Inflight {
    pub(crate) fn len(&self) -> usize {
        self.window.as_ref().map_or(0, |window| window.entries.len())
    }

    /// Bytes it is accounted with.
    pub(crate) fn charged(&self) -> usize {
        self.window.as_ref().map_or(0, |window| window.charged)
    }

    /// Messages that have yet to leave in the present connection.
    pub(crate) fn unsent(&self) -> usize {
        self.window.as_ref().map_or(0, |window| window.resend_left + window.held.len())
    }

    /// Bytes of memory it takes, its messages included, whoever else holds them.
    ///
    /// Cost: a look at each message.
    pub(crate) fn heap_bytes(&self) -> usize {
        let Some(window) = &self.window else { return 0 };
        let messages = self.deliveries().filter_map(|delivery| delivery.message.here());
        size_of::<Window>()
            + window.entries.capacity() * size_of::<Entry>()
            + messages.map(|message| message.weight()).sum::<usize>()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.window.iter().flat_map(|window| window.entries.iter())
    }

    /// Messages that were sent and not taken over by the client.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.iter().filter_map(|entry| match &entry.phase {
            Phase::Published(delivery) => Some(delivery),
            Phase::Released => None,
        })
    }

    /// The same, to be changed.
    pub(crate) fn deliveries_mut(&mut self) -> impl Iterator<Item = &mut Delivery> {
        self.iter_mut().filter_map(|entry| match &mut entry.phase {
            Phase::Published(delivery) => Some(delivery),
            Phase::Released => None,
        })
    }

    /// Puts a message that was read back where it belongs.
    pub(crate) fn fill_in(&mut self, step: u64, message: Kept) {
        for entry in self.iter_mut() {
            if let Phase::Published(delivery) = &mut entry.phase
                && delivery.step == step
            {
                delivery.message = message;
                return;
            }
        }
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
        held: Option<Dependency>,
        now: Now,
    ) {
        let window = self.window.get_or_insert_default();
        if held.is_some() {
            window.held.push_back(packet_id);
        }
        let charged = charge_of(&delivery);
        window.charged += charged as usize;
        window.entries.push_back(Entry {
            packet_id,
            step,
            charged,
            phase: Phase::Published(delivery),
            sent_at_ms: now.mono_ms,
            first_sent_us: if held.is_none() { now.mono_us() } else { 0 },
            in_window: true,
            was_sent: held.is_none(),
            held: held.map(Box::new),
        });
    }

    /// Puts back what an earlier run of the broker left open.
    pub(crate) fn restore(&mut self, packet_id: PacketId, phase: Phase, was_sent: bool) {
        let window = self.window.get_or_insert_default();
        // Every identifier in use is asked for from now on, until these have gone.
        window.ids.restore(packet_id);
        let charged = match &phase {
            Phase::Published(delivery) => charge_of(delivery),
            Phase::Released => size_of::<Entry>() as u32,
        };
        window.charged += charged as usize;
        window.entries.push_back(Entry {
            packet_id,
            step: 0,
            charged,
            phase,
            sent_at_ms: 0,
            first_sent_us: 0,
            in_window: false,
            was_sent,
            held: None,
        });
    }

    /// Keeps the next packet of an exchange back. Returns false if there is no such exchange.
    pub(crate) fn hold(&mut self, packet_id: PacketId, dependency: Dependency) -> bool {
        let Some(window) = &mut self.window else { return false };
        let Some(entry) = window.entries.iter_mut().find(|e| e.packet_id == packet_id) else {
            return false;
        };
        entry.held = Some(Box::new(dependency));
        window.held.push_back(packet_id);
        true
    }

    /// What the packet waits for that was kept back last; with `of_qos1`, only if a message of QoS 1 is among
    /// those kept back.
    pub(crate) fn last_held(&self, of_qos1: bool) -> Option<Dependency> {
        let is_qos1 = |entry: &Entry| {
            entry.held.is_some()
                && matches!(&entry.phase, Phase::Published(d) if d.qos == QoS::AtLeastOnce)
        };
        if of_qos1 && !self.iter().any(is_qos1) {
            return None;
        }
        self.window.as_ref()?.entries.iter().rev().find_map(|entry| entry.held.as_deref().cloned())
    }

    /// True if packets are kept back.
    pub(crate) fn has_held(&self) -> bool {
        self.window.as_ref().is_some_and(|window| !window.held.is_empty())
    }

    /// The exchange whose packet was kept back first, if its record is safe by now.
    pub(crate) fn next_safe(&mut self, store: &dyn Store) -> Option<&mut Entry> {
        let window = self.window.as_mut()?;
        let Window { entries, held, .. } = &mut **window;
        let at = loop {
            // The exchange may be over, or the packet have left another way.
            let place = entries.iter().position(|e| Some(&e.packet_id) == held.front());
            match place.filter(|at| entries[*at].held.is_some()) {
                Some(at) => break at,
                None => held.pop_front()?,
            };
        };
        if !entries[at].held.as_ref()?.is_safe(store) {
            return None;
        }
        held.pop_front();
        entries[at].held = None;
        Some(&mut entries[at])
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
        let removed = window.entries.remove(at);
        window.charged -= removed.as_ref().map_or(0, |entry| entry.charged as usize);
        removed
    }

    /// Removes all messages that `filter` picks, in order. Not while some are still to be resent: where the
    /// next one stands is forgotten, until [`start_over`](Self::start_over).
    pub(crate) fn extract(&mut self, filter: impl Fn(&Entry) -> bool) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let Some(window) = &mut self.window else { return taken };
        window.resend_left = 0;
        for entry in std::mem::take(&mut window.entries) {
            if filter(&entry) {
                window.charged -= entry.charged as usize;
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
            window.held.clear();
            window.resend_left = window.entries.len();
            for entry in &mut window.entries {
                (entry.in_window, entry.first_sent_us) = (false, 0);
            }
        }
    }

    /// The next entry to send again, if there is one.
    pub(crate) fn next_resend(&self) -> Option<&Entry> {
        let window = self.window.as_ref().filter(|window| window.resend_left > 0)?;
        window.entries.get(window.resend_at)
    }

    /// The entry of [`next_resend`](Self::next_resend) was sent.
    pub(crate) fn resent(&mut self, now: Now) {
        if let Some(window) = &mut self.window {
            let entry = &mut window.entries[window.resend_at];
            (entry.sent_at_ms, entry.first_sent_us) = (now.mono_ms, now.mono_us());
            (entry.in_window, entry.was_sent) = (true, true);
            entry.held = None;
            window.resend_at += 1;
            window.resend_left -= 1;
        }
    }

    /// True while messages of an earlier connection must go first.
    pub(crate) fn is_resending(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.resend_left > 0)
    }
}
