//! Why: what becomes of a message from one client to another, and what has become of the last one.
//!
//! It goes the way of a message and asks, at each place, what decides there. Nothing is changed and nothing sent.

mod checks;

use std::sync::Arc;

use broker_codec::QoS;

use crate::broker::Broker;
use crate::clock::Now;
use crate::router::fan_out::Terms;
use crate::routing::terms_of_member;
use crate::session::Session;
use crate::session::outlook::{Outlook, Probe};
use crate::traces::{Quoted, TraceEventKind, TraceSubject};
use checks::Checks;

/// A message that did not arrive, or might not.
#[derive(Debug, Clone, Copy)]
pub struct WhyQuestion<'a> {
    /// Client Identifier of the publisher.
    pub from: &'a str,
    /// Topic Name as the publisher writes it; a valid one.
    pub topic: &'a str,
    /// Client Identifier of the receiver.
    pub to: &'a str,
    /// QoS it is published with.
    pub qos: QoS,
    /// Bytes of its payload, if they matter.
    pub size: Option<usize>,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Why {
    /// The first place that keeps the message back; else what became of the last one, or would of the next.
    pub verdict: WhyVerdict,
    /// The same in a sentence.
    pub explanation: String,
    /// In the order the broker decides in.
    pub checks: Vec<WhyCheck>,
    /// Of the receiver's session, since it was made or the broker was started: messages lost by reason, `delivered`,
    /// `unacknowledged`, `queued`. Empty without a session.
    pub counts: Vec<(&'static str, u64)>,
}

/// One place that a message passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyCheck {
    /// Its name.
    pub check: &'static str,
    /// Whether the message gets by.
    pub result: CheckResult,
    /// What was found there.
    pub detail: String,
}

/// Whether a message gets by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// It does.
    Pass,
    /// It does not.
    Fail,
    /// That cannot be told.
    Unknown,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyVerdict {
    /// A trace has seen it written for the client; of QoS 1 and 2, the client has acknowledged it.
    Delivered,
    /// It was written for the client, which has not acknowledged it.
    DeliveredUnacknowledged,
    /// It waits in the session, or would.
    Queued,
    /// It would be written for the client at once.
    WouldDeliver,
    /// The publisher may not publish to the topic.
    AclDenied,
    /// Nobody may: it is reserved, has too many levels, or a delay that is none.
    TopicRefused,
    /// The receiver has no session.
    NoSession,
    /// It has, and nothing in it matches.
    NoSubscription,
    /// It is the publisher, and wants none of its own.
    NoLocal,
    /// Its Message Expiry Interval passed while it waited.
    Expired,
    /// There was no room in the queue.
    QueueFull,
    /// It is larger than a packet may be.
    TooLarge,
    /// The receiver is away, and it is not kept for it.
    Offline,
    /// The receiver reads too slowly for QoS 0.
    OutboxFull,
    /// One member of a group gets it, which need not be this one.
    SharedOtherMember,
}

impl CheckResult {
    /// `pass`, `fail` or `unknown`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

impl WhyVerdict {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::DeliveredUnacknowledged => "delivered_unacknowledged",
            Self::Queued => "queued",
            Self::WouldDeliver => "would_deliver",
            Self::AclDenied => "acl_denied",
            Self::TopicRefused => "topic_refused",
            Self::NoSession => "no_session",
            Self::NoSubscription => "no_subscription",
            Self::NoLocal => "no_local",
            Self::Expired => "expired",
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::Offline => "offline",
            Self::OutboxFull => "outbox_full",
            Self::SharedOtherMember => "shared_other_member",
        }
    }
}

/// How a session comes to a message.
struct Share {
    name: Box<str>,
    members: usize,
}

impl Broker {
    /// What becomes of a message from one client to another.
    ///
    /// Cost: a look at the messages in flight and the first 10,000 in the queue of the receiver, and at the events of
    /// traces that are about it.
    #[must_use]
    pub fn why(&self, question: &WhyQuestion<'_>, now: Now) -> Why {
        let mut checks = Checks::default();
        let name = self.check_publisher(question, now, &mut checks);
        let Some(session) = self.sessions.get(question.to) else {
            return checks.without_session(question);
        };
        let (terms, share) = self.terms_for(&session, &name);
        let WhyQuestion { from, qos, size, .. } = *question;
        let probe = Probe { from, topic: &name, qos, size };
        let outlook = session.outlook(&probe, terms.as_ref(), now);
        self.check_receiver(question, &outlook, share.as_ref(), now, &mut checks);
        checks.conclude(counts(&outlook), || {
            self.what_happened(question, &name, &outlook, share.as_ref())
        })
    }

    /// On what terms a session gets the messages of a topic, by itself or as a member of a group.
    fn terms_for(&self, session: &Arc<Session>, name: &str) -> (Option<Terms>, Option<Share>) {
        let (fan_out, _) = self.router.matches(name);
        let number = session.number();
        if let Some(target) = fan_out.targets.iter().find(|it| it.session.number() == number) {
            return (Some(target.terms.clone()), None);
        }
        let member = fan_out.groups.iter().find_map(|group| {
            let (member, members) = group.membership(number)?;
            let share = Share { name: group.name().into(), members };
            Some((terms_of_member(&member), share))
        });
        member.map_or((None, None), |(terms, share)| (Some(terms), Some(share)))
    }

    /// What became of the last message, or would of the next.
    fn what_happened(
        &self,
        question: &WhyQuestion<'_>,
        name: &str,
        outlook: &Outlook,
        share: Option<&Share>,
    ) -> (WhyVerdict, String) {
        let (from, to) = (Quoted(question.from), Quoted(question.to));
        let topic = Quoted(question.topic);
        if outlook.unacknowledged > 0 {
            let n = outlook.unacknowledged;
            let text = format!(
                "{n} of {from} on {topic} went out to {to}, which has not acknowledged so far"
            );
            return (WhyVerdict::DeliveredUnacknowledged, text);
        }
        if outlook.queued > 0 {
            let n = outlook.queued;
            let why = if outlook.is_connected { "for its turn" } else { "for the client to come" };
            return (WhyVerdict::Queued, format!("{n} of {from} on {topic} wait {why}"));
        }
        if self.was_traced_as_delivered(question, name) {
            let text = format!("a trace has seen the last message on {topic} go out to {to}");
            return (WhyVerdict::Delivered, text);
        }
        if let Some(share) = share.filter(|share| share.members > 1) {
            let (members, group) = (share.members, Quoted(&share.name));
            let text = format!(
                "one of the {members} members of group {group} gets each message, and {to} is one of them"
            );
            return (WhyVerdict::SharedOtherMember, text);
        }
        if outlook.fate.as_ref().is_some_and(|fate| fate.waits) {
            let why = if outlook.is_connected {
                "until earlier ones are acknowledged or read"
            } else {
                "until the client comes back"
            };
            return (WhyVerdict::Queued, format!("a message would wait for {to} {why}"));
        }
        (
            WhyVerdict::WouldDeliver,
            format!("nothing keeps a message of {from} on {topic} from {to}"),
        )
    }

    /// Whether the last that a trace has seen of a message of the topic on its way to the client is that it went out.
    fn was_traced_as_delivered(&self, question: &WhyQuestion<'_>, name: &str) -> bool {
        let start = format!("topic={} ", Quoted(name));
        let traces = self.traces().list();
        let is_about = |subject: &TraceSubject| match subject {
            TraceSubject::ClientId(id) => **id == *question.to,
            TraceSubject::Topic(filter) => broker_codec::topic::matches(filter, name),
            TraceSubject::Address(_) => true,
        };
        let last = traces
            .iter()
            .filter(|trace| is_about(&trace.options().subject))
            .filter_map(|trace| {
                let page = trace.events_after(0, usize::MAX);
                page.events.into_iter().rev().find(|event| {
                    let kind = event.kind;
                    *event.client_id == *question.to
                        && (kind == TraceEventKind::Delivered && event.text.starts_with(&start)
                            || kind == TraceEventKind::Dropped
                                && event.text.ends_with(start.trim_end()))
                })
            })
            .max_by_key(|event| event.at_ms);
        last.is_some_and(|event| event.kind == TraceEventKind::Delivered)
    }
}

fn counts(outlook: &Outlook) -> Vec<(&'static str, u64)> {
    let drops = outlook.drops.iter().map(|(reason, count)| (reason.name(), *count));
    drops
        .chain([
            ("delivered", outlook.delivered),
            ("unacknowledged", outlook.all_unacknowledged as u64),
            ("queued", outlook.queue_len as u64),
        ])
        .collect()
}
