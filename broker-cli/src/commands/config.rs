//! `config`: the keys of a running broker, and whether a file would do.

use std::env;
use std::path::{Path as File, PathBuf};
use std::process::Command as Process;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use serde_json::json;
use serde_json::value::RawValue;

use super::context::{Context, id};
use crate::api::Path;
use crate::output::Faulty;
use crate::printer::{Column, Listing, left};
use crate::row::Row;

/// Show the configuration in effect; change a key while the broker runs; check a file
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the keys with their values
    Show {
        /// Only those that begin so, such as mqtt or zone.external
        prefix: Option<String>,
    },
    /// Change a key; the broker keeps it
    Set {
        /// The whole key, such as mqtt.max_packet_size
        #[arg(value_parser = id())]
        key: String,
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Take a change back: what the configuration file says is in effect again
    Reset {
        /// The whole key
        #[arg(value_parser = id())]
        key: String,
    },
    /// Check a configuration file with broker-server, which must be installed here
    Check { file: PathBuf },
}

const COLUMNS: &[Column] =
    &[left("KEY", |row| row.text("key")), left("VALUE", |row| row.text("value"))];

impl Config {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            Command::Show { prefix } => show(context, prefix.as_deref().unwrap_or_default()),
            Command::Set { key, value } => {
                let path = app_path(context, key)?;
                context.api.put(&path, &json!({ "key": key, "value": value }))?;
                context.printer.done(None, &format!("set {key} = {value}"), "ok")
            }
            Command::Reset { key } => {
                let path = app_path(context, key)?.query("key", key);
                context.api.delete(&path)?;
                context.printer.done(None, &format!("reset {key}"), "ok")
            }
            Command::Check { file } => check(file),
        }
    }
}

/// The first part of a key is what the API calls its application.
fn app_path(context: &Context, key: &str) -> Result<Path> {
    Ok(context.scoped("configs")?.join(key.split('.').next().unwrap_or(key)))
}

fn show(context: &mut Context, prefix: &str) -> Result<()> {
    let path = context.node_path()?.join("configs");
    let data = context.api.get(&path)?.data;
    let raw: Vec<Box<RawValue>> = match &data {
        Some(data) => serde_json::from_str(data.get()).context("the configuration is no list")?,
        None => Vec::new(),
    };
    let chosen = raw
        .into_iter()
        .filter(|raw| Row::parse(raw).is_some_and(|row| begins(&row.raw("key"), prefix)));
    let emqx = |row: &Row| format!("{} = {}", row.raw("key"), row.raw("value"));
    let listing = Listing { columns: COLUMNS, what: "such keys", emqx: &emqx };
    context.printer.list([Ok(chosen.collect())], &listing)
}

/// Whether `key` is `prefix` or lies below it.
fn begins(key: &str, prefix: &str) -> bool {
    let rest = key.strip_prefix(prefix.trim_end_matches('.'));
    rest.is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('.'))
}

/// The broker is the one that knows what its keys mean.
fn check(file: &File) -> Result<()> {
    let program = server_program();
    let checked = Process::new(&program).arg("--config").arg(file).arg("--check").status();
    let status = checked.with_context(|| {
        format!("running {}; it has to be beside broker-cli or on the PATH", program.display())
    })?;
    ensure!(status.success(), Faulty(format!("{} is not right", file.display())));
    Ok(())
}

/// `broker-server` beside this program, else that of the PATH.
fn server_program() -> PathBuf {
    const NAME: &str = "broker-server";
    let beside = env::current_exe().ok().map(|path| path.with_file_name(NAME));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_a_part_of_the_key_does() {
        for (key, prefix, expected) in [
            ("mqtt.max_packet_size", "", true),
            ("mqtt.max_packet_size", "mqtt", true),
            ("mqtt.max_packet_size", "mqtt.", true),
            ("mqtt.max_packet_size", "mqtt.max", false),
            ("mqtt.max_packet_size", "mqtt.max_packet_size", true),
            ("log.level", "mqtt", false),
        ] {
            assert_eq!(begins(key, prefix), expected, "{key} {prefix}");
        }
    }
}
