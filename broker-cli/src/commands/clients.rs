//! `clients`: the connections of MQTT clients.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::context::{Context, Limit, UnixTimes, id};
use crate::api::Path;
use crate::printer::{Column, Listing, left, right};
use crate::row::Row;

/// Show the connected clients; kick one out
#[derive(Debug, Args)]
pub(crate) struct Clients {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the connected clients
    List {
        #[command(flatten)]
        limit: Limit,
        /// Only those of this user name
        #[arg(long, value_name = "NAME", value_parser = id())]
        username: Option<String>,
    },
    /// Show all of a connection
    Show {
        #[arg(value_name = "CLIENT_ID", value_parser = id())]
        client_id: String,
    },
    /// Close a connection; MQTT 5.0 clients are told why
    Kick {
        #[arg(value_name = "CLIENT_ID", value_parser = id())]
        client_id: String,
    },
}

const COLUMNS: &[Column] = &[
    left("CLIENT ID", |row| row.text("client_id")),
    left("USERNAME", |row| row.text("username")),
    left("ADDRESS", |row| address(&row.text("ipaddress"), &row.text("port"))),
    left("PROTOCOL", |row| format!("{} {}", row.text("proto_name"), row.text("proto_ver"))),
    left("CLEAN", |row| row.text("clean_start")),
    right("KEEPALIVE", |row| row.text("keepalive")),
    left("CONNECTED AT", |row| row.text("connected_at")),
    right("RECEIVED", |row| row.text("recv_msg")),
    right("SENT", |row| row.text("send_msg")),
];

const FIRST_KEYS: &[&str] =
    &["client_id", "username", "ipaddress", "port", "connected_at", "proto_name", "proto_ver"];

impl Clients {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None => list(context, None, None),
            Some(Command::List { limit, username }) => {
                list(context, limit.limit, username.as_deref())
            }
            Some(Command::Show { client_id }) => {
                let times = context.unix_times()?;
                let path = context.scoped("connections")?.join(client_id);
                let missing = || format!("no client '{client_id}' is connected");
                context.lookup(&path, missing, FIRST_KEYS, &|row| line(row, &times))
            }
            Some(Command::Kick { client_id }) => {
                let path = Path::new("connections").join(client_id);
                match context.api.delete(&path) {
                    Ok(_) => context.printer.done(None, &format!("kicked '{client_id}'"), ""),
                    Err(error) => Err(context.printer.refused(error, |_| "Not Found.".to_owned())),
                }
            }
        }
    }
}

fn list(context: &mut Context, limit: Option<u64>, username: Option<&str>) -> Result<()> {
    let path = match username {
        None => context.scoped("connections")?,
        Some(username) => context.scoped("connection")?.join("username").join(username),
    };
    let times = context.unix_times()?;
    let emqx = |row: &Row| line(row, &times);
    context.list(path, limit, &Listing { columns: COLUMNS, what: "clients", emqx: &emqx })
}

fn line(row: &Row, times: &UnixTimes) -> String {
    format!(
        "Connection({}, clean_start={}, username={}, peername={}, connected_at={})",
        row.raw("client_id"),
        row.raw("clean_start"),
        row.raw("username"),
        address(&row.raw("ipaddress"), &row.raw("port")),
        times.of(row, "connected_at"),
    )
}

fn address(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}
