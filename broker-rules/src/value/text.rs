//! Text of values: what `str` gives, and templates show.

use bytes::Bytes;

use crate::error::RowError;
use crate::value::{Value, json};

/// A value as text: strings as they are, maps and arrays as JSON.
///
/// # Errors
/// The text has more than `max` bytes and is not there already.
pub(crate) fn of(value: &Value, max: usize) -> Result<Bytes, RowError> {
    Ok(match value {
        Value::Str(bytes) => bytes.clone(),
        Value::Undefined => Bytes::from_static(b"undefined"),
        Value::Null => Bytes::from_static(b"null"),
        Value::Bool(true) => Bytes::from_static(b"true"),
        Value::Bool(false) => Bytes::from_static(b"false"),
        Value::Int(int) => int.to_string().into(),
        Value::Float(float) => of_float(*float, DECIMALS).into(),
        Value::Array(_) | Value::Map(_) => json::encode(value, max)
            .map_err(|_| RowError::new("the string is longer than max_value_bytes"))?
            .into(),
    })
}

/// A float with at most so many decimals, no zeros at their end, but at least one.
pub(crate) fn of_float(float: f64, decimals: usize) -> String {
    let mut text = format!("{float:.decimals$}");
    if text.contains('.') {
        let kept = text.trim_end_matches('0').len();
        text.truncate(kept);
        if text.ends_with('.') {
            text.push('0');
        }
    }
    // What is rounded away has no sign.
    if text.trim_start_matches('-').bytes().all(|byte| matches!(byte, b'0' | b'.')) && float != 0.0
    {
        text = text.trim_start_matches('-').to_owned();
    }
    text
}

/// How many decimals `str` shows at most.
const DECIMALS: usize = 10;

#[cfg(test)]
mod tests;
