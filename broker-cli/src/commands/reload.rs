//! `reload`: the command of emqx_reloader, which reloads modules of Erlang; here a plugin is what can be.

use anyhow::{Result, bail};
use clap::Args;

use super::context::{Context, id};

/// Reload a plugin that is loaded (plugin emqx_reloader)
#[derive(Debug, Args)]
pub(crate) struct Reload {
    /// Name of the plugin
    #[arg(value_name = "MODULE", value_parser = id())]
    module: String,
}

impl Reload {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        let Self { module } = self;
        let plugins = context.node_path()?.join("plugins");
        let (_, rows) = context.rows(&plugins, "")?;
        let is_loaded = |name: &str| {
            rows.iter().any(|row| row.raw("name") == name && row.flag("active") == Some(true))
        };
        if !is_loaded(PLUGIN) {
            bail!("plugin {PLUGIN} is not loaded; 'broker-cli plugins load {PLUGIN}' loads it");
        }
        if !is_loaded(module) {
            let line = format!("Failed to reload module {module}: not found.");
            return Err(context.printer.failed(anyhow::anyhow!(line.clone()), &line));
        }
        match context.api.put_empty(&plugins.join(module).join("reload")) {
            Ok(_) => {
                let line = format!("Reload module {module} successfully.");
                context.printer.done(None, &format!("reloaded {module}"), &line)
            }
            Err(error) => Err(context
                .printer
                .refused(error, |why| format!("Failed to reload module {module}: {why}."))),
        }
    }
}

const PLUGIN: &str = "emqx_reloader";
