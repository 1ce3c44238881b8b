//! Alarms of single clients: a queue that overflows, a connection whose socket takes too little, a subscriber that is
//! slow.
//!
//! A session notes the trouble when it begins, which costs nothing but then; from there on it is looked at once a
//! second until it is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::episode::{Episode, Look, Timing};
use super::report::{Report, Severity};
use crate::broker::Broker;
use crate::client::ClientId;
use crate::clock::Now;
use crate::config::AlarmsConfig;
use crate::session::Session;
use crate::slow_subscribers::SlowSubscription;

/// Clients that are in trouble.
pub(crate) struct ClientAlarms {
    queues: Watch,
    connections: Watch,
    slow: Watch,
    /// When they are looked at next, on the monotonic clock.
    look_ms: AtomicU64,
    /// Alarms of each kind that name a client.
    max: usize,
}

/// Those of one kind.
struct Watch {
    kind: &'static str,
    timing: Timing,
    /// By number of the session or the connection.
    watched: Mutex<BTreeMap<u64, Watched>>,
    /// As many as there are at least, to be read without the lock.
    len: AtomicUsize,
}

struct Watched {
    client_id: ClientId,
    episode: Episode,
    /// What is counted of it, as it was when it was looked at last: messages dropped, messages that took too long.
    count: u64,
    /// Name of its alarm.
    alarm: Option<String>,
}

/// What a look at a session has found.
struct Found {
    is_there: bool,
    count: u64,
    summary: &'static str,
    details: Vec<(&'static str, String)>,
}

impl ClientAlarms {
    pub(crate) fn new(config: &AlarmsConfig) -> Self {
        let watch = |kind, raise_after_ms| Watch {
            kind,
            timing: Timing { raise_after_ms, clear_after_ms: config.client_clear_after_ms },
            watched: Mutex::default(),
            len: AtomicUsize::new(0),
        };
        Self {
            queues: watch(QUEUE_OVERFLOW, 0),
            connections: watch(CONNECTION_CONGESTION, config.congestion_after_ms),
            slow: watch(SLOW_SUBSCRIBER, 0),
            look_ms: AtomicU64::new(0),
            max: config.client_alarms_max,
        }
    }

    /// A queue has just dropped a message. Returns false if it is not looked after: then it may be told again.
    pub(crate) fn note_dropped(&self, session: u64, client_id: &ClientId, now: Now) -> bool {
        self.queues.note(session, client_id, now)
    }

    /// The socket of a connection takes no bytes just now.
    pub(crate) fn note_stalled(&self, connection: u64, client_id: &ClientId, now: Now) {
        self.connections.note(connection, client_id, now);
    }

    /// One of the slowest subscribers has just taken too long for a message.
    pub(crate) fn note_slow(&self, session: u64, client_id: &ClientId, now: Now) {
        self.slow.note(session, client_id, now);
    }

    /// When they are looked at next, on the monotonic clock.
    pub(crate) fn next_look_ms(&self) -> Option<u64> {
        let is_empty = [&self.queues, &self.connections, &self.slow].iter().all(|it| it.is_empty());
        (!is_empty).then(|| self.look_ms.load(Ordering::Relaxed))
    }
}

impl Watch {
    fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    fn note(&self, key: u64, client_id: &ClientId, now: Now) -> bool {
        if self.len.load(Ordering::Relaxed) >= WATCHED_MAX {
            return false;
        }
        let mut watched = self.watched.lock();
        watched.entry(key).or_insert_with(|| Watched {
            client_id: client_id.clone(),
            episode: Episode::begin(now.mono_ms),
            count: 0,
            alarm: None,
        });
        self.len.fetch_max(watched.len(), Ordering::Relaxed);
        true
    }

    /// Looks at all of them. `find` is `None` if what was watched is gone.
    fn look(
        &self,
        broker: &Broker,
        max: usize,
        now: Now,
        find: impl Fn(u64, &Watched) -> Option<Found>,
        let_go: impl Fn(&Watched),
    ) {
        if self.is_empty() {
            return;
        }
        // Not under the lock: a session notes with its own held.
        let mut watched = std::mem::take(&mut *self.watched.lock());
        let mut n_named = watched.values().filter(|it| it.alarm.is_some()).count();
        let mut n_unnamed = 0;
        watched.retain(|key, it| {
            let found = find(*key, it);
            let is_there = found.as_ref().is_some_and(|found| found.is_there);
            let look = match &found {
                Some(_) => it.episode.look(is_there, now.mono_ms, &self.timing),
                None => Look::Over,
            };
            match (look, found) {
                (Look::Wait, _) => {}
                (Look::Alarm, Some(found)) => {
                    it.count = found.count;
                    let is_new = it.alarm.is_none() && n_named < max;
                    if is_new {
                        n_named += 1;
                        it.alarm = Some(format!("{}/{}", self.kind, short(&it.client_id, *key)));
                    }
                    match &it.alarm {
                        // One that an operator has cleared is not raised again for what is over.
                        Some(id) if is_new || found.is_there => {
                            broker.alarms().raise(id, found.into_report(), now.wall_ms);
                        }
                        Some(_) => {}
                        None => n_unnamed += 1,
                    }
                }
                (Look::Over, _) | (Look::Alarm, None) => {
                    if let Some(id) = &it.alarm {
                        n_named -= 1;
                        broker.alarms().clear(id, now.wall_ms);
                    }
                    let_go(it);
                    return false;
                }
            }
            true
        });
        self.tell_unnamed(broker, n_unnamed, now);
        let mut noted = self.watched.lock();
        noted.extend(watched);
        self.len.store(noted.len(), Ordering::Relaxed);
    }

    /// One alarm for all that have none of their own.
    fn tell_unnamed(&self, broker: &Broker, n_unnamed: usize, now: Now) {
        if n_unnamed == 0 {
            broker.alarms().clear(self.kind, now.wall_ms);
            return;
        }
        let summary = format!("{n_unnamed} or more clients beside those that have an alarm each");
        let report = Report::new(Severity::Warning, "", summary);
        let report = report.with_detail("clients", n_unnamed.to_string());
        broker.alarms().raise(self.kind, report, now.wall_ms);
    }
}

impl Found {
    fn into_report(self) -> Report {
        let report = Report::new(Severity::Warning, "", self.summary);
        self.details
            .into_iter()
            .fold(report, |report, (name, value)| report.with_detail(name, value))
    }
}

impl Broker {
    /// Looks at the clients that are in trouble, once a second.
    pub(crate) fn look_at_clients(&self, now: Now) {
        let clients = &self.client_alarms;
        if clients.next_look_ms().is_none_or(|due_ms| now.mono_ms < due_ms) {
            return;
        }
        clients.look_ms.store(now.mono_ms + LOOK_MS, Ordering::Relaxed);
        let session = |it: &Watched| self.sessions.get(it.client_id.as_str());
        clients.queues.look(
            self,
            clients.max,
            now,
            |number, it| overflow(&session(it).filter(|session| session.number() == number)?, it),
            |it| {
                if let Some(session) = session(it) {
                    session.lock().is_overflow_noted = false;
                }
            },
        );
        let congestion = |number, it: &Watched| congestion(&session(it)?, number, it);
        clients.connections.look(self, clients.max, now, congestion, |_| ());
        let slow = |number, it: &Watched| {
            session(it).filter(|session| session.number() == number)?;
            Some(slow(&self.slow_subscribers.slowest_of(&it.client_id, now)?, it))
        };
        clients.slow.look(self, clients.max, now, slow, |_| ());
    }
}

fn overflow(session: &Arc<Session>, watched: &Watched) -> Option<Found> {
    let state = session.lock();
    if state.ended {
        return None;
    }
    let (dropped, queued) = (state.drops.driven_out(), state.queue.len());
    let is_connected = state.connection.is_some();
    drop(state);
    Some(Found {
        is_there: dropped != watched.count,
        count: dropped,
        summary: "a client's queue is full: messages for it are dropped",
        details: vec![
            ("client_id", shown(&watched.client_id).into()),
            ("connected", is_connected.to_string()),
            ("dropped", dropped.to_string()),
            ("queued", queued.to_string()),
        ],
    })
}

fn congestion(session: &Arc<Session>, connection: u64, watched: &Watched) -> Option<Found> {
    let (is_there, pending_bytes, username) = session.look_at_outbox(connection)?;
    let mut details = vec![
        ("client_id", shown(&watched.client_id).into()),
        ("pending_bytes", pending_bytes.to_string()),
    ];
    details.extend(username.map(|name| ("username", cut(&name, SHOWN_BYTES).to_owned())));
    Some(Found {
        is_there,
        count: 0,
        summary: "a client's socket takes less than is to be sent to it",
        details,
    })
}

fn slow(slowest: &SlowSubscription, watched: &Watched) -> Found {
    Found {
        is_there: slowest.count != watched.count,
        count: slowest.count,
        summary: "a client takes too long for its messages",
        details: vec![
            ("client_id", shown(&watched.client_id).into()),
            ("count", slowest.count.to_string()),
            ("latency_ms", (slowest.latency_us / 1000).to_string()),
            ("topic", cut(&slowest.topic, SHOWN_BYTES).to_owned()),
        ],
    }
}

fn shown(client_id: &ClientId) -> &str {
    cut(client_id.as_str(), SHOWN_BYTES)
}

/// A Client Identifier as a part of an alarm's name: one that is long is cut, and told from others by a number.
fn short(client_id: &ClientId, number: u64) -> String {
    let cut = shown(client_id);
    if cut.len() == client_id.as_str().len() { cut.to_owned() } else { format!("{cut}~{number}") }
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Name, or the beginning of it, of an alarm about a queue that drops messages.
const QUEUE_OVERFLOW: &str = "queue_overflow";
/// The same about a socket that takes too little.
const CONNECTION_CONGESTION: &str = "connection_congestion";
/// The same about one of the slowest subscribers.
const SLOW_SUBSCRIBER: &str = "slow_subscriber";
const LOOK_MS: u64 = 1_000;
/// Clients in one kind of trouble that are looked after.
const WATCHED_MAX: usize = 4_096;
/// Bytes of a Client Identifier, User Name or topic in an alarm.
const SHOWN_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        ClientAlarms::new(&AlarmsConfig::default()).queues
    }

    #[test]
    fn no_more_are_looked_after_than_there_is_room_for() {
        let watch = watch();
        assert!(watch.is_empty());
        for key in 0..WATCHED_MAX as u64 {
            assert!(watch.note(key, &ClientId::from("c"), Now::default()));
        }
        assert!(!watch.note(u64::MAX, &ClientId::from("c"), Now::default()));
        assert_eq!(watch.watched.lock().len(), WATCHED_MAX);
    }

    #[test]
    fn a_long_client_id_is_cut_and_still_has_a_name_of_its_own() {
        let long = ClientId::from("é".repeat(30_000).as_str());
        let (one, other) = (short(&long, 1), short(&long, 2));
        assert!(one.len() <= SHOWN_BYTES + 21 && one != other, "{one}");
        assert_eq!(short(&ClientId::from("c"), 1), "c");
    }
}
