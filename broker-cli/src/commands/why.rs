//! `why` and `drops`: what became of a message.

use anyhow::Result;
use clap::Args;

use super::context::{Context, id, parse_rows};
use crate::api::Path;
use crate::options::qos;
use crate::printer::{Column, Listing, left};
use crate::row::{Row, plain};

/// Say why a message from one client did or did not reach another
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Client Identifier of the publisher
    #[arg(long, value_name = "CLIENT_ID", value_parser = id())]
    from: String,
    /// Topic of the message
    #[arg(long, value_parser = id())]
    topic: String,
    /// Client Identifier of the receiver
    #[arg(long, value_name = "CLIENT_ID", value_parser = id())]
    to: String,
    /// QoS of the message
    #[arg(long, value_parser = qos)]
    qos: Option<broker_codec::QoS>,
    /// Bytes of its payload
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
}

/// Show how many messages were dropped, and why
#[derive(Debug, Args)]
pub(crate) struct Drops {}

const CHECKS: &[Column] = &[
    left("CHECK", |row| row.text("check")),
    left("RESULT", |row| row.text("result")),
    left("DETAIL", |row| row.text("detail")),
];

impl Why {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        let mut path = Path::new("why")
            .query("from", &self.from)
            .query("topic", &self.topic)
            .query("to", &self.to);
        if let Some(qos) = self.qos {
            path = path.query("qos", qos.bits());
        }
        if let Some(size) = self.size {
            path = path.query("size", size);
        }
        let data = context.api.get(&path)?.data;
        if context.printer.is_json() {
            return context.printer.done(data.as_deref(), "", "");
        }
        let rows = data.as_deref().map(parse_rows).unwrap_or_default();
        let verdict = rows.into_iter().next().unwrap_or_default();
        let explanation = format!("{}: {}", verdict.text("verdict"), verdict.text("explanation"));
        context.printer.line(&explanation)?;
        context.printer.line("")?;
        let emqx = |row: &Row| {
            let [check, result, detail] = ["check", "result", "detail"].map(|key| row.raw(key));
            format!("{check}: {result}: {detail}")
        };
        let listing = Listing { columns: CHECKS, what: "checks", emqx: &emqx };
        context.printer.rows(None, &verdict.rows("checks"), &listing)?;
        let counts = verdict.value("counts").and_then(serde_json::Value::as_object);
        let counts: Vec<String> = counts
            .into_iter()
            .flatten()
            .map(|(reason, count)| format!("{reason} {}", plain(count)))
            .collect();
        if counts.is_empty() {
            return Ok(());
        }
        context.printer.line("")?;
        context.printer.line(&format!("messages for '{}' so far: {}", self.to, counts.join(", ")))
    }
}

impl Drops {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        let data = context.api.get(&context.node_path()?.join("drops"))?.data;
        let rows = data.as_deref().map(parse_rows).unwrap_or_default();
        let drops = rows.into_iter().next().unwrap_or_default();
        context.object(data.as_deref(), &drops, &[], || {
            drops.keys(&[]).map(|key| crate::emqx::field(key, 30, &drops.raw(key))).collect()
        })
    }
}
