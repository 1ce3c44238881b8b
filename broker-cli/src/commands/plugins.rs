//! `plugins`: which there are, which run, and how they are configured.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::context::{Context, id};
use crate::api::{Answer, Path};
use crate::emqx::atoms;
use crate::output::Usage;
use crate::printer::{Column, Listing, left};
use crate::row::Row;

/// Show the plugins; load, unload, reload or configure one
#[derive(Debug, Args)]
pub(crate) struct Plugins {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all plugins, active or not
    List,
    /// Start a plugin, now and with the broker
    Load(Name),
    /// Stop a plugin, now and with the broker
    Unload(Name),
    /// Read the configuration of a plugin again and start it anew
    Reload(Name),
    /// Show the configuration of a plugin
    Config(Name),
    /// Change keys of the configuration of a plugin; an active one is started anew
    Set {
        #[command(flatten)]
        name: Name,
        /// What to change
        #[arg(value_name = "KEY=VALUE", required = true, value_parser = pair)]
        pairs: Vec<(String, String)>,
    },
}

#[derive(Debug, Args)]
struct Name {
    /// Name of the plugin, such as emqx_auth_http
    #[arg(value_name = "PLUGIN", value_parser = id())]
    name: String,
}

const COLUMNS: &[Column] = &[
    left("PLUGIN", |row| row.text("name")),
    left("ACTIVE", |row| if row.flag("active") == Some(true) { "yes" } else { "no" }.to_owned()),
    left("VERSION", |row| row.text("version")),
    left("DESCRIPTION", |row| row.text("description")),
];

const CONFIG_COLUMNS: &[Column] = &[
    left("KEY", |row| row.text("key")),
    left("VALUE", |row| row.text("value")),
    left("SET", |row| if row.flag("required") == Some(true) { "yes" } else { "no" }.to_owned()),
    left("DESCRIPTION", |row| row.text("desc")),
];

impl Plugins {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None | Some(Command::List) => {
                let (data, rows) = context.rows(&context.scoped("plugins")?, "plugins")?;
                let listing = Listing { columns: COLUMNS, what: "plugins", emqx: &line };
                context.printer.rows(data.as_deref(), &rows, &listing)
            }
            Some(Command::Load(Name { name })) => load_and_say(context, name),
            Some(Command::Unload(Name { name })) => {
                let emqx = format!("Plugin {name} unloaded successfully.");
                let answer = context.api.put_empty(&path(context, name)?.join("unload"));
                match answer {
                    Ok(_) => context.printer.done(None, &format!("unloaded {name}"), &emqx),
                    Err(error) => Err(context.printer.refused(error, |why| match name.as_str() {
                        "emqx_management" => format!("Plugin {name} can not be unloaded "),
                        _ => format!("unload plugin error: {why}"),
                    })),
                }
            }
            Some(Command::Reload(Name { name })) => {
                let emqx = format!("Plugin {name} reloaded successfully.");
                let answer = context.api.put_empty(&path(context, name)?.join("reload"));
                match answer {
                    Ok(_) => context.printer.done(None, &format!("reloaded {name}"), &emqx),
                    Err(error) => Err(context
                        .printer
                        .refused(error, |why| format!("Reload plugin error: {why}"))),
                }
            }
            Some(Command::Config(Name { name })) => {
                let (data, rows) = context.rows(&config_path(context, name)?, "")?;
                let emqx = |row: &Row| format!("{} = {}", row.raw("key"), row.raw("value"));
                let listing = Listing { columns: CONFIG_COLUMNS, what: "keys", emqx: &emqx };
                context.printer.rows(data.as_deref(), &rows, &listing)
            }
            Some(Command::Set { name: Name { name }, pairs }) => set(context, name, pairs),
        }
    }
}

fn path(context: &Context, name: &str) -> Result<Path> {
    Ok(context.node_path()?.join("plugins").join(name))
}

fn config_path(context: &Context, name: &str) -> Result<Path> {
    Ok(context.node_path()?.join("plugin_configs").join(name))
}

/// Has the broker put one to work.
pub(crate) fn load(context: &mut Context, name: &str) -> Result<Answer> {
    let answer = context.api.put_empty(&path(context, name)?.join("load"));
    answer
        .map_err(|error| context.printer.refused(error, |why| format!("load plugin error: {why}")))
}

fn load_and_say(context: &mut Context, name: &str) -> Result<()> {
    let data = load(context, name)?.data;
    if context.printer.is_emqx() {
        let started: Option<Vec<String>> =
            data.as_deref().and_then(|data| serde_json::from_str(data.get()).ok());
        let started = started.unwrap_or_else(|| vec![name.to_owned()]);
        let started = atoms(started.iter().map(String::as_str));
        context.printer.line(&format!("Start apps: {started}"))?;
    }
    let emqx = format!("Plugin {name} loaded successfully.");
    context.printer.done(data.as_deref(), &format!("loaded {name}"), &emqx)
}

/// The API takes the whole configuration, so what is set already goes along.
fn set(context: &mut Context, name: &str, pairs: &[(String, String)]) -> Result<()> {
    let path = config_path(context, name)?;
    let (_, rows) = context.rows(&path, "")?;
    let mut config = Map::new();
    for row in rows.iter().filter(|row| row.flag("required") == Some(true)) {
        config.insert(row.raw("key"), row.raw("value").into());
    }
    for (key, value) in pairs {
        let is_known = rows.iter().any(|row| row.raw("key") == *key);
        if !is_known {
            let hint = format!("'broker-cli plugins config {name}' shows those there are");
            return Err(Usage(format!("plugin {name} has no key '{key}'; {hint}")).into());
        }
        config.insert(key.clone(), value.as_str().into());
    }
    context.api.put(&path, &Value::Object(config))?;
    let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    context.printer.done(None, &format!("set {} of {name}", keys.join(", ")), "ok")
}

fn line(row: &Row) -> String {
    format!(
        "Plugin({}, version={}, description={}, active={})",
        row.raw("name"),
        row.raw("version"),
        row.raw("description"),
        row.raw("active"),
    )
}

fn pair(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').context("KEY=VALUE is needed")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
