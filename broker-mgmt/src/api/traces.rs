//! `traces`: what a client does, or what happens on a topic or from an address, while it happens.

use std::sync::Arc;

use broker_core::{
    StartTraceError, Trace, TraceEvent, TraceLevel, TraceOptions, TraceSubject, topic,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get, post};
use crate::text;

pub(crate) const ROUTES: &[Route] = &[
    get("list_traces", "/traces", "List the traces", list).unlisted().lists::<TraceRow>(),
    post("start_trace", "/traces", "Start a trace, which ends by itself", start)
        .unlisted()
        .takes::<NewTrace>()
        .answers::<TraceRow>(),
    get("list_trace_events", "/traces/:kind/:value/events", "What a trace has told", events)
        .unlisted()
        .asks(&[
            ("after", "Events with greater numbers only: `meta.next` of the answer before"),
            ("_limit", "Events at most, 1000 if not said, and no more than 10000"),
        ])
        .lists::<EventRow>(),
    delete("stop_trace", "/traces/:kind/:value", "Stop a trace and forget what it has", stop)
        .unlisted(),
];

/// A trace.
#[derive(Serialize, ToSchema)]
struct TraceRow {
    /// `client_id`, `topic` or `ip_address`.
    kind: &'static str,
    value: String,
    /// `info` or `debug`.
    level: &'static str,
    /// Events a second that are kept.
    rate: u32,
    payload: bool,
    started_at: String,
    expires_at: String,
    /// Events so far.
    events: u64,
    /// Events over the rate.
    dropped: u64,
    /// A file, or `memory`.
    destination: String,
    /// Whether it goes on; one that has ended can be read for an hour.
    running: bool,
}

/// A trace to be started.
#[derive(Deserialize, ToSchema)]
struct NewTrace {
    /// `client_id`, `topic` or `ip_address`.
    kind: String,
    /// A Client Identifier, a Topic Filter, an address or a block of addresses.
    value: String,
    /// `info` for the life of connections and what is dropped, `debug` for packets and messages too.
    level: Option<String>,
    /// Events a second that are kept, 1 to 10000; 1000 if not said.
    rate: Option<u32>,
    /// Seconds after which it ends, 1 to 86400; 600 if not said.
    duration: Option<u64>,
    /// Whether the first 256 bytes of payloads are shown.
    #[serde(default)]
    payload: bool,
    /// Name of a file in the folder `trace` of the broker's data.
    file: Option<String>,
}

/// One event.
#[derive(Serialize, ToSchema)]
struct EventRow {
    seq: u64,
    /// With milliseconds.
    at: String,
    client_id: String,
    peer: String,
    event: &'static str,
    text: String,
}

#[derive(Serialize)]
struct EventsMeta {
    next: u64,
    dropped: u64,
    running: bool,
}

fn list(api: &Api, _: &Request) -> Answer {
    let rows: Vec<_> = api.broker.traces().list().iter().map(|trace| row(trace, api)).collect();
    Reply::data(rows)
}

fn start(api: &Api, request: &Request) -> Answer {
    let new: NewTrace = request.body()?;
    let subject = subject(&new.kind, &new.value)?;
    let level = match new.level.as_deref() {
        None | Some("debug") => TraceLevel::Debug,
        Some("info") => TraceLevel::Info,
        Some(_) => return Err(ApiError::bad("level", "must be info or debug")),
    };
    let events_per_s = new.rate.unwrap_or(RATE);
    if !(1..=RATE_MAX).contains(&events_per_s) {
        return Err(ApiError::bad("rate", format_args!("must be from 1 to {RATE_MAX}")));
    }
    let duration_s = new.duration.unwrap_or(DURATION_S);
    if !(1..=DURATION_S_MAX).contains(&duration_s) {
        return Err(ApiError::bad("duration", format_args!("must be from 1 to {DURATION_S_MAX}")));
    }
    let file = new.file.as_deref();
    if file.is_some_and(|name| !is_bare_name(name)) {
        let problem = "must be a name of letters, digits, `.`, `_` and `-`, of at most 128";
        return Err(ApiError::bad("file", problem));
    }
    let destination = file
        .map_or_else(|| MEMORY.to_owned(), |name| api.trace_files.path(name).display().to_string());
    let options = TraceOptions {
        subject,
        level,
        events_per_s,
        duration_ms: duration_s * 1000,
        shows_payload: new.payload,
        destination,
    };
    let trace = api.broker.traces().start(options, api.now())?;
    if let Some(name) = file
        && let Err(why) = api.trace_files.write(name, Arc::clone(&trace), line)
    {
        api.broker.traces().stop(&trace.options().subject);
        return Err(ApiError::new(Code::Unknown, why));
    }
    log::info!("trace started {}={:?} by={:?}", new.kind, new.value, request.principal.app_id);
    Reply::data(row(&trace, api))
}

fn events(api: &Api, request: &Request) -> Answer {
    let trace = api.broker.traces().find(&named(request)?).ok_or_else(not_found)?;
    let after = number(request, "after", 0)?.unwrap_or(0);
    let limit = number(request, "_limit", 1)?.unwrap_or(EVENTS).min(EVENTS_MAX);
    // Asked first: what it tells until it ends is on this page, or on the next.
    let running = trace.is_running(api.now());
    let page = trace.events_after(after, limit as usize);
    let rows: Vec<_> = page.events.iter().map(|event| event_row(event)).collect();
    Reply::data_with(rows, EventsMeta { next: page.next, dropped: page.dropped, running })
}

fn stop(api: &Api, request: &Request) -> Answer {
    if !api.broker.traces().stop(&named(request)?) {
        return Err(not_found());
    }
    Reply::ok()
}

fn not_found() -> ApiError {
    ApiError::new(Code::Unknown, "not_found")
}

fn named(request: &Request) -> Result<TraceSubject, ApiError> {
    subject(request.segment("kind"), request.segment("value"))
}

fn subject(kind: &str, value: &str) -> Result<TraceSubject, ApiError> {
    match kind {
        "client_id" if value.is_empty() => Err(ApiError::bad("value", "must not be empty")),
        "client_id" => Ok(TraceSubject::ClientId(value.into())),
        "topic" if topic::validate_filter(value).is_err() => {
            Err(ApiError::bad("value", "must be a Topic Filter"))
        }
        "topic" if topic::parse_share(value).is_some() => {
            Err(ApiError::bad("value", "must be a Topic Filter without the prefix of a share"))
        }
        "topic" => Ok(TraceSubject::Topic(value.into())),
        "ip_address" => match value.parse() {
            Ok(block) => Ok(TraceSubject::Address(block)),
            Err(problem) => Err(ApiError::bad("value", problem)),
        },
        _ => Err(ApiError::bad("kind", "must be client_id, topic or ip_address")),
    }
}

/// Nothing that leads out of the folder, and no name that a shell takes for something else.
fn is_bare_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=128).contains(&name.len())
        && name.bytes().all(is_plain)
        && !name.bytes().all(|byte| byte == b'.')
}

/// A number of the query from `least` on.
fn number(request: &Request, name: &str, least: u64) -> Result<Option<u64>, ApiError> {
    let Some(text) = request.query(name) else { return Ok(None) };
    match text.parse() {
        Ok(number) if number >= least => Ok(Some(number)),
        _ => Err(ApiError::request(
            Code::BadParameter,
            format_args!("{name}: must be a whole number from {least}"),
        )),
    }
}

fn row(trace: &Trace, api: &Api) -> TraceRow {
    let options = trace.options();
    let (events, dropped) = trace.counts();
    let (kind, value) = match &options.subject {
        TraceSubject::ClientId(id) => ("client_id", id.to_string()),
        TraceSubject::Topic(filter) => ("topic", filter.to_string()),
        TraceSubject::Address(block) if block.is_single() => {
            ("ip_address", block.address().to_string())
        }
        TraceSubject::Address(block) => ("ip_address", block.to_string()),
    };
    TraceRow {
        kind,
        value,
        level: match options.level {
            TraceLevel::Info => "info",
            TraceLevel::Debug => "debug",
        },
        rate: options.events_per_s,
        payload: options.shows_payload,
        started_at: text::local_time(trace.started_at_ms()),
        expires_at: text::local_time(trace.ends_at_ms()),
        events,
        dropped,
        destination: options.destination.clone(),
        running: trace.is_running(api.now()),
    }
}

fn event_row(event: &TraceEvent) -> EventRow {
    EventRow {
        seq: event.seq,
        at: text::local_time_with_ms(event.at_ms),
        client_id: event.client_id.to_string(),
        peer: text::or_undefined(event.peer.map(|peer| peer.to_string())),
        event: event.kind.name(),
        text: event.text.to_string(),
    }
}

/// An event as a line of a file.
fn line(event: &TraceEvent) -> String {
    let EventRow { at, client_id, peer, event, text, .. } = event_row(event);
    format!("{at} {event} client_id={client_id:?} peer={peer} {text}\n")
}

impl From<StartTraceError> for ApiError {
    fn from(error: StartTraceError) -> Self {
        let message = match error {
            StartTraceError::Exists => "already_exists",
            StartTraceError::TooMany => "too many traces",
        };
        Self::new(Code::Unknown, message)
    }
}

const MEMORY: &str = "memory";
const RATE: u32 = 1_000;
const RATE_MAX: u32 = 10_000;
const DURATION_S: u64 = 600;
const DURATION_S_MAX: u64 = 86_400;
const EVENTS: u64 = 1_000;
const EVENTS_MAX: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_names_are_files() {
        for name in ["a", "client-1.log", "..a", "_"] {
            assert!(is_bare_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "/a", "a b", "a\0", "é", &"x".repeat(129)] {
            assert!(!is_bare_name(name), "{name}");
        }
    }

    #[test]
    fn subjects_are_checked_by_kind() {
        let check = |kind: &str, value: &str, expected: &str| {
            let error = subject(kind, value).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{kind} {value}: {error}");
        };
        check("client", "a", "kind: must be client_id, topic or ip_address");
        check("client_id", "", "value: must not be empty");
        check("topic", "a/#/b", "value: must be a Topic Filter");
        check("topic", "$share/g/a", "value: must be a Topic Filter without");
        check("ip_address", "10.0.0", "value: \"10.0.0\" is no IP address");
        assert!(subject("ip_address", "10.0.0.0/8").is_ok());
    }
}
