//! Window: messages sent and not settled, in their order, across connections.

use std::collections::VecDeque;

use broker_codec::PacketId;

use crate::sink::Item;

/// What has become of a message that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Sent on the connection of that number, or on an earlier one.
    Sent(u64),
    Taken,
    Refused(String),
}

#[derive(Debug)]
pub(super) struct Sent {
    /// Kept, so that its bytes stay where they are: that is how it is known again.
    item: Item,
    pub(super) packet_id: PacketId,
    pub(super) fate: Fate,
}

/// Oldest first, and the same as the first items of a batch.
#[derive(Debug, Default)]
pub(super) struct Window {
    sent: VecDeque<Sent>,
    last_id: u16,
}

impl Window {
    /// Forgets what does not come again: it was dropped on the way.
    pub(super) fn align(&mut self, items: &[Item]) {
        let is_same = |sent: &Sent, item: &Item| {
            sent.item.bytes.as_ptr() == item.bytes.as_ptr() && sent.item == *item
        };
        while let (Some(first), Some(item)) = (self.sent.front(), items.first())
            && !is_same(first, item)
        {
            self.sent.pop_front();
        }
        let n_same = self.sent.iter().zip(items).take_while(|(a, b)| is_same(a, b)).count();
        self.sent.truncate(n_same);
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Sent> {
        self.sent.get_mut(at)
    }

    /// Messages that are on their way on this connection.
    pub(super) fn n_on_their_way(&self, connection: u64) -> usize {
        self.sent.iter().filter(|it| it.fate == Fate::Sent(connection)).count()
    }

    /// Adds a message and gives it a Packet Identifier that no other has.
    pub(super) fn add(&mut self, item: &Item, connection: u64) -> PacketId {
        let packet_id = loop {
            self.last_id = self.last_id.wrapping_add(1);
            let Some(id) = PacketId::new(self.last_id) else { continue };
            // The oldest are the only ones that a number can come round to.
            if self.sent.iter().all(|it| it.packet_id != id) {
                break id;
            }
        };
        self.sent.push_back(Sent { item: item.clone(), packet_id, fate: Fate::Sent(connection) });
        packet_id
    }

    /// An acknowledgement has come.
    pub(super) fn settle(&mut self, packet_id: u16, fate: Fate) {
        let sent = self.sent.iter_mut().find(|it| it.packet_id.get() == packet_id);
        if let Some(sent) = sent
            && matches!(sent.fate, Fate::Sent(_))
        {
            sent.fate = fate;
        }
    }

    /// Takes the oldest out if its fate is known.
    pub(super) fn pop_settled(&mut self) -> Option<Fate> {
        let is_settled = |sent: &Sent| !matches!(sent.fate, Fate::Sent(_));
        if !self.sent.front().is_some_and(is_settled) {
            return None;
        }
        self.sent.pop_front().map(|sent| sent.fate)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sink::Owner;

    fn items(n: u8) -> Vec<Item> {
        let item =
            |id| Item { pushed_ms: 0, owner: Owner::nobody(), bytes: Bytes::from(vec![id; 3]) };
        (0..n).map(item).collect()
    }

    #[test]
    fn acknowledgements_settle_in_the_order_of_the_messages() {
        let (mut window, items) = (Window::default(), items(3));
        let ids: Vec<_> = items.iter().map(|item| window.add(item, 1).get()).collect();
        window.settle(ids[1], Fate::Taken);
        assert_eq!(window.pop_settled(), None);
        window.settle(ids[0], Fate::Refused("why".to_owned()));
        // The first word counts.
        window.settle(ids[0], Fate::Taken);
        assert_eq!(window.pop_settled(), Some(Fate::Refused("why".to_owned())));
        assert_eq!(window.pop_settled(), Some(Fate::Taken));
        assert_eq!((window.pop_settled(), window.sent.len()), (None, 1));
        assert_eq!((window.n_on_their_way(1), window.n_on_their_way(2)), (1, 0));
    }

    #[test]
    fn what_was_dropped_meanwhile_is_forgotten() {
        let (mut window, items) = (Window::default(), items(4));
        for item in &items[..3] {
            window.add(item, 1);
        }
        window.align(&items[1..]);
        assert_eq!(window.sent.len(), 2);
        window.align(&items[1..2]);
        assert_eq!(window.sent.len(), 1);
        // The same bytes somewhere else are another message.
        let copy = Item { bytes: Bytes::copy_from_slice(&items[1].bytes), ..items[1].clone() };
        window.align(&[copy]);
        assert_eq!(window.sent.len(), 0);
    }

    #[test]
    fn identifiers_come_round_and_are_never_in_use_twice() {
        let (mut window, items) = (Window::default(), items(2));
        let held = window.add(&items[0], 1);
        for _ in 0..70_000 {
            let id = window.add(&items[1], 1);
            assert_ne!(id, held);
            window.sent.pop_back();
        }
    }
}
