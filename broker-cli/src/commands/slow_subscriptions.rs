//! `slow-subscriptions`: the clients that get their messages latest.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::context::Context;
use crate::api::Path;
use crate::printer::{Column, Listing, left, right};
use crate::row::Row;

/// Show the subscribers that get their messages latest
#[derive(Debug, Args)]
pub(crate) struct SlowSubscriptions {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List them, the slowest first
    List,
    /// Start anew
    Clear,
}

const COLUMNS: &[Column] = &[
    left("CLIENT ID", |row| row.text("client_id")),
    left("TOPIC", |row| row.text("topic")),
    right("LATENCY MS", |row| row.text("latency_ms")),
    right("TIMES", |row| row.text("count")),
    left("LAST AT", |row| row.text("last_at")),
];

impl SlowSubscriptions {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        const NAME: &str = "slow_subscriptions";
        match self.command {
            None | Some(Command::List) => {
                let (data, rows) = context.rows(&context.scoped(NAME)?, NAME)?;
                let emqx = |row: &Row| {
                    let [client_id, topic, latency_ms] =
                        ["client_id", "topic", "latency_ms"].map(|key| row.raw(key));
                    format!("{client_id} -> {topic}: {latency_ms} ms")
                };
                let listing = Listing { columns: COLUMNS, what: "slow subscriptions", emqx: &emqx };
                context.printer.rows(data.as_deref(), &rows, &listing)
            }
            Some(Command::Clear) => {
                context.api.delete(&Path::new(NAME))?;
                context.printer.done(None, "started anew", "ok")
            }
        }
    }
}
