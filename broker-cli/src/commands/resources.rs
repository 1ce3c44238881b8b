//! `resources` and `resource-types`: what actions of rules are bound to.

use std::iter;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::context::{Context, id};
use super::rule_actions::with_parameters;
use super::rule_answers::{created, missing, must_be_there, parse, reason, show};
use crate::api::{ApiError, Path};
use crate::emqx::{Keys, term};
use crate::printer::{Column, Listing, left};
use crate::row::{Row, plain};

/// Show what actions of rules are bound to; make, test, start or delete one
#[derive(Debug, Args)]
pub(crate) struct Resources {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the resources
    List {
        /// Those of this type
        #[arg(short = 't', long = "type", value_name = "TYPE", value_parser = id())]
        kind: Option<String>,
    },
    /// Show a resource
    Show(ResourceId),
    /// Make a resource, in the place of one of its type and name
    Create(New),
    /// Try whether a resource could be reached; nothing is made
    Test(New),
    /// Whether a resource could do its work
    Status(ResourceId),
    /// Connect a resource anew, now
    Start(ResourceId),
    /// Delete a resource that no action is bound to
    Delete(ResourceId),
}

#[derive(Debug, Args)]
struct ResourceId {
    #[arg(value_name = "RESOURCE_ID", value_parser = id())]
    id: String,
}

#[derive(Debug, Args)]
struct New {
    /// Name, of which there is one for each type
    name: String,
    /// Type, as resource-types lists them
    #[arg(value_name = "TYPE")]
    kind: String,
    /// Its configuration, a JSON object
    #[arg(short, long, value_name = "JSON", default_value = "{}")]
    config: String,
    /// What it is for
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    descr: String,
}

/// Show the types of resources
#[derive(Debug, Args)]
pub(crate) struct ResourceTypes {
    #[command(subcommand)]
    command: Option<TypeCommand>,
}

#[derive(Debug, Subcommand)]
enum TypeCommand {
    /// List the types
    List,
    /// Show a type, with its configuration
    Show {
        #[arg(value_name = "TYPE", value_parser = id())]
        name: String,
    },
}

const COLUMNS: &[Column] = &[
    left("RESOURCE ID", |row| row.text("id")),
    left("TYPE", |row| row.text("type")),
    left("CONFIG", |row| row.text("config")),
    left("DESCRIPTION", |row| row.text("description")),
];

const TYPE_COLUMNS: &[Column] = &[
    left("TYPE", |row| row.text("name")),
    left("PROVIDER", |row| row.text("provider")),
    left("DESCRIPTION", |row| row.text("description")),
];

const TYPE_KEYS: &[&str] = &["name", "provider", "description"];

impl Resources {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        let all = || Path::new("resources");
        match &self.command {
            None => list(context, &all()),
            Some(Command::List { kind: None }) => list(context, &all()),
            Some(Command::List { kind: Some(kind) }) => {
                list(context, &Path::new("resource_types").join(kind).join("resources"))
            }
            Some(Command::Show(ResourceId { id })) => {
                show(context, &all().join(id), ("resource", id), &pairs, &line)
            }
            Some(Command::Create(new)) => {
                let body = new.body(context)?;
                let answer = context.api.post(&all(), &body);
                created(context, answer, "Resource")
            }
            Some(Command::Test(new)) => {
                let body = new.body(context)?;
                match context.api.post(&all().query("test", true), &body) {
                    Ok(_) => {
                        let emqx = "Test creating resource successfully (dry-run)";
                        context.printer.done(None, "it can be reached", emqx)
                    }
                    Err(error) => Err(context.printer.refused(error, |why| {
                        format!("Test creating resource failed: {}", reason(why))
                    })),
                }
            }
            Some(Command::Status(ResourceId { id })) => status(context, id),
            Some(Command::Start(ResourceId { id })) => {
                match context.api.post(&all().join(id), &json!({})) {
                    Ok(_) => context.printer.done(None, &format!("started '{id}'"), "ok"),
                    Err(error) => Err(unknown(context, error, id)),
                }
            }
            Some(Command::Delete(ResourceId { id })) => {
                must_be_there(context, &all().join(id), ("resource", id))?;
                match context.api.delete(&all().join(id)) {
                    Ok(_) => context.printer.done(None, &format!("deleted '{id}'"), "ok"),
                    Err(error) => Err(context.printer.refused(error, |why| {
                        format!("Cannot delete resource as {}", reason(why))
                    })),
                }
            }
        }
    }
}

impl ResourceTypes {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None | Some(TypeCommand::List) => {
                let (data, rows) = context.rows(&Path::new("resource_types"), "")?;
                let what = "types of resources";
                let listing = Listing { columns: TYPE_COLUMNS, what, emqx: &type_line };
                context.printer.rows(data.as_deref(), &rows, &listing)
            }
            Some(TypeCommand::Show { name }) => {
                let path = Path::new("resource_types").join(name);
                show(
                    context,
                    &path,
                    ("type of resources", name),
                    &|row| with_parameters(row, TYPE_KEYS),
                    &type_line,
                )
            }
        }
    }
}

impl New {
    fn body(&self, context: &mut Context) -> Result<Value> {
        let config = parse(context, &self.config, "the configuration")?;
        Ok(json!({
            "name": self.name, "type": self.kind, "config": config, "description": self.descr,
        }))
    }
}

fn list(context: &mut Context, path: &Path) -> Result<()> {
    let (data, rows) = context.rows(path, "")?;
    let listing = Listing { columns: COLUMNS, what: "resources", emqx: &line };
    context.printer.rows(data.as_deref(), &rows, &listing)
}

fn status(context: &mut Context, id: &str) -> Result<()> {
    let data = match context.api.get(&Path::new("resource_status").join(id)) {
        Ok(answer) => answer.data,
        Err(error) => return Err(unknown(context, error, id)),
    };
    let status = data.as_deref().map(super::context::parse_rows).unwrap_or_default();
    let is_alive = status.first().and_then(|row| row.flag("is_alive")) == Some(true);
    let word = if is_alive { "alive" } else { "not alive" };
    let emqx = format!("is_alive: {is_alive}");
    let metrics = status.first().and_then(|row| row.value("metrics"));
    let metrics = metrics.and_then(Value::as_array).into_iter().flatten();
    let said: Vec<_> = iter::once(format!("'{id}' is {word}")).chain(metrics.map(buffer)).collect();
    context.printer.done_in_lines(data.as_deref(), &said, &emqx)
}

/// What the buffer of a node has done and holds.
fn buffer(of: &Value) -> String {
    let n = |value: &Value| value.as_u64().unwrap_or_default();
    let places = ["memory", "disk"].map(|place| (n(&of[place]["items"]), n(&of[place]["bytes"])));
    let [(in_memory, memory_bytes), (on_disk, disk_bytes)] = places;
    let dropped = of["dropped"].as_object().into_iter().flatten();
    let dropped: Vec<_> = dropped.map(|(reason, value)| (reason, n(value))).collect();
    let reasons = dropped.iter().filter(|(_, n)| *n > 0);
    let reasons: Vec<_> = reasons.map(|(reason, n)| format!("{reason} {n}")).collect();
    let reasons =
        if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let all: u64 = dropped.iter().map(|(_, n)| n).sum();
    let (node, delivered, retried) = (plain(&of["node"]), n(&of["delivered"]), n(&of["retried"]));
    let error =
        of["last_error"].as_str().map(|it| format!(", last error: {it}")).unwrap_or_default();
    format!(
        "{node}: delivered {delivered}, retried {retried}, dropped {all}{reasons}, waiting {in_memory} in memory \
         ({memory_bytes} bytes) and {on_disk} on disk ({disk_bytes} bytes){error}"
    )
}

/// Here the API says of an unknown resource that the arguments are bad.
fn unknown(context: &mut Context, error: ApiError, id: &str) -> anyhow::Error {
    let error = match error {
        ApiError::Refused { message, .. } if message == format!("Resource {id} Not Found") => {
            ApiError::Refused { code: 404, message }
        }
        other => other,
    };
    missing(context, error, ("resource", id))
}

/// A key of the configuration a line.
fn pairs(row: &Row) -> Vec<(&str, String)> {
    let first = row.keys(&["id", "name", "type", "reason", "description"]);
    let first = first.filter(|key| !["attrs", "config"].contains(key));
    let config = row.value("config").and_then(Value::as_object);
    let config = config.into_iter().flatten().map(|(key, value)| (key.as_str(), plain(value)));
    first.map(|key| (key, row.text(key))).chain(config).collect()
}

/// The line of emqx_ctl.
fn line(row: &Row) -> String {
    format!(
        "resource(id='{}', name='{}', type='{}', config={}, attrs={}, description='{}')",
        row.raw("id"),
        row.raw("name"),
        row.raw("type"),
        term(row.value("config").unwrap_or(&Value::Null), Keys::Binaries),
        row.raw("attrs"),
        row.raw("description"),
    )
}

/// The line of emqx_ctl. What makes a resource is a function of Erlang there.
fn type_line(row: &Row) -> String {
    format!(
        "resource_type(name='{}', provider='{}', params={}, on_create=undefined, description='{}')",
        row.raw("name"),
        row.raw("provider"),
        term(row.value("params").unwrap_or(&Value::Null), Keys::Atoms),
        row.raw("description"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_a_line() {
        let of = json!({
            "node": "n", "pushed": 9, "delivered": 2, "retried": 3,
            "dropped": {"closed": 0, "expired": 1, "full": 4}, "memory": {"items": 1, "bytes": 70},
            "disk": {"items": 5, "bytes": 350}, "is_up": false, "last_error": "HTTP status 503",
        });
        assert_eq!(
            buffer(&of),
            "n: delivered 2, retried 3, dropped 5 (expired 1, full 4), waiting 1 in memory (70 bytes) \
             and 5 on disk (350 bytes), last error: HTTP status 503"
        );
    }
}
