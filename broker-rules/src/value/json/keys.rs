//! Keys of JSON objects. Messages of one kind have the same ones, so each thread remembers those it saw last.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Visitor};

/// Reads a key.
pub(super) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Arc<str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Arc<str>, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Arc<str>, E> {
        Ok(remembered(key))
    }
}

/// The key as one that is shared with earlier texts, if this thread remembers it.
///
/// A place for each hash, and the last key that came has it: nothing is searched and nothing grows.
fn remembered(key: &str) -> Arc<str> {
    let bytes = key.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return key.into() };
    if bytes.len() > KEY_BYTES_MAX {
        return key.into();
    }
    let middle = bytes[bytes.len() / 2];
    let hash = usize::from(first)
        ^ (usize::from(last) << 2)
        ^ (usize::from(middle) << 4)
        ^ (bytes.len() << 5);
    KEYS.with_borrow_mut(|keys| {
        let place = &mut keys[hash % KEYS_MAX];
        match place {
            Some(known) if **known == *key => known.clone(),
            _ => place.insert(key.into()).clone(),
        }
    })
}

thread_local! {
    static KEYS: RefCell<[Option<Arc<str>>; KEYS_MAX]> = const { RefCell::new([const { None }; KEYS_MAX]) };
}

/// 4 KiB of places for each thread.
const KEYS_MAX: usize = 256;
const KEY_BYTES_MAX: usize = 64;
