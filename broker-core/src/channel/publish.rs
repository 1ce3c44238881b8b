//! PUBLISH from the client: checks in order, then routing, then the acknowledgement that is owed.

use std::borrow::Cow;

use broker_codec::{PacketId, PacketKind, Properties, Publish, QoS, ReasonCode, topic};

use super::acks::AckKind;
use super::{Channel, Close, CloseCause, Connected, Flow, code_for};
use crate::access::Decision;
use crate::clock::Now;
use crate::config::ZoneConfig;
use crate::delayed::{Delayed, DelayedError};
use crate::extension::{Action, PublishDraft};
use crate::limits::Sending;
use crate::message::{Publication, is_forwarded};
use crate::metrics::Metric;
use crate::modules::rewrite::Rewrite;
use crate::session::Receipt;
use crate::turn::Turn;

impl Channel {
    pub(super) fn handle_publish(
        &mut self,
        publish: &Publish<'_>,
        turn: &mut Turn,
    ) -> Result<Flow, Close> {
        let connected = self.connected()?;
        let zone = &connected.client.zone;
        check_capabilities(publish, zone)?;
        let deny_disconnects = zone.acl_deny_disconnect;
        // One that was waiting for a verdict has been paced before.
        if connected.limits.is_some()
            && self.verdicts.is_none()
            && let Some(wait) = self.pace_publish(sending(publish), turn)?
        {
            return Ok(wait);
        }
        let aliased = self.resolve_alias(publish)?;
        let topic = aliased.as_deref().unwrap_or(publish.topic);

        if let Some(flow) = self.check_received(publish, turn)? {
            return Ok(flow);
        }
        let mut decision = self.authorize(Action::Publish, topic, turn)?;
        if let (Decision::Allow, Some(inner)) = (&decision, delayed_topic(topic, turn)) {
            decision = self.authorize(Action::Publish, inner, turn)?;
        }
        let decision = match decision {
            Decision::Wait(flow) => return Ok(flow),
            Decision::Allow => self.check_topic(topic),
            Decision::Deny => Err(ReasonCode::NotAuthorized),
        };
        if let (Ok(()), QoS::ExactlyOnce, Some(id)) = (decision, publish.qos, publish.packet_id) {
            let connected = self.connected()?;
            match connected.session.receive(id, self.id, turn.now.mono_ms) {
                Receipt::New => {}
                Receipt::Duplicate(dependency) => {
                    let (kind, code) = (AckKind::PubRec, ReasonCode::Success);
                    self.acknowledge_after(dependency, kind, id, code, turn);
                    return Ok(Flow::Next);
                }
                Receipt::UnderWay => return Ok(self.pause_until(turn.now.mono_ms + UNDER_WAY_MS)),
                Receipt::TakenOver => return Err(Close::from(CloseCause::TakenOver)),
            }
        }
        let result = decision.and_then(|()| self.publish(publish, topic, turn));
        match result {
            Err(reason_code) => {
                if turn.out.tracer.is_on() {
                    self.trace_publish_refused(publish, topic, reason_code, turn);
                }
                turn.out.counters.inc(Metric::PublishDenied);
                if reason_code == ReasonCode::NotAuthorized && deny_disconnects {
                    return Err(Close::violation(reason_code, "publish not authorised"));
                }
                let is_told = self.version.is_v5()
                    || reason_code != ReasonCode::QuotaExceeded
                    || !turn.broker.refuses_records();
                if is_told {
                    self.answer(publish, reason_code, turn);
                } else {
                    self.leave_unanswered(turn.now);
                }
            }
            Ok(0) => self.answer(publish, ReasonCode::NoMatchingSubscribers, turn),
            Ok(_) => self.answer(publish, ReasonCode::Success, turn),
        }
        Ok(Flow::Next)
    }

    /// A QoS 2 message that was received and not yet released is acknowledged but not passed on again
    /// [MQTT-4.3.3-10]. One too many is the client's fault [MQTT-3.3.4-9]: the Receive Maximum counts what
    /// the client has no PUBACK and no PUBCOMP for.
    fn check_received(
        &mut self,
        publish: &Publish<'_>,
        turn: &mut Turn,
    ) -> Result<Option<Flow>, Close> {
        let Some(id) = publish.packet_id else { return Ok(None) };
        let unacknowledged = self.pending_acks.as_ref().map_or(0, |acks| acks.n_pubacks());
        if publish.qos != QoS::ExactlyOnce && unacknowledged == 0 {
            return Ok(None);
        }
        let Connected { session, receive_maximum, .. } = self.connected()?;
        let (known, held) = {
            let state = session.lock();
            (state.received_before(id), state.received.len())
        };
        match known.filter(|_| publish.qos == QoS::ExactlyOnce) {
            Some(Receipt::Duplicate(dependency)) => {
                self.acknowledge_after(dependency, AckKind::PubRec, id, ReasonCode::Success, turn);
                return Ok(Some(Flow::Next));
            }
            // What its PUBREC will have to wait for is not known yet.
            Some(Receipt::UnderWay) => {
                return Ok(Some(self.pause_until(turn.now.mono_ms + UNDER_WAY_MS)));
            }
            _ => {}
        }
        let is_full = held >= usize::from(*receive_maximum);
        if is_full && publish.qos == QoS::ExactlyOnce {
            turn.out.counters.inc(Metric::MessagesQos2Dropped);
        }
        if held + unacknowledged >= usize::from(*receive_maximum) {
            if self.version.is_v5() {
                let reason = ReasonCode::ReceiveMaximumExceeded;
                return Err(Close::violation(reason, "more unacknowledged messages than allowed"));
            }
            if publish.qos == QoS::ExactlyOnce && is_full {
                // An older client knows no limit. It is not acknowledged, so it keeps its message.
                return Ok(Some(Flow::Next));
            }
        }
        Ok(None)
    }

    fn check_topic(&self, topic: &str) -> Result<(), ReasonCode> {
        let connected = self.connected().map_err(|close| close.cause.reason_code())?;
        check_name(topic, &connected.client.zone)
    }

    /// Passes the message on. Returns the number of receivers, or why it is refused.
    fn publish(
        &self,
        publish: &Publish<'_>,
        topic: &str,
        turn: &mut Turn,
    ) -> Result<usize, ReasonCode> {
        let connected = self.connected().map_err(|close| close.cause.reason_code())?;
        let mut properties = std::mem::take(&mut turn.properties);
        properties.clear();
        let all_forwarded = publish.properties.is_empty();
        if !all_forwarded {
            properties.extend_filtered(publish.properties, is_forwarded);
        }
        let forwarded = if all_forwarded { Properties::EMPTY } else { properties.as_properties() };
        let mut draft = PublishDraft {
            topic: Cow::Borrowed(topic),
            payload: Cow::Borrowed(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
        };
        let result = intercept(connected, &mut draft, turn).and_then(|()| {
            let delay = self.place(connected, &mut draft, turn)?;
            let now = turn.now;
            let PublishDraft { topic, payload, qos, retain } = &draft;
            if publish.qos > QoS::AtMostOnce
                && turn.broker.refuses_records()
                && (*retain || delay.is_some() || turn.is_durable_topic(topic))
            {
                turn.out.counters.inc(Metric::PublishUnrecorded);
                return Err(ReasonCode::QuotaExceeded);
            }
            let publication =
                Publication::new(topic, payload, *qos, *retain, &connected.publisher, now)
                    .with_properties(forwarded, publish.properties.message_expiry_interval(), now);
            let receivers = match delay {
                None => {
                    let receivers = turn.publish_or_gather(&publication);
                    turn.count_routed();
                    receivers
                }
                Some(due_ms) => {
                    turn.delay(&publication, due_ms).map_err(delayed_reason)?;
                    // Who will get it is not known yet.
                    1
                }
            };
            Ok(receivers)
        });
        turn.properties = properties;
        if let (QoS::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id) {
            match result {
                Ok(_) => {
                    let is_recorded = turn.out.records.has_recorded();
                    connected.session.routed(id, is_recorded, &mut turn.out);
                }
                Err(_) => drop(connected.session.lock().received.remove(id)),
            }
        }
        // Not before the message and its identifier are in one frame; the acknowledgement waits for both.
        turn.publish_follow_ups();
        result
    }

    /// Gives the topic its place in the broker: delay taken off, rewritten, behind the mountpoint.
    fn place(
        &self,
        connected: &Connected,
        draft: &mut PublishDraft<'_>,
        turn: &Turn,
    ) -> Result<Option<u64>, ReasonCode> {
        let broker = &turn.broker;
        let mut delay = None;
        if draft.topic.starts_with("$delayed/") && broker.delayed.is_enabled() {
            let (due_ms, inner) = Delayed::parse(&draft.topic, turn.now).map_err(delayed_reason)?;
            let inner = inner.to_owned();
            self.check_topic(&inner)?;
            draft.topic = Cow::Owned(inner);
            delay = Some(due_ms);
        }
        let mountpoint = &connected.client.mountpoint;
        if let Cow::Owned(name) = place_name(&draft.topic, mountpoint, turn.rewrite.as_deref()) {
            // What is longer could not be sent, but for its beginning, which is another topic.
            if name.len() > topic::TOPIC_BYTES_MAX {
                return Err(ReasonCode::TopicNameInvalid);
            }
            draft.topic = Cow::Owned(name);
        }
        Ok(delay)
    }

    /// Acknowledges a PUBLISH as its QoS asks.
    /// An older client cannot be told that the store takes nothing. It is not acknowledged, and so keeps its message; its
    /// connection ends [MQTT311-4.8.0-2], and it sends the message again in the next. Not at once: what needs no store
    /// goes on meanwhile, and a full disk makes no storm of reconnecting clients.
    fn leave_unanswered(&mut self, now: Now) {
        self.owes_refusal = true;
        self.ends_ms = self.ends_ms.min(now.mono_ms + UNANSWERED_MS);
    }

    fn answer(&mut self, publish: &Publish<'_>, reason_code: ReasonCode, turn: &mut Turn) {
        let Some(id): Option<PacketId> = publish.packet_id else { return };
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.acknowledge(AckKind::PubAck, id, reason_code, turn),
            QoS::ExactlyOnce => {
                // An older client cannot be told of an error: it will send PUBREL, which must be known.
                if reason_code.is_error()
                    && !self.version.is_v5()
                    && let Ok(connected) = self.connected()
                {
                    connected.session.lock().received.insert_refused(id, turn.now.mono_ms);
                }
                self.acknowledge(AckKind::PubRec, id, reason_code, turn);
            }
        }
    }
}

/// The topic behind `$delayed/…`: the client must have the right to both.
fn delayed_topic<'a>(topic: &'a str, turn: &Turn) -> Option<&'a str> {
    let is_delayed = topic.starts_with("$delayed/") && turn.broker.delayed.is_enabled();
    is_delayed.then(|| Delayed::parse(topic, turn.now).ok()).flatten().map(|(_, inner)| inner)
}

/// What no client may publish to, whatever its rights.
pub(crate) fn check_name(topic: &str, zone: &ZoneConfig) -> Result<(), ReasonCode> {
    if zone.max_topic_levels > 0 && topic::levels(topic) > usize::from(zone.max_topic_levels) {
        return Err(ReasonCode::TopicNameInvalid);
    }
    if topic.starts_with("$SYS/") || topic.starts_with("$events/") {
        return Err(ReasonCode::NotAuthorized);
    }
    Ok(())
}

/// The topic as the broker knows it: rewritten, behind the client's mountpoint.
pub(crate) fn place_name<'a>(
    topic: &'a str,
    mountpoint: &str,
    rewrite: Option<&Rewrite>,
) -> Cow<'a, str> {
    let rewritten = rewrite.and_then(|rewrite| rewrite.apply(topic));
    let name = rewritten.map_or(Cow::Borrowed(topic), Cow::Owned);
    if mountpoint.is_empty() { name } else { Cow::Owned(format!("{mountpoint}{name}")) }
}

/// When to look again at a message that another thread is routing.
const UNDER_WAY_MS: u64 = 5;
/// How long the connection of an older client lasts whose message was refused.
const UNANSWERED_MS: u64 = 10_000;

/// An empty payload retains nothing: it removes what is there [MQTT-3.3.1-6].
const fn sending(publish: &Publish<'_>) -> Sending {
    if publish.retain && !publish.payload.is_empty() { Sending::Retained } else { Sending::Plain }
}

/// What the zone does not offer must not be used [MQTT-3.2.2-11] [MQTT-3.2.2-14].
fn check_capabilities(publish: &Publish<'_>, zone: &ZoneConfig) -> Result<(), Close> {
    if publish.qos > zone.max_qos_allowed {
        return Err(Close::violation(ReasonCode::QoSNotSupported, "QoS above the Maximum QoS"));
    }
    if publish.retain && !zone.retain_available {
        return Err(Close::violation(ReasonCode::RetainNotSupported, "RETAIN is not available"));
    }
    Ok(())
}

fn intercept(
    connected: &Connected,
    draft: &mut PublishDraft<'_>,
    turn: &Turn,
) -> Result<(), ReasonCode> {
    for interceptor in &turn.extensions.interceptors {
        let answer = interceptor.publish(&connected.client, draft);
        answer.map_err(|code| code_for(PacketKind::PubAck, code))?;
    }
    if !turn.extensions.interceptors.is_empty() && topic::validate_name(&draft.topic).is_err() {
        return Err(ReasonCode::TopicNameInvalid);
    }
    Ok(())
}

fn delayed_reason(error: DelayedError) -> ReasonCode {
    match error {
        DelayedError::Malformed => ReasonCode::TopicNameInvalid,
        DelayedError::Full => ReasonCode::QuotaExceeded,
    }
}
