//! `rule_test`: a statement on columns that somebody has made up. Failures have an HTTP status of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Api;
use super::rule_shapes::{Selected, Trial};
use super::rules::PLUGIN;
use crate::error::{ApiError, Code};
use crate::reply::{Answer, Reply};
use crate::request::Request;
use crate::route::{Route, post};

pub(crate) const ROUTES: &[Route] =
    &[post("test_rule", "/rule_test", "Try a statement on made-up columns", attempt)
        .of_plugin(PLUGIN)
        .waits()
        .unlisted()
        .takes::<Trial>()
        .answers::<Selected>()];

fn attempt(api: &Api, request: &Request) -> Answer {
    if request.body.len() > BODY_MAX {
        let message = format!("the body has more than {BODY_MAX} bytes");
        return Err(ApiError::new(Code::TooLarge, message).with_status(413));
    }
    match run(api, request.body()?).map_err(ApiError::with_status_of_code)? {
        Some(selected) => Reply::data(selected),
        None => Reply::whole(&json!({ "code": 0, "data": null, "matched": false })),
    }
}

/// What `rawsql` selects of the columns `ctx`; `None` if it does not match.
///
/// # Errors
/// A field is wrong, the statement is not in order or does not apply, or too many are tried at once.
pub(super) fn run(api: &Api, mut body: Map<String, Value>) -> Result<Option<Value>, ApiError> {
    let bad =
        |problem: &str| ApiError::new(Code::BadArguments, format!("Bad Arguments: {problem}"));
    let rawsql = match body.remove("rawsql") {
        Some(Value::String(rawsql)) => rawsql,
        None | Some(Value::Null) => return Err(bad("missing field: rawsql")),
        Some(_) => return Err(bad("rawsql: a string is expected")),
    };
    let hook = match body.remove("for") {
        None | Some(Value::Null) => None,
        Some(Value::String(hook)) => Some(hook),
        Some(_) => return Err(bad("for: a string is expected")),
    };
    let ctx = match body.remove("ctx") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(ctx)) => ctx,
        Some(_) => return Err(bad("ctx: an object is expected")),
    };
    let place = api.trials.enter().ok_or_else(|| {
        ApiError::new(Code::TooMany, format_args!("{TRIALS_MAX} statements are being tried"))
    })?;
    let (rules, now_ms) = (Arc::clone(&api.rules), api.now().wall_ms);
    let now_ns = i64::try_from(now_ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    let (tell, told) = mpsc::sync_channel(1);
    let trial = move || {
        // Given up only when it has ended: its steps are bounded, so it will.
        let _place = place;
        let selected = rules.try_statement(hook.as_deref(), &rawsql, ctx, now_ns);
        // Nobody may be waiting any more.
        let _ = tell.send(selected);
    };
    let started = thread::Builder::new().name("rule test".into()).spawn(trial);
    started.map_err(|error| ApiError::new(Code::Unknown, error).with_status(503))?;
    match told.recv_timeout(TIME_MAX) {
        Ok(selected) => Ok(selected?),
        Err(RecvTimeoutError::Timeout) => Err(bad("SQL: it takes longer than a second")),
        Err(RecvTimeoutError::Disconnected) => {
            let message = "the statement ended its thread, which is a fault of the broker";
            Err(ApiError::new(Code::Unknown, message).with_status(500))
        }
    }
}

/// Counts the statements that are tried at the moment.
#[derive(Default)]
pub(crate) struct Trials(Arc<AtomicUsize>);

/// One of them.
struct Place(Arc<AtomicUsize>);

impl Trials {
    fn enter(&self) -> Option<Place> {
        let next = |n| (n < TRIALS_MAX).then_some(n + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(Place(Arc::clone(&self.0)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const BODY_MAX: usize = 4 << 20;
const TIME_MAX: Duration = Duration::from_secs(1);
const TRIALS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let trials = Trials::default();
        let places: Vec<_> = (0..TRIALS_MAX).map(|_| trials.enter().unwrap()).collect();
        assert!(trials.enter().is_none());
        drop(places);
        assert!(trials.enter().is_some());
    }
}
