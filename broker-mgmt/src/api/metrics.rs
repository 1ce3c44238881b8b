//! `metrics`: what was counted since the start; `drops`: why deliveries did not come about.

use std::collections::BTreeMap;

use broker_core::Metric;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};

pub(crate) const ROUTES: &[Route] = &[
    get("list_all_metrics", "/metrics/", "A list of metrics of all nodes in the cluster", list)
        .lists::<NodeMetrics>(),
    get("list_node_metrics", "/nodes/:node/metrics/", "A list of metrics of a node", one)
        .answers::<Counts>(),
    get("list_all_drops", "/drops/", "Deliveries dropped, by reason, of all nodes", list_drops)
        .lists::<NodeDrops>()
        .unlisted(),
    get(
        "list_node_drops",
        "/nodes/:node/drops/",
        "Deliveries dropped, by reason, of a node",
        drops,
    )
    .answers::<Counts>()
    .unlisted(),
];

/// Values by name.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// The metrics of a node.
#[derive(Serialize, ToSchema)]
struct NodeMetrics {
    node: String,
    /// Counted since the start, but for `messages/retained`, which is how many there are.
    #[schema(value_type = BTreeMap<String, u64>)]
    metrics: Counts,
}

/// Why deliveries of a node did not come about.
#[derive(Serialize, ToSchema)]
struct NodeDrops {
    node: String,
    /// Deliveries since the start, by reason.
    #[schema(value_type = BTreeMap<String, u64>)]
    drops: Counts,
}

fn list(api: &Api, _: &Request) -> Answer {
    Reply::data([NodeMetrics { node: api.node.name().to_owned(), metrics: metrics(api) }])
}

fn one(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(metrics(api))
}

/// Those that the original has.
fn metrics(api: &Api) -> Counts {
    let snapshot = api.broker.metrics().snapshot();
    let totals = api.rules.totals();
    let of_rules = [
        ("rules.matched", totals.matched),
        ("actions.success", totals.success),
        ("actions.failure", totals.failed),
    ];
    let of_broker = Metric::ORIGINAL.iter().map(|it| (it.name(), snapshot.value(*it)));
    of_broker.chain(of_rules).collect()
}

fn list_drops(api: &Api, _: &Request) -> Answer {
    Reply::data([NodeDrops { node: api.node.name().to_owned(), drops: by_reason(api) }])
}

fn drops(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(by_reason(api))
}

fn by_reason(api: &Api) -> Counts {
    let snapshot = api.broker.metrics().snapshot();
    let reason = |metric: Metric| metric.name().strip_prefix("deliveries/dropped/");
    snapshot.iter().filter_map(|(metric, value)| Some((reason(metric)?, value))).collect()
}
