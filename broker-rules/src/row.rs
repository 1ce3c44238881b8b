//! Row: what a statement can read of one event.

use crate::value::{Map, Value};

/// The columns of one event. They are made when they are asked for, and those that nobody names never.
pub trait Row {
    /// The column of this name; [`Value::Undefined`] if the event has none.
    ///
    /// `client_id` and `clientid` are one column, and `peerhost` is there where `peername` is, however the event
    /// itself spells them.
    fn column(&self, name: &str) -> Value;

    /// The payload as decoded JSON, decoded once however often it is asked for; `None` if the event has no payload,
    /// or the payload is not JSON or beyond the limits.
    fn decoded_payload(&self) -> Option<&Value>;

    /// All columns that are not undefined, for `SELECT *`.
    fn all(&self) -> Map;
}

/// A column of somebody who has each of them under one name.
pub(crate) fn under_any_name(name: &str, column: impl Fn(&str) -> Value) -> Value {
    match (column(name), name) {
        (Value::Undefined, "client_id") => column("clientid"),
        (Value::Undefined, "clientid") => column("client_id"),
        (Value::Undefined, "peerhost") => match column("peername") {
            // The part before the last colon, which in IPv6 stands in brackets.
            Value::Str(name) => {
                let end = name.iter().rposition(|byte| *byte == b':').unwrap_or(name.len());
                let host = &name[..end];
                let bare = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
                Value::Str(name.slice_ref(bare.unwrap_or(host)))
            }
            _ => Value::Undefined,
        },
        (value, _) => value,
    }
}
