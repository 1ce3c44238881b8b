//! `plugins`: all plugins of EMQ X, with those that are at work; to be loaded, unloaded and reloaded.

use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::ports::Plugins;
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, get, put};

pub(crate) const ROUTES: &[Route] = &[
    get("list_all_plugins", "/plugins/", "List all plugins in the cluster", all)
        .lists::<NodePlugins>(),
    get("list_node_plugins", "/nodes/:node/plugins/", "List all plugins on a node", of_node)
        .lists::<PluginRow>(),
    put("load_plugin", "/nodes/:node/plugins/:plugin/load", "Load a plugin", |api, request| {
        order(api, request, |plugins, name| plugins.load(name))
    }),
    put(
        "unload_plugin",
        "/nodes/:node/plugins/:plugin/unload",
        "Unload a plugin",
        |api, request| order(api, request, |plugins, name| plugins.unload(name)),
    ),
    put(
        "reload_plugin",
        "/nodes/:node/plugins/:plugin/reload",
        "Reload a plugin",
        |api, request| order(api, request, |plugins, name| plugins.reload(name)),
    ),
];

/// The plugins of one node.
#[derive(Serialize, ToSchema)]
struct NodePlugins {
    node: String,
    plugins: Vec<PluginRow>,
}

/// A plugin.
#[derive(Serialize, ToSchema)]
struct PluginRow {
    name: &'static str,
    /// Of EMQ X, whose plugin it stands for.
    version: &'static str,
    description: &'static str,
    /// Whether it is loaded; one that this broker lacks never is.
    active: bool,
}

fn all(api: &Api, _: &Request) -> Answer {
    Reply::data([NodePlugins { node: api.node.name().to_owned(), plugins: rows(api) }])
}

fn of_node(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(rows(api))
}

fn rows(api: &Api) -> Vec<PluginRow> {
    let row = |plugin: crate::ports::PluginInfo| PluginRow {
        name: plugin.name,
        version: plugin.version,
        description: plugin.description,
        active: plugin.is_active,
    };
    api.plugins.list().into_iter().map(row).collect()
}

fn order(
    api: &Api,
    request: &Request,
    order: fn(&dyn Plugins, &str) -> Result<(), String>,
) -> Answer {
    request.own_node(api)?;
    match order(&*api.plugins, request.segment("plugin")) {
        Ok(()) => Reply::ok(),
        Err(message) => Err(ApiError::new(Code::Unknown, message)),
    }
}
