//! `alarms`: conditions that are up, and those that are over.

use std::collections::BTreeMap;

use broker_core::{Alarm, PastAlarm, Report};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get};
use crate::{saving, text};

pub(crate) const ROUTES: &[Route] = &[
    get("list_all_alarms", "/alarms/present", "List all alarms", list).lists::<NodeAlarms>(),
    get("list_node_alarms", "/alarms/present/:node", "List alarms of a node", one)
        .lists::<AlarmInfo>(),
    get("list_all_alarm_history", "/alarms/history", "List all alarm history", list_history)
        .lists::<NodePastAlarms>(),
    get(
        "list_node_alarm_history",
        "/alarms/history/:node",
        "List alarm history of a node",
        history,
    )
    .lists::<PastAlarmInfo>(),
    // As the original of the document's version has them.
    get("list_alarms", "/alarms/", "List all alarms", list).lists::<NodeAlarms>().unlisted(),
    get("list_alarms_of_node", "/alarms/:node", "List alarms of a node", one)
        .lists::<AlarmInfo>()
        .unlisted(),
    delete("clear_alarm", "/alarms/present/:node/:id", "Clear an alarm", clear).unlisted(),
    delete("forget_alarms", "/alarms/history/:node", "Forget the alarms that are over", forget)
        .unlisted(),
];

/// The alarms of a node that are up.
#[derive(Serialize, ToSchema)]
struct NodeAlarms {
    node: String,
    alarms: Vec<AlarmInfo>,
}

/// An alarm that is up.
#[derive(Serialize, ToSchema)]
struct AlarmInfo {
    /// `cpu_high_watermark`; of one client also which, `queue_overflow/c1`.
    id: String,
    desc: AlarmDescription,
    /// `notice`, `warning`, `error` or `critical`.
    severity: &'static str,
    /// What kind of trouble it is.
    title: String,
    /// What is the matter, one sentence.
    summary: String,
    /// Since when, local time, `2019-04-29 10:56:41`.
    timestamp: String,
    /// What was measured, by name.
    details: BTreeMap<String, String>,
}

/// Of the original's own alarms the value that was measured, as a text; of others what the original has for an
/// alarm that says more.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum AlarmDescription {
    Value(String),
    Structured { severity: &'static str, title: String, summary: String, timestamp: String },
}

/// The alarms of a node that are over.
#[derive(Serialize, ToSchema)]
struct NodePastAlarms {
    node: String,
    alarms: Vec<PastAlarmInfo>,
}

/// An alarm that is over.
#[derive(Serialize, ToSchema)]
struct PastAlarmInfo {
    #[serde(flatten)]
    alarm: AlarmInfo,
    /// Local time, `2019-04-29 10:56:41`.
    clear_at: String,
}

impl From<Alarm> for AlarmInfo {
    fn from(Alarm { id, report, since_ms }: Alarm) -> Self {
        let Report { severity, title, summary, value, details } = report;
        let (severity, title) = (severity.as_str(), title.into_owned());
        let timestamp = text::local_time(since_ms);
        let desc = match value {
            Some(value) => AlarmDescription::Value(value),
            None => AlarmDescription::Structured {
                severity,
                title: title.clone(),
                summary: summary.clone(),
                timestamp: timestamp.clone(),
            },
        };
        let details = details.into_iter().map(|(name, value)| (name.into_owned(), value));
        Self { id, desc, severity, title, summary, timestamp, details: details.collect() }
    }
}

impl From<PastAlarm> for PastAlarmInfo {
    fn from(PastAlarm { alarm, cleared_ms }: PastAlarm) -> Self {
        Self { alarm: alarm.into(), clear_at: text::local_time(cleared_ms) }
    }
}

fn list(api: &Api, _: &Request) -> Answer {
    Reply::data([NodeAlarms { node: api.node.name().to_owned(), alarms: present(api) }])
}

fn one(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(present(api))
}

fn present(api: &Api) -> Vec<AlarmInfo> {
    api.broker.alarms().list().into_iter().map(AlarmInfo::from).collect()
}

fn list_history(api: &Api, _: &Request) -> Answer {
    Reply::data([NodePastAlarms { node: api.node.name().to_owned(), alarms: past(api) }])
}

fn history(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(past(api))
}

fn past(api: &Api) -> Vec<PastAlarmInfo> {
    api.broker.alarms().history().into_iter().map(PastAlarmInfo::from).collect()
}

fn clear(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    if !api.broker.alarms().clear(request.segment("id"), api.now().wall_ms) {
        return Err(ApiError::new(Code::Unknown, "not_found"));
    }
    saving::wait(&api.broker, api.broker.keep_alarms())?;
    Reply::ok()
}

fn forget(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    api.broker.alarms().forget_history();
    saving::wait(&api.broker, api.broker.keep_alarms())?;
    Reply::ok()
}
