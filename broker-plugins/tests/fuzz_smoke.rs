//! The fuzz targets of this crate on a stable toolchain.

#[path = "../../fuzz/plugins_checks.rs"]
mod plugins_checks;
#[path = "../../fuzz/smoke.rs"]
mod smoke;

use smoke::{Language, fuzz};

#[test]
fn jwt() {
    fuzz("jwt", &JSON, plugins_checks::jwt);
}

const JSON: Language = Language {
    bytes: b"\0\"{}[].,:-_=09 eA\n",
    words: &[
        b"\"alg\":\"none\"",
        b"\"alg\":\"HS384\"",
        b"\"crit\":[]",
        b"\"kid\":null",
        b"\"exp\":",
        b"\"nbf\":9e9",
        b"1e308",
        b"-0",
        b"null",
        b"[[[[",
        b"\\u0000",
        b"\\ud800",
        b"eyJhbGciOiJub25lIn0",
        b"==",
        b"..",
    ],
};
