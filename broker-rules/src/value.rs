//! Values: what columns, constants and results of functions are.

// Operators call most of it, and they come with the statements.
#[allow(dead_code)]
pub(crate) mod arithmetic;
pub(crate) mod compare;
#[cfg(test)]
pub(crate) mod generated;
pub(crate) mod json;
pub(crate) mod text;

use std::sync::Arc;

use bytes::Bytes;

/// A value of a column, a constant, or of an expression. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value {
    /// Absence. It is never written into a row.
    #[default]
    Undefined,
    /// JSON's null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A finite float.
    Float(f64),
    /// A string: bytes, mostly UTF-8, for a payload is a string too.
    Str(Bytes),
    /// An array.
    Array(Arc<Vec<Self>>),
    /// A map.
    Map(Arc<Map>),
}

impl Value {
    /// What it is, with its article: for errors.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Str(_) => "a string",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map",
        }
    }

    /// A string, copied.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Str(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// A map from keys to values, in the order of the keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map(Vec<(Arc<str>, Value)>);

impl Map {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// Puts a value in, in place of what was there. Undefined is not kept: nothing changes then.
    pub fn insert(&mut self, key: Arc<str>, value: Value) {
        if matches!(value, Value::Undefined) {
            return;
        }
        match self.0.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// The entries of these keys.
    #[must_use]
    pub fn only(&self, keys: &[&str]) -> Self {
        let mut map = Self::default();
        for (key, value) in self.iter().filter(|(key, _)| keys.contains(&&***key)) {
            map.insert(Arc::clone(key), value.clone());
        }
        map
    }

    /// A map of entries in any order. The last of a key's values wins; what is undefined is left out.
    #[must_use]
    pub fn from_entries(mut entries: Vec<(Arc<str>, Value)>) -> Self {
        entries.retain(|(_, value)| !matches!(value, Value::Undefined));
        if !entries.is_sorted_by(|(a, _), (b, _)| a < b) {
            // Stable, so that the last of a key stays the last.
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries.dedup_by(|later, earlier| {
                let same = later.0 == earlier.0;
                if same {
                    std::mem::swap(&mut later.1, &mut earlier.1);
                }
                same
            });
        }
        Self(entries)
    }

    /// How many keys it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Value)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_in_the_order_of_its_keys_and_has_nothing_undefined() {
        let mut map = Map::default();
        for (key, value) in [("b", 1), ("a", 2), ("b", 3)] {
            map.insert(key.into(), Value::Int(value));
        }
        map.insert("c".into(), Value::Undefined);
        let entries: Vec<_> = map.iter().map(|(key, value)| (&**key, value.clone())).collect();
        assert_eq!(entries, [("a", Value::Int(2)), ("b", Value::Int(3))]);
        assert_eq!((map.get("b"), map.get("c"), map.len()), (Some(&Value::Int(3)), None, 2));
        assert!(!map.is_empty());
    }
}
