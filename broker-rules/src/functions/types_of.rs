//! Types of values: conversions, and questions what a value is.

use bytes::Bytes;

use super::math::int_of;
use super::{Call, Function};
use crate::error::RowError;
use crate::value::{Value, arithmetic, compare, text};

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f(
            "str",
            1..=1,
            "str(x)",
            "As text: a float with at most 10 decimals, maps and arrays as JSON.",
            &[
                ("str(2.0)", "\"2.0\""),
                ("str(0.30000000000000004)", "\"0.3\""),
                ("str(json_decode('[1]'))", "\"[1]\""),
                ("str(null())", "\"undefined\""),
                ("str(json_decode('null'))", "\"null\""),
            ],
            |c| text::of(c.arg(0), c.env.limits.max_value_bytes).map(Value::Str),
        ),
        f(
            "str_utf8",
            1..=1,
            "str_utf8(x)",
            "As `str`, but bytes that are not UTF-8 are an error.",
            &[
                ("str_utf8(1)", "\"1\""),
                (
                    "str_utf8(hexstr2bin('FF'))",
                    "error: str_utf8: argument 1: expected UTF-8, found other bytes",
                ),
            ],
            |c| {
                if let Value::Str(_) = c.arg(0) {
                    c.utf8(0)?;
                }
                text::of(c.arg(0), c.env.limits.max_value_bytes).map(Value::Str)
            },
        ),
        f(
            "float2str",
            2..=2,
            "float2str(n, decimals)",
            "As text with at most so many decimals.",
            &[("float2str(1.23456, 2)", "\"1.23\""), ("float2str(1.5, 3)", "\"1.5\"")],
            float2str,
        ),
        f(
            "int",
            1..=1,
            "int(x)",
            "As an integer: a float is rounded down, `true` is 1 and `false` 0, and a string is the number that it spells, rounded down.",
            &[
                ("int(-1.5)", "-2"),
                ("int('1.9')", "1"),
                ("int(true)", "1"),
                ("int('x')", "error: int: argument 1: expected a string that is a number"),
            ],
            int,
        ),
        f(
            "float",
            1..=1,
            "float(x)",
            "As a float: of a number, or a string that spells one.",
            &[("float(1)", "1.0"), ("float('2.5')", "2.5")],
            float,
        ),
        f(
            "bool",
            1..=1,
            "bool(x)",
            "As a boolean: of `true`, `'true'` and 1, or `false`, `'false'` and 0.",
            &[
                ("bool('true')", "true"),
                ("bool(0)", "false"),
                ("bool(2)", "error: bool: argument 1: expected true, false, 1 or 0"),
            ],
            bool,
        ),
        f(
            "map",
            1..=1,
            "map(x)",
            "As a map: of a map, or a string that is a JSON object.",
            &[
                ("map('{\"a\":1}')", "{\"a\":1}"),
                ("map('[1]')", "error: map: argument 1: expected a JSON object"),
            ],
            map,
        ),
        f(
            "is_null",
            1..=1,
            "is_null(x)",
            "Whether it is undefined. JSON's null is not.",
            &[("is_null(null())", "true"), ("is_null(json_decode('null'))", "false")],
            |c| is(c, |v| matches!(v, Value::Undefined)),
        ),
        f(
            "is_not_null",
            1..=1,
            "is_not_null(x)",
            "Whether it is not undefined.",
            &[("is_not_null(1)", "true")],
            |c| is(c, |v| !matches!(v, Value::Undefined)),
        ),
        f(
            "is_null_var",
            1..=1,
            "is_null_var(x)",
            "Whether it is undefined or JSON's null.",
            &[("is_null_var(json_decode('null'))", "true")],
            |c| is(c, |v| matches!(v, Value::Undefined | Value::Null)),
        ),
        f(
            "is_not_null_var",
            1..=1,
            "is_not_null_var(x)",
            "Whether it is neither undefined nor JSON's null.",
            &[("is_not_null_var(null())", "false")],
            |c| is(c, |v| !matches!(v, Value::Undefined | Value::Null)),
        ),
        f(
            "is_str",
            1..=1,
            "is_str(x)",
            "Whether it is a string.",
            &[("is_str('a')", "true")],
            |c| is(c, |v| matches!(v, Value::Str(_))),
        ),
        f(
            "is_bool",
            1..=1,
            "is_bool(x)",
            "Whether it is a boolean.",
            &[("is_bool(true)", "true"), ("is_bool('true')", "false")],
            |c| is(c, |v| matches!(v, Value::Bool(_))),
        ),
        f(
            "is_int",
            1..=1,
            "is_int(x)",
            "Whether it is an integer.",
            &[("is_int(1)", "true"), ("is_int(1.0)", "false")],
            |c| is(c, |v| matches!(v, Value::Int(_))),
        ),
        f(
            "is_float",
            1..=1,
            "is_float(x)",
            "Whether it is a float.",
            &[("is_float(1.0)", "true")],
            |c| is(c, |v| matches!(v, Value::Float(_))),
        ),
        f(
            "is_num",
            1..=1,
            "is_num(x)",
            "Whether it is an integer or a float.",
            &[("is_num(1)", "true"), ("is_num('1')", "false")],
            |c| is(c, |v| matches!(v, Value::Int(_) | Value::Float(_))),
        ),
        f(
            "is_map",
            1..=1,
            "is_map(x)",
            "Whether it is a map.",
            &[("is_map(map_new())", "true")],
            |c| is(c, |v| matches!(v, Value::Map(_))),
        ),
        f(
            "is_array",
            1..=1,
            "is_array(x)",
            "Whether it is an array.",
            &[("is_array(json_decode('[]'))", "true")],
            |c| is(c, |v| matches!(v, Value::Array(_))),
        ),
        f(
            "is_empty",
            1..=1,
            "is_empty(x)",
            "Whether it is `''`, an empty array or an empty map, or a string that is an empty JSON object. Another string has to be a JSON object.",
            &[
                ("is_empty('')", "true"),
                ("is_empty('{}')", "true"),
                ("is_empty('{\"a\":1}')", "false"),
                ("is_empty(map_new())", "true"),
                ("is_empty('x')", "error: is_empty: argument 1: expected a JSON object"),
            ],
            is_empty,
        ),
        f("null", 0..=0, "null()", "Undefined.", &[("null()", "undefined")], |_| {
            Ok(Value::Undefined)
        }),
        f(
            "coalesce",
            1..=2,
            "coalesce(a, b) | coalesce(list)",
            "The first that is not undefined.",
            &[("coalesce(null(), 2)", "2"), ("coalesce(json_decode('[null,3]'))", "null")],
            |c| coalesce(c, |_| false),
        ),
        f(
            "coalesce_ne",
            1..=2,
            "coalesce_ne(a, b) | coalesce_ne(list)",
            "The first that is neither undefined nor `''`.",
            &[("coalesce_ne('', 'b')", "\"b\"")],
            |c| coalesce(c, |v| matches!(v, Value::Str(s) if s.is_empty())),
        ),
        f(
            "bin2hexstr",
            1..=1,
            "bin2hexstr(s)",
            "The bytes in hexadecimal, in upper case.",
            &[("bin2hexstr('az')", "\"617A\"")],
            bin2hexstr,
        ),
        f(
            "hexstr2bin",
            1..=1,
            "hexstr2bin(s)",
            "The bytes that hexadecimal digits stand for; before an odd number of them goes a 0.",
            &[
                ("hexstr2bin('617a')", "\"az\""),
                ("hexstr2bin('9')", "\"\\t\""),
                ("hexstr2bin('x')", "error: hexstr2bin: argument 1: expected hexadecimal digits"),
            ],
            hexstr2bin,
        ),
    ]
}

fn is(call: &Call<'_>, question: fn(&Value) -> bool) -> Result<Value, RowError> {
    Ok(Value::Bool(question(call.arg(0))))
}

fn float2str(call: &mut Call<'_>) -> Result<Value, RowError> {
    let (float, decimals) = (call.number(0)?, call.count(1)?);
    if decimals > 253 {
        return Err(RowError::new("argument 2: expected at most 253 decimals"));
    }
    Ok(Value::Str(text::of_float(float, decimals).into()))
}

/// The number that a string argument spells.
fn spelled(text: &[u8]) -> Result<Value, RowError> {
    compare::text_number(text)
        .ok_or_else(|| RowError::new("argument 1: expected a string that is a number"))
}

fn int(call: &mut Call<'_>) -> Result<Value, RowError> {
    let number = match call.arg(0) {
        Value::Str(text) => spelled(text)?,
        Value::Bool(is) => Value::Int((*is).into()),
        other => other.clone(),
    };
    match number {
        Value::Float(float) => int_of(float.floor()),
        Value::Int(_) => Ok(number),
        _ => Err(call.unexpected(0, "a number, a boolean or a string")),
    }
}

fn float(call: &mut Call<'_>) -> Result<Value, RowError> {
    let number = match call.arg(0) {
        Value::Str(text) => arithmetic::float_of(&spelled(text)?),
        other => arithmetic::float_of(other),
    };
    number.map(Value::Float).ok_or_else(|| call.unexpected(0, "a number or a string"))
}

fn bool(call: &mut Call<'_>) -> Result<Value, RowError> {
    let is = match call.arg(0) {
        Value::Bool(is) => Some(*is),
        Value::Str(text) if &text[..] == b"true" => Some(true),
        Value::Str(text) if &text[..] == b"false" => Some(false),
        Value::Int(1) => Some(true),
        Value::Int(0) => Some(false),
        Value::Float(float) if *float == 1.0 => Some(true),
        Value::Float(float) if *float == 0.0 => Some(false),
        Value::Int(_) | Value::Float(_) | Value::Str(_) => None,
        _ => return Err(call.unexpected(0, "true, false, 1 or 0")),
    };
    is.map(Value::Bool).ok_or_else(|| RowError::new("argument 1: expected true, false, 1 or 0"))
}

fn map(call: &mut Call<'_>) -> Result<Value, RowError> {
    match call.take(0) {
        map @ Value::Map(_) => Ok(map),
        Value::Str(text) => object(call, &text),
        other => {
            call.args[0] = other;
            Err(call.unexpected(0, "a map or a string"))
        }
    }
}

fn object(call: &Call<'_>, text: &Bytes) -> Result<Value, RowError> {
    match call.env.decode_json(text) {
        Some(map @ Value::Map(_)) => Ok(map),
        _ => Err(RowError::new("argument 1: expected a JSON object")),
    }
}

fn is_empty(call: &mut Call<'_>) -> Result<Value, RowError> {
    Ok(Value::Bool(match call.arg(0) {
        Value::Array(items) => items.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Str(text) if text.is_empty() => true,
        Value::Str(text) => matches!(object(call, text)?, Value::Map(map) if map.is_empty()),
        _ => false,
    }))
}

fn coalesce(call: &mut Call<'_>, is_skipped: fn(&Value) -> bool) -> Result<Value, RowError> {
    let is_wanted = |value: &&Value| !matches!(value, Value::Undefined) && !is_skipped(value);
    if call.has(1) {
        return Ok(call.args.iter().find(|value| is_wanted(value)).cloned().unwrap_or_default());
    }
    let items = call.array(0)?;
    call.env.charge_steps(items.len() as u64)?;
    Ok(items.iter().find(is_wanted).cloned().unwrap_or_default())
}

fn bin2hexstr(call: &mut Call<'_>) -> Result<Value, RowError> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = call.string(0)?;
    let mut out = call.out();
    for byte in bytes.iter() {
        out.push(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])?;
    }
    Ok(out.done())
}

fn hexstr2bin(call: &mut Call<'_>) -> Result<Value, RowError> {
    let digits = call.string(0)?;
    let digit = |digit: u8| {
        let value = char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        value.ok_or_else(|| RowError::new("argument 1: expected hexadecimal digits"))
    };
    let (first, pairs) = digits.split_at(digits.len() % 2);
    let mut out = call.out();
    for single in first {
        out.push(&[digit(*single)?])?;
    }
    for pair in pairs.chunks_exact(2) {
        out.push(&[digit(pair[0])? << 4 | digit(pair[1])?])?;
    }
    Ok(out.done())
}
