//! Hashes of strings, in lower-case hexadecimal.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::{Call, Function};
use crate::error::RowError;
use crate::value::Value;

pub(super) fn list() -> Vec<Function> {
    let f = Function::new;
    vec![
        f(
            "md5",
            1..=1,
            "md5(s)",
            "MD5 of the bytes.",
            &[("md5('abc')", "\"900150983cd24fb0d6963f7d28e17f72\"")],
            |c| hex::<Md5>(c, 0),
        ),
        f(
            "sha",
            1..=1,
            "sha(s)",
            "SHA-1 of the bytes.",
            &[("sha('abc')", "\"a9993e364706816aba3e25717850c26c9cd0d89d\"")],
            |c| hex::<Sha1>(c, 0),
        ),
        f(
            "sha256",
            1..=1,
            "sha256(s)",
            "SHA-256 of the bytes.",
            &[(
                "sha256('abc')",
                "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"",
            )],
            |c| hex::<Sha256>(c, 0),
        ),
        f(
            "hash",
            2..=2,
            "hash(type, s)",
            "The hash of a type: `md5`, `sha`, `sha224`, `sha256`, `sha384` or `sha512`.",
            &[
                (
                    "hash('sha224', 'abc')",
                    "\"23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7\"",
                ),
                (
                    "hash('crc', 'abc')",
                    "error: hash: argument 1: expected one of md5, sha, sha224, sha256, sha384, sha512",
                ),
            ],
            hash,
        ),
    ]
}

fn hash(call: &mut Call<'_>) -> Result<Value, RowError> {
    let types = ["md5", "sha", "sha224", "sha256", "sha384", "sha512"];
    match call.one_of(0, "", &types)? {
        "md5" => hex::<Md5>(call, 1),
        "sha" => hex::<Sha1>(call, 1),
        "sha224" => hex::<Sha224>(call, 1),
        "sha256" => hex::<Sha256>(call, 1),
        "sha384" => hex::<Sha384>(call, 1),
        _ => hex::<Sha512>(call, 1),
    }
}

fn hex<D: Digest>(call: &Call<'_>, at: usize) -> Result<Value, RowError> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let hash = D::digest(call.string(at)?);
    let digits = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    Ok(Value::Str(hash.iter().flat_map(digits).collect::<Vec<_>>().into()))
}
