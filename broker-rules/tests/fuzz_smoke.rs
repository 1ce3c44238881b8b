//! The fuzz targets of this crate on a stable toolchain.

#[path = "../../fuzz/rules_checks.rs"]
mod rules_checks;
#[path = "../../fuzz/smoke.rs"]
mod smoke;

use smoke::{Language, fuzz};

#[test]
fn sql() {
    fuzz("sql", &SQL, rules_checks::sql);
}

const SQL: Language = Language {
    bytes: b"\0'\"()[].,-+*/=<>019 \n",
    words: &[
        b" AND ",
        b" OR ",
        b"NOT ",
        b" IN (1, 'a')",
        b"CASE WHEN ",
        b" THEN ",
        b" ELSE 1 END",
        b" AS x.y[-0]",
        b"*, ",
        b"FOREACH ",
        b" DO ",
        b" INCASE ",
        b" WHERE ",
        b" DIV ",
        b" MOD ",
        b" =~ ",
        b"payload.x",
        b"payload.list[1..2]",
        b"[1..3]",
        b"nothing",
        b"1.5e3",
        b"upper(",
        b"9223372036854775807",
        b"''",
        b"--",
        b"regex_match(s, '(a|b)+'), ",
    ],
};
