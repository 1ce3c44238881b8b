//! `sessions`: what the broker keeps of clients, connected or not.

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::value::RawValue;

use super::context::{Context, Limit, UnixTimes, id};
use crate::api::Rows;
use crate::printer::{Column, Listing, left, right};
use crate::row::Row;

/// Show the sessions; remove one that waits for its client
#[derive(Debug, Args)]
pub(crate) struct Sessions {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the sessions
    List {
        /// Only those that outlive their connection, or that do not
        kind: Option<Kind>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show all of a session
    Show {
        #[arg(value_name = "CLIENT_ID", value_parser = id())]
        client_id: String,
    },
    /// Remove the session of a client that is away, with all that waits in it
    CleanPersistent {
        #[arg(value_name = "CLIENT_ID", value_parser = id())]
        client_id: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Persistent,
    Transient,
}

const COLUMNS: &[Column] = &[
    left("CLIENT ID", |row| row.text("client_id")),
    left("USERNAME", |row| row.text("username")),
    left("CONNECTED", |row| {
        if row.raw("binding") == "undefined" { "no" } else { "yes" }.to_owned()
    }),
    left("CLEAN", |row| row.text("clean_start")),
    right("EXPIRY", |row| row.text("expiry_interval")),
    right("SUBSCRIPTIONS", |row| row.text("subscriptions_count")),
    right("INFLIGHT", |row| of(row, "inflight_len", "max_inflight")),
    right("QUEUED", |row| of(row, "mqueue_len", "max_mqueue")),
    right("DROPPED", |row| row.text("mqueue_dropped")),
    left("CREATED AT", |row| row.text("created_at")),
];

const FIRST_KEYS: &[&str] =
    &["client_id", "username", "binding", "created_at", "clean_start", "expiry_interval"];

/// `3/32`, or `3` where there is no limit.
fn of(row: &Row, key: &str, max_key: &str) -> String {
    match row.integer(max_key) {
        None | Some(0) => row.text(key),
        Some(max) => format!("{}/{max}", row.text(key)),
    }
}

impl Sessions {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None => list(context, None, None),
            Some(Command::List { kind, limit }) => list(context, *kind, limit.limit),
            Some(Command::Show { client_id }) => {
                let times = context.unix_times()?;
                let path = context.scoped("sessions")?.join(client_id);
                let missing = || format!("client '{client_id}' has no session");
                context.lookup(&path, missing, FIRST_KEYS, &|row| line(row, &times))
            }
            Some(Command::CleanPersistent { client_id }) => {
                let path = context.scoped("sessions")?.join("persistent").join(client_id);
                let said = format!("removed the session of '{client_id}'");
                match context.api.delete(&path) {
                    Ok(_) => {
                        context.printer.done(None, &said, "Clean persistent session successfully.")
                    }
                    Err(error) => Err(context.printer.refused(error, |why| {
                        match why {
                            "running_session" => {
                                "Couldn't clean a session with a valid connection."
                            }
                            _ => "Not Found.",
                        }
                        .to_owned()
                    })),
                }
            }
        }
    }
}

fn list(context: &mut Context, kind: Option<Kind>, limit: Option<u64>) -> Result<()> {
    let times = context.unix_times()?;
    let emqx = |row: &Row| line(row, &times);
    let listing = Listing { columns: COLUMNS, what: "sessions", emqx: &emqx };
    let path = context.scoped("sessions")?;
    let Some(kind) = kind else { return context.list(path, limit, &listing) };
    // The API cannot choose, so all rows come, and those of the kind count.
    let mut wanted = limit.unwrap_or(u64::MAX);
    let chosen = context.api.pages(path, None).map_while(|page| {
        if wanted == 0 {
            return None;
        }
        Some(page.map(|rows| choose(rows, kind, &mut wanted)))
    });
    context.printer.list(chosen, &listing)
}

fn choose(rows: Rows, kind: Kind, wanted: &mut u64) -> Rows {
    let is_chosen = |raw: &RawValue| {
        let is_clean = Row::parse(raw).and_then(|row| row.flag("clean_start"));
        is_clean == Some(kind == Kind::Transient)
    };
    let room = usize::try_from(*wanted).unwrap_or(usize::MAX);
    let chosen: Rows = rows.into_iter().filter(|raw| is_chosen(raw)).take(room).collect();
    *wanted -= chosen.len() as u64;
    chosen
}

fn line(row: &Row, times: &UnixTimes) -> String {
    let fields = [
        ("clean_start", "clean_start"),
        ("expiry_interval", "expiry_interval"),
        ("subscriptions_count", "subscriptions_count"),
        ("max_inflight", "max_inflight"),
        ("inflight", "inflight_len"),
        ("mqueue_len", "mqueue_len"),
        ("mqueue_dropped", "mqueue_dropped"),
        ("awaiting_rel", "awaiting_rel_len"),
        ("deliver_msg", "deliver_msg"),
        ("enqueue_msg", "enqueue_msg"),
    ];
    let fields = fields.map(|(name, key)| format!("{name}={}", row.raw(key))).join(", ");
    let created_at = times.of(row, "created_at");
    format!("Session({}, {fields}, created_at={created_at})", row.raw("client_id"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sessions_are_chosen_by_clean_start_up_to_the_limit() {
        let row = |id: &str, is_clean: bool| {
            serde_json::value::to_raw_value(&json!({"client_id": id, "clean_start": is_clean}))
                .unwrap()
        };
        let rows = || vec![row("a", true), row("b", false), row("c", false), row("d", true)];
        let ids = |kind, mut wanted| {
            let rows = choose(rows(), kind, &mut wanted);
            let ids = rows.iter().map(|raw| Row::parse(raw).unwrap().raw("client_id"));
            (ids.collect::<String>(), wanted)
        };
        assert_eq!(ids(Kind::Persistent, 5), ("bc".to_owned(), 3));
        assert_eq!(ids(Kind::Transient, 1), ("a".to_owned(), 0));
    }
}
