//! The commands of the management API against a server that answers what a test says: what exactly is asked, and what
//! becomes of every kind of answer.

#![forbid(unsafe_code)]

mod changes;
mod emqx_ctl;
mod failures;
mod lists;
mod server;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use server::Server;

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            status: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// The program, without the variables that would steer it.
pub(crate) fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    for name in ["API", "APP", "SECRET", "SECRET_FILE", "CA_FILE"] {
        command.env_remove(format!("BROKER_{name}"));
    }
    command.stdin(Stdio::null());
    command
}

/// Runs `broker-cli` on these words.
pub(crate) fn run(server: &Server, words: &[&str]) -> Outcome {
    let mut command = program(env!("CARGO_BIN_EXE_broker-cli"));
    command.args(words).env("BROKER_API", server.url()).output().unwrap().into()
}

/// The same, split at blanks; it has to succeed. Returns stdout.
#[track_caller]
pub(crate) fn succeed(server: &Server, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let outcome = run(server, &words);
    assert_eq!(outcome.status, 0, "{line}: {outcome:?}");
    outcome.stdout
}

/// A path for one test.
pub(crate) fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("cli-api-{}-{name}", std::process::id()))
}
