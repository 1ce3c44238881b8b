//! `stats`: how many there are of what the broker holds, and how many there have been at most.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};

pub(crate) const ROUTES: &[Route] = &[
    get("list_stats", "/stats/", "A list of stats of all nodes in the cluster", list)
        .lists::<NodeStats>(),
    get("lookup_node_stats", "/nodes/:node/stats/", "A list of stats of a node", one)
        .answers::<NodeStats>(),
];

/// The statistics of a node, beside its name: flat, other than `metrics`.
#[derive(Serialize, ToSchema)]
struct NodeStats {
    /// In the list only.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// `connections/count`, `connections/max` and so on.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, usize>)]
    stats: BTreeMap<&'static str, usize>,
}

fn list(api: &Api, _: &Request) -> Answer {
    Reply::data([NodeStats { node: Some(api.node.name().to_owned()), stats: stats(api) }])
}

fn one(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(NodeStats { node: None, stats: stats(api) })
}

fn stats(api: &Api) -> BTreeMap<&'static str, usize> {
    api.broker.stats().into_iter().chain(api.rules.stats()).collect()
}
