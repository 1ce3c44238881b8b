//! Bits of strings, as binary protocols have them.

use super::math::beyond_64_bits;
use super::{Call, Function};
use crate::error::RowError;
use crate::value::Value;

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f(
            "bitsize",
            1..=1,
            "bitsize(s)",
            "How many bits a string has.",
            &[("bitsize('ab')", "16")],
            |c| size(c, 8),
        ),
        f(
            "bytesize",
            1..=1,
            "bytesize(s)",
            "How many bytes a string has.",
            &[("bytesize('你好')", "6")],
            |c| size(c, 1),
        ),
        f(
            "subbits",
            2..=6,
            "subbits(s, len) | subbits(s, start, len[, type[, signedness[, endianness]]])",
            "`len` bits of a string from bit `start` on, which counts from 1. `type` is `integer` (default), `float` (of 16, 32 or 64 bits) or `bits` (whole bytes, a string); `signedness` `unsigned` (default) or `signed`; `endianness` `big` (default) or `little`. Undefined if `start` is behind the end; what is left if there are too few bits.",
            &[
                ("subbits('ab', 8)", "97"),
                ("subbits('ab', 9, 8)", "98"),
                ("subbits('ab', 1, 16, 'integer', 'unsigned', 'little')", "25185"),
                ("subbits('ab', 17, 8)", "undefined"),
                ("subbits(hexstr2bin('FF'), 1, 8, 'integer', 'signed')", "-1"),
                ("subbits(hexstr2bin('3FC00000'), 1, 32, 'float')", "1.5"),
                ("subbits('abc', 9, 16, 'bits')", "\"bc\""),
            ],
            subbits,
        ),
    ]
}

fn size(call: &Call<'_>, of_a_byte: usize) -> Result<Value, RowError> {
    let size = call.string(0)?.len().saturating_mul(of_a_byte);
    i64::try_from(size).map(Value::Int).map_err(|_| beyond_64_bits())
}

fn subbits(call: &mut Call<'_>) -> Result<Value, RowError> {
    let text = call.string(0)?;
    let (start, len_at) = if call.has(2) { (call.int(1)?, 2) } else { (1, 1) };
    let len = call.count(len_at)?;
    if start < 1 {
        return Err(RowError::new("argument 2: expected 1 or more"));
    }
    let kind = call.one_of(3, "integer", &["integer", "float", "bits"])?;
    let is_signed = call.one_of(4, "unsigned", &["unsigned", "signed"])? == "signed";
    let is_little = call.one_of(5, "big", &["big", "little"])? == "little";
    let bits = text.len().saturating_mul(8);
    let start = usize::try_from(start - 1).unwrap_or(usize::MAX);
    if start >= bits {
        return Ok(Value::Undefined);
    }
    let len = len.min(bits - start);
    if kind == "bits" {
        return bytes(call, start, len);
    }
    if len > 64 {
        return Err(RowError::new(format!("argument {}: expected at most 64 bits", len_at + 1)));
    }
    // Eight bits at a time from the start; the last may be fewer.
    let mut value = 0_u64;
    let mut at = 0;
    while at < len {
        let width = (len - at).min(8);
        let byte = u64::from(bits_at(text, start + at, width));
        value = if is_little { value | byte << at } else { value << width | byte };
        at += width;
    }
    if kind == "float" { float(value, len) } else { integer(value, len, is_signed) }
}

fn integer(value: u64, len: usize, is_signed: bool) -> Result<Value, RowError> {
    if len == 0 {
        return Ok(Value::Int(0));
    }
    if is_signed {
        let unused = 64 - len;
        return Ok(Value::Int((value << unused).cast_signed() >> unused));
    }
    i64::try_from(value).map(Value::Int).map_err(|_| beyond_64_bits())
}

fn float(value: u64, len: usize) -> Result<Value, RowError> {
    let float = match len {
        16 => half(u16::try_from(value).unwrap_or_default()),
        32 => f32::from_bits(u32::try_from(value).unwrap_or_default()).into(),
        64 => f64::from_bits(value),
        _ => return Err(RowError::new("a float has 16, 32 or 64 bits")),
    };
    if float.is_finite() {
        Ok(Value::Float(float))
    } else {
        Err(RowError::new("the bits are not a finite float"))
    }
}

/// A float of 16 bits: one of sign, five of exponent, ten of fraction.
fn half(bits: u16) -> f64 {
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    let size = match bits >> 10 & 0x1f {
        0 => fraction * 2_f64.powi(-14),
        31 => f64::INFINITY,
        exponent => (1.0 + fraction) * 2_f64.powi(i32::from(exponent) - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

fn bytes(call: &Call<'_>, start: usize, len: usize) -> Result<Value, RowError> {
    let text = call.string(0)?;
    if !len.is_multiple_of(8) {
        return Err(RowError::new("bits that are not whole bytes are not a string"));
    }
    if start.is_multiple_of(8) {
        return Ok(Value::Str(text.slice(start / 8..(start + len) / 8)));
    }
    let mut out = call.out();
    for at in (start..start + len).step_by(8) {
        out.push(&[bits_at(text, at, 8)])?;
    }
    Ok(out.done())
}

/// One to eight bits from bit `at` on.
fn bits_at(text: &[u8], at: usize, width: usize) -> u8 {
    let byte = |at: usize| u16::from(text.get(at).copied().unwrap_or_default());
    let two = byte(at / 8) << 8 | byte(at / 8 + 1);
    let shifted = two << (at % 8) >> (16 - width);
    // Eight bits at most are left.
    shifted.to_le_bytes()[0]
}

#[cfg(test)]
mod tests;
