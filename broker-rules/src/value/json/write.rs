//! Values to JSON: keys in their order, no blanks, and not a byte more than allowed.

use std::io::Write as _;

use crate::error::RowError;
use crate::value::{Map, Value};

/// A value as JSON. Undefined is `null`; bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// It has more than `max` bytes.
pub(crate) fn encode(value: &Value, max: usize) -> Result<Vec<u8>, RowError> {
    let mut out = Vec::new();
    append(value, &mut out, max)?;
    Ok(out)
}

/// Appends a value as JSON, as long as `out` has no more than `max` bytes.
///
/// # Errors
/// It would have more.
pub(crate) fn append(value: &Value, out: &mut Vec<u8>, max: usize) -> Result<(), RowError> {
    match value {
        Value::Undefined | Value::Null => push(out, b"null", max),
        Value::Bool(true) => push(out, b"true", max),
        Value::Bool(false) => push(out, b"false", max),
        Value::Int(int) => {
            // Writing into a Vec does not fail.
            let _ = write!(out, "{int}");
            push(out, b"", max)
        }
        Value::Float(float) => {
            let _ = write!(out, "{float:?}");
            push(out, b"", max)
        }
        Value::Str(bytes) => append_bytes(bytes, out, max),
        Value::Array(items) => {
            push(out, b"[", max)?;
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    push(out, b",", max)?;
                }
                append(item, out, max)?;
            }
            push(out, b"]", max)
        }
        Value::Map(map) => append_map(map, out, max),
    }
}

pub(crate) fn append_map(map: &Map, out: &mut Vec<u8>, max: usize) -> Result<(), RowError> {
    push(out, b"{", max)?;
    for (at, (key, value)) in map.iter().enumerate() {
        if at > 0 {
            push(out, b",", max)?;
        }
        append_bytes(key.as_bytes(), out, max)?;
        push(out, b":", max)?;
        append(value, out, max)?;
    }
    push(out, b"}", max)
}

fn append_bytes(bytes: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), RowError> {
    push(out, b"\"", max)?;
    if let Ok(text) = std::str::from_utf8(bytes) {
        append_text(text, out, max)?;
    } else {
        for chunk in bytes.utf8_chunks() {
            append_text(chunk.valid(), out, max)?;
            if !chunk.invalid().is_empty() {
                push(out, "\u{fffd}".as_bytes(), max)?;
            }
        }
    }
    push(out, b"\"", max)
}

fn append_text(text: &str, out: &mut Vec<u8>, max: usize) -> Result<(), RowError> {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        push(out, &rest[..at], max)?;
        let short: &[u8] = match rest[at] {
            b'"' => br#"\""#,
            b'\\' => br"\\",
            b'\n' => br"\n",
            b'\r' => br"\r",
            b'\t' => br"\t",
            0x08 => br"\b",
            0x0c => br"\f",
            control => {
                let _ = write!(out, "\\u{control:04x}");
                b""
            }
        };
        push(out, short, max)?;
        rest = &rest[at + 1..];
    }
    push(out, rest, max)
}

fn push(out: &mut Vec<u8>, bytes: &[u8], max: usize) -> Result<(), RowError> {
    if out.len().saturating_add(bytes.len()) > max {
        return Err(RowError::new(format!("the JSON text has more than {max} bytes")));
    }
    out.extend_from_slice(bytes);
    Ok(())
}
