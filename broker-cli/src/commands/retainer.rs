//! `retainer`: the retained messages.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::context::{Context, Limit, id, parse_rows};
use crate::api::Path;
use crate::printer::{Column, Listing, left, right};
use crate::row::Row;

/// Show or delete retained messages
#[derive(Debug, Args)]
pub(crate) struct Retainer {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how many messages are retained
    Info,
    /// List the topics of retained messages
    Topics(Limit),
    /// Show the retained message of a topic
    Show {
        #[arg(value_parser = id())]
        topic: String,
    },
    /// Delete all retained messages, or that of a topic
    Clean {
        #[arg(value_parser = id())]
        topic: Option<String>,
    },
}

const COLUMNS: &[Column] = &[
    left("TOPIC", |row| row.text("topic")),
    right("QOS", |row| row.text("qos")),
    right("BYTES", |row| row.text("payload_bytes")),
    left("FROM", |row| row.text("client_id")),
    left("STORED AT", |row| row.text("stored_at")),
    left("EXPIRES AT", |row| row.text("expires_at")),
];

impl Retainer {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            Command::Info => {
                let data = context.api.get(&context.node_path()?.join("stats"))?.data;
                let rows = data.as_deref().map(parse_rows).unwrap_or_default();
                let stats = rows.into_iter().next().unwrap_or_default();
                let pairs = [
                    ("retained", stats.text("retained/count")),
                    ("most so far", stats.text("retained/max")),
                ];
                context.printer.pairs(data.as_deref(), &pairs, || {
                    vec![format!("retained/total: {}", stats.raw("retained/count"))]
                })
            }
            Command::Topics(limit) => {
                let emqx = |row: &Row| row.raw("topic");
                let listing = Listing { columns: COLUMNS, what: "retained messages", emqx: &emqx };
                context.list(Path::new("retained"), limit.limit, &listing)
            }
            Command::Show { topic } => {
                let path = Path::new("retained").join(topic);
                let missing = || format!("no message is retained for '{topic}'");
                context.lookup(&path, missing, &["topic", "payload"], &|row| row.raw("payload"))
            }
            Command::Clean { topic: None } => {
                let data = context.api.delete(&Path::new("retained"))?.data;
                let rows = data.as_deref().map(parse_rows).unwrap_or_default();
                let cleaned = rows.first().map(|row| row.raw("cleaned")).unwrap_or_default();
                let line = format!("Cleaned {cleaned} retained messages");
                context.printer.done(data.as_deref(), &line, &line)
            }
            Command::Clean { topic: Some(topic) } => {
                context.api.delete(&Path::new("retained").join(topic))?;
                context.printer.done(None, &format!("deleted the message of '{topic}'"), "ok")
            }
        }
    }
}
