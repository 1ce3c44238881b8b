//! Trial: what a statement makes of columns that somebody has made up. No action runs.

use std::cell::OnceCell;

use broker_core::topic;
use serde_json::{Map as Object, Value as Json};

use super::fault::EngineError;
use super::{RuleEngine, run_caught};
use crate::event::{Dialect, Sources};
use crate::limits::Limits;
use crate::row::{Row, under_any_name};
use crate::select::Selected;
use crate::text;
use crate::value::{Map, Value, json};

impl RuleEngine {
    /// What a statement selects of the columns `ctx`: an object, or an array of them for FOREACH; `None` if it does
    /// not match. `now_ns` is the time since the Unix epoch in nanoseconds. FROM is held against the column `topic` if it has topic filters and names no event.
    ///
    /// # Errors
    /// The statement is not in order, or does not apply.
    pub fn try_statement(
        &self,
        hook: Option<&str>,
        rawsql: &str,
        ctx: Object<String, Json>,
        now_ns: i64,
    ) -> Result<Option<Json>, EngineError> {
        let (select, sources) = self.compile(hook, rawsql)?;
        let row = MadeUp::new(ctx, &self.options.limits);
        if !matches_topic(&sources, &row) {
            return Ok(None);
        }
        let selected = run_caught(|| select.apply(&row, now_ns));
        let selected = selected.map_err(|error| EngineError::bad(format!("SQL: {error}")))?;
        Ok(match selected {
            Selected::Nothing => None,
            Selected::Row(row) => Some(text::map_to_json(&row)),
            Selected::Rows(rows) => Some(rows.iter().map(text::map_to_json).collect()),
        })
    }
}

fn matches_topic(sources: &Sources, row: &MadeUp<'_>) -> bool {
    let name = match row.columns.get("topic") {
        Some(Value::Str(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    };
    !sources.events.is_empty()
        || sources
            .topics
            .iter()
            .any(|(filter, dialect)| *dialect == Dialect::Named || topic::matches(filter, &name))
}

/// Columns as somebody has made them up.
struct MadeUp<'a> {
    limits: &'a Limits,
    columns: Map,
    payload: OnceCell<Option<Value>>,
}

impl<'a> MadeUp<'a> {
    fn new(ctx: Object<String, Json>, limits: &'a Limits) -> Self {
        let mut columns = Map::default();
        for (name, value) in ctx {
            columns.insert(name.into(), text::from_json(value));
        }
        Self { limits, columns, payload: OnceCell::new() }
    }
}

impl Row for MadeUp<'_> {
    fn column(&self, name: &str) -> Value {
        under_any_name(name, |name| self.columns.get(name).cloned().unwrap_or_default())
    }

    fn decoded_payload(&self) -> Option<&Value> {
        match self.columns.get("payload")? {
            Value::Str(bytes) => {
                self.payload.get_or_init(|| json::decode(bytes, self.limits)).as_ref()
            }
            // It may be given decoded.
            decoded => Some(decoded),
        }
    }

    fn all(&self) -> Map {
        self.columns.clone()
    }
}
