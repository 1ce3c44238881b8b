//! Tracer: what the traces at work mean for one turn, and the places that tell them what happens.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::log::TraceEvent;
use super::words::{CLIENT_ID_MAX, cut, payload};
use super::{Trace, TraceEventKind, Traces};
use crate::client::ClientInfo;
use crate::clock::Now;
use crate::message::Publication;

/// The traces that a turn knows of.
#[derive(Default)]
pub(crate) struct Tracer {
    traces: Vec<Arc<Trace>>,
    generation: u64,
}

/// Something that a trace may want to hear of.
#[derive(Clone, Copy)]
pub(crate) struct Happening<'a> {
    pub(crate) kind: TraceEventKind,
    pub(crate) client_id: &'a str,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) topic: Option<&'a str>,
    pub(crate) payload: Option<&'a [u8]>,
}

impl<'a> Happening<'a> {
    /// Happens to somebody.
    pub(crate) const fn new(
        kind: TraceEventKind,
        client_id: &'a str,
        peer: Option<SocketAddr>,
    ) -> Self {
        Self { kind, client_id, peer, topic: None, payload: None }
    }

    /// Happens to a client.
    pub(crate) fn to(client: &'a ClientInfo, kind: TraceEventKind) -> Self {
        Self::new(kind, client.client_id.as_str(), client.peer)
    }

    /// Happens to a message of its publisher.
    pub(crate) fn with(publication: &'a Publication<'_>, kind: TraceEventKind) -> Self {
        let peer = publication.publisher.client().and_then(|client| client.peer);
        Self::new(kind, publication.publisher.client_id().as_str(), peer).on(publication.topic)
    }

    /// Concerns a topic.
    pub(crate) const fn on(mut self, topic: &'a str) -> Self {
        self.topic = Some(topic);
        self
    }

    /// Has a payload, told of where that is asked for.
    pub(crate) const fn carrying(mut self, payload: &'a [u8]) -> Self {
        self.payload = Some(payload);
        self
    }
}

impl Tracer {
    /// Has the turn that begins know the traces of now.
    pub(crate) fn follow(&mut self, traces: &Traces) {
        if traces.generation.load(Ordering::Relaxed) != self.generation {
            self.look_again(traces);
        }
    }

    #[cold]
    fn look_again(&mut self, traces: &Traces) {
        let list = traces.list.lock();
        self.generation = traces.generation.load(Ordering::Relaxed);
        self.traces =
            list.iter().filter(|trace| !trace.is_over.load(Ordering::Relaxed)).cloned().collect();
    }

    /// True if there is a trace: to be asked before anything is made for one.
    #[inline]
    pub(crate) const fn is_on(&self) -> bool {
        !self.traces.is_empty()
    }

    /// Tells the traces that want to hear of it.
    #[cold]
    pub(crate) fn tell(&self, now: Now, happening: &Happening<'_>, text: fmt::Arguments<'_>) {
        for trace in &self.traces {
            let is_wanted = happening.kind.level() <= trace.options.level
                && trace.is_running(now)
                && trace.options.subject.is_about(happening);
            if is_wanted {
                trace.tell(now, happening, text);
            }
        }
    }
}

impl Trace {
    fn tell(&self, now: Now, happening: &Happening<'_>, text: fmt::Arguments<'_>) {
        let mut log = self.log.lock();
        if !log.admits(now.mono_ms, self.options.events_per_s) {
            return;
        }
        let mut line = text.to_string();
        if let Some(bytes) = happening.payload.filter(|_| self.options.shows_payload) {
            let _ = write!(line, " payload={}", payload(bytes));
        }
        log.push(TraceEvent {
            seq: 0,
            at_ms: now.wall_ms,
            client_id: cut(happening.client_id, CLIENT_ID_MAX).into(),
            peer: happening.peer,
            kind: happening.kind,
            text: line.into(),
        });
    }
}
