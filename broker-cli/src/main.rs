//! `broker-cli`: publish, subscribe and measure over MQTT, against any broker; look after a store.

#![forbid(unsafe_code)]

mod client;
mod commands;
mod format;
mod interrupt;
mod link;
mod options;
mod output;
mod properties;
mod transport;
mod url;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::bench::Bench;
use commands::publish::Publish;
use commands::store::Store;
use commands::subscribe::Subscribe;

/// MQTT from the command line: publish, subscribe, measure; and the store of a broker
#[derive(Debug, Parser)]
#[command(name = "broker-cli", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(name = "pub")]
    Publish(Box<Publish>),
    #[command(name = "sub")]
    Subscribe(Box<Subscribe>),
    Bench(Box<Bench>),
    Store(Store),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Publish(command) => command.run(),
        Command::Subscribe(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Store(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::from(output::exit_status(&error))
        }
    }
}
