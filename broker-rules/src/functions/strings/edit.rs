//! Strings out of other strings: joined, padded, unescaped.

use super::graphemes;
use crate::error::RowError;
use crate::functions::{Call, Function};
use crate::value::{Value, arithmetic, text};

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f(
            "concat",
            1..=2,
            "concat(a, b) | concat(list)",
            "Two strings joined; or all of a list, where other types are made strings.",
            &[
                ("concat('a', 'b')", "\"ab\""),
                ("concat(json_decode('[\"a\",1,true]'))", "\"a1true\""),
            ],
            concat,
        ),
        f(
            "join_to_string",
            1..=2,
            "join_to_string([sep,] list)",
            "All of a list as strings, with a separator between them, `', '` by default.",
            &[
                ("join_to_string(json_decode('[1,\"b\"]'))", "\"1, b\""),
                ("join_to_string('-', json_decode('[1,\"b\"]'))", "\"1-b\""),
            ],
            join,
        ),
        f(
            "pad",
            2..=4,
            "pad(s, len[, dir[, chars]])",
            "Filled up to `len` characters with blanks, or with `chars`, which count as one: at the end (`trailing`, default), in front (`leading`) or at `both`.",
            &[
                ("pad('abc', 5)", "\"abc  \""),
                ("pad('abc', 5, 'trailing', 'ex')", "\"abcexex\""),
                ("pad('abc', 6, 'both', '*')", "\"*abc**\""),
                ("pad('abc', 2)", "\"abc\""),
            ],
            pad,
        ),
        f(
            "unescape",
            1..=1,
            "unescape(s)",
            "With characters in place of `\\n`, `\\r`, `\\t`, `\\b`, `\\f`, `\\v`, `\\\\`, `\\'`, `\\\"` and `\\xHH`.",
            &[
                ("unescape('a\\tb\\x41\\\\')", "\"a\\tbA\\\\\""),
                ("unescape('\\q')", "error: unescape: argument 1: an unknown escape sequence"),
            ],
            unescape,
        ),
    ]
}

fn concat(call: &mut Call<'_>) -> Result<Value, RowError> {
    if call.has(1) {
        call.string(0)?;
        call.string(1)?;
        let joined = arithmetic::add(call.arg(0), call.arg(1), call.env.limits);
        return joined.map_err(RowError::without_place);
    }
    join_all(call, 0, b"")
}

fn join(call: &mut Call<'_>) -> Result<Value, RowError> {
    if call.has(1) {
        return join_all(call, 1, call.string(0)?);
    }
    join_all(call, 0, b", ")
}

fn join_all(call: &Call<'_>, list_at: usize, separator: &[u8]) -> Result<Value, RowError> {
    let items = call.array(list_at)?;
    call.env.charge_steps(items.len() as u64)?;
    let mut out = call.out();
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(separator)?;
        }
        out.push(&text::of(item, out.left())?)?;
    }
    Ok(out.done())
}

fn pad(call: &mut Call<'_>) -> Result<Value, RowError> {
    // A length that is negative is shorter than any string.
    let (text, len) = (call.utf8(0)?, usize::try_from(call.int(1)?).unwrap_or(0));
    let direction = call.one_of(2, "trailing", &["trailing", "leading", "both"])?;
    let unit = call.utf8_or(3, " ")?.as_bytes();
    let missing = len.saturating_sub(graphemes(text));
    if missing == 0 {
        return Ok(call.arg(0).clone());
    }
    let in_front = match direction {
        "leading" => missing,
        "both" => missing / 2,
        _ => 0,
    };
    let mut out = call.out();
    out.repeat(unit, in_front)?;
    out.push(text.as_bytes())?;
    out.repeat(unit, missing - in_front)?;
    Ok(out.done())
}

fn unescape(call: &mut Call<'_>) -> Result<Value, RowError> {
    let text = call.utf8(0)?;
    let mut out = call.out();
    let mut parts = text.split('\\');
    out.push(parts.next().unwrap_or_default().as_bytes())?;
    while let Some(part) = parts.next() {
        let mut chars = part.chars();
        let char = match chars.next() {
            // Two backslashes: what is behind the second is plain.
            None => {
                let Some(plain) = parts.next() else { return Err(unknown_escape()) };
                out.push(b"\\")?;
                out.push(plain.as_bytes())?;
                continue;
            }
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some(quote @ ('\'' | '"')) => quote,
            Some('x') => {
                let mut digit = || chars.next().and_then(|char| char.to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else {
                    return Err(unknown_escape());
                };
                char::from_u32(high << 4 | low).unwrap_or_default()
            }
            Some(_) => return Err(unknown_escape()),
        };
        out.push_char(char)?;
        out.push(chars.as_str().as_bytes())?;
    }
    Ok(out.done())
}

fn unknown_escape() -> RowError {
    RowError::new("argument 1: an unknown escape sequence")
}
