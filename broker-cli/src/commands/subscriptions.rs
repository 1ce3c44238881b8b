//! `subscriptions`: who subscribes to what; subscribing in the name of a client.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, Limit, id};
use crate::api::{Answer, ApiError, Path};
use crate::output::Usage;
use crate::printer::{Column, Listing, left, right};
use crate::row::Row;

/// Show the subscriptions; add or remove one for a client
#[derive(Debug, Args)]
pub(crate) struct Subscriptions {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the subscriptions
    List(Limit),
    /// Show the subscriptions of a client
    Show {
        #[arg(value_name = "CLIENT_ID", value_parser = id())]
        client_id: String,
    },
    /// Subscribe a client that has a session
    Add {
        #[arg(value_name = "CLIENT_ID", value_parser = id())]
        client_id: String,
        /// Topic Filter
        topic: String,
        /// Maximum QoS: 0, 1 or 2
        #[arg(default_value = "0", allow_negative_numbers = true)]
        qos: String,
    },
    /// Take a subscription from a client
    #[command(alias = "delete")]
    Del {
        #[arg(value_name = "CLIENT_ID", value_parser = id())]
        client_id: String,
        /// Topic Filter
        topic: String,
    },
}

const COLUMNS: &[Column] = &[
    left("CLIENT ID", |row| row.text("client_id")),
    left("TOPIC", |row| row.text("topic")),
    right("QOS", |row| row.text("qos")),
    left("NODE", |row| row.text("node")),
];

const LISTING: Listing<'_> = Listing { columns: COLUMNS, what: "subscriptions", emqx: &line };

impl Subscriptions {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None => list(context, None),
            Some(Command::List(limit)) => list(context, limit.limit),
            Some(Command::Show { client_id }) => {
                let path = context.scoped("subscriptions")?.join(client_id);
                let (data, rows) = context.rows(&path, "")?;
                if rows.is_empty() {
                    let missing = format!("client '{client_id}' subscribes to nothing");
                    return Err(context.printer.not_found(missing));
                }
                context.printer.rows(data.as_deref(), &rows, &LISTING)
            }
            Some(Command::Add { client_id, topic, qos }) => {
                let Some(qos) = qos.parse::<u8>().ok().filter(|qos| *qos <= 2) else {
                    const WHY: &str = "QoS should be 0, 1, 2";
                    return Err(context.printer.failed(Usage(WHY.to_owned()).into(), WHY));
                };
                let body = json!({ "client_id": client_id, "topic": topic, "qos": qos });
                let answer = context.api.post(&Path::new("mqtt/subscribe"), &body);
                let said = format!("'{client_id}' subscribes to '{topic}' with QoS {qos}");
                changed(context, answer, &said)
            }
            Some(Command::Del { client_id, topic }) => {
                let body = json!({ "client_id": client_id, "topic": topic });
                let answer = context.api.post(&Path::new("mqtt/unsubscribe"), &body);
                let said = format!("'{client_id}' does not subscribe to '{topic}' any more");
                changed(context, answer, &said)
            }
        }
    }
}

fn list(context: &mut Context, limit: Option<u64>) -> Result<()> {
    let path = context.scoped("subscriptions")?;
    context.list(path, limit, &LISTING)
}

fn changed(context: &mut Context, answer: Result<Answer, ApiError>, said: &str) -> Result<()> {
    match answer {
        Ok(_) => context.printer.done(None, said, "ok"),
        Err(error) => Err(context.printer.refused(error, |why| match why {
            "session_not_found" => "Error: Session not found!".to_owned(),
            why => format!("Error: {why}"),
        })),
    }
}

fn line(row: &Row) -> String {
    format!("{} -> {}", row.raw("client_id"), row.raw("topic"))
}
