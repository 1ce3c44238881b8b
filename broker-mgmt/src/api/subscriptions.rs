//! `subscriptions`: who has subscribed to what.

use broker_core::SubscriptionView;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};

pub(crate) const ROUTES: &[Route] = &[
    get("list_subscriptions", "/subscriptions/", "A list of subscriptions in the cluster", list)
        .pages::<SubscriptionInfo>(),
    get(
        "list_node_subscriptions",
        "/nodes/:node/subscriptions/",
        "A list of subscriptions on a node",
        list,
    )
    .pages::<SubscriptionInfo>(),
    get(
        "lookup_client_subscriptions",
        "/subscriptions/:clientid",
        "A list of subscriptions of a client",
        of_client,
    )
    .lists::<SubscriptionInfo>(),
    get(
        "lookup_client_subscriptions_with_node",
        "/nodes/:node/subscriptions/:clientid",
        "A list of subscriptions of a client on the node",
        of_client,
    )
    .lists::<SubscriptionInfo>(),
];

/// A subscription, be its client connected or away.
#[derive(Serialize, ToSchema)]
struct SubscriptionInfo {
    client_id: String,
    node: String,
    /// As it was granted.
    qos: u8,
    /// The Topic Filter without `$share/…`.
    topic: String,
}

fn list(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let page = request.page(api)?;
    let all = api.broker.subscriptions_page(&request.page_of_list(page), api.now());
    let rows: Vec<_> = all.rows.iter().map(|view| info(api, view)).collect();
    Reply::page(&rows, page, all.count)
}

fn of_client(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let client_id = request.segment("clientid");
    let all = api.broker.subscriptions(client_id).unwrap_or_default().into_iter();
    let views =
        all.map(|subscription| SubscriptionView { client_id: client_id.into(), subscription });
    Reply::data(views.map(|view| info(api, &view)).collect::<Vec<_>>())
}

fn info(
    api: &Api,
    SubscriptionView { client_id, subscription }: &SubscriptionView,
) -> SubscriptionInfo {
    SubscriptionInfo {
        client_id: client_id.to_string(),
        node: api.node.name().to_owned(),
        qos: subscription.options.qos as u8,
        topic: subscription.topic_filter().to_owned(),
    }
}
