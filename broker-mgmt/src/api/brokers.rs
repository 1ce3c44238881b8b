//! `brokers`: the broker by its name, version and age.

use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get};
use crate::text;

pub(crate) const ROUTES: &[Route] = &[
    get("list_brokers", "/brokers/", "A list of brokers in the cluster", list)
        .lists::<BrokerInfo>(),
    get("get_broker", "/brokers/:node", "Get broker info of a node", one).answers::<BrokerInfo>(),
];

/// A broker.
#[derive(Serialize, ToSchema)]
struct BrokerInfo {
    /// Local time, `2019-04-29 10:56:41`.
    datetime: String,
    /// Left out where one node was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// `Running`.
    node_status: &'static str,
    /// What the broker runs on: `rustc 1.95.0`.
    otp_release: String,
    sysdescr: &'static str,
    /// `3 minutes, 59 seconds`.
    uptime: String,
    /// `v0.1.0`.
    version: String,
}

fn list(api: &Api, _: &Request) -> Answer {
    Reply::data([BrokerInfo { node: Some(api.node.name().to_owned()), ..info(api) }])
}

fn one(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(info(api))
}

fn info(api: &Api) -> BrokerInfo {
    BrokerInfo {
        datetime: text::local_time(api.now().wall_ms),
        node: None,
        node_status: "Running",
        otp_release: api.node.runtime().to_owned(),
        sysdescr: "MQTT Broker",
        uptime: text::uptime(api.node.uptime()),
        version: api.node.version().to_owned(),
    }
}
