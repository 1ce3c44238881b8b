//! Queue of one session: messages that wait for the client, or for its window.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use broker_codec::QoS;

use crate::clock::Now;
use crate::config::ZoneConfig;
use crate::control::give_back::fitting;
use crate::message::Message;
use crate::record::RefTerms;
use crate::router::share_group::ShareGroup;
use crate::store::{BodyPlace, Seal};

/// A message on its way to one session, with what its subscriptions ask for.
pub(crate) struct Delivery {
    pub(crate) message: Kept,
    pub(crate) qos: QoS,
    /// RETAIN flag of this delivery.
    pub(crate) retain: bool,
    /// Subscription Identifiers [MQTT-3.3.4-3].
    pub(crate) identifiers: Option<Arc<[u32]>>,
    /// The shared subscription it was dealt out by.
    pub(crate) group: Option<Arc<ShareGroup>>,
    /// Names the message in the session's records; 0 if it is not recorded.
    pub(crate) step: u64,
    /// A retained message for a new subscription: not to be sent once another has replaced it.
    pub(crate) is_copy: bool,
    /// The frame with its record, of QoS 2: another thread may have yet to append it.
    pub(crate) frame: Option<Arc<Seal>>,
    /// When it was queued, on the monotonic clock cut to 32 bits, for which there is room; 0 if it was not.
    pub(crate) queued_ms: u32,
}

impl Delivery {
    /// How long it had waited in the queue when it was sent at `sent_ms`.
    pub(crate) const fn waited_ms(&self, sent_ms: u64) -> u64 {
        if self.queued_ms == 0 { 0 } else { (sent_ms as u32).wrapping_sub(self.queued_ms) as u64 }
    }

    /// Its terms as they are recorded.
    pub(crate) fn terms(&self) -> RefTerms<'_> {
        RefTerms {
            qos: self.qos,
            retain: self.retain,
            is_copy: self.is_copy,
            identifiers: self.identifiers.as_deref().unwrap_or_default(),
            group: self.group.as_ref().map(|group| (group.name(), &**group.route())),
        }
    }
}

/// A message, or where to read it.
pub(crate) enum Kept {
    Here(Arc<Message>),
    /// Only the store has it.
    Stored(Box<BodyPlace>),
    /// The store had it, and could not read it back.
    Lost,
}

impl Kept {
    pub(crate) fn here(&self) -> Option<&Arc<Message>> {
        match self {
            Self::Here(message) => Some(message),
            Self::Stored(_) | Self::Lost => None,
        }
    }

    /// Bytes it is accounted with, wherever it is.
    fn weight(&self) -> usize {
        match self {
            Self::Here(message) => message.weight(),
            Self::Stored(place) => place.len as usize + 128,
            Self::Lost => 128,
        }
    }

    /// True if it is known to have expired: of what is only stored that is not known.
    pub(crate) fn is_expired(&self, now: Now) -> bool {
        self.here().is_some_and(|message| message.is_expired(now))
    }

    /// Keeps only the place in the store, if it has one. Returns true if so.
    fn let_go(&mut self) -> bool {
        let Some(place) = self.here().and_then(|message| message.stored.place()) else {
            return false;
        };
        *self = Self::Stored(Box::new(place));
        true
    }
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
    /// How many have left the front of the one queue.
    taken: u64,
    bytes: usize,
    /// Messages of QoS 0 among them.
    qos0: usize,
    /// Bytes of those that are here, not only in the store.
    here_bytes: usize,
    /// How many of `here_bytes` the broker was told of.
    told_bytes: usize,
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

    /// True if one more message of that weight drives another one out.
    pub(crate) fn is_full(&self, weight: usize, zone: &ZoneConfig) -> bool {
        let (len, bytes) = self.waiting.as_ref().map_or((0, 0), |w| (w.len, w.bytes));
        len > 0 && is_over(len + 1, bytes + weight, zone)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory it takes, its messages included, whoever else holds them.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| {
            size_of::<Waiting>() + waiting.len * size_of::<Delivery>() + waiting.here_bytes
        })
    }

    /// True if a QoS 0 message waits: another one must not overtake it [MQTT-4.6.0-6].
    pub(crate) fn holds_qos0(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.qos0 > 0)
    }

    /// Appends a message. Returns those that had to make room.
    pub(crate) fn push(&mut self, delivery: Delivery, zone: &ZoneConfig) -> Option<Vec<Delivery>> {
        self.waiting.get_or_insert_default().push(delivery, zone)
    }

    /// Bytes of the messages that are here, not only in the store.
    pub(crate) fn here_bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.here_bytes)
    }

    /// Takes the oldest of the lowest priority out until no more than `bytes` are here, or only one message is left.
    /// One that only the store has takes no memory, and stays with all behind it.
    pub(crate) fn shed(&mut self, bytes: usize) -> Vec<Delivery> {
        let Some(waiting) = &mut self.waiting else { return Vec::new() };
        let mut shed = Vec::new();
        while waiting.here_bytes > bytes && waiting.len > 1 && waiting.is_oldest_here() {
            shed.extend(waiting.take(Side::LowestPriority));
        }
        shed
    }

    /// Puts a message back that was there before, whatever the limits are now.
    pub(crate) fn restore(&mut self, delivery: Delivery, zone: &ZoneConfig) {
        self.waiting.get_or_insert_default().add(delivery, zone);
    }

    /// Makes room for so many messages to be put back, and no more than that.
    pub(crate) fn reserve(&mut self, messages: usize) {
        if messages > 0
            && let Lanes::One(lane) = &mut self.waiting.get_or_insert_default().lanes
        {
            lane.reserve_exact(messages);
        }
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

    /// Messages in the order they leave in.
    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = &Delivery> + '_> {
        match self.waiting.as_ref().map(|waiting| &waiting.lanes) {
            None => Box::new(std::iter::empty()),
            Some(Lanes::One(lane)) => Box::new(lane.iter()),
            Some(Lanes::Many(lanes)) => Box::new(lanes.values().rev().flatten()),
        }
    }

    /// True if the steps of its recorded messages rise from its front to its end.
    pub(crate) fn is_in_order(&self) -> bool {
        !matches!(self.waiting.as_ref().map(|waiting| &waiting.lanes), Some(Lanes::Many(_)))
    }

    /// Messages from that number on, and the number of the first: they are counted as they came, so that others may
    /// leave the front meanwhile. All of them if they are in no order.
    pub(crate) fn from(&self, number: u64) -> (u64, Box<dyn Iterator<Item = &Delivery> + '_>) {
        match self.waiting.as_deref() {
            Some(Waiting { lanes: Lanes::One(lane), taken, .. }) => {
                let at = number.saturating_sub(*taken).min(lane.len() as u64);
                (taken + at, Box::new(lane.range(at as usize..)))
            }
            _ => (0, self.iter()),
        }
    }

    /// The same, to be changed in anything but weight.
    pub(crate) fn iter_mut(&mut self) -> Box<dyn Iterator<Item = &mut Delivery> + '_> {
        match self.waiting.as_mut().map(|waiting| &mut waiting.lanes) {
            None => Box::new(std::iter::empty()),
            Some(Lanes::One(lane)) => Box::new(lane.iter_mut()),
            Some(Lanes::Many(lanes)) => Box::new(lanes.values_mut().rev().flatten()),
        }
    }

    /// Puts a message that was read back where it belongs. Returns what is left of it if it has gone.
    pub(crate) fn fill_in(&mut self, step: u64, message: Kept) -> Option<Kept> {
        let Some(waiting) = &mut self.waiting else { return Some(message) };
        let slot = match &mut waiting.lanes {
            Lanes::One(lane) => lane.iter_mut().find(|d| d.step == step),
            Lanes::Many(lanes) => lanes.values_mut().rev().flatten().find(|d| d.step == step),
        };
        let Some(delivery) = slot else { return Some(message) };
        waiting.bytes = waiting.bytes + message.weight() - delivery.message.weight();
        waiting.here_bytes =
            waiting.here_bytes + here_bytes(&message) - here_bytes(&delivery.message);
        delivery.message = message;
        None
    }

    /// Leaves to the store what it has of the queue, the newest first, up to what was left to it before.
    pub(crate) fn let_go_newest(&mut self) {
        let Some(waiting) = &mut self.waiting else { return };
        let Waiting { lanes, bytes, here_bytes, .. } = &mut **waiting;
        let mut newest: Box<dyn Iterator<Item = &mut Delivery>> = match lanes {
            Lanes::One(lane) => Box::new(lane.iter_mut().rev()),
            Lanes::Many(lanes) => Box::new(lanes.values_mut().flat_map(|l| l.iter_mut().rev())),
        };
        while let Some(delivery) = newest.next()
            && !matches!(delivery.message, Kept::Stored(_))
        {
            let before = delivery.message.weight();
            // Those of this very turn have no place yet.
            if delivery.step > 0 && delivery.message.let_go() {
                *here_bytes -= before;
                *bytes = *bytes + delivery.message.weight() - before;
            }
        }
    }

    /// By how many bytes the queue has grown in memory since it was asked last, in steps that are worth
    /// telling.
    pub(crate) fn growth(&mut self) -> isize {
        let Some(waiting) = &mut self.waiting else { return 0 };
        let growth = waiting.here_bytes as isize - waiting.told_bytes as isize;
        if growth.unsigned_abs() < TOLD_BYTES && waiting.here_bytes > 0 {
            return 0;
        }
        waiting.told_bytes = waiting.here_bytes;
        growth
    }

    /// Bytes the broker was told of, for a queue that is let go whole.
    pub(crate) fn told_bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.told_bytes)
    }

    /// Gives the memory of an empty queue back; called now and then.
    pub(crate) fn trim(&mut self) {
        if self.is_empty() && self.told_bytes() == 0 {
            self.waiting = None;
        }
    }

    /// The same, and gives back what it has held for messages that have left. Returns how many bytes.
    pub(crate) fn shrink(&mut self) -> usize {
        let room = |lane: &VecDeque<Delivery>| lane.capacity() * size_of::<Delivery>();
        let before = self.waiting.as_ref().map_or(0, |waiting| match &waiting.lanes {
            Lanes::One(lane) => room(lane),
            Lanes::Many(lanes) => lanes.values().map(room).sum(),
        });
        self.trim();
        let Some(waiting) = &mut self.waiting else { return before };
        let shrunk = |lane: &mut VecDeque<Delivery>| {
            if let Some(fitting) = fitting(lane.len(), lane.capacity()) {
                lane.shrink_to(fitting);
            }
            room(lane)
        };
        let after = match &mut waiting.lanes {
            Lanes::One(lane) => shrunk(lane),
            Lanes::Many(lanes) => lanes.values_mut().map(shrunk).sum(),
        };
        before - after
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
            self.restore(delivery, zone);
        }
        taken
    }
}

impl Waiting {
    fn push(&mut self, delivery: Delivery, zone: &ZoneConfig) -> Option<Vec<Delivery>> {
        self.add(delivery, zone);
        let mut dropped = None;
        while self.is_over(zone) && self.len > 1 {
            let oldest = self.take(Side::LowestPriority);
            dropped.get_or_insert_with(Vec::new).extend(oldest);
        }
        dropped
    }

    fn add(&mut self, delivery: Delivery, zone: &ZoneConfig) {
        self.len += 1;
        self.bytes += delivery.message.weight();
        self.here_bytes += here_bytes(&delivery.message);
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
    }

    fn is_over(&self, zone: &ZoneConfig) -> bool {
        is_over(self.len, self.bytes, zone)
    }

    /// True if the oldest message of the lowest priority is here, not only in the store.
    fn is_oldest_here(&self) -> bool {
        let oldest = match &self.lanes {
            Lanes::One(lane) => lane.front(),
            Lanes::Many(lanes) => lanes.values().next().and_then(VecDeque::front),
        };
        oldest.is_some_and(|delivery| delivery.message.here().is_some())
    }

    fn take(&mut self, side: Side) -> Option<Delivery> {
        let delivery = match &mut self.lanes {
            Lanes::One(lane) => {
                let delivery = lane.pop_front()?;
                self.taken += 1;
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
        self.here_bytes -= here_bytes(&delivery.message);
        self.qos0 -= usize::from(delivery.qos == QoS::AtMostOnce);
        Some(delivery)
    }
}

/// Bytes a queue grows by before the broker is told.
const TOLD_BYTES: usize = 4096;

/// Places an emptied queue keeps: one that fills and empties with every window must not be made anew each
/// time. [`Queue::trim`] gives them back when it stays empty.
const KEPT_CAPACITY: usize = 256;

#[derive(Clone, Copy)]
enum Side {
    HighestPriority,
    LowestPriority,
}

/// True if a queue may not hold so much.
fn is_over(len: usize, bytes: usize, zone: &ZoneConfig) -> bool {
    (zone.max_mqueue_len > 0 && len > zone.max_mqueue_len as usize)
        || (zone.max_mqueue_bytes > 0 && bytes as u64 > zone.max_mqueue_bytes)
}

fn priority(zone: &ZoneConfig, delivery: &Delivery) -> u8 {
    let listed = delivery.message.here().and_then(|m| zone.mqueue_priorities.get(&*m.topic));
    listed.copied().unwrap_or(zone.mqueue_default_priority)
}

fn here_bytes(message: &Kept) -> usize {
    message.here().map_or(0, |message| message.weight())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(step: u64) -> Delivery {
        Delivery {
            message: Kept::Lost,
            qos: QoS::AtLeastOnce,
            retain: false,
            identifiers: None,
            group: None,
            step,
            is_copy: false,
            frame: None,
            queued_ms: 0,
        }
    }

    fn steps<'a>(deliveries: impl Iterator<Item = &'a Delivery>) -> Vec<u64> {
        deliveries.map(|delivery| delivery.step).collect()
    }

    #[test]
    fn what_is_not_extracted_stays_whatever_the_limit_is() {
        let zone = ZoneConfig { max_mqueue_len: 2, ..ZoneConfig::default() };
        let mut queue = Queue::default();
        (1..=5).for_each(|step| queue.restore(delivery(step), &zone));
        let taken = queue.extract(|delivery| delivery.step == 3, &zone);
        assert_eq!((steps(taken.iter()), steps(queue.iter())), (vec![3], vec![1, 2, 4, 5]));
    }

    #[test]
    fn a_message_keeps_its_number_while_others_leave() {
        let zone = ZoneConfig::default();
        let mut queue = Queue::default();
        assert_eq!(queue.from(7).1.count(), 0);
        (1..=5).for_each(|step| queue.restore(delivery(step), &zone));
        queue.pop();
        let (number, rest) = queue.from(3);
        assert_eq!((number, steps(rest)), (3, vec![4, 5]));
        (0..3).for_each(|_| drop(queue.pop()));
        let (number, rest) = queue.from(3);
        assert_eq!((number, steps(rest)), (4, vec![5]));
        assert_eq!(queue.from(9).1.count(), 0);
    }

    #[test]
    fn what_a_burst_has_left_behind_is_given_back() {
        for priorities in [Default::default(), [("t".into(), 1)].into()] {
            let zone = ZoneConfig { mqueue_priorities: priorities, ..ZoneConfig::default() };
            let mut queue = Queue::default();
            assert_eq!(queue.shrink(), 0);
            (1..=500).for_each(|step| queue.restore(delivery(step), &zone));
            assert_eq!(queue.shrink(), 0, "it is full");
            (1..=490).for_each(|_| drop(queue.pop()));
            assert!(queue.shrink() > 400 * size_of::<Delivery>());
            assert_eq!(queue.shrink(), 0);
            assert_eq!(steps(queue.iter()), (491..=500).collect::<Vec<_>>());
            while queue.pop().is_some() {}
            queue.shrink();
            assert_eq!(queue.heap_bytes(), 0, "nothing is left of it");
        }
    }
}
