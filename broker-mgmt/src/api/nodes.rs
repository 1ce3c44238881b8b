//! `nodes`: what the process and its machine have to do.

use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};
use crate::text;

pub(crate) const ROUTES: &[Route] = &[
    get("list_nodes", "/nodes/", "A list of nodes in the cluster", list).lists::<NodeInfo>(),
    get("get_node", "/nodes/:node", "Lookup a node in the cluster", one).answers::<NodeInfo>(),
];

/// A node.
#[derive(Serialize, ToSchema)]
struct NodeInfo {
    /// Clients that are connected.
    connections: usize,
    /// Load average over one minute, two decimals; left out where the system has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    load1: Option<String>,
    /// Over 5 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    load5: Option<String>,
    /// Over 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    load15: Option<String>,
    /// Files the process may have open.
    max_fds: u64,
    /// Resident memory of the process.
    memory_total: MemorySize,
    /// Of that what was allocated: heap and stacks.
    memory_used: MemorySize,
    name: String,
    /// The name again, in the list only.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// `Running`.
    node_status: &'static str,
    /// What the broker runs on: `rustc 1.95.0`.
    otp_release: String,
    /// Connections that the listeners take, and threads.
    process_available: usize,
    /// Connections that the listeners have, and threads.
    process_used: usize,
    /// `1 days,18 hours, 45 minutes, 1 seconds`.
    uptime: String,
    /// `v0.1.0`.
    version: String,
}

/// Bytes: of one node as a number, in the list as a text such as `76.45M`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum MemorySize {
    Bytes(u64),
    Text(String),
}

fn list(api: &Api, _: &Request) -> Answer {
    let readable = |bytes| text::size(bytes).map_or(MemorySize::Bytes(bytes), MemorySize::Text);
    let node = Some(api.node.name().to_owned());
    Reply::data([NodeInfo { node, ..info(api, readable) }])
}

fn one(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(info(api, MemorySize::Bytes))
}

fn info(api: &Api, size: impl Fn(u64) -> MemorySize) -> NodeInfo {
    let facts = &api.node;
    let loads = facts.load_averages().map(|loads| loads.map(|load| format!("{load:.2}")));
    let [load1, load5, load15] = loads.map_or([None, None, None], |loads| loads.map(Some));
    let memory = facts.memory();
    let listeners = api.broker.listeners().map(|listeners| listeners.list()).unwrap_or_default();
    let threads = facts.threads();
    let room: usize = listeners.iter().map(|listener| listener.max_connections).sum();
    let taken: usize = listeners.iter().map(|listener| listener.connections).sum();
    let stats = api.broker.stats();
    let connections = stats.iter().find(|(name, _)| *name == "connections/count");
    NodeInfo {
        connections: connections.map_or(0, |(_, count)| *count),
        load1,
        load5,
        load15,
        max_fds: facts.max_fds(),
        memory_total: size(memory.resident),
        memory_used: size(memory.allocated.min(memory.resident)),
        name: facts.name().to_owned(),
        node: None,
        node_status: "Running",
        otp_release: facts.runtime().to_owned(),
        process_available: room + threads,
        process_used: taken + threads,
        uptime: text::uptime(facts.uptime()),
        version: facts.version().to_owned(),
    }
}
