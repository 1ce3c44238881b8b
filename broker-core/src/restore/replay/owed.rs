//! Messages that a session is owed, in the order of their steps.

use std::collections::VecDeque;
use std::sync::Arc;

use broker_codec::{PacketId, QoS};

use super::Place;
use crate::record::Ref;

/// They mostly come behind all others and go in front of them.
#[derive(Default)]
pub(in super::super) struct Owed(VecDeque<(u64, RefState)>);

/// A message that is owed.
pub(in super::super) struct RefState {
    pub(in super::super) body: Place,
    pub(in super::super) qos: QoS,
    pub(in super::super) retain: bool,
    pub(in super::super) is_copy: bool,
    pub(in super::super) identifiers: Option<Arc<[u32]>>,
    pub(in super::super) group: Option<Box<(Box<str>, Box<str>)>>,
    pub(in super::super) packet_id: Option<PacketId>,
    /// It may have reached the client under that identifier.
    pub(in super::super) was_sent: bool,
}

impl Owed {
    pub(super) fn insert(&mut self, step: u64, entry: RefState) {
        if self.0.back().is_none_or(|(last, _)| *last < step) {
            return self.0.push_back((step, entry));
        }
        match self.find(step) {
            Ok(at) => self.0[at].1 = entry,
            Err(at) => self.0.insert(at, (step, entry)),
        }
    }

    pub(super) fn remove(&mut self, step: u64) {
        if let Ok(at) = self.find(step) {
            self.0.remove(at);
        }
    }

    pub(super) fn get_mut(&mut self, step: u64) -> Option<&mut RefState> {
        let at = self.find(step).ok()?;
        Some(&mut self.0[at].1)
    }

    /// Removes the message that was sent under that identifier. Those that were sent stand in front: a long queue
    /// behind them is not looked through.
    pub(super) fn remove_sent(&mut self, packet_id: PacketId) {
        let is_it = |(_, entry): &(u64, RefState)| entry.packet_id == Some(packet_id);
        if let Some(at) = self.0.iter().position(is_it) {
            self.0.remove(at);
        }
    }

    fn find(&self, step: u64) -> Result<usize, usize> {
        match self.0.front() {
            Some((first, _)) if *first == step => Ok(0),
            _ => self.0.binary_search_by_key(&step, |(step, _)| *step),
        }
    }

    pub(in super::super) fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = &(u64, RefState)> + ExactSizeIterator {
        self.0.iter()
    }

    pub(in super::super) fn iter_mut(
        &mut self,
    ) -> impl DoubleEndedIterator<Item = &mut (u64, RefState)> {
        self.0.iter_mut()
    }
}

impl IntoIterator for Owed {
    type Item = (u64, RefState);
    type IntoIter = std::collections::vec_deque::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl RefState {
    pub(super) fn of(entry: &Ref<'_>, body: Place) -> Self {
        Self {
            body,
            qos: entry.qos,
            retain: entry.retain,
            is_copy: entry.is_copy,
            identifiers: (!entry.identifiers.is_empty())
                .then(|| entry.identifiers.as_slice().into()),
            group: entry.group.map(|(name, route)| Box::new((name.into(), route.into()))),
            packet_id: None,
            was_sent: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn entry(n: u64) -> RefState {
        RefState {
            body: (n, 1),
            qos: QoS::AtLeastOnce,
            retain: false,
            is_copy: false,
            identifiers: None,
            group: None,
            packet_id: None,
            was_sent: false,
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_order(steps in prop::collection::vec((0u64..30, any::<bool>()), 0..80)) {
            let mut owed = Owed::default();
            let mut model = BTreeMap::new();
            for (n, (step, comes)) in (0..).zip(steps) {
                if comes {
                    owed.insert(step, entry(n));
                    model.insert(step, n);
                } else {
                    owed.remove(step);
                    model.remove(&step);
                }
                prop_assert_eq!(owed.get_mut(step).map(|e| e.body.0), model.get(&step).copied());
            }
            let found: Vec<_> = owed.iter().map(|(step, entry)| (*step, entry.body.0)).collect();
            prop_assert_eq!(found, model.into_iter().collect::<Vec<_>>());
        }
    }
}
