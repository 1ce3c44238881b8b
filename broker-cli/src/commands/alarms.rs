//! `alarms`: what is wrong now, and what was.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::context::{Context, id};
use crate::api::Path;
use crate::printer::{Column, Listing, left};
use crate::row::Row;

/// Show the alarms; clear one
#[derive(Debug, Args)]
pub(crate) struct Alarms {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the alarms that stand
    #[command(alias = "list")]
    Present,
    /// List the alarms that were cleared
    History,
    /// Clear an alarm by hand
    Clear {
        #[arg(value_name = "ALARM", value_parser = id())]
        id: String,
    },
    /// Forget the alarms that were cleared
    ForgetHistory,
}

const PRESENT: &[Column] = &[left("ALARM", |row| row.text("id")), left("DESCRIPTION", description)];

const HISTORY: &[Column] = &[
    left("ALARM", |row| row.text("id")),
    left("CLEARED AT", |row| row.text("clear_at")),
    left("DESCRIPTION", description),
];

impl Alarms {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None | Some(Command::Present) => list(context, "alarms/present", PRESENT),
            Some(Command::History) => list(context, "alarms/history", HISTORY),
            Some(Command::Clear { id }) => {
                let node = context.api.node()?.to_owned();
                context.api.delete(&Path::new("alarms/present").join(&node).join(id))?;
                context.printer.done(None, &format!("cleared {id}"), "ok")
            }
            Some(Command::ForgetHistory) => {
                let node = context.api.node()?.to_owned();
                context.api.delete(&Path::new("alarms/history").join(&node))?;
                context.printer.done(None, "forgot the alarms that were cleared", "ok")
            }
        }
    }
}

fn list(context: &mut Context, name: &str, columns: &[Column]) -> Result<()> {
    let path = Path::new(name);
    let path = if context.has_node { path.join(context.api.node()?) } else { path };
    let (data, rows) = context.rows(&path, "alarms")?;
    let emqx = |row: &Row| format!("Alarm({}, desc={})", row.raw("id"), description(row));
    context.printer.rows(data.as_deref(), &rows, &Listing { columns, what: "alarms", emqx: &emqx })
}

/// A plain text, or severity, title and summary of a structured alarm.
fn description(row: &Row) -> String {
    let Some(structured) = row.value("desc").and_then(Row::of) else {
        // An empty list is what EMQ X has for nothing to say.
        return Some(row.text("desc"))
            .filter(|text| text != "[]")
            .unwrap_or_else(|| "-".to_owned());
    };
    let parts = ["severity", "title", "summary"].map(|key| structured.text(key));
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|it| *it != "-").collect();
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn descriptions_are_texts_objects_or_nothing() {
        let of = |desc| description(&Row::of(&json!({ "desc": desc })).unwrap());
        assert_eq!(of(json!("82.6")), "82.6");
        assert_eq!(of(json!([])), "-");
        let structured =
            json!({"severity": "error", "title": "t", "summary": "s", "timestamp": "x"});
        assert_eq!(of(structured), "error: t: s");
    }
}
