//! Follow-ups: messages that observers hand to the turn, published when the one at hand has its receivers.

use std::collections::VecDeque;
use std::sync::Arc;

use broker_codec::topic;

use crate::broker::Broker;
use crate::message::{Message, Spares};
use crate::turn::Turn;

/// Messages in the order they were handed over.
#[derive(Default)]
pub(crate) struct FollowUps {
    waiting: VecDeque<Arc<Message>>,
    /// Those taken since nothing was waiting last, and their bytes: a message must not cause others for ever.
    taken: usize,
    taken_bytes: usize,
    /// One of them is being published.
    is_busy: bool,
    spares: Spares,
}

/// Why a follow-up is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowUpError {
    /// No Topic Name, one of the broker's own, or one with more levels than any zone allows. It is not said which, for
    /// it may have come out of a payload.
    #[error("no client could publish to the topic")]
    Topic,
    /// No client of any zone could publish it.
    #[error("larger than the {0} bytes that a packet may have")]
    TooLarge(usize),
    /// One message has caused too many others.
    #[error("one message has caused too many others")]
    TooMany,
}

impl FollowUps {
    pub(crate) fn add(&mut self, message: Message, broker: &Broker) -> Result<(), FollowUpError> {
        check(&message, broker)?;
        let bytes = self.taken_bytes + message.weight();
        if self.taken >= FOLLOW_UPS_MAX || bytes > BYTES_MAX {
            return Err(FollowUpError::TooMany);
        }
        self.taken += 1;
        self.taken_bytes = bytes;
        let message = self.spares.renew(message);
        self.waiting.push_back(message);
        Ok(())
    }
}

fn check(message: &Message, broker: &Broker) -> Result<(), FollowUpError> {
    let name = &message.topic;
    let bounds = &broker.publish_bounds;
    let is_own = name.starts_with("$SYS/") || name.starts_with("$events/");
    let is_name = topic::validate_name(name).is_ok();
    if !is_name || is_own || topic::levels(name) > bounds.topic_levels() {
        return Err(FollowUpError::Topic);
    }
    if !bounds.fit(name.len() + message.properties.len() + message.payload.len()) {
        return Err(FollowUpError::TooLarge(bounds.packet_bytes()));
    }
    Ok(())
}

impl Turn {
    /// Publishes what observers have handed over, and what comes of that, in order.
    #[inline]
    pub(crate) fn publish_follow_ups(&mut self) {
        if !self.follow_ups.waiting.is_empty() && !self.follow_ups.is_busy {
            self.publish_waiting();
        }
    }

    #[cold]
    fn publish_waiting(&mut self) {
        self.follow_ups.is_busy = true;
        let broker = Arc::clone(&self.broker);
        while let Some(message) = self.follow_ups.waiting.pop_front() {
            // A topic that says no time where it should, or no room for what is to be delayed.
            if let Err(error) = broker.publish_in_place(&message, self) {
                log::warn!("message of an observer lost: {error}");
            }
            self.follow_ups.spares.give(message);
        }
        let FollowUps { taken, taken_bytes, is_busy, .. } = &mut self.follow_ups;
        (*taken, *taken_bytes, *is_busy) = (0, 0, false);
    }
}

/// Messages that one may cause, all in all.
const FOLLOW_UPS_MAX: usize = 10_000;
/// Bytes of them.
const BYTES_MAX: usize = 64 << 20;
