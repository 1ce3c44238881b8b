//! The events of one trace: a ring of the newest, and a rate.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::TraceEventKind;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEvent {
    /// Counts the events of its trace from 1.
    pub seq: u64,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Client Identifier of whom it happened to; empty where it is not known yet.
    pub client_id: Box<str>,
    /// Its address; `None` for what has none.
    pub peer: Option<SocketAddr>,
    /// What happened.
    pub kind: TraceEventKind,
    /// The rest, in one line.
    pub text: Box<str>,
}

/// Some events of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracePage {
    /// The oldest first.
    pub events: Vec<Arc<TraceEvent>>,
    /// Number to ask from the next time.
    pub next: u64,
    /// Events over the rate so far.
    pub dropped: u64,
}

#[derive(Default)]
pub(super) struct Log {
    events: VecDeque<Arc<TraceEvent>>,
    bytes: usize,
    last_seq: u64,
    dropped: u64,
    /// The second at work, on the monotonic clock, and the events kept in it.
    second: u64,
    in_second: u32,
}

/// Events that a trace holds.
pub(super) const EVENTS_MAX: usize = 10_000;
/// Bytes that they may take: as much as such a number of events of common length.
const BYTES_MAX: usize = 4 << 20;

impl Log {
    /// Whether one more event may be kept at this time; else it is counted.
    pub(super) fn admits(&mut self, mono_ms: u64, events_per_s: u32) -> bool {
        // Threads read the clock for themselves: a second that is over does not come back.
        let second = mono_ms / 1000;
        if second > self.second {
            (self.second, self.in_second) = (second, 0);
        }
        if self.in_second >= events_per_s {
            self.dropped += 1;
            return false;
        }
        self.in_second += 1;
        true
    }

    /// Keeps an event, whose number is given to it here.
    pub(super) fn push(&mut self, mut event: TraceEvent) {
        self.last_seq += 1;
        event.seq = self.last_seq;
        self.bytes += bytes(&event);
        self.events.push_back(Arc::new(event));
        while self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= bytes(&oldest);
        }
    }

    pub(super) const fn counts(&self) -> (u64, u64) {
        (self.last_seq, self.dropped)
    }

    pub(super) fn page(&self, after: u64, limit: usize) -> TracePage {
        let first = self.last_seq - self.events.len() as u64;
        let skipped = usize::try_from(after.saturating_sub(first)).unwrap_or(usize::MAX);
        let events: Vec<_> = self.events.iter().skip(skipped).take(limit).cloned().collect();
        let next = events.last().map_or_else(|| after.min(self.last_seq), |event| event.seq);
        TracePage { events, next, dropped: self.dropped }
    }
}

fn bytes(event: &TraceEvent) -> usize {
    size_of::<TraceEvent>() + event.client_id.len() + event.text.len()
}
