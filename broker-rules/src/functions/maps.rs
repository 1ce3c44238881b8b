//! Maps: read, written, and taken apart.

use std::sync::Arc;

use super::{Call, Env, Function};
use crate::error::RowError;
use crate::path;
use crate::value::{Map, Value};

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f("map_new", 0..=0, "map_new()", "An empty map.", &[("map_new()", "{}")], |_| {
            Ok(Value::Map(Map::default().into()))
        }),
        f(
            "map_get",
            2..=3,
            "map_get(key, m[, default])",
            "What a map, or a string that is a JSON object, has at `key`: a path of keys with dots between them. Without it `default`, or undefined.",
            &[
                ("map_get('a.b', '{\"a\":{\"b\":1}}')", "1"),
                ("map_get('x', map_new(), 7)", "7"),
                ("map_get('x', map_new())", "undefined"),
            ],
            |c| get(c, Dots::Separate),
        ),
        f(
            "map_put",
            3..=3,
            "map_put(key, v, m)",
            "The map with a value put at `key`, a path of keys with dots between them; maps are made on the way.",
            &[("map_put('a.b', 1, map_new())", "{\"a\":{\"b\":1}}")],
            |c| put(c, Dots::Separate),
        ),
        f(
            "mget",
            2..=3,
            "mget(key, m[, default])",
            "As `map_get`, but `key` is one key, with dots or without.",
            &[("mget('a.b', '{\"a.b\":1}')", "1")],
            |c| get(c, Dots::Plain),
        ),
        f(
            "mput",
            3..=3,
            "mput(key, v, m)",
            "As `map_put`, but `key` is one key, with dots or without.",
            &[("mput('a.b', 1, map_new())", "{\"a.b\":1}")],
            |c| put(c, Dots::Plain),
        ),
        f(
            "map_keys",
            1..=1,
            "map_keys(m)",
            "The keys, in their order.",
            &[("map_keys(map('{\"b\":1,\"a\":2}'))", "[\"a\",\"b\"]")],
            |c| each(c, |key, _| Value::text(key)),
        ),
        f(
            "map_values",
            1..=1,
            "map_values(m)",
            "The values, in the order of their keys.",
            &[("map_values(map('{\"b\":1,\"a\":2}'))", "[2,1]")],
            |c| each(c, |_, value| value.clone()),
        ),
        f(
            "map_size",
            1..=1,
            "map_size(m)",
            "How many keys there are.",
            &[("map_size(map('{\"b\":1,\"a\":2}'))", "2")],
            size,
        ),
        f(
            "map_to_entries",
            1..=1,
            "map_to_entries(m)",
            "An array of maps with `key` and `value`, in the order of the keys.",
            &[("map_to_entries(map('{\"a\":1}'))", "[{\"key\":\"a\",\"value\":1}]")],
            |c| each(c, entry),
        ),
    ]
}

/// What dots in a key are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dots {
    Separate,
    Plain,
}

/// What is at the end of a path of keys. A string on the way is tried as JSON.
pub(super) fn walk(value: &Value, path: &str, env: &Env<'_>) -> Value {
    path::follow(value, path.split('.'), |text| env.decode_json(text)).into_owned()
}

/// Argument `at` as a map: one, or a string that is a JSON object.
fn map_of(call: &Call<'_>, at: usize) -> Result<Arc<Map>, RowError> {
    let decoded = match call.arg(at) {
        Value::Map(map) => return Ok(map.clone()),
        Value::Str(text) => call.env.decode_json(text),
        _ => return Err(call.unexpected(at, "a map")),
    };
    match decoded {
        Some(Value::Map(map)) => Ok(map),
        _ => Err(RowError::new(format!("argument {}: expected a JSON object", at + 1))),
    }
}

fn get(call: &mut Call<'_>, dots: Dots) -> Result<Value, RowError> {
    let (key, map) = (call.utf8(0)?, map_of(call, 1)?);
    let found = match dots {
        Dots::Plain => map.get(key).cloned().unwrap_or_default(),
        Dots::Separate => walk(&Value::Map(map), key, call.env),
    };
    Ok(if let Value::Undefined = found { call.take(2) } else { found })
}

fn put(call: &mut Call<'_>, dots: Dots) -> Result<Value, RowError> {
    let (key, map) = (call.utf8(0)?, map_of(call, 2)?);
    call.env.charge_steps(map.len() as u64 / 16)?;
    let value = call.arg(1).clone();
    let levels = if dots == Dots::Separate { key.split('.').count() } else { 1 };
    let left = call.env.limits.json_max_depth.checked_sub(levels).ok_or_else(Env::too_deep)?;
    call.env.check_depth(&value, left)?;
    if let Value::Undefined = value {
        return Ok(Value::Map(map));
    }
    let map = match dots {
        Dots::Plain => with(map, key, value),
        Dots::Separate => with_path(map, key, value),
    };
    Ok(Value::Map(map))
}

fn with(mut map: Arc<Map>, key: &str, value: Value) -> Arc<Map> {
    Arc::make_mut(&mut map).insert(key.into(), value);
    map
}

/// No deeper than a value may be, which the caller has checked.
fn with_path(map: Arc<Map>, path: &str, value: Value) -> Arc<Map> {
    let Some((key, rest)) = path.split_once('.') else { return with(map, path, value) };
    let inner = match map.get(key) {
        Some(Value::Map(inner)) => inner.clone(),
        _ => Arc::default(),
    };
    with(map, key, Value::Map(with_path(inner, rest, value)))
}

fn each(call: &mut Call<'_>, item: fn(&Arc<str>, &Value) -> Value) -> Result<Value, RowError> {
    let map = map_of(call, 0)?;
    call.check_items(map.len())?;
    call.env.charge_steps(map.len() as u64)?;
    let items = map.iter().map(|(key, value)| item(key, value)).collect();
    let items = call.new_array(items)?;
    call.env.check_depth(&items, call.env.limits.json_max_depth)?;
    Ok(items)
}

fn entry(key: &Arc<str>, value: &Value) -> Value {
    let entry = vec![("key".into(), Value::text(key)), ("value".into(), value.clone())];
    Value::Map(Map::from_entries(entry).into())
}

fn size(call: &mut Call<'_>) -> Result<Value, RowError> {
    Ok(Value::Int(i64::try_from(map_of(call, 0)?.len()).unwrap_or(i64::MAX)))
}
