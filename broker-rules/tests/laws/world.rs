//! One event, and what a statement makes of it.

use std::cell::OnceCell;
use std::sync::Arc;

use broker_rules::{Limits, Map, Row, RowError, Selected, Value, compiler};
use bytes::Bytes;

/// Columns, and a payload that is decoded when it is asked for.
#[derive(Debug)]
pub struct Event {
    columns: Map,
    decoded: OnceCell<Option<Value>>,
}

impl Event {
    /// `columns` are an object.
    pub fn new(columns: String, payload: Option<String>) -> Self {
        let decoded = Value::from_json(&Bytes::from(columns), &Limits::default());
        let Some(Value::Map(columns)) = decoded else { panic!("an object") };
        let mut columns = Map::clone(&columns);
        if let Some(payload) = payload {
            columns.insert("payload".into(), Value::Str(payload.into()));
        }
        Self { columns, decoded: OnceCell::new() }
    }
}

impl Row for Event {
    fn column(&self, name: &str) -> Value {
        self.columns.get(name).cloned().unwrap_or_default()
    }

    fn decoded_payload(&self) -> Option<&Value> {
        let Value::Str(payload) = self.columns.get("payload")? else { return None };
        self.decoded.get_or_init(|| Value::from_json(payload, &small_limits())).as_ref()
    }

    fn all(&self) -> Map {
        self.columns.clone()
    }
}

/// What comes of a statement.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// Each as JSON.
    Rows(Vec<String>),
    Nothing,
    Error(String),
    Refused(String),
}

/// Limits that a statement of a few lines can reach.
pub fn small_limits() -> Limits {
    Limits {
        max_value_bytes: 2000,
        max_array_items: 200,
        max_output_bytes: 8000,
        max_foreach_items: 20,
        max_steps: 5000,
        json_max_depth: 16,
        json_max_bytes: 4000,
        ..Limits::default()
    }
}

pub fn within(limits: &Limits, sql: &str, event: &Event) -> Got {
    let random = Box::new(|bytes: &mut [u8]| bytes.fill(0x5A));
    let select = match compiler(Arc::new(limits.clone()), random)(sql) {
        Ok(select) => select,
        Err(cause) => return Got::Refused(cause),
    };
    match select.apply(event, WALL_NS) {
        Ok(Selected::Nothing) => Got::Nothing,
        Ok(Selected::Row(row)) => Got::Rows(vec![json(row)]),
        Ok(Selected::Rows(rows)) => Got::Rows(rows.into_iter().map(json).collect()),
        Err(RowError(cause)) => Got::Error(cause),
    }
}

/// The same, with room for as much work as it may be: two ways to the same result may not take the same steps.
pub fn roomy_limits() -> Limits {
    Limits { max_steps: 1_000_000, max_output_bytes: 1 << 20, ..small_limits() }
}

/// What an expression gives, as the column `x`.
pub fn value_of(expression: &str, event: &Event) -> Got {
    within(&roomy_limits(), &format!("SELECT {expression} AS x FROM t"), event)
}

fn json(row: Map) -> String {
    let json = Value::Map(row.into()).to_json(usize::MAX).unwrap();
    String::from_utf8(json).unwrap()
}

const WALL_NS: i64 = 1_700_000_000_123_456_789;
