//! `listeners`: where the broker accepts clients, and the API its own; stopped and started one by one.

use std::collections::BTreeMap;

use broker_core::{LISTENER_FAILED, ListenerError, Report, Severity};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get, put};

pub(crate) const ROUTES: &[Route] = &[
    get("list_listeners", "/listeners/", "A list of listeners in the cluster", list)
        .lists::<NodeListeners>(),
    get(
        "list_node_listeners",
        "/nodes/:node/listeners",
        "A list of listeners on the node",
        of_node,
    )
    .lists::<ListenerItem>(),
    put(
        "stop_listener",
        "/nodes/:node/listeners/:id/stop",
        "Close a listener and its connections",
        stop,
    )
    .unlisted(),
    put("start_listener", "/nodes/:node/listeners/:id/start", "Open a listener again", start)
        .unlisted(),
    put(
        "restart_listener",
        "/nodes/:node/listeners/:id/restart",
        "Close and open a listener, with its certificates read again",
        restart,
    )
    .unlisted(),
];

/// The listeners of a node.
#[derive(Serialize, ToSchema)]
struct NodeListeners {
    node: String,
    listeners: Vec<ListenerItem>,
}

/// A listener.
#[derive(Serialize, ToSchema)]
struct ListenerItem {
    /// Names it to be stopped and started: `mqtt:tcp:external`, `http:management`.
    id: String,
    /// `mqtt:tcp`, `mqtt:ssl`, `mqtt:ws`, `mqtt:wss`, `mqtt:unix`, `http:management`, `https:management`.
    protocol: String,
    /// As it was configured: `8883` of all addresses, `0.0.0.0:1883`, or a path.
    listen_on: String,
    acceptors: usize,
    /// Connections it takes at a time.
    max_conns: usize,
    current_conns: usize,
    /// Whether it accepts.
    running: bool,
    /// How many connections ended for which reason; an orderly end is not counted.
    shutdown_count: ShutdownCount,
}

/// By reason; an empty list where there is nothing, as the original has it.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ShutdownCount {
    Nothing(Vec<u64>),
    ByReason(BTreeMap<String, u64>),
}

fn list(api: &Api, _: &Request) -> Answer {
    let node = api.node.name().to_owned();
    Reply::data([NodeListeners { node, listeners: items(api) }])
}

fn of_node(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(items(api))
}

fn stop(api: &Api, request: &Request) -> Answer {
    let id = existing(api, request)?;
    not_this_one(request, &id)?;
    if is_ours(&id) {
        api.listeners.stop(&id)?
    } else {
        mqtt(api)?.stop(&id)?
    }
    api.broker.alarms().clear(&alarm(&id), api.now().wall_ms);
    log::info!("listener stopped name={id}");
    Reply::ok()
}

fn start(api: &Api, request: &Request) -> Answer {
    let id = existing(api, request)?;
    let opened = if is_ours(&id) { api.listeners.start(&id) } else { mqtt(api)?.start(&id) };
    note(api, &id, &opened);
    opened?;
    log::info!("listener started name={id}");
    Reply::ok()
}

fn restart(api: &Api, request: &Request) -> Answer {
    let id = existing(api, request)?;
    not_this_one(request, &id)?;
    let opened = if is_ours(&id) { api.listeners.restart(&id) } else { mqtt(api)?.restart(&id) };
    note(api, &id, &opened);
    opened?;
    log::info!("listener restarted name={id}");
    Reply::ok()
}

/// A listener that should be open and is not is an alarm.
fn note(api: &Api, id: &str, opened: &Result<(), ListenerError>) {
    let now_ms = api.now().wall_ms;
    match opened {
        Ok(()) => drop(api.broker.alarms().clear(&alarm(id), now_ms)),
        Err(ListenerError::Failed(why)) if !is_running(api, id) => {
            let what = format!("listener {id} cannot be opened: {why}");
            let report = Report::new(Severity::Error, "", what).with_detail("listener", id);
            api.broker.alarms().raise(&alarm(id), report, now_ms);
        }
        Err(_) => {}
    }
}

fn alarm(id: &str) -> String {
    format!("{LISTENER_FAILED}/{id}")
}

fn is_running(api: &Api, id: &str) -> bool {
    items(api).iter().any(|item| item.id == id && item.running)
}

/// All of them in the original's order: those of its own server first, the HTTP ones after them.
fn items(api: &Api) -> Vec<ListenerItem> {
    let mqtt = api.broker.listeners().map(|listeners| listeners.list()).unwrap_or_default();
    let mqtt = mqtt.into_iter().map(|listener| {
        let id = listener.name.to_string();
        let protocol = id.rsplit_once(':').map_or(id.as_str(), |(protocol, _)| protocol).to_owned();
        ListenerItem {
            id,
            protocol,
            listen_on: listener.listen_on,
            acceptors: listener.acceptors,
            max_conns: listener.max_connections,
            current_conns: listener.connections,
            running: listener.is_running,
            shutdown_count: ShutdownCount::from(listener.shutdown_counts),
        }
    });
    let ours = api.listeners.list().into_iter().map(|listener| ListenerItem {
        id: listener.name.to_string(),
        protocol: listener.name.to_string(),
        listen_on: listener.listen_on,
        acceptors: listener.acceptors,
        max_conns: listener.max_clients,
        current_conns: listener.connections,
        running: listener.is_running,
        shutdown_count: ShutdownCount::Nothing(Vec::new()),
    });
    let mut items: Vec<_> = mqtt.chain(ours).collect();
    let has_http = |item: &ListenerItem| {
        !["mqtt:tcp", "mqtt:ssl", "mqtt:unix"].contains(&item.protocol.as_str())
    };
    items.sort_by_cached_key(|item| (has_http(item), item.protocol.clone(), item.id.clone()));
    items
}

/// The listener that is meant: by its id, or by protocol and address.
fn existing(api: &Api, request: &Request) -> Result<String, ApiError> {
    request.own_node(api)?;
    let wanted = request.segment("id");
    let items = items(api);
    let by_id = items.iter().find(|item| item.id == wanted);
    let found = by_id.or_else(|| {
        items.iter().find(|item| format!("{}:{}", item.protocol, item.listen_on) == wanted)
    });
    found.map(|item| item.id.clone()).ok_or_else(|| ListenerError::Unknown.into())
}

/// The answer could not be sent.
fn not_this_one(request: &Request, id: &str) -> Result<(), ApiError> {
    if request.came_by == id {
        return Err(ApiError::new(Code::Unknown, "listener in use by this request"));
    }
    Ok(())
}

fn is_ours(id: &str) -> bool {
    id.ends_with(":management") && !id.starts_with("mqtt:")
}

fn mqtt(api: &Api) -> Result<std::sync::Arc<dyn broker_core::Listeners>, ApiError> {
    api.broker.listeners().ok_or_else(|| ListenerError::Unknown.into())
}

impl From<Vec<(String, u64)>> for ShutdownCount {
    fn from(counts: Vec<(String, u64)>) -> Self {
        if counts.is_empty() {
            Self::Nothing(Vec::new())
        } else {
            Self::ByReason(counts.into_iter().collect())
        }
    }
}

impl From<ListenerError> for ApiError {
    fn from(error: ListenerError) -> Self {
        let message = match error {
            ListenerError::Unknown => "not_found",
            ListenerError::Running => "already_started",
            ListenerError::Stopped => "not_started",
            ListenerError::Failed(why) => return Self::new(Code::Unknown, why),
        };
        Self::new(Code::Unknown, message)
    }
}
