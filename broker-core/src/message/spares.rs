//! Spares: messages that nobody keeps any more, to be made anew.
//!
//! A message of QoS 1 lives from its PUBLISH to the PUBACK of its receiver. In between come hundreds of others, so the
//! allocator has long forgotten the place of the one when it has to find one for the next.

use std::sync::Arc;

use super::Message;

/// Spare messages of one thread.
#[derive(Default)]
pub(crate) struct Spares(Vec<Arc<Message>>);

impl Spares {
    /// Messages that are kept, of all connections of the thread.
    const MAX: usize = 256;
    /// Payloads that are larger go back to the allocator.
    const PAYLOAD_MAX: usize = 1024;

    /// A message whose place can be used.
    pub(crate) fn take(&mut self) -> Option<Arc<Message>> {
        self.0.pop()
    }

    /// The message to be shared, in the place of another one if there is one.
    pub(crate) fn renew(&mut self, message: Message) -> Arc<Message> {
        if let Some(mut spare) = self.take()
            && let Some(place) = Arc::get_mut(&mut spare)
        {
            *place = message;
            return spare;
        }
        Arc::new(message)
    }

    /// Takes a message back, unless somebody else has it too.
    pub(crate) fn give(&mut self, message: Arc<Message>) {
        // Whether nobody else has it is asked again before it is written to, and for good.
        if self.0.len() < Self::MAX
            && Arc::strong_count(&message) == 1
            && message.payload.len() <= Self::PAYLOAD_MAX
        {
            self.0.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use broker_codec::QoS;

    use super::*;
    use crate::clock::Now;
    use crate::message::{Publication, Publisher};

    fn publication<'a>(payload: &'a [u8], publisher: &'a Publisher) -> Publication<'a> {
        Publication::new("t", payload, QoS::AtLeastOnce, false, publisher, Now::default())
    }

    #[test]
    fn a_message_takes_the_place_of_another_and_nothing_else_of_it() {
        let (one, other) = (Publisher::Broker("one".into()), Publisher::Broker("other".into()));
        let mut spares = Spares::default();
        let mut first = Arc::clone(publication(b"a long payload", &one).shared());
        Arc::get_mut(&mut first)
            .expect("alone")
            .properties
            .push(broker_codec::Property::ContentType("text"));
        let number = first.number.get();
        let place = Arc::as_ptr(&first);
        spares.give(first);
        let second = publication(b"short", &other);
        second.lend(spares.take());
        let message = second.shared();
        assert_eq!(Arc::as_ptr(message), place);
        assert_eq!((&*message.topic, &message.payload[..]), ("t", &b"short"[..]));
        assert_eq!(message.publisher.client_id().as_str(), "other");
        assert!(message.properties.as_properties().is_empty() && message.stored.place().is_none());
        assert_ne!(message.number.get(), number);
    }

    #[test]
    fn what_somebody_keeps_is_never_made_anew() {
        let publisher = Publisher::Broker("p".into());
        let mut spares = Spares::default();
        let kept = Arc::clone(publication(b"kept", &publisher).shared());
        spares.give(Arc::clone(&kept));
        assert!(spares.take().is_none());
        // A part of its payload may be kept too.
        let part = kept.payload.slice(1..3);
        spares.give(kept);
        let next = publication(b"next", &publisher);
        next.lend(spares.take());
        assert_eq!((&next.shared().payload[..], &part[..]), (&b"next"[..], &b"ep"[..]));
    }

    #[test]
    fn so_many_are_kept_and_none_that_is_large() {
        let publisher = Publisher::Broker("p".into());
        let message = |payload: &[u8]| Arc::clone(publication(payload, &publisher).shared());
        let mut spares = Spares::default();
        let large = message(&[0; Spares::PAYLOAD_MAX + 1]);
        spares.give(large);
        assert!(spares.take().is_none());
        for _ in 0..2 * Spares::MAX {
            let small = message(b"x");
            spares.give(small);
        }
        assert_eq!(spares.0.len(), Spares::MAX);
    }
}
