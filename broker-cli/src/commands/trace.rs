//! `trace`: what one client does, or what happens on a topic or from an address, while it happens.

use std::io;
use std::path::Path as File;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use mio::{Poll, Token};
use serde_json::json;

use super::context::{Context, id};
use crate::api::{ApiError, Path, Rows};
use crate::emqx::quoted;
use crate::interrupt::Interrupt;
use crate::output;
use crate::printer::{Column, Listing, left, right};
use crate::row::Row;

/// Trace a client, a topic or an address
#[derive(Debug, Args)]
pub(crate) struct Trace {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the traces
    List,
    /// Start a trace, which ends by itself
    Start(Start),
    /// Stop a trace and forget what it has
    Stop(Subject),
    /// Print what a trace has
    Show(Subject),
    /// Print what a trace has and gets, until it ends
    Follow(Subject),
}

#[derive(Debug, Args)]
struct Subject {
    #[arg(value_enum)]
    kind: Kind,
    /// Client Identifier, Topic Filter, or IP address (or addresses: 10.0.0.0/8)
    #[arg(value_parser = id())]
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Client,
    Topic,
    #[value(alias = "address")]
    Ip,
}

#[derive(Debug, Args)]
struct Start {
    #[command(flatten)]
    subject: Subject,
    /// File that the broker writes too, in the folder trace of its data; only the name counts
    file: Option<String>,
    /// debug for packets, info for the life of connections and what is dropped
    #[arg(default_value = "debug")]
    level: String,
    /// Keep so many events a second at most, and count the rest
    #[arg(long, value_name = "EVENTS", default_value_t = 1000)]
    rate: u32,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    duration: u32,
    /// Show the beginnings of payloads too
    #[arg(long)]
    payload: bool,
    /// Print the events as they come; an interrupt stops the trace
    #[arg(long)]
    follow: bool,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client_id",
            Self::Topic => "topic",
            Self::Ip => "ip_address",
        }
    }
}

const COLUMNS: &[Column] = &[
    left("KIND", |row| row.text("kind")),
    left("VALUE", |row| row.text("value")),
    left("LEVEL", |row| row.text("level")),
    right("EVENTS", |row| row.text("events")),
    right("DROPPED", |row| row.text("dropped")),
    left("STARTED AT", |row| row.text("started_at")),
    left("ENDS AT", |row| row.text("expires_at")),
    left("DESTINATION", |row| row.text("destination")),
];

/// Between two looks at a trace.
const POLL_PAUSE: Duration = Duration::from_millis(500);

impl Trace {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None | Some(Command::List) => {
                let (data, rows) = context.rows(&Path::new("traces"), "")?;
                let listing = Listing { columns: COLUMNS, what: "traces", emqx: &trace_line };
                context.printer.rows(data.as_deref(), &rows, &listing)
            }
            Some(Command::Start(start)) => start.run(context),
            Some(Command::Stop(subject)) => subject.stop(context),
            Some(Command::Show(subject)) => {
                let page = events(context, subject, 0)?;
                print_events(context, page.rows)
            }
            Some(Command::Follow(subject)) => follow(context, subject),
        }
    }
}

impl Start {
    fn run(&self, context: &mut Context) -> Result<()> {
        let Subject { kind, value } = &self.subject;
        let level = match self.level.as_str() {
            "all" | "debug" => "debug",
            "info" | "notice" | "warning" | "error" | "critical" | "alert" | "emergency" => "info",
            other => bail!(output::Usage(format!("level '{other}' is neither debug nor info"))),
        };
        let mut body = json!({
            "kind": kind.name(),
            "value": value,
            "level": level,
            "rate": self.rate,
            "duration": self.duration,
            "payload": self.payload,
        });
        if let Some(file) = &self.file {
            let name = File::new(file).file_name().and_then(|name| name.to_str());
            body["file"] = name.unwrap_or(file).into();
        }
        let name = kind.name();
        let data = match context.api.post(&Path::new("traces"), &body) {
            Ok(answer) => answer.data,
            Err(error) => {
                let emqx = |why: &str| format!("[error] trace {name} {value}: {why}");
                return Err(context.printer.refused(error, emqx));
            }
        };
        if self.follow {
            return self.follow(context);
        }
        let said = format!("tracing {name} '{value}' for {} s", self.duration);
        let emqx = format!("trace {name} {value} successfully");
        context.printer.done(data.as_deref(), &said, &emqx)
    }

    fn follow(&self, context: &mut Context) -> Result<()> {
        let followed = follow(context, &self.subject);
        // What was started to be looked at is of no use afterwards; it may have ended by itself.
        let stopped = context.api.delete(&self.subject.path());
        followed?;
        match stopped {
            Ok(_) | Err(ApiError::Refused { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Subject {
    fn path(&self) -> Path {
        Path::new("traces").join(self.kind.name()).join(&self.value)
    }

    fn stop(&self, context: &mut Context) -> Result<()> {
        let (name, value) = (self.kind.name(), &self.value);
        match context.api.delete(&self.path()) {
            Ok(_) => {
                let said = format!("stopped tracing {name} '{value}'");
                context.printer.done(
                    None,
                    &said,
                    &format!("stop tracing {name} {value} successfully"),
                )
            }
            Err(error) => {
                let emqx = |why: &str| format!("[error] stop tracing {name} {value}: {why}");
                Err(context.printer.refused(error, emqx))
            }
        }
    }
}

/// Some events, and how it goes on.
struct Events {
    rows: Rows,
    next: u64,
    dropped: u64,
    is_running: bool,
}

fn events(context: &Context, subject: &Subject, after: u64) -> Result<Events> {
    let path = subject.path().join("events").query("after", after);
    let answer = context.api.get(&path)?;
    let meta = answer.meta.unwrap_or_default();
    let rows = answer.data.and_then(|data| serde_json::from_str(data.get()).ok());
    Ok(Events {
        rows: rows.unwrap_or_default(),
        next: meta.next,
        dropped: meta.dropped,
        is_running: meta.running,
    })
}

fn follow(context: &mut Context, subject: &Subject) -> Result<()> {
    let mut pause = Pause::new()?;
    let (mut after, mut dropped) = (0, 0);
    while !pause.interrupt.is_raised() {
        let page = events(context, subject, after)?;
        let is_idle = page.rows.is_empty();
        print_events(context, page.rows)?;
        context.printer.flush()?;
        if page.dropped > dropped {
            output::note(format_args!("{} events dropped, over the rate", page.dropped - dropped));
            dropped = page.dropped;
        }
        after = page.next.max(after);
        if !is_idle {
            continue;
        }
        if !page.is_running {
            break;
        }
        pause.wait(POLL_PAUSE)?;
    }
    Ok(())
}

/// A wait that an interrupt ends.
struct Pause {
    poll: Poll,
    interrupt: Interrupt,
}

impl Pause {
    fn new() -> Result<Self> {
        let poll = Poll::new()?;
        let interrupt = Interrupt::register(poll.registry(), Token(0))?;
        Ok(Self { poll, interrupt })
    }

    fn wait(&mut self, time: Duration) -> io::Result<()> {
        match self.poll.poll(&mut mio::Events::with_capacity(1), Some(time)) {
            // The signal itself.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            waited => waited,
        }
    }
}

/// One a line: they come one after the other, so no column knows how wide it gets.
fn print_events(context: &mut Context, rows: Rows) -> Result<()> {
    for raw in rows {
        let Some(event) = Row::parse(&raw) else { continue };
        if context.printer.is_json() {
            context.printer.done(Some(&raw), "", "")?;
        } else {
            context.printer.line(&event_line(&event))?;
        }
    }
    Ok(())
}

fn event_line(event: &Row) -> String {
    let [at, client_id, peer, name, text] =
        ["at", "client_id", "peer", "event", "text"].map(|key| event.text(key));
    format!("{at}  {name:<12}  {client_id}@{peer}  {text}")
}

fn trace_line(row: &Row) -> String {
    format!(
        "Trace({}={}, level={}, destination={})",
        row.raw("kind"),
        row.raw("value"),
        row.raw("level"),
        quoted(&row.raw("destination")),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_those_of_the_original() {
        let row = json!({"kind": "client_id", "value": "a", "level": "debug", "destination": "log/a.log"});
        let line = trace_line(&Row::of(&row).unwrap());
        assert_eq!(line, r#"Trace(client_id=a, level=debug, destination="log/a.log")"#);
    }
}
