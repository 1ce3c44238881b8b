//! `acl`: the rules of who may publish and subscribe to what.

use anyhow::Result;
use clap::{Args, Subcommand};

use super::context::{Context, parse_rows};

/// The ACL file, and what connections remember of their rights
#[derive(Debug, Args)]
pub(crate) struct Acl {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the ACL file again, and forget what was decided by the old one
    Reload,
    /// Forget what connections remember of their rights, and ask anew about what they were granted
    CacheClean,
}

impl Acl {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match self.command {
            Command::Reload => reload(context),
            Command::CacheClean => {
                let path = context.node_path()?.join("acl-cache");
                let data = context.api.delete(&path)?.data;
                context.printer.done(data.as_deref(), "rights are asked about anew", "")
            }
        }
    }
}

fn reload(context: &mut Context) -> Result<()> {
    let path = context.node_path()?.join("acl").join("reload");
    let data = context.api.put_empty(&path)?.data;
    let rows = data.as_deref().map(parse_rows).unwrap_or_default();
    let said = match rows.first().and_then(|row| row.integer("rules")) {
        Some(1) => "read the ACL file: 1 rule".to_owned(),
        Some(n) => format!("read the ACL file: {n} rules"),
        None => "read the ACL file".to_owned(),
    };
    context.printer.done(data.as_deref(), &said, "")
}
