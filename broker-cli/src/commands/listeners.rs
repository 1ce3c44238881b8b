//! `listeners`: where the broker accepts clients; stopping and starting that.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::context::{Context, id};
use crate::api::{ApiError, Path};
use crate::emqx::{counts, field};
use crate::printer::{Column, Listing, left, right};
use crate::row::Row;

/// Show the listeners; stop, start or restart one
#[derive(Debug, Args)]
pub(crate) struct Listeners {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the listeners
    List,
    /// Stop a listener and close its connections
    Stop(Target),
    /// Start a listener that was stopped
    Start(Target),
    /// Stop and start a listener, which reads its certificates again
    Restart(Target),
}

/// `mqtt:tcp:external`, `mqtt:tcp 1883` as emqx_ctl has it, or whatever else names one listener.
#[derive(Debug, Args)]
struct Target {
    /// Id, protocol or address: mqtt:tcp:external, mqtt:tcp, 0.0.0.0:1883, 1883
    #[arg(value_name = "LISTENER", value_parser = id())]
    name: String,
    /// Port or address, after a protocol
    #[arg(value_name = "PORT")]
    listen_on: Option<String>,
}

const COLUMNS: &[Column] = &[
    left("PROTOCOL", |row| row.text("protocol")),
    left("ADDRESS", |row| row.text("listen_on")),
    left("RUNNING", |row| if is_stopped(row) { "no" } else { "yes" }.to_owned()),
    right("CONNECTIONS", |row| row.text("current_conns")),
    right("MAX", |row| row.text("max_conns")),
    right("ACCEPTORS", |row| row.text("acceptors")),
    left("ENDED", ended),
    left("ID", listener_id),
];

impl Listeners {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None | Some(Command::List) => {
                let (data, rows) = context.rows(&context.scoped("listeners")?, "listeners")?;
                let listing =
                    Listing { columns: COLUMNS, what: "listeners", emqx: &|_| String::new() };
                if context.printer.is_emqx() {
                    return rows.iter().try_for_each(|row| print_emqx(context, row));
                }
                context.printer.rows(data.as_deref(), &rows, &listing)
            }
            Some(Command::Stop(target)) => change(context, target, "stop", "Stop"),
            Some(Command::Start(target)) => change(context, target, "start", "Start"),
            Some(Command::Restart(target)) => change(context, target, "restart", "Restart"),
        }
    }
}

fn print_emqx(context: &mut Context, row: &Row) -> Result<()> {
    let name = format!("listener on {}:{}", row.raw("protocol"), row.raw("listen_on"));
    context.printer.line(&name)?;
    let fields = [
        ("acceptors", row.raw("acceptors")),
        ("max_conns", row.raw("max_conns")),
        ("current_conn", row.raw("current_conns")),
        ("shutdown_count", counts(row.value("shutdown_count"))),
    ];
    fields.iter().try_for_each(|(name, value)| {
        context.printer.line(&format!("  {}", field(name, 16, value)))
    })
}

fn change(context: &mut Context, target: &Target, verb: &str, done: &str) -> Result<()> {
    let Target { name, listen_on } = target;
    // What was given, as emqx_ctl repeats it.
    let (protocol, address) = match listen_on {
        Some(listen_on) => (name.as_str(), listen_on.as_str()),
        None => ("", name.as_str()),
    };
    let failed =
        |why: &str| format!("Failed to {verb} {protocol} listener on {address}, error:{why}");
    let (_, rows) = context.rows(&listeners_path(context)?, "")?;
    let found = match find(&rows, target) {
        Ok(found) => found,
        Err(error) => return Err(context.printer.refused(error, failed)),
    };
    let path = listeners_path(context)?.join(&listener_id(found)).join(verb);
    match context.api.put_empty(&path) {
        Ok(_) => {
            let emqx = format!("{done} {protocol} listener on {address} successfully.");
            let past = match verb {
                "stop" => "stopped",
                "start" => "started",
                _ => "restarted",
            };
            let said = format!("{past} {} on {}", found.raw("protocol"), found.raw("listen_on"));
            context.printer.done(None, &said, &emqx)
        }
        Err(error) => Err(context.printer.refused(error, failed)),
    }
}

fn listeners_path(context: &Context) -> Result<Path> {
    Ok(context.node_path()?.join("listeners"))
}

/// The one listener that is meant.
fn find<'a>(rows: &'a [Row], target: &Target) -> Result<&'a Row, ApiError> {
    let Target { name, listen_on } = target;
    let is_meant = |row: &&Row| {
        let (protocol, address, id) = (row.raw("protocol"), row.raw("listen_on"), row.raw("id"));
        let port = address.rsplit(':').next().unwrap_or(&address);
        match listen_on {
            Some(wanted) => protocol == *name && (address == *wanted || port == wanted),
            None => {
                let names = [&id, &protocol, &address, &format!("{protocol}:{address}")];
                names.contains(&name) || port == name || id.rsplit(':').next() == Some(name)
            }
        }
    };
    let found: Vec<&Row> = rows.iter().filter(is_meant).collect();
    let wanted = listen_on.as_ref().map_or_else(|| name.clone(), |it| format!("{name} {it}"));
    match found.as_slice() {
        [found] => Ok(found),
        [] => {
            let message = format!("no listener is '{wanted}'; there are {}", ids(rows));
            Err(ApiError::Refused { code: 102, message })
        }
        several => {
            let several: Vec<String> = several.iter().map(|row| listener_id(row)).collect();
            let message = format!("'{wanted}' may be {}; say which", several.join(" or "));
            Err(ApiError::Refused { code: 102, message })
        }
    }
}

fn ids(rows: &[Row]) -> String {
    rows.iter().map(listener_id).collect::<Vec<_>>().join(", ")
}

/// The id, or what serves as one.
fn listener_id(row: &Row) -> String {
    match row.value("id") {
        Some(_) => row.raw("id"),
        None => format!("{}:{}", row.raw("protocol"), row.raw("listen_on")),
    }
}

fn is_stopped(row: &Row) -> bool {
    row.flag("running") == Some(false)
}

/// How many connections have ended, otherwise than by a DISCONNECT, and why.
fn ended(row: &Row) -> String {
    let counts = row.value("shutdown_count").and_then(serde_json::Value::as_object);
    let counts: Vec<String> =
        counts.into_iter().flatten().map(|(why, count)| format!("{why} {count}")).collect();
    if counts.is_empty() { "-".to_owned() } else { counts.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(name: &str, listen_on: Option<&str>) -> Result<String, String> {
        let rows: Vec<Row> = [
            json!({"protocol": "mqtt:tcp", "listen_on": "0.0.0.0:1883", "id": "mqtt:tcp:external"}),
            json!({"protocol": "mqtt:tcp", "listen_on": "127.0.0.1:11883", "id": "mqtt:tcp:internal"}),
            json!({"protocol": "mqtt:ssl", "listen_on": "8883"}),
        ]
        .iter()
        .filter_map(Row::of)
        .collect();
        let target = Target { name: name.to_owned(), listen_on: listen_on.map(str::to_owned) };
        find(&rows, &target).map(listener_id).map_err(|error| error.to_string())
    }

    #[test]
    fn a_listener_is_named_by_whatever_is_unique() {
        for name in
            ["mqtt:tcp:external", "external", "1883", "0.0.0.0:1883", "mqtt:tcp:0.0.0.0:1883"]
        {
            assert_eq!(found(name, None), Ok("mqtt:tcp:external".to_owned()), "{name}");
        }
        for port in ["11883", "127.0.0.1:11883"] {
            assert_eq!(found("mqtt:tcp", Some(port)), Ok("mqtt:tcp:internal".to_owned()));
        }
        assert_eq!(found("mqtt:ssl", None), Ok("mqtt:ssl:8883".to_owned()));
        let error = found("mqtt:tcp", None).unwrap_err();
        assert!(
            error.starts_with("'mqtt:tcp' may be mqtt:tcp:external or mqtt:tcp:internal"),
            "{error}"
        );
        let error = found("mqtt:ssl", Some("1883")).unwrap_err();
        assert!(
            error.starts_with("no listener is 'mqtt:ssl 1883'; there are mqtt:tcp:ext"),
            "{error}"
        );
    }
}
