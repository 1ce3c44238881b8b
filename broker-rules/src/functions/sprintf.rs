//! sprintf: values put into a format.

use super::out::{Out, too_long};
use super::{Call, Function};
use crate::error::RowError;
use crate::value::{Value, arithmetic, json};

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f(
            "sprintf",
            1..=32,
            "sprintf(fmt, a…)",
            "The format with the arguments in it: `~s` a string, `~p` or `~w` any value (JSON, but strings as they are), `~b` an integer, `~f` a float with 6 decimals, `~.2f` with 2, `~e` with an exponent, `~n` a line break, `~~` a tilde. `~ts` is `~s`, and `~tp` is `~p`.",
            &[
                ("sprintf('~s=~p', 't', 2)", "\"t=2\""),
                ("sprintf('~.2f ~b ~~', 1.005, 7)", "\"1.00 7 ~\""),
                ("sprintf('~s', 1)", "error: sprintf: ~s: expected a string, found an integer"),
                ("sprintf('~s')", "error: sprintf: there are too few values for the format"),
            ],
            |c| {
                let format = c.utf8(0)?;
                sprintf(c, format, &c.args[1..])
            },
        ),
        f(
            "sprintf_s",
            2..=2,
            "sprintf_s(fmt, list)",
            "As `sprintf`, with the values in a list.",
            &[("sprintf_s('~s-~p', json_decode('[\"a\",[1]]'))", "\"a-[1]\"")],
            |c| {
                let (format, values) = (c.utf8(0)?, c.array(1)?);
                sprintf(c, format, values)
            },
        ),
    ]
}

fn sprintf(call: &Call<'_>, format: &str, values: &[Value]) -> Result<Value, RowError> {
    let mut out = call.out();
    let mut values = values.iter();
    let mut parts = format.split('~');
    out.push(parts.next().unwrap_or_default().as_bytes())?;
    while let Some(part) = parts.next() {
        if part.is_empty() {
            let Some(plain) = parts.next() else { return Err(unknown()) };
            out.push(b"~")?;
            out.push(plain.as_bytes())?;
            continue;
        }
        let (decimals, directive) = precision(part)?;
        // The original's mark for text, which all text is here.
        let directive = match directive.strip_prefix('t') {
            Some(rest) if rest.starts_with(['s', 'p', 'w']) => rest,
            _ => directive,
        };
        let mut chars = directive.chars();
        let kind = chars.next().ok_or_else(unknown)?;
        if kind == 'n' {
            out.push(b"\n")?;
        } else {
            if !matches!(kind, 's' | 'p' | 'w' | 'b' | 'd' | 'f' | 'e') {
                return Err(unknown());
            }
            let value = values
                .next()
                .ok_or_else(|| RowError::new("there are too few values for the format"))?;
            put(&mut out, kind, decimals, value)?;
        }
        out.push(chars.as_str().as_bytes())?;
    }
    if values.next().is_some() {
        return Err(RowError::new("there are too many values for the format"));
    }
    Ok(out.done())
}

/// The decimals of `.2f`, and what is behind them.
fn precision(part: &str) -> Result<(usize, &str), RowError> {
    let Some(rest) = part.strip_prefix('.') else { return Ok((6, part)) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    match rest[..digits].parse() {
        Ok(decimals @ 0..=DECIMALS_MAX) if rest[digits..].starts_with(['f', 'e']) => {
            Ok((decimals, &rest[digits..]))
        }
        _ => Err(unknown()),
    }
}

fn put(out: &mut Out, kind: char, decimals: usize, value: &Value) -> Result<(), RowError> {
    let unexpected = |expected: &str| {
        Err(RowError::new(format!("~{kind}: expected {expected}, found {}", value.kind())))
    };
    match (kind, value) {
        ('s' | 'p' | 'w', Value::Str(text)) => out.push(text),
        ('s', _) => unexpected("a string"),
        ('b' | 'd', Value::Int(int)) => out.push(int.to_string().as_bytes()),
        ('b' | 'd', _) => unexpected("an integer"),
        ('f' | 'e', _) => match arithmetic::float_of(value) {
            Some(float) if kind == 'f' => out.push(format!("{float:.decimals$}").as_bytes()),
            Some(float) => out.push(exponential(float, decimals).as_bytes()),
            None => unexpected("a number"),
        },
        (_, Value::Undefined) => out.push(b"undefined"),
        _ => {
            let json = json::encode(value, out.left()).map_err(|_| too_long())?;
            out.push(&json)
        }
    }
}

/// `1.500000e+00`: a sign and at least two digits of exponent, as C and Erlang have it.
fn exponential(float: f64, decimals: usize) -> String {
    let text = format!("{float:.decimals$e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
    format!("{digits}e{sign}{exponent:0>2}")
}

fn unknown() -> RowError {
    RowError::new("argument 1: an unknown directive in the format")
}

const DECIMALS_MAX: usize = 253;
