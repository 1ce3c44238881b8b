//! The text that is pushed: the original's names, in Prometheus' text format 0.0.4, without labels.

use std::fmt::Write;
use std::sync::Arc;

use broker_core::{Broker, Metric};
use parking_lot::Mutex;

use crate::machine::{CpuTimes, Machine};

/// Makes the text.
pub(super) struct Exposition {
    broker: Arc<Broker>,
    machine: Arc<dyn Machine>,
    cpu: Mutex<Cpu>,
}

/// How busy the processors were between the last two times that somebody asked.
#[derive(Default)]
struct Cpu {
    /// At first since the machine started, as the original's first answer.
    last: CpuTimes,
    busy_percent: Option<f64>,
}

impl Exposition {
    pub(super) fn new(broker: &Arc<Broker>, machine: Arc<dyn Machine>) -> Self {
        Self { broker: Arc::clone(broker), machine, cpu: Mutex::default() }
    }

    /// All there is to tell, as of now.
    pub(super) fn text(&self) -> String {
        let mut out = Text(String::with_capacity(8 << 10));
        self.counters(&mut out);
        self.gauges(&mut out);
        self.runtime(&mut out);
        self.process(&mut out);
        out.0
    }

    fn counters(&self, out: &mut Text) {
        let snapshot = self.broker.metrics().snapshot();
        for metric in COUNTERS {
            out.family(&told(metric.name()), "counter", snapshot.value(*metric) as f64);
        }
        // Those handed to other nodes, of which there are none yet.
        let forwarded = snapshot.value(Metric::MessagesForward) as f64;
        out.family("emqx_messages_qos2_forward", "counter", forwarded);
    }

    fn gauges(&self, out: &mut Text) {
        let stats = self.broker.stats();
        let of = |name: &str| stats.iter().find(|(stat, _)| *stat == name);
        for (name, value) in GAUGES.iter().filter_map(|name| of(name)) {
            out.family(&told(name), "gauge", *value as f64);
        }
    }

    /// What stands for the original's Erlang runtime.
    fn runtime(&self, out: &mut Text) {
        if let Some(busy) = self.busy_percent() {
            out.family("emqx_vm_cpu_use", "gauge", busy);
            out.family("emqx_vm_cpu_idle", "gauge", 100.0 - busy);
        }
        if let Some(n) = self.machine.run_queue() {
            out.family("emqx_vm_run_queue", "gauge", n as f64);
        }
        let queued = self.broker.queued_messages() as f64;
        out.family("emqx_vm_process_messages_in_queues", "gauge", queued);
    }

    fn process(&self, out: &mut Text) {
        let machine = &*self.machine;
        let number = |n: Option<u64>| n.map(|n| n as f64);
        for (name, kind, value) in [
            ("process_cpu_seconds_total", "counter", machine.cpu_seconds()),
            ("process_resident_memory_bytes", "gauge", number(machine.resident_bytes())),
            ("process_open_fds", "gauge", number(machine.open_descriptors())),
            ("process_max_fds", "gauge", number(machine.max_descriptors())),
        ] {
            if let Some(value) = value {
                out.family(name, kind, value);
            }
        }
    }

    fn busy_percent(&self) -> Option<f64> {
        let now = self.machine.cpu_times()?;
        let mut cpu = self.cpu.lock();
        // Asked again within a tick it is what it was.
        if let Some(percent) = now.busy_since(&cpu.last) {
            *cpu = Cpu { last: now, busy_percent: Some(percent) };
        }
        cpu.busy_percent
    }
}

struct Text(String);

impl Text {
    /// One family of one sample. The original has no words for it, so the help is empty.
    fn family(&mut self, name: &str, kind: &str, value: f64) {
        // Nothing fails that is written into memory.
        let _ = writeln!(self.0, "# TYPE {name} {kind}\n# HELP {name} \n{name} {value}");
    }
}

/// `emqx_packets_publish_sent` of `packets/publish/sent`.
fn told(name: &str) -> String {
    format!("emqx_{}", name.replace('/', "_"))
}

/// What the original pushes, in its order; and `packets/sent`, which it has and leaves out.
pub(super) const COUNTERS: &[Metric] = &[
    Metric::PacketsAuth,
    Metric::PacketsReceived,
    Metric::PacketsSent,
    Metric::PacketsConnect,
    Metric::PacketsConnAck,
    Metric::PacketsDisconnectReceived,
    Metric::PacketsDisconnectSent,
    Metric::PacketsSubscribe,
    Metric::PacketsSubAck,
    Metric::PacketsUnsubscribe,
    Metric::PacketsUnsubAck,
    Metric::PacketsPublishReceived,
    Metric::PacketsPublishSent,
    Metric::PacketsPubAckReceived,
    Metric::PacketsPubAckSent,
    Metric::PacketsPubAckMissed,
    Metric::PacketsPubRecReceived,
    Metric::PacketsPubRecSent,
    Metric::PacketsPubRecMissed,
    Metric::PacketsPubRelReceived,
    Metric::PacketsPubRelSent,
    Metric::PacketsPubRelMissed,
    Metric::PacketsPubCompReceived,
    Metric::PacketsPubCompSent,
    Metric::PacketsPubCompMissed,
    Metric::PacketsPingReq,
    Metric::PacketsPingResp,
    Metric::BytesReceived,
    Metric::BytesSent,
    Metric::MessagesReceived,
    Metric::MessagesSent,
    Metric::MessagesDropped,
    Metric::MessagesRetained,
    Metric::MessagesQos0Received,
    Metric::MessagesQos0Sent,
    Metric::MessagesQos1Received,
    Metric::MessagesQos1Sent,
    Metric::MessagesQos2Received,
    Metric::MessagesQos2Expired,
    Metric::MessagesQos2Sent,
    Metric::MessagesQos2Dropped,
];

/// As the statistics are called.
pub(super) const GAUGES: &[&str] = &[
    "connections/count",
    "connections/max",
    "retained/count",
    "retained/max",
    "routes/count",
    "routes/max",
    "sessions/count",
    "sessions/max",
    "subscriptions/count",
    "subscriptions/max",
    "topics/count",
    "topics/max",
];
