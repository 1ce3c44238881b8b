//! Report: what a run comes to, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::tally::{Latencies, Tally};

/// The outcome; parts that the load did not have are left out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(super) clients: Clients,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<Published>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) received: Option<Received>,
    /// Causes of failure with their number.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) is_interrupted: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Clients {
    pub(super) wanted: u64,
    pub(crate) connected: u64,
    pub(super) failed: u64,
    /// Connected, then closed by the broker or the network.
    pub(super) lost: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    pub(super) latency_us: Option<Quantiles>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Published {
    pub(super) sent: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    pub(super) payload_bytes_per_second: f64,
    /// Due by --rate, but held back by the broker to the end.
    pub(super) unsent: u64,
    /// QoS 1 and 2 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) acknowledged: Option<Acknowledged>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Acknowledged {
    pub(super) count: u64,
    pub(super) refused: u64,
    /// Neither acknowledged nor refused in time.
    pub(super) missing: u64,
    pub(super) latency_us: Option<Quantiles>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Received {
    pub(super) count: u64,
    pub(super) per_second: f64,
    pub(super) payload_bytes_per_second: f64,
    /// Expected less received, where it is known what to expect; negative for duplicates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lost: Option<i64>,
    pub(super) latency_us: Option<Quantiles>,
}

/// Latencies in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Quantiles {
    p50: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p99_9: f64,
    max: f64,
}

impl Quantiles {
    /// `None` if nothing was measured.
    pub(super) fn of(latencies: &Latencies) -> Option<Self> {
        let histogram = &latencies.0;
        let us = |ns: u64| ns as f64 / 1000.0;
        (!histogram.is_empty()).then(|| Self {
            p50: us(histogram.value_at_quantile(0.5)),
            p99: us(histogram.value_at_quantile(0.99)),
            p99_9: us(histogram.value_at_quantile(0.999)),
            max: us(histogram.max()),
        })
    }
}

impl Received {
    /// From the first to the last message, so that waiting for them does not count.
    pub(super) fn of(tally: &Tally, expected: Option<u64>) -> Self {
        let seconds = match (tally.first_received_at, tally.last_received_at) {
            (Some(first), Some(last)) => (last - first).as_secs_f64(),
            _ => 0.0,
        };
        let count = tally.n_received;
        Self {
            count,
            per_second: rate(count, seconds),
            payload_bytes_per_second: rate(tally.n_received_bytes, seconds),
            lost: expected.map(|it| it.cast_signed() - count.cast_signed()),
            latency_us: Quantiles::of(&tally.deliver_ns),
        }
    }
}

/// Events per second; 0 if there was no time.
pub(super) fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = &self.clients;
        let (connected, seconds) = (Count(clients.connected), clients.seconds);
        let per_second = Rate(clients.per_second);
        write!(
            f,
            "connected   {connected} of {} in {seconds:.2} s, {per_second}",
            Count(clients.wanted)
        )?;
        writeln!(f, ", {} failed, {} lost", Count(clients.failed), Count(clients.lost))?;
        write_latency(f, "connack", clients.latency_us.as_ref())?;
        if let Some(published) = &self.published {
            let bytes = Bytes(published.payload_bytes_per_second);
            let (sent, seconds) = (Count(published.sent), published.seconds);
            let per_second = Rate(published.per_second);
            write!(f, "published   {sent} in {seconds:.2} s, {per_second}, {bytes}")?;
            if published.unsent > 0 {
                write!(f, ", {} due but not sent", Count(published.unsent))?;
            }
            writeln!(f)?;
            if let Some(acknowledged) = &published.acknowledged {
                let Acknowledged { count, refused, missing, latency_us } = acknowledged;
                write!(f, "acked       {}, {} refused", Count(*count), Count(*refused))?;
                writeln!(f, ", {} missing", Count(*missing))?;
                write_latency(f, "ack", latency_us.as_ref())?;
            }
        }
        if let Some(received) = &self.received {
            let bytes = Bytes(received.payload_bytes_per_second);
            let (count, per_second) = (Count(received.count), Rate(received.per_second));
            write!(f, "received    {count}, {per_second}, {bytes}")?;
            match received.lost {
                None => {}
                Some(lost @ ..0) => write!(f, ", {} more than sent", Count(lost.unsigned_abs()))?,
                Some(lost) => write!(f, ", {} lost", Count(lost.unsigned_abs()))?,
            }
            writeln!(f)?;
            write_latency(f, "delivery", received.latency_us.as_ref())?;
        }
        for (text, count) in &self.errors {
            writeln!(f, "error       {} × {text}", Count(*count))?;
        }
        if self.is_interrupted {
            writeln!(f, "interrupted before the end")?;
        }
        Ok(())
    }
}

fn write_latency(f: &mut fmt::Formatter<'_>, name: &str, it: Option<&Quantiles>) -> fmt::Result {
    let Some(Quantiles { p50, p99, p99_9, max }) = it else { return Ok(()) };
    let [p50, p99, p99_9, max] = [p50, p99, p99_9, max].map(|us| Micros(*us));
    writeln!(f, "  {name:<9} p50 {p50}  p99 {p99}  p99.9 {p99_9}  max {max}")
}

/// A number with commas between the thousands.
struct Count(u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.char_indices() {
            let left = digits.len() - i;
            if i > 0 && left.is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

struct Rate(f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 10.0 {
            write!(f, "{:.1}/s", self.0)
        } else {
            write!(f, "{}/s", Count(self.0 as u64))
        }
    }
}

struct Bytes(f64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ..1e3 => write!(f, "{:.0} B/s", self.0),
            ..1e6 => write!(f, "{:.1} kB/s", self.0 / 1e3),
            _ => write!(f, "{:.1} MB/s", self.0 / 1e6),
        }
    }
}

struct Micros(f64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ..1e3 => write!(f, "{:.0} µs", self.0),
            ..1e6 => write!(f, "{:.2} ms", self.0 / 1e3),
            _ => write!(f, "{:.2} s", self.0 / 1e6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(Count(1_234_567).to_string(), "1,234,567");
        assert_eq!(Count(123).to_string(), "123");
        assert_eq!(Rate(9.96).to_string(), "10.0/s");
        assert_eq!(Rate(12_345.6).to_string(), "12,345/s");
        assert_eq!(Bytes(1_500.0).to_string(), "1.5 kB/s");
        assert_eq!(Micros(1_500.0).to_string(), "1.50 ms");
    }

    #[test]
    fn quantiles_come_from_the_histogram() {
        let mut tally = Tally::new();
        assert!(Quantiles::of(&tally.deliver_ns).is_none());
        for us in 1..=1000 {
            tally.deliver_ns.record(us * 1000);
        }
        let quantiles = Quantiles::of(&tally.deliver_ns).unwrap();
        assert!((quantiles.p50 - 500.0).abs() < 1.0 && (quantiles.p99 - 990.0).abs() < 1.0);
    }
}
