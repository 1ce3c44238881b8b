//! Model: what MQTT promises, kept beside the broker and compared with what clients receive.
//!
//! It knows of sessions, subscriptions and retained messages only what the packets said, in the order the
//! broker handled them, and hears of every message that was routed from a consumer of `#`.

use std::collections::{BTreeMap, BTreeSet};

use broker_codec::{QoS, ReasonCode, RetainHandling, topic};
use broker_core::{CloseCause, Message, Now, ProtocolVersion, SubscriptionOptions};

use crate::rig::{Q0, Q2};

#[derive(Default)]
pub struct Model {
    pub now: Now,
    sessions: BTreeMap<String, Session>,
    incarnations: u64,
    /// Connection to client, the session's incarnation, and whether a session was there before.
    connections: BTreeMap<usize, (String, u64, bool)>,
    /// How often each payload was routed, when first and when last (in routings).
    routings: BTreeMap<String, (u32, u64, u64)>,
    n_routed: u64,
    retained: BTreeMap<String, String>,
    /// When a payload was retained and when no more, in routings.
    retentions: BTreeMap<String, Retention>,
    shares: Vec<Share>,
    /// Receptions by members that joined after the message was routed, and got it from another.
    handed_on: BTreeMap<String, usize>,
    /// When a member came to a group or left it last, in routings: who has a message by then is not known.
    changed: BTreeMap<String, u64>,
    /// Groups that have had a member at QoS 0.
    lossy_groups: BTreeSet<String>,
    /// Groups that have had a member at QoS 0 or 1.
    groups_below_q2: BTreeSet<String>,
    /// Wills and whether they must have been published.
    wills: BTreeMap<String, bool>,
    /// Messages whose acknowledgement must wait for the store.
    recorded: BTreeSet<String>,
    store_is_on: bool,
    pub n_received: u64,
    pub is_traced: bool,
    pub n_resumed: u64,
}

struct Retention {
    topic: String,
    qos: QoS,
    until: u64,
    expires_at_ms: Option<u64>,
}

pub struct Session {
    incarnation: u64,
    version: ProtocolVersion,
    connection: Option<usize>,
    expiry_s: u32,
    disconnected_at_ms: Option<u64>,
    will: Option<(String, u32)>,
    subscriptions: BTreeMap<String, Subscribed>,
    expected: BTreeMap<String, Expected>,
    /// What was routed to the session, by publisher, topic and QoS, and how far it has been received.
    order: BTreeMap<(String, String, QoS), (Vec<String>, usize)>,
    /// Groups it has been a member of.
    ever_shared: BTreeSet<String>,
    grants: Vec<Grant>,
    /// Latest routing of a retained message received live, by topic.
    newest_live: BTreeMap<String, u64>,
    /// Smallest Maximum Packet Size of any of its connections.
    max_packet_size: usize,
}

#[derive(Clone)]
struct Subscribed {
    options: SubscriptionOptions,
    identifier: u32,
    serial: u64,
}

/// Retained messages that a SUBSCRIBE asked for.
struct Grant {
    filter: String,
    since: u64,
}

#[derive(Default)]
struct Expected {
    topic: String,
    /// By plain subscriptions, without and with RETAIN, and as a member that may be picked.
    plain: [usize; 2],
    shared: usize,
    got: [usize; 2],
    qos: BTreeSet<QoS>,
    identifiers: BTreeSet<Vec<u32>>,
    size: usize,
    expires_at_ms: Option<u64>,
    expiry_s: Option<u32>,
    was_retained: bool,
}

/// One message for one group.
struct Share {
    payload: String,
    /// Client, incarnation, serial of its subscription, QoS.
    candidates: Vec<(String, u64, u64, QoS)>,
    filter: String,
    /// Its number among the routings.
    n: u64,
}

/// A PUBLISH as its client sees it.
pub struct Reception<'a> {
    pub topic: &'a str,
    pub payload: &'a str,
    pub qos: QoS,
    pub dup: bool,
    pub retain: bool,
    /// The client had it before and knows that.
    pub is_resent: bool,
    pub expiry_s: Option<u32>,
    pub identifiers: Vec<u32>,
}

pub struct Connecting<'a> {
    pub conn: usize,
    pub id: &'a str,
    pub version: ProtocolVersion,
    pub clean: bool,
    pub expiry_s: u32,
    /// Payload and delay.
    pub will: Option<(String, u32)>,
    pub max_packet_size: usize,
}

/// Bytes of a PUBLISH beyond topic and payload, at most.
const OVERHEAD: usize = 60;

impl Session {
    fn is_over(&self, now: Now) -> bool {
        self.expiry_s != u32::MAX
            && self
                .disconnected_at_ms
                .is_some_and(|at| at + u64::from(self.expiry_s) * 1000 <= now.mono_ms)
    }

    fn is_will_due(&self, now: Now) -> bool {
        let (Some(at), Some((_, delay_s))) = (self.disconnected_at_ms, &self.will) else {
            return false;
        };
        at + u64::from((*delay_s).min(self.expiry_s)) * 1000 <= now.mono_ms
    }
}

impl Model {
    pub fn new(now: Now, store_is_on: bool) -> Self {
        Self { now, store_is_on, ..Self::default() }
    }

    pub fn routed(&self, payload: &str) -> u32 {
        self.routings.get(payload).map_or(0, |(n, ..)| *n)
    }

    fn settle_will(&mut self, will: Option<(String, u32)>, is_published: bool) {
        if let Some((payload, _)) = will {
            self.wills.insert(payload, is_published);
        }
    }

    fn end(&mut self, id: &str) {
        if let Some(session) = self.sessions.remove(id) {
            for filter in session.ever_shared {
                self.changed.insert(filter, self.n_routed);
            }
            self.settle_will(session.will, true);
        }
    }

    /// The broker has accepted a CONNECT.
    pub fn connect(&mut self, connecting: Connecting<'_>) {
        let Connecting { conn, id, version, clean, expiry_s, will, max_packet_size } = connecting;
        if self.sessions.get(id).is_some_and(|s| clean || s.is_over(self.now)) {
            self.end(id);
        }
        let is_present = self.sessions.contains_key(id);
        if let Some(session) = self.sessions.get_mut(id) {
            let was_connected = session.connection.is_some();
            let is_due = session.is_will_due(self.now);
            let old = session.will.take();
            let delay_s = old.as_ref().map_or(0, |(_, delay_s)| *delay_s);
            self.settle_will(old, is_due || (was_connected && delay_s == 0));
        } else {
            self.incarnations += 1;
            let session = Session {
                incarnation: self.incarnations,
                version,
                connection: None,
                expiry_s,
                disconnected_at_ms: None,
                will: None,
                subscriptions: BTreeMap::new(),
                expected: BTreeMap::new(),
                order: BTreeMap::new(),
                ever_shared: BTreeSet::new(),
                grants: Vec::new(),
                newest_live: BTreeMap::new(),
                max_packet_size: usize::MAX,
            };
            self.sessions.insert(id.to_owned(), session);
        }
        self.n_resumed += u64::from(is_present);
        let session = self.sessions.get_mut(id).expect("it was put there");
        session.connection = Some(conn);
        session.expiry_s = expiry_s;
        session.disconnected_at_ms = None;
        session.will = will;
        session.max_packet_size = session.max_packet_size.min(max_packet_size);
        self.connections.insert(conn, (id.to_owned(), session.incarnation, is_present));
    }

    pub fn connack(&self, conn: usize, session_present: bool) {
        let (id, _, expected) = &self.connections[&conn];
        assert_eq!(session_present, *expected, "Session Present of {id}");
    }

    /// True while the connection serves its session.
    pub fn serves(&self, conn: usize) -> bool {
        self.session_of(conn).is_some_and(|session| session.connection == Some(conn))
    }

    fn session_of(&self, conn: usize) -> Option<&Session> {
        let (id, incarnation, _) = self.connections.get(&conn)?;
        self.sessions.get(id).filter(|session| session.incarnation == *incarnation)
    }

    fn session_of_mut(&mut self, conn: usize) -> Option<&mut Session> {
        let (id, incarnation, _) = self.connections.get(&conn)?;
        self.sessions.get_mut(id).filter(|session| session.incarnation == *incarnation)
    }

    /// A connection has ended.
    pub fn closed(&mut self, conn: usize, cause: CloseCause, expiry_s: Option<u32>) {
        let now = self.now;
        let Some(session) = self.session_of_mut(conn).filter(|s| s.connection == Some(conn)) else {
            return;
        };
        session.connection = None;
        session.disconnected_at_ms = Some(now.mono_ms);
        session.expiry_s = expiry_s.unwrap_or(session.expiry_s);
        let ends = session.expiry_s == 0;
        let delay_s = session.will.as_ref().map_or(0, |(_, delay_s)| *delay_s);
        let settled = match cause {
            CloseCause::ClientDisconnected => Some(false),
            _ if ends || delay_s == 0 => Some(true),
            _ => None,
        };
        if let Some(is_published) = settled {
            let will = session.will.take();
            self.settle_will(will, is_published);
        }
        if ends {
            let id = self.connections[&conn].0.clone();
            self.end(&id);
        }
    }

    /// The broker's timers have run.
    pub fn timers_ran(&mut self) {
        let now = self.now;
        let ids: Vec<_> = self.sessions.keys().cloned().collect();
        for id in ids {
            let session = &mut self.sessions.get_mut(&id).expect("its key is there");
            if session.is_will_due(now) {
                let will = session.will.take();
                self.settle_will(will, true);
            }
            if self.sessions[&id].is_over(now) {
                self.end(&id);
            }
        }
    }

    pub fn subscribed(
        &mut self,
        conn: usize,
        filter: &str,
        options: SubscriptionOptions,
        identifier: u32,
    ) {
        let (serial, since) = (self.incarnations, self.n_routed);
        self.incarnations += 1;
        let Some((id, incarnation, _)) = self.connections.get(&conn) else { return };
        let session = self.sessions.get_mut(id).filter(|s| s.incarnation == *incarnation);
        let Some(session) = session else { return };
        let old = session
            .subscriptions
            .insert(filter.to_owned(), Subscribed { options, identifier, serial });
        let is_shared = filter.starts_with("$share/");
        if is_shared {
            session.ever_shared.insert(filter.to_owned());
            self.changed.insert(filter.to_owned(), self.n_routed);
            if options.qos < Q2 {
                // Who took it at QoS 1 may have it and hand it on all the same.
                self.groups_below_q2.insert(filter.to_owned());
            }
            if options.qos == Q0 {
                // What is handed on to such a member is not promised to arrive.
                self.lossy_groups.insert(filter.to_owned());
            }
        }
        let sends_retained = match options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => old.is_none(),
            RetainHandling::DoNotSend => false,
        };
        if sends_retained && !is_shared {
            session.grants.push(Grant { filter: filter.to_owned(), since });
        }
    }

    pub fn unsubscribed(&mut self, conn: usize, filter: &str) {
        if let Some(session) = self.session_of_mut(conn) {
            session.subscriptions.remove(filter);
            self.changed.insert(filter.to_owned(), self.n_routed);
        }
    }

    /// A message was routed.
    pub fn route(&mut self, message: &Message) {
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        self.n_routed += 1;
        let n = self.n_routed;
        let count = self.routings.entry(payload.clone()).or_insert((0, n, n));
        *count = (count.0 + 1, count.1, n);
        let topic = &*message.topic;
        // A message published again at QoS 1 is another one: what becomes of it now is what counts.
        self.recorded.remove(&payload);
        if message.retain {
            self.recorded.insert(payload.clone());
            if let Some(old) = self.retained.remove(topic)
                && let Some(retention) = self.retentions.get_mut(&old)
            {
                retention.until = n;
            }
            if !payload.is_empty() {
                self.retained.insert(topic.to_owned(), payload.clone());
                let retention = Retention {
                    topic: topic.to_owned(),
                    qos: message.qos,
                    until: u64::MAX,
                    expires_at_ms: message.expires_at_ms,
                };
                self.retentions.insert(payload.clone(), retention);
            }
        }
        let publisher = message.publisher.client_id().as_str();
        let mut groups: BTreeMap<String, Vec<_>> = BTreeMap::new();
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
            if qos > Q0 && session.expiry_s > 0 {
                self.recorded.insert(payload.clone());
            }
            let e = session.expected.entry(payload.clone()).or_default();
            e.plain[usize::from(retain_as_published && message.retain)] += 1;
            e.qos.insert(qos);
            e.identifiers.insert(ids(&identifiers));
            e.note(topic, message, expiry_s);
            let key = (publisher.to_owned(), topic.to_owned(), qos);
            session.order.entry(key).or_default().0.push(payload.clone());
        }
        for (filter, candidates) in groups {
            self.shares.push(Share { payload: payload.clone(), candidates, filter, n });
        }
    }

    /// A client has received a message.
    pub fn received(&mut self, id: &str, conn: usize, r: &Reception<'_>) {
        self.n_received += 1;
        let what = format!("{id}: {} on {} at QoS {}", r.payload.trim_end(), r.topic, r.qos);
        if self.is_traced {
            let (dup, resent, retain) = (r.dup, r.is_resent, r.retain);
            eprintln!("{what} received in {conn} dup={dup} resent={resent} retain={retain}");
        }
        let now = self.now;
        let (_, first, last) = self.routings.get(r.payload).copied().unwrap_or_default();
        let retention = self.retentions.get(r.payload);
        let Some((_, incarnation, _)) = self.connections.get(&conn) else { return };
        let session = self.sessions.get_mut(id).filter(|s| s.incarnation == *incarnation);
        // The leftovers of a session that has ended are nobody's.
        let Some(session) = session else { return };
        if session.expected.get(r.payload).is_none_or(|e| e.shared == 0)
            && self.shares.iter().any(|share| {
                share.payload == r.payload && session.ever_shared.contains(&share.filter)
            })
        {
            if !r.is_resent {
                *self.handed_on.entry(r.payload.to_owned()).or_insert(0) += 1;
            }
            return;
        }
        // Copies with RETAIN may be live ones of a subscription that keeps the flag, or those that a
        // SUBSCRIBE asked for: nothing tells them apart, so they are counted together.
        let grants = retention.map_or(0, |retention| {
            assert_eq!(retention.topic, r.topic, "{what}");
            assert!(r.qos <= retention.qos, "{what}: published at {}", retention.qos);
            let is_owed = |grant: &&Grant| {
                topic::matches(&grant.filter, r.topic) && retention.until > grant.since
            };
            if r.retain { session.grants.iter().filter(is_owed).count() } else { 0 }
        });
        let flag = usize::from(r.retain);
        let e = session.expected.entry(r.payload.to_owned()).or_default();
        let most = e.plain[flag] + grants;
        let is_shared = e.shared > 0;
        assert!(is_shared || most > 0, "{what} with RETAIN {}: nobody asked for it", r.retain);
        if grants == 0 && !is_shared {
            assert!(e.qos.contains(&r.qos), "{what}: {:?}", e.qos);
        }
        if session.version.is_v5() {
            let got = ids(&r.identifiers);
            let is_right = is_shared || grants > 0 || e.identifiers.contains(&got);
            assert!(is_right, "{what}: {got:?} of {:?}", e.identifiers);
            assert!(grants > 0 || r.expiry_s.is_some() == e.expiry_s.is_some(), "{what}: expiry");
        }
        if let (Some(left_s), Some(at), Some(all_s)) = (r.expiry_s, e.expires_at_ms, e.expiry_s) {
            let left = at.saturating_sub(now.wall_ms).div_ceil(1000);
            // A share, or a retained copy, may be of an earlier publication.
            let at_least = if is_shared || grants > 0 { 0 } else { left };
            assert!(
                (at_least..=u64::from(all_s)).contains(&u64::from(left_s)),
                "{what}: expiry {left_s} of {all_s}, at least {at_least}"
            );
        }
        if r.is_resent {
            return;
        }
        e.got[flag] += 1;
        // Of shares the sum over all members counts, in the end.
        if !is_shared {
            let got = e.got[flag];
            assert!(got <= most, "{what} with RETAIN {}: {got} times of {most}", r.retain);
        }
        let newest = session.newest_live.entry(r.topic.to_owned()).or_insert(0);
        if r.retain && e.plain[flag] == 0 {
            assert!(r.dup || *newest <= last, "{what}: replaced by what was received before");
        } else if e.was_retained {
            *newest = (*newest).max(first);
        }
        if !is_shared && !r.retain {
            let key = (publisher_of(r.payload), r.topic.to_owned(), r.qos);
            let (list, at) = session.order.get_mut(&key).expect("it was routed to the session");
            let found = list[*at..].iter().position(|payload| payload == r.payload);
            *at += found.unwrap_or_else(|| panic!("{what}: out of order")) + 1;
        }
    }

    /// The broker has closed a connection and said why.
    pub fn told(&self, id: &str, reason_code: ReasonCode) {
        let expected = [ReasonCode::SessionTakenOver, ReasonCode::AdministrativeAction];
        assert!(expected.contains(&reason_code), "{id} was told {reason_code:?}");
    }

    pub fn must_be_recorded(&self, payload: &str) -> bool {
        self.store_is_on && self.recorded.contains(payload)
    }

    /// All is quiet: everything promised has been kept. `dropped` says what a queue had no room for.
    pub fn check_end(&self, dropped: impl Fn(&str) -> u64, retained: &BTreeMap<String, String>) {
        for (payload, must) in &self.wills {
            assert_eq!(self.routed(payload), u32::from(*must), "Will {payload}");
        }
        for (id, session) in &self.sessions {
            let mut missing = Vec::new();
            for (payload, e) in &session.expected {
                if e.qos.contains(&Q0) || e.is_excused(session, self.now) {
                    continue;
                }
                if e.got[0] < e.plain[0] || e.got[1] < e.plain[1] {
                    missing.push(payload.trim_end());
                }
            }
            assert!(
                missing.len() as u64 <= dropped(id),
                "{id} (incarnation {}) never got {missing:?}",
                session.incarnation
            );
        }
        self.check_shares(&dropped);
        let alive: BTreeMap<_, _> = self
            .retained
            .iter()
            .filter(|(_, payload)| {
                let at = self.retentions[*payload].expires_at_ms;
                at.is_none_or(|at| at > self.now.wall_ms)
            })
            .map(|(topic, payload)| (topic.clone(), payload.clone()))
            .collect();
        assert_eq!(*retained, alive, "retained messages");
    }

    fn check_shares(&self, dropped: &impl Fn(&str) -> u64) {
        // A member of two groups gets a copy for each: the sum over the groups of a message counts.
        let mut shares: BTreeMap<&str, Vec<&Share>> = BTreeMap::new();
        for share in &self.shares {
            shares.entry(&share.payload).or_default().push(share);
        }
        for (payload, list) in shares {
            let n = list.len();
            let candidates =
                || list.iter().flat_map(|s| s.candidates.iter().map(|c| (&s.filter, c)));
            let mut got = self.handed_on.get(payload).copied().unwrap_or(0);
            let mut is_steady = list.iter().all(|s| {
                self.changed.get(&s.filter).is_none_or(|at| *at < s.n)
                    && !self.lossy_groups.contains(&s.filter)
            });
            let mut seen = BTreeSet::new();
            for (filter, (id, incarnation, serial, qos)) in candidates() {
                let session = self.sessions.get(id).filter(|s| {
                    s.incarnation == *incarnation
                        && s.subscriptions.get(filter).is_some_and(|s| s.serial == *serial)
                });
                let Some(session) = session else {
                    is_steady = false;
                    continue;
                };
                let e = &session.expected[payload];
                is_steady &= *qos > Q0 && !e.is_excused(session, self.now) && dropped(id) == 0;
                if seen.insert(id) {
                    got += e.got[0] + e.got[1];
                }
            }
            let what = payload.trim_end();
            assert!(!is_steady || got >= n, "{what} reached {got} members of {n} groups");
            let all_q2 = candidates().all(|(_, (_, _, _, qos))| *qos == Q2)
                && list.iter().all(|s| !self.groups_below_q2.contains(&s.filter));
            assert!(!all_q2 || got <= n, "{what} reached {got} members of {n} groups");
        }
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

    fn is_excused(&self, session: &Session, now: Now) -> bool {
        self.expires_at_ms.is_some_and(|at| at <= now.wall_ms)
            || self.size > session.max_packet_size
    }
}

fn ids(list: &[u32]) -> Vec<u32> {
    let mut list: Vec<_> = list.iter().copied().filter(|id| *id > 0).collect();
    list.sort_unstable();
    list
}

fn publisher_of(payload: &str) -> String {
    payload.trim_start_matches("will:").split(':').next().unwrap_or_default().to_owned()
}
