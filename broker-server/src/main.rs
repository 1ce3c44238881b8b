//! The MQTT broker as a program.

#![forbid(unsafe_code)]

mod acl;
mod auth;
mod config;
mod facts;
mod live_config;
mod logging;
mod management;
mod monitor;
mod plugins;
mod process;
mod revocation;
mod rules;
mod signals;
mod storage;
mod trace_files;
mod wiring;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::live_config::LiveConfig;

const HELP: &str = "\
An MQTT broker.

Usage: broker-server [--config FILE] [--check] [--check-store] [--print-config]

  --config FILE            read settings from FILE; without it the defaults serve
  --check                  read the configuration, report every error, and stop
  --check-store            read every checksum of the store, report damage, and stop
  --print-config           print every key with value, default and help, and stop
  --print-config=markdown  print the page of all keys, docs/configuration.md, and stop
  --version                print the version, and stop
  --help                   print this, and stop

The environment goes before the file: BROKER__NODE__NAME is node.name.
";

enum Action {
    Start,
    Check,
    CheckStore,
    Print(fn(Option<PathBuf>) -> Result<String, config::ConfigErrors>),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let (action, file) = arguments(std::env::args_os().skip(1))?;
    match action {
        Action::Print(page) => {
            let page = page(file)?;
            std::io::stdout().write_all(page.as_bytes()).context("writing to standard output")
        }
        Action::Check => {
            let config = config::load(file.as_deref(), environment())?;
            for note in &config.notes {
                eprintln!("warning: {note}");
            }
            eprintln!(
                "the configuration is fine: node {}, {} listeners, {} zones, log level {}",
                config.node.name,
                config.listeners.len(),
                config.broker.zones.len(),
                config.log.level
            );
            Ok(())
        }
        Action::CheckStore => {
            let config = config::load(file.as_deref(), environment())?;
            let text = storage::check(&config.store)?;
            std::io::stdout().write_all(text.as_bytes()).context("writing to standard output")
        }
        Action::Start => wiring::run(LiveConfig::read(file)?),
    }
}

fn arguments(
    mut args: impl Iterator<Item = std::ffi::OsString>,
) -> anyhow::Result<(Action, Option<PathBuf>)> {
    let (mut action, mut file) = (Action::Start, None);
    while let Some(arg) = args.next() {
        match arg.to_string_lossy().as_ref() {
            "--config" => file = Some(args.next().context("--config needs a file")?.into()),
            "--check" => action = Action::Check,
            "--check-store" => action = Action::CheckStore,
            "--print-config" => {
                action = Action::Print(|file| config::print(file.as_deref(), environment()));
            }
            "--print-config=markdown" => action = Action::Print(|_| Ok(config::markdown())),
            "--help" | "-h" => action = Action::Print(|_| Ok(HELP.into())),
            "--version" | "-V" => {
                action = Action::Print(|_| {
                    Ok(concat!("broker-server ", env!("CARGO_PKG_VERSION"), "\n").into())
                });
            }
            other => match other.strip_prefix("--config=") {
                Some(path) => file = Some(path.into()),
                None => bail!("unknown argument {other}; --help shows those there are"),
            },
        }
    }
    Ok((action, file))
}

/// Names and values that are not UTF-8 keep what can be read: a wrong value is refused then, not overlooked.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    })
}
