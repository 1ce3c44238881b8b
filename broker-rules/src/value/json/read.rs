//! JSON to values, through serde_json.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::keys;
use crate::value::{Map, Value};

/// Reads a whole text with at most `depth` levels of nesting.
pub(super) fn read(text: &Bytes, depth: usize) -> Option<Value> {
    // Once for all of it, which is cheaper than for each string.
    let utf8 = std::str::from_utf8(text).ok()?;
    let mut json = serde_json::Deserializer::from_str(utf8);
    // It stops one level earlier than we do, and cannot be told another.
    json.disable_recursion_limit();
    let value = Seed { text, depth }.deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(value)
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    text: &'a Bytes,
    /// Levels that are left.
    depth: usize,
}

impl Seed<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value, E> {
        Ok(Value::Bool(is))
    }

    fn visit_i64<E>(self, int: i64) -> Result<Value, E> {
        Ok(Value::Int(int))
    }

    fn visit_u64<E>(self, int: u64) -> Result<Value, E> {
        #[expect(clippy::cast_precision_loss, reason = "beyond 64 bits with a sign it is a float")]
        Ok(i64::try_from(int).map_or(Value::Float(int as f64), Value::Int))
    }

    fn visit_f64<E>(self, float: f64) -> Result<Value, E> {
        Ok(Value::Float(float))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value, E> {
        Ok(Value::Str(self.text.slice_ref(text.as_bytes())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(seed)? {
            items.push(item);
        }
        Ok(Value::Array(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut map = Vec::with_capacity(8);
        while let Some(key) = entries.next_key_seed(keys::Key)? {
            map.push((key, entries.next_value_seed(seed)?));
        }
        Ok(Value::Map(Map::from_entries(map).into()))
    }
}
