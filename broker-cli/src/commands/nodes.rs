//! `nodes`, `cluster`, `vm`: the machines and the processes that the broker runs on.

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::context::{Context, id, parse_rows};
use crate::api::Path;
use crate::emqx::{atoms, field};
use crate::printer::{Column, Listing, left, right};
use crate::row::Row;

/// Show the nodes of the cluster, or one
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Name of the node
    #[arg(value_parser = id())]
    name: Option<String>,
}

/// Show the cluster
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the nodes
    Status,
    /// Join the cluster of another node
    #[command(hide = true)]
    Join { name: String },
    /// Leave the cluster
    #[command(hide = true)]
    Leave,
    /// Remove a node
    #[command(hide = true)]
    ForceLeave { name: String },
}

/// Show load, memory, tasks and descriptors of the node
#[derive(Debug, Args)]
pub(crate) struct Vm {
    #[arg(value_enum, default_value_t = Part::All)]
    part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    All,
    Load,
    Memory,
    Process,
    Io,
    Ports,
}

const COLUMNS: &[Column] = &[
    left("NODE", |row| row.text("node")),
    left("STATUS", |row| row.text("node_status")),
    left("VERSION", |row| row.text("version")),
    left("UPTIME", |row| row.text("uptime")),
    right("CONNECTIONS", |row| row.text("connections")),
    right("LOAD", |row| ["load1", "load5", "load15"].map(|key| row.text(key)).join(" ")),
    right("MEMORY", |row| row.text("memory_used")),
];

impl Nodes {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        let Some(name) = &self.name else { return list(context) };
        let path = Path::new("nodes").join(name);
        context.lookup(&path, || format!("no node '{name}'"), &["name", "node_status"], &status)
    }
}

impl Cluster {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match self.command {
            None | Some(Command::Status) => list(context),
            _ => bail!("this broker is a single node; it cannot join or leave a cluster"),
        }
    }
}

fn list(context: &mut Context) -> Result<()> {
    let (data, rows) = context.rows(&Path::new("nodes"), "")?;
    if context.printer.is_emqx() {
        let names: Vec<String> = rows.iter().map(|row| row.raw("name")).collect();
        let running = atoms(names.iter().map(String::as_str));
        return context.printer.line(&format!("Cluster status: [{{running_nodes,{running}}}]"));
    }
    let listing = Listing { columns: COLUMNS, what: "nodes", emqx: &status };
    context.printer.rows(data.as_deref(), &rows, &listing)
}

fn status(row: &Row) -> String {
    format!("{} {}", row.raw("name"), row.raw("node_status"))
}

impl Vm {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        let data = context.api.get(&context.node_path()?)?.data;
        let rows = data.as_deref().map(parse_rows).unwrap_or_default();
        let node = rows.into_iter().next().unwrap_or_default();
        let lines: Vec<&(Part, &str, &str, &str)> = VM
            .iter()
            .filter(|(part, _, _, key)| {
                (self.part == Part::All || self.part == *part) && node.value(key).is_some()
            })
            .collect();
        let names: Vec<String> =
            lines.iter().map(|(_, kind, name, _)| format!("{kind}/{name}")).collect();
        let pairs: Vec<(&str, String)> = names
            .iter()
            .zip(&lines)
            .map(|(name, (.., key))| (name.as_str(), node.text(key)))
            .collect();
        context.printer.pairs(data.as_deref(), &pairs, || {
            let line = |(_, kind, name, key): &&(Part, &str, &str, &str)| {
                // The colons stand below each other.
                format!("{kind}/{}", field(name, 23 - kind.len(), &node.raw(key)))
            };
            lines.iter().map(line).collect()
        })
    }
}

/// Names of emqx_ctl with the values of the API that are nearest.
const VM: &[(Part, &str, &str, &str)] = &[
    (Part::Load, "cpu", "load1", "load1"),
    (Part::Load, "cpu", "load5", "load5"),
    (Part::Load, "cpu", "load15", "load15"),
    (Part::Memory, "memory", "total", "memory_total"),
    (Part::Memory, "memory", "used", "memory_used"),
    (Part::Process, "process", "limit", "process_available"),
    (Part::Process, "process", "count", "process_used"),
    (Part::Io, "io", "max_fds", "max_fds"),
    (Part::Io, "io", "active_fds", "active_fds"),
    (Part::Ports, "ports", "count", "connections"),
    (Part::Ports, "ports", "limit", "max_fds"),
];
