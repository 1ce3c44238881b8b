//! `routes`, also `topics`: the Topic Filters that are subscribed to, by node.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::context::{Context, Limit, id};
use crate::api::Path;
use crate::printer::{Column, Listing, left};
use crate::row::Row;

/// Show the Topic Filters that somebody subscribes to
#[derive(Debug, Args)]
pub(crate) struct Routes {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the routes
    List(Limit),
    /// Show the routes of one Topic Filter, which is compared and not matched
    Show {
        #[arg(value_name = "TOPIC", value_parser = id())]
        topic: String,
    },
}

const COLUMNS: &[Column] =
    &[left("TOPIC", |row| row.text("topic")), left("NODE", |row| row.text("node"))];

const LISTING: Listing<'_> = Listing { columns: COLUMNS, what: "routes", emqx: &line };

impl Routes {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None => context.list(Path::new("routes"), None, &LISTING),
            Some(Command::List(limit)) => context.list(Path::new("routes"), limit.limit, &LISTING),
            Some(Command::Show { topic }) => {
                let (data, rows) = context.rows(&Path::new("routes").join(topic), "")?;
                if rows.is_empty() {
                    // emqx_ctl prints nothing then.
                    let error =
                        crate::api::ApiError::NotFound(format!("nobody subscribes to '{topic}'"));
                    return if context.printer.is_emqx() { Ok(()) } else { Err(error.into()) };
                }
                context.printer.rows(data.as_deref(), &rows, &LISTING)
            }
        }
    }
}

fn line(row: &Row) -> String {
    format!("{} -> {}", row.raw("topic"), row.raw("node"))
}
