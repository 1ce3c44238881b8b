//! `configs`, `plugin_configs`: the keys of the configuration, shown, and changed while the broker runs.

use std::collections::BTreeMap;

use broker_core::Saved;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use crate::error::{ApiError, Code};
use crate::ports::{ConfigKey, ConfigRefused};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get, put};
use crate::saving;

pub(crate) const ROUTES: &[Route] = &[
    get("get_all_configs", "/configs/", "Get all configs", all).lists::<NodeConfig>(),
    get("get_all_configs", "/nodes/:node/configs/", "Get all configs of a node", of_node)
        .lists::<ConfigRow>(),
    put("update_config", "/configs/:app", "Update config of an application in the cluster", set)
        .takes::<NewValue>(),
    put(
        "update_node_config",
        "/nodes/:node/configs/:app",
        "Update config of an application on a node",
        set,
    )
    .takes::<NewValue>(),
    get(
        "get_plugin_configs",
        "/nodes/:node/plugin_configs/:plugin",
        "Get configurations of a plugin on the node",
        of_plugin,
    )
    .lists::<PluginConfigRow>(),
    put(
        "update_plugin_configs",
        "/nodes/:node/plugin_configs/:plugin",
        "Update configurations of a plugin on the node",
        set_plugin,
    )
    .takes::<PluginValues>(),
    get("get_config", "/configs/:app", "Configs of an application in the cluster", all)
        .unlisted()
        .lists::<NodeConfig>(),
    get(
        "get_node_config",
        "/nodes/:node/configs/:app",
        "Configs of an application on a node",
        of_node,
    )
    .unlisted()
    .lists::<ConfigRow>(),
    delete(
        "reset_config",
        "/configs/:app",
        "Take back what a key was set to while the broker ran",
        reset,
    )
    .unlisted()
    .asks(WHICH),
    delete(
        "reset_node_config",
        "/nodes/:node/configs/:app",
        "Take back what a key was set to while the broker ran",
        reset,
    )
    .unlisted()
    .asks(WHICH),
];

/// The configuration of one node.
#[derive(Serialize, ToSchema)]
struct NodeConfig {
    node: String,
    config: Vec<ConfigRow>,
}

/// A key of the configuration.
#[derive(Serialize, ToSchema)]
struct ConfigRow {
    /// `mqtt.max_packet_size`.
    key: String,
    /// As it can be set; six asterisks for a secret.
    value: String,
    /// `integer`, `bytesize`, `enum` and so on.
    datatpye: &'static str,
    /// First part of the key.
    app: String,
    /// What it does.
    descr: &'static str,
    /// Whether it can be set while the broker runs.
    changeable: bool,
    /// Whether it was set so, and goes before the configuration file.
    kept: bool,
}

/// A key of a plugin.
#[derive(Serialize, ToSchema)]
struct PluginConfigRow {
    /// `retainer.max_payload_size`.
    key: String,
    /// As it can be set; empty if it has none, six asterisks for a secret.
    value: String,
    /// What it does.
    desc: &'static str,
    /// Whether somebody gave it this value; else it is the default.
    required: bool,
    /// Whether it can be set while the broker runs.
    changeable: bool,
}

/// What a key is to be.
#[derive(Deserialize, ToSchema)]
struct NewValue {
    /// The whole key.
    key: String,
    /// A text, as in an environment variable; a list with commas, or as TOML.
    value: String,
}

/// Texts by key.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
struct PluginValues(BTreeMap<String, String>);

fn all(api: &Api, request: &Request) -> Answer {
    Reply::data([NodeConfig { node: api.node.name().to_owned(), config: rows(api, request) }])
}

fn of_node(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    Reply::data(rows(api, request))
}

/// All, or those of the application that the path names.
fn rows(api: &Api, request: &Request) -> Vec<ConfigRow> {
    let wanted = request.segment("app");
    let rows = api.configuration.keys().into_iter().map(row);
    rows.filter(|row| wanted.is_empty() || row.app == wanted).collect()
}

fn row(key: ConfigKey) -> ConfigRow {
    ConfigRow {
        app: app_of(&key.key).to_owned(),
        key: key.key,
        value: key.value,
        datatpye: key.kind,
        descr: key.help,
        changeable: key.is_changeable,
        kept: key.is_kept,
    }
}

fn app_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(app, _)| app)
}

fn set(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let NewValue { key, value } = request.body()?;
    check_app(request, &key)?;
    done(api, api.configuration.set(&key, &value))
}

fn reset(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let key = request.query("key");
    let key = key.ok_or_else(|| ApiError::new(Code::Missing, "key: must be there"))?;
    check_app(request, key)?;
    done(api, api.configuration.reset(key))
}

fn of_plugin(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let row = |key: ConfigKey| PluginConfigRow {
        key: key.key,
        value: key.value,
        desc: key.help,
        required: key.is_given,
        changeable: key.is_changeable,
    };
    let keys = api.configuration.keys_of_plugin(request.segment("plugin"))?;
    Reply::data(keys.into_iter().map(row).collect::<Vec<_>>())
}

fn set_plugin(api: &Api, request: &Request) -> Answer {
    request.own_node(api)?;
    let PluginValues(values) = request.body()?;
    done(api, api.configuration.set_plugin(request.segment("plugin"), values))
}

fn check_app(request: &Request, key: &str) -> Result<(), ApiError> {
    let app = request.segment("app");
    if app_of(key) == app {
        return Ok(());
    }
    Err(ApiError::bad("key", format!("{key} does not belong to {app}")))
}

fn done(api: &Api, result: Result<Saved, ConfigRefused>) -> Answer {
    saving::wait(&api.broker, result?)?;
    Reply::ok()
}

impl From<ConfigRefused> for ApiError {
    fn from(refused: ConfigRefused) -> Self {
        match refused {
            ConfigRefused::Key { key, problem } => Self::bad(&key, problem),
            ConfigRefused::Other(problem) => Self::new(Code::Unknown, problem),
        }
    }
}

const WHICH: &[(&str, &str)] = &[("key", "The whole key; must be there.")];
