//! Secrets from stdin, which a terminal does not show.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::output::Usage;

/// A line of stdin that is not empty; `what` is asked for where somebody sits there.
pub(crate) fn secret(what: &str) -> Result<String> {
    let mut line = String::new();
    let hidden = if io::stdin().is_terminal() { Some(Hidden::ask(what)?) } else { None };
    let read = io::stdin().read_line(&mut line);
    drop(hidden);
    read.with_context(|| format!("reading the {what} from stdin"))?;
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        return Err(Usage(format!("the {what} is missing: give it, or a line on stdin")).into());
    }
    Ok(line.to_owned())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn ask(what: &str) -> Result<Self> {
        let before = tcgetattr(io::stdin()).context("asking the terminal")?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &silent).context("silencing the terminal")?;
        let hidden = Self { before };
        write!(io::stderr(), "{what}: ")?;
        Ok(hidden)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        // The one that was typed was not shown.
        let _ = writeln!(io::stderr());
    }
}
