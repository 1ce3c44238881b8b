//! `log`: what the broker logs, changed while it runs.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, parse_rows};
use crate::api::{Answer, Path};
use crate::output::Usage;
use crate::row::{Row, plain};

/// Show or set the level of the log until the broker stops
#[derive(Debug, Args)]
pub(crate) struct Log {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the level, and those of parts of the broker
    Level,
    /// Set the level: off, error, warn, info, debug, trace
    SetLevel {
        level: String,
        /// Only of this part of the broker, such as broker_net; 'default' as the level takes that back
        #[arg(long, value_name = "PART")]
        target: Option<String>,
    },
    /// Show or set the level, as emqx_ctl has it
    #[command(hide = true)]
    PrimaryLevel { level: Option<String> },
    /// Show the one place where the log goes, as emqx_ctl has it
    #[command(hide = true)]
    Handlers {
        #[command(subcommand)]
        command: Handlers,
    },
}

#[derive(Debug, Subcommand)]
enum Handlers {
    List,
    SetLevel { id: String, level: String },
}

/// Whoever starts the broker keeps the files, so there is this one.
const HANDLER: &str = "console";

impl Log {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None | Some(Command::Level | Command::PrimaryLevel { level: None }) => {
                let answer = context.api.get(&path(context)?)?;
                show(context, &answer)
            }
            Some(
                Command::PrimaryLevel { level: Some(level) }
                | Command::Handlers { command: Handlers::SetLevel { level, .. } },
            ) if self.is_known_handler() => set(context, level, None),
            Some(Command::SetLevel { level, target }) => set(context, level, target.as_deref()),
            Some(Command::Handlers { command: Handlers::List }) => {
                let answer = context.api.get(&path(context)?)?;
                let level = row(&answer).raw("level");
                let line =
                    format!("LogHandler(id={HANDLER}, level={level}, destination={HANDLER})");
                context.printer.done(answer.data.as_deref(), &line, &line)
            }
            Some(Command::Handlers { .. } | Command::PrimaryLevel { .. }) => {
                let why = format!("the only handler is '{HANDLER}'");
                Err(context.printer.failed(Usage(why).into(), "[error] {not_found,handler}"))
            }
        }
    }

    fn is_known_handler(&self) -> bool {
        !matches!(
            &self.command,
            Some(Command::Handlers { command: Handlers::SetLevel { id, .. } }) if id != HANDLER
        )
    }
}

fn path(context: &Context) -> Result<Path> {
    Ok(context.node_path()?.join("log").join("level"))
}

fn set(context: &mut Context, level: &str, target: Option<&str>) -> Result<()> {
    let mut body = json!({ "level": level });
    if let Some(target) = target {
        body["target"] = target.into();
    }
    match context.api.put(&path(context)?, &body) {
        Ok(answer) => show(context, &answer),
        Err(error) => Err(context
            .printer
            .refused(error, |why| format!("[error] set overall log level failed: {why}"))),
    }
}

fn show(context: &mut Context, answer: &Answer) -> Result<()> {
    let row = row(answer);
    let mut pairs = vec![("level", row.text("level"))];
    let targets = row.value("targets").and_then(serde_json::Value::as_object);
    for (target, level) in targets.into_iter().flatten() {
        pairs.push((target, plain(level)));
    }
    context.printer.pairs(answer.data.as_deref(), &pairs, || vec![row.raw("level")])
}

fn row(answer: &Answer) -> Row {
    let rows = answer.data.as_deref().map(parse_rows).unwrap_or_default();
    rows.into_iter().next().unwrap_or_default()
}
