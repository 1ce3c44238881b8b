//! The length of values as JSON, without writing them.

use super::append_map;
use crate::value::{Map, Value};

/// What is left of `room` bytes when the map has been written; `None` if it does not fit.
pub(crate) fn room_left(map: &Map, room: usize) -> Option<usize> {
    // Mostly far more room than could be needed: nothing is written then.
    map_within(map, room).or_else(|| {
        let mut text = Vec::new();
        append_map(map, &mut text, room).ok()?;
        Some(room - text.len())
    })
}

/// What is left if everything takes as much as it could.
fn map_within(map: &Map, room: usize) -> Option<usize> {
    let mut room = room.checked_sub(2)?;
    for (key, value) in map.iter() {
        room = within(value, room.checked_sub(text_len(key.len()) + 2)?)?;
    }
    Some(room)
}

fn within(value: &Value, room: usize) -> Option<usize> {
    /// `-1.7976931348623157e308`
    const NUMBER: usize = 24;
    match value {
        Value::Undefined | Value::Null | Value::Bool(_) => room.checked_sub(5),
        Value::Int(_) | Value::Float(_) => room.checked_sub(NUMBER),
        Value::Str(bytes) => room.checked_sub(text_len(bytes.len())),
        Value::Array(items) => items
            .iter()
            .try_fold(room.checked_sub(2)?, |room, item| within(item, room.checked_sub(1)?)),
        Value::Map(map) => map_within(map, room),
    }
}

/// `\u0000` is the longest that a byte can become.
const fn text_len(bytes: usize) -> usize {
    bytes.saturating_mul(6).saturating_add(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_exactly_fits() {
        let mut map = Map::default();
        map.insert("k".into(), Value::text("a\"b"));
        map.insert("n".into(), Value::Array(vec![Value::Float(1.5), Value::Null].into()));
        let len = r#"{"k":"a\"b","n":[1.5,null]}"#.len();
        assert_eq!(room_left(&map, len), Some(0));
        assert_eq!(room_left(&map, len - 1), None);
        assert!(room_left(&map, 10_000).is_some_and(|left| left <= 10_000 - len));
    }
}
