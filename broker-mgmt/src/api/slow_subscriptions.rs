//! `slow_subscriptions`: the clients that are longest in taking what is theirs.

use broker_core::SlowSubscription;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get};
use crate::text;

pub(crate) const ROUTES: &[Route] = &[
    get(
        "list_slow_subscriptions",
        "/slow_subscriptions",
        "A list of the slowest subscribers of all nodes in the cluster",
        list,
    )
    .lists::<NodeSlowSubscriptions>()
    .unlisted(),
    get(
        "list_node_slow_subscriptions",
        "/nodes/:node/slow_subscriptions",
        "A list of the slowest subscribers of a node",
        one,
    )
    .lists::<SlowSubscriptionInfo>()
    .unlisted(),
    delete(
        "clear_slow_subscriptions",
        "/slow_subscriptions",
        "Forget which subscribers were slow",
        clear,
    )
    .unlisted(),
];

/// The slowest subscribers of a node.
#[derive(Serialize, ToSchema)]
struct NodeSlowSubscriptions {
    node: String,
    slow_subscriptions: Vec<SlowSubscriptionInfo>,
}

/// A client that was slow to take messages of a topic.
#[derive(Serialize, ToSchema)]
struct SlowSubscriptionInfo {
    client_id: String,
    /// Of the messages.
    topic: String,
    /// The slowest: in its queue while it was connected, and from the first send to the acknowledgement.
    latency_ms: u64,
    /// How many were slow.
    count: u64,
    /// Local time of the last, `2019-04-29 10:56:41`.
    last_at: String,
}

fn list(api: &Api, _: &Request) -> Answer {
    let node = api.node.name().to_owned();
    Reply::data([NodeSlowSubscriptions { node, slow_subscriptions: rows(api) }])
}

fn one(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(rows(api))
}

fn clear(api: &Api, _: &Request) -> Answer {
    api.broker.clear_slow_subscriptions();
    Reply::ok()
}

fn rows(api: &Api) -> Vec<SlowSubscriptionInfo> {
    let row = |it: SlowSubscription| SlowSubscriptionInfo {
        client_id: it.client_id.to_string(),
        topic: it.topic.to_string(),
        latency_ms: it.latency_us / 1000,
        count: it.count,
        last_at: text::local_time(it.last_at_ms),
    };
    api.broker.slow_subscriptions(api.now()).into_iter().map(row).collect()
}
