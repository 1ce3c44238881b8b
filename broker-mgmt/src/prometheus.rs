//! `GET /metrics`: what is counted, in Prometheus' text format.
//!
//! Sums are left out where their parts are there: whoever asks adds up.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use broker_core::{Distribution, Latency, Metric};
use broker_rules::{DropReason, SinkStatus};

use crate::api::Api;
use crate::api::store::stats;
use crate::ports::StoreDurations;

/// Version of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything there is to tell.
pub(crate) fn text(api: &Api) -> String {
    let mut out = Exposition::default();
    counters(api, &mut out);
    histograms(api, &mut out);
    gauges(api, &mut out);
    rules(api, &mut out);
    store(api, &mut out);
    process(api, &mut out);
    out.0
}

/// Writes families of samples.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    /// One family: its head, then a line for each sample.
    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Option<(&'static str, String)>, f64)>,
    ) {
        // Nothing fails that is written into memory.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (label, value) in samples {
            let _ = match label {
                Some((label, text)) => {
                    writeln!(self.0, "{name}{{{label}=\"{}\"}} {value}", Escaped(&text))
                }
                None => writeln!(self.0, "{name} {value}"),
            };
        }
    }
}

impl Exposition {
    /// A family of cumulative buckets, in seconds: upper bounds in microseconds, `None` for the last, and counts.
    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        buckets: impl IntoIterator<Item = (Option<u64>, u64)>,
        sum_us: u64,
    ) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut count = 0;
        for (bound_us, n) in buckets {
            count += n;
            let _ = match bound_us {
                Some(us) => writeln!(self.0, "{name}_bucket{{le=\"{}\"}} {count}", us as f64 / 1e6),
                None => writeln!(self.0, "{name}_bucket{{le=\"+Inf\"}} {count}"),
            };
        }
        let _ = writeln!(self.0, "{name}_sum {}\n{name}_count {count}", sum_us as f64 / 1e6);
    }
}

/// The value of a label.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// Families of counters, in the order they are told in: name, what its label is, what it means.
const FAMILIES: &[(&str, &str, &str)] = &[
    ("mqtt_bytes_received_total", "", "Bytes of MQTT Control Packets from clients."),
    ("mqtt_bytes_sent_total", "", "Bytes of MQTT Control Packets to clients."),
    ("mqtt_packets_received_total", "type", "MQTT Control Packets from clients."),
    ("mqtt_packets_sent_total", "type", "MQTT Control Packets to clients."),
    ("mqtt_packets_missed_total", "type", "Acknowledgements of what was not outstanding."),
    ("mqtt_messages_received_total", "qos", "PUBLISH packets from clients, $SYS left out."),
    ("mqtt_messages_sent_total", "qos", "PUBLISH packets to clients, $SYS left out."),
    ("mqtt_messages_dropped_total", "reason", "Messages that were not routed to anybody."),
    ("mqtt_messages_expired_total", "", "Messages whose Message Expiry Interval passed."),
    ("mqtt_messages_forwarded_total", "", "Messages handed to other nodes."),
    ("mqtt_qos2_receipts_expired_total", "", "QoS 2 receipts dropped after await_rel_timeout."),
    ("mqtt_deliveries_dropped_total", "reason", "Deliveries to single sessions that were dropped."),
    ("mqtt_retained_refused_total", "", "Retained messages refused for want of room."),
    ("mqtt_publishes_denied_total", "", "PUBLISH packets that were refused, for whatever reason."),
    ("mqtt_publishes_unrecorded_total", "", "Those among them the store could not have kept."),
    ("mqtt_subscriptions_revoked_total", "", "Subscriptions ended because their right was gone."),
    ("mqtt_messages_recorded_total", "", "Messages handed to the store."),
];

/// The family and label of a metric; `None` for what is the sum of others, or is told as a gauge.
const fn family(metric: Metric) -> Option<(&'static str, &'static str)> {
    let received = "mqtt_packets_received_total";
    let sent = "mqtt_packets_sent_total";
    let missed = "mqtt_packets_missed_total";
    let messages_received = "mqtt_messages_received_total";
    let messages_sent = "mqtt_messages_sent_total";
    let deliveries = "mqtt_deliveries_dropped_total";
    let told = match metric {
        Metric::PacketsReceived
        | Metric::PacketsSent
        | Metric::MessagesReceived
        | Metric::MessagesSent
        | Metric::MessagesRetained => return None,
        Metric::BytesReceived => ("mqtt_bytes_received_total", ""),
        Metric::BytesSent => ("mqtt_bytes_sent_total", ""),
        Metric::PacketsConnect => (received, "connect"),
        Metric::PacketsConnAck => (sent, "connack"),
        Metric::PacketsPublishReceived => (received, "publish"),
        Metric::PacketsPublishSent => (sent, "publish"),
        Metric::PacketsPubAckReceived => (received, "puback"),
        Metric::PacketsPubAckSent => (sent, "puback"),
        Metric::PacketsPubAckMissed => (missed, "puback"),
        Metric::PacketsPubRecReceived => (received, "pubrec"),
        Metric::PacketsPubRecSent => (sent, "pubrec"),
        Metric::PacketsPubRecMissed => (missed, "pubrec"),
        Metric::PacketsPubRelReceived => (received, "pubrel"),
        Metric::PacketsPubRelSent => (sent, "pubrel"),
        Metric::PacketsPubRelMissed => (missed, "pubrel"),
        Metric::PacketsPubCompReceived => (received, "pubcomp"),
        Metric::PacketsPubCompSent => (sent, "pubcomp"),
        Metric::PacketsPubCompMissed => (missed, "pubcomp"),
        Metric::PacketsSubscribe => (received, "subscribe"),
        Metric::PacketsSubAck => (sent, "suback"),
        Metric::PacketsUnsubscribe => (received, "unsubscribe"),
        Metric::PacketsUnsubAck => (sent, "unsuback"),
        Metric::PacketsPingReq => (received, "pingreq"),
        Metric::PacketsPingResp => (sent, "pingresp"),
        Metric::PacketsDisconnectReceived => (received, "disconnect"),
        Metric::PacketsDisconnectSent => (sent, "disconnect"),
        Metric::PacketsAuth => (received, "auth"),
        Metric::PacketsAuthSent => (sent, "auth"),
        Metric::MessagesQos0Received => (messages_received, "0"),
        Metric::MessagesQos0Sent => (messages_sent, "0"),
        Metric::MessagesQos1Received => (messages_received, "1"),
        Metric::MessagesQos1Sent => (messages_sent, "1"),
        Metric::MessagesQos2Received => (messages_received, "2"),
        Metric::MessagesQos2Sent => (messages_sent, "2"),
        Metric::MessagesQos2Dropped => ("mqtt_messages_dropped_total", "awaiting_rel_full"),
        Metric::MessagesQos2Expired => ("mqtt_qos2_receipts_expired_total", ""),
        Metric::MessagesDropped => ("mqtt_messages_dropped_total", "no_subscriber"),
        Metric::MessagesExpired => ("mqtt_messages_expired_total", ""),
        Metric::MessagesForward => ("mqtt_messages_forwarded_total", ""),
        Metric::DroppedQueueFull => (deliveries, "queue_full"),
        Metric::DroppedOutboxFull => (deliveries, "outbox_full"),
        Metric::DroppedTooLarge => (deliveries, "too_large"),
        Metric::DroppedNoLocal => (deliveries, "no_local"),
        Metric::DroppedOffline => (deliveries, "qos0_offline"),
        Metric::DroppedDamaged => (deliveries, "damaged"),
        Metric::DroppedMemory => (deliveries, "memory"),
        Metric::DroppedRevoked => (deliveries, "revoked"),
        Metric::DroppedRetainedFull => ("mqtt_retained_refused_total", ""),
        Metric::PublishDenied => ("mqtt_publishes_denied_total", ""),
        Metric::PublishUnrecorded => ("mqtt_publishes_unrecorded_total", ""),
        Metric::SubscriptionsRevoked => ("mqtt_subscriptions_revoked_total", ""),
        Metric::MessagesRecorded => ("mqtt_messages_recorded_total", ""),
    };
    Some(told)
}

fn counters(api: &Api, out: &mut Exposition) {
    let snapshot = api.broker.metrics().snapshot();
    for (name, label, help) in FAMILIES {
        let samples = snapshot.iter().filter_map(|(metric, value)| {
            let (_, text) = family(metric).filter(|(family, _)| family == name)?;
            let label = (!label.is_empty()).then(|| (*label, text.to_owned()));
            Some((label, value as f64))
        });
        out.family(name, "counter", help, samples);
    }
}

/// What is measured: name, and what it means.
const fn histogram(latency: Latency) -> (&'static str, &'static str) {
    match latency {
        Latency::Routing => (
            "mqtt_publish_routing_seconds",
            "From the arrival of a PUBLISH to its place in the outboxes and queues of its receivers.",
        ),
        Latency::Acknowledgement => (
            "mqtt_delivery_acknowledgement_seconds",
            "From the first PUBLISH of QoS 1 or 2 to a client to its PUBACK or PUBREC.",
        ),
    }
}

fn histograms(api: &Api, out: &mut Exposition) {
    for latency in Latency::ALL {
        let (name, help) = histogram(latency);
        let values = api.broker.metrics().latency(latency);
        out.histogram(name, help, buckets(&values), values.sum_us);
    }
}

fn buckets(values: &Distribution) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
    let bound = |at: usize| Latency::BOUNDS_US.get(at).copied();
    values.buckets.iter().enumerate().map(move |(at, n)| (bound(at), *n))
}

/// What the store counts, by its words: name, kind, its unit in that of the metric, what it means.
const OF_STORE: &[(&str, &str, &str, f64, &str)] = &[
    ("frames", "frames_total", "counter", 1.0, "Frames appended to the log."),
    ("bytes", "bytes_total", "counter", 1.0, "Bytes appended to the log."),
    ("syncs", "syncs_total", "counter", 1.0, "Syncs of the log that succeeded."),
    ("write_failures", "write_failures_total", "counter", 1.0, "Writes that failed."),
    ("sync_failures", "sync_failures_total", "counter", 1.0, "Syncs that failed."),
    ("bodies_read_back", "bodies_read_back_total", "counter", 1.0, "Messages read back from disk."),
    (
        "bodies_in_memory_bytes",
        "bodies_in_memory_bytes",
        "gauge",
        1.0,
        "Bytes of queued messages in memory, beside those that are only in the store.",
    ),
    ("compacted_bytes", "compacted_bytes_total", "counter", 1.0, "Bytes copied to free segments."),
    ("retired_segments", "retired_segments_total", "counter", 1.0, "Segments given back."),
    ("snapshots", "snapshots_total", "counter", 1.0, "Snapshots written."),
    ("snapshot_bytes", "snapshot_bytes", "gauge", 1.0, "Bytes of the last snapshot."),
    ("snapshot_ms", "snapshot_seconds", "gauge", 1e-3, "How long the last snapshot took."),
    ("snapshot_age_s", "snapshot_age_seconds", "gauge", 1.0, "Since the last snapshot."),
    ("unsynced_bytes", "unsynced_bytes", "gauge", 1.0, "Bytes appended and not yet durable."),
    ("log_bytes", "log_bytes", "gauge", 1.0, "Bytes of segments and spares."),
    ("live_bytes", "live_bytes", "gauge", 1.0, "Bytes of messages that somebody is to receive."),
    ("segments", "segments", "gauge", 1.0, "Segments in use."),
    ("spares", "spares", "gauge", 1.0, "Files kept for segments to come."),
    ("replayed_frames", "replayed_frames", "gauge", 1.0, "Frames the start has replayed."),
    ("cut_bytes", "cut_bytes", "gauge", 1.0, "Bytes of a torn tail the start has cut off."),
    (
        "damaged",
        "damaged_parts",
        "gauge",
        1.0,
        "Parts of what was durable the start could not read.",
    ),
    ("start_ms", "start_seconds", "gauge", 1e-3, "How long the replay took at the start."),
    ("durable_lsn", "durable_lsn", "gauge", 1.0, "Position up to which the log is durable."),
    ("end_lsn", "end_lsn", "gauge", 1.0, "Position of the end of the log."),
    (
        "write_amplification",
        "write_amplification",
        "gauge",
        1.0,
        "Bytes written for each byte that had to be.",
    ),
];

fn store(api: &Api, out: &mut Exposition) {
    let Some(store) = &api.store else { return };
    let stats = BTreeMap::from_iter(stats(api, &**store));
    for (word, name, kind, unit, help) in OF_STORE {
        let value = stats.get(*word).and_then(|text| text.parse::<f64>().ok());
        if let Some(value) = value {
            out.family(&format!("mqtt_store_{name}"), kind, help, [(None, value * unit)]);
        }
    }
    for StoreDurations { name, help, buckets, sum_us } in store.durations() {
        out.histogram(&format!("mqtt_store_{name}_seconds"), help, buckets, sum_us);
    }
}

/// What the broker holds; `topics` of the original's are its routes, and `suboptions` its subscriptions.
const GAUGES: &[(&str, &str, &str)] = &[
    ("connections", "mqtt_connections", "MQTT connections after CONNACK."),
    ("sessions", "mqtt_sessions", "Sessions, connected or not."),
    ("sessions/persistent", "mqtt_persistent_sessions", "Sessions that outlive a connection."),
    ("routes", "mqtt_routes", "Topic Filters that are subscribed to."),
    ("subscribers", "mqtt_subscribers", "Subscriptions that are not shared."),
    ("subscriptions", "mqtt_subscriptions", "Subscriptions."),
    ("subscriptions/shared", "mqtt_shared_subscriptions", "Shared subscriptions."),
    ("retained", "mqtt_retained_messages", "Retained messages."),
];

fn gauges(api: &Api, out: &mut Exposition) {
    let stats = api.broker.stats();
    let stat = |name: &str, part: &str| {
        let found = stats.iter().find(|(stat, _)| {
            stat.strip_prefix(name).and_then(|rest| rest.strip_prefix('/')) == Some(part)
        });
        found.map(|(_, value)| (None, *value as f64))
    };
    for (name, told, help) in GAUGES {
        out.family(told, "gauge", help, stat(name, "count"));
        let most = format!("{help} The most there have been.");
        out.family(&format!("{told}_max"), "gauge", &most, stat(name, "max"));
    }
    for (name, bytes, help) in [
        ("used", api.broker.memory_used(), "Bytes that count against node.memory_limit."),
        ("limit", api.broker.memory_limit(), "node.memory_limit in bytes; 0 for none."),
    ] {
        out.family(&format!("mqtt_memory_{name}_bytes"), "gauge", help, [(None, bytes as f64)]);
    }
    let bytes = api.broker.retained_bytes() as f64;
    out.family("mqtt_retained_bytes", "gauge", "Bytes of retained messages.", [(None, bytes)]);
    let delayed = api.broker.delayed_len() as f64;
    out.family("mqtt_delayed_messages", "gauge", "Delayed messages that wait.", [(None, delayed)]);
    let slow = api.broker.slow_subscriptions(api.now()).len() as f64;
    let help = "Clients and topics that are kept as slow: at most module.slow_subs.top_k_num.";
    out.family("mqtt_slow_subscriptions", "gauge", help, [(None, slow)]);
    // Those of single clients together: a label is none of a client's choosing.
    let mut alarms = BTreeMap::<String, f64>::new();
    for alarm in api.broker.alarms().list() {
        *alarms.entry(alarm.kind().to_owned()).or_default() += 1.0;
    }
    let alarms = alarms.into_iter().map(|(kind, count)| (Some(("id", kind)), count));
    out.family("mqtt_alarm", "gauge", "Alarms that are up.", alarms);
}

fn rules(api: &Api, out: &mut Exposition) {
    let stats = BTreeMap::from(api.rules.stats());
    for (name, told, help) in [
        ("rules", "mqtt_rules", "Rules."),
        ("resources", "mqtt_rule_resources", "Resources of rules."),
    ] {
        let stat = |part: &str| {
            let value = stats.get(format!("{name}/{part}").as_str());
            value.map(|value| (None, *value as f64))
        };
        out.family(told, "gauge", help, stat("count"));
        let most = format!("{help} The most there have been.");
        out.family(&format!("{told}_max"), "gauge", &most, stat("max"));
    }
    let totals = api.rules.totals();
    let help = "Events that matched a rule, once for each.";
    out.family("mqtt_rules_matched_total", "counter", help, [(None, totals.matched as f64)]);
    let results = [("success", totals.success), ("failure", totals.failed)];
    let results = results.map(|(result, n)| (Some(("result", result.to_owned())), n as f64));
    out.family("mqtt_rule_actions_total", "counter", "Actions of rules.", results);
    buffers(&api.rules.sink_totals(), out);
}

/// Of all resources together: an operator may have as many as he likes.
fn buffers(all: &SinkStatus, out: &mut Exposition) {
    let of = |name: &str| format!("mqtt_rule_resource_{name}");
    for (name, help, n) in [
        ("delivered_total", "Messages and events that resources have delivered.", all.delivered),
        ("retried_total", "Attempts to deliver that failed and were repeated.", all.retried),
    ] {
        out.family(&of(name), "counter", help, [(None, n as f64)]);
    }
    let dropped = DropReason::ALL.map(|reason| {
        let n = all.dropped.iter().find(|(of, _)| *of == reason).map_or(0, |(_, n)| *n);
        (Some(("reason", reason.name().to_owned())), n as f64)
    });
    let help = "Messages and events for resources that were dropped.";
    out.family(&of("dropped_total"), "counter", help, dropped);
    let held = &all.held;
    for (name, help, memory, disk) in [
        (
            "held",
            "Messages and events that wait for resources.",
            held.memory_items,
            held.disk_items,
        ),
        ("held_bytes", "Bytes of what waits for resources.", held.memory_bytes, held.disk_bytes),
    ] {
        let places = [("memory", memory), ("disk", disk)];
        let places = places.map(|(place, n)| (Some(("place", place.to_owned())), n as f64));
        out.family(&of(name), "gauge", help, places);
    }
}

fn process(api: &Api, out: &mut Exposition) {
    let memory = api.node.memory();
    let mut gauge =
        |name: &str, help: &str, value: f64| out.family(name, "gauge", help, [(None, value)]);
    gauge("process_resident_memory_bytes", "Resident memory.", memory.resident as f64);
    gauge("process_max_fds", "Files the process may have open.", api.node.max_fds() as f64);
    gauge("process_threads", "Threads.", api.node.threads() as f64);
    gauge("broker_uptime_seconds", "Since the start.", api.node.uptime().as_secs_f64());
    let failures = api.authentication.failures() as f64;
    let help = "Logins to the management API that failed.";
    out.family("management_login_failures_total", "counter", help, [(None, failures)]);
    let failures = api.users.failures() as f64;
    let help = "Logins of users of the dashboard that failed.";
    out.family("dashboard_login_failures_total", "counter", help, [(None, failures)]);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_metric_that_is_no_sum_is_told_once_in_a_family_that_there_is() {
        let mut told = HashSet::new();
        for metric in Metric::ALL {
            let Some((name, label)) = family(*metric) else {
                assert!(metric.is_gauge() || !metric.parts().is_empty(), "{}", metric.name());
                continue;
            };
            // PUBLISH is a sum by QoS, and a part of the sum by type.
            assert!(metric.parts().is_empty() || label == "publish", "{} is a sum", metric.name());
            assert!(told.insert((name, label)), "{name} {label} twice");
            let entry = FAMILIES.iter().find(|(family, ..)| *family == name);
            let (_, label_name, _) = entry.unwrap_or_else(|| panic!("{name}"));
            assert_eq!(label_name.is_empty(), label.is_empty(), "{name}");
        }
        assert!(FAMILIES.iter().all(|(family, ..)| told.iter().any(|(name, _)| name == family)));
    }

    #[test]
    fn buckets_are_cumulative_and_in_seconds() {
        let mut out = Exposition::default();
        let mut values = Distribution { sum_us: 60_123_456, ..Distribution::default() };
        (values.buckets[0], values.buckets[9], values.buckets[21]) = (3, 2, 1);
        out.histogram("x_seconds", "Help.", buckets(&values), values.sum_us);
        let lines: Vec<_> = out.0.lines().collect();
        assert_eq!(lines[..2], ["# HELP x_seconds Help.", "# TYPE x_seconds histogram"]);
        assert_eq!(lines[2], "x_seconds_bucket{le=\"0.00001\"} 3");
        assert_eq!(lines[10], "x_seconds_bucket{le=\"0.005\"} 3");
        assert_eq!(lines[11], "x_seconds_bucket{le=\"0.01\"} 5");
        assert_eq!(lines[22], "x_seconds_bucket{le=\"60\"} 5");
        let end =
            ["x_seconds_bucket{le=\"+Inf\"} 6", "x_seconds_sum 60.123456", "x_seconds_count 6"];
        assert_eq!(lines[23..], end);
    }

    #[test]
    fn labels_are_escaped() {
        let mut out = Exposition::default();
        let label = Some(("id", "a\"b\\c\nd".to_owned()));
        out.family("x", "gauge", "Help.", [(label, 1.5), (None, 2.0)]);
        let expected = "# HELP x Help.\n# TYPE x gauge\nx{id=\"a\\\"b\\\\c\\nd\"} 1.5\nx 2\n";
        assert_eq!(out.0, expected);
    }
}
