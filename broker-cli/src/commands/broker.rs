//! `status`, `broker`, `metrics`, `stats`: what the node is, and what it has counted.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::value::RawValue;

use super::context::{Context, parse_rows};
use crate::api::Path;
use crate::emqx::{atom, field};
use crate::row::Row;

/// Show whether the broker runs
#[derive(Debug, Args)]
pub(crate) struct Status {}

/// Show version, uptime and description; or statistics, or metrics
#[derive(Debug, Args)]
pub(crate) struct Broker {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how many connections, sessions, subscriptions … there are, and the most there have been
    Stats,
    /// Show the counters of bytes, packets and messages
    Metrics,
}

/// Show the counters of bytes, packets and messages
#[derive(Debug, Args)]
pub(crate) struct Metrics {}

/// Show how many connections, sessions, subscriptions … there are, and the most there have been
#[derive(Debug, Args)]
pub(crate) struct Stats {}

/// What emqx_ctl shows, in its order.
const KEYS: [&str; 4] = ["sysdescr", "version", "uptime", "datetime"];

impl Status {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        let (data, broker) = broker(context)?;
        let node =
            if context.has_node { context.api.node()?.to_owned() } else { broker.raw("node") };
        let pairs = [
            ("node", node.clone()),
            ("status", broker.text("node_status")),
            ("version", broker.text("version")),
            ("uptime", broker.text("uptime")),
        ];
        context.printer.pairs(data.as_deref(), &pairs, || {
            let is_running = broker.raw("node_status") == "Running";
            let status = if is_running { "started" } else { "stopped" };
            vec![
                format!("Node {} is {status}", atom(&node)),
                format!("emqx {} is running", broker.raw("version")),
            ]
        })
    }
}

impl Broker {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match self.command {
            None => {
                let (data, broker) = broker(context)?;
                context.object(data.as_deref(), &broker, &KEYS, || {
                    KEYS.iter().map(|key| field(key, 10, &broker.raw(key))).collect()
                })
            }
            Some(Command::Stats) => Stats {}.run(context),
            Some(Command::Metrics) => Metrics {}.run(context),
        }
    }
}

/// The node that was asked for, or the first, which is the one that answers.
fn broker(context: &Context) -> Result<(Option<Box<RawValue>>, Row)> {
    let path = Path::new("brokers");
    let path = if context.has_node { path.join(context.api.node()?) } else { path };
    let (data, rows) = context.rows(&path, "")?;
    Ok((data, rows.into_iter().next().unwrap_or_default()))
}

impl Metrics {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        numbers(context, "metrics", 24)
    }
}

impl Stats {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        numbers(context, "stats", 30)
    }
}

/// Names and numbers of the node, sorted. `width` is that of emqx_ctl.
fn numbers(context: &mut Context, name: &str, width: usize) -> Result<()> {
    let data = context.api.get(&context.node_path()?.join(name))?.data;
    let rows = data.as_deref().map(parse_rows).unwrap_or_default();
    let row: Row = rows.into_iter().next().unwrap_or_default();
    context.object(data.as_deref(), &row, &[], || {
        row.keys(&[]).map(|key| field(key, width, &row.raw(key))).collect()
    })
}
