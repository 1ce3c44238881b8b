//! Traces: what one client does, or what happens on a topic or from an address, while it happens.
//!
//! A turn looks once, when it begins, whether traces have come or gone; without any, that is all they cost.

mod log;
mod told;
mod tracer;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use broker_codec::topic;
use parking_lot::Mutex;

use crate::access::network::Network;
use crate::clock::Now;
use log::Log;
pub use log::{TraceEvent, TracePage};
pub(crate) use tracer::{Happening, Tracer};
pub(crate) use words::{Quoted, describe};

/// The traces of a broker.
///
/// One that has ended stays to be read until it is stopped, another takes its place, or an hour has passed.
#[derive(Default)]
pub struct Traces {
    /// Rises when a trace comes or goes.
    generation: AtomicU64,
    list: Mutex<Vec<Arc<Trace>>>,
}

/// One trace.
pub struct Trace {
    options: TraceOptions,
    started_at_ms: u64,
    ends_at: Now,
    /// It ended before its time, or has been seen to be over.
    is_over: AtomicBool,
    log: Mutex<Log>,
}

/// What to trace, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceOptions {
    /// Whom or what.
    pub subject: TraceSubject,
    /// How much is told.
    pub level: TraceLevel,
    /// Events a second that are kept; the rest is counted.
    pub events_per_s: u32,
    /// How long it runs.
    pub duration_ms: u64,
    /// The first 256 bytes of payloads are told too.
    pub shows_payload: bool,
    /// Where its events go besides, in words for an operator; of no meaning here.
    pub destination: String,
}

/// Whom or what a trace follows; no two have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TraceSubject {
    /// The client of this Client Identifier.
    ClientId(Box<str>),
    /// Messages whose topic, as the broker routes it, this Topic Filter matches; and subscriptions to what it
    /// covers.
    Topic(Box<str>),
    /// Clients from these addresses.
    Address(Network),
}

/// How much a trace tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TraceLevel {
    /// The life of connections and sessions, refusals and drops.
    Info,
    /// Packets and messages too.
    Debug,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceEventKind {
    /// CONNECT came in.
    Connect,
    /// It was accepted.
    Connected,
    /// It was refused.
    Refused,
    /// The connection has ended.
    Disconnected,
    /// A packet came in.
    Received,
    /// A packet other than PUBLISH was written for a client.
    Sent,
    /// A message came into the broker.
    Publish,
    /// It was given to so many receivers.
    Routed,
    /// It was written for a client.
    Delivered,
    /// It waits for a client.
    Queued,
    /// It was lost to a client, or to all.
    Dropped,
    /// A right was asked for, and granted.
    Allowed,
    /// The same, and refused.
    Denied,
    /// A subscription was made.
    Subscribed,
    /// A subscription has ended.
    Unsubscribed,
    /// A session began, was resumed, stays or ended.
    Session,
    /// Another connection took the session over.
    Takeover,
}

/// Why a trace is not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartTraceError {
    /// There is one of the same subject, which runs.
    #[error("there is such a trace already")]
    Exists,
    /// As many run as may.
    #[error("too many traces: at most {TRACES_MAX}")]
    TooMany,
}

/// Traces that may run at a time.
const TRACES_MAX: usize = 16;
/// How long one that has ended may still be read.
const KEPT_MS: u64 = 3_600_000;

impl TraceEventKind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Connected => "connected",
            Self::Refused => "refused",
            Self::Disconnected => "disconnected",
            Self::Received => "received",
            Self::Sent => "sent",
            Self::Publish => "publish",
            Self::Routed => "routed",
            Self::Delivered => "delivered",
            Self::Queued => "queued",
            Self::Dropped => "dropped",
            Self::Allowed | Self::Denied => "acl",
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
            Self::Session => "session",
            Self::Takeover => "takeover",
        }
    }

    const fn level(self) -> TraceLevel {
        match self {
            Self::Received
            | Self::Sent
            | Self::Publish
            | Self::Routed
            | Self::Delivered
            | Self::Queued
            | Self::Allowed
            | Self::Subscribed
            | Self::Unsubscribed => TraceLevel::Debug,
            _ => TraceLevel::Info,
        }
    }
}

impl TraceSubject {
    fn is_about(&self, happening: &Happening<'_>) -> bool {
        match self {
            Self::ClientId(id) => **id == *happening.client_id,
            Self::Topic(filter) => happening.topic.is_some_and(|name| topic::matches(filter, name)),
            Self::Address(block) => happening.peer.is_some_and(|peer| block.contains(peer.ip())),
        }
    }
}

impl Trace {
    fn new(options: TraceOptions, now: Now) -> Self {
        let ends_at = now.plus_ms(options.duration_ms);
        Self {
            options,
            started_at_ms: now.wall_ms,
            ends_at,
            is_over: AtomicBool::new(false),
            log: Mutex::default(),
        }
    }

    /// What it was asked for.
    #[must_use]
    pub const fn options(&self) -> &TraceOptions {
        &self.options
    }

    /// When it began, milliseconds since the Unix epoch.
    #[must_use]
    pub const fn started_at_ms(&self) -> u64 {
        self.started_at_ms
    }

    /// When it ends by itself, milliseconds since the Unix epoch.
    #[must_use]
    pub const fn ends_at_ms(&self) -> u64 {
        self.ends_at.wall_ms
    }

    /// True until its time is over or it is stopped.
    #[must_use]
    pub fn is_running(&self, now: Now) -> bool {
        now.mono_ms < self.ends_at.mono_ms && !self.is_over.load(Ordering::Relaxed)
    }

    /// Events it has told so far, those included that it has forgotten since; and those over its rate.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.log.lock().counts()
    }

    /// The events behind number `after`, the oldest first, at most `limit`.
    #[must_use]
    pub fn events_after(&self, after: u64, limit: usize) -> TracePage {
        self.log.lock().page(after, limit)
    }
}

impl Traces {
    /// Begins a trace. It takes effect with the next turn of each thread.
    ///
    /// # Errors
    /// There is one of this subject, or there are too many.
    pub fn start(&self, options: TraceOptions, now: Now) -> Result<Arc<Trace>, StartTraceError> {
        let mut list = self.list.lock();
        let same = list.iter().position(|trace| trace.options.subject == options.subject);
        if same.is_some_and(|at| list[at].is_running(now)) {
            return Err(StartTraceError::Exists);
        }
        if let Some(at) = same {
            list.remove(at);
        } else if list.len() >= TRACES_MAX {
            let ended = list.iter().enumerate().filter(|(_, trace)| !trace.is_running(now));
            let oldest = ended.min_by_key(|(_, trace)| trace.ends_at.mono_ms).map(|(at, _)| at);
            list.remove(oldest.ok_or(StartTraceError::TooMany)?);
        }
        let trace = Arc::new(Trace::new(options, now));
        list.push(Arc::clone(&trace));
        self.changed();
        Ok(trace)
    }

    /// All of them, those of clients first, then of topics, then of addresses.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Trace>> {
        let mut list = self.list.lock().clone();
        list.sort_by(|a, b| a.options.subject.cmp(&b.options.subject));
        list
    }

    /// The trace of a subject.
    #[must_use]
    pub fn find(&self, subject: &TraceSubject) -> Option<Arc<Trace>> {
        self.list.lock().iter().find(|trace| trace.options.subject == *subject).cloned()
    }

    /// Ends a trace and forgets it. Returns false if there is none.
    pub fn stop(&self, subject: &TraceSubject) -> bool {
        let mut list = self.list.lock();
        let Some(at) = list.iter().position(|trace| trace.options.subject == *subject) else {
            return false;
        };
        list.remove(at).is_over.store(true, Ordering::Relaxed);
        self.changed();
        true
    }

    /// When something is to be done about them, on the monotonic clock.
    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        // Without any, as nearly always, nobody waits for the lock of somebody who reads them.
        if self.generation.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let due = |trace: &Arc<Trace>| match trace.is_over.load(Ordering::Relaxed) {
            false => trace.ends_at.mono_ms,
            true => trace.ends_at.mono_ms + KEPT_MS,
        };
        self.list.lock().iter().map(due).min()
    }

    /// Takes those whose time is over off the turns, and forgets them an hour later.
    pub(crate) fn sweep(&self, now: Now) {
        if self.next_due_ms().is_none_or(|due_ms| due_ms > now.mono_ms) {
            return;
        }
        let mut list = self.list.lock();
        list.retain(|trace| trace.ends_at.mono_ms + KEPT_MS > now.mono_ms);
        for trace in list.iter().filter(|trace| trace.ends_at.mono_ms <= now.mono_ms) {
            trace.is_over.store(true, Ordering::Relaxed);
        }
        self.changed();
    }

    /// To be called under the lock of the list.
    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
