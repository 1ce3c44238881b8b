//! `apps`, also `mgmt`: the applications that may use the API.

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::context::{Context, given_or_stdin, id, parse_rows};
use crate::api::{ApiError, Path};
use crate::output::Usage;
use crate::printer::{Column, Listing, left};
use crate::row::{Row, plain};

/// Show the applications of the API; make, change or delete one
#[derive(Debug, Args)]
pub(crate) struct Apps {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the applications
    List,
    /// Make an application; its secret is shown once
    #[command(alias = "add")]
    Insert {
        #[arg(value_name = "APP_ID", value_parser = id())]
        app_id: String,
        /// Name for people
        name: String,
        #[command(flatten)]
        terms: Terms,
    },
    /// Change an application; what is not given stays
    Update {
        #[arg(value_name = "APP_ID", value_parser = id())]
        app_id: String,
        /// Whether it may use the API: true or false
        #[arg(value_parser = flag)]
        status: Option<bool>,
        /// Name for people
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        terms: Terms,
    },
    /// Show an application
    #[command(alias = "show")]
    Lookup {
        #[arg(value_name = "APP_ID", value_parser = id())]
        app_id: String,
    },
    /// Delete an application
    #[command(alias = "del")]
    Delete {
        #[arg(value_name = "APP_ID", value_parser = id())]
        app_id: String,
    },
}

#[derive(Debug, Args)]
struct Terms {
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    desc: Option<String>,
    /// When it ends, in Unix seconds
    #[arg(long, value_name = "SECONDS")]
    expired: Option<u64>,
    /// What it may do: viewer is for looking only
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// The secret, - for a line of stdin [default: the broker makes one]
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true)]
    app_secret: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Admin,
    Viewer,
}

impl Terms {
    fn put_into(&self, body: &mut Value) -> Result<()> {
        if let Some(desc) = &self.desc {
            body["desc"] = desc.as_str().into();
        }
        if let Some(expired) = self.expired {
            body["expired"] = expired.into();
        }
        if let Some(role) = self.role {
            body["role"] = match role {
                Role::Admin => "admin",
                Role::Viewer => "viewer",
            }
            .into();
        }
        if let Some(secret) = &self.app_secret {
            body["secret"] = given_or_stdin(Some(secret), "secret")?.into();
        }
        Ok(())
    }

    const fn is_empty(&self) -> bool {
        self.desc.is_none()
            && self.expired.is_none()
            && self.role.is_none()
            && self.app_secret.is_none()
    }
}

const COLUMNS: &[Column] = &[
    left("APP ID", |row| row.text("app_id")),
    left("NAME", |row| row.text("name")),
    left("ENABLED", |row| if row.flag("status") == Some(true) { "yes" } else { "no" }.to_owned()),
    left("ROLE", |row| row.text("role")),
    left("EXPIRES", |row| row.time("expired")),
    left("DESCRIPTION", |row| row.text("desc")),
];

const KEYS: [&str; 6] = ["app_id", "secret", "name", "desc", "status", "expired"];

impl Apps {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None | Some(Command::List) => {
                let (data, rows) = context.rows(&Path::new("apps"), "")?;
                let emqx = |row: &Row| fields(row).join(", ");
                let listing = Listing { columns: COLUMNS, what: "applications", emqx: &emqx };
                context.printer.rows(data.as_deref(), &rows, &listing)
            }
            Some(Command::Insert { app_id, name, terms }) => {
                let mut body = json!({ "app_id": app_id, "name": name, "status": true });
                terms.put_into(&mut body)?;
                insert(context, app_id, &body)
            }
            Some(Command::Update { app_id, status, name, terms }) => {
                update(context, app_id, *status, name.as_deref(), terms)
            }
            Some(Command::Lookup { app_id }) => {
                let path = Path::new("apps").join(app_id);
                let data = context.api.get(&path)?.data;
                let rows = data.as_deref().map(parse_rows).unwrap_or_default();
                let Some(app) = rows.first() else {
                    return Err(context.printer.not_found(missing(app_id)));
                };
                context.object(data.as_deref(), app, &KEYS, || fields(app))
            }
            Some(Command::Delete { app_id }) => {
                let answer = context.api.delete(&Path::new("apps").join(app_id));
                match answer {
                    Ok(_) => context.printer.done(None, &format!("deleted {app_id}"), "ok"),
                    Err(error) => Err(context.printer.refused(error, |why| match why {
                        "not_found" => "Error: app not found".to_owned(),
                        why => format!("Error: {why}"),
                    })),
                }
            }
        }
    }
}

fn insert(context: &mut Context, app_id: &str, body: &Value) -> Result<()> {
    let data = match context.api.post(&Path::new("apps"), body) {
        Ok(answer) => answer.data,
        Err(error) => {
            return Err(context.printer.refused(error, |why| match why {
                // The API spells it so.
                "alread_existed" | "already_existed" => "Error: already existed".to_owned(),
                why => format!("Error: {why}"),
            }));
        }
    };
    let rows = data.as_deref().map(parse_rows).unwrap_or_default();
    let secret = rows.first().map(|row| row.raw("secret")).unwrap_or_default();
    let pairs = [("app_id", app_id.to_owned()), ("secret", secret.clone())];
    context.printer.pairs(data.as_deref(), &pairs, || vec![format!("AppSecret: {secret}")])
}

/// EMQ X forgets what a change does not repeat, so all of it goes along.
fn update(
    context: &mut Context,
    app_id: &str,
    status: Option<bool>,
    name: Option<&str>,
    terms: &Terms,
) -> Result<()> {
    if status.is_none() && name.is_none() && terms.is_empty() {
        return Err(Usage("nothing to change: a status, --name, --desc …".to_owned()).into());
    }
    let path = Path::new("apps").join(app_id);
    let app = context.api.value(&path)?;
    let Some(app) = Row::of(&app) else {
        let error = ApiError::NotFound(missing(app_id));
        return Err(context.printer.failed(error.into(), "Error: not_found"));
    };
    let mut body = json!({});
    for key in ["name", "desc", "status", "expired", "role"] {
        let value = app.value(key).filter(|value| plain(value) != "undefined");
        if let Some(value) = value {
            body[key] = value.clone();
        }
    }
    if let Some(status) = status {
        body["status"] = status.into();
    }
    if let Some(name) = name {
        body["name"] = name.into();
    }
    terms.put_into(&mut body)?;
    match context.api.put(&path, &body) {
        Ok(_) => context.printer.done(None, &format!("changed {app_id}"), "update successfully."),
        Err(error) => Err(context.printer.refused(error, |why| format!("Error: {why}"))),
    }
}

fn missing(app_id: &str) -> String {
    format!("no application '{app_id}'")
}

/// Secrets are known to their owners only.
fn fields(row: &Row) -> Vec<String> {
    KEYS.iter()
        .map(|key| match row.value(key) {
            None if *key == "secret" => "secret: ******".to_owned(),
            _ => format!("{key}: {}", row.raw(key)),
        })
        .collect()
}

fn flag(text: &str) -> Result<bool> {
    match text {
        "true" | "on" | "yes" | "enable" | "enabled" => Ok(true),
        "false" | "off" | "no" | "disable" | "disabled" => Ok(false),
        _ => bail!("true or false is needed"),
    }
}
