//! The API: what handlers share, and the table of all routes, a group in each file.

mod acl;
mod actions;
mod alarms;
mod apps;
mod auth_accounts;
mod banned;
mod brokers;
mod configs;
mod connections;
mod listeners;
mod log_level;
mod metrics;
mod mqtt;
mod nodes;
mod plugins;
mod recon;
mod reference;
mod resource_types;
mod resources;
mod retained;
mod routes;
mod rule_events;
mod rule_shapes;
mod rule_test;
mod rules;
mod sessions;
mod slow_subscriptions;
mod stats;
mod statsd;
pub(crate) mod store;
mod subscriptions;
mod topic_metrics;
mod traces;
mod users;
mod why;

use std::sync::Arc;

use broker_core::{Broker, Now, Saved, Turn};
use broker_rules::engine::RuleEngine;
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use crate::applications::Applications;
use crate::aside::Aside;
use crate::auth::Authentication;
use crate::error::ApiError;
use crate::listeners::HttpListeners;
use crate::ports::{
    Accounts, AclRules, Configuration, Inspection, LogLevels, NodeFacts, Plugins, PushedMetrics,
    StoreAdmin, TraceFiles,
};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};
use crate::saving;
use crate::users::Users;

/// What handlers share.
pub(crate) struct Api {
    pub(crate) broker: Arc<Broker>,
    pub(crate) node: Arc<dyn NodeFacts>,
    pub(crate) configuration: Arc<dyn Configuration>,
    pub(crate) plugins: Arc<dyn Plugins>,
    pub(crate) client_ids: Arc<dyn Accounts>,
    pub(crate) usernames: Arc<dyn Accounts>,
    pub(crate) pushed_metrics: Arc<dyn PushedMetrics>,
    pub(crate) inspection: Arc<dyn Inspection>,
    pub(crate) applications: Arc<Applications>,
    pub(crate) users: Users,
    pub(crate) authentication: Arc<Authentication>,
    pub(crate) max_row_limit: usize,
    pub(crate) listeners: HttpListeners,
    pub(crate) log: Arc<dyn LogLevels>,
    pub(crate) store: Option<Arc<dyn StoreAdmin>>,
    pub(crate) acl: Option<Arc<dyn AclRules>>,
    pub(crate) trace_files: Arc<dyn TraceFiles>,
    pub(crate) rules: Arc<RuleEngine>,
    pub(crate) trials: rule_test::Trials,
    pub(crate) aside: Aside,
    /// What handlers at work need to give orders, kept for the next ones: at most one for each of them.
    pub(crate) turns: Mutex<Vec<Turn>>,
}

impl Api {
    pub(crate) fn now(&self) -> Now {
        self.node.now()
    }

    /// Gives orders that end as packets of clients do. What they have changed is seen by everybody, and will
    /// [be saved](crate::saving::wait).
    pub(crate) fn order<R>(&self, give: impl FnOnce(&mut Turn) -> R) -> (R, Saved) {
        let kept = self.turns.lock().pop();
        let mut turn = kept.unwrap_or_else(|| self.broker.turn());
        turn.begin(self.now());
        let result = give(&mut turn);
        turn.finish();
        // No loop comes back to this turn: an outbox with more than one pass takes is emptied here.
        while turn.has_work() {
            turn.finish();
        }
        let saved = turn.saved();
        self.turns.lock().push(turn);
        (result, saved)
    }

    /// The same, and waits until it is saved. What failed has changed nothing.
    pub(crate) fn order_saved<R, E: Into<ApiError>>(
        &self,
        give: impl FnOnce(&mut Turn) -> Result<R, E>,
    ) -> Result<R, ApiError> {
        let (result, saved) = self.order(give);
        let result = result.map_err(Into::into)?;
        saving::wait(&self.broker, saved)?;
        Ok(result)
    }
}

/// The groups, in the order of the document's list.
const GROUPS: &[&[Route]] = &[
    auth_accounts::ROUTES,
    users::ROUTES,
    alarms::ROUTES,
    apps::ROUTES,
    banned::ROUTES,
    brokers::ROUTES,
    configs::ROUTES,
    connections::ROUTES,
    listeners::ROUTES,
    metrics::ROUTES,
    nodes::ROUTES,
    plugins::ROUTES,
    mqtt::ROUTES,
    routes::ROUTES,
    sessions::ROUTES,
    stats::ROUTES,
    subscriptions::ROUTES,
    rules::ROUTES,
    actions::ROUTES,
    resources::ROUTES,
    resource_types::ROUTES,
    rule_events::ROUTES,
    rule_test::ROUTES,
    log_level::ROUTES,
    retained::ROUTES,
    slow_subscriptions::ROUTES,
    topic_metrics::ROUTES,
    store::ROUTES,
    acl::ROUTES,
    traces::ROUTES,
    why::ROUTES,
    statsd::ROUTES,
    recon::ROUTES,
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
