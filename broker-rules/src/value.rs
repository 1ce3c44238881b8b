//! Values: what columns, constants and results of functions are.

pub(crate) mod arithmetic;
pub(crate) mod compare;
#[cfg(test)]
pub(crate) mod generated;
pub(crate) mod json;
pub(crate) mod text;

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::RowError;
use crate::limits::Limits;

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

    /// Decodes a JSON text; `None` if it is none, or beyond the limits. Strings without escapes are slices of it.
    #[must_use]
    pub fn from_json(text: &Bytes, limits: &Limits) -> Option<Self> {
        json::decode(text, limits)
    }

    /// The value as JSON: keys in their order, no blanks, U+FFFD for what is not UTF-8.
    ///
    /// # Errors
    /// It has more than `max` bytes.
    pub fn to_json(&self, max: usize) -> Result<Vec<u8>, RowError> {
        json::encode(self, max)
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

    /// The value of a key. What it is changed to is not undefined.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&mut self.0[at].1)
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
    pub fn from_entries(entries: Vec<(Arc<str>, Value)>) -> Self {
        let mut building = Building::default();
        for (key, value) in entries {
            if !matches!(value, Value::Undefined) {
                *building.place(key) = value;
            }
        }
        building.done()
    }

    /// A map of entries in the order of their keys, each of which comes once, and none of which is undefined.
    pub(crate) fn from_sorted(entries: Vec<(Arc<str>, Value)>) -> Self {
        debug_assert!(entries.is_sorted_by(|(a, _), (b, _)| a < b), "keys out of order");
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

/// A map that is being made of many entries: a few are inserted one by one, more are sorted at the end, for
/// inserting each takes time with the square of their number.
#[derive(Default)]
pub(crate) struct Building {
    entries: Vec<(Arc<str>, Value)>,
    /// The first bytes of the first keys, as numbers: most keys differ there, and these are compared at once.
    heads: [u64; Self::FEW],
}

impl Building {
    const FEW: usize = 24;

    /// Where the value of a key goes. What is put there is not undefined.
    ///
    /// A place rather than an argument: a value that is made where it stays need not be moved.
    pub(crate) fn place(&mut self, key: Arc<str>) -> &mut Value {
        let entries = &mut self.entries;
        let len = entries.len();
        if len == 0 {
            entries.reserve(8);
        }
        let mut at = len;
        if let Some(heads) = self.heads.get_mut(..=len) {
            let head = head(&key);
            at = heads[..len].iter().filter(|known| **known < head).count();
            while at < len && heads[at] == head {
                match entries[at].0.cmp(&key) {
                    Ordering::Less => at += 1,
                    Ordering::Equal => return &mut entries[at].1,
                    Ordering::Greater => break,
                }
            }
            heads.copy_within(at..len, at + 1);
            heads[at] = head;
        }
        entries.insert(at, (key, Value::Undefined));
        &mut entries[at].1
    }

    pub(crate) fn done(self) -> Map {
        let mut entries = self.entries;
        if entries.len() > Self::FEW {
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
        Map(entries)
    }
}

/// The first bytes of a key, which are ordered as the key is.
fn head(key: &str) -> u64 {
    let bytes = key.as_bytes();
    if let Some(head) = bytes.first_chunk() {
        return u64::from_be_bytes(*head);
    }
    let joined = bytes.iter().fold(0, |joined, byte| joined << 8 | u64::from(*byte));
    // Nothing is left to shift out of an empty key.
    joined.checked_shl(64 - 8 * bytes.len() as u32).unwrap_or_default()
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
