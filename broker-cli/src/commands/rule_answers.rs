//! What rules, actions and resources have in common: how the broker refuses them, and how emqx_ctl tells that.

use anyhow::Result;
use serde_json::Value;

use super::context::{Context, parse_rows};
use crate::api::{Answer, ApiError, Path};
use crate::output::Usage;
use crate::row::Row;

/// Shows the thing of a path; `kind` and `id` say what is not there.
pub(super) fn show(
    context: &mut Context,
    path: &Path,
    (kind, id): (&str, &str),
    pairs: &dyn for<'a> Fn(&'a Row) -> Vec<(&'a str, String)>,
    emqx: &dyn Fn(&Row) -> String,
) -> Result<()> {
    let data = match context.api.get(path) {
        Ok(answer) => answer.data,
        Err(error) => return Err(missing(context, error, (kind, id))),
    };
    let rows = data.as_deref().map(parse_rows).unwrap_or_default();
    let row = rows.into_iter().next().unwrap_or_default();
    context.printer.pairs(data.as_deref(), &pairs(&row), || vec![emqx(&row)])
}

/// Fails if there is no such thing: the API deletes that without a word, as emqx_ctl does.
pub(super) fn must_be_there(context: &mut Context, path: &Path, named: (&str, &str)) -> Result<()> {
    if context.printer.is_emqx() {
        return Ok(());
    }
    match context.api.get(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(missing(context, error, named)),
    }
}

/// Why something was not found, or what else went wrong.
pub(super) fn missing(
    context: &mut Context,
    error: ApiError,
    (kind, id): (&str, &str),
) -> anyhow::Error {
    let is_missing = matches!(&error, ApiError::Refused { code: 404, message } if message.ends_with("Not Found"));
    if is_missing {
        let error = ApiError::NotFound(format!("no {kind} '{id}'"));
        return context.printer.failed(error.into(), &format!("Cannot found {id}"));
    }
    context.printer.refused(error, |why| format!("Invalid options: {}", reason(why)))
}

/// Says what was made; `kind` begins the line of emqx_ctl.
pub(super) fn created(
    context: &mut Context,
    answer: Result<Answer, ApiError>,
    kind: &str,
) -> Result<()> {
    let data = match answer {
        Ok(answer) => answer.data,
        Err(error) => {
            let line = |why: &str| format!("Invalid options: {}", reason(why));
            return Err(context.printer.refused(error, line));
        }
    };
    let rows = data.as_deref().map(parse_rows).unwrap_or_default();
    let id = rows.first().map(|row| row.raw("id")).unwrap_or_default();
    let emqx = format!("{kind} {id} created");
    context.printer.done(data.as_deref(), &format!("created '{id}'"), &emqx)
}

/// What of a refusal emqx_ctl says.
pub(super) fn reason(why: &str) -> &str {
    why.strip_prefix("Bad Arguments: ").unwrap_or(why)
}

/// JSON of an argument.
pub(super) fn parse(context: &mut Context, text: &str, what: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        let error = format!("{what} is not JSON: {error}");
        let line = format!("Invalid options: {error}");
        context.printer.failed(Usage(error).into(), &line)
    })
}
