//! Received: Packet Identifiers of QoS 2 messages that came in and are not yet released.

use std::collections::HashMap;
use std::sync::Arc;

use broker_codec::PacketId;
use foldhash::fast::RandomState;

use crate::store::{Dependency, Seal};

/// Method A of MQTT 5.0, figure 4.3: the message is passed on at once, its identifier remembered.
#[derive(Default)]
pub(crate) struct Received {
    /// Nothing is allocated before the first.
    ids: Option<Box<HashMap<PacketId, Entry, RandomState>>>,
}

/// One message.
pub(crate) struct Entry {
    /// When it came, on the monotonic clock.
    pub(crate) came_ms: u64,
    /// Its identifier stands in the store's log, and so must its release.
    pub(crate) is_recorded: bool,
    /// `None` while it is on its way through the router.
    pub(crate) routed: Option<Routed>,
}

/// What routing a message has left behind.
#[derive(Default)]
pub(crate) struct Routed {
    /// The frame with its records, if there are any.
    pub(crate) frame: Option<Arc<Seal>>,
    /// What its PUBREC waits for, and that of a duplicate.
    pub(crate) dependency: Option<Dependency>,
}

impl Received {
    pub(crate) fn len(&self) -> usize {
        self.ids.as_ref().map_or(0, |ids| ids.len())
    }

    /// Bytes of memory it takes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.ids.as_ref().map_or(0, |ids| {
            size_of::<HashMap<PacketId, Entry, RandomState>>()
                + ids.capacity() * size_of::<(PacketId, Entry)>()
        })
    }

    pub(crate) fn get(&self, id: PacketId) -> Option<&Entry> {
        self.ids.as_ref()?.get(&id)
    }

    /// A message has come and is to be routed.
    pub(crate) fn insert(&mut self, id: PacketId, came_ms: u64) {
        let entry = Entry { came_ms, is_recorded: false, routed: None };
        self.ids.get_or_insert_default().insert(id, entry);
    }

    /// A message has come and goes nowhere.
    pub(crate) fn insert_refused(&mut self, id: PacketId, came_ms: u64) {
        let entry = Entry { came_ms, is_recorded: false, routed: Some(Routed::default()) };
        self.ids.get_or_insert_default().insert(id, entry);
    }

    /// Puts an identifier back that the store had.
    pub(crate) fn restore(&mut self, id: PacketId, now_ms: u64) {
        let entry = Entry { came_ms: now_ms, is_recorded: true, routed: Some(Routed::default()) };
        self.ids.get_or_insert_default().insert(id, entry);
    }

    pub(crate) fn get_mut(&mut self, id: PacketId) -> Option<&mut Entry> {
        self.ids.as_mut()?.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: PacketId) -> Option<Entry> {
        self.ids.as_mut()?.remove(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = (PacketId, &Entry)> {
        self.ids.iter().flat_map(|ids| ids.iter().map(|(id, entry)| (*id, entry)))
    }

    /// Returns the identifiers of messages that were routed and whose records are in the log, as `is_ahead`
    /// says: they are recorded from now on, and no others.
    pub(crate) fn record_all(&mut self, is_ahead: impl Fn(&Arc<Seal>) -> bool) -> Vec<PacketId> {
        let mut recorded = Vec::new();
        for (id, entry) in self.ids.iter_mut().flat_map(|ids| ids.iter_mut()) {
            let routed = entry.routed.as_ref();
            entry.is_recorded = routed.is_some_and(|it| it.frame.as_ref().is_none_or(&is_ahead));
            if entry.is_recorded {
                recorded.push(*id);
            }
        }
        recorded
    }

    /// Forgets identifiers that came before `before_ms`; returns those that were recorded, and how many
    /// there were in all.
    pub(crate) fn expire(&mut self, before_ms: u64) -> (Vec<PacketId>, usize) {
        let Some(ids) = &mut self.ids else { return (Vec::new(), 0) };
        let len = ids.len();
        let mut recorded = Vec::new();
        ids.retain(|id, entry| {
            let stays = entry.came_ms >= before_ms;
            if !stays && entry.is_recorded {
                recorded.push(*id);
            }
            stays
        });
        (recorded, len - ids.len())
    }
}
