//! `rules`: rules of the rule engine. Refusals have HTTP status 200 and a code of HTTP, as in the original.

use std::time::SystemTime;

use serde_json::{Map, Value};

use super::rule_shapes::{ChangedRule, NewRule, Rule};
use super::{Api, rule_test};
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, delete, get, post, put};
use crate::saving;
use broker_rules::engine::{EngineError, RuleChange, RuleSpec};

pub(crate) const ROUTES: &[Route] = &[
    post("create_rule", "/rules/", "Create a rule", create)
        .of_plugin(PLUGIN)
        .waits()
        .asks(&[("test", "`true`: tries `rawsql` on the columns `ctx` and creates nothing.")])
        .takes::<NewRule>()
        .answers::<Rule>(),
    get("list_rules", "/rules/", "A list of all rules", |api, _| Reply::data(api.rules.rules()))
        .of_plugin(PLUGIN)
        .lists::<Rule>(),
    get("show_rule", "/rules/:id", "Show a rule", |api, request| show(api, request.segment("id")))
        .of_plugin(PLUGIN)
        .answers::<Rule>(),
    put("update_rule", "/rules/:id", "Change a rule; its counters begin anew", change)
        .of_plugin(PLUGIN)
        .unlisted()
        .takes::<ChangedRule>()
        .answers::<Rule>(),
    delete("delete_rule", "/rules/:id", "Delete a rule", remove).of_plugin(PLUGIN),
];

fn create(api: &Api, request: &Request) -> Answer {
    let body: Map<String, Value> = request.body()?;
    if is_test(request, &body) {
        let matched = rule_test::run(api, body)?;
        return match matched {
            Some(selected) => Reply::data(selected),
            None => Err(ApiError::new(Code::NotFound, "SQL Not Match")),
        };
    }
    let (id, saved) = api.rules.create_rule(RuleSpec::from_json(&body)?, now_ns())?;
    saving::wait(&api.broker, saved)?;
    show(api, &id)
}

fn change(api: &Api, request: &Request) -> Answer {
    let body: Map<String, Value> = request.body()?;
    let id = request.segment("id");
    let saved = api.rules.change_rule(id, RuleChange::from_json(&body)?)?;
    saving::wait(&api.broker, saved)?;
    show(api, id)
}

fn remove(api: &Api, request: &Request) -> Answer {
    // One that is not there is as good as deleted.
    if let Some(saved) = api.rules.delete_rule(request.segment("id")) {
        saving::wait(&api.broker, saved)?;
    }
    Reply::ok()
}

fn show(api: &Api, id: &str) -> Answer {
    Reply::data(api.rules.rule(id).ok_or_else(not_found)?)
}

/// Whether something is to be tried and not to be kept: said in the query, or beside the rest.
pub(super) fn is_test(request: &Request, body: &Map<String, Value>) -> bool {
    request.query("test") == Some("true")
        || body.get("test").is_some_and(|test| *test == true || *test == "true")
}

pub(super) fn not_found() -> ApiError {
    ApiError::new(Code::NotFound, "Not Found")
}

/// Nanoseconds since the Unix epoch, of which identifiers are made.
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let code = if error.code() == 404 { Code::NotFound } else { Code::BadArguments };
        Self::new(code, error)
    }
}

/// Without it none of the paths of rules leads anywhere, as in the original.
pub(super) const PLUGIN: &str = "emqx_rule_engine";
