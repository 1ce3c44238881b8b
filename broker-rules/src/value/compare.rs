//! Comparison of values: by value as `=` and `<` do it, and exactly as `IN` does it.

use std::cmp::Ordering;

use crate::error::RowError;
use crate::value::Value;

/// Whether `a = b`.
///
/// # Errors
/// One is a number, and the other a string that is none.
pub(crate) fn eq(a: &Value, b: &Value) -> Result<bool, RowError> {
    Ok(match (a, b) {
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::Int(_) | Value::Float(_), Value::Str(_))
        | (Value::Str(_), Value::Int(_) | Value::Float(_)) => order(a, b)? == Some(Ordering::Equal),
        (Value::Bool(_) | Value::Null, Value::Str(text))
        | (Value::Str(text), Value::Bool(_) | Value::Null) => {
            let other = if matches!(a, Value::Str(_)) { b } else { a };
            word(other).is_some_and(|word| word.as_bytes() == &text[..])
        }
        _ => deep_eq(a, b),
    })
}

/// How `a` is to `b`; `None` if neither is before the other nor are they equal.
///
/// # Errors
/// One is a number, and the other a string that is none.
pub(crate) fn order(a: &Value, b: &Value) -> Result<Option<Ordering>, RowError> {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => numbers(a, b),
        (Value::Int(_) | Value::Float(_), Value::Str(text)) => numbers(a, &number(text)?),
        (Value::Str(text), Value::Int(_) | Value::Float(_)) => numbers(&number(text)?, b),
        (Value::Str(text), Value::Bool(_) | Value::Null) => {
            word(b).map(|word| text[..].cmp(word.as_bytes()))
        }
        (Value::Bool(_) | Value::Null, Value::Str(text)) => {
            word(a).map(|word| word.as_bytes().cmp(&text[..]))
        }
        _ => None,
    })
}

/// Whether both have the same type and the same value.
pub(crate) fn exact_eq(a: &Value, b: &Value) -> bool {
    a == b
}

/// The number that a text is: `[+-]digits` or `[+-]digits.digits[e[+-]digits]`, an integer if it is one of 64 bits.
pub(crate) fn text_number(text: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(unsigned);
    if whole == 0 {
        return None;
    }
    let float = || text.parse().ok().filter(|float: &f64| float.is_finite()).map(Value::Float);
    let rest = &unsigned[whole..];
    if rest.is_empty() {
        return text.parse().map(Value::Int).ok().or_else(float);
    }
    let rest = rest.strip_prefix('.')?;
    let fraction = digits(rest);
    if fraction == 0 {
        return None;
    }
    let rest = &rest[fraction..];
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if exponent.is_empty() || digits(exponent) != exponent.len() {
            return None;
        }
    } else if !rest.is_empty() {
        return None;
    }
    float()
}

fn number(text: &[u8]) -> Result<Value, RowError> {
    text_number(text)
        .ok_or_else(|| RowError::new("a number cannot be compared with a string that is none"))
}

/// What `true`, `false` and `null` are as text.
fn word(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => Some("null"),
        Value::Bool(true) => Some("true"),
        Value::Bool(false) => Some("false"),
        _ => None,
    }
}

/// Equality in depth. Numbers are equal by value, at every level.
fn deep_eq(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(_), Value::Float(_)) | (Value::Float(_), Value::Int(_)) => {
            numbers(a, b) == Some(Ordering::Equal)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| deep_eq(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len()
                && a.iter().zip(b.iter()).all(|((ka, a), (kb, b))| ka == kb && deep_eq(a, b))
        }
        _ => a == b,
    }
}

fn numbers(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Float(b)) => int_to_float(*a, *b),
        (Value::Float(a), Value::Int(b)) => int_to_float(*b, *a).map(Ordering::reverse),
        _ => None,
    }
}

/// Compares without rounding: beyond 2^53 two integers may have one float.
fn int_to_float(int: i64, float: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return None;
    }
    if float >= BEYOND {
        return Some(Ordering::Less);
    }
    if float < -BEYOND {
        return Some(Ordering::Greater);
    }
    let whole = float.trunc();
    // Exact: it is whole and in range.
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    let by_whole = int.cmp(&(whole as i64));
    Some(by_whole.then_with(|| 0.0.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal)))
}

#[cfg(test)]
mod tests;
