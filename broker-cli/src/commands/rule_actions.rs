//! `rule-actions`: what rules can do with what they select.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::context::{Context, id};
use super::rule_answers::show;
use crate::api::Path;
use crate::emqx::{Keys, term};
use crate::printer::{Column, Listing, left};
use crate::row::{Row, plain};

/// Show what rules can do
#[derive(Debug, Args)]
pub(crate) struct RuleActions {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the actions
    List(Filter),
    /// Show an action, with its parameters
    Show {
        #[arg(value_name = "ACTION", value_parser = id())]
        name: String,
    },
}

#[derive(Debug, Default, Args)]
struct Filter {
    /// Those of this type of resources
    #[arg(short = 't', long = "type", value_name = "TYPE", value_parser = id())]
    kind: Option<String>,
    /// Those for this event: message.publish; or for $messages, $events
    #[arg(short = 'k', long, value_name = "EVENT")]
    hook: Option<String>,
}

const COLUMNS: &[Column] = &[
    left("ACTION", |row| row.text("name")),
    left("FOR", |row| row.text("for")),
    left("TYPE", |row| row.text("type")),
    left("PARAMETERS", parameters),
    left("DESCRIPTION", |row| row.text("description")),
];

const KEYS: &[&str] = &["name", "for", "type", "app", "description"];

impl RuleActions {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None => list(context, &Filter::default()),
            Some(Command::List(filter)) => list(context, filter),
            Some(Command::Show { name }) => {
                let path = Path::new("actions").join(name);
                show(context, &path, ("action", name), &|row| with_parameters(row, KEYS), &line)
            }
        }
    }
}

/// The API filters by one of both.
fn list(context: &mut Context, filter: &Filter) -> Result<()> {
    let path = match (&filter.hook, &filter.kind) {
        (Some(hook), _) => Path::new("actions").query("for", hook),
        (None, Some(kind)) => Path::new("resource_types").join(kind).join("actions"),
        (None, None) => Path::new("actions"),
    };
    let (mut data, mut rows) = context.rows(&path, "")?;
    if let (Some(_), Some(kind)) = (&filter.hook, &filter.kind) {
        rows.retain(|row| row.raw("type") == *kind);
        let kept: Vec<Value> = rows.iter().map(Row::to_value).collect();
        data = Some(serde_json::value::to_raw_value(&kept)?);
    }
    let listing = Listing { columns: COLUMNS, what: "actions", emqx: &line };
    context.printer.rows(data.as_deref(), &rows, &listing)
}

/// The line of emqx_ctl.
fn line(row: &Row) -> String {
    format!(
        "action(name='{}', app='{}', for='{}', type='{}', params={}, description='{}')",
        row.raw("name"),
        row.raw("app"),
        row.raw("for"),
        row.raw("type"),
        term(row.value("params").unwrap_or(&Value::Null), Keys::Atoms),
        row.raw("description"),
    )
}

/// Names of the parameters, those that must be there with a star.
fn parameters(row: &Row) -> String {
    let names = specs(row).map(|(name, spec)| {
        let is_required = spec.get("required").and_then(Value::as_bool) == Some(true);
        format!("{name}{}", if is_required { "*" } else { "" })
    });
    names.collect::<Vec<_>>().join(" ")
}

/// The values of these keys, and what each parameter may be.
pub(super) fn with_parameters<'a>(row: &'a Row, keys: &'a [&str]) -> Vec<(&'a str, String)> {
    let mut pairs: Vec<(&str, String)> = keys.iter().map(|key| (*key, row.text(key))).collect();
    pairs.extend(specs(row).map(|(name, spec)| (name.as_str(), in_words(spec))));
    pairs
}

fn specs(row: &Row) -> impl Iterator<Item = (&String, &Value)> {
    row.value("params").and_then(Value::as_object).into_iter().flatten()
}

/// `string, default "POST", one of ["PUT","POST"]: Request Method`
fn in_words(spec: &Value) -> String {
    let get = |key: &str| spec.get(key).filter(|value| !value.is_null());
    let mut words = get("type").map(plain).unwrap_or_default();
    if get("required").and_then(Value::as_bool) == Some(true) {
        words += ", required";
    }
    for (key, before) in
        [("default", "default "), ("enum", "one of "), ("range", "in "), ("format", "a ")]
    {
        if let Some(value) = get(key) {
            let value = if key == "format" { plain(value) } else { value.to_string() };
            words += &format!(", {before}{value}");
        }
    }
    format!("{words}: {}", get("description").map(plain).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_said_in_words() {
        let params = json!({
            "method": {"type": "string", "required": false, "default": "POST", "enum": ["PUT", "POST"],
                       "title": "t", "description": "Request Method"},
            "url": {"type": "string", "required": true, "format": "url", "description": "Request URL"},
        });
        let row = Row::of(&json!({"name": "w", "params": params})).unwrap();
        assert_eq!(parameters(&row), "method url*");
        let pairs = with_parameters(&row, &["name"]);
        let expected = [
            ("name", "w".to_owned()),
            (
                "method",
                "string, default \"POST\", one of [\"PUT\",\"POST\"]: Request Method".to_owned(),
            ),
            ("url", "string, required, a url: Request URL".to_owned()),
        ];
        assert_eq!(pairs, expected);
    }
}
