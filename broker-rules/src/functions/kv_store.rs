//! KvStore: what rules keep from one event to the next, in memory and on this node alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Call, Function, Reads};
use crate::error::RowError;
use crate::value::{Map, Value, json};

pub(super) fn list() -> Vec<Function> {
    let f = |name, arity, signature, help, examples, call| {
        Function::new(name, arity, signature, help, examples, call).reads(Reads::World)
    };
    vec![
        f(
            "kv_store_put",
            2..=2,
            "kv_store_put(k, v)",
            "Keeps a value under a key, for all rules of this node, until the broker stops. There is room for 10 000 keys and 64 MiB; the oldest make room.",
            &[("kv_store_put('k', 1)", "true")],
            put,
        ),
        f(
            "kv_store_get",
            1..=2,
            "kv_store_get(k[, default])",
            "What is kept under a key; without it `default`, or undefined.",
            &[("kv_store_get('nobody')", "undefined"), ("kv_store_get('nobody', 0)", "0")],
            get,
        ),
        f(
            "kv_store_del",
            1..=1,
            "kv_store_del(k)",
            "Forgets a key.",
            &[("kv_store_del('nobody')", "true")],
            |c| {
                let key = key(c)?;
                c.env.store.remove(&key);
                Ok(Value::Bool(true))
            },
        ),
    ]
}

/// Values under keys. The oldest make room for new ones.
#[derive(Debug, Default)]
pub struct KvStore(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Arc<[u8]>, Entry>,
    /// Keys in the order in which they were put.
    by_age: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    age: u64,
    bytes: usize,
    value: Value,
}

impl KvStore {
    /// Keys at most.
    pub const KEYS_MAX: usize = 10_000;
    /// Bytes of keys and values at most.
    pub const BYTES_MAX: usize = 64 << 20;

    fn put(&self, key: Vec<u8>, value: Value, bytes: usize) {
        let key: Arc<[u8]> = key.into();
        let mut entries = self.0.lock();
        entries.remove(&key);
        while entries.by_key.len() >= Self::KEYS_MAX || entries.bytes + bytes > Self::BYTES_MAX {
            let Some((_, oldest)) = entries.by_age.pop_first() else { return };
            entries.remove(&oldest);
        }
        let age = entries.next;
        entries.next += 1;
        entries.bytes += bytes;
        entries.by_age.insert(age, key.clone());
        entries.by_key.insert(key, Entry { age, bytes, value });
    }

    fn find(&self, key: &[u8]) -> Option<Value> {
        self.0.lock().by_key.get(key).map(|entry| entry.value.clone())
    }

    fn remove(&self, key: &[u8]) {
        self.0.lock().remove(key);
    }
}

impl Entries {
    fn remove(&mut self, key: &[u8]) {
        if let Some(Entry { age, bytes, .. }) = self.by_key.remove(key) {
            self.by_age.remove(&age);
            self.bytes -= bytes;
        }
    }
}

/// What stands for a key: its kind and its bytes.
fn key(call: &Call<'_>) -> Result<Vec<u8>, RowError> {
    let key = match call.arg(0) {
        Value::Undefined => return Err(call.unexpected(0, "a key")),
        Value::Str(bytes) => [b"s", &bytes[..]].concat(),
        other => json::encode(other, KEY_BYTES_MAX)?,
    };
    if key.len() > KEY_BYTES_MAX {
        return Err(RowError::new(format!("argument 1: a key has at most {KEY_BYTES_MAX} bytes")));
    }
    Ok(key)
}

fn put(call: &mut Call<'_>) -> Result<Value, RowError> {
    let key = key(call)?;
    if let Value::Undefined = call.arg(1) {
        return Err(call.unexpected(1, "a value"));
    }
    let mut bytes = key.len() + ENTRY_BYTES;
    let value = detached(call.arg(1), &mut bytes, call)?;
    call.env.store.put(key, value, bytes);
    Ok(Value::Bool(true))
}

fn get(call: &mut Call<'_>) -> Result<Value, RowError> {
    let key = key(call)?;
    Ok(call.env.store.find(&key).unwrap_or_else(|| call.take(1)))
}

/// A copy that shares nothing: a slice of a few bytes would keep the whole of a message. `bytes` grows by its size.
fn detached(value: &Value, bytes: &mut usize, call: &Call<'_>) -> Result<Value, RowError> {
    call.env.charge_steps(1)?;
    *bytes += size_of::<Value>() + if let Value::Str(text) = value { text.len() } else { 0 };
    if *bytes > call.env.limits.max_value_bytes {
        return Err(RowError::new("argument 2: the value is larger than max_value_bytes"));
    }
    Ok(match value {
        Value::Str(text) => Value::Str(Bytes::copy_from_slice(text)),
        Value::Array(items) => {
            let copy = |item| detached(item, bytes, call);
            Value::Array(items.iter().map(copy).collect::<Result<Vec<_>, _>>()?.into())
        }
        Value::Map(map) => {
            let mut entries = Vec::with_capacity(map.len());
            for (key, value) in map.iter() {
                *bytes += key.len() + size_of::<Arc<str>>();
                entries.push((key.clone(), detached(value, bytes, call)?));
            }
            Value::Map(Map::from_entries(entries).into())
        }
        other => other.clone(),
    })
}

const KEY_BYTES_MAX: usize = 1024;
/// What an entry takes beside its key and its value, roughly.
const ENTRY_BYTES: usize = 128;

#[cfg(test)]
mod tests;
