//! `auth-clientid` and `users`: the MQTT clients whose passwords the broker itself keeps.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, given_or_stdin, id, parse_rows};
use super::plugins;
use crate::api::{Answer, ApiError, Path};

/// Show or change the client ids with passwords of plugin emqx_auth_clientid
#[derive(Debug, Args)]
pub(crate) struct AuthClientid {
    #[command(subcommand)]
    command: Option<Command>,
}

/// Show or change the users that clients connect as, of plugin emqx_auth_username
#[derive(Debug, Args)]
pub(crate) struct AuthUsername {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the names
    List,
    /// Show what is kept of one
    Lookup {
        #[arg(value_parser = id())]
        name: String,
    },
    /// Add one; the plugin is loaded if it is not
    Add {
        #[arg(value_parser = id())]
        name: String,
        /// The password, which `ps` shows; - or none: a line of stdin
        #[arg(allow_hyphen_values = true)]
        password: Option<String>,
    },
    /// Change the password of one
    Update {
        #[arg(value_parser = id())]
        name: String,
        /// The new password, which `ps` shows; - or none: a line of stdin
        #[arg(allow_hyphen_values = true)]
        password: Option<String>,
    },
    /// Delete one
    #[command(alias = "delete")]
    Del {
        #[arg(value_parser = id())]
        name: String,
    },
}

impl AuthClientid {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        run(context, self.command.as_ref(), "auth_clientid", "clientid")
    }
}

impl AuthUsername {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        run(context, self.command.as_ref(), "auth_username", "username")
    }
}

/// Both tables are one but for their path and their key.
fn run(context: &mut Context, command: Option<&Command>, table: &str, key: &str) -> Result<()> {
    let path = Path::new(table);
    match command {
        None | Some(Command::List) => list(context, &path),
        Some(Command::Lookup { name }) => {
            let data = context.api.get(&path.join(name))?.data;
            let rows = data.as_deref().map(parse_rows).unwrap_or_default();
            let Some(row) = rows.first() else {
                return Err(context.printer.not_found(format!("no {key} '{name}'")));
            };
            context.object(data.as_deref(), row, &[key], || vec![row.raw(key)])
        }
        Some(Command::Add { name, password }) => {
            let password = given_or_stdin(password.as_deref(), "password")?;
            let account = json!({ key: name, "password": password });
            let mut answer = context.api.post(&path, &account);
            let mut said = format!("added {key} '{name}'");
            if matches!(answer, Err(ApiError::NoRoute { .. })) {
                // A new broker has no user and checks nobody: who adds the first one wants both.
                let plugin = format!("emqx_{table}");
                plugins::load(context, &plugin)?;
                said = format!("loaded {plugin}, {said}");
                answer = context.api.post(&path, &account);
            }
            changed(context, answer, &said)
        }
        Some(Command::Update { name, password }) => {
            let password = given_or_stdin(password.as_deref(), "password")?;
            let answer = context.api.put(&path.join(name), &json!({ "password": password }));
            changed(context, answer, &format!("set the password of {key} '{name}'"))
        }
        Some(Command::Del { name }) => {
            let answer = context.api.delete(&path.join(name));
            changed(context, answer, &format!("deleted {key} '{name}'"))
        }
    }
}

/// The API has the names alone, not objects.
fn list(context: &mut Context, path: &Path) -> Result<()> {
    let data = context.api.get(path)?.data;
    if context.printer.is_json() {
        return context.printer.done(data.as_deref(), "", "");
    }
    let names: Option<Vec<String>> =
        data.as_deref().and_then(|data| serde_json::from_str(data.get()).ok());
    names.unwrap_or_default().iter().try_for_each(|name| context.printer.line(name))
}

fn changed(context: &mut Context, answer: Result<Answer, ApiError>, said: &str) -> Result<()> {
    match answer {
        Ok(_) => context.printer.done(None, said, "ok"),
        Err(error) => Err(context.printer.refused(error, |why| format!("{{error,{why}}}"))),
    }
}
