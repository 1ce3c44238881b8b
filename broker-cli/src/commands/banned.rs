//! `banned`: who must not connect.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::context::{Context, Limit, id};
use crate::api::Path;
use crate::format::Timestamp;
use crate::printer::{Column, Listing, left};
use crate::row::Row;

/// Show who is banned; ban a client id, a user name or an address
#[derive(Debug, Args)]
pub(crate) struct Banned {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List who is banned
    List(Limit),
    /// Ban somebody, who is disconnected too
    Add {
        #[command(flatten)]
        who: Who,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// More about it
        #[arg(long, value_name = "TEXT")]
        desc: Option<String>,
        /// On whose order
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// How long, such as 30m, 2h or 7d [default: for ever]
        #[arg(long = "for", value_name = "DURATION", value_parser = duration, conflicts_with = "until")]
        duration: Option<Duration>,
        /// Until when, in Unix seconds
        #[arg(long, value_name = "SECONDS")]
        until: Option<u64>,
    },
    /// Lift a ban
    #[command(alias = "delete")]
    Del(Who),
}

#[derive(Debug, Args)]
struct Who {
    /// Client Identifier, user name, or IP address (or addresses: 10.0.0.0/8)
    #[arg(value_name = "WHO", value_parser = id())]
    who: String,
    /// What WHO is
    #[arg(long = "as", value_enum, value_name = "KIND", default_value_t = Kind::ClientId)]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Kind {
    ClientId,
    Username,
    IpAddress,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::ClientId => "client_id",
            Self::Username => "username",
            Self::IpAddress => "ip_address",
        }
    }
}

const COLUMNS: &[Column] = &[
    left("WHO", |row| row.text("who")),
    left("AS", |row| row.text("as")),
    left("REASON", |row| row.text("reason")),
    left("BY", |row| row.text("by")),
    left("UNTIL", |row| row.time("until")),
    left("DESCRIPTION", |row| row.text("desc")),
];

impl Banned {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None => list(context, None),
            Some(Command::List(limit)) => list(context, limit.limit),
            Some(Command::Add { who, reason, desc, by, duration, until }) => {
                let until = match duration {
                    Some(duration) => Some(now()?.saturating_add(*duration).as_secs()),
                    None => *until,
                };
                let mut body = json!({ "who": who.who, "as": who.kind.name() });
                for (key, value) in [("reason", reason), ("desc", desc), ("by", by)] {
                    if let Some(value) = value {
                        body[key] = value.as_str().into();
                    }
                }
                if let Some(until) = until {
                    body["until"] = until.into();
                }
                let answer = context.api.post(&Path::new("banned"), &body)?;
                let how_long = until.map_or_else(
                    || "for ever".to_owned(),
                    |until| format!("until {}", Timestamp::from_unix(until, 0).iso_8601()),
                );
                let said = format!("banned {} '{}' {how_long}", who.kind.name(), who.who);
                context.printer.done(answer.data.as_deref(), &said, "ok")
            }
            Some(Command::Del(who)) => {
                let path = Path::new("banned").join(&who.who).query("as", who.kind.name());
                context.api.delete(&path)?;
                let said = format!("{} '{}' is not banned any more", who.kind.name(), who.who);
                context.printer.done(None, &said, "ok")
            }
        }
    }
}

fn list(context: &mut Context, limit: Option<u64>) -> Result<()> {
    let emqx = |row: &Row| {
        let keys = ["who", "as", "reason", "desc", "by", "until"];
        format!("Banned({})", keys.map(|key| format!("{key}={}", row.raw(key))).join(", "))
    };
    let listing = Listing { columns: COLUMNS, what: "bans", emqx: &emqx };
    context.list(Path::new("banned"), limit, &listing)
}

fn now() -> Result<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")
}

/// `90s`, `30m`, `2h`, `7d`.
fn duration(text: &str) -> Result<Duration> {
    const FORM: &str = "a number with a unit is needed, such as 90s, 30m, 2h or 7d";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_s = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    ensure!(unit_s > 0, FORM);
    let number: u64 = digits.parse().context(FORM)?;
    number.checked_mul(unit_s).map(Duration::from_secs).context(FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("7d").unwrap(), Duration::from_secs(604_800));
        for text in [
            "",
            "5",
            "h",
            "-1h",
            "1.5h",
            "1hour",
            "99999999999999999999s",
            "9999999999999999999d",
            "ä",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
