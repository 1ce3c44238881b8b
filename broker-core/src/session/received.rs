//! Received: Packet Identifiers of QoS 2 messages that came in and are not yet released.

use std::collections::HashMap;

use broker_codec::PacketId;
use foldhash::fast::RandomState;

/// Method A of MQTT 5.0, figure 4.3: the message is passed on at once, its identifier remembered.
#[derive(Default)]
pub(crate) struct Received {
    /// Identifier to the time it came; nothing is allocated before the first.
    ids: Option<Box<HashMap<PacketId, u64, RandomState>>>,
}

impl Received {
    pub(crate) fn len(&self) -> usize {
        self.ids.as_ref().map_or(0, |ids| ids.len())
    }

    pub(crate) fn contains(&self, id: PacketId) -> bool {
        self.ids.as_ref().is_some_and(|ids| ids.contains_key(&id))
    }

    pub(crate) fn insert(&mut self, id: PacketId, now_ms: u64) {
        self.ids.get_or_insert_default().insert(id, now_ms);
    }

    pub(crate) fn remove(&mut self, id: PacketId) -> bool {
        self.ids.as_mut().is_some_and(|ids| ids.remove(&id).is_some())
    }

    /// Forgets identifiers that came before `before_ms`. Returns how many.
    pub(crate) fn expire(&mut self, before_ms: u64) -> usize {
        let Some(ids) = &mut self.ids else { return 0 };
        let len = ids.len();
        ids.retain(|_, came_ms| *came_ms >= before_ms);
        len - ids.len()
    }
}
