//! `recon`: memory and load of the process, as `emqx_recon` of the original tells them on its command line.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::ports::HeapFigures;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};

pub(crate) const ROUTES: &[Route] = &[
    get("recon_memory", "/nodes/:node/recon/memory", "How much the allocator holds", memory)
        .of_plugin(PLUGIN)
        .answers::<Figures>()
        .unlisted(),
    get("recon_allocated", "/nodes/:node/recon/allocated", "What the allocator holds", allocated)
        .of_plugin(PLUGIN)
        .answers::<Figures>()
        .unlisted(),
    get("recon_node_stats", "/nodes/:node/recon/node_stats", "Load of the node", node_stats)
        .of_plugin(PLUGIN)
        .answers::<NodeLoad>()
        .unlisted(),
];

const PLUGIN: &str = "emqx_recon";

/// Bytes by name, each `/current` and `/max`; `usage` is the part of `allocated` that is `used`.
type Figures = BTreeMap<String, f64>;

/// The same as numbers that are whole where they can be.
type Numbers = BTreeMap<String, Number>;

/// The node at a moment; what is counted is counted since its start.
#[derive(Serialize, ToSchema)]
struct NodeLoad {
    /// Connections and threads.
    process_count: usize,
    /// Threads that run or wait for a processor.
    run_queue: u64,
    /// Resident memory in bytes.
    memory_total: u64,
    /// Messages that wait in the queues of sessions.
    messages_in_queues: u64,
    /// Bytes from clients.
    bytes_in: u64,
    /// Bytes to clients.
    bytes_out: u64,
    /// Time that processors have spent on it.
    cpu_seconds: f64,
    /// Processors that it may use.
    schedulers: usize,
}

fn memory(api: &Api, request: &Request) -> Answer {
    figures(api, request, |it| {
        [
            ("usage", Number::from_f64(it.usage).unwrap_or_else(|| 0.into())),
            ("used", it.used.into()),
            ("allocated", it.allocated.into()),
            ("unused", it.unused.into()),
        ]
    })
}

/// The types of the original's allocators are those of Erlang.
fn allocated(api: &Api, request: &Request) -> Answer {
    figures(api, request, |it| [("arenas", it.arenas.into()), ("blocks", it.blocks.into())])
}

fn figures<const N: usize>(
    api: &Api,
    request: &Request,
    of: fn(&HeapFigures) -> [(&'static str, Number); N],
) -> Answer {
    request.own_node(api)?;
    let heap = api.inspection.heap().ok_or_else(untold)?;
    let named = |what: &str, it| of(&it).map(|(name, value)| (format!("{name}/{what}"), value));
    let current = named("current", heap.current);
    Reply::data(current.into_iter().chain(named("max", heap.max)).collect::<Numbers>())
}

fn node_stats(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let it = api.inspection.sample().ok_or_else(untold)?;
    let listeners = api.broker.listeners().map(|listeners| listeners.list()).unwrap_or_default();
    let connections: usize = listeners.iter().map(|listener| listener.connections).sum();
    Reply::data(NodeLoad {
        process_count: connections + api.node.threads(),
        run_queue: it.run_queue,
        memory_total: it.memory_bytes,
        messages_in_queues: it.queued_messages,
        bytes_in: it.bytes_in,
        bytes_out: it.bytes_out,
        cpu_seconds: it.cpu_seconds,
        schedulers: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

fn untold() -> ApiError {
    ApiError::new(Code::Unknown, "not supported: the system of this node does not tell")
}
