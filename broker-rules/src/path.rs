//! Paths: the way into a value, read and written.

mod write;

use std::borrow::Cow;

use bytes::Bytes;

use crate::error::RowError;
use crate::eval::{Got, Scope};
use crate::plan::{PathNode, Way};
use crate::sql::ast::Range;
use crate::value::Value;

pub(crate) use write::write;

/// The column that holds a text and is read as what it says.
const PAYLOAD: &str = "payload";

/// What is at the end of a path. A step that leads nowhere gives undefined.
///
/// # Errors
/// It takes too many steps.
pub(crate) fn read<'s>(path: &'s PathNode, scope: &'s Scope<'_>) -> Got<'s> {
    if path.steps.is_empty() {
        return Ok(scope.named(&path.root));
    }
    let is_payload = is_payload(path, scope);
    let root = if is_payload { decoded_payload(scope) } else { scope.named(&path.root) };
    // An index that is read: by the original's way first below the payload.
    let first = is_payload.then(|| root.clone());
    walk(root, &path.steps, first.as_deref(), scope)
}

/// The elements of an array from one position to another, both included.
///
/// # Errors
/// It is no array, or a position is 0.
pub(crate) fn read_range<'s>(path: &'s PathNode, range: Range, scope: &'s Scope<'_>) -> Got<'s> {
    let (first, last) = (range.first, range.last);
    let place = |cause: &str| RowError::new(format!("[{first}..{last}]: {cause}"));
    let mut value = read(path, scope)?;
    if let Value::Str(text) = &*value {
        // A text may be JSON here as on the way.
        let is_payload = path.steps.is_empty() && is_payload(path, scope);
        let decoded = if is_payload {
            scope.row.decoded_payload().map(Cow::Borrowed)
        } else {
            scope.env.decode_json(text).map(Cow::Owned)
        };
        value = decoded.unwrap_or(value);
    }
    let Value::Array(items) = &*value else {
        return Err(place(&format!("expected an array, found {}", value.kind())));
    };
    if first == 0 || last == 0 {
        return Err(place("positions count from 1, or from -1 backwards"));
    }
    let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
    // From 0, and perhaps outside.
    let from_start = |at: i64| if at > 0 { at - 1 } else { len.saturating_add(at) };
    let from = from_start(first).clamp(0, len);
    let to = from_start(last).saturating_add(1).clamp(from, len);
    let (from, to) = (usize::try_from(from).unwrap_or(0), usize::try_from(to).unwrap_or(0));
    scope.env.charge_steps((to - from) as u64 / 16)?;
    Ok(Cow::Owned(Value::Array(items[from..to].to_vec().into())))
}

/// True if a path begins at the payload of the event.
fn is_payload(path: &PathNode, scope: &Scope<'_>) -> bool {
    &*path.root.key == PAYLOAD && scope.made(&path.root).is_none()
}

/// The payload as what its JSON says; undefined if it is none.
pub(crate) fn decoded_payload<'s>(scope: &'s Scope<'_>) -> Cow<'s, Value> {
    match scope.row.decoded_payload() {
        Some(payload) => Cow::Borrowed(payload),
        None => Cow::Owned(Value::Undefined),
    }
}

/// Goes along a way. `first` is where an index is looked up before the columns.
fn walk<'s>(
    mut value: Cow<'s, Value>,
    steps: &'s [Way],
    first: Option<&Value>,
    scope: &'s Scope<'_>,
) -> Got<'s> {
    for step in steps {
        value = opened(value, |text| scope.env.decode_json(text));
        value = match step {
            Way::Key(key) => at_key(&value, key),
            Way::Index(index) => at_index(&value, *index),
            Way::Append => Cow::Owned(Value::Undefined),
            Way::IndexBy(path) => match index(path, first, scope)? {
                Some(index) => at_index(&value, index),
                None => Cow::Owned(Value::Undefined),
            },
        };
        if let Value::Undefined = *value {
            break;
        }
    }
    Ok(value)
}

/// What is at the end of a way of keys.
pub(crate) fn follow<'v, 'k>(
    start: &'v Value,
    keys: impl IntoIterator<Item = &'k str>,
    decode: impl Fn(&Bytes) -> Option<Value>,
) -> Cow<'v, Value> {
    let mut value = Cow::Borrowed(start);
    for key in keys {
        value = at_key(&opened(value, &decode), key);
    }
    value
}

/// A value that a step leads into: a text may be JSON.
fn opened(value: Cow<'_, Value>, decode: impl Fn(&Bytes) -> Option<Value>) -> Cow<'_, Value> {
    match &*value {
        Value::Str(text) => Cow::Owned(decode(text).unwrap_or_default()),
        _ => value,
    }
}

/// The index that a path has; `None` if that is no integer.
fn index(
    path: &PathNode,
    first: Option<&Value>,
    scope: &Scope<'_>,
) -> Result<Option<i64>, RowError> {
    scope.env.charge_steps(1)?;
    if let Some(first) = first {
        let root = at_key(&Cow::Borrowed(first), &path.root.key);
        if let Value::Int(index) = *walk(root, &path.steps, Some(first), scope)? {
            return Ok(Some(index));
        }
    }
    Ok(match *read(path, scope)? {
        Value::Int(index) => Some(index),
        _ => None,
    })
}

fn at_key<'s>(value: &Cow<'s, Value>, key: &str) -> Cow<'s, Value> {
    part(value, |value| match value {
        Value::Map(map) => map.get(key),
        _ => None,
    })
}

fn at_index<'s>(value: &Cow<'s, Value>, index: i64) -> Cow<'s, Value> {
    part(value, |value| match value {
        Value::Array(items) => items.get(position(index, items.len())?),
        _ => None,
    })
}

/// A part of a value, borrowed from where the value is; undefined if it does not have it.
fn part<'s>(value: &Cow<'s, Value>, get: impl Fn(&Value) -> Option<&Value>) -> Cow<'s, Value> {
    let part = match value {
        Cow::Borrowed(value) => get(value).map(Cow::Borrowed),
        Cow::Owned(value) => get(value).cloned().map(Cow::Owned),
    };
    part.unwrap_or(Cow::Owned(Value::Undefined))
}

/// The position from 0 of an index from 1, or from -1 backwards; `None` outside of `len` elements.
fn position(index: i64, len: usize) -> Option<usize> {
    let far = usize::try_from(index.unsigned_abs()).ok()?;
    let at = if index > 0 { far.checked_sub(1)? } else { len.checked_sub(far)? };
    (at < len).then_some(at)
}

#[cfg(test)]
mod tests;
