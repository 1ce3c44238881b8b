//! Statements as they are read and refused.

mod bounds;
mod errors;
mod generated;
mod reading;
mod traps;

use super::{SqlError, parse};
use crate::limits::Limits;

/// The tree of `sql` as text, with parentheses where the tree has need of them.
#[track_caller]
fn read(sql: &str) -> String {
    match parse(sql, &Limits::default()) {
        Ok(statement) => statement.to_string(),
        Err(error) => panic!("{sql}: {error}"),
    }
}

/// What is wrong with `sql`.
#[track_caller]
fn refused(sql: &str) -> SqlError {
    match parse(sql, &Limits::default()) {
        Ok(statement) => panic!("{sql} reads as {statement}"),
        Err(error) => error,
    }
}

/// Checks that `expr` is read as `read_as`.
#[track_caller]
fn check_expr(expr: &str, read_as: &str) {
    let sql = format!("SELECT a FROM t WHERE {expr}");
    assert_eq!(read(&sql), format!("SELECT a FROM \"t\" WHERE {read_as}"));
}

/// Checks that the fields are read as `read_as`.
#[track_caller]
fn check_fields(fields: &str, read_as: &str) {
    let sql = format!("SELECT {fields} FROM t");
    assert_eq!(read(&sql), format!("SELECT {read_as} FROM \"t\""));
}

#[track_caller]
fn check_error(sql: &str, error: &str) {
    assert_eq!(refused(sql).to_string(), error);
}

#[test]
fn clauses() {
    assert_eq!(read("select * from \"t/#\""), "SELECT * FROM \"t/#\"");
    assert_eq!(
        read("SELECT a FROM abc, \"t/#\", 't/+' ;"),
        "SELECT a FROM \"abc\", \"t/#\", \"t/+\""
    );
    assert_eq!(
        read("FOREACH payload.s AS e DO e.x, clientid INCASE e.x > 1 FROM 't' WHERE qos = 1"),
        "FOREACH payload.s AS e DO e.x, clientid INCASE e.x > 1 FROM \"t\" WHERE qos = 1",
    );
    assert_eq!(read("FOREACH a FROM t"), "FOREACH a FROM \"t\"");
}

#[test]
fn precedence_and_association() {
    check_expr("a OR b AND NOT c = 1 + 2 * -d", "a OR b AND NOT c = 1 + 2 * -d");
    check_expr("a OR (b AND (NOT (c = (1 + (2 * (-d))))))", "a OR b AND NOT c = 1 + 2 * -d");
    check_expr("(a OR b) AND c", "(a OR b) AND c");
    check_expr("(NOT a) = 1", "(NOT a) = 1");
    check_expr("(a - b) - c", "(a - b) - c");
    check_expr("a - (b - c)", "a - (b - c)");
    check_expr("a div b mod c", "a DIV b MOD c");
    check_expr("a NOT IN (1, 'x') AND b", "a NOT IN (1, 'x') AND b");
    check_expr("a + 1 IN (2)", "a + 1 IN (2)");
}

#[test]
fn signs_and_comments() {
    check_expr("a-1", "a - 1");
    check_expr("1--1", "1");
    check_expr("- -1", "- -1");
    check_expr("-(1)", "-(1)");
    check_expr("a -- to the end of the line\n = 1", "a = 1");
    check_expr("-9223372036854775808", "-9223372036854775808");
}

#[test]
fn numbers() {
    check_expr("1e3", "1000.0");
    check_expr("1.5E-3", "0.0015");
    check_fields("1b", "1 AS b");
    check_error("SELECT 9223372036854775808 FROM t", "line 1, column 8: integer is beyond 64 bits");
    check_error("SELECT 1e400 FROM t", "line 1, column 8: number is too large");
    check_error("SELECT 1.b FROM t", "line 1, column 9: expected FROM, found `.`");
    check_error("SELECT .5 FROM t", "line 1, column 8: expected an expression, found `.`");
}

#[test]
fn names_and_strings() {
    check_fields("_a$@~1, \"my \"\"col\", \"温度\"", "_a$@~1, \"my \"\"col\", \"温度\"");
    check_fields("'it''s \\d'", "'it''s \\d'");
    check_fields("divide, model, null", "divide, model, null");
    check_fields("\"from\" AS \"in\"", "\"from\" AS \"in\"");
    check_fields("mod(a, 2), DIV(a, 2)", "mod(a, 2), DIV(a, 2)");
    check_fields("true, False", "TRUE, FALSE");
    check_error("SELECT 'x FROM t", "line 1, column 8: string is not closed");
    check_error("SELECT \"x FROM t", "line 1, column 8: quoted name is not closed");
    check_error("SELECT a AS case FROM t", "line 1, column 13: expected a name, found case");
    check_error("SELECT if FROM t", "line 1, column 8: expected an expression, found if");
}

#[test]
fn paths() {
    check_fields(
        "payload.end, payload.\"a b\", a.'1'.100",
        "payload.end, payload.'a b', a.'1'.'100'",
    );
    check_fields("a.1", "a.'1'");
    check_fields("a[1][-1].b[i.j[2]]", "a[1][-1].b[i.j[2]]");
    check_fields("x[1..3], x[-3..-1], [2..1]", "x[1..3], x[-3..-1], [2..1]");
    check_fields("1 c[0], 1 AS c[-0], 1 AS a.b", "1 AS c[0], 1 AS c[-0], 1 AS a.b");
    check_fields("[], [1, [a]]", "[], [1, [a]]");
    check_error(
        "SELECT a.1.100 FROM t",
        "line 1, column 10: 1.100 may be a number or several keys: put keys in quotes",
    );
    check_error("SELECT a[1].[2] FROM t", "line 1, column 13: expected a key, found `[`");
    check_error(
        "SELECT x[1..3].y FROM t",
        "line 1, column 15: nothing may follow the range of a path",
    );
    check_error("SELECT [1 ..4] FROM t", "line 1, column 11: blanks are not allowed around `..`");
}

#[test]
fn cases() {
    check_fields(
        "case when a = 1 then 'x' when b then 2 else c end as k, CASE a WHEN 1 THEN 2 END",
        "CASE WHEN a = 1 THEN 'x' WHEN b THEN 2 ELSE c END AS k, CASE a WHEN 1 THEN 2 END",
    );
    check_error("SELECT CASE END FROM t", "line 1, column 13: expected an expression, found END");
    check_error("SELECT CASE a END FROM t", "line 1, column 15: expected WHEN, found END");
    check_error(
        "SELECT CASE WHEN a THEN 1 FROM t",
        "line 1, column 27: expected WHEN, ELSE or END, found FROM",
    );
}

#[test]
fn errors_name_place_found_and_expected() {
    check_error("", "line 1, column 1: expected SELECT or FOREACH, found end of text");
    check_error("SELECT", "line 1, column 7: expected an expression, found end of text");
    check_error("SELECT a", "line 1, column 9: expected FROM, found end of text");
    check_error("SELECT '温',\n '度' x y", "line 2, column 8: expected FROM, found y");
    check_error(
        "SELECT a FROM",
        "line 1, column 14: expected a topic filter or the name of an event, found end of text",
    );
    check_error("SELECT a FROM t; SELECT", "line 1, column 18: expected end of text, found SELECT");
    check_error("SELECT a\0 FROM t", "line 1, column 9: U+0000 is not allowed");
    check_error(
        "SELECT a FROM t /* */",
        "line 1, column 17: expected WHERE or end of text, found `/`",
    );
    check_error("SELECT a % 2 FROM t", "line 1, column 10: unexpected character `%`");
}

#[test]
fn what_no_version_has() {
    check_error(
        "SELECT a LIKE 'x%' FROM t",
        "line 1, column 15: unexpected string after alias `LIKE`",
    );
    for sql in [
        "SELECT a FROM t WHERE a < b < c",
        "SELECT a FROM t WHERE a IN (1) = b",
        "SELECT a FROM t WHERE a IN ()",
        "SELECT a FROM t WHERE a IS NULL",
        "SELECT a FROM t WHERE a BETWEEN 1 AND 2",
        "SELECT a || b FROM t",
        "SELECT a FROM t JOIN u",
        "SELECT a FROM t GROUP BY a",
        "SELECT a FROM t ORDER BY a",
        "SELECT a FROM t LIMIT 1",
        "SELECT a FROM (SELECT a FROM t)",
        "SELECT COUNT(*) FROM t",
        "SELECT a FROM t WHERE a ~= 'b'",
    ] {
        refused(sql);
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("SELECT {}1{} FROM t", open.repeat(depth), close.repeat(depth))
    };
    let shapes = [
        ("(", ")"),
        ("f(", ")"),
        ("[", "]"),
        ("NOT ", ""),
        ("- ", ""),
        ("a IN (", ")"),
        ("CASE WHEN ", " THEN 1 END"),
        ("(1 + 2 * ", ")"),
    ];
    for (open, close) in shapes {
        read(&nested(open, close, 127));
        let error = refused(&nested(open, close, 130)).to_string();
        assert!(
            error.starts_with("max_depth: more than 128 levels of nesting, at line 1"),
            "{error}"
        );
        // Far beyond, it is still an error and not the end of the stack.
        refused(&nested(open, close, 3_000));
    }
    refused(&format!("SELECT a{}1{} FROM t", "[a".repeat(3_000), "]".repeat(3_000)));
}

#[test]
fn a_flat_chain_is_no_nesting() {
    let limits = Limits { max_sql_bytes: 1 << 20, ..Limits::default() };
    for link in [" AND a", " OR a", " + 1", " * 1", " - a"] {
        let sql = format!("SELECT a FROM t WHERE a{}", link.repeat(50_000));
        let statement = parse(&sql, &limits).unwrap();
        assert_eq!(parse(&statement.to_string(), &limits), Ok(statement));
    }
}

#[test]
fn sizes_are_bounded() {
    let many = |count: usize| vec!["1"; count].join(",");
    read(&format!("SELECT {} FROM t", many(1024)));
    let limited = |sql: String, what: &str| {
        let error = refused(&sql).to_string();
        assert!(error.starts_with(&format!("max_fields: more than {what}, at line 1")), "{error}");
    };
    limited(format!("SELECT {} FROM t", many(1025)), "1024 fields");
    limited(format!("SELECT [{}] FROM t", many(1025)), "1024 elements of a list");
    limited(format!("SELECT 1 IN ({}) FROM t", many(1025)), "1024 elements of IN");
    limited(format!("SELECT 1 FROM {}", vec!["t"; 65].join(",")), "64 FROM items");
    let long = format!("SELECT 1 FROM t{}", " ".repeat(65_536 - 15));
    read(&long);
    check_error(
        &format!("{long} "),
        "max_sql_bytes: the statement has 65537 bytes, 65536 are allowed",
    );
}
