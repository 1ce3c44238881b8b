//! `completion`: what makes a shell complete the commands and flags.

use std::io::Write;

use anyhow::Result;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::output;

/// Print the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Completion {
    #[arg(value_enum)]
    shell: Shell,
}

const AFTER_HELP: &str = "\
bash: broker-cli completion bash > /etc/bash_completion.d/broker-cli
zsh:  broker-cli completion zsh > \"${fpath[1]}/_broker-cli\"
fish: broker-cli completion fish > ~/.config/fish/completions/broker-cli.fish";

impl Completion {
    pub(crate) fn run(&self, mut command: Command) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "broker-cli", &mut script);
        let mut out = output::stdout();
        out.write_all(&script)?;
        Ok(out.flush()?)
    }
}
