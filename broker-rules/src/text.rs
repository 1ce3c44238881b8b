//! Values as templates show them, and as serde_json's for what is not on the path of a message.

use bytes::Bytes;
use serde_json::Value as Json;

use crate::limits::Limits;
use crate::value::{Map, Value, json, text};

/// A value as a template shows it.
pub(crate) fn of(value: &Value) -> Bytes {
    // Without a bound it does not fail.
    text::of(value, usize::MAX).unwrap_or_default()
}

/// Appends a value as a template shows it: strings as they are, maps and arrays as JSON.
pub(crate) fn append(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Str(bytes) => out.extend_from_slice(bytes),
        // Without a bound neither fails.
        Value::Array(_) | Value::Map(_) => json::append(value, out, usize::MAX).unwrap_or_default(),
        other => out.extend_from_slice(&of(other)),
    }
}

/// Reads JSON; `None` if it is none, or beyond the limits.
pub(crate) fn decode(bytes: &Bytes) -> Option<Value> {
    json::decode(bytes, &Limits::default())
}

/// A map as JSON.
pub(crate) fn json_of_map(map: &Map) -> String {
    let mut json = Vec::new();
    json::append_map(map, &mut json, usize::MAX).unwrap_or_default();
    String::from_utf8(json).unwrap_or_default()
}

pub(crate) fn map_to_json(map: &Map) -> Json {
    map.iter()
        .map(|(key, value)| (key.to_string(), to_json(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Undefined | Value::Null => Json::Null,
        Value::Bool(is) => (*is).into(),
        Value::Int(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Str(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Array(list) => list.iter().map(to_json).collect(),
        Value::Map(map) => map_to_json(map),
    }
}

pub(crate) fn from_json(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(is) => Value::Bool(is),
        Json::Number(number) => number
            .as_i64()
            .map(Value::Int)
            .or_else(|| number.as_f64().map(Value::Float))
            .unwrap_or_default(),
        Json::String(text) => Value::Str(text.into()),
        Json::Array(list) => {
            Value::Array(list.into_iter().map(from_json).collect::<Vec<_>>().into())
        }
        Json::Object(object) => {
            let mut map = Map::default();
            for (key, value) in object {
                map.insert(key.into(), from_json(value));
            }
            Value::Map(map.into())
        }
    }
}
