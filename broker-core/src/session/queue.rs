//! Queue of one session: messages that wait for the client, or for its window.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use broker_codec::QoS;

use crate::config::ZoneConfig;
use crate::message::Message;
use crate::router::share_group::ShareGroup;

/// A message on its way to one session, with what its subscriptions ask for.
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    pub(crate) qos: QoS,
    /// RETAIN flag of this delivery.
    pub(crate) retain: bool,
    /// Subscription Identifiers [MQTT-3.3.4-3].
    pub(crate) identifiers: Option<Arc<[u32]>>,
    /// The shared subscription it was dealt out by.
    pub(crate) group: Option<Arc<ShareGroup>>,
}

/// Bounded in messages and bytes; the oldest of the lowest priority makes room.
#[derive(Default)]
pub(crate) struct Queue {
    /// Made for the first message: most sessions never have one.
    waiting: Option<Box<Waiting>>,
}

#[derive(Default)]
struct Waiting {
    /// By priority, as long as all are equal in one queue.
    lanes: Lanes,
    len: usize,
    bytes: usize,
    /// Messages of QoS 0 among them.
    qos0: usize,
}

enum Lanes {
    One(VecDeque<Delivery>),
    Many(BTreeMap<u8, VecDeque<Delivery>>),
}

impl Default for Lanes {
    fn default() -> Self {
        Self::One(VecDeque::new())
    }
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if a QoS 0 message waits: another one must not overtake it [MQTT-4.6.0-6].
    pub(crate) fn holds_qos0(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.qos0 > 0)
    }

    /// Appends a message. Returns those that had to make room.
    pub(crate) fn push(&mut self, delivery: Delivery, zone: &ZoneConfig) -> Option<Vec<Delivery>> {
        self.waiting.get_or_insert_default().push(delivery, zone)
    }

    pub(crate) fn front(&self) -> Option<&Delivery> {
        match &self.waiting.as_ref()?.lanes {
            Lanes::One(lane) => lane.front(),
            Lanes::Many(lanes) => lanes.values().next_back()?.front(),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Delivery> {
        self.waiting.as_mut()?.take(Side::HighestPriority)
    }

    /// Gives the memory of an empty queue back; called now and then.
    pub(crate) fn trim(&mut self) {
        if self.is_empty() {
            self.waiting = None;
        }
    }

    /// Removes all messages that `filter` picks, in order.
    pub(crate) fn extract(
        &mut self,
        filter: impl Fn(&Delivery) -> bool,
        zone: &ZoneConfig,
    ) -> Vec<Delivery> {
        let (taken, kept): (Vec<_>, Vec<_>) =
            std::iter::from_fn(|| self.pop()).partition(|delivery| filter(delivery));
        for delivery in kept {
            self.push(delivery, zone);
        }
        taken
    }
}

impl Waiting {
    fn push(&mut self, delivery: Delivery, zone: &ZoneConfig) -> Option<Vec<Delivery>> {
        self.len += 1;
        self.bytes += delivery.message.weight();
        self.qos0 += usize::from(delivery.qos == QoS::AtMostOnce);
        if !zone.mqueue_priorities.is_empty()
            && let Lanes::One(lane) = &mut self.lanes
        {
            // The zone gives priorities: from now on there is one lane for each.
            let waiting = std::mem::take(lane);
            let mut lanes: BTreeMap<u8, VecDeque<Delivery>> = BTreeMap::new();
            for delivery in waiting {
                lanes.entry(priority(zone, &delivery)).or_default().push_back(delivery);
            }
            self.lanes = Lanes::Many(lanes);
        }
        match &mut self.lanes {
            Lanes::One(lane) => lane.push_back(delivery),
            Lanes::Many(lanes) => {
                lanes.entry(priority(zone, &delivery)).or_default().push_back(delivery);
            }
        }
        let mut dropped = None;
        while self.is_over(zone) && self.len > 1 {
            let oldest = self.take(Side::LowestPriority);
            dropped.get_or_insert_with(Vec::new).extend(oldest);
        }
        dropped
    }

    fn is_over(&self, zone: &ZoneConfig) -> bool {
        (zone.max_mqueue_len > 0 && self.len > zone.max_mqueue_len as usize)
            || (zone.max_mqueue_bytes > 0 && self.bytes as u64 > zone.max_mqueue_bytes)
    }

    fn take(&mut self, side: Side) -> Option<Delivery> {
        let delivery = match &mut self.lanes {
            Lanes::One(lane) => {
                let delivery = lane.pop_front()?;
                if lane.is_empty() && lane.capacity() > KEPT_CAPACITY {
                    *lane = VecDeque::new();
                }
                delivery
            }
            Lanes::Many(lanes) => {
                let mut lane = match side {
                    Side::HighestPriority => lanes.last_entry()?,
                    Side::LowestPriority => lanes.first_entry()?,
                };
                let delivery = lane.get_mut().pop_front()?;
                if lane.get().is_empty() {
                    lane.remove();
                }
                delivery
            }
        };
        self.len -= 1;
        self.bytes -= delivery.message.weight();
        self.qos0 -= usize::from(delivery.qos == QoS::AtMostOnce);
        Some(delivery)
    }
}

/// Places an emptied queue keeps: one that fills and empties with every window must not be made anew each
/// time. [`Queue::trim`] gives them back when it stays empty.
const KEPT_CAPACITY: usize = 256;

#[derive(Clone, Copy)]
enum Side {
    HighestPriority,
    LowestPriority,
}

fn priority(zone: &ZoneConfig, delivery: &Delivery) -> u8 {
    let topic = &*delivery.message.topic;
    zone.mqueue_priorities.get(topic).copied().unwrap_or(zone.mqueue_default_priority)
}
