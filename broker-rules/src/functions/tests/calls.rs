//! Calls as text, for tests: strings, numbers and calls in each other. The event they see is always the same.

use bytes::Bytes;

use crate::functions::{Env, KvStore, Patterns, find};
use crate::limits::Limits;
use crate::row::Row;
use crate::value::{Map, Value, json};

/// The event of the examples.
pub(in crate::functions) struct Sample;

/// The columns of the event, as JSON.
pub(in crate::functions) const COLUMNS: &str = r#"{"clientid":"c1","flags":{"dup":false,"retain":true},"id":"0005F8","payload":"{\"a\":{\"b\":1}}","peername":"127.0.0.1:5000","qos":1,"topic":"t/a//b","username":"u1"}"#;
/// The clock of the examples.
pub(in crate::functions) const WALL_NS: i64 = 1_700_000_000_123_456_789;

impl Row for Sample {
    fn column(&self, name: &str) -> Value {
        self.all().get(name).cloned().unwrap_or_default()
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

/// What a call gives, as examples show it.
pub(in crate::functions) fn run(call: &str) -> String {
    in_env(|env| run_in(env, call))
}

pub(in crate::functions) fn run_in(env: &Env<'_>, call: &str) -> String {
    let mut rest = call;
    match evaluate(&mut rest, env) {
        Ok(_) if !rest.is_empty() => panic!("{call}: {rest} is left"),
        Ok(Value::Undefined) => "undefined".to_owned(),
        Ok(value) => String::from_utf8(json::encode(&value, usize::MAX).unwrap()).unwrap(),
        Err(cause) => format!("error: {cause}"),
    }
}

fn evaluate(rest: &mut &str, env: &Env<'_>) -> Result<Value, String> {
    *rest = rest.trim_start();
    if let Some(text) = rest.strip_prefix('\'') {
        let end = text.find('\'').expect("a string that ends");
        *rest = &text[end + 1..];
        return Ok(Value::text(&text[..end]));
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && !"_-.".contains(c)).unwrap_or(rest.len());
    let (word, behind) = rest.split_at(end);
    *rest = behind;
    let Some(mut inner) = behind.strip_prefix('(') else {
        return Ok(decode(word).unwrap_or_else(|| panic!("{word} is no constant")));
    };
    let mut args = Vec::new();
    while !inner.trim_start().starts_with(')') {
        inner = inner.trim_start().trim_start_matches(',');
        args.push(evaluate(&mut inner, env)?);
    }
    *rest = &inner.trim_start()[1..];
    let function = find(word).unwrap_or_else(|| panic!("no function {word}"));
    assert!(function.arity.contains(&args.len()), "{word} with {} arguments", args.len());
    function.apply(&mut args, &Sample, env).map_err(|error| error.0)
}
