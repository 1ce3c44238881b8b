//! `recon`: memory and load of the node, in the lines of the original.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use super::context::{Context, id, parse_rows};
use crate::emqx::field;
use crate::row::Row;

/// Look into memory and load of the node (plugin emqx_recon)
#[derive(Debug, Args)]
pub(crate) struct Recon {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the allocator has handed out and taken from the system, in bytes
    Memory,
    /// Show what of it is in arenas and in blocks of their own, in bytes
    Allocated,
    /// Show the load again and again, and what has come and gone since
    #[command(name = "node_stats", alias = "node-stats")]
    NodeStats {
        /// How often
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
        count: u32,
        /// Seconds in between
        #[arg(long, default_value_t = 1.0, value_parser = seconds)]
        interval: f64,
    },
    /// Not supported: nothing here shares parts of larger blocks unseen
    #[command(name = "bin_leak", alias = "bin-leak", hide = true)]
    BinLeak,
    /// Not supported: the broker is one compiled program
    #[command(name = "remote_load", alias = "remote-load", hide = true)]
    RemoteLoad {
        #[arg(value_parser = id())]
        module: String,
    },
}

impl Recon {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            Command::Memory => {
                figures(context, "memory", &["usage", "used", "allocated", "unused"])
            }
            Command::Allocated => figures(context, "allocated", &["arenas", "blocks"]),
            Command::NodeStats { count, interval } => {
                node_stats(context, *count, Duration::from_secs_f64(*interval))
            }
            Command::BinLeak => refuse(context, "bin_leak", "memory is not shared in parts here"),
            Command::RemoteLoad { module } => {
                let why =
                    format!("the broker is one compiled program, which has no module {module}");
                refuse(context, "remote_load", &why)
            }
        }
    }
}

/// Each of `names` as `/current` and `/max`; of types as the original has them, those of now come first.
fn figures(context: &mut Context, what: &str, names: &[&str]) -> Result<()> {
    let data = context.api.get(&context.node_path()?.join("recon").join(what))?.data;
    let row = data.as_deref().map(parse_rows).unwrap_or_default().into_iter().next();
    let row = row.unwrap_or_default();
    let both = ["current", "max"];
    let keys: Vec<String> = match what {
        "memory" => names.iter().flat_map(|it| both.map(|of| format!("{it}/{of}"))).collect(),
        _ => both.iter().flat_map(|of| names.iter().map(move |it| format!("{it}/{of}"))).collect(),
    };
    let pairs: Vec<(&str, String)> = keys.iter().map(|key| (key.as_str(), row.text(key))).collect();
    context.printer.pairs(data.as_deref(), &pairs, || {
        keys.iter().map(|key| field(key, WIDTH, &row.raw(key))).collect()
    })
}

/// A sample and the one before: what is counted is told by its growth.
fn node_stats(context: &mut Context, count: u32, interval: Duration) -> Result<()> {
    let path = context.node_path()?.join("recon").join("node_stats");
    let sample = |context: &Context| -> Result<(Instant, Row)> {
        let data = context.api.get(&path)?.data;
        let row = data.as_deref().map(parse_rows).unwrap_or_default().into_iter().next();
        Ok((Instant::now(), row.unwrap_or_default()))
    };
    let mut before = sample(context)?;
    for _ in 0..count {
        thread::sleep(interval);
        let now = sample(context)?;
        let growth = Growth::between(&before, &now);
        let row = &now.1;
        let text = if context.printer.is_json() {
            format!("{{{},{}}}", json(row), growth.json())
        } else {
            format!("{{[{}],[{}]}}", terms(row), growth.terms())
        };
        context.printer.line(&text)?;
        // Whoever looks wants to see it now.
        context.printer.flush()?;
        before = now;
    }
    Ok(())
}

/// What has come, gone and been worked between two samples.
struct Growth {
    bytes_in: i64,
    bytes_out: i64,
    /// The part of the time of all processors.
    usage: f64,
}

impl Growth {
    fn between((began, before): &(Instant, Row), (ended, now): &(Instant, Row)) -> Self {
        let integer = |key| now.integer(key).unwrap_or(0) - before.integer(key).unwrap_or(0);
        let number = |row: &Row, key| row.value(key).and_then(|it| it.as_f64()).unwrap_or(0.0);
        let worked = number(now, "cpu_seconds") - number(before, "cpu_seconds");
        let could = (*ended - *began).as_secs_f64() * number(now, "schedulers").max(1.0);
        let usage = if could > 0.0 { (worked / could).clamp(0.0, 1.0) } else { 0.0 };
        Self { bytes_in: integer("bytes_in"), bytes_out: integer("bytes_out"), usage }
    }

    fn terms(&self) -> String {
        let Self { bytes_in, bytes_out, usage } = self;
        format!("{{bytes_in,{bytes_in}}},{{bytes_out,{bytes_out}}},{{scheduler_usage,{usage:.4}}}")
    }

    fn json(&self) -> String {
        let Self { bytes_in, bytes_out, usage } = self;
        format!("\"bytes_in\":{bytes_in},\"bytes_out\":{bytes_out},\"scheduler_usage\":{usage:.4}")
    }
}

fn terms(row: &Row) -> String {
    let terms: Vec<_> = SHOWN.iter().map(|key| format!("{{{key},{}}}", row.raw(key))).collect();
    terms.join(",")
}

fn json(row: &Row) -> String {
    let pairs: Vec<_> = SHOWN.iter().map(|key| format!("\"{key}\":{}", row.raw(key))).collect();
    pairs.join(",")
}

fn refuse(context: &mut Context, what: &str, why: &str) -> Result<()> {
    let text = format!("recon {what} is not supported: {why}");
    if context.printer.is_emqx() {
        let error = anyhow::anyhow!(text.clone());
        return Err(context.printer.failed(error, &text));
    }
    bail!(text)
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is needed".to_owned())?;
    if (0.01..=3_600.0).contains(&seconds) { Ok(seconds) } else { Err("0.01 to 3600".to_owned()) }
}

/// As the original pads names.
const WIDTH: usize = 20;
/// Of a sample, as it is.
const SHOWN: [&str; 4] = ["process_count", "run_queue", "memory_total", "messages_in_queues"];
