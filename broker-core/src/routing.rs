//! Routing: a message on its way from its publisher to what is kept and to everyone who subscribed.

use std::sync::Arc;

use broker_codec::QoS;

use crate::config::SharedStrategy;
use crate::delayed::DelayedError;
use crate::message::{Message, Publication};
use crate::metrics::Metric;
use crate::observer::{MessageObserver, Reactions};
use crate::record::Record;
use crate::retained::{Refused, Removed, Set};
use crate::router::Subscriber;
use crate::router::fan_out::Terms;
use crate::router::share_group::ShareGroup;
use crate::run::{Packets, Run};
use crate::session::queue::{Delivery, Kept};
use crate::store::BodyPlace;
use crate::traces::{Happening, Quoted, TraceEventKind};
use crate::turn::Turn;

/// Whether a message may wait for those behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gather {
    Yes,
    No,
}

/// Members tried for one message of a group, should their sessions be ending.
const DEALS: usize = 8;

impl Turn {
    /// Publishes a message, and what observers make of it. Returns its receivers.
    pub(crate) fn publish(&mut self, publication: &Publication<'_>) -> usize {
        let receivers = self.publish_alone(publication);
        self.publish_follow_ups();
        receivers
    }

    /// Publishes a message: keeps it if it is to be retained, then routes it. Returns its receivers. What observers
    /// make of it is still to be published.
    pub(crate) fn publish_alone(&mut self, publication: &Publication<'_>) -> usize {
        self.end_run();
        self.publish_now(publication, Gather::No)
    }

    /// The same for what a client has sent: it may leave with what comes behind it, and is counted as if everyone who
    /// subscribed got it.
    pub(crate) fn publish_or_gather(&mut self, publication: &Publication<'_>) -> usize {
        if let Some(receivers) = self.run.add(publication) {
            return receivers;
        }
        self.end_run();
        self.publish_now(publication, Gather::Yes)
    }

    fn publish_now(&mut self, publication: &Publication<'_>, gather: Gather) -> usize {
        self.out.records.begin_message();
        if self.out.tracer.is_on() {
            self.trace_publish(publication);
        }
        if publication.retain && self.broker.retained.is_enabled() {
            self.retain(publication);
        }
        if let Some(topics) = &mut self.out.topics {
            topics.count_in(publication);
        }
        self.route(publication, gather)
    }

    /// Publishes a kept message.
    pub(crate) fn publish_message(&mut self, message: &Arc<Message>) -> usize {
        self.publish(&Publication::of(message))
    }

    fn retain(&mut self, publication: &Publication<'_>) {
        let topic = publication.topic;
        if publication.payload.is_empty() {
            self.forget_retained(topic, publication.qos);
            return;
        }
        let broker = Arc::clone(&self.broker);
        let records = &mut self.out.records;
        let is_recorded = records.is_on() && !is_own(topic);
        // Steps are of what is recorded, each in the log.
        let next_step = || if is_recorded { broker.next_kept_step() } else { 0 };
        let has_memory = || {
            // What takes the place of another one hardly needs any.
            !self.out.pressure.is_over() || broker.retained.get(topic).is_some()
        };
        let set = if has_memory() {
            broker.retained.set(publication.shared(), self.now, next_step)
        } else {
            Err(Refused)
        };
        let Ok(Set { message: kept, step, outlived }) = set else {
            self.out.counters.inc(Metric::DroppedRetainedFull);
            let happening = Happening::with(publication, TraceEventKind::Dropped);
            self.trace(&happening, format_args!("retained_full topic={}", Quoted(topic)));
            log::warn!("retained message refused: limit reached topic={topic:?}");
            return;
        };
        self.out.counters.add(Metric::MessagesExpired, outlived.into());
        if is_recorded && let Some(body) = records.message(publication) {
            records.also(&kept);
            let expires_at_ms = kept.expires_at_ms.unwrap_or(0);
            let retained = Record::Retained { step, body, expires_at_ms, topic };
            records.put_with_message(&retained, topic);
        }
    }

    /// Forgets the retained message of a topic. Returns false if there is none. Who asks for it with QoS 1 or 2
    /// is told once it is done.
    pub(crate) fn forget_retained(&mut self, topic: &str, qos: QoS) -> bool {
        let Self { broker, out, .. } = self;
        let is_recorded = out.records.is_on() && !is_own(topic);
        // Another thread may have cleared it a moment ago, and the record of that be lost in a crash: who is
        // told that there is nothing must be told the truth.
        let is_awaited = qos > QoS::AtMostOnce;
        let removed = broker.retained.remove(topic, self.now, |was_there| {
            if is_recorded && (was_there || is_awaited) { broker.next_kept_step() } else { 0 }
        });
        let Removed { step, was_there, has_expired } = removed;
        out.counters.add(Metric::MessagesExpired, has_expired.into());
        if step > 0 {
            out.records.put_with_message(&Record::RetainedClear { step, topic }, topic);
        }
        was_there && !has_expired
    }

    /// Drops the retained messages that have expired.
    pub(crate) fn drop_expired_retained(&mut self) {
        let n_expired = self.broker.retained.drop_expired(self.now);
        self.out.counters.add(Metric::MessagesExpired, n_expired as u64);
    }

    /// Keeps a message until it is due, on the monotonic clock.
    pub(crate) fn delay(
        &mut self,
        publication: &Publication<'_>,
        due_ms: u64,
    ) -> Result<(), DelayedError> {
        if self.out.pressure.is_over() {
            return Err(DelayedError::Full);
        }
        let records = &mut self.out.records;
        records.begin_message();
        let message = Arc::clone(publication.shared());
        let bytes = message.weight() as isize;
        let due_at_ms = self.now.wall_ms + (due_ms - self.now.mono_ms);
        let broker = &self.broker;
        let step = broker.delayed.add(due_ms, due_at_ms, message, || broker.next_kept_step())?;
        self.out.memory += bytes;
        if let Some(body) = records.message(publication) {
            let delayed = Record::Delayed { step, body, due_at_ms };
            records.put_with_message(&delayed, publication.topic);
        }
        Ok(())
    }

    /// True if a message of that topic would have to be recorded for one of its receivers.
    pub(crate) fn is_durable_topic(&mut self, topic: &str) -> bool {
        let fan_out = self.cache.look_up(&self.broker.router, topic);
        !fan_out.groups.is_empty()
            || fan_out.targets.iter().any(|target| target.session.lock().is_durable)
    }

    /// Gives a message to everyone who subscribed to its topic.
    fn route(&mut self, publication: &Publication<'_>, gather: Gather) -> usize {
        let fan_out = self.cache.look_up(&self.broker.router, publication.topic);
        if gather == Gather::Yes
            && Run::may_begin(publication, &fan_out)
            && !self.out.looks_at_each()
        {
            let receivers = fan_out.targets.len();
            self.run.begin(publication, fan_out);
            return receivers;
        }
        let mut receivers = 0;
        if publication.qos > QoS::AtMostOnce || !fan_out.observers.is_empty() {
            publication.intern(&fan_out.topic);
            if publication.kept().is_none() && !fan_out.is_empty() {
                publication.lend(self.out.spares.take());
            }
        }
        if !fan_out.observers.is_empty() {
            self.out.fates.one_has_left = true;
            self.show(&fan_out.observers, publication.shared());
        }
        self.out.share_frames = fan_out.targets.len() > 1;
        if self.out.share_frames {
            self.out.frames.clear();
        }
        for target in &fan_out.targets {
            receivers += usize::from(target.session.deliver(
                &target.terms,
                publication,
                None,
                &mut self.out,
            ));
        }
        self.out.share_frames = false;
        for group in &fan_out.groups {
            receivers += usize::from(self.deal_out(group, publication, None));
        }
        for consumer in &fan_out.consumers {
            self.out.fates.one_has_left = true;
            consumer.consume(publication.shared());
            receivers += 1;
        }
        // Who has the message refused, or no room for it, was there for it all the same.
        if fan_out.is_empty() && !publication.topic.starts_with("$SYS/") {
            self.out.counters.inc(Metric::MessagesDropped);
            if let Some(topics) = &mut self.out.topics {
                topics.count_dropped(publication);
            }
            self.message_dropped(publication);
        }
        if self.out.tracer.is_on() {
            self.trace_routed(publication, receivers, fan_out.is_empty());
        }
        // Here rather than at the end of the turn: a message may have a hundred thousand receivers.
        self.tell_notes();
        receivers
    }

    /// Gives what was gathered to everyone who subscribed to its topic.
    pub(crate) fn end_run(&mut self) {
        let Some(gathered) = self.run.take() else { return };
        let fan_out = Arc::clone(&gathered.fan_out);
        let mut packets = Packets::from(gathered);
        for target in &fan_out.targets {
            target.session.deliver_run(&target.terms, &mut packets, &mut self.out);
        }
        self.tell_notes();
    }

    /// Lets observers see a message.
    fn show(&mut self, observers: &[Arc<dyn MessageObserver>], message: &Arc<Message>) {
        let Self { now, broker, follow_ups, .. } = self;
        let mut reactions = Reactions { now: *now, broker, follow_ups, notes: None };
        observers.iter().for_each(|observer| observer.observe(message, &mut reactions));
    }

    /// Gives a message to one member of a group.
    pub(crate) fn deal_out(
        &mut self,
        group: &Arc<ShareGroup>,
        publication: &Publication<'_>,
        except: Option<u64>,
    ) -> bool {
        let strategy = self.broker.shared_strategy();
        let publisher = publication.publisher.client_id().as_str();
        let mut except = except;
        for _ in 0..DEALS {
            let Some(member) = group.pick(strategy, publisher, publication.topic, except) else {
                return false;
            };
            let terms = terms_of_member(&member);
            let session = member.session();
            if session.deliver(&terms, publication, Some(group), &mut self.out) {
                return true;
            }
            // A session that has just ended is about to leave the group: another member gets the message.
            if !session.lock().ended {
                return false;
            }
            except = Some(session.number());
        }
        false
    }

    /// Gives a message that only the store has to one member of a group.
    pub(crate) fn deal_out_stored(
        &mut self,
        group: &Arc<ShareGroup>,
        delivery: &Delivery,
        place: &BodyPlace,
        from: u64,
    ) -> bool {
        let mut except = Some(from);
        for _ in 0..DEALS {
            let Some(member) = group.pick(SharedStrategy::Random, "", "", except) else {
                return false;
            };
            let given = Delivery {
                message: Kept::Stored(Box::new(place.clone())),
                qos: member.options.qos.min(delivery.qos),
                retain: delivery.retain && member.options.retain_as_published,
                identifiers: (member.identifier > 0).then(|| [member.identifier].into()),
                group: Some(Arc::clone(group)),
                step: 0,
                is_copy: false,
                frame: None,
                queued_ms: 0,
            };
            if member.session().deliver_stored(given, place, &mut self.out) {
                return true;
            }
            except = Some(member.number());
        }
        false
    }
}

/// What a message that is dealt out must look like for a member of a group.
pub(crate) fn terms_of_member(member: &Subscriber) -> Terms {
    Terms {
        qos: member.options.qos,
        no_local: false,
        retain_as_published: member.options.retain_as_published,
        identifiers: (member.identifier > 0).then(|| [member.identifier].into()),
    }
}

/// True for the topics of the broker itself: what is retained there is made anew after a start, and not recorded.
fn is_own(topic: &str) -> bool {
    topic.starts_with("$SYS/")
}
