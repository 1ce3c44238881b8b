//! Row: one JSON object of the API, and its values as text.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::format::Timestamp;

/// A connection, a session, an alarm: what a list has one of per line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row(Map<String, Value>);

impl Row {
    /// `None` if it is no object.
    pub(crate) fn parse(raw: &RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok().map(Self)
    }

    pub(crate) fn of(value: &Value) -> Option<Self> {
        value.as_object().cloned().map(Self)
    }

    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// For people: `-` for what is not there.
    pub(crate) fn text(&self, key: &str) -> String {
        match self.0.get(key) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::String(text)) if text == UNDEFINED => "-".to_owned(),
            Some(value) => plain(value),
        }
    }

    /// As emqx_ctl has it: `undefined` for what is not there.
    pub(crate) fn raw(&self, key: &str) -> String {
        self.0.get(key).map_or_else(|| UNDEFINED.to_owned(), plain)
    }

    pub(crate) fn integer(&self, key: &str) -> Option<i64> {
        self.0.get(key).and_then(Value::as_i64)
    }

    /// Unix seconds as a time, in UTC.
    pub(crate) fn time(&self, key: &str) -> String {
        match self.0.get(key).and_then(Value::as_u64) {
            Some(seconds) => Timestamp::from_unix(seconds, 0).iso_8601(),
            None => self.text(key),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        self.0.get(key).and_then(Value::as_bool)
    }

    /// The same with another value under a key.
    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }

    pub(crate) fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// The rows of a list inside.
    pub(crate) fn rows(&self, key: &str) -> Vec<Self> {
        let list = self.0.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Self::of).collect()
    }

    /// Keys in the order of `first`, then all others.
    pub(crate) fn keys<'a>(&'a self, first: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        let known = first.iter().copied().filter(|key| self.0.contains_key(*key));
        let others = self.0.keys().map(String::as_str).filter(|key| !first.contains(key));
        known.chain(others)
    }
}

/// What the API says for what is not there.
const UNDEFINED: &str = "undefined";

/// A string without its quotes, all else as JSON.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_values_are_a_dash_for_people_and_undefined_for_scripts() {
        let row = Row::of(&json!({"a": "undefined", "b": "", "c": 1, "d": {"x": [1]}})).unwrap();
        let both = |key| (row.text(key), row.raw(key));
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(both("a"), pair("-", "undefined"));
        assert_eq!(both("gone"), pair("-", "undefined"));
        assert_eq!(both("b"), pair("", ""));
        assert_eq!(both("c"), pair("1", "1"));
        assert_eq!(both("d"), pair(r#"{"x":[1]}"#, r#"{"x":[1]}"#));
        assert_eq!(row.time("c"), "1970-01-01T00:00:01Z");
        assert_eq!(row.time("a"), "-");
        assert_eq!(row.keys(&["c", "e", "a"]).collect::<Vec<_>>(), ["c", "a", "b", "d"]);
    }
}
