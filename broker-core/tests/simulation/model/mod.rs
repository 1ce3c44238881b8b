//! Model: what MQTT promises, kept beside the broker and compared with what clients receive.
//!
//! It knows of sessions, subscriptions and retained messages only what the packets said, in the order the
//! broker handled them, and hears of every message that was routed from a consumer of `#`. Of each change it
//! remembers the pass in which it was made: that is what a crash keeps or loses (`model/crash.rs`).

mod crash;
mod end;
mod passes;
mod reception;
mod routing;

use std::collections::{BTreeMap, BTreeSet};

use broker_codec::{QoS, ReasonCode, RetainHandling};
use broker_core::{CloseCause, Now, ProtocolVersion, SubscriptionOptions};

use crate::rig::{Q0, Q2};
pub use crash::Restored;
use passes::{NEVER, When};
pub use passes::{Pass, Passes};
pub use reception::Reception;
pub use routing::DELAYED;

#[derive(Default)]
pub struct Model {
    pub now: Now,
    pub passes: Passes,
    sessions: BTreeMap<String, Session>,
    /// Sessions that have ended since the broker's start: a crash may undo that.
    past: Vec<(String, Session)>,
    incarnations: u64,
    connections: BTreeMap<usize, Connected>,
    /// Crashes so far.
    life: u32,
    /// How often each payload was routed, when first and when last (in routings).
    routings: BTreeMap<String, (u32, u64, u64)>,
    n_routed: u64,
    /// Routings of Wills and delayed messages that a crash has undone.
    undone: BTreeMap<String, u32>,
    /// How often each payload was taken from its publisher.
    accepted: BTreeMap<String, Accepted>,
    /// What the next crash decides on.
    fresh: Vec<Fresh>,
    /// What was retained for each topic, the present last; before a crash it is not known what will be.
    retained: BTreeMap<String, Vec<(Pass, Option<Kept>)>>,
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
    wills: BTreeMap<String, Fate>,
    /// Messages whose acknowledgement must wait for the store, and for which pass.
    recorded: BTreeMap<String, Pass>,
    store_is_on: bool,
    pub n_received: u64,
    pub is_traced: bool,
    pub n_resumed: u64,
    /// Changes that a crash has undone, and sessions that came through one.
    pub n_lost: u64,
    pub n_restored: u64,
}

/// What a connection is to the model.
struct Connected {
    id: String,
    incarnation: u64,
    /// A session was there before.
    is_present: bool,
    /// Crashes before it.
    life: u32,
}

struct Retention {
    topic: String,
    qos: QoS,
    until: u64,
}

/// One publication with RETAIN. The same payload may be published again and expire at another time.
struct Kept {
    payload: String,
    expires_at_ms: Option<u64>,
}

/// One session of a client.
struct Session {
    incarnation: u64,
    version: ProtocolVersion,
    created_at_ms: u64,
    state: State,
    /// What `state` was before, and is.
    history: Vec<(Pass, State)>,
    ended: Option<Pass>,
    subscriptions: BTreeMap<String, Subscribed>,
    /// How they came to be so.
    changes: Vec<(When, String, Option<Subscribed>)>,
    expected: BTreeMap<String, Expected>,
    /// What was routed to the session, by publisher, topic and QoS.
    order: BTreeMap<(String, String, QoS), Order>,
    /// Groups it has been a member of.
    ever_shared: BTreeSet<String>,
    grants: Vec<Grant>,
    /// Latest routing of a retained message received live, by topic, and the life it was received in.
    newest_live: BTreeMap<String, (u32, u64)>,
    /// Smallest Maximum Packet Size of any of its connections.
    max_packet_size: usize,
    /// Crashes it came through.
    crashes: usize,
    /// Messages that queues of brokers before the last crash had no room for.
    dropped: u64,
}

/// What of a session each CONNECT and each end of a connection sets.
#[derive(Clone, Default)]
struct State {
    connection: Option<usize>,
    expiry_s: u32,
    /// By the wall clock.
    disconnected_at_ms: Option<u64>,
    will: Option<PlannedWill>,
}

#[derive(Debug, Clone)]
pub struct PlannedWill {
    pub payload: String,
    pub delay_s: u32,
    pub is_retained: bool,
}

/// What has become of a Will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pending,
    Published(Pass),
    Dropped(Pass),
    /// A crash left nobody who would publish it.
    Gone,
    /// Whether it is published is left open.
    Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// What a session is to get of one payload.
#[derive(Default)]
struct Expected {
    topic: String,
    /// By plain subscriptions, without and with RETAIN, and as a member that may be picked.
    plain: [usize; 2],
    shared: usize,
    got: [usize; 2],
    /// Those of QoS 2.
    got_once: [usize; 2],
    /// Copies beyond `plain` that crashes may have caused.
    spare: [usize; 2],
    routings: Vec<Routing>,
    /// QoS 2 all the way, to a session that lasts: whatever happens, never twice.
    is_once: bool,
    /// When the client took it over.
    done: Vec<When>,
    /// It came as a retained message too: which of the two the client took over is not known.
    was_copied: bool,
    /// The life from which on it must not come again, for its acknowledgement is on the disk.
    finished_in: Option<u32>,
    qos: BTreeSet<QoS>,
    identifiers: BTreeSet<Vec<u32>>,
    size: usize,
    expires_at_ms: Option<u64>,
    expiry_s: Option<u32>,
    was_retained: bool,
}

/// A payload routed to a session.
struct Routing {
    when: When,
    /// Index into `Expected::plain`.
    flag: usize,
    qos: QoS,
    is_lost: bool,
}

/// In which order messages are to come.
#[derive(Default)]
struct Order {
    /// Payloads, and the life from which on a routing is undone.
    list: Vec<(String, When, u32)>,
    /// How far it has been received, in which life.
    at: usize,
    life: u32,
}

/// How often a payload was taken from its publisher.
#[derive(Debug, Default, Clone, Copy)]
struct Accepted {
    count: u32,
    /// How many of them a crash has undone.
    lost: u32,
    /// How often it may have been taken again, for nothing told of the first time.
    unsure: u32,
}

/// Something a crash may undo.
struct Fresh {
    payload: String,
    pass: Pass,
    kind: FreshKind,
}

enum FreshKind {
    /// A message was taken; `None` if it is not known whether that was recorded.
    Taken { is_recorded: Option<bool>, publisher_lasts: bool },
    /// A Will or a delayed message was routed.
    Routed,
}

/// One message for one group.
struct Share {
    payload: String,
    /// Client, incarnation, serial of its subscription, QoS.
    candidates: Vec<(String, u64, u64, QoS)>,
    filter: String,
    /// Its number among the routings.
    n: u64,
    pass: Pass,
    /// All of the candidates have sessions that last.
    lasts: bool,
    /// A crash has undone it, or left open what has become of it.
    is_lost: bool,
    is_open: bool,
}

pub struct Connecting<'a> {
    pub conn: usize,
    pub id: &'a str,
    pub version: ProtocolVersion,
    pub clean: bool,
    pub expiry_s: u32,
    pub will: Option<PlannedWill>,
    pub max_packet_size: usize,
}

impl Kept {
    fn is_alive(&self, now: Now) -> bool {
        self.expires_at_ms.is_none_or(|at| at > now.wall_ms)
    }
}

impl State {
    fn is_over(&self, now: Now) -> bool {
        self.expiry_s != u32::MAX
            && self
                .disconnected_at_ms
                .is_some_and(|at| at + u64::from(self.expiry_s) * 1000 <= now.wall_ms)
    }

    fn is_will_due(&self, now: Now) -> bool {
        let (Some(at), Some(will)) = (self.disconnected_at_ms, &self.will) else {
            return false;
        };
        at + u64::from(will.delay_s.min(self.expiry_s)) * 1000 <= now.wall_ms
    }

    fn lasts(&self) -> bool {
        self.expiry_s > 0
    }
}

impl Session {
    /// When a change of now is recorded.
    fn when(&self, pass: Pass) -> When {
        When::in_pass(if self.state.lasts() { pass } else { NEVER })
    }

    fn note(&mut self, pass: Pass) {
        self.history.push((pass, self.state.clone()));
    }

    /// The session did not last and will: all of it is recorded.
    fn record_contents(&mut self, pass: Pass) {
        self.changes.iter_mut().for_each(|(when, ..)| when.recorded_again(pass));
        for e in self.expected.values_mut() {
            e.routings.iter_mut().for_each(|routing| routing.when.recorded_again(pass));
            e.done.iter_mut().for_each(|when| when.recorded_again(pass));
        }
        for order in self.order.values_mut() {
            order.list.iter_mut().for_each(|(_, when, _)| when.recorded_again(pass));
        }
    }
}

impl Model {
    pub fn new(now: Now, store_is_on: bool) -> Self {
        Self { now, store_is_on, ..Self::default() }
    }

    fn settle_will(&mut self, will: Option<PlannedWill>, is_published: bool) {
        if let Some(PlannedWill { payload, .. }) = will {
            let pass = self.passes.now;
            let fate = if is_published { Fate::Published(pass) } else { Fate::Dropped(pass) };
            self.wills.insert(payload, fate);
        }
    }

    fn end(&mut self, id: &str) {
        if let Some(mut session) = self.sessions.remove(id) {
            self.leave_groups(&session);
            let will = session.state.will.clone();
            self.settle_will(will, true);
            session.ended = Some(self.passes.now);
            if self.is_traced {
                eprintln!(
                    "session {} of {id} ends in pass {}",
                    session.incarnation, self.passes.now
                );
            }
            self.past.push((id.to_owned(), session));
        }
    }

    fn leave_groups(&mut self, session: &Session) {
        for filter in &session.ever_shared {
            self.changed.insert(filter.clone(), self.n_routed);
        }
    }

    /// The broker has accepted a CONNECT.
    pub fn connect(&mut self, connecting: Connecting<'_>) {
        let Connecting { conn, id, version, clean, expiry_s, will, max_packet_size } = connecting;
        let (now, pass) = (self.now, self.passes.now);
        if self.sessions.get(id).is_some_and(|s| clean || s.state.is_over(now)) {
            self.end(id);
        }
        let is_present = self.sessions.contains_key(id);
        if let Some(will) = &will {
            self.wills.insert(will.payload.clone(), Fate::Pending);
        }
        if let Some(session) = self.sessions.get_mut(id) {
            let was_connected = session.state.connection.is_some();
            let is_due = session.state.is_will_due(now);
            let old = session.state.will.take();
            let delay_s = old.as_ref().map_or(0, |will| will.delay_s);
            self.settle_will(old, is_due || (was_connected && delay_s == 0));
        } else {
            self.incarnations += 1;
            let session = Session {
                incarnation: self.incarnations,
                version,
                created_at_ms: now.wall_ms,
                state: State::default(),
                history: Vec::new(),
                ended: None,
                subscriptions: BTreeMap::new(),
                changes: Vec::new(),
                expected: BTreeMap::new(),
                order: BTreeMap::new(),
                ever_shared: BTreeSet::new(),
                grants: Vec::new(),
                newest_live: BTreeMap::new(),
                max_packet_size: usize::MAX,
                crashes: 0,
                dropped: 0,
            };
            self.sessions.insert(id.to_owned(), session);
        }
        self.n_resumed += u64::from(is_present);
        let session = self.sessions.get_mut(id).expect("it was put there");
        let lasted = session.state.lasts();
        session.state = State { connection: Some(conn), expiry_s, disconnected_at_ms: None, will };
        session.note(pass);
        if session.state.lasts() && !lasted {
            session.record_contents(pass);
        }
        session.max_packet_size = session.max_packet_size.min(max_packet_size);
        let (incarnation, life) = (session.incarnation, self.life);
        let connected = Connected { id: id.to_owned(), incarnation, is_present, life };
        self.connections.insert(conn, connected);
    }

    pub fn connack(&self, conn: usize, session_present: bool) {
        let Connected { id, is_present, .. } = &self.connections[&conn];
        assert_eq!(session_present, *is_present, "Session Present of {id}");
    }

    /// A CONNACK has left. If it says that the session is new, no older one may ever come back.
    pub fn connack_left(&self, conn: usize, session_present: bool, synced: usize) {
        let Connected { id, incarnation, .. } = &self.connections[&conn];
        let older = self.past.iter().filter(|(other, _)| other == id).map(|(_, session)| session);
        for session in older.filter(|s| s.incarnation < *incarnation && !session_present) {
            let Some(last) = session.history.iter().rposition(|(_, state)| state.lasts()) else {
                continue;
            };
            let next = session.history.get(last + 1).map(|(pass, _)| *pass);
            let end = next.or(session.ended).expect("it is over");
            let what = "told that its session is new while the older one is on the disk";
            assert!(self.passes.is_within(end, synced), "{id} in {conn}: {what}");
        }
    }

    /// True while the connection serves its session.
    pub fn serves(&self, conn: usize) -> bool {
        self.session_of(conn).is_some_and(|session| session.state.connection == Some(conn))
    }

    /// True if what the session of a connection does now must survive.
    pub fn lasts(&self, conn: usize) -> bool {
        self.store_is_on && self.session_of(conn).is_some_and(|session| session.state.lasts())
    }

    pub fn is_subscribed(&self, conn: usize, filter: &str) -> bool {
        self.session_of(conn).is_some_and(|session| session.subscriptions.contains_key(filter))
    }

    fn session_of(&self, conn: usize) -> Option<&Session> {
        let Connected { id, incarnation, .. } = self.connections.get(&conn)?;
        self.sessions.get(id).filter(|session| session.incarnation == *incarnation)
    }

    fn session_of_mut(&mut self, conn: usize) -> Option<&mut Session> {
        let Connected { id, incarnation, .. } = self.connections.get(&conn)?;
        self.sessions.get_mut(id).filter(|session| session.incarnation == *incarnation)
    }

    /// A connection has ended.
    pub fn closed(&mut self, conn: usize, cause: CloseCause, expiry_s: Option<u32>) {
        let (now, pass) = (self.now, self.passes.now);
        let session = self.session_of_mut(conn).filter(|s| s.state.connection == Some(conn));
        let Some(session) = session else { return };
        let state = &mut session.state;
        state.connection = None;
        state.disconnected_at_ms = Some(now.wall_ms);
        state.expiry_s = expiry_s.unwrap_or(state.expiry_s);
        let ends = state.expiry_s == 0;
        let delay_s = state.will.as_ref().map_or(0, |will| will.delay_s);
        let settled = match cause {
            CloseCause::ClientDisconnected => Some(false),
            _ if ends || delay_s == 0 => Some(true),
            _ => None,
        };
        let settled = settled.map(|is_published| (state.will.take(), is_published));
        session.note(pass);
        if let Some((will, is_published)) = settled {
            self.settle_will(will, is_published);
        }
        if ends {
            let id = self.connections[&conn].id.clone();
            self.end(&id);
        }
    }

    /// The broker's timers have run.
    pub fn timers_ran(&mut self) {
        let (now, pass) = (self.now, self.passes.now);
        let ids: Vec<_> = self.sessions.keys().cloned().collect();
        for id in ids {
            let session = &mut self.sessions.get_mut(&id).expect("its key is there");
            if session.state.is_will_due(now) {
                let will = session.state.will.take();
                session.note(pass);
                self.settle_will(will, true);
            }
            if self.sessions[&id].state.is_over(now) {
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
        let (serial, since, pass) = (self.incarnations, self.n_routed, self.passes.now);
        self.incarnations += 1;
        let Some(Connected { id, incarnation, .. }) = self.connections.get(&conn) else { return };
        let session = self.sessions.get_mut(id).filter(|s| s.incarnation == *incarnation);
        let Some(session) = session else { return };
        let subscribed = Subscribed { options, identifier, serial };
        session.changes.push((session.when(pass), filter.to_owned(), Some(subscribed)));
        let old = session.subscriptions.insert(filter.to_owned(), subscribed);
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
        let pass = self.passes.now;
        if let Some(session) = self.session_of_mut(conn) {
            session.subscriptions.remove(filter);
            session.changes.push((session.when(pass), filter.to_owned(), None));
            self.changed.insert(filter.to_owned(), self.n_routed);
        }
    }

    /// The broker has closed a connection and said why.
    pub fn told(&self, id: &str, reason_code: ReasonCode) {
        let expected = [ReasonCode::SessionTakenOver, ReasonCode::AdministrativeAction];
        assert!(expected.contains(&reason_code), "{id} was told {reason_code:?}");
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
