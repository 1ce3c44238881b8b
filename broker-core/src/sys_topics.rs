//! `$SYS/brokers/…`: the broker's state as messages, with EMQ X 3.1's names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use broker_codec::QoS;

use crate::alarms::{Alarm, News};
use crate::config::BrokerConfig;
use crate::events::{Json, Retain};
use crate::turn::Turn;

pub(crate) struct SysTopics {
    node: String,
    /// A QoS, or `NO_PRESENCE`.
    presence: AtomicU8,
    /// 0 for none.
    interval_ms: AtomicU64,
    /// When the last round was, on the monotonic clock; `NEVER` before the first.
    last_ms: AtomicU64,
    /// When this was first looked at; `NEVER` before.
    started_ms: AtomicU64,
}

impl SysTopics {
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        Self {
            node: config.node_name.clone(),
            presence: AtomicU8::new(presence_word(config.presence)),
            interval_ms: AtomicU64::new(config.sys_interval_ms),
            last_ms: AtomicU64::new(NEVER),
            started_ms: AtomicU64::new(NEVER),
        }
    }

    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Other settings, from the next round and the next client on.
    pub(crate) fn configure(&self, config: &BrokerConfig) {
        self.presence.store(presence_word(config.presence), Ordering::Relaxed);
        self.interval_ms.store(config.sys_interval_ms, Ordering::Relaxed);
    }

    pub(crate) fn presence(&self) -> Option<QoS> {
        match self.presence.load(Ordering::Relaxed) {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }

    pub(crate) fn next_due_ms(&self) -> Option<u64> {
        if self.started_ms.load(Ordering::Relaxed) == NEVER {
            return Some(0);
        }
        let interval_ms = self.interval_ms.load(Ordering::Relaxed);
        match self.last_ms.load(Ordering::Relaxed) {
            _ if interval_ms == 0 => None,
            NEVER => Some(0),
            last_ms => Some(last_ms + interval_ms),
        }
    }

    /// Publishes a round if it is due.
    pub(crate) fn publish_due(turn: &mut Turn) {
        let broker = Arc::clone(&turn.broker);
        let sys = &broker.sys;
        let now_ms = turn.now.mono_ms;
        if sys.started_ms.load(Ordering::Relaxed) == NEVER {
            sys.started_ms.store(now_ms, Ordering::Relaxed);
        }
        if sys.next_due_ms().is_none_or(|due_ms| now_ms < due_ms) {
            return;
        }
        sys.last_ms.store(now_ms, Ordering::Relaxed);
        sys.publish_facts(turn);
        for (name, value) in broker.stats() {
            turn.publish_sys(&format!("stats/{name}"), &value.to_string(), Retain::No);
        }
        for (metric, value) in broker.metrics().snapshot().iter() {
            let topic = format!("metrics/{}", metric.name());
            turn.publish_sys(&topic, &value.to_string(), Retain::No);
        }
    }

    fn publish_facts(&self, turn: &mut Turn) {
        turn.publish_own("$SYS/brokers", self.node.as_bytes(), QoS::AtMostOnce, Retain::Yes);
        turn.publish_sys("version", env!("CARGO_PKG_VERSION"), Retain::Yes);
        turn.publish_sys("sysdescr", "MQTT Broker", Retain::Yes);
        let up_ms = turn.now.mono_ms - self.started_ms.load(Ordering::Relaxed);
        turn.publish_sys("uptime", &uptime(up_ms / 1000), Retain::No);
        turn.publish_sys("datetime", &datetime(turn.now.wall_ms / 1000), Retain::No);
    }

    /// Tells of alarms that were raised or cleared since the last time, and keeps them.
    pub(crate) fn publish_alarms(turn: &mut Turn) {
        let broker = Arc::clone(&turn.broker);
        if !broker.alarms().has_news() {
            return;
        }
        let news = broker.alarms().take_news();
        let _ = broker.keep_alarms();
        for news in news {
            match news {
                News::Raised(alarm) => turn.publish_alarm(&alarm.id, "alert", &alert(&alarm)),
                News::Cleared(id) => turn.publish_alarm(&id, "clear", ""),
            }
        }
    }
}

impl Turn {
    fn publish_sys(&mut self, topic: &str, payload: &str, retain: Retain) {
        let topic = format!("$SYS/brokers/{}/{topic}", self.broker.sys.node());
        self.publish_own(&topic, payload.as_bytes(), QoS::AtMostOnce, retain);
    }

    fn publish_alarm(&mut self, id: &str, what: &str, payload: &str) {
        // A client may have called itself so: what is a wildcard in a topic is written as in a URL.
        let id = id.replace('+', "%2B").replace('#', "%23");
        let topic = format!("$SYS/brokers/{}/alarms/{id}/{what}", self.broker.sys.node());
        // Not by way of the cache, as with presence: topics of clients are many.
        if self.broker.router.has_receivers(&topic) {
            self.publish_own(&topic, payload.as_bytes(), QoS::AtMostOnce, Retain::No);
        }
    }
}

/// `{id, desc}`: what was measured, or severity, title and summary.
fn alert(alarm: &Alarm) -> String {
    let Alarm { id, report, since_ms } = alarm;
    let mut json = Json::new();
    json.text("id", id);
    match &report.value {
        Some(value) => json.text("desc", value),
        None => json.object("desc", |desc| {
            desc.text("severity", report.severity.as_str());
            desc.text("title", &report.title);
            desc.text("summary", &report.summary);
            desc.number("ts", since_ms / 1000);
        }),
    }
    json.finish()
}

fn presence_word(presence: Option<QoS>) -> u8 {
    presence.map_or(NO_PRESENCE, |qos| qos as u8)
}

const NO_PRESENCE: u8 = u8::MAX;
const NEVER: u64 = u64::MAX;

/// `1 days,2 hours, 3 minutes, 4 seconds`, leading zeros left out, as the original writes it.
fn uptime(seconds: u64) -> String {
    let (s, m, h, d) = (seconds % 60, seconds / 60 % 60, seconds / 3600 % 24, seconds / 86_400);
    match (d, h, m) {
        (0, 0, 0) => format!("{s} seconds"),
        (0, 0, _) => format!("{m} minutes, {s} seconds"),
        (0, _, _) => format!("{h} hours, {m} minutes, {s} seconds"),
        _ => format!("{d} days,{h} hours, {m} minutes, {s} seconds"),
    }
}

/// `2019-05-10 12:00:00` in UTC.
fn datetime(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days to year, month, day by eras of 400 years that begin in March (Howard Hinnant's algorithm).
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarms::{Report, Severity};

    #[test]
    fn an_alert_says_what_was_measured_or_what_is_the_matter() {
        let report = Report::new(Severity::Error, "a title", "a \"summary\"");
        let mut alarm = Alarm { id: "a".into(), report, since_ms: 1_700_000_000_999 };
        assert_eq!(
            alert(&alarm),
            r#"{"id":"a","desc":{"severity":"error","title":"a title","summary":"a \"summary\"","ts":1700000000}}"#
        );
        alarm.report.value = Some("82.5".into());
        assert_eq!(alert(&alarm), r#"{"id":"a","desc":"82.5"}"#);
    }

    #[test]
    fn times_read_as_the_original_writes_them() {
        assert_eq!(datetime(0), "1970-01-01 00:00:00");
        assert_eq!(datetime(1_582_934_400 + 3661), "2020-02-29 01:01:01");
        assert_eq!(datetime(1_767_225_599), "2025-12-31 23:59:59");
        assert_eq!(uptime(59), "59 seconds");
        assert_eq!(uptime(90_061), "1 days,1 hours, 1 minutes, 1 seconds");
    }
}
