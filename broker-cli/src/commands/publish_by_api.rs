//! `publish`: a message through the API, which needs no MQTT client and no rights of one.

use std::fs;
use std::io::{self, Read};
use std::path::{Path as File, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use broker_codec::QoS;
use clap::{ArgGroup, Args};
use serde_json::json;

use super::context::Context;
use crate::api::Path;
use crate::options::qos;

/// Publish a message through the API ('pub' does it over MQTT)
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true))]
pub(crate) struct PublishByApi {
    /// Topic to publish to; repeatable
    #[arg(short, long, required = true)]
    topic: Vec<String>,
    /// The payload
    #[arg(short, long, value_name = "PAYLOAD", group = "source", allow_hyphen_values = true)]
    message: Option<String>,
    /// A file whose content is the payload, - for stdin
    #[arg(short, long, group = "source")]
    file: Option<PathBuf>,
    /// No payload; with --retain this removes the retained message
    #[arg(short, long, group = "source")]
    null_message: bool,
    /// QoS: 0, 1 or 2
    #[arg(short, long, default_value = "0", value_parser = qos)]
    qos: QoS,
    /// Retain the message
    #[arg(short, long)]
    retain: bool,
    /// Client Identifier shown as that of the sender
    #[arg(short = 'i', long, value_name = "ID")]
    client_id: Option<String>,
}

impl PublishByApi {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        let payload = self.payload()?;
        // Text stays readable on its way; the rest cannot be JSON.
        let (payload, encoding) = match String::from_utf8(payload) {
            Ok(text) => (text, "plain"),
            Err(error) => (BASE64.encode(error.as_bytes()), "base64"),
        };
        let mut body = json!({
            "payload": payload,
            "encoding": encoding,
            "qos": self.qos.bits(),
            "retain": self.retain,
        });
        match self.topic.as_slice() {
            [topic] => body["topic"] = topic.as_str().into(),
            topics => body["topics"] = topics.into(),
        }
        if let Some(client_id) = &self.client_id {
            body["client_id"] = client_id.as_str().into();
        }
        let answer = context.api.post(&Path::new("mqtt/publish"), &body)?;
        let topics: Vec<String> = self.topic.iter().map(|topic| format!("'{topic}'")).collect();
        let said = format!("published to {}", topics.join(", "));
        context.printer.done(answer.data.as_deref(), &said, "ok")
    }

    fn payload(&self) -> Result<Vec<u8>> {
        match (&self.message, &self.file) {
            (Some(message), _) => Ok(message.clone().into_bytes()),
            (None, Some(file)) if file == File::new("-") => {
                let mut payload = Vec::new();
                io::stdin().read_to_end(&mut payload).context("reading the payload from stdin")?;
                Ok(payload)
            }
            (None, Some(file)) => {
                fs::read(file).with_context(|| format!("-f/--file {}", file.display()))
            }
            (None, None) => Ok(Vec::new()),
        }
    }
}
