//! Values as text, and JSON as values.

use bytes::Bytes;
use serde_json::Value as Json;

use crate::value::{Map, Value};

/// Appends a value as a template shows it: strings as they are, all else as JSON.
pub(crate) fn append(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Str(bytes) => out.extend_from_slice(bytes),
        Value::Undefined => out.extend_from_slice(b"undefined"),
        other => out.extend_from_slice(to_json(other).to_string().as_bytes()),
    }
}

/// A map as JSON.
pub(crate) fn json_of_map(map: &Map) -> String {
    map_to_json(map).to_string()
}

/// Reads JSON; `None` if it is none.
pub(crate) fn decode(bytes: &Bytes) -> Option<Value> {
    serde_json::from_slice(bytes).ok().map(from_json)
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
