//! The fuzz targets of this crate on a stable toolchain.

#[path = "../../fuzz/http_checks.rs"]
mod http_checks;
#[path = "../../fuzz/rules_checks.rs"]
mod rules_checks;
#[path = "../../fuzz/smoke.rs"]
mod smoke;

use smoke::{Language, fuzz};

#[test]
fn sql() {
    fuzz("sql", &SQL, rules_checks::sql);
}

#[test]
fn http_answer() {
    fuzz("http_answer", &HTTP, http_checks::http_answer);
}

const HTTP: Language = Language {
    bytes: b"\0\r\n :;,019-+aF\xff",
    words: &[
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 999\r\n",
        b"HTTP/2 ",
        b"Content-Length: 5\r\n",
        b"Content-Length: 18446744073709551616\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Connection: close\r\n",
        b"\r\n\r\n",
        b"FFFFFFFFFFFFFFFF\r\n",
        b"0\r\n\r\n",
        b"A: b\r\n c\r\n",
        b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ],
};

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
