//! `rules`: what the rule engine does, tried and counted; the functions and events of its statements.

mod functions;
mod shown;

use std::io::Read as _;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::context::{Context, id, parse_rows};
use super::rule_answers::{created, missing, must_be_there, parse, show};
use crate::api::{ApiError, Path};
use crate::output::{self, Usage};
use crate::printer::Listing;
use crate::row::Row;
use shown::{COLUMNS, COUNTS, EVENTS};

/// Show the rules; make, change, switch, try or delete one
#[derive(Debug, Args)]
pub(crate) struct Rules {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the rules
    List,
    /// Show a rule
    Show(RuleId),
    /// Make a rule
    Create(Create),
    /// Change a rule; what is not given stays, and its counters begin anew
    Update(Update),
    /// Put a rule into force
    Enable(RuleId),
    /// Take a rule out of force
    Disable(RuleId),
    /// Delete a rule
    Delete(RuleId),
    /// Try a statement on columns that are made up; no action runs
    Test(Test),
    /// Show what rules and their actions have done
    Metrics {
        /// Of this rule only
        #[arg(value_name = "RULE_ID", value_parser = id())]
        id: Option<String>,
    },
    /// List the functions of statements, those of a group, or show one; asks no broker
    Functions {
        /// A function, or the beginning of a group's title: strings
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// List what rules can be about
    Events {
        /// Show this one, with its columns
        #[arg(value_name = "EVENT")]
        event: Option<String>,
    },
}

#[derive(Debug, Args)]
struct RuleId {
    #[arg(value_name = "RULE_ID", value_parser = id())]
    id: String,
}

#[derive(Debug, Args)]
struct Create {
    /// Name, which others may have too
    name: String,
    /// The event it is about, such as message.publish; - if FROM says that
    #[arg(value_name = "EVENT")]
    hook: String,
    /// The statement, - for stdin
    sql: String,
    /// A JSON array of {"name": …, "params": {…}}
    actions: String,
    #[command(flatten)]
    terms: Terms,
    /// Do not put it into force
    #[arg(long)]
    disabled: bool,
}

#[derive(Debug, Args)]
struct Update {
    #[command(flatten)]
    rule: RuleId,
    /// Another statement, - for stdin
    #[arg(long)]
    sql: Option<String>,
    /// Other actions, a JSON array of {"name": …, "params": {…}}
    #[arg(long, value_name = "JSON")]
    actions: Option<String>,
    #[command(flatten)]
    terms: Terms,
}

#[derive(Debug, Args)]
struct Terms {
    /// What it is for
    #[arg(short, long, value_name = "TEXT")]
    descr: Option<String>,
    /// What becomes of the actions behind one that has failed
    #[arg(long, value_enum)]
    on_action_failed: Option<OnActionFailed>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnActionFailed {
    Continue,
    Stop,
}

#[derive(Debug, Args)]
struct Test {
    /// The statement, - for stdin
    sql: String,
    /// The columns: a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    ctx: String,
    /// The event it is about, if FROM does not say that
    #[arg(long = "for", value_name = "EVENT")]
    hook: Option<String>,
}

impl Rules {
    pub(crate) fn run(&self, context: &mut Context) -> Result<()> {
        match &self.command {
            None | Some(Command::List) => {
                let (data, rows) = context.rows(&rules(), "")?;
                let listing = Listing { columns: COLUMNS, what: "rules", emqx: &shown::line };
                context.printer.rows(data.as_deref(), &rows, &listing)
            }
            Some(Command::Show(RuleId { id })) => {
                show(context, &rules().join(id), ("rule", id), &shown::pairs, &shown::line)
            }
            Some(Command::Create(create)) => create.run(context),
            Some(Command::Update(update)) => update.run(context),
            Some(Command::Enable(RuleId { id })) => switch(context, id, true),
            Some(Command::Disable(RuleId { id })) => switch(context, id, false),
            Some(Command::Delete(RuleId { id })) => {
                must_be_there(context, &rules().join(id), ("rule", id))?;
                context.api.delete(&rules().join(id))?;
                context.printer.done(None, &format!("deleted '{id}'"), "ok")
            }
            Some(Command::Test(test)) => test.run(context),
            Some(Command::Metrics { id }) => metrics(context, id.as_deref()),
            Some(Command::Functions { name }) => functions::run(context, name.as_deref()),
            Some(Command::Events { event }) => events(context, event.as_deref()),
        }
    }
}

impl Create {
    fn run(&self, context: &mut Context) -> Result<()> {
        let actions = parse(context, &self.actions, "the list of actions")?;
        let mut body = json!({ "name": self.name, "actions": actions });
        body["rawsql"] = given_or_stdin(&self.sql)?.into();
        if self.hook != "-" {
            body["for"] = self.hook.as_str().into();
        }
        if self.disabled {
            body["enabled"] = false.into();
        }
        self.terms.put_into(&mut body);
        let answer = context.api.post(&rules(), &body);
        created(context, answer, "Rule")
    }
}

impl Update {
    fn run(&self, context: &mut Context) -> Result<()> {
        let mut body = json!({});
        if let Some(sql) = &self.sql {
            body["rawsql"] = given_or_stdin(sql)?.into();
        }
        if let Some(actions) = &self.actions {
            body["actions"] = parse(context, actions, "--actions")?;
        }
        self.terms.put_into(&mut body);
        if body.as_object().is_none_or(Map::is_empty) {
            let what = "nothing to change: --sql, --actions, --descr, --on-action-failed";
            return Err(Usage(what.to_owned()).into());
        }
        change(context, &self.rule.id, &body, "changed")
    }
}

impl Terms {
    fn put_into(&self, body: &mut Value) {
        if let Some(descr) = &self.descr {
            body["description"] = descr.as_str().into();
        }
        if let Some(then) = self.on_action_failed {
            body["on_action_failed"] = match then {
                OnActionFailed::Continue => "continue",
                OnActionFailed::Stop => "stop",
            }
            .into();
        }
    }
}

impl Test {
    fn run(&self, context: &mut Context) -> Result<()> {
        let mut body = json!({ "rawsql": given_or_stdin(&self.sql)? });
        body["ctx"] = parse(context, &self.ctx, "--ctx")?;
        if let Some(hook) = &self.hook {
            body["for"] = hook.as_str().into();
        }
        let data = context.api.post(&Path::new("rule_test"), &body)?.data;
        // The API says null of what does not match, and an array of FOREACH.
        let Some(data) = data else {
            if context.printer.is_json() {
                return context.printer.value(&Value::Null);
            }
            output::note("it does not match");
            return Ok(());
        };
        if context.printer.is_json() {
            return context.printer.done(Some(&data), "", "");
        }
        match serde_json::from_str(data.get())? {
            Value::Array(rows) if rows.is_empty() => {
                output::note("it matches, and selects no element");
                Ok(())
            }
            Value::Array(rows) => {
                rows.iter().try_for_each(|row| context.printer.line(&row.to_string()))
            }
            row => context.printer.line(&row.to_string()),
        }
    }
}

fn rules() -> Path {
    Path::new("rules")
}

fn switch(context: &mut Context, id: &str, is_on: bool) -> Result<()> {
    let done = if is_on { "enabled" } else { "disabled" };
    change(context, id, &json!({ "enabled": is_on }), done)
}

fn change(context: &mut Context, id: &str, body: &Value, done: &str) -> Result<()> {
    match context.api.put(&rules().join(id), body) {
        Ok(answer) => context.printer.done(answer.data.as_deref(), &format!("{done} '{id}'"), "ok"),
        Err(error) => Err(missing(context, error, ("rule", id))),
    }
}

fn metrics(context: &mut Context, id: Option<&str>) -> Result<()> {
    let path = id.map_or_else(rules, |id| rules().join(id));
    let data = match (context.api.get(&path), id) {
        (Ok(answer), _) => answer.data,
        (Err(error), Some(id)) => return Err(missing(context, error, ("rule", id))),
        (Err(error), None) => return Err(error.into()),
    };
    let rows = data.as_deref().map(parse_rows).unwrap_or_default();
    let counts: Vec<Row> = rows.iter().flat_map(shown::counts).collect();
    let listing = Listing { columns: COUNTS, what: "rules", emqx: &shown::count_line };
    context.printer.rows(data.as_deref(), &counts, &listing)
}

fn events(context: &mut Context, event: Option<&str>) -> Result<()> {
    let (data, rows) = context.rows(&Path::new("rule_events"), "")?;
    let Some(event) = event else {
        let emqx = |row: &Row| row.raw("event");
        let listing = Listing { columns: EVENTS, what: "events", emqx: &emqx };
        return context.printer.rows(data.as_deref(), &rows, &listing);
    };
    let Some(row) = rows.iter().find(|row| row.raw("event") == event) else {
        let what = format!("no event '{event}'; 'broker-cli rules events' lists them");
        return Err(ApiError::NotFound(what).into());
    };
    if context.printer.is_json() {
        return context.printer.value(&row.to_value());
    }
    let pairs = shown::event(row);
    let lines = || pairs.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    context.printer.pairs(None, &pairs, lines)
}

fn given_or_stdin(sql: &str) -> Result<String> {
    if sql != "-" {
        return Ok(sql.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().take(SQL_BYTES_MAX).read_to_string(&mut text).context("cannot read stdin")?;
    Ok(text)
}

/// More than any broker takes.
const SQL_BYTES_MAX: u64 = 1 << 20;
