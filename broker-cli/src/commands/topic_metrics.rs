//! `topic-metrics`: counters of single topics.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, id, parse_rows};
use crate::api::Path;
use crate::emqx::field;
use crate::printer::{Column, Listing, left, right};
use crate::row::Row;

/// Show the counters of topics; count another one
#[derive(Debug, Args)]
pub(crate) struct TopicMetrics {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the topics that are counted
    List,
    /// Show all counters of a topic
    Show {
        #[arg(value_parser = id())]
        topic: String,
    },
    /// Count the messages of a topic from now on
    Add { topic: String },
    /// Count a topic no more
    #[command(alias = "delete")]
    Del {
        #[arg(value_parser = id())]
        topic: String,
    },
}

const COLUMNS: &[Column] = &[
    left("TOPIC", |row| row.text("topic")),
    right("IN", |row| metric(row, "messages/in/count")),
    right("OUT", |row| metric(row, "messages/out/count")),
    right("DROPPED", |row| metric(row, "messages/dropped/count")),
];

impl TopicMetrics {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        let path = Path::new("topic-metrics");
        match &self.command {
            None | Some(Command::List) => {
                let (data, rows) = context.rows(&path, "")?;
                let emqx = |row: &Row| row.raw("topic");
                let listing =
                    Listing { columns: COLUMNS, what: "topics that are counted", emqx: &emqx };
                context.printer.rows(data.as_deref(), &rows, &listing)
            }
            Some(Command::Show { topic }) => {
                let data = context.api.get(&path.join(topic))?.data;
                let rows = data.as_deref().map(parse_rows).unwrap_or_default();
                let metrics = rows.first().and_then(|row| row.value("metrics")).and_then(Row::of);
                let metrics = metrics.unwrap_or_default();
                context.object(data.as_deref(), &metrics, &[], || {
                    metrics.keys(&[]).map(|key| field(key, 30, &metrics.raw(key))).collect()
                })
            }
            Some(Command::Add { topic }) => {
                context.api.post(&path, &json!({ "topic": topic }))?;
                context.printer.done(None, &format!("'{topic}' is counted"), "ok")
            }
            Some(Command::Del { topic }) => {
                context.api.delete(&path.join(topic))?;
                context.printer.done(None, &format!("'{topic}' is not counted any more"), "ok")
            }
        }
    }
}

fn metric(row: &Row, key: &str) -> String {
    row.value("metrics").and_then(Row::of).unwrap_or_default().text(key)
}
