//! Writing along a path, which makes what is missing on the way.

use std::sync::Arc;

use super::{PAYLOAD, index, position};
use crate::error::RowError;
use crate::eval::Scope;
use crate::plan::{Target, Way};
use crate::value::{Map, Value};

/// Puts a value, which is not undefined, where a target says.
///
/// # Errors
/// The value would become too deep, or an array too long, or it takes too many steps.
pub(crate) fn write(
    map: &mut Map,
    target: &Target,
    value: Value,
    scope: &Scope<'_>,
) -> Result<(), RowError> {
    if target.steps.is_empty() {
        map.insert(Arc::clone(&target.name), value);
        return Ok(());
    }
    let env = scope.env;
    let levels = env.limits.json_max_depth.saturating_sub(target.steps.len());
    env.check_depth(&value, levels)?;
    let mut whole = match map.get_mut(&target.name) {
        Some(place) => std::mem::take(place),
        None => Value::Undefined,
    };
    if let (PAYLOAD, Value::Str(text)) = (&*target.name, &whole) {
        whole = decoded(text, scope);
    }
    put(&mut whole, &target.steps, value, scope)?;
    map.insert(Arc::clone(&target.name), whole);
    Ok(())
}

/// The payload as its JSON says; undefined if it is none.
fn decoded(text: &bytes::Bytes, scope: &Scope<'_>) -> Value {
    let as_received = matches!(
        scope.row.column(PAYLOAD),
        Value::Str(received) if (received.as_ptr(), received.len()) == (text.as_ptr(), text.len())
    );
    if as_received {
        // Decoded once for all rules.
        scope.row.decoded_payload().cloned().unwrap_or_default()
    } else {
        scope.env.decode_json(text).unwrap_or_default()
    }
}

/// No deeper than a value may be: the plan refuses targets with more steps.
fn put(place: &mut Value, steps: &[Way], value: Value, scope: &Scope<'_>) -> Result<(), RowError> {
    let Some((step, rest)) = steps.split_first() else {
        *place = value;
        return Ok(());
    };
    let at = match step {
        Way::Key(key) => return put_at_key(place, key, rest, value, scope),
        Way::Index(index) => Some(*index),
        Way::Append => None,
        Way::IndexBy(path) => match index(path, None, scope)? {
            Some(index) => Some(index),
            None => return Err(RowError::new("AS: an index is not an integer")),
        },
    };
    put_at_index(place, at, rest, value, scope)
}

fn put_at_key(
    place: &mut Value,
    key: &Arc<str>,
    rest: &[Way],
    value: Value,
    scope: &Scope<'_>,
) -> Result<(), RowError> {
    if !matches!(place, Value::Map(_)) {
        *place = Value::Map(Arc::default());
    }
    let Value::Map(map) = place else { return Ok(()) };
    scope.env.charge_steps(1 + map.len() as u64 / 16)?;
    let map = Arc::make_mut(map);
    if let Some(inner) = map.get_mut(key) {
        return put(inner, rest, value, scope);
    }
    let mut inner = Value::Undefined;
    put(&mut inner, rest, value, scope)?;
    map.insert(Arc::clone(key), inner);
    Ok(())
}

/// Puts it at an index, from 1 or from -1 backwards; in front at 0, behind the last at `None`.
fn put_at_index(
    place: &mut Value,
    at: Option<i64>,
    rest: &[Way],
    value: Value,
    scope: &Scope<'_>,
) -> Result<(), RowError> {
    let Value::Array(items) = place else {
        let mut only = Value::Undefined;
        put(&mut only, rest, value, scope)?;
        *place = Value::Array(vec![only].into());
        return Ok(());
    };
    scope.env.charge_steps(1 + items.len() as u64 / 16)?;
    if let Some(index) = at.filter(|index| *index != 0) {
        return match position(index, items.len()) {
            Some(at) => put(&mut Arc::make_mut(items)[at], rest, value, scope),
            None => Ok(()),
        };
    }
    if items.len() >= scope.env.limits.max_array_items {
        return Err(RowError::new("AS: the array has more than max_array_items items"));
    }
    let mut new = Value::Undefined;
    put(&mut new, rest, value, scope)?;
    let items = Arc::make_mut(items);
    let at = if at.is_some() { 0 } else { items.len() };
    items.insert(at, new);
    Ok(())
}
