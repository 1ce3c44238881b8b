//! Compressed strings. What comes out is bounded while it is made.

use std::io::Read;

use flate2::Compression;
use flate2::bufread::{
    DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder,
};

use super::out::too_long;
use super::{Call, Function};
use crate::error::RowError;
use crate::value::Value;

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f(
            "gzip",
            1..=1,
            "gzip(s)",
            "Compressed, in the format of gzip.",
            &[("gunzip(gzip('hello hello'))", "\"hello hello\"")],
            |c| pour(c, GzEncoder::new(&c.string(0)?[..], Compression::default())),
        ),
        f(
            "gunzip",
            1..=1,
            "gunzip(s)",
            "What was compressed with gzip.",
            &[
                ("gunzip(gzip(''))", "\"\""),
                ("gunzip('x')", "error: gunzip: argument 1: expected compressed bytes"),
            ],
            |c| pour(c, GzDecoder::new(&c.string(0)?[..])),
        ),
        f(
            "zip",
            1..=1,
            "zip(s)",
            "Compressed, as plain Deflate without a header.",
            &[("unzip(zip('hello hello'))", "\"hello hello\"")],
            |c| pour(c, DeflateEncoder::new(&c.string(0)?[..], Compression::default())),
        ),
        f(
            "unzip",
            1..=1,
            "unzip(s)",
            "What was compressed as plain Deflate.",
            &[("unzip(zip('a'))", "\"a\"")],
            |c| pour(c, DeflateDecoder::new(&c.string(0)?[..])),
        ),
        f(
            "zip_compress",
            1..=1,
            "zip_compress(s)",
            "Compressed, in the format of zlib.",
            &[("zip_uncompress(zip_compress('hello hello'))", "\"hello hello\"")],
            |c| pour(c, ZlibEncoder::new(&c.string(0)?[..], Compression::default())),
        ),
        f(
            "zip_uncompress",
            1..=1,
            "zip_uncompress(s)",
            "What was compressed in the format of zlib.",
            &[("zip_uncompress(zip_compress('a'))", "\"a\"")],
            |c| pour(c, ZlibDecoder::new(&c.string(0)?[..])),
        ),
    ]
}

/// Reads all, but not more than a string may have.
fn pour(call: &Call<'_>, from: impl Read) -> Result<Value, RowError> {
    let max = call.env.limits.max_value_bytes;
    let mut out = Vec::new();
    from.take((max as u64).saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|_| RowError::new("argument 1: expected compressed bytes"))?;
    // A few bytes may become a thousand times as many.
    call.env.charge_steps(out.len() as u64 / 64)?;
    if out.len() > max { Err(too_long()) } else { Ok(Value::Str(out.into())) }
}
