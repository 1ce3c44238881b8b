//! JSON: texts to values, and values to texts.

mod keys;
mod measure;
mod read;
mod write;

use bytes::Bytes;

use crate::limits::Limits;
use crate::value::Value;

pub(crate) use measure::room_left;
pub(crate) use write::{append, append_map, encode};

/// Decodes a JSON text; `None` if it is none, or beyond `json_max_bytes` or `json_max_depth`.
///
/// Strings without escapes are slices of `text`. An integer of 64 bits stays one, other numbers are floats; of a key
/// that comes twice, the last value holds.
#[must_use]
pub(crate) fn decode(text: &Bytes, limits: &Limits) -> Option<Value> {
    if text.len() > limits.json_max_bytes {
        return None;
    }
    read::read(text, limits.json_max_depth)
}

#[cfg(test)]
mod tests;
