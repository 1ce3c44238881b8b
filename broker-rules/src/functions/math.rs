//! Math: functions of numbers.

use super::{Call, Function};
use crate::error::RowError;
use crate::value::{Value, arithmetic, compare};

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f(
            "div",
            2..=2,
            "div(a, b)",
            "Integer division, toward zero.",
            &[("div(-7, 2)", "-3"), ("div(1, 0)", "error: div: division by zero")],
            |c| arithmetic::int_div(c.arg(0), c.arg(1)).map_err(RowError::without_place),
        ),
        f(
            "mod",
            2..=2,
            "mod(a, b)",
            "What integer division leaves, with the sign of `a`.",
            &[("mod(-7, 2)", "-1")],
            |c| arithmetic::int_mod(c.arg(0), c.arg(1)).map_err(RowError::without_place),
        ),
        f(
            "eq",
            2..=2,
            "eq(a, b)",
            "Whether `a = b`, as the operator says.",
            &[("eq(1, 1.0)", "true"), ("eq('1', 1)", "true"), ("eq('a', 'b')", "false")],
            eq,
        ),
        f(
            "abs",
            1..=1,
            "abs(n)",
            "The number without its sign, of the type it has.",
            &[("abs(-3)", "3"), ("abs(-1.5)", "1.5")],
            abs,
        ),
        f(
            "ceil",
            1..=1,
            "ceil(n)",
            "The least integer that is not below `n`.",
            &[("ceil(1.2)", "2"), ("ceil(-1.2)", "-1")],
            |c| to_int(c, f64::ceil),
        ),
        f(
            "floor",
            1..=1,
            "floor(n)",
            "The greatest integer that is not above `n`.",
            &[("floor(-1.5)", "-2")],
            |c| to_int(c, f64::floor),
        ),
        f(
            "round",
            1..=1,
            "round(n)",
            "The nearest integer; a half goes away from zero.",
            &[("round(2.5)", "3"), ("round(-2.5)", "-3")],
            |c| to_int(c, f64::round),
        ),
        f(
            "power",
            2..=2,
            "power(x, y)",
            "`x` to the power of `y`, as a float.",
            &[("power(2, 10)", "1024.0")],
            |c| real(c.number(0)?.powf(c.number(1)?)),
        ),
        f(
            "fmod",
            2..=2,
            "fmod(x, y)",
            "What the division of floats leaves, with the sign of `x`.",
            &[("fmod(-7, 3)", "-1.0"), ("fmod(1, 0)", "error: fmod: division by zero")],
            fmod,
        ),
        f(
            "sqrt",
            1..=1,
            "sqrt(x)",
            "The square root.",
            &[("sqrt(9)", "3.0"), ("sqrt(-1)", "error: sqrt: the result is not a finite number")],
            |c| of(c, f64::sqrt),
        ),
        f(
            "exp",
            1..=1,
            "exp(x)",
            "e to the power of `x`.",
            &[("exp(0)", "1.0"), ("exp(1000)", "error: exp: the result is not a finite number")],
            |c| of(c, f64::exp),
        ),
        f(
            "log",
            1..=1,
            "log(x)",
            "The natural logarithm.",
            &[("log(1)", "0.0"), ("log(0)", "error: log: the result is not a finite number")],
            |c| of(c, f64::ln),
        ),
        f(
            "log10",
            1..=1,
            "log10(x)",
            "The logarithm to base 10.",
            &[("log10(1000)", "3.0")],
            |c| of(c, f64::log10),
        ),
        f("log2", 1..=1, "log2(x)", "The logarithm to base 2.", &[("log2(8)", "3.0")], |c| {
            of(c, f64::log2)
        }),
        f("sin", 1..=1, "sin(x)", "The sine.", &[("sin(0)", "0.0")], |c| of(c, f64::sin)),
        f("cos", 1..=1, "cos(x)", "The cosine.", &[("cos(0)", "1.0")], |c| of(c, f64::cos)),
        f("tan", 1..=1, "tan(x)", "The tangent.", &[("tan(0)", "0.0")], |c| of(c, f64::tan)),
        f("asin", 1..=1, "asin(x)", "The inverse of the sine.", &[("asin(0)", "0.0")], |c| {
            of(c, f64::asin)
        }),
        f(
            "acos",
            1..=1,
            "acos(x)",
            "The inverse of the cosine.",
            &[("acos(1)", "0.0"), ("acos(2)", "error: acos: the result is not a finite number")],
            |c| of(c, f64::acos),
        ),
        f("atan", 1..=1, "atan(x)", "The inverse of the tangent.", &[("atan(0)", "0.0")], |c| {
            of(c, f64::atan)
        }),
        f("sinh", 1..=1, "sinh(x)", "The hyperbolic sine.", &[("sinh(0)", "0.0")], |c| {
            of(c, f64::sinh)
        }),
        f("cosh", 1..=1, "cosh(x)", "The hyperbolic cosine.", &[("cosh(0)", "1.0")], |c| {
            of(c, f64::cosh)
        }),
        f("tanh", 1..=1, "tanh(x)", "The hyperbolic tangent.", &[("tanh(0)", "0.0")], |c| {
            of(c, f64::tanh)
        }),
        f(
            "asinh",
            1..=1,
            "asinh(x)",
            "The inverse of the hyperbolic sine.",
            &[("asinh(0)", "0.0")],
            |c| of(c, f64::asinh),
        ),
        f(
            "acosh",
            1..=1,
            "acosh(x)",
            "The inverse of the hyperbolic cosine.",
            &[("acosh(1)", "0.0")],
            |c| of(c, f64::acosh),
        ),
        f(
            "atanh",
            1..=1,
            "atanh(x)",
            "The inverse of the hyperbolic tangent.",
            &[("atanh(0)", "0.0"), ("atanh(1)", "error: atanh: the result is not a finite number")],
            |c| of(c, f64::atanh),
        ),
    ]
}

fn eq(call: &mut Call<'_>) -> Result<Value, RowError> {
    // Counts the steps that comparing takes.
    call.env.check_depth(call.arg(0), usize::MAX)?;
    compare::eq(call.arg(0), call.arg(1)).map(Value::Bool)
}

fn of(call: &Call<'_>, function: fn(f64) -> f64) -> Result<Value, RowError> {
    real(function(call.number(0)?))
}

fn real(result: f64) -> Result<Value, RowError> {
    if result.is_finite() {
        Ok(Value::Float(result))
    } else {
        Err(RowError::new("the result is not a finite number"))
    }
}

fn abs(call: &mut Call<'_>) -> Result<Value, RowError> {
    match call.arg(0) {
        Value::Int(int) => int.checked_abs().map(Value::Int).ok_or_else(beyond_64_bits),
        Value::Float(float) => Ok(Value::Float(float.abs())),
        _ => Err(call.unexpected(0, "a number")),
    }
}

fn fmod(call: &mut Call<'_>) -> Result<Value, RowError> {
    let (dividend, divisor) = (call.number(0)?, call.number(1)?);
    if divisor == 0.0 {
        return Err(RowError::new("division by zero"));
    }
    real(dividend % divisor)
}

fn to_int(call: &Call<'_>, whole: fn(f64) -> f64) -> Result<Value, RowError> {
    match call.arg(0) {
        Value::Int(int) => Ok(Value::Int(*int)),
        Value::Float(float) => int_of(whole(*float)),
        _ => Err(call.unexpected(0, "a number")),
    }
}

/// A whole float as an integer.
pub(super) fn int_of(whole: f64) -> Result<Value, RowError> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if !(-BEYOND..BEYOND).contains(&whole) {
        return Err(beyond_64_bits());
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    Ok(Value::Int(whole as i64))
}

pub(super) fn beyond_64_bits() -> RowError {
    RowError::new("the result is not an integer of 64 bits")
}
