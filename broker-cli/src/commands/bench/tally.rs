//! Tally: what is counted while a load runs.

use std::collections::BTreeMap;
use std::time::Instant;

use hdrhistogram::Histogram;

/// Counters and histograms of one run.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) n_connected: u64,
    /// Clients that never got a CONNACK, or a SUBACK.
    pub(super) n_failed: u64,
    /// Clients whose connection broke later.
    pub(super) n_lost: u64,
    /// From the start of the TCP connection to the CONNACK.
    pub(super) connect_ns: Latencies,
    pub(super) n_sent: u64,
    pub(super) n_acknowledged: u64,
    pub(super) n_refused: u64,
    /// From when the message was due to PUBACK or PUBCOMP.
    pub(super) acknowledge_ns: Latencies,
    pub(super) n_received: u64,
    pub(super) n_received_bytes: u64,
    /// From when the message was due to its arrival.
    pub(super) deliver_ns: Latencies,
    pub(super) first_received_at: Option<Instant>,
    pub(super) last_received_at: Option<Instant>,
    /// Causes of failure with their number.
    pub(super) errors: BTreeMap<String, u64>,
}

/// Durations in nanoseconds, to three digits.
#[derive(Debug)]
pub(super) struct Latencies(pub(super) Histogram<u64>);

impl Latencies {
    fn new() -> Self {
        let histogram = Histogram::new_with_max(LATENCY_NS_MAX, 3);
        Self(histogram.expect("1 to LATENCY_NS_MAX with 3 digits is a valid range"))
    }

    pub(super) fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            n_connected: 0,
            n_failed: 0,
            n_lost: 0,
            connect_ns: Latencies::new(),
            n_sent: 0,
            n_acknowledged: 0,
            n_refused: 0,
            acknowledge_ns: Latencies::new(),
            n_received: 0,
            n_received_bytes: 0,
            deliver_ns: Latencies::new(),
            first_received_at: None,
            last_received_at: None,
            errors: BTreeMap::new(),
        }
    }

    pub(super) fn count_error(&mut self, text: String) {
        *self.errors.entry(text).or_default() += 1;
    }
}

/// An hour; what takes longer counts as that.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
