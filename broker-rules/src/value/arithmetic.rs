//! Arithmetic: integers of 64 bits that do not wrap, floats that stay finite, and strings that `+` joins.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::RowError;
use crate::limits::Limits;
use crate::value::Value;

/// `a + b`: the sum of numbers, or two strings joined.
///
/// # Errors
/// Other types, an overflow, or a string beyond `max_value_bytes`.
pub(crate) fn add(a: &Value, b: &Value, limits: &Limits) -> Result<Value, RowError> {
    if let (Value::Str(a), Value::Str(b)) = (a, b) {
        return join(a, b, limits).map(Value::Str);
    }
    both("+", a, b, i64::checked_add, |a, b| a + b)
}

/// `a - b`.
///
/// # Errors
/// Not two numbers, or an overflow.
pub(crate) fn sub(a: &Value, b: &Value) -> Result<Value, RowError> {
    both("-", a, b, i64::checked_sub, |a, b| a - b)
}

/// `a * b`.
///
/// # Errors
/// Not two numbers, or an overflow.
pub(crate) fn mul(a: &Value, b: &Value) -> Result<Value, RowError> {
    both("*", a, b, i64::checked_mul, |a, b| a * b)
}

/// `a / b`, always a float.
///
/// # Errors
/// Not two numbers, `b` is zero, or an overflow.
pub(crate) fn div(a: &Value, b: &Value) -> Result<Value, RowError> {
    let (Some(dividend), Some(divisor)) = (float_of(a), float_of(b)) else {
        return Err(operands("/", a, b, "numbers"));
    };
    if divisor == 0.0 {
        return Err(by_zero("/"));
    }
    finite("/", dividend / divisor)
}

/// `a div b`, toward zero.
///
/// # Errors
/// Not two integers, `b` is zero, or an overflow.
pub(crate) fn int_div(a: &Value, b: &Value) -> Result<Value, RowError> {
    let (dividend, divisor) = integers("div", a, b)?;
    dividend.checked_div(divisor).map(Value::Int).ok_or_else(|| overflow("div"))
}

/// `a mod b`, with the sign of `a`.
///
/// # Errors
/// Not two integers, or `b` is zero.
pub(crate) fn int_mod(a: &Value, b: &Value) -> Result<Value, RowError> {
    let (dividend, divisor) = integers("mod", a, b)?;
    // Only the least integer by -1 overflows, and nothing is left over there.
    Ok(Value::Int(dividend.wrapping_rem(divisor)))
}

/// `-a`.
///
/// # Errors
/// Not a number, or an overflow.
pub(crate) fn neg(a: &Value) -> Result<Value, RowError> {
    match a {
        Value::Int(a) => a.checked_neg().map(Value::Int).ok_or_else(|| overflow("-")),
        Value::Float(a) => Ok(Value::Float(-a)),
        other => Err(RowError::new(format!("-: expected a number, found {}", other.kind()))),
    }
}

/// A float if it is finite.
///
/// # Errors
/// It is not.
pub(crate) fn finite(what: &str, float: f64) -> Result<Value, RowError> {
    if float.is_finite() { Ok(Value::Float(float)) } else { Err(overflow(what)) }
}

fn join(a: &Bytes, b: &Bytes, limits: &Limits) -> Result<Bytes, RowError> {
    if a.len().saturating_add(b.len()) > limits.max_value_bytes {
        return Err(RowError::new("+: the string is longer than max_value_bytes"));
    }
    let mut joined = BytesMut::with_capacity(a.len() + b.len());
    joined.put_slice(a);
    joined.put_slice(b);
    Ok(joined.freeze())
}

fn both(
    operator: &str,
    a: &Value,
    b: &Value,
    of_integers: fn(i64, i64) -> Option<i64>,
    of_floats: fn(f64, f64) -> f64,
) -> Result<Value, RowError> {
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        return of_integers(*a, *b).map(Value::Int).ok_or_else(|| overflow(operator));
    }
    match (float_of(a), float_of(b)) {
        (Some(a), Some(b)) => finite(operator, of_floats(a, b)),
        _ => Err(operands(operator, a, b, "numbers")),
    }
}

fn integers(operator: &str, a: &Value, b: &Value) -> Result<(i64, i64), RowError> {
    match (a, b) {
        (Value::Int(_), Value::Int(0)) => Err(by_zero(operator)),
        (Value::Int(a), Value::Int(b)) => Ok((*a, *b)),
        _ => Err(operands(operator, a, b, "integers")),
    }
}

#[expect(clippy::cast_precision_loss, reason = "this is what a float is")]
pub(crate) fn float_of(value: &Value) -> Option<f64> {
    match value {
        Value::Int(int) => Some(*int as f64),
        Value::Float(float) => Some(*float),
        _ => None,
    }
}

fn operands(operator: &str, a: &Value, b: &Value, expected: &str) -> RowError {
    let (a, b) = (a.kind(), b.kind());
    RowError::new(format!("{operator}: expected two {expected}, found {a} and {b}"))
}

fn by_zero(operator: &str) -> RowError {
    RowError::new(format!("{operator}: division by zero"))
}

fn overflow(operator: &str) -> RowError {
    RowError::new(format!("{operator}: the result is beyond the numbers there are"))
}

#[cfg(test)]
mod tests;
