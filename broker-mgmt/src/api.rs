//! The API: what handlers share, and the table of all routes, a group in each file.

mod alarms;
mod apps;
mod brokers;
mod listeners;
mod log_level;
mod metrics;
mod nodes;
mod reference;
mod stats;
mod store;

use std::sync::Arc;

use broker_core::{Broker, Now};
use serde::Serialize;
use utoipa::ToSchema;

use crate::applications::Applications;
use crate::auth::Authentication;
use crate::listeners::HttpListeners;
use crate::ports::{LogLevels, NodeFacts, StoreAdmin};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};

/// What handlers share.
pub(crate) struct Api {
    pub(crate) broker: Arc<Broker>,
    pub(crate) node: Arc<dyn NodeFacts>,
    pub(crate) applications: Arc<Applications>,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) max_row_limit: usize,
    pub(crate) listeners: HttpListeners,
    pub(crate) log: Arc<dyn LogLevels>,
    pub(crate) store: Option<Arc<dyn StoreAdmin>>,
}

impl Api {
    pub(crate) fn now(&self) -> Now {
        self.node.now()
    }
}

/// The groups, in the order of the document's list.
const GROUPS: &[&[Route]] = &[
    alarms::ROUTES,
    apps::ROUTES,
    brokers::ROUTES,
    listeners::ROUTES,
    metrics::ROUTES,
    nodes::ROUTES,
    stats::ROUTES,
    log_level::ROUTES,
    store::ROUTES,
    reference::ROUTES,
];

const ROOT: &Route =
    &get("list_api", "/", "List the routes of the API", list).unlisted().lists::<RouteRow>();

/// All routes.
pub(crate) fn routes() -> impl Iterator<Item = &'static Route> {
    std::iter::once(ROOT).chain(GROUPS.iter().copied().flatten())
}

/// One entry of `GET /api/v3/`.
#[derive(Serialize, ToSchema)]
struct RouteRow {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    descr: &'static str,
}

fn list(_: &Api, _: &Request) -> Answer {
    let row = |route: &Route| RouteRow {
        name: route.name,
        method: route.method.word(),
        path: route.path,
        descr: route.descr,
    };
    let rows: Vec<_> = routes().filter(|route| route.is_listed).map(row).collect();
    Reply::data(rows)
}
