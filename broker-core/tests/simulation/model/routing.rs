//! Routing: what the broker takes from publishers, and whom it owes what for that.

use std::collections::BTreeMap;

use broker_codec::{QoS, topic};
use broker_core::Message;

use super::{
    Expected, Fresh, FreshKind, Kept, Model, Pass, Retention, Routing, Session, Share, ids,
};
use crate::rig::{Q0, Q2};

/// Bytes of a PUBLISH beyond topic and payload, at most.
const OVERHEAD: usize = 60;

/// Payloads of delayed messages end so.
pub const DELAYED: &str = ":delayed";

fn is_delayed(payload: &str) -> bool {
    payload.trim_end().ends_with(DELAYED)
}

impl Model {
    /// A message was taken from its publisher to be published later.
    pub fn delayed(&mut self, id: &str, payload: &str) {
        self.recorded.insert(payload.to_owned(), self.passes.now);
        self.taken(id, payload, Some(true));
    }

    fn taken(&mut self, publisher: &str, payload: &str, is_recorded: Option<bool>) {
        self.accepted.entry(payload.to_owned()).or_default().count += 1;
        let publisher_lasts = self.sessions.get(publisher).is_some_and(|s| s.state.lasts());
        let kind = FreshKind::Taken { is_recorded, publisher_lasts };
        self.fresh.push(Fresh { payload: payload.to_owned(), pass: self.passes.now, kind });
    }

    /// The publisher has learnt that its message was taken.
    pub fn check_taken(&self, payload: &str, qos: QoS) {
        if payload.is_empty() {
            return;
        }
        let accepted = self.accepted.get(payload).copied().unwrap_or_default();
        let times = accepted.count - accepted.lost;
        let what = payload.trim_end();
        assert!(times >= 1, "at least once: {what} {accepted:?}");
        let is_right = qos < Q2 || times <= 1 + accepted.unsure;
        assert!(is_right, "exactly once: {what} {accepted:?}");
    }

    /// A message was routed.
    pub fn route(&mut self, message: &Message) {
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        self.n_routed += 1;
        let n = self.n_routed;
        let topic = &*message.topic;
        // A message published again at QoS 1 is another one: what becomes of it now is what counts.
        // Of a delayed one that was settled when it came.
        if !is_delayed(&payload) {
            self.recorded.remove(&payload);
        }
        if message.retain {
            self.retain(topic, &payload, message);
        }
        if payload.is_empty() {
            // Nothing tells one from another.
            return;
        }
        let count = self.routings.entry(payload.clone()).or_insert((0, n, n));
        *count = (count.0 + 1, count.1, n);
        let publisher = message.publisher.client_id().as_str();
        let mut groups: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let mut all_last = true;
        let expiry_s =
            message.expires_at_ms.map(|at| ((at - message.published_at_ms) / 1000) as u32);
        for (id, session) in &mut self.sessions {
            let mut plain: Option<(QoS, bool, bool, Vec<u32>)> = None;
            for (filter, subscribed) in &session.subscriptions {
                let options = subscribed.options;
                if let Some(rest) = filter.strip_prefix("$share/") {
                    let (_, filter_part) = rest.split_once('/').expect("shares have a filter");
                    if topic::matches(filter_part, topic) {
                        let candidate = (
                            id.clone(),
                            session.incarnation,
                            subscribed.serial,
                            options.qos.min(message.qos),
                        );
                        groups.entry(filter.clone()).or_default().push(candidate);
                        all_last &= session.state.lasts();
                        let e = session.expected.entry(payload.clone()).or_default();
                        e.shared += 1;
                        e.qos.insert(options.qos.min(message.qos));
                        e.identifiers.insert(ids(&[subscribed.identifier]));
                        e.note(topic, message, expiry_s);
                    }
                } else if topic::matches(filter, topic) {
                    let sum = plain.get_or_insert((Q0, true, false, Vec::new()));
                    sum.0 = sum.0.max(options.qos);
                    sum.1 &= options.no_local;
                    sum.2 |= options.retain_as_published;
                    sum.3.push(subscribed.identifier);
                }
            }
            let Some((qos, no_local, retain_as_published, identifiers)) = plain else { continue };
            if no_local && publisher == id {
                continue;
            }
            let qos = qos.min(message.qos);
            let flag = usize::from(retain_as_published && message.retain);
            if session.owe(&payload, (qos, flag), message, expiry_s, self.passes.now) {
                self.recorded.entry(payload.clone()).or_insert(self.passes.now);
            }
            let e = session.expected.get_mut(&payload).expect("it was put there");
            e.identifiers.insert(ids(&identifiers));
        }
        let is_recorded = self.recorded.contains_key(&payload);
        let is_known = groups.is_empty() || is_recorded;
        for (filter, candidates) in groups {
            self.shares.push(Share {
                payload: payload.clone(),
                candidates,
                filter,
                n,
                pass: self.passes.now,
                lasts: all_last,
                is_lost: false,
                is_open: false,
            });
        }
        if is_delayed(&payload) || payload.starts_with("will:") {
            let pass = self.passes.now;
            self.fresh.push(Fresh { payload, pass, kind: FreshKind::Routed });
        } else {
            self.taken(publisher, &payload, is_known.then_some(is_recorded));
        }
    }

    fn retain(&mut self, topic: &str, payload: &str, message: &Message) {
        let (n, pass) = (self.n_routed, self.passes.now);
        let values = self.retained.entry(topic.to_owned()).or_default();
        if let Some((_, Some(old))) = values.last()
            && let Some(retention) = self.retentions.get_mut(&old.payload)
        {
            retention.until = n;
        }
        let is_clear = payload.is_empty();
        let expires_at_ms = message.expires_at_ms;
        let kept = || Kept { payload: payload.to_owned(), expires_at_ms };
        values.push((pass, (!is_clear).then(kept)));
        if !is_clear {
            self.recorded.entry(payload.to_owned()).or_insert(pass);
            let retention =
                Retention { topic: topic.to_owned(), qos: message.qos, until: u64::MAX };
            self.retentions.insert(payload.to_owned(), retention);
        }
    }

    /// True if a message is retained for the topic now, and has not expired.
    pub fn is_retained(&self, topic: &str) -> bool {
        let values = self.retained.get(topic);
        let kept = values.and_then(|values| values.last()).and_then(|(_, kept)| kept.as_ref());
        kept.is_some_and(|kept| kept.is_alive(self.now))
    }

    /// A client has acknowledged a delivery: the message is the client's.
    pub fn taken_over(&mut self, conn: usize, payload: &str) {
        let pass = self.passes.now;
        if let Some(session) = self.session_of_mut(conn) {
            let when = session.when(pass);
            if let Some(e) = session.expected.get_mut(payload) {
                e.done.push(when);
            }
        }
    }

    /// The pass that has recorded a message, if its acknowledgement must wait for that.
    pub fn must_be_recorded(&self, payload: &str) -> Option<Pass> {
        self.recorded.get(payload).copied().filter(|_| self.store_is_on)
    }
}

impl Session {
    /// The session is to get a message. Returns whether that is recorded.
    fn owe(
        &mut self,
        payload: &str,
        (qos, flag): (QoS, usize),
        message: &Message,
        expiry_s: Option<u32>,
        pass: Pass,
    ) -> bool {
        let when = self.when(pass);
        let lasts = self.state.lasts();
        let e = self.expected.entry(payload.to_owned()).or_default();
        let is_first = e.routings.is_empty() && e.shared == 0;
        e.is_once = (is_first || e.is_once) && qos == Q2 && lasts;
        e.plain[flag] += 1;
        e.routings.push(Routing { when, flag, qos, is_lost: false });
        e.qos.insert(qos);
        e.note(&message.topic, message, expiry_s);
        let publisher = message.publisher.client_id().as_str().to_owned();
        let key = (publisher, message.topic.to_string(), qos);
        self.order.entry(key).or_default().list.push((payload.to_owned(), when, u32::MAX));
        qos > Q0 && lasts
    }
}

impl Expected {
    fn note(&mut self, topic: &str, message: &Message, expiry_s: Option<u32>) {
        self.topic = topic.to_owned();
        self.size = topic.len() + message.payload.len() + OVERHEAD;
        // A message published twice may be received as it was the first time.
        let first = self.expires_at_ms.unwrap_or(u64::MAX);
        self.expires_at_ms = message.expires_at_ms.map(|at| at.min(first));
        self.expiry_s = expiry_s;
        self.was_retained |= message.retain;
    }
}
