//! `admins`: who may log in to the dashboard.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, given_or_stdin, id};
use crate::api::{Answer, ApiError, Path};
use crate::printer::{Column, Listing, left};
use crate::row::Row;

/// Show the users of the dashboard; add, change or delete one
#[derive(Debug, Args)]
pub(crate) struct Admins {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the users of the dashboard
    List,
    /// Add a user
    Add {
        #[arg(value_name = "USERNAME", value_parser = id())]
        name: String,
        /// The password, which `ps` shows; - or none: a line of stdin
        #[arg(allow_hyphen_values = true)]
        password: Option<String>,
        /// Words about the user, such as viewer
        tags: Option<String>,
    },
    /// Set a password
    Passwd {
        #[arg(value_name = "USERNAME", value_parser = id())]
        name: String,
        /// The new password, which `ps` shows; - or none: a line of stdin
        #[arg(allow_hyphen_values = true)]
        password: Option<String>,
    },
    /// Set the tags of a user
    Tags {
        #[arg(value_name = "USERNAME", value_parser = id())]
        name: String,
        tags: String,
    },
    /// Delete a user
    #[command(alias = "delete")]
    Del {
        #[arg(value_name = "USERNAME", value_parser = id())]
        name: String,
    },
}

const COLUMNS: &[Column] =
    &[left("USERNAME", |row| row.text("username")), left("TAGS", |row| row.text("tags"))];

impl Admins {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None | Some(Command::List) => {
                let (data, rows) = context.rows(&Path::new("users"), "")?;
                let emqx = |row: &Row| format!("{} ({})", row.raw("username"), row.raw("tags"));
                let listing = Listing { columns: COLUMNS, what: "users", emqx: &emqx };
                context.printer.rows(data.as_deref(), &rows, &listing)
            }
            Some(Command::Add { name, password, tags }) => {
                let password = given_or_stdin(password.as_deref(), "password")?;
                let tags = tags.as_deref().unwrap_or_default();
                let body = json!({ "username": name, "password": password, "tags": tags });
                let answer = context.api.post(&Path::new("users"), &body);
                changed(context, answer, &format!("added user '{name}'"))
            }
            Some(Command::Passwd { name, password }) => {
                let password = given_or_stdin(password.as_deref(), "password")?;
                let body = json!({ "password": password });
                let answer = context.api.put(&Path::new("users").join(name), &body);
                changed(context, answer, &format!("set the password of '{name}'"))
            }
            Some(Command::Tags { name, tags }) => {
                let body = json!({ "tags": tags });
                let answer = context.api.put(&Path::new("users").join(name), &body);
                changed(context, answer, &format!("set the tags of '{name}'"))
            }
            Some(Command::Del { name }) => {
                let answer = context.api.delete(&Path::new("users").join(name));
                changed(context, answer, &format!("deleted user '{name}'"))
            }
        }
    }
}

fn changed(context: &mut Context, answer: Result<Answer, ApiError>, said: &str) -> Result<()> {
    match answer {
        Ok(_) => context.printer.done(None, said, "ok"),
        Err(error) => Err(context.printer.refused(error, |why| format!("Error: {why}"))),
    }
}
