//! DropAlarms: an alarm for each resource that loses what it was given.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use broker_core::{Broker, Now, Report, Severity};
use broker_net::clock;
use broker_rules::{DropReason, SinkListener};
use parking_lot::Mutex;

/// Raises and clears `resource_drops/<resource>`.
pub(crate) struct DropAlarms {
    broker: Weak<Broker>,
    up: Mutex<BTreeMap<String, Losses>>,
}

/// What a resource has lost since its alarm is up.
struct Losses {
    by_reason: BTreeMap<&'static str, u64>,
    /// When it has last lost something, on the monotonic clock.
    at_ms: u64,
}

impl DropAlarms {
    pub(crate) fn new(broker: &Arc<Broker>) -> Self {
        Self { broker: Arc::downgrade(broker), up: Mutex::default() }
    }

    /// Clears the alarms of those that have lost nothing more for a minute.
    pub(crate) fn tick(&self, now: Now) {
        let Some(broker) = self.broker.upgrade() else { return };
        self.up.lock().retain(|resource, losses| {
            let is_over = now.mono_ms >= losses.at_ms.saturating_add(CLEAR_AFTER_MS);
            if is_over {
                broker.alarms().clear(&id(resource), now.wall_ms);
            }
            !is_over
        });
    }

    fn add(&self, resource: &str, reason: DropReason, n: u64, now: Now) {
        let Some(broker) = self.broker.upgrade() else { return };
        // Held until the alarm is up, so that it is not cleared in between.
        let mut up = self.up.lock();
        let losses = up
            .entry(resource.to_owned())
            .or_insert_with(|| Losses { by_reason: BTreeMap::new(), at_ms: 0 });
        losses.at_ms = now.mono_ms;
        *losses.by_reason.entry(reason.name()).or_default() += n;
        broker.alarms().raise(&id(resource), losses.report(resource), now.wall_ms);
    }
}

impl Losses {
    fn report(&self, resource: &str) -> Report {
        let n: u64 = self.by_reason.values().sum();
        let summary = format!("{n} events for the resource {resource} are lost");
        let report =
            Report::new(Severity::Error, "a resource does not take what it is given", summary);
        self.by_reason
            .iter()
            .fold(report, |report, (reason, n)| report.with_detail(reason, n.to_string()))
    }
}

impl SinkListener for DropAlarms {
    fn handle_dropped(&self, sink: &str, reason: DropReason, n: u64) {
        self.add(sink, reason, n, clock::now());
    }
}

fn id(resource: &str) -> String {
    format!("resource_drops/{resource}")
}

/// So long after the last loss the alarm is over.
const CLEAR_AFTER_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono_ms: ms, wall_ms: 1_700_000_000_000 + ms, ..clock::now() }
    }

    #[test]
    fn a_loss_is_an_alarm_until_a_minute_has_passed_without_another() {
        let broker = Broker::builder().build().unwrap();
        let drops = DropAlarms::new(&broker);
        drops.add("web_hook:w", DropReason::Full, 3, at(0));
        drops.add("web_hook:w", DropReason::Expired, 1, at(30_000));
        drops.add("bridge_mqtt:b", DropReason::Full, 2, at(30_000));
        let alarms = broker.alarms().list();
        let ids: Vec<_> = alarms.iter().map(|alarm| alarm.id.as_str()).collect();
        assert_eq!(ids, ["resource_drops/bridge_mqtt:b", "resource_drops/web_hook:w"]);
        assert_eq!(alarms[1].kind(), "resource_drops");
        let report = &alarms[1].report;
        assert_eq!(report.summary, "4 events for the resource web_hook:w are lost");
        let details: Vec<_> =
            report.details.iter().map(|(name, n)| (&**name, n.as_str())).collect();
        assert_eq!(details, [("expired", "1"), ("full", "3")]);
        drops.add("bridge_mqtt:b", DropReason::Full, 1, at(60_000));
        drops.tick(at(89_999));
        assert_eq!(broker.alarms().list().len(), 2);
        drops.tick(at(90_000));
        assert_eq!(broker.alarms().list().len(), 1);
        drops.tick(at(120_000));
        assert!(broker.alarms().list().is_empty());
        // Counted from new.
        drops.add("web_hook:w", DropReason::Full, 1, at(130_000));
        let [alarm] = &broker.alarms().list()[..] else { panic!("one") };
        assert_eq!(alarm.report.summary, "1 events for the resource web_hook:w are lost");
    }
}
