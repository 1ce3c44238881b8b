//! `routes`: the Topic Filters that somebody subscribed to.

use broker_core::RouteView;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};

pub(crate) const ROUTES: &[Route] = &[
    get("list_routes", "/routes/", "List routes", list).pages::<RouteInfo>(),
    get("lookup_routes", "/routes/:topic", "Lookup routes to a topic", one).lists::<RouteInfo>(),
];

/// A route: a Topic Filter, once for all who subscribed to it by themselves and once for each group that shares a
/// subscription to it.
#[derive(Serialize, ToSchema)]
struct RouteInfo {
    node: String,
    /// Without `$share/…`.
    topic: String,
}

fn list(api: &Api, request: &Request) -> Answer {
    let page = request.page(api)?;
    let routes = api.broker.routes_page(&request.page_of_list(page), api.now());
    Reply::page(&rows(api, routes.rows), page, routes.count)
}

/// Those of exactly this filter.
fn one(api: &Api, request: &Request) -> Answer {
    Reply::data(rows(api, api.broker.route(request.segment("topic"))))
}

fn rows(api: &Api, routes: Vec<RouteView>) -> Vec<RouteInfo> {
    let node = api.node.name();
    let row = |route: RouteView| RouteInfo { node: node.to_owned(), topic: (*route.filter).into() };
    routes.into_iter().map(row).collect()
}
