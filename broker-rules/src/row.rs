//! Row: what a statement can read of one event.

use crate::value::{Map, Value};

/// The columns of one event. They are made when they are asked for, and those that nobody names never.
pub trait Row {
    /// The column of this name; [`Value::Undefined`] if the event has none.
    fn column(&self, name: &str) -> Value;

    /// The payload as decoded JSON, decoded once however often it is asked for; `None` if the event has no payload,
    /// or the payload is not JSON or beyond the limits.
    fn decoded_payload(&self) -> Option<&Value>;

    /// All columns that are not undefined, for `SELECT *`.
    fn all(&self) -> Map;
}
