//! The places that a message passes, in the order the broker decides in.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use broker_codec::{PacketId, PublishHeader, QoS, publish_len, topic};

use super::{CheckResult, Share, Why, WhyCheck, WhyQuestion, WhyVerdict};
use crate::access::right_now;
use crate::broker::Broker;
use crate::channel::{check_name, place_name};
use crate::client::ClientInfo;
use crate::clock::Now;
use crate::delayed::Delayed;
use crate::extension::Action;
use crate::session::drops::DropReason;
use crate::session::outlook::{Fate, Outlook};
use crate::traces::Quoted;

/// What was found so far.
#[derive(Default)]
pub(super) struct Checks {
    list: Vec<WhyCheck>,
    first_fail: Option<(WhyVerdict, String)>,
}

/// Those that ask the receiver's session.
const OF_RECEIVER: &[&str] = &[
    "receiver",
    "subscription",
    "subscribe_acl",
    "no_local",
    "expiry",
    "size",
    "queue",
    "window",
    "outbox",
];

impl Checks {
    fn pass(&mut self, check: &'static str, detail: impl Into<String>) {
        self.list.push(WhyCheck { check, result: CheckResult::Pass, detail: detail.into() });
    }

    fn unknown(&mut self, check: &'static str, detail: impl Into<String>) {
        self.list.push(WhyCheck { check, result: CheckResult::Unknown, detail: detail.into() });
    }

    fn fail(&mut self, check: &'static str, verdict: WhyVerdict, detail: impl Into<String>) {
        let detail = detail.into();
        self.first_fail.get_or_insert_with(|| (verdict, detail.clone()));
        self.list.push(WhyCheck { check, result: CheckResult::Fail, detail });
    }

    /// The answer if the receiver has no session.
    pub(super) fn without_session(mut self, question: &WhyQuestion<'_>) -> Why {
        let to = Quoted(question.to);
        let detail =
            format!("{to} has no session: it is not connected, and nothing is kept for it");
        self.fail(OF_RECEIVER[0], WhyVerdict::NoSession, detail.clone());
        for check in &OF_RECEIVER[1..] {
            self.unknown(check, "there is no session to ask");
        }
        self.conclude(Vec::new(), || (WhyVerdict::NoSession, detail))
    }

    /// The answer, with a verdict for what gets by everywhere.
    pub(super) fn conclude(
        self,
        counts: Vec<(&'static str, u64)>,
        gets_by: impl FnOnce() -> (WhyVerdict, String),
    ) -> Why {
        let (verdict, mut explanation) = match self.first_fail {
            None => gets_by(),
            Some((verdict, detail)) => (verdict, format!("{}{detail}", introduction(verdict))),
        };
        let refused = self.list.iter().find(|it| it.check == "subscribe_acl");
        if let Some(refused) = refused.filter(|it| it.result == CheckResult::Fail)
            && verdict == WhyVerdict::NoSubscription
        {
            explanation.push_str(&format!("; and {}", refused.detail));
        }
        Why { verdict, explanation, checks: self.list, counts }
    }
}

/// What makes a sentence of a detail that is none.
const fn introduction(verdict: WhyVerdict) -> &'static str {
    match verdict {
        WhyVerdict::TooLarge => "the message is too large: ",
        WhyVerdict::QueueFull => "the queue of the receiver has no room: ",
        WhyVerdict::OutboxFull => "the receiver does not read what it is sent in time: ",
        _ => "",
    }
}

impl Broker {
    /// What happens to the message before it is routed. Returns the topic that it is routed by, as far as that is
    /// known.
    pub(super) fn check_publisher(
        &self,
        question: &WhyQuestion<'_>,
        now: Now,
        checks: &mut Checks,
    ) -> String {
        let from = Quoted(question.from);
        let client = self.sessions.get(question.from).map(|session| {
            let state = session.lock();
            let client = Arc::clone(&state.client);
            match &state.connection {
                Some(_) => {
                    checks.pass("publisher", format!("connected from {}", Peer(client.peer)))
                }
                None => {
                    let s = now.wall_ms.saturating_sub(state.disconnected_wall_ms) / 1000;
                    let detail = format!("away for {s} s; the rest is as it was connected then");
                    checks.unknown("publisher", detail);
                }
            }
            client
        });
        if client.is_none() {
            let detail = format!(
                "no client {from} is connected, nor is a session kept; its rights cannot be told"
            );
            checks.unknown("publisher", detail);
        }
        let (inner, is_delayed, is_refused) = match self.inner_topic(question.topic, now) {
            Ok((inner, is_delayed)) => (inner, is_delayed, false),
            Err(()) => (question.topic, false, true),
        };
        let mountpoint = client.as_ref().map_or("", |client| &*client.mountpoint);
        let (rewrite, _) = self.rewrite();
        let name = place_name(inner, mountpoint, rewrite.as_deref()).into_owned();
        let problem = client.as_ref().and_then(|client| {
            [question.topic, inner].iter().find_map(|name| check_name(name, &client.zone).err())
        });
        if is_refused {
            let detail = "the delay of $delayed/… is no number of seconds that it may be";
            checks.fail("topic", WhyVerdict::TopicRefused, detail);
        } else if let Some(reason_code) = problem {
            let topic = Quoted(question.topic);
            let detail = format!("nobody may publish to {topic}: {reason_code}");
            checks.fail("topic", WhyVerdict::TopicRefused, detail);
        } else {
            checks.pass("topic", self.topic_detail(&name, is_delayed, client.is_some()));
        }
        match &client {
            Some(client) => {
                let topics: &[&str] = &[question.topic, inner];
                self.check_right_to_publish(
                    client,
                    if is_delayed { topics } else { &topics[..1] },
                    checks,
                );
            }
            None => checks.unknown("publish_acl", "the publisher is not known"),
        }
        name
    }

    /// The topic behind `$delayed/…`, and whether there was one.
    fn inner_topic<'a>(&self, topic: &'a str, now: Now) -> Result<(&'a str, bool), ()> {
        if topic.starts_with("$delayed/") && self.delayed.is_enabled() {
            return Delayed::parse(topic, now).map(|(_, inner)| (inner, true)).map_err(drop);
        }
        Ok((topic, false))
    }

    fn topic_detail(&self, name: &str, is_delayed: bool, is_client_known: bool) -> String {
        let mut detail = format!("routed as {}, levels {}", Quoted(name), topic::levels(name));
        if is_delayed {
            detail.push_str(", when its delay is over");
        }
        if !is_client_known {
            detail.push_str(", before a mountpoint that the publisher may have");
        }
        let (extensions, ..) = self.extensions();
        if !extensions.interceptors.is_empty() {
            detail.push_str("; an extension of the broker may still change or refuse it");
        }
        detail
    }

    fn check_right_to_publish(
        &self,
        client: &Arc<ClientInfo>,
        topics: &[&str],
        checks: &mut Checks,
    ) {
        let (extensions, ..) = self.extensions();
        let (mut is_allowed, mut by) = (Some(true), "");
        for topic in topics {
            (is_allowed, by) = right_now(&extensions.authorizers, client, Action::Publish, topic);
            if is_allowed != Some(true) {
                break;
            }
        }
        let (id, topic) = (Quoted(client.client_id.as_str()), Quoted(topics[0]));
        match is_allowed {
            Some(true) => checks.pass("publish_acl", format!("{id} may publish to {topic}: {by}")),
            Some(false) => checks.fail(
                "publish_acl",
                WhyVerdict::AclDenied,
                format!("{id} may not publish to {topic}: {by}"),
            ),
            None => checks.unknown("publish_acl", by),
        }
    }

    /// What the receiver's session says to it.
    pub(super) fn check_receiver(
        &self,
        question: &WhyQuestion<'_>,
        outlook: &Outlook,
        share: Option<&Share>,
        now: Now,
        checks: &mut Checks,
    ) {
        let is_qos0 = outlook.fate.as_ref().is_some_and(|fate| fate.qos == QoS::AtMostOnce);
        let loss = |reason: DropReason| {
            // What befalls QoS 0 alone says nothing of the others.
            let concerns =
                !matches!(reason, DropReason::Offline | DropReason::OutboxFull) || is_qos0;
            let loss = outlook.loss.filter(|loss| concerns && loss.reason == reason)?;
            Some(Ago(now.wall_ms.saturating_sub(loss.at_ms)))
        };
        check_presence(question, outlook, loss(DropReason::Offline), checks);
        check_subscription(question, outlook, share, checks);
        self.check_right_to_subscribe(question, outlook, checks);
        let Some(fate) = &outlook.fate else {
            for check in &OF_RECEIVER[3..] {
                checks.unknown(check, "there is no subscription that would take the message here");
            }
            return;
        };
        if fate.is_own {
            let detail = "the receiver is the publisher, and wants none of its own messages";
            checks.fail("no_local", WhyVerdict::NoLocal, detail);
        } else {
            checks.pass("no_local", "not its own message, or it wants those too");
        }
        check_expiry(outlook, loss(DropReason::Expired), checks);
        self.check_packet_size(question, outlook, fate, loss(DropReason::TooLarge), checks);
        check_queue(outlook, fate, loss(DropReason::QueueFull), checks);
        check_window(outlook, fate, checks);
        check_outbox(outlook, fate, loss(DropReason::OutboxFull), checks);
    }

    fn check_right_to_subscribe(
        &self,
        question: &WhyQuestion<'_>,
        outlook: &Outlook,
        checks: &mut Checks,
    ) {
        let (extensions, ..) = self.extensions();
        let first = outlook.filters.first();
        let filter = first.map_or(question.topic, |subscription| subscription.topic_filter());
        let (is_allowed, by) =
            right_now(&extensions.authorizers, &outlook.client, Action::Subscribe, filter);
        let filter = Quoted(filter);
        match (is_allowed, first.is_some()) {
            (Some(true), _) => {
                checks.pass("subscribe_acl", format!("it may subscribe to {filter}: {by}"));
            }
            // Rights are asked for at SUBSCRIBE: what was granted then goes on.
            (Some(false), true) => checks.pass(
                "subscribe_acl",
                format!("it may not subscribe to {filter} any more ({by}), but has done so before"),
            ),
            (Some(false), false) => checks.fail(
                "subscribe_acl",
                WhyVerdict::AclDenied,
                format!("it may not subscribe to {filter}: {by}"),
            ),
            (None, _) => checks.unknown("subscribe_acl", by),
        }
    }

    fn check_packet_size(
        &self,
        question: &WhyQuestion<'_>,
        outlook: &Outlook,
        fate: &Fate,
        lost: Option<Ago>,
        checks: &mut Checks,
    ) {
        let (check, verdict) = ("size", WhyVerdict::TooLarge);
        if let Some((len, max)) = self.too_large_to_publish(question) {
            let detail = format!("{len} bytes; the publisher's zone takes packets up to {max}");
            return checks.fail(check, verdict, detail);
        }
        match (fate.packet, outlook.packet_max) {
            (Some((len, false)), Some(max)) => {
                checks.fail(check, verdict, format!("{len} bytes; the client takes up to {max}"));
            }
            (Some((len, true)), Some(max)) => {
                checks.pass(check, format!("{len} bytes; the client takes up to {max}"));
            }
            (_, max) => match (lost, max) {
                (Some(ago), Some(max)) => checks.fail(
                    check,
                    verdict,
                    format!("the last one was larger than the client takes ({max}), {ago}"),
                ),
                (None, Some(max)) => {
                    checks.pass(check, format!("the client takes up to {max} bytes"))
                }
                (_, None) => checks.unknown(check, "the client says at CONNECT what it takes"),
            },
        }
    }

    /// Bytes of the packet, and those that the zone of the publisher takes.
    fn too_large_to_publish(&self, question: &WhyQuestion<'_>) -> Option<(usize, u32)> {
        let session = self.sessions.get(question.from)?;
        let client = Arc::clone(&session.lock().client);
        let header = PublishHeader {
            qos: question.qos,
            packet_id: (question.qos > QoS::AtMostOnce).then_some(PacketId::MIN),
            ..PublishHeader::default()
        };
        let len = publish_len(client.version, &header, question.topic.len(), question.size?);
        let max = client.zone.max_packet_size;
        (len > max as usize).then_some((len, max))
    }
}

fn check_presence(
    question: &WhyQuestion<'_>,
    outlook: &Outlook,
    lost: Option<Ago>,
    checks: &mut Checks,
) {
    let (check, verdict) = ("receiver", WhyVerdict::Offline);
    let to = Quoted(question.to);
    let away_s = outlook.away_ms / 1000;
    if outlook.is_connected {
        match lost {
            None => checks.pass(check, format!("connected from {}", Peer(outlook.client.peer))),
            Some(ago) => checks.fail(
                check,
                verdict,
                format!("{to} is back, but was away when the last one came, {ago}, of QoS 0"),
            ),
        }
    } else if outlook.is_expired {
        checks.fail(
            check,
            verdict,
            format!("{to} is away for {away_s} s, and its session is over"),
        );
    } else if outlook.fate.as_ref().is_some_and(|fate| fate.is_offline) {
        let detail =
            format!("{to} is away for {away_s} s, and its zone keeps nothing of QoS 0 for it");
        checks.fail(check, verdict, detail);
    } else {
        checks.pass(check, format!("away for {away_s} s; its session is kept"));
    }
}

fn check_subscription(
    question: &WhyQuestion<'_>,
    outlook: &Outlook,
    share: Option<&Share>,
    checks: &mut Checks,
) {
    let Some(fate) = &outlook.fate else {
        let (n, to, topic) = (outlook.subscriptions, Quoted(question.to), Quoted(question.topic));
        let detail = format!("none of the {n} subscriptions of {to} matches {topic}");
        return checks.fail("subscription", WhyVerdict::NoSubscription, detail);
    };
    let mut detail = String::from("matched by");
    for subscription in outlook.filters.iter().take(FILTERS_MAX) {
        detail.push_str(&format!(" {}", Quoted(&subscription.filter)));
    }
    if outlook.filters.len() > FILTERS_MAX {
        detail.push_str(&format!(" and {} more", outlook.filters.len() - FILTERS_MAX));
    }
    detail.push_str(&format!("; QoS {}", fate.qos.bits()));
    if let Some(share) = share {
        let (name, members) = (Quoted(&share.name), share.members);
        detail.push_str(&format!("; one of {members} members of group {name} gets each message"));
    }
    checks.pass("subscription", detail);
}

fn check_expiry(outlook: &Outlook, lost: Option<Ago>, checks: &mut Checks) {
    let (check, verdict) = ("expiry", WhyVerdict::Expired);
    if let Some(ago) = lost {
        let detail = format!("the last one expired while it waited, and was dropped {ago}");
        checks.fail(check, verdict, detail);
    } else if outlook.expired > 0 && outlook.expired == outlook.queued {
        let n = outlook.expired;
        checks.fail(check, verdict, format!("{n} that wait for the client have expired meanwhile"));
    } else {
        checks.pass(check, format!("{} wait, {} of them expired", outlook.queued, outlook.expired));
    }
}

fn check_queue(outlook: &Outlook, fate: &Fate, lost: Option<Ago>, checks: &mut Checks) {
    let (check, verdict) = ("queue", WhyVerdict::QueueFull);
    let used = Used(outlook.queue_len as u64, u64::from(outlook.queue_max));
    if fate.is_queue_full {
        checks.fail(check, verdict, format!("{used}, and a new message drives the oldest one out"));
    } else if let Some(ago) = lost {
        let detail =
            format!("{used}; the last one that was lost was driven out by newer ones, {ago}");
        checks.fail(check, verdict, detail);
    } else {
        checks.pass(check, used.to_string());
    }
}

fn check_window(outlook: &Outlook, fate: &Fate, checks: &mut Checks) {
    match outlook.window {
        None => checks.unknown("window", "the client says at CONNECT how much it takes at a time"),
        Some(window) => {
            let used = Used(outlook.inflight as u64, window.into());
            let then = if fate.is_window_full { ": others wait until it acknowledges" } else { "" };
            checks.pass("window", format!("{used} unacknowledged{then}"));
        }
    }
}

fn check_outbox(outlook: &Outlook, fate: &Fate, lost: Option<Ago>, checks: &mut Checks) {
    let (check, verdict) = ("outbox", WhyVerdict::OutboxFull);
    let Some((len, max)) = outlook.outbox else {
        return checks.unknown(check, "there is no connection");
    };
    let used = Used(len as u64, max as u64);
    if fate.is_passed_on && fate.is_outbox_full {
        let detail = format!("{used} bytes: the client reads too slowly, QoS 0 is dropped");
        checks.fail(check, verdict, detail);
    } else if let Some(ago) = lost {
        let detail = format!("{used} bytes; the last one was dropped since it was full, {ago}");
        checks.fail(check, verdict, detail);
    } else {
        let then = if fate.is_outbox_full { ": others wait until it reads" } else { "" };
        checks.pass(check, format!("{used} bytes{then}"));
    }
}

/// Filters that are told.
const FILTERS_MAX: usize = 4;

/// `3 of 32`, or `3` where there is no limit.
struct Used(u64, u64);

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            0 => write!(f, "{}", self.0),
            max => write!(f, "{} of {max}", self.0),
        }
    }
}

/// `12 s ago`, from milliseconds.
#[derive(Clone, Copy)]
struct Ago(u64);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s ago", self.0 / 1000)
    }
}

struct Peer(Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(peer) => write!(f, "{peer}"),
            None => f.write_str("this machine"),
        }
    }
}
