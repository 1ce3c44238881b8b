//! Output: the one place that writes to stdout and stderr, and the words for Reason Codes and exits.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use anyhow::Context as _;
use broker_codec::ReasonCode;

use crate::api::ApiError;

/// Locked, buffered stdout of a command that prints a lot; flush it before waiting.
pub(crate) fn stdout() -> io::BufWriter<io::StdoutLock<'static>> {
    io::BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// Notes for the user on stderr, which `--quiet` turns off and `--debug` multiplies.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Notes {
    pub(crate) is_quiet: bool,
    pub(crate) is_debug: bool,
}

impl Notes {
    /// Something went wrong, but the command goes on.
    pub(crate) fn warn(self, text: impl fmt::Display) {
        if !self.is_quiet {
            let _ = writeln!(io::stderr(), "broker-cli: warning: {text}");
        }
    }

    /// With `--quiet`, marks a failure as one to be told by the exit status only.
    pub(crate) fn hush<T>(self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        if self.is_quiet { result.context(Hushed) } else { result }
    }

    /// One step of the protocol.
    pub(crate) fn debug(self, text: impl fmt::Display) {
        if self.is_debug {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

/// A remark on stderr.
pub(crate) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "broker-cli: {text}");
}

/// Marks a failure as one that has been told already.
pub(crate) fn hushed(error: anyhow::Error) -> anyhow::Error {
    error.context(Hushed)
}

/// Prints why the command failed, unless that is [hushed](Notes::hush).
pub(crate) fn error(error: &anyhow::Error) {
    if error.is::<Hushed>() {
        return;
    }
    let (on, off) = if has_color() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let _ = writeln!(io::stderr(), "broker-cli: {on}error:{off} {error:#}");
}

/// Whether stderr shows colours and lets a line be rewritten.
pub(crate) fn has_color() -> bool {
    is_color_wanted() && io::stderr().is_terminal()
}

/// Whether stdout shows colours.
pub(crate) fn has_color_on_stdout() -> bool {
    is_color_wanted() && io::stdout().is_terminal()
}

/// <https://no-color.org>
fn is_color_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
}

/// `0x87 Not authorized`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reason(pub(crate) ReasonCode);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02X} {}", self.0.as_byte(), self.0.name())
    }
}

/// The server said no; the Reason Code becomes the exit status.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {}{}", Reason(*code), text.as_ref().map(|it| format!(": {it}")).unwrap_or_default())]
pub(crate) struct Refused {
    pub(crate) what: String,
    pub(crate) code: ReasonCode,
    /// Reason String.
    pub(crate) text: Option<String>,
}

impl Refused {
    pub(crate) fn new(what: impl Into<String>, code: ReasonCode, text: Option<&str>) -> Self {
        Self { what: what.into(), code, text: text.map(str::to_owned) }
    }
}

/// Context of a failure that is not printed.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
struct Hushed;

/// Nothing arrived in the time that `-W` gave.
#[derive(Debug, thiserror::Error)]
#[error("timed out after {seconds} s (-W)")]
pub(crate) struct TimedOut {
    pub(crate) seconds: f64,
}

/// Something is wrong with what was looked at, which is not a failure to look.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Faulty(pub(crate) String);

/// A flag or variable that is wrong in a way that only its use shows.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Exit status of `error`: its Reason Code if there is one, 27 for a timeout like mosquitto_sub, 2 if something was
/// found to be wrong or the flags were, 3 if the API could not be asked, else 1.
pub(crate) fn exit_status(error: &anyhow::Error) -> u8 {
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return refused.code.as_byte().max(1);
    }
    if let Some(error) = error.downcast_ref::<ApiError>() {
        return error.exit_status();
    }
    if error.is::<Faulty>() {
        return EXIT_FAULTY;
    }
    if error.is::<Usage>() {
        return EXIT_USAGE;
    }
    if error.is::<TimedOut>() { EXIT_TIMED_OUT } else { 1 }
}

const EXIT_FAULTY: u8 = 2;
/// The same that clap ends with.
const EXIT_USAGE: u8 = 2;
const EXIT_TIMED_OUT: u8 = 27;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_shows_code_name_and_reason_string() {
        let mut refused = Refused::new("connection refused", ReasonCode::NotAuthorized, None);
        assert_eq!(refused.to_string(), "connection refused: 0x87 Not authorized");
        refused.text = Some("no such user".to_owned());
        assert_eq!(refused.to_string(), "connection refused: 0x87 Not authorized: no such user");
    }

    #[test]
    fn exit_status_is_the_reason_code() {
        let refused = Refused::new("connection refused", ReasonCode::NotAuthorized, None);
        assert_eq!(exit_status(&anyhow::Error::new(refused).context("somewhere")), 0x87);
        assert_eq!(exit_status(&anyhow::Error::new(TimedOut { seconds: 1.0 })), 27);
        assert_eq!(exit_status(&anyhow::anyhow!("else")), 1);
        let notes = Notes { is_quiet: true, is_debug: false };
        let hushed = notes.hush(Err::<(), _>(TimedOut { seconds: 1.0 }.into())).unwrap_err();
        assert_eq!(exit_status(&hushed), 27);
    }
}
