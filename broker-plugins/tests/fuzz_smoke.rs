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

#[test]
fn acl_file() {
    fuzz("acl_file", &RULES, plugins_checks::acl_file);
}

#[test]
fn psk_file() {
    let language = Language { bytes: b":\n\r a\0\xff", words: &[b"a:b\n", b"::", b"\n\n"] };
    fuzz("psk_file", &language, broker_plugins::check_psk_file);
}

const RULES: Language = Language {
    bytes: b"{}[]<>\"'.,=#%+/$ \n",
    words: &[
        b"{allow, all}.",
        b"{deny, all}.",
        b"{'or', [all]}",
        b"{eq, \"#\"}",
        b"<<\"a\">>",
        b"\"%c/#\"",
        b"\"a/%u\"",
        b"[[rule]]\npermission = \"allow\"\n",
        b"access = \"publish\"\n",
        b"topics = [\"#\"]\n",
        b"any = [{}]\n",
        b"topic read a/+\n",
        b"topic deny #\n",
        b"pattern readwrite %c/x%u/#\n",
        b"user zz\n",
        b"[[[[[[[[",
    ],
};

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
