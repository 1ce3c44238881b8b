//! Calls as text, for tests. The event they see is always the same.

use std::sync::Arc;

use bytes::Bytes;

use crate::compiler;
use crate::error::RowError;
use crate::functions::{Env, KvStore, Patterns, find};
use crate::limits::Limits;
use crate::row::{Row, under_any_name};
use crate::select::Selected;
use crate::sql;
use crate::sql::ast::{Body, Expr, ExprKind, Field};
use crate::value::{Map, Value, json};

/// The event of the examples.
pub(in crate::functions) struct Sample;

/// The columns of the event, as JSON.
pub(in crate::functions) const COLUMNS: &str = r#"{"clientid":"c1","flags":{"dup":false,"retain":true},"id":"0005F8","payload":"{\"a\":{\"b\":1}}","peername":"127.0.0.1:5000","qos":1,"topic":"t/a//b","username":"u1"}"#;
/// The clock of the examples.
pub(in crate::functions) const WALL_NS: i64 = 1_700_000_000_123_456_789;

impl Row for Sample {
    fn column(&self, name: &str) -> Value {
        under_any_name(name, |name| self.all().get(name).cloned().unwrap_or_default())
    }

    fn decoded_payload(&self) -> Option<&Value> {
        static PAYLOAD: std::sync::LazyLock<Option<Value>> =
            std::sync::LazyLock::new(|| decode("{\"a\":{\"b\":1}}"));
        PAYLOAD.as_ref()
    }

    fn all(&self) -> Map {
        match decode(COLUMNS) {
            Some(Value::Map(map)) => (*map).clone(),
            _ => panic!("the columns are JSON"),
        }
    }
}

fn decode(text: &str) -> Option<Value> {
    json::decode(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
}

/// Does something with an environment of its own.
pub(in crate::functions) fn in_env<T>(act: impl FnOnce(&Env<'_>) -> T) -> T {
    within(&Limits::default(), act)
}

pub(in crate::functions) fn within<T>(limits: &Limits, act: impl FnOnce(&Env<'_>) -> T) -> T {
    let random = |bytes: &mut [u8]| bytes.fill(0xa7);
    let (store, patterns) = (KvStore::default(), Patterns::default());
    act(&Env::new(limits, WALL_NS, &random, &store, &patterns))
}

/// What a call gives in a statement, as examples show it.
pub(in crate::functions) fn run(call: &str) -> String {
    let compile = compiler(Arc::default(), Box::new(|bytes| bytes.fill(0xa7)));
    let statement = match compile(&format!("SELECT {call} AS x FROM t")) {
        Ok(statement) => statement,
        // What a rule is refused for is an error of the call too.
        Err(error) => return error.replace("line 1, column 8: ", "error: "),
    };
    match statement.apply(&Sample, WALL_NS) {
        Ok(Selected::Row(row)) => shown(row.get("x").unwrap_or(&Value::Undefined)),
        Ok(other) => panic!("{call}: {other:?}"),
        Err(RowError(cause)) => cause.replace("SELECT, field 1: ", "error: "),
    }
}

/// What a call gives where nothing of it is known before, with an environment that remembers.
pub(in crate::functions) fn run_in(env: &Env<'_>, call: &str) -> String {
    let limits = Limits { max_sql_bytes: usize::MAX, ..Limits::default() };
    let sql = format!("SELECT {call} FROM t");
    let statement = sql::parse(&sql, &limits).unwrap_or_else(|error| panic!("{call}: {error}"));
    let Body::Select(fields) = &statement.body else { panic!("{call}") };
    let [Field::Value { expr, .. }] = &fields[..] else { panic!("{call} is not one call") };
    match evaluate(expr, env) {
        Ok(value) => shown(&value),
        Err(RowError(cause)) => format!("error: {cause}"),
    }
}

fn evaluate(expr: &Expr, env: &Env<'_>) -> Result<Value, RowError> {
    Ok(match &expr.kind {
        ExprKind::Integer(integer) => Value::Int(*integer),
        ExprKind::String(text) => Value::text(text),
        ExprKind::Call { name, arguments } => {
            let function = find(name).unwrap_or_else(|| panic!("no function {name}"));
            assert!(function.arity.contains(&arguments.len()), "{name}: {arguments:?}");
            let args: Result<Vec<_>, _> = arguments.iter().map(|arg| evaluate(arg, env)).collect();
            function.apply(&mut args?, &Sample, env)?
        }
        other => panic!("{other:?} is neither a call nor a constant"),
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Undefined => "undefined".to_owned(),
        value => String::from_utf8(json::encode(value, usize::MAX).unwrap()).unwrap(),
    }
}
