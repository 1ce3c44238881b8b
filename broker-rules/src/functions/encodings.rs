//! Encodings: Base64 and JSON.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::out::too_long;
use super::{Call, Function};
use crate::error::RowError;
use crate::value::{Value, json};

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f(
            "base64_encode",
            1..=1,
            "base64_encode(s)",
            "In Base64.",
            &[("base64_encode('abcd')", "\"YWJjZA==\"")],
            base64_encode,
        ),
        f(
            "base64_decode",
            1..=1,
            "base64_decode(s)",
            "What Base64 stands for. Blanks are skipped.",
            &[
                ("base64_decode('YWJj ZA==')", "\"abcd\""),
                ("base64_decode('?')", "error: base64_decode: argument 1: expected Base64"),
            ],
            base64_decode,
        ),
        f(
            "json_encode",
            1..=1,
            "json_encode(x)",
            "As JSON, with the keys in their order and without blanks.",
            &[(
                "json_encode(map_put('b', 1, map_put('a', 'x', map_new())))",
                "\"{\\\"a\\\":\\\"x\\\",\\\"b\\\":1}\"",
            )],
            |c| {
                json::encode(c.arg(0), c.env.limits.max_value_bytes)
                    .map(|json| Value::Str(json.into()))
                    .map_err(|_| too_long())
            },
        ),
        f(
            "json_decode",
            1..=1,
            "json_decode(s)",
            "What JSON stands for.",
            &[
                ("json_decode('{\"a\":[1,2.0,null]}')", "{\"a\":[1,2.0,null]}"),
                ("json_decode('{')", "error: json_decode: argument 1: expected JSON"),
            ],
            |c| {
                c.env
                    .decode_json(c.string(0)?)
                    .ok_or_else(|| RowError::new("argument 1: expected JSON"))
            },
        ),
    ]
}

fn base64_encode(call: &mut Call<'_>) -> Result<Value, RowError> {
    let bytes = call.string(0)?;
    match base64::encoded_len(bytes.len(), true) {
        Some(len) if len <= call.env.limits.max_value_bytes => {
            Ok(Value::Str(ENGINE.encode(bytes).into()))
        }
        _ => Err(too_long()),
    }
}

fn base64_decode(call: &mut Call<'_>) -> Result<Value, RowError> {
    let text = call.string(0)?;
    // Four characters are three bytes. Blanks may make this an estimate too high.
    if text.len() / 4 * 3 > call.env.limits.max_value_bytes.saturating_mul(2) {
        return Err(too_long());
    }
    let dense: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = ENGINE.decode(dense).map_err(|_| RowError::new("argument 1: expected Base64"))?;
    let mut out = call.out();
    out.push(&bytes)?;
    Ok(out.done())
}

/// Padding is written, and may be missing when it is read.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
